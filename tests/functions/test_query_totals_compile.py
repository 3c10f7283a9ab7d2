"""Lookup totals as requests: plans that the checker takes, what they disclose, requests that name a field."""

from __future__ import annotations

from typing import Any

import atoll_test_world as w
import pytest

from atoll.agreements import asset, column, grant
from atoll.agreements.build import consent, price
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.functions import compilers
from atoll.functions.compiling import Calibration
from atoll.functions.query_totals.compile import compile as compile_totals
from atoll.plan.operators import lookup_totals
from atoll.policy import decide

Json = dict[str, Any]
HOLDERS = [w.BOB, w.CAROL, w.DAVE]
ROOM = ["-1000", "1000"]
DEBT = {"column": "debt", "as": "debt", "scale": 2, "range": ["0", "100000000"]}


def holdings(*parties: str, **changes: Any) -> list[Json]:
    return [{"asset": "loans", "party": party, **changes} for party in parties]


def totals_grant(**changes: Any) -> Json:
    return grant(
        **{
            "to": [w.ALICE],
            "purposes": ["credit-risk"],
            "functions": ["query_totals"],
            "columns": {"id": ["lookup_key"], "debt": ["aggregate"]},
            "disclose": ["key_totals", "sealed_cells"],
            "approval": "automatic",
            **changes,
        },
    )


def terms(*grants: Json, at: str = w.BOB, columns: list[Json] | None = None) -> Json:
    """Everybody's table `loans`, whose columns and grants are others at one party."""
    assets = [
        asset("loans", key, columns=w.COLUMNS, grants=[totals_grant()] if key != w.ALICE else [])
        for key in w.KEYS.values()
    ]
    for item in assets:
        if item["provider"] == at:
            item["columns"] = columns or item["columns"]
            item["grants"] = list(grants) or item["grants"]
    return w.terms(assets=assets)


def everywhere(*columns: Json) -> Json:
    """All tables have a key `id` and these columns."""
    return w.terms(assets=[asset("loans", key, columns=[w.COLUMNS[0], *columns]) for key in w.KEYS.values()])


def other(**changes: Any) -> list[Json]:
    """The columns of `loans`, with some fields of `debt` changed."""
    return [{**c, **changes} if c["name"] == "debt" else c for c in w.COLUMNS]


def joint(plan: Json) -> Json:
    (op,) = (o for o in plan["operators"] if o["kind"] == lookup_totals.RULE.kind)
    return op


def parameters(plan: Json) -> Json:
    found: Json = joint(plan)["parameters"]
    return found


def said(plan: Json) -> set[tuple[str, str | None, tuple[str, ...]]]:
    return {(s.what, s.owner, s.to) for s in w.derive(plan).disclosures}


# Plans.


def test_the_compiler_stands_in_the_table_of_compilers() -> None:
    assert compilers()["query_totals"] is compile_totals


