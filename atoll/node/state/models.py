"""The tables of the state store. Every column says what it holds and in which unit.

Documents that were signed are stored as the exact envelope text; columns beside them are for finding them.
Times are RFC 3339 UTC strings with milliseconds, which sort as text.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Index, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped

from atoll.node.state.base import DIGEST, KEY, SERIAL, TIME
from atoll.node.state.base import Base as Base
from atoll.node.state.base import column as _c


class Person(Base):
    """A named person or application that may call the API."""

    __tablename__ = "persons"
    name: Mapped[str] = _c(String(128), "name, unique in this node", primary_key=True)
    created: Mapped[str] = _c(TIME, "when the person was added")
    disabled: Mapped[str | None] = _c(TIME, "when the person was disabled; null while active", nullable=True)


class Token(Base):
    """A bearer token: bound to one person and one role, stored as a digest only."""

    __tablename__ = "tokens"
    id: Mapped[str] = _c(String(32), "public identifier, the first part of the token", primary_key=True)
    digest: Mapped[str] = _c(DIGEST, "digest of the whole token", unique=True)
    person: Mapped[str] = _c(String(128), "whose token it is", index=True)
    role: Mapped[str] = _c(String(32), "administrator, steward, analyst, auditor, operator or application")
    label: Mapped[str] = _c(String(128), "what the token is for")
    created: Mapped[str] = _c(TIME, "when it was made")
    expires: Mapped[str | None] = _c(TIME, "when it ends; null for never", nullable=True)
    revoked: Mapped[str | None] = _c(TIME, "when it was revoked; null while valid", nullable=True)


class AccessLog(Base):
    """Who called what on the API, and how it ended. No request or response bodies."""

    __tablename__ = "access_log"
    id: Mapped[int] = _c(SERIAL, "order of calls", primary_key=True, autoincrement=True)
    at: Mapped[str] = _c(TIME, "when the call ended")
    person: Mapped[str | None] = _c(String(128), "who called; null without a valid token", nullable=True)
    role: Mapped[str | None] = _c(String(32), "role of the token", nullable=True)
    action: Mapped[str] = _c(String(200), "method and path template")
    target: Mapped[str] = _c(String(200), "the named object, if the path has one")
    status: Mapped[int] = _c(Integer, "HTTP status")
    code: Mapped[str | None] = _c(String(40), "error code, if it failed", nullable=True)


class Invite(Base):
    """An invite that this node gave out."""

    __tablename__ = "invites"
    id: Mapped[str] = _c(String(64), "digest of the invite's secret", primary_key=True)
    secret: Mapped[bytes] = _c(LargeBinary, "the one-time secret, encrypted by the node's vault")
    created: Mapped[str] = _c(TIME, "when it was made")
    expires: Mapped[str] = _c(TIME, "when it ends")
    used: Mapped[str | None] = _c(TIME, "when it was used; null while open", nullable=True)
    failures: Mapped[int] = _c(Integer, "wrong secrets tried against it", default=0)


class Peer(Base):
    """Another institution's node."""

    __tablename__ = "peers"
    identity: Mapped[str] = _c(KEY, "identity key, algorithm:hex", primary_key=True)
    name: Mapped[str] = _c(String(64), "display name, unique in this node", unique=True)
    address: Mapped[str | None] = _c(
        String(300), "host:port to dial; null if it only dials out", nullable=True
    )
    tls: Mapped[str] = _c(DIGEST, "pinned fingerprint of its TLS certificate")
    not_after: Mapped[str] = _c(TIME, "end of its key's validity")
    statement: Mapped[str] = _c(Text, "its signed key statement")
    state: Mapped[str] = _c(String(16), "comparing, active or removed")
    pending: Mapped[Any] = _c(JSON, "the comparison of words, until both sides confirmed", nullable=True)
    confirmed_by: Mapped[str | None] = _c(String(128), "who confirmed the words here", nullable=True)
    created: Mapped[str] = _c(TIME, "when the pairing began")
    removed: Mapped[str | None] = _c(TIME, "when it was un-paired", nullable=True)
    reason: Mapped[str | None] = _c(String(300), "why it was un-paired", nullable=True)
    roster: Mapped[str | None] = _c(
        String(64), "roster whose acceptance made the pairing; null where words did", nullable=True
    )
    removed_by: Mapped[str | None] = _c(
        String(128),
        "the person of this node who un-paired it; null where the partner or a roster did",
        nullable=True,
    )


