"""A channel over a plain socket, for measurements: frames of a length and a payload, no encryption, no identity.

What a socket takes at once is sent at once; what it does not take waits, and goes out whenever this side waits.
A frame comes in straight into its buffer.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque

_HEAD = 4
_MOST = 1 << 30


class TcpChannel:
    """One end of a connected stream socket, for one thread. Counts payload and frame bytes sent.

    Raises:
        ConnectionError: from any method, when the peer is gone.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._inbox: deque[bytes] = deque()
        self._outbox: deque[memoryview] = deque()
        self._head, self._body, self._at = bytearray(), bytearray(), 0
        self._want = -1
        self.sent = 0
        self.waited = 0.0

    def _flush(self) -> None:
        while self._outbox:
            try:
                done = self._sock.send(self._outbox[0])
            except BlockingIOError:
                return
            if done < len(self._outbox[0]):
                self._outbox[0] = self._outbox[0][done:]
            else:
                self._outbox.popleft()

    def _fill(self) -> None:
        while True:
            try:
                if self._want < 0:
                    part = self._sock.recv(_HEAD - len(self._head))
                    self._head += part
                    got = len(part)
                    if len(self._head) == _HEAD:
                        self._want = int.from_bytes(self._head, "big")
                        if self._want > _MOST:
                            raise ConnectionError("the peer's frame is too long")
                        self._head.clear()
                        self._body, self._at = bytearray(self._want), 0
                else:
                    got = self._sock.recv_into(memoryview(self._body)[self._at :])
                    self._at += got
            except BlockingIOError:
                return
            if not got:
                raise ConnectionError("the peer closed the connection")
            if self._want == self._at:
                self._inbox.append(bytes(self._body))
                self._want, self._at = -1, 0

    def _until(self, read: bool, write: bool) -> None:
        begun = time.perf_counter()
        while not ((read and self._inbox) or (write and not self._outbox)):
            writing = [self._sock] if self._outbox else []
            select.select([self._sock], writing, [])
            self._turn()
        self.waited += time.perf_counter() - begun

    def _turn(self) -> None:
        self._flush()
        # What came before the end is still to be read.
        try:
            self._fill()
        except ConnectionError:
            if not self._inbox:
                raise

    def send(self, payload: bytes, step: str) -> None:
        """Sends one message."""
        self._outbox.append(memoryview(len(payload).to_bytes(_HEAD, "big")))
        if payload:
            self._outbox.append(memoryview(payload))
        self.sent += _HEAD + len(payload)
        self._flush()

    def recv(self) -> bytes:
        """The next message."""
        self._until(True, False)
        return self._inbox.popleft()

    def readable(self) -> bool:
        """True when a whole message is here."""
        if not self._inbox:
            self._turn()
        return bool(self._inbox)

    def writable(self) -> bool:
        """True when nothing waits to be sent."""
        self._flush()
        return not self._outbox

    def wait(self, read: bool, write: bool) -> None:
        """Blocks until readable or writable, as asked."""
        self._until(read, write)

    def close(self) -> None:
        """Sends what waits, and closes."""
        while self._outbox:
            select.select([], [self._sock], [])
            self._flush()
        self._sock.close()
