"""Large sets split into buckets that two parties join one by one, padded so that their loads tell nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from atoll.crypto.files import Bytes, FileBytes, whole
from atoll.crypto.psi import partition
from atoll.crypto.spool import Spool
from atoll.crypto.stream import stream_bytes
from atoll.errors import AtollError

BUCKET_ITEMS = 1 << 20
TAIL_BITS = 41
U32 = npt.NDArray[np.uint32]
_Place: TypeAlias = Callable[[bytes], tuple[bytes, list[int]]]
# Keys of a file that are placed at once.
_CHUNK = 1 << 18


def count(mine: int, peer: int, bucket_items: int = BUCKET_ITEMS) -> int:
    """Buckets that two sets are split into: as many as the larger one fills, at least one."""
    return max(-(-max(mine, peer) // bucket_items), 1)


def capacity(items: int, buckets: int, together: int = 1) -> int:
    """Items that every bucket is padded to, from public numbers and in integers, so that both sides agree.

    A bucket's load is binomial with mean m = items / buckets. By Bernstein's inequality it is over m + t with
    probability below exp(-t² / (2 (m + t/3))); t is such that any of the buckets of a side is over with at most
    2^-41. Where up to w items have one key and fall together, no summand is above w and the variance is at most w m, so
    that the exponent is divided by w.

    Args:
        together: w, at least 1.
    """
    if buckets == 1:
        return items
    mean = -(-items // buckets)
    # ln(2^41 buckets), rounded up, times w.
    log = -(-6932 * (TAIL_BITS + (buckets - 1).bit_length()) // 10_000) * together
    over = log // 3 + 1 + isqrt(log * log // 9 + 1 + 2 * log * mean) + 1
    return min(items, mean + over)


@dataclass(frozen=True)
class Bucket:
    """One bucket of one side.

    Attributes:
        digests: 32 bytes an item, fillers last.
        multiplicity: u32 little-endian an item, if rows are counted; a filler stands on one row.
        items: indices of the items among all of this side's.
    """

    digests: bytes
    multiplicity: bytes | None
    items: U32


class _Held:
    """A set in memory, and the order of its items by bucket."""

    def __init__(self, digests: bytes, multiplicity: bytes | None, place: _Place) -> None:
        self._digests, self._multiplicity = digests, multiplicity
        order, loads = place(digests)
        self.loads = np.array(loads, np.int64)
        self._order = np.frombuffer(order, dtype="<u4")
        self._ends = np.cumsum(self.loads)

    def take(self, number: int) -> tuple[bytes, U32 | None, U32]:
        """Digests, multiplicities and indices of a bucket."""
        end = int(self._ends[number])
        items = self._order[end - int(self.loads[number]) : end]
        digests = np.frombuffer(self._digests, dtype="V32")[items].tobytes()
        if self._multiplicity is None:
            return digests, None, items
        return digests, np.frombuffer(self._multiplicity, dtype="<u4")[items], items


class _Spooled:
    """A set in files, cut by bucket into a spool beside them."""

    def __init__(self, digests: FileBytes, multiplicity: Bytes | None, place: _Place, buckets: int) -> None:
        fields = [("digest", "V32"), ("item", "<u4")]
        self._counted = multiplicity is not None
        self._spool = Spool(digests.folder, fields + [("count", "<u4")] * self._counted, buckets)
        self.loads = np.zeros(buckets, np.int64)
        for start in range(0, len(digests) // 32, _CHUNK):
            part = digests[32 * start : 32 * (start + _CHUNK)]
            order, loads = place(part)
            self.loads += np.array(loads, np.int64)
            records = np.empty(len(part) // 32, self._spool.dtype)
            records["digest"] = np.frombuffer(part, "V32")
            records["item"] = np.arange(start, start + len(records))
            if multiplicity is not None:
                records["count"] = np.frombuffer(multiplicity[4 * start : 4 * (start + len(records))], "<u4")
            self._spool.append_sorted(records[np.frombuffer(order, "<u4")], loads)

    def take(self, number: int) -> tuple[bytes, U32 | None, U32]:
        """Digests, multiplicities and indices of a bucket."""
        records = self._spool.take(number)
        counts = records["count"] if self._counted else None
        return records["digest"].tobytes(), counts, records["item"].astype(np.uint32)


class Buckets:
    """A set in buckets. Fillers are random digests of this party's stream, which nobody else holds.

    Args:
        digests: 32 bytes per distinct key. Those in a file are read once and written beside it by bucket, in a file
            without a name; then a bucket alone is in memory. The buckets are the same.
        multiplicity: u32 little-endian per key, or `None`.
        key: 32 bytes that both sides have and nobody could choose; places the items.
        buckets: number of buckets.
        capacity: items that every bucket is padded to.

    Raises:
        AtollError: `E_STATE` if a bucket is over its capacity (probability 2^-41); `E_DISK` if the disk is full.
    """

    def __init__(
        self,
        digests: Bytes,
        multiplicity: Bytes | None,
        *,
        key: bytes,
        buckets: int,
        capacity: int,
        threads: int,
    ) -> None:
        self._digests, self._multiplicity = digests, multiplicity
        self._capacity = capacity
        self.buckets = buckets
        if buckets == 1:
            return

        def place(part: bytes) -> tuple[bytes, list[int]]:
            return partition(part, key, buckets, threads=threads)

        self._placed: _Held | _Spooled
        if isinstance(digests, FileBytes):
            self._placed = _Spooled(digests, multiplicity, place, buckets)
        else:
            self._placed = _Held(digests, None if multiplicity is None else whole(multiplicity), place)
        if int(self._placed.loads.max()) > capacity:
            raise AtollError("E_STATE", "A bucket is over its bound; a new attempt draws another coin.")

    def take(self, number: int, *, seed: bytes, attempt: int, name: str) -> Bucket:
        """The bucket of that number; `seed`, `attempt` and `name` give its fillers."""
        if self.buckets == 1:
            counted = None if self._multiplicity is None else whole(self._multiplicity)
            digests = whole(self._digests)
            return Bucket(digests, counted, np.arange(len(digests) // 32, dtype=np.uint32))
        digests, counts, items = self._placed.take(number)
        fillers = self._capacity - len(items)
        digests += stream_bytes(seed, attempt, name, "psi-buckets/fillers", 32 * fillers)
        multiplicity = None
        if counts is not None:
            multiplicity = np.concatenate((counts, np.ones(fillers, "<u4"))).astype("<u4").tobytes()
        return Bucket(digests, multiplicity, items)
