"""Totals over an intersection in plain sight, and the comparison of a shared number, with strings of 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RING = 1 << 64


@dataclass(frozen=True)
class Row:
    """A key and its values."""

    key: str
    values: tuple[int, ...]


def totals(placer: Sequence[Row], mapper: Sequence[Row], minimum: int) -> dict[str, object] | None:
    """What both tables give together, or None if too few keys match."""
    pairs = [(one, other) for one in placer for other in mapper if one.key == other.key]
    subjects = len({one.key for one, _ in pairs})
    if subjects < minimum:
        return None
    return {
        "subjects": subjects,
        "rows": len(pairs),
        "placer": [sum(values) for values in zip(*(one.values for one, _ in pairs), strict=True)],
        "mapper": [sum(values) for values in zip(*(other.values for _, other in pairs), strict=True)],
    }


def binary(number: int, bits: int) -> str:
    """The highest bit first."""
    return "".join(str(number >> at & 1) for at in reversed(range(bits)))


def greater_prefixes(number: str) -> set[str]:
    """Prefixes that end in 1."""
    return {number[: at + 1] for at, bit in enumerate(number) if bit == "1"}


def smaller_prefixes(number: str) -> set[str]:
    """Prefixes that end in 0, with a 1 in its place."""
    return {number[:at] + "1" for at, bit in enumerate(number) if bit == "0"}


def halves(
    shares: tuple[int, int], minimum: int, bits: int
) -> tuple[tuple[int, set[str]], tuple[int, set[str]]]:
    """Bit and set of the placer, bit and set of the mapper."""
    first = binary((shares[0] - minimum) % 2**bits, bits)
    second = binary(shares[1] % 2**bits, bits)
    complement = "".join("10"[int(bit)] for bit in second[1:])
    return (
        (1 - int(first[0]), greater_prefixes(first[1:])),
        (int(second[0]), smaller_prefixes(complement)),
    )


def enough(shares: tuple[int, int], minimum: int, bits: int) -> bool:
    """Whether the shared number is at least the minimum, by way of bits and sets."""
    (one, left), (other, right) = halves(shares, minimum, bits)
    assert len(left & right) <= 1
    return bool((one + other + len(left & right)) % 2)
