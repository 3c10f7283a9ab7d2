"""A node that lost records asks its partners before it signs anything, and fetches its own entries back."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from atoll import AtollError
from atoll.client import verify_ledger
from atoll.testing import Net, NodeProcess, nodes, pair, until

SETTINGS = {"ledger.standing_seconds": 2}


@pytest.fixture
def net() -> Iterator[Net]:
    with nodes("alice", "bob", settings=SETTINGS) as made:
        made.alice.steward.data.add("loans", {"id": [str(i) for i in range(40)]})
        made.bob.steward.data.add("taxes", {"id": [str(i) for i in range(20, 60)]})
        yield made


def agree(net: Net, runs: int = 2) -> str:
    return net.agreement(
        {"alice": {"loans": "*"}, "bob": {"taxes": "*", "echo": "service"}},
        runs_per_day=runs,
        functions=["join", "echo"],
    )


def join(net: Net, agreement: str) -> str:
    job = net.alice.analyst.join(agreement, "loans", "taxes", on="id", purpose="test", reveal="size").wait(
        timeout=60
    )
    assert not job.receipt(30)["missing"]
    signed(net, job.id)
    return job.id


def signed(net: Net, job: str) -> None:
    until("bob has the receipt", lambda: net.bob.analyst.jobs.get(job).document["evidence"] == "final")


def replicated(node: NodeProcess) -> bool:
    """All of a node's own logs are cosigned to their end."""
    return all(
        log["cosignatures"] and all(c["behind"] == 0 for c in log["cosignatures"])
        for log in node.auditor.ledger.list()
        if log["own"]
    )


def state(node: NodeProcess) -> list[Path]:
    return sorted(node.folder.glob("state.sqlite*"))


def own_log(node: NodeProcess, agreement: str) -> dict[str, Any]:
    return next(x for x in node.auditor.ledger.list() if x["own"] and x["agreement"] == agreement)


def rows(node: NodeProcess, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{node.folder / 'state.sqlite'}?mode=ro", uri=True, timeout=30)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


CHARGES = "select job, block, kind, asset, amount, keyset from charges order by job, block, kind, asset"
USES = "select job, input, version from input_uses order by job, input"
FINAL = "select job, block from receipts where kind = 'final' order by job, block"
BLOCKS = "select job, number, first, reserved, used, evidence from blocks order by job, number"
JOBS = "select id, state, evidence, attempt from jobs order by id"


def kept(node: NodeProcess) -> dict[str, Any]:
    return {query: rows(node, query) for query in (CHARGES, USES, FINAL, BLOCKS)}


def recovered(node: NodeProcess) -> None:
    until("the node may record", lambda: _open(node), 60)


def _open(node: NodeProcess) -> bool:
    found = node.auditor.ledger.standing()
    return bool(found["open"] and not found["recovering"] and not found["behind"])


def verified(net: Net, agreement: str, folder: Path) -> None:
    """Both nodes' exports verify, and neither knows of a fork."""
    keys = {node.name: node.identity for node in net}
    for node in net:
        until(f"{node.name}'s logs are cosigned", lambda n=node: replicated(n), 60)  # type: ignore[misc]
        report = verify_ledger(node.auditor.ledger.export(agreement, folder / node.name), keys)
        assert report.ok, report.lines()
        assert node.auditor.ledger.forks(agreement) == []


def test_a_restored_backup_gets_its_own_entries_and_counters_back(net: Net, tmp_path: Path) -> None:
    agreement = agree(net)
    join(net, agreement)
    net.bob.stop()
    for file in state(net.bob):
        shutil.copy(file, tmp_path / file.name)
    net.bob.start()
    recovered(net.bob)
    join(net, agreement)
    service = net.alice.analyst.echo(agreement, "echo", purpose="test", block_calls=3)
    for i in range(4):
        service.call(str(i).encode())
    service.stop().wait(timeout=60)
    # What is signed after the logs were compared would be missing from the snapshot's logs.
    signed(net, service.id)
    until("bob's logs are cosigned", lambda: replicated(net.bob), 60)
    before, log = kept(net.bob), own_log(net.bob, agreement)
    assert len(before[BLOCKS]) == 2
    net.bob.kill()
    for file in state(net.bob):
        file.unlink()
    for file in tmp_path.glob("state.sqlite*"):
        shutil.copy(file, net.bob.folder / file.name)
    net.bob.start()
    recovered(net.bob)
    assert kept(net.bob) == before
    after = own_log(net.bob, agreement)
    assert (after["size"], after["checkpoint"]) == (log["size"], log["checkpoint"])
    private = [e["kind"] for e in net.bob.auditor.ledger.private()]
    assert "recovery/v1" in private
    # The quota counts what was used before the restore.
    job = net.alice.analyst.join(agreement, "loans", "taxes", on="id", purpose="test", reveal="size")
    with pytest.raises(AtollError) as refused:
        job.wait(timeout=60)
    assert refused.value.code == "E_QUOTA"
    verified(net, agreement, tmp_path)


def recover(node: NodeProcess) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "atoll.cli", "recover", "-d", str(node.folder), "--json"],
        env=node.environment | {"ATOLL_PASSPHRASE": node.passphrase},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert '"lost": true' in done.stdout


