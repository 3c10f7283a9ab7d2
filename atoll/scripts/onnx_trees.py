"""Tree ensembles and linear models of ai.onnx.ml, held to what the runtime takes on trust.

Nodes of a tree name each other, features and targets by number. Here every number is held against what it names, and
every tree is shown to be one: no cycle, no shared branch, no feature beyond the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_DEPTH = 256
MAX_TARGETS = 256

_MODES = {b"LEAF", b"BRANCH_LEQ", b"BRANCH_LT", b"BRANCH_GTE", b"BRANCH_GT", b"BRANCH_EQ", b"BRANCH_NEQ"}
_TRANSFORMS = {b"NONE", b"LOGISTIC", b"SOFTMAX", b"SOFTMAX_ZERO"}
_NORMS = {b"MAX", b"L1", b"L2"}
_AGGREGATES = {b"SUM", b"AVERAGE", b"MIN", b"MAX"}
_MAX_ID = 1 << 24

Ids = NDArray[np.int64]
# An attribute's value by its name: a number, bytes, or a list of them.
Attributes = Mapping[str, Any]


@dataclass(frozen=True)
class MlFacts:
    """What a node gives for one row, and at what cost.

    Attributes:
        columns: numbers that it gives, as float32; for a classifier its scores, beside one label.
        operations: a bound on its multiply-adds and comparisons.
    """

    columns: int
    operations: int


def check_ml(kind: str, attributes: Attributes, columns: int) -> MlFacts:
    """The facts of a node of ai.onnx.ml that reads one row of `columns` numbers.

    Args:
        kind: TreeEnsembleRegressor, TreeEnsembleClassifier, LinearRegressor, LinearClassifier, Scaler, Normalizer or
            Binarizer.
        attributes: the node's attributes; lists hold numbers that are finite.
        columns: at least 1.

    Raises:
        ValueError: says which attribute is wrong.
    """
    if attributes.get("post_transform", b"NONE") not in _TRANSFORMS:
        raise ValueError("post_transform is not NONE, LOGISTIC, SOFTMAX or SOFTMAX_ZERO")
    if kind in ("TreeEnsembleRegressor", "TreeEnsembleClassifier"):
        return _trees(kind, attributes, columns)
    if kind in ("LinearRegressor", "LinearClassifier"):
        return _linear(kind, attributes, columns)
    if kind == "Scaler":
        for name in ("offset", "scale"):
            if len(attributes.get(name, ())) not in (1, columns):
                raise ValueError(f"{name} has not one number for each of {columns} columns")
        if len(attributes["offset"]) != len(attributes["scale"]):
            raise ValueError("offset and scale have not equally many numbers")
    if kind == "Normalizer" and attributes.get("norm", b"MAX") not in _NORMS:
        raise ValueError("norm is not MAX, L1 or L2")
    return MlFacts(columns, 10 * columns)


def _classes(attributes: Attributes, name: str) -> int:
    if attributes.get("classlabels_strings"):
        raise ValueError("classlabels_strings: a model holds no text; train it with labels 0 and 1")
    labels = len(attributes.get(name, ()))
    if not 2 <= labels <= MAX_TARGETS:
        raise ValueError(f"{name} has {labels} labels; 2 to {MAX_TARGETS} are allowed")
    return labels


def _linear(kind: str, attributes: Attributes, columns: int) -> MlFacts:
    classifies = kind == "LinearClassifier"
    targets = _classes(attributes, "classlabels_ints") if classifies else attributes.get("targets", 1)
    if not 1 <= targets <= MAX_TARGETS:
        raise ValueError(f"targets is not from 1 to {MAX_TARGETS}")
    if len(attributes.get("coefficients", ())) != targets * columns:
        raise ValueError(f"coefficients are not {targets} times {columns} numbers")
    # The runtime counts a classifier's classes by its intercepts.
    if len(attributes.get("intercepts", ())) not in ({targets} if classifies else {0, targets}):
        raise ValueError(f"intercepts are not {targets} numbers")
    return MlFacts(targets, targets * (columns + 10))


def _ids(attributes: Attributes, name: str, length: int, below: int = _MAX_ID) -> Ids:
    values = attributes.get(name, ())
    if len(values) != length:
        raise ValueError(f"{name} has {len(values)} numbers, not {length}")
    found = np.array(values, dtype=np.int64)
    if length and (found.min() < 0 or found.max() >= below):
        raise ValueError(f"{name} has a number outside 0 to {below - 1}")
    return found


def _positions(known: Ids, wanted: Ids, name: str) -> Ids:
    """Where each wanted key stands among the known ones."""
    order = np.argsort(known, kind="stable")
    found = np.minimum(np.searchsorted(known[order], wanted), len(known) - 1)
    if not np.array_equal(known[order][found], wanted):
        raise ValueError(f"{name} names a node that is not there")
    return order[found].astype(np.int64)


def _trees(kind: str, attributes: Attributes, columns: int) -> MlFacts:
    doubles = sorted(name for name in attributes if name.endswith("_as_tensor"))
    if doubles:
        raise ValueError(f"{doubles[0]}: trees of double numbers are not supported; export with float32")
    nodes = len(attributes.get("nodes_treeids", ()))
    if not nodes:
        raise ValueError("nodes_treeids is empty")
    for name in ("nodes_values", "nodes_modes", "nodes_hitrates", "nodes_missing_value_tracks_true"):
        length = len(attributes.get(name, ()))
        if length != nodes and (length or name in ("nodes_values", "nodes_modes")):
            raise ValueError(f"{name} has {length} values, not {nodes}")
    modes = attributes["nodes_modes"]
    if not _MODES.issuperset(modes):
        raise ValueError("nodes_modes has one that is neither LEAF nor a comparison")
    _ids(attributes, "nodes_featureids", nodes, columns)
    trees = _ids(attributes, "nodes_treeids", nodes)
    keys = trees * _MAX_ID + _ids(attributes, "nodes_nodeids", nodes)
    if len(np.unique(keys)) != nodes:
        raise ValueError("nodes_nodeids: a node stands twice")
    roots = np.flatnonzero(np.diff(trees, prepend=-1))
    if len(roots) != len(np.unique(trees)):
        raise ValueError("nodes_treeids: the nodes of a tree stand apart")
    branches = np.array([mode != b"LEAF" for mode in modes])
    depth = _depth(attributes, keys, trees, roots, branches)
    targets, most = _targets(kind, attributes, keys, ~branches)
    return MlFacts(targets, len(roots) * (depth + most) + 10 * targets)


def _depth(attributes: Attributes, keys: Ids, trees: Ids, roots: Ids, branches: NDArray[np.bool_]) -> int:
    """The depth of the deepest tree, once every node is shown to hang on its tree's first one, on one branch."""
    nodes = len(keys)
    children = np.full((nodes, 2), -1, dtype=np.int64)
    for side, name in enumerate(("nodes_truenodeids", "nodes_falsenodeids")):
        wanted = trees * _MAX_ID + _ids(attributes, name, nodes)
        children[branches, side] = _positions(keys, wanted[branches], name)
    parents = np.bincount(children[branches].ravel(), minlength=nodes)
    if parents.max() > 1:
        raise ValueError("nodes_truenodeids, nodes_falsenodeids: two branches lead to the same node")
    if parents[roots].any():
        raise ValueError("nodes_truenodeids, nodes_falsenodeids: a tree's first node is not its root")
    # No node has two parents and no root has one, so that this ends.
    level, reached, depth = roots, 0, 0
    while len(level):
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"a tree is deeper than {MAX_DEPTH}")
        reached += len(level)
        level = children[level[branches[level]]].ravel()
    if reached != nodes:
        raise ValueError("nodes_truenodeids, nodes_falsenodeids: nodes in a circle, or without a way to them")
    return depth


