"""The parts of an ONNX file: counted before they are built, then each held to what it may be.

The bytes are an author's, who may mean harm. An empty part takes two bytes in a file and a few hundred in memory, so
that a file of 4 MiB could fill a machine; and a part may name another file, a graph, or numbers that are not there.
"""

from __future__ import annotations

import importlib
from functools import cache
from math import isfinite, prod
from typing import Any

import numpy as np

from atoll.errors import AtollError
from atoll.scripts.onnx_operators import ADVICE, Shape

MAX_PARTS = 1 << 16
# A dimension in a shape in a type in a value in a graph in a model is six deep.
MAX_DEPTH = 8
MAX_RANK = 8
MAX_WEIGHTS = 1_000_000


class RefusedError(Exception):
    """What a part must not be.

    Args:
        code: the finding's code.
        text: what is wrong and what to do, without a full stop.
        where: the place in the file, such as `:node 3 Gemm`.
    """

    def __init__(self, code: str, text: str, where: str = "") -> None:
        super().__init__(text)
        self.code, self.text, self.where = code, text, where


def load_library(library: str, name: str) -> Any:
    """A library of the extra `models`; `E_SCRIPT` names the model that needs it where it is not installed."""
    try:
        return importlib.import_module(library)
    except ImportError:
        raise AtollError(
            "E_SCRIPT",
            f"model {name}: {library} is not installed here.",
            fault="operator",
            cure="Install atoll[models].",
        ) from None


def shown(text: Any) -> str:
    """An author's name, safe to print."""
    found = text if isinstance(text, str) else repr(text)
    return ascii(found[:40])[1:-1] or "(no name)"


@cache
def _envelopes() -> dict[str, tuple[Any, dict[str, tuple[str, bool]]]]:
    """For each message type of the format: a class that reads a message alone, with its parts as bytes.

    Beside it, for each part's field: the part's type, and whether there may be many. An empty part takes two bytes in a
    file and a few hundred in memory, so that they are counted first.
    """
    onnx = importlib.import_module("onnx")
    pools = importlib.import_module("google.protobuf.descriptor_pool")
    factory = importlib.import_module("google.protobuf.message_factory")
    descriptors = importlib.import_module("google.protobuf.descriptor_pb2")
    file = descriptors.FileDescriptorProto()
    onnx.ModelProto.DESCRIPTOR.file.CopyToProto(file)
    parts: dict[str, dict[str, tuple[str, bool]]] = {}

    def flatten(message: Any, name: str) -> None:
        parts[name] = {}
        message.ClearField("oneof_decl")
        for each in message.field:
            each.ClearField("oneof_index")
            if each.type == descriptors.FieldDescriptorProto.TYPE_MESSAGE:
                many = each.label == descriptors.FieldDescriptorProto.LABEL_REPEATED
                parts[name][each.name] = (each.type_name.removeprefix("."), many)
                each.ClearField("type_name")
                each.type = descriptors.FieldDescriptorProto.TYPE_BYTES
                each.label = descriptors.FieldDescriptorProto.LABEL_REPEATED
        for nested in message.nested_type:
            flatten(nested, f"{name}.{nested.name}")

    for message in file.message_type:
        flatten(message, f"{file.package}.{message.name}")
    pool = pools.DescriptorPool()
    pool.Add(file)
    return {n: (factory.GetMessageClass(pool.FindMessageTypeByName(n)), parts[n]) for n in parts}


_SUBGRAPHS = {("onnx.AttributeProto", "g"), ("onnx.AttributeProto", "graphs")}
_NOT_ALLOWED = {
    ("onnx.ModelProto", "functions"): (
        "model-function",
        "the model defines functions; export it with them inlined",
    ),
    ("onnx.ModelProto", "training_info"): (
        "model-format",
        "the model holds training data; export it for inference",
    ),
    ("onnx.ModelProto", "configuration"): (
        "model-format",
        "the model is split over devices; export it for one",
    ),
    ("onnx.NodeProto", "device_configurations"): (
        "model-format",
        "a node is bound to devices; export for one",
    ),
    ("onnx.GraphProto", "sparse_initializer"): (
        "model-type",
        "the model holds sparse tensors; export them as dense",
    ),
    ("onnx.GraphProto", "quantization_annotation"): (
        "model-format",
        "the model is quantised; export it as float32",
    ),
    ("onnx.TensorProto", "external_data"): (
        "model-external-data",
        "weights lie in another file; save them in this",
    ),
    ("onnx.TensorProto", "segment"): ("model-format", "a tensor is stored in segments; save it whole"),
}

_NO_TENSOR = f"a value is no tensor: {ADVICE['ZipMap']}"
_NOT_ALLOWED |= {
    ("onnx.TypeProto", f"{kind}_type"): ("model-type", _NO_TENSOR)
    for kind in ("sequence", "map", "optional", "sparse_tensor", "opaque")
}


def count_parts(data: bytes) -> None:
    """Counts the parts without building them; RefusedError for too many, or for one that no model may have."""
    decode_error = importlib.import_module("google.protobuf.message").DecodeError
    envelopes = _envelopes()
    total = 0
    waiting = [("onnx.ModelProto", data, 1)]
    while waiting:
        name, content, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise RefusedError(
                "model-format", f"the file's parts lie more than {MAX_DEPTH} deep in each other"
            )
        kind, parts = envelopes[name]
        try:
            message = kind.FromString(content)
        except decode_error:
            raise RefusedError("model-format", "the file is no ONNX model; export it again") from None
        for part, (inner, many) in parts.items():
            found = getattr(message, part)
            if not len(found):
                continue
            if (name, part) in _SUBGRAPHS:
                raise RefusedError(
                    "model-subgraph", "a node holds a graph of its own; export without control flow"
                )
            if (name, part) in _NOT_ALLOWED:
                raise RefusedError(*_NOT_ALLOWED[name, part])
            if part == "metadata_props":
                raise RefusedError("model-metadata", "the model holds metadata; remove every metadata_props")
            if len(found) > 1 and not many:
                raise RefusedError("model-format", f"{part} stands twice in one {name.removeprefix('onnx.')}")
            total += len(found)
            if total > MAX_PARTS:
                raise RefusedError(
                    "model-size", f"the file has more than {MAX_PARTS} parts; use a smaller model"
                )
            waiting += [(inner, bytes(each), depth + 1) for each in found]


