"""The private line between a node and its worker: CBOR messages over a Unix socket pair, with descriptors.

Both ends belong to the same user on the same machine. A message is a map with a `kind`; a connection that the
partner port accepted for the worker travels beside its message as a file descriptor.
"""

from __future__ import annotations

import array
import contextlib
import socket
import struct
import threading
from typing import Any

import cbor2

from atoll.errors import AtollError

_LIMIT = 64 << 20


class Pipe:
    """One end of the line. Sending is safe from several threads; one thread receives."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._lock = threading.Lock()
        self._descriptors: list[int] = []

    @classmethod
    def pair(cls) -> tuple[Pipe, socket.socket]:
        """The node's end, and the socket to hand to the worker."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(ours), theirs

    def send(self, message: dict[str, Any], descriptor: int | None = None) -> None:
        """Sends one message; raises BrokenPipeError when the other end is gone."""
        body = cbor2.dumps(message)
        head = struct.pack("!I", len(body))
        with self._lock:
            if descriptor is None:
                self._socket.sendall(head + body)
            else:
                # The descriptor rides on the first byte, so that it can never belong to another message.
                socket.send_fds(self._socket, [head[:1]], [descriptor])
                self._socket.sendall(head[1:] + body)

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            data, ancillary, _flags, _address = self._socket.recvmsg(
                min(size - len(parts), 1 << 20), socket.CMSG_SPACE(4 * array.array("i").itemsize)
            )
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    found = array.array("i")
                    found.frombytes(payload[: len(payload) - len(payload) % found.itemsize])
                    self._descriptors.extend(found)
            if not data:
                raise EOFError
            parts += data
        return bytes(parts)

    def receive(self) -> tuple[dict[str, Any], int | None]:
        """The next message and its descriptor; raises EOFError when the other end is gone."""
        head = self._exactly(1)
        descriptor = self._descriptors.pop(0) if self._descriptors else None
        (size,) = struct.unpack("!I", head + self._exactly(3))
        if size > _LIMIT:
            raise AtollError("E_INTERNAL", f"a worker message of {size} bytes")
        return cbor2.loads(self._exactly(size)), descriptor

    def forget(self) -> None:
        """Closes this copy of the end in a forked process; the line itself stays open."""
        self._socket.close()

    def close(self) -> None:
        """Closes this end; the other end sees the end of the line."""
        with contextlib.suppress(OSError):  # the other end closed first
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
