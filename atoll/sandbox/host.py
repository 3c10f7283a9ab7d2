"""The host's side of a cell. Everything that comes out of one is treated as if an enemy had written it.

A cell that is late, ends, or says what is no answer is killed; the calls that it had are no decision, and the next
run starts another one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from atoll.errors import AtollError
from atoll.sandbox import rows
from atoll.sandbox.asked import Asked
from atoll.sandbox.line import (
    GREETING,
    MAX_REQUEST,
    ClosedError,
    Line,
    UntrueError,
    read_reply,
    reply_bytes,
    request,
)
from atoll.scripts.manifest import parse

MAX_CALLS = 10_000
_START_SECONDS = 10.0
# A cell's processor time has an end, so that none outlives everybody. Long before that it is replaced between runs.
_BUSY_SECONDS = 600.0


# One end of the line between a cell and its host.
End = socket.socket


class Process(Protocol):
    """A started cell."""

    def kill(self) -> None:
        """Ends it, and everything that it started, at once; nothing happens if it is gone."""

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for its end; False if it did not come in time."""

    def close(self) -> None:
        """Gives back what stands for it, once it has ended."""


@dataclass(frozen=True)
class CellPackage:
    """What a cell runs: the canonical manifest, and the package's other files by name."""

    manifest: Mapping[str, Any]
    files: Mapping[str, bytes]


class _BrokenError(Exception):
    """A cell that was late, ended, or said what is no answer."""


class Cell:
    """A package in a process of its own, which is started when it is needed and again after it was killed.

    Args:
        spawn: starts a cell whose line is the given socket, of which the cell has a copy when this returns.
        package: what runs in it.

    `starts` counts the processes so far, `failed` says whether the latest run ended with a kill.

    Raises:
        AtollError: `E_SCRIPT` names the wrong field of the manifest.
    """

    def __init__(self, spawn: Callable[[socket.socket], Process], package: CellPackage) -> None:
        self._spawn = spawn
        self._package = package
        self._manifest = parse(dict(package.manifest))
        self._lock = threading.Lock()
        self._line: Line | None = None
        self._process: Process | None = None
        self._busy = 0.0
        self.starts = 0
        self.failed = False

    def start(self, seconds: float = _START_SECONDS) -> None:
        """Starts the process now rather than with the first run.

        Raises:
            AtollError: `E_SANDBOX` if scripts cannot run here, `E_SCRIPT` if the package is refused.
        """
        with self._lock:
            try:
                self._ensure(time.monotonic() + seconds)
            except _BrokenError:
                raise AtollError("E_SANDBOX", "the process of a script did not start.") from None

    def run(
        self, calls: Sequence[Asked], inputs: Mapping[str, pa.Table], *, seconds: float
    ) -> list[dict[str, Any] | None]:
        """What the package says to each call, in their order: for `outputs.gate`, and for nobody else. None is no
        decision.

        Args:
            calls: at most 10,000.
            inputs: for each input of the manifest its columns, and `__call`, int32, which call a row belongs to.
            seconds: time for all of it, a start included. Calls that are not answered by then are no decision.

        Raises:
            AtollError: `E_SANDBOX` if scripts cannot run here, `E_SCRIPT` if the package is refused: both say that
                no call of it can ever be answered here. And what `spawn` raises.
        """
        if not 0 < len(calls) <= MAX_CALLS:
            raise AtollError("E_INTERNAL", f"a run of {len(calls)} calls")
        with self._lock:
            self.failed = False
            deadline = time.monotonic() + seconds
            answers: list[dict[str, Any] | None] = [None] * len(calls)
            waiting = list(range(len(calls)))
            # Nothing goes in that the manifest does not name.
            columns = {n: [rows.CALL, *of.columns] for n, of in self._manifest.inputs.items()}
            shown = {name: inputs[name].select(names) for name, names in columns.items()}
            try:
                singly = False
                while waiting:
                    some = {n: _only(t, waiting, len(calls)) for n, t in shown.items()}
                    found, again = self._ask([calls[i] for i in waiting], some, singly, deadline)
                    for place, answer in zip(waiting, found, strict=True):
                        answers[place] = answer
                    if again:
                        # The interpreter in it has ended, and the walls let no other one start there.
                        self._stop()
                    waiting, singly = [waiting[i] for i in again], True
            except _BrokenError:
                self.failed = True
                self._stop()
            except BaseException:
                self._stop()
                raise
            return answers

    def _ask(
        self, calls: Sequence[Asked], inputs: Mapping[str, pa.Table], singly: bool, deadline: float
    ) -> tuple[list[dict[str, Any] | None], list[int]]:
        line = self._ensure(deadline)
        started = time.monotonic()
        mark = secrets.token_bytes(16)
        message = {
            "kind": "run",
            "id": mark,
            "singly": singly,
            "calls": [
                {
                    "seed": c.seed,
                    "today": c.today.isoformat(),
                    "arguments": {name: c.arguments[name] for name in self._manifest.arguments},
                }
                for c in calls
            ],
            "inputs": {name: rows.write(table) for name, table in inputs.items()},
        }
        body = request(message)
        if len(body) > MAX_REQUEST:
            raise AtollError("E_INTERNAL", f"a run of {len(body)} bytes")
        with _broken():
            line.send(body, deadline)
            reply = read_reply(line.receive(reply_bytes(self._manifest, len(calls)), deadline))
            self._busy += time.monotonic() - started
            return _answers(reply, mark.hex(), len(calls), singly)

    def _ensure(self, deadline: float) -> Line:
        if self._line is not None and (self._busy > _BUSY_SECONDS or not self._line.quiet()):
            self._stop()
        if self._line is not None:
            return self._line
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._line = line = Line(ours)
        self._busy = 0.0
        try:
            try:
                self._process = self._spawn(theirs)
            finally:
                theirs.close()
            self.starts += 1
            with _broken():
                self._meet(line, deadline)
        except BaseException:
            self._stop()
            raise
        return line

    def _meet(self, line: Line, deadline: float) -> None:
        memory = self._manifest.limits.memory_bytes
        line.send(request({"kind": "limits", "memory_bytes": memory}), deadline)
        first = read_reply(line.receive(GREETING, deadline))
        # It has read nothing of the package yet: what it says of its walls is our own code's word.
        if first.get("kind") == "unable":
            raise AtollError("E_SANDBOX", str(first.get("text"))[:1000])
        if first != {"kind": "confined"}:
            raise UntrueError
        start = {"manifest": dict(self._package.manifest), "files": dict(self._package.files)}
        line.send(request({"kind": "start", **start}), deadline)
        second = read_reply(line.receive(GREETING, deadline))
        if second.get("kind") == "refused":
            # Its words are not repeated: the package may have chosen them.
            text = "the package does not pass its check, or does not load within its memory."
            code = "E_SANDBOX" if second.get("code") == "E_SANDBOX" else "E_SCRIPT"
            raise AtollError(code, text)
        if second != {"kind": "ready"}:
            raise UntrueError

    def _stop(self) -> None:
        process, line, self._process, self._line = self._process, self._line, None, None
        if process is not None:
            process.kill()
        if line is not None:
            line.close()
        if process is not None:
            process.wait(5.0)
            process.close()

    def close(self) -> None:
        """Ends the process."""
        with self._lock:
            self._stop()


