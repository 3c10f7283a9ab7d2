"""Whether the keys of a join are held in memory or stay in files, by what the worker may take of memory."""

from __future__ import annotations

from atoll.errors import AtollError
from atoll.plan.operators import psi

WORKER_BYTES = 120 << 20
"""What a worker takes before any key."""
SMALL_KEYS = psi.BUCKET_KEYS
"""Up to so many keys on either side there is one bucket, and nothing is weighed: a worker tries."""
# Of a key in memory: digest, order, row and multiplicity, result. Of one in the machine of a bucket: measured.
_HELD, _IN_BUCKET, _BARE = 56, 320, 40
# Chunks of keys on their way through the files.
_PIECES = 96 << 20


def held_bytes(keys: int) -> int:
    """What a worker takes that holds the keys of the fast join; the larger side has so many."""
    return WORKER_BYTES + _HELD * keys + _IN_BUCKET * min(keys, psi.BUCKET_KEYS)


def filed_bytes(keys: int) -> int:
    """What a worker takes that reads them bucket by bucket: a bit for each key, beside one bucket."""
    return WORKER_BYTES + _PIECES + keys // 8 + _IN_BUCKET * min(keys, psi.BUCKET_KEYS)


def in_files(mine: int, peer: int, memory: int, step: str) -> bool:
    """Whether a fast join leaves the keys in files. What it sends and finds does not depend on it.

    Args:
        memory: bytes that the worker may take.

    Raises:
        AtollError: `E_MEMORY` if it fits neither way.
    """
    larger = max(mine, peer)
    if larger <= SMALL_KEYS or held_bytes(larger) <= memory:
        return False
    refuse(filed_bytes(larger), memory, f"a join of {mine} and {peer} keys from files", step)
    return True


def check_held(keys: int, memory: int, step: str) -> None:
    """`E_MEMORY` if that many keys do not fit, for protocols that take them all at once."""
    if keys > SMALL_KEYS:
        refuse(WORKER_BYTES + _BARE * keys, memory, f"{keys} keys, which this protocol takes at once,", step)


def refuse(need: int, memory: int, what: str, step: str) -> None:
    """`E_MEMORY` if `what` needs more bytes than there are."""
    if need > memory:
        raise AtollError(
            "E_MEMORY",
            f"{what} would take at least {need >> 20} MiB of memory; the worker has {memory >> 20} MiB",
            step=step,
            cure="Raise jobs.memory_bytes, or the plan's memory_bytes where that is less.",
        )
