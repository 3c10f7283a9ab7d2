"""Where workers come from: one warm process that has loaded the libraries and forks a worker for each job.

A worker must start clean, without the node's keys, state or threads, so it is never forked from the node. It must
also start fast: loading the libraries takes most of a second. The nursery holds nothing but loaded code.

Visiting scripts come from a nursery of their own: it carries their engines, and ends whatever a script leaves behind.

    python -m atoll.node.worker.nursery DESCRIPTOR [cell]
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Literal, NoReturn

from atoll.errors import AtollError
from atoll.net.pipe import Pipe
from atoll.node.worker.wards import Wards

Kind = Literal["worker", "cell"]
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "HOME", "PYTHONPATH", "VIRTUAL_ENV")


class Child:
    """A worker process of a nursery. A descriptor of it, not its number, is what signals go to."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def kill(self) -> None:
        """Ends it at once; nothing happens if it is gone."""
        with self._lock, contextlib.suppress(ProcessLookupError, OSError):
            if self._descriptor >= 0:
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for its end; False if it did not come in time."""
        descriptor = self._descriptor
        if descriptor < 0:
            return True
        ready, _, _ = select.select([descriptor], [], [], timeout)
        return bool(ready)

    @property
    def descriptor(self) -> int:
        """What signals go to; -1 once it was given back."""
        return self._descriptor

    def close(self) -> None:
        """Gives the descriptor back, once the process has ended."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1


class Nursery:
    """The node's side: starts the warm process, asks it for workers, starts it again if it died.

    Args:
        kind: what it is asked for: workers of jobs, or cells for visiting scripts.
    """

    def __init__(self, kind: Kind = "worker") -> None:
        self._kind = kind
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Pipe | None = None

    def start(self) -> None:
        """Begins to warm up; returns at once."""
        with self._lock:
            self._ensure()

    def _ensure(self) -> Pipe:
        if self._pipe is not None and self._process is not None and self._process.poll() is None:
            return self._pipe
        pipe, theirs = Pipe.pair()
        environment = {k: v for k, v in os.environ.items() if k in _KEPT}
        # A thread that a numerical library starts at import would not survive the fork.
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(  # the interpreter and module are ours
            [sys.executable, "-m", "atoll.node.worker.nursery", str(theirs.fileno()), self._kind],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        theirs.close()
        self._pipe = pipe
        return pipe

    def spawn(self, theirs: socket.socket) -> Child:
        """A worker whose line to the node is `theirs`; `E_WORKER` if none can be started."""
        with self._lock:
            try:
                pipe = self._ensure()
                pipe.send({"kind": "spawn", "what": self._kind}, theirs.fileno())
                answer, descriptor = pipe.receive()
            except (EOFError, OSError):
                self._pipe = None
                raise AtollError("E_WORKER", "no worker process can be started") from None
        if descriptor is None:
            raise AtollError("E_WORKER", f"no worker process can be started: {answer.get('text')}")
        return Child(int(answer["pid"]), descriptor)

    def stop(self) -> None:
        """Ends the warm process; its workers go on until their lines end."""
        with self._lock:
            if self._pipe is not None:
                self._pipe.close()
            if self._process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout=2.0)
                self._process.kill()
                self._process.wait()
            self._pipe = self._process = None


def _load_worker() -> Callable[[int], NoReturn]:
    """What every worker needs, loaded once, and what runs one."""
    from atoll.functions import runners
    from atoll.node.worker import context, main, output
    from atoll.node.worker.build import build_digest

    _ = context, output, runners(), build_digest()
    return main.run


def _load_cell() -> Callable[[int], NoReturn]:
    """What every cell needs, loaded once, and what runs one."""
    from atoll.sandbox import cell

    return cell.prepare()


def _fork(pipe: Pipe, line: int, run: Callable[[int], NoReturn], wards: Wards | None) -> tuple[int, int]:
    """The number of a forked process that runs, and a descriptor of it."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            pipe.forget()
            if wards is not None:
                wards.forget()
            os.setsid()
            run(line)
        finally:
            os._exit(1)
    descriptor = os.pidfd_open(pid)
    if wards is not None:
        wards.add(pid, line)
    return pid, descriptor


def _answer(pipe: Pipe, line: int, run: Callable[[int], NoReturn], wards: Wards | None) -> None:
    try:
        # Until there is a descriptor of it, it must not be buried.
        with wards.undisturbed() if wards is not None else contextlib.nullcontext():
            pid, descriptor = _fork(pipe, line, run, wards)
    except OSError as error:
        pipe.send({"kind": "failed", "text": error.strerror})
        return
    pipe.send({"kind": "spawned", "pid": pid}, descriptor)
    os.close(descriptor)


def main() -> None:
    """Serves until the node's end of the line closes."""
    end = int(sys.argv[1])
    pipe = Pipe(socket.socket(fileno=end))
    what = sys.argv[2]
    wards: Wards | None = None
    if what == "cell":
        wards = Wards()
        run = _load_cell()
    else:
        # Ended workers need no burial: the kernel does it, and the node holds descriptors of them.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        run = _load_worker()
    while True:
        try:
            if wards is not None:
                wards.watch(end)
            message, line = pipe.receive()
        except (EOFError, OSError):
            # Cells end here. Workers see the end of their own lines.
            if wards is not None:
                wards.leave()
            os._exit(0)
        if line is None or message != {"kind": "spawn", "what": what}:
            pipe.send({"kind": "failed", "text": "not a request"})
            continue
        _answer(pipe, line, run, wards)
        os.close(line)


if __name__ == "__main__":
    main()
