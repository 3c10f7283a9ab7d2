"""Pairing of real nodes: who is refused, with the reason on both sides; un-pairing; a node that only dials out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.net.dial import dial
from atoll.net.identity import NodeKeys, make_tls
from atoll.net.link import Link, Local, open_link
from atoll.net.pairing import Invite, commit
from atoll.testing import Net, NodeProcess, nodes, pair, until


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("alice", "bob", "carol", settings={"carol": {"partners.listen": ""}}) as made:
        yield made


def now() -> datetime:
    return datetime.now(UTC)


def stranger(tls_from: datetime | None = None, days: int = 30, signing: SigningKey | None = None) -> NodeKeys:
    return NodeKeys(signing or SigningKey.generate(), make_tls(tls_from or now(), days))


def link(
    node: NodeProcess, keys: NodeKeys, purpose: Any = "control", clock: Any = now, name: str = "dave"
) -> Link:
    local = Local(
        keys=keys,
        name=name,
        address=None,
        handlers={},
        admit=lambda *_: None,
        log=lambda *_: None,
        clock=clock,
    )
    assert node.address is not None
    return open_link(dial(node.address), local, node.administrator.info()["tls"], purpose)


def refusal(node: NodeProcess, keys: NodeKeys, **how: Any) -> AtollError:
    with pytest.raises(AtollError) as caught:
        link(node, keys, **how)
    return caught.value


def logged(node: NodeProcess, *words: str) -> bool:
    """Whether one line of the node's log holds all the words."""
    return any(all(word in line for word in words) for line in node.log().splitlines())


def peer(node: NodeProcess, other: NodeProcess) -> dict[str, Any]:
    return next(p for p in node.administrator.peers.list() if p["identity"] == other.identity)


def test_an_unknown_key_is_refused_with_the_reason_on_both_sides(net: Net) -> None:
    keys = stranger()
    assert refusal(net.alice, keys).code == "E_PEER_UNKNOWN"
    until("alice logs it", lambda: logged(net.alice, "link.refused", "E_PEER_UNKNOWN", keys.identity))


def test_a_changed_tls_key_is_refused_with_the_reason_on_both_sides(net: Net) -> None:
    """A node of the known identity whose TLS key is not the pinned one: a copied or restored folder, or worse."""
    signing = NodeKeys.load(net.bob.folder / "keys", net.bob.passphrase).signing
    assert refusal(net.alice, stranger(signing=signing), name="bob").code == "E_PEER_KEY"
    until("alice logs it", lambda: logged(net.alice, "link.refused", "E_PEER_KEY", net.bob.identity))
    assert peer(net.alice, net.bob)["state"] == "active"
    until("the real bob is still linked", lambda: peer(net.alice, net.bob)["connected"])


def test_an_expired_key_is_refused_with_the_reason_on_both_sides(net: Net) -> None:
    then = now() - timedelta(days=40)
    keys = stranger(then, 30)
    assert refusal(net.alice, keys, clock=lambda: then).code == "E_PEER_EXPIRED"
    until("alice logs it", lambda: logged(net.alice, "refused", "E_PEER_EXPIRED"))


def test_a_name_does_not_make_a_partner(net: Net) -> None:
    assert refusal(net.alice, stranger(), name="bob").code == "E_PEER_UNKNOWN"


def pairing(node: NodeProcess, keys: NodeKeys, invite: Invite) -> None:
    """The first half of the handshake of a partner that accepts an invite."""
    made = link(node, keys, purpose="pair")
    try:
        _, message = commit(invite, made.peer.mine, made.peer.statement, made.peer.binding, now())
        made.request("pair.commit", message)
    finally:
        made.close(None)


def test_five_wrong_secrets_end_an_invite(net: Net) -> None:
    invite = Invite.parse(net.alice.administrator.peers.invite())
    keys = stranger()
    for number in range(5):
        with pytest.raises(AtollError) as caught:
            pairing(net.alice, keys, replace(invite, secret=bytes([number]) * len(invite.secret)))
        assert caught.value.code == "E_INVITE"
    with pytest.raises(AtollError) as caught:
        pairing(net.alice, keys, invite)
    assert caught.value.code == "E_INVITE", "the right secret comes too late"
    assert not any(p["identity"] == keys.identity for p in net.alice.administrator.peers.list())


def test_an_invite_is_used_once(net: Net) -> None:
    invite = Invite.parse(net.alice.administrator.peers.invite())
    pairing(net.alice, stranger(), invite)
    with pytest.raises(AtollError) as caught:
        pairing(net.alice, stranger(), invite)
    assert caught.value.code == "E_INVITE"


def test_an_unfinished_handshake_pairs_nobody(net: Net) -> None:
    keys = stranger()
    pairing(net.alice, keys, Invite.parse(net.alice.administrator.peers.invite()))
    assert not any(p["identity"] == keys.identity for p in net.alice.administrator.peers.list())
    assert refusal(net.alice, keys).code == "E_PEER_UNKNOWN"


@pytest.mark.parametrize("line", ["", "atoll", "x" * 10_000, "atoll-invite:v1:AAAA", "\0"])
def test_lines_that_are_no_invites(net: Net, line: str) -> None:
    with pytest.raises(AtollError) as caught:
        net.bob.administrator.peers.accept(line)
    assert caught.value.code in ("E_INVITE", "E_FORMAT")


def test_an_own_invite_and_one_of_a_partner_are_refused(net: Net) -> None:
    line = net.alice.administrator.peers.invite()
    for node, code in ((net.alice, "E_INVITE"), (net.bob, "E_CONFLICT")):
        with pytest.raises(AtollError) as caught:
            node.administrator.peers.accept(line)
        assert caught.value.code == code


