"""ONNX files that mean harm, or that no package may hold: each with the code that it is refused by.

Run as a program, it checks all of them one after another and prints what each took, so that a crash of a library in
native code is seen from outside.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from atoll.scripts.manifest import Model
from atoll.scripts.onnx_models import check_model

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


# --- files


def _external(model: Any, location: str) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "12")):
        tensor.external_data.add(key=key, value=value)


changed("external data", "model-external-data", lambda m: _external(m, "/etc/passwd"))
changed(
    "the runtime's memory by address", "model-external-data", lambda m: _external(m, "*/_ORT_MEM_ADDR_/*")
)


@case("external data without entries", "model-external-data")
def _() -> bytes:
    model = logistic()
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    return bytes(model.SerializeToString())


@case("external data in a constant", "model-external-data")
def _() -> bytes:
    tensor = array("", [[1.0]])
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    return nodes(
        helper.make_node("Constant", [], ["k"], value=tensor),
        helper.make_node("ReduceSum", ["x"], ["s"]),
        helper.make_node("Add", ["s", "k"], ["y"]),
    )


# --- bytes

given("nothing", "model-size", lambda: b"")
given("no protobuf", "model-format", lambda: b"MZ\x90\x00" + bytes(range(256)))
given("text", "model-format", lambda: b"import os; os.system('id')")
given("cut off", "model-format", lambda: bytes(logistic().SerializeToString())[:-9])
given("too many bytes", "model-size", lambda: bytes((4 << 20) + 1))
given("a graph cut into two", "model-format", lambda: bytes(logistic().SerializeToString()) + field(7, b""))
given(
    "a field unknown to the format",
    "model-format",
    lambda: bytes(logistic().SerializeToString()) + field(900, b"x"),
)
given("the runtime's own format", "model-format", lambda: b"\x1c\x00\x00\x00ORTM" + bytes(200))
# The same model begins like the runtime's own format and is valid ONNX: a name of its producer, well placed.
given(
    "two formats in one",
    "model-format",
    lambda: b"\x08\x08\x12\x04ORTM" + bytes(logistic().SerializeToString()),
)
given("a bomb of nodes", "model-size", lambda: b"\x08\x08" + field(7, b"\x0a\x00" * 2_000_000))
given("a bomb of weights", "model-size", lambda: b"\x08\x08" + field(7, b"\x2a\x00" * 2_000_000))
given("a bomb of attributes", "model-size", lambda: field(7, field(1, b"\x2a\x00" * 2_000_000)))
given(
    "a bomb of dimensions",
    "model-size",
    lambda: field(7, field(11, field(2, field(1, field(2, b"\x0a\x00" * 2_000_000))))),
)
given("a bomb of versions", "model-size", lambda: b"\x42\x00" * 2_000_000)
given(
    "a bomb before the graph",
    "model-format",
    lambda: field(7, b"\x0a\x00" * 2_000_000) + bytes(logistic().SerializeToString()),
)


@case("a bomb of names", "model-size")
def _() -> bytes:
    model = logistic()
    model.graph.node[0].input.extend(["w"] * 1_000_000)
    return bytes(model.SerializeToString())


@case("a bomb of whole numbers", "model-size")
def _() -> bytes:
    attribute = field(1, b"perm") + field(8, b"\x01" * 4_000_000) + b"\xa0\x01\x07"
    node = field(1, b"x") + field(2, b"y") + field(4, b"Transpose") + field(5, attribute)
    return _with_node(node)


def _with_node(node: bytes) -> bytes:
    """A model of one node, given by its bytes."""
    held = wrap([helper.make_node("Relu", ["x"], ["y"])], [])
    held.graph.ClearField("node")
    inner = field(1, node) + bytes(held.graph.SerializeToString())
    held.ClearField("graph")
    return bytes(held.SerializeToString()) + field(7, inner)


given(
    "an operator's name that is no text",
    "model-operator",
    lambda: _with_node(field(1, b"x") + field(2, b"y") + field(4, b"Re\xff\xfe")),
)
given(
    "a value's name that is no text",
    "model-graph",
    lambda: _with_node(field(1, b"x") + field(2, b"y\xff") + field(4, b"Relu")),
)


@case("a bomb of types in types", "model-type")
def _() -> bytes:
    model = logistic()
    kind = model.graph.input[0].type
    kind.Clear()
    for _ in range(60):
        kind = kind.sequence_type.elem_type
    kind.tensor_type.elem_type = 1
    return bytes(model.SerializeToString())


# --- graphs in graphs, functions, domains


def _branch(value: float) -> Any:
    made = helper.make_node("Constant", [], ["k"], value_float=value)
    return helper.make_graph([made], "b", [], [helper.make_tensor_value_info("k", TensorProto.FLOAT, [])])


given(
    "If",
    "model-subgraph",
    lambda: nodes(
        helper.make_node("If", ["c"], ["y"], then_branch=_branch(1.0), else_branch=_branch(0.0)),
        weights=(array("c", True, np.bool_),),
    ),
)


@case("an endless Loop", "model-subgraph")
def _() -> bytes:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["again"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1, 3]),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [1, 3]),
        ],
    )
    return nodes(
        helper.make_node("Loop", ["", "c", "x"], ["y"], body=body), weights=(array("c", True, np.bool_),)
    )


given("Loop without a body", "model-operator", lambda: nodes(helper.make_node("Loop", ["", "", "x"], ["y"])))
given("Scan without a body", "model-operator", lambda: nodes(helper.make_node("Scan", ["x"], ["y"])))


@case("graphs nested 90 deep", "model-subgraph")
def _() -> bytes:
    inner = b""
    for _ in range(20):
        inner = field(1, field(5, field(6, inner)))
    return b"\x08\x08" + field(7, inner)


@case("functions that call each other", "model-function")
def _() -> bytes:
    model = logistic()
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("evil", 1)]
    for name, other in (("F", "G"), ("G", "F")):
        call = helper.make_node(other, ["v"], ["r"], domain="evil")
        model.functions.append(helper.make_function("evil", name, ["v"], ["r"], [call], imports))
    model.opset_import.append(helper.make_opsetid("evil", 1))
    model.graph.node.append(helper.make_node("F", ["s"], ["z"], domain="evil"))
    return bytes(model.SerializeToString())


changed(
    "custom domain",
    "model-operator",
    lambda m: m.opset_import.append(helper.make_opsetid("com.microsoft", 1)),
)


def _set(path: str, value: Any) -> Mutation:
    def change(model: Any) -> None:
        target = model
        *way, last = path.split(".")
        for part in way:
            target = target[int(part)] if part.isdigit() else getattr(target, part)
        setattr(target, last, value)

    return change


changed("custom operator", "model-operator", _set("graph.node.1.op_type", "PyOp"))
changed("custom domain of a node", "model-operator", _set("graph.node.1.domain", "ai.onnx.contrib"))
changed("operator with deceiving name", "model-operator", _set("graph.node.1.op_type", "Sigmoid\u202e"))
changed("overloaded operator", "model-operator", _set("graph.node.1.overload", "other"))
changed("old operators", "model-opset", _set("opset_import.0.version", 9))
changed("operators of the future", "model-opset", _set("opset_import.0.version", 1 << 40))
changed("format of the future", "model-opset", _set("ir_version", 1 << 40))
changed(
    "one domain in two versions", "model-opset", lambda m: m.opset_import.append(helper.make_opsetid("", 18))
)
changed("no version", "model-opset", lambda m: m.ClearField("opset_import"))
changed(
    "metadata that sets the runtime up",
    "model-metadata",
    lambda m: m.metadata_props.add(key="ort_config", value='{"session_options": {"enable_profiling": true}}'),
)
changed(
    "metadata of a node", "model-metadata", lambda m: m.graph.node[0].metadata_props.add(key="k", value="v")
)
changed("training data", "model-format", lambda m: m.training_info.add().initialization.node.add())
changed("gelu before it existed", "model-operator", _set("graph.node.1.op_type", "Gelu"))

# --- chance, text, maps

given(
    "RandomNormal", "model-operator", lambda: nodes(helper.make_node("RandomNormal", [], ["y"], shape=[1, 1]))
)
given(
    "RandomUniformLike", "model-operator", lambda: nodes(helper.make_node("RandomUniformLike", ["x"], ["y"]))
)
given("Bernoulli", "model-operator", lambda: nodes(helper.make_node("Bernoulli", ["x"], ["y"])))
given("Multinomial", "model-operator", lambda: nodes(helper.make_node("Multinomial", ["x"], ["y"])))


@case("dropout in training", "model-attribute")
def _() -> bytes:
    weights = (array("r", 0.5), array("t", True, np.bool_), array("w", [[1.0], [1.0], [1.0]]))
    return nodes(
        helper.make_node("Dropout", ["x", "r", "t"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["y"]),
        weights=weights,
    )


@case("whole numbers divided, which ends the process for one row in 2^64", "model-type")
def _() -> bytes:
    return nodes(
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        helper.make_node("Div", ["i", "i"], ["q"]),
        helper.make_node("Cast", ["q"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["f"], ["y"]),
    )


@case("text as a weight", "model-type")
def _() -> bytes:
    model = logistic()
    model.graph.initializer.append(helper.make_tensor("t", TensorProto.STRING, [1], [b"secret"]))
    return bytes(model.SerializeToString())


given(
    "text as a constant",
    "model-type",
    lambda: nodes(helper.make_node("Constant", [], ["y"], value_string="secret")),
)
given(
    "labels that are text",
    "model-tree",
    lambda: nodes(
        helper.make_node(
            "TreeEnsembleClassifier",
            ["x"],
            ["l", "y"],
            domain=ML,
            classlabels_strings=["no", "yes"],
            **{k.replace("target_", "class_"): v for k, v in TREE.items() if k != "n_targets"},
        )
    ),
)
changed("input of text", "model-type", _set("graph.input.0.type.tensor_type.elem_type", TensorProto.STRING))
changed(
    "input of double", "model-input", _set("graph.input.0.type.tensor_type.elem_type", TensorProto.DOUBLE)
)
given(
    "ZipMap",
    "model-operator",
    lambda: nodes(helper.make_node("ZipMap", ["x"], ["y"], domain=ML, classlabels_int64s=[0, 1, 2])),
)
changed("weights of a strange type", "model-type", _set("graph.initializer.0.data_type", 999))
changed("half floats", "model-type", _set("graph.initializer.0.data_type", TensorProto.FLOAT16))

# --- sizes


def _dims(*dims: int) -> Mutation:
    def change(model: Any) -> None:
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)

    return change


changed("a huge tensor declared", "model-size", _dims(1_000_000, 1_000_000))
changed("a tensor of more than memory", "model-shape", _dims(1 << 62, 1 << 62))
changed("a negative dimension", "model-shape", _dims(-1, 3))
changed("an empty tensor", "model-shape", _dims(0, 3))
changed("too many dimensions", "model-shape", _dims(*[1] * 1000, 3))
changed("fewer numbers than declared", "model-format", _dims(1, 300))
changed(
    "numbers in two places", "model-format", lambda m: m.graph.initializer[0].float_data.extend([1.0] * 3)
)


@case("values that double 60 times", "model-size")
def _() -> bytes:
    made = [helper.make_node("Concat", [f"v{i}", f"v{i}"], [f"v{i + 1}"], axis=1) for i in range(60)]
    made[0].input[:] = ["x", "x"]
    return nodes(*made, helper.make_node("ReduceSum", ["v60"], ["y"]))


@case("an outer product of a million squared", "model-size")
def _() -> bytes:
    shapes = (
        array("row", [1, -1], np.int64),
        array("column", [-1, 1], np.int64),
        array("k", np.ones((1, 1000))),
    )
    return nodes(
        helper.make_node("MatMul", ["ones", "k"], ["v"]),
        helper.make_node("Reshape", ["v", "row"], ["r"]),
        helper.make_node("Reshape", ["v", "column"], ["c"]),
        helper.make_node("MatMul", ["c", "r"], ["p"]),
        helper.make_node("MatMul", ["p", "p"], ["q"]),
        helper.make_node("ReduceSum", ["q"], ["y"]),
        weights=(*shapes, array("ones", np.ones((1000, 1)))),
    )


@case("a billion multiply-adds", "model-operations")
def _() -> bytes:
    weights = (
        array("m", np.ones((400, 400))),
        array("up", np.ones((3, 400))),
        array("down", np.ones((400, 1))),
    )
    made = [helper.make_node("Mul", ["m", "m"], ["p0"])]
    made += [helper.make_node("MatMul", [f"p{i}", "m"], [f"p{i + 1}"]) for i in range(15)]
    made += [
        helper.make_node("MatMul", ["x", "up"], ["u"]),
        helper.make_node("MatMul", ["u", "p15"], ["v"]),
        helper.make_node("MatMul", ["v", "down"], ["y"]),
    ]
    return nodes(*made, weights=weights)


@case("dimensions that pile up", "model-shape")
def _() -> bytes:
    axes = array("axes", [0, 1, 2, 3], np.int64)
    made = [helper.make_node("Unsqueeze", [f"v{i}", "axes"], [f"v{i + 1}"]) for i in range(3000)]
    made[0].input[0] = "x"
    return nodes(*made, helper.make_node("ReduceSum", ["v3000"], ["y"]), weights=(axes,))


@case("a shape that depends on data", "model-shape")
def _() -> bytes:
    return nodes(
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        helper.make_node("Flatten", ["i"], ["j"], axis=0),
        helper.make_node("Reshape", ["x", "j"], ["y"]),
    )


# Each of these ended the process inside the library's own inference of shapes, or reached past an array's end there.
given(
    "a split into more parts than said",
    "model-shape",
    lambda: nodes(helper.make_node("Split", ["x"], ["y", "u", "v"], num_outputs=1), opset=18),
)
given(
    "an axis far outside",
    "model-shape",
    lambda: nodes(helper.make_node("Softmax", ["x"], ["y"], axis=-(2**63))),
)
given(
    "a permutation that is none",
    "model-shape",
    lambda: nodes(helper.make_node("Transpose", ["x"], ["y"], perm=[1, 1])),
)
given(
    "a slice in steps of the smallest number",
    "model-shape",
    lambda: nodes(
        helper.make_node("Slice", ["x", "s", "e", "a", "t"], ["y"]),
        weights=(
            array("s", [0], np.int64),
            array("e", [3], np.int64),
            array("a", [1], np.int64),
            array("t", [-(2**63)], np.int64),
        ),
    ),
)
given(
    "a shape of two unknowns",
    "model-shape",
    lambda: nodes(helper.make_node("Reshape", ["x", "s"], ["y"]), weights=(array("s", [-1, -1], np.int64),)),
)
given(
    "a normalisation with too few scales",
    "model-shape",
    lambda: nodes(
        helper.make_node("BatchNormalization", ["x", "s", "s", "s", "s"], ["y"]), weights=(array("s", [1.0]),)
    ),
)
given(
    "a normalisation with scales of another shape",
    "model-shape",
    lambda: nodes(
        helper.make_node("LayerNormalization", ["x", "s"], ["y"]), weights=(array("s", [[1.0]] * 3),)
    ),
)
given(
    "batch normalisation in training",
    "model-attribute",
    lambda: nodes(
        helper.make_node("BatchNormalization", ["x", "s", "s", "s", "s"], ["y"], training_mode=1),
        weights=(array("s", [1.0] * 3),),
    ),
)
given(
    "offsets and scales that are not equally many",
    "model-attribute",
    lambda: nodes(helper.make_node("Scaler", ["x"], ["y"], domain=ML, offset=[0.0], scale=[1.0] * 3)),
)
given("a needed input left out", "model-attribute", lambda: nodes(helper.make_node("Add", ["x", ""], ["y"])))
given("a needed input missing", "model-attribute", lambda: nodes(helper.make_node("Gemm", ["x"], ["y"])))
given("a shape out of Shape", "model-operator", lambda: nodes(helper.make_node("Shape", ["x"], ["y"])))
given(
    "too many nodes",
    "model-size",
    lambda: nodes(*[helper.make_node("Relu", ["x"], [f"v{i}"]) for i in range(4097)]),
)

# --- the graph


@case("nodes in a circle", "model-graph")
def _() -> bytes:
    return nodes(helper.make_node("Add", ["x", "v"], ["u"]), helper.make_node("Relu", ["u"], ["v"]))


changed(
    "a value that is made twice",
    "model-graph",
    lambda m: m.graph.node.append(helper.make_node("Relu", ["s"], ["y"])),
)
changed(
    "a weight named as the input",
    "model-graph",
    lambda m: m.graph.initializer.append(array("x", [[1.0, 2.0, 3.0]])),
)
changed(
    "a value without a name",
    "model-attribute",
    lambda m: m.graph.node.append(helper.make_node("Relu", ["s"], [""])),
)
changed("wrong ranks", "model-shape", _dims(3))
changed(
    "two inputs",
    "model-input",
    lambda m: m.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 3])),
)
changed("too few columns", "model-input", _set("graph.input.0.type.tensor_type.shape.dim.1.dim_value", 2))
changed("batch of seven", "model-input", _set("graph.input.0.type.tensor_type.shape.dim.0.dim_value", 7))
changed("no such output", "model-output", _set("graph.output.0.name", "other"))
changed("a weight as the output", "model-output", _set("graph.output.0.name", "w"))
changed(
    "output declared with another type", "model-output", _set("graph.output.0.type.tensor_type.elem_type", 11)
)


@case("three numbers a row", "model-output")
def _() -> bytes:
    return nodes(helper.make_node("Sigmoid", ["x"], ["y"]))


# --- numbers and attributes

for _name, _value in (("NaN", float("nan")), ("infinity", float("inf"))):
    changed(
        f"{_name} as a weight",
        "model-weights",
        lambda m, v=_value: m.graph.initializer[0].CopyFrom(array("w", [[1.0, v, 1.0]])),
    )
    changed(
        f"{_name} as an attribute",
        "model-weights",
        lambda m, v=_value: m.graph.node[0].attribute.add(name="alpha", type=1, f=v),
    )


@case("truth values of 7", "model-weights")
def _() -> bytes:
    flag = array("t", [True], np.bool_)
    flag.raw_data = b"\x07"
    return nodes(helper.make_node("Where", ["t", "x", "x"], ["y"]), weights=(flag,))


changed(
    "an unknown attribute",
    "model-attribute",
    lambda m: m.graph.node[0].attribute.append(helper.make_attribute("path", "/etc")),
)
changed(
    "an attribute of the wrong type",
    "model-attribute",
    lambda m: m.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("transB", [1, 2, 3])),
)
changed(
    "an attribute twice",
    "model-attribute",
    lambda m: m.graph.node[0].attribute.append(helper.make_attribute("transB", 0)),
)
changed(
    "an attribute with two values",
    "model-attribute",
    lambda m: m.graph.node[0].attribute[0].ints.extend([1, 2]),
)
changed(
    "an attribute by reference", "model-attribute", _set("graph.node.0.attribute.0.ref_attr_name", "other")
)


@case("an attribute that is a sparse tensor", "model-attribute")
def _() -> bytes:
    model = logistic()
    node = model.graph.node.add(op_type="Constant", output=["k"])
    attribute = node.attribute.add(name="sparse_value", type=AttributeProto.SPARSE_TENSOR)
    attribute.sparse_tensor.dims.extend([1 << 40])
    return bytes(model.SerializeToString())


@case("sparse weights that fill memory when spread", "model-type")
def _() -> bytes:
    model = logistic()
    sparse = model.graph.sparse_initializer.add()
    sparse.dims.extend([1 << 40])
    sparse.values.CopyFrom(array("big", [1.0]))
    sparse.indices.CopyFrom(array("", [0], np.int64))
    return bytes(model.SerializeToString())


# --- trees


def tree(name: str, **changes: Any) -> None:
    given(name, "model-tree", lambda: bytes(trees(**changes).SerializeToString()))


tree("a tree in a circle", nodes_truenodeids=[1, 0, 2, 0, 0])
tree("a tree whose branch leads back to the root", nodes_truenodeids=[1, 0, 0, 0, 0])
tree("a branch to two parents", nodes_truenodeids=[1, 0, 1, 0, 0])
tree("a branch to nowhere", nodes_falsenodeids=[2, 0, 77, 0, 0])
tree("a branch to a negative node", nodes_falsenodeids=[2, 0, -4, 0, 0])
tree("a node without a way to it", nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF", "LEAF", "LEAF"])
tree(
    "a circle apart from the root",
    nodes_modes=["LEAF", "BRANCH_LEQ", "BRANCH_LT", "LEAF", "LEAF"],
    nodes_truenodeids=[0, 2, 1, 0, 0],
    nodes_falsenodeids=[0, 3, 4, 0, 0],
    target_nodeids=[0, 3, 4],
)
tree("a feature beyond the last", nodes_featureids=[0, 0, 1_000_000, 0, 0])
tree("a negative feature", nodes_featureids=[0, 0, -1_000_000, 0, 0])
tree("a feature beyond the last at a leaf", nodes_featureids=[0, 3, 1, 0, 0])
tree("a target beyond the last", target_ids=[0, 0, 500_000])
tree("a weight at no leaf", target_nodeids=[1, 3, 2])
tree("a weight at no node", target_nodeids=[1, 3, 99])
tree("a weight twice", target_nodeids=[1, 3, 3])
tree(
    "a leaf without weight",
    target_nodeids=[1, 3],
    target_treeids=[0, 0],
    target_ids=[0, 0],
    target_weights=[0.5, 0.5],
)
tree("fewer values than nodes", nodes_values=[10.0])
tree("fewer weights than leaves", target_weights=[0.125])
tree("a comparison unknown", nodes_modes=["BRANCH_MEMBER", "LEAF", "BRANCH_LT", "LEAF", "LEAF"])
tree("too many targets", n_targets=1 << 40)
tree("no target", n_targets=0)
tree("two base values", base_values=[0.0, 1.0])
tree("a node twice", nodes_nodeids=[0, 1, 2, 3, 3])
tree("a tree in two pieces", nodes_treeids=[0, 1, 0, 1, 0])
tree("a transformation unknown", post_transform="PROBIT")
tree("an aggregate unknown", aggregate_function="LAST")
given(
    "an empty tree",
    "model-tree",
    lambda: nodes(helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain=ML, n_targets=1)),
)


@case("a tree of ten thousand levels", "model-tree")
def _() -> bytes:
    levels = 10_000
    count = 2 * levels + 1
    branches = [i % 2 == 0 and i < count - 1 for i in range(count)]
    leaves = [i for i, branch in enumerate(branches) if not branch]
    return bytes(
        trees(
            nodes_treeids=[0] * count,
            nodes_nodeids=list(range(count)),
            nodes_featureids=[0] * count,
            nodes_values=[0.0] * count,
            nodes_modes=["BRANCH_LT" if branch else "LEAF" for branch in branches],
            nodes_truenodeids=[i + 1 if branch else 0 for i, branch in enumerate(branches)],
            nodes_falsenodeids=[i + 2 if branch else 0 for i, branch in enumerate(branches)],
            target_treeids=[0] * len(leaves),
            target_nodeids=leaves,
            target_ids=[0] * len(leaves),
            target_weights=[0.5] * len(leaves),
        ).SerializeToString()
    )


given(
    "coefficients beyond the row",
    "model-attribute",
    lambda: nodes(
        helper.make_node("LinearRegressor", ["x"], ["y"], domain=ML, coefficients=[1.0], targets=1)
    ),
)
given(
    "a scale for half of the columns",
    "model-attribute",
    lambda: nodes(helper.make_node("Scaler", ["x"], ["y"], domain=ML, offset=[0.0, 0.0], scale=[1.0] * 3)),
)


def main() -> None:
    check_model(bytes(logistic().SerializeToString()), "risk", MODEL, FEATURES)  # loads the libraries
    for name, (_, build) in CASES.items():
        data = build()
        print(json.dumps({"name": name}), flush=True)
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        facts = check_model(data, "risk", MODEL, FEATURES)
        seconds = time.perf_counter() - start
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        found = [[f.code, f.place, f.text] for f in facts.findings]
        print(
            json.dumps({"name": name, "findings": found, "seconds": seconds, "mebibytes": grown}), flush=True
        )


if __name__ == "__main__":
    sys.exit(main())
