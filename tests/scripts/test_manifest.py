"""The manifest: the example reads back to itself, and each fault is refused by the name of its field."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.crypto import canonical
from atoll.errors import AtollError
from atoll.scripts.manifest import MAX_WHOLE, Argument, ColumnFacts, Manifest, column_facts, parse, parse_toml

EXAMPLE = Path(__file__).parents[2] / "examples" / "scripts" / "claims" / "package.toml"
TEXT = EXAMPLE.read_text(encoding="utf-8")
MODEL = {
    "file": "risk.onnx",
    "inputs": ["billed", "items"],
    "output": "risk",
    "range": ["0", "1"],
    "step": "0.001",
    "thresholds": ["0.5"],
    "band": "0.001",
}


def document() -> dict[str, Any]:
    """The example with a model."""
    found = parse_toml(TEXT, "package.toml").document()
    found["models"] = {"risk": copy.deepcopy(MODEL)}
    return found


def changed(path: str, value: Any) -> dict[str, Any]:
    """The document with one field set; `...` removes it."""
    found = document()
    target: Any = found
    *way, last = path.split("/")
    for part in way:
        target = target[part]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return found


def refused(found: Any) -> str:
    with pytest.raises(AtollError) as caught:
        parse(found)
    assert caught.value.code == "E_SCRIPT"
    return caught.value.text


# --- the example


def test_the_example_reads_back_to_itself() -> None:
    manifest = parse_toml(TEXT, "package.toml")
    again = parse(manifest.document())
    assert again == manifest
    assert canonical.dumps(again.document()) == canonical.dumps(manifest.document())
    assert manifest.format == "atoll.script/v1"
    assert manifest.files == ("rules.py", "tariff.csv", "features.sql")


def test_a_manifest_with_a_model_reads_back_to_itself() -> None:
    manifest = parse(document())
    assert parse(manifest.document()) == manifest
    assert manifest.files == ("rules.py", "tariff.csv", "features.sql", "risk.onnx")


def test_what_is_left_out_has_its_default() -> None:
    found = document()
    for name in ("parameters", "arguments", "features", "models", "reasons", "maximum_reasons", "limits"):
        del found[name]
    manifest = parse(found)
    assert manifest.files == ("rules.py",)
    assert (manifest.limits.time_ms, manifest.limits.memory_bytes) == (20, 64 << 20)
    assert manifest.maximum_reasons == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name = ", "package.toml: Invalid value"),
        (TEXT.replace('name = "claims"', 'name = "Claims"'), "package.toml: name: "),
        (TEXT + "\n[more]\n", "package.toml: more: Extra inputs are not permitted"),
        (TEXT.replace("maximum_reasons = 2", "maximum_reasons = 2.5"), "package.toml"),
        (TEXT.replace('version = "1.0.0"', "version = 2026-11-26"), "package.toml"),
        ('format = "atoll.script/v2"\n' + TEXT, "package.toml: format: "),
    ],
)
def test_a_faulty_file_is_named(text: str, told: str) -> None:
    with pytest.raises(AtollError) as caught:
        parse_toml(text, "package.toml")
    assert caught.value.code == "E_SCRIPT"
    assert caught.value.text.startswith(told)


# --- each field

NAMES = ["Upper", "1st", "with space", "with-dash", "", "_x", "x" * 33, "naïve"]
FAULTS: list[tuple[str, Any, str]] = [
    ("format", "atoll.script/v2", "format: "),
    ("name", "Claims", "name: "),
    ("version", "1.0", "version: "),
    ("version", "1.0.0\n", "version: "),
    ("version", "1.0.x", "version: "),
    ("title", "Claims", "title: "),
    ("title/zh", ..., "title.zh: "),
    ("purpose", "", "purpose: "),
    ("purpose", " space", "purpose: a name has no space at its ends"),
    ("purpose", "left\u202eright", "purpose: control and directional characters are not allowed"),
    ("subject/type", "decimal", "subject.type: "),
    ("subject/name", "Claim", "subject.name: "),
    ("unknown", 1, "unknown: "),
    ("inputs", {}, "inputs: "),
    ("inputs/claim/rows", "few", "inputs.claim.rows: "),
    ("inputs/claim/maximum_rows", 0, "inputs.claim.maximum_rows: "),
    ("inputs/claim/maximum_rows", 10_001, "inputs.claim.maximum_rows: "),
    ("inputs/claim/maximum_rows", "200", "inputs.claim.maximum_rows: "),
    ("inputs/claim/columns", {}, "inputs.claim.columns: "),
    ("inputs/claim/columns/age", "int", "inputs.claim.columns.age: 'int' is no column type"),
    ("inputs/claim/columns/age", "decimal(19,2)", "a decimal has at most 18 digits"),
    (
        "inputs/claim/columns/age",
        "decimal(2,3)",
        "a decimal has at most 18 digits, and no more behind the point",
    ),
    ("inputs/claim/columns/age", "int64??", "is no column type"),
    ("inputs/claim/columns/age", "int64\n", "is no column type"),
    ("parameters/tariff/key", "price", "parameters.tariff: key: 'price' is no column of the table"),
    (
        "parameters/tariff/columns/cap",
        "float64",
        "parameters.tariff: columns: a parameter table holds no float64",
    ),
    (
        "parameters/tariff/columns/cap",
        "timestamp?",
        "parameters.tariff: columns: a parameter table holds no float64",
    ),
    ("arguments/insured/range", None, "arguments.insured: an int64 has a range"),
    ("arguments/insured/range", [1], "arguments.insured.range: "),
    ("arguments/insured/range", [1, 2, 3], "arguments.insured.range: "),
    ("arguments/insured/range", [10_000_000, 0], "arguments.insured: range: min is larger than max"),
    ("arguments/insured/range", [0, MAX_WHOLE + 1], "arguments.insured.range[1]: integers beyond 2^53"),
    ("arguments/insured/values", ["a"], "arguments.insured: an int64 has a range, a string has values"),
    ("arguments/insured/type", "string", "arguments.insured: an int64 has a range, a string has values"),
    ("arguments/insured/type", "bool", "arguments.insured: an int64 has a range, a string has values"),
    ("arguments/insured/type", "date", "arguments.insured.type: "),
    ("arguments/insured/default", -1, "arguments.insured: -1 is not a whole number from 0 to 50000000"),
    ("arguments/insured/default", "0", "arguments.insured: '0' is not a whole number"),
    ("arguments/insured/default", True, "arguments.insured: True is not a whole number"),
    ("arguments/plan", {"type": "string", "values": ["a", "b"], "default": "c"}, "'c' is not one of a, b"),
    ("arguments/plan", {"type": "string", "values": []}, "arguments.plan.values: "),
    ("arguments/plan", {"type": "bool", "default": 1}, "1 is not true or false"),
    ("features/columns/billed", "float64", "features: columns: features are exact"),
    ("features/columns/billed", "timestamp", "features: columns: features are exact"),
    ("features", None, "models: a model reads features, and there are none"),
    ("models/risk/inputs", ["billed", "age"], "models.risk.inputs: 'age' is no feature"),
    ("models/risk/inputs", [], "models.risk.inputs: "),
    ("features/columns/billed", "string", "models.risk.inputs: 'billed' is no number"),
    ("features/columns/billed", "date", "models.risk.inputs: 'billed' is no number"),
    ("models/risk/step", "0.5", "models.risk.step: "),
    ("models/risk/step", "0", "models.risk.step: "),
    ("models/risk/step", "10", "models.risk.step: "),
    ("models/risk/step", "0.0000000001", "models.risk.step: "),
    ("models/risk/step", 0.001, "models.risk.step"),
    ("models/risk/range", ["0"], "models.risk.range: "),
    ("models/risk/range", ["0", "01"], "models.risk.range.1: "),
    ("models/risk/range", ["0", "1e3"], "models.risk.range.1: "),
    ("models/risk/thresholds", ["0.5"] * 17, "models.risk.thresholds: "),
    ("models/risk/band", "-", "models.risk.band: "),
    ("rules/entry", "Decide", "rules.entry: "),
    ("rules", ..., "rules: "),
    ("rules/file", "tariff.csv", "file 'tariff.csv' stands twice"),
    ("outputs", {}, "outputs: "),
    ("outputs/decision/values", ["approve"], "outputs.decision.choice.values: "),
    ("outputs/decision/values", ["approve", "approve"], "values:  'approve' stands twice"),
    ("outputs/decision/values", ["approve", "Not approve"], "outputs.decision.choice.values.1: "),
    ("outputs/decision/type", "text", "outputs.decision: "),
    ("outputs/pay/range", [100, 0], "outputs.pay.int64: range: from min to max in whole steps"),
    ("outputs/pay/range", [0, 150], "outputs.pay.int64: range: from min to max in whole steps"),
    ("outputs/pay/range", [0, 2**53], "outputs.pay.range[1]: integers beyond 2^53"),
    ("outputs/pay/step", 0, "outputs.pay.int64.step: "),
    ("outputs/pay/values", ["a", "b"], "outputs.pay.int64.values: "),
    ("reasons", {}, "maximum_reasons: how many of the declared reasons"),
    ("maximum_reasons", 0, "maximum_reasons: how many of the declared reasons"),
    ("maximum_reasons", 6, "maximum_reasons: more than there are reasons"),
    ("maximum_reasons", 9, "maximum_reasons: "),
    ("reasons/no_claim", {"en": "There is no such claim."}, "reasons.no_claim.zh: "),
    ("limits/time_ms", 0, "limits.time_ms: "),
    ("limits/time_ms", 1001, "limits.time_ms: "),
    ("limits/memory_bytes", 1024, "limits.memory_bytes: "),
    ("limits/memory_bytes", (1 << 30) + 1, "limits.memory_bytes: "),
]


@pytest.mark.parametrize(("path", "value", "told"), FAULTS, ids=[f"{p}={v!r:.40}" for p, v, _ in FAULTS])
def test_a_fault_is_refused_by_name(path: str, value: Any, told: str) -> None:
    parse(document())  # without it all is well
    assert told in refused(changed(path, value))


@pytest.mark.parametrize("table", ["inputs", "parameters", "models", "arguments", "outputs", "reasons"])
@pytest.mark.parametrize("name", NAMES)
def test_names_are_symbols(table: str, name: str) -> None:
    found = document()
    found[table] = {**found[table], name: next(iter(found[table].values()))}
    assert f"{table}." in refused(found)


@pytest.mark.parametrize("table", ["inputs", "parameters", "models", "outputs"])
@pytest.mark.parametrize("name", ["arguments", "features", "today", "reasons"])
def test_reserved_names_are_refused(table: str, name: str) -> None:
    found = document()
    value = copy.deepcopy(next(iter(found[table].values())))
    if "file" in value:
        value["file"] = "other"
    found[table] = {**found[table], name: value}
    assert f"{name}: this name has a meaning of its own" in refused(found)


@pytest.mark.parametrize(
    ("one", "other"), [("inputs", "parameters"), ("inputs", "models"), ("parameters", "models")]
)
def test_a_name_has_one_meaning(one: str, other: str) -> None:
    found = document()
    name = next(iter(found[one]))
    found[other] = {name: next(iter(found[other].values()))}
    assert f"{name!r} stands twice" in refused(found)


def test_a_file_has_one_use() -> None:
    for table, entry in (("parameters", "tariff"), ("models", "risk")):
        found = document()
        found[table][entry]["file"] = "features.sql"
        assert "file 'features.sql' stands twice" in refused(found)


@pytest.mark.parametrize(
    "document", [None, [], "text", 1, {}, {"format": "atoll.script/v1"}, {"a": float("nan")}]
)
def test_what_is_no_manifest_is_refused(document: Any) -> None:
    refused(document)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda v: st.lists(v) | st.dictionaries(st.text(max_size=5), v),
    )
)
def test_anything_is_refused_without_another_error(value: Any) -> None:
    for key in Manifest.model_fields:
        found = document() | {key: value}
        try:
            manifest = parse(found)
        except AtollError as error:
            assert error.code == "E_SCRIPT"  # noqa: PT017
            continue
        assert parse(manifest.document()) == manifest


# --- columns and arguments


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("string", ColumnFacts("string", None, None, False)),
        ("int64?", ColumnFacts("int64", None, None, True)),
        ("decimal(12,2)", ColumnFacts("decimal", 12, 2, False)),
        ("decimal(18,18)?", ColumnFacts("decimal", 18, 18, True)),
        ("decimal(1,0)", ColumnFacts("decimal", 1, 0, False)),
        ("float64", ColumnFacts("float64", None, None, False)),
        ("timestamp", ColumnFacts("timestamp", None, None, False)),
    ],
)
def test_the_facts_of_a_column(text: str, facts: ColumnFacts) -> None:
    assert column_facts(text) == facts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?",
        "String",
        "decimal",
        "decimal(2)",
        "decimal(0,0)",
        "decimal(02,1)",
        "decimal( 2,1)",
        "int64 ",
        "decimal(２,1)",
    ],
)
def test_other_texts_are_no_column(text: str) -> None:
    with pytest.raises(ValueError, match="is no column type"):
        column_facts(text)


@pytest.mark.parametrize(
    ("argument", "good", "bad"),
    [
        ({"type": "int64", "range": [0, 5]}, [0, 5], [-1, 6, 1.0, True, "1", None]),
        ({"type": "string", "values": ["a", "b"]}, ["a", "b"], ["c", "A", 1, None, ["a"]]),
        ({"type": "bool"}, [True, False], [0, 1, "true", None]),
    ],
)
def test_the_values_of_an_argument(argument: dict[str, Any], good: list[Any], bad: list[Any]) -> None:
    found = Argument.parse(argument)
    for value in good:
        assert found.check(value) is value
    for value in bad:
        with pytest.raises(ValueError, match="is not"):
            found.check(value)