class Roster(Base):
    """One version of a consortium's roster, as far as its signing has come, and what became of it here."""

    __tablename__ = "rosters"
    digest: Mapped[str] = _c(DIGEST, "digest of the document", primary_key=True)
    id: Mapped[str] = _c(String(64), "roster identifier", index=True)
    version: Mapped[int] = _c(Integer, "version of the roster")
    name: Mapped[str] = _c(String(200), "name of the consortium")
    supersedes: Mapped[str | None] = _c(
        DIGEST, "digest of the version before; null on the first", nullable=True
    )
    envelope: Mapped[Any] = _c(JSON, "DSSE envelope with the signatures so far")
    state: Mapped[str] = _c(
        String(16), "offered, comparing, active, left, superseded, passed over or withdrawn"
    )
    proposer: Mapped[str] = _c(KEY, "the node that brought it here; this node's own key for a file")
    created: Mapped[str] = _c(TIME, "when this node first saw it")
    changed: Mapped[str] = _c(TIME, "when the state last changed")
    accepted: Mapped[str | None] = _c(TIME, "when it took effect here; null before", nullable=True)
    accepted_by: Mapped[str | None] = _c(
        String(128), "the person who accepted it, or confirmed the words of a first one", nullable=True
    )


class Asset(Base):
    """A table that the owner registered."""

    __tablename__ = "assets"
    name: Mapped[str] = _c(String(128), "name, unique in this node", primary_key=True)
    source: Mapped[Any] = _c(JSON, "how to read it: kind, path or URL, query, options")
    mode: Mapped[str] = _c(String(16), "snapshot or live")
    schema: Mapped[Any] = _c(JSON, "columns, as in an agreement")
    version: Mapped[str | None] = _c(
        DIGEST, "digest of the newest version; null for live sources", nullable=True
    )
    created: Mapped[str] = _c(TIME, "when it was added")
    by: Mapped[str] = _c(String(128), "who added it")


class AssetVersion(Base):
    """A materialised, committed version of a table."""

    __tablename__ = "asset_versions"
    digest: Mapped[str] = _c(DIGEST, "version digest", primary_key=True)
    asset: Mapped[str] = _c(String(128), "name of the table", index=True)
    number: Mapped[int] = _c(Integer, "1, 2, 3 ... in order of registration")
    path: Mapped[str] = _c(Text, "folder of the snapshot, relative to the node's folder")
    rows: Mapped[int] = _c(BigInteger, "number of rows")
    profile: Mapped[Any] = _c(JSON, "profile for the owner: nulls, distinct, range")
    created: Mapped[str] = _c(TIME, "when it was materialised")
    job: Mapped[str | None] = _c(
        String(64),
        "the one job that a live table was read for; null for a snapshot",
        nullable=True,
        index=True,
    )
    erased: Mapped[str | None] = _c(
        TIME, "when its rows were erased; null while they are kept", nullable=True
    )


class QualityRules(Base):
    """The quality rules of a table."""

    __tablename__ = "quality_rules"
    asset: Mapped[str] = _c(String(128), "name of the table", primary_key=True)
    rules: Mapped[Any] = _c(JSON, "the rules, as their owner declared them")
    next: Mapped[str | None] = _c(
        TIME, "when they are evaluated next; null for at versions only", nullable=True, index=True
    )
    by: Mapped[str] = _c(String(128), "who set them")
    created: Mapped[str] = _c(TIME, "when they were set")


class QualityResult(Base):
    """What came of a table's rules at one time, for the owner: counts and texts, no value of the table."""

    __tablename__ = "quality_results"
    id: Mapped[int] = _c(SERIAL, "order of results", primary_key=True, autoincrement=True)
    asset: Mapped[str] = _c(String(128), "name of the table", index=True)
    at: Mapped[str] = _c(TIME, "when the rules were evaluated")
    trigger: Mapped[str] = _c(String(16), "add, refresh, rules or schedule")
    used: Mapped[bool] = _c(
        Boolean, "false for a version that was refused, so that the one before stays in use"
    )
    failing: Mapped[int] = _c(Integer, "number of rules that were broken")
    result: Mapped[Any] = _c(JSON, "the measures, and the outcome of each rule")


