"""Jobs that were interrupted come out again: a worker or node that died and went on, a connection that was cut."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atoll.client import Job
from atoll.errors import AtollError
from atoll.testing import Net, NodeProcess, nodes, until

KEYS = 60_000


class Line:
    """A TCP proxy before a node's port, which can cut every connection through it."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.target: tuple[str, int] = free.getsockname()[:2]
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                try:
                    far = socket.create_connection(self.target)
                except OSError:
                    near.close()
                    continue
                self._open += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=ends, daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> int:
        cut, self._open = self._open, []
        for end in cut:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        return len(cut)

    def close(self) -> None:
        self._listening.close()
        self.cut()


@pytest.fixture(scope="module")
def lines() -> Iterator[dict[str, Line]]:
    made = {name: Line() for name in ("alice", "bob")}
    yield made
    for line in made.values():
        line.close()


@pytest.fixture(scope="module")
def pair(lines: dict[str, Line]) -> Iterator[Net]:
    settings = {
        name: {
            "partners.address": line.address,
            "partners.listen": f"{line.target[0]}:{line.target[1]}",
        }
        for name, line in lines.items()
    }
    with nodes("alice", "bob", settings=settings) as made:
        made.alice.steward.data.add("loans", {"id": [f"{i:018d}" for i in range(KEYS)]})
        made.bob.steward.data.add("taxes", {"id": [f"{i:018d}" for i in range(KEYS // 2, KEYS * 3 // 2)]})
        yield made


@pytest.fixture(scope="module")
def lasting(pair: Net) -> str:
    return pair.agreement(
        {"alice": {"loans": "*"}, "bob": {"taxes": "*"}}, grace_seconds=120, replay={"keep_days": 1}
    )


def _moving(job: Job, node: NodeProcess) -> bool:
    """Past the first checkpoint, and not near the end."""
    try:
        progress = node.analyst.jobs.get(job.id).document["progress"]
    except AtollError:
        return False
    return bool(progress and 0.25 < progress["done"] / progress["total"] < 0.8)


def _children(parent: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if (
                fields[0] != "Z"
                and int(fields[1]) == parent
                and b"worker.nursery" in (folder / "cmdline").read_bytes()
            ):
                found.append(int(folder.name))
    return found


def _kill_workers(node: NodeProcess) -> int:
    workers = [worker for nursery in _children(node.pid) for worker in _children(nursery)]
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    return len(workers)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "what"),
    [("long", "worker"), ("long", "node"), ("long", "connection"), ("one-shot", "connection")],
)
def test_an_interrupted_join_comes_out_again(
    pair: Net, lasting: str, lines: dict[str, Line], look: Any, shape: str, what: str
) -> None:
    # ECDH, since the fast join would be over before anything could happen to it.
    job = pair.alice.analyst.join(
        lasting, "loans", "taxes", on="id", purpose="test", shape=shape, protocol="ecdh-psi/v1"
    )
    until("progress", lambda: _moving(job, pair.alice))
    if what == "worker":
        assert _kill_workers(pair.alice) >= 1
    elif what == "node":
        pair.alice.kill()
        pair.alice.start()
    else:
        assert sum(line.cut() for line in lines.values()) > 0
    done = pair.alice.analyst.jobs.get(job.id).wait(timeout=120)
    assert done.document["attempt"] == 1
    for node in pair:
        until("the receipt", lambda n=node: n.analyst.jobs.get(job.id).document["evidence"] == "final")
        found = node.auditor.audit.replay(job.id, threads=2, timeout=120)
        assert found["ok"], found["report"]["findings"]
        if shape == "long" and what != "connection" and node is pair.alice:
            assert "resumed" in [e["kind"] for e in node.analyst.jobs.get(job.id).events()]


@pytest.mark.slow
def test_a_replay_shows_progress_and_can_be_cancelled(pair: Net, lasting: str) -> None:
    asked = pair.alice.analyst.join(
        lasting, "loans", "taxes", on="id", purpose="test", protocol="ecdh-psi/v1"
    )
    job = asked.wait(timeout=120).id
    audit = pair.alice.auditor.audit
    begun = audit.start_replay(job)
    with pytest.raises(AtollError) as busy:
        audit.start_replay(job)
    assert busy.value.code == "E_BUSY"
    until("progress", lambda: (audit.show_replay(begun["id"])["progress"] or {}).get("step") != "inputs")
    audit.cancel_replay(begun["id"])
    ended = until("the end", lambda: (r := audit.show_replay(begun["id"]))["state"] != "running" and r)
    assert (ended["state"], ended["error"]["code"], ended["report"]) == ("cancelled", "E_CANCELLED", None)
    assert list((pair.alice.folder / "work").iterdir()) == []
    with pytest.raises(AtollError) as again:
        audit.cancel_replay(begun["id"])
    assert again.value.code == "E_STATE"
    # A node that is stopped meanwhile says so, and goes on as if nothing was.
    begun = audit.start_replay(job)
    pair.alice.restart(kill=True)
    audit = pair.alice.auditor.audit
    assert audit.show_replay(begun["id"])["error"]["code"] == "E_RESTARTED"
    time.sleep(0.1)
    assert audit.replay(job, timeout=120)["ok"]
