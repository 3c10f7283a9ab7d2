"""Plans with shared edges: what the checker takes, what it says of them, and what it refuses by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import atoll_test_world as w
import pytest

from atoll.client.drafts import DISCLOSED
from atoll.disclosure import render
from atoll.errors import AtollError

NAMES = {w.ALICE: "alice", w.BOB: "bob"}
Plan = dict[str, Any]


def op(plan: Plan, kind: str) -> Any:
    return next(o for o in plan["operators"] if o["kind"] == f"{kind}/v1")


def said(plan: Plan) -> set[tuple[str, str | None, tuple[str, ...]]]:
    return {(s.what, s.owner, s.to) for s in w.derive(plan).disclosures}


def test_the_chain_is_checked_and_only_its_end_is_disclosed() -> None:
    plan = w.statistics_plan()
    kinds = [o["kind"] for o in plan["operators"][4:]]
    assert kinds == ["hidden_join/v1", "calculate/v1", "total/v1", "withhold/v1", "open/v1"]
    derived = w.derive(plan)
    assert derived.security == "semi-honest"
    assert derived.protocols == ("additive-shares/v1", "circuit-psi/v1")
    assert derived.uses == {
        "in0": {"id": ("join_key",), "debt": ("aggregate",)},
        "in1": {"id": ("join_key",), "debt": ("aggregate",), "segment": ("group_key",)},
    }
    for what in ("matched_count", "too_few_matched", "matched_sum", "matched_moments", "matched_histogram"):
        assert (what, w.BOB, (w.ALICE,)) in said(plan)
    assert ("matched_product", w.BOB, (w.ALICE,)) in said(plan)
    assert {what for what, owner, _ in said(plan) if owner == w.ALICE} == {"size"}
    assert derived.releases["in1"].minimum_group == 20


def test_nothing_about_single_rows_is_ever_said() -> None:
    plan = w.statistics_plan(receivers="both")
    assert not {what for what, *_ in said(plan)} & {
        "membership",
        "intersection_size",
        "multiplicity",
        "value",
    }
    for language in ("en", "zh"):
        assert "20" in " ".join(render(w.derive(plan).disclosures, NAMES, language))


def test_a_product_with_own_columns_says_that_it_could_tell_single_values() -> None:
    """With an own column of one 1 and zeros the sum of products is the value of one row of the partner's."""
    plan = w.statistics_plan(statistics=[{"statistic": "covariance", "columns": ["left.debt", "right.debt"]}])
    (stated,) = [s for s in w.derive(plan).disclosures if s.what == "matched_product"]
    assert (stated.owner, stated.to, stated.parameters.columns) == (w.BOB, (w.ALICE,), ("debt",))
    assert stated.parameters.maximum_bits == (100 * 10**16).bit_length()
    assert "single values of debt: up to 60 bits" in " ".join(render([stated], NAMES, "en"))
    assert not {what for what, *_ in said(plan)} & {"matched_moments"}
    assert not {"matched_product", "own_matched_sum"} & set(DISCLOSED["join_statistics"])


def test_products_of_the_partners_columns_alone_tell_no_single_value() -> None:
    plan = w.statistics_plan(statistics=[{"statistic": "variance", "columns": ["right.debt"]}])
    assert ("matched_moments", w.BOB, (w.ALICE,)) in said(plan)
    assert not {what for what, *_ in said(plan)} & {"matched_product", "own_matched_sum"}


def test_products_of_own_columns_are_of_own_columns() -> None:
    plan = w.statistics_plan(statistics=[{"statistic": "covariance", "columns": ["left.debt", "right.debt"]}])
    (own,) = [s for s in w.derive(plan).disclosures if s.what == "own_matched_sum"]
    assert own.parameters.columns == ("debt",)
    # A hundred debts of up to 10^8 fen, and as many products of two.
    assert own.parameters.maximum_bits == (100 * 10**8).bit_length() + (100 * 10**16).bit_length()


def without_withhold(plan: Plan) -> None:
    last = op(plan, "open")
    last["inputs"] = op(plan, "withhold")["inputs"]
    plan["operators"].remove(op(plan, "withhold"))


def open_rows(plan: Plan) -> None:
    op(plan, "withhold")["inputs"] = op(plan, "total")["inputs"]
    plan["operators"].remove(op(plan, "total"))


def twice_used(plan: Plan) -> None:
    op(plan, "withhold")["inputs"] = op(plan, "total")["inputs"]


def cell_left_out(plan: Plan) -> None:
    op(plan, "withhold")["parameters"]["histograms"][0].pop()


def no_histogram(plan: Plan) -> None:
    op(plan, "withhold")["parameters"]["histograms"] = []


def code_missing(plan: Plan) -> None:
    brought = op(plan, "hidden_join")["parameters"]["brings"][1]
    next(b for b in brought if b.get("other"))["codes"].pop()


def computes_with_a_cell(plan: Plan) -> None:
    op(plan, "calculate")["parameters"]["steps"][0]["of"][0] = "segment=A"


def third_power(plan: Plan) -> None:
    op(plan, "calculate")["parameters"]["steps"][0]["of"] = ["right_debt*right_debt", "left_debt"]


def unknown_column(plan: Plan) -> None:
    op(plan, "calculate")["parameters"]["steps"][0]["of"][0] = "nothing"


def opens_to_a_stranger(plan: Plan) -> None:
    op(plan, "open")["parameters"]["receivers"] = [w.CAROL]


