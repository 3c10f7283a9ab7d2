"""Large sets split into buckets that two parties join one by one, padded so that their loads tell nothing."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import numpy as np
import numpy.typing as npt

from atoll.crypto.psi import partition
from atoll.crypto.stream import stream_bytes
from atoll.errors import AtollError

BUCKET_ITEMS = 1 << 20
TAIL_BITS = 41
U32 = npt.NDArray[np.uint32]


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


class Buckets:
    """A set in buckets. Fillers are random digests of this party's stream, which nobody else holds.

    Args:
        digests: 32 bytes per distinct key.
        multiplicity: u32 little-endian per key, or `None`.
        key: 32 bytes that both sides have and nobody could choose; places the items.
        buckets: number of buckets.
        capacity: items that every bucket is padded to.

    Raises:
        AtollError: `E_STATE` if a bucket is over its capacity (probability 2^-41).
    """

    def __init__(
        self,
        digests: bytes,
        multiplicity: bytes | None,
        *,
        key: bytes,
        buckets: int,
        capacity: int,
        threads: int,
    ) -> None:
        self._whole = Bucket(digests, multiplicity, np.empty(0, np.uint32))
        self._capacity = capacity
        self.buckets = buckets
        if buckets == 1:
            return
        order, loads = partition(digests, key, buckets, threads=threads)
        if max(loads) > capacity:
            raise AtollError("E_STATE", "A bucket is over its bound; a new attempt draws another coin.")
        self._order = np.frombuffer(order, dtype="<u4")
        self._ends = np.cumsum(loads)

    def take(self, number: int, *, seed: bytes, attempt: int, name: str) -> Bucket:
        """The bucket of that number; `seed`, `attempt` and `name` give its fillers."""
        whole = self._whole
        if self.buckets == 1:
            return Bucket(
                whole.digests, whole.multiplicity, np.arange(len(whole.digests) // 32, dtype=np.uint32)
            )
        end = int(self._ends[number])
        items = self._order[int(self._ends[number - 1]) if number else 0 : end]
        fillers = self._capacity - len(items)
        rows = np.frombuffer(whole.digests, dtype="V32")[items]
        digests = rows.tobytes() + stream_bytes(seed, attempt, name, "psi-buckets/fillers", 32 * fillers)
        multiplicity = None
        if whole.multiplicity is not None:
            counts = np.frombuffer(whole.multiplicity, dtype="<u4")[items]
            multiplicity = np.concatenate((counts, np.ones(fillers, "<u4"))).astype("<u4").tobytes()
        return Bucket(digests, multiplicity, items)
