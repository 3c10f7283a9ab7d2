"""How many keys changed between two versions of a table, from their 32-byte key digests.

The digests are made by the key module (normalised keys, hashed); this module only counts. An asker whose
table changes by a few keys between two runs could learn from the difference of the answers about exactly
these keys, which is why the policy wants the number.
"""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from atoll.errors import AtollError

DIGEST_BYTES = 32
_Buffer = bytes | bytearray | memoryview


class Changes(NamedTuple):
    """Distinct keys that are only in the new version, and only in the old one."""

    added: int
    removed: int


def _array(digests: _Buffer) -> pa.Array:
    view = memoryview(digests).cast("B")
    if len(view) % DIGEST_BYTES:
        raise AtollError(
            "E_FORMAT", f"{len(view)} bytes are not a whole number of {DIGEST_BYTES}-byte digests"
        )
    count = len(view) // DIGEST_BYTES
    kind = pa.binary(DIGEST_BYTES)
    return (
        pc.unique(pa.Array.from_buffers(kind, count, [None, pa.py_buffer(view)]))
        if count
        else pa.array([], kind)
    )


def count_changes(old: _Buffer, new: _Buffer) -> Changes:
    """Counts the keys added and removed from `old` to `new`.

    Args:
        old, new: 32-byte digests one after the other, in any order; repeated ones count once.

    Raises:
        AtollError: `E_FORMAT` if a buffer's length is not a multiple of 32.
    """
    before, after = _array(old), _array(new)
    kept: int = pc.sum(pc.is_in(after, value_set=before)).as_py() or 0
    return Changes(len(after) - kept, len(before) - kept)
