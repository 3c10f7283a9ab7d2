"""Dialing a peer."""

from __future__ import annotations

import contextlib
import socket

from atoll.errors import AtollError
from atoll.net.identity import parse_address

BUFFER = 4 << 20


def tune(sock: socket.socket) -> None:
    """Settings of every connection to a peer: no delay for small messages, large buffers, keepalive."""
    # A socket of another family (a pipe in a test, a relay) has none of these options.
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)


def dial(address: str, timeout: float = 5.0) -> socket.socket:
    """A blocking connection to `host:port`.

    Raises:
        AtollError: `E_UNREACHABLE` says what was tried; `E_FORMAT` for an address that is none.
    """
    host, port = parse_address(address)
    try:
        sock = socket.create_connection((host, port), timeout)
    except OSError as error:
        reason = error.strerror or str(error) or "no answer"
        raise AtollError(
            "E_UNREACHABLE",
            f"nobody answered at {address} within {timeout:g} s ({reason}).",
            cure=f"Check that the partner's node runs, that {address} is its address, and that no firewall "
            "stands between; or let the partner dial this node.",
        ) from None
    sock.settimeout(None)
    tune(sock)
    return sock
