"""Calls of deployed packages through two nodes: answers, keys, limits, budgets, held answers."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from atoll.errors import AtollError
from atoll.testing import until

from .conftest import COUNT, World, claims, lines, plain

WIDE = {"subject_millibits": 10**9}


def refused(call: Any) -> AtollError:
    with pytest.raises(AtollError) as caught:
        call()
    return caught.value


def test_a_batch_answers_as_the_rules_do_in_plain_python(world: World) -> None:
    name = world.fresh()
    world.deploy(name)
    found = world.caller.batch(name, [{"subject": f"C-{n}"} for n in range(COUNT)])
    assert [a["answer"] for a in found] == [plain(n) for n in range(COUNT)]
    assert {a["state"] for a in found} == {"decided"}
    assert all(a["error"] is None for a in found)


def test_one_call_under_one_key_is_decided_and_charged_once(world: World) -> None:
    name = world.fresh()
    world.deploy(name)
    first = world.caller.call(name, "C-9", key="k-1")
    assert first["answer"] == plain(9)
    again = world.caller.call(name, "C-9", key="k-1")
    assert (again["answer"], again["as_of"], again["job"]) == (first["answer"], first["as_of"], first["job"])
    assert [d["key"] for d in world.host.decisions(name=name)] == ["k-1"]
    error = refused(lambda: world.caller.call(name, "C-8", key="k-1"))
    assert error.code == "E_CONFLICT"
    assert refused(lambda: world.caller.call(name, "C-9", {"share_bp": 1}, key="k-1")).code == "E_CONFLICT"


def test_arguments_reach_the_rules_within_their_range_alone(world: World) -> None:
    name = world.fresh()
    world.deploy(name, bounds=WIDE)
    assert world.caller.call(name, "C-20", {"share_bp": 5000})["answer"] == plain(20, 5000)
    for arguments, field in (
        ({"share_bp": 10001}, "share_bp"), ({"share_bp": "all"}, "share_bp"), ({"shares": 1}, "shares"),
        ({"share_bp": True}, "share_bp"), ({"share_bp": 1.5}, "share_bp"),
    ):  # fmt: skip
        error = refused(lambda a=arguments: world.caller.call(name, "C-20", a))
        assert error.code == "E_FORMAT"
        assert field in error.text
    batch = [{"subject": "C-1"}, {"subject": "C-2", "arguments": {"share_bp": -1}}]
    assert "calls.1.arguments.share_bp" in refused(lambda: world.caller.batch(name, batch)).text


def test_what_cannot_be_a_subject_is_refused(world: World) -> None:
    name = world.fresh()
    world.deploy(name)
    subjects: tuple[Any, ...] = ("", "x" * 201, "a\nb", 7)
    assert [refused(lambda s=s: world.caller.call(name, s)).code for s in subjects] == ["E_FORMAT"] * 4
    assert world.caller.calls(name=name) == []


def test_an_unknown_subject_is_the_rules_to_answer(world: World) -> None:
    name = world.fresh()
    world.deploy(name)
    answer = world.caller.call(name, "C-none")["answer"]
    assert answer == {"decision": "refuse", "pay": 0, "reasons": ["unknown"]}


FAILING = {
    "raises": "    return {'decision': 'approve', 'pay': 10 // (claim['amount'] - claim['amount'])}\n",
    "wrong step": "    return {'decision': 'approve', 'pay': claim['amount'] + 1}\n",
    "out of range": "    return {'decision': 'approve', 'pay': 2000000}\n",
    "undeclared value": "    return {'decision': 'maybe', 'pay': 0}\n",
    "wrong type": "    return {'decision': 'approve', 'pay': '10'}\n",
    "undeclared reason": "    return {'decision': 'approve', 'pay': 0, 'reasons': ['because']}\n",
    "reasons too many": "    return {'decision': 'approve', 'pay': 0, 'reasons': ['small', 'unknown']}\n",
    "endless": "    while True:\n        pass\n    return {'decision': 'approve', 'pay': 0}\n",
    "memory": "    much = [0] * 100000000\n    return {'decision': 'approve', 'pay': len(much)}\n",
    "none": "    return None\n",
}


@pytest.mark.parametrize("what", FAILING)
def test_whatever_fails_inside_is_no_decision_for_that_call_alone(world: World, what: str) -> None:
    name = world.fresh()
    rules = (
        "def decide(claim, lines) -> dict:\n    if claim is None or claim['amount'] != 500:\n"
        "        return {'decision': 'refuse', 'pay': 0}\n" + FAILING[what]
    )
    if what in ("wrong step", "undeclared value", "wrong type", "undeclared reason"):
        rules = rules.replace("-> dict", "")
    world.deploy(name, rules=rules)
    found = world.caller.batch(name, [{"subject": f"C-{n}"} for n in range(10) if n != 1])
    expected = [
        None if n == 5 else {"decision": "refuse", "pay": 0, "reasons": []} for n in range(10) if n != 1
    ]
    assert [a["answer"] for a in found] == expected
    assert {a["state"] for a in found} == {"decided"}, "no decision says no more than that"


def test_the_budget_of_a_subject_ends_and_counts_every_version(world: World) -> None:
    name = world.fresh()
    world.deploy(name, "1.0.0")
    bits = world.author.review(name)["bits"]
    allowed = bits["per_subject"] // bits["per_call"]
    assert 0 < allowed < 10
    world.deploy(name, "1.0.1")
    for n in range(allowed):
        if n == 1:
            world.author.switch(f"{name}@1.0.1")
        assert world.caller.call(name, "C-30")["state"] == "decided"
    assert refused(lambda: world.caller.call(name, "C-30")).code == "E_BUDGET"
    assert world.caller.call(name, "C-31")["state"] == "decided", "another subject has its own"
    mixed = world.caller.batch(name, [{"subject": "C-30"}, {"subject": "C-32"}])
    assert [a["state"] for a in mixed] == ["refused", "decided"]
    assert mixed[0]["error"]["code"] == "E_BUDGET"
    assert "hospital" in mixed[0]["error"]["detail"]
    assert mixed[0]["answer"] is None
    together = world.caller.batch(name, [{"subject": "C-33"}] * (allowed + 1))
    assert [a["state"] for a in together] == ["decided"] * allowed + ["refused"]


def test_the_calls_of_a_day_end(world: World) -> None:
    name = world.fresh()
    world.deploy(name, bounds={"calls_per_day": 3})
    found = world.caller.batch(name, [{"subject": f"C-{n}"} for n in range(10, 15)])
    assert [a["state"] for a in found] == ["decided"] * 3 + ["refused"] * 2
    assert {a["error"]["code"] for a in found[3:]} == {"E_QUOTA"}


def test_the_owner_makes_outputs_coarser_and_drops_reasons(world: World) -> None:
    name = world.fresh()
    world.deploy(name, bounds={"steps": {"pay": 100}, "reasons": False})
    found = world.caller.batch(name, [{"subject": f"C-{n}"} for n in (0, 20, 33)])
    assert [a["answer"]["pay"] for a in found] == [0, 600, 900]
    assert [a["answer"]["reasons"] for a in found] == [[], [], []]
    error = refused(lambda: world.host.deploy(name, bounds={"steps": {"pay": 15}}))
    assert error.code == "E_SCRIPT"
    assert "steps.pay" in error.text
    error = refused(lambda: world.host.deploy(name, bounds={"subject_millibits": 10}))
    assert "subject_millibits" in error.text


def test_a_large_amount_waits_for_a_steward(world: World) -> None:
    name = world.fresh()
    world.deploy(name, bounds={"hold_above": {"pay": 1000}})
    assert world.caller.call(name, "C-10", key="low")["state"] == "decided"
    for key, claim in (("let", "C-50"), ("deny", "C-51")):
        held = world.caller.call(name, claim, key=key)
        assert (held["state"], held["answer"]) == ("held", None)
        assert world.caller.call(name, claim, key=key)["state"] == "held"
    assert {d["key"] for d in world.host.decisions(state="held", name=name)} == {"let", "deny"}
    world.host.settle(name, "let", True)
    world.host.settle(name, "deny", False)
    assert refused(lambda: world.host.settle(name, "let", False)).code == "E_STATE"
    let = world.caller.call(name, "C-50", key="let")
    assert (let["state"], let["answer"]) == ("decided", plain(50))
    denied = world.caller.call(name, "C-51", key="deny")
    assert (denied["state"], denied["answer"]) == ("decided", None)


def test_a_withdrawn_consent_answers_nothing(world: World) -> None:
    name = world.fresh()
    world.deploy(name)
    assert world.caller.call(name, "C-3")["state"] == "decided"
    world.host.withdraw(name, "no longer needed")
    world.known(f"{name}@1.0.0", "withdrawn")
    assert refused(lambda: world.caller.call(name, "C-4")).code == "E_NOT_FOUND"
    world.host.deploy(name)
    world.known(f"{name}@1.0.0", "deployed")
    assert world.caller.call(name, "C-4")["answer"] == plain(4)


def test_new_bounds_hold_from_then_on(world: World) -> None:
    name = world.fresh()
    world.deploy(name)
    assert world.caller.call(name, "C-33")["answer"]["pay"] == 990
    world.host.deploy(name, bounds={"steps": {"pay": 100}})
    word = world.host.packages()[0]["word"]["bounds"]
    assert word["steps"] == {"pay": 100}

    def coarse() -> bool:
        return bool(world.caller.call(name, "C-33")["answer"]["pay"] == 900)

    until("the new bounds hold", coarse, 30)


def test_a_refusal_reaches_the_author_with_its_reason(world: World) -> None:
    name = world.fresh()
    reference = world.publish(name)
    world.host.refuse(reference, "we do not settle plain claims by rule")
    world.known(reference, "refused")
    word = next(p for p in world.author.packages() if p["name"] == name)["word"]
    assert word["reason"] == "we do not settle plain claims by rule"
    assert refused(lambda: world.caller.call(name, "C-3")).code == "E_NOT_FOUND"


def test_what_reaches_too_far_is_refused_at_review(world: World) -> None:
    name = world.fresh()
    reference = world.publish(
        name, change=lambda text: text.replace('kind = "string"', 'kind = "string", wage = "int64"')
    )
    page = world.host.review(reference)
    assert "wage" in page["refused_because"]
    error = refused(lambda: world.host.deploy(reference))
    assert error.code == "E_SCRIPT"
    assert "wage" in error.text


def test_a_column_that_no_grant_names_cannot_be_consented_to(world: World) -> None:
    name = world.fresh()
    world.publish(name, change=lambda text: text.replace('kind = "string"', 'patient = "string"'),
                 rules="def decide(claim) -> dict:\n    return {'decision': 'refuse', 'pay': 0}\n")  # fmt: skip
    assert "patient" in world.host.review(name)["refused_because"]
    error = refused(lambda: world.host.deploy(name))
    assert error.code == "E_SCRIPT"
    assert "patient" in error.text
    assert refused(lambda: world.host.trial(name)).code == "E_SCRIPT"


def test_the_newest_version_of_a_table_is_used_from_the_next_call_on(world: World) -> None:
    name = world.fresh()
    world.deploy(name)
    assert world.caller.call(name, "C-new")["answer"]["reasons"] == ["unknown"]
    more = claims().slice(5, 1).set_column(0, "claim_id", pa.array(["C-new"]))
    world.net.hospital.steward.data.refresh("claims", pa.concat_tables([claims(), more]))
    extra = pa.table({"claim_id": ["C-new"], "cost": [777]})
    world.net.hospital.steward.data.refresh("lines", pa.concat_tables([lines(), extra]))
    found = world.caller.call(name, "C-new", key="second-look")["answer"]
    assert found == {"decision": "approve", "pay": 770, "reasons": []}


def test_a_receipt_covers_each_answer(world: World) -> None:
    name = world.fresh()
    world.deploy(name)
    world.caller.call(name, "C-12", key="one")
    shown = world.caller.show_call(name, "one")
    assert shown["receipt"]["call"] == 1
    assert not shown["receipt"]["signed"], "the block is open still"
    job = shown["job"]
    world.net.insurer.analyst.services.get(job).stop().wait(timeout=60)
    world.net.insurer.analyst.jobs.get(job).receipt(30)
    shown = until(
        "the receipt is signed",
        lambda: (found := world.caller.show_call(name, "one"))["receipt"]["signed"] and found,
    )
    assert shown["receipt"]["block"] == 1
    # The next call starts the service again.
    assert world.caller.call(name, "C-13")["answer"] == plain(13)
