"""What must stand before a result may open: the receiver's word, the debit, the record, in one transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from atoll.agreements import build_provisional, open_provisional
from atoll.agreements.receipt import PROVISIONAL_KIND
from atoll.crypto import dsse
from atoll.errors import AtollError
from atoll.net.link import Peer as Remote
from atoll.node.clock import stamp
from atoll.node.jobs.desk import Desk
from atoll.node.jobs.facts import gather
from atoll.node.jobs.inputs import note_use
from atoll.node.state.models import Charge, Job, Receipt
from atoll.plan import Derivation
from atoll.policy import Account, Debit, accounts, decide


class Releases:
    """Both sides of the release: the owner who waits for it, and the receiver who gives its word."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        desk.partners.handle("job.provisional", self._give_word)

    def _versions(self, row: Job) -> dict[str, str]:
        return {
            name: fed.version for a in self._desk.approvals(row).values() for name, fed in a.inputs.items()
        }

    # The owner.

    def release(self, job: str, receivers: list[str]) -> None:
        """Stores everything that must stand before `receivers` can open what comes next.

        Raises:
            AtollError: `E_REVOKED`, `E_EXPIRED`, `E_QUOTA` and other refusals of policy at this moment;
                `E_RECEIPT` or `E_SIGNATURE` for a receiver's word that does not fit; `E_UNREACHABLE`.
        """
        desk = self._desk
        row = desk.job(job)
        plan = desk.plan(row)
        if plan["shape"] != "service" and self._stands(row, receivers):
            return
        batch = self._next_batch(row, plan)
        body = {"job": job, "attempt": row.attempt, "batch": batch}
        words = {}
        for receiver in receivers:
            answer = desk.partners.request(
                receiver, "job.provisional", body, timeout=float(plan["limits"]["silence_seconds"])
            )
            if not isinstance(answer, dict) or set(answer) != {"provisional"}:
                raise AtollError(
                    "E_RECEIPT", "the receiver gave no provisional receipt", party=desk.names(plan)[receiver]
                )
            found = open_provisional(
                answer["provisional"],
                job=job,
                plan=row.plan_digest,
                attempt=row.attempt,
                receiver=receiver,
                inputs=self._versions(row),
            )
            if (found.batch.document() if found.batch else None) != batch:
                raise AtollError(
                    "E_RECEIPT",
                    "the provisional receipt is for another batch",
                    party=desk.names(plan)[receiver],
                )
            words[receiver] = answer["provisional"]
        with desk.locked(job), desk.store.write() as session:
            stored = session.get_one(Job, job)
            if stored.state not in ("running", "released") or stored.attempt != row.attempt:
                raise AtollError("E_STATE", f"the job is {stored.state}, in attempt {stored.attempt}")
            self._settle(session, stored, plan, words, batch)

    def _stands(self, row: Job, receivers: list[str]) -> bool:
        """Whether this attempt was released already, as after a restart from a checkpoint."""
        with self._desk.store.read() as session:
            held = [session.get(Receipt, (row.id, "provisional", receiver, 0)) for receiver in receivers]
        return all(
            r is not None and dsse.verify(PROVISIONAL_KIND, r.envelope, [])["attempt"] == row.attempt
            for r in held
        )

    def _next_batch(self, row: Job, plan: dict[str, Any]) -> dict[str, int] | None:
        """The block of calls that this release opens, for a standing service."""
        if plan["shape"] != "service":
            return None
        block = next(
            op["parameters"]["block_calls"] for op in plan["operators"] if "block_calls" in op["parameters"]
        )
        with self._desk.store.read() as session:
            opened = (
                session.query(Receipt).filter(Receipt.job == row.id, Receipt.kind == "provisional").count()
            )
        first = opened * block + 1
        return {"calls": block, "first": first, "last": first + block - 1}

    def _settle(
        self,
        session: Session,
        row: Job,
        plan: dict[str, Any],
        words: dict[str, Any],
        batch: dict[str, int] | None,
    ) -> None:
        desk = self._desk
        derivation = desk.derive(plan)
        facts = gather(desk, session, derivation, desk.approvals(row), None)
        decision = decide(
            derivation, me=desk.me, agreements=desk.states(plan), facts=facts, now=desk.clock(), final=True
        )
        if decision.outcome == "refuse":
            raise decision.reasons[0].error(desk.config["node.name"])
        number = batch["first"] if batch else 0
        charged = [debit for debit in decision.debits if self._debit(session, row, debit)]
        if batch is not None:
            self._charge_calls(session, row, derivation, decision.calls_left, batch)
        now = stamp(desk.clock())
        for receiver, word in words.items():
            # A new attempt's word takes the place of the old one's, which stays in the ledger.
            session.merge(
                Receipt(job=row.id, kind="provisional", party=receiver, batch=number, envelope=word, at=now)
            )
        note_use(desk, session, row.id, plan, self._versions(row))
        row.state, row.evidence = "released", "provisional"
        desk.event(session, row.id, "released", receivers=[desk.names(plan)[r] for r in words], batch=batch)
        desk.record(
            session,
            row.agreement,
            "release",
            {
                "job": row.id,
                "attempt": row.attempt,
                "provisional": list(words.values()),
                "debits": [
                    {
                        "kind": d.kind,
                        "asset": d.account.asset,
                        "partner": d.account.partner,
                        "amount": str(d.amount),
                    }
                    for d in charged
                ],
            },
            row.id,
        )

    def _charge_calls(
        self, session: Session, row: Job, derivation: Derivation, left: int | None, batch: dict[str, int]
    ) -> None:
        """Reserves a block of a standing service's calls, before the first of them is answered."""
        used = sum(
            c.amount for c in session.query(Charge).filter(Charge.job == row.id, Charge.kind == "calls")
        )
        if left is not None and used + batch["calls"] > left:
            raise AtollError(
                "E_QUOTA",
                f"{left - used} calls are left today; a block has {batch['calls']}",
                party=self._desk.config["node.name"],
            )
        for account in accounts(derivation, self._desk.me):
            self._charge(session, row, batch["first"], "calls", account, batch["calls"], None)

    def _debit(self, session: Session, row: Job, debit: Debit) -> bool:
        """One charge. A new attempt of a job, or a later block of a service, never charges a run twice."""
        return self._charge(session, row, 0, debit.kind, debit.account, debit.amount, debit.keyset)

    def _charge(
        self,
        session: Session,
        row: Job,
        number: int,
        kind: str,
        account: Account,
        amount: int,
        keyset: str | None,
    ) -> bool:
        known = (
            session.query(Charge)
            .filter(
                Charge.job == row.id,
                Charge.batch == number,
                Charge.kind == kind,
                Charge.asset == account.asset,
                Charge.provider == account.provider,
                Charge.partner == account.partner,
            )
            .first()
        )
        if known is not None:
            return False
        session.add(
            Charge(
                job=row.id,
                batch=number,
                kind=kind,
                agreement=account.agreement,
                asset=account.asset,
                provider=account.provider,
                partner=account.partner,
                amount=amount,
                keyset=keyset,
                at=stamp(self._desk.clock()),
            )
        )
        return True

    # The receiver.

    def _give_word(self, remote: Remote, body: Any) -> Any:
        """Signs that this node is about to receive; only while the job runs here in that attempt."""
        desk = self._desk
        if not isinstance(body, dict) or set(body) != {"job", "attempt", "batch"}:
            raise AtollError("E_WIRE", "not a request for a provisional receipt")
        row = desk.job(str(body["job"]))
        plan = desk.plan(row)
        if (
            remote.identity not in desk.others(plan)
            or row.attempt != body["attempt"]
            or row.state not in ("running", "released")
        ):
            raise AtollError(
                "E_STATE", "the job does not run here in that attempt", party=desk.config["node.name"]
            )
        if desk.me not in {o["receiver"] for o in plan["outputs"]}:
            raise AtollError(
                "E_PLAN", "this node receives nothing in that job", party=desk.config["node.name"]
            )
        batch = body["batch"]
        document = build_provisional(
            job=row.id,
            plan=row.plan_digest,
            attempt=row.attempt,
            receiver=desk.me,
            inputs=self._versions(row),
            at=desk.clock(),
            batch=batch,
        )
        envelope = dsse.sign(PROVISIONAL_KIND, document, desk.signing)
        number = batch["first"] if isinstance(batch, dict) else 0
        with desk.locked(row.id), desk.store.write() as session:
            key = (row.id, "provisional-given", remote.identity, number)
            given = session.get(Receipt, key)
            if given is None or dsse.verify(PROVISIONAL_KIND, given.envelope, [])["attempt"] != row.attempt:
                session.merge(
                    Receipt(
                        job=row.id,
                        kind="provisional-given",
                        party=remote.identity,
                        batch=number,
                        envelope=envelope,
                        at=stamp(desk.clock()),
                    )
                )
                note_use(desk, session, row.id, plan, self._versions(row))
                desk.record(session, row.agreement, "provisional", {"envelope": envelope}, row.id)
            stored = session.get_one(Job, row.id)
            if stored.evidence == "none":
                stored.evidence = "provisional"
        return {"provisional": envelope}
