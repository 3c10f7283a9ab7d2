"""Evidence of a job: the receivers' provisional receipt before a result opens, and the receipt that all sign.

Kinds `provisional/v1` and `receipt/v1`. A receipt is checked against the plan, the approvals and the derived
disclosure before a node signs it; nothing in it is taken from another party's word alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from atoll.agreements.approval import Approval, WireReason
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
    format_time,
    parse_time,
)
from atoll.disclosure import Security, Statement, to_json
from atoll.errors import AtollError

PROVISIONAL_KIND = "provisional/v1"
RECEIPT_KIND = "receipt/v1"

Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
Attempt = Annotated[int, Field(ge=1, le=2**31)]
ChannelName = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class Batch(Document):
    """Calls `first` to `last` (counted from 1) of a standing service; `calls` of them were made."""

    calls: Count
    first: Annotated[int, Field(ge=1, le=2**53 - 1)]
    last: Count

    @model_validator(mode="after")
    def _validate(self) -> Batch:
        if self.calls != self.last - self.first + 1:
            raise ValueError("calls is last - first + 1")
        return self


class Provisional(Document):
    """A receiver's word that it is about to receive this job's result (or this batch of calls)."""

    format: Literal["atoll.provisional/v1"]
    job: JobId
    plan: Digest
    attempt: Attempt
    receiver: Key
    inputs: Annotated[dict[Identifier, Digest], Field(max_length=64)]
    batch: Batch | None
    at: Time


class Times(Document):
    """When a party's worker started and finished, by its own clock."""

    started: Time
    finished: Time

    @model_validator(mode="after")
    def _validate(self) -> Times:
        if parse_time(self.started) > parse_time(self.finished):
            raise ValueError("finished: stands before started")
        return self


class Meters(Document):
    """What a party's part took: rows read, distinct keys, calls, payload bytes, milliseconds of CPU, peak
    bytes.
    """

    rows: Count
    keys: Count
    calls: Count
    bytes_sent: Count
    bytes_received: Count
    cpu_ms: Count
    memory_bytes: Count


class Transcript(Document):
    """Hash chains over what a party sent and received on one channel; messages and bytes are [sent,
    received].
    """

    sent: Digest
    received: Digest
    messages: Annotated[tuple[Count, ...], Field(min_length=2, max_length=2)]
    bytes: Annotated[tuple[Count, ...], Field(min_length=2, max_length=2)]


class OutputCommitment(Document):
    """Commitment to a receiver's result; the opening goes to the receiver alone."""

    commitment: Digest
    rows: Count | None


class PartyRecord(Document):
    """One party's part of a receipt. `transcripts` maps peer key -> channel name -> transcript."""

    times: Times
    meters: Meters
    transcripts: Annotated[
        dict[Key, Annotated[dict[ChannelName, Transcript], Field(max_length=256)]], Field(max_length=64)
    ]
    output: OutputCommitment | None


class InputRecord(Document):
    """Which version of an input was fed in; `live` says that it was read from a database for this job."""

    version: Digest
    mode: Literal["snapshot", "live"]


class Receipt(Document):
    """What was computed, under which agreements, on what, and what each party's part was."""

    format: Literal["atoll.receipt/v1"]
    job: JobId
    plan: Digest
    agreements: Annotated[dict[AgreementId, Digest], Field(min_length=1, max_length=64)]
    attempt: Attempt
    function: Name
    protocols: Annotated[tuple[Name, ...], Field(max_length=64)]
    security: Security
    disclosures: Annotated[tuple[Statement, ...], Field(max_length=4096)]
    inputs: Annotated[dict[Identifier, InputRecord], Field(max_length=64)]
    parties: Annotated[dict[Key, PartyRecord], Field(min_length=1, max_length=64)]
    outcome: Literal["completed", "failed", "cancelled"]
    error: WireReason | None
    batch: Batch | None

    @model_validator(mode="after")
    def _validate(self) -> Receipt:
        if (self.outcome == "completed") != (self.error is None):
            raise ValueError("error: stands on every outcome but completed")
        return self

    def document(self) -> dict[str, Any]:
        """The JSON document of this receipt."""
        error = self.error.document() if self.error else None
        return {**super().document(), "disclosures": to_json(self.disclosures), "error": error}


