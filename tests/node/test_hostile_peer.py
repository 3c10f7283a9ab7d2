"""A paired partner that turns hostile: it holds a valid identity and agreement, and sends what it likes."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import os
import secrets
import socket
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.agreements import build_refusal
from atoll.billing import Item, statement
from atoll.client import drafts
from atoll.crypto import canonical, dsse
from atoll.crypto.document import document_digest
from atoll.crypto.suite import PublicKey, SigningKey
from atoll.errors import AtollError
from atoll.ledger import checkpoint
from atoll.ledger.entry import Record
from atoll.ledger.log import OwnLog
from atoll.ledger.storage import MemoryStorage
from atoll.net.dial import dial
from atoll.net.listener import job_name
from atoll.node.home import Home
from atoll.node.node import Node
from atoll.plan import plan_digest
from atoll.testing import Net, NodeProcess, nodes, until

VERBS = (
    "agreement.offer", "agreement.revoke", "bill.day", "bill.sign", "bill.statement", "consent.withdraw",
    "job.abort", "job.final", "job.part", "job.provisional", "job.receipt", "job.start", "ledger.extend",
    "ledger.fetch", "ledger.fork", "ledger.gossip", "ledger.leaves", "ledger.standing", "offer.publish",
    "offer.withdraw", "pair.confirm", "plan.decision", "plan.propose", "quality.figures", "quality.report",
    "replay.cancel", "replay.offer", "replay.piece", "replay.report", "replay.run", "roster.offer",
    "witness.cosign",
)  # fmt: skip


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("mallory", "victim") as made:
        yield made


# Garbage.

leaf = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=12) | st.binary(max_size=40)
    | st.sampled_from([0, 1, -1, "", "job-" + "0" * 32, "ed25519:" + "0" * 64, "sha256:" + "0" * 64, b"\0" * 32])
)  # fmt: skip
garbage = st.recursive(
    leaf,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = {
    "agreement.offer": ("envelope", "proposer"),
    "agreement.revoke": ("envelope",),
    "bill.day": ("agreement", "day", "start"),
    "bill.sign": ("statement",),
    "bill.statement": ("agreement", "month"),
    "job.abort": ("job", "abort"),
    "job.final": ("receipt", "job"),
    "job.part": ("job", "attempt", "block", "part", "called"),
    "job.provisional": ("job", "attempt", "block"),
    "job.receipt": ("receipt", "job"),
    "job.start": ("job", "attempt", "nonce", "approvals", "routes"),
    "ledger.extend": ("agreement", "old", "proof", "checkpoint", "entries"),
    "ledger.fetch": ("agreement", "start", "count"),
    "ledger.fork": ("agreement", "proof"),
    "ledger.gossip": ("agreement", "checkpoints"),
    "ledger.leaves": ("agreement", "owner", "start", "count"),
    "ledger.standing": ("held",),
    "consent.withdraw": ("consent", "withdrawal"),
    "offer.publish": ("envelope",),
    "offer.withdraw": ("envelope",),
    "replay.cancel": ("id",),
    "replay.offer": ("plan", "agreements", "files"),
    "replay.piece": ("id", "file", "offset", "data"),
    "replay.report": ("id",),
    "replay.run": ("id", "threads", "any_build", "anyway"),
    "witness.cosign": ("request",),
    "pair.confirm": ("state", "confirmed"),
    "plan.decision": ("approval", "job"),
    "plan.propose": ("plan", "approval"),
    "quality.figures": ("agreement", "asset", "figures"),
    "quality.report": ("envelope", "opening"),
    "roster.offer": ("envelope", "before"),
}


# The kind of document that stands in a field, so that signed nonsense gets past the envelope.
SIGNED = {
    ("agreement.offer", "envelope"): "agreement/v1",
    ("agreement.revoke", "envelope"): "revocation/v1",
    ("bill.sign", "statement"): "statement/v1",
    ("job.abort", "abort"): "abort/v1",
    ("job.final", "receipt"): "receipt/v1",
    ("job.receipt", "receipt"): "receipt/v1",
    ("offer.publish", "envelope"): "offer/v1",
    ("offer.withdraw", "envelope"): "offer-withdrawal/v1",
    ("plan.decision", "approval"): "approval/v1",
    ("plan.propose", "plan"): "plan/v1",
    ("plan.propose", "approval"): "approval/v1",
    ("quality.report", "envelope"): "finding/v1",
    ("roster.offer", "envelope"): "roster/v1",
    ("roster.offer", "before"): "roster/v1",
}


def spoiled(document: Any, path: list[int], value: Any) -> Any:
    """A copy of a document with one place in it replaced."""
    if not path or not document or not isinstance(document, dict | list):
        return value
    first, rest = path[0], path[1:]
    if isinstance(document, list):
        at = first % len(document)
        return [spoiled(item, rest, value) if i == at else item for i, item in enumerate(document)]
    name = sorted(document)[first % len(document)]
    return {key: spoiled(item, rest, value) if key == name else item for key, item in document.items()}


@pytest.mark.parametrize("verb", VERBS)
def test_garbage_is_refused_by_every_verb(mallory: Any, unchanged: None, verb: str) -> None:
    """Bodies of any shape, and of the right shape with wrong types, real identifiers and signed nonsense in it."""
    base = mallory.plan()
    good = {
        "plan/v1": base,
        "approval/v1": mallory.approval(base),
        "receipt/v1": mallory.receipt,
        "agreement/v1": {**mallory.agreement, "id": "agr-" + "1" * 16},
        "abort/v1": {
            "format": "atoll.abort/v1", "job": mallory.job, "attempt": 1, "by": mallory.me,
            "error": {"code": "E_DATA"}, "at": "2026-11-23T16:30:00Z",
        },
        "offer/v1": _offer(mallory.victim.identity),  # its own offer would rightly be taken
        "offer-withdrawal/v1": {
            "format": "atoll.offer-withdrawal/v1", "offer": "off-" + "1" * 16, "version": "sha256:" + "0" * 64,
            "by": mallory.me, "at": "2026-11-23T16:30:00Z",
        },
        "revocation/v1": {
            "format": "atoll.revocation/v1", "agreement": mallory.agreement["id"], "version": 1,
            "by": mallory.victim.identity,  # its own revocation would rightly be taken
            "reason": "none", "at": "2026-11-23T16:30:00Z",
        },
        "finding/v1": {
            "format": "atoll.finding/v1", "agreement": mallory.agreement["id"], "asset": "taxes", "by": mallory.me,
            "provider": mallory.victim.identity, "category": "stale", "column": None, "extent": "few",
        },
        "roster/v1": mallory.roster(),
        "statement/v1": statement(
            "2026-11", mallory.agreement["id"], (mallory.me, mallory.victim.identity), []
        ),
    }  # fmt: skip
    texts = [mallory.job, mallory.me, mallory.victim.identity, mallory.agreement["id"], "00" * 16]
    json_like = garbage.filter(_canonical)
    real = st.sampled_from(texts)

    def field(name: str) -> st.SearchStrategy[Any]:
        kind = SIGNED.get((verb, name))
        if kind is not None:
            path = st.lists(st.integers(0, 20), min_size=1, max_size=5)
            nonsense = json_like | st.builds(spoiled, st.just(good[kind]), path, json_like | real)
            if kind == "revocation/v1":
                nonsense = nonsense.filter(lambda d: not isinstance(d, dict) or d.get("by") != mallory.me)
            if kind == "offer/v1":
                nonsense = nonsense.filter(
                    lambda d: not isinstance(d, dict) or d.get("provider") != mallory.me
                )
            # The good document itself would rightly be taken.
            return nonsense.filter(lambda d: d != good[kind]).map(lambda d: mallory.sign(kind, d))
        if name == "job":
            return st.just(mallory.job) | real | garbage
        if name == "opening":
            return st.just(b"o" * 16) | garbage
        if name == "figures":
            return st.lists(st.sampled_from(["rows", "nulls:id", ""]) | garbage, max_size=3) | garbage
        if name == "entries":
            return garbage | st.lists(
                st.fixed_dictionaries(dict.fromkeys(("leaf", "body", "opening"), garbage)), max_size=3
            )
        if name == "part":
            path = st.lists(st.integers(0, 20), min_size=1, max_size=4)
            return st.builds(spoiled, st.just(mallory.receipt["parties"][mallory.me]), path, json_like)
        return real | garbage

    shaped = st.fixed_dictionaries({name: field(name) for name in FIELDS[verb]})

    @settings(
        max_examples=100,
        suppress_health_check=list(HealthCheck),
        deadline=None,
        database=None,
        derandomize=True,
    )
    @given(st.one_of(shaped, shaped, shaped, garbage))
    def attack(body: Any) -> None:
        code = mallory.answered(verb, body)
        assert code != "E_INTERNAL", f"{verb} {body!r}"
        assert code != "E_UNREACHABLE", f"the link fell: {verb} {body!r}"

    attack()


def _canonical(value: Any) -> bool:
    try:
        canonical.dumps(value)
    except Exception:
        return False
    return True


def test_a_statement_that_this_node_would_not_compute_is_not_kept(mallory: Any, unchanged: None) -> None:
    use = Item(
        day="2026-11-03", evidence="sha256:" + "0" * 64, agreement=mallory.agreement["id"], asset="loans",
        provider=mallory.me, payer=mallory.victim.identity, unit="run", quantity=1, price=10**9, currency="CNY",
        payees=((mallory.me, 1),), job="", block=0, basis="receipt",
    )  # fmt: skip
    invented = statement("2026-11", mallory.agreement["id"], (mallory.me, mallory.victim.identity), [use])
    assert mallory.refused("bill.sign", {"statement": mallory.sign("statement/v1", invented)}) == "E_RECEIPT"


def test_unknown_verbs_are_refused(mallory: Any, unchanged: None) -> None:
    for verb in ("", "no.such", "pair.commit", "job.START", "x" * 60):
        assert mallory.refused(verb, {}) == "E_WIRE"


def test_an_oversized_body_does_not_leave_this_side(mallory: Any, unchanged: None) -> None:
    assert mallory.refused("plan.propose", {"plan": b"x" * (9 << 20), "approval": {}}) in (
        "E_TOO_LARGE",
        "E_FORMAT",
    )
    assert mallory.refused("no.such", {}) == "E_WIRE", "the link lives on"


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff" * 64,
        b"\0" * 4096,
        struct.pack("!I", 0xFFFFFFF0) + b"\x04",
        os.urandom(1 << 16),
        b"",
    ],
    ids=["ones", "zeros", "a length of 4 GiB", "noise", "nothing"],
)
@pytest.mark.parametrize("inside", [True, False], ids=["inside TLS", "before TLS"])
def test_garbage_frames_end_that_connection_only(
    mallory: Any, unchanged: None, raw: bytes, inside: bool
) -> None:
    if inside:
        link = mallory.connect()
        with contextlib.suppress(AtollError, OSError):
            link._stream.tls.write(raw)
            link._stream.flush()
        link._stream.close()
    else:
        assert mallory.victim.address is not None
        with contextlib.closing(dial(mallory.victim.address)) as sock, contextlib.suppress(OSError):
            sock.sendall(raw)
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(15)
            while sock.recv(4096):
                pass
    until("a new link", lambda: _answers(mallory), 15)


def _answers(mallory: Any) -> bool:
    try:
        return mallory.refused("no.such", {}) == "E_WIRE"
    except AtollError:
        return False


# Offers.


def _offer(provider: str, **change: Any) -> dict[str, Any]:
    asset = drafts.asset("loans", provider, type="service")
    terms = drafts.terms(purposes=["test"], functions=["echo"])
    filled = {"id": f"off-{secrets.token_hex(8)}", "version": 1, "supersedes": None, "provider": provider}
    return drafts.offer(asset, [terms], title="Hostile") | filled | change


def test_offers_that_are_not_the_senders_are_not_kept(mallory: Any, unchanged: None) -> None:
    other = SigningKey.generate()
    theirs = mallory.sign("offer/v1", _offer(str(other.public)), other)
    assert mallory.refused("offer.publish", {"envelope": theirs}) == "E_OFFER"
    forged = mallory.sign("offer/v1", _offer(mallory.victim.identity))
    assert mallory.refused("offer.publish", {"envelope": forged}) == "E_SIGNATURE"
    to = {"kind": "named", "keys": [str(other.public)], "roster": None}
    elsewhere = mallory.sign("offer/v1", _offer(mallory.me, to=to))
    assert mallory.refused("offer.publish", {"envelope": elsewhere}) == "E_OFFER"
    large = _offer(mallory.me)
    large["asset"]["columns"] = [
        drafts.column({"name": f"c{i}", "type": "string", "label": {"en": "x" * 2000}}) for i in range(200)
    ]
    assert mallory.refused("offer.publish", {"envelope": mallory.sign("offer/v1", large)}) == "E_TOO_LARGE"
    end = {
        "format": "atoll.offer-withdrawal/v1", "offer": "off-" + "1" * 16, "version": "sha256:" + "0" * 64,
        "by": str(other.public), "at": "2026-11-23T16:30:00Z",
    }  # fmt: skip
    signed = mallory.sign("offer-withdrawal/v1", end, other)
    assert mallory.refused("offer.withdraw", {"envelope": signed}) == "E_OFFER"
    signed = mallory.sign("offer-withdrawal/v1", end)
    assert mallory.refused("offer.withdraw", {"envelope": signed}) == "E_SIGNATURE"


def test_versions_of_an_offer_go_forward_only(mallory: Any, net: Net, records: Any) -> None:
    def said(document: dict[str, Any]) -> Any:
        return mallory.answered("offer.publish", {"envelope": mallory.sign("offer/v1", document)})

    first = _offer(mallory.me)
    digest = document_digest("offer/v1", first)
    assert said(first) is None
    assert said(first) is None, "a repeated message is the same message"
    assert said(first | {"agreement_days": 7}) == "E_CONFLICT"
    assert said(first | {"version": 2, "supersedes": "sha256:" + "0" * 64}) == "E_OFFER"
    second = first | {"version": 2, "supersedes": digest, "agreement_days": 7}
    assert said(second) is None
    assert said(first) is None, "an older version is ignored"
    query = "select version, state from offers where id = ? order by version"
    rows = records(net.victim).rows(query, first["id"])
    assert rows == [{"version": 1, "state": "superseded"}, {"version": 2, "state": "current"}]
    assert [o["version"] for o in net.victim.analyst.catalog.search("hostile") if o["id"] == first["id"]] == [
        2
    ]


# Proposals.


def test_a_replayed_proposal_is_one_job(mallory: Any, net: Net, records: Any) -> None:
    plan = mallory.approved()
    first = mallory.decisions.pop(plan["id"])
    jobs = records(net.victim).count("jobs")
    approval = mallory.approval(plan)
    assert mallory.propose(plan, approval) == {}
    until("the decision comes again", lambda: plan["id"] in mallory.decisions)
    assert mallory.decisions[plan["id"]] == first, "the same bytes, not a second decision"
    assert records(net.victim).count("jobs") == jobs


def test_a_changed_plan_under_the_same_identifier_is_a_rewind(mallory: Any) -> None:
    plan = mallory.approved()
    changed = {**plan, "purpose": "other"}
    signed = {
        "plan": mallory.sign("plan/v1", changed),
        "approval": mallory.sign("approval/v1", mallory.approval(changed)),
    }
    assert mallory.refused("plan.propose", signed) == "E_REWIND"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda p: p.update(asker="ed25519:" + "0" * 64), "E_PLAN"),
        (lambda p: p.update(format="atoll.plan/v2"), "E_PLAN_VERSION"),
        (lambda p: p.update(expires="2020-01-01T00:00:00Z", created="2019-12-31T00:00:00Z"), "E_PLAN"),
        (lambda p: p["operators"][-1].update(kind="psi/v9"), "E_PLAN_VERSION"),
        (lambda p: p["operators"][-1].update(security="malicious"), "E_PLAN"),
        (lambda p: p["operators"][-1].update(at=[]), "E_PLAN"),
        (lambda p: p["inputs"][1].update(agreement_digest="sha256:" + "0" * 64), "E_AGREEMENT"),
        (lambda p: p["inputs"][1].update(asset="no such table"), "E_AGREEMENT"),
        (lambda p: p["inputs"][1]["columns"][0].update(type="int64"), "E_TYPE"),
        (lambda p: p.pop("limits"), "E_PLAN"),
        (lambda p: p.update(extra=1), "E_PLAN"),
        (lambda p: p["limits"].update(silence_seconds=3600), "E_PLAN"),
    ],
)
def test_plans_that_do_not_check_are_not_stored(
    mallory: Any, unchanged: None, change: Callable[[dict[str, Any]], Any], code: str
) -> None:
    plan = copy.deepcopy(mallory.plan())
    change(plan)
    try:
        approval = mallory.approval(plan)
    except Exception:
        approval = mallory.approval(mallory.plan())
    body = {"plan": mallory.sign("plan/v1", plan), "approval": mallory.sign("approval/v1", approval)}
    assert mallory.refused("plan.propose", body) in (code, "E_PLAN", "E_PLAN_VERSION", "E_AGREEMENT")


def test_a_plan_signed_by_another_key_or_for_another_is_refused(mallory: Any, unchanged: None) -> None:
    plan, other = mallory.plan(), SigningKey.generate()
    approval = mallory.sign("approval/v1", mallory.approval(plan))
    body = {"plan": mallory.sign("plan/v1", plan, other), "approval": approval}
    assert mallory.refused("plan.propose", body) == "E_SIGNATURE"
    body = {
        "plan": mallory.sign("plan/v1", plan),
        "approval": mallory.sign("approval/v1", mallory.approval(plan), other),
    }
    assert mallory.refused("plan.propose", body) in ("E_SIGNATURE", "E_FORMAT")
    elsewhere = mallory.approval(mallory.plan())
    body = {"plan": mallory.sign("plan/v1", plan), "approval": mallory.sign("approval/v1", elsewhere)}
    assert mallory.refused("plan.propose", body) in ("E_APPROVAL", "E_PLAN", "E_FORMAT", "E_SIGNATURE")


# Starts.


@pytest.mark.parametrize("attempt", [0, -1, 2**60, True, "1", None, 1.0])
def test_an_attempt_that_is_none_does_not_start(mallory: Any, unchanged: None, attempt: Any) -> None:
    body = {
        "job": mallory.job,
        "attempt": attempt,
        "nonce": "ab" * 16,
        "approvals": {},
        "routes": {mallory.me: job_name()},
    }
    assert mallory.refused("job.start", body) in ("E_REWIND", "E_WIRE", "E_FORMAT", "E_APPROVAL")


def test_starts_with_forged_approvals(mallory: Any) -> None:
    plan = mallory.approved()
    good = mallory.start(plan)
    forger = SigningKey.generate()
    theirs = json.loads(base64.b64decode(mallory.decisions[plan["id"]]["payload"]))
    forged = {
        "by another key": dsse.sign("approval/v1", theirs, forger),
        "a part changed": {**mallory.decisions[plan["id"]], "payload": _spoil(theirs, nonce="1" * 32)},
        "my own in its place": good["approvals"][mallory.me],
        "nothing": {},
    }
    for what, envelope in forged.items():
        body = {**good, "approvals": {**good["approvals"], mallory.victim.identity: envelope}}
        assert mallory.refused("job.start", body) in ("E_SIGNATURE", "E_FORMAT", "E_APPROVAL", "E_REWIND"), (
            what
        )
    del good["approvals"][mallory.victim.identity]
    assert mallory.refused("job.start", good) == "E_APPROVAL"
    # Another approval of mallory's than the one that the victim decided on: other sizes, other seed.
    second = mallory.sign("approval/v1", mallory.approval(plan, keys=10**6))
    changed = mallory.start(plan)
    changed["approvals"][mallory.me] = second
    assert mallory.refused("job.start", changed) == "E_REWIND"
    assert mallory.victim.analyst.jobs.get(plan["id"]).state == "approved"


def _spoil(document: dict[str, Any], **changed: Any) -> str:
    return base64.b64encode(canonical.dumps({**document, **changed})).decode()


def test_a_start_is_answered_once_and_a_changed_one_is_a_rewind(mallory: Any) -> None:
    plan = mallory.plan()
    approval = mallory.sign("approval/v1", mallory.approval(plan))
    mallory.say("plan.propose", {"plan": mallory.sign("plan/v1", plan), "approval": approval})
    until("the victim decides", lambda: plan["id"] in mallory.decisions)
    body = mallory.start(plan)
    body["approvals"][mallory.me] = approval
    assert mallory.say("job.start", body) == {}
    assert mallory.say("job.start", body) == {}, "a repeated message is the same message"
    assert mallory.refused("job.start", {**body, "nonce": "cd" * 16}) == "E_REWIND"
    assert mallory.refused("job.start", {**body, "routes": {mallory.me: job_name()}}) == "E_REWIND"
    # Nobody comes to the worker: the job ends with the silence that it is.
    ended = until("the victim gives up", lambda: _ended(mallory.victim, plan["id"]), 40)
    assert ended.error.code in ("E_PEER_SILENT", "E_UNREACHABLE")
    assert mallory.refused("job.start", body) == "E_REWIND", "an attempt that ended does not start again"


def _ended(node: NodeProcess, job: str) -> Any:
    found = node.analyst.jobs.get(job)
    return found if found.state in ("failed", "completed") else None


# Receipts.


def test_a_receipt_that_changes_the_others_part_is_refused(mallory: Any, net: Net) -> None:
    changed = copy.deepcopy(mallory.receipt)
    changed["parties"][mallory.victim.identity]["meters"]["rows"] += 1
    body = {"receipt": mallory.sign("receipt/v1", changed), "job": mallory.job}
    assert mallory.refused("job.receipt", body) == "E_RECEIPT"
    assert mallory.refused("job.final", body) in ("E_SIGNATURE", "E_RECEIPT")
    job = net.victim.analyst.jobs.get(mallory.job)
    assert job.refresh().document["evidence"] == "final", "a receipt that all signed stays what it is"


def test_a_provisional_receipt_is_not_given_for_what_does_not_run(mallory: Any, unchanged: None) -> None:
    for attempt in (1, 2, 0):
        body = {"job": mallory.job, "attempt": attempt, "block": None}
        assert mallory.refused("job.provisional", body) == "E_STATE"
    assert (
        mallory.refused("job.provisional", {"job": "job-" + "0" * 32, "attempt": 1, "block": None})
        == "E_NOT_FOUND"
    )


def test_a_part_of_anothers_job_is_refused(mallory: Any, unchanged: None) -> None:
    part = mallory.receipt["parties"][mallory.victim.identity]
    body = {"job": mallory.job, "attempt": 1, "block": 0, "part": part, "called": None}
    assert mallory.refused("job.part", body) == "E_RECEIPT"


def test_an_abort_after_the_end_changes_nothing(mallory: Any, net: Net) -> None:
    document = {
        "format": "atoll.abort/v1", "job": mallory.job, "attempt": 1, "by": mallory.me,
        "error": {"code": "E_DATA"}, "at": "2026-11-23T16:30:00Z",
    }  # fmt: skip
    mallory.say("job.abort", {"job": mallory.job, "abort": mallory.sign("abort/v1", document)})
    assert net.victim.analyst.jobs.get(mallory.job).state == "completed"
    forged = dsse.sign("abort/v1", document, SigningKey.generate())
    assert mallory.refused("job.abort", {"job": mallory.job, "abort": forged}) == "E_SIGNATURE"


def test_a_decision_of_one_who_has_no_say(mallory: Any, unchanged: None) -> None:
    refusal = build_refusal(
        job=mallory.job, plan=plan_digest(mallory.plan()), party=mallory.me, by="Mallory", at=datetime.now(UTC),
        reasons=[{"code": "E_REFUSED"}], nonce="0" * 32,
    )  # fmt: skip
    body = {"job": mallory.job, "approval": mallory.sign("approval/v1", refusal)}
    assert mallory.refused("plan.decision", body) == "E_PLAN"


# Ledger.


def _history(mallory: Any, entries: int) -> OwnLog:
    """Another history of mallory's own log, properly signed."""
    log = OwnLog(MemoryStorage(), mallory.agreement["id"], mallory.keys.signing)
    log.append([Record("note/v1", {"number": i}) for i in range(entries)], datetime.now(UTC))
    return log


