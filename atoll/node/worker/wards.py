"""The cells of a nursery: each ends with its host, and whatever it started ends with it.

A cell in an attacker's hands can ignore the end of its line. So the nursery keeps an eye on both ends: it sees when a
host is gone, and when a cell is.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator

from atoll.crypto.confine import adopt_orphans


class Wards:
    """Living cells by number, each with a copy of its end of the line. For the one thread of a nursery.

    From here on this process is the parent of its cells' orphans, and a signal tells it of every end.
    """

    def __init__(self) -> None:
        self._lines: dict[int, int] = {}
        adopt_orphans()
        signal.signal(signal.SIGCHLD, self._bury)

    def _bury(self, signum: int, frame: object) -> None:
        """Ends what an ended cell started. Its number is nobody else's until it is waited for."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended is None:
                    return
                self._kill(ended.si_pid)
                line = self._lines.pop(ended.si_pid, None)
                if line is not None:
                    os.close(line)  # the last copy: now the host sees the end, too
                os.waitid(os.P_PID, ended.si_pid, os.WEXITED)
            except ChildProcessError:
                return

    @staticmethod
    def _kill(cell: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(cell, signal.SIGKILL)

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """No burial within: a number stays that of its process."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})

    def add(self, cell: int, line: int) -> None:
        """A new cell, `undisturbed`; `line` is the descriptor of its end, of which a copy is kept."""
        self._lines[cell] = os.dup(line)

    def forget(self) -> None:
        """In a forked cell: nothing of the others stays there."""
        for line in self._lines.values():
            os.close(line)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})

    def watch(self, request: int) -> None:
        """Waits for something to read from `request`, and ends every cell whose host is gone meanwhile."""
        while True:
            with self.undisturbed():
                hosts = {line: cell for cell, line in self._lines.items()}
            poll = select.poll()
            poll.register(request, select.POLLIN)
            for line in hosts:
                poll.register(line, 0)
            # An ended cell closes its line within this call: the next turn no longer asks for it.
            ready = [descriptor for descriptor, event in poll.poll() if not event & select.POLLNVAL]
            if request in ready:
                return
            with self.undisturbed():
                for line in ready:
                    if self._lines.get(hosts[line]) == line:
                        self._kill(hosts[line])
            if ready:
                time.sleep(0.001)  # the burial follows at once, and takes the line away

    def leave(self) -> None:
        """Ends all cells."""
        with self.undisturbed():
            for cell in self._lines:
                self._kill(cell)
