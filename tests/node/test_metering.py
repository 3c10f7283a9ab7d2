"""What is debited, and when: with the record of the release or not at all, once, and within the quota whatever runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from atoll.client.jobs import Service
from atoll.errors import AtollError
from atoll.testing import Net, NodeProcess, nodes, until

SILENCE = 3
BLOCK = 4


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("alice", "bob", settings={"jobs.concurrent": 8}) as made:
        made.alice.steward.data.add("loans", {"id": [str(i) for i in range(40)]})
        made.bob.steward.data.add("taxes", {"id": [str(i) for i in range(20, 60)]})
        yield made


@pytest.fixture(autouse=True)
def both_run(net: Net) -> None:
    for node in net:
        if not node.running:
            node.restart()
    linked(net)


def linked(net: Net) -> None:
    until(
        "the two are linked", lambda: all(p["connected"] for n in net for p in n.administrator.peers.list())
    )


def agree(net: Net, **terms: Any) -> str:
    return net.agreement(
        {"alice": {"loans": "*"}, "bob": {"taxes": "*", "echo": "service"}}, silence_seconds=SILENCE, **terms
    )


def serve(net: Net, agreement: str) -> Service:
    return net.alice.analyst.echo(agreement, "echo", purpose="test", block_calls=BLOCK)


def calls(records: Any, job: str) -> dict[int, int]:
    """Calls that the owner has charged, by block."""
    return {c["block"]: c["amount"] for c in records.charges(job) if c["kind"] == "calls"}


def answers(service: Service) -> bool:
    try:
        return service.call(b"again") == b"again"
    except AtollError:
        return False


def finish(net: Net, service: str) -> None:
    """The service comes back, answers at least one call, and ends in order."""
    linked(net)
    handle = net.alice.analyst.services.get(service)
    try:
        until("the service answers again", lambda: answers(handle), 60)
    except AtollError as error:
        for node in net:
            job = node.auditor.jobs.get(service)
            error.add_note(f"{node.name}: {job.document}")
            said = [line for line in node.log().splitlines() if service in line or '"level": "error"' in line]
            error.add_note("\n".join([f"--- log of {node.name}", *said[-40:]]))
        raise
    job = handle.stop().wait(timeout=60)
    assert job.state == "completed"
    for node in net:
        until(
            "the receipt is final",
            lambda n=node: n.auditor.jobs.get(service).document["evidence"] == "final",  # type: ignore[misc]
        )


def together(net: Net, records: Callable[[NodeProcess], Any], job: str) -> None:
    """At the owner each block has its debit, its receiver's word and its release entry, or none of the three."""
    owner = records(net.bob)
    charged = set(calls(owner, job))
    words = {r["block"] for r in owner.receipts(job, "provisional")}
    released = [entry["block"]["number"] for entry in owner.ledger("release", job)]
    assert charged == words == set(released)
    assert len(released) == len(charged), "a block is released once"
    assert {b["number"] for b in owner.rows("select number from blocks where job = ?", job)} == charged
    debits = [d for entry in owner.ledger("release", job) for d in entry["debits"]]
    assert len(debits) == len(owner.charges(job)), "each charge stands once in the log"


# Where the owner, or the asker, dies; and whether the first block's debit stands after it.
CRASHES = [
    ("bob", "word arrived", False),
    ("bob", "within the debit", False),
    ("bob", "debited", True),
    ("alice", "word given", False),
]


@pytest.mark.parametrize(("who", "point", "debited"), CRASHES)
def test_a_block_is_debited_with_its_release_or_not_at_all(
    net: Net, who: str, point: str, debited: bool, crash_at: Callable[[NodeProcess, str | None], None], records: Any
) -> None:  # fmt: skip
    agreement = agree(net)
    crash_at(net[who], point)
    linked(net)
    service = serve(net, agreement)
    with pytest.raises(AtollError):
        service.call(b"one")
    until(f"{who} died", lambda: not net[who].running, 60)
    crash_at(net[who], None)
    together(net, records, service.id)
    # What dies with the asker's word on its way is not debited: no answer can have left.
    assert bool(calls(records(net.bob), service.id)) == debited
    finish(net, service.id)
    together(net, records, service.id)
    charged = calls(records(net.bob), service.id)
    # A block whose end nobody knows counts as used up; the block that served again counts its calls.
    assert charged[max(charged)] >= 1
    assert all(amount == BLOCK for block, amount in charged.items() if block < max(charged))
    runs = [c for c in records(net.bob).charges(service.id) if c["kind"] == "run"]
    assert len(runs) == 1, "a service that comes back is one run"


