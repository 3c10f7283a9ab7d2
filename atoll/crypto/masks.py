"""Pairwise masks over Z(2^128) for sums of signed integers (Bonawitz et al. 2017, no dropout recovery)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atoll import _core
from atoll.crypto.stream import check_labels, kernel_errors
from atoll.errors import AtollError

WORD_BYTES = 16
PUBLIC_BYTES = 32


def encode(values: Sequence[int]) -> bytes:
    """16 little-endian bytes per value, two's complement; `E_RANGE` outside 128 bits."""
    try:
        return b"".join(value.to_bytes(WORD_BYTES, "little", signed=True) for value in values)
    except OverflowError:
        raise AtollError("E_RANGE", "A value does not fit 128 bits.") from None


def decode(words: bytes) -> list[int]:
    """The signed integers of `encode`; `E_FORMAT` for a length that is no multiple of 16."""
    if len(words) % WORD_BYTES:
        raise AtollError("E_FORMAT", f"Values have {WORD_BYTES} bytes each, got {len(words)} bytes.")
    return [
        int.from_bytes(words[i : i + WORD_BYTES], "little", signed=True)
        for i in range(0, len(words), WORD_BYTES)
    ]


def public_key(seed: bytes, attempt: int, channel: str) -> bytes:
    """The holder's X25519 ephemeral public key (32 bytes) for one attempt on one channel."""
    check_labels(seed, attempt)
    with kernel_errors(step="pairwise-masks"):
        return _core.masks_public(seed, attempt, channel)


def masked(
    values: bytes,
    seed: bytes,
    attempt: int,
    channel: str,
    *,
    me: str,
    peers: Mapping[str, bytes],
    context: bytes,
    label: str,
) -> bytes:
    """`values` plus the masks shared with every peer, modulo 2^128.

    Args:
        values: 16 little-endian bytes each (`encode`).
        me: this holder's identifier; of a pair, the smaller identifier adds and the other subtracts.
        peers: identifier and X25519 public key (32 bytes) of every other holder; at least one.
        context: bytes that name job, attempt and holder set, the same at all holders.
        label: names this vector. A label serves one vector only: two would show their difference.

    Raises:
        AtollError: `E_FORMAT` for wrong lengths, `E_PROTOCOL` for a peer's key of small order.
    """
    check_labels(seed, attempt)
    pairs = [(name.encode(), key) for name, key in sorted(peers.items())]
    with kernel_errors(step="pairwise-masks"):
        return _core.masks_apply(values, seed, attempt, channel, me.encode(), pairs, context, label)


def unmask_sum(vectors: Sequence[bytes]) -> bytes:
    """The sum of all holders' masked vectors: signed 128-bit words, if every holder's vector is there.

    Raises:
        AtollError: `E_FORMAT` for no vector or a wrong length, `E_PROTOCOL` for unlike lengths.
    """
    with kernel_errors(step="pairwise-masks"):
        return _core.masks_sum(list(vectors))
