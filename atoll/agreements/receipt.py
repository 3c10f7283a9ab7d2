"""The receipt of a job, or of a block of a service's calls, that all parties sign (kind `receipt/v1`).

It says what was computed, under which agreements, on what, what each party's part took, and who got what. It
is checked against plan, approvals and derived disclosure before a node signs it; nothing in it is taken
from another party's word alone. It says no more about a party's data than the disclosure statement does: a
number of rows stands in it only where the plan discloses that number to all who read the receipt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from atoll.agreements.approval import Approval, WireReason
from atoll.agreements.model import Agreement
from atoll.agreements.provisional import Attempt, BlockNumber
from atoll.agreements.terms import ConsentMode
from atoll.crypto import dsse
from atoll.crypto.document import (
    AgreementId,
    Digest,
    Document,
    Identifier,
    JobId,
    Key,
    Name,
    Time,
    document_digest,
    parse_time,
)
from atoll.disclosure import Security, Statement, to_json
from atoll.errors import AtollError

RECEIPT_KIND = "receipt/v1"

Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
ChannelName = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class Block(Document):
    """A block of a standing service's calls: its number, its first call (from 1), and how many were answered.

    `root` is the RFC 6962 root over the salted records of its calls, by which a single call can be shown.
    """

    number: BlockNumber
    first: Annotated[int, Field(ge=1, le=2**53 - 1)]
    calls: Count
    root: Digest


class Times(Document):
    """When a party's part started and finished, by its own clock."""

    started: Time
    finished: Time

    @model_validator(mode="after")
    def _validate(self) -> Times:
        if parse_time(self.started) > parse_time(self.finished):
            raise ValueError("finished: stands before started")
        return self


class Meters(Document):
    """What a party's part took.

    Args:
        rows: rows that the party presented to its partners, such as the distinct keys of a join; null where
            the plan discloses no such number.
        calls: calls made or answered.
        hits: hits that the asker declares; null where the plan asks for no declaration.
        bytes_sent, bytes_received: payload bytes.
        cpu_seconds: processor time, rounded up to 1, 2 or 5 times a power of ten, so that it tells little.
    """

    rows: Count | None
    calls: Count
    hits: Count | None
    bytes_sent: Count
    bytes_received: Count
    cpu_seconds: Count


class Transcript(Document):
    """Hash chains over what a party sent and received on one channel; messages and bytes are [sent, received]."""

    sent: Digest
    received: Digest
    messages: Annotated[tuple[Count, ...], Field(min_length=2, max_length=2)]
    bytes: Annotated[tuple[Count, ...], Field(min_length=2, max_length=2)]


class Execution(Document):
    """How a party's worker ran: digest of the program, threads, and the inputs in the order they were fed in.

    Rows are fed in the order of the committed version.
    """

    build: Digest
    threads: Annotated[int, Field(ge=1, le=1024)]
    inputs: Annotated[tuple[Identifier, ...], Field(max_length=64)]


class OutputCommitment(Document):
    """Commitment to a receiver's result; the opening goes to the receiver alone."""

    commitment: Digest


class PartyRecord(Document):
    """One party's part of a receipt. `transcripts` maps peer key -> channel name -> transcript.

    `grants` names, for each own input that another party asked for, the grant it was used under, by its
    place in the agreement. `execution` is null for a party that computed nothing.
    """

    times: Times
    meters: Meters
    transcripts: Annotated[
        dict[Key, Annotated[dict[ChannelName, Transcript], Field(max_length=256)]], Field(max_length=64)
    ]
    output: OutputCommitment | None
    execution: Execution | None
    grants: Annotated[dict[Identifier, Annotated[int, Field(ge=0, le=1000)]], Field(max_length=64)]


class InputRecord(Document):
    """Whose asset was fed in, under which agreement, and which version of it.

    `live` says that it was read from a database for this job.
    """

    party: Key
    agreement: AgreementId
    asset: Name
    version: Digest
    mode: Literal["snapshot", "live"]


