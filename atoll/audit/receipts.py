"""Who signed the receipts, do they say what plan, approvals and agreement say, and what has been disputed?"""

from __future__ import annotations

from atoll.agreements.receipt import Receipt, check_receipt
from atoll.audit.case import JobCase, Signed
from atoll.audit.scene import Scene, Tally
from atoll.errors import AtollError
from atoll.ledger.report import Finding


def receipts(scene: Scene) -> list[Finding]:
    """Whether each receipt is signed by all and fits; which releases have none; what was disputed or failed."""
    tally = Tally()
    for job in scene.case.jobs.values():
        for receipt in job.receipts.values():
            code, reason = _judge(scene, job, receipt)
            if reason is None:
                tally.add(code, job.job)
            else:
                tally.add(code, job.job, reason=reason)
        _unacknowledged(scene, job, tally)
        for place, _ in job.disputes:
            tally.add("disputed", job.job, name=scene.name(place.owner))
        for outcome in {outcome for _, outcome in job.outcomes}:
            tally.add("unfinished", job.job, outcome=outcome)
    return tally.findings()


def parties(job: JobCase, receipt: Signed[Receipt]) -> set[str]:
    """Who must have signed: the plan's parties, or without the plan those that the receipt itself names."""
    named = set(receipt.document.parties) | {receipt.document.asker}
    return named if job.plan is None else named | set(job.plan.document.names)


def _judge(scene: Scene, job: JobCase, receipt: Signed[Receipt]) -> tuple[str, str | None]:
    missing = parties(job, receipt) - receipt.signers
    if missing:
        return "receipt-differs", f"{scene.names(missing)} did not sign"
    derived = scene.derivation(job)
    if job.plan is None or derived is None or set(job.plan.document.names) - set(job.answers):
        return "receipt-unchecked", None
    if isinstance(derived, AtollError):
        return "receipt-differs", "the plan does not fit its agreement"
    plan = scene.plan(job)
    approvals = {party: answer.document for party, answer in job.answers.items()}
    try:
        like = scene.passed.get(job.job)
        check_receipt(receipt.document, plan, approvals, derived.stated, derived.agreements, like)
    except AtollError as error:
        return "receipt-differs", error.text
    scene.passed.setdefault(job.job, receipt.document)
    return "receipted", None


def _unacknowledged(scene: Scene, job: JobCase, tally: Tally) -> None:
    """Results that were released, or words that were given, without a receipt that everybody signed."""
    receivers: dict[int, set[str]] = {}
    for receiver, block in job.words:
        receivers.setdefault(block, set()).add(receiver)
    for block in sorted(receivers):
        if block not in job.receipts:
            names = set(job.plan.document.names) if job.plan is not None else receivers[block]
            tally.add("receipt-unsigned", job.job, names=scene.names(names))
