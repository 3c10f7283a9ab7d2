"""The uses of a month in the state store: read in pages, and the same statement however they are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import insert

from atoll.agreements.provisional import Provisional
from atoll.billing import Item, statement, word_counts
from atoll.crypto.suite import SigningKey
from atoll.node.evidence.billing import _PAGE, Billing
from atoll.node.state.models import BillItem
from atoll.node.state.store import Store

A, B, C = sorted(str(SigningKey(bytes([n]) * 32).public) for n in range(3))
AGREEMENT = "agr-0011223344556677"
DAY = "2026-11-03"


def row(number: int, day: str = DAY, agreement: str = AGREEMENT, payer: str = A) -> dict[str, Any]:
    return {
        "job": f"job-{number // 50:032x}", "block": number % 50 + 1, "provider": B, "asset": "echo", "unit": "call",
        "agreement": agreement, "payer": payer, "day": day, "evidence": f"sha256:{number:064x}",
        "quantity": number % 7 + 1, "price": 3, "currency": "CNY", "payees": [[A, 1], [B, 3]],
    }  # fmt: skip


def item(row: dict[str, Any]) -> Item:
    return Item(**{**row, "payees": tuple((k, n) for k, n in row["payees"])}, basis="receipt")


@pytest.fixture
def billing(tmp_path: Path) -> Iterator[Billing]:
    """Bills of B, over a store of its own; nothing else of a node is there."""
    store = Store.sqlite(tmp_path / "state.sqlite")
    store.migrate()
    nothing = SimpleNamespace(handle=lambda *_: None, on=lambda *_: None)
    yield Billing(SimpleNamespace(store=store, me=B, partners=nothing), SimpleNamespace(), nothing)  # type: ignore[arg-type]
    store.close()


def fill(billing: Billing, rows: list[dict[str, Any]]) -> None:
    with billing._shelf.store.write() as session:
        session.execute(insert(BillItem), rows)


def test_a_busy_day_is_read_in_pages_that_hold_each_use_once(billing: Billing) -> None:
    mine = [row(n) for n in range(2 * _PAGE + 17)]
    others = [
        row(10**6, day="2026-11-04"),
        row(10**6 + 1, agreement="agr-8899aabbccddeeff"),
        row(10**6 + 2, payer=C),
    ]
    fill(billing, mine + others)
    found: list[Item] = []
    sizes = []
    while True:
        with billing._shelf.store.read() as session:
            page = billing._page(session, AGREEMENT, A, DAY, len(found))
        sizes.append(len(page))
        found += page
        if len(page) < _PAGE:
            break
    assert sizes == [_PAGE, _PAGE, 17]
    assert sorted(found) == sorted(item(r) for r in mine)


def test_the_statement_follows_from_the_stored_uses_of_the_month_alone(billing: Billing) -> None:
    rows = [row(n, day=f"2026-{m}-{d:02}") for n, (m, d) in enumerate(
        (m, d) for m in ("10", "11", "12") for d in (1, 30)
    )]  # fmt: skip
    fill(billing, rows)
    with billing._shelf.store.read() as session:
        found = billing._statement(session, AGREEMENT, A, "2026-11")
    assert found == statement("2026-11", AGREEMENT, (A, B), [item(r) for r in rows[2:4]])
    assert [day["day"] for day in found["days"]] == ["2026-11-01", "2026-11-30"]


def word(receiver: str) -> Provisional:
    return Provisional.parse(
        {
            "format": "atoll.provisional/v1", "job": "job-" + "0" * 32, "plan": "sha256:" + "0" * 64, "attempt": 1,
            "receiver": receiver, "inputs": {}, "block": None, "at": "2026-11-03T10:00:00Z",
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("receivers", "asker", "counts"),
    [([A], A, A), ([A, B, C], B, B), ([B, C], A, B), ([C, B], A, B)],
)
def test_one_word_of_a_job_bills_whoever_reads_it(receivers: list[str], asker: str, counts: str) -> None:
    plan = {"asker": asker, "outputs": [{"receiver": key} for key in receivers]}
    assert [key for key in sorted(receivers) if word_counts(word(key), plan)] == [counts]
