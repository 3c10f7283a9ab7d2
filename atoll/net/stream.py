"""Frames over TLS over one blocking socket."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time

from atoll.crypto.tls import Connection
from atoll.crypto.wire import Frame
from atoll.errors import AtollError
from atoll.net.dial import tune
from atoll.net.line import Measured, measure

READ = 256 << 10


class DroppedError(Exception):
    """The connection ended without a goodbye."""


class FrameStream:
    """One thread reads; any thread sends."""

    def __init__(self, sock: socket.socket, tls: Connection) -> None:
        tune(sock)
        self._sock = sock
        self.tls = tls
        self._sending = threading.Lock()
        self._ready: list[Frame] = []

    def handshake(self, timeout: float) -> None:
        """Completes TLS within `timeout` seconds.

        Raises:
            AtollError: `E_PEER_KEY`, `E_PEER_EXPIRED` or `E_WIRE`; the peer is told by an alert.
            DroppedError: the connection ended or took too long.
        """
        deadline = time.monotonic() + timeout
        while self.tls.handshaking:
            self.flush()
            if self.tls.handshaking:
                self._receive(deadline)
        self.flush()

    def flush(self) -> None:
        """Sends what TLS has ready."""
        with self._sending:
            self._flush()

    def _flush(self) -> None:
        if data := self.tls.outgoing():
            try:
                self._sock.sendall(data)
            except OSError as error:
                raise DroppedError(str(error)) from None

    def send(self, kind: int, name: str = "", sequence: int = 0, payload: bytes = b"") -> None:
        """Sends one frame at once."""
        with self._sending:
            self.tls.write_frame(kind, name, sequence, payload)
            self._flush()

    def _receive(self, deadline: float | None) -> None:
        try:
            if deadline is not None:
                left = deadline - time.monotonic()
                poll = select.poll()
                poll.register(self._sock, select.POLLIN)
                if left <= 0 or not poll.poll(left * 1000):
                    raise DroppedError("no answer in time")
            data = self._sock.recv(READ)
        except (OSError, ValueError) as error:
            raise DroppedError(str(error)) from None
        if not data:
            raise DroppedError(
                "the peer closed in the middle of a frame" if self.tls.in_frame else "the peer closed"
            )
        try:
            self.tls.receive(data)
        except AtollError:
            self._ready += self.tls.frames()
            with contextlib.suppress(DroppedError):
                self.flush()
            raise
        self._ready += self.tls.frames()

    def receive(self, deadline: float | None = None) -> list[Frame]:
        """The next frames, at least one; `DroppedError` at the end or after `deadline` (monotonic
        seconds)."""
        while not self._ready:
            if self.tls.peer_closed:
                raise DroppedError("the peer closed")
            self._receive(deadline)
        frames, self._ready = self._ready, []
        return frames

    def receive_one(self, deadline: float) -> Frame:
        """The next frame; the others wait."""
        frames = self.receive(deadline)
        self._ready = frames[1:]
        return frames[0]

    def finish(self, timeout: float = 1.0) -> None:
        """Ends in good order: what was sent arrives before the end does. Call it from the reading thread."""
        deadline = time.monotonic() + timeout
        with contextlib.suppress(DroppedError, OSError, AtollError):
            self.half_close()
            while True:
                self._ready.clear()
                self._receive(deadline)
        self.close()

    def half_close(self) -> None:
        """Says that nothing follows; reading goes on."""
        with contextlib.suppress(DroppedError, OSError):
            self.tls.close_notify()
            self.flush()
            self._sock.shutdown(socket.SHUT_WR)

    def measure(self) -> Measured | None:
        """What the kernel measured of this connection."""
        return measure(self._sock)

    def limit_sending(self, seconds: float) -> None:
        """Lets every later send fail after `seconds`, so that an end never waits for a peer that does not
        read."""
        whole = int(seconds)
        with contextlib.suppress(OSError):
            self._sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", whole, int((seconds - whole) * 1e6))
            )

    def close(self) -> None:
        """Ends now; a thread that reads or sends gets `DroppedError`."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def interrupt(self) -> None:
        """Makes the reading and the sending thread stop; they close."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
