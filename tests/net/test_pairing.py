"""Invites and words: the honest case, wrong secrets, and someone who stands in between."""

from __future__ import annotations

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.net import pairing
from atoll.net.dial import dial
from atoll.net.identity import NodeKeys, key_statement, make_tls, read_key_statement
from atoll.net.link import Link, accept_link, open_link
from atoll.net.pairing import Invite, OpenInvite, PendingPair

NOW = datetime(2026, 11, 23, 16, 30, tzinfo=UTC)
BINDING = bytes(range(32))


def statement(name: str) -> Any:
    keys = NodeKeys(SigningKey.generate(), make_tls(NOW, 30))
    return read_key_statement(key_statement(keys, name, None, NOW), NOW)


DIALER, INVITER = statement("bob"), statement("alice")


def invite(by: Any = INVITER) -> Invite:
    return Invite.create("alice", "127.0.0.1:7443", by.identity, by.tls, NOW, hours=1)


def run(given: Invite | None = None, binding: bytes = BINDING) -> tuple[PendingPair, PendingPair]:
    given = given or invite()
    committed, first = pairing.commit(given, DIALER, INVITER, BINDING, NOW)
    answered, reply = pairing.answer(OpenInvite(given), INVITER, DIALER, binding, first, NOW)
    theirs, second = pairing.open_commitment(committed, reply)
    return theirs, pairing.finish(answered, second)


def test_an_invite_is_one_line_and_comes_back() -> None:
    made = invite()
    line = made.to_line()
    assert "\n" not in line
    assert Invite.parse(f"  {line}\n") == made
    assert made.secret.hex() not in repr(made)
    record = OpenInvite(made).failed()
    assert OpenInvite.from_json(record.to_json()) == record


@given(st.data())
@settings(max_examples=60)
def test_a_damaged_invite_is_refused_or_is_another(data: st.DataObject) -> None:
    line = invite().to_line()
    at = data.draw(st.integers(0, len(line) - 1))
    bad = line[:at] + data.draw(st.sampled_from("AZaz09-_ :é")) + line[at + 1 :]
    try:
        assert Invite.parse(bad).to_line() is not None
    except AtollError as error:
        if error.code != "E_INVITE":
            raise


def test_both_sides_see_the_same_words_and_the_pair_needs_both() -> None:
    dialer, inviter = run()
    for language in ("en", "zh"):
        assert dialer.words(language) == inviter.words(language)
        assert len(dialer.words(language).split()) == 4
    assert dialer.id == inviter.id
    dialer.check("  " + dialer.words("en").upper())
    dialer.check(dialer.words("zh").replace(" ", ""))
    with pytest.raises(AtollError, match="E_STATE"):
        dialer.confirm_message()
    dialer = dialer.confirm(inviter.words("en"))
    inviter = inviter.receive_confirm(dialer.confirm_message())
    assert not dialer.active
    assert not inviter.active
    inviter = PendingPair.from_json(inviter.to_json()).confirm(dialer.words("zh"))
    dialer = dialer.receive_confirm(inviter.confirm_message())
    assert dialer.active
    assert inviter.active
    assert (dialer.peer.name, inviter.peer.name) == ("alice", "bob")


def test_other_words_are_refused() -> None:
    dialer, _ = run()
    _, other = run()
    assert dialer.words() != other.words()
    with pytest.raises(AtollError, match="E_WORDS"):
        dialer.confirm(other.words())
    with pytest.raises(AtollError, match="E_WORDS"):
        dialer.receive_confirm({"pair": other.id})
    with pytest.raises(AtollError, match="E_WIRE"):
        dialer.receive_confirm({"pair": dialer.id, "more": 1})


def test_wrong_secrets_cost_and_the_fifth_disables() -> None:
    right, wrong = invite(), invite()
    record = OpenInvite(right)
    forged = Invite(**{**vars(right), "secret": wrong.secret})
    for _ in range(5):
        _, first = pairing.commit(forged, DIALER, INVITER, BINDING, NOW)
        with pytest.raises(AtollError, match="E_INVITE") as refused:
            pairing.answer(record, INVITER, DIALER, BINDING, first, NOW)
        assert refused.value.detail == {"wrong_secret": True}
        record = record.failed()
    assert record.state == "disabled"
    _, first = pairing.commit(right, DIALER, INVITER, BINDING, NOW)
    with pytest.raises(AtollError, match="E_INVITE"):
        pairing.answer(record, INVITER, DIALER, BINDING, first, NOW)


