"""Tables of identifiers: 18 decimal digits each, and two of which a known part overlaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv

# Odd and coprime to the modulus: multiplication by it permutes the identifiers.
_STEP, _SPACE = 736_338_717_234_907, 10**15


def identifiers(first: int, count: int) -> pa.Array:
    """Identifiers number `first` to `first + count - 1`, all different, in no visible order."""
    numbers = np.arange(first, first + count, dtype=object) * _STEP % _SPACE
    return pa.array([f"110{number:015d}" for number in numbers], pa.string())


def overlapping(rows: int, number: int, others: int | None = None) -> tuple[pa.Table, pa.Table]:
    """Two tables that share half of the first one's ids, each shuffled; pair `number` has ids of its own.

    Args:
        rows: rows of the first table.
        others: rows of the second one, at least `rows`; default as many.
    """
    others = rows if others is None else others
    base = number * 2 * max(rows, others)
    pick = np.random.default_rng(number)
    left, right = identifiers(base, rows), identifiers(base + rows // 2, others)

    def table(ids: pa.Array) -> pa.Table:
        return pa.table({"id": ids.take(pa.array(pick.permutation(len(ids)))), "value": np.arange(len(ids))})

    return table(left), table(right)


def write(table: pa.Table, path: Path) -> Path:
    """The table as CSV, with every text in quotes."""
    csv.write_csv(table, path)
    return path
