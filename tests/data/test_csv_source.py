"""CSV: encodings, structure, inference, declared types; every refusal names the line that an editor shows."""

from __future__ import annotations

import codecs
import csv
import io
import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.data.schema import Declaration
from atoll.data.sources import CsvSource, Inspection, open_source
from atoll.data.validate import Validator
from atoll.errors import AtollError


def write(tmp_path: Path, data: bytes | str, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def declared(**columns: dict) -> Declaration:
    return Declaration.from_json({"columns": columns})


def inspect(path: Path, declaration: Declaration | None = None) -> Inspection:
    with CsvSource(path, declaration=declaration) as source:
        return source.inspect()


def load(path: Path, declaration: Declaration | None = None, bad_rows: str = "refuse") -> dict[str, list]:
    with CsvSource(path, declaration=declaration) as source:
        schema = source.inspect().schema
        return pa.Table.from_batches(Validator(source, schema, bad_rows), schema.arrow).to_pydict()


def refusal(path: Path, declaration: Declaration | None = None) -> AtollError:
    with pytest.raises(AtollError) as caught:
        load(path, declaration)
    return caught.value


def types(path: Path, declaration: Declaration | None = None) -> dict[str, str]:
    return {c.name: c.type for c in inspect(path, declaration).schema}


TEXT = "编号,姓名,金额\n1,张三,10.50\n2,李四,-3.25\n"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (TEXT.encode(), "utf-8"),
        (codecs.BOM_UTF8 + TEXT.encode(), "utf-8"),
        (TEXT.encode("gb18030"), "gb18030"),
        (codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"), "utf-16"),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "utf-16"),
    ],
)
def test_encodings_are_detected(tmp_path, data, encoding):
    path = write(tmp_path, data)
    work = tmp_path / "work"
    work.mkdir()
    with CsvSource(path, work=work) as source:
        found = source.inspect()
        assert found.encoding == encoding
        assert found.schema.names == ["编号", "姓名", "金额"]
        for copy in work.glob("*.csv"):
            assert copy.stat().st_mode & 0o777 == 0o600
        rows = pa.Table.from_batches(Validator(source, found.schema, "refuse")).to_pylist()
        assert [str(r["金额"]) for r in rows] == ["10.50", "-3.25"]
        assert rows[1]["姓名"] == "李四"
    assert list(work.iterdir()) == []


def test_declared_gbk_and_four_byte_gb18030(tmp_path):
    path = write(tmp_path, "名\n张\n".encode("gbk"))
    assert load(path, Declaration.from_json({"source": {"encoding": "GBK"}})) == {"名": ["张"]}
    path = write(tmp_path, "名\n𠀀\n".encode("gb18030"))
    assert load(path) == {"名": ["𠀀"]}


