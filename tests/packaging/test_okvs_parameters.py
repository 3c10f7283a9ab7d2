"""The shapes of key-value stores meet the failure bound that the protocol page promises."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "okvs_parameters.py"
SPEC = importlib.util.spec_from_file_location("okvs_parameters", SCRIPT)
assert SPEC is not None
assert SPEC.loader is not None
parameters = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(parameters)

TABLES = {name: parameters.table(name, parameters.SOURCE.read_text()) for name in ("FAST", "DENSER")}


@pytest.mark.parametrize("name", TABLES)
def test_every_bracket_meets_the_goal(name: str) -> None:
    brackets = TABLES[name]
    assert brackets[-1][0] > parameters.MOST_ITEMS
    counts = [items for items in parameters.counts(brackets) if items <= 1000 or items >= 1 << 14]
    assert len(counts) >= 15
    for items in counts:
        assert parameters.bound(brackets, items) <= parameters.GOAL, items


def test_a_smaller_store_misses_the_goal() -> None:
    assert parameters.bound([(1 << 23, 4, 300, 1020)], 1 << 20) > parameters.GOAL
    assert parameters.bound([(1 << 23, 3, 1, 300)], 100) > parameters.GOAL


def test_one_window_agrees_with_enumeration() -> None:
    # Two rows in three segments of L slots agree with probability L^-3; no larger set exists.
    assert parameters.one_window(2, 3, 8) == pytest.approx(-9 - 64)