@pytest.mark.parametrize("hours", [0, -1, 10**6])
def test_an_invite_lasts_a_sensible_time(net: Net, hours: int) -> None:
    with pytest.raises(AtollError) as caught:
        net.alice.administrator.peers.invite(hours)
    assert caught.value.code in ("E_FORMAT", "E_INVITE")


def test_a_dial_only_node_gives_no_invites(net: Net) -> None:
    assert net.carol.address is None
    with pytest.raises(AtollError) as caught:
        net.carol.administrator.peers.invite()
    assert caught.value.code == "E_STATE"


@pytest.fixture(scope="module")
def agreement(net: Net) -> str:
    for number, node in enumerate(net):
        ids = [str(i) for i in range(20 * number, 20 * number + 60)]
        rows = {"id": ids, "group": ["a", "b"] * 30, "amount": list(range(60))}
        node.steward.data.add("loans", rows)
    return net.agreement(
        {n.name: {"loans": {"id": "join_key", "group": "group_key", "amount": "aggregate"}} for n in net}
    )


def test_a_dial_only_node_is_joined_with_and_asks_for_totals(net: Net, agreement: str) -> None:
    job = net.alice.analyst.join(
        agreement, "loans@alice", "loans@carol", on="id", purpose="test", reveal="size"
    )
    assert job.wait(timeout=60).result().scalars == {"intersection_size": 20}
    job = net.carol.analyst.totals(
        agreement, "loans", group="group", segments=["a", "b"], values=["amount"], purpose="test"
    )
    table = job.wait(timeout=60).result().arrow().to_pydict()
    assert table["count"] == [90, 90]
    assert [int(v) for v in next(v for k, v in table.items() if "amount" in k)] == [3 * 870, 3 * 900]


def test_wrong_words_pair_nobody(net: Net) -> None:
    bob = net.bob
    net.alice.administrator.peers.remove("bob", "to pair again")
    until("bob knows", lambda: peer(bob, net.alice)["state"] == "removed")
    words = bob.administrator.peers.accept(net.alice.administrator.peers.invite())["words"]
    shown = until("alice shows words", lambda: peer(net.alice, bob)["words"])
    assert shown == words
    wrong = " ".join(reversed(words.split()))
    with pytest.raises(AtollError) as caught:
        bob.administrator.peers.confirm("alice", wrong)
    assert caught.value.code == "E_WORDS"
    assert (peer(bob, net.alice)["state"], peer(net.alice, bob)["state"]) == ("comparing", "comparing")
    # One side alone does not pair: what bob says counts only once alice's person has said it too.
    bob.administrator.peers.confirm("alice", words)
    time.sleep(0.5)
    assert (peer(bob, net.alice)["state"], peer(net.alice, bob)["state"]) == ("comparing", "comparing")
    net.alice.administrator.peers.confirm("bob", words)
    for one, other in ((net.alice, bob), (bob, net.alice)):
        until("paired", lambda o=one, p=other: peer(o, p)["state"] == "active")


def test_un_pairing_works_at_once_with_the_reason_on_both_sides(net: Net, agreement: str) -> None:
    until("linked", lambda: peer(net.alice, net.bob)["connected"] and peer(net.bob, net.alice)["connected"])
    began = time.monotonic()
    net.bob.administrator.peers.remove("alice", "the contract ended")
    assert peer(net.bob, net.alice) | {
        "state": "removed",
        "reason": "the contract ended",
        "connected": False,
    } == peer(net.bob, net.alice)
    there = until(
        "alice knows", lambda: peer(net.alice, net.bob) if peer(net.alice, net.bob)["removed"] else None, 5
    )
    assert time.monotonic() - began < 5
    assert (there["state"], there["reason"], there["connected"]) == (
        "removed",
        "by the partner: the contract ended",
        False,
    )
    with pytest.raises(AtollError) as caught:
        net.alice.analyst.join(agreement, "loans@alice", "loans@bob", on="id", purpose="test").wait(
            timeout=30
        )
    assert caught.value.code in ("E_UNPAIRED", "E_PEER_UNKNOWN")
    # What was un-paired is refused with that reason, whoever dials.
    keys = NodeKeys.load(net.alice.folder / "keys", net.alice.passphrase)
    assert refusal(net.bob, keys, name="alice").code == "E_UNPAIRED"
    until("bob logs it", lambda: logged(net.bob, "link.refused", "E_UNPAIRED", net.alice.identity))
    for node in (net.alice, net.bob):
        assert logged(node, "E_UNPAIRED"), f"{node.name} says why"
    pair(net.alice, net.bob)


def test_a_partner_that_changed_its_key_is_told_so_by_the_real_nodes(net: Net, tmp_path: Path) -> None:
    """Bob's TLS files are replaced by new ones, as after a botched restore: both nodes say what is wrong."""
    bob = net.bob
    until("linked", lambda: peer(net.alice, bob)["connected"])
    bob.stop()
    keys = NodeKeys.load(bob.folder / "keys", bob.passphrase)
    kept = {f.name: f.read_bytes() for f in (bob.folder / "keys").iterdir()}
    NodeKeys._store_tls(bob.folder / "keys", bob.passphrase, make_tls(now(), 800))
    bob.start()
    assert bob.identity == keys.identity
    try:
        until("alice logs it", lambda: logged(net.alice, "refused", "E_PEER_KEY"), 20)
        until("bob logs it", lambda: logged(bob, "refused", "E_PEER_KEY"), 20)
        assert not peer(net.alice, bob)["connected"]
    finally:
        bob.stop()
        for name, data in kept.items():
            (bob.folder / "keys" / name).write_bytes(data)
        bob.start()
    until("linked again", lambda: peer(net.alice, bob)["connected"], 20)