class QualityAlert(Base):
    """A rule that is or was broken, from the first time until it holds again."""

    __tablename__ = "quality_alerts"
    id: Mapped[int] = _c(SERIAL, "order of alerts", primary_key=True, autoincrement=True)
    asset: Mapped[str] = _c(String(128), "name of the table", index=True)
    rule: Mapped[str] = _c(Text, "kind and columns of the rule, or evaluation for one that failed")
    stop: Mapped[bool] = _c(Boolean, "whether the rule keeps a version from being used")
    en: Mapped[str] = _c(Text, "the newest measure in English")
    zh: Mapped[str] = _c(Text, "the newest measure in Chinese")
    since: Mapped[str] = _c(TIME, "when it was first seen broken")
    seen: Mapped[str] = _c(TIME, "when it was last seen broken")
    ended: Mapped[str | None] = _c(TIME, "when it was seen to hold again; null while broken", nullable=True)
    acknowledged: Mapped[str | None] = _c(TIME, "when a person took note; null until then", nullable=True)
    by: Mapped[str | None] = _c(String(128), "who took note", nullable=True)


class QualityShown(Base):
    """Figures of a table's quality that its owner showed a partner, at both of them."""

    __tablename__ = "quality_shown"
    __table_args__ = (Index("quality_shown_to", "agreement", "asset", "partner", "at"),)
    id: Mapped[int] = _c(SERIAL, "order of answers", primary_key=True, autoincrement=True)
    agreement: Mapped[str] = _c(String(64), "agreement identifier")
    asset: Mapped[str] = _c(String(200), "table that the figures are about")
    provider: Mapped[str] = _c(KEY, "whose table it is")
    partner: Mapped[str] = _c(KEY, "who was shown the figures")
    envelope: Mapped[Any] = _c(JSON, "DSSE envelope of the figures, signed by the provider")
    opening: Mapped[bytes] = _c(LargeBinary, "opening of the commitment that the ledger holds")
    at: Mapped[str] = _c(TIME, "when, by this node's clock")


class Finding(Base):
    """What a partner found wrong with a table that it uses, at both sides."""

    __tablename__ = "findings"
    id: Mapped[int] = _c(SERIAL, "order of findings", primary_key=True, autoincrement=True)
    digest: Mapped[str] = _c(DIGEST, "digest of the finding", index=True)
    agreement: Mapped[str] = _c(String(64), "agreement identifier")
    asset: Mapped[str] = _c(String(200), "table that it is about")
    provider: Mapped[str] = _c(KEY, "whose table it is")
    by: Mapped[str] = _c(KEY, "who found it", index=True)
    envelope: Mapped[Any] = _c(JSON, "DSSE envelope, signed by the finder")
    opening: Mapped[bytes] = _c(LargeBinary, "opening of the commitment that the ledger holds")
    at: Mapped[str] = _c(TIME, "when, by this node's clock")


class Agreement(Base):
    """One version of an agreement and how far its signing has come."""

    __tablename__ = "agreements"
    id: Mapped[str] = _c(String(64), "agreement identifier", primary_key=True)
    version: Mapped[int] = _c(Integer, "version of the agreement", primary_key=True)
    digest: Mapped[str] = _c(DIGEST, "digest of the document", unique=True)
    title: Mapped[str] = _c(String(200), "title")
    envelope: Mapped[Any] = _c(JSON, "DSSE envelope with the signatures so far")
    state: Mapped[str] = _c(String(16), "offered, active, superseded, revoked or declined")
    proposer: Mapped[str] = _c(KEY, "who proposed this version")
    created: Mapped[str] = _c(TIME, "when this node first saw it")
    changed: Mapped[str] = _c(TIME, "when the state last changed")
    revocation: Mapped[Any | None] = _c(JSON, "DSSE envelope of the revocation", nullable=True)
    waits: Mapped[Any | None] = _c(
        JSON, "why this node did not sign it by itself, each reason in both languages", nullable=True
    )
    refused: Mapped[Any | None] = _c(
        JSON, "the signatory whose node refused to take it, and the code of its error", nullable=True
    )


