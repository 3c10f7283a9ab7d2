"""Models in packages: what an ONNX file may be, shown before anything runs it.

The bytes are an author's, who may mean harm, and the libraries that read them are large. So the order is: how many
parts the file has, counted without building them; then what each part is, against allow-lists; then shapes, node by
node; and only then the checker of `onnx`. What passes has fixed shapes, a bound on its work and memory, and nothing
that reads a file, draws at random, or loops.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from atoll.scripts import onnx_operators as allowed
from atoll.scripts.finding import Finding
from atoll.scripts.manifest import Model, column_facts
from atoll.scripts.onnx_operators import Shape
from atoll.scripts.onnx_parts import (
    MAX_RANK,
    MAX_WEIGHTS,
    RefusedError,
    check_element,
    count_parts,
    load_library,
    read_attributes,
    shown,
    tensor_shape,
    value_type,
)
from atoll.scripts.onnx_shapes import check_shape
from atoll.scripts.onnx_trees import check_ml

MAX_BYTES = 4 << 20
MAX_NODES = 4096
MAX_ELEMENTS = 4_000_000
MAX_OPERATIONS = 16_000_000
MAX_NAMES = 1 << 14
MAX_OUTPUTS = 8


@dataclass(frozen=True)
class ModelFacts:
    """What a model's file is.

    Attributes:
        findings: what it must not have; empty if it may run.
        operators: the operators that it uses, sorted; those of ai.onnx.ml with their domain.
        weights: the numbers that it holds.
        operations: a bound on multiply-adds, or steps of like cost, for one row.
    """

    findings: tuple[Finding, ...]
    operators: tuple[str, ...] = ()
    weights: int = 0
    operations: int = 0


@dataclass
class _State:
    """What is known while the nodes are read in their order."""

    types: dict[str, tuple[int, Shape]] = field(default_factory=dict)
    # Small whole numbers that decide shapes.
    constants: dict[str, Any] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    weights: int = 0
    elements: int = 0
    operations: int = 0


def _opsets(model: Any) -> dict[str, int]:
    low, high = allowed.IR_VERSIONS
    if not low <= model.ir_version <= high:
        raise RefusedError("model-opset", f"IR version {model.ir_version}; write one from {low} to {high}")
    found: dict[str, int] = {}
    for each in model.opset_import:
        if each.domain not in allowed.OPSETS:
            text = (
                f"operators of the domain {shown(each.domain)} are not allowed; use ONNX's own and ai.onnx.ml"
            )
            raise RefusedError("model-operator", text)
        name = each.domain or "ai.onnx"
        # Some exporters name a domain twice, with the same version.
        if found.get(each.domain, each.version) != each.version:
            raise RefusedError("model-opset", f"{name} is imported in two versions; import it once")
        low, high = allowed.OPSETS[each.domain]
        if not low <= each.version <= high:
            raise RefusedError(
                "model-opset",
                f"{name} version {each.version}; export with one from {low} to {high}, or convert it",
            )
        found[each.domain] = each.version
    if not found:
        raise RefusedError("model-opset", "the model imports no operators; export it again")
    return found


def _operators(graph: Any, opsets: dict[str, int]) -> tuple[str, ...]:
    """The names of the operators, once all are allowed."""
    used = set()
    names = 0
    for position, node in enumerate(graph.node):
        where = f":node {position + 1} {shown(node.op_type)}"
        if node.overload:
            raise RefusedError("model-operator", "the node calls a function of the model; inline it", where)
        if node.domain not in opsets:
            raise RefusedError(
                "model-operator", f"domain {shown(node.domain or 'ai.onnx')} is not imported", where
            )
        if node.op_type not in allowed.OPERATORS[node.domain]:
            advice = allowed.ADVICE.get(
                node.op_type, "the reference page on script models lists what is allowed"
            )
            raise RefusedError("model-operator", f"{shown(node.op_type)} is not allowed: {advice}", where)
        names += len(node.input) + len(node.output)
        if names > MAX_NAMES:
            raise RefusedError("model-size", f"the nodes have more than {MAX_NAMES} inputs and outputs")
        used.add(f"{node.domain}.{node.op_type}" if node.domain else node.op_type)
    return tuple(sorted(used))


# --- shapes, node by node


def _add(state: _State, name: str, element: int, shape: Shape, what: str) -> None:
    if type(name) is not str or not name or name in state.types:
        raise RefusedError("model-graph", f"{what} has no name of its own, or one that is no text")
    if len(shape) > MAX_RANK or any(d < 1 for d in shape):
        raise RefusedError("model-shape", f"{what} has more than {MAX_RANK} dimensions, or an empty one")
    state.elements += prod(shape)
    if prod(shape) > MAX_WEIGHTS or state.elements > MAX_ELEMENTS:
        raise RefusedError(
            "model-size", f"{what} makes the values of one row larger than {MAX_ELEMENTS} numbers"
        )
    state.types[name] = (element, shape)


def _weigh(state: _State, numbers: int) -> None:
    state.weights += numbers
    if state.weights > MAX_WEIGHTS:
        raise RefusedError(
            "model-size", f"the model holds more than {MAX_WEIGHTS} numbers; use a smaller one"
        )


def _keep_constant(state: _State, name: str, tensor: Any, shape: Shape) -> None:
    if tensor.data_type in (6, 7) and prod(shape) <= 64:
        state.constants[name] = tensor


def _start(graph: Any, model: Model, state: _State) -> None:
    """The input and the weights."""
    for tensor in graph.initializer:
        what = f"weight {shown(tensor.name)}"
        shape = tensor_shape(tensor, what)
        _weigh(state, prod(shape))
        _add(state, tensor.name, tensor.data_type, shape, what)
        _keep_constant(state, tensor.name, tensor, shape)
    width = len(model.inputs)
    if len(graph.input) != 1:
        raise RefusedError(
            "model-input", f"the model has {len(graph.input)} inputs; give it one, float32 [N, {width}]"
        )
    what = f"input {shown(graph.input[0].name)}"
    element, dims = value_type(graph.input[0], what)
    if element != 1 or len(dims) != 2 or dims[0] not in (None, 1) or dims[1] != width:
        raise RefusedError(
            "model-input", f"{what} is not float32 [N, {width}], one column for each of the model's inputs"
        )
    _add(state, graph.input[0].name, 1, (1, width), what)


def _node(onnx: Any, node: Any, opsets: dict[str, int], state: _State, ir: int) -> None:
    """Adds what a node gives to what is known."""
    kind = node.op_type
    version = opsets[node.domain]
    if not onnx.defs.has(kind, version, node.domain):
        raise RefusedError(
            "model-operator", f"{kind} does not exist in version {version}, which the model imports"
        )
    schema = onnx.defs.get_schema(kind, version, node.domain)
    if schema.deprecated:
        raise RefusedError(
            "model-operator", f"{kind} is deprecated in version {version}, which the model imports"
        )
    attributes, numbers = read_attributes(node, schema)
    _weigh(state, numbers)
    if attributes.get("stash_type", 1) != 1:
        raise RefusedError("model-attribute", "stash_type is not 1; normalise in float32")
    if attributes.get("training_mode"):
        raise RefusedError("model-attribute", "the node is in training mode; export the model for inference")
    for name in node.input:
        if name and name not in state.types:
            text = f"input {shown(name)} is not there yet: nodes in a circle, or out of order"
            raise RefusedError("model-graph", text)
    for position in allowed.CONSTANT_INPUTS.get(kind, ()):
        if (
            position < len(node.input)
            and node.input[position]
            and node.input[position] not in state.constants
        ):
            raise RefusedError(
                "model-shape", f"input {position + 1} decides a shape and is no constant of the file"
            )
    outputs = list(node.output)
    if not 1 <= len(outputs) <= allowed.OUTPUTS.get(kind, 1) or not all(outputs):
        raise RefusedError(
            "model-attribute", "the node has outputs that only training needs, or without a name"
        )
    # The format's library gives bytes for a name that is no UTF-8.
    if any(type(name) is not str for name in outputs):
        raise RefusedError("model-graph", "an output has a name that is no text")
    if len(node.input) > allowed.INPUTS.get(kind, MAX_NAMES):
        raise RefusedError("model-attribute", "the node has inputs that only training needs")
    _arity(node, schema)
    inputs = {name: state.types[name] for name in node.input if name}
    if kind in allowed.FLOAT32_ONLY and any(element != 1 for element, _ in inputs.values()):
        raise RefusedError("model-type", f"{kind} runs over float32 alone; cast its inputs")
    if kind in allowed.FLOATS_ONLY and any(element not in (1, 11) for element, _ in inputs.values()):
        raise RefusedError("model-type", f"{kind} runs over float32 and double alone; cast its inputs")
    if not node.domain:
        _fit(onnx, node, attributes, state)
    if kind == "ArrayFeatureExtractor":
        given, cost = _columns(inputs[node.input[0]], inputs[node.input[1]])
    elif node.domain:
        given, cost = _ml(kind, node, attributes, inputs)
    else:
        given = _infer(onnx, node, schema, inputs, state, opsets, ir)
        shapes = [state.types[name][1] for name in node.input if name]
        transposed = bool(attributes.get("transA", 0))
        cost = allowed.operations(kind, shapes, [shape for _, shape in given], transposed)
    for name, (element, shape) in zip(outputs, given, strict=True):
        check_element(element, f"output {shown(name)}")
        _add(state, name, element, shape, f"output {shown(name)}")
        state.made.add(name)
    if kind == "Constant" and "value" in attributes:
        _keep_constant(state, outputs[0], attributes["value"], given[0][1])
    elif kind == "Constant" and len(attributes.get("value_ints", ())) in range(1, 65):
        values = np.array(attributes["value_ints"], dtype=np.int64)
        state.constants[outputs[0]] = onnx.numpy_helper.from_array(values)
    state.operations += cost
    if state.operations > MAX_OPERATIONS:
        raise RefusedError("model-operations", f"one row takes more than {MAX_OPERATIONS} multiply-adds")


def _arity(node: Any, schema: Any) -> None:
    """As many inputs as the operator has, none of the needed ones left out."""
    if not schema.min_input <= len(node.input) <= schema.max_input:
        raise RefusedError(
            "model-attribute", f"the node has {len(node.input)} inputs, which the operator does not take"
        )
    optional = [not str(each.option).endswith(("Single", "Variadic")) for each in schema.inputs]
    for position, name in enumerate(node.input):
        if not name and not optional[min(position, len(optional) - 1)]:
            raise RefusedError(
                "model-attribute", f"input {position + 1}, which the operator needs, is left out"
            )


def _fit(onnx: Any, node: Any, attributes: dict[str, Any], state: _State) -> None:
    shapes = [state.types[name][1] if name else None for name in node.input]
    known: dict[int, list[int]] = {}
    for position in allowed.CONSTANT_INPUTS.get(node.op_type, ()):
        if position < len(node.input) and node.input[position]:
            values = onnx.numpy_helper.to_array(state.constants[node.input[position]])
            # A shape, or one number where the operator allows it: but then libraries differ on what it means.
            if values.ndim != 1:
                raise RefusedError(
                    "model-shape", f"input {position + 1} decides a shape and is no list of numbers"
                )
            known[position] = [int(each) for each in values]
    try:
        check_shape(node.op_type, attributes, shapes, known, len(node.output))
    except ValueError as error:
        raise RefusedError("model-shape", str(error)) from None


def _ml(
    kind: str, node: Any, attributes: dict[str, Any], inputs: dict[str, tuple[int, Shape]]
) -> tuple[list[tuple[int, Shape]], int]:
    if len(node.input) != 1 or not inputs:
        raise RefusedError("model-graph", "the node has not one input")
    element, shape = inputs[node.input[0]]
    if element != 1 or len(shape) != 2 or shape[0] != 1:
        raise RefusedError(
            "model-shape", "the node's input is not float32 with one row; cast and reshape it first"
        )
    try:
        facts = check_ml(kind, attributes, shape[1])
    except ValueError as error:
        code = "model-tree" if kind in allowed.TREES else "model-attribute"
        raise RefusedError(code, str(error)) from None
    scores: tuple[int, Shape] = (1, (1, facts.columns))
    if not kind.endswith("Classifier"):
        return [scores], facts.operations
    if len(node.output) != 2:
        raise RefusedError("model-graph", "a classifier has two outputs, the label and the scores")
    return [(7, (1,)), scores], facts.operations


def _columns(data: tuple[int, Shape], indices: tuple[int, Shape]) -> tuple[list[tuple[int, Shape]], int]:
    """ArrayFeatureExtractor: the columns that the indices name, for each row; a list is one row."""
    (element, shape), (index, wanted) = data, indices
    if index != 7 or not shape:
        raise RefusedError("model-shape", "the indices are not int64, or the data have no columns")
    result = (*(shape[:-1] or (1,)), prod(wanted))
    return [(element, result)], prod(result)


def _infer(
    onnx: Any,
    node: Any,
    schema: Any,
    inputs: dict[str, tuple[int, Shape]],
    state: _State,
    opsets: dict[str, int],
    ir: int,
) -> list[tuple[int, Shape]]:
    """Types and shapes of a node's outputs, by the operator's own definition."""
    types = {n: onnx.helper.make_tensor_type_proto(e, list(s)) for n, (e, s) in inputs.items()}
    at = allowed.CONSTANT_INPUTS.get(node.op_type, ())
    known = {n: state.constants[n] for i, n in enumerate(node.input) if i in at and n}
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    errors = (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError, ValueError)
    try:
        found = onnx.shape_inference.infer_node_outputs(
            schema, node, types, known, opset_imports=imports, ir_version=ir
        )
    except errors as error:
        raise RefusedError("model-shape", f"types or shapes do not fit: {_message(error)}") from None
    result: list[tuple[int, Shape]] = []
    for name in node.output:
        tensor = found[name].tensor_type if name in found else None
        if tensor is None or not tensor.HasField("shape"):
            raise RefusedError(
                "model-shape", f"the shape of {shown(name)} is not known before the model runs"
            )
        if not all(d.HasField("dim_value") for d in tensor.shape.dim):
            raise RefusedError(
                "model-shape", f"the shape of {shown(name)} is not known before the model runs"
            )
        result.append((tensor.elem_type, tuple(d.dim_value for d in tensor.shape.dim)))
    return result


def _message(error: Exception) -> str:
    return ascii(" ".join(str(error).split())[:200])[1:-1]


def _end(graph: Any, model: Model, state: _State) -> None:
    """The output that the manifest names."""
    if len(graph.output) > MAX_OUTPUTS:
        raise RefusedError(
            "model-output", f"the model has more than {MAX_OUTPUTS} outputs; cut those not needed"
        )
    declared: dict[str, tuple[int, list[int | None]]] = {}
    for info in graph.output:
        what = f"output {shown(info.name)}"
        if info.name in declared or info.name not in state.made:
            raise RefusedError("model-output", f"{what} is not what a node gives, or stands twice")
        declared[info.name] = value_type(info, what)
        if declared[info.name][0] != state.types[info.name][0]:
            raise RefusedError("model-output", f"{what} is declared with another type than the node gives")
    if model.output not in declared:
        names = ", ".join(shown(name) for name in declared) or "none"
        raise RefusedError("model-output", f"the model has no output {shown(model.output)}; it has {names}")
    element, shape = state.types[model.output]
    if shape in ((1,), (1, 1)) and element in (1, 7, 11):
        return
    what = f"output {shown(model.output)}"
    if len(shape) == 2 and shape[0] == 1:
        raise RefusedError(
            "model-output",
            f"{what} gives {shape[1]} numbers a row, and a score is one: end the graph with a Gather of the column "
            "that counts, axis 1, and name its output in the manifest",
        )
    raise RefusedError("model-output", f"{what} is not one float32, double or int64 for each row")


# --- the manifest's side


def _declaration(model: Model, features: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Codes and texts of what is wrong in the manifest's part on a model."""
    for name in model.inputs:
        if name not in features or column_facts(features[name]).type not in ("int64", "decimal", "bool"):
            yield "model-input", f"input {shown(name)} is no feature that is a number or a bool"
    if len(set(model.inputs)) != len(model.inputs):
        yield "model-input", "an input stands twice"
    step = Fraction(model.step)
    low, high = (Fraction(bound) for bound in model.range)
    if not low < high or low % step or high % step:
        yield "model-range", "range goes from a smaller to a larger whole multiple of step"
    if any(Fraction(each) % step for each in model.thresholds):
        yield (
            "model-band",
            "each threshold is a whole multiple of step, as the scores are that rules compare with it",
        )
    if model.thresholds and Fraction(model.band) <= step / 2:
        text = (
            "band is more than half a step, or rounding carries scores over a threshold on one processor only"
        )
        yield "model-band", text


