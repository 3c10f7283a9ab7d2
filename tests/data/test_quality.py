"""Quality rules: their form, their measures against numpy, and the coarse figures of a result."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.data import quality, snapshot
from atoll.data.measure import EPSILON, evaluate, stability_index
from atoll.data.quality import (
    Result,
    check_answer,
    check_figure,
    figures,
    over,
    parse_rules,
    percent,
    two_digits,
)
from atoll.data.schema import Column, Declaration, Schema
from atoll.data.sources import open_source
from atoll.errors import AtollError

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SCHEMA = Schema((
    Column("id", "string"), Column("n", "int64"), Column("debt", "decimal", 12, 2), Column("rate", "float64"),
    Column("open", "bool"), Column("day", "date"), Column("seen", "timestamp"),
))  # fmt: skip


def version(folder: Path, table, name="t", words=None):
    with open_source(table, declaration=Declaration.from_json(words or {}), work=folder) as source:
        return snapshot.create(source, folder / "store", name, now=NOW)


def typed(**columns) -> pa.Table:
    return pa.table({n: pa.array(v, SCHEMA[n].arrow) for n, v in columns.items()})


def measured(folder, table, *rules, before=None, key=None, now=NOW) -> Result:
    made = version(folder, table)
    previous = version(folder, before, "before") if before is not None else None
    parsed = parse_rules({"rules": list(rules)}, made.schema) if rules else None
    return evaluate(parsed, made, previous, now=now, key=key, work=folder)


def only(result: Result):
    (outcome,) = result.outcomes
    return outcome


# Form.


def test_defaults_are_filled_in_and_read_back():
    rules = parse_rules(
        {"rules": [{"kind": "nulls", "column": "n"}, {"kind": "stability", "column": "n"}]}, SCHEMA
    )
    document = rules.document()
    assert document["every_seconds"] is None
    assert document["rules"][0] == {"kind": "nulls", "column": "n", "at_most": "0", "stop": False}
    assert document["rules"][1] == {
        "kind": "stability",
        "column": "n",
        "at_most": "0.25",
        "bins": 10,
        "stop": False,
    }
    assert parse_rules(json.loads(json.dumps(document)), SCHEMA) == rules


def test_whole_numbers_stand_for_their_digits():
    (rule,) = parse_rules(
        {"rules": [{"kind": "range", "column": "n", "least": 0, "greatest": 9, "at_most": 1}]}, SCHEMA
    ).rules
    assert (rule.least, rule.greatest, rule.at_most) == ("0", "9", "1")


@pytest.mark.parametrize(("rule", "code", "column"), [
    ({}, "E_FORMAT", None),
    ("nulls", "E_FORMAT", None),
    ({"kind": "sql", "column": "n"}, "E_FORMAT", None),
    ({"kind": "nulls"}, "E_FORMAT", None),
    ({"kind": "nulls", "column": "n", "more": 1}, "E_FORMAT", None),
    ({"kind": "nulls", "column": "n", "at_most": "101"}, "E_FORMAT", None),
    ({"kind": "nulls", "column": "n", "at_most": "-1"}, "E_FORMAT", None),
    ({"kind": "nulls", "column": "n", "at_most": "1e1"}, "E_FORMAT", None),
    ({"kind": "nulls", "column": "n", "at_most": 0.5}, "E_FORMAT", None),
    ({"kind": "nulls", "column": "n", "at_most": True}, "E_FORMAT", None),
    ({"kind": "nulls", "column": "n", "at_most": None}, "E_FORMAT", None),
    ({"kind": "nulls", "column": "n", "stop": "yes"}, "E_FORMAT", None),
    ({"kind": "nulls", "column": "nobody"}, "E_COLUMN", "nobody"),
    ({"kind": "nulls", "column": "n\n"}, "E_FORMAT", None),
    ({"kind": "range", "column": "n"}, "E_FORMAT", None),
    ({"kind": "range", "column": "id", "least": "a"}, "E_TYPE", "id"),
    ({"kind": "range", "column": "open", "least": 0}, "E_TYPE", "open"),
    ({"kind": "range", "column": "n", "least": "1.5"}, "E_TYPE", "n"),
    ({"kind": "range", "column": "n", "least": "x"}, "E_TYPE", "n"),
    ({"kind": "range", "column": "n", "least": "9" * 20}, "E_TYPE", "n"),
    ({"kind": "range", "column": "n", "least": 2, "greatest": 1}, "E_FORMAT", "n"),
    ({"kind": "range", "column": "debt", "least": "0.005"}, "E_TYPE", "debt"),
    ({"kind": "range", "column": "debt", "least": "9" * 37}, "E_TYPE", "debt"),
    ({"kind": "range", "column": "day", "least": "2026-13-01"}, "E_TYPE", "day"),
    ({"kind": "range", "column": "rate", "least": "nan"}, "E_TYPE", "rate"),
    ({"kind": "freshness", "column": "n", "at_most_days": 1}, "E_TYPE", "n"),
    ({"kind": "freshness", "column": "day"}, "E_FORMAT", None),
    ({"kind": "freshness", "column": "day", "at_most_days": -1}, "E_FORMAT", None),
    ({"kind": "freshness", "column": "day", "at_most_days": 1, "utc_offset": "8"}, "E_FORMAT", None),
    ({"kind": "duplicates", "columns": []}, "E_FORMAT", None),
    ({"kind": "duplicates", "columns": ["n", "n"]}, "E_FORMAT", None),
    ({"kind": "duplicates", "column": "n"}, "E_FORMAT", None),
    ({"kind": "stability", "column": "n", "bins": 1}, "E_FORMAT", None),
    ({"kind": "stability", "column": "n", "bins": 51}, "E_FORMAT", None),
    ({"kind": "stability", "column": "n", "at_most": "x"}, "E_FORMAT", None),
])  # fmt: skip
def test_rules_that_are_none(rule, code, column):
    with pytest.raises(AtollError) as caught:
        parse_rules({"rules": [rule]}, SCHEMA)
    assert (caught.value.code, caught.value.column) == (code, column)


@pytest.mark.parametrize("document", [
    None, [], {}, {"rules": []}, {"rules": {}}, {"rules": [{"kind": "nulls", "column": "n"}] * 2},
    {"rules": [{"kind": "nulls", "column": "n"}], "every_seconds": 0},
    {"rules": [{"kind": "nulls", "column": "n"}], "every_seconds": "60"},
    {"rules": [{"kind": "nulls", "column": "n"}], "format": "atoll.quality-rules/v2"},
    {"rules": [{"kind": "nulls", "column": "n", "at_most": str(i)} for i in range(300)]},
])  # fmt: skip
def test_documents_that_are_none(document):
    with pytest.raises(AtollError) as caught:
        parse_rules(document, SCHEMA)
    assert caught.value.code == "E_FORMAT"


def test_a_float_is_named_by_its_place():
    with pytest.raises(AtollError) as caught:
        parse_rules({"rules": [{"kind": "nulls", "column": "n", "at_most": 0.5}]}, SCHEMA)
    assert "rules.0.at_most" in caught.value.text
    assert '"0.5"' in caught.value.cure


# Shares.


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.none() | st.integers(-20, 20), min_size=1, max_size=40), low=st.integers(-20, 20))
def test_counts_are_those_of_numpy(tmp_path_factory, values, low):
    have = np.array([v for v in values if v is not None])
    result = measured(
        tmp_path_factory.mktemp("q"),
        typed(n=values),
        {"kind": "nulls", "column": "n"},
        {"kind": "range", "column": "n", "least": low, "greatest": low + 5},
        {"kind": "duplicates", "columns": ["n"]},
    )
    nulls, outside, repeated = result.outcomes
    assert result.nulls == {"n": len(values) - len(have)}
    assert Decimal(nulls.measured) == _percent(len(values) - len(have), len(values))
    wrong = int(((have < low) | (have > low + 5)).sum())
    assert Decimal(outside.measured) == _percent(wrong, len(have))
    surplus = len(have) - len(np.unique(have))
    assert Decimal(repeated.measured) == _percent(surplus, len(have))
    assert (result.duplicates.rows, result.duplicates.surplus) == (len(have), surplus)
    for outcome, part in zip(result.outcomes, (len(values) - len(have), wrong, surplus), strict=True):
        assert outcome.state == ("broken" if part else "holds")


def _percent(part, whole) -> Decimal:
    share = Decimal(100 * part) / Decimal(whole) if whole else Decimal(0)
    return share.quantize(Decimal("0.0001"), ROUND_HALF_UP)


@pytest.mark.parametrize(
    ("nulls", "at_most", "broken"), [(1, "33.3333", True), (1, "33.3334", False), (0, "0", False)]
)
def test_limits_are_compared_exactly(tmp_path, nulls, at_most, broken):
    table = typed(n=[None] * nulls + [1] * (3 - nulls), id=list("abc"))
    outcome = only(measured(tmp_path, table, {"kind": "nulls", "column": "n", "at_most": at_most}))
    assert outcome.state == ("broken" if broken else "holds")


def test_a_share_just_over_the_limit_is_over_it():
    assert over(50_000_001, 10**8, "50")
    assert not over(50_000_000, 10**8, "50")
    assert percent(50_000_001, 10**8) == "50.0000"


@pytest.mark.parametrize(("column", "values", "least", "greatest", "outside"), [
    ("debt", [Decimal("-0.01"), Decimal("0.00"), Decimal("9999999999.99")], "0", "9999999999.98", 2),
    ("rate", [0.1, 0.2, -0.0], "0.1", "0.1", 2),
    ("day", [date(2026, 1, 1), date(2025, 12, 31), date(2026, 1, 2)], "2026-01-01", None, 1),
    ("seen", [datetime(2026, 1, 1), datetime(2026, 1, 1, 0, 0, 0, 1)], None, "2026-01-01 00:00:00", 1),
    ("n", [2**63 - 1, -(2**63)], str(-(2**63)), str(2**63 - 2), 1),
])  # fmt: skip
def test_ranges_of_every_type(tmp_path, column, values, least, greatest, outside):
    rule = {"kind": "range", "column": column, "least": least, "greatest": greatest}
    outcome = only(measured(tmp_path, typed(**{column: values}), rule))
    assert Decimal(outcome.measured) == _percent(outside, len(values))


def test_an_id_with_a_null_repeats_nothing(tmp_path):
    table = typed(id=["a", "a", None, None], n=[1, 1, 1, None])
    result = measured(tmp_path, table, {"kind": "duplicates", "columns": ["id", "n"]})
    assert (result.duplicates.rows, result.duplicates.surplus) == (2, 1)


def test_the_key_of_the_table_counts_where_no_rule_does(tmp_path):
    table = typed(id=["a", "a", "b"], n=[1, 2, 3])
    assert measured(tmp_path, table).duplicates is None
    assert measured(tmp_path, table, key=["id"]).duplicates.surplus == 1
    assert (
        measured(tmp_path, table, {"kind": "duplicates", "columns": ["n"]}, key=["id"]).duplicates.surplus
        == 0
    )


# Freshness.


@pytest.mark.parametrize(("days", "age", "state"), [
    ([date(2026, 11, 20), date(2026, 11, 16), None], 3, "holds"),
    ([date(2026, 11, 15)], 8, "broken"),
    ([date(2026, 11, 23)], 0, "holds"),
    ([date(2099, 1, 1), date(2026, 11, 13)], 10, "broken"),
    ([date(2099, 1, 1)], None, "broken"),
    ([None, None], None, "broken"),
])  # fmt: skip
def test_freshness_of_dates(tmp_path, days, age, state):
    table = typed(day=days, id=["a"] * len(days))
    result = measured(tmp_path, table, {"kind": "freshness", "column": "day", "at_most_days": 7})
    outcome = only(result)
    assert (result.freshness_days, outcome.state) == (age, state)
    assert outcome.measured == (None if age is None else str(age))


@pytest.mark.parametrize(("seen", "offset", "age"), [
    ("2026-11-23 12:00:00", "+00:00", 0), ("2026-11-22 12:00:00", "+00:00", 1), ("2026-11-22 12:00:01", "+00:00", 0),
    ("2026-11-23 12:00:01", "+00:00", None), ("2026-11-23 20:00:00", "+08:00", 0),
    ("2026-11-23 20:00:01", "+08:00", None), ("2026-11-22 19:00:00", "+08:00", 1),
    ("2026-11-23 07:00:00", "-05:00", 0), ("2026-11-23 07:00:01", "-05:00", None),
])  # fmt: skip
def test_freshness_of_times_by_the_clock_of_the_column(tmp_path, seen, offset, age):
    table = typed(seen=[datetime.fromisoformat(seen)])
    rule = {"kind": "freshness", "column": "seen", "at_most_days": 1, "utc_offset": offset}
    assert measured(tmp_path, table, rule).freshness_days == age


def test_the_day_of_a_date_is_that_of_its_clock(tmp_path):
    late = datetime(2026, 11, 23, 17, tzinfo=UTC)  # the 24th in UTC+8
    rule = {"kind": "freshness", "column": "day", "at_most_days": 1}
    table = typed(day=[date(2026, 11, 24), date(2026, 11, 20)])
    assert measured(tmp_path, table, rule, now=late).freshness_days == 3
    assert measured(tmp_path, table, rule | {"utc_offset": "+08:00"}, now=late).freshness_days == 0


# Stability.


def index_by_numpy(new, old, bins) -> float:
    """Edge k of `old` is its value of rank ceil(n k / bins), in whole numbers; None is a bin of its own."""
    a, b = (np.sort(np.array([v for v in values if v is not None], dtype=np.int64)) for values in (old, new))
    edges = np.unique(a[[-(-len(a) * k // bins) - 1 for k in range(1, bins)]]) if len(a) else a
    shares = []
    for have, all_of in ((b, new), (a, old)):
        counts = np.bincount(np.searchsorted(edges, have, side="left"), minlength=len(edges) + 1)
        counts = np.append(counts, len(all_of) - len(have))
        shares.append((counts / len(all_of) + EPSILON) / (1 + len(counts) * EPSILON))
    p, q = shares
    return float(((p - q) * np.log(p / q)).sum())


@settings(max_examples=80, deadline=None)
@given(
    old=st.lists(st.none() | st.integers(-9, 9), min_size=1, max_size=60),
    new=st.lists(st.none() | st.integers(-12, 12), min_size=1, max_size=60),
    bins=st.integers(2, 12),
)
def test_the_index_of_numbers_is_that_of_numpy(tmp_path_factory, old, new, bins):
    folder = tmp_path_factory.mktemp("s")
    rule = {"kind": "stability", "column": "n", "bins": bins}
    result = measured(folder, typed(n=new), rule, before=typed(n=old))
    assert abs(float(result.stability["n"]) - index_by_numpy(new, old, bins)) < 0.00006


def test_edges_are_quantiles_as_numpy_has_them(tmp_path):
    rng = np.random.default_rng(7)
    old, new = rng.normal(0, 1, 997), rng.normal(0.3, 1.2, 1201)
    edges = np.quantile(old, np.arange(1, 10) / 10, method="inverted_cdf")
    p, q = ((np.append(np.bincount(np.searchsorted(edges, v), minlength=10), 0) / len(v) + EPSILON) / (1 + 11 * EPSILON)
            for v in (new, old))  # fmt: skip
    result = measured(
        tmp_path, typed(rate=new), {"kind": "stability", "column": "rate"}, before=typed(rate=old)
    )
    assert abs(float(result.stability["rate"]) - float(((p - q) * np.log(p / q)).sum())) < 0.00006


@settings(max_examples=40, deadline=None)
@given(
    old=st.lists(st.none() | st.sampled_from(["a", "b", "c", "", "é", "中", "a\0"]), min_size=1, max_size=50),
    new=st.lists(st.none() | st.sampled_from(["a", "b", "z", "", "中"]), min_size=1, max_size=50),
    bins=st.integers(2, 5),
)
def test_the_index_of_text_is_over_the_most_frequent_values(tmp_path_factory, old, new, bins):
    folder = tmp_path_factory.mktemp("s")
    rule = {"kind": "stability", "column": "id", "bins": bins}
    result = measured(folder, typed(id=new), rule, before=typed(id=old))
    counted = Counter(v for v in old if v is not None)
    top = sorted(counted, key=lambda v: (-counted[v], v.encode()))[:bins]
    rows = []
    for values in (new, old):
        c = Counter(values)
        rows.append([*(c[v] for v in top), sum(v is not None and v not in top for v in values), c[None]])
    p, q = ((np.array(r) / sum(r) + EPSILON) / (1 + len(r) * EPSILON) for r in rows)
    assert abs(float(result.stability["id"]) - float(((p - q) * np.log(p / q)).sum())) < 0.00006


@pytest.mark.parametrize(("column", "old", "new"), [
    ("debt", [Decimal(i).scaleb(-2) for i in range(100)], [Decimal(i + 50).scaleb(-2) for i in range(100)]),
    ("rate", [i / 7 for i in range(100)], [(i + 50) / 7 for i in range(100)]),
    ("day", [date(2026, 1, 1) + timedelta(i) for i in range(100)],
     [date(2026, 1, 1) + timedelta(i + 50) for i in range(100)]),
    ("seen", [datetime(2026, 1, 1) + timedelta(microseconds=i) for i in range(100)],
     [datetime(2026, 1, 1) + timedelta(microseconds=i + 50) for i in range(100)]),
    ("n", list(range(100)), [i + 50 for i in range(100)]),
])  # fmt: skip
def test_every_ordered_type_has_the_same_bins(tmp_path, column, old, new):
    result = measured(
        tmp_path,
        typed(**{column: new}),
        {"kind": "stability", "column": column},
        before=typed(**{column: old}),
    )
    want = index_by_numpy([i + 50 for i in range(100)], list(range(100)), 10)
    assert Decimal(result.stability[column]) == Decimal(repr(want)).quantize(Decimal("0.0001"))
    assert only(result).state == "broken"


def test_truths_are_categories(tmp_path):
    table, before = typed(open=[True, False] * 5), typed(open=[True] * 5 + [False] * 5)
    result = measured(tmp_path, table, {"kind": "stability", "column": "open"}, before=before)
    assert result.stability == {"open": "0.0000"}


def test_the_index_is_a_symmetric_distance():
    assert stability_index([5, 5], [5, 5]) == 0
    assert stability_index([9, 1], [1, 9]) == pytest.approx(stability_index([1, 9], [9, 1]))
    # Two bins that change places: (1 - 0) ln(1/0) twice, with the shares that e allows.
    e = EPSILON
    assert stability_index([1, 0], [0, 1]) == pytest.approx(2 / (1 + 2 * e) * math.log((1 + e) / e))
    assert stability_index([0, 0], [0, 0]) == 0


def test_without_a_version_before_there_is_nothing_to_say(tmp_path):
    result = measured(tmp_path, typed(n=[1]), {"kind": "stability", "column": "n", "stop": True})
    assert only(result).state == "unknown"
    assert (result.broken, result.stability, result.previous) == ((), {}, None)


def test_a_column_that_the_version_before_had_not(tmp_path):
    table, before = typed(n=[1], id=["a"]), typed(n=[1])
    assert (
        only(measured(tmp_path, table, {"kind": "stability", "column": "id"}, before=before)).state
        == "unknown"
    )


def test_names_that_look_like_sql(tmp_path):
    name = 'a"; DROP TABLE x; --'
    table = pa.table({name: [1, 2, None]})
    result = measured(
        tmp_path, table, {"kind": "nulls", "column": name}, {"kind": "duplicates", "columns": [name]},
        {"kind": "range", "column": name, "least": 2}, {"kind": "stability", "column": name}, before=table,
    )  # fmt: skip
    assert [o.state for o in result.outcomes] == ["broken", "holds", "broken", "holds"]


# Results and figures.


def test_a_result_is_counts_and_texts_and_reads_back(tmp_path):
    table = typed(id=["SECRET-1", "SECRET-1", None], n=[4711, 4712, 4713], day=[date(2026, 11, 1)] * 3)
    result = measured(
        tmp_path, table, {"kind": "nulls", "column": "id", "at_most": "10", "stop": True},
        {"kind": "range", "column": "n", "least": 5000}, {"kind": "duplicates", "columns": ["id"]},
        {"kind": "freshness", "column": "day", "at_most_days": 30}, {"kind": "stability", "column": "id"}, before=table,
    )  # fmt: skip
    document = json.loads(json.dumps(result.document()))
    assert Result.parse(document) == result
    assert "SECRET" not in json.dumps(document)
    assert "471" not in json.dumps({**document, "version": None, "previous": None})
    assert [o.rule for o in result.stopping] == ["nulls:id"]
    for outcome in result.outcomes:
        assert outcome.en
        assert any("一" <= c <= "鿿" for c in outcome.zh)
        assert outcome.measured in outcome.en
        assert outcome.measured in outcome.zh
        assert outcome.limit in outcome.en


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> Result:
    table = typed(id=["a"] * 3 + ["b"] + [None], n=[1, 2, 3, 4, None], day=[date(2026, 11, 13)] * 5)
    return measured(
        tmp_path_factory.mktemp("r"), table, {"kind": "duplicates", "columns": ["id"]},
        {"kind": "freshness", "column": "day", "at_most_days": 5}, {"kind": "stability", "column": "n"},
        before=typed(n=[1, 1, 1, 1, 2]),
    )  # fmt: skip


def test_figures_are_coarse_and_of_the_closed_list(result):
    wanted = ["rows", "nulls:n", "nulls:id", "duplicates", "freshness_days", "stability:n", "failing_rules"]
    found = figures(result, wanted)
    assert found == {
        "rows": "5", "nulls:n": "20.0", "nulls:id": "20.0", "duplicates": "50.0", "freshness_days": "10",
        "stability:n": str(Decimal(result.stability["n"]).quantize(Decimal("0.01"), ROUND_HALF_UP)),
        "failing_rules": "3",
    }  # fmt: skip
    assert check_answer(found, wanted) == found


def test_what_was_not_measured_is_none(result):
    assert figures(result, ["nulls:nobody", "stability:id"]) == {"nulls:nobody": None, "stability:id": None}


@pytest.mark.parametrize(
    "name",
    ["", "row", "rows ", "nulls", "nulls:", "stability", "rows:n", "sum:n", 7, None, "nulls:" + "x" * 400],
)
def test_no_other_figure_can_be_asked_for(result, name):
    with pytest.raises(AtollError) as caught:
        figures(result, [name])
    assert caught.value.code == "E_FORMAT"
    with pytest.raises(AtollError):
        check_figure(name)


@pytest.mark.parametrize(("number", "shown"), [
    (0, 0), (7, 7), (99, 99), (104, 100), (105, 110), (994, 990), (995, 1000), (12_345, 12_000), (12_500, 13_000),
    (10**9 + 1, 10**9),
])  # fmt: skip
def test_rows_have_two_digits(number, shown):
    assert two_digits(number) == shown


@given(st.integers(0, 10**12))
def test_two_digits_are_two(number):
    shown = two_digits(number)
    assert abs(shown - number) * 20 <= max(number, 20)
    assert len(str(shown).rstrip("0")) <= 2


@pytest.mark.parametrize(("answer", "wanted"), [
    ({"rows": "5"}, ["rows", "duplicates"]), ({"rows": "5", "more": "1"}, ["rows"]), ({"rows": 5}, ["rows"]),
    ({"rows": "five"}, ["rows"]), ({"rows": "-1"}, ["rows"]), ({"nulls:n": "5"}, ["nulls:n"]),
    ({"nulls:n": "5.55"}, ["nulls:n"]), ({"stability:n": "0.5"}, ["stability:n"]), ([], ["rows"]), (None, ["rows"]),
    ({"rows": "1" * 40}, ["rows"]), ({"rows": "5\n"}, ["rows"]),
])  # fmt: skip
def test_answers_that_are_none(answer, wanted):
    with pytest.raises(AtollError) as caught:
        check_answer(answer, wanted)
    assert caught.value.code == "E_WIRE"


def test_figures_name_columns():
    assert quality.columns_named(["rows", "nulls:a:b", "stability:c"]) == {"a:b", "c"}


def test_the_rules_of_the_how_to_page_are_rules() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "data-quality.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    schema = Schema((Column("id", "string"), Column("debt", "int64"), Column("day", "date")))
    found = parse_rules(json.loads(example), schema)
    assert [rule.kind for rule in found.rules] == [
        "nulls", "range", "freshness", "duplicates", "stability",
    ]  # fmt: skip
    assert found.rules[0].stop
