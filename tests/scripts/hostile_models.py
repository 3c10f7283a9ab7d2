"""ONNX files that mean harm, or that no package may hold: each with the code that it is refused by.

Run as a program, it checks all of them one after another and prints what each took, so that a crash of a library in
native code is seen from outside.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from atoll.scripts.onnx_models import check_model

# Also as a program, and loaded by path.
sys.path.insert(0, str(Path(__file__).parent))

from hostile_model_parts import (
    CASES,
    DECLARED,
    FEATURES,
    ML,
    MODEL,
    TREE,
    array,
    case,
    changed,
    field,
    given,
    logistic,
    nodes,
    put,
    trees,
    wrap,
)

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


changed("custom operator", "model-operator", put("graph.node.1.op_type", "PyOp"))
changed("custom domain of a node", "model-operator", put("graph.node.1.domain", "ai.onnx.contrib"))
changed("operator with deceiving name", "model-operator", put("graph.node.1.op_type", "Sigmoid\u202e"))
changed("overloaded operator", "model-operator", put("graph.node.1.overload", "other"))
changed("old operators", "model-opset", put("opset_import.0.version", 9))
changed("operators of the future", "model-opset", put("opset_import.0.version", 1 << 40))
changed("format of the future", "model-opset", put("ir_version", 1 << 40))
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
changed("gelu before it existed", "model-operator", put("graph.node.1.op_type", "Gelu"))

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
changed("input of text", "model-type", put("graph.input.0.type.tensor_type.elem_type", TensorProto.STRING))
changed("input of double", "model-input", put("graph.input.0.type.tensor_type.elem_type", TensorProto.DOUBLE))
given(
    "ZipMap",
    "model-operator",
    lambda: nodes(helper.make_node("ZipMap", ["x"], ["y"], domain=ML, classlabels_int64s=[0, 1, 2])),
)
changed("weights of a strange type", "model-type", put("graph.initializer.0.data_type", 999))
changed("half floats", "model-type", put("graph.initializer.0.data_type", TensorProto.FLOAT16))

import hostile_model_sizes  # noqa: E402  # its cases

_ = hostile_model_sizes
__all__ = ["CASES", "DECLARED", "FEATURES", "ML", "MODEL", "TREE", "array", "logistic", "trees", "wrap"]


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
