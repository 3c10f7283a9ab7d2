"""Running an approved job: start on all sides, watch the worker, end with one signed reason."""

from __future__ import annotations

import contextlib
import re
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy.orm import Session

from atoll.crypto import dsse
from atoll.errors import AtollError
from atoll.net.line import Measured
from atoll.net.link import Peer as Remote
from atoll.net.listener import job_name
from atoll.node.clock import parse, stamp
from atoll.node.jobs.aborts import ABORT_KIND, name_parties, signed_abort
from atoll.node.jobs.desk import ENDED, Desk
from atoll.node.jobs.facts import gather
from atoll.node.jobs.launch import (
    FOLLOWING,
    Running,
    computes,
    launch,
    newest_inputs,
    remove_matches,
    replay_days,
    talks,
)
from atoll.node.jobs.questions import ASKED, Questions
from atoll.node.jobs.receipts import Receipts
from atoll.node.jobs.release import Releases
from atoll.node.jobs.services import Calls
from atoll.node.logs import logger
from atoll.node.scripts.plans import check_plan
from atoll.node.state.models import Approval as ApprovalRow
from atoll.node.state.models import Job, JobEvent
from atoll.node.worker.supervise import Worker
from atoll.policy import decide

_OWN_REASON_SECONDS = 5.0
_RELAUNCHES = 20
_START_SECONDS = 5.0
_LINGER_SECONDS = 60.0
# Failures of a standing service that pass: a connection, a process, a restart.
PASSING = {"E_PEER_SILENT", "E_PEER_ABORT", "E_UNREACHABLE", "E_RESTARTED", "E_WORKER", "E_BUSY", "E_REWIND"}
_ROUTE = re.compile(r"[0-9a-f]{32}\.job\.atoll")
_NONCE = re.compile(r"[0-9a-f]{32}")


def _routes_of(routes: dict[tuple[str, str], str], party: str) -> dict[str, str]:
    """The connections of one party: peer -> name."""
    return {a if b == party else b: name for (a, b), name in routes.items() if party in (a, b)}


