"""A standing service: a thousand calls in one warm worker, receipted in blocks that both sign."""

from __future__ import annotations

from typing import Any

import pytest

from atoll.testing import nodes

CALLS = 1000


@pytest.mark.slow
def test_a_thousand_calls_under_one_receipt(records: Any) -> None:
    with nodes("alice", "bob") as net:
        agreement = net.agreement({"bob": {"echo": "service"}}, parties=["alice"])
        service = net.alice.analyst.echo(agreement, "echo", purpose="test")
        for number in range(CALLS):
            payload = number.to_bytes(4, "big")
            assert service.call(payload) == payload
        service.stop()
        job = net.alice.analyst.jobs.get(service.id).wait(timeout=60)
        receipt = job.receipt(30)
        assert not receipt["missing"]
        assert receipt["document"]["block"] is None
        assert {p["meters"]["calls"] for p in receipt["document"]["parties"].values()} == {CALLS}
        blocks = receipt["blocks"]
        assert [(b["number"], b["first"], b["calls"]) for b in blocks] == [
            (i + 1, 100 * i + 1, 100) for i in range(CALLS // 100)
        ]
        assert {b["evidence"] for b in blocks} == {"final"}
        charged = [c["amount"] for c in records(net.bob).charges(service.id) if c["kind"] == "calls"]
        assert sum(charged) == CALLS
