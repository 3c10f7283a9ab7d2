"""Lookups as requests: plans that the checker takes, what they disclose, and requests that name their field."""

from __future__ import annotations

from typing import Any

import atoll_test_world as w
import pytest

from atoll.agreements import asset, column, grant
from atoll.agreements.build import consent
from atoll.errors import AtollError
from atoll.functions import compilers
from atoll.functions.compiling import Calibration
from atoll.functions.query.compile import compile as compile_query
from atoll.plan.operators import lookup

COLUMNS = [
    column("id", "string"),
    column("branch", "string"),
    column("debt", "decimal", precision=18, scale=2),
    column("seen", "timestamp"),
    column("score", "float64"),
]


def lookup_grant(mode: str = "none", **changes: Any) -> dict[str, Any]:
    return grant(
        **{
            "to": [w.ALICE],
            "purposes": ["credit-risk"],
            "functions": ["query"],
            "columns": {"id": ["lookup_key"], "debt": ["lookup_value"], "seen": ["lookup_value"]},
            "disclose": ["record", "sealed_table", "call"],
            "consent": consent(mode, [w.CAROL] if mode != "none" else []),
            **changes,
        },
    )


def terms(*grants: dict[str, Any], columns: list[Any] | None = None) -> dict[str, Any]:
    """Bob's table `debtors` beside the others."""
    document = w.terms()
    document["assets"].append(asset("debtors", w.BOB, columns=columns or COLUMNS, grants=list(grants)))
    document["assets"].sort(key=lambda a: (a["provider"], a["name"]))
    return document


def parameters(plan: dict[str, Any]) -> dict[str, Any]:
    (op,) = (o for o in plan["operators"] if o["kind"] == lookup.RULE.kind)
    found: dict[str, Any] = op["parameters"]
    return found


def test_a_lookup_is_a_service_of_the_host_in_which_the_asker_receives_records() -> None:
    plan = w.lookup_plan(keys=["phone", "id"], normalise={"id": ["trim", "upper"]})
    assert (plan["function"], plan["shape"], plan["asker"]) == ("query", "service", w.ALICE)
    assert {p["name"]: p["roles"] for p in plan["parties"]} == {
        "alice": ["asker", "computing", "receiver"],
        "bob": ["computing", "owner"],
    }
    (item,) = plan["inputs"]
    assert (item["party"], item["asset"]) == (w.BOB, "loans")
    assert [c["name"] for c in item["columns"]] == ["phone", "id", "debt", "apps"]
    read, normal, joint = plan["operators"]
    assert (read["kind"], read["at"]) == ("read/v1", [w.BOB])
    assert normal["parameters"]["columns"] == [
        {"name": "phone", "steps": []},
        {"name": "id", "steps": ["trim", "upper"]},
    ]
    assert (joint["at"], joint["protocol"], joint["security"]) == (
        [w.ALICE, w.BOB],
        "sealed-lookup/v1",
        "semi-honest",
    )
    assert plan["outputs"] == [
        {"id": "out0", "from": "n2", "receiver": w.ALICE, "columns": ["debt", "apps"], "minimum_group": 1}
    ]
    derivation = w.derive(plan)
    assert derivation.uses["in0"] == {
        "phone": ("lookup_key",),
        "id": ("lookup_key",),
        "debt": ("lookup_value",),
        "apps": ("lookup_value",),
    }
    assert {(s.what, s.owner, s.to) for s in derivation.disclosures} >= {
        ("record", w.BOB, (w.ALICE,)),
        ("sealed_table", w.BOB, (w.ALICE,)),
        ("call", w.ALICE, (w.BOB,)),
    }


def test_all_columns_but_the_keys_are_read_unless_some_are_named() -> None:
    plan = w.lookup_plan(values=None)
    others = [c["name"] for c in w.COLUMNS if c["name"] != "id"]
    assert parameters(plan)["values"] == others
    assert plan["outputs"][0]["columns"] == others


def test_the_compiler_stands_in_the_table_of_compilers() -> None:
    assert compilers()["query"] is compile_query


@pytest.mark.parametrize(
    ("values", "rows", "room"),
    [
        (["branch"], 1, 4 + 1 + 34),
        (["debt"], 1, 4 + 1 + 20),
        (["score"], 3, 4 + 3 * (1 + 9)),
        (["seen", "debt", "branch"], 2, 4 + 2 * (1 + 10 + 20 + 34)),
    ],
)
def test_room_for_a_record_follows_from_types_and_rows(values: list[str], rows: int, room: int) -> None:
    plan = w.lookup_plan(terms(lookup_grant()), asset="debtors", values=values, rows=rows)
    assert parameters(plan)["record_bytes"] == room
    said = w.lookup_plan(terms(lookup_grant()), asset="debtors", values=values, rows=rows, record_bytes=8)
    assert parameters(said)["record_bytes"] == 8


