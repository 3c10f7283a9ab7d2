"""An accepted connection handed to another process of this machine (`SCM_RIGHTS`)."""

from __future__ import annotations

import socket

from atoll.errors import AtollError

_MARK = b"\x01"


def send_socket(unix: socket.socket, sock: socket.socket) -> None:
    """Gives `sock` to the process at the other end of `unix` and closes it here. `E_UNREACHABLE` if it is
    gone."""
    try:
        socket.send_fds(unix, [_MARK], [sock.fileno()])
    except OSError as error:
        raise AtollError("E_UNREACHABLE", f"the worker does not take connections: {error}") from None
    finally:
        sock.close()


def receive_socket(unix: socket.socket) -> socket.socket:
    """The next socket from `unix`, blocking; its timeout is that of `unix`. `E_UNREACHABLE` when it
    closes."""
    try:
        mark, descriptors, _, _ = socket.recv_fds(unix, 1, 1)
    except OSError as error:
        raise AtollError("E_UNREACHABLE", f"the node hands over no connection: {error}") from None
    if mark != _MARK or len(descriptors) != 1:
        for descriptor in descriptors:
            socket.close(descriptor)
        raise AtollError("E_UNREACHABLE", "the node closed the way on which it hands over connections")
    sock = socket.socket(fileno=descriptors[0])
    sock.setblocking(True)
    return sock
