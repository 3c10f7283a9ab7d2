"""The parts of PSI from VOLE that two implementations must have alike, with hashlib and plain integers.

The oblivious pseudo-random function of Rindal and Schoppmann (eprint 2021/266) for a store with an explicit matrix M
over GF(2): receiver and sender compute H(<M_x, c> ^ w, x) and H(<M_x, k> ^ delta h(x) ^ w, x).
"""

from __future__ import annotations

import hashlib
import struct

POLYNOMIAL = 0x87


def multiply(a: int, b: int) -> int:
    """Product in GF(2^128), polynomial basis, x^128 + x^7 + x^2 + x + 1, bit i for x^i."""
    product = 0
    for i in range(128):
        if b >> i & 1:
            product ^= a << i
    for i in range(product.bit_length() - 1, 127, -1):
        if product >> i & 1:
            product ^= (1 << i) ^ (POLYNOMIAL << (i - 128))
    return product


def digest(*fields: bytes) -> bytes:
    return hashlib.sha256(b"".join(struct.pack("<Q", len(f)) + f for f in fields)).digest()


def run(context: bytes, receiver: int, sender: int, malicious: bool, short: bool, both: bool) -> bytes:
    """The 32-byte name of a run."""
    numbers = struct.pack("<Q", receiver), struct.pack("<Q", sender)
    return digest(b"atoll vole-psi run v1", context, *numbers, bytes([malicious, short, both]))


def oracle(label: bytes, name: bytes, tail: bytes) -> bytes:
    return hashlib.sha256(label.ljust(32, b"\0") + name + tail).digest()


def item(name: bytes, key: bytes, bits: int) -> tuple[int, int]:
    """Key of the store and value of an item."""
    out = oracle(b"atoll vole-psi item v1", name, key)
    return int.from_bytes(out[:16], "little"), int.from_bytes(out[16:], "little") % 2**bits


def tag(name: bytes, key: bytes, output: int) -> tuple[bytes, bytes]:
    """Tag (16 bytes, cut on the wire) and proof of a match."""
    out = oracle(b"atoll vole-psi tag v1", name, output.to_bytes(16, "little") + key)
    return out[:16], out[-12:]


def commitment(name: bytes, opening: bytes) -> bytes:
    return oracle(b"atoll vole-psi commitment v1", name, opening)


def bucket(secret: bytes, key: bytes, buckets: int) -> int:
    out = oracle(b"atoll psi buckets v1", secret, key)
    return int.from_bytes(out[:8], "big") * buckets >> 64


def value_bits(receiver: int, sender: int) -> int:
    """40 bits and the logarithms of both sizes, rounded up, in whole bytes."""
    bits = 40 + sum(next(i for i in range(65) if 2**i >= n) for n in (receiver, sender))
    return min(-(-bits // 8) * 8, 128)


def outputs(rows: list[list[int]], slots: list[int], values: list[int], delta: int, offset: int) -> list[int]:
    """Field elements under the hash: `slots` summed over each row, with delta times the value and the offset."""
    found = []
    for row, value in zip(rows, values, strict=True):
        total = multiply(delta, value) ^ offset
        for at in row:
            total ^= slots[at]
        found.append(total)
    return found
