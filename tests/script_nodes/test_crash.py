"""Bad moments: the host's node, its worker or its sandbox ends while calls are on the way; nothing is decided twice."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import Any

import pytest

from atoll.errors import AtollError
from atoll.testing import until

from .conftest import World, plain

WIDE = {"subject_millibits": 10**9}


def processes(root: int) -> list[tuple[int, str]]:
    """Everything that descends from a process, with its command line."""
    out = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    children: dict[int, list[tuple[int, str]]] = {}
    for line in out.splitlines()[1:]:
        pid, parent, command = line.split(None, 2)
        children.setdefault(int(parent), []).append((int(pid), command))
    found, todo = [], [root]
    while todo:
        for child in children.get(todo.pop(), []):
            found.append(child)
            todo.append(child[0])
    return found


def asked(world: World, name: str, key: str, claim: int) -> Any:
    try:
        return world.caller.call(name, f"C-{claim}", key=key)
    except AtollError:
        return None


@pytest.mark.parametrize("what", ["interpreter", "cell", "worker", "node"])
def test_a_kill_at_the_host_loses_no_decision(world: World, what: str) -> None:
    name = world.fresh()
    world.deploy(name, bounds=WIDE)
    assert world.caller.call(name, "C-5")["answer"] == plain(5)
    host = world.net.hospital
    answers: dict[str, Any] = {}
    keys = [f"{what}-{n}" for n in range(24)]

    def calls(part: list[str]) -> None:
        for key in part:
            answers[key] = asked(world, name, key, 10 + keys.index(key))

    threads = [threading.Thread(target=calls, args=(keys[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    until("calls are on the way", lambda: len(answers) >= 4, 30)
    if what == "node":
        host.restart(kill=True)
    else:
        marks = {"interpreter": "subprocess", "cell": " cell", "worker": " worker"}
        for pid, command in processes(host.pid):
            # The nurseries themselves stay: what they forked has the same command line, and a parent among them.
            if marks[what] in command and pid not in nurseries(host.pid):
                os.kill(pid, signal.SIGKILL)
    for thread in threads:
        thread.join()

    def all_there() -> bool:
        for number, key in enumerate(keys):
            if answers.get(key) is None:
                answers[key] = asked(world, name, key, 10 + number)
        return all(answers[key] is not None for key in keys)

    until("every call has its answer", all_there, 90)
    for number, key in enumerate(keys):
        found = answers[key]["answer"]
        # A call that was inside when the sandbox was killed is no decision, and stays so under its key.
        assert found == plain(10 + number) or (found is None and what in ("interpreter", "cell")), key
        assert asked(world, name, key, 10 + number)["answer"] == found
    decided = [d for d in world.host.decisions(name=name, limit=1000) if d["key"] in keys]
    assert len(decided) == len(keys)
    assert sum(d["answer"] is None for d in decided) <= 8


def nurseries(node: int) -> set[int]:
    """The warm processes that the node itself started."""
    out = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in out.splitlines()[1:]]
    return {int(pid) for pid, parent, command in rows if int(parent) == node and "nursery" in command}
