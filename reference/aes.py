"""What is made of AES-128 under public keys or short seeds. The cipher is that of the library `cryptography`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


def permute(key: bytes, blocks: Iterable[int]) -> list[int]:
    """AES of every block; blocks are little-endian numbers."""
    data = b"".join(block.to_bytes(16, "little") for block in blocks)
    # Block by block: a permutation, no encryption of anything.
    out = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(data)  # noqa: S305
    return [int.from_bytes(out[i : i + 16], "little") for i in range(0, len(out), 16)]


def counter(key: bytes, count: int, first: int = 0) -> list[int]:
    """Blocks of counter mode, little-endian, from block `first` on."""
    return permute(key, range(first, first + count))


def tweaked(key: bytes, tweaks: Iterable[int], blocks: list[int]) -> list[int]:
    """p(p(x) ^ i) ^ p(x) of every tweak i and block x (eprint 2019/074, section 7.4)."""
    once = permute(key, blocks)
    twice = permute(key, [i ^ x for i, x in zip(tweaks, once, strict=True)])
    return [a ^ b for a, b in zip(once, twice, strict=True)]


def key_of(label: bytes, context: bytes) -> bytes:
    """The public key of one purpose in one run of a correlation."""
    return hashlib.sha256(bytes([len(label)]) + label + context).digest()[:16]