_ELEMENTS = {1: ("<f4", "float_data"), 6: ("<i4", "int32_data"), 7: ("<i8", "int64_data")}
_ELEMENTS |= {9: ("?", "int32_data"), 11: ("<f8", "double_data")}
_DATA = ("raw_data", "float_data", "double_data", "int32_data", "int64_data", "uint64_data", "string_data")
_NAMES = {
    1: "float32",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "double",
    16: "bfloat16",
}


def check_element(code: int, what: str) -> None:
    if code == 8:
        raise RefusedError("model-type", f"{what} holds text; turn text into numbers in features.sql")
    if code not in _ELEMENTS:
        raise RefusedError(
            "model-type", f"{what} is {_NAMES.get(code, f'of type {code}')}; export the model as float32"
        )


def tensor_shape(tensor: Any, what: str) -> Shape:
    """The shape of a tensor whose numbers all stand in the file, are finite, and are as many as its shape says."""
    if tensor.data_location or len(tensor.external_data):
        raise RefusedError(
            "model-external-data", f"the numbers of {what} lie in another file; save them in this one"
        )
    check_element(tensor.data_type, what)
    if len(tensor.dims) > MAX_RANK or any(not 1 <= d <= MAX_WEIGHTS for d in tensor.dims):
        raise RefusedError(
            "model-shape", f"{what} has more than {MAX_RANK} dimensions, or one out of 1 to {MAX_WEIGHTS}"
        )
    shape = tuple(tensor.dims)
    if prod(shape) > MAX_WEIGHTS:
        raise RefusedError(
            "model-size", f"{what} declares {prod(shape)} numbers; a model has at most {MAX_WEIGHTS}"
        )
    kind, typed = _ELEMENTS[tensor.data_type]
    stored = [name for name in _DATA if len(getattr(tensor, name))]
    length = (
        len(tensor.raw_data) / np.dtype(kind).itemsize
        if stored == ["raw_data"]
        else len(getattr(tensor, typed))
    )
    if stored not in (["raw_data"], [typed]) or length != prod(shape):
        raise RefusedError("model-format", f"{what} holds other numbers than its type and shape say")
    if kind == "?":
        raw = tensor.raw_data if stored == ["raw_data"] else tensor.int32_data
        if not {0, 1}.issuperset(raw):
            raise RefusedError("model-weights", f"{what} holds truth values other than 0 and 1")
    elif kind.startswith("<f"):
        values = (
            np.frombuffer(tensor.raw_data, kind)
            if stored == ["raw_data"]
            else np.array(getattr(tensor, typed))
        )
        if not np.isfinite(values).all():
            raise RefusedError("model-weights", f"{what} holds NaN or infinity; train the model again")
    return shape


def value_type(info: Any, what: str) -> tuple[int, list[int | None]]:
    """The element type and the dimensions of a declared value; None for a dimension that is open."""
    if info.type.WhichOneof("value") != "tensor_type":
        raise RefusedError("model-type", f"{what} is no tensor: {ADVICE['ZipMap']}")
    tensor = info.type.tensor_type
    check_element(tensor.elem_type, what)
    if len(tensor.shape.dim) > MAX_RANK:
        raise RefusedError("model-shape", f"{what} has more than {MAX_RANK} dimensions")
    return tensor.elem_type, [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]


# AttributeProto.AttributeType: the field that holds the value.
_ATTRIBUTES = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings"}


def read_attributes(node: Any, schema: Any) -> tuple[dict[str, Any], int]:
    """The attributes of a node by name, each of the type that the operator's definition says, and their numbers."""
    found: dict[str, Any] = {}
    numbers = 0
    for attribute in node.attribute:
        name = shown(attribute.name)
        defined = schema.attributes.get(attribute.name)
        if defined is None or attribute.name in found:
            raise RefusedError("model-attribute", f"attribute {name} is unknown, or stands twice")
        holder = _ATTRIBUTES.get(attribute.type)
        if holder is None or int(attribute.type) != int(defined.type.value):
            raise RefusedError("model-attribute", f"attribute {name} is of another type than the operator's")
        present = {each.name for each, _ in attribute.ListFields()}
        if not present <= {"name", "type", "doc_string", holder}:
            raise RefusedError(
                "model-attribute", f"attribute {name} holds a second value, or one by reference"
            )
        value = getattr(attribute, holder)
        if holder == "t":
            numbers += prod(tensor_shape(value, f"attribute {name}"))
        elif holder in ("floats", "ints", "strings"):
            numbers += len(value)
            if numbers > MAX_WEIGHTS:
                raise RefusedError("model-size", f"attribute {name} has more than {MAX_WEIGHTS} values")
            value = list(value)
        if (holder == "f" and not isfinite(value)) or (holder == "floats" and not all(map(isfinite, value))):
            raise RefusedError("model-weights", f"attribute {name} holds NaN or infinity")
        found[attribute.name] = value
    return found, numbers
