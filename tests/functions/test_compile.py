"""Compilers: requests become plans that the checker takes, and wrong requests name their field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import atoll_test_world as w
import pytest

from atoll.agreements import asset, column
from atoll.agreements.model import Column
from atoll.errors import AtollError
from atoll.functions import compilers
from atoll.functions.compiling import Calibration
from atoll.functions.join.compile import compile as compile_join
from atoll.functions.values import value_range
from atoll.protocols.ecdh_psi import wire_bytes


def op(plan: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [o for o in plan["operators"] if o["kind"] == kind]


def test_receivers_reveal_and_selection_of_a_join() -> None:
    one = w.join_plan()
    assert [(o["receiver"], o["columns"]) for o in one["outputs"]] == [(w.ALICE, ["id", "apps"])]
    assert [c["name"] for c in one["inputs"][1]["columns"]] == ["id"]  # bob reads no more than its key
    both = w.join_plan(receivers="both", left={"asset": "loans", "party": w.ALICE, "keys": ["id"]})
    assert [o["receiver"] for o in both["outputs"]] == [w.ALICE, w.BOB]
    assert both["outputs"][0]["columns"] == [c["name"] for c in w.COLUMNS]
    peer = w.join_plan(receivers="peer", reveal="size")
    assert [(o["receiver"], o["columns"]) for o in peer["outputs"]] == [(w.BOB, [])]
    assert op(peer, "psi/v1")[0]["edge"]["type"] == "size"
    assert w.join_plan(receivers=["bob", w.ALICE])["outputs"] == w.join_plan(receivers="both")["outputs"]


def test_normalisation_is_the_same_on_both_sides_in_the_order_of_the_keys() -> None:
    side = {"asset": "loans", "keys": ["phone", "id"], "select": []}
    plan = w.join_plan(
        left={**side, "party": "alice"}, right={**side, "party": "bob"}, normalise={"phone": ["phone_cn"]}
    )
    left, right = op(plan, "normalise/v1")
    assert left["parameters"] == right["parameters"]
    assert left["parameters"]["columns"] == [
        {"name": "phone", "steps": ["phone_cn"]},
        {"name": "id", "steps": []},
    ]


def test_totals_take_segments_ranges_and_minimum_group_from_the_agreement() -> None:
    plan = w.totals_plan()
    sums = op(plan, "group_sum/v1")
    assert len(sums) == 4
    for part in sums:
        parameters = part["parameters"]
        assert parameters["domain"] == [["A"], ["B"], ["C"]]
        assert parameters["minimum_group"] == 10
        assert parameters["subject"] == "id"
        assert parameters["values"][0] == {
            "column": "debt",
            "as": "debt",
            "scale": 2,
            "range": ["0", "100000000"],
        }
    assert plan["outputs"] == [
        {
            "id": "out0",
            "from": "total",
            "receiver": w.ALICE,
            "columns": ["debt", "apps", "count"],
            "minimum_group": 10,
        }
    ]
    one = w.totals_plan(group=None, values=[], minimum_group=1, subject=None)
    assert op(one, "group_sum/v1")[0]["parameters"]["domain"] == [[]]
    assert [p["key"] for p in one["parties"]] == sorted(w.KEYS.values())


def test_totals_over_tables_whose_columns_have_other_names() -> None:
    document = w.terms()
    carol = next(a for a in document["assets"] if (a["provider"], a["name"]) == (w.CAROL, "loans"))
    carol["name"] = "credits"
    renamed = [{**c, "name": {"debt": "owed"}.get(c["name"], c["name"])} for c in carol["columns"]]
    carol["columns"] = renamed
    carol["grants"][1]["columns"]["owed"] = carol["grants"][1]["columns"].pop("debt")
    holdings = [
        {"asset": "loans", "party": "alice"},
        {"asset": "loans", "party": "bob"},
        {"asset": "credits", "rename": {"debt": "owed"}},
    ]
    plan = w.totals_plan(document, assets=holdings)
    derivation = w.derive(plan, document)
    carols = next(i["id"] for i in plan["inputs"] if i["party"] == w.CAROL)
    assert derivation.uses[carols]["owed"] == ("aggregate",)
    assert op(plan, "masked_sum/v1")[0]["edge"]["columns"] == ["debt", "apps", "count"]


def test_a_receiver_need_not_be_a_holder() -> None:
    document = w.terms()
    document["assets"] = [a for a in document["assets"] if (a["provider"], a["name"]) != (w.DAVE, "loans")]
    plan = w.totals_plan(document, receiver="dave", assets="loans")
    roles = {p["name"]: p["roles"] for p in plan["parties"]}
    assert roles["dave"] == ["computing", "receiver"]
    assert roles["alice"] == ["asker", "computing", "owner"]


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (column("x", "decimal", precision=5, scale=2), ["-99999", "99999"]),
        (column("x", "decimal", precision=18, scale=2, range=["-0.5", "10"]), ["-50", "1000"]),
        (column("x", "decimal", precision=38, scale=0, range=["0", "9" * 38]), ["0", "9" * 38]),
        (column("x", "int64", range=["1.5", "2.5"]), ["1", "3"]),
        (column("x", "int64"), [str(-(2**63)), str(2**63 - 1)]),
    ],
)
def test_ranges_are_exact_whole_numbers_of_the_smallest_unit(declared: Any, expected: list[str]) -> None:
    assert value_range(Column.parse(declared)) == expected


SIDE = {"asset": "loans", "party": "bob", "keys": ["id"]}
WRONG: dict[str, tuple[Callable[[], Any], str, str]] = {
    "unknown field": (lambda: w.join_plan(where="debt > 5"), "E_FORMAT", "where"),
    "unknown asset": (lambda: w.join_plan(right={**SIDE, "asset": "cards"}), "E_NOT_FOUND", "right.asset"),
    "unknown party": (lambda: w.join_plan(right={**SIDE, "party": "eve"}), "E_NOT_FOUND", "right.asset"),
    "ambiguous asset": (
        lambda: w.join_plan(right={"asset": "loans", "keys": ["id"]}),
        "E_NOT_FOUND",
        "several",
    ),
    "unknown column": (lambda: w.join_plan(right={**SIDE, "keys": ["income"]}), "E_COLUMN", "right"),
    "unknown selected column": (
        lambda: w.join_plan(receivers="both", right={**SIDE, "select": ["income"]}),
        "E_COLUMN",
        "right",
    ),
    "fewer keys": (lambda: w.join_plan(right={**SIDE, "keys": ["id", "phone"]}), "E_FORMAT", "right.keys"),
    "normalised twice": (lambda: w.join_plan(normalise={"id": ["trim", "trim"]}), "E_PLAN", "twice"),
    "normalised elsewhere": (lambda: w.join_plan(normalise={"phone": ["trim"]}), "E_COLUMN", "normalise"),
    "one party": (lambda: w.join_plan(right={**SIDE, "party": "alice"}), "E_FORMAT", "right.asset"),
    "receiver": (lambda: w.join_plan(receivers=["carol"]), "E_FORMAT", "receivers"),
    "no receiver": (lambda: w.join_plan(receivers=[]), "E_FORMAT", "receivers"),
    "float key": (
        lambda: w.join_plan(left={**SIDE, "party": "alice", "keys": ["score"]}, normalise={}),
        "E_TYPE",
        "score",
    ),
    "other agreement": (lambda: w.join_plan(agreement="agr-" + "f" * 16), "E_AGREEMENT", "agr-"),
    "two holders": (
        lambda: w.totals_plan(assets=[{"asset": "loans", "party": p} for p in ("alice", "bob")]),
        "E_FORMAT",
        "assets",
    ),
    "holder twice": (
        lambda: w.totals_plan(assets=[{"asset": "loans", "party": p} for p in ("alice", "bob", "alice")]),
        "E_FORMAT",
        "assets",
    ),
    "no code list": (lambda: w.totals_plan(group="phone"), "E_FORMAT", "segments"),
    "segments alone": (lambda: w.totals_plan(group=None, segments=["A"]), "E_FORMAT", "segments"),
    "no subject": (lambda: w.totals_plan(subject=None), "E_MIN_GROUP", "subject"),
    "nothing to add": (lambda: w.totals_plan(values=[], count=False), "E_PLAN", "nothing"),
    "float sum": (lambda: w.totals_plan(values=["score"]), "E_TYPE", "score"),
    "unknown value": (lambda: w.totals_plan(values=["income"]), "E_COLUMN", "income"),
    "echo of a table": (lambda: w.echo_plan(asset="loans", party="bob"), "E_PLAN", "service"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_requests_name_what_is_wrong(name: str) -> None:
    make, code, words = WRONG[name]
    with pytest.raises(AtollError) as caught:
        make()
    assert caught.value.code == code
    assert words in caught.value.text


def test_the_asker_must_be_a_signatory_and_the_agreement_in_force() -> None:
    request = {
        "agreement": w.ID,
        "purpose": "credit-risk",
        "left": {**SIDE, "party": "alice"},
        "right": SIDE,
        "receivers": "both",
    }
    stranger = "ed25519:" + "0" * 64
    with pytest.raises(AtollError) as caught:
        compile_join(request, w.terms(), me=stranger, person="x", now=w.NOW, job=w.JOB, salt=w.SALT)
    assert caught.value.code == "E_AGREEMENT"
    with pytest.raises(AtollError) as caught:
        compile_join(
            request, w.terms(), me=w.ALICE, person="x", now=w.NOW.replace(year=2028), job=w.JOB, salt=w.SALT
        )
    assert caught.value.code == "E_EXPIRED"


def test_estimates_grow_with_the_declared_rows_and_follow_the_calibration() -> None:
    def seconds(rows: int, calibration: Calibration) -> float:
        request = {
            "agreement": w.ID,
            "purpose": "credit-risk",
            "receivers": "both",
            "left": {**SIDE, "party": "alice", "rows": rows},
            "right": {**SIDE, "rows": rows},
            "protocol": "ecdh-psi/v1",
        }
        plan = compile_join(
            request,
            w.terms(),
            me=w.ALICE,
            person="x",
            now=w.NOW,
            job=w.JOB,
            salt=w.SALT,
            calibration=calibration,
        )
        exact = 2 * (wire_bytes(rows, rows, peer_learns="rows"))
        assert plan["estimate"]["bytes"] == exact
        return float(plan["estimate"]["seconds"])

    slow = Calibration(key_seconds=1e-4)
    assert seconds(10**6, slow) > seconds(10**5, slow) > 1
    assert seconds(10**6, slow) > seconds(10**6, Calibration(key_seconds=1e-5))


def test_plans_end_with_their_agreement() -> None:
    plan = w.join_plan(expires_seconds=366 * 86400)
    assert plan["expires"] == w.terms()["validity"]["not_after"]


def test_every_function_has_a_compiler_that_takes_a_checked_agreement() -> None:
    known = {"join", "intersect", "join_totals", "join_statistics", "totals", "echo", "script"}
    known |= {"query", "query_totals"}
    assert set(compilers()) == known
    agreement = w.parse(w.terms())
    plan = compilers()["echo"](
        {"agreement": w.ID, "purpose": "credit-risk", "asset": "echo"},
        agreement,
        me=w.ALICE,
        person="Li Wei",
        now=w.NOW,
        job=w.JOB,
        salt=w.SALT,
    )
    assert plan == w.echo_plan()
    assert asset("echo", w.BOB, type="service")["columns"] == []