class Job(Base):
    """One plan and how far this node came with it."""

    __tablename__ = "jobs"
    id: Mapped[str] = _c(String(64), "job identifier, the plan's id", primary_key=True)
    plan: Mapped[Any] = _c(JSON, "DSSE envelope of the plan, signed by the asker")
    plan_digest: Mapped[str] = _c(DIGEST, "digest of the plan")
    function: Mapped[str] = _c(String(32), "join, totals, echo ...")
    shape: Mapped[str] = _c(String(16), "one-shot, long, service or scheduled")
    asker: Mapped[str] = _c(KEY, "who asks")
    person: Mapped[str] = _c(String(128), "who asked, at the asker's node")
    agreement: Mapped[str] = _c(String(64), "agreement identifier", index=True)
    state: Mapped[str] = _c(
        String(16),
        "deciding, waiting, approved, running, released, completed, refused, failed or cancelled",
        index=True,
    )
    attempt: Mapped[int] = _c(
        Integer, "attempt number, durable before the first message of that attempt", default=0
    )
    secret: Mapped[bytes | None] = _c(
        LargeBinary, "this node's seed secret and worker key, encrypted by the node's vault", nullable=True
    )
    start: Mapped[Any] = _c(JSON, "the asker's start message of the newest attempt", nullable=True)
    error: Mapped[Any | None] = _c(JSON, "owner's rendering of the error", nullable=True)
    output: Mapped[Any | None] = _c(
        JSON, "result file, rows, commitment and its opening, for a receiver", nullable=True
    )
    meters: Mapped[Any | None] = _c(JSON, "this node's meters", nullable=True)
    terms: Mapped[Any] = _c(
        JSON,
        "for each own input that another party asked for, the place of the grant it is used under",
        default=dict,
    )
    evidence: Mapped[str] = _c(String(32), "none, provisional, final or disputed", default="none")
    replay_days: Mapped[int | None] = _c(
        Integer,
        "days after its end for which what a replay needs is kept; null where none is agreed on, or it was erased",
        nullable=True,
    )
    schedule: Mapped[str | None] = _c(String(64), "schedule that started it", nullable=True)
    request: Mapped[Any | None] = _c(JSON, "the user's request, at the asker", nullable=True)
    created: Mapped[str] = _c(TIME, "when this node first saw it", index=True)
    started: Mapped[str | None] = _c(TIME, "when the worker started", nullable=True)
    ended: Mapped[str | None] = _c(TIME, "when it ended", nullable=True)


class Approval(Base):
    """A party's signed decision on a plan."""

    __tablename__ = "approvals"
    job: Mapped[str] = _c(String(64), "job identifier", primary_key=True)
    party: Mapped[str] = _c(KEY, "who decided", primary_key=True)
    decision: Mapped[str] = _c(String(16), "approve or refuse")
    envelope: Mapped[Any] = _c(JSON, "DSSE envelope of the approval")
    at: Mapped[str] = _c(TIME, "when it was decided, by the party's clock")


class JobEvent(Base):
    """What happened to a job, in order. Never a data value."""

    __tablename__ = "job_events"
    id: Mapped[int] = _c(SERIAL, "order of events", primary_key=True, autoincrement=True)
    job: Mapped[str] = _c(String(64), "job identifier", index=True)
    at: Mapped[str] = _c(TIME, "when")
    kind: Mapped[str] = _c(String(40), "what happened")
    detail: Mapped[Any] = _c(JSON, "facts for the owner")


class Charge(Base):
    """A debit of quota, join bound or price; counters are sums over this table."""

    __tablename__ = "charges"
    __table_args__ = (
        UniqueConstraint("job", "block", "kind", "provider", "asset", "partner", name="charge_once"),
        Index("charges_by_use", "agreement", "asset", "partner", "kind", "at"),
    )
    id: Mapped[int] = _c(SERIAL, "order of charges", primary_key=True, autoincrement=True)
    job: Mapped[str] = _c(String(64), "job that caused it")
    block: Mapped[int] = _c(Integer, "block of a standing service's calls; 0 otherwise", default=0)
    kind: Mapped[str] = _c(String(16), "run, keys, rows or calls")
    agreement: Mapped[str] = _c(String(64), "agreement identifier")
    asset: Mapped[str] = _c(String(200), "asset whose grant is debited")
    provider: Mapped[str] = _c(KEY, "provider of the asset")
    partner: Mapped[str] = _c(KEY, "who is charged")
    amount: Mapped[int] = _c(BigInteger, "units of the kind")
    keyset: Mapped[str | None] = _c(
        DIGEST, "the partner's set of keys that is charged, for keys", nullable=True
    )
    at: Mapped[str] = _c(TIME, "when, by this node's clock")


