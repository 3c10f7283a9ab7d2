"""One id against a sealed table (docs/protocols/lookup-totals.md): both sides, message by message, in plain integers.

From the same seeds each message and share is the product's. What both sides know is in `Agreed`; the steps of a
query are written one after the other. Where both have one, the asker's names begin with `a_`, the holder's with `h_`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from reference.aes import permute, tweaked
from reference.circuit_psi import WORD, bytes_of, moved, nibble, packed, words_of
from reference.garbled_aes import BITS, UNUSED, evaluated, garbled
from reference.garbled_aes import WORD as WORD_HALF
from reference.stream import Stream
from reference.vole import Half, Receiver, Sender
from reference.vole_psi import multiply

ASKER, HOLDER = 0, 1
COMMITMENT, SHARE, OPENING, TURN, BLOCK, CHOICES, LABELS, CORRECTIONS, TABLES = range(1, 10)
HOLDER_FLIPS, ASKER_WORDS, ASKER_FLIP, HOLDER_WORDS = range(10, 14)
PIECE = 2**19
Sent = list[tuple[int, bytes]]


@dataclass(frozen=True)
class Agreed:
    """What both sides know before."""

    attempt: int
    channel: str
    context: bytes
    cells: int
    words: int
    queries: int

    @property
    def binding(self) -> bytes:
        fields = b"".join(struct.pack("<Q", len(f)) + f for f in (self.channel.encode(), self.context))
        numbers = struct.pack("<I3Q", self.attempt, self.cells, self.words, self.queries)
        return hashlib.sha256(b"atoll lookup-totals parameters v1" + fields + numbers).digest()

    @property
    def bits(self) -> int:
        return -(-(40 + (self.cells - 1).bit_length()) // 4) * 4

    @property
    def tag_bytes(self) -> int:
        return -(-self.bits // 8)

    @property
    def levels(self) -> list[int]:
        levels = [self.bits // 4]
        while levels[-1] > 1:
            levels.append(-(-levels[-1] // 4))
        return levels

    @property
    def blocks(self) -> int:
        return -(-(1 + self.words) // 2)

    def halves(self, block: int) -> list[str]:
        return [
            BITS if at == 0 else WORD_HALF if at <= self.words else UNUSED
            for at in (2 * block, 2 * block + 1)
        ]

    def correlations(self) -> list[tuple[int, int, int]]:
        """Who receives, number of values, their bits."""
        leaves = self.queries * self.cells * sum(self.levels)
        return [(ASKER, leaves, 4), (ASKER, 129 * self.queries, 1), (HOLDER, self.queries * self.cells, 1)]


# The holder's table.


def column(digest: bytes, salt: bytes, columns: int) -> int:
    return Stream(digest, [b"lookup-totals/v1/column", salt]).below(columns)


def cipher_keys(secret: bytes, blocks: int) -> list[bytes]:
    return [Stream(secret, [b"lookup-totals/v1/key", struct.pack("<I", b)]).take(16) for b in range(blocks)]


def function(agreed: Agreed, secret: bytes, digest: bytes) -> list[int]:
    """Tag and pads of an id."""
    block = int.from_bytes(digest[:16], "little")
    out = []
    for key in cipher_keys(secret, agreed.blocks):
        (found,) = permute(key, [block])
        out += [found % WORD, found // WORD]
    return [out[0] % 2**agreed.bits, *out[1 : 1 + agreed.words]]


def sealed(
    agreed: Agreed,
    secret: bytes,
    salt: bytes,
    columns: int,
    rows: list[tuple[bytes, list[int]]],
    filler: Stream,
) -> list[list[tuple[int, list[int]]]]:
    """Cells of every column: tag and words."""
    size = agreed.tag_bytes + 8 * agreed.words
    random = filler.take(columns * agreed.cells * size)
    cells = []
    for start in range(0, len(random), size):
        cell = random[start : start + size]
        tag = int.from_bytes(cell[: agreed.tag_bytes], "little") % 2**agreed.bits
        cells.append((tag, words_of(cell[agreed.tag_bytes :])))
    free = [filler.permutation(agreed.cells) for _ in range(columns)]
    for digest, values in rows:
        at = column(digest, salt, columns)
        tag, *pads = function(agreed, secret, digest)
        words = [(value - pad) % WORD for value, pad in zip(values, pads, strict=True)]
        cells[at * agreed.cells + free[at].pop()] = (tag, words)
    return [cells[at * agreed.cells : (at + 1) * agreed.cells] for at in range(columns)]


def column_bytes(agreed: Agreed, cells: list[tuple[int, list[int]]]) -> bytes:
    return b"".join(tag.to_bytes(agreed.tag_bytes, "little") + bytes_of(words) for tag, words in cells)


# Both sides of a preparation and of its queries.


@dataclass
class Run:
    """Seeds of the asker and the holder; messages as (sender, bytes)."""

    agreed: Agreed
    seeds: tuple[bytes, bytes]
    sent: Sent = field(default_factory=list)
    coin: bytes = b""
    # Of each correlation what receiver and sender have.
    outputs: list[tuple[Any, Any]] = field(default_factory=list)

    def stream(self, side: int, step: str) -> Stream:
        return Stream.of_step(
            self.seeds[side], self.agreed.attempt, self.agreed.channel, f"lookup-totals/{step}"
        )

    def part(self, label: str) -> bytes:
        return hashlib.sha256(self.coin + label.encode()).digest()[:16]

    def key(self, label: str) -> bytes:
        found = hashlib.sha256(b"atoll circuit-psi masks v1" + self.part("masks") + label.encode())
        return found.digest()[:16]

    def prepare(self) -> None:
        binding = self.agreed.binding
        asker, holder = (self.stream(side, "coin").take(32) for side in (ASKER, HOLDER))
        committed = hashlib.sha256(b"atoll lookup-totals commitment v1" + binding + holder).digest()
        self.sent += [
            (HOLDER, bytes([COMMITMENT, 0]) + committed),
            (ASKER, bytes([SHARE, 0]) + asker),
            (HOLDER, bytes([OPENING, 0]) + holder),
        ]
        coin = b"atoll lookup-totals coin v1" + binding + holder + asker
        self.coin = hashlib.sha256(coin).digest()
        sides: tuple[list[Half], list[Half]] = ([], [])
        for number, (receiver, size, bits) in enumerate(self.agreed.correlations()):
            name = f"correlation/{number}"
            for side in (ASKER, HOLDER):
                make = Receiver if side == receiver else Sender
                stream = self.odd if number == 1 and side == HOLDER else self.stream
                sides[side].append(make(size, bits, self.part(name), stream(side, name)))
        speaker = HOLDER
        while not all(half.done for half in sides[ASKER] + sides[HOLDER]):
            said = [(number, m) for number, half in enumerate(sides[speaker]) for m in half.messages()]
            body = b"".join(struct.pack("<HI", number, len(m)) + m for number, m in said)
            for number, m in said:
                sides[1 - speaker][number].receive(m)
            for start in range(0, len(body), PIECE):
                last = start + PIECE >= len(body)
                self.sent.append((speaker, bytes([TURN, last]) + body[start : start + PIECE]))
            speaker = 1 - speaker
        for number, (receiver, *_) in enumerate(self.agreed.correlations()):
            pair = sides[receiver][number].output(), sides[1 - receiver][number].output()
            self.outputs.append(pair)

    def odd(self, side: int, name: str) -> Stream:
        """Delta comes first, and is odd."""
        at = 0
        while not self.stream(side, f"{name}/{at}").take(1)[0] & 1:
            at += 1
        return self.stream(side, f"{name}/{at}")

    def query(
        self, number: int, digest: bytes, secret: bytes, cells: list[tuple[int, list[int]]]
    ) -> tuple[list[int], list[int]]:
        """The asker's and the holder's shares."""
        agreed, count = self.agreed, self.agreed.cells

        def say(side: int, kind: int, body: bytes, level: int = 0) -> bytes:
            self.sent.append((side, struct.pack("<BBI", kind, level, number) + body))
            return body

        (own_a, own_c), (delta, own_b) = self.outputs[1]
        bits = slice(128 * number, 128 * number + 128)
        choice = 128 * agreed.queries + number

        # Blocks, choices, labels.
        random = self.stream(HOLDER, f"query/{number}/labels")
        zeros = [int.from_bytes(random.take(16), "little") for _ in range(128)]
        blocks, h_found = [], []
        for block, key in enumerate(cipher_keys(secret, agreed.blocks)):
            use = self.key(f"block/{number}/{block}")
            body, found = garbled(use, delta, key, zeros, agreed.halves(block))
            blocks.append(say(HOLDER, BLOCK, body, block))
            h_found += found
        given = int.from_bytes(digest[:16], "little")
        asked = given ^ sum(a << at for at, a in enumerate(own_a[bits]))
        say(ASKER, CHOICES, asked.to_bytes(16, "little"))
        masked = [
            zero ^ b ^ (delta if asked >> at & 1 else 0)
            for at, (zero, b) in enumerate(zip(zeros, own_b[bits], strict=True))
        ]
        say(HOLDER, LABELS, b"".join(x.to_bytes(16, "little") for x in masked))
        labels = [x ^ c for x, c in zip(masked, own_c[bits], strict=True)]
        a_found = []
        for block, body in enumerate(blocks):
            use = self.key(f"block/{number}/{block}")
            a_found += evaluated(use, body, labels, agreed.halves(block))
        a_pads, h_pads = a_found[1 : 1 + agreed.words], h_found[1 : 1 + agreed.words]

        # Equality of all cells.
        strings = (
            [(tag ^ a_found[0]) % 2**agreed.bits for tag, _ in cells],
            [h_found[0] % 2**agreed.bits] * count,
        )
        a_strings, h_strings = (list(s) for s in strings)
        for level in range(len(agreed.levels)):
            a_strings, h_strings = self.compared(number, level, a_strings, h_strings, say)
        a_halves, h_halves = [s & 1 for s in a_strings], [1 - (s & 1) for s in h_strings]

        # The asker's words times the bits, then the holder's times their sum.
        chosen, (words_delta, words_b) = self.outputs[2]
        places = slice(number * count, (number + 1) * count)
        flips = packed([h ^ a for h, a in zip(h_halves, chosen[0][places], strict=True)])
        say(HOLDER, HOLDER_FLIPS, flips)
        values = [[(w + pad) % WORD for w, pad in zip(words, a_pads, strict=True)] for _, words in cells]
        key = self.key(f"asker-words/{number}")
        body, own = multiplied(key, values, a_halves, flips, words_delta, words_b[places])
        say(ASKER, ASKER_WORDS, body)
        theirs = received(key, body, h_halves, chosen[1][places])
        a_hit, h_hit = sum(a_halves) & 1, sum(h_halves) & 1
        flip = packed([a_hit ^ own_a[choice]])
        say(ASKER, ASKER_FLIP, flip)
        key = self.key(f"holder-words/{number}")
        body, rest = multiplied(key, [h_pads], [h_hit], flip, delta, [own_b[choice]])
        say(HOLDER, HOLDER_WORDS, body)
        gained = received(key, body, [a_hit], [own_c[choice]])
        sums = [
            [sum(column) % WORD for column in zip(*rows, strict=True)]
            for rows in (own + gained, theirs + rest)
        ]
        return sums[0], sums[1]

    def compared(
        self,
        number: int,
        level: int,
        a_strings: list[int],
        h_strings: list[int],
        say: Callable[..., bytes],
    ) -> tuple[list[int], list[int]]:
        """One level of the test: the strings of the next."""
        agreed = self.agreed
        (a, c), (delta, b) = self.outputs[0]
        leaves = agreed.levels[level]
        first = agreed.cells * (number * sum(agreed.levels) + sum(agreed.levels[:level]))
        at = [[first + cell * leaves + leaf for leaf in range(leaves)] for cell in range(agreed.cells)]
        asked = [
            [nibble(string, leaf) ^ a[places[leaf]] for leaf in range(leaves)]
            for string, places in zip(a_strings, at, strict=True)
        ]
        body = b"".join(
            sum(value << (4 * leaf) for leaf, value in enumerate(values)).to_bytes(-(-leaves // 2), "little")
            for values in asked
        )
        say(ASKER, CORRECTIONS, body, level)
        random = self.stream(HOLDER, f"query/{number}/leaves/{level}")
        key = self.key("leaves")
        tables, next_a, next_h = b"", [], []
        for cell, string in enumerate(h_strings):
            bits = int.from_bytes(random.take(2), "little") % 2**leaves
            opened = 0
            for leaf, place in enumerate(at[cell]):
                shifted = [b[place] ^ multiply(v, delta) for v in range(16)]
                pads = sum((x & 1) << v for v, x in enumerate(tweaked(key, [place] * 16, shifted)))
                table = moved(pads, asked[cell][leaf]) ^ 1 << nibble(string, leaf)
                table ^= 0xFFFF if bits >> leaf & 1 else 0
                tables += table.to_bytes(2, "little")
                (mask,) = tweaked(key, [place], [c[place]])
                opened |= (table >> nibble(a_strings[cell], leaf) & 1 ^ mask & 1) << leaf
            next_a.append(opened)
            next_h.append(2**leaves - 1 ^ bits)
        say(HOLDER, TABLES, tables, level)
        return next_a, next_h


def expanded(key: bytes, count: int, blocks: list[int]) -> list[list[int]]:
    """`count` masks for each block."""
    lanes = -(-count // 2)
    found = tweaked(key, range(len(blocks) * lanes), [block for block in blocks for _ in range(lanes)])
    halves = [word for block in found for word in (block % WORD, block // WORD)]
    return [halves[2 * lanes * at :][:count] for at in range(len(blocks))]


def multiplied(
    key: bytes, values: list[list[int]], halves: list[int], flips: bytes, delta: int, b: list[int]
) -> tuple[bytes, list[list[int]]]:
    """The message for words that this side knows, and its shares of their products."""
    choices = [int.from_bytes(flips, "little") >> at & 1 for at in range(len(values))]
    zero, one = (
        expanded(
            key, len(values[0]), [x ^ (delta if c ^ side else 0) for x, c in zip(b, choices, strict=True)]
        )
        for side in (0, 1)
    )
    sent, shares = [], []
    for row, half, zeros, ones in zip(values, halves, zero, one, strict=True):
        sent += [(z + v - 2 * v * half - o) % WORD for v, z, o in zip(row, zeros, ones, strict=True)]
        shares.append([(v * half - z) % WORD for v, z in zip(row, zeros, strict=True)])
    return bytes_of(sent), shares


def received(key: bytes, body: bytes, halves: list[int], c: list[int]) -> list[list[int]]:
    """The other side's shares."""
    words = words_of(body)
    count = len(words) // len(halves)
    masks = expanded(key, count, c)
    return [
        [(mask + words[at * count + k] * half) % WORD for k, mask in enumerate(masks[at])]
        for at, half in enumerate(halves)
    ]