def test_totals_are_a_service_of_all_holders_in_which_the_asker_alone_receives() -> None:
    plan = w.lookup_totals_plan(
        assets=holdings("dave", "bob", w.CAROL), count_rows=True, normalise={"id": ["trim"]}
    )
    assert (plan["function"], plan["shape"], plan["asker"]) == ("query_totals", "service", w.ALICE)
    assert {p["name"]: p["roles"] for p in plan["parties"]} == {
        "alice": ["asker", "computing", "receiver"],
        **{name: ["computing", "owner"] for name in ("bob", "carol", "dave")},
    }
    # In order of keys, whatever the request's, and no column beside the key and what is added.
    assert [(i["id"], i["party"], i["asset"]) for i in plan["inputs"]] == [
        (f"in{n}", holder, "loans") for n, holder in enumerate(HOLDERS)
    ]
    assert {tuple(c["name"] for c in i["columns"]) for i in plan["inputs"]} == {("id", "debt")}
    assert [(o["id"], o["kind"], o["inputs"], o["at"]) for o in plan["operators"]] == [
        ("n0", "read/v1", ["in0"], [w.BOB]),
        ("n1", "normalise/v1", ["n0"], [w.BOB]),
        ("n2", "read/v1", ["in1"], [w.CAROL]),
        ("n3", "normalise/v1", ["n2"], [w.CAROL]),
        ("n4", "read/v1", ["in2"], [w.DAVE]),
        ("n5", "normalise/v1", ["n4"], [w.DAVE]),
        ("n6", "lookup_totals/v1", ["n1", "n3", "n5"], [w.ALICE, *HOLDERS]),
    ]
    for normal in (plan["operators"][n] for n in (1, 3, 5)):
        assert normal["parameters"] == {"columns": [{"name": "id", "steps": ["trim"]}]}
    assert (joint(plan)["protocol"], joint(plan)["security"]) == ("lookup-totals/v1", "semi-honest")
    assert parameters(plan) == {
        "name": "elsewhere", "holders": HOLDERS, "keys": [["id"]] * 3, "values": [[DEBT]] * 3, "rows": 1000,
        "count_rows": True, "count_holders": True, "maximum_keys": 100, "maximum_bytes": 4096 + 3200,
        "block_calls": 10_000, "block_seconds": 3600, "consent": "none",
    }  # fmt: skip
    columns = ["debt", "rows", "holders"]
    assert joint(plan)["edge"] == {
        "type": "table", "columns": columns, "rows": None, "visibility": {"clear": [w.ALICE]},
    }  # fmt: skip
    assert plan["outputs"] == [
        {"id": "out0", "from": "n6", "receiver": w.ALICE, "columns": columns, "minimum_group": 1}
    ]


def test_what_totals_disclose_and_what_that_rests_on() -> None:
    derivation = w.derive(w.lookup_totals_plan())
    use = {"id": ("lookup_key",), "debt": ("aggregate",)}
    assert derivation.uses == {"in0": use, "in1": use, "in2": use}
    assert (derivation.protocols, derivation.security) == (("lookup-totals/v1",), "semi-honest")
    assert (derivation.receivers, derivation.block_calls, derivation.consent) == ((w.ALICE,), 10_000, "none")
    assert not derivation.declares_hits
    everyone = (w.ALICE, *HOLDERS)
    assert {(s.what, s.owner, s.to) for s in derivation.disclosures} == {
        *((what, holder, (w.ALICE,)) for holder in HOLDERS for what in ("key_totals", "sealed_cells")),
        ("call", w.ALICE, tuple(HOLDERS)),
        ("collusion", None, (w.ALICE,)),
        ("corruptible", None, everyone),
    }
    assert {(s.step, s.security, s.assumption) for s in derivation.disclosures} == {
        ("n6", "semi-honest", "lpn-permutation-star")
    }
    facts = {(s.what, s.owner): s.parameters for s in derivation.disclosures}
    for holder in HOLDERS:
        found = facts["key_totals", holder]
        assert (found.columns, found.by, found.parties) == (("debt", "holders"), ("id",), 3)
        assert facts["sealed_cells", holder].columns == ("id",)
    assert facts["call", w.ALICE].maximum_bytes == 4096 + 3200


def test_a_presented_authorisation_goes_to_all_holders() -> None:
    attested, presented = (w.lookup_totals_plan(consent=mode) for mode in ("attested", "presented"))
    assert said(presented) - said(attested) == {("authorisation", w.ALICE, tuple(HOLDERS))}
    assert [w.derive(plan).consent for plan in (attested, presented)] == ["attested", "presented"]


@pytest.mark.parametrize(
    ("asked", "columns"),
    [
        ({"count_holders": False}, ["debt"]),
        ({"count_rows": True, "count_holders": False}, ["debt", "rows"]),
        ({"values": []}, ["holders"]),
        ({"values": [], "count_rows": True}, ["rows", "holders"]),
    ],
    ids=["values", "values and rows", "holders", "rows and holders"],
)
def test_columns_are_those_that_were_asked_for(asked: Json, columns: list[str]) -> None:
    plan = w.lookup_totals_plan(**asked)
    assert plan["outputs"][0]["columns"] == joint(plan)["edge"]["columns"] == columns
    read = ["id", *(name for name in columns if name == "debt")]
    assert {tuple(c["name"] for c in i["columns"]) for i in plan["inputs"]} == {tuple(read)}


