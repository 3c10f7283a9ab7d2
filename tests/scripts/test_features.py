"""Feature SQL: what it computes, that calls do not see each other, what it depends on, and what is refused."""

from __future__ import annotations

import datetime
import importlib.util
import re
import sys
import time
from decimal import Decimal
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.errors import AtollError
from atoll.sandbox.features import FeatureEngine
from atoll.scripts.features import FeatureQuery, check_features
from atoll.scripts.manifest import column_facts, parse, parse_toml

HERE = Path(__file__).parent
EXAMPLE = HERE.parent.parent / "examples" / "scripts" / "claims"


def _load(name: str) -> ModuleType:
    full = f"atoll_test_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, HERE / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        spec.loader.exec_module(module)
    return sys.modules[full]


cases = _load("feature_cases")
hostile = _load("hostile_features")

TODAY = datetime.date(2026, 2, 3)
TARIFF_ROWS = [
    {"item": "a", "cap": 100, "rate": Decimal("0.5000")},
    {"item": "b", "cap": 250, "rate": Decimal("0.7525")},
    {"item": "ab", "cap": 3, "rate": Decimal("1.0000")},
]
TARIFF = cases.table(cases.TARIFF, TARIFF_ROWS, call=False)
NAMES = sorted(cases.CASES)
Rows = list[dict[str, Any]]
Call = tuple[Rows, Rows]


@cache
def checked(sql: str, columns: tuple[tuple[str, str], ...]) -> FeatureQuery:
    return check_features(sql, cases.manifest(dict(columns)))


@cache
def engine(sql: str, columns: tuple[tuple[str, str], ...]) -> FeatureEngine:
    query = checked(sql, columns)
    assert query.findings == ()
    return FeatureEngine(query, cases.manifest(dict(columns)), {"tariff": TARIFF}, memory_bytes=128 << 20)


def engine_of(name: str) -> FeatureEngine:
    sql, columns = cases.CASES[name]
    return engine(sql, tuple(columns.items()))


def run(
    of: FeatureEngine, calls: list[Call], days: list[int] | None = None, *, order: bool = False
) -> list[dict[str, Any] | None]:
    """Features of the calls, each `days` after TODAY."""
    bills = [{"__call": n, **row} for n, (rows, _) in enumerate(calls) for row in rows]
    claim = [{"__call": n, **row} for n, (_, rows) in enumerate(calls) for row in rows]
    if order:
        bills, claim = bills[::-1], claim[::-1]
    inputs = {"bills": cases.table(cases.BILLS, bills), "claim": cases.table(cases.CLAIM, claim)}
    today = [TODAY + datetime.timedelta(days=n) for n in days or [0] * len(calls)]
    return of.run(len(calls), today, inputs)


def _row(large: bool) -> st.SearchStrategy[dict[str, Any]]:
    numbers = [None, 0, 1, 1, 2, 3, 4, -2, *([2**62] if large else [])]
    return st.fixed_dictionaries(
        {
            "item": st.sampled_from(
                [None, "a", "a", "b", "ab", "1", "12", "2026-01-31", "!x", "", "é", "a{}"]
            ),
            "quantity": st.sampled_from(numbers),
            "price": st.sampled_from(
                [None, Decimal("1.50"), Decimal("2.25"), Decimal("-0.05"), Decimal("99.99")]
            ),
            "paid": st.sampled_from([None, True, False]),
            "day": st.sampled_from([None, datetime.date(2026, 1, 1), datetime.date(2024, 2, 29)]),
            "moment": st.sampled_from(
                [None, datetime.datetime(2026, 1, 1, 23, 59), datetime.datetime(2026, 1, 5)]
            ),
            "weight": st.sampled_from([None, 0.5, float("nan")]),
        }
    )


_CLAIM = st.fixed_dictionaries(
    {
        "admitted": st.sampled_from([None, datetime.date(2026, 1, 31), datetime.date(2026, 2, 5)]),
        "discharged": st.sampled_from([None, datetime.date(2026, 2, 1)]),
        "diagnosis": st.sampled_from([None, "a", "q"]),
        "age": st.sampled_from([None, 1, 2, 70]),
        "limit_": st.sampled_from([None, Decimal("1.500")]),
    }
)


def _call(large: bool = True) -> st.SearchStrategy[Call]:
    return st.tuples(st.lists(_row(large), max_size=5), st.lists(_CLAIM, max_size=1))


