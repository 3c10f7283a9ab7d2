"""A shared number against a public one: the product's sets against the reference's, and both against plain sight."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.protocols import at_least
from reference import hidden_totals as reference


def read(strings: list[bytes]) -> set[str]:
    """The prefixes that the product's strings stand for."""
    parts = [struct.unpack("<BQ", string) for string in strings]
    return {format(value, f"0{length}b") for length, value in parts}


def compared(shares: tuple[int, int], minimum: int, bits: int) -> bool:
    (one, left), (other, right) = (
        at_least.halves(role, share, minimum, bits)
        for role, share in zip(("placer", "mapper"), shares, strict=True)
    )
    assert len(left) == len(set(left)) < bits
    assert len(right) == len(set(right)) < bits
    common = set(left) & set(right)
    assert len(common) <= 1
    return bool((one + other + len(common)) % 2)


@pytest.mark.parametrize("minimum", [1, 2, 3, 7])
def test_every_number_and_every_share_of_few_bits(minimum):
    most = 7
    bits = at_least.width(most, minimum)
    for number in range(most + 1):
        for share in range(1 << bits):
            shares = (share, (number - share) % 2**64)
            assert compared(shares, minimum, bits) == (number >= minimum)


numbers = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**32 - 1]))
words = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2**63, 2**64 - 1]))


@given(numbers, numbers.map(lambda n: max(n, 1)), words)
def test_numbers_of_any_size(number, minimum, share):
    bits = at_least.width(number, minimum)
    shares = (share, (number - share) % 2**64)
    assert compared(shares, minimum, bits) == reference.enough(shares, minimum, bits) == (number >= minimum)
    wanted = reference.halves(shares, minimum, bits)
    for role, mine, (bit, strings) in zip(("placer", "mapper"), shares, wanted, strict=True):
        half, found = at_least.halves(role, mine, minimum, bits)
        assert (half, read(found)) == (bit, strings)


@given(st.integers(0, 1000), words)
def test_the_edges_of_a_minimum(number, share):
    for minimum in range(max(number - 1, 1), number + 2):
        bits = at_least.width(2000, minimum)
        assert compared((share, (number - share) % 2**64), minimum, bits) == (number >= minimum)
