"""A partner that shows two histories is caught by the others, and the proof convinces anyone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from atoll import AtollError
from atoll.crypto.suite import SigningKey
from atoll.ledger import checkpoint
from atoll.ledger.fork import ForkProof
from atoll.testing import Net, NodeProcess, nodes, until


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("mallory", "alice", "carol") as made:
        yield made


@pytest.fixture(scope="module")
def shared(net: Net) -> str:
    for node in net:
        node.steward.data.add("book", {"id": [str(i) for i in range(30)], "debt": list(range(30))})
    agreement = net.agreement({node.name: {"book": "*"} for node in net})
    until("all logs are cosigned", lambda: all(_cosigned(node) for node in net), 60)
    return agreement


def _cosigned(node: NodeProcess) -> bool:
    return all(
        len(log["cosignatures"]) == 2 and all(c["behind"] == 0 for c in log["cosignatures"])
        for log in node.auditor.ledger.list()
        if log["own"]
    )


def proofs(node: NodeProcess, agreement: str) -> list[ForkProof]:
    found = [f["proof"] for f in node.auditor.ledger.forks(agreement) if "format" in f["proof"]]
    return [ForkProof.from_json(proof) for proof in found]


@pytest.mark.parametrize("more", [0, 2], ids=["same size", "other size"])
def test_two_histories_shown_to_two_partners_are_found(more: int, take_over: Callable[..., Any]) -> None:
    with nodes("mallory", "alice", "carol") as net:
        for node in net:
            node.steward.data.add("book", {"id": [str(i) for i in range(30)], "debt": list(range(30))})
        agreement = net.agreement({node.name: {"book": "*"} for node in net})
        until("all logs are cosigned", lambda: all(_cosigned(node) for node in net), 60)
        script = take_over(net.mallory, agreement, [net.alice, net.carol])
        to_alice = script.history("owed to alice: 1,000")
        to_carol = script.history("owed to carol: 2,000", *[f"filler {i}" for i in range(more)])
        assert "cosignature" in script.push(net.alice, to_alice)
        assert "cosignature" in script.push(net.carol, to_carol)
        for node in (net.alice, net.carol):
            until(f"{node.name} has the proof", lambda n=node: proofs(n, agreement), 60)  # type: ignore[misc]
            proof = proofs(node, agreement)[0]
            first, second = proof.verify()
            assert str(proof.key) == script.me
            assert {first.size, second.size} == {to_alice.size, to_carol.size}
            assert "atoll_ledger_forks_total 1.0" in node.operator.metrics()
            (mine,) = [x for x in node.auditor.ledger.list() if x["owner"] == script.me]
            assert mine["forks"] == 1
        # Neither proof is about the honest ones.
        assert all(not x["forks"] for x in net.alice.auditor.ledger.list() if x["owner"] != script.me)


def test_an_honest_log_gives_no_proof_and_a_forged_proof_counts_nothing(
    net: Net, shared: str, take_over: Callable[..., Any]
) -> None:
    script = take_over(net.mallory, shared, [net.alice, net.carol])
    one = script.history("one")
    script.push(net.alice, one)
    script.push(net.carol, one)
    other = SigningKey.generate()
    forged = checkpoint.sign(checkpoint.Checkpoint(one.origin, one.size, b"\0" * 32), other).encode()
    for verb, body in (
        ("ledger.gossip", {"agreement": shared, "checkpoints": [forged]}),
        ("ledger.gossip", {"agreement": "agr-0000000000000000", "checkpoints": []}),
        ("ledger.gossip", {"agreement": shared, "checkpoints": [one.storage.head()] * 65}),
        ("ledger.gossip", {"agreement": shared, "checkpoints": [7]}),
        ("ledger.leaves", {"agreement": shared, "owner": script.me, "start": 0, "count": 5000}),
        ("ledger.leaves", {"agreement": shared, "owner": "ed25519:00", "start": 0, "count": 1}),
        ("ledger.fetch", {"agreement": shared, "start": -1, "count": 1}),
        ("ledger.fetch", {"agreement": "agr-0000000000000000", "start": 0, "count": 1}),
        ("ledger.fork", {"agreement": shared, "proof": {"format": "atoll.fork/v1"}}),
    ):
        with pytest.raises(AtollError) as caught:
            script.say(net.alice, verb, body)
        assert caught.value.code in (
            "E_WIRE",
            "E_LEDGER",
            "E_SIGNATURE",
            "E_AGREEMENT",
            "E_NOT_FOUND",
            "E_FORMAT",
        )
    for node in (net.alice, net.carol):
        assert node.auditor.ledger.forks(shared) == []
    # Time that goes back, entries that are left out, and a replayed checkpoint are refused by name.
    late = script.history("one")
    entry = script.history("back", time=datetime.now(UTC) - timedelta(days=2))
    assert entry.body(entry.size - 1).time >= late.body(0).time, "the honest writer never goes back"
    with pytest.raises(AtollError):
        script.push(net.alice, script.history("another"))
    assert len(net.alice.auditor.ledger.forks(shared)) == 1, "two heads of one size are kept as a proof"
