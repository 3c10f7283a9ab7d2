"""What was kept goes at its date, by the node's clock, and not before; the rows of live tables with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from atoll.errors import AtollError
from atoll.node.node import Node, open_node
from atoll.testing import Net, NodeProcess, nodes, until

DAYS = 5


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    file = tmp_path_factory.mktemp("live") / "loans.sqlite"
    with sqlite3.connect(file) as made:
        made.execute("create table loans (id text, debt integer)")
        made.executemany("insert into loans values (?, ?)", [(f"s{i}", i) for i in range(40)])
    with nodes("alice", "bob", settings={"data.live_keep_days": 1}) as net:
        net.alice.steward.data.add("loans", f"sqlite:///{file}", table="loans", mode="live")
        net.bob.steward.data.add("taxes", {"id": [f"s{i}" for i in range(20, 60)]})
        yield net


class Later:
    """A stopped node, opened in this process at another time."""

    def __init__(self, node: NodeProcess) -> None:
        self._node = node

    def __call__(self, days: float) -> Node:
        then = datetime.now(UTC) + timedelta(days=days)
        return open_node(self._node.folder, self._node.passphrase, lambda: then)


def _kept(node: NodeProcess, job: str) -> list[Path]:
    return [p for kind in ("received", "sent") for p in (node.folder / "jobs" / job).glob(f"{kind}-*")]


def _live(node: NodeProcess, job: str) -> bool:
    return any((node.folder / "live" / job).rglob("data.parquet"))


def _secret(node: Node, job: str) -> Any:
    return node.jobs.desk.job(job).secret


def test_what_was_kept_goes_at_its_date_and_live_rows_with_it(pair: Net, look: Any) -> None:
    tables = {"alice": {"loans": "*"}, "bob": {"taxes": "*"}}
    kept = pair.agreement(tables, replay={"keep_days": DAYS})
    unkept = pair.agreement(tables)
    jobs = [
        look.completed(pair.alice.analyst.join(a, "loans", "taxes", on="id", purpose="test"), *pair)
        for a in (kept, unkept)
    ]
    asked = {"columns": {"id": "join_key"}, "grant": {"approval": "steward"}}
    undecided = pair.agreement({"alice": {"loans": "*"}, "bob": {"taxes": asked}})
    waiting = pair.alice.analyst.join(undecided, "loans", "taxes", on="id", purpose="test")
    until("alice approved", lambda: pair.alice.analyst.jobs.get(waiting.id).state == "approved")
    # The kept input of a live table is what a replay reads, whatever the database holds by then.
    assert pair.alice.auditor.audit.replay(jobs[0])["ok"]
    for node in pair:
        node.stop()
    at = Later(pair.alice)

    node = at(0)
    assert node.retention.erase_overdue() == [jobs[1]]
    assert _secret(node, jobs[1]) is None
    assert _secret(node, jobs[0]) is not None
    assert _secret(node, waiting.id) is not None
    node.store.close()

    node = at(DAYS - 0.01)
    assert node.retention.erase_overdue() == []
    node.tables.erase_overdue()
    assert (len(_kept(pair.alice, jobs[0])), _live(pair.alice, jobs[0])) == (2, True)
    assert not _live(pair.alice, jobs[1])
    assert node.replays.runs(jobs[0]) is False
    node.store.close()

    node = at(DAYS + 0.01)
    node.tables.erase_overdue()
    assert _live(pair.alice, jobs[0])
    assert node.retention.erase_overdue() == [jobs[0]]
    assert node.retention.erase_overdue() == []
    node.tables.erase_overdue()
    assert (_kept(pair.alice, jobs[0]), _live(pair.alice, jobs[0])) == ([], False)
    assert _secret(node, jobs[0]) is None
    assert "kept messages erased" in [e["kind"] for e in node.jobs.events(jobs[0])]
    with pytest.raises(AtollError) as gone:
        node.replays.begin(jobs[0], "auditor")
    assert gone.value.code == "E_STATE"
    assert "not kept any more" in gone.value.text
    # The receipt and the record of it stay.
    assert node.jobs.receipt(jobs[0])["document"] is not None
    node.store.close()


def test_nothing_is_erased_while_a_replay_runs_or_a_failed_job_may_run_again(pair: Net) -> None:
    for node in pair:
        if not node.running:
            node.start()
    agreement = pair.agreement(
        {"alice": {"loans": "*"}, "bob": {"taxes": "*"}}, replay={"keep_days": 1}, silence_seconds=1
    )
    job = pair.alice.analyst.join(agreement, "loans", "taxes", on="id", purpose="test").wait().id
    for node in pair:
        node.stop()
    opened = Later(pair.alice)(3)
    row = opened.jobs.desk.job(job)
    opened.retention._in_use = lambda found: found == job
    assert job not in opened.retention.erase_overdue()
    opened.retention._in_use = lambda _: False
    plan = opened.jobs.desk.plan(row)
    ends = datetime.fromisoformat(plan["expires"])
    with opened.store.write() as session:
        from atoll.node.state.models import Job

        session.get_one(Job, job).state = "failed"
    assert (job in opened.retention.erase_overdue()) == (ends <= opened.clock())
    opened.store.close()
    opened = Later(pair.alice)(60)
    opened.retention.erase_overdue()
    assert _secret(opened, job) is None
    opened.store.close()
