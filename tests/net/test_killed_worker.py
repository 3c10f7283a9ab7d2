"""A worker that is killed with -9 and started again goes on from its checkpoint; with other data it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from atoll.errors import AtollError

WORKER = """
import json, os, sys
from datetime import UTC, datetime
from pathlib import Path
from atoll.errors import AtollError
from atoll.net.dial import dial
from atoll.net.identity import TlsIdentity
from atoll.net.session import Session

folder, address, pinned, salt = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
now = datetime.now(UTC)
tls = TlsIdentity((folder / "cert").read_bytes(), (folder / "key").read_bytes(), now, now)
saved = folder / "checkpoint.json"
state = json.loads(saved.read_text()) if saved.exists() else {"total": 0, "next": 0, "position": None}
session = Session("alice", "bob", "job-1", 1, lambda: (dial(address), "ab.job.atoll"), tls, pinned,
                  clock=lambda: datetime.now(UTC), silence_seconds=5.0, grace_seconds=60.0,
                  journal=folder / "journal", position=state["position"])
session.start()
channel = session.channel("psi")
try:
    for i in range(state["next"], 40):
        channel.send(f"{salt} {i}".encode() * 1000, f"step/{i}")
        state["total"] += int(channel.recv(60))
        if i % 7 == 6:
            state["next"], state["position"] = i + 1, session.position()
            (folder / "new").write_text(json.dumps(state))
            os.replace(folder / "new", saved)
            session.checkpointed(state["position"])
    print(state["total"], session.transcripts()["psi"]["sent"])
    session.close()
except AtollError as error:
    print(error.code)
"""


class Killable:
    def __init__(self, workers: Any, folder: Path) -> None:
        self.workers, self.folder = workers, folder
        folder.mkdir()
        (folder / "cert").write_bytes(workers.tls["alice"].certificate)
        (folder / "key").write_bytes(workers.tls["alice"].private_key)

    def start(self, salt: str) -> subprocess.Popen[str]:
        pinned = self.workers.tls["bob"].fingerprint
        command = [sys.executable, "-c", WORKER, str(self.folder), self.workers.proxy.address, pinned, salt]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_killed_twice_and_finished(workers: Any, tmp_path: Path) -> None:
    alice = Killable(workers, tmp_path / "alice")
    bob = workers.make("bob", grace_seconds=60.0, journal=tmp_path / "bob")
    process = alice.start("salt")
    channel = bob.channel("psi")
    for i in range(40):
        assert channel.receive(60) == (f"step/{i}", f"salt {i}".encode() * 1000)
        if i in (10, 25):
            kill(process)
            process = alice.start("salt")
        channel.send(str(i).encode(), f"answer/{i}")
    bob.close()
    total, sent = process.communicate(timeout=30)[0].split()
    assert int(total) == sum(range(40))
    assert sent == bob.transcripts()["psi"]["received"]


@pytest.mark.parametrize("forget", [False, True])
def test_a_replay_with_a_changed_message_is_a_rewind(workers: Any, tmp_path: Path, forget: bool) -> None:
    alice = Killable(workers, tmp_path / "alice")
    bob = workers.make("bob", grace_seconds=60.0, journal=tmp_path / "bob")
    process = alice.start("salt")
    channel = bob.channel("psi")
    for i in range(10):
        channel.recv(60)
        if i < 9:
            channel.send(str(i).encode(), f"answer/{i}")
    kill(process)
    if forget:
        # The killed side throws its journal away: then the other side notices.
        for path in sorted((tmp_path / "alice" / "journal").iterdir()):
            path.unlink()
        (tmp_path / "alice" / "checkpoint.json").unlink()
    process = alice.start("pepper")
    if forget:
        with pytest.raises(AtollError, match="E_REWIND"):
            channel.recv(30)
        assert process.communicate(timeout=30)[0].strip() in ("E_PEER_ABORT", "E_REWIND")
    else:
        assert process.communicate(timeout=30)[0].strip() == "E_REWIND"
        time.sleep(0.1)