@contextlib.contextmanager
def _broken() -> Any:
    try:
        yield
    except (ClosedError, UntrueError, TimeoutError):
        raise _BrokenError from None


def _only(table: pa.Table, places: list[int], calls: int) -> pa.Table:
    """The rows of these calls, which are numbered anew."""
    if len(places) == calls:
        return table
    number = {place: i for i, place in enumerate(places)}
    owners = table.column(rows.CALL).to_pylist()
    kept = [at for at, owner in enumerate(owners) if owner in number]
    found = table.take(pa.array(kept, type=pa.int64()))
    column = pa.array([number[owners[at]] for at in kept], type=pa.int32())
    return found.set_column(found.column_names.index(rows.CALL), rows.CALL, column)


def _answers(
    reply: dict[str, Any], mark: str, calls: int, singly: bool
) -> tuple[list[dict[str, Any] | None], list[int]]:
    """The answers of a reply and the places that it left open; `UntrueError` for what is no reply to this question."""
    if reply.keys() != {"kind", "id", "answers", "unfinished"} or reply["kind"] != "done":
        raise UntrueError
    answers, unfinished = reply["answers"], reply["unfinished"]
    if reply["id"] != mark or not isinstance(answers, list) or len(answers) != calls:
        raise UntrueError
    if not all(a is None or isinstance(a, dict) for a in answers):
        raise UntrueError
    if not isinstance(unfinished, list) or not all(type(i) is int and 0 <= i < calls for i in unfinished):
        raise UntrueError
    # Alone, each start answers one call at least; otherwise this would have no end.
    if sorted(set(unfinished)) != unfinished or (singly and len(unfinished) == calls):
        raise UntrueError
    return [None if i in set(unfinished) else a for i, a in enumerate(answers)], unfinished


class LocalProcess:
    """A cell that was started here, with all that it starts in one process group."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """The number of the group."""
        return self._process.pid

    def kill(self) -> None:
        """Ends the group. Its number is not given anew before the first process of it is waited for."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the end of the first process; False if it did not come in time."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """Nothing is held."""


_KEPT = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "HOME")


def spawn_local(theirs: socket.socket) -> LocalProcess:
    """A cell as a child of this process, for an author's tests."""
    environment = {k: v for k, v in os.environ.items() if k in _KEPT}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(  # the interpreter and module are ours
        [sys.executable, "-m", "atoll.sandbox.cell", str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    return LocalProcess(process)