@pytest.mark.parametrize(
    ("maximum", "block", "expected"), [(1, 10_000, 10_000), (1000, 1, 1000), (500, 500, 500)]
)
def test_the_keys_of_one_request_fit_into_a_block(maximum: int, block: int, expected: int) -> None:
    found = parameters(w.lookup_plan(maximum_keys=maximum, block_calls=block))
    assert (found["maximum_keys"], found["block_calls"]) == (maximum, expected)
    assert found["maximum_bytes"] >= 32 * maximum


MODES = ("none", "attested", "presented")


@pytest.mark.parametrize("wanted", [None, *MODES])
@pytest.mark.parametrize("asked", MODES)
def test_consent_is_as_wanted_or_else_as_the_grants_for_this_purpose_ask(
    asked: str, wanted: str | None
) -> None:
    document = terms(
        lookup_grant(asked),
        lookup_grant("presented", purposes=["marketing"]),
        lookup_grant("presented", functions=["echo"]),
        lookup_grant("presented", to=[w.CAROL]),
    )
    plan = w.lookup_plan(document, asset="debtors", values=["debt"], consent=wanted)
    assert parameters(plan)["consent"] == (asked if wanted is None else wanted)


def test_consent_is_as_the_strictest_grant_asks() -> None:
    document = terms(lookup_grant("attested"), lookup_grant("presented"), lookup_grant())
    assert parameters(w.lookup_plan(document, asset="debtors", values=["debt"]))["consent"] == "presented"


