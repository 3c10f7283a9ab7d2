"""Intersections of several tables: plans that the checker takes, what they disclose, requests that name their field."""

from __future__ import annotations

import copy
from typing import Any

import atoll_test_world as w
import pytest

from atoll.disclosure import render
from atoll.errors import AtollError

TABLES = w.INTERSECTED
NAMES = {w.ALICE: "alice", w.BOB: "bob", w.CAROL: "carol"}


def refused(**changes: Any) -> str:
    with pytest.raises(AtollError) as caught:
        w.intersect_plan(**changes)
    return f"{caught.value.code} {caught.value.text}"


def said(document: dict[str, Any]) -> set[tuple[str, str | None, tuple[str, ...]]]:
    return {(s.what, s.owner, s.to) for s in w.derive(document).disclosures}


def test_the_leader_stands_first_and_alone_learns() -> None:
    found = w.intersect_plan()
    common = found["operators"][-1]
    assert common["at"] == [w.ALICE, w.CAROL, w.BOB]
    assert (common["parameters"]["leader"], common["parameters"]["second"]) == (w.ALICE, w.CAROL)
    assert [(o["receiver"], o["columns"]) for o in found["outputs"]] == [(w.ALICE, ["id"])]
    stated = said(found)
    assert ("membership", w.BOB, (w.ALICE,)) in stated
    assert ("size", w.ALICE, tuple(sorted((w.BOB, w.CAROL)))) in stated
    assert ("common_collusion", None, (w.ALICE,)) in stated
    assert not {s for s in stated if s[:2] == ("membership", w.ALICE)}


def test_the_statement_says_in_all_tables_and_who_could_undo_the_size() -> None:
    rows = " ".join(render(w.derive(w.intersect_plan()).disclosures, NAMES, "en"))
    assert "in the tables of all 3 parties" in rows
    size = w.intersect_plan(reveal="size")
    pair = tuple(sorted((w.ALICE, w.CAROL)))
    assert ("size_collusion", None, pair) in said(size)
    assert not {s for s in said(size) if s[0] == "membership"}
    assert "3 方" in " ".join(render(w.derive(size).disclosures, NAMES, "zh"))


def test_everyone_receives() -> None:
    everyone = w.intersect_plan(everyone=True)
    assert [o["receiver"] for o in everyone["outputs"]] == sorted(NAMES)
    others = tuple(sorted((w.BOB, w.CAROL)))
    assert ("membership", w.ALICE, others) in said(everyone)


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        ({"tables": TABLES[:2]}, "E_FORMAT tables:"),
        ({"tables": [*TABLES, TABLES[0]]}, "E_FORMAT tables:"),
        ({"leader": "dave"}, "E_FORMAT leader:"),
        ({"leader": "nobody"}, "E_NOT_FOUND leader:"),
        ({"tables": [*TABLES[:2], TABLES[2] | {"keys": ["id", "phone"]}]}, "E_FORMAT tables.2.keys:"),
        ({"tables": [*TABLES[:2], TABLES[2] | {"keys": ["score"]}]}, "E_TYPE "),
        ({"normalise": {"phone": ["trim"]}}, "E_COLUMN normalise:"),
        ({"shape": "long"}, "E_FORMAT "),
    ],
    ids=[
        "two",
        "one party twice",
        "leader without table",
        "unknown leader",
        "keys",
        "types",
        "steps",
        "long",
    ],
)
def test_wrong_requests_name_their_field(changes: dict[str, Any], begins: str) -> None:
    assert refused(**changes).startswith(begins)


@pytest.mark.parametrize("field", ["leader", "second"])
def test_a_plan_that_names_another_leader_or_second_is_refused(field: str) -> None:
    changed = copy.deepcopy(w.intersect_plan())
    changed["operators"][-1]["parameters"][field] = w.BOB
    with pytest.raises(AtollError, match="E_PLAN"):
        w.derive(changed)


def test_some_but_not_all_of_the_owners_cannot_receive() -> None:
    changed = copy.deepcopy(w.intersect_plan(everyone=True))
    changed["operators"][-1]["parameters"]["receivers"].pop()
    with pytest.raises(AtollError, match="E_PLAN"):
        w.derive(changed)
