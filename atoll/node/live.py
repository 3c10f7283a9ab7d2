"""Erasing the rows that live tables were read for, once the jobs are long over."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from atoll.node.clock import stamp
from atoll.node.state.models import Agreement, AssetVersion, InputUse, Job
from atoll.node.state.store import Store


def erase_overdue(home: Path, store: Store, now: datetime, days: int) -> None:
    """Erases the rows of live versions whose job ended so many days ago.

    Where replay is agreed on for the job, they stay until what was kept of it is erased; see `evidence.retention`.
    Digests of keys that were joined under an agreement in force stay: from them this node tells how much a
    later table differs, without which a partner could learn about single keys from two runs.
    """
    before = stamp(now - timedelta(days=days))
    with store.read() as session:
        due = session.scalars(
            select(AssetVersion)
            .join(Job, Job.id == AssetVersion.job)
            .where(Job.ended.is_not(None), Job.ended <= before, Job.replay_days.is_(None))
        ).all()
        in_force = set(session.scalars(select(Agreement.id).where(Agreement.state == "active")))
        joined = session.scalars(
            select(InputUse).where(
                InputUse.version.in_([row.digest for row in due]), InputUse.keys.is_not(None)
            )
        ).all()
    for row in due:
        kept = {use.keys for use in joined if use.version == row.digest and use.agreement in in_force}
        if row.erased is None or not kept:
            _erase_rows(home, store, now, row, kept)


def _erase_rows(home: Path, store: Store, now: datetime, row: AssetVersion, kept: set[str | None]) -> None:
    """Erases files, then notes it: cut short in between, the next round does it again."""
    folder = home / row.path
    keep = {folder / "cache" / str(keys) / "digests.bin" for keys in kept}
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            with contextlib.suppress(OSError):  # not empty
                path.rmdir()
        elif path not in keep:
            path.unlink()
    if not kept:
        for empty in (folder, folder.parent, folder.parent.parent):
            with contextlib.suppress(OSError):  # the job has other tables
                empty.rmdir()
    with store.write() as session:
        stored = session.get_one(AssetVersion, row.digest)
        if kept:
            stored.erased = stamp(now)
        else:
            session.delete(stored)
