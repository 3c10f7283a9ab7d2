"""Totals over a hidden join (docs/protocols/hidden-totals.md), slowly: both sides over messages.

Every byte is that of the product; the join of each bucket, and the comparison, are runs of `reference/circuit_psi.py`.
"""

from __future__ import annotations

import hashlib
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

from reference.circuit_psi import CircuitParty, Mapper, Placer
from reference.circuit_steps import ROLES, Agreed
from reference.hidden_totals import RING, halves
from reference.stream import Stream
from reference.vole import RefusedError
from reference.vole_psi import bucket

RECEIVERS = ("placer", "mapper", "both")
Message = tuple[bytes, str]


def fields(*parts: bytes) -> bytes:
    return b"".join(struct.pack("<Q", len(part)) + part for part in parts)


def words(values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}Q", *(value % RING for value in values))


@dataclass(frozen=True)
class Terms:
    """What both sides agreed on."""

    placer_items: int
    mapper_items: int
    multiplicity: int
    placer_words: int
    mapper_words: int
    minimum: int
    receivers: str
    context: bytes
    bucket_items: int = 2**18

    @property
    def agreed(self) -> bytes:
        numbers = (self.placer_items, self.mapper_items, self.multiplicity, self.placer_words)
        more = (self.mapper_words, self.minimum, RECEIVERS.index(self.receivers))
        terms = struct.pack("<7Q", *numbers, *more) + self.context
        return fields(b"hidden-totals/v1", terms, struct.pack("<Q", self.bucket_items))

    @property
    def rows(self) -> tuple[int, int]:
        """Words of a row of either side: values, and what counts rows and subjects."""
        return self.placer_words + 1, self.mapper_words + (self.multiplicity > 1)

    @property
    def buckets(self) -> int:
        largest = max(self.placer_items * self.multiplicity, self.mapper_items)
        return max(-(-largest // self.bucket_items), 1)

    def capacity(self, side: int) -> int:
        """Places of a bucket, by Bernstein's inequality."""
        items, together = ((self.placer_items, 1), (self.mapper_items, self.multiplicity))[side]
        if self.buckets == 1:
            return items
        mean = -(-items // self.buckets)
        log = -(-6932 * (41 + (self.buckets - 1).bit_length()) // 10_000) * together
        return min(items, mean + log // 3 + 1 + isqrt(log * log // 9 + 1 + 2 * log * mean) + 1)

    @property
    def bits(self) -> int:
        """Bits in which the number of subjects is compared with the minimum."""
        return max(min(self.placer_items, self.mapper_items), self.minimum).bit_length() + 1


class Lanes:
    """Several runs side by side: each in turn says all that it can, after it was handed what it waits for."""

    def __init__(self, runs: list[CircuitParty], name: str) -> None:
        self.runs, self.name = runs, name
        self.at, self.spoke = 0, False

    @property
    def done(self) -> bool:
        return all(run.done for run in self.runs)

    def next_message(self) -> Message | None:
        while not self.done:
            run = self.runs[self.at]
            if out := run.next_message():
                self.spoke = True
                message, step = out
                return message, step.replace(
                    "circuit-psi", f"hidden-totals/{run.agreed.channel.split('/')[-1]}", 1
                )
            if not self.spoke and not run.done:
                return None
            self.at, self.spoke = (self.at + 1) % len(self.runs), False
        return None

    def receive(self, message: bytes) -> None:
        self.runs[self.at].receive(message)


class Side:
    """One party, and all that it sends."""

    def __init__(
        self,
        role: str,
        terms: Terms,
        table: list[tuple[bytes, list[int]]],
        seed: bytes,
        attempt: int,
        name: str,
    ) -> None:
        self.role, self.terms, self.seed, self.attempt, self.name = role, terms, seed, attempt, name
        self.number = ROLES.index(role)
        self.sent: list[Message] = []
        # A one for each row of the placer counts matched rows; one for the first row of each key, matched subjects.
        self.table = []
        for row, (digest, values) in enumerate(table):
            first = digest not in [other for other, _ in table[:row]]
            counter = [1] if role == "placer" else [int(first)] * (terms.multiplicity > 1)
            self.table.append((digest, [*values, *counter]))
        declared = (terms.placer_items, terms.mapper_items)[self.number]
        self.table += self.fillers("hidden-totals/rows", declared - len(table), name)
        self.sums = [0] * sum(terms.rows)

    def stream(self, step: str, name: str) -> Stream:
        return Stream.of_step(self.seed, self.attempt, name, step)

    def fillers(self, step: str, count: int, name: str) -> list[tuple[bytes, list[int]]]:
        """Keys that nobody has, with zeros."""
        stream = self.stream(step, name)
        return [(stream.take(32), [0] * self.terms.rows[self.number]) for _ in range(count)]

    # The coin.

    def hello(self) -> bytes:
        self.share = self.stream("hidden-totals/coin", self.name).take(48)
        return self.said(self.role) + commitment(self.share)

    def said(self, role: str) -> bytes:
        return b"\1" + role.encode() + coin_hash(self.terms.agreed)

    def heard(self, hello: bytes, opening: bytes) -> None:
        """Takes both messages of the peer."""
        head = self.said(ROLES[1 - self.number])
        if hello[: len(head)] != head or hello[len(head) :] == commitment(self.share):
            raise RefusedError("the peer has other terms, or sent this side's commitment back")
        if len(opening) != 49 or opening[0] != 2 or hello[len(head) :] != commitment(opening[1:]):
            raise RefusedError("the peer did not open its share of the coin")
        self.coin = coin_hash(self.terms.agreed, *sorted((self.share[:32], opening[1:33])))

    # The join of a bucket, and the comparison.

    def run(
        self, name: str, context: bytes, table: list[tuple[bytes, list[int]]], *sizes: int
    ) -> CircuitParty:
        agreed = Agreed(
            self.attempt, f"{self.name}/{name}", fields(self.terms.context, self.coin, context), *sizes
        )
        digests, payload = [digest for digest, _ in table], [list(values) for _, values in table]
        return (Placer, Mapper)[self.number](agreed, self.seed, digests, payload)

    def bucket(self, at: int) -> CircuitParty:
        terms, table = self.terms, self.table
        if terms.buckets > 1:
            table = [row for row in table if bucket(self.coin, row[0], terms.buckets) == at]
            missing = terms.capacity(self.number) - len(table)
            table += self.fillers("psi-buckets/fillers", missing, f"{self.name}/{at}")
        sizes = terms.capacity(0), terms.capacity(1), terms.multiplicity
        return self.run(str(at), struct.pack("<I", at), table, *sizes, *terms.rows)

    def add(self, run: CircuitParty) -> None:
        for row in run.output().words:
            self.sums = [(a + b) % RING for a, b in zip(self.sums, row, strict=True)]

    def comparison(self) -> CircuitParty:
        terms = self.terms
        share = self.sums[-1] if terms.multiplicity > 1 else self.sums[terms.placer_words]
        # `halves` takes both shares; each side's part depends on its own alone.
        both = halves((share, share), terms.minimum, terms.bits)
        self.bit, prefixes = both[self.number]
        context = fields(terms.context, self.coin, b"enough")
        table: list[tuple[bytes, list[int]]] = []
        for prefix in sorted(prefixes, key=len, reverse=True):
            string = struct.pack("<BQ", len(prefix), int(prefix, 2))
            table.append((hashlib.sha256(fields(context, string)).digest(), []))
        stream = self.stream("hidden-totals/fill", self.name)
        table += [(stream.take(32), []) for _ in range(terms.bits - 1 - len(prefixes))]
        return self.run("enough", b"enough", table, terms.bits - 1, terms.bits - 1, 1, 0, 0)

    # What opens.

    @property
    def learns(self) -> bool:
        return self.terms.receivers in (self.role, "both")

    def enough(self, message: bytes) -> bool:
        """Whether there are, by the peer's half."""
        if message not in (b"\1\0", b"\1\1"):
            raise RefusedError("not a half of whether there are enough")
        return bool(self.bit ^ message[1])

    def result(self, message: bytes) -> dict[str, Any]:
        """The totals, by the peer's shares."""
        terms = self.terms
        if message[:1] != b"\2" or len(message) != 1 + 8 * len(self.sums):
            raise RefusedError("not the shares of all totals")
        theirs = struct.unpack(f"<{len(self.sums)}Q", message[1:])
        totals = [(a + b) % RING for a, b in zip(self.sums, theirs, strict=True)]
        signed = [value - RING * (value >= RING // 2) for value in totals]
        rows = signed[terms.placer_words]
        own, other = signed[: terms.placer_words], signed[terms.placer_words + 1 :][: terms.mapper_words]
        subjects = signed[-1] if terms.multiplicity > 1 else rows
        return {"enough": True, "subjects": subjects, "rows": rows, "placer": own, "mapper": other}


def coin_hash(*parts: bytes) -> bytes:
    return hashlib.sha256(fields(b"atoll coin v1", *parts)).digest()


def commitment(drawn: bytes) -> bytes:
    """To the first 32 bytes, under the others."""
    return hashlib.sha256(b"atoll commitment v1" + drawn[32:] + drawn[:32]).digest()


def converse(sides: list[Side], lanes: list[Lanes]) -> None:
    """Each side takes a message only when it has none to send."""
    coming: list[deque[bytes]] = [deque(), deque()]
    while not all(lane.done for lane in lanes):
        for i, lane in enumerate(lanes):
            while out := lane.next_message():
                sides[i].sent.append(out)
                coming[1 - i].append(out[0])
            if coming[i]:
                lane.receive(coming[i].popleft())


def run(sides: list[Side]) -> list[dict[str, Any]]:
    """What each side learns."""
    terms = sides[0].terms
    hellos = [side.hello() for side in sides]
    for side, hello in zip(sides, hellos, strict=True):
        side.sent += [(hello, "hidden-totals/hello"), (b"\2" + side.share, "hidden-totals/coin")]
    for side, peer in zip(sides, reversed(sides), strict=True):
        side.heard(*(message for message, _ in peer.sent))
    for first in range(0, terms.buckets, 2):
        buckets = range(first, min(first + 2, terms.buckets))
        lanes = [Lanes([side.bucket(at) for at in buckets], side.name) for side in sides]
        converse(sides, lanes)
        for side, lane in zip(sides, lanes, strict=True):
            for part in lane.runs:
                side.add(part)
    lanes = [Lanes([side.comparison()], side.name) for side in sides]
    converse(sides, lanes)
    for side, lane in zip(sides, lanes, strict=True):
        side.bit = (side.bit + sum(lane.runs[0].output().matched)) % 2
        side.sent.append((bytes([1, side.bit]), "hidden-totals/enough"))
    pairs = list(zip(sides, reversed(sides), strict=True))
    if not all(side.enough(peer.sent[-1][0]) for side, peer in pairs):
        return [{"enough": False}, {"enough": False}]
    for side, peer in pairs:
        if peer.learns:
            side.sent.append((b"\2" + words(side.sums), "hidden-totals/totals"))
    return [side.result(peer.sent[-1][0]) if side.learns else {"enough": True} for side, peer in pairs]
