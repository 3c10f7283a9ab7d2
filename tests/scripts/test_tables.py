"""Parameter tables: exact values, one spelling for each, and every fault named by file, row and column."""

from __future__ import annotations

import csv
import io
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import AtollError
from atoll.scripts.manifest import Table, parse_toml
from atoll.scripts.tables import MAX_BYTES, MAX_ROWS, ParameterTable, parse_table

EXAMPLE = Path(__file__).parents[2] / "examples" / "scripts" / "claims"
COLUMNS = {
    "item": "string",
    "cap": "int64",
    "rate": "decimal(6,2)",
    "open": "bool",
    "since": "date?",
    "note": "string?",
}
HEADER = "item,cap,rate,open,since,note\n"
ROW = "ward,60000,12.5,true,2026-01-31,plain\n"


def table(columns: dict[str, str] | None = None, key: str = "item") -> Table:
    return Table.parse({"file": "tariff.csv", "key": key, "columns": columns or COLUMNS})


def read(text: str | bytes, columns: dict[str, str] | None = None, key: str = "item") -> ParameterTable:
    data = text if isinstance(text, bytes) else text.encode()
    return parse_table(data, "tariff", table(columns, key))


def refused(text: str | bytes, columns: dict[str, str] | None = None, key: str = "item") -> str:
    with pytest.raises(AtollError) as caught:
        read(text, columns, key)
    assert caught.value.code == "E_SCRIPT"
    assert caught.value.fault == "caller"
    return caught.value.text


def test_rows_as_rules_see_them() -> None:
    found = read(HEADER + ROW + '"a ""b"", c",-7,-0.05,false,,\n')
    assert found.name == "tariff"
    assert found.key == "item"
    ward = {
        "item": "ward",
        "cap": 60000,
        "rate": 1250,
        "open": True,
        "since": date(2026, 1, 31),
        "note": "plain",
    }
    quoted = {"item": 'a "b", c', "cap": -7, "rate": -5, "open": False, "since": None, "note": None}
    assert found.rows == {"ward": ward, 'a "b", c': quoted}
    assert list(found.rows) == ["ward", 'a "b", c']
    assert all(list(row) == list(found.columns) for row in found.rows.values())


def test_a_table_for_sql() -> None:
    found = read(HEADER + ROW + "icu,-9223372036854775808,-9999.99,false,,\n").arrow()
    fields = {field.name: (field.type, field.nullable) for field in found.schema}
    assert fields == {
        "item": (pa.string(), False),
        "cap": (pa.int64(), False),
        "rate": (pa.decimal128(6, 2), False),
        "open": (pa.bool_(), False),
        "since": (pa.date32(), True),
        "note": (pa.string(), True),
    }
    assert found.column("rate").to_pylist() == [Decimal("12.50"), Decimal("-9999.99")]
    assert found.column("cap").to_pylist() == [60000, -(2**63)]
    assert found.column("since").to_pylist() == [date(2026, 1, 31), None]
    found.validate(full=True)


def test_a_table_without_rows() -> None:
    found = read(HEADER)
    assert found.rows == {}
    assert found.arrow().num_rows == 0
    assert found.arrow().schema.field("rate").type == pa.decimal128(6, 2)


def test_the_example() -> None:
    manifest = parse_toml((EXAMPLE / "package.toml").read_text(), "package.toml")
    found = parse_table((EXAMPLE / "tariff.csv").read_bytes(), "tariff", manifest.parameters["tariff"])
    assert len(found.rows) == 6
    assert found.look_up("imaging") == {"item": "imaging", "cap": 120000, "rate_bp": 8000}


def test_a_look_up_gives_a_fresh_row_and_takes_its_keys_type_alone() -> None:
    found = read("n,v\n1,a\n0,b\n", {"n": "int64", "v": "string"}, "n")
    first = found.look_up(1)
    assert first == {"n": 1, "v": "a"}
    first["v"] = "changed"
    assert found.look_up(1) == {"n": 1, "v": "a"}
    for other in (True, False, 1.0, "1", None, [1], 2):
        assert found.look_up(other) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda t: "\ufeff" + t,
        lambda t: t.replace("\n", "\r\n"),
        lambda t: t.removesuffix("\n"),
        lambda t: t.replace("item,cap", '"item","cap"'),
    ],
    ids=["byte order mark", "CR LF", "no line end at the end", "quoted header"],
)
def test_other_spellings_of_a_file(change: Any) -> None:
    assert read(change(HEADER + ROW)).rows == read(HEADER + ROW).rows


