"""What a program will cost, before it runs: rounds, bytes, seconds, memory.

The program is run on arrays that have shapes, kinds and bounds but no values, in a setting that counts what every step
would send. Rounds and bytes are those of a run; a sort, whose rounds depend on chance, is played with a random order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np

from atoll.crypto.circuit import HiddenShares, HiddenSide, circuit_sizes
from atoll.crypto.digits import BLOCK, Digits
from atoll.crypto.triples import Rich, Thin, matrix_bytes
from atoll.errors import AtollError
from atoll.mpc import circuits
from atoll.mpc import wide as ring
from atoll.mpc.additive import by_triples, inner_blocks, kept_as, row_blocks, turned
from atoll.mpc.array import SharedArray
from atoll.mpc.digits import groups
from atoll.mpc.holding import crossing, local, stays
from atoll.mpc.kept import Kept
from atoll.mpc.kinds import BOOLEAN
from atoll.mpc.machine import Machine
from atoll.mpc.meter import WORD, Cost, Meter
from atoll.mpc.paper import PaperDoors
from atoll.mpc.rounds import U64, Exchange, Step
from atoll.mpc.session import Session
from atoll.mpc.shares import Shares
from atoll.mpc.sources import bits_bytes, bits_ns, transfers_bytes, transfers_ns
from atoll.mpc.supply import BATCH_BITS, BATCH_TRANSFERS, BATCH_WORDS, PIECE, batch_size
from atoll.mpc.wide import Words

# Nanoseconds of one processor for all parties together, measured on one core of 2026 (docs/performance.md).
_PRODUCT_NS, _BITS_NS, _SCALED_NS, _TURN_NS, _WORDS_NS, _PLANES_NS = 12.0, 30.0, 58.0, 40.0, 30.0, 12.0
# Of a product of two entries, and of one with a vector, which memory bounds.
_MULTIPLY_NS, _VECTOR_NS = 1.5, 7.0
# The same of wide numbers; a product of two, and whether two addends pass their ring.
_WIDE_MULTIPLY_NS, _WIDE_VECTOR_NS, _WIDE_PRODUCT_NS, _PASSED_NS = 8.5, 33.0, 60.0, 200.0
# Of a bit of a number that is compared by digits, at both parties.
_DIGITS_NS: Final = 8.0
_DIGIT_WORDS: Final = 0.5
_WORD_TRIPLE_NS: Final = 1300.0
_CORRELATION_NS: Final = 660.0
_WORD_TRIPLE_BYTES: Final = 191
# Five plaintext primes where words of 64 bits take three.
_WIDE_TRIPLE_BYTES: Final = 5 * _WORD_TRIPLE_BYTES / 3
_WIDE_TRIPLE_NS: Final = 5 * _WORD_TRIPLE_NS / 3
_SET_UP: Final = {"words": 571_000, "wide": 952_000}
# Two questions of 190,464 bytes for an answer of 139,264, for 8192 triples.
_WORD_TRIPLE_SKEW: Final = (2 * 190_464 - 139_264) / 2 / 8192
_MATRIX_SET_UP: Final = 192_600
# Of a byte of a left matrix that is transformed, and of one that is sent: encrypted, multiplied and opened.
_TRANSFORM_NS, _ENCRYPTED_BYTE_NS = 1.5, 13.0
_TRANSFER_SET_UP: Final = 16_464
# Bytes of a party: machines that make triples, what they hold beside a triple or transfer.
_MACHINE_BYTES = 10e6
_BIT_BYTES, _WORD_BYTES, _TRANSFER_BYTES = 0.375, 24.0, 12.0
# Words of a party that a step holds beside its inputs, for each of them.
_MULTIPLIED, _SCALED_WORDS, _CHOSEN_WORDS = 4.0, 6.0, 8.0


def estimate(
    program: Callable[[Any], Any],
    parties: int = 3,
    source: Rich | Thin | None = None,
    *,
    outside: int = 0,
    machine: Machine | None = None,
) -> Cost:
    """The cost of a program, which gets a session whose arrays have no values.

    Args:
        program: what `Session` would be handed to; its inputs' values are not looked at, and what opens is zeros.
        parties: 2 or 3 that compute.
        source: of two parties, how transfers are made.
        outside: parties that do not compute.
        machine: how fast each party's machine is, of `calibrate`; the one of docs/performance.md by default.

    Raises:
        AtollError: what the program would raise for shapes, kinds and bounds.
    """
    session, begun = _Dry(parties, source or Rich(), outside), time.process_time()
    program(session)
    # What each party does with its own arrays, sorting by what opened above all, was done here once.
    own = parties * (time.process_time() - begun) * 1e9
    return session.meter.cost(machine or Machine(), own)


def _dense(shares: Shares) -> Shares:
    """The same in memory, for those who look at its bytes."""
    return shares.changed(np.ascontiguousarray)


def _entry_ns(columns: int, wide: bool = False) -> float:
    if wide:
        return _WIDE_MULTIPLY_NS if columns > 1 else _WIDE_VECTOR_NS
    return _MULTIPLY_NS if columns > 1 else _VECTOR_NS


class _Paper:
    """A setting that counts. `parties` and `source` say which."""

    me = -1

    def __init__(self, meter: Meter, parties: int, source: Rich | Thin) -> None:
        self._meter, self._parties = meter, parties
        self.links: Any = meter
        self._source = source
        self._kept: Kept[object] = Kept()
        self._random = np.random.default_rng(0)
        # What is left over of each batch, and the memory of the batch; of transfers in both directions.
        self._stock: dict[object, int] = {}
        self._all_made: dict[object, int] = {}
        self._batches: dict[object, float] = {}
        self._order = self._random.permutation(1)

    @property
    def everybody(self) -> tuple[int, ...]:
        return tuple(range(self._parties))

    def _made(self, kind: object, count: int, batch: int, held: float) -> int:
        """How many are made for `count` that are used up: what is missing is made in batches, as the supply does.

        `held` are the bytes of one.
        """
        missing, made = count - self._stock.get(kind, 0), 0
        meter = self._meter
        if kind not in self._stock and missing > 0:
            # Bit triples take transfers in both directions; silent ones are set up with each run.
            directions = 0 if isinstance(self._source, Thin) else 2 if kind == "bits" else 1
            meter.sent += _SET_UP.get(str(kind), directions * _TRANSFER_SET_UP)
            meter.waits += 2
            meter.memory.hold(_MACHINE_BYTES)
        if missing > 0:
            made = batch_size(missing, self._all_made.get(kind, 0), batch, self._source)
            if kind in _SET_UP:
                # A message has so many.
                made = -(-made // batch) * batch
            self._all_made[kind] = self._all_made.get(kind, 0) + made
            left = self._stock.get(kind, 0)
            self._stock[kind] = left + made
            meter.waits += 2 if kind in _SET_UP else 1
            # What the machine made, and the stock that it goes to, of which nothing is let go before the next batch.
            meter.memory.pass_by(2 * held * (left + made))
            meter.memory.hold(held * (left + made) - self._batches.get(kind, 0.0))
            self._batches[kind] = held * (left + made)
        self._stock[kind] = self._stock.get(kind, 0) - count
        return made

    def _bits(self, count: int) -> None:
        self._meter.bits += count
        if made := self._made("bits", count, BATCH_BITS, _BIT_BYTES):
            self._meter.sent += bits_bytes(self._source, made)
            self._meter.bits_ns += bits_ns(self._source, made)

    def _words(self, count: int, wide: bool) -> None:
        if wide:
            self._meter.wide += count
            if made := self._made("wide", count, BATCH_WORDS, 2 * _WORD_BYTES):
                self._meter.sent += round(_WIDE_TRIPLE_BYTES * made)
                self._meter.words_ns += _WIDE_TRIPLE_NS * made
            return
        self._meter.words += count
        if made := self._made("words", count, BATCH_WORDS, _WORD_BYTES):
            self._meter.sent += round(_WORD_TRIPLE_BYTES * made)
            self._meter.words_ns += _WORD_TRIPLE_NS * made
            self._meter.skew += _WORD_TRIPLE_SKEW * made

    def _transfers(self, sender: int, count: int) -> None:
        self._meter.transfers += count
        if made := self._made(sender, count, BATCH_TRANSFERS, _TRANSFER_BYTES):
            self._meter.sent += transfers_bytes(self._source, made)
            self._meter.bits_ns += transfers_ns(self._source, made)

    def ranks(self, count: int) -> U64:
        """The order that comparisons of so many rows are played with."""
        if len(self._order) != count:
            self._order = self._random.permutation(count)
        return self._order.view(np.uint64)

    def _rounds(self, count: int) -> Step[None]:
        for _ in range(count):
            yield Exchange()

    def _result(self, shape: tuple[int, ...], wide: bool = False, mine: bool | None = None) -> Shares:
        return Shares(self._meter.memory.words(shape, wide), mine=mine)

    def _passing(self, words: float) -> None:
        """Words that a step holds for a moment."""
        self._meter.memory.pass_by(WORD * words)

    def public(self, words: Words) -> Shares:
        # Of two parties this counts for party 0, as if it were that.
        found = self._meter.memory.words(words.shape, ring.is_wide(words))
        return Shares(found, known=found if self._parties == 2 else None)

    def share(
        self,
        owner: int,
        words: Words | None,
        shape: tuple[int, ...],
        *,
        bits: bool = False,
        wide: bool = False,
    ) -> Step[Shares]:
        size = ring.length(int(np.prod(shape, dtype=object)), wide)
        if self._parties == 3:
            self._meter.add(size, 0)
            yield from self._rounds(1)
            result = self._result(shape, wide)
            self._meter.shared(owner, size)
            return result
        # The owner's words are its share.
        self._meter.shared(owner, size)
        return self._result(shape, wide, owner == 0)

    def open(self, shares: Shares, to: Sequence[int], *, bits: bool = False) -> Step[Words | None]:
        self._meter.add(ring.length(shares.size, shares.wide) * len(to), 0)
        yield from self._rounds(1)
        # Comparisons that a sort opens go either way.
        return (
            self._random.integers(0, 2**64, shares.shape, np.uint64)
            if bits
            else np.zeros(shares.shape, ring.kind(shares.wide))
        )

    def mask(self, shape: tuple[int, ...]) -> U64 | None:
        words: U64 = self._meter.memory.words(shape)
        return words

    def _local(self, x: Shares, y: Shares, shape: tuple[int, ...], ns: float) -> Shares | None:
        """What a product is that needs nothing of the other party."""
        found = local(x, y, lambda a, b: self._meter.memory.words(shape, x.wide))
        if found is not None:
            self._meter.ns += ns
        return found

    def _product(self, sent: int, ns: float) -> Step[None]:
        self._meter.add(sent, ns)
        yield from self._rounds(1)

    def product(self, x: Shares, y: Shares) -> Step[Shares]:
        size = ring.length(x.size, x.wide)
        if (known := self._local(x, y, x.shape, size)) is not None:
            return known
        if self._parties == 2:
            self._words(x.size, x.wide)
        self._passing(_MULTIPLIED * size)
        each = _WIDE_PRODUCT_NS if x.wide else _PRODUCT_NS
        yield from self._product((3 if self._parties == 3 else 4) * size, each * x.size)
        return self._result(x.shape, x.wide)

    def both(self, x: Shares, y: Shares) -> Step[Shares]:
        if (known := self._local(x, y, x.shape, x.size)) is not None:
            return known
        if self._parties == 2:
            self._bits(64 * x.size)
        self._passing(_MULTIPLIED * x.size)
        yield from self._product((3 if self._parties == 3 else 4) * x.size, _BITS_NS * x.size)
        return self._result(x.shape)

    def both_of(self, x: Shares, y: Shares, z: Shares) -> Step[tuple[Shares, Shares]]:
        first, second = (self._local(x, w, x.shape, x.size) for w in (y, z))
        if first is not None or second is not None:
            first = (yield from self.both(x, y)) if first is None else first
            second = (yield from self.both(x, z)) if second is None else second
            return first, second
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
            entries = _entry_ns(columns, x.wide) * count
            yield from self._product(3 * ring.length(rows * columns, x.wide), entries)
        elif count:
            entries = _entry_ns(columns, x.wide) * count
            if (known := self._local(x, y, (rows, columns), entries)) is not None:
                return known
            if x.wide or by_triples(rows, inner, columns, len(crossing(x, y, 0))):
                for block in inner_blocks(rows, inner, columns):
                    products = self._result((rows * columns * (block.stop - block.start),), x.wide)
                    yield from self.product(products, products)
            elif turned(rows, inner, columns):
                self._encrypted(y.changed(np.transpose), x.changed(np.transpose), y)
            else:
                self._encrypted(x, y, x)
        return self._result((rows, columns), x.wide)

    def _encrypted(self, x: Shares, y: Shares, of: Shares) -> None:
        (rows, inner), columns, meter = x.shape, y.shape[1], self._meter
        holders = crossing(x, y, 0)
        directions, (what, size) = len(holders), kept_as(x, y, of, holders)
        cold = self._kept.get(of, what) is None
        room = 0.0
        for _, part in row_blocks(rows, inner):
            sent = directions * (matrix_bytes(part, inner, columns) + cold * _MATRIX_SET_UP)
            meter.sent += sent
            meter.waits += 4 if cold else 2
            meter.words_ns += _ENCRYPTED_BYTE_NS * sent
            room = max(room, part / rows * size)
        meter.memory.pass_by(cold * (room + 2 * WORD * rows * inner) + _MACHINE_BYTES)
        meter.words_ns += directions * cold * _TRANSFORM_NS * size
        if cold and self._kept.fits(size):
            self._kept.put(of, what, size, [meter.memory.room(size)])

    def widened(self, x: Shares) -> Step[Shares]:
        if stays(x, 0) is not None:
            return x.changed(lambda w: self._meter.memory.words(x.shape, True))
        yield from self._passed(x.size)
        return self._result(x.shape, True)

    def _passed(self, size: int) -> Step[None]:
        """Whether two addends pass their ring: of three parties one shares a wide word and a bit of its own."""
        if self._parties == 2:
            yield from self._times(size)
            return
        self._meter.add(6 * size, _PASSED_NS * size)
        yield from self._rounds(2)

    def scaled(self, x: Shares, shift: int) -> Step[Shares]:
        self._passing(_SCALED_WORDS * x.size)
        if (mine := stays(x, 0)) is not None:
            return self._result(x.shape, x.wide, mine)
        if x.wide:
            yield from self._passed(x.size)
            return self._result(x.shape, True)
        if self._parties == 3:
            self._meter.add(8 * x.size, _SCALED_NS * x.size)
            # Party 2 sends half of it.
            self._meter.skew += (4 - 8 / 3) * WORD * x.size
            yield from self._rounds(2)
        else:
            yield from self._times(x.size)
        return self._result(x.shape)

    def scaled_product(self, x: Shares, y: Shares, shift: int) -> Step[Shares]:
        if self._parties == 3 and not x.wide:
            self._meter.ns += _PRODUCT_NS * x.size
            return (yield from self.scaled(x, shift))
        product = yield from self.product(x, y)
        return (yield from self.scaled(product, shift))

    def scaled_matrix_product(self, x: Shares, y: Shares, shift: int, threads: int = 1) -> Step[Shares]:
        if self._parties == 3 and not x.wide:
            self._meter.ns += _entry_ns(y.shape[1]) * x.size * y.shape[1]
            return (yield from self.scaled(self._result((x.shape[0], y.shape[1])), shift))
        product = yield from self.matrix_product(x, y, threads)
        return (yield from self.scaled(product, shift))

    def addends(self, x: Shares, bits: int = 64, *, negated: bool = False) -> Step[tuple[Shares, Shares]]:
        plane = -(-x.size // 64)
        self._meter.ns += _PLANES_NS * x.size
        self._passing(2 * bits * plane)
        if self._parties == 3:
            self._meter.add(bits * plane, 0)
            yield from self._rounds(1)
            return self._result((bits, plane)), self._result((bits, plane))
        mine = stays(x, 0)
        pair = (True, False) if mine is None else (mine, mine)
        return self._result((bits, plane), mine=pair[0]), self._result((bits, plane), mine=pair[1])

    def _digits(self, bits: int, x: Shares, *, equal: bool = False) -> Step[Shares]:
        digits, blocks = Digits(bits, equal=equal), -(-x.size // BLOCK)
        for group in groups(blocks, bits, self._source):
            # What a sender folds of all its pieces, and their tables, until the others' bits come.
            kept = sum(BLOCK * bits * count for _, _, count in chain(*group))
            self._passing(_DIGIT_WORDS * kept)
            for sender, _, count in chain(*group):
                self._transfers(sender, BLOCK * bits * count)
                self._meter.add((bits + digits.table_words) * count, _DIGITS_NS * BLOCK * bits * count)
            yield from self._rounds(2)
        return self._result((digits.planes, blocks))

    def _plane(self, x: Shares) -> Shares:
        """A bit of each number, of what one party knows."""
        self._meter.ns += x.size
        return x.changed(lambda w: self._meter.memory.words((1, -(-x.size // 64))))

    def negative(self, x: Shares, bits: int = 64) -> Step[Shares]:
        if stays(x, 0) is not None:
            return self._plane(x)
        if self._parties == 3 or bits > ring.BITS:
            return (yield from circuits.negative(self, x, bits))
        found = yield from self._digits(bits - 1, x)
        less = found.part(slice(0, (bits + 2) // 4))
        carried = yield from circuits.carry(self, less, less)
        return _dense(carried)

    def zero(self, x: Shares, bits: int = 64) -> Step[Shares]:
        if stays(x, 0) is not None:
            return circuits.inverted(self, self._plane(x))
        if self._parties == 3 or bits > ring.BITS:
            return (yield from circuits.zero(self, x, bits))
        found = yield from self._digits(bits, x, equal=True)
        return _dense((yield from circuits.every(self, found)))

    def _times(self, count: int) -> Step[None]:
        filled = -(-count // 64) * 64
        self._transfers(0, filled)
        self._passing(_CHOSEN_WORDS * count)
        self._meter.add(filled // 64 + count, _WORDS_NS * count)
        yield from self._rounds(2)

    def words(self, b: Shares, count: int, *, wide: bool = False) -> Step[Shares]:
        if self._parties == 3:
            self._passing(_CHOSEN_WORDS * count)
            self._meter.add(ring.length(4 * count, wide), _WORDS_NS * count)
            yield from self._rounds(2)
        elif stays(b, 0) is not None:
            return b.changed(lambda plane: self._meter.memory.words((count,)))
        else:
            yield from self._times(count)
        return self._result((count,), wide)

    def chosen(self, b: Shares, x: Shares) -> Step[Shares]:
        if self._parties == 3:
            w = yield from self.words(b, x.size, wide=x.wide)
            return (yield from self.product(w, x))
        bits = b.changed(lambda plane: np.broadcast_to(np.uint64(0), x.shape))
        size = ring.length(x.size, x.wide)
        if (known := self._local(x, bits, x.shape, size)) is not None:
            return known
        filled = -(-size // 64) * 64
        senders = crossing(x, b, 0)
        for sender in senders:
            self._transfers(sender, filled)
        self._meter.add(len(senders) * (filled // 64 + size), len(senders) * _WORDS_NS * size)
        yield from self._rounds(2)
        return self._result(x.shape, x.wide)

    def hidden_join(self, side: HiddenSide) -> HiddenShares:
        sizes = circuit_sizes(
            side.placer_items, side.mapper_items, side.multiplicity, side.placer_words, side.mapper_words
        )
        self._meter.sent += sizes.placer_bytes + sizes.mapper_bytes
        self._meter.words_ns += _CORRELATION_NS * sizes.values
        words = side.placer_words + side.mapper_words
        return HiddenShares(sizes.bins, bytes(-(-sizes.bins // 8)), bytes(8 * sizes.bins * words), None)

    def shuffle(self, columns: Shares) -> Step[Shares]:
        rows, width = columns.shape[0], ring.length(columns.shape[1], columns.wide)
        if self._parties == 3:
            self._passing(_MULTIPLIED * rows * width)
            self._meter.add(6 * rows * width, _TURN_NS * rows * width)
            yield from self._rounds(3)
        elif rows > 1 and width:
            levels = (rows - 1).bit_length()
            layers, each = 2 * levels - 1, (1 << levels) // 2 * width
            filled = -(-layers * each // 64) * 64
            self._passing(2 * filled)
            for owner in range(2):
                self._transfers(1 - owner, filled)
                self._meter.add(filled // 64 + layers * each, _WORDS_NS * filled)
                yield from self._rounds(1 + layers)
        return self._result(columns.shape, columns.wide)


class _Dry(Session):
    """A session that counts."""

    def __init__(self, parties: int, source: Rich | Thin, outside: int) -> None:
        if parties not in (2, 3):
            raise AtollError("E_FORMAT", f"A session has two or three parties that compute, not {parties}.")
        self.meter = Meter(parties)
        setting, doors = _Paper(self.meter, parties, source), PaperDoors(self.meter, parties)
        self._begin(parties + outside, setting, doors, None, 1, lambda done, total: None)

    def share(self, values: Any, owner: int, *arguments: Any, **options: Any) -> SharedArray:
        """Notes what the owner holds of an input."""
        array = super().share(None, owner, *arguments, **options)
        self.meter.given(owner, array.size, bits=array.kind == BOOLEAN)
        return array

    def _agree(self) -> Step[None]:
        computing = len(self.protocol.everybody)
        pairs = computing * (self.parties - 1) + (self.parties - computing) * computing
        self.meter.sent += pairs * self.noted.words().nbytes
        yield Exchange()