def _examples(number: int) -> Any:
    return settings(max_examples=number, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", NAMES)
@_examples(6)
@given(calls=st.lists(_call(), min_size=1, max_size=6), data=st.data())
def test_a_call_in_a_batch_has_the_features_that_it_has_alone(
    name: str, calls: list[Call], data: Any
) -> None:
    of = engine_of(name)
    some_days = st.lists(st.integers(-40, 5), min_size=len(calls), max_size=len(calls))
    days = data.draw(some_days)
    together = run(of, calls, days)
    assert together == [run(of, [call], [day])[0] for call, day in zip(calls, days, strict=True)]
    # The order of the owner's rows makes no difference, and neither do the calls beside it.
    assert run(of, calls, days, order=True) == together
    picked = data.draw(st.integers(0, len(calls) - 1))
    others = data.draw(st.lists(_call(), min_size=len(calls), max_size=len(calls)))
    other_days = data.draw(some_days)
    others[picked], other_days[picked] = calls[picked], days[picked]
    assert run(of, others, other_days)[picked] == together[picked]


def oracle(name: str, call: Call) -> dict[str, Any] | None:
    """The author's own statement over tables that hold one call, in an engine that nobody prepared."""
    sql, columns = cases.CASES[name]
    con = duckdb.connect(":memory:", config={"threads": 1})
    tables = {
        "bills": cases.table(cases.BILLS, call[0], call=False),
        "claim": cases.table(cases.CLAIM, call[1], call=False),
        "tariff": TARIFF,
    }
    for table, frame in tables.items():
        con.register("frame", frame)
        con.execute(f"CREATE TABLE {table} AS SELECT * FROM frame")
    try:
        result = con.execute(re.sub(r"\btoday\b", f"DATE '{TODAY}'", sql))
        names, rows = [d[0] for d in result.description], result.fetchall()
    except duckdb.Error:
        return None
    finally:
        con.close()
    if len(rows) != 1:
        return None
    found = dict(zip(names, rows[0], strict=True))
    for column, text in columns.items():
        facts, value = column_facts(text), found[column]
        if value is None and not facts.nullable:
            return None
        if value is not None and facts.type == "decimal":
            scaled = Decimal(value).scaleb(facts.scale or 0)
            if abs(scaled) >= 10 ** (facts.precision or 0):
                return None
            assert scaled == int(scaled)
            found[column] = int(scaled)
        elif isinstance(value, datetime.datetime):
            found[column] = value.date()
    return found


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ties"])
@_examples(5)
@given(calls=st.lists(_call(large=False), min_size=1, max_size=3))
def test_the_rewritten_statement_means_what_the_author_wrote(name: str, calls: list[Call]) -> None:
    assert run(engine_of(name), calls) == [_within(oracle(name, call)) for call in calls]


def _within(features: Any) -> Any:
    """What a plain engine widens beyond 64 bits is no feature."""
    wide = features is not None and any(
        type(value) is int and not -(2**63) <= value < 2**63 for value in features.values()
    )
    return None if wide else features


_PLACES = (
    [("bills", c) for c in cases.BILLS] + [("claim", c) for c in cases.CLAIM] + [("bills", ""), ("claim", "")]
)


@pytest.mark.parametrize("name", NAMES)
@_examples(3)
@given(calls=st.lists(_call(), min_size=3, max_size=3), others=st.lists(_call(), min_size=3, max_size=3))
def test_a_feature_depends_on_nothing_but_its_dependencies(
    name: str, calls: list[Call], others: list[Call]
) -> None:
    sql, columns = cases.CASES[name]
    sources = checked(sql, tuple(columns.items())).dependencies
    before = run(engine_of(name), calls)
    for place, column in _PLACES:
        untouched = [feature for feature, of in sources.items() if (place, column) not in of]
        changed = [_changed(call, other, place, column) for call, other in zip(calls, others, strict=True)]
        if untouched and changed != calls:
            for old, new in zip(before, run(engine_of(name), changed), strict=True):
                # Whether there are features at all can depend on every column that the statement reads.
                if old is not None and new is not None:
                    assert {f: old[f] for f in untouched} == {f: new[f] for f in untouched}


def _changed(call: Call, other: Call, place: str, column: str) -> Call:
    """The call with other values in one column; or with other rows, whose values are those of its own."""
    at = 0 if place == "bills" else 1
    mine, theirs = call[at], other[at]
    if column:
        rows = (
            [{**row, column: theirs[n % len(theirs)][column]} for n, row in enumerate(mine)]
            if theirs
            else mine
        )
    else:
        rows = [mine[n % len(mine)] for n in range(len(theirs))] if mine else theirs
    return (rows, call[1]) if at == 0 else (call[0], rows)


def test_each_case_gives_features_and_depends_on_what_it_reads() -> None:
    row: dict[str, Any] = {
        "item": "1", "quantity": 1, "price": Decimal("1.50"), "paid": True, "day": TODAY,
        "moment": datetime.datetime(2026, 1, 1), "weight": 1.0,
    }  # fmt: skip
    claim = {"admitted": TODAY, "discharged": TODAY, "diagnosis": "a", "age": 3, "limit_": None}
    empty = {n for n in NAMES if run(engine_of(n), [([row], [claim])]) == [None]}
    assert empty == {"no row", "having", "offset", "one row, kept or not"}
    sql, columns = cases.CASES["example"]
    assert checked(sql, tuple(columns.items())).dependencies == {
        "billed": {("bills", ""), ("bills", "price"), ("bills", "quantity")},
        "items": {("bills", "")},
        "days": {("claim", ""), ("claim", "admitted"), ("claim", "discharged")},
    }
    sql, columns = cases.CASES["today"]
    assert ("today", "") in checked(sql, tuple(columns.items())).dependencies["n"]


def test_the_example_of_the_documentation() -> None:
    manifest = parse_toml((EXAMPLE / "package.toml").read_text(), "package.toml")
    query = check_features((EXAMPLE / "features.sql").read_text(), manifest)
    assert query.findings == ()
    tariff = pa.table({"item": ["ward"], "cap": [1], "rate_bp": [2]})
    of = FeatureEngine(query, manifest, {"tariff": tariff}, memory_bytes=64 << 20)
    bills = pa.table(
        {
            "quantity": [2, 1],
            "item": ["ward", "drug-a"],
            "price": pa.array([Decimal("12.50"), Decimal("0.01")], pa.decimal128(12, 2)),
            "__call": pa.array([1, 1], pa.int32()),
        }
    )
    days = pa.array([datetime.date(2026, 1, 1), datetime.date(2026, 1, 1)], pa.date32())
    claim = pa.table(
        {
            "__call": pa.array([1, 0], pa.int32()),
            "admitted": days,
            "discharged": pa.array([datetime.date(2026, 1, 5), None], pa.date32()),
            "diagnosis": ["x", "y"],
            "age": [3, 4],
        }
    )
    found = of.run(3, [TODAY] * 3, {"bills": bills, "claim": claim})
    assert found == [
        {"billed": 0, "items": 0, "days": 0},
        {"billed": 2501, "items": 2, "days": 4},
        {"billed": 0, "items": 0, "days": 0},
    ]


def test_each_call_has_its_own_date() -> None:
    of = engine("SELECT today AS t FROM claim", (("t", "date"),))
    claim = {"admitted": None, "discharged": None, "diagnosis": None, "age": None, "limit_": None}
    inputs = {
        "bills": cases.table(cases.BILLS, []),
        "claim": cases.table(cases.CLAIM, [{"__call": 1, **claim}, {"__call": 0, **claim}]),
    }
    days = [datetime.date(2026, 1, 1), datetime.date(2025, 1, 1)]
    assert of.run(2, days, inputs) == [{"t": days[0]}, {"t": days[1]}]


def test_a_large_batch_with_a_few_calls_that_fail() -> None:
    good = {
        "item": "1",
        "quantity": 2,
        "price": None,
        "paid": None,
        "day": None,
        "moment": None,
        "weight": None,
    }
    bad = good | {"item": "x"}
    calls: list[Call] = [([bad] if n in (3, 190) else [good], []) for n in range(200)]
    found = run(engine_of("failing cast"), calls)
    assert [n for n, features in enumerate(found) if features is None] == [3, 190]


@pytest.mark.parametrize("name", sorted(hostile.REFUSED))
def test_a_hostile_statement_is_refused_by_name(name: str) -> None:
    sql, code = hostile.REFUSED[name]
    start = time.process_time()
    query = check_features(sql, cases.manifest({"a": "int64?"}))
    assert time.process_time() - start < 5
    assert code in {finding.code for finding in query.findings}, query
    assert query.sql == ""
    assert query.dependencies == {}
    for finding in query.findings:
        assert re.fullmatch(r"features\.sql:[0-9]+:[0-9]+", finding.place)
        assert finding.text.endswith(".")


@pytest.mark.parametrize("name", sorted(hostile.STOPPED))
def test_a_bomb_is_stopped_and_the_engine_goes_on(name: str) -> None:
    """Each is stopped by the engine's memory or by an interrupt, in a process that an operating system limits too."""
    found = hostile.run_confined(name)
    assert found["first"] == [None]
    assert found["again"] == [None]
    assert found["megabytes"] < 1500
    assert found["seconds"] < 20


def test_columns_that_differ_in_case_only_are_refused() -> None:
    document = cases.manifest({"a": "int64?"}).model_dump(mode="json", exclude_none=True)
    document["inputs"]["bills"]["columns"]["ITEM"] = "int64"
    (finding,) = check_features("SELECT count(*) AS a FROM bills", parse(document)).findings
    assert (finding.code, finding.place) == ("features-column", "features.sql:1:1")
    both = cases.manifest({"a": "int64", "A": "int64"})
    assert "features-output" in {f.code for f in check_features("SELECT 1 AS a", both).findings}


@pytest.mark.parametrize("name", NAMES)
def test_no_float_is_in_the_plan_of_the_engine(name: str) -> None:
    of = engine_of(name)
    sql, columns = cases.CASES[name]
    connection = of._connection  # nobody else may ask the engine for a plan
    plan = connection.execute(f"EXPLAIN (FORMAT json) {checked(sql, tuple(columns.items())).sql}").fetchall()
    assert not re.search(r"DOUBLE|FLOAT", str(plan))


def test_the_engine_is_locked() -> None:
    connection = engine_of("example")._connection
    wanted = {
        "enable_external_access": "false", "lock_configuration": "true", "threads": "1", "temp_directory": "",
        "autoload_known_extensions": "false", "autoinstall_known_extensions": "false",
        "python_enable_replacements": "false", "preserve_insertion_order": "true", "TimeZone": "UTC",
    }  # fmt: skip
    rows = connection.execute("SELECT name, value FROM duckdb_settings()").fetchall()
    found = {name: value for name, value in rows if name in wanted}
    assert found == wanted


def test_the_engine_starts_no_thread() -> None:
    sql, columns = cases.CASES["example"]
    query, manifest = checked(sql, tuple(columns.items())), cases.manifest(columns)
    before = len(list(Path("/proc/self/task").iterdir()))
    of = FeatureEngine(query, manifest, {"tariff": TARIFF}, memory_bytes=64 << 20)
    assert run(of, [([], [])]) == [{"billed": 0, "items": 0, "days": 0}]
    assert len(list(Path("/proc/self/task").iterdir())) == before
    of.close()


def test_the_corpus_is_large_enough() -> None:
    assert len(hostile.REFUSED) + len(hostile.STOPPED) >= 35


@pytest.mark.parametrize("name", sorted(hostile.LOCKED))
def test_the_engine_alone_refuses_what_a_check_would_have_missed(name: str) -> None:
    """The second wall: statements that never pass the check, handed to the locked engine as if they had."""
    query = FeatureQuery((), hostile.LOCKED[name], {"a": frozenset()})
    with pytest.raises(AtollError) as caught:
        FeatureEngine(query, cases.manifest({"a": "int64?"}), {"tariff": TARIFF}, memory_bytes=64 << 20)
    assert caught.value.code == "E_SCRIPT"


def test_findings_name_line_and_column_and_what_exists() -> None:
    sql = "SELECT\n  (SELECT count(*) FROM bills b\n   WHERE b.colour = 'red') AS a"
    (finding,) = check_features(sql, cases.manifest({"a": "int64"})).findings
    assert finding.code == "features-column"
    assert finding.place == "features.sql:3:10"
    assert "quantity" in finding.text
    (finding,) = check_features("SELECT count(*) AS a FROM invoices", cases.manifest({"a": "int64"})).findings
    assert (finding.code, finding.place) == ("features-table", "features.sql:1:27")
    assert "bills, claim, tariff" in finding.text


def test_text_of_the_author_reaches_the_engine_in_literals_only() -> None:
    sql = """SELECT (SELECT count(*) AS "Q""; DROP" FROM bills AS "x""y" /* remark */ WHERE item = 'it''s') AS a"""
    query = check_features(sql, cases.manifest({"a": "int64"}))
    assert query.findings == ()
    assert "DROP" not in query.sql
    assert "remark" not in query.sql
    assert query.sql.count("'it''s'") == 1
