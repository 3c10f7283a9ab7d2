"""What hostile models are built from: a good model, and ways to change it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from atoll.scripts.manifest import Model

WIDTH = 3
FEATURES = {"a": "int64", "b": "decimal(12,2)", "c": "bool"}
DECLARED: dict[str, Any] = {
    "file": "risk.onnx",
    "inputs": ["a", "b", "c"],
    "output": "y",
    "range": ["0", "1"],
    "step": "0.001",
}
MODEL = Model.parse(DECLARED)
ML = "ai.onnx.ml"

Mutation = Callable[[Any], Any]
CASES: dict[str, tuple[str, Callable[[], bytes]]] = {}


def logistic() -> Any:
    """A good model: Gemm and Sigmoid."""
    weights = [
        numpy_helper.from_array(np.array([[0.5, -0.25, 1.0]], dtype=np.float32), "w"),
        numpy_helper.from_array(np.array([0.125], dtype=np.float32), "b"),
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["s"], transB=1),
        helper.make_node("Sigmoid", ["s"], ["y"]),
    ]
    return wrap(nodes, weights)


def wrap(nodes: list[Any], weights: list[Any], *, output: Any = None, opset: int = 17) -> Any:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", WIDTH])],
        [output or helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])],
        weights,
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(ML, 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


TREE: dict[str, Any] = {
    "n_targets": 1,
    "nodes_treeids": [0, 0, 0, 0, 0],
    "nodes_nodeids": [0, 1, 2, 3, 4],
    "nodes_featureids": [0, 0, 1, 0, 0],
    "nodes_values": [10.0, 0.0, 2.5, 0.0, 0.0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "BRANCH_LT", "LEAF", "LEAF"],
    "nodes_truenodeids": [1, 0, 3, 0, 0],
    "nodes_falsenodeids": [2, 0, 4, 0, 0],
    "target_treeids": [0, 0, 0],
    "target_nodeids": [1, 3, 4],
    "target_ids": [0, 0, 0],
    "target_weights": [0.125, 0.5, 0.875],
}


def trees(**changes: Any) -> Any:
    """A good tree of two branches, or one with changed attributes."""
    return wrap([helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain=ML, **(TREE | changes))], [])


def nodes(*found: Any, weights: tuple[Any, ...] = (), opset: int = 17) -> bytes:
    return bytes(wrap(list(found), list(weights), opset=opset).SerializeToString())


def array(name: str, values: Any, kind: Any = np.float32) -> Any:
    return numpy_helper.from_array(np.array(values, dtype=kind), name)


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def case(name: str, code: str) -> Callable[[Callable[[], bytes]], Callable[[], bytes]]:
    def keep(build: Callable[[], bytes]) -> Callable[[], bytes]:
        assert name not in CASES
        CASES[name] = (code, build)
        return build

    return keep


def changed(name: str, code: str, change: Mutation) -> None:
    """A case that is the good logistic model with one change."""

    def build() -> bytes:
        model = logistic()
        change(model)
        return bytes(model.SerializeToString())

    case(name, code)(build)


def given(name: str, code: str, data: Callable[[], bytes]) -> None:
    case(name, code)(data)


def put(path: str, value: Any) -> Mutation:
    def change(model: Any) -> None:
        target = model
        *way, last = path.split(".")
        for part in way:
            target = target[int(part)] if part.isdigit() else getattr(target, part)
        setattr(target, last, value)

    return change