class InputUse(Base):
    """A version of an own table that took part in a released job, for the change between versions."""

    __tablename__ = "input_uses"
    job: Mapped[str] = _c(String(64), "job identifier", primary_key=True)
    input: Mapped[str] = _c(String(64), "input of the plan", primary_key=True)
    agreement: Mapped[str] = _c(String(64), "agreement identifier", index=True)
    asset: Mapped[str] = _c(String(200), "own table")
    partner: Mapped[str] = _c(KEY, "other party of the job", primary_key=True)
    version: Mapped[str] = _c(DIGEST, "version that was used")
    keys: Mapped[str | None] = _c(String(64), "folder of the prepared keys, for joins", nullable=True)
    at: Mapped[str] = _c(TIME, "when it was released")


class Receipt(Base):
    """Provisional and final receipts."""

    __tablename__ = "receipts"
    job: Mapped[str] = _c(String(64), "job identifier", primary_key=True)
    kind: Mapped[str] = _c(String(32), "provisional (held), provisional-given, or final", primary_key=True)
    party: Mapped[str] = _c(
        KEY, "the other party of a provisional receipt; empty for the final one", primary_key=True
    )
    block: Mapped[int] = _c(
        Integer, "block of a standing service's calls; 0 for the whole job", primary_key=True, default=0
    )
    envelope: Mapped[Any] = _c(JSON, "DSSE envelope")
    at: Mapped[str] = _c(TIME, "when it was stored")


class ReceiptPart(Base):
    """A party's part of a receipt: this node's own, and at the asker everyone's."""

    __tablename__ = "receipt_parts"
    job: Mapped[str] = _c(String(64), "job identifier", primary_key=True)
    block: Mapped[int] = _c(
        Integer,
        "block of a standing service's calls; 0 for the whole job",
        primary_key=True,
        autoincrement=False,
    )
    party: Mapped[str] = _c(KEY, "whose part it is", primary_key=True)
    attempt: Mapped[int] = _c(Integer, "attempt of the job that it belongs to")
    part: Mapped[Any] = _c(JSON, "the part, as it stands in the receipt")
    called: Mapped[Any] = _c(JSON, "for a block: calls and root of their records", nullable=True)


class Block(Base):
    """A block of a standing service's calls, as this node opened it or gave its word for it."""

    __tablename__ = "blocks"
    job: Mapped[str] = _c(String(64), "job identifier", primary_key=True)
    number: Mapped[int] = _c(
        Integer, "number of the block in the job, from 1", primary_key=True, autoincrement=False
    )
    attempt: Mapped[int] = _c(Integer, "attempt of the job that it belongs to")
    book: Mapped[int] = _c(
        Integer, "number of the block in its attempt, from 1: names the file of its records"
    )
    first: Mapped[int] = _c(BigInteger, "number of its first call in the job, from 1")
    reserved: Mapped[int] = _c(BigInteger, "calls that were released")
    used: Mapped[int | None] = _c(
        BigInteger, "calls that this node knows were answered; null while the block is open", nullable=True
    )
    evidence: Mapped[str] = _c(String(16), "provisional, final or disputed")
    opened: Mapped[str] = _c(TIME, "when it was opened here")
    closed: Mapped[str | None] = _c(TIME, "when both sides knew its end; null while open", nullable=True)