def test_the_order_of_columns_in_the_file_is_free() -> None:
    assert (
        read("note,since,open,rate,cap,item\nplain,2026-01-31,true,12.5,60000,ward\n").rows
        == read(HEADER + ROW).rows
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "tariff.csv: the file is empty"),
        ("\ufeff", "tariff.csv: the file is empty"),
        ("item,cap,rate,open,since\n", "tariff.csv, row 1: column 'note' is missing"),
        ("item,cap,rate,open,since,note,more\n", "tariff.csv, row 1: 'more' is no declared column"),
        ("item,cap,rate,open,since,note,cap\n", "tariff.csv, row 1: column 'cap' stands twice"),
        ("item, cap,rate,open,since,note\n", "tariff.csv, row 1: ' cap' is no declared column"),
        ("Item,cap,rate,open,since,note\n", "tariff.csv, row 1: 'Item' is no declared column"),
        (
            "item;cap;rate;open;since;note\n",
            "tariff.csv, row 1: 'item;cap;rate;open;since;note' is no declared",
        ),
        (HEADER + ROW + ROW, "tariff.csv, row 3, column item: the key ward stands twice"),
        (
            HEADER + "ward,1,1,true,,\n,1,1,true,,\n",
            "tariff.csv, row 3, column item: the value is empty; a key is",
        ),
        (HEADER + "ward,,1,true,,\n", "tariff.csv, row 2, column cap: the value is empty; declare int64?"),
        (HEADER + "ward,1,1,,,\n", "tariff.csv, row 2, column open: the value is empty"),
        (HEADER + "ward,1,1,true,\n", "tariff.csv, row 2: 5 values for 6 columns"),
        (HEADER + "ward,1,1,true,,,\n", "tariff.csv, row 2: 7 values for 6 columns"),
        (HEADER + "\n" + ROW, "tariff.csv, row 2: the row is empty"),
        (HEADER + ROW + "\n\n", "tariff.csv, row 3: the row is empty"),
        (HEADER + 'wa"rd,1,1,true,,\n', "tariff.csv, row 2: a quote stands alone"),
        (HEADER + '"ward,1,1,true,,\n', "tariff.csv, row 2: a quote stands alone"),
        (HEADER + '"ward"x,1,1,true,,\n', "tariff.csv, row 2: a quote stands alone"),
        (
            HEADER + '"wa\nrd",1,1,true,,\n',
            "tariff.csv, row 2: a quote stands alone, or a value has a line break",
        ),
        (HEADER + '"ward" ,1,1,true,,\n', "tariff.csv, row 2: a quote stands alone"),
        (
            HEADER + "ward,1,1,true,,\rx\n",
            "tariff.csv, row 2: a quote stands alone, or a value has a line break",
        ),
        (
            HEADER + "wa\u202erd,1,1,true,,\n",
            "tariff.csv, row 2, column item: 'wa\\u202erd': control and directional",
        ),
        (
            HEADER + "wa\x00rd,1,1,true,,\n",
            "tariff.csv, row 2, column item: 'wa\\x00rd': control and directional",
        ),
        (
            HEADER + "w" * 2001 + ",1,1,true,,\n",
            "column item: 'wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww': String",
        ),
        (HEADER + "w" * 200_000 + ",1,1,true,,\n", "tariff.csv, row 2: field larger than field limit"),
    ],
)
def test_a_faulty_file_is_named(text: str, told: str) -> None:
    assert told in refused(text)


@pytest.mark.parametrize(
    ("kind", "texts", "told"),
    [
        (
            "int64",
            ["1.0", "1e3", "+1", "007", " 1", "1 ", "1,0", "0x1", "١", "--1", "-", "1_0"],
            "is no whole number",
        ),
        (
            "int64",
            ["9223372036854775808", "-9223372036854775809", "9999999999999999999"],
            "does not fit 64 bits",
        ),
        ("int64", ["1" * 5000], "is no whole number"),
        (
            "decimal(6,2)",
            ["1e3", ".5", "5.", "+1", "00.5", "1 000", "NaN", "inf", "1.2.3", "１"],
            "is no decimal number",
        ),
        ("decimal(6,2)", ["1.005", "1.000"], "has more than 2 digits behind the point"),
        (
            "decimal(6,2)",
            ["10000", "-10000.00", "999999999999999999"],
            "has more digits than decimal(6,2) holds",
        ),
        ("decimal(6,0)", ["1.0"], "has more than 0 digits"),
        ("bool", ["True", "TRUE", "1", "0", "yes", "t"], "is neither true nor false"),
        (
            "date",
            [
                "2026-02-30",
                "20260131",
                "2026-1-31",
                "31.01.2026",
                "2026-01-31T00:00:00",
                "0000-01-01",
                "２026-01-01",
            ],
            "no date",
        ),
    ],
)
def test_a_value_of_another_type_is_named(kind: str, texts: list[str], told: str) -> None:
    for text in texts:
        quoted = '"' + text + '"'
        said = refused(f"k,v\na,{quoted}\n", {"k": "string", "v": kind}, "k")
        assert said.startswith("tariff.csv, row 2, column v: "), said
        assert told in said


