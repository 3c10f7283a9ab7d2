"""Statements of real nodes: both sides alike from receipts, differences named, months that are over signed by both."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atoll import AtollError
from atoll.client import bills_csv, verify_audit, verify_statement
from atoll.testing import Net, NodeProcess, nodes, pair, until

PRICE = {"currency": "CNY", "per_run": 500, "per_call": 7, "per_row": 2, "per_month": 10_000}


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("alice", "bob", "carol") as made:
        made.alice.steward.data.add("loans", {"id": [str(i) for i in range(40)]})
        made.bob.steward.data.add("taxes", {"id": [str(i) for i in range(20, 60)]})
        yield made


def agree(net: Net, **price: Any) -> str:
    """Bob's table and service for alice at a price; carol signs and is paid a share."""
    document = net.draft(
        {"alice": {"loans": "*"}, "bob": {"taxes": "*", "echo": "service"}, "carol": {}}, price=PRICE | price
    )
    for asset in document["assets"]:
        for grant in asset["grants"]:
            grant["to"] = [net.alice.identity] if asset["name"] != "loans" else [net.bob.identity]
            if asset["name"] == "loans":
                grant["price"] = None
    return net.sign(document)


def shares(net: Net) -> dict[str, int]:
    return {net.alice.identity: 1, net.bob.identity: 3, net.carol.identity: 3}


def finals(net: Net, *jobs: str) -> None:
    for node in (net.alice, net.bob):
        for job in jobs:
            until(
                "the receipt is final",
                lambda n=node, j=job: n.auditor.jobs.get(j).document["evidence"] == "final",  # type: ignore[misc]
            )


def join(net: Net, agreement: str) -> str:
    job = net.alice.analyst.join(agreement, "loans", "taxes", on="id", purpose="test", reveal="size").wait(
        timeout=60
    )
    finals(net, job.id)
    return job.id


