"""Columns, schemas and declarations: strict forms, and what each refusal names."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto import canonical
from atoll.data.schema import Column, Declaration, Schema
from atoll.errors import AtollError

TEXTS = st.none() | st.dictionaries(
    st.sampled_from(["zh", "en"]), st.text(min_size=1, max_size=9), min_size=1
)
NAME = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=20)


@st.composite
def columns(draw: st.DrawFn) -> Column:
    kind = draw(st.sampled_from(["string", "int64", "decimal", "float64", "bool", "date", "timestamp"]))
    facts = {}
    if kind == "decimal":
        facts["precision"] = draw(st.integers(1, 38))
        facts["scale"] = draw(st.integers(0, facts["precision"]))
    if kind in ("int64", "decimal", "float64"):
        low, high = sorted([draw(st.integers(-999, 999)), draw(st.integers(-999, 999))])
        facts["range"] = draw(st.sampled_from([None, (str(low), str(high))]))
    if kind == "string":
        facts["codes"] = draw(st.none() | st.dictionaries(st.text(max_size=5), TEXTS, min_size=1, max_size=3))
    return Column(
        draw(NAME), kind, unit=draw(st.none() | st.just("fen")), label=draw(TEXTS), definition=draw(TEXTS),
        as_of=draw(st.none() | st.just("月末")), nullable=draw(st.booleans()), **facts,
    )  # fmt: skip


@settings(max_examples=100)
@given(columns())
def test_json_round_trip(column):
    body = json.loads(canonical.dumps(column.to_json()))
    assert Column.from_json(body) == column
    assert Schema.from_json([body]) == Schema((column,))


def test_the_form_is_that_of_agreements():
    assert Column("a", "decimal", precision=18, scale=2, unit="fen").to_json() == {
        "name": "a", "type": "decimal", "precision": 18, "scale": 2, "unit": "fen", "label": None,
        "definition": None, "codes": None, "range": None, "as_of": None, "nullable": True,
    }  # fmt: skip
    assert "scale" not in Column("a", "int64").to_json()
    assert Column.from_json({"name": "a", "type": "int64"}) == Column("a", "int64")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "E_COLUMN"),
        ("id", "E_COLUMN"),
        ({"name": 1, "type": "int64"}, "E_COLUMN"),
        ({"name": "", "type": "int64"}, "E_COLUMN"),
        ({"name": " a", "type": "int64"}, "E_COLUMN"),
        ({"name": "a\n", "type": "int64"}, "E_COLUMN"),
        ({"name": "x" * 257, "type": "int64"}, "E_COLUMN"),
        ({"name": "\ud800", "type": "int64"}, "E_COLUMN"),
        ({"name": "a"}, "E_TYPE"),
        ({"name": "a", "type": "integer"}, "E_TYPE"),
        ({"name": "a", "type": ["int64"]}, "E_TYPE"),
        ({"name": "a", "type": "int64", "size": 8}, "E_COLUMN"),
        ({"name": "a", "type": "decimal"}, "E_TYPE"),
        ({"name": "a", "type": "decimal", "precision": 39, "scale": 0}, "E_TYPE"),
        ({"name": "a", "type": "decimal", "precision": 5, "scale": 6}, "E_TYPE"),
        ({"name": "a", "type": "decimal", "precision": True, "scale": 0}, "E_COLUMN"),
        ({"name": "a", "type": "int64", "scale": 2}, "E_TYPE"),
        ({"name": "a", "type": "int64", "unit": ""}, "E_COLUMN"),
        ({"name": "a", "type": "int64", "label": {"fr": "x"}}, "E_COLUMN"),
        ({"name": "a", "type": "int64", "label": {}}, "E_COLUMN"),
        ({"name": "a", "type": "bool", "codes": ["x"]}, "E_TYPE"),
        ({"name": "a", "type": "string", "codes": []}, "E_COLUMN"),
        ({"name": "a", "type": "string", "codes": ["x", "x"]}, "E_COLUMN"),
        ({"name": "a", "type": "string", "codes": [1]}, "E_COLUMN"),
        ({"name": "a", "type": "string", "range": ["a", "b"]}, "E_TYPE"),
        ({"name": "a", "type": "int64", "range": [1, 2]}, "E_COLUMN"),
        ({"name": "a", "type": "int64", "range": ["1"]}, "E_COLUMN"),
        ({"name": "a", "type": "int64", "range": ["1", "9223372036854775808"]}, "E_TYPE"),
        ({"name": "a", "type": "int64", "range": ["2", "1"]}, "E_RANGE"),
        ({"name": "a", "type": "decimal", "precision": 9, "scale": 1, "range": ["1e3", "2e3"]}, "E_TYPE"),
        ({"name": "a", "type": "date", "range": ["2026-02-30", "2026-03-01"]}, "E_TYPE"),
        ({"name": "a", "type": "int64", "nullable": 1}, "E_COLUMN"),
    ],
)
def test_wrong_columns(body, code):
    with pytest.raises(AtollError) as caught:
        Column.from_json(body)
    assert caught.value.code == code


def test_wrong_schemas():
    for body in ({}, [], [{"name": "a", "type": "int64"}] * 2, [{"name": "a"}] * 5000):
        with pytest.raises(AtollError):
            Schema.from_json(body)
    schema = Schema((Column("a", "int64"), Column("b", "string")))
    with pytest.raises(AtollError, match="there are a, b"):
        schema["c"]
    assert schema.select(["b"]).arrow == pa.schema([("b", pa.string())])


def test_declaration_files(tmp_path):
    toml = tmp_path / "loans.toml"
    toml.write_text(
        """
        [source]
        encoding = "gb18030"
        null = ["", "NULL"]
        [columns.amount]
        scale = 2
        unit = "fen"
        label = {zh = "金额", en = "amount"}
        [columns."day"]
        type = "date"
        format = "%Y%m%d"
        null = ["00000000"]
        """,
        encoding="utf-8",
    )
    found = Declaration.load(toml)
    assert found.options == {"encoding": "gb18030"}
    assert found.nulls_of("amount") == ("", "NULL")
    assert found.nulls_of("day") == ("00000000",)
    column = found.column("amount", "int64", None, None)
    assert (column.type, column.precision, column.scale, column.unit) == ("decimal", 18, 2, "fen")
    assert found.column("other", "decimal", 18, 3).scale == 3
    path = tmp_path / "loans.json"
    path.write_text(json.dumps({"columns": {"amount": {"type": "int64"}}}))
    assert Declaration.load(path)["amount"].type == "int64"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([], "E_FORMAT"),
        ({"table": {}}, "E_FORMAT"),
        ({"source": {"header": True}}, "E_FORMAT"),
        ({"source": {"null": "NA"}}, "E_FORMAT"),
        ({"columns": {"a": 1}}, "E_COLUMN"),
        ({"columns": {"a": {"name": "b"}}}, "E_COLUMN"),
        ({"columns": {"a": {"type": "money"}}}, "E_TYPE"),
        ({"columns": {"a": {"type": "int64", "format": "%Y"}}}, "E_TYPE"),
        ({"columns": {"a": {"type": "date", "format": "%Y%j"}}}, "E_TYPE"),
        ({"columns": {"a": {"type": "date", "format": "%Y%m"}}}, "E_TYPE"),
        ({"columns": {"a": {"type": "int64", "scale": 2}}}, "E_TYPE"),
        ({"columns": {"a": {"type": "int64", "range": ["2", "1"]}}}, "E_RANGE"),
    ],
)
def test_wrong_declarations(body, code):
    with pytest.raises(AtollError) as caught:
        Declaration.from_json(body)
    assert caught.value.code == code


def test_unreadable_declarations(tmp_path):
    for name, content, code in (
        ("a.toml", b"[columns", "E_FORMAT"),
        ("a.json", b"{", "E_FORMAT"),
        ("b.toml", b"\xff", "E_FORMAT"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AtollError) as caught:
            Declaration.load(tmp_path / name)
        assert caught.value.code == code
    with pytest.raises(AtollError, match="E_SOURCE"):
        Declaration.load(tmp_path / "none.toml")
