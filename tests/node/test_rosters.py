"""Rosters at real nodes: words, forged versions, members removed by hand, keys that change, who leaves."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from atoll.agreements import roster as rules
from atoll.crypto import dsse
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.net.dial import dial
from atoll.net.identity import NodeKeys, key_statement, make_tls
from atoll.net.link import Link, Local, open_link
from atoll.node.home import Home
from atoll.testing import Net, NodeProcess, nodes, pair, until
from atoll.testing.network import is_paired

Json = dict[str, Any]


@pytest.fixture
def net() -> Iterator[Net]:
    with nodes("alice", "bob", "carol", pair=None) as made:
        yield made


def now() -> datetime:
    return datetime.now(UTC)


def refused(code: str, function: Callable[..., Any], *args: Any, **how: Any) -> AtollError:
    with pytest.raises(AtollError) as caught:
        function(*args, **how)
    assert caught.value.code == code, str(caught.value)
    return caught.value


def states(node: NodeProcess) -> dict[str, str]:
    return {p["name"]: p["state"] for p in node.administrator.peers.list()}


def peer(node: NodeProcess, name: str) -> Json:
    return next(p for p in node.administrator.peers.list() if p["name"] == name)


def drafted(net: Net, *names: str, quorum: int | None = None) -> Json:
    """A first version that all have signed."""
    first, *others = [net[n] for n in names]
    file = first.administrator.rosters.new(
        "Lenders", [n.administrator.rosters.card() for n in others], quorum
    )
    for node in others:
        file = node.administrator.rosters.sign(file)
    return file


def test_nobody_is_paired_by_wrong_words_or_without_all_signatures(net: Net, records: Any) -> None:
    alice, bob, carol = net
    cards = [n.administrator.rosters.card() for n in (bob, carol)]
    file = alice.administrator.rosters.new("Lenders", cards)
    identifier = file["id"]
    error = refused("E_SIGNATURE", alice.administrator.rosters.accept, identifier)
    assert "bob" in error.text
    assert "carol" in error.text
    refused("E_STATE", alice.administrator.rosters.confirm, identifier, "twelve words")
    whole = carol.administrator.rosters.sign(bob.administrator.rosters.sign(file))
    # Another roster of the same people, as whoever sits between them might hand to one of them.
    other = drafted(net, "bob", "alice", "carol")
    words = bob.administrator.rosters.accept(other)["words"]["en"]
    mine = alice.administrator.rosters.accept(whole)
    assert mine["state"] == "comparing"
    error = refused("E_WORDS", alice.administrator.rosters.confirm, identifier, words)
    assert "Lenders" in error.text
    refused("E_WORDS", alice.administrator.rosters.confirm, identifier, mine["words"]["en"][:-4])
    assert states(alice) == {}
    assert [r["state"] for r in alice.administrator.rosters.list() if r["id"] == identifier] == ["comparing"]
    # Chinese words are the same words.
    done = alice.administrator.rosters.confirm(identifier, mine["words"]["zh"])
    assert done["effects"]["paired"] == ["bob", "carol"]
    assert peer(alice, "bob")["roster"] == identifier
    assert peer(alice, "bob")["confirmed_by"] == "administrator"
    logged = records(alice).rows("select body from log_entries order by number")
    bodies = [b for b in (json.loads(row["body"]) for row in logged) if b["kind"] == "roster/v1"]
    acts = [b["document"]["act"] for b in bodies if b["document"]["roster"] == identifier]
    assert acts == ["signed", "accepted"]


def test_whoever_was_removed_by_hand_stays_so_until_named(net: Net) -> None:
    alice, bob, carol = net
    pair(alice, bob)
    alice.administrator.peers.remove("bob", "we quarrelled")
    until("bob knows it", lambda: states(bob)["alice"] == "removed")
    file = drafted(net, "alice", "bob", "carol")
    words = ""
    for node in net:
        words = node.administrator.rosters.accept(file)["words"]["en"]
    effects = alice.administrator.rosters.confirm(file["id"], words)["effects"]
    assert (effects["paired"], effects["not_paired"]) == (["carol"], ["bob"])
    assert states(alice) == {"bob": "removed", "carol": "active"}
    # Bob's people removed nobody: it was alice who ended it.
    assert bob.administrator.rosters.confirm(file["id"], words)["effects"]["paired"] == ["alice", "carol"]
    carol.administrator.rosters.confirm(file["id"], words)
    net.await_pairing(alice, carol)
    assert not is_paired(bob, alice)
    refused("E_NOT_FOUND", alice.administrator.rosters.accept, file["id"], include=["carol"])
    refused("E_NOT_FOUND", alice.administrator.rosters.accept, file["id"], include=["nobody"])
    assert alice.administrator.rosters.accept(file["id"], include=["bob"])["effects"]["paired"] == ["bob"]
    net.await_pairing(alice, bob)


def test_a_member_leaves_by_itself_and_words_outlive_a_roster(net: Net) -> None:
    alice, bob, carol = net
    pair(alice, carol)
    identifier = net.roster(quorum=2)
    assert peer(alice, "carol")["roster"] is None
    draft = carol.administrator.rosters.next(identifier, remove=["carol"])
    carol.administrator.rosters.propose(draft)
    alice.administrator.rosters.wait(identifier, 2, complete=False)
    alice.administrator.rosters.sign(identifier, 2)
    found = carol.administrator.rosters.wait(identifier, 2)
    assert found["signed"] == ["alice", "carol"]
    left = carol.administrator.rosters.accept(identifier, 2)
    assert left["state"] == "left"
    assert (left["effects"]["unpaired"], left["effects"]["kept"]) == (["bob"], ["alice"])
    until("bob has lost carol", lambda: states(bob)["carol"] == "removed")
    assert is_paired(carol, alice)
    refused("E_STATE", carol.administrator.rosters.next, identifier, remove=["bob"])
    bob.administrator.rosters.wait(identifier, 2)
    assert alice.administrator.rosters.accept(identifier, 2)["effects"]["kept"] == ["carol"]
    assert bob.administrator.rosters.accept(identifier, 2)["state"] == "active"
    assert states(alice) == {"bob": "active", "carol": "active"}


def links(node: NodeProcess) -> dict[str, int]:
    return {k["fingerprint"]: k["links"] for k in node.administrator.info()["tls_keys"]}


def test_a_tls_key_is_renewed_by_a_version_and_nobody_is_cut_off_meanwhile(net: Net) -> None:
    alice, bob, carol = net
    identifier = net.roster(quorum=2)
    old = bob.administrator.info()["tls"]
    bob.stop()
    (newest, _) = Home.open(bob.folder).renew_tls(bob.passphrase)
    bob.start()
    new = newest["fingerprint"]
    assert bob.administrator.info()["tls"] == new != old
    for other in (alice, carol):
        net.await_pairing(bob, other)
    assert links(bob) == {new: 0, old: 2}
    # Only bob may change bob's entry: alice and carol are a quorum, and not enough.
    draft = alice.administrator.rosters.next(identifier, renew=[bob.administrator.rosters.card()])
    assert [c["kind"] for c in draft["changes"]] == ["tls"]
    alice.administrator.rosters.propose(draft)
    carol.administrator.rosters.wait(identifier, 2, complete=False)
    carol.administrator.rosters.sign(identifier, 2)
    until(
        "alice has carol's",
        lambda: alice.administrator.rosters.show(identifier, 2)["signed"] == ["alice", "carol"],
    )
    error = refused("E_SIGNATURE", alice.administrator.rosters.accept, identifier, 2)
    assert "bob" in error.text
    bob.administrator.rosters.wait(identifier, 2, complete=False)
    bob.administrator.rosters.sign(identifier, 2)
    for node in (alice, carol):
        node.administrator.rosters.wait(identifier, 2)
        assert node.administrator.rosters.accept(identifier, 2)["effects"]["replaced"] == ["bob"]
    bob.administrator.rosters.wait(identifier, 2)
    bob.administrator.rosters.accept(identifier, 2)
    until("bob's links run over the new key", lambda: links(bob) == {new: 2, old: 0}, 100)
    bob.stop()
    Home.open(bob.folder).drop_old_tls(bob.passphrase)
    bob.start()
    for other in (alice, carol):
        net.await_pairing(bob, other)


def test_a_roster_does_not_overrule_a_key_that_words_paired(net: Net) -> None:
    alice, bob, _ = net
    pair(alice, bob)
    bob.stop()
    Home.open(bob.folder).renew_tls(bob.passphrase)
    bob.start()
    file = drafted(net, "alice", "bob")
    error = refused("E_PEER_KEY", alice.administrator.rosters.accept, file)
    assert error.party == "bob"
    assert states(alice) == {"bob": "active"}
    # People find out that the key is bob's, un-pair, and name him.
    alice.administrator.peers.remove("bob", "new key")
    words = alice.administrator.rosters.accept(file)["words"]["en"]
    done = alice.administrator.rosters.confirm(file["id"], words, include=["bob"])
    assert done["effects"]["paired"] == ["bob"]
    assert peer(alice, "bob")["roster"] == file["id"]


# A member that turns hostile: real keys in this process, a real link.


class Mallory:
    """Carol's keys, and links to a node as carol."""

    def __init__(self, net: Net) -> None:
        self.keys = NodeKeys.load(net.carol.folder / "keys", net.carol.passphrase)
        self.card = net.carol.administrator.rosters.card()["card"]
        self.victim, self.tls = net.alice, net.alice.administrator.info()["tls"]
        net.carol.stop()
        self._link: Link | None = None

    def offer(self, envelope: Any, before: Any = None) -> str | None:
        """The code of the refusal; None if the message was taken."""
        if self._link is None or not self._link.alive:
            local = Local(
                keys=self.keys, name="carol", address=None, handlers={}, admit=lambda *_: None,
                log=lambda *_: None, clock=now,
            )  # fmt: skip
            assert self.victim.address is not None
            self._link = open_link(dial(self.victim.address), local, self.tls)
        try:
            self._link.request("roster.offer", {"envelope": envelope, "before": before})
        except AtollError as error:
            return error.code
        return None

    def entry(self, name: str, key: SigningKey, address: str | None = None) -> rules.Member:
        keys = NodeKeys(key, make_tls(now(), 30))
        return rules.read_card(key_statement(keys, name, address, now()), now())


