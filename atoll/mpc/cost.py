"""What a program will cost, before it runs: rounds, bytes, seconds.

The program is run on arrays that have shapes, kinds and bounds but no values, in a setting that counts what every step
would send. Rounds and bytes are those of a run; a sort, whose rounds depend on chance, is played with random
comparisons.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from atoll.crypto.circuit import HiddenShares, HiddenSide, circuit_sizes
from atoll.crypto.triples import Rich, Thin, matrix_bytes
from atoll.errors import AtollError
from atoll.mpc.additive import by_triples, kept_as, row_blocks, turned
from atoll.mpc.holding import crossing, local, stays
from atoll.mpc.kept import Kept
from atoll.mpc.rounds import U64, Exchange, Step, T
from atoll.mpc.session import Session
from atoll.mpc.shares import Shares
from atoll.mpc.supply import BATCH_BITS, BATCH_TRANSFERS, BATCH_WORDS

_WORD: Final = 8
# Nanoseconds of one processor for all parties together, measured on one core of 2026 (docs/performance.md).
_PRODUCT_NS, _BITS_NS, _SCALED_NS, _TURN_NS, _WORDS_NS, _PLANES_NS = 12.0, 30.0, 58.0, 40.0, 30.0, 12.0
# Of a product of two entries, and of one with a vector, which memory bounds.
_MULTIPLY_NS, _VECTOR_NS = 1.5, 7.0
_BIT_TRIPLE_NS, _WORD_TRIPLE_NS, _TRANSFER_NS = 40.0, 1300.0, 40.0
_THIN_TIMES: Final = 10
_CORRELATION_NS: Final = 660.0
_BYTE_NS: Final = 1.0
_ROUND_NS: Final = 60_000.0
_STEP_NS: Final = 40_000.0
_WORD_TRIPLE_BYTES: Final = 191
_THIN_BIT_BYTES: Final = 0.1
_WORD_SET_UP: Final = 571_000
_MATRIX_SET_UP: Final = 192_600
# Of a byte of a left matrix that is transformed, and of one that is sent: encrypted, multiplied and opened.
_TRANSFORM_NS, _ENCRYPTED_BYTE_NS = 1.5, 13.0
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
        self._work = _THIN_TIMES if isinstance(source, Thin) else 1
        self._bit_bytes = _THIN_BIT_BYTES if isinstance(source, Thin) else 32 / source.field - 0.25
        self._kept: Kept[None] = Kept()
        self._random = np.random.default_rng(0)
        # What is left over of each batch; of transfers in both directions.
        self._stock: dict[object, int] = {}

    @property
    def everybody(self) -> tuple[int, ...]:
        return tuple(range(self._parties))

    def _made(self, kind: object, count: int, batch: int, each_bytes: float, each_ns: float) -> None:
        """What is missing is made in batches, as the supply does."""
        missing = count - self._stock.get(kind, 0)
        if kind not in self._stock and missing > 0:
            self._meter.sent += _WORD_SET_UP if kind == "words" else _TRANSFER_SET_UP
        if missing > 0:
            made = -(-missing // batch) * batch if kind == "words" else max(missing, batch)
            self._stock[kind] = self._stock.get(kind, 0) + made
            self._meter.sent += round(made * each_bytes)
            self._meter.ns += made * each_ns
        self._stock[kind] = self._stock.get(kind, 0) - count

    def _bits(self, count: int) -> None:
        self._meter.bits += count
        self._made("bits", count, BATCH_BITS, self._bit_bytes, _BIT_TRIPLE_NS * self._work)

    def _words(self, count: int) -> None:
        self._meter.words += count
        self._made("words", count, BATCH_WORDS, _WORD_TRIPLE_BYTES, _WORD_TRIPLE_NS)

    def _transfers(self, sender: int, count: int) -> None:
        self._meter.transfers += count
        self._made(sender, count, BATCH_TRANSFERS, self._bit_bytes / 2, _TRANSFER_NS * self._work)

    def _rounds(self, count: int) -> Step[None]:
        for _ in range(count):
            yield Exchange()

    def _result(self, shape: tuple[int, ...], mine: bool | None = None) -> Shares:
        return Shares(_shaped(shape), mine=mine)

    def public(self, words: U64) -> Shares:
        # Of two parties this counts for party 0, as if it were that.
        return Shares(_shaped(words.shape), known=_shaped(words.shape) if self._parties == 2 else None)

    def share(
        self, owner: int, words: U64 | None, shape: tuple[int, ...], *, bits: bool = False
    ) -> Step[Shares]:
        size = int(np.prod(shape, dtype=object))
        if self._parties == 3:
            self._meter.add(size, 0)
            yield from self._rounds(1)
        return self._result(shape, owner == 0 if self._parties == 2 else None)

    def open(self, shares: Shares, to: Sequence[int], *, bits: bool = False) -> Step[U64 | None]:
        self._meter.add(shares.size * len(to), 0)
        yield from self._rounds(1)
        # Comparisons that a sort opens go either way.
        return (
            self._random.integers(0, 2**64, shares.shape, np.uint64)
            if bits
            else np.zeros(shares.shape, np.uint64)
        )

    def _local(self, x: Shares, y: Shares, shape: tuple[int, ...], ns: float) -> Shares | None:
        """What a product is that needs nothing of the other party."""
        found = local(x, y, lambda a, b: _shaped(shape))
        if found is not None:
            self._meter.ns += ns
        return found

    def _product(self, sent: int, ns: float) -> Step[None]:
        self._meter.add(sent, ns)
        yield from self._rounds(1)

    def product(self, x: Shares, y: Shares) -> Step[Shares]:
        if (known := self._local(x, y, x.shape, x.size)) is not None:
            return known
        if self._parties == 2:
            self._words(x.size)
        yield from self._product((3 if self._parties == 3 else 4) * x.size, _PRODUCT_NS * x.size)
        return self._result(x.shape)

    def both(self, x: Shares, y: Shares) -> Step[Shares]:
        if (known := self._local(x, y, x.shape, x.size)) is not None:
            return known
        if self._parties == 2:
            self._bits(64 * x.size)
        yield from self._product((3 if self._parties == 3 else 4) * x.size, _BITS_NS * x.size)
        return self._result(x.shape)

    def matrix_product(self, x: Shares, y: Shares, threads: int = 1) -> Step[Shares]:
        (rows, inner), columns = x.shape, y.shape[1]
        count = rows * inner * columns
        if self._parties == 3:
            yield from self._product(3 * rows * columns, _entry_ns(columns) * count)
        elif count:
            known = self._local(x, y, (rows, columns), _entry_ns(columns) * count)
            if known is not None:
                return known
            holders = crossing(x, y, 0)
            directions = len(holders)
            if by_triples(rows, inner, columns, directions):
                self._words(count)
                yield from self._product(4 * count, _PRODUCT_NS * count)
                return self._result((rows, columns))
            of, left, right = x, x, y
            if turned(rows, inner, columns):
                of, left, right = y, self._result((columns, inner)), self._result((inner, rows))
            what, size = kept_as(left, right, of, holders)
            cold = self._kept.get(of, what) is None
            for _, part in row_blocks(*left.shape):
                sent = directions * (matrix_bytes(part, inner, right.shape[1]) + cold * _MATRIX_SET_UP)
                self._meter.sent += sent
                self._meter.ns += _ENCRYPTED_BYTE_NS * sent
            self._meter.ns += directions * cold * _TRANSFORM_NS * size
            if cold and self._kept.fits(size):
                self._kept.put(of, what, size, [None])
        return self._result((rows, columns))

    def scaled(self, x: Shares, shift: int) -> Step[Shares]:
        if self._parties == 3:
            self._meter.add(8 * x.size, _SCALED_NS * x.size)
            yield from self._rounds(2)
        elif (mine := stays(x, 0)) is not None:
            return self._result(x.shape, mine)
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
        mine = stays(x, 0)
        pair = (True, False) if mine is None else (mine, mine)
        return self._result((bits, plane), pair[0]), self._result((bits, plane), pair[1])

    def _times(self, count: int) -> Step[None]:
        filled = -(-count // 64) * 64
        self._transfers(0, filled)
        self._meter.add(filled // 64 + count, _WORDS_NS * count)
        yield from self._rounds(2)

    def words(self, b: Shares, count: int) -> Step[Shares]:
        if self._parties == 3:
            self._meter.add(4 * count, _WORDS_NS * count)
            yield from self._rounds(2)
        elif (mine := stays(b, 0)) is not None:
            return self._result((count,), mine)
        else:
            yield from self._times(count)
        return self._result((count,))

    def chosen(self, b: Shares, x: Shares) -> Step[Shares]:
        if self._parties == 3:
            w = yield from self.words(b, x.size)
            return (yield from self.product(w, x))
        bits = b.changed(lambda plane: _shaped(x.shape))
        if (known := self._local(x, bits, x.shape, x.size)) is not None:
            return known
        filled = -(-x.size // 64) * 64
        senders = crossing(x, b, 0)
        for sender in senders:
            self._transfers(sender, filled)
        self._meter.add(len(senders) * (filled // 64 + x.size), len(senders) * _WORDS_NS * x.size)
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
