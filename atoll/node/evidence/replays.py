"""Replays of this node's side of jobs: asked for by an auditor, run here or at an agreed host, and recorded."""

from __future__ import annotations

import secrets
import shutil
import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from atoll.agreements.replay import open_replay
from atoll.crypto import dsse
from atoll.errors import AtollError
from atoll.ledger.entry import Body
from atoll.node.clock import stamp
from atoll.node.evidence.replay_away import Away, require_host
from atoll.node.evidence.replay_case import Case, judge
from atoll.node.evidence.replay_papers import Papers, collect
from atoll.node.evidence.replay_report import as_shown
from atoll.node.evidence.replay_run import Options, signed_report, start_worker
from atoll.node.jobs.desk import Desk
from atoll.node.logs import logger
from atoll.node.state.replays import Replay
from atoll.node.worker.supervise import Worker

Json = dict[str, Any]


@dataclass
class _Running:
    """A replay that runs."""

    case: Case
    papers: Papers
    options: Options
    started: datetime
    work: Path
    host: tuple[str, str] | None
    worker: Worker | None = None
    progress: Json | None = None
    cancelled: AtollError | None = None
    # Its end is being stored: whoever reads that it has ended may begin another one.
    ending: bool = False

    def show(self, progress: Json) -> None:
        """Takes note of how far it came."""
        self.progress = progress

    def alive(self) -> None:
        """Raises the reason once it was cancelled."""
        if self.cancelled is not None:
            raise self.cancelled


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

    def _locate(self, _input: str, asset: str, version: str) -> Path | None:
        try:
            return self._desk.tables.version(asset, version).data.parent
        except AtollError:
            return None

    def begin(
        self,
        job: str,
        person: str,
        *,
        threads: int | None = None,
        any_build: bool = False,
        anyway: bool = False,
        at: str | None = None,
    ) -> Json:
        """Begins to run this node's side of a completed job again.

        Args:
            job: its identifier.
            person: who asks.
            threads: 1 to 1024; None for as many as then.
            any_build: runs it also where the program is not the one that the receipt names.
            anyway: runs it also where seed, input, messages or receipt were changed, to see what differs first.
            at: name or key of the partner that runs it, which is sent inputs, seed and messages; None for this node.

        Raises:
            AtollError: `E_NOT_FOUND`, `E_STATE` if the job cannot be run again; `E_SIGNATURE`, `E_APPROVAL` for a
                damaged document; `E_AGREEMENT` for a host that is not agreed on; `E_BUSY` while another one runs;
                `E_RECOVERY`, `E_LEDGER` while nothing can be recorded under the agreement.
        """
        desk = self._desk
        row = desk.job(job)
        papers = collect(desk, row)
        case = judge(papers, self._locate)
        desk.require(row.agreement)
        host = require_host(desk, case, at) if at is not None else None
        options = Options(threads, any_build, anyway)
        identifier = f"rpl-{secrets.token_hex(8)}"
        running = _Running(case, papers, options, desk.clock(), desk.home / "work" / identifier, host)
        with self._lock:
            if any(not other.ending for other in self._running.values()):
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
                        agreement=row.agreement,
                        host=host[0] if host else desk.me,
                        person=person,
                        options=options.document(),
                        state="running",
                        created=stamp(desk.clock()),
                    )
                )
            self._launch(identifier, running)
        except AtollError as error:
            self._end(identifier, None, None, error)
            raise
        return self.show(identifier)

    def _launch(self, identifier: str, running: _Running) -> None:
        running.work.mkdir(mode=0o700)
        if running.host is not None:
            threading.Thread(
                target=self._go_away, args=(identifier, running, running.host), daemon=True, name="replay"
            ).start()
            return
        if not running.case.can_run:
            self._ended(identifier, None, None)
            return
        running.worker = start_worker(
            self._desk,
            running.case,
            running.options,
            kept=self._desk.folder(running.case.job),
            work=running.work,
            on_progress=running.show,
            on_end=lambda result, error: self._ended(identifier, result, error),
        )
        if running.cancelled is not None:
            running.worker.cancel(running.cancelled)

    def _go_away(self, identifier: str, running: _Running, host: tuple[str, str]) -> None:
        try:
            away = Away(self._desk, *host, running.show, running.alive)
            document, envelope = away.run(running.papers, running.case, running.options, running.work)
        except AtollError as error:
            self._end(identifier, None, None, error)
        except Exception as defect:
            self._log.exception("a replay at a host failed", replay=identifier)
            self._end(identifier, None, None, AtollError("E_INTERNAL", type(defect).__name__))
        else:
            self._end(identifier, document, envelope, None)

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
            return any(running.case.job == job for running in self._running.values())

    # The end.

    def _ended(self, identifier: str, result: Json | None, error: AtollError | None) -> None:
        """The worker's end, or (both None) the end of what could not be run at all."""
        running = self._running.get(identifier)
        if running is None:
            return
        if error is not None:
            self._end(identifier, None, None, error)
            return
        try:
            made = signed_report(self._desk, running.case, running.options, result, running.started)
        except Exception as defect:
            self._log.exception("a report was not made", replay=identifier)
            self._end(identifier, None, None, AtollError("E_INTERNAL", type(defect).__name__))
        else:
            self._end(identifier, *made, None)

    def _end(
        self,
        identifier: str,
        document: Json | None,
        envelope: dsse.Envelope | None,
        error: AtollError | None,
    ) -> None:
        running = self._running.get(identifier)
        if running is None:
            return
        shutil.rmtree(running.work, ignore_errors=True)
        with self._lock:
            running.ending = True
        try:
            if document is not None and envelope is not None:
                self._keep(identifier, document, envelope)
            else:
                self._failed(identifier, running, error or AtollError("E_INTERNAL", "no reason was given"))
        except AtollError as refused:
            self._failed(identifier, running, refused)
        except Exception as defect:
            self._log.exception("ending a replay failed", replay=identifier)
            self._failed(identifier, running, AtollError("E_INTERNAL", type(defect).__name__))
        finally:
            with self._lock:
                self._running.pop(identifier, None)

    def _keep(self, identifier: str, document: Json, envelope: dsse.Envelope) -> None:
        """Stores and records a report in one transaction."""
        desk = self._desk
        with desk.store.write() as session:
            row = session.get_one(Replay, identifier)
            row.state, row.report, row.ended = "done", envelope, stamp(desk.clock())
            desk.event(session, row.job, "run again", replay=identifier, ok=document["ok"], person=row.person)
            # The identifier lets a node that lost its store find the report under it again.
            entry = {"envelope": envelope, "replay": identifier}
            desk.record(session, row.agreement, "replay", entry, row.job)

    def restored(self, session: Session, agreement: str, body: Body) -> None:
        """A report comes back from the node's own log, after its store was lost."""
        envelope, identifier = body.document["envelope"], body.document["replay"]
        report = open_replay(envelope)
        if session.get(Replay, identifier) is None:
            at = body.time.replace("Z", ".000Z")
            session.add(
                Replay(
                    id=identifier,
                    job=report.job,
                    agreement=agreement,
                    host=report.host,
                    person="restored",
                    options=Options(report.threads, False, False).document(),
                    state="done",
                    report=envelope,
                    created=at,
                    ended=at,
                )
            )

    def _failed(self, identifier: str, running: _Running, error: AtollError) -> None:
        names = running.case.expected.names
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
            "host": row.host,
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
