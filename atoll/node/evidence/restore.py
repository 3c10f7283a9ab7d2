"""From entries of the own log to the rows that the node works with: agreements, jobs, charges, receipts.

What no entry holds does not come back: tokens and persons, registered tables, results, the seeds of jobs. A job that
was under way ends; what was charged stays charged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from atoll.agreements import open_envelope, open_revocation, parse_receipt
from atoll.agreements.approval import KIND as APPROVAL_KIND
from atoll.agreements.lifecycle import REVOCATION_KIND
from atoll.agreements.provisional import PROVISIONAL_KIND
from atoll.agreements.receipt import RECEIPT_KIND
from atoll.crypto import dsse
from atoll.errors import AtollError
from atoll.ledger.entry import Body
from atoll.node.agreements import opened
from atoll.node.evidence.shelf import Shelf
from atoll.node.jobs.desk import ENDED
from atoll.node.state.models import Agreement, Approval, Block, Charge, Job, JobEvent, Receipt
from atoll.plan import KIND as PLAN_KIND
from atoll.plan import parse as parse_plan
from atoll.plan import plan_digest

Handler = Callable[[Session, str, Body], None]
NoteUse = Callable[[Session, str, dict[str, Any], dict[str, str]], None]


class Restore:
    """Applies entries in order. What is there already is left as it is.

    Args:
        shelf: shared parts.
        note_use: notes which own versions a released job used, as `jobs.inputs.note_use` does.
    """

    def __init__(self, shelf: Shelf, note_use: NoteUse) -> None:
        self._shelf, self._note_use = shelf, note_use
        self._handlers: dict[str, Handler] = {
            "agreement/v1": self._agreement,
            "revocation/v1": self._revocation,
            "plan/v1": self._plan,
            "approval/v1": self._approval,
            "refusal/v1": self._refusal,
            "release/v1": self._release,
            "provisional/v1": self._provisional,
            "receipt/v1": self._receipt,
            "dispute/v1": self._dispute,
            "outcome/v1": self._outcome,
        }

    def on(self, kind: str, handler: Handler) -> None:
        """What follows, or follows as well, from entries of a kind."""
        before = self._handlers.get(kind)

        def both(session: Session, agreement: str, body: Body) -> None:
            if before is not None:
                before(session, agreement, body)
            handler(session, agreement, body)

        self._handlers[kind] = both

    def apply(self, session: Session, agreement: str, bodies: Sequence[Body]) -> None:
        """Applies the opened entries of an own log of an agreement, in the caller's transaction."""
        for body in bodies:
            handler = self._handlers.get(body.kind)
            if handler is not None:
                handler(session, agreement, body)
            session.flush()
        for row in session.scalars(select(Job).where(Job.agreement == agreement, Job.state.not_in(ENDED))):
            name = self._shelf.partners.name
            error = AtollError(
                "E_RESTARTED", "this node was restored while the job was under way", party=name
            )
            row.state, row.error, row.ended = "failed", error.to_problem(), self._shelf.now()
            self._event(session, row.id, "restored", state="failed")

    def _event(self, session: Session, job: str, kind: str, **detail: Any) -> None:
        session.add(JobEvent(job=job, at=self._shelf.now(), kind=kind, detail=detail))

    @staticmethod
    def _at(body: Body) -> str:
        return body.time.replace("Z", ".000Z")

    # Agreements.

    def _agreement(self, session: Session, agreement: str, body: Body) -> None:
        envelope = body.document["envelope"]
        document, signed = open_envelope(envelope)
        if document.id != agreement or signed != set(document.keys):
            raise AtollError(
                "E_LEDGER", f"an entry of {agreement} holds another agreement, or one not signed by all"
            )
        row = session.get(Agreement, (document.id, document.version))
        if row is None:
            row = Agreement(
                id=document.id,
                version=document.version,
                digest=document.digest,
                title=document.title,
                proposer=document.keys[0],
                created=self._at(body),
                state="active",
            )
            session.add(row)
        elif row.state in ("offered", "declined"):
            row.state = "active"
        row.envelope, row.changed = envelope, self._at(body)
        older = select(Agreement).where(
            Agreement.id == agreement, Agreement.version < document.version, Agreement.state == "active"
        )
        for before in session.scalars(older):
            before.state = "superseded"
        later = select(Agreement.id).where(
            Agreement.id == agreement, Agreement.version > document.version, Agreement.state == "active"
        )
        if session.scalars(later).first() is not None:
            row.state = "superseded"

    def _revocation(self, session: Session, agreement: str, body: Body) -> None:
        rows = session.scalars(
            select(Agreement).where(Agreement.id == agreement).order_by(Agreement.version)
        ).all()
        if not rows:
            return
        row = next((r for r in reversed(rows) if r.state == "active"), rows[-1])
        open_revocation(body.document["envelope"], opened(row)[0])
        dsse.verify(REVOCATION_KIND, body.document["envelope"], ())
        row.revocation, row.state, row.changed = body.document["envelope"], "revoked", self._at(body)

    # Jobs.

    def _plan(self, session: Session, agreement: str, body: Body) -> None:
        envelope = body.document["envelope"]
        plan = parse_plan(dsse.verify(PLAN_KIND, envelope, ())).document()
        dsse.verify(PLAN_KIND, envelope, (plan["asker"],))
        if session.get(Job, plan["id"]) is not None:
            return
        session.add(
            Job(
                id=plan["id"],
                plan=envelope,
                plan_digest=plan_digest(plan),
                function=plan["function"],
                shape=plan["shape"],
                asker=plan["asker"],
                person=plan["person"],
                agreement=agreement,
                state="deciding",
                attempt=0,
                terms={},
                evidence="none",
                created=self._at(body),
            )
        )

    def _job(self, session: Session, job: Any) -> Job | None:
        return session.get(Job, job) if isinstance(job, str) else None

    def _approval(self, session: Session, agreement: str, body: Body) -> None:
        envelope = body.document["envelope"]
        document = dsse.verify(APPROVAL_KIND, envelope, (self._shelf.me,))
        row = self._job(session, document["job"])
        if row is None:
            return
        session.merge(
            Approval(
                job=row.id,
                party=self._shelf.me,
                decision=document["decision"],
                envelope=envelope,
                at=document["at"],
            )
        )
        if row.state == "deciding" and document["decision"] == "approve":
            row.state = "approved"

    def _end(self, row: Job, state: str, error: Any, body: Body) -> None:
        if row.state not in ENDED:
            row.state, row.error, row.ended = state, error, self._at(body)

    def _refusal(self, session: Session, agreement: str, body: Body) -> None:
        row = self._job(session, body.document["job"])
        if row is not None:
            self._end(row, "refused", AtollError("E_REFUSED", "refused before a restore").to_problem(), body)

    def _outcome(self, session: Session, agreement: str, body: Body) -> None:
        row = self._job(session, body.document["job"])
        if row is None:
            return
        row.attempt = max(row.attempt, int(body.document["attempt"]))
        error = AtollError.from_wire(body.document["error"], peer=self._shelf.partners.name)
        state = "cancelled" if body.document["outcome"] == "cancelled" else "failed"
        self._end(row, state, error.to_problem(), body)

    def _release(self, session: Session, agreement: str, body: Body) -> None:
        document = body.document
        row = self._job(session, document["job"])
        if row is None:
            return
        plan = dsse.verify(PLAN_KIND, row.plan, ())
        block = document["block"]
        for debit in document["debits"]:
            self._charge(session, row.id, debit)
        for envelope in document["provisional"]:
            word = dsse.verify(PROVISIONAL_KIND, envelope, ())
            session.merge(
                Receipt(
                    job=row.id,
                    kind="provisional",
                    party=word["receiver"],
                    block=block["number"] if block else 0,
                    envelope=envelope,
                    at=self._at(body),
                )
            )
        self._released(session, row, plan, document["attempt"], document["versions"], block, body)

    def _released(
        self,
        session: Session,
        row: Job,
        plan: dict[str, Any],
        attempt: int,
        versions: dict[str, str],
        block: dict[str, int] | None,
        body: Body,
    ) -> None:
        row.attempt = max(row.attempt, attempt)
        row.evidence = "provisional" if row.evidence == "none" else row.evidence
        if row.state not in ENDED:
            row.state = "released"
        if block is not None and session.get(Block, (row.id, block["number"])) is None:
            earlier = session.query(Block).filter(Block.job == row.id, Block.attempt == attempt).count()
            session.add(
                Block(
                    job=row.id,
                    number=block["number"],
                    attempt=attempt,
                    book=earlier + 1,
                    first=block["first"],
                    reserved=block["calls"],
                    evidence="provisional",
                    opened=self._at(body),
                )
            )
        self._note_use(session, row.id, plan, versions)

    @staticmethod
    def _charge(session: Session, job: str, debit: dict[str, Any]) -> None:
        known = session.query(Charge).filter(
            Charge.job == job,
            Charge.block == debit["block"],
            Charge.kind == debit["kind"],
            Charge.asset == debit["asset"],
            Charge.provider == debit["provider"],
            Charge.partner == debit["partner"],
        )
        if known.first() is None:
            session.add(Charge(job=job, **{**debit, "amount": int(debit["amount"])}))

    def _provisional(self, session: Session, agreement: str, body: Body) -> None:
        envelope = body.document["envelope"]
        word = dsse.verify(PROVISIONAL_KIND, envelope, (self._shelf.me,))
        row = self._job(session, word["job"])
        if row is None:
            return
        plan = dsse.verify(PLAN_KIND, row.plan, ())
        block = word["block"]
        session.merge(
            Receipt(
                job=row.id,
                kind="provisional-given",
                party=body.document["to"],
                block=block["number"] if block else 0,
                envelope=envelope,
                at=self._at(body),
            )
        )
        self._released(session, row, plan, word["attempt"], word["inputs"], block, body)

    def _receipt(self, session: Session, agreement: str, body: Body) -> None:
        envelope = body.document["envelope"]
        receipt = parse_receipt(dsse.verify(RECEIPT_KIND, envelope, ()))
        row = self._job(session, receipt.job)
        if row is None:
            return
        number = receipt.block.number if receipt.block else 0
        session.merge(
            Receipt(job=row.id, kind="final", party="", block=number, envelope=envelope, at=self._at(body))
        )
        if receipt.block is None:
            row.evidence = "final"
            self._end(row, "completed", None, body)
            return
        block = session.get(Block, (row.id, number))
        if block is not None:
            block.evidence, block.used, block.closed = "final", receipt.block.calls, self._at(body)
        for charge in session.query(Charge).filter(
            Charge.job == row.id, Charge.block == number, Charge.kind == "calls"
        ):
            charge.amount = min(charge.amount, receipt.block.calls)

    def _dispute(self, session: Session, agreement: str, body: Body) -> None:
        row = self._job(session, body.document["job"])
        number = body.document["block"]
        block = session.get(Block, (row.id, number)) if row is not None and number else None
        if block is not None:
            block.evidence = "disputed"
        elif row is not None and not number:
            row.evidence = "disputed"
