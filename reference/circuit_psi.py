"""Circuit-PSI (docs/protocols/circuit-psi.md), slowly and in plain integers: both sides, message by message.

Pinkas, Schneider, Tkachenko and Yanai (eprint 2019/241) with the function of Rindal and Schoppmann (eprint
2021/266) and the equality test of Chandran, Gupta and Shah (eprint 2021/034). Nothing is taken from the product:
every byte follows from seeds and tables, correlations and stores included.
"""

from __future__ import annotations

import hashlib
import struct
from collections import deque
from dataclasses import dataclass
from typing import Any

from reference import circuit_steps as steps
from reference.aes import permute, tweaked
from reference.circuit_steps import Agreed, Party, Step
from reference.vole import Half, Receiver, RefusedError, Sender
from reference.vole_psi import multiply

WORD = 2**64
EMPTY = 2**32 - 1


# Keys, entries and bins.


def entry(coin: bytes, digest: bytes, copy: int) -> tuple[int, int]:
    """The name of the copy of a key, and the word that names its bins."""
    found = hashlib.sha256(coin + digest + struct.pack("<I", copy)).digest()
    return int.from_bytes(found[:16], "little"), int.from_bytes(found[16:], "little")


def positions(word: int, bins: int) -> list[int]:
    """Three different bins from three times 42 bits."""
    parts = [word >> (42 * k) & (2**42 - 1) for k in range(3)]
    found: list[int] = []
    for k, part in enumerate(parts):
        place = part * (bins - k) >> 42
        # Bins that are taken are left out.
        for other in sorted(found):
            place += place >= other
        found.append(place)
    return found


def placed(words: list[int], bins: int) -> list[int | None]:
    """The entry of each bin: first bins that one entry alone names, then shortest augmenting paths."""
    of = [positions(word, bins) for word in words]
    table: list[int | None] = [None] * bins
    named = [{entry for entry, names in enumerate(of) if at in names} for at in range(bins)]
    for start in range(bins):
        ready = [start]
        while ready:
            at = ready.pop()
            if len(named[at]) != 1:
                continue
            (found,) = named[at]
            table[at] = found
            for other in of[found]:
                named[other].remove(found)
                if len(named[other]) == 1:
                    ready.append(other)
    for left in (entry for entry in range(len(words)) if entry not in table):
        augment(of, table, left)
    return table


def augment(of: list[list[int]], table: list[int | None], entry: int) -> None:
    # From which bin an entry would move to another; the new one comes from nowhere.
    source: dict[int, int | None] = {}
    queue: deque[tuple[int, int | None]] = deque([(entry, None)])
    while queue:
        holder, home = queue.popleft()
        for at in of[holder]:
            if at in source:
                continue
            source[at] = home
            other = table[at]
            if other is not None:
                queue.append((other, at))
                continue
            to = at
            while (before := source[to]) is not None:
                table[to] = table[before]
                to = before
            table[to] = entry
            return
    raise ArithmeticError("the keys could not be placed")


# Leaves of the equality test: four bits of two strings.


def nibble(string: int, leaf: int) -> int:
    return string >> (4 * leaf) & 15


def moved(bits: int, by: int) -> int:
    """Of 16 bits each to the place that is its own plus `by` in GF(2)^4."""
    return sum((bits >> v & 1) << (v ^ by) for v in range(16))


# Bytes.


