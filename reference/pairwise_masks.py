"""Pairwise masks (Bonawitz et al. 2017, section 4) in plain Python, with X25519 of RFC 7748."""

from __future__ import annotations

from reference.stream import Stream

P = 2**255 - 19
BASE = (9).to_bytes(32, "little")


def x25519(scalar: bytes, u: bytes) -> bytes:
    """RFC 7748, section 5: the Montgomery ladder."""
    k = int.from_bytes(scalar, "little") & ~7 & ~(1 << 255) | 1 << 254
    x1 = int.from_bytes(u, "little") % 2**255
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a, b * b, d * a, c * b
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


def secret_key(seed: bytes, attempt: int, channel: str) -> bytes:
    return Stream.of_step(seed, attempt, channel, "pairwise-masks/x25519").take(32)


def masked(
    values: list[int], me: str, secret: bytes, keys: dict[str, bytes], context: bytes, label: str
) -> bytes:
    """`values` plus one mask per other holder in `keys` (all public keys), modulo 2^128."""
    sums = list(values)
    for other in keys:
        if other == me:
            continue
        shared = x25519(secret, keys[other])
        if shared == bytes(32):
            raise ValueError("small order")
        low, high = sorted((me, other))
        labels = [b"pairwise-masks/v1", context, low.encode(), keys[low], high.encode(), keys[high]]
        stream = Stream(shared, [*labels, label.encode()])
        sign = 1 if me == low else -1
        sums = [s + sign * int.from_bytes(stream.take(16), "little") for s in sums]
    return b"".join((s % 2**128).to_bytes(16, "little") for s in sums)