def served(net: Net, agreement: str, calls: int) -> str:
    service = net.alice.analyst.echo(agreement, "echo", purpose="test", block_calls=3)
    for i in range(calls):
        service.call(str(i).encode())
    service.stop().wait(timeout=60)
    finals(net, service.id)
    until(
        "every block has its receipt",
        lambda: all(
            [e["kind"] for e in node.auditor.ledger.entries(agreement, 0, 1000)].count("receipt/v1")
            >= 1 + -(-calls // 3)
            for node in (net.alice, net.bob)
        ),
    )
    return service.id


def month(net: Net, agreement: str) -> str:
    return str(net.bob.auditor.ledger.entries(agreement, 0, 1)[0]["time"])[:7]


def bill(node: NodeProcess, when: str, agreement: str, partner: str) -> dict[str, Any]:
    (found,) = node.auditor.bills.show(when, agreement=agreement, partner=partner)
    return found


def lines(found: dict[str, Any]) -> dict[tuple[str, str], tuple[int, int]]:
    return {(x["asset"], x["unit"]): (x["quantity"], int(x["amount"])) for x in found["lines"]}


def test_both_sides_compute_the_same_statement_from_receipts(net: Net) -> None:
    agreement = agree(net, shares=shares(net))
    join(net, agreement)
    join(net, agreement)
    served(net, agreement, 7)
    when = month(net, agreement)
    mine, theirs = bill(net.alice, when, agreement, "bob"), bill(net.bob, when, agreement, "alice")
    assert mine["document"] == theirs["document"]
    assert mine["statement"] == theirs["statement"]
    # 40 rows presented twice; one run of the service and 7 calls; a flat price for each of two assets.
    assert lines(mine) == {
        ("taxes", "run"): (2, 1000),
        ("taxes", "row"): (80, 160),
        ("taxes", "month"): (1, 10_000),
        ("echo", "run"): (1, 500),
        ("echo", "call"): (7, 49),
        ("echo", "month"): (1, 10_000),
    }
    assert mine["owe"] == theirs["owed"] == ["217.09 CNY"]
    assert mine["owed"] == theirs["owe"] == []
    for line in mine["lines"]:
        assert {p["to"] for p in line["payees"]} == {"alice", "bob", "carol"}
        assert sum(int(p["amount"]) for p in line["payees"]) == int(line["amount"])
    calls = next(x for x in mine["lines"] if x["unit"] == "call")
    assert {p["to"]: int(p["amount"]) for p in calls["payees"]} == {"alice": 7, "bob": 21, "carol": 21}
    for node, partner in ((net.alice, "bob"), (net.bob, "alice")):
        found = node.auditor.bills.compare(when, agreement, partner)
        assert found["equal"] is True
        assert found["receipts"] == found["lines"] == found["days"] == []
    rows = list(csv.DictReader(io.StringIO(bills_csv([mine]))))
    assert sum(int(row["payee_amount"]) for row in rows) == 21_709
    assert {row["currency"] for row in rows} == {"CNY"}


def edit(node: NodeProcess, statement: str, *values: Any) -> None:
    """Somebody with access to a node's database changes a bill."""
    connection = sqlite3.connect(node.folder / "state.sqlite", timeout=30)
    try:
        with connection:
            assert connection.execute(statement, values).rowcount == 1
    finally:
        connection.close()


def test_a_difference_names_exactly_the_receipts_that_differ(net: Net) -> None:
    agreement = agree(net)
    first, second = join(net, agreement), join(net, agreement)
    when = month(net, agreement)
    edit(net.bob, "update bill_items set quantity = 41 where job = ? and unit = 'row'", first)
    edit(net.bob, "delete from bill_items where job = ? and unit = 'run'", second)
    found = net.alice.auditor.bills.compare(when, agreement, "bob")
    assert found["equal"] is False
    assert {(x["unit"], x["here"], x["there"]) for x in found["lines"]} == {("row", 80, 81), ("run", 2, 1)}
    assert {(r["job"], r["unit"], r["where"], tuple(r["fields"])) for r in found["receipts"]} == {
        (first, "row", "both", ("quantity",)),
        (second, "run", "here", ()),
    }
    disputed = net.alice.steward.bills.dispute(when, agreement, "bob")
    assert disputed["differences"] == 2
    entry = net.alice.auditor.ledger.entries(agreement, 0, 1000)[-1]
    assert entry["kind"] == "statement-dispute/v1"
    assert set(entry["document"]["receipts"]) == {r["evidence"] for r in found["receipts"]}


def test_a_receiver_that_dies_after_the_release_owes_all_the_same(net: Net) -> None:
    agreement = agree(net)
    service = net.alice.analyst.echo(agreement, "echo", purpose="test", block_calls=5)
    for i in range(2):
        service.call(str(i).encode())
    net.alice.kill()
    until(
        "the job has ended at bob",
        lambda: net.bob.auditor.jobs.get(service.id).state in ("failed", "cancelled"),
        60,
    )
    when = month(net, agreement)
    found = bill(net.bob, when, agreement, "alice")
    (calls,) = [x for x in found["lines"] if x["unit"] == "call"]
    assert calls["provisional"] == 1
    assert calls["quantity"] in (2, 5)
    net.alice.start()
    # Alice's own word is what she owes by: she lists the block too.
    mine = bill(net.alice, when, agreement, "bob")
    assert [x["provisional"] for x in mine["lines"] if x["unit"] == "call"] == [1]
    assert {x["unit"] for x in mine["lines"]} == {x["unit"] for x in found["lines"]}


def lose_the_store(net: Net) -> None:
    """Bob's database is gone; he recovers what his partners hold of his logs."""
    until(
        "bob's logs are cosigned",
        lambda: all(
            log["cosignatures"] and all(c["behind"] == 0 for c in log["cosignatures"])
            for log in net.bob.auditor.ledger.list()
            if log["own"]
        ),
        60,
    )
    net.bob.kill()
    for file in net.bob.folder.glob("state.sqlite*"):
        file.unlink()
    subprocess.run(
        [sys.executable, "-m", "atoll.cli", "recover", "-d", str(net.bob.folder), "--json"],
        env=net.bob.environment | {"ATOLL_PASSPHRASE": net.bob.passphrase},
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    net.bob.start()
    for other in (net.alice, net.carol):
        pair(other, net.bob)
    until("bob may record again", lambda: net.bob.administrator.ledger.standing()["open"], 60)
    net.bob.steward.data.add("taxes", {"id": [str(i) for i in range(20, 60)]})


LATER = """
import os
from datetime import timedelta
from atoll.node import clock, node
real = clock.system_clock
later = lambda: real() + timedelta(days=int(os.environ.get("DAYS_LATER", "0")))
node.Node.__init__.__defaults__ = (later,)
"""


def test_a_month_that_is_over_is_signed_by_both_and_recorded(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreement = agree(net)
    join(net, agreement)
    when = month(net, agreement)
    with pytest.raises(AtollError, match="not over") as error:
        net.bob.steward.bills.sign(when, agreement, "alice")
    assert error.value.code == "E_STATE"
    (tmp_path / "sitecustomize.py").write_text(LATER, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
        patch.setenv("DAYS_LATER", "35")
        for node in net:
            node.restart()
        try:
            first = net.bob.steward.bills.sign(when, agreement, "alice")
            assert (first["state"], first["signed"]) == ("signed", ["bob"])
            until("alice was told", lambda: bill(net.alice, when, agreement, "bob")["signed"] == ["bob"])
            second = net.alice.steward.bills.sign(when, agreement, "bob")
            assert second["state"] == "agreed"
            until("bob has both", lambda: bill(net.bob, when, agreement, "alice")["state"] == "agreed")
            envelope = bill(net.bob, when, agreement, "alice")["envelope"]
            assert len(verify_statement(envelope)) == 2
            for node in (net.alice, net.bob):
                kinds = [e["kind"] for e in node.auditor.ledger.entries(agreement, 0, 1000)]
                assert kinds.count("statement/v1") == 1
            # A third party finds it right, from the receipts alone.
            file = net.bob.auditor.audit.export(agreement, tmp_path / "audit")
            report = verify_audit(file, {node.name: node.identity for node in net})
            assert report.ok, report.lines()
            assert [f.code for f in report.findings if "bill" in f.code] == ["billed"]
            # Signing again changes nothing.
            before = net.bob.steward.bills.sign(when, agreement, "alice")
            assert before["state"] == "agreed"
            lose_the_store(net)
            after = bill(net.bob, when, agreement, "alice")
            assert (after["state"], after["document"]) == ("agreed", before["document"])
        finally:
            for node in net:
                node.stop()
    for node in net:
        node.start()


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        ({"month": "2026-13"}, "E_FORMAT", "2026-13"),
        ({"month": "november"}, "E_FORMAT", "november"),
        ({"month": "2199-01"}, "E_FORMAT", "not begun"),
        ({"month": "2026-01", "agreement": "agr-none"}, "E_NOT_FOUND", "agr-none"),
    ],
)
def test_what_cannot_be_asked(net: Net, asked: dict[str, str], code: str, words: str) -> None:
    with pytest.raises(AtollError, match=words) as error:
        net.bob.auditor.bills.show(**asked)
    assert error.value.code == code


def test_nothing_is_billed_without_a_price_and_before_the_agreement(net: Net) -> None:
    agreement = net.agreement({"alice": {"loans": "*"}, "bob": {"taxes": "*"}})
    join(net, agreement)
    assert net.bob.auditor.bills.show(month(net, agreement), agreement=agreement) == []
    assert net.bob.auditor.bills.show("2024-01") == []
    with pytest.raises(AtollError, match="no other signatory"):
        net.bob.auditor.bills.show(month(net, agreement), agreement=agreement, partner="carol")


def test_a_statement_is_checked_without_a_node(net: Net) -> None:
    from atoll.crypto import dsse
    from atoll.crypto.suite import SigningKey

    agreement = agree(net)
    join(net, agreement)
    document = bill(net.bob, month(net, agreement), agreement, "alice")["document"]
    stranger = SigningKey.generate()
    with pytest.raises(AtollError) as error:
        verify_statement(dsse.sign("statement/v1", document, stranger))
    assert error.value.code == "E_SIGNATURE"
    changed = json.loads(json.dumps(document))
    changed["totals"][0]["amount"] = "1"
    with pytest.raises(AtollError, match="sums of the lines") as error:
        verify_statement(dsse.sign("statement/v1", changed, stranger))
    assert error.value.code == "E_FORMAT"
