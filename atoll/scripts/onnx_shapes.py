"""What decides the shapes of a node's outputs, held to its inputs before a library computes with it.

The inference of shapes in `onnx` takes some of these numbers on trust, and ends the process where they are wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from atoll.scripts.onnx_operators import Shape

MAX_DIMENSION = 1_000_000
# Whole numbers of plain operators are switches, axes and types.
_MAX_SWITCH = 64

# Operators whose `axis` lies in their first input.
_AXIS = ("ArgMax", "ArgMin", "Concat", "Gather", "LayerNormalization", "LogSoftmax", "Softmax", "Split")
_REDUCTIONS = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Squeeze")


def check_shape(
    kind: str,
    attributes: Mapping[str, Any],
    shapes: Sequence[Shape | None],
    constants: Mapping[int, Sequence[int]],
    outputs: int,
) -> None:
    """Nothing if a plain node's attributes and constants fit its inputs.

    Args:
        kind: the operator's name.
        attributes: by name, of the types that the operator defines.
        shapes: of each input; None for one that is left out.
        constants: by position, the numbers of the inputs that decide shapes.
        outputs: how many the node has.

    Raises:
        ValueError: says what does not fit.
    """
    for name, value in attributes.items():
        numbers = [value] if isinstance(value, int) else value if isinstance(value, list) else []
        whole = [each for each in numbers if isinstance(each, int)]
        if kind != "Constant" and any(abs(each) > _MAX_SWITCH for each in whole):
            raise ValueError(f"attribute {name} is not from -{_MAX_SWITCH} to {_MAX_SWITCH}")
    if not shapes:
        return
    first = shapes[0]
    if first is None:
        raise ValueError("the first input is left out")
    rank = len(first)
    if kind in _AXIS:
        axis = attributes.get("axis", -1)
        _axes([axis], rank, "axis")
        if kind == "LayerNormalization" and any(shape != first[axis:] for shape in shapes[1:]):
            raise ValueError("scale and bias have not one number for each that is normalised")
    elif kind == "Flatten" and not -rank <= attributes.get("axis", 1) <= rank:
        raise ValueError("axis is outside the input's dimensions")
    if "perm" in attributes and sorted(attributes["perm"]) != list(range(rank)):
        raise ValueError("perm does not name each dimension once")
    if kind in _REDUCTIONS:
        _axes(constants.get(1, attributes.get("axes", ())), rank, "axes")
    elif kind == "Unsqueeze":
        _axes(constants.get(1, ()), rank + len(constants.get(1, ())), "axes")
    elif kind == "Split":
        _split(attributes, first, constants.get(1), outputs)
    elif kind == "Slice":
        _slice(rank, constants)
    elif kind == "Reshape":
        _reshape(attributes, first, constants.get(1, ()))
    elif kind == "Concat" and any(shape is None or len(shape) != rank for shape in shapes):
        raise ValueError("the inputs have not the same number of dimensions")
    elif kind == "BatchNormalization" and any(shape != first[1:2] for shape in shapes[1:]):
        raise ValueError("scale, bias, mean and variance have not one number for each column")
    elif kind in ("Gemm", "MatMul") and any(shape is None or len(shape) < 1 for shape in shapes[:2]):
        raise ValueError("a factor has no dimensions")


def _axes(axes: Sequence[int], rank: int, name: str) -> None:
    if any(not -rank <= axis < rank for axis in axes):
        raise ValueError(f"{name} is outside the input's dimensions")
    if len({axis % rank for axis in axes}) != len(axes):
        raise ValueError(f"{name} names a dimension twice")


def _split(attributes: Mapping[str, Any], shape: Shape, sizes: Sequence[int] | None, outputs: int) -> None:
    length = shape[attributes.get("axis", 0)]
    if attributes.get("num_outputs", outputs) != outputs:
        raise ValueError("num_outputs is not the number of outputs")
    if sizes is None:
        if length % outputs:
            raise ValueError(f"{length} columns do not split into {outputs} equal parts")
    elif len(sizes) != outputs or any(size < 1 for size in sizes) or sum(sizes) != length:
        raise ValueError(f"the sizes are not {outputs} that make {length}")


def _slice(rank: int, constants: Mapping[int, Sequence[int]]) -> None:
    count = len(constants.get(1, ()))
    if not count or any(len(values) != count for values in constants.values()):
        raise ValueError("starts, ends, axes and steps are not equally many")
    if 3 not in constants and count > rank:
        raise ValueError("starts are more than the input's dimensions")
    _axes(constants.get(3, ()), rank, "axes")
    if any(not 1 <= abs(step) <= MAX_DIMENSION for step in constants.get(4, ())):
        raise ValueError(f"a step is not from 1 to {MAX_DIMENSION}")


def _reshape(attributes: Mapping[str, Any], shape: Shape, wanted: Sequence[int]) -> None:
    if attributes.get("allowzero"):
        raise ValueError("allowzero: no dimension is empty")
    if any(not -1 <= each <= MAX_DIMENSION for each in wanted) or list(wanted).count(-1) > 1:
        raise ValueError("the shape has an entry that is neither -1, 0 nor a length, or -1 twice")
    if any(each == 0 and position >= len(shape) for position, each in enumerate(wanted)):
        raise ValueError("the shape has a 0 for a dimension that the input does not have")
    known = prod(shape[position] if each == 0 else each for position, each in enumerate(wanted) if each != -1)
    total = prod(shape)
    if total % known or (-1 not in wanted and total != known):
        raise ValueError(f"{total} numbers do not take that shape")
