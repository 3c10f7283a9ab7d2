"""Silent VOLE against peers that follow the protocol (docs/protocols/vole.md), with plain integers.

The sender gets delta and b, the receiver a and c, with c = a * delta + b in GF(2^128). Boyle et al., eprint 2019/1159,
with base transfers of Masny and Rindal (eprint 2019/706), products of Gilboa 1999, and the code of Raghuraman, Rindal
and Tanguy (eprint 2023/882).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, reduce
from operator import xor
from typing import Any

from reference import ristretto255 as group
from reference.aes import counter, key_of, permute, tweaked
from reference.stream import Stream

BASES = 128
CHOICES, EXTENSION, TREES = 1, 2, 3
# Bytes of a body in one message.
PART = 2**20 - 1
BASE_POINT = group.decode(bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"))


class RefusedError(Exception):
    """A message that does not fit."""


def double(value: int) -> int:
    """Times x in GF(2^128)."""
    return (value << 1 ^ (0x87 if value >> 127 else 0)) % 2**128


def total(values: list[int]) -> int:
    return reduce(xor, values, 0)


@dataclass(frozen=True)
class Noise:
    """One noisy position in each of `weight` blocks of `leaves` leaves, for so many outputs."""

    size: int
    bits: int

    @property
    def rows(self) -> int:
        return max(self.size, 2**13)

    @property
    def weight(self) -> int:
        return 249 if self.bits == 1 else 555

    @property
    def leaves(self) -> int:
        return -(-2 * self.rows // self.weight)

    @property
    def depth(self) -> int:
        return (self.leaves - 1).bit_length()

    def nodes(self, level: int) -> int:
        """Nodes at a level of one tree; what would lead to no leaf is not grown."""
        return -(-self.leaves >> (self.depth - level))

    def turn(self, point: int, level: int) -> int:
        """Which way the path to a leaf goes below a level: 0 left, 1 right."""
        return point >> (self.depth - 1 - level) & 1

    @property
    def choices(self) -> int:
        """Transferred bits: one for each level of each tree, and noise values if they are bits."""
        return self.weight * (self.depth + (self.bits == 1))

    @property
    def column(self) -> int:
        """Bytes of what is masked for each bit of delta."""
        return -(-self.choices // 8) + (0 if self.bits == 1 else self.weight * -(-self.bits // 8))


# Base transfers: messages of two points for each bit of delta, and of one.


def mask(context: bytes, index: int, side: int, other: bytes) -> group.Point:
    label = b"atoll ot base mask v1" + context + bytes([index, side])
    return group.from_uniform_bytes(hashlib.sha512(label + other).digest())


def scalar(stream: Stream) -> int:
    return int.from_bytes(stream.take(64), "little") % group.ORDER


@cache
def doubled_base() -> list[group.Point]:
    """The base point times 1, 2, 4, ..."""
    found = [BASE_POINT]
    while len(found) < 253:
        found.append(group.add(found[-1], found[-1]))
    return found


def times_base(number: int) -> group.Point:
    parts = [point for i, point in enumerate(doubled_base()) if number >> i & 1]
    return reduce(group.add, parts, group.IDENTITY)


def points(data: bytes) -> list[group.Point]:
    found = [group.decode(data[i : i + 32]) for i in range(0, len(data), 32)]
    if any(point is None or group.encode(point) == bytes(32) for point in found):
        raise RefusedError("a base transfer holds no point")
    return [point for point in found if point]


def base_choices(delta: int, context: bytes, stream: Stream) -> tuple[list[int], bytes]:
    """Secrets, and the message of whoever chooses by the bits of delta."""
    secrets, message = [], b""
    for index in range(BASES):
        choice = delta >> index & 1
        secret = scalar(stream)
        other = group.from_uniform_bytes(stream.take(64))
        x, y, z, t = mask(context, index, choice, group.encode(other))
        own = group.add(times_base(secret), (-x, y, z, -t))
        message += b"".join(group.encode(p) for p in ((other, own) if choice else (own, other)))
        secrets.append(secret)
    return secrets, message


def base_key(
    context: bytes, message: bytes, reply: bytes, index: int, side: int, shared: group.Point
) -> bytes:
    transcript = hashlib.sha512(b"atoll ot base transcript v1" + context + message + reply).digest()
    label = b"atoll ot base key v1" + transcript + bytes([index, side])
    return hashlib.sha512(label + group.encode(shared)).digest()[:16]


def base_reply(message: bytes, context: bytes, stream: Stream) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Both keys of every transfer, and the answer."""
    sent = points(message)
    secrets = [scalar(stream) for _ in range(BASES)]
    reply = b"".join(group.encode(times_base(secret)) for secret in secrets)

    def key(index: int, side: int) -> bytes:
        at = 2 * index + 1 - side
        masked = group.add(
            sent[2 * index + side], mask(context, index, side, message[32 * at : 32 * at + 32])
        )
        return base_key(context, message, reply, index, side, group.multiply(masked, secrets[index]))

    return [(key(index, 0), key(index, 1)) for index in range(BASES)], reply


