"""Conditions on the rows of an own table: which rows they choose, and what is no condition."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.data.condition import rows_where
from atoll.data.schema import Column
from atoll.errors import AtollError

COLUMNS = {
    column.name: column
    for column in (
        Column("city", "string"),
        Column("debt", "int64"),
        Column("rate", "decimal", precision=5, scale=2),
        Column("the word", "string"),
        Column("active", "bool"),
    )
}
ROWS = [
    {"city": "Oslo", "debt": 10, "rate": Decimal("1.50"), "the word": "a", "active": True},
    {"city": "Bergen", "debt": None, "rate": Decimal("2.25"), "the word": "secret-7", "active": False},
    {"city": None, "debt": -3, "rate": None, "the word": "c", "active": None},
    {"city": "O'Hara", "debt": 2**62, "rate": Decimal("0.00"), "the word": "it's", "active": True},
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = tmp_path_factory.mktemp("condition") / "rows.parquet"
    schema = pa.schema(
        [("city", pa.string()), ("debt", pa.int64()), ("rate", pa.decimal128(5, 2)), ("the word", pa.string()),
         ("active", pa.bool_())]
    )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(ROWS, schema), file)
    return file


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("debt > 0", [0, 3]),
        ("debt > 0 AND city = 'Oslo'", [0]),
        ("city IN ('Oslo', 'Bergen') OR debt < 0", [0, 1, 2]),
        ("NOT city = 'Oslo'", [1, 3]),
        ("city IS NULL", [2]),
        ("city IS NOT NULL AND debt IS NULL", [1]),
        ("debt BETWEEN -3 AND 10", [0, 2]),
        ("rate * 2 >= 3.00", [0, 1]),
        ("rate + 1 - 0.5 = 2", [0]),
        ("city LIKE 'O%'", [0, 3]),
        ("city = 'O''Hara'", [3]),
        ("\"the word\" = 'it''s'", [3]),
        ("active", [0, 3]),
        ("active = false", [1]),
        ("(debt = 10 OR debt = -3) AND (rate IS NULL OR rate < 2)", [0, 2]),
        ("true", [0, 1, 2, 3]),
        ("debt = 1 -- nothing behind it is read", []),
        ("-debt = 3", [2]),
    ],
)
def test_rows_for_which_it_holds(data, text, rows):
    assert [i for i, held in enumerate(rows_where(data, COLUMNS, text, "t")) if held] == rows


@pytest.mark.parametrize(
    "text",
    [
        "", "   ", "x" * 5000, "debt >", "debt > 0; DROP TABLE t", "debt > 0 ORDER BY debt", "debt > 0 LIMIT 1",
        "debt IN (SELECT debt FROM t)", "EXISTS (SELECT 1)", "debt > 0 UNION SELECT 1", "1 = 1) OR (SELECT 1",
        "length(city) > 1", "getenv('HOME') = 'x'", "city = current_user", "debt > random()", "t.debt > 0",
        "CAST(city AS INT) > 1", "city::int > 1", "debt / 0 > 1", "CASE WHEN debt > 0 THEN true END", "debt > ?",
        "debt > $1", "COLUMNS('d.*') > 0", "city SIMILAR TO '(a+)+'", "(" * 60 + "debt > 0" + ")" * 60,
        "debt > 0 QUALIFY true", "debt > 0 GROUP BY city", "sum(debt) > 0", "debt > 0 WINDOW w AS ()",
        "read_text('/etc/passwd') = ''", "city = 'a' COLLATE nocase", "debt > (SELECT 1)", "[1,2][1] = 1",
        "{'a': 1}.a = 1",
        "debt + 1", "city", "debt = 'secret'", "city > 3", "debt > 0 FROM read_csv('/etc/passwd')",
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused_without_a_value_of_the_table(data, text):
    with pytest.raises(AtollError) as caught:
        rows_where(data, COLUMNS, text, "loans")
    assert caught.value.code in ("E_FORMAT", "E_COLUMN")
    for value in ("Oslo", "Bergen", "secret-7", "O'Hara"):
        assert value not in str(caught.value)


def test_a_column_that_is_not_there_is_named(data):
    with pytest.raises(AtollError) as caught:
        rows_where(data, COLUMNS, "age > 3", "loans")
    assert (caught.value.code, caught.value.column) == ("E_COLUMN", "age")
    assert "loans has no column 'age'" in str(caught.value)


def test_sums_that_are_too_large_are_refused(data):
    with pytest.raises(AtollError, match="too large"):
        rows_where(data, COLUMNS, "debt * debt * debt > 0", "loans")


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_condition_or_refused(data, text):
    outcome = "rows"
    try:
        found = rows_where(data, COLUMNS, text, "loans")
    except AtollError as error:
        outcome = error.code
    if outcome == "rows":
        assert found.shape == (len(ROWS),)
    else:
        assert outcome in ("E_FORMAT", "E_COLUMN")
