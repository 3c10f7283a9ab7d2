"""What was kept of jobs is erased at its date: messages, events and the sealed seed.

Where replay is agreed on, everything stays for the agreed days after a job's end. Where it is not, the sealed seed is
of no more use once the job cannot run again, and goes then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import select

from atoll.errors import AtollError
from atoll.node.clock import parse
from atoll.node.jobs.desk import ENDED, Desk
from atoll.node.logs import logger
from atoll.node.state.models import Job
from atoll.node.worker.keep import kept_files

_SECONDS = 600.0


class Retention:
    """Erases in the background, every ten minutes.

    Args:
        desk: shared parts.
        in_use: whether a replay of a job runs now; what it reads is erased after it.
    """

    def __init__(self, desk: Desk, in_use: Callable[[str], bool]) -> None:
        self._desk, self._in_use = desk, in_use
        self._stopping = threading.Event()
        self._log = logger("retention")

    def start(self) -> None:
        """Begins; what became overdue while the node was stopped is erased first."""
        threading.Thread(target=self._loop, name="erase kept messages", daemon=True).start()

    def stop(self) -> None:
        """Ends the erasing."""
        self._stopping.set()

    def _loop(self) -> None:
        while True:
            try:
                self.erase_overdue()
            except Exception:
                self._log.exception("erasing what was kept failed")
            if self._stopping.wait(_SECONDS):
                return

    def erase_overdue(self) -> list[str]:
        """Erases what is past its date; gives the jobs."""
        with self._desk.store.read() as session:
            rows = session.scalars(
                select(Job).where(
                    Job.state.in_(ENDED), (Job.replay_days.is_not(None)) | (Job.secret.is_not(None))
                )
            ).all()
        due = [row.id for row in rows if self._due(row)]
        for job in due:
            self._erase(job)
        return due

    def _due(self, row: Job) -> bool:
        now = self._desk.clock()
        if self._in_use(row.id):
            return False
        if row.ended is None or parse(row.ended) + timedelta(days=row.replay_days or 0) > now:
            return False
        if row.state != "failed":
            return True
        try:
            # A failed job may run again, with the same secret, until its plan's date.
            return parse(self._desk.plan(row)["expires"]) <= now
        except AtollError:
            return True

    def _erase(self, job: str) -> None:
        """Files first, then the row: cut short in between, the next round does it again."""
        with self._desk.locked(job):
            row = self._desk.job(job)
            if row.state not in ENDED or not self._due(row):
                return
            folder = self._desk.home / "jobs" / job
            for path in kept_files(folder) if folder.is_dir() else []:
                path.unlink(missing_ok=True)
            with self._desk.store.write() as session:
                stored = session.get_one(Job, job)
                if stored.replay_days is not None:
                    self._desk.event(session, job, "kept messages erased")
                stored.secret = stored.replay_days = None
