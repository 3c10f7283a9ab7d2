"""Labelled randomness in plain Python: HKDF-SHA256 (RFC 5869), then ChaCha20 (RFC 8439)."""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterable


def hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """32 bytes of HKDF-SHA256."""
    key = hmac.digest(salt, secret, "sha256")
    return hmac.digest(key, info + b"\x01", "sha256")


def chacha20_block(key: bytes, counter: int) -> bytes:
    """RFC 8439, section 2.3, with a nonce of zeros."""
    start = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), counter, 0, 0, 0]
    x = list(start)

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for i, j, k, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[i] = (x[i] + x[j]) % 2**32
            v = x[k] ^ x[i]
            x[k] = (v << turn | v >> (32 - turn)) % 2**32

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<16I", *((a + b) % 2**32 for a, b in zip(x, start, strict=True)))


class Stream:
    """The stream of a secret under length-prefixed labels."""

    def __init__(self, secret: bytes, labels: Iterable[bytes]) -> None:
        info = b"".join(struct.pack(">I", len(label)) + label for label in labels)
        self.key = hkdf(secret, b"atoll stream v1", info)
        self.counter = 0
        self.rest = b""

    @classmethod
    def of_step(cls, seed: bytes, attempt: int, channel: str, step: str) -> Stream:
        return cls(seed, [struct.pack(">I", attempt), channel.encode(), step.encode()])

    def take(self, n: int) -> bytes:
        while len(self.rest) < n:
            self.rest += chacha20_block(self.key, self.counter)
            self.counter += 1
        out, self.rest = self.rest[:n], self.rest[n:]
        return out

    def below(self, bound: int) -> int:
        """Rejects the first 2^64 mod bound draws, so that no residue is favoured."""
        while (draw := int.from_bytes(self.take(8), "little")) < 2**64 % bound:
            pass
        return draw % bound

    def permutation(self, n: int) -> list[int]:
        order = list(range(n))
        for last in range(n - 1, 0, -1):
            pick = self.below(last + 1)
            order[last], order[pick] = order[pick], order[last]
        return order