def test_the_name_of_a_table_stands_for_everyones_but_the_askers() -> None:
    named = w.lookup_totals_plan(assets="loans")
    assert named == w.lookup_totals_plan(assets=holdings("bob", "carol", "dave"))
    document = w.terms()
    document["assets"] = [
        a for a in document["assets"] if a["provider"] in (w.BOB, w.DAVE) or a["name"] != "loans"
    ]
    assert parameters(w.lookup_totals_plan(document))["holders"] == [w.BOB, w.DAVE]


def test_two_holders_are_enough_and_twenty_are_not_too_many() -> None:
    assert parameters(w.lookup_totals_plan(assets=holdings("bob", "carol")))["holders"] == [w.BOB, w.CAROL]
    plan = w.lookup_totals_plan(lenders(20))
    assert len(parameters(plan)["holders"]) == len(plan["inputs"]) == 20
    assert parameters(plan)["holders"] == sorted(parameters(plan)["holders"])
    assert joint(plan)["id"] == "n40"


def lenders(count: int) -> Json:
    """An agreement of alice's with so many lenders, all with a table `loans`."""
    keys = [str(SigningKey(bytes([100 + n]) * 32).public) for n in range(count)]
    return w.terms(
        signatories={w.ALICE: "alice", **{key: f"lender {n}" for n, key in enumerate(keys)}},
        assets=[asset("loans", key, columns=w.COLUMNS) for key in keys],
    )


def test_a_column_may_have_another_name_at_one_holder() -> None:
    names = {"id": "citizen", "debt": "owed"}
    renamed = [{**c, "name": names.get(c["name"], c["name"])} for c in w.COLUMNS]
    granted = totals_grant(columns={"citizen": ["lookup_key"], "owed": ["aggregate"]})
    document = terms(granted, at=w.CAROL, columns=renamed)
    assets = [*holdings("carol", rename=names), *holdings("bob", "dave")]
    plan = w.lookup_totals_plan(document, assets=assets, normalise={"id": ["upper"]})
    found = parameters(plan)
    assert found["keys"] == [["id"], ["citizen"], ["id"]]
    assert found["values"] == [[DEBT], [{**DEBT, "column": "owed"}], [DEBT]]
    assert [c["name"] for c in plan["inputs"][1]["columns"]] == ["citizen", "owed"]
    assert plan["operators"][3]["parameters"] == {"columns": [{"name": "citizen", "steps": ["upper"]}]}
    assert plan["outputs"][0]["columns"] == ["debt", "holders"]
    assert w.derive(plan, document).uses["in1"] == {"citizen": ("lookup_key",), "owed": ("aggregate",)}


def test_keys_of_several_columns_stand_in_the_requests_order() -> None:
    plan = w.lookup_totals_plan(keys=["phone", "id"], normalise={"id": ["trim", "upper"]})
    assert parameters(plan)["keys"] == [["phone", "id"]] * 3
    assert [c["name"] for c in plan["inputs"][2]["columns"]] == ["phone", "id", "debt"]
    assert plan["operators"][1]["parameters"]["columns"] == [
        {"name": "phone", "steps": []},
        {"name": "id", "steps": ["trim", "upper"]},
    ]


def test_a_key_column_can_be_added_as_well() -> None:
    document = everywhere(column("number", "int64", range=["0", "999"]))
    plan = w.lookup_totals_plan(document, keys=["number"], values=["number"])
    assert {tuple(c["name"] for c in i["columns"]) for i in plan["inputs"]} == {("number",)}
    assert w.derive(plan, document).uses["in0"] == {"number": ("aggregate", "lookup_key")}


