"""Kept joins through real nodes: join, change the large table, join again; what travels, what is kept and charged."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atoll.client.jobs import Job
from atoll.errors import AtollError
from atoll.testing import Net, nodes, until

HELD = 3000
ASKED = 20
VARIANT = {"variants": ["kept"], "minimum_rows": 1, "minimum_change": 1, "maximum_ratio": 1000}
RUNS, KEYS = 4, 150


@pytest.fixture
def net() -> Iterator[Net]:
    settings = {"jobs.kept_runs": RUNS, "jobs.kept_keys": KEYS}
    with nodes("alice", "bob", settings=settings) as made:
        made.alice.steward.data.add("loans", {"id": ids(HELD - 10, HELD + 10), "debt": ids(0, ASKED)})
        made.bob.steward.data.add("people", {"id": ids(0, HELD)})
        yield made


def ids(first: int, last: int) -> list[str]:
    return [f"s{i}" for i in range(first, last)]


def agree(net: Net, **terms: Any) -> str:
    return net.agreement({"alice": {"loans": "*"}, "bob": {"people": "*"}}, **{"join": VARIANT} | terms)


def joined(net: Net, agreement: str, **how: Any) -> Job:
    options: dict[str, Any] = {"on": "id", "purpose": "test", "protocol": "kept-oprf-psi/v1"} | how
    job = net.alice.analyst.join(agreement, "loans@alice", "people@bob", **options)
    job.wait(timeout=60)
    until("all signed", lambda: not job.receipt()["missing"])
    return job


def found(job: Job) -> list[str]:
    return sorted(job.result().arrow()["id"].to_pylist())


def received(net: Net, job: Job) -> int:
    """Bytes that the receiver got in the job's sessions."""
    return int(net.alice.analyst.jobs.get(job.id).document["meters"]["bytes_received"])


def kept(net: Net) -> list[Path]:
    return sorted(p for node in net for p in (node.folder / "kept").glob("*/*"))


def test_join_change_the_table_join_again_and_only_the_difference_travels(net: Net, records: Any) -> None:
    agreement = agree(net)
    first = joined(net, agreement)
    assert found(first) == sorted(ids(HELD - 10, HELD))
    statement = first.document["statement"]
    assert statement["security"] == "semi-honest"
    assert any("recognise" in line for line in first.document["statement"]["en"])
    same = joined(net, agreement)
    assert found(same) == found(first)
    # s0 goes, s3000 and s3001 come.
    net.bob.steward.data.refresh("people", {"id": ids(1, HELD + 2)})
    later = joined(net, agreement)
    assert found(later) == sorted(ids(HELD - 10, HELD + 2))
    all_, none, some = (received(net, job) for job in (first, same, later))
    assert all_ - none > HELD * 10
    assert 0 < some - none < 200, "three outputs and two heads"

    names = {path.name for path in kept(net)}
    assert names == {"held", "use", "store", "lock"}
    for path in kept(net):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert b"s2999" not in path.read_bytes()
    # The rows of each run; keys once, since the receiver's table did not change.
    amounts = [{c["kind"]: c["amount"] for c in records(net.bob).charges(job.id)} for job in (first, later)]
    assert amounts == [
        {"run": 1, "keys": ASKED, "rows": ASKED},
        {"run": 1, "keys": 0, "rows": ASKED},
    ]


def test_the_holders_key_rotates_after_so_many_runs_and_answers_so_many_keys(net: Net) -> None:
    agreement = agree(net)
    sizes = [received(net, joined(net, agreement)) for _ in range(RUNS + 1)]
    assert sizes[0] == pytest.approx(sizes[RUNS], abs=300), "the key was replaced, and all came anew"
    assert max(sizes[1:RUNS]) < sizes[0] / 2
    net.alice.steward.data.refresh(
        "loans", {"id": ids(0, KEYS - ASKED + 1), "debt": ids(0, KEYS - ASKED + 1)}
    )
    with pytest.raises(AtollError) as caught:
        joined(net, agreement)
    assert caught.value.code == "E_PEER_ABORT"
    assert "E_QUOTA" in caught.value.text
    (job, *_) = net.bob.analyst.jobs.list()
    assert job.document["error"]["code"] == "E_QUOTA"
    assert "jobs.kept_keys" in job.document["error"]["cure"]
