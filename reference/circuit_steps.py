"""Sizes and messages of circuit-PSI (docs/protocols/circuit-psi.md).

For tables whose correlations are made in one group, with those of all leaves in one: up to 65,536 bins and 2^22 values.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from reference.okvs import Store
from reference.stream import Stream
from reference.vole import BASES, PART, Half, Noise, RefusedError

ROLES = ("placer", "mapper")
PIECE = 2**19
# The ratio of a row holds from its number of entries on (scripts/cuckoo_parameters.py).
BINS = [
    (1, 3), (3, 3), (4, 41), (6, 56), (8, 67), (12, 84), (16, 97), (24, 118), (32, 136), (48, 164), (64, 188),
    (96, 226), (128, 258), (192, 310), (256, 371), (384, 535), (512, 700), (768, 1032), (1024, 1364),
    (1536, 2027), (2048, 2691), (4096, 5345), (8192, 10654), (16384, 21300),
]  # fmt: skip
COMMITMENT, SHARE, OPENING, TURN, ENTRIES, STORE, CORRECTIONS, TABLES = range(1, 9)
PLACER_FLIPS, MAPPER_FLIPS, MAPPER_WORDS, PLACER_WORDS = range(9, 13)
NAMES = {
    COMMITMENT: "commitment", SHARE: "share", OPENING: "opening", ENTRIES: "entries", STORE: "store",
    CORRECTIONS: "corrections", TABLES: "tables", PLACER_FLIPS: "placer-flips", MAPPER_FLIPS: "mapper-flips",
    MAPPER_WORDS: "mapper-words", PLACER_WORDS: "placer-words",
}  # fmt: skip


@dataclass(frozen=True)
class Agreed:
    """What both sides know before."""

    attempt: int
    channel: str
    context: bytes
    placer_items: int
    mapper_items: int
    multiplicity: int
    placer_words: int
    mapper_words: int

    @property
    def binding(self) -> bytes:
        fields = b"".join(struct.pack("<Q", len(f)) + f for f in (self.channel.encode(), self.context))
        sizes = self.placer_items, self.mapper_items, self.placer_words, self.mapper_words
        numbers = struct.pack("<II4Q", self.attempt, self.multiplicity, *sizes)
        return hashlib.sha256(b"atoll circuit-psi parameters v1" + fields + numbers).digest()

    @property
    def empty(self) -> bool:
        return not (self.placer_items and self.mapper_items)

    @property
    def entries(self) -> int:
        return self.placer_items * self.multiplicity

    @property
    def bins(self) -> int:
        rows = [row for row in BINS if row[0] <= self.entries]
        return -(-self.entries * rows[-1][1] // rows[-1][0]) if rows else 0

    @property
    def bits(self) -> int:
        """Length of the strings that are compared."""
        return -(-(40 + (self.bins - 1).bit_length()) // 4) * 4

    @property
    def levels(self) -> list[int]:
        """Leaves of a bin, level by level."""
        levels = [self.bits // 4]
        while levels[-1] > 1:
            levels.append(-(-levels[-1] // 4))
        return levels

    @property
    def words(self) -> int:
        return self.placer_words + self.mapper_words

    @property
    def lanes(self) -> int:
        """Numbers of 128 bits that hold a string and the mapper's words."""
        return -(-(1 + self.mapper_words) // 2)

    @property
    def store_bytes(self) -> int:
        return 8 * (1 + self.mapper_words) if self.mapper_words else -(-self.bits // 8)

    def store(self, kind: int, seed: bytes) -> Store:
        """The placer's or the mapper's."""
        return Store(self.entries if kind == ENTRIES else 3 * self.mapper_items, "fast", seed)

    def correlations(self) -> list[tuple[str, int, int]]:
        """Use, number of values, and their bits, in order."""
        entries = self.store(ENTRIES, bytes(16)).slots
        uses = [("entries", entries, 128), ("leaves", self.bins * sum(self.levels), 4)]
        uses += [("placer-words", self.bins, 1)] * (self.words > 0)
        uses += [("mapper-words", self.bins, 1)] * (self.mapper_words > 0)
        assert self.bins <= 2**16
        assert sum(size for _, size, _ in uses) <= 2**22
        return uses

    def turns(self) -> list[int]:
        """Bytes of every turn: the sender's choices, the receiver's answer, the sender's trees of each correlation."""
        turns = [0] * 4
        for use, size, bits in self.correlations():
            noise = Noise(size, bits)
            first = 0 if use in ("leaves", "placer-words") else 1
            trees = 16 * noise.weight * (2 * noise.depth + 1)
            for k, body in enumerate((64 * BASES, (32 + noise.column) * BASES, trees)):
                # Each message has number, length and type before its part of a body.
                turns[first + k] += body + 7 * -(-body // PART)
        return turns

    def steps(self) -> list[Step]:
        found = [
            Step("placer", COMMITMENT, 0, 32, 1),
            Step("mapper", SHARE, 0, 32, 1),
            Step("placer", OPENING, 0, 32, 1),
        ]
        if self.empty:
            return found
        found += [
            Step("placer", TURN, 0, 0, 0),
            Step("placer", ENTRIES, 0, 16, self.store(ENTRIES, bytes(16)).slots),
            Step("mapper", STORE, 0, self.store_bytes, self.store(STORE, bytes(16)).slots),
        ]
        for level, leaves in enumerate(self.levels):
            found.append(Step("mapper", CORRECTIONS, level, -(-leaves // 2), self.bins))
            found.append(Step("placer", TABLES, level, 2 * leaves, self.bins))
        flips = -(-self.bins // 64)
        theirs, all_words = self.mapper_words > 0, self.words > 0
        found += [Step("placer", PLACER_FLIPS, 0, 8, flips)] * theirs
        found += [Step("mapper", MAPPER_FLIPS, 0, 8, flips)] * all_words
        found += [Step("mapper", MAPPER_WORDS, 0, 8 * self.mapper_words, self.bins)] * theirs
        found += [Step("placer", PLACER_WORDS, 0, 8 * self.words, self.bins)] * all_words
        return found


@dataclass(frozen=True)
class Step:
    """So many units of so many bytes from one side; of the turns both are unknown."""

    sender: str
    kind: int
    level: int
    unit: int
    units: int

    @property
    def piece(self) -> int:
        """Bytes of every message but the last."""
        return max(PIECE // self.unit, 1) * self.unit


class Party:
    """One side between its messages. Bodies are made and taken as a whole, and sent in pieces."""

    def __init__(self, role: str, agreed: Agreed, seed: bytes) -> None:
        self.role, self.agreed, self.seed = role, agreed, seed
        self.steps = agreed.steps()
        self.at = self.turn = 0
        self.queue: list[tuple[bytes, str]] = []
        self.body = b""
        self.halves: list[Half] = []

    def stream(self, step: str) -> Stream:
        return Stream.of_step(self.seed, self.agreed.attempt, self.agreed.channel, f"circuit-psi/{step}")

    @property
    def done(self) -> bool:
        return self.at == len(self.steps)

    @property
    def speaker(self) -> str:
        step = self.steps[self.at]
        return ROLES[self.turn % 2] if step.kind == TURN else step.sender

    def next_message(self) -> tuple[bytes, str] | None:
        """Message and label, or nothing while the peer speaks."""
        if self.done or self.speaker != self.role:
            return None
        if not self.queue:
            step = self.steps[self.at]
            self.queue = self.speak() if step.kind == TURN else self.divided(step, self.make(step))
        out = self.queue.pop(0)
        if not self.queue:
            self.ended()
        return out

    def divided(self, step: Step, body: bytes) -> list[tuple[bytes, str]]:
        assert len(body) == step.unit * step.units
        parts = [body[i : i + step.piece] for i in range(0, len(body), step.piece)]
        label = f"circuit-psi/{NAMES[step.kind]}/{step.level}"
        return [(bytes([step.kind, step.level]) + p, f"{label}/{i}") for i, p in enumerate(parts)]

    def speak(self) -> list[tuple[bytes, str]]:
        """A turn: all that this side can send for each correlation, as number, length and message."""
        said = [(number, m) for number, half in enumerate(self.halves) for m in half.messages()]
        body = b"".join(struct.pack("<HI", number, len(m)) + m for number, m in said)
        parts = [body[i : i + PIECE] for i in range(0, max(len(body), 1), PIECE)]
        return [
            (bytes([TURN, i + 1 == len(parts)]) + part, f"circuit-psi/turn/{self.turn}/{i}")
            for i, part in enumerate(parts)
        ]

    def receive(self, message: bytes) -> None:
        if self.done or self.speaker == self.role:
            raise RefusedError("a message comes where none is due")
        step = self.steps[self.at]
        if step.kind == TURN:
            self.hear(message)
            return
        left = step.unit * step.units - len(self.body)
        if message[:2] != bytes([step.kind, step.level]) or len(message) - 2 != min(left, step.piece):
            raise RefusedError("a message of another kind or length is due")
        self.body += message[2:]
        if len(self.body) == step.unit * step.units:
            body, self.body = self.body, b""
            self.take(step, body)
            self.ended()

    def hear(self, message: bytes) -> None:
        left = self.agreed.turns()[self.turn] - len(self.body)
        if message[:2] != bytes([TURN, left <= PIECE]) or len(message) - 2 != min(left, PIECE):
            raise RefusedError("a piece of another length is due")
        self.body += message[2:]
        if left > PIECE:
            return
        rest, before, self.body = self.body, 0, b""
        while rest:
            if len(rest) < 6 or len(rest) < 6 + int.from_bytes(rest[2:6], "little"):
                raise RefusedError("a turn ends within a message")
            number, length = struct.unpack("<HI", rest[:6])
            if not before <= number < len(self.halves):
                raise RefusedError("messages of a turn are out of order")
            self.halves[number].receive(rest[6 : 6 + length])
            rest, before = rest[6 + length :], number
        self.ended()

    def ended(self) -> None:
        """The whole body of a step, or a turn, went by."""
        step = self.steps[self.at]
        if step.kind == TURN:
            self.turn += 1
            if not all(half.done for half in self.halves):
                return
            self.correlated()
        self.at += 1
        if step.kind == OPENING and not self.agreed.empty:
            self.halves = self.begun()

    def make(self, step: Step) -> bytes:
        raise NotImplementedError

    def take(self, step: Step, body: bytes) -> None:
        raise NotImplementedError

    def begun(self) -> list[Half]:
        """Halves of all correlations, once there is a coin."""
        raise NotImplementedError

    def correlated(self) -> None:
        """All correlations are made."""
        raise NotImplementedError
