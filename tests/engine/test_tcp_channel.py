"""The plain channel that the benchmarks use: nothing is lost, nobody waits for each other, an end is an error."""

from __future__ import annotations

import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from atoll.engine import private_intersection

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from harness.tcp import TcpChannel


@pytest.fixture
def ends():
    pair = socket.socketpair()
    made = [TcpChannel(end) for end in pair]
    yield made
    for end in pair:
        end.close()


def test_an_intersection_over_a_socket(ends):
    with ThreadPoolExecutor(2) as pool:
        mine = pool.submit(private_intersection, np.arange(300), ends[0], protocol="ecdh-psi/v1")
        theirs = pool.submit(
            private_intersection, np.arange(200, 500), ends[1], learns="peer", protocol="ecdh-psi/v1"
        )
        assert mine.result(20).tolist() == list(range(200, 300))
        assert theirs.result(20) is None
    assert ends[0].sent > 300 * 32


def test_both_may_send_more_than_the_socket_holds(ends):
    big = [bytes([i]) * (4 << 20) for i in range(3)]

    def side(end):
        for part in (b"", *big):
            end.send(part, "step")
            while not end.writable():
                end.wait(read=True, write=True)
                if end.readable() and not end.writable():
                    found.setdefault(id(end), []).append(end.recv())
        while len(found.setdefault(id(end), [])) < 4:
            found[id(end)].append(end.recv())

    found: dict[int, list[bytes]] = {}
    threads = [threading.Thread(target=side, args=(end,), daemon=True) for end in ends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [found[id(end)] for end in ends] == [[b"", *big]] * 2


def test_the_end_of_the_peer_is_an_error_after_its_last_message(ends):
    ends[0].send(b"last", "step")
    ends[0].close()
    assert ends[1].recv() == b"last"
    with pytest.raises(ConnectionError):
        ends[1].recv()


def test_a_frame_of_any_length_is_not_believed(ends):
    ends[0]._sock.send(b"\xff\xff\xff\xff")
    with pytest.raises(ConnectionError, match="too long"):
        ends[1].recv()
