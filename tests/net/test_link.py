"""Control links: who may in, what is said to those who may not, requests in both directions."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from atoll.crypto.tls import Connection
from atoll.crypto.wire import CONTROL_LIMIT, Kind, decode_body, encode_body
from atoll.errors import AtollError
from atoll.net.handshake import read_refusal, write_hello, write_refusal
from atoll.net.identity import key_statement, read_key_statement
from atoll.net.link import Link, _greet, accept_link, open_link
from atoll.net.stream import DroppedError, FrameStream


def outcome(work: Callable[[], Link]) -> Link | AtollError:
    try:
        return work()
    except AtollError as error:
        return error


def meet(dialer: Any, listener: Any, **options: Any) -> tuple[Link | AtollError, Link | AtollError]:
    near, far = socket.socketpair()
    pin = options.pop("pin", listener.keys.tls.fingerprint)
    with ThreadPoolExecutor(2) as pool:
        one: Future[Any] = pool.submit(outcome, lambda: open_link(near, dialer.local, pin, **options))
        two: Future[Any] = pool.submit(outcome, lambda: accept_link(far, listener.local, **options))
        return one.result(20), two.result(20)


@pytest.fixture
def pair(node: Any) -> tuple[Any, Any]:
    alice, bob = node("alice"), node("bob")
    alice.trust(bob)
    bob.trust(alice)
    return alice, bob


@pytest.fixture
def links(pair: tuple[Any, Any]) -> Any:
    one, two = meet(*pair)
    assert isinstance(one, Link)
    assert isinstance(two, Link)
    yield one, two
    one.close()
    two.close()


def test_both_sides_know_each_other(links: tuple[Link, Link], pair: tuple[Any, Any]) -> None:
    one, two = links
    assert (one.peer.name, two.peer.name) == ("bob", "alice")
    assert (one.peer.identity, two.peer.identity) == (pair[1].keys.identity, pair[0].keys.identity)
    assert one.peer.binding == two.peer.binding
    assert one.peer.dialed
    assert not two.peer.dialed
    assert one.peer.mine == two.peer.statement


def test_an_unknown_peer_gets_the_reason_and_both_sides_log_it(pair: tuple[Any, Any]) -> None:
    alice, bob = pair
    bob.trusted.clear()
    one, two = meet(alice, bob)
    assert isinstance(one, AtollError)
    assert isinstance(two, AtollError)
    assert (one.code, two.code) == ("E_PEER_UNKNOWN", "E_PEER_UNKNOWN")
    assert "secret-value" not in str(one)
    assert "bob refused" in one.text
    assert bob.saw("link.refused", "E_PEER_UNKNOWN")
    assert alice.saw("link.refused_by_peer", "E_PEER_UNKNOWN")


def test_a_changed_key_is_refused_with_the_reason(pair: tuple[Any, Any]) -> None:
    alice, bob = pair
    bob.trusted[alice.keys.identity] = bob.keys.tls.fingerprint
    one, two = meet(alice, bob)
    assert [e.code for e in (one, two) if isinstance(e, AtollError)] == ["E_PEER_KEY", "E_PEER_KEY"]
    one, two = meet(alice, bob, pin=alice.keys.tls.fingerprint)
    assert [e.code for e in (one, two) if isinstance(e, AtollError)] == ["E_PEER_KEY", "E_PEER_KEY"]


def test_expired_keys_are_refused_with_the_reason(pair: tuple[Any, Any], helpers: Any) -> None:
    alice, bob = pair
    bob.local = replace(bob.local, clock=lambda: helpers.now() + timedelta(days=900))
    one, two = meet(alice, bob)
    assert [e.code for e in (one, two) if isinstance(e, AtollError)] == ["E_PEER_EXPIRED", "E_PEER_EXPIRED"]


def test_requests_run_in_both_directions_at_the_same_time(
    links: tuple[Link, Link], pair: tuple[Any, Any]
) -> None:
    def slow(peer: Any, body: Any) -> Any:
        time.sleep(0.02)
        return [peer.name, body]

    for side in pair:
        side.handlers["slow"] = slow
    with ThreadPoolExecutor(16) as pool:
        asked = [(i, links[i % 2], pool.submit(links[i % 2].request, "slow", i, 20)) for i in range(40)]
        for number, link, answer in asked:
            assert answer.result(30) == ["alice" if link is links[0] else "bob", number]


def test_what_a_handler_raises_arrives_without_its_text(
    links: tuple[Link, Link], pair: tuple[Any, Any]
) -> None:
    def refuse(peer: Any, body: Any) -> Any:
        raise AtollError("E_POLICY", "row 3 holds 4711", column="debt", wire_column=True, step="decide")

    def fail(peer: Any, body: Any) -> Any:
        raise ValueError("row 3 holds 4711")

    pair[1].handlers |= {"refuse": refuse, "fail": fail}
    with pytest.raises(AtollError) as refused:
        links[0].request("refuse", None)
    assert (refused.value.code, refused.value.column) == ("E_POLICY", "debt")
    assert "4711" not in str(refused.value)
    with pytest.raises(AtollError) as failed:
        links[0].request("fail", None)
    assert failed.value.code == "E_INTERNAL"
    assert "4711" not in str(failed.value)
    assert pair[1].saw("link.handler_failed")
    with pytest.raises(AtollError, match="E_WIRE"):
        links[0].request("no.such.verb", None)
    assert links[0].request("echo", {"still": "alive"}) == {"still": "alive"}


def test_large_bodies_pass_and_larger_ones_are_refused_here(links: tuple[Link, Link]) -> None:
    assert len(links[0].request("echo", bytes(7 << 20))) == 7 << 20
    with pytest.raises(AtollError, match="E_TOO_LARGE"):
        links[0].request("echo", bytes(9 << 20))
    assert links[0].request("echo", 1) == 1


def test_a_late_answer_is_an_error_and_harms_nothing(links: tuple[Link, Link], pair: tuple[Any, Any]) -> None:
    pair[1].handlers["late"] = lambda peer, body: time.sleep(0.4)
    with pytest.raises(AtollError, match="E_PEER_SILENT"):
        links[0].request("late", None, timeout=0.1)
    time.sleep(0.5)
    assert links[0].request("echo", 2) == 2


def test_close_gives_the_reason_to_the_other_side(links: tuple[Link, Link], pair: tuple[Any, Any]) -> None:
    pair[1].handlers["wait"] = lambda peer, body: time.sleep(1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(links[0].request, "wait", None)
        time.sleep(0.1)
        links[1].close(AtollError("E_UNPAIRED", "ended"))
        with pytest.raises(AtollError, match="E_UNPAIRED"):
            waiting.result(5)
    assert not links[0].alive
    assert not links[1].alive


def test_a_silent_peer_ends_the_link(node: Any) -> None:
    alice, bob = node("alice", silence=0.8), node("bob")
    alice.trust(bob)
    bob.trust(alice)
    near, far = socket.socketpair()
    stop = threading.Event()

    def mute() -> None:
        own = bob.keys.tls
        tls = Connection.server(own.certificate, own.private_key, None, bob.local.clock(), CONTROL_LIMIT)
        stream = FrameStream(far, tls)
        stream.handshake(5)
        _greet(stream, bob.local, False, "control")
        stop.wait(10)

    thread = threading.Thread(target=mute)
    thread.start()
    link = open_link(near, alice.local, bob.keys.tls.fingerprint)
    begun = time.monotonic()
    with pytest.raises(AtollError, match="E_PEER_SILENT"):
        link.request("echo", 1)
    assert 0.5 < time.monotonic() - begun < 4
    assert not link.alive
    stop.set()
    thread.join()


@pytest.mark.parametrize("attack", ["garbage", "kind", "body", "signature", "purpose"])
def test_a_peer_that_speaks_nonsense_is_refused(pair: tuple[Any, Any], attack: str) -> None:
    alice, bob = pair
    near, far = socket.socketpair()
    with ThreadPoolExecutor(1) as pool:
        refused = pool.submit(outcome, lambda: accept_link(far, bob.local))
        own = alice.keys.tls
        pins = [bob.keys.tls.fingerprint]
        tls = Connection.client(
            own.certificate, own.private_key, pins, "node.atoll", alice.local.clock(), CONTROL_LIMIT
        )
        stream = FrameStream(near, tls)
        stream.handshake(5)
        statement = key_statement(alice.keys, "alice", None, alice.local.clock())
        binding = stream.tls.exporter(b"EXPORTER-atoll-link-v1")
        hello = write_hello(alice.keys, statement, "dialer", "control", binding)
        if attack == "garbage":
            near.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        elif attack == "kind":
            stream.send(Kind.REQUEST, "echo", 1, encode_body(None))
        elif attack == "body":
            stream.send(Kind.HELLO, payload=b"\x9f\xff")
        elif attack == "signature":
            # A signature from another connection: the replay of a hello.
            stream.send(
                Kind.HELLO, payload=write_hello(alice.keys, statement, "dialer", "control", bytes(32))
            )
        else:
            stream.send(Kind.HELLO, payload=encode_body(decode_body(hello) | {"purpose": "pair"}))
        error = refused.result(15)
    assert isinstance(error, AtollError)
    assert error.code == ("E_SIGNATURE" if attack == "signature" else "E_WIRE")
    stream.close()


def test_a_forged_refusal_is_not_believed(pair: tuple[Any, Any], node: Any) -> None:
    alice, bob = pair
    mallory = node("mallory")
    now = bob.local.clock()
    bob_says = read_key_statement(key_statement(bob.keys, "bob", None, now), now)
    error = AtollError("E_UNPAIRED", "internal text")
    good = write_refusal(bob.keys, error, alice.keys.identity, now)
    assert read_refusal(good, bob_says, alice.keys.identity).code == "E_UNPAIRED"
    assert read_refusal(good, bob_says, mallory.keys.identity).code == "E_WIRE"
    forged = write_refusal(mallory.keys, error, alice.keys.identity, now)
    assert read_refusal(forged, bob_says, alice.keys.identity).code == "E_WIRE"


def test_a_dropped_handshake_is_an_error(pair: tuple[Any, Any]) -> None:
    near, far = socket.socketpair()
    near.close()
    with pytest.raises(AtollError, match="E_UNREACHABLE"):
        accept_link(far, pair[1].local)
    with pytest.raises(DroppedError):
        FrameStream(*_closed(pair[0])).receive()


def _closed(node: Any) -> tuple[socket.socket, Connection]:
    near, far = socket.socketpair()
    far.close()
    own = node.keys.tls
    return near, Connection.server(own.certificate, own.private_key, None, node.local.clock(), CONTROL_LIMIT)
