"""A look into a node's records from outside, and nodes that die at a chosen point."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atoll.testing import NodeProcess

# What each point of a crash patches, in the node's process, before it starts.
_CRASH = """
import os, signal

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def after(cls, name, flush=False):
    original = getattr(cls, name)
    def method(self, *args, **kwargs):
        answer = original(self, *args, **kwargs)
        if flush:
            args[0].flush()
        die()
        return answer
    setattr(cls, name, method)

def first(cls, name, what):
    original = getattr(cls, name)
    def method(self, *args, **kwargs):
        what(self)
        return original(self, *args, **kwargs)
    setattr(cls, name, method)

if point:
    from atoll.node.jobs.release import Releases
    from atoll.node.jobs.run import Runs
    from atoll.node.worker.context import WorkerContext
    {
        "started": lambda: after(Runs, "_launch"),
        "asked to release": lambda: setattr(Releases, "release", die),
        "word arrived": lambda: setattr(Releases, "_settle", die),
        "within the debit": lambda: after(Releases, "_settle", flush=True),
        "debited": lambda: after(Releases, "release"),
        "word given": lambda: after(Releases, "_give_word"),
        "worker done": lambda: setattr(Runs, "_ended", die),
        "worker: about to release": lambda: setattr(WorkerContext, "before_open", die),
        "part stored": lambda: first(Runs, "_ended", lambda runs: setattr(runs._receipts, "deliver_part", die)),
    }[point]()
"""


class Records:
    """Rows of a node's SQLite store, read beside the running node."""

    def __init__(self, node: NodeProcess) -> None:
        self._path = node.folder / "state.sqlite"

    def rows(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=30)
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute(query, arguments)]
        finally:
            connection.close()

    def count(self, table: str) -> int:
        return int(self.rows(f"select count(*) as n from {table}")[0]["n"])

    def charges(self, job: str) -> list[dict[str, Any]]:
        return self.rows("select * from charges where job = ? order by id", job)

    def receipts(self, job: str, kind: str) -> list[dict[str, Any]]:
        return self.rows("select * from receipts where job = ? and kind = ? order by batch", job, kind)

    def ledger(self, kind: str, job: str) -> list[dict[str, Any]]:
        """Documents of one kind in the node's own logs that name a job."""
        found = []
        for row in self.rows("select body from log_entries where job = ? order by number", job):
            body = json.loads(row["body"]) if row["body"] else {}
            if body.get("kind") == f"{kind}/v1":
                found.append(body["document"])
        return found

    def everything(self) -> bytes:
        """All bytes of the store, its write-ahead log among them."""
        return b"".join(p.read_bytes() for p in sorted(self._path.parent.glob("state.sqlite*")))


@pytest.fixture
def records() -> Callable[[NodeProcess], Records]:
    return Records


@pytest.fixture
def crash_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[NodeProcess, str | None], None]:
    """Restarts a node so that it dies at a named point, or, with None, so that it does not."""

    def restart(node: NodeProcess, point: str | None) -> None:
        with monkeypatch.context() as patch:
            if point is not None:
                before = os.environ.get("PYTHONPATH")
                patch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *([before] if before else [])]))
                text = f"point = {point!r}\n{_CRASH}"
                (tmp_path / "sitecustomize.py").write_text(text, encoding="utf-8")
            node.restart()

    return restart


def _children(parent: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(folder.name))
        except (OSError, ValueError, IndexError):
            continue
    return found


def _children(parent: int, module: bytes) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z" and int(fields[1]) == parent and module in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (OSError, ValueError, IndexError):
            continue
    return found


def _workers(node: NodeProcess) -> list[int]:
    """Processes of a node's workers: children of its nursery."""
    nurseries = _children(node.pid, b"atoll.node.worker.nursery")
    return [worker for nursery in nurseries for worker in _children(nursery, b"atoll.node.worker.nursery")]


@pytest.fixture
def kill_workers() -> Callable[[NodeProcess], int]:
    """Kills (-9) all workers of a node; how many there were."""

    def kill(node: NodeProcess) -> int:
        found = _workers(node)
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return len(found)

    return kill
