"""Loads what cells need, once, before any is forked: behind its walls a cell can load nothing.

Libraries load parts of themselves when they are first used. So a package that uses everything is checked and run
here, apart from its rules, which need an interpreter of their own.
"""

from __future__ import annotations

import datetime
import importlib
import importlib.util
from decimal import Decimal
from typing import Any

import pyarrow as pa

from atoll.errors import AtollError
from atoll.sandbox import rows
from atoll.sandbox.features import FeatureEngine
from atoll.sandbox.models import ModelEngine
from atoll.scripts.features import check_features
from atoll.scripts.manifest import Manifest, parse
from atoll.scripts.onnx_models import check_model
from atoll.scripts.rules import check_rules
from atoll.scripts.tables import parse_table

# Loaded by name when they are first needed.
_LATER = ("opentelemetry.context", "encodings.idna", "encodings.utf_8_sig", "zoneinfo", "random")
_ROWS = 64
_COLUMNS = {
    "text": "string?",
    "whole": "int64?",
    "amount": "decimal(12,2)?",
    "real": "float64?",
    "flag": "bool?",
    "day": "date?",
    "moment": "timestamp?",
}
_SQL = """
SELECT
    coalesce((SELECT cast(sum(i.whole) AS BIGINT) FROM items AS i WHERE i.flag), 0) AS a,
    (SELECT count(*) FROM items AS i JOIN prices AS l ON l.k = i.text) AS b,
    cast(round(coalesce((SELECT max(i.amount) FROM items AS i), 0), 2) AS DECIMAL(12,2)) AS c
"""
_RULES = """
import random

def decide(items, prices, features, arguments, today) -> dict:
    total = 0
    for item in items:
        if prices(item["text"]) is not None and item["whole"] is not None:
            total += item["whole"]
    return {"out": random.randint(0, 1) == 1 and total > features["a"]}
"""


def _manifest(model: bool) -> Manifest:
    document: dict[str, Any] = {
        "format": "atoll.script/v1",
        "name": "warm",
        "version": "1.0.0",
        "title": {"en": "Warm", "zh": "预热"},
        "purpose": "none",
        "subject": {"name": "subject", "type": "string"},
        "inputs": {"items": {"asset": "items", "key": "id", "rows": "many", "columns": _COLUMNS}},
        "parameters": {
            "prices": {"file": "prices.csv", "key": "k", "columns": {"k": "string", "v": "decimal(6,2)"}}
        },
        "features": {
            "file": "features.sql",
            "columns": {"a": "int64", "b": "int64", "c": "decimal(12,2)"},
        },
        "rules": {"file": "rules.py", "entry": "decide"},
        "outputs": {"out": {"type": "bool"}},
    }
    if model:
        score = {"file": "m.onnx", "inputs": ["a", "c"], "output": "y", "range": ["-1", "1"], "step": "0.01"}
        document["models"] = {"score": score}
    return parse(document)


def _model() -> bytes:
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["s"]), helper.make_node("Sigmoid", ["s"], ["y"])],
        "warm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [
            helper.make_tensor("w", TensorProto.FLOAT, [2, 1], [0.5, -0.5]),
            helper.make_tensor("b", TensorProto.FLOAT, [1], [0.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def _input() -> pa.Table:
    values = {
        "text": ["a"],
        "whole": [1],
        "amount": pa.array([Decimal("1.50")], pa.decimal128(12, 2)),
        "real": [0.5],
        "flag": [True],
        "day": [datetime.date(2026, 1, 1)],
        "moment": pa.array([datetime.datetime(2026, 1, 1)], pa.timestamp("us")),
    }
    one = pa.table({rows.CALL: pa.array([0], pa.int32()), **values})
    return pa.concat_tables([one] * _ROWS)


def warm() -> None:
    """Loads everything. Afterwards this process has no more threads than the libraries start at once."""
    for name in _LATER:
        if importlib.util.find_spec(name.split(".")[0]) is not None:
            importlib.import_module(name)
    models = all(importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime"))
    manifest = _manifest(models)
    assert manifest.features is not None  # above
    table = parse_table(b"\xef\xbb\xbfk,v\na,1.50\n", "prices", manifest.parameters["prices"])
    check_rules(_RULES, manifest)
    query = check_features(_SQL, manifest)
    items = rows.read(rows.write(_input()))
    rows.by_call(items, _COLUMNS, 1)
    engine = FeatureEngine(query, manifest, {"prices": table.arrow()}, memory_bytes=64 << 20)
    features = engine.run(1, [datetime.date(2026, 1, 1)], {"items": items})
    few = engine.run(1, [datetime.date(2026, 1, 1)], {"items": items.slice(0, 1)})
    engine.close()
    if features[0] is None or few[0] is None:
        raise AtollError("E_INTERNAL", "the engine of features does not work here")
    for name, model in manifest.models.items():
        data = _model()
        columns = manifest.features.columns
        if check_model(data, name, model, columns).findings:
            raise AtollError("E_INTERNAL", "the check of models does not work here")
        if ModelEngine(data, model, columns).run(features) == [None]:
            raise AtollError("E_INTERNAL", "the engine of models does not work here")
