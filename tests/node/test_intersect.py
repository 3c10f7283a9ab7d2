"""Intersections of three parties through real nodes: rows, size, everyone, a party that dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from atoll.client.jobs import Job
from atoll.errors import AtollError
from atoll.testing import Net, NodeProcess, nodes, until

TABLES = ["loans@alice", "taxes@bob", "cases@carol"]


def ids(first: int, last: int) -> list[str]:
    return [f"s{i}" for i in range(first, last)]


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("alice", "bob", "carol") as made:
        made.alice.steward.data.add("loans", {"id": [*ids(0, 60), "s45"], "debt": [*ids(0, 60), "again"]})
        made.bob.steward.data.add("taxes", {"id": ids(20, 90)})
        made.carol.steward.data.add("cases", {"id": [*ids(40, 120), *ids(0, 5)]})
        yield made


def agree(net: Net, **terms: Any) -> str:
    tables = {"alice": {"loans": "*"}, "bob": {"taxes": "*"}, "carol": {"cases": "*"}}
    return net.agreement(tables, **{"functions": ["intersect"], "silence_seconds": 8} | terms)


def linked(net: Net) -> None:
    until(
        "all are linked", lambda: all(p["connected"] for n in net for p in n.administrator.peers.list()), 30
    )


def asked(net: Net, agreement: str, **how: Any) -> Job:
    return net.alice.analyst.intersect(agreement, TABLES, **{"on": "id", "purpose": "test"} | how)


def found_ids(job: Job) -> list[str]:
    return list(job.result().arrow()["id"].to_pylist())


def ended(node: NodeProcess, job: str) -> Job:
    def look() -> Job | None:
        try:
            seen = node.analyst.jobs.get(job)
        except AtollError:
            return None
        return seen if seen.state in ("completed", "failed", "refused", "cancelled") else None

    seen: Job = until(f"{job} ends at {node.name}", look, 60)
    return seen


def test_the_leader_learns_its_rows_that_all_have_and_all_sign(net: Net) -> None:
    job = asked(net, agree(net))
    job.wait(timeout=90)
    assert sorted(found_ids(job)) == sorted([*ids(40, 60), "s45"])
    assert job.refresh().document["result"] == {"rows": 21, "matched_rows": 21, "matched_keys": 20}
    until("all signed", lambda: not job.receipt()["missing"])
    with pytest.raises(AtollError, match="E_NOT_FOUND"):
        net.bob.analyst.jobs.get(job.id).result()


def test_everyone_learns_its_rows_in_one_order_and_gave_its_word_to_every_owner(
    net: Net, records: Any
) -> None:
    job = asked(net, agree(net), everyone=True)
    job.wait(timeout=90)
    mine = list(dict.fromkeys(found_ids(job)))
    assert len(mine) == 20
    for node in (net.bob, net.carol):
        theirs = node.analyst.jobs.get(job.id)
        theirs.wait(timeout=60)
        assert found_ids(theirs) == mine
    for node in net:
        words = {row["party"] for row in records(node).receipts(job.id, "provisional")}
        assert words == {other.identity for other in net if other is not node}


def test_the_size_alone(net: Net) -> None:
    job = asked(net, agree(net), reveal="size")
    job.wait(timeout=90)
    assert job.result().arrow()["intersection_size"].to_pylist() == [20]


def test_a_grant_for_joins_of_two_does_not_cover_it(net: Net) -> None:
    with pytest.raises(AtollError, match="E_POLICY"):
        asked(net, agree(net, functions=["join"])).wait(timeout=60)


@pytest.mark.parametrize("dies", ["bob", "carol"])
def test_a_party_that_dies_before_its_release_ends_it_for_all_and_nothing_opens(
    net: Net, crash_at: Callable[[NodeProcess, str | None], None], records: Any, dies: str
) -> None:
    agreement = agree(net)
    crash_at(net[dies], "worker: about to release")
    linked(net)
    job = asked(net, agreement, everyone=True)
    for node in net:
        found = ended(node, job.id)
        assert found.state == "failed"
        assert found.error is not None
        if node.name == dies:
            assert found.error.code == "E_WORKER"
        with pytest.raises(AtollError, match="E_"):
            found.result()
    assert ended(net.alice, job.id).error.party == dies
    # Whoever died had charged nothing, and all know why it ended.
    assert records(net[dies]).charges(job.id) == []
    assert all(records(node).ledger("outcome", job.id) for node in net)
    crash_at(net[dies], None)
    linked(net)
    again = net.alice.analyst.jobs.get(job.id).rerun()
    again.wait(timeout=90)
    assert sorted(set(found_ids(again))) == sorted(ids(40, 60))
    for node in net:
        charges = records(node).charges(job.id)
        assert len({(c["kind"], c["block"], c["asset"], c["partner"]) for c in charges}) == len(charges)
