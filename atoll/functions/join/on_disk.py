"""The result of a join whose keys are in files: row numbers, pairs of rows and the rows themselves through files."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atoll.crypto.files import BLOCK, FileArray, FileBytes
from atoll.data.take_on_disk import take_on_disk
from atoll.functions.context import LocalInput
from atoll.functions.join.keys import FiledKeys
from atoll.functions.join.pairs import expand
from atoll.protocols.ecdh_psi import Intersection
from atoll.protocols.rows_on_disk import rows_in_order

I64 = npt.NDArray[np.int64]


def result(
    local: LocalInput, keys: FiledKeys, found: Intersection, first: bool, columns: list[str]
) -> tuple[pa.Table | pa.RecordBatchReader, int]:
    """The result and its number of rows; it is read from the table while it is written.

    Args:
        first: whether my rows vary slowest among the pairs of a key.
        columns: of my table; none gives a result without rows.
    """
    rows, counts = rows_in_order(keys.rows, found.matched or b"", keys.count)
    if isinstance(found.peer_multiplicity, FileBytes):
        rows = expand_on_disk(rows, counts, FileArray(found.peer_multiplicity, "<u4"), first)
    return (take_on_disk(local.data, rows, columns), len(rows)) if columns else (pa.table({}), 0)


def expand_on_disk(
    mine: FileArray, my_counts: FileArray, their_counts: FileArray, first: bool, most: int = BLOCK
) -> FileArray:
    """As `expand`, `most` pairs at a time, or those of one key where it has more."""
    out = FileArray(FileBytes.scratch(mine.data.folder), "<i8")
    row = 0
    for start in range(0, len(my_counts), most):
        here, theirs = (counts[start : start + most].astype(np.int64) for counts in (my_counts, their_counts))
        ends = np.cumsum(here * theirs)
        at = 0
        while at < len(here):
            done = int(ends[at - 1]) if at else 0
            until = max(int(np.searchsorted(ends, done + most, side="right")), at + 1)
            count = int(here[at:until].sum())
            out.append(expand(mine[row : row + count], here[at:until], theirs[at:until], first))
            at, row = until, row + count
    return out
