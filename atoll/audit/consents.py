"""With whose consent? What the receipts require, and whether the calls that are opened rest on an authorisation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from atoll.agreements.consent import (
    Authorisation,
    CallRecord,
    check_attested,
    check_consent,
    open_consent,
    open_withdrawal,
)
from atoll.agreements.receipt import Receipt
from atoll.audit.case import JobCase
from atoll.audit.file import Opening
from atoll.audit.scene import Scene, Tally, found
from atoll.crypto import canonical, dsse
from atoll.crypto.document import parse_time
from atoll.crypto.suite import digest_bytes
from atoll.errors import AtollError
from atoll.ledger import merkle
from atoll.ledger.report import Finding


def consents(scene: Scene, openings: Sequence[Opening]) -> list[Finding]:
    """What consent was required, how many calls are opened, and whether each of these holds."""
    tally = Tally()
    out: list[Finding] = []
    shown = 0
    opened: dict[str, int] = {}
    for item in openings:
        job = scene.case.jobs.get(item.job)
        receipt = job.receipts.get(item.block) if job is not None else None
        facts = {"job": item.job[:80], "block": item.block, "call": item.index + 1}
        if job is None or receipt is None or receipt.document.consent == "none":
            out.append(found("consent-unknown", **facts))
            continue
        try:
            _check(scene, job, receipt.document, item)
        except AtollError as error:
            out.append(found("consent-bad", **facts, reason=error.text))
            continue
        shown += 1
        opened[receipt.document.consent] = opened.get(receipt.document.consent, 0) + 1
    calls: dict[str, tuple[int, int]] = {}
    for job in scene.case.jobs.values():
        for receipt in job.receipts.values():
            document = receipt.document
            if document.consent == "none":
                tally.add("consent-none", job.job)
            elif document.block is not None:
                count, total = calls.get(document.consent, (0, 0))
                calls[document.consent] = (count + 1, total + document.block.calls)
    for mode, (count, total) in sorted(calls.items()):
        facts = {"count": count, "calls": total, "mode": mode, "opened": opened.get(mode, 0)}
        out.append(found("consent-bound", **facts))
    if shown:
        out.append(found("consent-shown", count=shown))
    return tally.findings() + out


def _wrong(text: str) -> AtollError:
    return AtollError("E_CONSENT", text)


def _check(scene: Scene, job: JobCase, receipt: Receipt, item: Opening) -> None:
    """`E_CONSENT` unless the record is in the block that the receipt names, and an authorisation is behind it."""
    if receipt.block is None:
        raise _wrong("the receipt is of no block of calls")
    inside = merkle.verify_inclusion(
        merkle.leaf_hash(item.record),
        item.index,
        receipt.block.calls,
        item.path,
        digest_bytes(receipt.block.root),
    )
    if not inside:
        raise _wrong("the call is not in the block whose receipt all signed")
    try:
        record = CallRecord.model_validate(canonical.loads(item.record))
    except (ValidationError, AtollError):
        raise _wrong("the record of the call is malformed") from None
    if record.call != item.index + 1:
        raise _wrong("the record is of another call")
    if record.consent is None or item.consent is None:
        raise _wrong("the call carries none")
    envelope = dict(item.consent)
    authorisation = open_consent(envelope)
    if receipt.consent == "presented":
        bound = record.consent == dsse.identifier(envelope)
    else:
        bound = item.opening is not None and check_attested(record.consent, envelope, item.opening)
    if not bound:
        raise _wrong("the call is bound to another authorisation")
    for owner, issuers in _issuers(scene, job, receipt):
        # Valid at some moment of the block, by the owner's clock: a call has no time of its own in its record.
        times = receipt.parties[owner].times
        try:
            _covers(receipt, authorisation, issuers, times.finished)
        except AtollError:
            _covers(receipt, authorisation, issuers, times.started)
        if item.withdrawal is not None:
            withdrawn = open_withdrawal(dict(item.withdrawal), envelope)
            if parse_time(withdrawn.at) <= parse_time(times.started):
                raise _wrong(f"the authorisation was withdrawn at {withdrawn.at}")


def _covers(receipt: Receipt, authorisation: Authorisation, issuers: Sequence[str], at: str) -> None:
    check_consent(
        authorisation,
        issuers=issuers,
        asker=receipt.asker,
        purpose=receipt.purpose,
        function=receipt.function,
        now=parse_time(at),
    )


def _issuers(scene: Scene, job: JobCase, receipt: Receipt) -> Iterator[tuple[str, Sequence[str]]]:
    """For each owner whose grant asks for consent: who may issue it."""
    agreements = scene.agreements(job)
    if agreements is None:
        raise _wrong("the agreement that says who may issue it is not in the file")
    for name, item in receipt.inputs.items():
        if item.party == receipt.asker:
            continue
        asset = agreements[item.agreement].asset_at(item.party, item.asset)
        index = receipt.parties[item.party].grants.get(name)
        if asset is None or index is None or index >= len(asset.grants):
            raise _wrong("the receipt names no grant")
        yield item.party, asset.grants[index].consent.issuers