def _extension(mallory: Any, log: OwnLog, old: int) -> dict[str, Any]:
    note = log.checkpoint()
    assert note is not None
    leaves = [entry.leaf for entry in log.entries(old, log.size)]
    return {
        "agreement": mallory.agreement["id"],
        "old": old,
        "proof": log.consistency_proof(old, log.size) if old else [],
        "checkpoint": note.encode(),
        "entries": [{"leaf": leaf, "body": b"", "opening": b""} for leaf in leaves],
    }


def test_a_history_that_was_rewritten_is_kept_as_proof_and_refused(
    mallory: Any, net: Net, records: Any
) -> None:
    seen = records(net.victim)
    origin = checkpoint.origin(mallory.agreement["id"], PublicKey.parse(mallory.me))
    size = seen.rows("select size from logs where origin = ?", origin)[0]["size"]
    before = seen.rows(
        "select number, hex(leaf) as leaf from log_entries where origin = ? order by number", origin
    )
    assert size == len(before) > 3
    forks = seen.count("forks")
    for other, old in ((_history(mallory, size), size), (_history(mallory, size + 2), size)):
        assert mallory.refused("ledger.extend", _extension(mallory, other, old)) == "E_LEDGER"
    assert seen.count("forks") == forks + 2
    after = seen.rows(
        "select number, hex(leaf) as leaf from log_entries where origin = ? order by number", origin
    )
    assert after == before
    assert net.victim.auditor.ledger.list() != []
    assert (
        next(log for log in net.victim.auditor.ledger.list() if log["origin"] == origin)["forks"] == forks + 2
    )