def opens_too_much(plan: Plan) -> None:
    results = op(plan, "open")["parameters"]["results"]
    results.remove(next(r for r in results if r["form"] == "correlation"))


def result_of_a_cell(plan: Plan) -> None:
    results = op(plan, "open")["parameters"]["results"]
    results.append({"as": "sum_a", "form": "sum", "of": ["segment=A"]})


def shared_at_others(plan: Plan) -> None:
    op(plan, "total")["edge"]["visibility"] = {"shared": sorted([w.ALICE, w.CAROL])}


def in_clear(plan: Plan) -> None:
    op(plan, "total")["edge"]["visibility"] = {"clear": [w.ALICE]}


def range_too_wide(plan: Plan) -> None:
    for brought in op(plan, "hidden_join")["parameters"]["brings"][1]:
        if brought["form"] == "square":
            brought["ranges"] = [["0", str(2**32)]]


def another_scale(plan: Plan) -> None:
    op(plan, "hidden_join")["parameters"]["brings"][0][0]["scales"] = [3]


def strange_unique(plan: Plan) -> None:
    op(plan, "hidden_join")["parameters"]["unique"] = w.CAROL


def rows_that_repeat(plan: Plan) -> None:
    op(plan, "hidden_join")["parameters"]["multiplicity"] = 2


def unread_column(plan: Plan) -> None:
    op(plan, "hidden_join")["parameters"]["brings"][0][0]["columns"] = ["apps"]


@pytest.mark.parametrize(
    ("change", "begins"),
    [
        (without_withhold, "E_PLAN: Operator n8 opens totals for which no minimum group was kept"),
        (open_rows, "E_PLAN: Operator n7 takes exactly one shared edge of totals"),
        (twice_used, "E_PLAN: Operator n7 takes exactly one shared edge of totals"),
        (cell_left_out, "E_PLAN: Operator n7 does not have 'segment in none' in a histogram"),
        (no_histogram, "E_PLAN: Operator n7 does not have"),
        (
            code_missing,
            "E_PLAN: Operator n7 has a histogram with 'segment=A' in which some row is in no cell",
        ),
        (computes_with_a_cell, "E_PLAN: Operator n5 computes with 'segment=A', which only counts"),
        (third_power, "E_PLAN: Operator n5 makes 'left_debt*right_debt' a product of more than two columns"),
        (unknown_column, "E_PLAN: Operator n5 takes a column 'nothing' that is not there"),
        (opens_to_a_stranger, "E_PLAN: Operator n8 has a receiver that holds no shares"),
        (opens_too_much, "E_PLAN: Operator n8 opens 'left_debt', which no result needs"),
        (result_of_a_cell, "E_PLAN: Operator n8 works out 'sum_a' from a cell of a histogram"),
        (shared_at_others, "E_PLAN: Operator n6 states another edge"),
        (in_clear, "E_PLAN: Operator n6 states another edge"),
        (range_too_wide, "E_RANGE: Operator n4 could overflow in 'debt'"),
        (another_scale, "E_UNIT: Operator n4 brings 'debt' at another scale"),
        (strange_unique, "E_PLAN: Operator n4 names a party with unique keys"),
        (rows_that_repeat, "E_MIN_GROUP: Operator n7 counts rows by ranges or codes"),
        (unread_column, "E_PLAN: Operator n4 brings a column 'apps' that its owner does not read"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_wrong_is_named(change: Callable[[Plan], None], begins: str) -> None:
    plan = copy.deepcopy(w.statistics_plan())
    change(plan)
    with pytest.raises(AtollError) as caught:
        w.derive(plan)
    assert str(caught.value).startswith(begins)


def test_two_histograms_of_one_column_are_refused() -> None:
    """Two ways to cut a column would tell the rows between two cuts, however few."""
    plan = w.statistics_plan(
        statistics=[
            {"statistic": "histogram", "columns": ["right.debt"], "cuts": ["10", "20"]},
        ]
    )
    joined = op(plan, "hidden_join")["parameters"]["brings"][1]
    more = [copy.deepcopy(b) for b in joined]
    for place, b in enumerate(more):
        b["as"] = f"again {place}"
        b.update({"high": "1500"} if place == 0 else {"low": "1500"} if place == 1 else {})
    names = [b["as"] for b in more]
    joined += more
    for kind in ("hidden_join", "total", "withhold"):
        op(plan, kind)["edge"]["columns"] += names
    op(plan, "total")["parameters"]["sums"] += names
    op(plan, "withhold")["parameters"]["histograms"].append(names)
    with pytest.raises(AtollError, match="has two histograms of 'debt'"):
        w.derive(plan)


def test_sums_of_squares_of_many_rows_fit() -> None:
    plan = w.statistics_plan()
    op(plan, "hidden_join")["parameters"]["maximum_rows"] = 2**25
    for brought in op(plan, "hidden_join")["parameters"]["brings"][0]:
        brought["ranges"] = [["0", str(2**31 - 1)]]
    # A sum of 2^25 squares below 2^62 is below 2^87: nothing overflows.
    w.derive(plan)


def test_a_plan_of_shares_alone_gives_nothing_and_is_refused() -> None:
    plan = copy.deepcopy(w.statistics_plan())
    plan["operators"].remove(op(plan, "open"))
    plan["outputs"] = [{**plan["outputs"][0], "from": "n7"}]
    with pytest.raises(AtollError, match="E_PLAN"):
        w.derive(plan)
