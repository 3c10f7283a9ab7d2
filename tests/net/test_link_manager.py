"""One live link per pair of nodes, whoever dials."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from atoll.errors import AtollError
from atoll.net import peers as peers_module
from atoll.net.identity import NodeKeys
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
                "127.0.0.1", 0, self.manager.accept, lambda sock: sock.close(), node.local.log,
                lambda sock: self.manager.accept(sock, older=True),
            )  # fmt: skip
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


# A renewed TLS key: for a while some partners pin the one, some the other.


def renewed(node: Any, folder: Path) -> str:
    """Renews the TLS key of a node that does not run yet; the fingerprint of the one before."""
    before: str = node.keys.tls.fingerprint
    node.keys = NodeKeys.renew_tls(folder / node.local.name, "open sesame", node.local.clock())
    node.local = replace(node.local, keys=node.keys)
    assert node.keys.older.fingerprint == before != node.keys.tls.fingerprint
    return before


def pins(one: Running, other: Running, tls: str) -> None:
    """`one` knows `other` by that TLS key."""
    one.node.trusted[other.identity] = tls
    one.manager.add(other.identity, tls, other.address)


@pytest.mark.parametrize(
    ("rena_listens", "old_listens"),
    [(True, True), (True, False), (False, True)],
    ids=["both", "dials out", "dialed"],
)
def test_partners_that_pin_the_older_or_the_newer_key_are_both_served(
    node: Any, run: Callable[..., Running], tmp_path: Path, rena_listens: bool, old_listens: bool
) -> None:
    made = node("rena")
    before = renewed(made, tmp_path)
    rena = Running(made, rena_listens)
    pinned_old, pinned_new = run("old", old_listens), run("new", True)
    try:
        pins(pinned_old, rena, before)
        pins(pinned_new, rena, made.keys.tls.fingerprint)
        for other in (pinned_old, pinned_new):
            rena.know(other)
        for other, tls in ((pinned_old, before), (pinned_new, made.keys.tls.fingerprint)):
            until(lambda o=other: rena.identity in o.manager.connected(), 20)  # type: ignore[misc]
            assert other.manager.request(rena.identity, "echo", 1) == 1
            assert rena.manager.request(other.identity, "echo", 2) == 2
            assert other.manager.connected()[rena.identity].tls == tls
            assert rena.manager.connected()[other.identity].mine.tls == tls
        # The partner takes over the new pin: the link is made again with the new key, without a gap of minutes.
        pins(pinned_old, rena, made.keys.tls.fingerprint)
        until(
            lambda: (
                rena.identity in pinned_old.manager.connected()
                and pinned_old.manager.connected()[rena.identity].tls == made.keys.tls.fingerprint
            ),
            20,
        )
        assert pinned_old.manager.request(rena.identity, "echo", 3) == 3
    finally:
        rena.stop()


def test_a_key_that_is_neither_of_the_two_is_refused(
    node: Any, run: Callable[..., Running], tmp_path: Path
) -> None:
    made = node("rena")
    before = renewed(made, tmp_path)
    rena, other = Running(made, True), run("other")
    try:
        pins(other, rena, other.node.keys.tls.fingerprint)
        rena.know(other)
        for one, whom in ((other, rena), (rena, other)):
            with pytest.raises(AtollError) as caught:
                one.manager.link(whom.identity, timeout=5)
            assert caught.value.code == "E_PEER_KEY"
        assert rena.identity not in other.manager.connected()
        # An older key whose time is over is not shown any more.
        late = made.keys.older.not_after + timedelta(seconds=1)
        assert [k.tls.fingerprint for k in made.keys.views(late)] == [made.keys.tls.fingerprint]
        assert [k.tls.fingerprint for k in made.keys.views(made.local.clock())][1] == before
    finally:
        rena.stop()
