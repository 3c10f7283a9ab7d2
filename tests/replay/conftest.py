"""Nodes under an agreement that asks for replays, and a look at what they kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atoll.testing import Net, NodeProcess, nodes, until

Json = dict[str, Any]
KEEP = {"keep_days": 30}


def rows(first: int, last: int) -> Json:
    """Rows with keys that repeat: every third key stands twice."""
    ids = [f"s{i}" for i in range(first, last)] + [f"s{i}" for i in range(first, last, 3)]
    return {"id": ids, "debt": [str(i) for i in range(len(ids))]}


@pytest.fixture(scope="package")
def net() -> Iterator[Net]:
    with nodes("alice", "bob", "carol") as made:
        made.alice.steward.data.add("loans", rows(0, 300))
        made.bob.steward.data.add("taxes", rows(150, 400))
        made.carol.steward.data.add("cases", rows(200, 350))
        for i, node in enumerate(made):
            book = {
                "id": [f"s{j}" for j in range(30)],
                "segment": ["ABC"[j % 3] for j in range(30)],
                "debt": [str((i + 1) * j) for j in range(30)],
            }
            codes = {
                "columns": {
                    "segment": {"type": "string", "codes": ["A", "B", "C"]},
                    "debt": {"type": "int64"},
                }
            }
            node.steward.data.add("book", book, declaration=codes)
        yield made


@pytest.fixture(scope="package")
def agreement(net: Net) -> str:
    weaker = {"variants": ["semi-honest", "low-communication", "kept"]}
    return net.agreement({"alice": {"loans": "*"}, "bob": {"taxes": "*"}}, replay=KEEP, join=weaker)


@pytest.fixture(scope="package")
def totals_agreement(net: Net) -> str:
    return net.agreement({name: {"book": "*"} for name in ("alice", "bob", "carol")}, replay=KEEP)


class Look:
    """What tests ask of a net whose jobs are run again."""

    @staticmethod
    def completed(job: Any, *at: NodeProcess) -> str:
        """Waits until a job has completed and these nodes hold a receipt that all signed."""
        job.wait(timeout=60)
        for node in at:
            jobs = node.analyst.jobs
            until(
                f"{node.name} has the receipt", lambda j=jobs: j.get(job.id).document["evidence"] == "final"
            )
        return str(job.id)

    @staticmethod
    def codes(found: Json, level: str | None = None) -> list[str]:
        """Codes of a replay's findings, of one level or all."""
        return [f["code"] for f in found["report"]["findings"] if level in (None, f["level"])]

    @staticmethod
    def facts(found: Json, code: str) -> Json:
        """Facts of the one finding of that code."""
        (entry,) = [f for f in found["report"]["findings"] if f["code"] == code]
        return dict(entry["facts"])

    @staticmethod
    def kept(node: NodeProcess, job: str, kind: str) -> Path:
        """The one file of a kind that a node kept of a job."""
        (path,) = (node.folder / "jobs" / job).glob(f"{kind}-*")
        return path


@pytest.fixture(scope="package")
def look() -> Look:
    return Look()
