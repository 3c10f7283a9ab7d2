"""Scenarios of lookup totals: Alice asks for one key's totals over Bob's and Carol's tables."""

from __future__ import annotations

from typing import Any

from atoll_scenario_query_actions import actions
from atoll_scenario_world import Json, Play, numbers, scenario

from atoll import AtollError
from atoll.client import requests

SUMMED = {"id": "lookup_key", "debt": "aggregate"}


def _agree(p: Play, bob: str = "amounts", carol: str = "few", **grant: Any) -> str:
    """Alice, who brings a table too, and tables of the two others that may be added by key."""
    own = {"columns": SUMMED, "grant": grant}
    return p.agree(
        alice={"loans": "*"},
        bob={bob: own},
        carol={carol: own},
        functions=["query_totals"],
        approval="automatic",
    )


def _request(agreement: str, bob: str = "amounts", carol: str = "few", **how: Any) -> Json:
    given = {"purpose": "test", "on": ["id"], "values": ["debt"]} | how
    return requests.lookup_totals(
        agreement, f"sums{next(numbers)}", [f"{bob}@bob", f"{carol}@carol"], **given
    )


def _totals(p: Play, *keys: Any, grant: Json | None = None, **how: Any) -> list[Json]:
    do, request = actions(p.do), _request(_agree(p, **(grant or {})), **how)
    p.kept["job"] = do.start(p.alice, request)["job"]
    answers = do.query(p.alice, request["name"], *keys)
    do.stop(p.alice, request["name"])
    return answers


@scenario("totals of a key over two holders, in both tables, in one, in none")
def _(p: Play) -> None:
    found = _totals(p, "s3", "s20", "nobody", "s3", count_rows=True, count_holders=True)
    assert [(answer["found"], answer["error"]) for answer in found] == [
        (True, None), (True, None), (False, None), (True, None),
    ]  # fmt: skip
    assert [answer["rows"] for answer in found] == [
        [{"debt": "7.03", "rows": 2, "holders": 2}],
        [{"debt": "40.20", "rows": 1, "holders": 1}],
        [{"debt": "0.00", "rows": 0, "holders": 0}],
        [{"debt": "7.03", "rows": 2, "holders": 2}],
    ]


@scenario("totals of a key that do not say how many holders have it")
def _(p: Play) -> None:
    assert _totals(p, "s3", "nobody") == [
        {"found": None, "rows": [{"debt": "7.03"}], "error": None},
        {"found": None, "rows": [{"debt": "0.00"}], "error": None},
    ]


@scenario("totals stand in the list of lookups, and their receipt is signed by all three")
def _(p: Play) -> None:
    do, request = actions(p.do), _request(_agree(p))
    p.kept["job"] = do.start(p.alice, request)["job"]
    (listed,) = [one for one in do.list(p.alice) if one["name"] == request["name"]]
    assert (listed["kind"], sorted(listed["partner"].split(", "))) == ("totals", ["bob", "carol"])
    do.query(p.alice, request["name"], "s1", "s2", "s3")
    do.stop(p.alice, request["name"])
    receipt = p.do.receipt(p.alice, p.kept["job"])
    assert not receipt["missing"]
    assert [part["meters"]["calls"] for part in receipt["document"]["parties"].values()] == [3, 3, 3]


@scenario("totals of a key with steps of normalisation")
def _(p: Play) -> None:
    (answer,) = _totals(p, " S3 ", normalise={"id": ["trim", "lower"]})
    assert answer["rows"] == [{"debt": "7.03"}]


@scenario("totals that the grants do not name", error="E_POLICY")
def _(p: Play) -> None:
    agreement = p.agree(
        alice={"loans": "*"}, bob={"amounts": {"columns": SUMMED}}, carol={"few": {"columns": SUMMED}},
        functions=["query"],
    )  # fmt: skip
    actions(p.do).start(p.alice, _request(agreement))


@scenario("totals of a key in one table alone", error="E_FORMAT", text="2 to 20 holders")
def _(p: Play) -> None:
    agreement = _agree(p)
    request = _request(agreement) | {"assets": "few"}
    actions(p.do).start(p.alice, request)


@scenario("totals of a key over a column without a range", error="E_RANGE", column="debt")
def _(p: Play) -> None:
    agreement = _agree(p, bob="book", carol="book")
    actions(p.do).start(p.alice, _request(agreement, "book", "book", rows=1_000_000))


@scenario("totals of a key in unlike units", error="E_UNIT", column="debt")
def _(p: Play) -> None:
    agreement = _agree(p, bob="book", carol="foreign")
    actions(p.do).start(p.alice, _request(agreement, "book", "foreign", rows=1))


@scenario("totals of a key over a column that is not there", error="E_COLUMN", column="income")
def _(p: Play) -> None:
    actions(p.do).start(p.alice, _request(_agree(p), values=["income"]))


@scenario("totals at a price for hits", error="E_FORMAT", text="a price for hits")
def _(p: Play) -> None:
    agreement = _agree(p, price={"per_hit": 300, "currency": "CNY"})
    actions(p.do).start(p.alice, _request(agreement))


@scenario("a key of totals without an authorisation where one is needed", error="E_CONSENT")
def _(p: Play) -> None:
    (answer,) = _totals(p, "s3", grant={"consent": {"mode": "attested"}})
    raise AtollError.from_problem(answer["error"])


@scenario("totals of more keys than a request may have", error="E_TOO_LARGE", text="1 to 2 keys")
def _(p: Play) -> None:
    do, request = actions(p.do), _request(_agree(p), maximum_keys=2)
    p.kept["job"] = do.start(p.alice, request)["job"]
    name = request["name"]
    try:
        if p.do.name == "cli":  # which sends as many as fit, one request after the other
            assert len(do.query(p.alice, name, "s1", "s2", "s3")) == 3
            raise AtollError("E_TOO_LARGE", "a request has 1 to 2 keys, not 3")
        do.query(p.alice, name, "s1", "s2", "s3")
    finally:
        assert do.query(p.alice, name, "s3")[0]["rows"] == [{"debt": "7.03"}]
        do.stop(p.alice, name)
