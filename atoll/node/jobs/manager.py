"""Jobs as the API sees them: ask, list, show, approve, cancel, results, services, schedules."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from atoll.agreements import grants_to, parse_receipt
from atoll.crypto import dsse
from atoll.disclosure import render
from atoll.errors import AtollError
from atoll.functions import compilers, explainers
from atoll.node.clock import parse, stamp
from atoll.node.jobs.desk import ENDED, Desk
from atoll.node.jobs.facts import gather
from atoll.node.jobs.known import calibration
from atoll.node.jobs.propose import Proposals
from atoll.node.jobs.receipts import Receipts
from atoll.node.jobs.release import Releases
from atoll.node.jobs.run import Runs
from atoll.node.logs import logger
from atoll.node.state.models import Approval, Block, Charge, Job, JobEvent, Receipt, Schedule
from atoll.policy import explain


class Jobs:
    """The whole life of jobs at one node."""

    def __init__(self, desk: Desk) -> None:
        self.desk = self._desk = desk
        self._log = logger("jobs")
        releases = Releases(desk)
        self.runs = Runs(desk, releases, Receipts(desk, releases.settle_block))
        self.proposals = Proposals(desk, ready=self.runs.start, fail=self.runs.fail, tell=self.runs.tell)
        self._stopping = threading.Event()
        self._left: list[str] = []
        self._thread = threading.Thread(target=self._schedule_loop, name="schedules", daemon=True)
        desk.agreements.on_revoked = self._agreement_revoked
        desk.partners.on_removed = self._partner_removed

    def look_back(self) -> None:
        """Finds what a stop of the node left; called before the partner port opens."""
        self._left = self.runs.look_back()

    def start(self, wait: Callable[[], None]) -> None:
        """Takes up what a stop of the node left, and the schedules, once records may be made: after `wait()`."""
        left = self._left

        def take_up() -> None:
            nonlocal left
            wait()
            while left and not self._stopping.is_set():
                left = [job for job in left if not self.runs.take_up(job)]
                if left:
                    self._stopping.wait(timeout=1.0)
            if not self._stopping.is_set():
                self.runs.resume_receipts()
                self.proposals.after_restart()
                self._thread.start()

        threading.Thread(target=take_up, name="take up", daemon=True).start()

    def stop(self) -> None:
        """Ends running jobs with a reason that the partners hear."""
        self._stopping.set()
        self.runs.stop_all(
            AtollError("E_RESTARTED", "the node was stopped", party=self._desk.config["node.name"])
        )

    # Asking.

    def compile(self, request: dict[str, Any], person: str) -> dict[str, Any]:
        """The plan of a request: function, agreement, purpose and the function's own fields."""
        return self._compile(request, person)[0]

    def _compile(self, request: dict[str, Any], person: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """The plan of a request; and which protocol was chosen and why, for a function that chooses."""
        desk = self._desk
        function = request.get("function")
        known = compilers()
        if function not in known:
            raise AtollError(
                "E_FORMAT", f"there is no function {function!r}; the functions are {', '.join(known)}"
            )
        identifier = request.get("agreement")
        if not isinstance(identifier, str):
            raise AtollError("E_FORMAT", "agreement: name one")
        state = desk.agreements.state(identifier)
        refusal = state.refusal(desk.clock())
        if refusal is not None:
            raise refusal
        fields = {k: v for k, v in request.items() if k != "function"}
        costs = calibration(desk, state.agreement)
        plan = known[function](
            fields,
            state.agreement.document(),
            me=desk.me,
            person=person,
            now=desk.clock(),
            job=f"job-{secrets.token_hex(16)}",
            salt=secrets.token_hex(16),
            calibration=costs,
        )
        explainer = explainers().get(function)
        return plan, explainer and explainer(fields, state.agreement, me=desk.me, calibration=costs)

    def ask(self, request: dict[str, Any], person: str, schedule: str | None = None) -> dict[str, Any]:
        """Proposes a job. An own refusal is raised; the job is kept with its reason."""
        plan = self.compile(request, person)
        return self.describe(self._desk.job(self.proposals.propose(plan, request, schedule).id))

    def estimate(self, request: dict[str, Any], person: str) -> dict[str, Any]:
        """The plan of a request with its estimate, what was chosen and disclosure statement; nothing is proposed."""
        plan, choice = self._compile(request, person)
        return {
            "plan": plan,
            "estimate": plan["estimate"],
            "choice": choice,
            "statement": self._statement(plan),
        }

    def explain(self, request: dict[str, Any], person: str) -> dict[str, Any]:
        """What each column would be used for, and the one grant that would make the plan pass."""
        desk = self._desk
        plan = self.compile(request, person)
        return self._explain_plan(plan, desk)

    def explain_job(self, job: str) -> dict[str, Any]:
        """The same for a job that was proposed to this node."""
        return self._explain_plan(self._desk.plan(self._desk.job(job)), self._desk)

    def _explain_plan(self, plan: dict[str, Any], desk: Desk) -> dict[str, Any]:
        derivation = desk.derive(plan)
        with desk.store.read() as session:
            facts = gather(desk, session, derivation, {}, None)
        found = explain(derivation, me=desk.me, agreements=desk.states(plan), facts=facts, now=desk.clock())
        return {**found.document(), "lines": {"en": found.lines("en"), "zh": found.lines("zh")}}

    # Showing.

    def _statement(self, plan: dict[str, Any]) -> dict[str, Any]:
        desk = self._desk
        derivation = desk.derive(plan)
        names = desk.names(plan)
        return {
            "security": derivation.security,
            "items": derivation.statement_json(),
            "en": render(derivation.disclosures, names, "en"),
            "zh": render(derivation.disclosures, names, "zh"),
        }

    def describe(self, row: Job, full: bool = False) -> dict[str, Any]:
        """A job for the API."""
        desk = self._desk
        plan = desk.plan(row)
        names = desk.names(plan)
        with desk.store.read() as session:
            approvals = session.scalars(select(Approval).where(Approval.job == row.id)).all()
        body: dict[str, Any] = {
            "id": row.id,
            "function": row.function,
            "shape": row.shape,
            "purpose": plan["purpose"],
            "agreement": row.agreement,
            "asker": names.get(row.asker, row.asker),
            "person": row.person,
            "state": row.state,
            "attempt": row.attempt,
            "parties": [{"name": p["name"], "key": p["key"], "roles": p["roles"]} for p in plan["parties"]],
            "approvals": {names.get(a.party, a.party): a.decision for a in approvals},
            "created": row.created,
            "started": row.started,
            "ended": row.ended,
            "schedule": row.schedule,
            "progress": self.runs.progress(row.id),
            "error": row.error,
            "evidence": row.evidence,
            "meters": row.meters,
            "result": {"rows": row.output["rows"], **row.output["scalars"]} if row.output else None,
        }
        if full:
            body["plan"] = plan
            body["plan_digest"] = row.plan_digest
            body["statement"] = self._statement(plan)
            body["missing_signatures"] = self.missing(row, plan)
        return body

    def missing(self, row: Job, plan: dict[str, Any]) -> list[str]:
        """Names of the parties whose signature the final receipt still lacks."""
        with self._desk.store.read() as session:
            held = session.get(Receipt, (row.id, "final", "", 0))
        signed = dsse.signers(held.envelope) if held is not None else set()
        return [p["name"] for p in plan["parties"] if p["key"] not in signed]

    def show(self, job: str) -> dict[str, Any]:
        """One job with plan and disclosure statement."""
        return self.describe(self._desk.job(job), full=True)

    def listed(
        self, state: str | None, function: str | None, limit: int, before: str | None
    ) -> list[dict[str, Any]]:
        """Jobs, newest first."""
        query = select(Job).order_by(Job.created.desc(), Job.id)
        if state:
            query = query.where(Job.state == state)
        if function:
            query = query.where(Job.function == function)
        if before:
            query = query.where(Job.created < before)
        with self._desk.store.read() as session:
            rows = session.scalars(query.limit(limit)).all()
        return [self.describe(row) for row in rows]

    def events(self, job: str, after: int = 0) -> list[dict[str, Any]]:
        """What happened to a job, in order."""
        self._desk.job(job)
        with self._desk.store.read() as session:
            rows = session.scalars(
                select(JobEvent).where(JobEvent.job == job, JobEvent.id > after).order_by(JobEvent.id)
            ).all()
        return [{"id": r.id, "at": r.at, "kind": r.kind, "detail": r.detail} for r in rows]

    def result_file(self, job: str) -> Path:
        """The result of a completed job, at a receiver."""
        row = self._desk.job(job)
        if row.state != "completed":
            raise AtollError(
                "E_STATE", f"job {job} is {row.state}" + (f": {row.error['detail']}" if row.error else "")
            )
        if row.output is None:
            raise AtollError("E_NOT_FOUND", f"this node receives nothing from job {job}")
        path: Path = self._desk.folder(job) / row.output["file"]
        return path

    def receipt(self, job: str) -> dict[str, Any]:
        """Receipts of a job: provisional ones, and the final one with who has signed."""
        row = self._desk.job(job)
        plan = self._desk.plan(row)
        with self._desk.store.read() as session:
            rows = session.scalars(
                select(Receipt).where(Receipt.job == job).order_by(Receipt.kind, Receipt.block)
            ).all()
            blocks = session.scalars(select(Block).where(Block.job == job).order_by(Block.number)).all()
        final = next((r for r in rows if r.kind == "final" and r.block == 0), None)
        body: dict[str, Any] = {
            "job": job,
            "evidence": row.evidence,
            "missing": self.missing(row, plan),
            "outcome": row.state,
            "error": row.error,
            "provisional": [
                {
                    "kind": r.kind,
                    "party": self._desk.names(plan).get(r.party, r.party),
                    "block": r.block,
                    "envelope": r.envelope,
                }
                for r in rows
                if r.kind != "final"
            ],
            "blocks": [self._describe_block(block, rows) for block in blocks],
            "final": final.envelope if final else None,
            "document": None,
        }
        if final is not None:
            document = dsse.verify("receipt/v1", final.envelope, [])
            parse_receipt(document)
            body["document"] = document
        if row.output is not None:
            body["output"] = {
                "digest": row.output["digest"],
                "opening": row.output["opening"],
                "commitment": row.output["commitment"],
            }
        return body

    @staticmethod
    def _describe_block(block: Block, receipts: Sequence[Receipt]) -> dict[str, Any]:
        """A block of a service's calls, with its receipt as far as it is signed."""
        held = next((r for r in receipts if r.kind == "final" and r.block == block.number), None)
        return {
            "number": block.number,
            "first": block.first,
            "reserved": block.reserved,
            "calls": block.used,
            "evidence": block.evidence,
            "opened": block.opened,
            "closed": block.closed,
            "receipt": held.envelope if held else None,
        }

    def consent_of(self, job: str) -> dict[str, Any] | None:
        """How calls of a service that this node asks show consent; None where they show none."""
        desk = self._desk
        plan = desk.plan(desk.job(job))
        mode = desk.derive(plan).consent
        if mode == "none":
            return None
        issuers: set[str] = set()
        for entry in plan["inputs"]:
            agreement = desk.agreements.state(entry["agreement"], entry["agreement_digest"]).agreement
            asset = agreement.asset_at(entry["party"], entry["asset"])
            grants = grants_to(asset, plan["asker"], plan["purpose"], plan["function"]) if asset else []
            issuers |= {key for _, grant in grants for key in grant.consent.issuers}
        return {
            "mode": mode,
            "issuers": sorted(issuers),
            "purpose": plan["purpose"],
            "function": plan["function"],
        }

    def charges(self, agreement: str | None, job: str | None, limit: int) -> list[dict[str, Any]]:
        """Debits of quota and join bounds at this node, newest first."""
        query = select(Charge).order_by(Charge.id.desc()).limit(limit)
        if agreement:
            query = query.where(Charge.agreement == agreement)
        if job:
            query = query.where(Charge.job == job)
        with self._desk.store.read() as session:
            rows = session.scalars(query).all()
        return [
            {
                "id": r.id,
                "job": r.job,
                "block": r.block,
                "kind": r.kind,
                "agreement": r.agreement,
                "asset": r.asset,
                "provider": r.provider,
                "partner": r.partner,
                "amount": r.amount,
                "at": r.at,
            }
            for r in rows
        ]

    # Acting.

    def answer(self, job: str, person: str, approve: bool, reason: str = "") -> dict[str, Any]:
        """A steward's decision."""
        return self.describe(self.proposals.answer(job, person, approve, reason))

    def cancel(self, job: str, person: str) -> dict[str, Any]:
        """Ends a job that has not ended."""
        row = self._desk.job(job)
        if row.state in ENDED:
            raise AtollError("E_STATE", f"job {job} is {row.state} already")
        self.runs.cancel(job, person)
        return self.describe(self._desk.job(job))

    def rerun(self, job: str) -> dict[str, Any]:
        """The next attempt of a failed job."""
        self.runs.rerun(job)
        return self.describe(self._desk.job(job))

    def _agreement_revoked(self, agreement: str) -> None:
        with self._desk.store.read() as session:
            rows = session.scalars(
                select(Job).where(Job.agreement == agreement, Job.state.not_in(ENDED))
            ).all()
        for row in rows:
            self.runs.fail(
                row.id,
                AtollError(
                    "E_REVOKED", f"agreement {agreement} was revoked", party=self._desk.config["node.name"]
                ),
            )

    def _partner_removed(self, identity: str) -> None:
        with self._desk.store.read() as session:
            rows = session.scalars(select(Job).where(Job.state.not_in(ENDED))).all()
        for row in rows:
            if identity in self._desk.others(self._desk.plan(row)):
                self.runs.fail(row.id, AtollError("E_UNPAIRED", "a party of the job was un-paired"))

    # Schedules.

    def add_schedule(self, request: dict[str, Any], every_seconds: int, person: str) -> dict[str, Any]:
        """Asks the same again at an interval, first now; the request must compile today."""
        if not 1 <= every_seconds <= 366 * 86400:
            raise AtollError("E_FORMAT", "every_seconds is 1 to 366 days")
        self.compile(request, person)
        row = Schedule(
            id=f"sch-{secrets.token_hex(8)}",
            request=request,
            person=person,
            every_seconds=every_seconds,
            next=stamp(self._desk.clock()),
            created=stamp(self._desk.clock()),
        )
        with self._desk.store.write() as session:
            session.add(row)
        return self._describe_schedule(row)

    @staticmethod
    def _describe_schedule(row: Schedule) -> dict[str, Any]:
        return {
            "id": row.id,
            "request": row.request,
            "every_seconds": row.every_seconds,
            "next": row.next,
            "person": row.person,
            "last_job": row.last_job,
            "ended": row.ended,
            "created": row.created,
        }

    def schedules(self) -> list[dict[str, Any]]:
        """All schedules."""
        with self._desk.store.read() as session:
            return [
                self._describe_schedule(r)
                for r in session.scalars(select(Schedule).order_by(Schedule.created))
            ]

    def end_schedule(self, identifier: str) -> dict[str, Any]:
        """Ends a schedule; a job that it started goes on."""
        with self._desk.store.write() as session:
            row = session.get(Schedule, identifier)
            if row is None:
                raise AtollError("E_NOT_FOUND", f"there is no schedule {identifier!r}")
            row.ended = row.ended or stamp(self._desk.clock())
        return self._describe_schedule(row)

    def _schedule_loop(self) -> None:
        while not self._stopping.wait(timeout=0.5):
            with self._desk.store.read() as session:
                due = session.scalars(
                    select(Schedule).where(
                        Schedule.ended.is_(None), Schedule.next <= stamp(self._desk.clock())
                    )
                ).all()
            for row in due:
                self._run_schedule(row)

    def _run_schedule(self, row: Schedule) -> None:
        """One run of a schedule. Missed times are not made up: the next one is in the future."""
        desk = self._desk
        following = parse(row.next)
        while following <= desk.clock():
            following += timedelta(seconds=row.every_seconds)
        with desk.store.write() as session:
            session.get_one(Schedule, row.id).next = stamp(following)
        try:
            job = self.ask(row.request, row.person, schedule=row.id)
        except AtollError as error:
            self._log.warning("a scheduled job was refused", schedule=row.id, code=error.code)
            return
        with desk.store.write() as session:
            session.get_one(Schedule, row.id).last_job = job["id"]
