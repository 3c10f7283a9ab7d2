"""From matched keys to the rows that have them, where neither fits in memory: as `rows`, through files.

Ascending rows take one pass with a bit for each key. In the order of the matches, (key, place) and (key, row) are cut
into ranges of keys, joined range by range into (place, row), and these cut into ranges of places and sorted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from atoll.crypto.files import BLOCK, Bytes, FileArray, FileBytes
from atoll.crypto.spool import MOST_PARTS, Spool
from atoll.protocols.rows import NO_KEY

U32 = npt.NDArray[np.uint32]
_SPAN = 1 << 19
_PAIR = np.dtype([("to", "<u4"), ("value", "<u4")])


def _blocks(numbers: Bytes) -> Iterator[tuple[int, U32]]:
    """u32 in blocks, each with the index of its first."""
    for start in range(0, len(numbers) // 4, BLOCK):
        yield start, np.frombuffer(numbers[4 * start : 4 * (start + BLOCK)], "<u4")


class _Hits:
    """One bit for each key: whether it matched."""

    def __init__(self, matched: Bytes, keys: int) -> None:
        self._bits = np.zeros(-(-keys // 8), np.uint8)
        for _, block in _blocks(matched):
            np.bitwise_or.at(self._bits, block >> 3, np.uint8(1) << (block & 7).astype(np.uint8))

    def rows(self, keys: U32) -> npt.NDArray[np.intp]:
        """Which of these rows' keys matched."""
        having = np.flatnonzero(keys != NO_KEY)
        chosen = keys[having]
        bits = self._bits[chosen >> 3] >> (chosen & 7).astype(np.uint8) & 1
        out: npt.NDArray[np.intp] = having[bits.astype(np.bool_)]
        return out


def rows_of(rows: FileBytes, matched: Bytes, keys: int) -> FileArray:
    """Numbers of the rows whose key matched, ascending, int64, in a file without a name beside `rows`.

    Args:
        rows: u32 for each row, the index of its key, or `NO_KEY`.
        matched: u32 indices of the matched keys, each below `keys` and once.
        keys: number of distinct keys.
    """
    hits, out = _Hits(matched, keys), FileArray(FileBytes.scratch(rows.folder), "<i8")
    for start, block in _blocks(rows):
        out.append(hits.rows(block) + start)
    return out


def _ranges(count: int, span: int) -> int:
    """The least length of ranges that so many things may be cut into: `span`, unless there would be too many."""
    return max(span, -(-count // MOST_PARTS))


def rows_in_order(
    rows: FileBytes, matched: Bytes, keys: int, span: int = _SPAN
) -> tuple[FileArray, FileArray]:
    """Rows of each matched key in the order of `matched`, int64, and how many rows each matched key has, int64.

    Rows of one key stand in the order of the table. Arguments as for `rows_of`. In memory are the rows of at most
    `span` matched keys at a time.

    Args:
        span: keys, and places, that are sorted at once.
    """
    folder, places = rows.folder, len(matched) // 4
    out, counts = (FileArray(FileBytes.scratch(folder), "<i8") for _ in range(2))
    if not places:
        return out, counts
    by_place = _placed(rows, matched, keys, span)
    width = _ranges(places, span)
    for part in range(by_place.parts):
        found = by_place.take(part)
        # Rows of one key come ascending.
        out.append(found["value"][np.argsort(found["to"], kind="stable")])
        here = min(width, places - part * width)
        counts.append(np.bincount(found["to"] - np.uint32(part * width), minlength=here))
    by_place.close()
    return out, counts


def _placed(rows: FileBytes, matched: Bytes, keys: int, span: int) -> Spool:
    """(place, row) for each matched row, by ranges of places."""
    folder, places = rows.folder, len(matched) // 4
    key_width, place_width = _ranges(keys, span), _ranges(places, span)
    key_parts = -(-keys // key_width)
    of_matches, of_rows = (Spool(folder, _PAIR, key_parts) for _ in range(2))
    for start, block in _blocks(matched):
        places_here = np.arange(start, start + len(block))
        of_matches.append(_pairs(block, places_here), block // key_width)
    hits = _Hits(matched, keys)
    for start, block in _blocks(rows):
        hit = hits.rows(block)
        of_rows.append(_pairs(block[hit], hit + start), block[hit] // key_width)
    by_place = Spool(folder, _PAIR, -(-places // place_width))
    for part in range(key_parts):
        matches = of_matches.take(part)
        place = np.zeros(key_width, np.uint32)
        place[matches["to"] - np.uint32(part * key_width)] = matches["value"]
        for found in of_rows.pieces(part, span):
            to = place[found["to"] - np.uint32(part * key_width)]
            by_place.append(_pairs(to, found["value"]), to // place_width)
    of_matches.close()
    of_rows.close()
    return by_place


def _pairs(to: npt.NDArray[Any], value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    pairs = np.empty(len(to), _PAIR)
    pairs["to"], pairs["value"] = to, value
    return pairs