def test_each_holders_range_is_its_own() -> None:
    plan = w.lookup_totals_plan(terms(columns=other(range=["-5.5", "10"])))
    assert [v[0]["range"] for v in parameters(plan)["values"]] == [["-550", "1000"], *[DEBT["range"]] * 2]


@pytest.mark.parametrize(
    ("maximum", "block", "expected"),
    [(1, 1, 1), (1000, 1, 1000), (500, 500, 500), (1000, 1_000_000, 1_000_000)],
    ids=["least", "a block of less", "alike", "most"],
)
def test_the_keys_of_one_request_fit_into_a_block(maximum: int, block: int, expected: int) -> None:
    found = parameters(w.lookup_totals_plan(maximum_keys=maximum, block_calls=block))
    assert (found["maximum_keys"], found["block_calls"]) == (maximum, expected)
    assert found["maximum_bytes"] >= 32 * maximum


MODES = ("none", "attested", "presented")


@pytest.mark.parametrize("wanted", [None, *MODES])
@pytest.mark.parametrize("asked", MODES)
def test_consent_is_as_wanted_or_else_as_any_holders_grants_ask(asked: str, wanted: str | None) -> None:
    def asking(mode: str, **changes: Any) -> Json:
        return totals_grant(consent=consent(mode, [w.CAROL] if mode != "none" else []), **changes)

    document = terms(
        asking(asked),
        asking("presented", purposes=["marketing"]),
        asking("presented", functions=["query"]),
        asking("presented", to=[w.CAROL]),
        at=w.DAVE,
    )
    plan = w.lookup_totals_plan(document, consent=wanted)
    assert parameters(plan)["consent"] == (asked if wanted is None else wanted)
    # A holder that takes no part is not heard.
    two = w.lookup_totals_plan(document, assets=holdings("bob", "carol"), consent=wanted)
    assert parameters(two)["consent"] == (wanted or "none")


def test_a_price_is_by_call_run_or_month() -> None:
    paid = totals_grant(price=price("CNY", per_run=1, per_call=2, per_month=3))
    assert parameters(w.lookup_totals_plan(terms(paid)))["holders"] == HOLDERS
    elsewhere = price("CNY", per_hit=1)
    others = [totals_grant(price=elsewhere, **c) for c in ({"functions": ["query"]}, {"to": [w.CAROL]})]
    assert w.lookup_totals_plan(terms(totals_grant(), *others))
    with pytest.raises(AtollError) as caught:
        w.lookup_totals_plan(terms(totals_grant(price=elsewhere), at=w.DAVE))
    assert caught.value.code == "E_FORMAT"
    assert caught.value.text.startswith("assets: a grant asks a price for hits")


def test_estimates_follow_the_sizes_of_all_tables() -> None:
    request = {
        "agreement": w.ID, "purpose": "credit-risk", "name": "elsewhere", "assets": "loans", "keys": ["id"],
        "values": ["debt"],
    }  # fmt: skip

    def estimate(sizes: dict[tuple[str, str], int], **changes: Any) -> tuple[int, float]:
        found = compile_totals(
            {**request, **changes}, w.terms(), me=w.ALICE, person="Li Wei", now=w.NOW, job=w.JOB, salt=w.SALT,
            calibration=Calibration(sizes=sizes),
        )["estimate"]  # fmt: skip
        return found["bytes"], float(found["seconds"])

    small = {(holder, "loans"): 100 for holder in HOLDERS}
    several = [estimate({**small, **{(h, "loans"): 10**7 for h in HOLDERS[:n]}}) for n in range(4)]
    assert several == sorted(several)
    assert len(set(several)) == 4
    assert estimate(small)[0] < estimate(small, count_rows=True)[0]
    assert estimate({})[0] == estimate({(w.ALICE, "loans"): 10**7})[0] > estimate(small)[0]


# What each holder's policy says.