class BillItem(Base):
    """A use that is billed, written in the transaction that stores the receipt which proves it."""

    __tablename__ = "bill_items"
    __table_args__ = (Index("bill_items_by_month", "agreement", "provider", "payer", "day"),)
    job: Mapped[str] = _c(String(64), "job identifier", primary_key=True)
    block: Mapped[int] = _c(
        Integer,
        "block of a standing service's calls; 0 for the whole job",
        primary_key=True,
        autoincrement=False,
    )
    provider: Mapped[str] = _c(KEY, "whose asset was used", primary_key=True)
    asset: Mapped[str] = _c(String(200), "the asset", primary_key=True)
    unit: Mapped[str] = _c(String(8), "run, call, row or hit", primary_key=True)
    agreement: Mapped[str] = _c(String(64), "agreement identifier", primary_key=True)
    payer: Mapped[str] = _c(KEY, "who asked")
    day: Mapped[str] = _c(String(10), "day of the use, UTC, by the owner's claim in the receipt")
    evidence: Mapped[str] = _c(DIGEST, "digest of the receipt")
    quantity: Mapped[int] = _c(BigInteger, "how many of the unit")
    price: Mapped[int] = _c(BigInteger, "minor units of the currency for each")
    currency: Mapped[str] = _c(String(3), "ISO 4217 code")
    payees: Mapped[Any] = _c(JSON, "key and parts of everybody who shares the price")


class Bill(Base):
    """A month's statement that at least one side has signed, or found to differ."""

    __tablename__ = "bills"
    agreement: Mapped[str] = _c(String(64), "agreement identifier", primary_key=True)
    month: Mapped[str] = _c(String(7), "month, as 2026-11", primary_key=True)
    partner: Mapped[str] = _c(KEY, "the other side", primary_key=True)
    digest: Mapped[str] = _c(DIGEST, "digest of the statement", primary_key=True)
    envelope: Mapped[Any] = _c(JSON, "the statement with the signatures that there are")
    state: Mapped[str] = _c(String(16), "signed (by one side) or agreed (by both)")
    at: Mapped[str] = _c(TIME, "last change")


class Consent(Base):
    """A data subject's authorisation that this node holds, issued or was shown."""

    __tablename__ = "consents"
    digest: Mapped[str] = _c(DIGEST, "digest of the authorisation", primary_key=True)
    issuer: Mapped[str] = _c(KEY, "who signed it", index=True)
    grantee: Mapped[str] = _c(KEY, "who may ask")
    envelope: Mapped[Any] = _c(
        JSON, "DSSE envelope of the authorisation; null where only its end is known", nullable=True
    )
    subject: Mapped[bytes | None] = _c(
        LargeBinary,
        "subject and opening of its commitment, sealed by the node's vault, at the issuer",
        nullable=True,
    )
    not_after: Mapped[str] = _c(TIME, "end of its validity")
    created: Mapped[str] = _c(TIME, "when this node first saw it")
    withdrawn: Mapped[str | None] = _c(
        TIME, "when its withdrawal became known; null while it holds", nullable=True
    )
    withdrawal: Mapped[Any | None] = _c(JSON, "DSSE envelope of the withdrawal", nullable=True)


class Schedule(Base):
    """A request that is asked again at an interval."""

    __tablename__ = "schedules"
    id: Mapped[str] = _c(String(64), "schedule identifier", primary_key=True)
    request: Mapped[Any] = _c(JSON, "the job request")
    person: Mapped[str] = _c(String(128), "who set it up")
    every_seconds: Mapped[int] = _c(Integer, "interval in seconds")
    next: Mapped[str] = _c(TIME, "when it runs next")
    last_job: Mapped[str | None] = _c(String(64), "the newest job it started", nullable=True)
    ended: Mapped[str | None] = _c(TIME, "when it was ended", nullable=True)
    created: Mapped[str] = _c(TIME, "when it was set up")


class Outbox(Base):
    """Messages to partners that must arrive: sent again until answered."""

    __tablename__ = "outbox"
    id: Mapped[int] = _c(SERIAL, "order of messages", primary_key=True, autoincrement=True)
    peer: Mapped[str] = _c(KEY, "to whom", index=True)
    verb: Mapped[str] = _c(String(40), "what is asked")
    body: Mapped[bytes] = _c(LargeBinary, "deterministic CBOR")
    created: Mapped[str] = _c(TIME, "when it was queued")
    attempts: Mapped[int] = _c(Integer, "how often it was tried", default=0)
    next: Mapped[str] = _c(TIME, "not before")