class Runs:
    """All jobs that run on this node now."""

    def __init__(self, desk: Desk, releases: Releases, receipts: Receipts) -> None:
        self._desk, self._releases, self._receipts = desk, releases, receipts
        self._questions = Questions(desk, releases)
        self._log = logger("runs")
        self._running: dict[str, Running] = {}
        self._progress: dict[str, dict[str, Any]] = {}
        self._calls = Calls(desk)
        self.stopping = False
        # The attempts that ran when this node was stopped, until they are taken up: whatever ends them, that is the
        # reason. A later attempt, which a partner may start before that, has reasons of its own.
        self._left: dict[str, int] = {}
        desk.partners.handle("job.start", self._started_there)
        desk.partners.handle("job.abort", self._aborted_there)

    # Start.

    def start(self, job: str, again: bool = False) -> None:
        """At the asker: starts the next attempt once everyone has approved, and reports failure as the job's end."""
        try:
            self._start(job, again)
        except AtollError as error:
            self.fail(job, error)
        except Exception as error:
            self._log.exception("starting failed", job=job)
            self.fail(job, AtollError("E_INTERNAL", f"starting failed: {type(error).__name__}"))

    def _start(self, job: str, again: bool) -> None:
        desk = self._desk
        with desk.locked(job):
            row = desk.job(job)
            if row.state != "approved" and not (again and row.state == "failed"):
                return
            plan = desk.plan(row)
            terms = self._final_check(row, plan)
            self._take_slot(row.shape)
            routes = {pair: job_name() for pair in talks(plan)}
            with desk.store.write() as session:
                stored = session.get_one(Job, job)
                stored.state, stored.attempt, stored.error, stored.ended = (
                    "running",
                    row.attempt + 1,
                    None,
                    None,
                )
                stored.started, stored.terms = stamp(desk.clock()), terms
                stored.replay_days = replay_days(desk, plan)
                stored.start = {"nonce": secrets.token_hex(16), "routes": _routes_of(routes, desk.me)}
                desk.event(session, job, "started", attempt=stored.attempt)
            row = desk.job(job)
            if computes(plan, desk.me):
                self._launch(row, plan)
        with desk.store.read() as session:
            approvals = {
                a.party: a.envelope for a in session.query(ApprovalRow).filter(ApprovalRow.job == job)
            }
        bodies = {
            key: {
                "job": job,
                "attempt": row.attempt,
                "nonce": row.start["nonce"],
                "approvals": approvals,
                "routes": _routes_of(routes, key),
            }
            for key in desk.others(plan)
        }
        with ThreadPoolExecutor(max_workers=16) as pool:
            asked = {
                key: pool.submit(desk.partners.request, key, "job.start", body)
                for key, body in bodies.items()
            }
        for key, answer in asked.items():
            try:
                answer.result()
            except AtollError as error:
                error.party = error.party or desk.names(plan)[key]
                raise

    def _take_slot(self, shape: str) -> None:
        """Jobs and standing services have a bound each: a service stays for months, and waits most of the time."""
        services = sum(1 for running in list(self._running.values()) if running.service)
        service = shape == "service"
        used = services if service else len(self._running) - services
        setting = "jobs.services" if service else "jobs.concurrent"
        if used >= self._desk.config[setting]:
            what = "services" if service else "jobs"
            raise AtollError(
                "E_BUSY",
                f"{used} {what} run, and {setting} allows no more",
                party=self._desk.config["node.name"],
            )

    def _final_check(self, row: Job, plan: dict[str, Any]) -> dict[str, int]:
        """The decision once more, with everyone's signed sizes and today's counters.

        Gives the grant that each own input is used under where another party asks, by its place.
        """
        desk = self._desk
        check_plan(desk.packages, plan, desk.me)
        derivation = desk.derive(plan)
        with desk.store.read() as session:
            facts = gather(desk, session, derivation, desk.approvals(row), None)
        decision = decide(
            derivation, me=desk.me, agreements=desk.states(plan), facts=facts, now=desk.clock(), final=True
        )
        if decision.outcome == "refuse":
            raise decision.reasons[0].error(desk.config["node.name"])
        return {
            name: index
            for (name, partner), index in decision.grants.items()
            if partner == plan["asker"] != desk.me
        }

    def _started_there(self, remote: Remote, body: Any) -> Any:
        """At a participant: the asker starts an attempt."""
        desk = self._desk
        wanted = {"job", "attempt", "nonce", "approvals", "routes"}
        if not isinstance(body, dict) or set(body) != wanted or not isinstance(body["routes"], dict):
            raise AtollError("E_WIRE", "not a start")
        job = str(body["job"])
        with desk.locked(job):
            row = desk.job(job)
            plan = desk.plan(row)
            if remote.identity != row.asker:
                raise AtollError("E_PLAN", "only the asker starts a job", party=remote.name)
            attempt = body["attempt"]
            start = {"nonce": body["nonce"], "routes": body["routes"]}
            talking = {key for pair in talks(plan) if desk.me in pair for key in pair} - {desk.me}
            names = body["routes"].values()
            if set(body["routes"]) != talking or not all(
                isinstance(n, str) and _ROUTE.fullmatch(n) for n in names
            ):
                raise AtollError("E_WIRE", "the start does not name the connections that the plan needs")
            if not isinstance(body["nonce"], str) or not _NONCE.fullmatch(body["nonce"]):
                raise AtollError("E_WIRE", "the nonce is not one")
            if attempt == row.attempt and row.state in ("running", "released") and row.start == start:
                return {}
            startable = row.state in ("approved", "running", "released") or (
                row.state == "failed" and row.attempt > 0
            )
            if not isinstance(attempt, int) or attempt <= row.attempt or not startable:
                raise AtollError(
                    "E_REWIND",
                    f"attempt {attempt} cannot start: the job is {row.state} at attempt {row.attempt}",
                    party=desk.config["node.name"],
                    step="start",
                )
            if attempt > 1 and parse(plan["expires"]) <= desk.clock():
                raise AtollError("E_PLAN", "the proposal is over its date", party=desk.config["node.name"])
            self._take_approvals(row, plan, body["approvals"])
            terms = self._final_check(row, plan)
            before = self._forget(job)
            if before is not None:
                # The asker gave the earlier attempt up; its abort may still be on the way.
                before.cancel(AtollError("E_CANCELLED", "a later attempt started", party=remote.name))
            self._take_slot(row.shape)
            with desk.store.write() as session:
                stored = session.get_one(Job, job)
                stored.state, stored.attempt, stored.start, stored.terms = "running", attempt, start, terms
                stored.started, stored.error, stored.ended = stamp(desk.clock()), None, None
                stored.replay_days = replay_days(desk, plan)
                desk.event(session, job, "started", attempt=attempt)
            row = desk.job(job)
            self._launch(row, plan)
        return {}

    def _take_approvals(self, row: Job, plan: dict[str, Any], envelopes: Any) -> None:
        desk = self._desk
        parties = {p["key"] for p in plan["parties"]}
        if not isinstance(envelopes, dict) or set(envelopes) != parties:
            raise AtollError("E_APPROVAL", "the start does not carry every party's approval")
        known = desk.approvals(row)
        for party, envelope in envelopes.items():
            approval = desk.open_approval(row, plan, party, envelope)
            if approval.decision != "approve":
                raise AtollError("E_APPROVAL", "a party refused the plan", party=desk.names(plan)[party])
            if party in known and known[party] != approval:
                raise AtollError(
                    "E_REWIND",
                    "an approval differs from the one that was sent before",
                    party=desk.names(plan)[party],
                )
            if party not in known:
                with desk.store.write() as session:
                    session.add(
                        ApprovalRow(
                            job=row.id, party=party, decision="approve", envelope=envelope, at=approval.at
                        )
                    )

    # The worker.

    def _launch(self, row: Job, plan: dict[str, Any]) -> None:
        job, attempt = row.id, row.attempt
        self._running[job] = launch(
            self._desk,
            row,
            plan,
            lambda message: self._message(job, attempt, message),
            lambda result, error: self._ended(job, attempt, result, error),
        )
        self._desk.metrics.running.set(len(self._running))

    def _message(self, job: str, attempt: int, message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind == "progress":
            self._progress[job] = {k: message[k] for k in ("done", "total", "step")}
        elif kind == "reply":
            error = AtollError.from_problem(message["error"]) if message["error"] else None
            if error is not None:
                name_parties(error, self._desk.names(self._desk.plan(self._desk.job(job))))
            self._calls.answered(job, message["call"], message["payload"], error)
        elif kind == "block":
            # In the order of the worker's messages, so that a block is closed before the next one is asked for.
            self._receipts.close_block(job, attempt, message)
        elif kind in ASKED:
            # Answered on a thread of its own: a release waits for the peer, and progress must go on meanwhile.
            # A worker may ask before this node has noted that it runs.
            asked = (job, attempt, message, lambda: self._started_worker(job))
            threading.Thread(target=self._questions.answer, args=asked, daemon=True).start()

    def _forget(self, job: str) -> Worker | None:
        running = self._running.pop(job, None)
        self._progress.pop(job, None)
        self._calls.drop(job)
        self._desk.metrics.running.set(len(self._running))
        if running is None:
            return None
        running.close()
        return running.worker

    def _worker(self, job: str) -> Worker | None:
        running = self._running.get(job)
        return running.worker if running else None

    def _started_worker(self, job: str) -> Worker | None:
        """The worker of a job. Between the stored state `running` and the worker lies the moment of its start."""
        end = time.monotonic() + _START_SECONDS
        while (worker := self._worker(job)) is None:
            if self._desk.job(job).state != "running" or time.monotonic() > end:
                return None
            time.sleep(0.02)
        return worker

    # The end.

    def _ended(self, job: str, attempt: int, result: dict[str, Any] | None, error: AtollError | None) -> None:
        desk = self._desk
        if result is None:
            error = error or AtollError("E_INTERNAL", "the worker gave no reason")
            if error.code != "E_WORKER" or not self._relaunch(job, attempt):
                self.fail(job, error, attempt=attempt)
            return
        try:
            for peer, found in result["measured"].items():
                desk.lines.note(peer, Measured(**found))
            with desk.locked(job):
                row = desk.job(job)
                if row.state not in ("running", "released") or row.attempt != attempt:
                    return
                self._forget(job)
                part, output = self._receipts.own_part(row, result)
                with desk.store.write() as session:
                    stored = session.get_one(Job, job)
                    stored.state, stored.ended, stored.output = "completed", stamp(desk.clock()), output
                    stored.meters = {
                        **result["meters"],
                        "bytes_sent": part["meters"]["bytes_sent"],
                        "bytes_received": part["meters"]["bytes_received"],
                    }
                    self._receipts.store_part(session, row, part)
                    desk.event(session, job, "completed", rows=result["rows"])
                remove_matches(desk, row)
                desk.metrics.jobs.labels(function=row.function, outcome="completed").inc()
                desk.metrics.seconds.labels(function=row.function).observe(result["meters"]["wall_ms"] / 1000)
                desk.metrics.bytes.labels(direction="sent").inc(part["meters"]["bytes_sent"])
                desk.metrics.bytes.labels(direction="received").inc(part["meters"]["bytes_received"])
            self._receipts.deliver_part(job)
        except AtollError as problem:
            self.fail(job, problem, attempt=attempt)
        except Exception as problem:
            self._log.exception("ending a job failed", job=job)
            self.fail(job, AtollError("E_INTERNAL", type(problem).__name__), attempt=attempt)

    def fail(
        self,
        job: str,
        error: AtollError,
        *,
        attempt: int | None = None,
        tell: bool = True,
        state: str = "failed",
    ) -> None:
        """Ends a job here with a reason, and tells the others."""
        desk = self._desk
        with desk.locked(job):
            try:
                row = desk.job(job)
            except AtollError:
                return
            if row.state in ENDED or (attempt is not None and attempt != row.attempt):
                return
            if self._left.pop(job, None) == row.attempt:
                error, state = self._was_stopped(), "failed"
            name_parties(error, desk.names(desk.plan(row)))
            worker = self._forget(job)
            if worker is not None:
                worker.cancel(error)
            remove_matches(desk, row)
            released = row.state == "released"
            with desk.store.write() as session:
                stored = session.get_one(Job, job)
                stored.state, stored.error, stored.ended = state, error.to_problem(), stamp(desk.clock())
                desk.event(session, job, state, code=error.code, text=error.text, released=released)
                document = {
                    "job": job,
                    "attempt": row.attempt,
                    "outcome": "released, unacknowledged" if released else state,
                    "error": error.to_wire(),
                }
                try:
                    desk.record(session, row.agreement, "outcome", document, job)
                except AtollError as refused:
                    # A job ends even where nothing can be recorded any more.
                    self._log.warning("the end of a job was not recorded", job=job, code=refused.code)
                if tell:
                    self.tell(session, row, error)
            desk.metrics.jobs.labels(function=row.function, outcome=state).inc()
        desk.partners.outbox.wake()
        if row.shape == "service" and row.asker == desk.me and state == "failed" and error.code in PASSING:
            threading.Thread(target=self._revive, args=(job,), daemon=True, name="revive").start()

    def _revive(self, job: str) -> None:
        """A standing service comes back by itself: new attempts, ever further apart, until its plan's date."""
        pause = 1.0
        while not self.stopping:
            time.sleep(pause)
            row = self._desk.job(job)
            if row.state != "failed" or parse(self._desk.plan(row)["expires"]) <= self._desk.clock():
                return
            with contextlib.suppress(AtollError):
                for peer in self._desk.others(self._desk.plan(row)):
                    self._desk.partners.links.link(peer, timeout=2.0)
                self.start(job, True)
                return
            pause = min(60.0, pause * 2)

    def tell(self, session: Session, row: Job, error: AtollError, apart_from: str = "") -> None:
        """Queues a signed abort for the others: from the asker to all, from a participant to the asker."""
        desk = self._desk
        envelope = signed_abort(desk, row, error)
        to = desk.others(desk.plan(row)) if row.asker == desk.me else [row.asker]
        for key in to:
            if key != apart_from:
                desk.partners.outbox.put(session, key, "job.abort", {"job": row.id, "abort": envelope})

    def _aborted_there(self, remote: Remote, body: Any) -> Any:
        desk = self._desk
        if not isinstance(body, dict) or set(body) != {"job", "abort"}:
            raise AtollError("E_WIRE", "not an abort")
        document = dsse.verify(ABORT_KIND, body["abort"], [remote.identity])
        if not isinstance(document, dict):
            raise AtollError("E_WIRE", "not an abort")
        try:
            row = desk.job(str(body["job"]))
        except AtollError:
            return {}
        plan = desk.plan(row)
        if remote.identity not in desk.others(plan) or document.get("job") != row.id:
            raise AtollError("E_PLAN", "the sender has no part in that job")
        if row.state in ENDED or document.get("attempt") not in (row.attempt, 0):
            return {}
        error = AtollError.from_wire(document.get("error"), peer=remote.name)
        with desk.store.write() as session:
            desk.event(
                session, row.id, "aborted there", peer=remote.name, code=error.code, envelope=body["abort"]
            )
        if error.code == "E_PEER_ABORT" and error.party == desk.config["node.name"]:
            threading.Thread(
                target=self._fail_unless_ended,
                args=(row.id, row.attempt, error),
                daemon=True,
                name="own reason",
            ).start()
            return {}
        state = "cancelled" if error.code == "E_CANCELLED" else "failed"
        self.fail(row.id, error, tell=row.asker == desk.me, state=state)
        return {}

    def _fail_unless_ended(self, job: str, attempt: int, error: AtollError) -> None:
        """The partner saw this side's worker end: why it did is on its way from the worker, and says more."""
        end = time.monotonic() + _OWN_REASON_SECONDS  # a worker that is cut off ends at once
        while time.monotonic() < end and not self.stopping:
            row = self._desk.job(job)
            if row.state in ENDED or row.attempt != attempt:
                return
            time.sleep(0.05)
        self.fail(job, error, attempt=attempt, tell=self._desk.job(job).asker == self._desk.me)

    def cancel(self, job: str, person: str) -> None:
        """A person ends a job."""
        self.fail(
            job,
            AtollError("E_CANCELLED", f"{person} cancelled the job", party=self._desk.config["node.name"]),
            state="cancelled",
        )

    def rerun(self, job: str) -> None:
        """At the asker: the next attempt of a failed job, on the same inputs, never debited twice."""
        row = self._desk.job(job)
        if row.asker != self._desk.me or row.state != "failed" or row.attempt == 0:
            raise AtollError(
                "E_STATE",
                f"job {job} is {row.state}; only a failed job of this node that had started runs again",
            )
        if parse(self._desk.plan(row)["expires"]) <= self._desk.clock():
            raise AtollError("E_PLAN", "the proposal is over its date", cure="Ask for a new job.")
        threading.Thread(target=self.start, args=(job, True), daemon=True, name="rerun").start()

    def _relaunch(self, job: str, attempt: int) -> bool:
        """A long job whose worker died goes on in the same attempt, from its checkpoint; a few times."""
        desk = self._desk
        with desk.locked(job):
            row = desk.job(job)
            if row.shape != "long" or row.state not in ("running", "released") or row.attempt != attempt:
                return False
            with desk.store.read() as session:
                before = (
                    session.query(JobEvent).filter(JobEvent.job == job, JobEvent.kind == "resumed").count()
                )
            if before >= _RELAUNCHES:
                return False
            self._forget(job)
            self._left.pop(job, None)
            plan = desk.plan(row)
            with desk.store.write() as session:
                desk.event(session, job, "resumed", attempt=attempt)
            self._launch(row, plan)
        return True

    def stop_all(self, error: AtollError) -> None:
        """The node shuts down: jobs end with a reason that the partners hear; long ones wait for its return."""
        self.stopping = True
        for job, running in list(self._running.items()):
            if self._desk.job(job).shape == "long":
                running.worker.suspend()
            else:
                self.fail(job, error)

    def look_back(self) -> list[str]:
        """Finds the jobs that ran when this node was stopped; called before a partner can say anything."""
        with self._desk.store.read() as session:
            rows = session.query(Job).filter(Job.state.in_(("running", "released"))).all()
        self._left = {row.id: row.attempt for row in rows}
        return sorted(self._left)

    def take_up(self, job: str) -> bool:
        """A long job goes on from its checkpoint; any other one that was left running ends with the reason.

        False while nothing may be recorded under its agreement: ask again later.
        """
        row = self._desk.job(job)
        left = self._left.get(job)
        if row.state not in ("running", "released") or row.attempt != left:
            return True
        try:
            self._desk.require(row.agreement)
        except AtollError as error:
            if error.code == "E_RECOVERY":
                return False
        if not self._relaunch(row.id, row.attempt):
            self.fail(row.id, self._was_stopped(), attempt=left)
        return True

    def _was_stopped(self) -> AtollError:
        name = self._desk.config["node.name"]
        return AtollError("E_RESTARTED", "this node was stopped while the job ran", party=name)

    def resume_receipts(self) -> None:
        """Delivers parts of receipts whose delivery a stop came before."""
        self._receipts.resume()

    def progress(self, job: str) -> dict[str, Any] | None:
        """Progress of the current step, if the job runs here."""
        return self._progress.get(job)

    # Standing services.

    def call(
        self, job: str, payload: bytes, shown: dict[str, Any] | None = None, timeout: float = 30.0
    ) -> bytes:
        """One call of a standing service that this node asks; `shown` as `functions.context.Shown`."""
        return self._calls.call(self._started_worker(job), job, payload, shown, timeout)

    def serving(self, job: str) -> int | None:
        """The attempt of a service that runs here now; None if it does not."""
        running = self._running.get(job)
        return running.attempt if running is not None and running.service else None

    def changed(self, table: str) -> None:
        """A table has a new version: services that read it use it from their next group of calls on."""
        for job, running in list(self._running.items()):
            plan = self._desk.plan(self._desk.job(job))
            reads = {i["asset"] for i in plan["inputs"] if i["party"] == self._desk.me}
            if plan["function"] in FOLLOWING and table in reads:
                inputs = newest_inputs(self._desk, plan)
                running.worker.send({"kind": "inputs", "inputs": inputs})

    def withdrawn(self, consent: str) -> None:
        """An authorisation was withdrawn: the services that this node gives refuse it from now on."""
        for running in list(self._running.values()):
            running.worker.send({"kind": "withdrawn", "consent": consent})

    def consent_ended(self, package: str, partner: str) -> None:
        """The consent to a partner's package ended. Nothing leaves any more; the partner ends the service in order.

        One that it has not ended a while later is ended here.
        """
        desk = self._desk

        def insist() -> None:
            time.sleep(_LINGER_SECONDS)
            for job in list(self._running):
                plan = desk.plan(desk.job(job))
                named = any(op["parameters"].get("package") == package for op in plan["operators"])
                if named and plan["asker"] == partner:
                    name = desk.config["node.name"]
                    self.fail(
                        job, AtollError("E_REVOKED", "the consent to the package was withdrawn", party=name)
                    )

        threading.Thread(target=insist, daemon=True, name="consent ended").start()

    def stop_service(self, job: str) -> None:
        """Ends a standing service in order, so that its receipt is made; `E_STATE` if it does not run here."""
        worker = self._started_worker(job)
        if worker is None or self._desk.job(job).shape != "service":
            raise AtollError("E_STATE", f"job {job} is no running service here")
        worker.send({"kind": "stop"})