@pytest.mark.parametrize("length", [0, (1 << 20) - 7, (1 << 20) - 6, 1 << 20])
def test_undecodable_byte_is_named_by_line_and_offset(tmp_path, length):
    data = b"a,b\n1,2\n" + b"3,4\n" * (length // 4) + b"5,\xff\n"
    error = refusal(write(tmp_path, data))
    assert error.code == "E_ENCODING"
    assert error.detail["offset"] == data.index(b"\xff")
    assert error.detail["line"] == data[: data.index(b"\xff")].count(b"\n") + 1
    assert "utf-8" in error.text
    assert "gb18030" in error.text


@pytest.mark.parametrize(
    ("encoding", "data"),
    [("latin-9", b"a\n1\n"), ("utf-16", b"a\n1\n"), ("gb18030", codecs.BOM_UTF8 + b"a\n1\n")],
)
def test_wrong_declared_encodings(tmp_path, encoding, data):
    error = refusal(write(tmp_path, data), Declaration.from_json({"source": {"encoding": encoding}}))
    assert error.code == "E_ENCODING"


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"", "E_DATA", "is empty"),
        (b"\n\n", "E_DATA", "only blank lines"),
        (b"a,b\n", "E_DATA", "no rows"),
        (b"a,b\r\n", "E_DATA", "no rows"),
        (b"a,\n1,2\n", "E_COLUMN", "column 2 of the header has no name"),
        (b"a,b,a\n1,2,3\n", "E_COLUMN", "columns 1 and 3 are both named 'a'"),
        (b"a,A\n1,2\n", "E_COLUMN", "differ only by case"),
        (b"a,b\n1,2\n3,\0\n", "E_DATA", "line 3: a NUL"),
        (b'a,b\n1,2\n3,"4\n5,6\n', "E_DATA", "line 3: a quoted field is opened"),
        (b"a,b\n1," + b"x" * 1_200_000 + b"\n", "E_DATA", "line 2: a row is longer than"),
        (b"x" * 3_000_000, "E_DATA", "line 1: a row is longer than"),
        (b"a,b\n1,2\n3,4,5\n", "E_DATA", "line 3: 3 fields instead of 2"),
        (b"a,b\n1,2\n3\n", "E_DATA", "line 3: 1 fields instead of 2"),
        (b'a,b\n1,"2"x\n', "E_DATA", "line 2: text after a closing quote"),
        (b"a,b\n1,2\r3,4\n", "E_DATA", "line 2: 3 fields|line 2: a carriage return"),
    ],
)
def test_broken_files(tmp_path, data, code, words):
    error = refusal(write(tmp_path, data))
    assert error.code == code
    assert any(word in error.text for word in words.split("|")), error.text


def test_missing_file_and_unknown_kind(tmp_path):
    assert refusal(tmp_path / "none.csv").code == "E_SOURCE"
    assert refusal(tmp_path).code == "E_SOURCE"
    with pytest.raises(AtollError, match="E_SOURCE"):
        open_source("postgresql://host/db")
    with pytest.raises(AtollError, match="E_SOURCE"):
        open_source({"a": [1]})


def test_line_numbers_count_quoted_line_breaks_and_blank_lines(tmp_path):
    data = 'id,n\n\n1,"a\nb"\n2,c\n\n3,d,e\n4,"x\r\ny"\n5,"q"z\n6,f\n'
    error = refusal(write(tmp_path, data))
    assert error.detail["bad_rows"] == 2
    assert [e["place"] for e in error.detail["examples"]] == ["line 7", "line 10"]
    assert load(write(tmp_path, data), bad_rows="skip") == {
        "id": [1, 2, 4, 6],
        "n": ["a\nb", "c", "x\r\ny", "f"],
    }
    error = refusal(
        write(tmp_path, data.replace("3,d,e\n", "").replace('5,"q"z\n', "x,y\n")),
        declared(id={"type": "int64"}),
    )
    assert error.code == "E_TYPE"
    assert [e["place"] for e in error.detail["examples"]] == ["line 9"]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_line_ends(tmp_path, newline, end):
    data = f'a,b{newline}1,"x{newline}y"{newline}2,{newline}"",z{end}'
    declaration = Declaration.from_json({"source": {"quoted_nulls": False}})
    assert load(write(tmp_path, data), declaration) == {"a": [1, 2, None], "b": [f"x{newline}y", None, "z"]}


def test_mixed_line_ends(tmp_path):
    assert load(write(tmp_path, "a,b\r\n1,2\n3,4\r\n5,6")) == {"a": [1, 3, 5], "b": [2, 4, 6]}


def test_single_column_with_blank_lines(tmp_path):
    assert load(write(tmp_path, "a\n1\n\n2\n\n")) == {"a": [1, 2]}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(tmp_path, delimiter):
    path = write(tmp_path, f'a{delimiter}"b,;|"\n1{delimiter}"x{delimiter}y"\n')
    found = inspect(path)
    assert found.delimiter == delimiter
    assert load(path) == {"a": [1], "b,;|": [f"x{delimiter}y"]}


