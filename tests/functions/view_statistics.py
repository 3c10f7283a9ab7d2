"""Statistics of what a party sees: of two samples, or of one against the uniform distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

# 255 degrees of freedom: a statistic above this comes about with probability below 1e-8.
BYTES_BOUND = 400
# Standard deviations: one of some thousand bits has a mean farther away than this with probability below 1e-4.
TILT_BOUND = 6
Bits = npt.NDArray[np.uint8]


def byte_counts(data: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """How often each value of a byte stands in the data."""
    return np.bincount(np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8), minlength=256)


def uniformity(data: npt.NDArray[Any]) -> float:
    """Chi-square of the values of bytes."""
    counts = byte_counts(data)
    expected = counts.sum() / 256
    return float(((counts - expected) ** 2 / expected).sum())


def _homogeneity(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> tuple[float, int]:
    """Chi-square of the values of bytes in two samples, and its degrees of freedom."""
    table = np.array([byte_counts(one), byte_counts(other)], float)
    table = table[:, table.any(0)]
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    return float(((table - expected) ** 2 / expected).sum()), table.shape[1] - 1


def difference(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """Chi-square of homogeneity of the values of bytes in two samples, where every value stands in one of them."""
    return _homogeneity(one, other)[0]


def unlikeness(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """The same in standard deviations, however many values there are (Wilson and Hilferty, 1931)."""
    found, freedom = _homogeneity(one, other)
    if not freedom:
        return 0.0
    spread = 2 / (9 * freedom)
    return float(((found / freedom) ** (1 / 3) - (1 - spread)) / spread**0.5)


def leaning(bits: Bits) -> float:
    """The largest distance of a column's mean from 1/2, in standard deviations; an entry is one bit."""
    ones = bits.sum(0, dtype=np.int64)
    return float(np.abs((ones - len(bits) / 2) / (len(bits) / 4) ** 0.5).max())


def tilted(rows: Bits) -> float:
    """The same of the bits of each row of bytes."""
    return leaning(np.unpackbits(rows, axis=1))
