"""Warm processes: they have loaded a node's code, and fork a node for each start.

Loading the code takes ten times as long as everything else that a node does before it answers, and tests start
hundreds of nodes. A forked node is a process and a process group of its own, and opens its folder as `atoll node`
does. There are two warm processes, and nodes take turns: the seed of Python's hashes, and with it the order of a set,
differs from node to node as between two institutions.
This is the side of the process that asks for nodes; `atoll.testing.forking` is the other one.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

_COUNT = 2
# What may differ from start to start. Anything else is perhaps read while the code is loaded.
_PER_START = {
    "ATOLL_DIR",
    "ATOLL_URL",
    "ATOLL_TOKEN",
    "ATOLL_PASSPHRASE",
    "PYTEST_CURRENT_TEST",
    "PYTHONUTF8",
    # Set by whoever loads the runtime of models.
    "ORT_DISABLE_TELEMETRY",
    # Set by polars when it is loaded.
    "_RJEM_MALLOC_CONF",
}
# The status of a node whose warm process died before it.
_UNKNOWN = 255


def _fixed(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in _PER_START}


_ENVIRONMENT = _fixed(dict(os.environ))


class Forked:
    """A forked node, with the methods of `subprocess.Popen` that a node's owner needs."""

    def __init__(self, parent: _Warm, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._parent = parent
        # The number stays its own until the parent is asked for the status, also when it ended already.
        self._descriptor = os.pidfd_open(pid)

    def _ended(self, timeout: float | None) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000))

    def poll(self) -> int | None:
        """The status once it has ended, negative for a signal; None while it runs."""
        if self.returncode is None and self._ended(0):
            os.close(self._descriptor)
            self.returncode = self._parent.status(self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The status when it ends; raises `subprocess.TimeoutExpired` after `timeout` seconds."""
        if self.returncode is None and not self._ended(timeout):
            raise subprocess.TimeoutExpired(f"node {self.pid}", timeout or 0.0)
        status = self.poll()
        assert status is not None  # it has ended
        return status

    def send_signal(self, number: int) -> None:
        """Sends a signal, if it runs."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._descriptor, number)


class _Warm:
    """The owner's side of one warm process, which is started by the first request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def _ask(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """The answer; None if the process has ended."""
        with self._lock:
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "atoll.testing.forking"],
                    # A thread that a numerical library starts at import would not survive the fork.
                    env=_ENVIRONMENT | {"PYTHONUTF8": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
                )  # fmt: skip
            assert self._process.stdin is not None  # asked for above
            assert self._process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(request).encode() + b"\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
                if line:
                    answer: dict[str, Any] = json.loads(line)
                    return answer
            return None

    def fork(self, folder: Path, log: Path, environment: dict[str, str]) -> Forked | None:
        """A node that starts; None if none can be forked."""
        request = {"folder": str(folder.absolute()), "log": str(log.absolute()), "environment": environment}
        answer = self._ask(request | {"cwd": os.getcwd()})
        return None if answer is None or answer["pid"] is None else Forked(self, answer["pid"])

    def status(self, pid: int) -> int:
        """The status of a node that has ended; asked once."""
        answer = self._ask({"ended": pid})
        return _UNKNOWN if answer is None else int(answer["status"])


_OWNER = os.getpid()
_warm = itertools.cycle([_Warm() for _ in range(_COUNT)])
_turn = threading.Lock()


def fork(folder: Path, log: Path, environment: dict[str, str]) -> Forked | None:
    """A node's process out of a warm one.

    Args:
        folder: of the node.
        log: file to which its output and its errors are appended.
        environment: of the node, the passphrase in it.

    Returns:
        None where the code must be loaded anew: in an environment that differs from the one in which this process
        started, as `PYTHONPATH` with other code does, in a fork of this process, or where the system has no
        descriptors of processes.
    """
    if _fixed(environment) != _ENVIRONMENT or os.getpid() != _OWNER or not hasattr(os, "pidfd_open"):
        return None
    with _turn:
        parent = next(_warm)
    return parent.fork(folder, log, environment)