def check_model(data: bytes, name: str, model: Model, features: dict[str, str]) -> ModelFacts:
    """What a model's file is, and all that speaks against running it.

    Args:
        data: the file; anything at all.
        name: the model's name in the manifest.
        model: what the manifest declares.
        features: the declared feature columns and their types, such as `{"age": "int64"}`.

    Raises:
        AtollError: `E_SCRIPT` where `onnx` is not installed.
    """
    onnx = load_library("onnx", name)
    findings = [
        Finding(code, f"package.toml:models.{name}", text) for code, text in _declaration(model, features)
    ]
    state = _State()
    operators: tuple[str, ...] = ()
    try:
        if not 0 < len(data) <= MAX_BYTES:
            raise RefusedError("model-size", f"{len(data)} bytes; a model has 1 to {MAX_BYTES}")
        # The runtime would take such a file for its own format, which is not checked here.
        if data[4:8] == b"ORTM":
            raise RefusedError(
                "model-format", "the file is, or passes for, a runtime's own format; export it as ONNX"
            )
        count_parts(data)
        # Every part was decoded alone, none lies deep, so that the whole decodes.
        parsed = onnx.ModelProto.FromString(data)
        size = parsed.ByteSize()
        parsed.DiscardUnknownFields()
        if parsed.ByteSize() != size:
            raise RefusedError("model-format", "the file has fields that the format does not define")
        opsets = _opsets(parsed)
        graph = parsed.graph
        if not 1 <= len(graph.node) <= MAX_NODES:
            raise RefusedError("model-size", f"{len(graph.node)} nodes; a model has 1 to {MAX_NODES}")
        operators = _operators(graph, opsets)
        for info in graph.value_info:
            value_type(info, f"value {shown(info.name)}")
        _start(graph, model, state)
        for position, node in enumerate(graph.node):
            try:
                _node(onnx, node, opsets, state, parsed.ir_version)
            except RefusedError as refused:
                refused.where = f":node {position + 1} {shown(node.op_type)}"
                raise
        _end(graph, model, state)
        _whole(onnx, parsed)
    except RefusedError as refused:
        findings.append(Finding(refused.code, f"{model.file}{refused.where}", f"{refused.text}."))
    return ModelFacts(tuple(findings), operators, state.weights, state.operations)


def _whole(onnx: Any, parsed: Any) -> None:
    """The library's own checker, strict inference of shapes included, over a file that is known to be small."""
    errors = (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError, ValueError)
    try:
        onnx.checker.check_model(parsed, full_check=True)
    except errors as error:
        raise RefusedError("model-format", f"the file is no valid ONNX model: {_message(error)}") from None
