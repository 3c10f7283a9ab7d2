"""Bit triples by SoftSpoken OT (docs/protocols/bit-triples.md, eprint 2022/192), both sides honest."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field

from reference.aes import counter, key_of, permute
from reference.stream import Stream
from reference.vole import BASES, base_choices, base_keys, base_reply, children, plus, total

ROLES = ("first", "second")
HELLO, OPENING, ANSWER, CORRECTIONS = range(4)
TILE, PIECE = 64, 512


@dataclass(frozen=True)
class Session:
    """One side of a session; the sides differ in role and seed."""

    role: str
    seed: bytes
    attempt: int
    channel: str
    context: bytes

    def stream(self, kind: str, step: str) -> Stream:
        return Stream.of_step(self.seed, self.attempt, self.channel, f"triples/{kind}/{self.role}/{step}")

    def binding(self, kind: str, numbers: list[int]) -> bytes:
        """What both sides agree on."""
        hashed = b"atoll triples parameters v1"
        for part in (kind.encode(), self.channel.encode(), self.context):
            hashed += struct.pack("<Q", len(part)) + part
        hashed += struct.pack("<I", self.attempt) + b"".join(struct.pack("<Q", n) for n in numbers)
        return hashlib.sha256(hashed).digest()


def part(binding: bytes, name: str, number: int) -> bytes:
    label = b"atoll triples part v1" + binding + struct.pack("<Q", number) + name.encode()
    return hashlib.sha256(label).digest()[:16]


def spans(k: int) -> list[tuple[int, int]]:
    """First bit and width of each part of delta."""
    return [(first, min(k, BASES - first)) for first in range(0, BASES, k)]


def turns(delta: int, k: int) -> int:
    """For each level of each tree the side that the path to delta's leaf does not take."""
    choices = 0
    for first, width in spans(k):
        point = delta >> first & (1 << width) - 1
        for level in range(width):
            choices |= (1 - (point >> (width - 1 - level) & 1)) << (first + level)
    return choices


def side_sums(nodes: list[int]) -> tuple[int, int]:
    return total(nodes[::2]), total(nodes[1::2])


def grown(context: bytes, root: int, width: int) -> tuple[list[int], list[tuple[int, int]]]:
    """The leaves of a tree, and the sums of each level."""
    nodes, sums = [root], []
    for _ in range(width):
        nodes = children(context, nodes, 2 * len(nodes))
        sums.append(side_sums(nodes))
    return nodes, sums


def punctured(context: bytes, point: int, known: list[int], width: int) -> list[int]:
    """All leaves but the one at the point, where a zero stands."""
    nodes = [0]
    for level in range(width):
        nodes = children(context, nodes, 2 * len(nodes))
        path = point >> (width - level)
        side = 1 - (point >> (width - 1 - level) & 1)
        nodes[2 * path] = nodes[2 * path + 1] = 0
        nodes[2 * path + side] = known[level] ^ side_sums(nodes)[side]
    return nodes


def columns(
    leaves: list[tuple[int, int]], width: int, first: int, count: int
) -> tuple[list[list[int]], list[int]]:
    """Blocks of the columns of a part, and the sum of all leaves: of each leaf its factor and key."""
    found, everything = [[0] * count for _ in range(width)], [0] * count
    for factor, leaf in leaves:
        blocks = counter(leaf.to_bytes(16, "little"), count, first)
        everything = [a ^ b for a, b in zip(everything, blocks, strict=True)]
        for bit in range(width):
            if factor >> bit & 1:
                found[bit] = [a ^ b for a, b in zip(found[bit], blocks, strict=True)]
    return found, everything


def hashed(context: bytes, matrix: list[list[int]], shift: int, count: int) -> list[int]:
    """Bit 0 of the hash of each row of 128 columns, 128 rows a value."""
    out = []
    for at in range(count):
        rows = [sum((matrix[c][at] >> bit & 1) << c for c in range(128)) ^ shift for bit in range(128)]
        blocks = permute(key_of(b"atoll ot soft transfer", context), rows)
        out.append(
            sum(((row ^ block) & 1) << bit for bit, (row, block) in enumerate(zip(rows, blocks, strict=True)))
        )
    return out