def test_a_shorter_history_is_not_taken(mallory: Any, unchanged: None) -> None:
    short = _history(mallory, 1)
    answer = mallory.say("ledger.extend", _extension(mallory, short, 0))
    assert answer.keys() == {"size"}, "told where the witness stands, nothing taken back"


def test_anothers_log_cannot_be_extended(mallory: Any, unchanged: None) -> None:
    other = OwnLog(MemoryStorage(), mallory.agreement["id"], SigningKey.generate())
    other.append([Record("note/v1", {"number": 0})], datetime.now(UTC))
    assert mallory.refused("ledger.extend", _extension(mallory, other, 0)) in ("E_SIGNATURE", "E_LEDGER")
    body = _extension(mallory, _history(mallory, 2), 0) | {"agreement": "agr-" + "0" * 16}
    assert mallory.refused("ledger.extend", body) == "E_AGREEMENT"


def test_a_node_opens_only_its_own_folder(net: Net, mallory: Any) -> None:
    """The keys that the script uses are those of the folder: a check that the attack runs with a real identity."""
    home = Home.open(net.mallory.folder)
    assert Node(home, net.mallory.passphrase).keys.identity == mallory.me


def test_one_partners_offers_fill_no_more_than_their_share(mallory: Any, net: Net) -> None:
    """The last test here: afterwards mallory can offer nothing more."""
    codes: list[str | None] = []
    while len(codes) < 510 and "E_QUOTA" not in codes:
        envelope = mallory.sign("offer/v1", _offer(mallory.me))
        codes.append(mallory.answered("offer.publish", {"envelope": envelope}))
    assert codes[-1] == "E_QUOTA"
    assert set(codes[:-1]) == {None}
    assert len(net.victim.analyst.catalog.search("hostile")) <= 500
