"""Tables of identifiers: 18 decimal digits each, and two of which a known part overlaps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as csv

# Odd and coprime to the modulus: multiplication by it permutes the identifiers.
_STEP, _SPACE = 736_338_717_234_907, 10**15
_BATCH = 1 << 16


def identifiers(first: int, count: int) -> pa.Array:
    """Identifiers number `first` to `first + count - 1`, all different, in no visible order."""
    numbers = np.arange(first, first + count, dtype=object) * _STEP % _SPACE
    return pa.array([f"110{number:015d}" for number in numbers], pa.string())


def _texts(numbers: npt.NDArray[np.int64]) -> pa.Array:
    """`110` and 15 digits of each number below 10^15."""
    digits = np.empty((len(numbers), 18), np.uint8)
    digits[:, :3] = np.frombuffer(b"110", np.uint8)
    left = numbers.copy()
    for place in range(17, 2, -1):
        left, digits[:, place] = np.divmod(left, 10)
    digits[:, 3:] += ord("0")
    offsets = pa.py_buffer(np.arange(len(numbers) + 1, dtype=np.int32) * 18)
    return pa.StringArray.from_buffers(len(numbers), offsets, pa.py_buffer(digits))


def _ids(numbers: npt.NDArray[np.int64]) -> pa.Array:
    """The identifiers of these numbers below 2^31, as `identifiers`: a product of 81 bits, in two halves."""
    high, low = numbers >> 13, numbers & 8191
    # Each number of the high half comes with many of the low one.
    starts, where = np.unique(high, return_inverse=True)
    products = np.array([int(start) * 8192 * _STEP % _SPACE for start in starts], np.int64)
    return _texts((products[where] + low * _STEP % _SPACE) % _SPACE)


def _batches(first: int, count: int, turn: float) -> Iterator[pa.RecordBatch]:
    """`count` identifiers from number `first`, each once, in an order that jumps through all of them."""
    step = int(count * turn) | 1
    while math.gcd(step, count) > 1:
        step += 2
    for start in range(0, count, _BATCH):
        at = np.arange(start, min(start + _BATCH, count), dtype=np.int64)
        yield pa.record_batch({"id": _ids(first + at * step % count), "value": at})


def write_overlapping(rows: int, others: int, left: Path, right: Path) -> None:
    """Two CSV files that share half of the first one's ids, written batch by batch: memory does not follow the rows.

    Args:
        rows: rows of the first table, at most 2^29.
        others: rows of the second one, at least `rows`, at most 2^29.
    """
    for path, first, count, turn in ((left, 0, rows, 0.618034), (right, rows // 2, others, 0.754878)):
        parts = _batches(first, count, turn)
        head = next(parts)
        with csv.CSVWriter(path, head.schema) as writer:
            writer.write(head)
            for part in parts:
                writer.write(part)


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
