"""One port for everything: routing by server name, and what becomes of those who fit nowhere."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from atoll.crypto.tls import Connection
from atoll.errors import AtollError
from atoll.net import listener as listener_module
from atoll.net.dial import dial
from atoll.net.identity import ephemeral_tls
from atoll.net.listener import Listener, job_name
from atoll.net.pipe import Pipe


class Taken:
    def __init__(self) -> None:
        self.by: list[str] = []
        self.event = threading.Event()

    def take(self, who: str) -> Any:
        def took(sock: socket.socket) -> None:
            self.by.append(who)
            self.event.set()
            sock.close()

        return took


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture
def port(taken: Taken) -> Iterator[Listener]:
    made = Listener("127.0.0.1", 0, taken.take("control"), taken.take("pair"), lambda event, facts: None)
    made.start()
    yield made
    made.stop()


def hello(name: str, helpers: Any) -> bytes:
    tls = ephemeral_tls(helpers.now())
    return Connection.client(
        tls.certificate, tls.private_key, [tls.fingerprint], name, helpers.now()
    ).outgoing()


def ended(sock: socket.socket) -> bool:
    sock.settimeout(5)
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:  # closed with our bytes unread
        return True


def settle(port: Listener, what: str, count: int = 1) -> None:
    deadline = time.monotonic() + 8
    while port.counters().get(what, 0) < count:
        assert time.monotonic() < deadline, port.counters()
        time.sleep(0.01)


def test_names_lead_to_their_takers(port: Listener, taken: Taken, helpers: Any) -> None:
    name = job_name()
    port.route(name, taken.take("worker"))
    with pytest.raises(AtollError, match="E_CONFLICT"):
        port.route(name, taken.take("thief"))
    for target, who in (("node.atoll", "control"), ("pair.atoll", "pair"), (name, "worker")):
        taken.event.clear()
        sock = dial(port.address)
        data = hello(target, helpers)
        # A first message in two pieces is waited for.
        sock.sendall(data[:40])
        time.sleep(0.05)
        sock.sendall(data[40:])
        assert taken.event.wait(5)
        assert taken.by[-1] == who
        sock.close()
    port.unroute(name)
    sock = dial(port.address)
    sock.sendall(hello(name, helpers))
    assert ended(sock)
    settle(port, "unknown_job")


@pytest.mark.parametrize("junk", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05\x02abcd", b"\x00" * 64])
def test_garbage_is_closed_and_counted(port: Listener, taken: Taken, junk: bytes) -> None:
    sock = dial(port.address)
    sock.sendall(junk)
    assert ended(sock)
    settle(port, "garbage")
    assert taken.by == []


def test_an_unknown_name_goes_nowhere(port: Listener, taken: Taken, helpers: Any) -> None:
    sock = dial(port.address)
    sock.sendall(hello("www.example.com", helpers))
    settle(port, "garbage")
    assert taken.by == []


def test_a_slow_client_is_dropped_and_others_are_served(
    port: Listener, taken: Taken, helpers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "PEEK_SECONDS", 0.5)
    data = hello("node.atoll", helpers)
    slow = [dial(port.address) for _ in range(5)]
    for sock in slow:
        sock.sendall(data[:10])
    quick = dial(port.address)
    quick.sendall(data)
    assert taken.event.wait(5)
    settle(port, "slow", 5)
    assert taken.by == ["control"]


def test_more_handshakes_than_places_are_turned_away(port: Listener, helpers: Any) -> None:
    crowd = [dial(port.address) for _ in range(listener_module.MAX_HANDSHAKES + 3)]
    settle(port, "busy", 3)
    for sock in crowd:
        sock.close()


def test_stop_ends_everything(taken: Taken) -> None:
    port = Listener("127.0.0.1", 0, taken.take("control"), taken.take("pair"), lambda event, facts: None)
    port.start()
    address = port.address
    idle = dial(address)
    time.sleep(0.1)
    begun = time.monotonic()
    port.stop()
    assert time.monotonic() - begun < 3
    assert ended(idle)
    with pytest.raises(AtollError, match="E_UNREACHABLE") as refused:
        dial(address, 1)
    assert address in refused.value.text
    assert address in refused.value.cure


WORKER = """
import socket, sys
from atoll.net.pipe import Pipe
pipe = Pipe(socket.socket(fileno=int(sys.argv[1])))
message, descriptor = pipe.receive()
assert message == {"kind": "socket"}
sock = socket.socket(fileno=descriptor)
sock.sendall(sock.recv(5)[::-1])
sock.close()
"""


def test_an_accepted_connection_reaches_another_process(port: Listener, helpers: Any) -> None:
    ours, theirs = Pipe.pair()
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(theirs.fileno())], pass_fds=[theirs.fileno()]
    )
    theirs.close()
    name = job_name()

    def hand_over(sock: socket.socket) -> None:
        ours.send({"kind": "socket"}, sock.fileno())
        sock.close()

    port.route(name, hand_over)
    sock = dial(port.address)
    data = hello(name, helpers)
    sock.sendall(data)
    sock.settimeout(20)
    # The worker sees the connection from its first byte on: looking at the name took nothing away.
    assert sock.recv(5) == data[:5][::-1]
    assert worker.wait(20) == 0
    assert ended(sock)
    late = dial(port.address)
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        ours.send({"kind": "socket"}, late.fileno())
    late.close()