def test_what_a_hostile_member_sends_takes_no_effect_and_is_refused_by_name(net: Net) -> None:
    alice, bob, _ = net
    identifier = net.roster(quorum=2)
    shown = alice.administrator.rosters.show(identifier)
    old, first = rules.parse(shown["document"]), shown["file"]["versions"][0]
    mallory = Mallory(net)
    mine, stranger = mallory.keys.signing, SigningKey.generate()

    def follow(**how: Any) -> Json:
        return rules.follow(old, now(), **how)

    def signed(document: Json, *keys: SigningKey) -> Any:
        return dsse.sign(rules.KIND, document, *(keys or (mine,)))

    renamed = follow(name="Mallory's")
    wrong = {
        "signed by a stranger too": (signed(renamed, mine, stranger), "E_SIGNATURE"),
        "not of the version in force": (signed({**renamed, "supersedes": "sha256:" + "0" * 64}), "E_ROSTER"),
        "skips a version": (signed({**renamed, "version": 3}), "E_ROSTER"),
        "another roster's": (signed({**renamed, "id": "ros-" + "0" * 16}), "E_ROSTER"),
        "another content of the first": (signed({**old.document(), "name": "Mallory's"}), "E_ROSTER"),
        "another kind": (dsse.sign("agreement/v1", renamed, mine), "E_SIGNATURE"),
        "a field too many": (signed({**renamed, "extra": 1}), "E_FORMAT"),
        "no envelope": ("rubbish", "E_FORMAT"),
    }
    moved = follow(name="Mallory's")
    next(m for m in moved["members"] if m["name"] == "bob")["address"] = "203.0.113.1:1"
    wrong["an entry that is not its member's word"] = (signed(moved), "E_SIGNATURE")
    spoiled = signed(renamed)
    spoiled["signatures"][0]["sig"] = first["signatures"][0]["sig"]
    wrong["a signature that is none"] = (spoiled, "E_SIGNATURE")
    for what, (envelope, code) in wrong.items():
        found = mallory.offer(envelope)
        assert found == code, f"{what}: {found}"
    # A consortium of other people is none of alice's, whoever sends it.
    alone = rules.found(
        "ros-" + "2" * 16,
        "Others",
        [mallory.entry("x", stranger), rules.read_card(mallory.card, now())],
        now(),
    )
    assert mallory.offer(signed(alone)) == "E_ROSTER"
    assert [r["version"] for r in alice.administrator.rosters.list()] == [1]

    # A proper proposal is kept, once, and does nothing: bob is thrown out by carol alone.
    without = signed(follow(remove=["bob"]))
    assert mallory.offer(without) is None
    assert mallory.offer(without) is None
    assert [r["state"] for r in alice.administrator.rosters.list()] == ["offered", "active"]
    error = refused("E_SIGNATURE", alice.administrator.rosters.accept, identifier, 2)
    assert "2 members of version 1 must sign it" in error.text
    assert states(alice)["bob"] == "active"
    # Nor can she bring in somebody without that one's signature, or under bob's key.
    joined = follow(add=[mallory.entry("eve", stranger)])
    assert mallory.offer(signed(joined)) is None
    error = refused("E_ROSTER", alice.administrator.rosters.accept, identifier, 2)
    assert "2 different contents" in error.text
    digest = rules.parse(joined).digest
    refused("E_SIGNATURE", alice.administrator.rosters.accept, identifier, digest=digest)
    assert alice.administrator.rosters.show(identifier, digest=digest)["signed_both"] == ["carol"]

    # What waits of one member is bounded.
    codes = [mallory.offer(signed(follow(name=f"Name {secrets.token_hex(4)}"))) for _ in range(9)]
    assert codes == [None] * 6 + ["E_QUOTA"] * 3
    alice.administrator.rosters.withdraw(identifier, digest=digest)
    # Two contents of one version: this node signs one only.
    own = alice.administrator.rosters.next(identifier, name="Ours")
    alice.administrator.rosters.propose(own)
    refused(
        "E_ROSTER", alice.administrator.rosters.sign, identifier, digest=rules.parse(
            dsse.verify(rules.KIND, without, ())
        ).digest,
    )  # fmt: skip
    bob.administrator.rosters.wait(identifier, 2, complete=False)
    bob.administrator.rosters.sign(identifier, digest=own["digest"])
    until(
        "alice has bob's",
        lambda: alice.administrator.rosters.show(identifier, digest=own["digest"])["complete"],
    )
    done = alice.administrator.rosters.accept(identifier, digest=own["digest"])
    assert done["name"] == "Ours"
    assert {r["state"] for r in alice.administrator.rosters.list()} == {
        "active", "superseded", "passed over", "withdrawn",
    }  # fmt: skip
    assert mallory.offer(without) is None, "what is known already says nothing new"
    assert mallory.offer(signed(follow(name="Too late"))) == "E_ROSTER"
    said = alice.log()
    assert "handler_failed" not in said
    assert "Traceback" not in said
