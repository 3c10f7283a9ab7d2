"""Was it billed as agreed? Each signed statement is computed again from the receipts in the file."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta

from atoll.agreements.receipt import presented_rows
from atoll.audit.authority import revoked_at
from atoll.audit.cover import Cover
from atoll.audit.scene import Scene, found
from atoll.billing import (
    STATEMENT_KIND,
    Item,
    Statement,
    flat_items,
    items_of,
    money,
    parse_statement,
    provisional_items,
    statement,
)
from atoll.crypto import dsse
from atoll.errors import AtollError
from atoll.ledger.report import Finding


def bills(scene: Scene) -> list[Finding]:
    """What statements are in the file, and whether they follow from the receipts in it."""
    items = _items(scene)
    out: list[Finding] = []
    seen: set[str] = set()
    for place, document in scene.case.others.get(STATEMENT_KIND, []):
        try:
            envelope = document["envelope"]
            bill = parse_statement(dsse.verify(STATEMENT_KIND, envelope, ()))
            missing = set(bill.parties) - dsse.signers(envelope)
            identity = dsse.identifier(envelope)
        except (AtollError, KeyError, TypeError) as error:
            reason = error.text if isinstance(error, AtollError) else "it has other fields"
            out.append(
                found(
                    "document",
                    owner=scene.name(place.owner),
                    index=place.index,
                    kind=STATEMENT_KIND,
                    reason=reason,
                )
            )
            continue
        if identity not in seen:
            seen.add(identity)
            out.append(_judge(scene, bill, missing, items))
    for place, document in scene.case.others.get("statement-dispute/v1", []):
        facts = document if isinstance(document, dict) else {}
        out.append(
            found(
                "bill-disputed",
                by=scene.name(place.owner),
                month=str(facts.get("month"))[:7],
                partner=scene.name(str(facts.get("partner"))),
            )
        )
    if not seen and items:
        sums: dict[str, int] = defaultdict(int)
        for item in items:
            sums[item.currency] += item.amount
        amounts = ", ".join(money(amount, currency) for currency, amount in sorted(sums.items()))
        out.append(found("no-bill", count=len({item.evidence for item in items}), amounts=amounts))
    return out


def _items(scene: Scene) -> list[Item]:
    """What all receipts in the file bill, and provisional ones where there is none."""
    items: list[Item] = []
    versions = {digest: version.document for digest, version in scene.case.versions.items()}
    for job in scene.case.jobs.values():
        for receipt in job.receipts.values():
            try:
                items += items_of(receipt.document, receipt.digest, versions)
            except AtollError:
                continue  # Said where receipts are compared with their agreement.
        agreed, derived = scene.agreements(job), scene.derivation(job)
        if agreed is None or job.plan is None or derived is None or isinstance(derived, AtollError):
            continue
        approvals = {party: answer.document for party, answer in job.answers.items()}
        plan = scene.plan(job)
        for (_, block), word in sorted(job.words.items()):
            if block not in job.receipts:
                rows = presented_rows(plan, approvals, derived.stated, str(plan["asker"]))
                items += provisional_items(word.document, word.digest, plan, agreed, rows=rows, used=None)
    return items


def _judge(scene: Scene, bill: Statement, missing: set[str], items: list[Item]) -> Finding:
    one, other = bill.parties
    facts = {"by": scene.name(one), "partner": scene.name(other), "month": bill.month}
    if missing:
        return found("billed-differs", **facts, reason=f"{scene.names(missing)} did not sign it")
    held = [version.document for version in scene.case.versions.values()]
    flat = flat_items(held, bill.month, revoked_at(scene))
    again = statement(bill.month, bill.agreement, bill.parties, [*items, *flat])
    if again == bill.document():
        return found("billed", **facts)
    if any(line.provisional for line in bill.lines):
        return found("billed-unknown", **facts, reason="it counts uses for which only one side has signed")
    first = datetime.fromisoformat(f"{bill.month}-01T00:00:00Z")
    after = (first + timedelta(days=31)).replace(day=1)
    whole = [key for key in bill.parties if key in scene.logs and Cover(scene.logs[key]).holds(first, after)]
    if whole:
        return found("billed-differs", **facts, reason=_first_difference(bill, again))
    return found("billed-unknown", **facts, reason="the file does not hold the whole month of either side")


def _first_difference(bill: Statement, again: dict[str, object]) -> str:
    other = parse_statement(again)
    ours = {(x.asset, x.payer, x.unit, x.price): x for x in other.lines}
    for line in bill.lines:
        mine = ours.get((line.asset, line.payer, line.unit, line.price))
        if mine is None or mine.quantity != line.quantity:
            counted = mine.quantity if mine is not None else 0
            return f"{line.asset}: it counts {line.quantity} by {line.unit}, the receipts {counted}"
    return "its lines or days are not those of the receipts"