@pytest.mark.parametrize(
    ("changes", "code", "column"),
    [
        ({}, None, None),
        ({"columns": {"debt": ["aggregate"]}}, "E_POLICY", "id"),
        ({"columns": {"id": ["lookup_key"]}}, "E_POLICY", "debt"),
        ({"columns": {"id": ["lookup_key"], "debt": ["lookup_value"]}}, "E_POLICY", "debt"),
        ({"functions": ["query", "totals"]}, "E_POLICY", None),
        ({"disclose": ["key_totals"]}, "E_POLICY", None),
        ({"disclose": ["sealed_cells", "record"]}, "E_POLICY", None),
        ({"minimum_security": "malicious"}, "E_POLICY", None),
        ({"calls_per_day": 9999}, "E_QUOTA", None),
    ],
    ids=[
        "all",
        "no key",
        "no sum",
        "records alone",
        "functions",
        "no cells",
        "no totals",
        "security",
        "calls",
    ],
)
def test_every_holders_grant_must_cover_the_use(changes: Json, code: str | None, column: str | None) -> None:
    document = terms(totals_grant(**changes), at=w.CAROL)
    derivation = w.derive(w.lookup_totals_plan(document), document)

    def decision(me: str) -> Any:
        facts = w.facts(derivation, me)
        return decide(derivation, me=me, agreements=w.state(document), facts=facts, now=w.NOW, final=True)

    assert {decision(me).outcome for me in (w.ALICE, w.BOB, w.DAVE)} == {"approve"}
    found = decision(w.CAROL)
    reasons = [(r.code, r.input, r.column, r.partner) for r in found.reasons]
    assert reasons == ([(code, "in1", column, w.ALICE)] if code else [])
    assert found.outcome == ("refuse" if code else "approve")


# Requests that are refused.

WIDE = everywhere(*(column(f"c{n}", "int64", range=ROOM) for n in range(17)))
NAMED = everywhere(*(column(name, "int64", range=ROOM) for name in ("rows", "holders", "count")))


def wide(count: int) -> list[str]:
    return [f"c{n}" for n in range(count)]


