"""What the disclosure statement of a fast join says that a cheat could test, against what the machine lets it test."""

from __future__ import annotations

import pytest

from atoll.plan.operators import psi
from atoll.protocols.buckets import BUCKET_ITEMS
from atoll.protocols.vole_psi import presented_at_most

SIZES = [
    1,
    2,
    10,
    100,
    1000,
    4095,
    4097,
    10_000,
    32_769,
    65_537,
    10**5,
    10**6,
    2**20,
    2**20 + 1,
    3 * 10**6,
    10**7,
    10**8,
]


@pytest.mark.parametrize("receiver", SIZES)
def test_the_statement_is_an_upper_bound_of_the_machine_whatever_the_sizes(receiver: int) -> None:
    for sender in SIZES:
        stated = psi.presented_at_most(psi.EXTRA_KEYS, receiver, sender, alone=True)
        possible = presented_at_most(receiver, sender, "malicious")
        assert receiver <= possible <= stated, (receiver, sender)


def test_the_statement_is_no_more_than_a_fifth_over_the_machine_for_large_sets() -> None:
    for keys in (10**6, 10**7):
        stated = psi.presented_at_most(psi.EXTRA_KEYS, keys, keys, alone=True)
        assert stated <= presented_at_most(keys, keys, "malicious") * 6 / 5


def test_buckets_are_counted_as_the_protocol_counts_them() -> None:
    assert psi.BUCKET_KEYS == BUCKET_ITEMS
