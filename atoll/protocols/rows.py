"""From matched keys to the rows that have them. Works through rows in blocks, and sorts only what matched."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

U32 = npt.NDArray[np.uint32]
I64 = npt.NDArray[np.int64]

NO_KEY = 2**32 - 1
_BLOCK = 1 << 20


def rows_of(rows: U32, matched: U32, keys: int) -> I64:
    """Numbers of the rows whose key matched, ascending.

    Args:
        rows: for each row the index of its key, or `NO_KEY`.
        matched: indices of the matched keys, each below `keys` and once.
        keys: number of distinct keys.
    """
    hit = np.zeros(keys, dtype=np.bool_)
    hit[matched] = True
    parts = []
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        has_key = part != NO_KEY
        if has_key.all():
            found = np.flatnonzero(hit[part])
        else:
            found = np.flatnonzero(has_key)
            found = found[hit[part[found]]]
        parts.append(found + start)
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def rows_in_order(rows: U32, matched: U32, keys: int) -> tuple[I64, I64]:
    """Rows of each matched key in the order of `matched`, and how many rows each matched key has.

    Rows of one key stand in the order of the table. Arguments as for `rows_of`.
    """
    found = rows_of(rows, matched, keys)
    place = np.zeros(keys, dtype=np.uint32)
    place[matched] = np.arange(len(matched), dtype=np.uint32)
    places = place[rows[found]]
    if len(found) == len(matched):
        # Every matched key has at least one row, so here each has one: no sorting.
        out = np.empty(len(found), dtype=np.int64)
        out[places] = found
        return out, np.ones(len(matched), dtype=np.int64)
    counts = np.bincount(places, minlength=len(matched)).astype(np.int64)
    return found[np.argsort(places, kind="stable")], counts
