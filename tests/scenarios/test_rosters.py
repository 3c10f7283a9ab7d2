"""A consortium from its cards to its end, by the command line, the SDK and bare HTTP: found, work, join, leave."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from atoll_scenario_drivers import DRIVERS, Driver, Json

from atoll import AtollError
from atoll.testing import Net, NodeProcess, nodes, until


@pytest.fixture
def net() -> Iterator[Net]:
    """Four nodes that do not know one another; carol only dials out."""
    names = ("alice", "bob", "carol", "dave")
    with nodes(*names, pair=None, settings={"carol": {"partners.listen": ""}}) as made:
        yield made


def partners(node: NodeProcess) -> dict[str, str]:
    return {p["name"]: p["state"] for p in node.administrator.peers.list()}


def found(do: Driver, name: str, members: list[NodeProcess], quorum: int) -> str:
    """Cards, one file that goes round, one comparison of words."""
    first, others = members[0], members[1:]
    cards = [do.roster(node, "card") for node in others]
    file = do.roster(first, "new", name, cards, quorum=quorum)
    assert file["missing"] == sorted((n.name for n in others), key=lambda n: _key(members, n))
    # The others sign copies at the same time; one of them gathers.
    signed = [do.roster(node, "sign", file) for node in others]
    whole = do.roster(first, "merge", *signed)
    assert whole["complete"], whole
    words = {do.roster(node, "accept", whole)["words"]["en"] for node in members}
    assert len(words) == 1
    (read,) = words
    for node in members:
        assert partners(node) == {}
    effects = [do.roster(node, "confirm", whole["id"], read)["effects"] for node in members]
    names = {n.name for n in members}
    assert [set(e["paired"]) for e in effects] == [names - {n.name} for n in members]
    return str(whole["id"])


def _key(members: list[NodeProcess], name: str) -> str:
    return next(n.identity for n in members if n.name == name)


def totals(net: Net, members: list[NodeProcess], name: str) -> list[Json]:
    """A real job of all members."""
    for number, node in enumerate(members):
        columns = {"id": ["a", "b", "c"], "segment": ["x", "x", "y"], "debt": [number, 10, 100]}
        node.steward.data.add(name, columns, declaration={"columns": {"segment": {"codes": ["x", "y"]}}})
    agreement = net.agreement({node.name: {name: "*"} for node in members})
    job = members[0].analyst.totals(agreement, name, values=["debt"], group="segment", purpose="test")
    rows: list[Json] = job.wait(timeout=60).result().arrow().to_pylist()
    return rows


@pytest.mark.parametrize(
    "do",
    [pytest.param(do, id=do.name, marks=[pytest.mark.slow] if do.name != "sdk" else []) for do in DRIVERS],
)
def test_a_consortium_is_founded_works_grows_and_shrinks(net: Net, do: Driver) -> None:
    alice, bob, carol, dave = net
    members = [alice, bob, carol]
    identifier = found(do, "Credit circle", members, quorum=2)
    for one, other in ((alice, bob), (alice, carol), (bob, carol)):
        net.await_pairing(one, other)
    assert {r["segment"]: int(r["debt"]) for r in totals(net, members, "book")} == {"x": 33, "y": 300}

    # Dave joins: two of the members and himself sign.
    draft = do.roster(alice, "next", identifier, add=[do.roster(dave, "card")])
    assert do.roster(bob, "read", draft)["state"] == "not kept here"
    do.roster(alice, "propose", draft)
    bob.administrator.rosters.wait(identifier, 2, complete=False)
    with pytest.raises(AtollError) as early:
        do.roster(alice, "accept", identifier, version=2)
    assert early.value.code == "E_SIGNATURE"
    assert "dave" in early.value.text
    do.roster(bob, "sign", identifier, version=2)
    carried = do.roster(dave, "sign", draft)
    until(
        "alice has bob's signature",
        lambda: "bob" in do.roster(alice, "show", identifier, version=2)["signed"],
    )
    second = do.roster(alice, "merge", carried)
    assert second["complete"]
    carol.administrator.rosters.wait(identifier, 2)
    for node in members:
        assert do.roster(node, "accept", identifier, version=2)["effects"]["paired"] == ["dave"]
    read = do.roster(alice, "show", identifier)["words"]["en"]
    assert do.roster(dave, "accept", second)["words"]["en"] == read
    assert do.roster(dave, "confirm", identifier, read)["effects"]["paired"] == ["alice", "bob", "carol"]
    for node in members:
        net.await_pairing(node, dave)

    # Bob leaves: alice and carol are enough; bob's signature is not needed.
    agreement = net.agreement({"alice": {"book": "*"}, "bob": {"book": "*"}})
    third = do.roster(alice, "propose", do.roster(alice, "next", identifier, remove=["bob"]))
    assert third["version"] == 3
    carol.administrator.rosters.wait(identifier, 3, complete=False)
    do.roster(carol, "sign", identifier, version=3)
    alice.administrator.rosters.wait(identifier, 3)
    assert do.roster(alice, "accept", identifier, version=3)["effects"]["unpaired"] == ["bob"]
    assert partners(alice)["bob"] == "removed"
    with pytest.raises(AtollError) as refused:
        bob.analyst.join(agreement, "book@bob", "book@alice", on="id", purpose="test").wait(timeout=30)
    assert refused.value.code in ("E_UNPAIRED", "E_UNREACHABLE", "E_PEER_UNKNOWN"), refused.value
    until("bob knows it", lambda: partners(bob)["alice"] == "removed")
    assert partners(bob)["dave"] == "active"  # dave has not accepted it yet
    dave.administrator.rosters.wait(identifier, 3)
    assert do.roster(dave, "accept", identifier, version=3)["effects"]["unpaired"] == ["bob"]
    listed = {(r["version"], r["state"]) for r in do.roster(dave, "list")}
    assert listed == {(1, "superseded"), (2, "superseded"), (3, "active")}
