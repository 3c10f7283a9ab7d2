"""What a receipt tells those who read it, beside what the plan discloses to them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from atoll.testing import Net, nodes

BOOK = {"columns": {"debt": {"type": "int64"}, "segment": {"type": "string", "codes": ["A", "B"]}}}


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("alice", "bob", "carol") as made:
        for node, rows in zip(made, (7001, 7013, 7027), strict=True):
            table = {"segment": ["AB"[i % 2] for i in range(rows)], "debt": [str(i) for i in range(rows)]}
            node.steward.data.add("book", table, declaration=BOOK)
        yield made


def test_a_receipt_of_totals_states_nobodys_number_of_rows(net: Net) -> None:
    agreement = net.agreement({name: {"book": "*"} for name in ("alice", "bob", "carol")})
    job = net.alice.analyst.totals(agreement, "book", group="segment", values=["debt"], purpose="test").wait(
        timeout=60
    )
    receipt = job.receipt(30)["document"]
    assert [part["meters"]["rows"] for part in receipt["parties"].values()] == [None, None, None]
    # Nor does any other field: three row counts that would be seen at once, their sum, and the number of segments.
    numbers = _numbers(receipt)
    assert not numbers & {7001, 7013, 7027, 7001 + 7013 + 7027, 2}
    assert "rows" not in json.dumps([part["output"] for part in receipt["parties"].values()])


def _numbers(value: object) -> set[int]:
    """All numbers of a document but counts of messages and bytes, which both ends of a channel see anyway."""
    if isinstance(value, dict):
        inner = [
            v for k, v in value.items() if k not in ("messages", "bytes", "bytes_sent", "bytes_received")
        ]
        return set().union(*(_numbers(v) for v in inner if not _time(v))) if inner else set()
    if isinstance(value, list):
        return set().union(*(_numbers(v) for v in value)) if value else set()
    return {value} if type(value) is int and value not in (0, 1, 3) else set()


def _time(value: object) -> bool:
    return isinstance(value, dict) and set(value) == {"started", "finished"}
