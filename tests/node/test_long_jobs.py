"""Long jobs and standing services: what dies goes on, in the same attempt or in a new one, and is charged once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from atoll.client import Job
from atoll.errors import AtollError
from atoll.testing import Net, NodeProcess, nodes

KEYS = 60_000


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("alice", "bob") as made:
        made.alice.steward.data.add("loans", {"id": [f"{i:018d}" for i in range(KEYS)]})
        made.bob.steward.data.add("taxes", {"id": [f"{i:018d}" for i in range(KEYS // 2, KEYS * 3 // 2)]})
        yield made


@pytest.fixture(scope="module")
def agreement(net: Net) -> str:
    return net.agreement(
        {"alice": {"loans": "*"}, "bob": {"taxes": "*", "echo": "service"}}, grace_seconds=120
    )


def _eventually(what: str, condition: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come in {seconds} s")


def _moving(job: Job, node: NodeProcess) -> bool:
    """Past the first checkpoint, and not near the end."""
    try:
        progress = node.analyst.jobs.get(job.id).document["progress"]
    except AtollError:
        return False  # the proposal has not arrived there yet
    return bool(progress and 0.25 < progress["done"] / progress["total"] < 0.8)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["alice", "bob"])
@pytest.mark.parametrize("what", ["worker", "node"])
def test_a_long_job_goes_on_in_the_same_attempt(
    net: Net, agreement: str, victim: str, what: str, kill_workers: Callable[[NodeProcess], int], records: Any
) -> None:
    # ECDH, since the fast join would be over before anything could happen to it.
    job = net.alice.analyst.join(
        agreement, "loans", "taxes", on="id", purpose="test", shape="long", protocol="ecdh-psi/v1"
    )
    node = net[victim]
    _eventually("progress", lambda: _moving(job, node))
    if what == "worker":
        assert kill_workers(node) >= 1
    else:
        node.kill()
        node.start()
    # The client of a node that was killed has a new address to call.
    done = net.alice.analyst.jobs.get(job.id).wait(timeout=120)
    result = done.result()
    assert result.scalars["matched_keys"] == KEYS // 2
    assert sorted(result.arrow()["id"].to_pylist()) == [f"{i:018d}" for i in range(KEYS // 2, KEYS)]
    assert done.document["attempt"] == 1
    assert "resumed" in [e["kind"] for e in net[victim].analyst.jobs.get(job.id).events()]
    assert sorted(c["kind"] for c in records(net.bob).charges(job.id)) == ["keys", "rows", "run"]
    assert done.receipt(30)["missing"] == []
