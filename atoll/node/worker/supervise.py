"""Starting and watching worker processes: budgets, messages, the end."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from atoll.errors import AtollError
from atoll.net.pipe import Pipe
from atoll.node.worker.nursery import Nursery

_WATCH_SECONDS = 0.5
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _resident(pid: int) -> int:
    """Resident memory of a process in bytes; 0 once it is gone or where /proc is not to be had."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


class Worker:
    """One worker process.

    Args:
        nursery: where it comes from.
        spec: its specification, sent as the first message.
        on_message: called for each message of the worker, in order, on a thread of its own; `descriptor` in it is one
            that came with it, for the callee to close.
        on_end: called once, with the result or the error; also when the process died.
        memory_bytes: resident memory over which it is ended with `E_MEMORY`.
        seconds: wall time after which it is ended with `E_TIME`; None for standing services.
    """

    def __init__(
        self,
        nursery: Nursery,
        spec: dict[str, Any],
        on_message: Callable[[dict[str, Any]], None],
        on_end: Callable[[dict[str, Any] | None, AtollError | None], None],
        *,
        memory_bytes: int,
        seconds: float | None,
    ) -> None:
        self._on_message, self._on_end = on_message, on_end
        self._memory, self._seconds = memory_bytes, seconds
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._verdict: AtollError | None = None
        self._pipe, theirs = Pipe.pair()
        try:
            self._process = nursery.spawn(theirs)
        finally:
            theirs.close()
        self._pipe.send(spec)
        threading.Thread(target=self._listen, name="worker", daemon=True).start()
        threading.Thread(target=self._watch, name="worker watch", daemon=True).start()

    @property
    def pid(self) -> int:
        """Process identifier."""
        return self._process.pid

    def send(self, message: dict[str, Any], descriptor: int | None = None) -> None:
        """Sends a message; does nothing once the worker is gone."""
        with contextlib.suppress(OSError):  # its end is reported by _listen
            self._pipe.send(message, descriptor)

    def cancel(self, error: AtollError) -> None:
        """Asks the worker to stop with a reason, and ends it if it does not within two seconds."""
        with self._lock:
            self._verdict = self._verdict or error
        self.send({"kind": "cancel", "error": error.to_problem()})

        def insist() -> None:
            if not self._ended.wait(timeout=2.0):
                self._process.kill()

        threading.Thread(target=insist, daemon=True).start()

    def suspend(self) -> None:
        """Ends the process at once, without a word to anyone: it goes on from its checkpoint later."""
        with self._lock:
            self._ended.set()
        self._process.kill()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the end; False when it did not come in time."""
        return self._ended.wait(timeout)

    def _finish(self, result: dict[str, Any] | None, error: AtollError | None) -> None:
        with self._lock:
            if self._ended.is_set():
                return
            self._ended.set()
            verdict = self._verdict
        self._pipe.close()
        if not self._process.wait(timeout=2.0):
            self._process.kill()
            self._process.wait()
        self._process.close()
        if result is not None:
            self._on_end(result, None)
        else:
            self._on_end(None, verdict or error)

    def _listen(self) -> None:
        try:
            while True:
                message, descriptor = self._pipe.receive()
                if descriptor is not None:
                    message["descriptor"] = descriptor
                if message["kind"] == "done":
                    self._finish(message["result"], None)
                    return
                if message["kind"] == "failed":
                    self._finish(None, AtollError.from_problem(message["error"]))
                    return
                self._on_message(message)
        except (EOFError, OSError):
            self._finish(None, AtollError("E_WORKER", "the worker process ended without a word"))

    def _watch(self) -> None:
        end = None if self._seconds is None else time.monotonic() + self._seconds
        while not self._ended.wait(timeout=_WATCH_SECONDS):
            used = _resident(self._process.pid)
            if used > self._memory:
                self.cancel(
                    AtollError(
                        "E_MEMORY",
                        f"the worker used {used >> 20} MiB; its budget is {self._memory >> 20} MiB",
                    )
                )
                return
            if end is not None and time.monotonic() > end:
                self.cancel(
                    AtollError("E_TIME", f"the job ran longer than its budget of {self._seconds:.0f} s")
                )
                return


def run_to_end(
    nursery: Nursery, spec: dict[str, Any], *, memory_bytes: int, seconds: float
) -> dict[str, Any]:
    """Runs a worker that needs no conversation, and gives its result or raises its error."""
    ends: queue.Queue[tuple[dict[str, Any] | None, AtollError | None]] = queue.Queue()
    Worker(
        nursery,
        spec,
        lambda _message: None,
        lambda result, error: ends.put((result, error)),
        memory_bytes=memory_bytes,
        seconds=seconds,
    )
    result, error = ends.get()
    if result is None:
        raise error or AtollError("E_INTERNAL", "the worker gave neither result nor error")
    return result
