"""What a program will cost, before it runs: rounds, bytes, seconds.

The program is run on arrays that have shapes, kinds and bounds but no values, in a setting that counts what every step
would send. Rounds and bytes are those of a run; a sort, whose rounds depend on chance, is played with random
comparisons.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np

from atoll.crypto.circuit import HiddenShares, HiddenSide, circuit_sizes
from atoll.crypto.digits import BLOCK, Digits
from atoll.crypto.triples import Rich, Thin, matrix_bytes
from atoll.errors import AtollError
from atoll.mpc import circuits
from atoll.mpc.additive import by_triples, row_blocks
from atoll.mpc.digits import groups
from atoll.mpc.rounds import U64, Exchange, Step, T
from atoll.mpc.session import Session
from atoll.mpc.shares import Shares
from atoll.mpc.sources import bits_bytes, bits_ns, transfers_bytes, transfers_ns
from atoll.mpc.supply import BATCH_BITS, BATCH_TRANSFERS, BATCH_WORDS, PIECE

_WORD: Final = 8
# Nanoseconds of one processor for all parties together, measured on one core of 2026 (docs/performance.md).
_PRODUCT_NS, _BITS_NS, _SCALED_NS, _TURN_NS, _WORDS_NS, _PLANES_NS = 12.0, 30.0, 58.0, 40.0, 30.0, 12.0
# Of a product of two entries, and of one with a vector, which memory bounds.
_MULTIPLY_NS, _VECTOR_NS = 1.5, 7.0
# Of a bit of a number that is compared by digits, at both parties.
_DIGITS_NS: Final = 8.0
_WORD_TRIPLE_NS: Final = 1300.0
_CORRELATION_NS: Final = 660.0
_BYTE_NS: Final = 1.0
_ROUND_NS: Final = 60_000.0
_STEP_NS: Final = 40_000.0
_WORD_TRIPLE_BYTES: Final = 191
_WORD_SET_UP: Final = 571_000
_MATRIX_SET_UP: Final = 190_600
# Of an entry of a left matrix that is transformed, and of a byte that is encrypted, multiplied and opened.
_TRANSFORM_NS, _ENCRYPTED_BYTE_NS = 55.0, 28.0
_TRANSFER_SET_UP: Final = 17_000


@dataclass(frozen=True)
class Cost:
    """What a program costs.

    Attributes:
        rounds: messages that wait for one another.
        bytes: what all parties send, what is made ahead of need included.
        processor_seconds: of all parties together.
        bits, words, transfers: triples of bits and words, and transfers, that two parties use up.
    """

    rounds: int
    bytes: int
    processor_seconds: float
    bits: int = 0
    words: int = 0
    transfers: int = 0

    def seconds(self, *, delay: float = 0.0, rate: float = 1e9, cores: float = 1.0) -> float:
        """Wall time.

        Args:
            delay: seconds that a message takes from one party to another.
            rate: bytes a second that one party can send.
            cores: processors that all parties together have: one a party, or fewer where they share a machine.
        """
        parties = 2 if self.bits or self.words or self.transfers else 3
        return self.rounds * delay + self.bytes / parties / rate + self.processor_seconds / cores


def estimate(program: Callable[[Any], Any], parties: int = 3, source: Rich | Thin | None = None) -> Cost:
    """The cost of a program, which gets a session whose arrays have no values.

    Args:
        program: what `Session` would be handed to; its inputs' values are not looked at, and what opens is zeros.
        parties: 2 or 3.
        source: of two parties, how transfers are made.

    Raises:
        AtollError: what the program would raise for shapes, kinds and bounds.
    """
    session, begun = _Dry(parties, source or Rich()), time.process_time()
    program(session)
    # What each party does with its own arrays, sorting by what opened above all, was done here once.
    session.meter.ns += parties * (time.process_time() - begun) * 1e9
    return session.meter.cost()


def _shaped(shape: tuple[int, ...]) -> U64:
    """An array that takes no memory."""
    return np.broadcast_to(np.uint64(0), shape)


def _dense(shares: Shares) -> Shares:
    """The same in memory, for those who look at its bytes."""
    return shares.changed(np.ascontiguousarray)


def _entry_ns(columns: int) -> float:
    return _MULTIPLY_NS if columns > 1 else _VECTOR_NS


class _Meter:
    """Counts in place of sending."""

    def __init__(self) -> None:
        self.rounds = self.sent = 0
        self.ns = 0.0
        self.bits = self.words = self.transfers = 0

    def run(self, step: Step[T]) -> T:
        """Runs a step to its end; nothing comes."""
        try:
            next(step)
            while True:
                self.rounds += 1
                step.send({})
        except StopIteration as end:
            value: T = end.value
            return value

    def add(self, words: int, ns: float) -> None:
        """Words that all parties send, and processor time beside sending."""
        self.sent += _WORD * words
        self.ns += ns + _STEP_NS

    def cost(self) -> Cost:
        """What was counted."""
        ns = self.ns + self.rounds * _ROUND_NS + self.sent * _BYTE_NS
        return Cost(self.rounds, self.sent, ns / 1e9, self.bits, self.words, self.transfers)


class _Paper:
    """A setting that counts. `parties` and `source` say which."""

    me = -1

    def __init__(self, meter: _Meter, parties: int, source: Rich | Thin) -> None:
        self._meter, self._parties = meter, parties
        self.links: Any = meter
        self._source = source
        self._random = np.random.default_rng(0)
        # What is left over of each batch; of transfers in both directions.
        self._stock: dict[object, int] = {}

    @property
    def everybody(self) -> tuple[int, ...]:
        return tuple(range(self._parties))

    def _made(self, kind: object, count: int, batch: int) -> int:
        """How many are made for `count` that are used up: what is missing is made in batches, as the supply does."""
        missing, made = count - self._stock.get(kind, 0), 0
        if missing > 0:
            if kind == "words":
                self._meter.sent += 0 if kind in self._stock else _WORD_SET_UP
                made = -(-missing // batch) * batch
            else:
                thin = isinstance(self._source, Thin)
                self._meter.sent += 0 if kind in self._stock or thin else _TRANSFER_SET_UP
                made = max(missing, batch)
        self._stock[kind] = self._stock.get(kind, 0) + made - count
        return made

    def _bits(self, count: int) -> None:
        self._meter.bits += count
        if made := self._made("bits", count, BATCH_BITS):
            self._meter.sent += bits_bytes(self._source, made)
            self._meter.ns += bits_ns(self._source, made)

    def _words(self, count: int) -> None:
        self._meter.words += count
        if made := self._made("words", count, BATCH_WORDS):
            self._meter.sent += round(_WORD_TRIPLE_BYTES * made)
            self._meter.ns += _WORD_TRIPLE_NS * made

    def _transfers(self, sender: int, count: int) -> None:
        self._meter.transfers += count
        if made := self._made(sender, count, BATCH_TRANSFERS):
            self._meter.sent += transfers_bytes(self._source, made)
            self._meter.ns += transfers_ns(self._source, made)

    def _rounds(self, count: int) -> Step[None]:
        for _ in range(count):
            yield Exchange()

    def _result(self, shape: tuple[int, ...]) -> Shares:
        return Shares(_shaped(shape))

    def public(self, words: U64) -> Shares:
        return self._result(words.shape)

    def share(
        self, owner: int, words: U64 | None, shape: tuple[int, ...], *, bits: bool = False
    ) -> Step[Shares]:
        size = int(np.prod(shape, dtype=object))
        if self._parties == 3:
            self._meter.add(size, 0)
            yield from self._rounds(1)
        return self._result(shape)

    def open(self, shares: Shares, to: Sequence[int], *, bits: bool = False) -> Step[U64 | None]:
        self._meter.add(shares.size * len(to), 0)
        yield from self._rounds(1)
        # Comparisons that a sort opens go either way.
        return (
            self._random.integers(0, 2**64, shares.shape, np.uint64)
            if bits
            else np.zeros(shares.shape, np.uint64)
        )

    def _product(self, sent: int, ns: float) -> Step[None]:
        self._meter.add(sent, ns)
        yield from self._rounds(1)

    def product(self, x: Shares, y: Shares) -> Step[Shares]:
        if self._parties == 2:
            self._words(x.size)
        yield from self._product((3 if self._parties == 3 else 4) * x.size, _PRODUCT_NS * x.size)
        return self._result(x.shape)

    def both(self, x: Shares, y: Shares) -> Step[Shares]:
        if self._parties == 2:
            self._bits(64 * x.size)
        yield from self._product((3 if self._parties == 3 else 4) * x.size, _BITS_NS * x.size)
        return self._result(x.shape)

    def both_of(self, x: Shares, y: Shares, z: Shares) -> Step[tuple[Shares, Shares]]:
        if self._parties == 2:
            piece = PIECE[type(self._source)] // 64
            for sender in range(2):
                for start in range(0, x.size, piece):
                    self._transfers(sender, 64 * min(piece, x.size - start))
        yield from self._product(6 * x.size, 2 * _BITS_NS * x.size)
        return self._result(x.shape), self._result(x.shape)

    def matrix_product(self, x: Shares, y: Shares, threads: int = 1) -> Step[Shares]:
        (rows, inner), columns = x.shape, y.shape[1]
        count = rows * inner * columns
        if self._parties == 3:
            yield from self._product(3 * rows * columns, _entry_ns(columns) * count)
        elif count and by_triples(rows, inner, columns):
            self._words(count)
            yield from self._product(4 * count, _PRODUCT_NS * count)
        elif count:
            for _, part in row_blocks(rows, inner):
                sent = 2 * (matrix_bytes(part, inner, columns) + _MATRIX_SET_UP)
                self._meter.sent += sent
                self._meter.ns += 2 * _TRANSFORM_NS * part * inner + _ENCRYPTED_BYTE_NS * sent
        return self._result((rows, columns))

    def scaled(self, x: Shares, shift: int) -> Step[Shares]:
        if self._parties == 3:
            self._meter.add(8 * x.size, _SCALED_NS * x.size)
            yield from self._rounds(2)
        else:
            yield from self._times(x.size)
        return self._result(x.shape)

    def scaled_product(self, x: Shares, y: Shares, shift: int) -> Step[Shares]:
        if self._parties == 3:
            self._meter.ns += _PRODUCT_NS * x.size
            return (yield from self.scaled(x, shift))
        product = yield from self.product(x, y)
        return (yield from self.scaled(product, shift))

    def scaled_matrix_product(self, x: Shares, y: Shares, shift: int, threads: int = 1) -> Step[Shares]:
        if self._parties == 3:
            self._meter.ns += _entry_ns(y.shape[1]) * x.size * y.shape[1]
            return (yield from self.scaled(self._result((x.shape[0], y.shape[1])), shift))
        product = yield from self.matrix_product(x, y, threads)
        return (yield from self.scaled(product, shift))

    def addends(self, x: Shares, bits: int = 64, *, negated: bool = False) -> Step[tuple[Shares, Shares]]:
        plane = -(-x.size // 64)
        self._meter.ns += _PLANES_NS * x.size
        if self._parties == 3:
            self._meter.add(bits * plane, 0)
            yield from self._rounds(1)
        return self._result((bits, plane)), self._result((bits, plane))

    def _digits(self, bits: int, x: Shares, *, equal: bool = False) -> Step[Shares]:
        digits, blocks = Digits(bits, equal=equal), -(-x.size // BLOCK)
        for group in groups(blocks, bits, self._source):
            for sender, _, count in chain(*group):
                self._transfers(sender, BLOCK * bits * count)
                self._meter.add((bits + digits.table_words) * count, _DIGITS_NS * BLOCK * bits * count)
            yield from self._rounds(2)
        return self._result((digits.planes, blocks))

    def negative(self, x: Shares, bits: int = 64) -> Step[Shares]:
        if self._parties == 3:
            return (yield from circuits.negative(self, x, bits))
        found = yield from self._digits(bits - 1, x)
        less = found.part(slice(0, (bits + 2) // 4))
        carried = yield from circuits.carry(self, less, less)
        return _dense(carried)

    def zero(self, x: Shares, bits: int = 64) -> Step[Shares]:
        if self._parties == 3:
            return (yield from circuits.zero(self, x, bits))
        found = yield from self._digits(bits, x, equal=True)
        return _dense((yield from circuits.every(self, found)))

    def _times(self, count: int) -> Step[None]:
        filled = -(-count // 64) * 64
        self._transfers(0, filled)
        self._meter.add(filled // 64 + count, _WORDS_NS * count)
        yield from self._rounds(2)

    def words(self, b: Shares, count: int) -> Step[Shares]:
        if self._parties == 3:
            self._meter.add(4 * count, _WORDS_NS * count)
            yield from self._rounds(2)
        else:
            yield from self._times(count)
        return self._result((count,))

    def chosen(self, b: Shares, x: Shares) -> Step[Shares]:
        if self._parties == 3:
            w = yield from self.words(b, x.size)
            return (yield from self.product(w, x))
        filled = -(-x.size // 64) * 64
        for sender in range(2):
            self._transfers(sender, filled)
        self._meter.add(2 * (filled // 64 + x.size), 2 * _WORDS_NS * x.size)
        yield from self._rounds(2)
        return self._result(x.shape)

    def hidden_join(self, side: HiddenSide) -> HiddenShares:
        sizes = circuit_sizes(
            side.placer_items, side.mapper_items, side.multiplicity, side.placer_words, side.mapper_words
        )
        self._meter.sent += sizes.placer_bytes + sizes.mapper_bytes
        self._meter.ns += _CORRELATION_NS * sizes.values
        words = side.placer_words + side.mapper_words
        return HiddenShares(sizes.bins, bytes(-(-sizes.bins // 8)), bytes(8 * sizes.bins * words), None)

    def shuffle(self, columns: Shares) -> Step[Shares]:
        rows, width = columns.shape
        if self._parties == 3:
            self._meter.add(6 * rows * width, _TURN_NS * rows * width)
            yield from self._rounds(3)
        elif rows > 1 and width:
            levels = (rows - 1).bit_length()
            layers, each = 2 * levels - 1, (1 << levels) // 2 * width
            filled = -(-layers * each // 64) * 64
            for owner in range(2):
                self._transfers(1 - owner, filled)
                self._meter.add(filled // 64 + layers * each, _WORDS_NS * filled)
                yield from self._rounds(1 + layers)
        return self._result(columns.shape)


class _Dry(Session):
    """A session that counts."""

    def __init__(self, parties: int, source: Rich | Thin) -> None:
        if parties not in (2, 3):
            raise AtollError("E_FORMAT", f"A session has two or three parties, not {parties}.")
        self.meter = _Meter()
        self._begin(-1, _Paper(self.meter, parties, source), self.meter, None, 1, lambda done, total: None)