def test_the_column_of_a_fault_is_given() -> None:
    with pytest.raises(AtollError) as caught:
        read(HEADER + "ward,x,1,true,,\n")
    assert caught.value.column == "cap"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int64", "-0", 0),
        ("int64", "9223372036854775807", 2**63 - 1),
        ("decimal(18,18)", "-0.999999999999999999", -(10**18) + 1),
        ("decimal(18,0)", "999999999999999999", 10**18 - 1),
        ("decimal(6,2)", "-0.00", 0),
        ("date", "0001-01-01", date(1, 1, 1)),
        ("date", "9999-12-31", date(9999, 12, 31)),
        ("string", " ward ", " ward "),
        ("string", "NULL", "NULL"),
        ("string", "住院", "住院"),
    ],
)
def test_edges_of_values(kind: str, text: str, value: Any) -> None:
    found = read(f"k,v\na,{text}\n", {"k": "string", "v": kind}, "k")
    assert found.rows["a"]["v"] == value
    found.arrow().validate(full=True)


def test_keys_that_are_equal_as_values_stand_twice() -> None:
    assert "the key 0 stands twice" in refused("k\n0\n-0\n", {"k": "int64"}, "k")
    assert "the key 10 stands twice" in refused("k\n1\n1.0\n", {"k": "decimal(6,1)"}, "k")


def test_a_key_is_never_empty_whatever_its_type_allows() -> None:
    said = refused("k,v\n,a\n", {"k": "int64?", "v": "string"}, "k")
    assert said == "tariff.csv, row 2, column k: the value is empty; a key is never empty."


def test_bytes_that_are_no_utf8_are_named() -> None:
    assert "tariff.csv, row 2: byte 30 is no UTF-8" in refused(
        HEADER.encode() + "手术,1,1,true,,\n".encode("gb18030")
    )
    assert "is no UTF-8" in refused((HEADER + ROW).encode("utf-16"))


def test_too_many_rows_and_bytes() -> None:
    columns = {"k": "int64"}
    assert len(read("k\n" + "".join(f"{n}\n" for n in range(MAX_ROWS)), columns, "k").rows) == MAX_ROWS
    more = "k\n" + "".join(f"{n}\n" for n in range(MAX_ROWS + 1))
    assert f"tariff.csv: {MAX_ROWS + 1} rows" in refused(more, columns, "k")
    assert f"{MAX_BYTES + 1} bytes" in refused(b"k\n" + b"1" * (MAX_BYTES - 1), columns, "k")


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=20),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "decimal(12,4)": st.integers(-(10**12) + 1, 10**12 - 1),
    "bool": st.booleans(),
    "date": st.dates(),
}


def spell(kind: str, value: Any) -> str:
    if value is None:
        return ""
    if kind.startswith("decimal"):
        return f"{Decimal(value).scaleb(-4):f}"
    return {True: "true", False: "false"}[value] if kind == "bool" else str(value)


@given(st.data(), st.sampled_from(sorted(VALUES)), st.sampled_from(["\n", "\r\n"]))
def test_what_is_written_is_read(data: st.DataObject, key: str, line_end: str) -> None:
    """Any values, written by the csv module, are the same as rules and as SQL see them."""
    columns = {f"c{n}": kind for n, kind in enumerate(sorted(VALUES))}
    columns |= {f"n{n}": f"{kind}?" for n, kind in enumerate(sorted(VALUES))}
    key_column = f"c{sorted(VALUES).index(key)}"
    row = st.fixed_dictionaries(
        {
            name: VALUES[kind] if name[0] == "c" else st.none() | VALUES[kind.removesuffix("?")]
            for name, kind in columns.items()
        }
    )
    rows = data.draw(st.lists(row, max_size=5, unique_by=lambda r: r[key_column]))
    order = data.draw(st.permutations(sorted(columns)))
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator=line_end)
    writer.writerow(order)
    for each in rows:
        writer.writerow([spell(columns[name].removesuffix("?"), each[name]) for name in order])
    found = read(file.getvalue(), columns, key_column)
    assert list(found.rows.values()) == rows
    assert [type(v) for r in found.rows.values() for v in r.values()] == [
        type(each[name]) for each in rows for name in found.columns
    ]
    arrow = found.arrow()
    arrow.validate(full=True)
    for each, read_back in zip(rows, arrow.to_pylist(), strict=True):
        for name, kind in columns.items():
            wanted = each[name]
            if kind.startswith("decimal") and wanted is not None:
                wanted = Decimal(wanted).scaleb(-4)
            assert read_back[name] == wanted


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for start in (b"", b"k,v\n"):
        try:
            found = read(start + data, {"k": "string", "v": "int64?"}, "k")
        except AtollError:
            continue
        assert all(type(key) is str for key in found.rows)
