"""A pair of channels in memory with a bounded buffer, for tests and for parties within one process."""

from __future__ import annotations

import threading
from collections import deque

from atoll.errors import AtollError


class _Pipe:
    def __init__(self, capacity: int) -> None:
        self.queue: deque[bytes] = deque()
        self.capacity = capacity


class MemoryChannel:
    """One end of a pair made by `pair`. Safe for one thread per end.

    `sent` keeps `(step, payload)` of every message of this end, in order.
    """

    def __init__(self, out: _Pipe, into: _Pipe, changed: threading.Condition, seconds: float) -> None:
        self._out = out
        self._in = into
        self._changed = changed
        self._seconds = seconds
        self._state = {"closed": False}
        self.sent: list[tuple[str, bytes]] = []

    def _join(self, other: MemoryChannel) -> None:
        other._state = self._state

    def _until(self, read: bool, write: bool) -> None:
        def ready() -> bool:
            return (read and self._readable()) or (write and self._writable()) or self._state["closed"]

        with self._changed:
            if not self._changed.wait_for(ready, self._seconds):
                raise AtollError("E_PEER_SILENT", f"Nothing happened for {self._seconds} s.")

    def _readable(self) -> bool:
        return bool(self._in.queue)

    def _writable(self) -> bool:
        return len(self._out.queue) < self._out.capacity

    def send(self, payload: bytes, step: str) -> None:
        """Puts one message into the peer's queue; blocks while that is full. `E_PEER_SILENT` once closed."""
        self._until(read=False, write=True)
        with self._changed:
            if self._state["closed"]:
                raise AtollError("E_PEER_SILENT", "The channel is closed.", step=step)
            kept = bytes(payload)
            self._out.queue.append(kept)
            self.sent.append((step, kept))
            self._changed.notify_all()

    def recv(self) -> bytes:
        """The oldest message; blocks until there is one. `E_PEER_SILENT` if none came or the peer closed."""
        self._until(read=True, write=False)
        with self._changed:
            if not self._in.queue:
                raise AtollError("E_PEER_SILENT", "The channel is closed.")
            payload = self._in.queue.popleft()
            self._changed.notify_all()
            return payload

    def readable(self) -> bool:
        """True when a message waits, or the channel is closed so that `recv` raises at once."""
        with self._changed:
            return self._readable() or self._state["closed"]

    def writable(self) -> bool:
        """True when the peer's queue has room, or the channel is closed so that `send` raises at once."""
        with self._changed:
            return self._writable() or self._state["closed"]

    def wait(self, read: bool, write: bool) -> None:
        """Blocks until readable or writable as asked; `E_PEER_SILENT` after the time given to `pair`."""
        self._until(read, write)

    def close(self) -> None:
        """Ends the channel for both sides; messages already queued can still be read."""
        with self._changed:
            self._state["closed"] = True
            self._changed.notify_all()


def pair(capacity: int = 4, seconds: float = 30.0) -> tuple[MemoryChannel, MemoryChannel]:
    """Two connected ends, each direction holding up to `capacity` messages; waits end after `seconds`."""
    there, back, changed = _Pipe(capacity), _Pipe(capacity), threading.Condition()
    first = MemoryChannel(there, back, changed, seconds)
    second = MemoryChannel(back, there, changed, seconds)
    first._join(second)
    return first, second