def build_provisional(
    *,
    job: str,
    plan: str,
    attempt: int,
    receiver: str,
    inputs: Mapping[str, str],
    at: datetime,
    batch: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """A provisional receipt, to be signed by `receiver`; `inputs` maps input id -> version digest."""
    return Provisional.parse(
        {
            "format": "atoll.provisional/v1",
            "job": job,
            "plan": plan,
            "attempt": attempt,
            "receiver": receiver,
            "inputs": dict(inputs),
            "batch": dict(batch) if batch else None,
            "at": format_time(at),
        }
    ).document()


def open_provisional(
    envelope: dsse.Envelope, *, job: str, plan: str, attempt: int, receiver: str, inputs: Mapping[str, str]
) -> Provisional:
    """The checked provisional receipt of `receiver` for exactly this attempt on exactly these inputs.

    Raises:
        AtollError: `E_SIGNATURE`, `E_FORMAT`, or `E_RECEIPT` naming the field that differs.
    """
    found = Provisional.parse(dsse.verify(PROVISIONAL_KIND, envelope, (receiver,)))
    wanted = {"job": job, "plan": plan, "attempt": attempt, "receiver": receiver, "inputs": dict(inputs)}
    for field, value in wanted.items():
        if getattr(found, field) != value:
            raise AtollError("E_RECEIPT", f"The provisional receipt differs in {field}.", party=receiver)
    return found


def parse_receipt(document: Any) -> Receipt:
    """The checked form of a receipt; `E_FORMAT` names the wrong field."""
    return Receipt.parse(document, what="receipt")


def build_receipt(
    plan: Mapping[str, Any],
    approvals: Mapping[str, Approval],
    *,
    attempt: int,
    protocols: Sequence[str],
    security: Security,
    disclosures: Sequence[Statement],
    parties: Mapping[str, Mapping[str, Any]],
    outcome: Literal["completed", "failed", "cancelled"] = "completed",
    error: Mapping[str, str] | None = None,
    batch: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """A receipt document, to be signed by all parties.

    Args:
        plan: the plan document.
        approvals: each party's approval.
        attempt: attempt number, from 1.
        protocols, security, disclosures: from the plan's derivation.
        parties: each party's own record: times, meters, transcripts, output; see `PartyRecord`.
        outcome, error: how it ended; the error is a wire rendering.
        batch: the calls of a standing service that this receipt covers.
    """
    return parse_receipt(
        {
            "format": "atoll.receipt/v1",
            "job": plan["id"],
            "plan": document_digest("plan/v1", plan),
            "agreements": {i["agreement"]: i["agreement_digest"] for i in plan["inputs"]},
            "attempt": attempt,
            "function": plan["function"],
            "protocols": list(protocols),
            "security": security,
            "disclosures": to_json(disclosures),
            "inputs": {
                name: {"version": fed.version, "mode": fed.mode}
                for approval in approvals.values()
                for name, fed in approval.inputs.items()
            },
            "parties": {key: dict(record) for key, record in parties.items()},
            "outcome": outcome,
            "error": dict(error) if error else None,
            "batch": dict(batch) if batch else None,
        }
    ).document()


def open_receipt(envelope: dsse.Envelope, parties: Sequence[str]) -> Receipt:
    """The checked receipt in an envelope that every one of `parties` signed; `E_SIGNATURE` names who did
    not.
    """
    return parse_receipt(dsse.verify(RECEIPT_KIND, envelope, parties))


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


def check_receipt(
    receipt: Receipt,
    plan: Mapping[str, Any],
    approvals: Mapping[str, Approval],
    *,
    protocols: Sequence[str],
    security: Security,
    disclosures: Sequence[Statement],
) -> None:
    """Checks a receipt against what this node knows before it signs or keeps it.

    Args:
        receipt: as parsed.
        plan: the plan document that was approved.
        approvals: the verified approval of each party.
        protocols, security, disclosures: as this node derived them from the plan itself.

    Raises:
        AtollError: `E_RECEIPT` names the field that differs; `E_TRANSCRIPT` the channel whose ends differ.
    """
    inputs = {
        name: InputRecord(version=fed.version, mode=fed.mode)
        for approval in approvals.values()
        for name, fed in approval.inputs.items()
    }
    expected: dict[str, Any] = {
        "job": plan["id"],
        "plan": document_digest("plan/v1", plan),
        "agreements": {i["agreement"]: i["agreement_digest"] for i in plan["inputs"]},
        "function": plan["function"],
        "protocols": tuple(protocols),
        "security": security,
        "disclosures": tuple(disclosures),
        "inputs": inputs,
    }
    for field, value in expected.items():
        if getattr(receipt, field) != value:
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
    if (receipt.batch is not None) != (plan["shape"] == "service"):
        raise _differ("batch")
    if receipt.outcome != "completed":
        # Messages may have been on their way when it ended: the two ends need not agree.
        return
    if set(receipt.parties) != keys or set(approvals) != keys:
        raise _differ("parties")
    if any(approval.decision != "approve" for approval in approvals.values()):
        raise _differ("approvals")
    for key in receivers:
        if receipt.parties[key].output is None:
            raise _differ("output", key)
    _check_transcripts(receipt)
