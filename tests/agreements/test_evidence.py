"""Approvals, provisional receipts and receipts: bound to one plan, one attempt and the same messages at both
ends.
"""

from __future__ import annotations

import copy
from typing import Any

import atoll_test_world as w
import pytest

from atoll.agreements import (
    build_approval,
    build_provisional,
    build_receipt,
    build_refusal,
    check_receipt,
    open_approval,
    open_provisional,
    open_receipt,
    parse_receipt,
)
from atoll.crypto import dsse
from atoll.errors import AtollError
from atoll.plan import plan_digest

PLAN = w.join_plan()
DIGEST = plan_digest(PLAN)
DERIVED = w.derive(PLAN)
NONCE = "0" * 32


def approval(name: str, **changes: Any) -> dict[str, Any]:
    number = {"alice": "in0", "bob": "in1"}[name]
    facts = {
        "job": w.JOB,
        "plan": DIGEST,
        "party": w.KEYS[name],
        "by": "agreement",
        "at": w.NOW,
        "inputs": {number: {"version": w.version(name), "mode": "snapshot", "keys": 1000, "change": None}},
        "seed_commitment": w.version("seed"),
        "tls": w.version("tls"),
        "nonce": NONCE,
    }
    return build_approval(**{**facts, **changes})


def opened(
    name: str, document: dict[str, Any] | None = None, signer: str | None = None, **wanted: Any
) -> Any:
    envelope = dsse.sign("approval/v1", document or approval(name), w.SIGNERS[signer or name])
    own = [i["id"] for i in PLAN["inputs"] if i["party"] == w.KEYS[name]]
    return open_approval(
        envelope, **{"plan": DIGEST, "job": w.JOB, "party": w.KEYS[name], "inputs": own, **wanted}
    )


APPROVALS = {w.KEYS[name]: opened(name) for name in ("alice", "bob")}