def base_keys(delta: int, secrets: list[int], context: bytes, message: bytes, reply: bytes) -> list[bytes]:
    """The chosen key of every transfer."""
    return [
        base_key(context, message, reply, index, delta >> index & 1, group.multiply(point, secrets[index]))
        for index, point in enumerate(points(reply))
    ]


# Correlations of chosen values.


def masks(key: bytes, length: int) -> bytes:
    blocks = counter(key, -(-length // 16))
    return b"".join(block.to_bytes(16, "little") for block in blocks)[:length]


def column_values(noise: Noise, column: bytes) -> list[int]:
    """The transferred values that stand in a column: bits, then values of whole bytes."""
    packed = -(-noise.choices // 8)
    bits = [column[i // 8] >> (i % 8) & 1 for i in range(noise.choices)]
    width = -(-noise.bits // 8)
    parts = [column[i : i + width] for i in range(packed, len(column), width)]
    return bits + [int.from_bytes(part, "little") % 2**noise.bits for part in parts]


def summed(noise: Noise, columns: list[bytes]) -> list[int]:
    """For every value the sum over all columns i of x^i times what stands there."""
    sums = [0] * len(column_values(noise, columns[0]))
    for column in reversed(columns):
        sums = [double(s) ^ v for s, v in zip(sums, column_values(noise, column), strict=True)]
    return sums


def plus(*parts: bytes) -> bytes:
    return total([int.from_bytes(part, "little") for part in parts]).to_bytes(len(parts[0]), "little")


# Trees: s has the children P0(s) + s and P1(s) + s.


def children(context: bytes, parents: list[int], count: int) -> list[int]:
    sides = [permute(key_of(b"atoll ot tree " + side, context), parents) for side in (b"left", b"right")]
    pairs = zip(parents, *sides, strict=True)
    return [child ^ parent for parent, *both in pairs for child in both][:count]


def pads(context: bytes, values: list[int]) -> list[int]:
    return tweaked(key_of(b"atoll ot tree pads", context), range(len(values)), values)


# The code: rows of a sparse vector that look random.


def encode(noise: Noise, context: bytes, values: list[int]) -> list[int]:
    """`size` outputs of a vector of all leaves; linear over GF(2), so that numbers of any width will do."""
    outputs, rest = (
        values[: noise.size],
        convolved(key_of(b"atoll ot code bits", context), values[noise.rows :]),
    )
    places = key_of(b"atoll ot code places", context)
    seventh = len(rest) // 7
    for j in range(7):
        part = rest[j * seventh : (j + 1) * seventh if j < 6 else len(rest)]
        for start in range(0, len(outputs), 1024):
            draws = counter(places, 256, (start // 1024 * 7 + j) * 256)
            for i in range(start, min(start + 1024, len(outputs))):
                draw = draws[(i - start) // 4] >> (32 * (i % 4)) & 0xFFFFFFFF
                outputs[i] ^= part[draw * len(part) >> 32]
    return outputs


def convolved(key: bytes, values: list[int]) -> list[int]:
    """Each value takes in its predecessor, and by a bit each the six groups of four before and its own group."""
    draws = counter(key, -(-len(values) // 4))
    out: list[int] = []
    # Six groups in turn, the seventh in the place of the first.
    recent = [0] * 24
    for start in range(0, len(values), 4):
        own: list[int] = []
        for i, value in enumerate(values[start : start + 4]):
            bits = draws[start // 4] >> (32 * i)
            taken = [recent[k] for k in range(24) if bits >> k & 1]
            taken += [own[k] for k in range(i - 1) if bits >> (24 + k) & 1]
            before = own[-1] if own else (out[-1] if out else 0)
            own.append(total([value, before, *taken]))
        at = start // 4 % 6 * 4
        recent[at : at + len(own)] = own
        out += own
    return out


class Half:
    """One side: `out` are messages to send, `due` is the type and the length of the body that comes next."""

    def __init__(self, due: tuple[int, int]) -> None:
        self.out: list[bytes] = []
        self.due: tuple[int, int] | None = due
        self.body = b""

    @property
    def done(self) -> bool:
        return self.due is None and not self.out

    def put(self, kind: int, body: bytes) -> None:
        self.out += [bytes([kind]) + body[i : i + PART] for i in range(0, len(body), PART)]

    def messages(self) -> list[bytes]:
        out, self.out = self.out, []
        return out

    def receive(self, message: bytes) -> None:
        if self.due is None or self.out:
            raise RefusedError("a message comes where none is due")
        kind, length = self.due
        if message[:1] != bytes([kind]) or len(message) - 1 != min(length - len(self.body), PART):
            raise RefusedError("a message of another type or length is due")
        self.body += message[1:]
        if len(self.body) == length:
            body, self.body, self.due = self.body, b"", None
            self.step(body)

    def step(self, body: bytes) -> None:
        raise NotImplementedError

    def output(self) -> tuple[Any, list[int]]:
        raise NotImplementedError


class Sender(Half):
    """The side that knows delta and all leaves."""

    def __init__(self, size: int, bits: int, context: bytes, stream: Stream) -> None:
        self.noise, self.context, self.stream = Noise(size, bits), context, stream
        super().__init__((EXTENSION, BASES * (32 + self.noise.column)))
        self.delta = int.from_bytes(stream.take(16), "little")
        self.secrets, self.choices = base_choices(self.delta, context, stream)
        self.put(CHOICES, self.choices)
        self.leaves: list[int] = []

    def step(self, body: bytes) -> None:
        noise, length = self.noise, self.noise.column
        reply, extension = body[: 32 * BASES], body[32 * BASES :]
        keys = base_keys(self.delta, self.secrets, self.context, self.choices, reply)
        columns = [
            plus(masks(key, length), extension[i * length : (i + 1) * length])
            if self.delta >> i & 1
            else masks(key, length)
            for i, key in enumerate(keys)
        ]
        sums = summed(noise, columns)
        transfers, values = sums[: noise.weight * noise.depth], sums[noise.weight * noise.depth :]
        both = [pads(self.context, [b ^ shift for b in transfers]) for shift in (0, self.delta)]
        message: list[int] = []
        for tree in range(noise.weight):
            nodes = [int.from_bytes(self.stream.take(16), "little")]
            for level in range(noise.depth):
                nodes = children(self.context, nodes, noise.nodes(level + 1))
                at = tree * noise.depth + level
                message += [total(nodes[side::2]) ^ both[side][at] for side in (0, 1)]
            message.append(total(nodes) ^ values[tree])
            self.leaves += nodes
        self.put(TREES, b"".join(value.to_bytes(16, "little") for value in message))

    def output(self) -> tuple[int, list[int]]:
        """Delta and b."""
        return self.delta, encode(self.noise, self.context, self.leaves)


class Receiver(Half):
    """The side that knows all leaves but one in each block."""

    def __init__(self, size: int, bits: int, context: bytes, stream: Stream) -> None:
        self.noise, self.context, self.stream = Noise(size, bits), context, stream
        super().__init__((CHOICES, 64 * BASES))
        self.points = [stream.below(self.noise.leaves) for _ in range(self.noise.weight)]
        self.values: list[int] = []
        while len(self.values) < self.noise.weight:
            value = int.from_bytes(stream.take(16), "little") % 2**bits
            self.values += [value] if value else []
        self.sums: list[int] = []
        self.leaves: list[int] = []

    def step(self, body: bytes) -> None:
        if self.sums:
            self.grow(body)
        else:
            self.choose(body)

    def choose(self, message: bytes) -> None:
        noise, length = self.noise, self.noise.column
        keys, reply = base_reply(message, self.context, self.stream)
        # What is asked for is the sum of the side that the path does not take.
        bits = [1 - noise.turn(point, level) for point in self.points for level in range(noise.depth)]
        bits += [1] * (noise.choices - len(bits))
        data = sum(bit << i for i, bit in enumerate(bits)).to_bytes(-(-noise.choices // 8), "little")
        if noise.bits > 1:
            data += b"".join(value.to_bytes(-(-noise.bits // 8), "little") for value in self.values)
        columns = [masks(zero, length) for zero, _ in keys]
        self.sums = summed(noise, columns)
        masked = [plus(c, masks(one, length), data) for c, (_, one) in zip(columns, keys, strict=True)]
        self.put(EXTENSION, reply + b"".join(masked))
        self.due = (TREES, noise.weight * (2 * noise.depth + 1) * 16)

    def grow(self, body: bytes) -> None:
        noise = self.noise
        parts = [int.from_bytes(body[i : i + 16], "little") for i in range(0, len(body), 16)]
        known = pads(self.context, self.sums[: noise.weight * noise.depth])
        rest = self.sums[noise.weight * noise.depth :]
        for tree, point in enumerate(self.points):
            first = tree * (2 * noise.depth + 1)
            nodes = [0]
            for level in range(noise.depth):
                nodes = children(self.context, nodes, noise.nodes(level + 1))
                # The children of the one unknown node mean nothing; all but one of them can be found.
                taken = 2 * (point >> (noise.depth - level)) + noise.turn(point, level)
                side = 1 - noise.turn(point, level)
                for child in (taken, taken ^ 1):
                    if child < len(nodes):
                        nodes[child] = 0
                if taken ^ 1 < len(nodes):
                    whole = parts[first + 2 * level + side] ^ known[tree * noise.depth + level]
                    nodes[taken ^ 1] = whole ^ total(nodes[side::2])
            nodes[point] = total(nodes) ^ parts[first + 2 * noise.depth] ^ rest[tree]
            self.leaves += nodes

    def output(self) -> tuple[list[int], list[int]]:
        """a and c, coded together."""
        both = list(self.leaves)
        for tree, (point, value) in enumerate(zip(self.points, self.values, strict=True)):
            both[tree * self.noise.leaves + point] |= value << 128
        coded = encode(self.noise, self.context, both)
        return [value >> 128 for value in coded], [value % 2**128 for value in coded]