@pytest.mark.parametrize(
    ("point", "settled"), [("within the settling", False), ("block stored", True), ("block closed", True)]
)
def test_what_a_block_did_not_use_is_given_back_with_its_closing_or_not_at_all(
    net: Net, point: str, settled: bool, crash_at: Callable[[NodeProcess, str | None], None], records: Any
) -> None:
    agreement = agree(net)
    crash_at(net.bob, point)
    linked(net)
    service = serve(net, agreement)
    for i in range(2):
        assert service.call(str(i).encode()) == str(i).encode()
    service.stop()
    until("bob died", lambda: not net.bob.running, 60)
    crash_at(net.bob, None)
    owner = records(net.bob)
    (block,) = owner.rows("select * from blocks where job = ?", service.id)
    parts = owner.rows("select * from receipt_parts where job = ? and block = 1", service.id)
    assert calls(owner, service.id) == {1: 2 if settled else BLOCK}
    assert block["used"] == (2 if settled else None)
    assert len(parts) == int(settled)
    together(net, records, service.id)
    if settled:
        # The part is delivered after the restart: the block's receipt is signed by both.
        linked(net)
        until(
            "the block's receipt is final",
            lambda: records(net.bob).rows(
                "select * from blocks where job = ? and number = 1 and evidence = 'final'", service.id
            ),
            30,
        )


def test_a_service_that_restarts_in_a_block_goes_on_in_the_next_one(net: Net, records: Any) -> None:
    service = serve(net, agree(net))
    for i in range(2):
        service.call(str(i).encode())
    net.bob.restart(kill=True)
    assert calls(records(net.bob), service.id) == {1: BLOCK}, "its end is not known: all of it counts"
    finish(net, service.id)
    together(net, records, service.id)
    charged = calls(records(net.bob), service.id)
    assert charged[1] == BLOCK
    firsts = records(net.bob).rows(
        "select number, first from blocks where job = ? order by number", service.id
    )
    assert [b["first"] for b in firsts][:2] == [1, 1 + BLOCK]


def test_jobs_that_start_at_the_same_moment_pass_exactly_the_quota(net: Net, records: Any) -> None:
    agreement = agree(net, runs_per_day=2)

    def run(_: int) -> str:
        try:
            job = net.alice.analyst.join(
                agreement, "loans", "taxes", on="id", purpose="test", reveal="size"
            ).wait(timeout=90)
        except AtollError as error:
            return error.code
        return job.state

    with ThreadPoolExecutor(5) as pool:
        found = sorted(pool.map(run, range(5)))
    # An asker whose worker hears of it first from the other worker sees the job ended by its peer.
    assert found.count("completed") == 2
    assert set(found) <= {"completed", "E_QUOTA", "E_PEER_ABORT"}
    charged = records(net.bob).rows("select * from charges where kind = 'run' and agreement = ?", agreement)
    assert len(charged) == 2
    query = (
        "select r.job from receipts r join jobs j on j.id = r.job where j.agreement = ? and r.kind = 'final'"
    )
    opened = until(
        "a receipt for each that passed is signed by both",
        lambda: (
            len(records(net.alice).rows(query, agreement)) >= 2 and records(net.alice).rows(query, agreement)
        ),
        30,
    )
    assert len(opened) == 2, "and for no other"


def test_services_at_the_same_time_share_the_calls_of_a_day(net: Net, records: Any) -> None:
    agreement = agree(net, calls_per_day=BLOCK + 2)
    first, second = serve(net, agreement), serve(net, agreement)
    first.call(b"one")
    # A whole block is reserved: too few are left for another one.
    with pytest.raises(AtollError) as error:
        second.call(b"two")
    assert error.value.code in ("E_QUOTA", "E_STATE", "E_PEER_ABORT")
    assert calls(records(net.bob), second.id) == {}
    first.stop().wait(timeout=60)
    until("the block is settled", lambda: calls(records(net.bob), first.id) == {1: 1}, 20)
    third = serve(net, agreement)
    assert third.call(b"three") == b"three"
    third.stop().wait(timeout=60)


