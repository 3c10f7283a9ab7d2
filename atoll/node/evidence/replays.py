"""Replays at the audited node: asked for by an auditor, run by a worker, reported under the node's signature."""

from __future__ import annotations

import secrets
import shutil
import threading
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from atoll.agreements.replay import REPLAY_KIND, build_replay, open_replay
from atoll.crypto import dsse
from atoll.errors import AtollError
from atoll.ledger.report import Finding
from atoll.node.clock import stamp
from atoll.node.evidence.replay_case import Case, gather
from atoll.node.evidence.replay_report import after, as_shown, before, conclude, finding
from atoll.node.jobs.desk import Desk
from atoll.node.jobs.launch import peer_places
from atoll.node.logs import logger
from atoll.node.state.models import Replay
from atoll.node.worker.build import build_digest
from atoll.node.worker.supervise import Worker

Json = dict[str, Any]


@dataclass
class _Running:
    """A replay that runs."""

    case: Case
    options: Json
    threads: int
    started: datetime
    work: Path
    worker: Worker | None = None
    progress: Json | None = None
    cancelled: AtollError | None = field(default=None)


class Replays:
    """All replays of this node: one at a time, so that jobs keep the machine."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._log = logger("replays")
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}

    def start(self) -> None:
        """Notes the end of what a stop of the node interrupted."""
        desk = self._desk
        error = AtollError(
            "E_RESTARTED",
            "this node was stopped while the replay ran",
            party=desk.config["node.name"],
            cure="Ask for the replay again.",
        )
        with desk.store.write() as session:
            for row in session.scalars(select(Replay).where(Replay.state == "running")):
                row.state, row.error, row.ended = "failed", error.to_problem(), stamp(desk.clock())

    def stop(self) -> None:
        """Ends what runs."""
        for identifier in list(self._running):
            self._cancel(identifier, AtollError("E_RESTARTED", "the node was stopped"))

    # Asking.

    def begin(
        self,
        job: str,
        person: str,
        *,
        threads: int | None = None,
        any_build: bool = False,
        anyway: bool = False,
    ) -> Json:
        """Begins to run this node's side of a completed job again.

        Args:
            job: its identifier.
            person: who asks.
            threads: 1 to 1024; None for as many as then.
            any_build: runs it also where the program is not the one that the receipt names.
            anyway: runs it also where seed, input, messages or receipt were changed, to see what differs first.

        Raises:
            AtollError: as `gather`; `E_BUSY` while another one runs; `E_RECOVERY`, `E_LEDGER` while nothing can be
                recorded under the agreement.
        """
        desk = self._desk
        case = gather(desk, job)
        desk.require(case.row.agreement)
        execution = case.expected.record.execution
        options = {"threads": threads, "any_build": any_build, "anyway": anyway}
        identifier = f"rpl-{secrets.token_hex(8)}"
        running = _Running(
            case=case,
            options=options,
            threads=threads or (execution.threads if execution else 1),
            started=desk.clock(),
            work=desk.home / "work" / identifier,
        )
        with self._lock:
            if self._running:
                raise AtollError(
                    "E_BUSY",
                    "another replay runs; a node runs one at a time",
                    party=desk.config["node.name"],
                    cure="Wait until it ends, or cancel it.",
                )
            self._running[identifier] = running
        try:
            with desk.store.write() as session:
                session.add(
                    Replay(
                        id=identifier,
                        job=job,
                        agreement=case.row.agreement,
                        person=person,
                        options=options,
                        state="running",
                        created=stamp(desk.clock()),
                    )
                )
            self._launch(identifier, running)
        except AtollError as error:
            self._end(identifier, None, error)
            raise
        return self.show(identifier)

    def _launch(self, identifier: str, running: _Running) -> None:
        desk, case = self._desk, running.case
        if not case.can_run:
            self._end(identifier, None, None)
            return
        running.work.mkdir(mode=0o700)
        execution = case.expected.record.execution
        budget = desk.config["jobs.memory_bytes"]
        spec = {
            "task": "replay",
            "plan": case.plan,
            "me": desk.me,
            "seed": case.seed,
            "attempt": case.row.attempt,
            "threads": running.threads,
            "kept": str(desk.folder(case.row.id)),
            "work": str(running.work),
            "inputs": case.inputs,
            "declared_keys": case.declared_keys,
            "peers": peer_places(case.row),
            "expected": case.expected.transcripts(),
            "build": execution.build if execution else None,
            "any_build": running.options["any_build"],
            "anyway": running.options["anyway"],
            "run": all(f.level != "bad" for f in case.found),
        }

        def on_message(message: Json) -> None:
            if message["kind"] == "progress":
                running.progress = {k: message[k] for k in ("done", "total", "step")}

        running.worker = Worker(
            desk.nursery,
            spec,
            on_message,
            lambda result, error: self._end(identifier, result, error),
            memory_bytes=min(budget, case.plan["limits"]["memory_bytes"] or budget),
            seconds=float(desk.config["jobs.seconds"]),
        )
        if running.cancelled is not None:
            running.worker.cancel(running.cancelled)

    def cancel(self, identifier: str, person: str) -> Json:
        """Ends a replay that runs; `E_STATE` if it does not."""
        name = self._desk.config["node.name"]
        error = AtollError("E_CANCELLED", f"{person} cancelled the replay", party=name)
        if not self._cancel(identifier, error):
            raise AtollError("E_STATE", f"replay {identifier} is {self.show(identifier)['state']} already")
        return self.show(identifier)

    def _cancel(self, identifier: str, error: AtollError) -> bool:
        running = self._running.get(identifier)
        if running is None:
            return False
        running.cancelled = error
        if running.worker is not None:
            running.worker.cancel(error)
            running.worker.wait(5.0)
        return True

    def runs(self, job: str) -> bool:
        """Whether a replay of a job runs now."""
        with self._lock:
            return any(running.case.row.id == job for running in self._running.values())

    # The end.

    def _end(self, identifier: str, result: Json | None, error: AtollError | None) -> None:
        with self._lock:
            running = self._running.get(identifier)
        if running is None:
            return
        try:
            if error is None:
                self._report(identifier, running, result)
            else:
                self._failed(identifier, running, error)
        except AtollError as refused:
            self._failed(identifier, running, refused)
        except Exception as defect:
            self._log.exception("ending a replay failed", replay=identifier)
            self._failed(identifier, running, AtollError("E_INTERNAL", type(defect).__name__))
        finally:
            shutil.rmtree(running.work, ignore_errors=True)
            with self._lock:
                self._running.pop(identifier, None)

    def _findings(self, running: _Running, result: Json | None) -> list[Finding]:
        case = running.case
        if result is None:
            return [*case.found, finding("not-run")]
        checked = before(case.expected, result["checked"], any_build=running.options["any_build"])
        return conclude([*case.found, *checked, *after(case.expected, result, running.threads)])

    def _report(self, identifier: str, running: _Running, result: Json | None) -> None:
        """Signs the report, and stores and records it in one transaction."""
        desk, case = self._desk, running.case
        document = build_replay(
            job=case.row.id,
            plan=case.row.plan_digest,
            attempt=case.row.attempt,
            party=desk.me,
            host=desk.me,
            receipt=case.receipt,
            build=result["checked"]["build"] if result else build_digest(),
            threads=running.threads,
            ran=result is not None and result["ran"],
            started=running.started,
            finished=desk.clock(),
            findings=[
                {"code": f.code, "level": f.level, "facts": dict(f.facts)}
                for f in self._findings(running, result)
            ],
        )
        envelope = dsse.sign(REPLAY_KIND, document, desk.signing)
        with desk.store.write() as session:
            row = session.get_one(Replay, identifier)
            row.state, row.report, row.ended = "done", envelope, stamp(desk.clock())
            desk.event(session, row.job, "run again", replay=identifier, ok=document["ok"], person=row.person)
            desk.record(session, row.agreement, "replay", {"envelope": envelope}, row.job)

    def _failed(self, identifier: str, running: _Running, error: AtollError) -> None:
        names = self._desk.names(running.case.plan)
        error.party = names.get(error.party, error.party) if error.party else None
        with self._desk.store.write() as session:
            row = session.get(Replay, identifier)
            if row is not None:
                row.state = "cancelled" if error.code == "E_CANCELLED" else "failed"
                row.error, row.ended = error.to_problem(), stamp(self._desk.clock())

    # Showing.

    def _describe(self, row: Replay, full: bool) -> Json:
        running = self._running.get(row.id)
        document = open_replay(row.report).document() if row.report is not None else None
        body: Json = {
            "id": row.id,
            "job": row.job,
            "agreement": row.agreement,
            "person": row.person,
            **row.options,
            "state": row.state,
            "progress": running.progress if running else None,
            "ok": document["ok"] if document else None,
            "error": row.error,
            "created": row.created,
            "ended": row.ended,
        }
        if full:
            body["report"] = as_shown(document) if document else None
            body["envelope"] = row.report
        return body

    def show(self, identifier: str) -> Json:
        """One replay, with its report and the signed envelope of it once it is done; `E_NOT_FOUND`."""
        with self._desk.store.read() as session:
            row = session.get(Replay, identifier)
        if row is None:
            raise AtollError("E_NOT_FOUND", f"there is no replay {identifier!r}")
        return self._describe(row, full=True)

    def listed(self, job: str | None, limit: int, before: str | None) -> list[Json]:
        """Replays, newest first; all, or those of one job."""
        query = select(Replay).order_by(Replay.created.desc(), Replay.id)
        if job:
            query = query.where(Replay.job == job)
        if before:
            query = query.where(Replay.created < before)
        with self._desk.store.read() as session:
            rows = session.scalars(query.limit(limit)).all()
        return [self._describe(row, full=False) for row in rows]
