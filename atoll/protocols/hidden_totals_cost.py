"""What totals over a hidden intersection cost: bytes, rounds, seconds (docs/protocols/hidden-totals.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from atoll.crypto.circuit import CircuitSizes, Role, circuit_sizes
from atoll.protocols.hidden_totals import BUCKET_ITEMS, Fit, Terms, fit

# Hello with role, digest of the terms and commitment; share of the coin with its opening.
_COIN: Final = 1 + 6 + 32 + 32 + 1 + 32 + 16
_ENOUGH: Final = 2
_COIN_ROUNDS: Final = 2

BEGIN_SECONDS: Final = 0.06
"""Of a bucket, whatever its size, at each side; these are measured with one thread."""
PLACER_MICROSECONDS: Final = 0.27
MAPPER_MICROSECONDS: Final = 0.23
"""Of a value of the correlations."""
ROW_MICROSECONDS: Final = 0.7
"""Of a row of the mapper."""


def _parts(terms: Terms, bucket_items: int) -> tuple[Fit, CircuitSizes, CircuitSizes]:
    """The buckets, the run of each, and the comparison's run."""
    split = fit(terms, bucket_items)
    compared = terms.compared_bits - 1
    return (
        split,
        circuit_sizes(
            split.placer_items, split.mapper_items, terms.multiplicity, terms.placer_row, terms.mapper_row
        ),
        circuit_sizes(compared, compared, 1, 0, 0),
    )


def wire_bytes(role: Role, terms: Terms, *, bucket_items: int = BUCKET_ITEMS) -> int:
    """Payload bytes that a side sends if there are enough subjects, exactly; if not, the last message is left out."""
    if terms.empty:
        return 0
    split, one, compared = _parts(terms, bucket_items)
    other: Role = "mapper" if role == "placer" else "placer"
    totals = (1 + 8 * (terms.placer_row + terms.mapper_row)) * terms.learns(other)
    return _COIN + split.buckets * one.sent(role) + compared.sent(role) + _ENOUGH + totals


def rounds(terms: Terms, *, bucket_items: int = BUCKET_ITEMS) -> int:
    """How often the direction changes, the two messages of the coin counted as crossing."""
    if terms.empty:
        return 0
    split, one, compared = _parts(terms, bucket_items)
    return _COIN_ROUNDS + split.buckets * one.rounds + compared.rounds + 2 + 2


@dataclass(frozen=True)
class Estimate:
    """What a run costs.

    Attributes:
        placer_bytes: payload bytes that the placer sends.
        mapper_bytes: payload bytes that the mapper sends.
        rounds: how often the direction changes.
        placer_core_seconds: time of one core at the placer.
        mapper_core_seconds: time of one core at the mapper.
        seconds: from beginning to end, each side on a machine of its own.
    """

    placer_bytes: int
    mapper_bytes: int
    rounds: int
    placer_core_seconds: float
    mapper_core_seconds: float
    seconds: float


def estimate(
    terms: Terms,
    *,
    threads: int = 1,
    bandwidth: float | None = None,
    latency: float = 0.0,
    bucket_items: int = BUCKET_ITEMS,
) -> Estimate:
    """What a run on these terms costs.

    Args:
        threads: cores that each side has.
        bandwidth: bytes a second of the line, each way; `None` if it does not limit.
        latency: seconds one way.

    Raises:
        AtollError: `E_TOO_LARGE` as `fit`.
    """
    if terms.empty:
        return Estimate(0, 0, 0, 0.0, 0.0, 0.0)
    split, one, compared = _parts(terms, bucket_items)
    placer, mapper = (wire_bytes(role, terms, bucket_items=bucket_items) for role in ("placer", "mapper"))
    begins = BEGIN_SECONDS * (split.buckets + 1)
    values = split.buckets * one.values + compared.values
    first = begins + PLACER_MICROSECONDS * values / 1e6
    second = (
        begins + (MAPPER_MICROSECONDS * values + ROW_MICROSECONDS * split.buckets * split.mapper_items) / 1e6
    )
    # One side waits for the other, but for what is done at two buckets at once.
    together = max(first, second) * 1.2 if split.buckets > 1 else first + second
    line = 0.0 if bandwidth is None else max(placer, mapper) / bandwidth
    count = rounds(terms, bucket_items=bucket_items)
    return Estimate(placer, mapper, count, first, second, together / threads + line + count * latency)