def test_calls_of_earlier_days_do_not_count_today(net: Net, records: Any) -> None:
    """A service that stands for days has its calls of each day."""
    import sqlite3

    agreement = agree(net, calls_per_day=BLOCK)
    service = serve(net, agreement)
    for i in range(BLOCK):
        service.call(str(i).encode())
    connection = sqlite3.connect(net.bob.folder / "state.sqlite", timeout=30)
    try:
        with connection:
            moved = connection.execute(
                "update charges set at = '2026-01-01T00:00:00.000Z' where job = ? and kind = 'calls'", (service.id,)
            )  # fmt: skip
            assert moved.rowcount == 1
    finally:
        connection.close()
    assert service.call(b"the next day") == b"the next day"
    service.stop().wait(timeout=60)
    assert sorted(calls(records(net.bob), service.id).values()) == [1, BLOCK]


def code(service: Service) -> str | None:
    try:
        service.call(b"more")
    except AtollError as error:
        return error.code
    return None


def test_services_share_the_agreed_rate_and_a_restart_forgets_nothing(net: Net, records: Any) -> None:
    agreement = agree(net, rate={"most": 3, "seconds": 3600})
    first, second = serve(net, agreement), serve(net, agreement)
    assert [code(first), code(first)] == [None, None]
    assert code(second) is None
    assert [code(first), code(second)] == ["E_QUOTA", "E_QUOTA"]
    for service in (first, second):
        service.stop().wait(timeout=60)
    assert sum(b for s in (first, second) for b in calls(records(net.bob), s.id).values()) == 3


def test_what_passed_before_a_restart_counts_by_the_blocks_that_were_closed(net: Net, records: Any) -> None:
    agreement = agree(net, rate={"most": 3, "seconds": 3600})
    first = serve(net, agreement)
    assert [code(first), code(first)] == [None, None]
    first.stop().wait(timeout=60)
    net.bob.restart()
    linked(net)
    second = serve(net, agreement)
    assert [code(second), code(second)] == [None, "E_QUOTA"]
    second.stop().wait(timeout=60)


def test_a_block_that_a_crash_left_open_counts_in_full(net: Net) -> None:
    agreement = agree(net, rate={"most": BLOCK, "seconds": 3600})
    service = serve(net, agreement)
    assert code(service) is None
    net.bob.restart(kill=True)
    linked(net)
    until("the service is back, and over its rate", lambda: code(service) == "E_QUOTA", 60)
    service.stop().wait(timeout=60)


FEWER = """
from atoll.node.jobs.receipts import Receipts

close, arrived = Receipts.close_block, Receipts._part_arrived

def close_block(self, job, attempt, message):
    return close(self, job, attempt, message | {"calls": message["calls"] - 1})

def part_arrived(self, remote, body):
    if body["block"]:
        calls = body["called"]["calls"] - 1
        meters = body["part"]["meters"] | {"calls": calls}
        body = body | {"called": body["called"] | {"calls": calls}, "part": body["part"] | {"meters": meters}}
    return arrived(self, remote, body)

Receipts.close_block, Receipts._part_arrived = close_block, part_arrived
"""


def test_an_asker_that_reports_fewer_calls_is_found_out_and_the_block_named(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: Any
) -> None:
    agreement = agree(net, price={"currency": "CNY", "per_call": 7})
    (tmp_path / "sitecustomize.py").write_text(FEWER, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
        net.alice.restart()
    linked(net)
    try:
        service = serve(net, agreement)
        for i in range(3):
            service.call(str(i).encode())
        service.stop()
        for node in net:
            until(
                f"{node.name} knows",
                lambda n=node: records(n).rows(  # type: ignore[misc]
                    "select * from blocks where job = ? and number = 1 and evidence = 'disputed'", service.id
                ),
                30,
            )
            (entry,) = [e for e in records(node).ledger("dispute", service.id) if e["block"]]
            assert (entry["block"], entry["error"]["code"]) == (1, "E_RECEIPT")
        assert calls(records(net.bob), service.id) == {1: 3}, "the owner's count is what is debited"
        month = net.bob.auditor.ledger.entries(agreement, 0, 1)[0]["time"][:7]
        (line,) = net.bob.auditor.bills.show(month, agreement=agreement, partner="alice")[0]["lines"]
        assert (line["unit"], line["quantity"], line["provisional"]) == ("call", 3, 1)
        found = net.bob.auditor.bills.compare(month, agreement, "alice")
        assert [(r["job"], r["block"], r["unit"]) for r in found["receipts"]] == [(service.id, 1, "call")]
        assert (found["receipts"][0]["where"], found["receipts"][0]["fields"]) == ("both", ["quantity"])
    finally:
        net.alice.restart()
