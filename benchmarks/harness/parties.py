"""Two processes, one for each party, measured over their whole life."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Life:
    """One process from its start to its end."""

    result: dict[str, Any]
    """What it printed after the word RESULT."""
    cpu: float
    """User and system seconds, its children's that it waited for included."""
    peak: int
    """Largest resident size in bytes."""


@dataclass(frozen=True)
class Pair:
    """Both parties of one run."""

    lives: list[Life]
    wall: float
    """Seconds from the start of the first to the closed output file of the last."""
    loopback: int
    """Bytes that left through the loopback device meanwhile, headers included, whoever sent them."""

    @property
    def cpu(self) -> float:
        """CPU seconds of both."""
        return sum(life.cpu for life in self.lives)

    @property
    def peak(self) -> int:
        """Largest resident size of either, in bytes."""
        return max(life.peak for life in self.lives)


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def _loopback() -> int:
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[8])
    return 0


def _life(process: subprocess.Popen[bytes], out: Any) -> Life:
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    out.seek(0)
    # Libraries write lines of their own.
    lines = [line for line in out.read().decode(errors="replace").splitlines() if line.startswith("RESULT ")]
    if process.returncode or not lines:
        sys.exit(f"a party ended with {process.returncode}")
    return Life(json.loads(lines[-1].removeprefix("RESULT ")), _cpu(used), used.ru_maxrss << 10)


def _cpu(used: resource.struct_rusage) -> float:
    return used.ru_utime + used.ru_stime


def run(commands: Sequence[Sequence[str]], folder: Path, *, quiet: bool = False) -> Pair:
    """Starts both, and waits for both; a party that fails ends the measurement.

    Each prints a line `RESULT {...}` whose `closed` is `time.perf_counter()` when its output file was closed: on
    Linux the clock is the machine's, so that the times of several processes compare.
    """
    with ExitStack() as stack:
        outs = [stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in commands]
        before, begun = _loopback(), time.perf_counter()
        processes = [
            subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL if quiet else None, cwd=folder)
            for command, out in zip(commands, outs, strict=True)
        ]
        lives = [_life(process, out) for process, out in zip(processes, outs, strict=True)]
    for life in lives:
        life.result["started"] -= begun
    wall = max(life.result["closed"] for life in lives) - begun
    return Pair(lives, wall, _loopback() - before)