class Receipt(Document):
    """What was computed, under which agreements, on what, and what each party's part was.

    `block` is null on the receipt of a whole job; a service has one receipt for each block, and one for its end.
    """

    format: Literal["atoll.receipt/v1"]
    job: JobId
    plan: Digest
    agreements: Annotated[dict[AgreementId, Digest], Field(min_length=1, max_length=64)]
    attempt: Attempt
    asker: Key
    function: Name
    purpose: Name
    shape: Literal["one-shot", "long", "service", "scheduled"]
    protocols: Annotated[tuple[Name, ...], Field(max_length=64)]
    security: Security
    consent: ConsentMode
    disclosures: Annotated[tuple[Statement, ...], Field(max_length=4096)]
    inputs: Annotated[dict[Identifier, InputRecord], Field(max_length=64)]
    parties: Annotated[dict[Key, PartyRecord], Field(min_length=1, max_length=64)]
    outcome: Literal["completed", "failed", "cancelled"]
    error: WireReason | None
    block: Block | None

    @model_validator(mode="after")
    def _validate(self) -> Receipt:
        if (self.outcome == "completed") != (self.error is None):
            raise ValueError("error: stands on every outcome but completed")
        if self.block is not None and self.shape != "service":
            raise ValueError("block: stands on receipts of services only")
        return self

    def document(self) -> dict[str, Any]:
        """The JSON document of this receipt."""
        error = self.error.document() if self.error else None
        return {**super().document(), "disclosures": to_json(self.disclosures), "error": error}


@dataclass(frozen=True)
class Derived:
    """What every node derives from the plan itself, and a receipt must state alike."""

    protocols: Sequence[str]
    security: Security
    disclosures: Sequence[Statement]
    consent: ConsentMode
    declares_hits: bool


def parse_receipt(document: Any) -> Receipt:
    """The checked form of a receipt; `E_FORMAT` names the wrong field."""
    return Receipt.parse(document, what="receipt")


def _stated(plan: Mapping[str, Any], approvals: Mapping[str, Approval], derived: Derived) -> dict[str, Any]:
    """Every field of a receipt that follows from plan and approvals, as the document has it."""
    fed = {name: entry for approval in approvals.values() for name, entry in approval.inputs.items()}
    return {
        "format": "atoll.receipt/v1",
        "job": plan["id"],
        "plan": document_digest("plan/v1", plan),
        "agreements": {i["agreement"]: i["agreement_digest"] for i in plan["inputs"]},
        "asker": plan["asker"],
        "function": plan["function"],
        "purpose": plan["purpose"],
        "shape": plan["shape"],
        "protocols": list(derived.protocols),
        "security": derived.security,
        "consent": derived.consent,
        "disclosures": to_json(derived.disclosures),
        "inputs": {
            entry["id"]: {
                "party": entry["party"],
                "agreement": entry["agreement"],
                "asset": entry["asset"],
                "version": fed[entry["id"]].version,
                "mode": fed[entry["id"]].mode,
            }
            for entry in plan["inputs"]
            if entry["id"] in fed
        },
    }


_STATED = (
    "format", "job", "plan", "agreements", "asker", "function", "purpose", "shape", "protocols", "security", "consent",
    "disclosures", "inputs",
)  # fmt: skip


