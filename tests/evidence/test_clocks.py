"""Nodes whose clocks are hours apart: jobs run, and what is proved and billed of them is the same at both."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from atoll import AtollError
from atoll.client import verify_audit
from atoll.testing import Net, nodes, until

# Runs in every process of the node: the clock that all its parts are given by default.
LATER = """
import os
from datetime import UTC, datetime, timedelta
from atoll.node import clock
from atoll.node.worker import context
shift = timedelta(hours=float(os.environ.get("HOURS_LATER", "0")))
clock.system_clock = context.system_clock = lambda: datetime.now(UTC) + shift
from atoll.node import node
node.Node.__init__.__defaults__ = (clock.system_clock,)
"""


@pytest.fixture(params=[-7.5, 7.5], ids=["behind", "ahead"])
def net(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Net]:
    (tmp_path / "sitecustomize.py").write_text(LATER, encoding="utf-8")
    with nodes("alice", "bob") as made:
        made.alice.steward.data.add("loans", {"id": [str(i) for i in range(40)]})
        made.bob.steward.data.add("taxes", {"id": [str(i) for i in range(20, 60)]})
        with monkeypatch.context() as patch:
            patch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
            patch.setenv("HOURS_LATER", str(request.param))
            made.bob.restart()
            yield made


def test_clocks_that_differ_by_hours_do_no_harm(net: Net, tmp_path: Path) -> None:
    document = net.draft(
        {"alice": {"loans": "*"}, "bob": {"taxes": "*", "echo": "service"}},
        price={"currency": "CNY", "per_run": 5},
    )
    document["validity"]["not_before"] = "2026-01-01T00:00:00Z"
    agreement = net.sign(document)
    job = net.alice.analyst.join(agreement, "loans", "taxes", on="id", purpose="test").wait(timeout=60)
    service = net.alice.analyst.echo(agreement, "echo", purpose="test", block_calls=2)
    for _ in range(3):
        service.call(b"hello")
    service.stop().wait(timeout=60)
    for node in net:
        for one in (job.id, service.id):
            until(
                "receipts are final",
                lambda n=node, j=one: n.auditor.jobs.get(j).document["evidence"] == "final",  # type: ignore[misc]
            )
    until(
        "both logs are cosigned",
        lambda: all(
            log["cosignatures"] and all(c["behind"] == 0 for c in log["cosignatures"])
            for node in net
            for log in node.auditor.ledger.list()
        ),
    )
    keys = {node.name: node.identity for node in net}
    for node in net:
        report = verify_audit(node.auditor.audit.export(agreement, tmp_path / node.name), keys)
        assert report.ok, report.lines()
        assert {"authorised", "valid", "receipted", "witnessed"} <= {f.code for f in report.findings}
        assert net.alice.auditor.ledger.forks(agreement) == []
    # The owner's claim in the receipt decides which month it is, at both sides.
    month = str(net.bob.auditor.ledger.entries(agreement, 0, 1)[0]["time"])[:7]
    assert net.alice.auditor.bills.compare(month, agreement, "bob")["equal"] is True


def test_the_owners_clock_judges_validity(net: Net, request: pytest.FixtureRequest) -> None:
    """An agreement of three hours more is over at an owner whose clock is ahead, and holds at one that is behind."""
    document = net.draft({"alice": {"loans": "*"}, "bob": {"taxes": "*"}})
    end = datetime.now(UTC) + timedelta(hours=3)
    document["validity"] = {
        "not_before": "2026-01-01T00:00:00Z",
        "not_after": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    agreement = net.sign(document)
    job = net.alice.analyst.join(agreement, "loans", "taxes", on="id", purpose="test")
    if "behind" in request.node.name:
        job.wait(timeout=60)
        return
    with pytest.raises(AtollError) as error:
        job.wait(timeout=60)
    assert error.value.code in ("E_EXPIRED", "E_PLAN")
