"""How many keys changed between two versions of a table, from their 32-byte key digests.

The digests are made by the key module (normalised keys, hashed); this module only counts. An asker whose
table changes by a few keys between two runs could learn from the difference of the answers about exactly
these keys, which is why the policy wants the number.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from atoll.crypto.files import BLOCK, FileBytes
from atoll.crypto.spool import Spool
from atoll.errors import AtollError

DIGEST_BYTES = 32
_BLOCK = 1 << 20
_PARTS = 256
_Buffer = bytes | bytearray | memoryview
_Words = npt.NDArray[np.uint64]  # shape (keys, 4): the digests as four words each
_Order = npt.NDArray[np.intp]


class Changes(NamedTuple):
    """Distinct keys that are only in the new version, and only in the old one."""

    added: int
    removed: int


def _words(digests: _Buffer) -> _Words:
    view = memoryview(digests).cast("B")
    if len(view) % DIGEST_BYTES:
        raise AtollError(
            "E_FORMAT", f"{len(view)} bytes are not a whole number of {DIGEST_BYTES}-byte digests"
        )
    return np.frombuffer(view, dtype="<u8").reshape(-1, 4)


def _equal(one: _Words, at: _Order, other: _Words, there: _Order) -> npt.NDArray[np.bool_]:
    """Whether row `at[i]` of `one` is row `there[i]` of `other`, for each i; a block at a time."""
    found = np.empty(len(at), dtype=np.bool_)
    for start in range(0, len(at), _BLOCK):
        part = slice(start, start + _BLOCK)
        found[part] = (one[at[part]] == other[there[part]]).all(axis=1)
    return found


def _distinct(words: _Words) -> _Order | None:
    """Rows of the distinct digests in order of their first word; None if two digests share only that word."""
    order = np.argsort(words[:, 0])
    first = words[order, 0]
    repeated = np.flatnonzero(first[1:] == first[:-1])
    if len(repeated) == 0:
        return order
    if not _equal(words, order[repeated], words, order[repeated + 1]).all():
        return None
    return np.delete(order, repeated)


def count_changes(old: _Buffer, new: _Buffer) -> Changes:
    """Counts the keys added and removed from `old` to `new`, in about 45 bytes a key beyond the buffers.

    Digests are sorted by their first 64 bits and compared by all 256. Where two different ones share the first 64,
    which takes 2^32 tries on purpose, they are counted by a hash table, which takes more memory.

    Args:
        old, new: 32-byte digests one after the other, in any order; repeated ones count once.

    Raises:
        AtollError: `E_FORMAT` if a buffer's length is not a multiple of 32.
    """
    before, after = _words(old), _words(new)
    a, b = _distinct(before), _distinct(after)
    if a is None or b is None:
        return _by_hashing(old, new)
    if len(a) == 0 or len(b) == 0:
        return Changes(len(b), len(a))
    at = np.searchsorted(before[a, 0], after[b, 0])
    at[at == len(a)] = 0
    kept = int(_equal(after, b, before, a[at]).sum())
    return Changes(len(b) - kept, len(a) - kept)


def _by_hashing(old: _Buffer, new: _Buffer) -> Changes:
    before, after = (
        pc.unique(
            pa.Array.from_buffers(
                pa.binary(DIGEST_BYTES), len(memoryview(b).cast("B")) // DIGEST_BYTES, [None, pa.py_buffer(b)]
            )
        )
        for b in (old, new)
    )
    kept: int = pc.sum(pc.is_in(after, value_set=before)).as_py() or 0
    return Changes(len(after) - kept, len(before) - kept)


def count_file_changes(old: FileBytes, new: FileBytes) -> Changes:
    """As `count_changes`, of digests in files: the 256th part is in memory, and a copy of both on disk beside `new`.

    Raises:
        AtollError: `E_FORMAT` as there; `E_DISK` if the disk is full.
    """
    cut = [_cut(digests, new) for digests in (old, new)]
    added = removed = 0
    for part in range(_PARTS):
        before, after = (memoryview(spool.take(part).tobytes()) for spool in cut)
        found = count_changes(before, after)
        added, removed = added + found.added, removed + found.removed
    return Changes(added, removed)


def _cut(digests: FileBytes, beside: FileBytes) -> Spool:
    """Digests by their last byte: equal ones lie in one part."""
    if len(digests) % DIGEST_BYTES:
        raise AtollError(
            "E_FORMAT", f"{len(digests)} bytes are not a whole number of {DIGEST_BYTES}-byte digests"
        )
    spool = Spool(beside.folder, f"V{DIGEST_BYTES}", _PARTS)
    for start in range(0, len(digests), DIGEST_BYTES * BLOCK):
        piece = digests[start : start + DIGEST_BYTES * BLOCK]
        last = np.frombuffer(piece, np.uint8)[DIGEST_BYTES - 1 :: DIGEST_BYTES]
        spool.append(np.frombuffer(piece, spool.dtype), last)
    return spool
