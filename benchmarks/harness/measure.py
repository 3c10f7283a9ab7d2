"""Meters of processes and of the machine, read from /proc, so that nothing need be installed for them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class _Process:
    """One process as last seen."""

    cpu: float
    parent: int


def _seen() -> dict[tuple[int, str], _Process]:
    """All processes of this machine, by number and start time, so that a number used again is another one."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                # The second field is the program's name in brackets, and may hold anything.
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            cpu = (int(fields[11]) + int(fields[12])) / _TICKS
            found[int(entry), fields[19]] = _Process(cpu, int(fields[1]))
    return found


def _family(roots: Iterable[int]) -> dict[tuple[int, str], float]:
    """CPU seconds so far of these processes and of all that descend from them."""
    everyone = _seen()
    inside = set(roots)
    grown = True
    while grown:
        more = {pid for (pid, _), process in everyone.items() if process.parent in inside} - inside
        inside |= more
        grown = bool(more)
    return {key: process.cpu for key, process in everyone.items() if key[0] in inside}


def peak_bytes(pid: int | str) -> int:
    """Largest resident size of a process (`self` for this one) so far; 0 once it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return 0


def resident_bytes(roots: Iterable[int]) -> int:
    """Resident size now of these processes and of all that descend from them."""
    total = 0
    for pid, _ in _family(roots):
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            continue
    return total


def load() -> float:
    """Processes that wanted a processor, on average over the last minute."""
    return os.getloadavg()[0]


class Meter:
    """Wall and CPU time of a block, and the largest resident size of any worker that ran in it.

    Workers are grandchildren that nobody waits for, so the family of processes is sampled ten times a second:
    the last tenth of a second of each worker is not counted.

    Args:
        roots: processes that count, with all that descend from them. This process itself is added.
    """

    def __init__(self, roots: Iterable[int] = ()) -> None:
        self._roots = list(roots)
        self._stop = threading.Event()
        self._last: dict[tuple[int, str], float] = {}
        self.wall = self.cpu = 0.0
        self.worker_peak = 0

    def _sample(self) -> None:
        self._last |= _family(self._roots)
        workers = {pid for pid, _ in self._last if pid not in self._roots}
        self.worker_peak = max([self.worker_peak, *(peak_bytes(pid) for pid in workers)])

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self._sample()

    def __enter__(self) -> Self:
        self._first = _family(self._roots)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        self._own, self._begun = time.process_time(), time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wall = time.perf_counter() - self._begun
        own = time.process_time() - self._own
        self._stop.set()
        self._thread.join()
        self._sample()
        self.cpu = own + sum(cpu - self._first.get(key, 0.0) for key, cpu in self._last.items())


def machine() -> dict[str, Any]:
    """Processor, memory and versions; no name of the machine and no path."""
    import platform

    import pyarrow

    from atoll import __version__

    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model,
        "processors": os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "python": platform.python_version(),
        "pyarrow": pyarrow.__version__,
        "atoll": __version__,
    }
