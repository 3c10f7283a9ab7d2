"""One live link per pair of nodes, whoever dials."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from atoll.errors import AtollError
from atoll.net import peers as peers_module
from atoll.net.listener import Listener
from atoll.net.peers import LinkManager


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Running:
    def __init__(self, node: Any, listens: bool) -> None:
        self.node = node
        self.manager = LinkManager(node.local)
        self.listener: Listener | None = None
        if listens:
            self.listener = Listener(
                "127.0.0.1", 0, self.manager.accept, lambda sock: sock.close(), node.local.log
            )
            self.listener.start()
        self.manager.start()

    @property
    def identity(self) -> str:
        return str(self.node.keys.identity)

    @property
    def address(self) -> str | None:
        return self.listener.address if self.listener else None

    def know(self, other: Running) -> None:
        self.node.trust(other.node)
        self.manager.add(other.identity, other.node.keys.tls.fingerprint, other.address)

    def stop(self) -> None:
        if self.listener:
            self.listener.stop()
        self.manager.stop()


@pytest.fixture
def run(node: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Running]]:
    monkeypatch.setattr(peers_module, "RETIRE_IDLE_SECONDS", 0.2)
    running: list[Running] = []

    def start(name: str, listens: bool = True) -> Running:
        running.append(Running(node(name), listens))
        return running[-1]

    yield start
    for one in running:
        one.stop()


def test_both_dial_and_one_link_stays(run: Callable[..., Running]) -> None:
    alice, bob = run("alice"), run("bob")
    alice.know(bob)
    bob.know(alice)
    for _ in range(3):
        assert alice.manager.request(bob.identity, "echo", 1) == 1
        assert bob.manager.request(alice.identity, "echo", 2) == 2
    smaller = min(alice, bob, key=lambda r: r.identity)
    larger = bob if smaller is alice else alice
    # Whatever the order of the two connections was, both sides end on the one that the smaller identity dialed,
    # or on a single one if the other never came about.
    time.sleep(1.5)
    one, two = smaller.manager.connected()[larger.identity], larger.manager.connected()[smaller.identity]
    assert one.binding == two.binding


def test_a_node_without_a_listener_dials_and_is_asked_too(run: Callable[..., Running]) -> None:
    alice, bob = run("alice", listens=False), run("bob")
    alice.know(bob)
    bob.know(alice)
    assert bob.manager.request(alice.identity, "echo", "to the one behind the firewall") is not None
    assert alice.manager.request(bob.identity, "echo", [1]) == [1]
    assert not bob.manager.connected()[alice.identity].dialed


def test_unpairing_ends_the_link_at_once_and_says_why(run: Callable[..., Running]) -> None:
    alice, bob = run("alice"), run("bob", listens=False)
    alice.know(bob)
    bob.know(alice)
    alice.manager.request(bob.identity, "echo", 1)
    link = bob.manager.link(alice.identity)
    alice.node.trusted.clear()
    alice.manager.disconnect(bob.identity, AtollError("E_UNPAIRED", "ended"))
    until(lambda: not link.alive, 2)
    assert link.reason is not None
    assert link.reason.code == "E_UNPAIRED"
    with pytest.raises(AtollError, match="E_PEER_UNKNOWN"):
        alice.manager.request(bob.identity, "echo", 1)
    with pytest.raises(AtollError) as refused:
        bob.manager.request(alice.identity, "echo", 1)
    assert refused.value.code == "E_PEER_UNKNOWN"


def test_a_lost_link_comes_back(run: Callable[..., Running], helpers: Any) -> None:
    alice, bob = run("alice", listens=False), run("bob")
    proxy = helpers.proxy(bob.address)
    alice.node.trust(bob.node)
    bob.know(alice)
    alice.manager.add(bob.identity, bob.node.keys.tls.fingerprint, proxy.address)
    assert alice.manager.request(bob.identity, "echo", 1) == 1
    proxy.cut()
    until(lambda: proxy.connections >= 2)
    assert bob.manager.request(alice.identity, "echo", 2) == 2
    proxy.close()


def test_an_unreachable_peer_is_an_error_that_says_what_was_tried(run: Callable[..., Running]) -> None:
    alice, bob, carol = run("alice"), run("bob"), run("carol", listens=False)
    alice.know(bob)
    alice.know(carol)
    address = bob.address
    bob.stop()
    with pytest.raises(AtollError, match="E_UNREACHABLE") as refused:
        alice.manager.request(bob.identity, "echo", 1)
    assert str(address) in str(refused.value)
    with pytest.raises(AtollError, match="E_UNREACHABLE"):
        alice.manager.link(carol.identity, timeout=0.3)


def test_another_node_at_the_address_is_not_taken_for_the_peer(run: Callable[..., Running]) -> None:
    alice, bob, mallory = run("alice"), run("bob", listens=False), run("mallory")
    alice.node.trust(bob.node)
    alice.manager.add(bob.identity, bob.node.keys.tls.fingerprint, mallory.address)
    with pytest.raises(AtollError, match="E_PEER_KEY"):
        alice.manager.request(bob.identity, "echo", 1)