def test_an_empty_state_store_is_filled_from_the_partners(net: Net, tmp_path: Path) -> None:
    agreement = agree(net)
    join(net, agreement)
    until("bob's logs are cosigned", lambda: replicated(net.bob), 60)
    before, log = kept(net.bob), own_log(net.bob, agreement)
    net.bob.kill()
    for file in state(net.bob):
        file.unlink()
    recover(net.bob)
    net.bob.start()
    standing = net.bob.administrator.ledger.standing()
    assert standing["recovering"]
    assert not standing["open"]
    pair(net.alice, net.bob)
    recovered(net.bob)
    assert kept(net.bob) == before
    found = own_log(net.bob, agreement)
    assert (found["size"], found["checkpoint"]) == (log["size"], log["checkpoint"])
    assert net.bob.steward.agreements.show(agreement)["state"] == "active"
    # The partner's log, of which the copy was lost too, comes again.
    until(
        "alice's log is here",
        lambda: any(not x["own"] and x["size"] for x in net.bob.auditor.ledger.list()),
        60,
    )
    net.bob.steward.data.add("taxes", {"id": [str(i) for i in range(20, 60)]})
    join(net, agreement)
    verified(net, agreement, tmp_path)


def test_nothing_is_signed_while_a_partner_may_hold_more(net: Net, tmp_path: Path) -> None:
    agreement = agree(net, runs=9)
    join(net, agreement)
    net.bob.stop()
    done = subprocess.run(
        [sys.executable, "-m", "atoll.cli", "recover", "-d", str(net.bob.folder), "--json"],
        env=net.bob.environment | {"ATOLL_PASSPHRASE": net.bob.passphrase},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert '"lost": false' in done.stdout
    net.alice.stop()
    net.bob.start()
    before = own_log(net.bob, agreement)["size"]
    with pytest.raises(AtollError) as refused:
        net.bob.steward.agreements.revoke(agreement, "while alice is away")
    assert refused.value.code == "E_RECOVERY"
    assert "alice" in refused.value.text
    assert own_log(net.bob, agreement)["size"] == before
    assert net.bob.administrator.ledger.standing()["waiting_for"] == ["alice"]
    with pytest.raises(AtollError):
        net.bob.administrator.ledger.go_on_without(["nobody"])
    net.bob.administrator.ledger.go_on_without(["alice"])
    until("bob goes on", lambda: not net.bob.auditor.ledger.standing()["waiting_for"])
    net.bob.steward.agreements.revoke(agreement, "without alice")
    assert own_log(net.bob, agreement)["size"] == before + 1
    net.alice.start()
    recovered(net.bob)
    until("alice heard", lambda: net.alice.steward.agreements.show(agreement)["state"] == "revoked", 30)


def test_a_log_that_was_continued_differently_is_found_and_stops(net: Net, tmp_path: Path) -> None:
    """The whole folder was restored while the partner was away, and an operator went on without it."""
    agreement = agree(net, runs=9)
    net.bob.stop()
    for file in state(net.bob):
        shutil.copy(file, tmp_path / file.name)
    net.bob.start()
    recovered(net.bob)
    join(net, agreement)
    until("bob's logs are cosigned", lambda: replicated(net.bob), 60)
    net.alice.stop()
    net.bob.kill()
    for file in state(net.bob):
        file.unlink()
    for file in tmp_path.glob("state.sqlite*"):
        shutil.copy(file, net.bob.folder / file.name)
    net.bob.start()
    until("the time is over", lambda: net.bob.auditor.ledger.standing()["open"], 30)
    net.bob.steward.agreements.revoke(agreement, "a second history begins")
    net.alice.start()
    until("bob finds out", lambda: bool(net.bob.auditor.ledger.standing()["broken"]), 60)
    assert net.bob.auditor.ledger.forks(agreement)
    size = own_log(net.bob, agreement)["size"]
    until("alice keeps it", lambda: bool(net.alice.auditor.ledger.forks(agreement)), 60)
    assert own_log(net.bob, agreement)["size"] == size


@pytest.fixture
def changed(net: Net) -> Callable[[NodeProcess], None]:
    """Makes a partner's copy of a log lie, as a partner that wants to mislead a restored node would."""

    def lie(node: NodeProcess) -> None:
        connection = sqlite3.connect(node.folder / "state.sqlite", timeout=30)
        connection.execute(
            "update log_entries set leaf = replace(leaf, 'a', 'b') where origin in "
            "(select origin from logs where owner != ?) and number > 2",
            (node.identity,),
        )
        connection.commit()
        connection.close()

    return lie


def test_a_partner_that_gives_other_entries_is_not_believed(net: Net, tmp_path: Path, changed: Any) -> None:
    agreement = agree(net)
    net.bob.stop()
    for file in state(net.bob):
        shutil.copy(file, tmp_path / file.name)
    net.bob.start()
    recovered(net.bob)
    join(net, agreement)
    until("bob's logs are cosigned", lambda: replicated(net.bob), 60)
    size = own_log(net.bob, agreement)["size"]
    net.bob.kill()
    net.alice.stop()
    changed(net.alice)
    for file in state(net.bob):
        file.unlink()
    for file in tmp_path.glob("state.sqlite*"):
        shutil.copy(file, net.bob.folder / file.name)
    net.alice.start()
    net.bob.start()
    until("bob knows that it is behind", lambda: bool(net.bob.auditor.ledger.standing()["behind"]), 30)
    assert own_log(net.bob, agreement)["size"] < size
    with pytest.raises(AtollError) as refused:
        net.bob.steward.agreements.revoke(agreement, "now")
    assert refused.value.code == "E_RECOVERY"