def _targets(kind: str, attributes: Attributes, keys: Ids, leaves: NDArray[np.bool_]) -> tuple[int, int]:
    """The number of targets or classes, and the most entries that a leaf has."""
    if kind == "TreeEnsembleRegressor":
        prefix, targets = "target", attributes.get("n_targets", 1)
        if not 1 <= targets <= MAX_TARGETS:
            raise ValueError(f"n_targets is not from 1 to {MAX_TARGETS}")
        if attributes.get("aggregate_function", b"SUM") not in _AGGREGATES:
            raise ValueError("aggregate_function is not SUM, AVERAGE, MIN or MAX")
    else:
        prefix, targets = "class", _classes(attributes, "classlabels_int64s")
    entries = len(attributes.get(f"{prefix}_ids", ()))
    ids = _ids(attributes, f"{prefix}_ids", entries, targets)
    wanted = _ids(attributes, f"{prefix}_treeids", entries) * _MAX_ID
    wanted = wanted + _ids(attributes, f"{prefix}_nodeids", entries)
    if len(attributes.get(f"{prefix}_weights", ())) != entries:
        raise ValueError(f"{prefix}_weights are not {entries} numbers")
    at = _positions(keys, wanted, f"{prefix}_nodeids")
    if not leaves[at].all():
        raise ValueError(f"{prefix}_nodeids names a node that is no leaf")
    if len(np.unique(at * MAX_TARGETS + ids)) != entries:
        raise ValueError(f"{prefix}_ids: a leaf has two weights for one of them")
    counts = np.bincount(at, minlength=len(keys))
    if (counts[leaves] == 0).any():
        raise ValueError(f"{prefix}_nodeids: a leaf has no weight")
    allowed = {0, targets} | ({1} if prefix == "class" and targets == 2 else set())
    if len(attributes.get("base_values", ())) not in allowed:
        raise ValueError(f"base_values are not {targets} numbers")
    return targets, int(counts.max())
