"""AES-128 as a circuit, garbled with half gates (docs/protocols/lookup-totals.md), gate by gate.

Zahur, Rosulek and Evans (eprint 2014/756); the S-box is an inversion in the tower GF(2), GF(4), GF(16), GF(256),
where each field is u^2 = u + v over the one before. A wire holds one label for each of 16 bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache

from reference.aes import tweaked

LANES, ROUNDS, SBOX_GATES = 16, 10, 36
ANDS = LANES * ROUNDS * SBOX_GATES
# v of each field of the tower, by its bits; an element of the field below.
CONSTANT = {2: 1, 4: 2, 8: 8}
Wire = list[int]
Half = str
BITS, WORD, UNUSED = "bits", "word", "unused"


def product(a: int, b: int, bits: int) -> int:
    """In the field of so many bits."""
    if bits == 1:
        return a & b
    half = bits // 2
    low_mask = 2**half - 1
    a0, a1, b0, b1 = a & low_mask, a >> half, b & low_mask, b >> half
    # (a1 u + a0)(b1 u + b0) with u^2 = u + v.
    low = product(a0, b0, half) ^ product(product(a1, b1, half), CONSTANT[bits], half)
    high = product(a1, b0, half) ^ product(a0, b1, half) ^ product(a1, b1, half)
    return high << half | low


def image(columns: list[int], x: int) -> int:
    out = 0
    for bit, column in enumerate(columns):
        out ^= column if x >> bit & 1 else 0
    return out


@cache
def maps() -> tuple[list[int], list[int]]:
    """Into the tower, by the smallest root of AES's polynomial; and out of it, with the S-box's linear part."""
    for root in range(2, 256):
        powers = [1]
        for _ in range(8):
            powers.append(product(powers[-1], root, 8))
        if powers[8] ^ powers[4] ^ powers[3] ^ powers[1] ^ powers[0] == 0:
            break
    enter = powers[:8]
    leave = []
    for bit in range(8):
        x = next(x for x in range(256) if image(enter, x) == 1 << bit)
        turned = [(x << k | x >> (8 - k)) & 255 for k in range(5)]
        leave.append(turned[0] ^ turned[1] ^ turned[2] ^ turned[3] ^ turned[4])
    return enter, leave


def xor(x: Wire, y: Wire) -> Wire:
    return [a ^ b for a, b in zip(x, y, strict=True)]


def added(x: list[Wire], y: list[Wire]) -> list[Wire]:
    return [xor(a, b) for a, b in zip(x, y, strict=True)]


def linear(columns: list[int], x: list[Wire]) -> list[Wire]:
    out = [[0] * LANES for _ in x]
    for column, wire in zip(columns, x, strict=True):
        out = [xor(o, wire) if column >> bit & 1 else o for bit, o in enumerate(out)]
    return out


class Gates(ABC):
    """AND gates in the order in which the circuit has them."""

    @abstractmethod
    def and_(self, x: Wire, y: Wire) -> Wire:
        """The wire of the product."""

    def times(self, a: list[Wire], b: list[Wire]) -> list[Wire]:
        if len(a) == 1:
            return [self.and_(a[0], b[0])]
        half = len(a) // 2
        a0, a1, b0, b1 = a[:half], a[half:], b[:half], b[half:]
        low = self.times(a0, b0)
        cross = self.times(added(a0, a1), added(b0, b1))
        high = self.times(a1, b1)
        by = [product(1 << bit, CONSTANT[len(a)], half) for bit in range(half)]
        return added(low, linear(by, high)) + added(cross, low)

    def inverse(self, a: list[Wire]) -> list[Wire]:
        if len(a) == 2:
            return [xor(a[0], a[1]), a[1]]
        half = len(a) // 2
        a0, a1 = a[:half], a[half:]
        both = added(a0, a1)
        square = [product(product(1 << bit, 1 << bit, half), CONSTANT[len(a)], half) for bit in range(half)]
        norm = added(linear(square, a1), self.times(a0, both))
        found = self.inverse(norm)
        return self.times(both, found) + self.times(a1, found)

    def substituted(self, x: list[Wire]) -> list[Wire]:
        """The S-box without its constant."""
        enter, leave = maps()
        return linear(leave, self.inverse(linear(enter, x)))


class Plain(Gates):
    def and_(self, x: Wire, y: Wire) -> Wire:
        return [a & b for a, b in zip(x, y, strict=True)]


class Garbler(Gates):
    def __init__(self, key: bytes, delta: int) -> None:
        self.key, self.delta, self.gate = key, delta, 0
        self.tables = b""

    def and_(self, x: Wire, y: Wire) -> Wire:
        out = []
        for a, b in zip(x, y, strict=True):
            i = 2 * self.gate
            labels = [a, a ^ self.delta, b, b ^ self.delta]
            a0, a1, b0, b1 = tweaked(self.key, [i, i, i + 1, i + 1], labels)
            left = a0 ^ a1 ^ (self.delta if b & 1 else 0)
            right = b0 ^ b1 ^ a
            self.tables += left.to_bytes(16, "little") + right.to_bytes(16, "little")
            out.append(a0 ^ (left if a & 1 else 0) ^ b0 ^ (right ^ a if b & 1 else 0))
            self.gate += 1
        return out


class Evaluator(Gates):
    def __init__(self, key: bytes, tables: bytes) -> None:
        self.key, self.gate = key, 0
        self.rows = [int.from_bytes(tables[i : i + 16], "little") for i in range(0, len(tables), 16)]

    def and_(self, x: Wire, y: Wire) -> Wire:
        out = []
        for a, b in zip(x, y, strict=True):
            i = 2 * self.gate
            left, right = tweaked(self.key, [i, i + 1], [a, b])
            left ^= self.rows[i] if a & 1 else 0
            right ^= self.rows[i + 1] ^ a if b & 1 else 0
            out.append(left ^ right)
            self.gate += 1
        return out


# The cipher, column by column as in FIPS 197.


def wires(labels: list[int]) -> list[Wire]:
    """From the order of the block's bits: the lowest bit of the first byte first."""
    return [[labels[8 * byte + bit] for byte in range(16)] for bit in range(8)]


