"""Totals over a hidden join: plans that the checker takes, what they disclose, requests that name their field."""

from __future__ import annotations

import copy
from typing import Any

import atoll_test_world as w
import pytest

from atoll.client.drafts import DISCLOSED
from atoll.disclosure import render
from atoll.errors import AtollError

NAMES = {w.ALICE: "alice", w.BOB: "bob"}
LEFT = {"asset": "loans", "party": "alice", "keys": ["id"], "values": ["debt"]}
RIGHT = LEFT | {"party": "bob"}


def joint(plan: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = plan["operators"][-1]
    return found


def said(document: dict[str, Any]) -> set[tuple[str, str | None, tuple[str, ...]]]:
    return {(s.what, s.owner, s.to) for s in w.derive(document).disclosures}


def refused(**changes: Any) -> str:
    with pytest.raises(AtollError) as caught:
        w.hidden_plan(**changes)
    return f"{caught.value.code} {caught.value.text}"


def test_the_asker_alone_receives_and_both_learn_whether_there_are_enough() -> None:
    plan = w.hidden_plan()
    columns = ["enough", "matched_keys", "matched_rows", "sum_left_debt", "mean_left_debt", "sum_right_debt"]
    assert [(o["receiver"], o["columns"], o["minimum_group"]) for o in plan["outputs"]] == [
        (w.ALICE, [*columns, "mean_right_debt"], 20)
    ]
    stated = said(plan)
    for what in ("size", "too_few_matched", "matched_count", "matched_sum", "own_matched_sum"):
        assert (what, w.BOB, (w.ALICE,)) in stated
    assert {s[0] for s in stated if s[1] == w.ALICE} == {"size", "too_few_matched"}
    assert w.derive(plan).security == "semi-honest"


def test_it_never_says_what_a_join_says() -> None:
    """The statement differs from a join's exactly in what is hidden, and in what totals tell."""
    hidden, join = (
        {s[0] for s in said(p)} for p in (w.hidden_plan(receivers="both"), w.join_plan(receivers="both"))
    )
    assert join - hidden == {"membership", "multiplicity"}
    assert hidden - join == {"matched_count", "matched_sum", "own_matched_sum", "too_few_matched", "guessing"}
    plan = w.hidden_plan(receivers="both")
    for language in ("en", "zh"):
        text = " ".join(render(w.derive(plan).disclosures, NAMES, language))
        assert "20" in text
        assert "which of its own" not in text


def test_a_sum_of_own_values_says_how_many_bits_it_can_hold() -> None:
    plan = w.hidden_plan(maximum_rows=1000)
    (stated,) = [s for s in w.derive(plan).disclosures if s.what == "own_matched_sum"]
    # A thousand rows of 0 to 10^8 fen are at most 10^11: 37 bits.
    assert stated.parameters.maximum_bits == 37
    assert "up to 37 bits" in " ".join(render([stated], NAMES, "en"))
    assert "own_matched_sum" not in DISCLOSED["join_totals"]


def test_sums_that_nobody_asked_for_are_not_stated() -> None:
    plan = w.hidden_plan(left=LEFT | {"values": []}, right=RIGHT | {"values": []})
    assert plan["outputs"][0]["columns"] == ["enough", "matched_keys", "matched_rows"]
    assert not {s for s in said(plan) if "sum" in s[0]}


def test_the_minimum_is_the_grants_unless_a_larger_one_is_asked_for() -> None:
    grant = w.join_grant(w.BOB, functions=["join_totals"], minimum_group=35)
    document = w.with_grants(w.BOB, [grant])
    # Who receives nothing learns whether there are enough, so its own grant counts as well.
    mine = w.with_grants(w.ALICE, [w.join_grant(w.ALICE, functions=["join_totals"], minimum_group=40)])
    assert joint(w.hidden_plan(mine, minimum_group=None))["parameters"]["minimum_group"] == 40
    assert joint(w.hidden_plan(document, minimum_group=None))["parameters"]["minimum_group"] == 35
    assert joint(w.hidden_plan(document, minimum_group=50))["parameters"]["minimum_group"] == 50


@pytest.mark.parametrize(
    ("sizes", "repeated", "unique"),
    [
        ((10, 20), None, w.ALICE),
        ((20, 10), None, w.BOB),
        ((10, 20), "left", w.BOB),
        ((20, 10), "right", w.ALICE),
        ((None, 10), None, w.ALICE),
    ],
    ids=["left is smaller", "right is smaller", "left repeats", "right repeats", "unknown"],
)
def test_the_smaller_side_has_the_unique_keys_unless_it_repeats_them(
    sizes: tuple[int | None, int | None], repeated: str | None, unique: str
) -> None:
    plan = w.hidden_plan(
        left=LEFT | {"rows": sizes[0]},
        right=RIGHT | {"rows": sizes[1]},
        repeated=repeated,
        multiplicity=1 if repeated is None else 3,
    )
    assert joint(plan)["parameters"]["unique"] == unique


def test_the_estimate_is_the_protocols() -> None:
    plan = w.hidden_plan(left=LEFT | {"rows": 10_000}, right=RIGHT | {"rows": 20_000})
    assert 3_000_000 < plan["estimate"]["bytes"] < 8_000_000
    assert plan["estimate"]["rounds"] == 34


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        ({"left": LEFT | {"values": ["apps"]}}, "E_RANGE Operator n4 could overflow in 'apps'"),
        ({"left": LEFT | {"values": ["score"]}}, "E_TYPE "),
        ({"left": LEFT | {"values": ["nothing"]}}, "E_COLUMN left.values:"),
        ({"left": LEFT | {"keys": ["id", "phone"]}}, "E_FORMAT right.keys:"),
        ({"right": RIGHT | {"party": "alice"}}, "E_FORMAT right.asset:"),
        ({"right": RIGHT | {"asset": "none"}}, "E_NOT_FOUND right.asset:"),
        ({"multiplicity": 2}, "E_FORMAT multiplicity:"),
        ({"repeated": "left"}, "E_FORMAT multiplicity:"),
        ({"multiplicity": 1001, "repeated": "left"}, "E_FORMAT "),
        ({"receivers": ["carol"]}, "E_FORMAT receivers:"),
        ({"normalise": {"phone": ["trim"]}}, "E_COLUMN normalise:"),
        ({"left": LEFT | {"values": ["debt"] * 65}}, "E_FORMAT "),
        ({"maximum_rows": 2**25 + 1}, "E_FORMAT "),
    ],
    ids=[
        "no range",
        "float",
        "column",
        "keys",
        "one party",
        "asset",
        "multiplicity alone",
        "repeated alone",
        "multiplicity",
        "receiver",
        "steps",
        "values",
        "rows",
    ],
)
def test_wrong_requests_name_their_field(changes: dict[str, Any], begins: str) -> None:
    assert refused(**changes).startswith(begins)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("unique", w.CAROL),
        ("maximum_rows", 2**25),
        ("minimum_group", 1),
        ("receivers", [w.CAROL]),
        ("values", [[{"column": "phone", "as": "x", "scale": 0, "range": ["0", "1"]}], []]),
        ("values", [[{"column": "debt", "as": "x", "scale": 1, "range": ["0", "1"]}], []]),
    ],
    ids=["unique", "rows", "minimum", "receivers", "a column it does not read", "scale"],
)
def test_a_plan_that_was_changed_is_refused(field: str, value: Any) -> None:
    changed = copy.deepcopy(w.hidden_plan())
    if field == "maximum_rows":
        joint(changed)["parameters"]["values"][0][0]["range"] = ["0", str(2**40)]
    joint(changed)["parameters"][field] = value
    with pytest.raises(AtollError) as caught:
        w.derive(changed)
    assert caught.value.code in ("E_PLAN", "E_RANGE", "E_UNIT")
