"""A call's answer never depends on which calls it came with."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import atoll_test_cells as w
import pydantic_monty
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.errors import AtollError
from atoll.sandbox.rules import CALLS_PER_CHUNK, Call, RuleEngine
from atoll.scripts.manifest import parse
from atoll.scripts.rules import check_rules
from atoll.scripts.tables import parse_table

MANIFEST = parse({**w.MANIFEST, "limits": {"time_ms": 100, "memory_bytes": 8 << 20}})
DAYS = (datetime.date(2026, 3, 1), datetime.date(2026, 3, 2), datetime.date(2028, 2, 29))


@pytest.fixture(scope="module")
def engine() -> Iterator[RuleEngine]:
    with pydantic_monty.Monty(min_processes=1, max_processes=1) as pool:
        rules = check_rules(w.RULES, MANIFEST)
        assert rules.findings == ()
        tables = {n: parse_table(w.FILES[t.file], n, t) for n, t in MANIFEST.parameters.items()}
        made = RuleEngine(rules.code, MANIFEST, tables, rules.parameters, pool)
        yield made
        made.close()


def call(what: str, seed: int, n: int, rows: int, day: int) -> Call:
    values: dict[str, Any] = {
        "item": {"what": what},
        "rows": [{"kind": "bed" if i % 2 else "meal", "count": i, "amount": n} for i in range(rows)],
        "arguments": {"n": n},
        "today": DAYS[day],
    }
    return Call(f"seed {seed}".encode(), DAYS[day], values)


CALLS = st.builds(
    call,
    # Loops are left out: what they cost depends on the machine.
    st.sampled_from(
        ["plain", "plain", "random", "date", "none", "fails", "wide", "memory", "answer", "slow"]
    ),
    st.integers(0, 5),
    st.integers(0, 1000),
    st.sampled_from([0, 1, 8, 900]),
    st.integers(0, 2),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CALLS, min_size=1, max_size=CALLS_PER_CHUNK + 8))
def test_calls_together_answer_as_each_alone(engine: RuleEngine, calls: list[Call]) -> None:
    together = engine.run(calls)
    assert together.unfinished == []
    alone = {id(c): engine.run([c], singly=True).answers[0] for c in calls}
    assert together.answers == [alone[id(c)] for c in calls]
    assert engine.run(calls[::-1]).answers == together.answers[::-1]


def test_a_call_that_spends_its_time_is_no_decision_and_the_others_are_answered(engine: RuleEngine) -> None:
    calls = [call("loop" if i == 5 else "plain", 0, i, 0, 0) for i in range(12)]
    assert engine.run(calls).answers == [None if i == 5 else {"out": i} for i in range(12)]


def test_rows_of_a_table_are_fresh_each_time() -> None:
    source = (
        "def decide(item, prices) -> dict:\n"
        "    row = prices(item['what'])\n"
        "    row['cents'] += 1\n"
        "    return {'out': prices(item['what'])['cents'] + row['cents']}\n"
    )
    tables = {n: parse_table(w.FILES[t.file], n, t) for n, t in MANIFEST.parameters.items()}
    with pydantic_monty.Monty(min_processes=1, max_processes=1) as pool:
        engine = RuleEngine(source, MANIFEST, tables, ("item", "prices"), pool)
        calls = [call("bed", 0, 0, 0, 0)] * 3
        assert engine.run(calls).answers == [{"out": 201}] * 3


@pytest.mark.parametrize("key", ["1", "True", "1.0", "None", "[1]", "'x'"])
def test_a_key_of_another_type_finds_nothing(key: str) -> None:
    declared = {"format": "atoll.script/v1", **w.MANIFEST}
    declared["parameters"] = {
        "prices": {"file": "p.csv", "key": "k", "columns": {"k": "string", "v": "int64"}}
    }
    manifest = parse(declared)
    table = parse_table(b"k,v\n1,5\nTrue,6\n1.0,7\nNone,8\n", "prices", manifest.parameters["prices"])
    source = f"def decide(prices) -> dict:\n    return {{'out': 1 if prices({key}) is None else 2}}\n"
    with pydantic_monty.Monty(min_processes=1, max_processes=1) as pool:
        engine = RuleEngine(source, manifest, {"prices": table}, ("prices",), pool)
        assert engine.run([Call(b"s", DAYS[0], {})]).answers == [{"out": 1}]


def test_the_clock_stands_and_chance_is_the_calls_own() -> None:
    source = (
        "import datetime, random, time\n"
        "def decide() -> dict:\n"
        "    start = time.monotonic()\n"
        "    time.sleep(1000)\n"
        "    day = datetime.date.today()\n"
        "    return {'out': day.year * 10000 + day.month * 100 + day.day + int(time.monotonic() - start),"
        " 'chance': random.randint(0, 10**9)}\n"
    )
    with pydantic_monty.Monty(min_processes=1, max_processes=1) as pool:
        engine = RuleEngine(source, MANIFEST, {}, (), pool)
        calls = [Call(b"one", DAYS[2], {}), Call(b"two", DAYS[2], {}), Call(b"one", DAYS[2], {})]
        first, second, third = engine.run(calls).answers
        assert first == third
        assert first["out"] == second["out"] == 20280229
        assert first["chance"] != second["chance"]


def test_the_end_of_the_interpreter_leaves_its_calls_open() -> None:
    """Where no other one can be started, as in a cell."""
    with pydantic_monty.Monty(min_processes=1, max_processes=1) as pool:
        rules = check_rules(w.RULES, MANIFEST)
        tables = {n: parse_table(w.FILES[t.file], n, t) for n, t in MANIFEST.parameters.items()}
        engine = RuleEngine(rules.code, MANIFEST, tables, rules.parameters, pool)
        calls = [call("plain", 0, i, 0, 0) for i in range(3)]

        class Gone:
            def checkout(self, **_: Any) -> Any:
                raise RuntimeError("failed to spawn")

        assert engine.run(calls[:1]).answers == [{"out": 0}]
        engine._drop()
        engine._pool = Gone()  # type: ignore[assignment]  # all that is asked of it
        ran = engine.run(calls)
        assert ran.answers == [None] * 3
        assert ran.unfinished == [0, 1, 2]


def test_rules_that_do_not_load_are_refused() -> None:
    source = "X = (0,) * 10000000\ndef decide() -> dict:\n    return None\n"
    with pydantic_monty.Monty(min_processes=1, max_processes=1) as pool, pytest.raises(AtollError) as caught:
        RuleEngine(source, MANIFEST, {}, (), pool)
    assert caught.value.code == "E_SCRIPT"
