"""A channel over a plain blocking socket: one thread sends while another receives. No encryption, no identity."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any, cast

from harness.tcp import TcpChannel

_HEAD = 4


class BlockingChannel:
    """One end of a connected stream socket. Counts bytes sent.

    Raises:
        ConnectionError: from any method, when the other end is gone.
    """

    def __init__(self, sock: socket.socket) -> None:
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self.sent = 0

    def send(self, payload: bytes, step: str) -> None:
        """Sends one message."""
        self.sent += _HEAD + len(payload)
        head = len(payload).to_bytes(_HEAD, "big")
        if len(payload) < 1 << 14:
            self._sock.sendall(head + bytes(payload))
        else:
            self._sock.sendall(head)
            self._sock.sendall(payload)

    def _exactly(self, count: int) -> bytes:
        body, at = bytearray(count), 0
        while at < count:
            got = self._sock.recv_into(memoryview(body)[at:])
            if not got:
                raise ConnectionError("the other end closed the connection")
            at += got
        return cast(bytes, body)

    def recv(self) -> bytes:
        """The next message."""
        return self._exactly(int.from_bytes(self._exactly(_HEAD), "big"))

    def close(self) -> None:
        """Ends the connection."""
        self._sock.close()


def connected(me: int, addresses: dict[str, list[object]], parties: int, outside: int = 0) -> dict[int, Any]:
    """Channels to all other parties; of two, the one with the smaller number listens at the address `i-j`.

    The channel between two parties that compute is one that says whether it can be read or written. Parties outside,
    numbered after the others, have none to each other.
    """

    def wrap(other: int, sock: socket.socket) -> Any:
        return TcpChannel(sock) if parties == 2 and max(me, other) < 2 else BlockingChannel(sock)

    listening = {}
    for other in range(me + 1, parties + outside if me < parties else 0):
        host, port = addresses[f"{me}-{other}"]
        listening[other] = socket.create_server((str(host), int(str(port))))
    channels = {}
    for other in range(min(me, parties)):
        host, port = addresses[f"{other}-{me}"]
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                channels[other] = wrap(other, socket.create_connection((str(host), int(str(port)))))
                break
            if time.monotonic() > deadline:
                raise ConnectionError(f"party {other} does not listen")
            time.sleep(0.01)
    for other, server in listening.items():
        with server:
            channels[other] = wrap(other, server.accept()[0])
    return channels