def test_declared_delimiter_quote_and_number_marks(tmp_path):
    path = write(tmp_path, "a^b^c\n1.234,50^'x^''y'^1.000\n12,3^''^-2\n")
    declaration = Declaration.from_json(
        {
            "source": {"delimiter": "^", "quote": "'", "decimal": ",", "thousands": "."},
        }
    )
    assert types(path, declaration) == {"a": "decimal", "b": "string", "c": "int64"}
    rows = load(path, declaration)
    assert [str(v) for v in rows["a"]] == ["1234.50", "12.30"]
    assert rows["b"] == ["x^'y", None]
    assert rows["c"] == [1000, -2]
    bad = refusal(
        write(tmp_path, "a^c\n1^1.00\n"),
        Declaration.from_json(
            {
                "source": {"delimiter": "^", "decimal": ",", "thousands": "."},
                "columns": {"c": {"type": "int64"}},
            }
        ),
    )
    assert bad.code == "E_TYPE"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", "0"], "int64"),
        (["007", "123"], "string"),
        (["1234567890123456789"], "string"),
        (["123456789012345678"], "int64"),
        (["-1234567890123456789"], "string"),
        (["00.5", "0.5"], "string"),
        (["-0", "0.50"], "decimal"),
        (["+8613800000000"], "string"),
        (["110101199003078515", "11010119900307851X"], "string"),
        (["1.5", "2", "-0.25"], "decimal"),
        (["1" * 37 + ".25"], "string"),
        (["1e-3", "2.5"], "float64"),
        (["1e+05", "20000", "30000"], "int64"),
        (["1e5", "2e5"], "float64"),
        (["true", "FALSE"], "bool"),
        (["yes", "no"], "string"),
        (["0", "1"], "int64"),
        (["2024-02-29", "2023-12-31"], "date"),
        (["2024/2/9", "2023/12/31"], "date"),
        (["20240229"], "int64"),
        (["2024-02-29 10:11:12", "2024-02-29T10:11"], "timestamp"),
        (["", ""], "string"),
        (["12:30"], "string"),
    ],
)
def test_inference(tmp_path, values, kind):
    path = write(tmp_path, "k,v\n" + "".join(f"{i},{v}\n" for i, v in enumerate(values)))
    assert types(path)["v"] == kind
    load(path)


def test_inferred_scale_is_that_of_the_longest_fraction(tmp_path):
    found = inspect(write(tmp_path, "v\n1.5\n2.125\n12345678901234567.5\n")).schema["v"]
    assert (found.precision, found.scale) == (38, 3)
    rows = load(tmp_path / "t.csv")["v"]
    assert str(rows[2]) == "12345678901234567.500"


def test_a_few_misfits_are_warned_about_and_refused(tmp_path):
    path = write(tmp_path, "v\n" + "5\n" * 19 + "abc\n")
    assert any("1 of its 20 values" in w for w in inspect(path).warnings)
    error = refusal(path)
    assert (error.code, error.column) == ("E_TYPE", "v")
    assert "line 21, column 'v': 'abc' is not a whole number" in error.text
    assert load(path, bad_rows="skip") == {"v": [5] * 19}
    assert load(path, declared(v={"type": "string"}))["v"][-1] == "abc"