@dataclass
class Party:
    """One side of a whole batch. Messages are gathered in `sent`."""

    session: Session
    k: int
    count: int
    sent: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.binding = self.session.binding("bits", [self.k])
        other = ROLES[1 - ROLES.index(self.session.role)]
        self.choosing, self.sending = (
            part(self.binding, f"{role} chooses", 0) for role in (self.session.role, other)
        )
        self.blocks = -(-self.count // 128)
        self.a: list[int] = []
        self.b: list[int] = []
        self.c = [0] * self.blocks

    def open(self) -> None:
        stream = self.session.stream("bits", "opening")
        self.delta = int.from_bytes(stream.take(16), "little")
        self.secrets, opening = base_choices(turns(self.delta, self.k), self.sending, stream)
        self.sent += [bytes([HELLO]) + self.binding, bytes([OPENING]) + opening]

    def answer(self, opening: bytes) -> None:
        stream = self.session.stream("bits", "answer")
        keys, answer = base_reply(opening[1:], self.choosing, stream)
        self.trees = []
        for first, width in spans(self.k):
            root = int.from_bytes(stream.take(16), "little")
            leaves, sums = grown(self.choosing, root, width)
            self.trees.append(list(enumerate(leaves)))
            for pair, both in zip(keys[first : first + width], sums, strict=True):
                answer += b"".join(
                    plus(s.to_bytes(16, "little"), key) for s, key in zip(both, pair, strict=True)
                )
        self.sent.append(bytes([ANSWER]) + answer)

    def choose(self) -> None:
        """Corrections of all pieces, and what this side chooses."""
        for start in range(0, self.blocks, PIECE):
            message = bytes([CORRECTIONS])
            for first in range(start, min(start + PIECE, self.blocks), TILE):
                count = min(TILE, min(start + PIECE, self.blocks) - first)
                matrix: list[list[int]] = []
                choices: list[int] = []
                for (_, width), leaves in zip(spans(self.k), self.trees, strict=True):
                    found, everything = columns(leaves, width, first, count)
                    matrix += found
                    choices = choices or everything
                    if everything is not choices:
                        message += b"".join(
                            (a ^ b).to_bytes(16, "little") for a, b in zip(everything, choices, strict=True)
                        )
                self.a += choices
                for at, value in enumerate(hashed(self.choosing, matrix, 0, count)):
                    self.c[first + at] ^= value
            self.sent.append(message)

    def take(self, opening: bytes, answer: bytes, corrections: list[bytes]) -> None:
        reply, sums = answer[1 : 1 + 32 * BASES], answer[1 + 32 * BASES :]
        choices = turns(self.delta, self.k)
        keys = base_keys(choices, self.secrets, self.sending, opening[1:], reply)
        trees = []
        for first, width in spans(self.k):
            point = self.delta >> first & (1 << width) - 1
            known = []
            for level in range(first, first + width):
                at = 32 * level + 16 * (choices >> level & 1)
                known.append(int.from_bytes(plus(sums[at : at + 16], keys[level]), "little"))
            leaves = punctured(self.sending, point, known, width)
            trees.append([(x ^ point, leaf) for x, leaf in enumerate(leaves) if x != point])
        for start, message in zip(range(0, self.blocks, PIECE), corrections, strict=True):
            rest = message[1:]
            for first in range(start, min(start + PIECE, self.blocks), TILE):
                count = min(TILE, min(start + PIECE, self.blocks) - first)
                matrix: list[list[int]] = []
                for number, ((low, width), leaves) in enumerate(zip(spans(self.k), trees, strict=True)):
                    found, _ = columns(leaves, width, first, count)
                    if number:
                        now, rest = rest[: 16 * count], rest[16 * count :]
                        fix = [int.from_bytes(now[i : i + 16], "little") for i in range(0, len(now), 16)]
                        for bit, column in enumerate(found):
                            if self.delta >> (low + bit) & 1:
                                found[bit] = [a ^ b for a, b in zip(column, fix, strict=True)]
                    matrix += found
                zeros, ones = (hashed(self.sending, matrix, shift, count) for shift in (0, self.delta))
                self.b += [a ^ b for a, b in zip(zeros, ones, strict=True)]
                for at, value in enumerate(zeros):
                    self.c[first + at] ^= value

    def words(self) -> list[list[int]]:
        """a, b and c as words of 64 bits."""
        c = [c ^ a & b for a, b, c in zip(self.a, self.b, self.c, strict=True)]
        out = []
        for blocks in (self.a, self.b, c):
            bits = sum(block << 128 * i for i, block in enumerate(blocks)) & (1 << self.count) - 1
            out.append([bits >> 64 * i & 2**64 - 1 for i in range(-(-self.count // 64))])
        return out


def run(sessions: list[Session], k: int, count: int) -> list[Party]:
    """A whole batch of both sides."""
    parties = [Party(session, k, count) for session in sessions]
    for party in parties:
        party.open()
    for party, peer in zip(parties, parties[::-1], strict=True):
        party.answer(peer.sent[1])
        party.choose()
    for party, peer in zip(parties, parties[::-1], strict=True):
        party.take(party.sent[1], peer.sent[2], peer.sent[3:])
    return parties
