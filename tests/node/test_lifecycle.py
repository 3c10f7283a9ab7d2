"""Restarts, kills at different moments, and that nothing is lost, doubled or half-written by them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from atoll.client.jobs import Job
from atoll.errors import AtollError
from atoll.testing import Net, NodeProcess, nodes, until

SILENCE = 3


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("alice", "bob") as made:
        made.alice.steward.data.add("loans", {"id": [str(i) for i in range(60)]})
        made.bob.steward.data.add("taxes", {"id": [str(i) for i in range(30, 90)]})
        yield made


@pytest.fixture(scope="module")
def agreement(net: Net) -> str:
    return net.agreement(
        {"alice": {"loans": {"id": "join_key"}}, "bob": {"taxes": {"id": "join_key"}, "echo": "service"}},
        silence_seconds=SILENCE,
    )


@pytest.fixture(scope="module")
def by_steward(net: Net) -> str:
    return net.agreement(
        {"alice": {"loans": {"id": "join_key"}}, "bob": {"taxes": {"id": "join_key"}}},
        silence_seconds=SILENCE,
        approval="steward",
    )


@pytest.fixture(autouse=True)
def both_run(net: Net, agreement: str, by_steward: str) -> None:
    """Every test begins with two nodes that run and see each other, whatever the one before left."""
    for node in net:
        if not node.running:
            node.restart()
    linked(net)


def linked(net: Net) -> None:
    until("the two are linked", lambda: all(p["connected"] for n in net for p in n.administrator.peers.list()))


def ask(net: Net, agreement: str) -> Job:
    return net.alice.analyst.join(agreement, "loans", "taxes", on="id", purpose="test", reveal="size")


def ended(node: NodeProcess, job: str, timeout: float = 30) -> Job:
    def look() -> Job | None:
        try:
            found = node.analyst.jobs.get(job)
        except AtollError:
            return None
        return found if found.state in ("completed", "failed", "refused", "cancelled") else None

    found: Job = until(f"{job} ends at {node.name}", look, timeout)
    return found


def outcome(job: Job) -> tuple[str, str | None]:
    return job.state, job.error.code if job.error else None


def test_restart_without_loss(net: Net, agreement: str) -> None:
    job = ask(net, agreement)
    assert job.wait(timeout=60).result().scalars == {"intersection_size": 30}
    assert not job.receipt(20)["missing"]
    until("bob has the whole receipt", lambda: net.bob.analyst.jobs.get(job.id).refresh().document["evidence"] == "final")

    def seen(node: NodeProcess) -> dict[str, Any]:
        return {
            "node": {k: v for k, v in node.administrator.info().items() if k in ("identity", "tls", "name")},
            "peers": [{k: v for k, v in p.items() if k != "connected"} for p in node.administrator.peers.list()],
            "tables": node.steward.data.list(),
            "agreements": node.steward.agreements.list(),
            "jobs": [j.document for j in node.analyst.jobs.list()],
            "receipt": node.analyst.jobs.get(job.id).receipt(),
            "ledgers": node.auditor.ledger.list(),
            "entries": node.auditor.ledger.entries(agreement),
            "persons": node.administrator.persons.list(),
        }

    def cosigned() -> bool:
        return all(
            log["size"] > 0 and log["cosignatures"] and not any(c["behind"] for c in log["cosignatures"])
            for node in net
            for log in node.auditor.ledger.list()
            if log["own"]
        )

    until("all logs are cosigned", cosigned)
    before = [seen(node) for node in net]
    net.alice.restart()
    net.bob.restart(kill=True)
    after = [seen(node) for node in net]
    assert after == before
    assert net.alice.analyst.jobs.get(job.id).result().scalars == {"intersection_size": 30}


def test_two_processes_on_one_folder(net: Net) -> None:
    done = run_node(net.alice, net.alice.passphrase)
    assert done.returncode != 0
    assert "E_STATE" in done.stderr
    assert "another process runs the node" in done.stderr
    assert net.alice.administrator.health() == "ok"


def run_node(node: NodeProcess, passphrase: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "atoll.cli", "node", "-d", str(node.folder)],
        env=node.environment | {"ATOLL_PASSPHRASE": passphrase},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_a_wrong_passphrase_and_a_wrong_setting_stop_the_start(net: Net) -> None:
    bob = net.bob
    bob.stop()
    done = run_node(bob, "not the passphrase")
    assert done.returncode != 0
    assert "E_PASSPHRASE" in done.stderr
    assert "Traceback" not in done.stderr
    assert "not the passphrase" not in done.stderr
    file = bob.folder / "atoll.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("concurrent = 4", 'concurrent = "four"'), encoding="utf-8")
    done = run_node(bob, bob.passphrase)
    file.write_text(text, encoding="utf-8")
    assert done.returncode != 0
    assert "E_CONFIG" in done.stderr
    assert "jobs.concurrent" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_clean_stop_ends_jobs_with_a_reason_on_the_other_side(net: Net, agreement: str) -> None:
    service = net.alice.analyst.echo(agreement, "echo", purpose="test")
    assert service.call(b"hello") == b"hello"
    began = time.monotonic()
    net.bob.stop()
    job = ended(net.alice, service.id, 15)
    assert time.monotonic() - began < 15
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.code == "E_RESTARTED"
    assert job.error.party == "bob"
    with pytest.raises(AtollError) as caught:
        service.call(b"again")
    assert caught.value.code == "E_STATE"
    net.bob.restart()
    assert outcome(ended(net.bob, service.id)) == ("failed", "E_RESTARTED")
    assert "Traceback" not in net.bob.log()


@pytest.mark.parametrize("killed", ["alice", "bob"])
def test_a_killed_worker_ends_the_job_on_both_sides(
    net: Net, agreement: str, killed: str, kill_workers: Callable[[NodeProcess], int], records: Any
) -> None:
    service = net.alice.analyst.echo(agreement, "echo", purpose="test")
    service.call(b"hello")
    node, other = net[killed], net["bob" if killed == "alice" else "alice"]
    assert kill_workers(node) == 1
    there = ended(node, service.id)
    assert outcome(there) == ("failed", "E_INTERNAL")
    assert there.error is not None
    assert "signal 9" in there.error.text
    assert there.error.fault == "operator"
    here = ended(other, service.id)
    assert here.state == "failed"
    assert here.error is not None
    assert here.error.party == killed
    assert "signal 9" not in str(here.error.to_problem()), "how it died stays where it died"
    charged = records(net.bob).charges(service.id)
    assert sorted(c["kind"] for c in charged) == ["calls", "run"]
    assert [d["attempt"] for d in records(net.bob).ledger("release", service.id)] == [1]


def test_a_killed_node_falls_silent_for_the_other_and_says_so_itself_later(net: Net, agreement: str) -> None:
    service = net.alice.analyst.echo(agreement, "echo", purpose="test")
    service.call(b"hello")
    net.bob.kill()
    net.bob.start()
    assert outcome(ended(net.bob, service.id)) == ("failed", "E_RESTARTED")
    job = ended(net.alice, service.id, 20)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.code in ("E_PEER_SILENT", "E_RESTARTED", "E_UNREACHABLE", "E_PEER_ABORT")


@pytest.mark.parametrize("killed", ["alice", "bob"])
def test_a_job_that_waits_for_a_steward_survives_a_kill(net: Net, by_steward: str, killed: str) -> None:
    job = ask(net, by_steward)
    # Alice's own table is under a steward's approval at alice only for bob's jobs, so bob's steward decides.
    until("bob waits", lambda: waits(net.bob, job.id))
    net[killed].restart(kill=True)
    assert waits(net.bob, job.id)
    assert net.alice.analyst.jobs.get(job.id).state == "approved"
    net.bob.steward.jobs.get(job.id).approve()
    found = ended(net.alice, job.id, 60)
    assert outcome(found) == ("completed", None)
    assert found.result().scalars == {"intersection_size": 30}


def waits(node: NodeProcess, job: str) -> bool:
    try:
        return node.steward.jobs.get(job).state == "waiting"
    except AtollError:
        return False


# Where the node dies, who it is, and whether the debit stands after it.
CRASHES = [
    ("bob", "started", False),
    ("bob", "asked to release", False),
    ("bob", "word arrived", False),
    ("bob", "within the debit", False),
    ("bob", "debited", True),
    ("bob", "worker done", True),
    ("alice", "word given", False),
    ("alice", "worker done", True),
    ("alice", "part stored", True),
]
_QUICK = {("bob", "word arrived"), ("bob", "within the debit"), ("bob", "debited"), ("alice", "worker done")}


@pytest.mark.parametrize(
    ("who", "point", "debited"),
    [pytest.param(*c, marks=() if c[:2] in _QUICK else pytest.mark.slow, id=f"{c[0]}: {c[1]}") for c in CRASHES],
)
def test_charges_receipts_and_ledger_agree_after_a_crash(
    net: Net, agreement: str, who: str, point: str, debited: bool,
    crash_at: Callable[[NodeProcess, str | None], None], records: Any,
) -> None:  # fmt: skip
    node = net[who]
    crash_at(node, point)
    linked(net)
    job = ask(net, agreement)
    until(f"{who} died", lambda: not node.running, 60)
    crash_at(node, None)
    found, theirs = ended(net.alice, job.id), ended(net.bob, job.id)
    agree(records, net, job.id, debited)
    if point == "part stored":
        # The result is there; the evidence is what still has to be gathered.
        assert outcome(found) == outcome(theirs) == ("completed", None)
        until("the receipt is complete", lambda: not found.receipt()["missing"])
        return
    assert found.state == "failed"
    if theirs.state != "completed":
        assert theirs.state == "failed"
    crashed = found if who == "alice" else theirs
    assert crashed.error is not None
    assert crashed.error.code == "E_RESTARTED"
    charged = records(net.bob).charges(job.id)
    if theirs.state == "completed":
        return
    again = found.rerun().wait(timeout=60)
    assert again.result().scalars == {"intersection_size": 30}
    assert not again.receipt(20)["missing"]
    agree(records, net, job.id, True)
    if charged:
        assert records(net.bob).charges(job.id) == charged, "a rerun is not debited again"
    debits = [d for entry in records(net.bob).ledger("release", job.id) for d in entry["debits"]]
    assert len(debits) == len(records(net.bob).charges(job.id)), "each charge stands once in the ledger"


def agree(records: Any, net: Net, job: str, debited: bool) -> None:
    """Each debit of the owner is in charges, receipts and ledger, or in none; kinds are charged once."""
    owner = records(net.bob)
    charges = owner.charges(job)
    assert len({(c["kind"], c["batch"], c["asset"], c["partner"]) for c in charges}) == len(charges)
    stored = [bool(charges), bool(owner.receipts(job, "provisional")), bool(owner.ledger("release", job))]
    assert stored == [debited] * 3
    given = records(net.alice)
    assert bool(given.receipts(job, "provisional-given")) == bool(given.ledger("provisional", job))
    if debited:
        assert given.receipts(job, "provisional-given"), "no debit without the receiver's word"