def build_receipt(
    plan: Mapping[str, Any],
    approvals: Mapping[str, Approval],
    derived: Derived,
    *,
    attempt: int,
    parties: Mapping[str, Mapping[str, Any]],
    outcome: Literal["completed", "failed", "cancelled"] = "completed",
    error: Mapping[str, str] | None = None,
    block: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A receipt document, to be signed by all parties.

    Args:
        plan: the plan document.
        approvals: each party's approval.
        derived: from the plan's derivation.
        attempt: attempt number, from 1.
        parties: each party's own record; see `PartyRecord`.
        outcome, error: how it ended; the error is a wire rendering.
        block: the block of a standing service's calls that this receipt covers.
    """
    return parse_receipt(
        {
            **_stated(plan, approvals, derived),
            "attempt": attempt,
            "parties": {key: dict(record) for key, record in parties.items()},
            "outcome": outcome,
            "error": dict(error) if error else None,
            "block": dict(block) if block else None,
        }
    ).document()


def open_receipt(envelope: dsse.Envelope, parties: Sequence[str]) -> Receipt:
    """The checked receipt in an envelope that every one of `parties` signed; `E_SIGNATURE` names who did not."""
    return parse_receipt(dsse.verify(RECEIPT_KIND, envelope, parties))


def presented_rows(
    plan: Mapping[str, Any], approvals: Mapping[str, Approval], derived: Derived, party: str
) -> int | None:
    """Rows that a party presents, from its approval; None where the plan discloses no such number of it."""
    if not any(s.what == "size" and s.owner == party for s in derived.disclosures) or party not in approvals:
        return None
    return sum(entry.keys or 0 for entry in approvals[party].inputs.values())


def _differ(field: str, party: str | None = None) -> AtollError:
    return AtollError("E_RECEIPT", f"The receipt differs from plan and approvals in {field}.", party=party)


def _check_transcripts(receipt: Receipt) -> None:
    """Both ends of each channel state the same hashes, message counts and byte counts."""
    for me, record in receipt.parties.items():
        for peer, channels in record.transcripts.items():
            other = receipt.parties.get(peer)
            theirs = other.transcripts.get(me, {}) if other else {}
            for name in sorted(channels.keys() | theirs.keys()):
                mine, its = channels.get(name), theirs.get(name)
                if (
                    mine is None
                    or its is None
                    or (mine.sent, mine.received) != (its.received, its.sent)
                    or mine.messages != its.messages[::-1]
                    or mine.bytes != its.bytes[::-1]
                ):
                    raise AtollError(
                        "E_TRANSCRIPT", f"The two ends of channel {name} differ.", party=peer, step=name
                    )


def _check_grants(
    receipt: Receipt, plan: Mapping[str, Any], agreements: Mapping[str, Agreement], key: str
) -> None:
    """A party names grants for exactly those own inputs that somebody else asked for, each to the asker."""
    record = receipt.parties[key]
    asked = {i["id"]: i for i in plan["inputs"] if i["party"] == key and key != receipt.asker}
    if set(record.grants) - set(asked):
        raise _differ("grants", key)
    for name, index in record.grants.items():
        asset = agreements[asked[name]["agreement"]].asset_at(key, asked[name]["asset"])
        if asset is None or index >= len(asset.grants):
            raise _differ("grants", key)
        grant = asset.grants[index]
        if receipt.asker not in grant.to or receipt.purpose not in grant.purposes:
            raise _differ("grants", key)
        if receipt.function not in grant.functions:
            raise _differ("grants", key)
    if receipt.outcome == "completed" and set(record.grants) != set(asked):
        raise _differ("grants", key)


def _check_meters(
    receipt: Receipt, plan: Mapping[str, Any], approvals: Mapping[str, Approval], derived: Derived, key: str
) -> None:
    meters = receipt.parties[key].meters
    if meters.rows != presented_rows(plan, approvals, derived, key):
        raise _differ("meters.rows", key)
    if (meters.hits is not None) != (derived.declares_hits and key == receipt.asker):
        raise _differ("meters.hits", key)
    if receipt.block is not None and meters.calls != receipt.block.calls:
        raise _differ("meters.calls", key)
    if meters.hits is not None and meters.hits > meters.calls:
        raise _differ("meters.hits", key)


def check_receipt(
    receipt: Receipt,
    plan: Mapping[str, Any],
    approvals: Mapping[str, Approval],
    derived: Derived,
    agreements: Mapping[str, Agreement],
    like: Receipt | None = None,
) -> None:
    """Checks a receipt against what this node knows before it signs or keeps it.

    Args:
        receipt: as parsed.
        plan: the plan document that was approved.
        approvals: the verified approval of each party.
        derived: as this node derived it from the plan itself.
        agreements: by id, in the versions that the plan names.
        like: another receipt of this very plan and these approvals that has passed, as for thousands of blocks.

    Raises:
        AtollError: `E_RECEIPT` names the field that differs; `E_TRANSCRIPT` the channel whose ends differ.
    """
    if like is None:
        given = receipt.document()
        for field, value in _stated(plan, approvals, derived).items():
            if given[field] != value:
                raise _differ(field)
    else:
        for field in _STATED:
            if getattr(receipt, field) != getattr(like, field):
                raise _differ(field)
    keys = {party["key"] for party in plan["parties"]}
    if not set(receipt.parties) <= keys:
        raise _differ("parties")
    receivers = {output["receiver"] for output in plan["outputs"]}
    for key, record in receipt.parties.items():
        if record.output is not None and key not in receivers:
            raise _differ("output: only receivers have one", key)
        if not set(record.transcripts) <= keys - {key}:
            raise _differ("transcripts", key)
        if record.transcripts and record.execution is None:
            raise _differ("execution", key)
        _check_grants(receipt, plan, agreements, key)
        _check_meters(receipt, plan, approvals, derived, key)
    if receipt.outcome != "completed":
        # Messages may have been on their way when it ended: the two ends need not agree.
        return
    if set(receipt.parties) != keys or set(approvals) != keys:
        raise _differ("parties")
    if any(approval.decision != "approve" for approval in approvals.values()):
        raise _differ("approvals")
    for key in receivers:
        # The blocks of a service have no output of their own.
        if (receipt.parties[key].output is None) != (receipt.block is not None):
            raise _differ("output", key)
    _check_transcripts(receipt)