@pytest.mark.parametrize(
    ("facts", "good", "bad", "code"),
    [
        (
            {"type": "decimal", "scale": 2},
            ["1", "1.10", "-0.5", "1.500", "1e2"],
            ["1.505", "x", "1,5"],
            "E_TYPE",
        ),
        ({"type": "decimal", "precision": 3, "scale": 2}, ["9.99", "009.9"], ["10.00"], "E_TYPE"),
        (
            {"type": "int64"},
            ["007", " 5 ", "+5", "9223372036854775807"],
            ["9223372036854775808", "1.5"],
            "E_TYPE",
        ),
        ({"type": "float64"}, ["1e3", ".5", "-2."], ["1e999", "nan", "0x1p3"], "E_TYPE"),
        ({"type": "bool"}, ["true", "False"], ["1", "yes"], "E_TYPE"),
        (
            {"type": "date"},
            ["2024-02-29", "2024/2/9"],
            ["2024-02-30", "2024-13-01", "20240229", "2024-2-9"],
            "E_TYPE",
        ),
        ({"type": "date", "format": "%Y%m%d"}, ["20240229"], ["2024-02-29", "20240230"], "E_TYPE"),
        ({"type": "date", "format": "%d.%m.%Y"}, ["29.2.2024", "01.12.1999"], ["2.29.2024"], "E_TYPE"),
        ({"type": "timestamp", "format": "%Y%m%d%H%M%S"}, ["20240229235959"], ["20240229245959"], "E_TYPE"),
        (
            {"type": "timestamp"},
            ["2024-02-29", "2024-02-29T23:59:59.123456Z"],
            ["2024-02-29 25:00"],
            "E_TYPE",
        ),
        ({"type": "int64", "range": ["0", "10"]}, ["0", "10"], ["-1", "11"], "E_RANGE"),
        (
            {"type": "decimal", "scale": 1, "range": ["0.05", "9.95"]},
            ["0.1", "9.9"],
            ["0.0", "10.0"],
            "E_RANGE",
        ),
        ({"type": "date", "range": ["2024-01-01", "2024-12-31"]}, ["2024-06-01"], ["2025-01-01"], "E_RANGE"),
        ({"type": "string", "codes": ["A", "乙"]}, ["A", "乙"], ["a", "C"], "E_RANGE"),
        ({"type": "int64", "codes": ["1", "2"]}, ["1", "02"], ["3"], "E_RANGE"),
        ({"type": "string", "nullable": False}, ["x"], [""], "E_DATA"),
    ],
)
def test_declared_columns_accept_and_refuse(tmp_path, facts, good, bad, code):
    declaration = declared(v=facts)
    lines = lambda values: "k,v\n" + "".join(f'{i},"{v}"\n' for i, v in enumerate(values))  # noqa: E731
    assert len(load(write(tmp_path, lines(good)), declaration)["v"]) == len(good)
    for value in bad:
        error = refusal(write(tmp_path, lines([*good, value])), declaration)
        assert (error.code, error.column, error.detail["bad_rows"]) == (code, "v", 1), value
        assert error.detail["examples"][0]["place"] == f"line {len(good) + 2}"
        assert error.detail["examples"][0]["value"] == (value or None)


def test_values_after_conversion(tmp_path):
    path = write(tmp_path, "d,t,m,n\n2024/2/9,2024-02-29T10:00:00+08:00,1e+05,1e+05\n")
    rows = load(path, declared(m={"type": "decimal", "scale": 2}, n={"type": "int64"}))
    assert rows["d"][0].isoformat() == "2024-02-09"
    assert rows["t"][0].isoformat() == "2024-02-29T02:00:00"
    assert str(rows["m"][0]) == "100000.00"
    assert rows["n"] == [100000]


def test_null_markers(tmp_path):
    path = write(tmp_path, 'a,b,c\n1,NA,"-"\nNULL,,x\n')
    declaration = Declaration.from_json(
        {"source": {"null": ["", "NULL", "NA"]}, "columns": {"c": {"null": ["-"]}}}
    )
    assert load(path, declaration) == {"a": [1, None], "b": [None, None], "c": [None, "x"]}


def test_first_twenty_bad_rows_in_order_and_all_counted(tmp_path):
    lines = ["a,b"] + [f"{i},{'x' if i % 3 == 0 else i}" for i in range(150_000)]
    error = refusal(write(tmp_path, "\n".join(lines)), declared(b={"type": "int64"}))
    assert error.detail["bad_rows"] == 50_000
    assert [e["place"] for e in error.detail["examples"]] == [f"line {3 * i + 2}" for i in range(20)]


