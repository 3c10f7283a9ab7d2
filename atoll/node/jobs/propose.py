"""Proposing a plan, and deciding on one: every participant for itself, and no node trusts another's check."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Any

import cbor2
from sqlalchemy.orm import Session

from atoll.agreements import build_approval, build_refusal
from atoll.agreements.approval import KIND as APPROVAL_KIND
from atoll.crypto import dsse
from atoll.crypto.suite import commit
from atoll.errors import AtollError
from atoll.net.identity import ephemeral_tls
from atoll.net.link import Peer as Remote
from atoll.node.clock import parse, seconds, stamp
from atoll.node.jobs.desk import ENDED, Desk
from atoll.node.jobs.facts import gather
from atoll.node.jobs.inputs import commitments
from atoll.node.logs import logger
from atoll.node.scripts.plans import check_plan
from atoll.node.state.models import Approval as ApprovalRow
from atoll.node.state.models import Job
from atoll.plan import KIND as PLAN_KIND
from atoll.plan import parse as parse_plan
from atoll.plan import plan_digest
from atoll.policy import Decision, decide


class Proposals:
    """The first half of a job's life, until every party has approved or one has refused."""

    def __init__(
        self,
        desk: Desk,
        ready: Callable[[str], None],
        fail: Callable[[str, AtollError], None],
        tell: Callable[[Session, Job, AtollError, str], None],
    ) -> None:
        self._desk = desk
        self._ready, self._fail, self._tell = ready, fail, tell
        self._log = logger("jobs")
        desk.partners.handle("plan.propose", self._proposed)
        desk.partners.handle("plan.decision", self._decided_there)
        desk.partners.outbox.on_refusal("plan.propose", self._proposal_refused)

    # The asker.

    def propose(
        self, plan: dict[str, Any], request: dict[str, Any] | None, schedule: str | None = None
    ) -> Job:
        """Signs a plan, stores the job and starts the decisions.

        Raises:
            AtollError: this node's own policy or the plan's checker refuses; the job is kept with the reason.
        """
        desk = self._desk
        derivation = desk.derive(plan)
        envelope = dsse.sign(PLAN_KIND, plan, desk.signing)
        agreements = sorted({i["agreement"] for i in plan["inputs"]})
        with desk.store.write() as session:
            facts = gather(desk, session, derivation, {}, None)
            row = self._new_row(plan, envelope, agreements[0])
            row.request, row.schedule = request, schedule
            session.add(row)
            desk.event(session, row.id, "proposed", person=plan["person"])
            desk.record(session, row.agreement, "plan", {"envelope": envelope}, row.id)
        decision = decide(derivation, me=desk.me, agreements=desk.states(plan), facts=facts, now=desk.clock())
        if decision.outcome == "refuse":
            error = self._refusal(decision)
            self._refuse_here(row, decision, error)
            raise error
        threading.Thread(target=self._decide_safely, args=(row.id, None), daemon=True, name="decide").start()
        return row

    def _new_row(self, plan: dict[str, Any], envelope: dsse.Envelope, agreement: str) -> Job:
        now = stamp(self._desk.clock())
        return Job(
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
            created=now,
        )

    def _send_proposals(self, row: Job) -> None:
        desk = self._desk
        with desk.store.write() as session:
            mine = session.get(ApprovalRow, (row.id, desk.me))
            assert mine is not None  # stored by _approve
            for key in desk.others(desk.plan(row)):
                desk.partners.outbox.put(
                    session, key, "plan.propose", {"plan": row.plan, "approval": mine.envelope}
                )
        desk.partners.outbox.wake()

    def _proposal_refused(self, peer: str, body: Any, error: AtollError) -> None:
        plan = dsse.verify(PLAN_KIND, body["plan"], [self._desk.me])
        self._fail(plan["id"], error)

    def after_restart(self) -> None:
        """Goes on with the decisions that a stop of the node interrupted."""
        with self._desk.store.read() as session:
            rows = session.query(Job).filter(Job.state.in_(("deciding", "approved"))).all()
        for row in rows:
            if row.state == "deciding":
                threading.Thread(
                    target=self._decide_safely, args=(row.id, None), daemon=True, name="decide"
                ).start()
            elif row.asker == self._desk.me:
                self._check_complete(row.id)

    # The participant.

    def _proposed(self, remote: Remote, body: Any) -> Any:
        """A partner proposes. The answer only says that it arrived; the decision is sent when it is made."""
        desk = self._desk
        if not isinstance(body, dict) or set(body) != {"plan", "approval"}:
            raise AtollError("E_WIRE", "not a proposal")
        plan = parse_plan(dsse.verify(PLAN_KIND, body["plan"], [remote.identity])).document()
        if plan["asker"] != remote.identity:
            raise AtollError("E_PLAN", "the plan is not the sender's own", party=remote.name)
        derivation = desk.derive(plan)
        if desk.me not in {p["key"] for p in plan["parties"]}:
            raise AtollError("E_PLAN", "this node is no party of the plan")
        if parse(plan["expires"]) <= desk.clock():
            raise AtollError("E_PLAN", "the proposal is over its date")
        digest = plan_digest(plan)
        with desk.locked(plan["id"]):
            with desk.store.read() as session:
                known = session.get(Job, plan["id"])
            if known is not None:
                if known.plan_digest != digest:
                    raise AtollError("E_REWIND", "a job of that identifier has another plan", step="propose")
                self._resend(known)
                return {}
            agreement = sorted(derivation.agreements)[0]
            row = self._new_row(plan, body["plan"], agreement)
            approval = desk.open_approval(row, plan, remote.identity, body["approval"])
            if approval.decision != "approve":
                raise AtollError("E_PLAN", "the asker does not approve its own plan", party=remote.name)
            with desk.store.write() as session:
                session.add(row)
                session.add(
                    ApprovalRow(
                        job=row.id,
                        party=remote.identity,
                        decision="approve",
                        envelope=body["approval"],
                        at=approval.at,
                    )
                )
                desk.event(session, row.id, "received", peer=remote.name, person=plan["person"])
                desk.record(session, row.agreement, "plan", {"envelope": body["plan"]}, row.id)
        threading.Thread(target=self._decide_safely, args=(row.id, None), daemon=True, name="decide").start()
        return {}

    def _resend(self, row: Job) -> None:
        desk = self._desk
        with desk.store.write() as session:
            mine = session.get(ApprovalRow, (row.id, desk.me))
            if mine is not None:
                desk.partners.outbox.put(
                    session, row.asker, "plan.decision", {"approval": mine.envelope, "job": row.id}
                )
        desk.partners.outbox.wake()

    # The decision, on both sides.

    def _decide_safely(self, job: str, person: str | None) -> None:
        try:
            self._decide(job, person)
        except AtollError as error:
            self._fail(job, error)
        except Exception as error:
            self._log.exception("deciding failed", job=job)
            self._fail(job, AtollError("E_INTERNAL", f"deciding failed: {type(error).__name__}"))

    def _decide(self, job: str, person: str | None) -> None:
        desk = self._desk
        with desk.locked(job):
            row = desk.job(job)
            if row.state not in ("deciding", "waiting"):
                return
            plan = desk.plan(row)
            derivation = desk.derive(plan)
            approvals = desk.approvals(row)
            try:
                check_plan(desk.packages, plan, desk.me)
            except AtollError as error:
                error.party = error.party or desk.config["node.name"]
                self._refuse_here(row, None, error)
                return
            # Sizes cost a pass over the table: what can be refused without them is refused first.
            decision = self._judge(derivation, plan, approvals, None)
            if decision.outcome != "refuse":
                own = commitments(desk, plan)
                decision = self._judge(derivation, plan, approvals, own)
            if decision.outcome == "refuse":
                self._refuse_here(row, decision, self._refusal(decision))
            elif decision.outcome == "steward" and person is None:
                with desk.store.write() as session:
                    session.get_one(Job, job).state = "waiting"
                    desk.event(session, job, "waits for a steward")
            else:
                self._approve(row, plan, own, person or "agreement")

    def _judge(self, derivation: Any, plan: dict[str, Any], approvals: Any, own: Any) -> Decision:
        desk = self._desk
        with desk.store.read() as session:
            facts = gather(desk, session, derivation, approvals, own)
        return decide(derivation, me=desk.me, agreements=desk.states(plan), facts=facts, now=desk.clock())

    def _refusal(self, decision: Decision) -> AtollError:
        """The first reason as an error, with all reasons for the owner beside it."""
        first = decision.reasons[0].error(self._desk.config["node.name"])
        first.detail = {"reasons": [reason.document() for reason in decision.reasons]}
        return first

    def _refuse_here(
        self, row: Job, decision: Decision | None, error: AtollError, by: str = "agreement"
    ) -> None:
        desk = self._desk
        name = desk.config["node.name"]
        reasons = [r.wire(name) for r in decision.reasons] if decision else [error.to_wire()]
        document = build_refusal(
            job=row.id,
            plan=row.plan_digest,
            party=desk.me,
            by=by,
            at=desk.clock(),
            reasons=reasons,
            nonce=secrets.token_hex(16),
        )
        self._store_answer(row, document, "refuse")
        with desk.store.write() as session:
            stored = session.get_one(Job, row.id)
            stored.state, stored.error, stored.ended = "refused", error.to_problem(), stamp(desk.clock())
            desk.event(session, row.id, "refused here", code=error.code)
            desk.record(
                session,
                row.agreement,
                "refusal",
                {"job": row.id, "plan": row.plan_digest, "reasons": reasons},
                row.id,
            )
        desk.metrics.jobs.labels(function=row.function, outcome="refused").inc()

    def _approve(self, row: Job, plan: dict[str, Any], own: dict[str, Any], by: str) -> None:
        desk = self._desk
        now = desk.clock()
        secret, opening = secrets.token_bytes(32), secrets.token_bytes(16)
        tls = ephemeral_tls(now)
        sealed = desk.vault.seal(
            f"job {row.id}",
            cbor2.dumps(
                {
                    "secret": secret,
                    "opening": opening,
                    "certificate": tls.certificate,
                    "private_key": tls.private_key,
                    "not_before": seconds(tls.not_before),
                    "not_after": seconds(tls.not_after),
                }
            ),
        )
        document = build_approval(
            job=row.id,
            plan=row.plan_digest,
            party=desk.me,
            by=by,
            at=now,
            inputs=own,
            seed_commitment=commit(secret, opening),
            tls=tls.fingerprint,
            nonce=secrets.token_hex(16),
        )
        with desk.store.write() as session:
            stored = session.get_one(Job, row.id)
            stored.state, stored.secret = "approved", sealed
        self._store_answer(row, document, "approve")
        if row.asker == desk.me:
            self._send_proposals(row)
            self._check_complete(row.id)

    def _store_answer(self, row: Job, document: dict[str, Any], decision: str) -> None:
        desk = self._desk
        envelope = dsse.sign(APPROVAL_KIND, document, desk.signing)
        with desk.store.write() as session:
            session.merge(
                ApprovalRow(
                    job=row.id, party=desk.me, decision=decision, envelope=envelope, at=document["at"]
                )
            )
            desk.event(
                session, row.id, "approved here" if decision == "approve" else "answered", by=document["by"]
            )
            desk.record(session, row.agreement, "approval", {"envelope": envelope}, row.id)
            if row.asker != desk.me:
                desk.partners.outbox.put(
                    session, row.asker, "plan.decision", {"approval": envelope, "job": row.id}
                )
        desk.partners.outbox.wake()

    def answer(self, job: str, person: str, approve: bool, reason: str = "") -> Job:
        """A steward decides on a job that waits for one; `E_SELF_APPROVAL` for one's own plan."""
        desk = self._desk
        with desk.locked(job):
            row = desk.job(job)
            if row.state != "waiting":
                raise AtollError("E_STATE", f"job {job} is {row.state} and waits for no steward")
            if row.asker == desk.me and row.person == person:
                raise AtollError(
                    "E_SELF_APPROVAL", f"{person} asked for this job", party=desk.config["node.name"]
                )
            if approve:
                self._decide(job, person)
            else:
                self._refuse_here(
                    row,
                    None,
                    AtollError(
                        "E_REFUSED", f"{person} refused: {reason[:500]}", party=desk.config["node.name"]
                    ),
                    by=person,
                )
        return desk.job(job)

    # Back at the asker.

    def _decided_there(self, remote: Remote, body: Any) -> Any:
        desk = self._desk
        if not isinstance(body, dict) or set(body) != {"approval", "job"} or not isinstance(body["job"], str):
            raise AtollError("E_WIRE", "not a decision")
        with desk.locked(body["job"]):
            row = desk.job(body["job"])
            if row.asker != desk.me or remote.identity not in desk.others(desk.plan(row)):
                raise AtollError("E_PLAN", "the sender has no say in that job")
            approval = desk.open_approval(row, desk.plan(row), remote.identity, body["approval"])
            with desk.store.write() as session:
                if session.get(ApprovalRow, (row.id, remote.identity)) is not None or row.state in ENDED:
                    return {}
                session.add(
                    ApprovalRow(
                        job=row.id,
                        party=remote.identity,
                        decision=approval.decision,
                        envelope=body["approval"],
                        at=approval.at,
                    )
                )
                desk.event(session, row.id, f"{approval.decision}d there", peer=remote.name, by=approval.by)
                if approval.decision == "refuse":
                    error = AtollError.from_wire(approval.reasons[0].document(), peer=remote.name)
                    error.detail = {"reasons": [r.document() for r in approval.reasons]}
                    stored = session.get_one(Job, row.id)
                    stored.state, stored.error, stored.ended = (
                        "refused",
                        error.to_problem(),
                        stamp(desk.clock()),
                    )
                    desk.record(
                        session,
                        row.agreement,
                        "refusal",
                        {"job": row.id, "envelope": body["approval"]},
                        row.id,
                    )
                    desk.metrics.jobs.labels(function=row.function, outcome="refused").inc()
                    # The other participants of a plan that one refused need not wait for it.
                    self._tell(session, row, error, remote.identity)
            if approval.decision == "approve":
                self._check_complete(row.id)
        desk.partners.outbox.wake()
        return {}

    def _check_complete(self, job: str) -> None:
        desk = self._desk
        row = desk.job(job)
        if row.state != "approved":
            return
        plan = desk.plan(row)
        approvals = desk.approvals(row)
        if set(approvals) == {p["key"] for p in plan["parties"]}:
            threading.Thread(target=self._ready, args=(job,), daemon=True, name="start job").start()
