"""Statistics over a hidden join: what is withheld, against the rule in plain Python; statistics from exact totals."""

from __future__ import annotations

import statistics
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import atoll_test_world as w
import numpy as np
import pytest
from atoll_mpc_parties import run
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll import mpc
from atoll.client.statistics import parse, split
from atoll.errors import AtollError
from atoll.functions.join_statistics.join import Sizes
from atoll.functions.join_statistics.program import check_operators, withheld
from atoll.functions.join_statistics.results import table
from atoll.functions.join_statistics.run import Rows, check_memory
from atoll.protocols.hidden_totals import Fit


def shown(cells: list[int], minimum: int) -> list[int]:
    """The rule as the page states it."""
    out = [-1 if count < minimum else count for count in cells]
    small = [count for count in cells if count < minimum]
    rest = [count for count in out if count >= 0]
    if small and sum(small) < minimum and rest:
        out[out.index(min(rest))] = -1
    return out


def opened(cells: list[int], keys: int, minimum: int, total: int = 77) -> dict[str, int]:
    """What three parties open of totals and a histogram."""
    names = [f"c{place}" for place in range(len(cells))]
    op = {"parameters": {"minimum_group": minimum, "histograms": [names]}}

    def program(session: mpc.Session) -> dict[str, int]:
        numbers = np.array([keys, keys, total, *cells])
        mine = numbers if session.me == 0 else None
        given = session.share(mine, 0, len(numbers), low=0, high=1000)
        totals = {
            name: given[place] for place, name in enumerate(["matched_keys", "matched_rows", "sum", *names])
        }
        kept = withheld(op, totals)
        found = session.open(*kept.values())
        return {name: int(value) for name, value in zip(kept, found, strict=True)}

    results = run(program)
    assert results[0] == results[1] == results[2]
    return results[0]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=7), st.integers(1, 40))
def test_cells_that_open_are_those_of_the_rule(cells: list[int], minimum: int) -> None:
    keys = sum(cells)
    found = opened(cells, keys, minimum)
    values = [found[f"c{place}"] for place in range(len(cells))]
    if keys < minimum:
        assert values == [-1] * len(cells)
        assert (found["enough"], found["matched_keys"], found["matched_rows"], found["sum"]) == (0, 0, 0, 0)
    else:
        assert values == shown(cells, minimum)
        assert (found["enough"], found["matched_keys"], found["sum"]) == (1, keys, 77)
        # What is withheld cannot be told from the rest: it is nothing at all, or as many as the minimum together.
        hidden = [count for count, value in zip(cells, values, strict=True) if value < 0]
        assert not hidden or sum(hidden) >= minimum or len(hidden) == len(cells)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([45, 46, 6, 3], [-1, 46, -1, -1]),
        ([10, 0], [-1, -1]),
        ([50, 10, 10, 9], [50, -1, 10, -1]),
        ([9, 1, 50], [-1, -1, 50]),
        ([10, 10], [10, 10]),
        ([100], [100]),
    ],
)
def test_worked_examples_of_the_rule(cells: list[int], expected: list[int]) -> None:
    assert shown(cells, 10) == expected
    assert [opened(cells, sum(cells), 10)[f"c{place}"] for place in range(len(cells))] == expected


def result(form: str, of: list[str], **totals: Any) -> Any:
    operator = {"parameters": {"results": [{"as": "x", "form": form, "of": of}]}}
    base = {"enough": True, "matched_keys": 3, "matched_rows": 3}
    (row,) = table(operator, base | totals).to_pylist()
    return row["x"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6)), min_size=2, max_size=20)
)
def test_statistics_are_those_of_exact_arithmetic(pairs: list[tuple[int, int]]) -> None:
    x, y = ([Fraction(p[i], 100) for p in pairs] for i in (0, 1))
    count = len(pairs)
    totals: dict[str, Any] = {
        "matched_rows": count, "matched_keys": count,
        "x": Decimal(sum(p[0] for p in pairs)).scaleb(-2), "y": Decimal(sum(p[1] for p in pairs)).scaleb(-2),
        "xx": Decimal(sum(p[0] ** 2 for p in pairs)).scaleb(-4),
        "yy": Decimal(sum(p[1] ** 2 for p in pairs)).scaleb(-4),
        "xy": Decimal(sum(p[0] * p[1] for p in pairs)).scaleb(-4),
    }  # fmt: skip
    variance = statistics.variance(x)
    assert abs(Fraction(result("variance", ["x", "xx"], **totals)) - variance) <= Fraction(1, 2 * 10**10)
    assert result("stddev", ["x", "xx"], **totals) == pytest.approx(float(variance) ** 0.5, rel=1e-14)
    covariance = (totals["xy"] * count - totals["x"] * totals["y"]) / (count * (count - 1))
    found = result("covariance", ["x", "y", "xy"], **totals)
    assert abs(Fraction(found) - Fraction(covariance)) <= Fraction(1, 10**9)
    found = result("correlation", ["x", "y", "xx", "yy", "xy"], **totals)
    spread = variance * statistics.variance(y)
    if spread:
        assert -1 <= found <= 1
        assert found == pytest.approx(float(covariance) / float(spread) ** 0.5, rel=1e-9, abs=1e-9)
    else:
        assert found is None


def test_what_has_no_value_is_null() -> None:
    assert result("variance", ["x", "xx"], matched_rows=1, x=5, xx=25) is None
    assert result("mean", ["x"], matched_rows=0, x=0) is None
    assert result("mean", ["x"], enough=False, x=0) is None
    assert result("histogram", ["a", "b"], enough=False, a=-1, b=-1) is None
    assert result("histogram", ["a", "b"], a=-1, b=12) == [None, 12]