def code(function: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(AtollError) as caught:
        function(*args, **kwargs)
    return caught.value.code


def test_an_approval_answers_one_plan_by_one_party_on_its_own_inputs() -> None:
    assert APPROVALS[w.BOB].inputs["in1"].keys == 1000
    assert code(opened, "bob", plan=w.version("other")) == "E_APPROVAL"
    assert code(opened, "bob", inputs=["in0"]) == "E_APPROVAL"
    assert code(opened, "bob", signer="alice") == "E_SIGNATURE"
    assert code(approval, "bob", nonce="x") == "E_FORMAT"
    assert code(approval, "bob", tls=None) == "E_FORMAT"


def test_a_refusal_gives_reasons_and_commits_to_nothing() -> None:
    facts = {"job": w.JOB, "plan": DIGEST, "party": w.BOB, "by": "agreement", "at": w.NOW, "nonce": NONCE}
    reason = {"code": "E_POLICY", "party": "bob", "column": "id"}
    answer = opened("bob", build_refusal(reasons=[reason], **facts))
    assert answer.decision == "refuse"
    assert answer.document()["reasons"] == [reason]
    assert code(build_refusal, reasons=[], **facts) == "E_FORMAT"
    assert code(build_refusal, reasons=[{"code": "E_NEW"}], **facts) == "E_FORMAT"
    assert code(build_refusal, reasons=[{**reason, "value": "42"}], **facts) == "E_FORMAT"


def test_a_provisional_receipt_is_for_one_attempt_on_these_versions() -> None:
    inputs = {"in0": w.version("alice"), "in1": w.version("bob")}
    wanted = {"job": w.JOB, "plan": DIGEST, "attempt": 1, "receiver": w.ALICE, "inputs": inputs}
    envelope = dsse.sign("provisional/v1", build_provisional(at=w.NOW, **wanted), w.SIGNERS["alice"])
    assert open_provisional(envelope, **wanted).attempt == 1
    assert code(open_provisional, envelope, **{**wanted, "attempt": 2}) == "E_RECEIPT"
    assert (
        code(open_provisional, envelope, **{**wanted, "inputs": {**inputs, "in1": w.version("x")}})
        == "E_RECEIPT"
    )
    assert code(open_provisional, envelope, **{**wanted, "receiver": w.BOB}) == "E_SIGNATURE"
    assert code(build_provisional, at=w.NOW, **{**wanted, "attempt": 0}) == "E_FORMAT"
    block = {"number": 2, "first": 11, "calls": 10}
    reserved = dsse.sign(
        "provisional/v1", build_provisional(at=w.NOW, block=block, **wanted), w.SIGNERS["alice"]
    )
    assert open_provisional(reserved, block=block, **wanted).block.first == 11
    assert code(open_provisional, reserved, block={**block, "calls": 9}, **wanted) == "E_RECEIPT"
    assert code(open_provisional, reserved, **wanted) == "E_RECEIPT"
    assert code(open_provisional, envelope, block=block, **wanted) == "E_RECEIPT"
    assert code(build_provisional, at=w.NOW, block={**block, "calls": 0}, **wanted) == "E_FORMAT"


def record(name: str, peer: str, **changes: Any) -> dict[str, Any]:
    sent, received = w.version(f"{name}>"), w.version(f"{peer}>")
    return {
        "times": {"started": "2026-11-23T12:00:00Z", "finished": "2026-11-23T12:00:05Z"},
        "meters": {
            "rows": 1000,
            "calls": 0,
            "hits": None,
            "bytes_sent": 10,
            "bytes_received": 10,
            "cpu_seconds": 1,
        },
        "transcripts": {
            w.KEYS[peer]: {
                "n4": {"sent": sent, "received": received, "messages": [3, 3], "bytes": [9, 9]},
            }
        },
        "output": {"commitment": w.version("out")} if name == "alice" else None,
        "execution": {
            "build": w.version("build"),
            "threads": 2,
            "inputs": ["in0" if name == "alice" else "in1"],
        },
        "grants": {"in1": 0} if name == "bob" else {},
        **changes,
    }


def receipt(**changes: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "attempt": 1,
        "parties": {w.ALICE: record("alice", "bob"), w.BOB: record("bob", "alice")},
    }
    return build_receipt(PLAN, APPROVALS, DERIVED.stated, **{**facts, **changes})


def checked(document: dict[str, Any], approvals: Any = None) -> None:
    check_receipt(parse_receipt(document), PLAN, approvals or APPROVALS, DERIVED.stated, DERIVED.agreements)


def test_a_receipt_is_signed_by_all_and_matches_plan_and_approvals() -> None:
    document = receipt()
    assert parse_receipt(document).document() == document
    checked(document)
    envelope = dsse.sign("receipt/v1", document, w.SIGNERS["alice"], w.SIGNERS["bob"])
    assert open_receipt(envelope, [w.ALICE, w.BOB]).outcome == "completed"
    one = dsse.sign("receipt/v1", document, w.SIGNERS["alice"])
    assert code(open_receipt, one, [w.ALICE, w.BOB]) == "E_SIGNATURE"


CHANGES: dict[str, Any] = {
    "plan": w.version("x"),
    "job": "job-" + "0" * 32,
    "agreements": {w.ID: w.version("x")},
    "function": "totals",
    "protocols": [],
    "security": "malicious",
    "disclosures": [],
    "asker": w.BOB,
    "purpose": "marketing",
    "shape": "long",
    "consent": "attested",
    "inputs": {"in0": receipt()["inputs"]["in0"]},
    "parties": {w.ALICE: record("alice", "bob", transcripts={})},
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_receipt_that_differs_in_one_field_is_refused(field: str) -> None:
    assert code(checked, {**receipt(), field: CHANGES[field]}) == "E_RECEIPT"


def test_a_live_source_stands_as_such_in_the_receipt() -> None:
    live = copy.deepcopy(receipt())
    live["inputs"]["in0"]["mode"] = "live"
    assert code(checked, live) == "E_RECEIPT"


def test_outputs_belong_to_receivers_only() -> None:
    stolen = {
        w.ALICE: record("alice", "bob"),
        w.BOB: record("bob", "alice", output={"commitment": w.version("o")}),
    }
    assert code(checked, receipt(parties=stolen)) == "E_RECEIPT"
    lost = {w.ALICE: record("alice", "bob", output=None), w.BOB: record("bob", "alice")}
    assert code(checked, receipt(parties=lost)) == "E_RECEIPT"


@pytest.mark.parametrize("field", ["sent", "received", "messages", "bytes", "channel", "missing"])
def test_the_two_ends_of_a_channel_must_agree_and_the_channel_is_named(field: str) -> None:
    theirs = record("bob", "alice")
    ends = theirs["transcripts"][w.ALICE]
    if field in ("sent", "received"):
        ends["n4"][field] = w.version("flipped")
    elif field in ("messages", "bytes"):
        ends["n4"][field] = [9, 3] if field == "bytes" else [3, 4]
    elif field == "channel":
        ends["n5"] = ends["n4"]
    else:
        theirs["transcripts"] = {}
    with pytest.raises(AtollError) as caught:
        checked(receipt(parties={w.ALICE: record("alice", "bob"), w.BOB: theirs}))
    assert caught.value.code == "E_TRANSCRIPT"
    assert caught.value.step in ("n4", "n5")


def test_a_failed_job_has_a_receipt_with_its_reason() -> None:
    failed = receipt(
        outcome="failed",
        error={"code": "E_PEER_SILENT", "party": "bob", "step": "n4"},
        parties={w.ALICE: record("alice", "bob", output=None)},
    )
    checked(failed)
    assert code(receipt, outcome="failed") == "E_FORMAT"
    assert code(receipt, error={"code": "E_PEER_SILENT"}) == "E_FORMAT"


@pytest.mark.parametrize(
    ("party", "field", "value"),
    [
        ("alice", "rows", 999),
        ("alice", "rows", None),
        ("alice", "hits", 1),
        ("bob", "hits", 0),
    ],
)
def test_meters_say_what_the_plan_discloses_and_no_more(party: str, field: str, value: Any) -> None:
    document = receipt()
    document["parties"][w.KEYS[party]]["meters"][field] = value
    with pytest.raises(AtollError) as caught:
        checked(document)
    assert (caught.value.code, caught.value.party) == ("E_RECEIPT", w.KEYS[party])
    assert f"meters.{field}" in caught.value.text


@pytest.mark.parametrize("grants", [{}, {"in1": 1}, {"in1": 7}, {"in0": 0}, {"in0": 0, "in1": 0}])
def test_an_owner_names_the_one_grant_that_its_input_was_used_under(grants: dict[str, int]) -> None:
    parties = {w.ALICE: record("alice", "bob"), w.BOB: record("bob", "alice", grants=grants)}
    assert code(checked, receipt(parties=parties)) == "E_RECEIPT"


def test_whoever_exchanged_messages_says_how_it_ran() -> None:
    parties = {w.ALICE: record("alice", "bob", execution=None), w.BOB: record("bob", "alice")}
    assert code(checked, receipt(parties=parties)) == "E_RECEIPT"


def test_a_block_stands_on_services_only() -> None:
    block = {"number": 1, "first": 1, "calls": 0, "root": w.version("root")}
    assert code(receipt, block=block) == "E_FORMAT"


def test_the_receipt_holds_no_row_count_of_the_result() -> None:
    """The number of matched rows is the receiver's alone: the peer signs the receipt, and must not learn it."""
    assert set(receipt()["parties"][w.ALICE]["output"]) == {"commitment"}
    assert set(receipt()["parties"][w.ALICE]["meters"]) == {
        "rows", "calls", "hits", "bytes_sent", "bytes_received", "cpu_seconds"
    }  # fmt: skip
