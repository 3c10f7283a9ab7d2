"""A hash chain over the messages of one channel in one direction.

It depends on the messages alone: not on how they were cut into pieces, on dropped connections or on
threads. Both ends compute the same value, so a receipt that states it binds both.
"""

from __future__ import annotations

import hashlib

ALGORITHM = "sha256"
SIZE = 32


def start(job: str, attempt: int, channel: str, sender: str) -> bytes:
    """The chain before its first message; `sender` is the sending party's key identifier."""
    parts = [b"atoll channel v1", job.encode(), str(attempt).encode(), channel.encode(), sender.encode()]
    return hashlib.sha256(b"".join(len(p).to_bytes(4, "big") + p for p in parts)).digest()


def extend(chain: bytes, sequence: int, step: str, payload: bytes) -> bytes:
    """The chain after one more message."""
    label = step.encode()
    digest = hashlib.sha256(chain)
    digest.update(sequence.to_bytes(8, "big") + len(label).to_bytes(4, "big") + label)
    digest.update(len(payload).to_bytes(8, "big"))
    digest.update(payload)
    return digest.digest()


def write(chain: bytes) -> str:
    """`sha256:…` of a chain."""
    return f"{ALGORITHM}:{chain.hex()}"