def test_a_variance_beyond_38_digits_is_still_exact() -> None:
    largest = 2**62
    x, xx = 10**6 * largest, 10**6 * largest**2 + 3
    found = result("variance", ["x", "xx"], matched_rows=10**6, x=x, xx=xx)
    exact = Fraction(10**6 * xx - x * x, 10**6 * (10**6 - 1))
    assert abs(Fraction(found) - exact) <= Fraction(1, 2 * 10**6)
    wide = result("variance", ["x", "xx"], matched_rows=2, x=0, xx=2**121)
    assert wide == Decimal(2**121)
    assert result("variance", ["x", "xx"], matched_rows=2, x=0, xx=Decimal(10) ** 40) == 10**40


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("count", []),
        (
            "left.debt",
            [
                {"statistic": "sum", "columns": ["left.debt"]},
                {"statistic": "mean", "columns": ["left.debt"]},
            ],
        ),
        (" variance( right.a b ) ", [{"statistic": "variance", "columns": ["right.a b"]}]),
        ("correlation(left.a,right.b)", [{"statistic": "correlation", "columns": ["left.a", "right.b"]}]),
        (
            "histogram(left.a, -1.5, 2)",
            [{"statistic": "histogram", "columns": ["left.a"], "cuts": ["-1.5", "2"]}],
        ),
        (
            "histogram(left.a, 1, x)",
            [{"statistic": "histogram", "columns": ["left.a"], "codes": ["1", "x"]}],
        ),
        ("histogram(left.a)", [{"statistic": "histogram", "columns": ["left.a"]}]),
    ],
)
def test_statistics_are_read_from_text(text: str, document: list[dict[str, Any]]) -> None:
    assert parse(text) == document


@pytest.mark.parametrize(
    "text",
    ["a", "left.", "mode(left.a)", "variance()", "variance(a)", "variance(left.a, 3)", "correlation(left.a)"],
)
def test_what_is_no_statistic_is_named(text: str) -> None:
    with pytest.raises(AtollError) as caught:
        parse(text)
    assert caught.value.code == "E_FORMAT"
    assert text in caught.value.text


def test_commas_in_parentheses_do_not_split() -> None:
    assert split(["count,variance(left.a)", "correlation(left.a,right.b),left.c"]) == [
        "count",
        "variance(left.a)",
        "correlation(left.a,right.b)",
        "left.c",
    ]


def test_a_worker_runs_no_other_chain() -> None:
    kinds = ["hidden_join/v1", "total/v1", "withhold/v1", "open/v1"]
    check_operators([{"kind": kind} for kind in kinds])
    for wrong in (kinds[1:], kinds[::-1], [*kinds[:2], *kinds[3:]], [*kinds, "open/v1"], ["psi/v1", *kinds]):
        with pytest.raises(AtollError, match="E_PLAN"):
            check_operators([{"kind": kind} for kind in wrong])


@pytest.mark.parametrize(("memory", "fits"), [(2 << 30, True), (200 << 20, False)])
def test_tables_that_surely_do_not_fit_are_refused_before_anything_is_sent(memory: int, fits: bool) -> None:
    plan = w.statistics_plan(
        left={"asset": "loans", "party": "alice", "keys": ["id"], "rows": 1_000_000},
        right={"asset": "loans", "party": "bob", "keys": ["id"], "rows": 1_000_000},
        maximum_rows=1_000_000,
    )
    operators = [op for op in plan["operators"] if op["protocol"] is not None]
    sizes = Sizes.of(operators[0], (1_000_000, 1_000_000), 0)
    context: Any = SimpleNamespace(memory_bytes=memory)
    if fits:
        check_memory(context, operators, sizes, 1_000_000, 0)
        return
    with pytest.raises(AtollError) as caught:
        check_memory(context, operators, sizes, 1_000_000, 0)
    assert (caught.value.code, caught.value.step) == ("E_MEMORY", "n4")
    assert "1000000 rows" in caught.value.text
    small = Sizes.of(operators[0], (1000, 1000), 0)
    check_memory(context, operators, small, 1000, 0)


def test_every_bucket_has_own_rows_and_fillers_of_its_own() -> None:
    """Each row stands in one bucket with its words; no filler serves twice, and fillers bring zeros."""
    count, capacity = 60, 40
    sizes = Sizes(0, count, count, 1, Fit(4, capacity, capacity))
    digests = np.random.default_rng(1).bytes(32 * count)
    words = np.arange(1, 2 * count + 1, dtype=np.uint64).reshape(count, 2)
    context: Any = SimpleNamespace(seed=bytes([7]) * 32, attempt=0, threads=1)
    rows = Rows(context, digests, words, sizes, bytes([9]) * 32, 0)
    seen: dict[bytes, tuple[int, ...]] = {}
    for number in range(4):
        found, brought = rows.bucket(number)
        assert (len(found), brought.shape) == (32 * capacity, (capacity, 2))
        for place in range(capacity):
            digest = found[32 * place : 32 * place + 32]
            assert digest not in seen
            seen[digest] = tuple(brought[place].tolist())
    own = [digests[32 * place : 32 * place + 32] for place in range(count)]
    assert [seen.pop(digest) for digest in own] == [tuple(row) for row in words.tolist()]
    assert set(seen.values()) == {(0, 0)}
