"""What agreements cost by the month, at the edges of months and versions."""

from __future__ import annotations

import pytest

from atoll.agreements.model import parse
from atoll.billing import flat_items
from atoll.client import drafts
from atoll.crypto.suite import SigningKey

A, B = sorted(str(SigningKey(bytes([n]) * 32).public) for n in range(2))


def version(number: int, first: str, end: str, price: int) -> object:
    grant = drafts.grant(
        [A], purposes=["test"], functions=["echo"], price={"currency": "CNY", "per_month": price}
    )
    document = drafts.agreement(
        {A: "a", B: "b"}, [drafts.asset("echo", B, grants=[grant], type="service")], title="t", days=30
    )
    document |= {
        "id": "agr-0011223344556677", "version": number, "supersedes": None if number == 1 else "sha256:" + "0" * 64,
        "validity": {"not_before": first, "not_after": end},
    }  # fmt: skip
    return parse(document)


def amounts(versions: list[object], month: str, revoked: str | None = None) -> list[int]:
    return [item.amount for item in flat_items(versions, month, revoked)]  # type: ignore[arg-type]


def test_a_flat_price_is_due_for_every_month_that_the_agreement_touches() -> None:
    held = [version(1, "2026-10-31T23:59:59Z", "2026-12-01T00:00:00Z", 9)]
    assert {m: amounts(held, m) for m in ("2026-09", "2026-10", "2026-11", "2026-12")} == {
        "2026-09": [],
        "2026-10": [9],
        "2026-11": [9],
        "2026-12": [],
    }


def test_the_newest_version_of_the_month_counts() -> None:
    held = [
        version(1, "2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z", 9),
        version(2, "2026-11-20T00:00:00Z", "2027-01-01T00:00:00Z", 5),
    ]
    assert amounts(held, "2026-10") == [9]
    assert amounts(held, "2026-11") == [5]


@pytest.mark.parametrize(
    ("revoked", "due"),
    [("2026-11-01T00:00:00Z", []), ("2026-11-01T00:00:01Z", [9]), ("2026-12-05T00:00:00Z", [9])],
)
def test_a_revocation_ends_it_from_the_next_month(revoked: str, due: list[int]) -> None:
    assert amounts([version(1, "2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z", 9)], "2026-11", revoked) == due


def test_year_ends() -> None:
    held = [version(1, "2026-12-31T00:00:00Z", "2027-01-02T00:00:00Z", 9)]
    assert amounts(held, "2026-12") == [9]
    assert amounts(held, "2027-01") == [9]
    assert amounts(held, "2027-02") == []
