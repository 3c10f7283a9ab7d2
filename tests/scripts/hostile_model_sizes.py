"""Hostile models, second part: sizes, graphs, numbers, trees."""

from __future__ import annotations

from typing import Any

import numpy as np
from hostile_model_parts import (
    ML,
    Mutation,
    array,
    case,
    changed,
    given,
    logistic,
    nodes,
    put,
    trees,
)
from onnx import AttributeProto, TensorProto, helper

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
changed("too few columns", "model-input", put("graph.input.0.type.tensor_type.shape.dim.1.dim_value", 2))
changed("batch of seven", "model-input", put("graph.input.0.type.tensor_type.shape.dim.0.dim_value", 7))
changed("no such output", "model-output", put("graph.output.0.name", "other"))
changed("a weight as the output", "model-output", put("graph.output.0.name", "w"))
changed(
    "output declared with another type", "model-output", put("graph.output.0.type.tensor_type.elem_type", 11)
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
    "an attribute by reference", "model-attribute", put("graph.node.0.attribute.0.ref_attr_name", "other")
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
