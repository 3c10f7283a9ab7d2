"""Restarts, kills at different moments, and that nothing is lost, doubled or half-written by them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from atoll.client.jobs import Job, Service
from atoll.errors import AtollError
from atoll.testing import Net, NodeProcess, nodes, until

SILENCE = 6


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
    taxes = {"columns": {"id": "join_key"}, "grant": {"approval": "steward"}}
    return net.agreement(
        {"alice": {"loans": {"id": "join_key"}}, "bob": {"taxes": taxes}}, silence_seconds=SILENCE
    )


@pytest.fixture(autouse=True)
def both_run(net: Net, agreement: str, by_steward: str) -> None:
    """Every test begins with two nodes that run and see each other, whatever the one before left."""
    for node in net:
        if not node.running:
            node.restart()
    linked(net)


def linked(net: Net) -> None:
    until(
        "the two are linked", lambda: all(p["connected"] for n in net for p in n.administrator.peers.list())
    )


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
    until(
        "bob has the whole receipt",
        lambda: net.bob.analyst.jobs.get(job.id).refresh().document["evidence"] == "final",
    )

    def seen(node: NodeProcess) -> dict[str, Any]:
        return {
            "node": {k: v for k, v in node.administrator.info().items() if k in ("identity", "tls", "name")},
            "peers": [
                {k: v for k, v in p.items() if k != "connected"} for p in node.administrator.peers.list()
            ],
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


def failures(node: NodeProcess, job: str) -> list[dict[str, Any]]:
    """How the attempts of a job ended at a node: code and text of each."""
    return [e["detail"] for e in node.analyst.jobs.get(job).events() if e["kind"] == "failed"]


def answers(service: Service, payload: bytes = b"again") -> bool:
    code = None
    try:
        answer = service.call(payload)
    except AtollError as error:
        answer, code = b"", error.code
    assert code != "E_INTERNAL"
    return answer == payload


def finish(net: Net, records: Any, service: str) -> None:
    """The service serves on, and stops in order: one run is charged whatever happened meanwhile."""
    handle = net.alice.analyst.services.get(service)
    until("the service answers again", lambda: answers(handle), 60)
    handle.stop()
    job = ended(net.alice, service, 60)
    assert outcome(job) == ("completed", None)
    assert not job.receipt(20)["missing"]
    charged = records(net.bob).charges(service)
    assert len([c for c in charged if c["kind"] == "run"]) == 1
    assert len({(c["kind"], c["block"]) for c in charged}) == len(charged)


def test_a_clean_stop_tells_the_other_side_why_and_a_service_comes_back(
    net: Net, agreement: str, records: Any
) -> None:
    service = net.alice.analyst.echo(agreement, "echo", purpose="test")
    assert service.call(b"hello") == b"hello"
    net.bob.stop()
    told = until("alice's side ends", lambda: failures(net.alice, service.id), 20)
    assert told[0]["code"] == "E_RESTARTED"
    assert "bob" in told[0]["text"]
    net.bob.restart()
    assert failures(net.bob, service.id)[0]["code"] == "E_RESTARTED"
    assert "Traceback" not in net.bob.log()
    finish(net, records, service.id)


@pytest.mark.parametrize("killed", ["alice", "bob"])
def test_a_killed_worker_is_known_on_both_sides_and_a_service_comes_back(
    net: Net, agreement: str, killed: str, kill_workers: Callable[[NodeProcess], int], records: Any
) -> None:
    service = net.alice.analyst.echo(agreement, "echo", purpose="test")
    service.call(b"hello")
    node, other = net[killed], net["bob" if killed == "alice" else "alice"]
    assert kill_workers(node) >= 1  # a worker of an earlier service may still be closing
    here = until("the side itself knows", lambda: failures(node, service.id), 20)
    assert here[0]["code"] == "E_WORKER"
    there = until("the other side knows", lambda: failures(other, service.id), 20)
    assert there[0]["code"] in ("E_WORKER", "E_PEER_ABORT", "E_PEER_SILENT", "E_UNREACHABLE")
    finish(net, records, service.id)


def test_a_killed_node_finds_out_by_itself_and_a_service_comes_back(
    net: Net, agreement: str, records: Any
) -> None:
    service = net.alice.analyst.echo(agreement, "echo", purpose="test")
    service.call(b"hello")
    net.bob.restart(kill=True)
    assert failures(net.bob, service.id)[0]["code"] == "E_RESTARTED"
    told = until("alice's side ends", lambda: failures(net.alice, service.id), 20)
    assert told[0]["code"] in ("E_PEER_SILENT", "E_RESTARTED", "E_UNREACHABLE", "E_PEER_ABORT", "E_WORKER")
    finish(net, records, service.id)


def test_a_worker_that_is_killed_in_a_one_shot_job_ends_it_on_both_sides(
    net: Net, agreement: str, crash_at: Callable[[NodeProcess, str | None], None], records: Any
) -> None:
    crash_at(net.bob, "worker: about to release")
    linked(net)
    job = ask(net, agreement)
    found, theirs = ended(net.alice, job.id), ended(net.bob, job.id)
    assert outcome(theirs) == ("failed", "E_WORKER")
    assert found.state == "failed"
    assert found.error is not None
    assert found.error.party == "bob"
    agree(records, net, job.id, False)
    crash_at(net.bob, None)
    linked(net)
    assert found.rerun().wait(timeout=60).result().scalars == {"intersection_size": 30}
    agree(records, net, job.id, True)


@pytest.mark.parametrize("killed", ["alice", "bob"])
def test_a_job_that_waits_for_a_steward_survives_a_kill(net: Net, by_steward: str, killed: str) -> None:
    job = ask(net, by_steward)
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
    [
        pytest.param(*c, marks=() if c[:2] in _QUICK else pytest.mark.slow, id=f"{c[0]}: {c[1]}")
        for c in CRASHES
    ],
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
    if (who, point) == ("bob", "worker done"):
        # The result had been opened before: the asker has it, and the owner's record says how far it came.
        assert outcome(found) == ("completed", None)
        assert outcome(theirs) == ("failed", "E_RESTARTED")
        assert [o["outcome"] for o in records(net.bob).ledger("outcome", job.id)] == [
            "released, unacknowledged"
        ]
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
    assert len({(c["kind"], c["block"], c["asset"], c["partner"]) for c in charges}) == len(charges)
    stored = [bool(charges), bool(owner.receipts(job, "provisional")), bool(owner.ledger("release", job))]
    assert stored == [debited] * 3
    given = records(net.alice)
    assert bool(given.receipts(job, "provisional-given")) == bool(given.ledger("provisional", job))
    if debited:
        assert given.receipts(job, "provisional-given"), "no debit without the receiver's word"