def test_used_and_expired_invites() -> None:
    made = invite()
    _, first = pairing.commit(made, DIALER, INVITER, BINDING, NOW)
    with pytest.raises(AtollError, match="E_INVITE"):
        pairing.answer(OpenInvite(made).used(), INVITER, DIALER, BINDING, first, NOW)
    late = NOW + timedelta(hours=2)
    with pytest.raises(AtollError, match="E_INVITE"):
        pairing.answer(OpenInvite(made), INVITER, DIALER, BINDING, first, late)
    with pytest.raises(AtollError, match="E_INVITE"):
        pairing.commit(made, DIALER, INVITER, BINDING, late)


def test_the_secret_binds_the_connection_and_the_statements() -> None:
    with pytest.raises(AtollError, match="E_INVITE"):
        run(binding=bytes(32))
    with pytest.raises(AtollError, match="E_PEER_KEY"):
        pairing.commit(invite(statement("mallory")), DIALER, INVITER, BINDING, NOW)


def test_a_nonce_cannot_change_after_the_answer() -> None:
    made = invite()
    committed, first = pairing.commit(made, DIALER, INVITER, BINDING, NOW)
    answered, reply = pairing.answer(OpenInvite(made), INVITER, DIALER, BINDING, first, NOW)
    _, second = pairing.open_commitment(committed, reply)
    with pytest.raises(AtollError, match="E_WORDS"):
        pairing.finish(answered, second | {"nonce": bytes(16)})
    for junk in (None, {}, second | {"nonce": b""}, second | {"opening": 7}, {**second, "x": 1}):
        with pytest.raises(AtollError, match="E_WIRE"):
            pairing.finish(answered, junk)


class Inviter:
    """A node's pairing verbs, as a node would serve them."""

    def __init__(self, node: Any) -> None:
        self.node, self.record, self.pair = node, None, None
        self.answered: Any = None
        self.done = threading.Event()
        node.handlers |= {"pair.commit": self.commit, "pair.open": self.open}
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.sock.getsockname()[1]}"
        self.links: list[Link] = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        with contextlib.suppress(AtollError):
            self.links.append(accept_link(self.sock.accept()[0], self.node.local, "pair"))

    def invite(self) -> Invite:
        keys, now = self.node.keys, self.node.local.clock()
        made = Invite.create(self.node.local.name, self.address, keys.identity, keys.tls.fingerprint, now)
        self.record = OpenInvite(made)
        return made

    def commit(self, peer: Any, body: Any) -> Any:
        now = self.node.local.clock()
        self.answered, reply = pairing.answer(self.record, peer.mine, peer.statement, peer.binding, body, now)
        return reply

    def open(self, peer: Any, body: Any) -> Any:
        self.pair = pairing.finish(self.answered, body)
        self.done.set()


def accept_invite(node: Any, given: Invite) -> tuple[PendingPair, Link]:
    link = open_link(dial(given.address), node.local, given.tls, "pair")
    peer = link.peer
    committed, first = pairing.commit(given, peer.mine, peer.statement, peer.binding, node.local.clock())
    pair, second = pairing.open_commitment(committed, link.request("pair.commit", first))
    link.request("pair.open", second)
    return pair, link


def test_two_nodes_pair_over_a_link(node: Any) -> None:
    inviter = Inviter(node("alice"))
    pair, link = accept_invite(node("bob"), inviter.invite())
    assert inviter.done.wait(5)
    assert inviter.pair.words() == pair.words()
    assert pair.peer.identity == inviter.node.keys.identity
    link.close()


def test_a_man_in_the_middle_gives_different_words(node: Any) -> None:
    """Mallory replaces the invite by one of its own, knows the secret and runs both legs honestly."""
    alice, bob, mallory_in, mallory_out = node("alice"), node("bob"), node("mallory"), node("mallory2")
    inviter, middle = Inviter(alice), Inviter(mallory_in)
    genuine = inviter.invite()
    substitute = middle.invite()
    with ThreadPoolExecutor(2) as pool:
        to_alice = pool.submit(accept_invite, mallory_out, genuine)
        to_bob = pool.submit(accept_invite, bob, substitute)
        pair, _ = to_bob.result(20)
        to_alice.result(20)
    assert inviter.done.wait(5)
    with pytest.raises(AtollError, match="E_WORDS"):
        pair.confirm(inviter.pair.words())
    with pytest.raises(AtollError, match="E_WORDS"):
        inviter.pair.confirm(pair.words())


def test_with_the_genuine_invite_a_man_in_the_middle_gets_no_link(node: Any) -> None:
    alice, bob, mallory = node("alice"), node("bob"), node("mallory")
    inviter, middle = Inviter(alice), Inviter(mallory)
    genuine = inviter.invite()
    diverted = Invite(**{**vars(genuine), "address": middle.address})
    with pytest.raises(AtollError, match="E_PEER_KEY"):
        accept_invite(bob, diverted)