WRONG: dict[str, tuple[Json, str, str]] = {
    "one holder": ({"assets": holdings("bob")}, "E_FORMAT", "assets"),
    "no holder": ({"assets": []}, "E_FORMAT", "assets"),
    "a table of one holder": (
        {"assets": "echo"},
        "E_FORMAT",
        "assets: totals of a key need 2 to 20 holders, not 1",
    ),
    "a party twice": (
        {"assets": holdings("bob", "carol", "bob")},
        "E_FORMAT",
        "assets: each party gives one",
    ),
    "own table": (
        {"assets": holdings("bob", "alice", "carol")},
        "E_FORMAT",
        "assets: one table is at this node",
    ),
    "unknown table": ({"assets": "cards"}, "E_NOT_FOUND", "assets: "),
    "unknown table of one": (
        {"assets": [*holdings("bob", "carol"), {"asset": "cards", "party": "dave"}]},
        "E_NOT_FOUND",
        "assets.2.asset: ",
    ),
    "unknown party": ({"assets": holdings("bob", "eve")}, "E_NOT_FOUND", "assets.1.asset: "),
    "ambiguous table": (
        {"assets": [{"asset": "loans"}, *holdings("bob")]},
        "E_NOT_FOUND",
        "assets.0.asset: several",
    ),
    "a service": (
        {"assets": [*holdings("carol"), {"asset": "echo"}], "values": []},
        "E_COLUMN",
        "echo has no column",
    ),
    "unknown key": ({"keys": ["income"]}, "E_COLUMN", "assets, bob: loans has no column 'income'"),
    "unknown value": ({"values": ["income"]}, "E_COLUMN", "values: loans has no column 'income'"),
    "another name of nothing": (
        {"assets": [*holdings("bob"), *holdings("dave", rename={"idd": "id"})]},
        "E_COLUMN",
        "assets.1.rename: 'idd' is no key and no value",
    ),
    "unknown name of a key": (
        {"assets": [*holdings("bob"), *holdings("dave", rename={"id": "x"})]},
        "E_COLUMN",
        "assets.1: ",
    ),
    "unknown name of a value": (
        {"assets": [*holdings("bob"), *holdings("dave", rename={"debt": "x"})]},
        "E_COLUMN",
        "values: ",
    ),
    "no key": ({"keys": []}, "E_FORMAT", "keys"),
    "too many keys": ({"keys": ["id"] * 17}, "E_FORMAT", "keys"),
    "a key twice": ({"keys": ["id", "id"]}, "E_PLAN", "'id' stands twice"),
    "a key of another type": ({"keys": ["score"]}, "E_TYPE", "score"),
    "a float": ({"values": ["score"]}, "E_TYPE", "score"),
    "a text": ({"values": ["phone"]}, "E_TYPE", "phone"),
    "no range": ({"values": ["apps"]}, "E_RANGE", "'apps'"),
    "a value twice": ({"values": ["debt", "debt"]}, "E_PLAN", "values: name 'debt' stands twice"),
    "nothing": ({"values": [], "count_holders": False}, "E_FORMAT", "values: name columns to add"),
    "too many values": ({"values": wide(17)}, "E_FORMAT", "values"),
    "normalised elsewhere": ({"normalise": {"phone": ["trim"]}}, "E_COLUMN", "normalise: 'phone'"),
    "normalised by nothing known": ({"normalise": {"id": ["rot13"]}}, "E_PLAN", "steps"),
    "normalised twice": ({"normalise": {"id": ["trim", "trim"]}}, "E_PLAN", "twice"),
    "no row": ({"rows": 0}, "E_FORMAT", "rows"),
    "too many rows": ({"rows": 1_000_001}, "E_FORMAT", "rows"),
    "no key in a request": ({"maximum_keys": 0}, "E_FORMAT", "maximum_keys"),
    "too many keys in a request": ({"maximum_keys": 1001}, "E_FORMAT", "maximum_keys"),
    "a block of nothing": ({"block_calls": 0}, "E_FORMAT", "block_calls"),
    "a block of too many": ({"block_calls": 1_000_001}, "E_FORMAT", "block_calls"),
    "a block of no time": ({"block_seconds": 0}, "E_FORMAT", "block_seconds"),
    "a block too long": ({"block_seconds": 31 * 86400 + 1}, "E_FORMAT", "block_seconds"),
    "no name": ({"name": ""}, "E_FORMAT", "name"),
    "no identifier": ({"name": "All debts"}, "E_FORMAT", "name"),
    "unknown field": ({"declare_hits": True}, "E_FORMAT", "declare_hits"),
    "unknown field of a table": ({"assets": holdings("bob", "carol", keys=["id"])}, "E_FORMAT", "assets"),
    "unknown consent": ({"consent": "asked"}, "E_FORMAT", "consent"),
    "other agreement": ({"agreement": "agr-" + "f" * 16}, "E_AGREEMENT", "agr-"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_requests_name_what_is_wrong(name: str) -> None:
    changes, code, words = WRONG[name]
    with pytest.raises(AtollError) as caught:
        w.lookup_totals_plan(**changes)
    assert caught.value.code == code, caught.value.text
    assert words in caught.value.text


def test_more_than_twenty_holders_are_refused() -> None:
    with pytest.raises(AtollError) as caught:
        w.lookup_totals_plan(lenders(21))
    assert (caught.value.code, caught.value.text.split(":")[0]) == ("E_FORMAT", "assets")
    assert "2 to 20 holders, not 21" in caught.value.text
    with pytest.raises(AtollError) as caught:
        w.lookup_totals_plan(
            lenders(21), assets=[{"asset": "loans", "party": f"lender {n}"} for n in range(21)]
        )
    assert caught.value.code == "E_FORMAT"
    assert "assets: totals of a key need 2 to 20 holders, not 21" in caught.value.text


def test_a_table_that_the_asker_alone_has_has_no_holder() -> None:
    document = w.terms()
    document["assets"] = [a for a in document["assets"] if a["provider"] == w.ALICE]
    with pytest.raises(AtollError) as caught:
        w.lookup_totals_plan(document)
    assert caught.value.code == "E_FORMAT"
    assert "not 0" in caught.value.text


def test_a_total_has_at_most_sixteen_numbers_with_what_is_counted() -> None:
    plan = w.lookup_totals_plan(WIDE, values=wide(15))
    assert len(plan["outputs"][0]["columns"]) == 16
    assert w.lookup_totals_plan(WIDE, values=wide(16), count_holders=False)
    for values, counts in ((16, {}), (15, {"count_rows": True})):
        with pytest.raises(AtollError) as caught:
            w.lookup_totals_plan(WIDE, values=wide(values), **counts)
        assert "values: a total has at most 16 numbers" in caught.value.text


@pytest.mark.parametrize(
    ("name", "counted"), [("rows", "count_rows"), ("holders", "count_holders")], ids=["rows", "holders"]
)
def test_a_value_may_not_have_the_name_of_what_is_counted(name: str, counted: str) -> None:
    without = {"count_rows": False, "count_holders": False}
    assert w.lookup_totals_plan(NAMED, values=[name], **without)["outputs"][0]["columns"] == [name]
    with pytest.raises(AtollError) as caught:
        w.lookup_totals_plan(NAMED, values=[name], **{**without, counted: True})
    assert caught.value.code == "E_PLAN"
    assert f"values: name {name!r} stands twice" in caught.value.text
    # The way out is another name, of which each holder says what it stands for.
    with pytest.raises(AtollError) as caught:
        w.lookup_totals_plan(NAMED, values=["count"], **without)
    assert "count is the name of the number of rows" in caught.value.text
    renamed = holdings("bob", "carol", "dave", rename={"own": name})
    plan = w.lookup_totals_plan(NAMED, assets=renamed, values=["own"], **{**without, counted: True})
    assert plan["outputs"][0]["columns"] == ["own", name]


UNLIKE: dict[str, tuple[list[Json], str, str]] = {
    "a unit": (other(unit="yuan"), "E_UNIT", "in unlike units"),
    "a scale": (other(scale=3), "E_UNIT", "decimal places"),
    "a type": (other(type="int64", precision=None, scale=None), "E_UNIT", "decimal places"),
    "a key's type": ([{**w.COLUMNS[0], "type": "int64"}, *w.COLUMNS[1:]], "E_TYPE", "'id'"),
    "a key's unit": ([{**w.COLUMNS[0], "unit": "card"}, *w.COLUMNS[1:]], "E_UNIT", "'id'"),
    "no range here": (other(range=None), "E_RANGE", "could overflow in 'debt'"),
    "a range of no numbers": (other(range=["low", "high"]), "E_RANGE", "'debt'"),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_a_table_that_does_not_go_with_the_others_is_refused(name: str) -> None:
    columns, code, words = UNLIKE[name]
    for at in HOLDERS:
        with pytest.raises(AtollError) as caught:
            w.lookup_totals_plan(terms(at=at, columns=columns))
        assert caught.value.code == code, caught.value.text
        assert words in caught.value.text


def test_the_asker_must_be_a_signatory_and_the_agreement_in_force() -> None:
    request = {
        "agreement": w.ID, "purpose": "credit-risk", "name": "elsewhere", "assets": "loans", "keys": ["id"],
        "values": ["debt"],
    }  # fmt: skip
    for me, now, code in (
        ("ed25519:" + "0" * 64, w.NOW, "E_AGREEMENT"),
        (w.ALICE, w.NOW.replace(year=2028), "E_EXPIRED"),
    ):
        with pytest.raises(AtollError) as caught:
            compile_totals(request, w.terms(), me=me, person="x", now=now, job=w.JOB, salt=w.SALT)
        assert caught.value.code == code