def round_keys(key: bytes) -> list[bytes]:
    """Round keys with the S-boxes' constant of the round before in them."""
    words = [key[i : i + 4] for i in range(0, 16, 4)]
    constant = 1
    for at in range(4, 44):
        word = words[-1]
        if at % 4 == 0:
            lanes = (word[1:] + word[:1]).ljust(16, b"\0")
            out = Plain().substituted([[byte >> bit & 1 for byte in lanes] for bit in range(8)])
            found = [sum(out[bit][lane] << bit for bit in range(8)) ^ 0x63 for lane in range(4)]
            word = bytes([found[0] ^ constant, *found[1:]])
            constant = constant << 1 ^ (0x11B if constant >> 7 else 0)
        words.append(bytes(a ^ b for a, b in zip(word, words[-4], strict=True)))
    joined = [b"".join(words[i : i + 4]) for i in range(0, 44, 4)]
    return [joined[0], *(bytes(b ^ 0x63 for b in key) for key in joined[1:])]


def with_key(state: list[Wire], key: bytes, one: int) -> list[Wire]:
    return [
        [x ^ (one if byte >> bit & 1 else 0) for x, byte in zip(wire, key, strict=True)]
        for bit, wire in enumerate(state)
    ]


def mixed(state: list[Wire]) -> list[Wire]:
    """MixColumns: 2, 3, 1, 1 times the bytes of a column from each row on, modulo x^8 + x^4 + x^3 + x + 1."""
    out = [[0] * LANES for _ in range(8)]
    for at in range(LANES):
        column, row = at - at % 4, at % 4
        a, b, c, d = ([wire[column + (row + k) % 4] for wire in state] for k in range(4))
        pair = [x ^ y for x, y in zip(a, b, strict=True)]
        doubled = [pair[bit - 1] if bit else 0 for bit in range(8)]
        for bit in (0, 1, 3, 4):
            doubled[bit] ^= pair[7]
        for bit in range(8):
            out[bit][at] = doubled[bit] ^ b[bit] ^ c[bit] ^ d[bit]
    return out


def encrypted(gates: Gates, labels: list[int], keys: list[bytes] | None, one: int) -> list[int]:
    """Labels of the block's bits. Who garbles has keys, and adds `one` for a bit of 1."""
    state = wires(labels)
    if keys:
        state = with_key(state, keys[0], one)
    for number in range(1, ROUNDS + 1):
        state = gates.substituted(state)
        state = [[wire[(at + 4 * (at % 4)) % 16] for at in range(16)] for wire in state]
        if number < ROUNDS:
            state = mixed(state)
        if keys:
            state = with_key(state, keys[number], one)
    return [state[bit][byte] for byte in range(16) for bit in range(8)]


def colours(labels: list[int]) -> int:
    return sum((label & 1) << at for at, label in enumerate(labels))


def garbled(
    key: bytes, delta: int, cipher_key: bytes, labels: list[int], halves: list[Half]
) -> tuple[bytes, list[int]]:
    """The block as it is sent, and the garbler's shares of its halves."""
    gates = Garbler(key, delta)
    out = encrypted(gates, labels, round_keys(cipher_key), delta)
    message, shares = gates.tables, []
    for number, half in enumerate(halves):
        part = out[64 * number : 64 * number + 64]
        share = colours(part) if half == BITS else 0
        for bit, label in enumerate(part if half == WORD else []):
            zero = label & 1
            of_colour = [label ^ (delta if colour != zero else 0) for colour in (0, 1)]
            tweak = 2 * ANDS + 64 * number + bit
            first, second = (x % 2**64 for x in tweaked(key, [tweak, tweak], of_colour))
            random = first - (zero << bit)
            row = ((1 - zero) << bit) + random - second
            message += (row % 2**64).to_bytes(8, "little")
            share = (share - random) % 2**64
        shares.append(share)
    return message, shares


def evaluated(key: bytes, message: bytes, labels: list[int], halves: list[Half]) -> list[int]:
    """The evaluator's shares."""
    tables, rows = message[: 32 * ANDS], message[32 * ANDS :]
    out = encrypted(Evaluator(key, tables), labels, None, 0)
    shares = []
    for number, half in enumerate(halves):
        part = out[64 * number : 64 * number + 64]
        share = colours(part) if half == BITS else 0
        for bit, label in enumerate(part if half == WORD else []):
            (found,) = tweaked(key, [2 * ANDS + 64 * number + bit], [label])
            row, rows = int.from_bytes(rows[:8], "little"), rows[8:]
            share = (share + found + (row if label & 1 else 0)) % 2**64
        shares.append(share)
    return shares
