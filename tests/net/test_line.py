"""What the kernel says of a connection, against what was sent over it."""

from __future__ import annotations

import socket
import threading

import pytest

from atoll.net.line import measure

SENT = 8 << 20


@pytest.fixture
def pair():
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    with near, far:
        yield near, far


def test_a_busy_connection_has_a_round_trip_and_a_rate(pair) -> None:
    near, far = pair
    if measure(near) is None:
        pytest.skip("this kernel says nothing of connections")
    reader = threading.Thread(target=lambda: [None for _ in iter(lambda: far.recv(1 << 20), b"")])
    reader.start()
    near.sendall(bytes(SENT))
    near.shutdown(socket.SHUT_WR)
    reader.join()
    found = measure(near)
    assert SENT <= found.sent <= SENT + 2
    assert 0 < found.round_seconds < 0.2
    # Loopback: more than a megabyte in a second, less than the memory could carry.
    assert 1e6 < found.bytes_per_second < 1e12
    assert measure(far).sent < 1000


def test_what_is_no_tcp_has_no_measure(pair) -> None:
    near, _ = pair
    left, right = socket.socketpair()
    with left, right:
        assert measure(left) is None
    near.close()
    assert measure(near) is None