def test_a_peer_never_sees_the_value(tmp_path):
    error = refusal(write(tmp_path, "v\n" + "5\n" * 30 + "secret-17\n"))
    assert "secret-17" in str(error)
    assert error.to_wire() == {"code": "E_TYPE"}


def test_declared_column_that_is_not_there(tmp_path):
    error = refusal(write(tmp_path, "a,b\n1,2\n"), declared(c={"type": "int64"}))
    assert (error.code, error.column) == ("E_COLUMN", "c")


def test_two_hundred_thousand_rows(tmp_path):
    rows = 200_000
    path = write(tmp_path, "id,amount\n" + "".join(f"P{i:08d},{i / 100:.2f}\n" for i in range(rows)))
    table = load(path)
    assert len(table["id"]) == rows
    assert table["id"][-1] == "P00199999"
    assert sum(table["amount"]) * 100 == rows * (rows - 1) // 2


@pytest.mark.skipif("ATOLL_DATA" not in os.environ, reason="ATOLL_DATA is not set")
def test_the_credit_table_equals_pandas():
    pandas = pytest.importorskip("pandas")
    path = Path(os.environ["ATOLL_DATA"]) / "UCI_Credit_Card.csv"
    if not path.exists():
        pytest.skip(f"there is no {path}")
    expected = pandas.read_csv(path)
    found = load(path)
    assert list(found) == list(expected.columns)
    for name in found:
        assert found[name] == expected[name].tolist()


def test_the_empty_field_can_be_a_value(tmp_path):
    path = write(tmp_path, 'k,a,n\n1,,\n2,"",\n3,NA,5\n')
    declaration = Declaration.from_json({"source": {"null": ["NA"]}})
    assert load(path, declaration) == {"k": [1, 2, 3], "a": ["", "", None], "n": [None, None, 5]}


FIELDS = st.text(alphabet='a7é,"\n\r;', max_size=4)


@settings(max_examples=60)
@given(st.lists(FIELDS, min_size=1, max_size=12).map(",".join), st.booleans())
def test_any_text_is_refused_or_read_as_python_reads_it(text, crlf):
    text = text.replace("\r", "").replace("\n", "\r\n") if crlf else text
    options = {"quoted_nulls": False, "delimiter": ",", "null": []}
    declaration = Declaration.from_json({
        "source": options, "columns": {"x": {"type": "string"}, "y": {"type": "string"}},
    })  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), "x,y\n" + text)
        try:
            found = load(path, declaration)
        except AtollError as error:
            assert error.code == "E_DATA"  # noqa: PT017
            return
        expected = [row for row in csv.reader(io.StringIO("x,y\n" + text, newline=""), strict=True) if row]
        assert [list(row) for row in zip(found["x"], found["y"], strict=True)] == expected[1:]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ('1, "a,b"', "a,b"),
        ('1, "a\nb"', "a\nb"),
        ('1,  "a"', None),
        ('1,  "a,b"', None),
        ('1, a "b"', ' a "b"'),
        ('1, ""', ""),
        ('1,"a" ', None),
        ('1, "a"x', None),
        ('1,"a""', None),
    ],
)
def test_spaces_around_quotes(tmp_path, row, expected):
    path = write(tmp_path, f'k, "v,w"\n0,x\n{row}\n')
    declaration = Declaration.from_json({"source": {"quoted_nulls": False}})
    if expected is None:
        assert refusal(path, declaration).detail["file"] == str(path)
    else:
        assert load(path, declaration) == {"k": [0, 1], "v,w": ["x", expected]}


@pytest.mark.parametrize(
    "option",
    [
        {"delimiter": "ab"},
        {"delimiter": " "},
        {"delimiter": '"'},
        {"quote": "\n"},
        {"decimal": "1"},
        {"decimal": ",", "thousands": ","},
    ],
)
def test_impossible_options(tmp_path, option):
    assert (
        refusal(write(tmp_path, "a,b\n1,2\n"), Declaration.from_json({"source": option})).code == "E_FORMAT"
    )
