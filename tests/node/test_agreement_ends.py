"""What runs while its agreement ends or becomes narrower: it stops, and nothing more is released."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from atoll.client import Job, Service, drafts
from atoll.errors import AtollError
from atoll.testing import Net, NodeProcess, nodes, until

KEYS = 60_000


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("alice", "bob") as made:
        made.alice.steward.data.add("loans", {"id": [f"{i:018d}" for i in range(KEYS)]})
        made.bob.steward.data.add("taxes", {"id": [f"{i:018d}" for i in range(KEYS // 2, KEYS * 3 // 2)]})
        yield made


def _moving(node: NodeProcess, job: Job) -> bool:
    try:
        progress = node.analyst.jobs.get(job.id).document["progress"]
    except AtollError:
        return False  # the proposal has not arrived there yet
    return bool(progress and progress["done"] > 0)


@pytest.mark.parametrize("shape", ["one-shot", "long"])
def test_a_revocation_stops_a_job_before_it_opens_anything(net: Net, records: Any, shape: str) -> None:
    agreement = net.agreement({"alice": {"loans": "*"}, "bob": {"taxes": "*"}}, grace_seconds=60)
    job = net.alice.analyst.join(
        agreement, "loans", "taxes", on="id", purpose="test", shape=shape, protocol="ecdh-psi/v1"
    )
    until("the job runs at bob's", lambda: _state(net.bob, job.id) == "running", 60)
    if shape == "long":
        until("it has come some way", lambda: _moving(net.bob, job), 60)
    net.bob.steward.agreements.revoke(agreement, "the law changed")
    with pytest.raises(AtollError) as caught:
        job.wait(timeout=30)
    assert caught.value.code == "E_REVOKED"
    until("it ended at bob's", lambda: _state(net.bob, job.id) == "failed", 30)
    assert records(net.bob).charges(job.id) == []
    assert records(net.bob).receipts(job.id, "final") == []


def _state(node: NodeProcess, job: str) -> str | None:
    try:
        return node.analyst.jobs.get(job).state
    except AtollError as error:
        if error.code != "E_NOT_FOUND":
            raise
        return None


def _service(net: Net) -> tuple[str, Service]:
    agreement = net.agreement({"bob": {"echo": "service"}}, parties=["alice"], purposes=["test", "other"])
    service = net.alice.analyst.echo(agreement, "echo", purpose="test", block_calls=2)
    for number in range(3):  # a whole block, and one call of the next
        assert service.call(bytes([number])) == bytes([number])
    return agreement, service


def _ends(service: Service, what: Callable[[], Any], most: int) -> list[str]:
    """Codes of calls after a change, until the service answers no more; at most so many may still succeed."""
    what()
    codes: list[str] = []
    answered = 0
    while len(codes) < 1:
        try:
            service.call(b"again")
            answered += 1
        except AtollError as error:
            codes.append(error.code)
        assert answered <= most
    return codes


def test_a_revocation_stops_a_service_at_once(net: Net, records: Any) -> None:
    agreement, service = _service(net)
    net.bob.steward.agreements.revoke(agreement, "no more")
    until("the service ended", lambda: _state(net.alice, service.id) == "failed", 30)
    with pytest.raises(AtollError):
        service.call(b"again")
    error = net.alice.analyst.jobs.get(service.id).error
    assert error is not None
    assert error.code == "E_REVOKED"
    calls = [c["amount"] for c in records(net.bob).charges(service.id) if c["kind"] == "calls"]
    assert sum(calls) <= 4


def test_an_amendment_that_narrows_stops_a_service_before_its_next_block(net: Net, records: Any) -> None:
    """At most the block that is open is answered; the next one is judged anew and refused."""
    agreement, service = _service(net)

    def narrow() -> None:
        shown = net.bob.steward.agreements.show(agreement)
        net.bob.steward.agreements.propose(drafts.amended(shown, net.bob.identity, remove_purposes=["test"]))
        until("alice has it", lambda: any(
            (a["id"], a["version"]) == (agreement, 2) for a in net.alice.steward.agreements.list()))  # fmt: skip
        net.alice.steward.agreements.sign(agreement, 2)
        net.bob.steward.agreements.wait(agreement, "active", 2)

    _ends(service, narrow, most=1)
    until("the service ended", lambda: _state(net.bob, service.id) == "failed", 30)
    error = net.bob.analyst.jobs.get(service.id).error
    assert error is not None
    assert error.code in ("E_AGREEMENT", "E_POLICY")
    blocks = [c for c in records(net.bob).charges(service.id) if c["kind"] == "calls"]
    assert len(blocks) <= 2