class LogName(Base):
    """The logs that this node holds: its own, and copies of its partners'."""

    __tablename__ = "logs"
    origin: Mapped[str] = _c(String(200), "origin line of the log", primary_key=True)
    agreement: Mapped[str] = _c(String(64), "agreement identifier", index=True)
    owner: Mapped[str] = _c(KEY, "whose log it is")
    size: Mapped[int] = _c(BigInteger, "number of entries", default=0)
    head: Mapped[bytes | None] = _c(LargeBinary, "newest signed checkpoint, a signed note", nullable=True)


class LogCheckpoint(Base):
    """Signed checkpoints that cosignatures stand on."""

    __tablename__ = "log_checkpoints"
    origin: Mapped[str] = _c(String(200), "origin line of the log", primary_key=True)
    size: Mapped[int] = _c(
        BigInteger, "number of entries that it covers", primary_key=True, autoincrement=False
    )
    note: Mapped[bytes] = _c(LargeBinary, "signed note")


class LogHeard(Base):
    """A checkpoint of a third party's log that a partner told of and that the copy here has not reached yet."""

    __tablename__ = "log_heard"
    origin: Mapped[str] = _c(String(200), "origin line of the log", primary_key=True)
    source: Mapped[str] = _c(KEY, "who told of it", primary_key=True)
    agreement: Mapped[str] = _c(String(64), "agreement identifier")
    size: Mapped[int] = _c(BigInteger, "number of entries that it covers")
    note: Mapped[bytes] = _c(LargeBinary, "signed note")
    at: Mapped[str] = _c(TIME, "when it was heard")


class LogSeen(Base):
    """The newest checkpoint of each log that this node cosigned."""

    __tablename__ = "log_seen"
    origin: Mapped[str] = _c(String(200), "origin line of the log", primary_key=True)
    size: Mapped[int] = _c(BigInteger, "number of entries that it covers")
    note: Mapped[bytes] = _c(LargeBinary, "signed note")


class LogEntry(Base):
    """One leaf of a log. Body and opening may be erased; the leaf stays."""

    __tablename__ = "log_entries"
    origin: Mapped[str] = _c(String(200), "origin line of the log", primary_key=True)
    number: Mapped[int] = _c(BigInteger, "position in the log, from 0", primary_key=True, autoincrement=False)
    leaf: Mapped[bytes] = _c(LargeBinary, "leaf bytes")
    body: Mapped[bytes | None] = _c(LargeBinary, "canonical body, where this node may know it", nullable=True)
    opening: Mapped[bytes | None] = _c(LargeBinary, "16-byte opening of the commitment", nullable=True)
    job: Mapped[str | None] = _c(String(64), "job it belongs to", nullable=True, index=True)


class LogHash(Base):
    """Hashes of complete subtrees, for proofs in logarithmic time."""

    __tablename__ = "log_hashes"
    origin: Mapped[str] = _c(String(200), "origin line of the log", primary_key=True)
    level: Mapped[int] = _c(Integer, "height of the subtree", primary_key=True)
    number: Mapped[int] = _c(
        BigInteger, "position of the subtree in its level", primary_key=True, autoincrement=False
    )
    hash: Mapped[bytes] = _c(LargeBinary, "hash of the subtree")


class Cosignature(Base):
    """The newest cosignature of each witness on each log."""

    __tablename__ = "cosignatures"
    origin: Mapped[str] = _c(String(200), "origin line of the log", primary_key=True)
    witness: Mapped[str] = _c(KEY, "who cosigned", primary_key=True)
    size: Mapped[int] = _c(BigInteger, "size of the cosigned checkpoint")
    line: Mapped[str] = _c(Text, "signature line of the note")
    name: Mapped[str | None] = _c(
        String(200), "name of a witness that is no signatory; else null", nullable=True
    )
    at: Mapped[str] = _c(TIME, "when it arrived")


class Fork(Base):
    """Proof that a partner showed two histories of one log."""

    __tablename__ = "forks"
    id: Mapped[int] = _c(SERIAL, "order of finds", primary_key=True, autoincrement=True)
    origin: Mapped[str] = _c(String(200), "origin line of the log", index=True)
    proof: Mapped[Any] = _c(JSON, "signed checkpoints that cannot both be true")
    at: Mapped[str] = _c(TIME, "when it was found")


__all__ = [
    name for name, value in list(globals().items()) if isinstance(value, type) and issubclass(value, Base)
]