def test_estimates_follow_the_size_of_the_table() -> None:
    request = {
        "agreement": w.ID, "purpose": "credit-risk", "name": "debts", "asset": "loans", "party": "bob",
        "keys": ["id"], "values": ["debt"],
    }  # fmt: skip

    def estimate(sizes: dict[tuple[str, str], int]) -> tuple[int, float]:
        found = compile_query(
            request, w.terms(), me=w.ALICE, person="Li Wei", now=w.NOW, job=w.JOB, salt=w.SALT,
            calibration=Calibration(sizes=sizes),
        )["estimate"]  # fmt: skip
        return found["bytes"], float(found["seconds"])

    small, large = (estimate({(w.BOB, "loans"): rows}) for rows in (100, 10**7))
    assert small[0] < large[0]
    assert small[1] < large[1]
    assert estimate({})[0] == estimate({(w.CAROL, "loans"): 100})[0] == large[0]


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "own table": ({"party": "alice"}, "E_FORMAT", "asset: the table is at this node"),
    "unknown table": ({"asset": "cards"}, "E_NOT_FOUND", "asset"),
    "unknown party": ({"party": "eve"}, "E_NOT_FOUND", "asset"),
    "ambiguous table": ({"party": None}, "E_NOT_FOUND", "several"),
    "no table": ({"asset": "echo", "values": None}, "E_COLUMN", "values"),
    "unknown key": ({"keys": ["income"]}, "E_COLUMN", "income"),
    "unknown value": ({"values": ["income"]}, "E_COLUMN", "income"),
    "no key": ({"keys": []}, "E_FORMAT", "keys"),
    "a key of another type": ({"keys": ["score"]}, "E_TYPE", "score"),
    "a value twice": ({"values": ["debt", "debt"]}, "E_PLAN", "values"),
    "normalised elsewhere": ({"normalise": {"phone": ["trim"]}}, "E_COLUMN", "normalise: 'phone'"),
    "normalised by nothing known": ({"normalise": {"id": ["rot13"]}}, "E_PLAN", "steps"),
    "normalised twice": ({"normalise": {"id": ["trim", "trim"]}}, "E_PLAN", "twice"),
    "every column a key": (
        {"keys": ["id", "phone", "segment", "debt", "apps", "score"], "values": None},
        "E_COLUMN",
        "no other column",
    ),
    "no values": ({"values": []}, "E_FORMAT", "values"),
    "too many rows": ({"rows": 65}, "E_FORMAT", "rows"),
    "records too short": ({"record_bytes": 7}, "E_FORMAT", "record_bytes"),
    "records above the most": ({"record_bytes": 4097}, "E_FORMAT", "record_bytes"),
    "too many keys": ({"maximum_keys": lookup.MOST_KEYS + 1}, "E_FORMAT", "maximum_keys"),
    "no name": ({"name": ""}, "E_FORMAT", "name"),
    "unknown field": ({"where": "debt > 5"}, "E_FORMAT", "where"),
    "unknown consent": ({"consent": "asked"}, "E_FORMAT", "consent"),
    "other agreement": ({"agreement": "agr-" + "f" * 16}, "E_AGREEMENT", "agr-"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_requests_name_what_is_wrong(name: str) -> None:
    changes, code, words = WRONG[name]
    with pytest.raises(AtollError) as caught:
        w.lookup_plan(**changes)
    assert caught.value.code == code, caught.value.text
    assert words in caught.value.text


def test_records_that_take_more_than_a_cell_holds_are_refused_before_anything_runs() -> None:
    columns = [column("id", "string"), *(column(f"c{n}", "string") for n in range(4))]
    document = terms(lookup_grant(columns={"id": ["lookup_key"]}), columns=columns)
    # 4 + 29 (1 + 4 * 34) = 3977; one row more is 4114.
    assert parameters(w.lookup_plan(document, asset="debtors", values=None, rows=29))["record_bytes"] == 3977
    with pytest.raises(AtollError) as caught:
        w.lookup_plan(document, asset="debtors", values=None, rows=30)
    assert caught.value.code == "E_RANGE"
    assert caught.value.text.startswith("values:")


def test_the_asker_must_be_a_signatory_and_the_agreement_in_force() -> None:
    request = {
        "agreement": w.ID, "purpose": "credit-risk", "name": "debts", "asset": "loans", "party": "bob",
        "keys": ["id"], "values": ["debt"],
    }  # fmt: skip
    for me, now, code in (
        ("ed25519:" + "0" * 64, w.NOW, "E_AGREEMENT"),
        (w.ALICE, w.NOW.replace(year=2028), "E_EXPIRED"),
    ):
        with pytest.raises(AtollError) as caught:
            compile_query(request, w.terms(), me=me, person="x", now=now, job=w.JOB, salt=w.SALT)
        assert caught.value.code == code


# Without a hint.


def test_a_lookup_without_a_hint_names_its_protocol_and_what_that_rests_on() -> None:
    plan = w.lookup_plan(hint=False)
    (op,) = (o for o in plan["operators"] if o["kind"] == lookup.RULE.kind)
    assert (op["protocol"], op["parameters"]["maximum_keys"]) == ("sealed-lookup-one-shot/v1", 16)
    said = {s.what: s.assumption for s in w.derive(plan).disclosures if s.step == op["id"]}
    assert set(said.values()) == {"rlwe-gap-dh-two-party"}
    with_hint = w.derive(w.lookup_plan()).disclosures
    assert {s.assumption for s in with_hint if s.step == op["id"]} == {"lwe-gap-dh-two-party"}
    assert {(s.what, s.to) for s in with_hint} == {(s.what, s.to) for s in w.derive(plan).disclosures}


def test_requests_without_a_hint_are_small() -> None:
    assert parameters(w.lookup_plan(hint=False, maximum_keys=3))["maximum_keys"] == 3
    with pytest.raises(AtollError) as caught:
        w.lookup_plan(hint=False, maximum_keys=65)
    assert caught.value.code == "E_RANGE"
    plan = w.lookup_plan(hint=False)
    parameters(plan).update(maximum_keys=65, maximum_bytes=8192)
    with pytest.raises(AtollError) as caught:
        w.derive(plan)
    assert (caught.value.code, "64 keys" in caught.value.text) == ("E_PLAN", True)


def test_an_estimate_without_a_hint_counts_keys_and_one_request() -> None:
    def found(keys: int) -> dict[str, Any]:
        request = {
            "agreement": w.ID, "purpose": "credit-risk", "name": "n", "asset": "loans", "party": "bob",
            "keys": ["id"], "values": ["debt"], "hint": False, "maximum_keys": keys, "record_bytes": 32,
        }  # fmt: skip
        plan = compile_query(
            request, w.terms(), me=w.ALICE, person="Li Wei", now=w.NOW, job=w.JOB, salt=w.SALT,
            calibration=Calibration(sizes={(w.BOB, "loans"): 1 << 20}),
        )  # fmt: skip
        estimate: dict[str, Any] = plan["estimate"]
        return estimate

    # As measured: 168,992 bytes of keys, 80,304 of a question, 34,952 of an answer, and 0.2 s of the holder's.
    one, ten = (found(keys) for keys in (1, 10))
    each = (int(ten["bytes"]) - int(one["bytes"])) / 9
    assert each == pytest.approx(80_304 + 34_952, rel=0.1)
    assert int(one["bytes"]) - each == pytest.approx(168_992, rel=0.01)
    assert float(ten["seconds"]) - float(one["seconds"]) == pytest.approx(9 * 0.21 + 9 * each / 50e6, rel=0.4)
