"""Two nodes with a history worth auditing: joins, a refusal, a service whose calls rest on consent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from atoll import AtollError
from atoll.testing import Net, nodes, until


@dataclass
class History:
    """What was done, and under which names."""

    net: Net
    agreement: str
    jobs: list[str]
    refused: str
    service: str
    subject: str
    keys: dict[str, str]


def final(net: Net, job: str) -> None:
    for node in net:
        until(
            f"{node.name} has the receipt of {job}",
            lambda n=node: n.auditor.jobs.get(job).document["evidence"] == "final",  # type: ignore[misc]
        )


def cosigned(net: Net) -> None:
    for node in net:
        until(
            f"the log of {node.name} is cosigned",
            lambda n=node: all(  # type: ignore[misc]
                log["cosignatures"] and all(c["behind"] == 0 for c in log["cosignatures"])
                for log in n.auditor.ledger.list()
                if log["own"]
            ),
        )


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    with nodes("alice", "bob") as net:
        net.alice.steward.data.add("loans", {"id": [f"330{i:03d}" for i in range(40)]})
        net.bob.steward.data.add(
            "taxes", {"id": [f"330{i:03d}" for i in range(20, 60)], "debt": list(range(40))}
        )
        price = {"currency": "CNY", "per_run": 500, "per_call": 7}
        document = net.draft(
            {
                "alice": {"loans": "*"},
                "bob": {"taxes": {"columns": "*", "grant": {"runs_per_day": 3}}, "echo": "service"},
            },
            price=price,
        )
        service_asset = next(asset for asset in document["assets"] if asset["name"] == "echo")
        service_asset["grants"][0] |= {
            "consent": {"mode": "attested", "issuers": []},
            "quota": service_asset["grants"][0]["quota"] | {"calls_per_day": 1000},
        }
        agreement = net.sign(document)
        jobs = []
        for _ in range(2):
            job = net.alice.analyst.join(agreement, "loans", "taxes", on="id", purpose="test").wait(
                timeout=60
            )
            jobs.append(job.id)
        with pytest.raises(AtollError):
            net.alice.analyst.join(agreement, "loans", "taxes", on="id", purpose="marketing").wait(timeout=60)
        refused = net.alice.analyst.jobs.list(limit=1)[0].id
        subject = "id card 330106199901011234"
        consent = net.alice.steward.consents.issue(subject, purposes=["test"], functions=["echo"])["consent"]
        service = net.alice.analyst.echo(agreement, "echo", purpose="test", block_calls=3)
        for i in range(7):
            service.call(f"request {i}".encode(), consent=consent)
        service.stop().wait(timeout=60)
        for job in [*jobs, service.id]:
            final(net, job)
        cosigned(net)
        keys = {node.name: node.identity for node in net}
        yield History(net, agreement, jobs, refused, service.id, subject, keys)


@pytest.fixture(scope="session")
def whole(history: History, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bob's file of everything."""
    path = tmp_path_factory.mktemp("audit") / "whole.atoll-audit"
    return history.net.bob.auditor.audit.export(history.agreement, path)
