"""A whole job between a node on PostgreSQL and one on SQLite, over a restart of both."""

from __future__ import annotations

from typing import Any

import pytest

from atoll.testing import nodes, until


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue("postgresql").database()
    return found


def test_a_node_on_postgresql(database: str) -> None:
    with nodes("alice", "bob", settings={"alice": {"state.url": database}}) as net:
        net.alice.steward.data.add("loans", {"id": [str(i) for i in range(40)], "debt": list(range(40))})
        net.bob.steward.data.add("taxes", {"id": [str(i) for i in range(20, 60)]})
        agreement = net.agreement({"alice": {"loans": "*"}, "bob": {"taxes": "*"}})
        job = net.alice.analyst.join(agreement, "loans", "taxes", on="id", purpose="test")
        found = job.wait(timeout=60).result().arrow()
        assert sorted(found["id"].to_pylist()) == sorted(str(i) for i in range(20, 40))
        assert not job.receipt(20)["missing"]

        def seen() -> Any:
            auditor, steward = net.alice.auditor, net.alice.steward
            return (
                auditor.ledger.entries(agreement),
                auditor.ledger.list(),
                steward.data.list(),
                auditor.jobs.get(job.id).document,
            )

        until("cosigned", lambda: all(
            log["cosignatures"] and not any(c["behind"] for c in log["cosignatures"])
            for log in net.alice.auditor.ledger.list() if log["own"]
        ))  # fmt: skip
        before = seen()
        assert not (net.alice.folder / "state.sqlite").exists()
        net.alice.restart(kill=True)
        assert seen() == before
