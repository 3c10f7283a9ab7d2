"""Independent witnesses that an agreement names: asked, padded, refused, and blind to what the log holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from atoll import AtollError
from atoll.client import verify_ledger
from atoll.crypto.suite import PublicKey
from atoll.testing import Net, NodeProcess, nodes, until

PAD = 8


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    settings = {"wanda": {"ledger.witness_for": ["alice"]}}
    with nodes("alice", "bob", "wanda", settings=settings) as made:
        made.alice.steward.data.add("loans", {"id": [str(i) for i in range(40)]})
        made.bob.steward.data.add("taxes", {"id": [str(i) for i in range(20, 60)]})
        yield made


def witness(node: NodeProcess, **changed: Any) -> dict[str, Any]:
    member = {"name": "watch.example/w", "key": node.identity, "address": None}
    return {"quorum": 1, "pad": PAD, "seconds": 1, "members": [member | changed]}


def own(node: NodeProcess, agreement: str) -> dict[str, Any]:
    return next(x for x in node.auditor.ledger.list() if x["own"] and x["agreement"] == agreement)


def test_a_witness_cosigns_padded_sizes_and_sees_no_entry(net: Net, tmp_path: Path) -> None:
    agreement = net.agreement({"alice": {"loans": "*"}, "bob": {"taxes": "*"}}, witnesses=witness(net.wanda))
    job = net.alice.analyst.join(agreement, "loans", "taxes", on="id", purpose="test", reveal="size")
    assert job.wait(timeout=60).receipt(20)["missing"] == []

    def seen() -> list[dict[str, Any]]:
        return [c for c in own(net.alice, agreement)["cosignatures"] if c["witness"] == net.wanda.identity]

    until("wanda cosigned all", lambda: seen() and seen()[0]["behind"] == 0, 60)
    assert seen()[0]["name"] == "watch.example/w"
    assert own(net.alice, agreement)["size"] % PAD == 0
    kinds = [e["kind"] for e in net.alice.auditor.ledger.entries(agreement)]
    # Padding stands between what happened, never a whole block of it at once.
    runs = [len(list(run)) for kind, run in groupby(kinds) if kind == "padding/v1"]
    assert runs
    assert max(runs) < PAD
    assert "receipt/v1" in kinds
    # The witness holds sizes and roots, and neither leaves nor bodies.
    connection = sqlite3.connect(f"file:{net.wanda.folder / 'state.sqlite'}?mode=ro", uri=True)
    try:
        assert connection.execute(
            "select count(*) from log_entries where origin like ?", (f"%{agreement}%",)
        ).fetchone() == (0,)
        (origin,) = connection.execute(
            "select origin from log_seen where origin like ?", (f"%{agreement}%",)
        ).fetchone()
    finally:
        connection.close()
    assert origin == own(net.alice, agreement)["origin"]
    # Who verifies an export is told that the witness saw it; without trusting it, that it is a stranger.
    file = net.alice.auditor.ledger.export(agreement, tmp_path / "copy")
    keys = {node.name: node.identity for node in (net.alice, net.bob)}
    outside = {"watch.example/w": net.wanda.identity}
    report = verify_ledger(file, keys, outside)
    assert report.ok, report.lines()
    assert any("watch.example/w cosigned" in line for line in report.lines())
    assert not verify_ledger(file, keys).ok
    PublicKey.parse(net.wanda.identity)


def test_a_node_that_is_no_witness_for_the_sender_refuses(net: Net) -> None:
    """Bob's log is shown to wanda as well, who was set up for alice alone."""
    agreement = net.agreement({"alice": {"loans": "*"}, "bob": {"taxes": "*"}}, witnesses=witness(net.wanda))
    until("alice is cosigned", lambda: any(
        c["witness"] == net.wanda.identity for c in own(net.alice, agreement)["cosignatures"]
    ), 60)  # fmt: skip
    until("bob was refused", lambda: '"code": "E_ROLE"' in net.bob.log(), 30)
    assert all(c["witness"] != net.wanda.identity for c in own(net.bob, agreement)["cosignatures"])
    # An absent or unwilling witness delays no job.
    job = net.bob.analyst.join(agreement, "taxes", "loans", on="id", purpose="test", reveal="size")
    assert job.wait(timeout=60).receipt(20)["missing"] == []


@pytest.mark.parametrize(
    "changed",
    [
        {"address": "http://watch.example/"},
        {"address": "ftp://watch.example/"},
        {"address": "https://user:secret@watch.example/"},
        {"name": "a name"},
        {"name": "a+b"},
    ],
)
def test_witnesses_that_cannot_be(net: Net, changed: dict[str, Any]) -> None:
    with pytest.raises(AtollError) as refused:
        net.agreement(
            {"alice": {"loans": "*"}, "bob": {"taxes": "*"}}, witnesses=witness(net.wanda, **changed)
        )
    assert refused.value.code == "E_FORMAT"
    assert "witnesses" in refused.value.text


def test_a_signatory_is_no_independent_witness(net: Net) -> None:
    with pytest.raises(AtollError) as refused:
        net.agreement({"alice": {"loans": "*"}, "bob": {"taxes": "*"}}, witnesses=witness(net.bob))
    assert refused.value.code == "E_FORMAT"