def packed(bits: list[int]) -> bytes:
    """The first bit in the lowest place, in words of 64."""
    number = sum(bit << at for at, bit in enumerate(bits))
    return number.to_bytes(-(-len(bits) // 64) * 8, "little")


def words_of(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 8}Q", data))


def bytes_of(words: list[int]) -> bytes:
    return struct.pack(f"<{len(words)}Q", *words)


@dataclass
class Output:
    """One side's halves of "matched" by bin, its shares of all words bin by bin, at the placer the row of each bin."""

    matched: list[int]
    words: list[list[int]]
    rows: list[int] | None


class CircuitParty(Party):
    """What both sides do."""

    def __init__(
        self, role: str, agreed: Agreed, seed: bytes, digests: list[bytes], payload: list[list[int]]
    ) -> None:
        super().__init__(role, agreed, seed)
        self.digests, self.payload = digests, payload
        self.share = self.stream("coin").take(32)
        self.heard = self.coin = b""
        # Shares of every bin's words, the placer's first; strings of every bin, then leaves of the level before.
        self.values = [[0] * agreed.words for _ in range(agreed.bins)]
        self.strings = [0] * agreed.bins
        self.slots: list[int] = []
        self.outputs: dict[str, Any] = {}
        self.answer = b""

    def part(self, label: str) -> bytes:
        return hashlib.sha256(self.coin + label.encode()).digest()[:16]

    def key(self, label: str) -> bytes:
        """The AES key of one use."""
        found = hashlib.sha256(b"atoll circuit-psi masks v1" + self.part("masks") + label.encode())
        return found.digest()[:16]

    def random_words(self, step: str, count: int) -> list[int]:
        return words_of(self.stream(step).take(8 * count))

    def store_keys(self, named: list[tuple[int, int]]) -> list[int]:
        """Keys of both stores from names and numbers of positions."""
        blocks = [name ^ position for name, position in named]
        return [a ^ b for a, b in zip(blocks, permute(self.key("keys"), blocks), strict=True)]

    def function(self, keys: list[int], elements: list[int]) -> list[list[int]]:
        """For every key the lanes of H(element, key)."""
        key = self.key("function")
        lanes = [tweaked(key, [x ^ lane for x in keys], elements) for lane in range(self.agreed.lanes)]
        return [list(record) for record in zip(*lanes, strict=True)]

    # The coin and the correlations.

    def commitment(self, share: bytes) -> bytes:
        label = b"atoll circuit-psi commitment v1"
        return hashlib.sha256(label + self.agreed.binding + share).digest()

    def make(self, step: Step) -> bytes:
        if step.kind == steps.COMMITMENT:
            return self.commitment(self.share)
        if step.kind in (steps.SHARE, steps.OPENING):
            return self.share
        return self.make_body(step)

    def take(self, step: Step, body: bytes) -> None:
        if step.kind in (steps.COMMITMENT, steps.SHARE):
            self.heard = body
        elif step.kind == steps.OPENING:
            if self.commitment(body) != self.heard:
                raise RefusedError("the coin does not open, or the parameters differ")
            self.heard = body
        else:
            self.take_body(step, body)

    def begun(self) -> list[Half]:
        shares = (self.share, self.heard) if self.role == "placer" else (self.heard, self.share)
        coin = b"atoll circuit-psi coin v1" + self.agreed.binding + b"".join(shares)
        self.coin = hashlib.sha256(coin).digest()
        halves: list[Half] = []
        for number, (use, size, bits) in enumerate(self.agreed.correlations()):
            receiver = "placer" if use in ("entries", "mapper-words") else "mapper"
            side = Receiver if receiver == self.role else Sender
            name = f"correlation/{number}"
            halves.append(side(size, bits, self.part(name), self.stream(name)))
        return halves

    def correlated(self) -> None:
        for (use, *_), half in zip(self.agreed.correlations(), self.halves, strict=True):
            self.outputs[use] = half.output()
        self.halves = []

    def leaf(self, level: int, bin_: int, leaf: int) -> int:
        """The number of a leaf among all: level by level, then bin by bin."""
        levels = self.agreed.levels
        return sum(levels[:level]) * self.agreed.bins + bin_ * levels[level] + leaf

    # Words times the shared bit, where one side knows the words.

    def expanded(self, use: str, count: int, blocks: list[int]) -> list[list[int]]:
        """`count` masks for the block of each bin."""
        lanes = -(-count // 2)
        repeated = [block for block in blocks for _ in range(lanes)]
        found = tweaked(self.key(use), range(len(repeated)), repeated)
        halves = [word for block in found for word in (block % WORD, block // WORD)]
        return [halves[2 * lanes * at :][:count] for at in range(len(blocks))]

    def multiplied(self, use: str, first: int, flips: bytes) -> bytes:
        """What the peer needs of the words from `first` on; they become this side's shares."""
        delta, b = self.outputs[use]
        number = int.from_bytes(flips, "little")
        choices = [number >> at & 1 for at in range(self.agreed.bins)]
        count = self.agreed.words - first
        zero, one = (
            self.expanded(use, count, [x ^ delta * (c ^ side) for x, c in zip(b, choices, strict=True)])
            for side in (0, 1)
        )
        out = []
        for at, row in enumerate(self.values):
            half = self.half(at)
            for k in range(count):
                value, masks = row[first + k], (zero[at][k], one[at][k])
                out.append((masks[0] + value - 2 * value * half - masks[1]) % WORD)
                row[first + k] = (value * half - masks[0]) % WORD
        return bytes_of(out)

    def flips(self, use: str) -> bytes:
        """This side's half of each bin's bit, plus its choice."""
        a, _ = self.outputs[use]
        return packed([self.half(at) ^ a[at] for at in range(self.agreed.bins)])

    def added(self, use: str, first: int, body: bytes) -> None:
        """Adds the shares that the peer's words give."""
        _, c = self.outputs[use]
        count = self.agreed.words - first
        masks, sent = self.expanded(use, count, c), words_of(body)
        for at, row in enumerate(self.values):
            for k in range(count):
                term = sent[at * count + k] * self.half(at)
                row[first + k] = (row[first + k] + masks[at][k] + term) % WORD

    def half(self, at: int) -> int:
        """This side's half of "matched" at a bin, after the last level."""
        raise NotImplementedError

    def make_body(self, step: Step) -> bytes:
        raise NotImplementedError

    def take_body(self, step: Step, body: bytes) -> None:
        raise NotImplementedError

    def output(self) -> Output:
        assert self.done
        halves = [0 if self.agreed.empty else self.half(at) for at in range(self.agreed.bins)]
        return Output(halves, self.values, None)


class Placer(CircuitParty):
    """Every key in a bin of its own."""

    def __init__(self, agreed: Agreed, seed: bytes, digests: list[bytes], payload: list[list[int]]) -> None:
        super().__init__("placer", agreed, seed, digests, payload)
        self.table: list[int | None] = [None] * agreed.bins
        self.keys: list[int] = []

    def make_body(self, step: Step) -> bytes:
        if step.kind == steps.ENTRIES:
            return self.encoded()
        if step.kind == steps.PLACER_FLIPS:
            return self.flips("mapper-words")
        return self.answer

    def take_body(self, step: Step, body: bytes) -> None:
        if step.kind == steps.STORE:
            self.decode(body)
        elif step.kind == steps.CORRECTIONS:
            self.answer = self.tables(step.level, body)
        elif step.kind == steps.MAPPER_FLIPS:
            self.answer = self.multiplied("placer-words", 0, body)
        else:
            self.added("mapper-words", self.agreed.placer_words, body)

    def encoded(self) -> bytes:
        """a + P, where P is a store of every placed key under itself."""
        agreed, coin = self.agreed, self.part("placement")
        entries = [
            entry(coin, digest, copy) for digest in self.digests for copy in range(agreed.multiplicity)
        ]
        self.table = placed([word for _, word in entries], agreed.bins)
        named = []
        for at, found in enumerate(self.table):
            if found is not None:
                name, word = entries[found]
                named.append((name, positions(word, agreed.bins).index(at)))
        self.keys = self.store_keys(named)
        store = agreed.store(steps.ENTRIES, self.part("entries"))
        slots = store.encode(self.keys, self.keys, self.stream("entries/fill"))
        a, _ = self.outputs["entries"]
        return b"".join((p ^ x).to_bytes(16, "little") for p, x in zip(slots, a, strict=True))

    def decode(self, body: bytes) -> None:
        """String and masked words of every bin, by the function at its entry; random where it is empty."""
        agreed = self.agreed
        _, c = self.outputs["entries"]
        entries = agreed.store(steps.ENTRIES, self.part("entries"))
        values = agreed.store(steps.STORE, self.part("values"))
        rows = [body[i : i + agreed.store_bytes] for i in range(0, len(body), agreed.store_bytes)]
        columns = [
            [int.from_bytes(row[16 * lane : 16 * lane + 16], "little") for row in rows]
            for lane in range(agreed.lanes)
        ]
        records = self.function(self.keys, [entries.decode(key, c) for key in self.keys])
        for key, record in zip(self.keys, records, strict=True):
            for lane, column in enumerate(columns):
                record[lane] ^= values.decode(key, column)
        width = 1 + agreed.mapper_words
        random = self.random_words("empty", agreed.bins * width)
        found = iter(records)
        for at, entry_ in enumerate(self.table):
            words = random[at * width : (at + 1) * width]
            own = [0] * agreed.placer_words
            if entry_ is not None:
                words = [half for lane in next(found) for half in (lane % WORD, lane // WORD)][:width]
                own = self.payload[entry_ // agreed.multiplicity]
            self.strings[at] = words[0] % 2**agreed.bits
            self.values[at] = [*own, *words[1:]]

    def tables(self, level: int, body: bytes) -> bytes:
        """The masked comparisons of all leaves of a level with every value, moved as the peer asks."""
        leaves, out = self.agreed.levels[level], []
        delta, b = self.outputs["leaves"]
        unit = -(-leaves // 2)
        random = self.stream(f"leaves/{level}")
        shifts = [multiply(v, delta) for v in range(16)]
        key = self.key("leaves")
        for at, string in enumerate(self.strings):
            share = int.from_bytes(random.take(2), "little") % 2**leaves
            asked = int.from_bytes(body[at * unit : (at + 1) * unit], "little")
            for leaf in range(leaves):
                index = self.leaf(level, at, leaf)
                blocks = tweaked(key, [index] * 16, [b[index] ^ shift for shift in shifts])
                pad = sum((block & 1) << v for v, block in enumerate(blocks))
                flipped = 0xFFFF if share >> leaf & 1 else 0
                out.append(moved(pad, nibble(asked, leaf)) ^ 1 << nibble(string, leaf) ^ flipped)
            self.strings[at] = ~share % 2**leaves
        return b"".join(table.to_bytes(2, "little") for table in out)

    def half(self, at: int) -> int:
        return 1 - self.strings[at]

    def output(self) -> Output:
        found = super().output()
        found.rows = [EMPTY if at is None else at // self.agreed.multiplicity for at in self.table]
        return found


class Mapper(CircuitParty):
    """Every row in each of its three bins."""

    def __init__(self, agreed: Agreed, seed: bytes, digests: list[bytes], payload: list[list[int]]) -> None:
        super().__init__("mapper", agreed, seed, digests, payload)

    def make_body(self, step: Step) -> bytes:
        if step.kind == steps.STORE:
            return self.programmed()
        if step.kind == steps.CORRECTIONS:
            return self.corrections(step.level)
        if step.kind == steps.MAPPER_FLIPS:
            return self.flips("placer-words")
        return self.answer

    def take_body(self, step: Step, body: bytes) -> None:
        if step.kind == steps.ENTRIES:
            delta, b = self.outputs["entries"]
            sent = [int.from_bytes(body[i : i + 16], "little") for i in range(0, len(body), 16)]
            self.slots = [x ^ multiply(delta, a) for x, a in zip(b, sent, strict=True)]
        elif step.kind == steps.TABLES:
            self.open(step.level, body)
        elif step.kind == steps.PLACER_FLIPS:
            self.answer = self.multiplied("mapper-words", self.agreed.placer_words, body)
        else:
            self.added("placer-words", 0, body)

    def programmed(self) -> bytes:
        """A store that gives, for a row at each of its bins, the bin's string and the words less the bin's masks."""
        agreed, coin = self.agreed, self.part("placement")
        own, count = agreed.mapper_words, agreed.bins
        copies = [self.digests[:row].count(digest) for row, digest in enumerate(self.digests)]
        assert max(copies) < agreed.multiplicity
        entries = [entry(coin, digest, copy) for digest, copy in zip(self.digests, copies, strict=True)]
        keys = self.store_keys([(name, position) for name, _ in entries for position in range(3)])
        store = agreed.store(steps.ENTRIES, self.part("entries"))
        delta, _ = self.outputs["entries"]
        records = self.function(keys, [store.decode(x, self.slots) ^ multiply(x, delta) for x in keys])
        self.strings = [string % 2**agreed.bits for string in self.random_words("strings", count)]
        random = self.random_words("masks", count * own)
        for row, (_, word) in enumerate(entries):
            for position, at in enumerate(positions(word, count)):
                masks = random[at * own : (at + 1) * own]
                masked = [(v - r) % WORD for v, r in zip(self.payload[row], masks, strict=True)]
                for k, value in enumerate([self.strings[at], *masked]):
                    records[3 * row + position][k // 2] ^= value << (64 * (k % 2))
        values = agreed.store(steps.STORE, self.part("values"))
        fill = self.stream("values/fill")
        columns = [values.encode(keys, list(column), fill) for column in zip(*records, strict=True)]
        for at, row in enumerate(self.values):
            row[agreed.placer_words :] = random[at * own : (at + 1) * own]
        slots = [
            b"".join(lane.to_bytes(16, "little") for lane in slot) for slot in zip(*columns, strict=True)
        ]
        return b"".join(slot[: agreed.store_bytes] for slot in slots)

    def corrections(self, level: int) -> bytes:
        """Of every leaf the own four bits, plus what was chosen at random."""
        leaves, (a, _) = self.agreed.levels[level], self.outputs["leaves"]
        out = b""
        for at, string in enumerate(self.strings):
            asked = [nibble(string, leaf) ^ a[self.leaf(level, at, leaf)] for leaf in range(leaves)]
            number = sum(value << (4 * leaf) for leaf, value in enumerate(asked))
            out += number.to_bytes(-(-leaves // 2), "little")
        return out

    def open(self, level: int, body: bytes) -> None:
        """This side's halves of "equal" of all leaves are the strings of the next level."""
        leaves, (_, c) = self.agreed.levels[level], self.outputs["leaves"]
        key, mine = self.key("leaves"), []
        for at, string in enumerate(self.strings):
            bits = 0
            for leaf in range(leaves):
                index = self.leaf(level, at, leaf)
                (mask,) = tweaked(key, [index], [c[index]])
                table = int.from_bytes(body[2 * (at * leaves + leaf) :][:2], "little")
                bits |= (table >> nibble(string, leaf) & 1 ^ mask & 1) << leaf
            mine.append(bits)
        self.strings = mine

    def half(self, at: int) -> int:
        return self.strings[at]
