"""Additive shares of two parties without any third, of whom each may be curious (docs/protocols/additive-shares.md).

x = x0 + x1 modulo 2^64 or 2^128, or under exclusive or; party i holds x_i. Semi-honest. Products use up triples
(Beaver, CRYPTO 1991), bits that become words use up transfers, both made by the parties (`atoll.mpc.supply`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Final

import numpy as np
import numpy.typing as npt

from atoll.crypto.arrays import (
    KEY_BYTES,
    MOST_PLACES,
    Streams,
    layer_shape,
    layers,
    switches,
)
from atoll.crypto.circuit import CircuitPsi, HiddenShares, HiddenSide
from atoll.crypto.keys import DIGEST_BYTES
from atoll.crypto.stream import check_labels, stream_bytes
from atoll.crypto.suite import digest, digest_bytes
from atoll.crypto.triples import MatrixProduct, Rich, Thin, matrix_bytes, matrix_room
from atoll.errors import AtollError
from atoll.mpc import circuits
from atoll.mpc import wide as ring
from atoll.mpc.digits import Comparer
from atoll.mpc.holding import crossing, has, local, stays
from atoll.mpc.kept import Kept
from atoll.mpc.rounds import STEP, U64, Exchange, Links, Step, nothing, together
from atoll.mpc.setting import Occasion
from atoll.mpc.shares import Shares, pack, unpack
from atoll.mpc.supply import Supply
from atoll.mpc.wide import Words
from atoll.protocols.driver import Several

PROTOCOL: Final = "additive-shares/v1"
SECURITY: Final = "semi-honest"
PARTIES: Final = 2
BIAS_BITS: Final = 62
WIDE_BIAS_BITS: Final = 126
_DIGEST_WORDS: Final = 4
_KEY_WORDS: Final = KEY_BYTES // 8


MOST_ENTRIES: Final = 1 << 26
"""Entries of a matrix that is multiplied under encryption at once."""
_TRIPLE_BYTES: Final = 230
_KEYS_BYTES: Final = 200_000


def row_blocks(rows: int, inner: int) -> list[tuple[int, int]]:
    """First row and number of rows of each part of a left matrix that is multiplied at once."""
    count = max(1, MOST_ENTRIES // inner)
    return [(start, min(count, rows - start)) for start in range(0, rows, count)]


def inner_blocks(rows: int, inner: int, columns: int) -> list[slice]:
    """The inner places of each part of a product of matrices that takes a triple for each product of two elements."""
    count = max(1, ring.MOST_PRODUCTS // (rows * columns))
    return [slice(start, min(start + count, inner)) for start in range(0, inner, count)]


def encrypted_bytes(rows: int, inner: int, columns: int) -> int | None:
    """What a product of one direction sends under encryption, or `None` where a matrix is too large."""
    blocks = row_blocks(rows, inner)
    if max(blocks[0][1], inner) * columns > MOST_ENTRIES:
        return None
    return sum(matrix_bytes(count, inner, columns) + _KEYS_BYTES for _, count in blocks)


def turned(rows: int, inner: int, columns: int) -> bool:
    """Whether the transposed product sends less: its left matrix is the right one of this."""
    this, other = encrypted_bytes(rows, inner, columns), encrypted_bytes(columns, inner, rows)
    return other is not None and (this is None or other < this)


def kept_as(x: Shares, y: Shares, of: Shares, holders: tuple[int, ...]) -> tuple[tuple[object, ...], int]:
    """The name under which a left matrix is kept that was made of an array, and the bytes of its transforms."""
    columns = y.shape[1]
    size = sum(matrix_room(count, x.shape[1], columns) for _, count in row_blocks(*x.shape))
    return (x is of, columns, holders), size


def by_triples(rows: int, inner: int, columns: int, directions: int) -> bool:
    """Whether a product of matrices of these sizes takes triples: where that sends less."""
    count = rows * inner * columns
    if count >= 1 << 16:
        return False
    sizes = (columns, inner, rows) if turned(rows, inner, columns) else (rows, inner, columns)
    return _TRIPLE_BYTES * count < directions * (encrypted_bytes(*sizes) or 0)


class Additive:
    """One party's side of the computation on additive shares. Every method is a step; both parties take the same.

    Args:
        links: the channel to the other party; `links.me` is this party's number, 0 or 1.
        occasion: what the parties agreed on, and this party's seed.
        source: how transfers are made: `Rich` for links with room, `Thin` for those without.
        threads: threads that make what is used up.

    Raises:
        AtollError: `E_PROTOCOL` if the other means another occasion or source; whatever the channel raises.
    """

    def __init__(self, links: Links, occasion: Occasion, source: Rich | Thin, threads: int = 1) -> None:
        check_labels(occasion.seed, occasion.attempt)
        self.links = links
        self.me = links.me
        self.other = 1 - links.me
        self._occasion, self._threads, self._matrices, self._joins = occasion, threads, 0, 0
        self._kept: Kept[list[MatrixProduct]] = Kept()
        self._own = Streams(*[self._key(occasion, f"{PROTOCOL}/order")] * 2)
        self._common = links.run(self._begin(occasion, source))
        self.supply = Supply(links, occasion, source, threads)
        masks = Streams(*[self._key(occasion, f"{PROTOCOL}/masks")] * 2)
        self._comparer = Comparer(self.me, self.supply, source, masks)

    def _key(self, occasion: Occasion, step: str) -> bytes:
        return stream_bytes(occasion.seed, occasion.attempt, occasion.channel, step, KEY_BYTES)

    def _begin(self, occasion: Occasion, source: Rich | Thin) -> Step[Streams]:
        length = len(occasion.context).to_bytes(8, "big")
        hello = digest_bytes(digest(f"atoll {PROTOCOL} {source}\n".encode() + length + occasion.context))
        about, key = np.frombuffer(hello, np.uint64), self._key(occasion, f"{PROTOCOL}/key")
        mine = np.concatenate([about, np.frombuffer(key, np.uint64)]) if self.me == 0 else about
        expected = _DIGEST_WORDS + (_KEY_WORDS if self.me == 1 else 0)
        got = (yield Exchange({self.other: mine}, {self.other: expected}))[self.other]
        if got[:_DIGEST_WORDS].tobytes() != hello:
            name = self.links.name(self.other)
            raise AtollError("E_PROTOCOL", f"{name} means another computation.", party=name, step=STEP)
        key = key if self.me == 0 else got[_DIGEST_WORDS:].tobytes()
        return Streams(key, key)

    @property
    def everybody(self) -> tuple[int, ...]:
        """Both."""
        return tuple(range(PARTIES))

    def public(self, words: Words) -> Shares:
        """Shares of words that both know."""
        return Shares(words if self.me == 0 else np.zeros(words.shape, words.dtype), known=words)

    # Into shares and out of them.

    def share(
        self,
        owner: int,
        words: Words | None,
        shape: tuple[int, ...],
        *,
        bits: bool = False,
        wide: bool = False,
    ) -> Step[Shares]:
        """Shares of what `owner` alone has: its own are the values, the other's zeros, and nothing is sent."""
        if self.me != owner:
            return nothing(Shares(np.zeros(shape, ring.kind(wide)), mine=False))
        assert words is not None
        return nothing(Shares(words, mine=True))

    def open(self, shares: Shares, to: Sequence[int], *, bits: bool = False) -> Step[Words | None]:
        """The values, for the parties in `to`; `None` for the other."""
        (own,) = shares
        send = {self.other: ring.flat(own)} if self.other in to else {}
        expect = {self.other: ring.length(own.size, shares.wide)} if self.me in to else {}
        got = yield Exchange(send, expect)
        if self.me not in to:
            return None
        missing = ring.shaped(got[self.other], own.shape, shares.wide)
        return own ^ missing if bits else ring.add(own, missing)

    def mask(self, shape: tuple[int, ...]) -> U64 | None:
        """Words of the common stream."""
        return self._common.before(shape)

    # Products.

    def product(self, x: Shares, y: Shares) -> Step[Shares]:
        """Products element by element, each of one triple: x - a and y - b are seen by both.

        What one party knows of both, or everybody of one, takes none.
        """
        if (known := local(x, y, ring.product)) is not None:
            return known
        taken = self.supply.wide(x.size) if x.wide else self.supply.words(x.size)
        a, b, c = (w.reshape(x.shape) for w in taken)
        (x_own,), (y_own,) = x, y
        d, e = yield from self._both_open(ring.subtract(x_own, a), ring.subtract(y_own, b), bits=False)
        out = ring.add(ring.add(c, ring.product(d, b)), ring.product(e, a))
        return Shares(ring.add(out, ring.product(d, e)) if self.me == 0 else out)

    def both(self, x: Shares, y: Shares) -> Step[Shares]:
        """Bits that are set in both, each of one triple, but for what one party knows of both."""
        if (known := local(x, y, lambda a, b: a & b)) is not None:
            return known
        a, b, c = (w.reshape(x.shape) for w in self.supply.bits(x.size))
        (x_own,), (y_own,) = x, y
        d, e = yield from self._both_open(x_own ^ a, y_own ^ b, bits=True)
        out = c ^ (d & b) ^ (e & a)
        return Shares(out ^ (d & e) if self.me == 0 else out)

    def both_of(self, x: Shares, y: Shares, z: Shares) -> Step[tuple[Shares, Shares]]:
        """Bits that are set in x and y, and in x and z, each pair of one transfer in each direction.

        As `both`, with an a for x, and b of two bits for y and z: x + a opens once.
        """
        first, second = (local(x, w, lambda a, b: a & b) for w in (y, z))
        if first is not None or second is not None:
            first = (yield from self.both(x, y)) if first is None else first
            second = (yield from self.both(x, z)) if second is None else second
            return first, second
        a, b, c = self.supply.pairs(x.size)
        (x_own,), (y_own,), (z_own,) = x, y, z
        pair = np.stack([y_own.reshape(-1), z_own.reshape(-1)])
        d, e = yield from self._both_open(x_own.reshape(-1) ^ a, pair ^ b, bits=True)
        out = c ^ (d & b) ^ (e & a)
        if self.me == 0:
            out ^= d & e
        of_y, of_z = out.reshape(2, *x.shape)
        return Shares(of_y), Shares(of_z)

    def _both_open(self, x: Words, y: Words, *, bits: bool) -> Step[tuple[Words, Words]]:
        mine = np.concatenate([x.reshape(-1), y.reshape(-1)])
        wide = ring.is_wide(mine)
        size = ring.length(mine.size, wide)
        got = (yield Exchange({self.other: ring.flat(mine)}, {self.other: size}))[self.other]
        both = mine ^ got if bits else ring.add(mine, ring.shaped(got, mine.shape, wide))
        return both[: x.size].reshape(x.shape), both[x.size :].reshape(y.shape)

    def matrix_product(self, x: Shares, y: Shares, threads: int = 1) -> Step[Shares]:
        """The product of matrices: each multiplies its own shares, and the cross terms come under encryption.

        Small ones take a triple for each product of two elements, which is less to send; wide ones always, in parts
        that are summed up at once. Of what one party knows the other has no share, and fewer terms cross.
        """
        (rows, inner), columns = x.shape, y.shape[1]
        if not rows * inner * columns:
            return Shares(np.zeros((rows, columns), ring.kind(x.wide)))
        known = local(x, y, lambda a, b: ring.matrix_product(a, b, threads))
        if known is not None:
            return known
        if x.wide or by_triples(rows, inner, columns, len(crossing(x, y, self.me))):
            (left_own,), (right_own,) = x, y
            sums = Shares(np.zeros((rows, columns), ring.kind(x.wide)))
            for part in inner_blocks(rows, inner, columns):
                shape = (rows, columns, part.stop - part.start)
                left = Shares(np.broadcast_to(left_own[:, None, part], shape))
                right = Shares(np.broadcast_to(right_own.T[None, :, part], shape))
                products = yield from self.product(left, right)
                sums = sums + products.changed(lambda w: ring.total(w, 2))
            return sums
        if turned(rows, inner, columns):
            swapped = y.changed(np.transpose), x.changed(np.transpose)
            return self._encrypted(*swapped, y, threads).changed(np.transpose)
        return self._encrypted(x, y, x, threads)

    def _encrypted(self, x: Shares, y: Shares, of: Shares, threads: int) -> Shares:
        """The product under encryption. The left matrix comes from the array `of`, and is kept in transformed form."""
        (left_own,), (right_own,) = x, y
        alone = has(x, self.me, self.me) and has(y, self.me, self.me)
        holders = crossing(x, y, self.me)
        what, size = kept_as(x, y, of, holders)
        kept, made, parts = self._kept.get(of, what), [], []
        for at, (start, count) in enumerate(row_blocks(*x.shape)):
            block = left_own[start : start + count]
            # The holder of a left matrix multiplies what the other encrypts; both directions at once.
            if kept is None:
                machines = [self._cross(holder, block, right_own, threads) for holder in holders]
            else:
                machines = kept[at]
                for holder, machine in zip(holders, machines, strict=True):
                    machine.again(None if holder == self.me else right_own)
            self.links.drive(Several(machines))
            if self._kept.fits(size):
                made.append(machines)
            part = sum((machine.finish() for machine in machines), np.uint64(0))
            parts.append(part + ring.matrix_product(block, right_own, threads) if alone else part)
        if kept is None and made:
            self._kept.put(of, what, size, made)
        return Shares(np.concatenate(parts))

    def _cross(self, holder: int, left: U64, right: U64, threads: int) -> MatrixProduct:
        """This party's side of the holder's left matrix times the other's right one."""
        self._matrices += 1
        occasion, sizes = self._occasion, (*left.shape, right.shape[1])
        return MatrixProduct(
            "second" if self.me == holder else "first",
            occasion.seed,
            occasion.attempt,
            f"{occasion.channel}/matrix/{self._matrices}",
            sizes,
            left if self.me == holder else right,
            context=occasion.context,
            threads=threads,
        )

    def scaled(self, x: Shares, shift: int) -> Step[Shares]:
        """Signed numbers from -2^62 to 2^62 - 1 divided by 2^shift, and rounded down or up; wide ones from -2^126.

        After a constant was added 0 <= x < 2^63, and x0 + x1 passes 2^64 just if either has its highest bit: one
        product of a bit each. Rounded up with probability of the fraction that is cut off, which takes shares that are
        uniform: the common stream makes them so. Who knows x rounds it alone.
        """
        if (mine := stays(x, self.me)) is not None:
            (words,) = x
            return Shares(self._rounded(words, shift) if mine else np.zeros(x.shape, words.dtype), mine=mine)
        bias = WIDE_BIAS_BITS if x.wide else BIAS_BITS
        own, passed = yield from self._passed((yield from self.uniform(x)), bias)
        gone = passed << np.uint64(64 - shift)
        if x.wide:
            gone = ring.pair(np.zeros(gone.shape, np.uint64), gone)
        # Both shares are rounded down, so that 1 or nothing is missing.
        missing = ring.constant(1 - (1 << bias - shift), x.wide)
        cut = Shares(ring.subtract(ring.cut(own, shift), gone))
        return cut + self.public(missing)

    def uniform(self, x: Shares) -> Step[Shares]:
        """The same numbers under shares that are uniform at each party, whatever they were: by the common stream."""
        drawn = ring.drawn(self._common.before, x.shape, x.wide)
        (own,) = x
        return nothing(Shares(ring.add(own, drawn) if self.me == 0 else ring.subtract(own, drawn)))

    def _rounded(self, words: Words, shift: int) -> Words:
        """Own signed numbers divided by 2^shift, rounded up with probability of the fraction."""
        wide = ring.is_wide(words)
        bias = WIDE_BIAS_BITS if wide else BIAS_BITS
        up, down = (ring.constant(1 << bits, wide) for bits in (bias, bias - shift))
        drawn = self._own.before(words.shape) >> np.uint64(64 - shift)
        more = ring.add(ring.add(words, up), ring.unsigned(drawn) if wide else drawn)
        return ring.subtract(ring.cut(more, shift), down)

    def widened(self, x: Shares) -> Step[Shares]:
        """Signed numbers from -2^62 to 2^62 - 1, modulo 2^128: what passed 2^64 is taken from the upper half."""
        if stays(x, self.me) is not None:
            return x.changed(ring.signed)
        own, passed = yield from self._passed(x, BIAS_BITS)
        return Shares(ring.pair(own, -passed)) + self.public(ring.constant(-(1 << BIAS_BITS), True))

    def _passed(self, x: Shares, bias: int) -> Step[tuple[Words, U64]]:
        """The own share after 2^bias was added, and shares modulo 2^64 of whether both add up to more than the ring.

        x is then below half of the ring, so that they do just if either has its highest bit: of any two shares.
        """
        (own,) = x
        if self.me == 0:
            own = ring.add(own, ring.constant(1 << bias, x.wide))
        top = ring.top(own).reshape(-1)
        product = yield from self._times(0, top)
        return own, (top - product).reshape(own.shape)

    def scaled_product(self, x: Shares, y: Shares, shift: int) -> Step[Shares]:
        """Products, as `scaled`."""
        product = yield from self.product(x, y)
        return (yield from self.scaled(product, shift))

    def scaled_matrix_product(self, x: Shares, y: Shares, shift: int, threads: int = 1) -> Step[Shares]:
        """The product of matrices, as `scaled`."""
        product = yield from self.matrix_product(x, y, threads)
        return (yield from self.scaled(product, shift))

    # From words to bits and back.

    def addends(self, x: Shares, bits: int = 64, *, negated: bool = False) -> Step[tuple[Shares, Shares]]:
        """Planes of bits of two numbers that add up to x, or differ by x if `negated`: the shares themselves.

        Of what one party knows, that party's first number is x, and the second is 0.
        """
        (own,) = x.reshape(-1)
        nowhere = np.zeros((bits, -(-x.size // 64)), np.uint64)
        mine = stays(x, self.me)
        if mine is not None:
            first = ring.bits(own, bits) if mine else nowhere
            return nothing((Shares(first, mine=mine), Shares(nowhere, mine=mine)))
        given = ring.bits(ring.negative(own) if negated and self.me == 1 else own, bits)
        pair = (given, nowhere) if self.me == 0 else (nowhere, given)
        return nothing((Shares(pair[0], mine=self.me == 0), Shares(pair[1], mine=self.me == 1)))

    def negative(self, x: Shares, bits: int = 64) -> Step[Shares]:
        """Which of x are below zero: the highest bits of both shares, and the carry into them.

        Low bits a and b of the shares carry if a > 2^(bits - 1) - 1 - b: a party's bits against the other's, inverted.
        """
        if stays(x, self.me) is not None:
            return x.changed(lambda w: pack(ring.top(w).astype(np.bool_))[None, :])
        if bits > ring.BITS:
            return (yield from circuits.negative(self, x, bits))
        (own,) = x.reshape(-1)
        mine = ring.bits(own, bits)
        low = mine[: bits - 1]
        digits = (bits + 2) // 4
        found = Shares((yield from self._comparer.compare(low, ~low)))
        # Its place in what is equal is never read.
        equal = found.part(slice(digits - 1, None))
        carry = yield from circuits.carry(self, found.part(slice(0, digits)), equal)
        return Shares(mine[bits - 1 :]) ^ carry

    def zero(self, x: Shares, bits: int = 64) -> Step[Shares]:
        """Which of x are zero: where a share is the other one, negated."""
        if stays(x, self.me) is not None:
            return circuits.inverted(self, x.changed(lambda w: pack(ring.some(w))[None, :]))
        if bits > ring.BITS:
            return (yield from circuits.zero(self, x, bits))
        (own,) = x.reshape(-1)
        same = yield from self._comparer.compare(
            ring.bits(own, bits), ring.bits(ring.negative(own), bits), equal=True
        )
        return (yield from circuits.every(self, Shares(same)))

    def words(self, b: Shares, count: int) -> Step[Shares]:
        """Words of 0 or 1 from the first `count` bits of planes: b0 + b1 - 2 b0 b1."""
        if stays(b, self.me) is not None:
            return b.changed(lambda plane: unpack(plane, count))
        own = unpack(b.words[0], count)
        product = yield from self._times(0, own)
        return Shares(own - np.uint64(2) * product)

    def chosen(self, b: Shares, x: Shares) -> Step[Shares]:
        """Words where their bit is set, else 0: x_i (b_i ^ b_j) = x_i b_i + b_j x_i (1 - 2 b_i), for both i.

        Not for an i whose x_i or whose other's b_j is 0, as it is where one party knows x or b.
        """
        bits = b.changed(lambda plane: unpack(plane, x.size))
        if (known := local(x, bits, ring.kept)) is not None:
            return known
        (bit,), (own,) = bits, x
        given = ring.subtract(own, ring.kept(ring.add(own, own), bit))
        senders = crossing(x, b, self.me)
        found = yield from together(
            *(self._times(i, given if self.me == i else bit, wide=x.wide) for i in senders)
        )
        return Shares(reduce(ring.add, found, ring.kept(own, bit)))

    def _times(self, sender: int, mine: Words, *, wide: bool = False) -> Step[Words]:
        """Shares of the sender's words times the other's bits (words of 0 or 1), each by one transfer.

        A wide word takes two transfers with one bit: theirs make a word of 128 bits.
        """
        count = ring.length(mine.size, wide)
        filled = -(-count // 64) * 64
        if self.me == sender:
            got_bits = yield from self._turned(filled)
            if_zero, if_one = (ring.shaped(w[:count], mine.shape, wide) for w in got_bits)
            yield Exchange({self.other: ring.flat(ring.add(ring.subtract(if_zero, if_one), mine))})
            return ring.negative(if_zero)
        bits = np.repeat(mine.astype(np.bool_), 2 if wide else 1)
        words = yield from self._turn(np.append(bits, np.zeros(filled - count, np.bool_)))
        got = yield Exchange(expect={self.other: count})
        difference = ring.shaped(got[self.other], mine.shape, wide)
        known = ring.shaped(words[:count], mine.shape, wide)
        return ring.add(known, ring.kept(difference, mine))

    def _turned(self, count: int) -> Step[tuple[U64, U64]]:
        """The sender of transfers whose bits the other turns into wanted ones: its words if they are 0, and if 1."""
        zero, one = self.supply.sent(count)
        got = yield Exchange(expect={self.other: count // 64})
        turned = unpack(got[self.other], count).astype(np.bool_)
        return np.where(turned, one, zero), np.where(turned, zero, one)

    def _turn(self, bits: npt.NDArray[np.bool_]) -> Step[U64]:
        """The other side: the words of its bits."""
        choices, words = self.supply.chosen(bits.size)
        yield Exchange({self.other: np.packbits(bits, bitorder="little").view(np.uint64) ^ choices})
        return words

    # Joins.

    def hidden_join(self, side: HiddenSide) -> HiddenShares:
        """Shares of who matched and of both sides' words; rows are filled up to their declared number."""
        self._joins += 1
        occasion = self._occasion
        label = f"{occasion.channel}/join/{self._joins}"
        items = side.placer_items if side.role == "placer" else side.mapper_items
        missing = items - len(side.digests) // DIGEST_BYTES
        words = side.placer_words if side.role == "placer" else side.mapper_words
        fill = stream_bytes(occasion.seed, occasion.attempt, label, "rows", DIGEST_BYTES * missing)
        filled = replace(
            side,
            digests=side.digests + fill,
            payload=side.payload + bytes(8 * words * missing),
            context=occasion.context + f"/join/{self._joins}".encode(),
        )
        machine = CircuitPsi(occasion.seed, occasion.attempt, label, filled, threads=self._threads)
        self.links.drive(machine)
        return machine.shares()

    # Orders.

    def shuffle(self, columns: Shares) -> Step[Shares]:
        """Rows of shape (rows, columns) in an order that neither party knows: each in turn applies one of its own.

        By a network of switches (Benes 1964) whose bits that party knows; a switch uses up a transfer for each column.
        """
        places = columns.shape[0]
        if places > MOST_PLACES:
            raise AtollError("E_TOO_LARGE", f"At most {MOST_PLACES:,} rows are shuffled.", step=STEP)
        for owner in range(PARTIES):
            columns = yield from self._permuted(owner, columns)
        return columns

    def _permuted(self, owner: int, columns: Shares) -> Step[Shares]:
        """Rows in an order that `owner` draws."""
        (x,) = columns
        rows, width = x.shape
        levels = max(0, rows - 1).bit_length()
        if not levels or not width:
            return columns
        places, turns = 1 << levels, layers(levels)
        # Rows that are added stay behind the others.
        x = np.concatenate([x, np.zeros((places - rows, width), x.dtype)])
        wide = ring.is_wide(x)
        each = ring.length(places // 2 * width, wide)
        filled = -(-turns * each // 64) * 64

        def of(words: U64, layer: int) -> Words:
            return ring.shaped(words[layer * each : (layer + 1) * each], (places // 2 * width,), wide)

        if self.me == owner:
            crossing = [unpack(layer, places // 2) for layer in switches(self._own.order_before(rows)).bits]
            bits = np.repeat(np.concatenate(crossing), width).reshape(turns, -1)
            one_each = np.repeat(bits.reshape(-1).astype(np.bool_), 2 if wide else 1)
            words = yield from self._turn(np.append(one_each, np.zeros(filled - turns * each, np.bool_)))
            for layer in range(turns):
                got = yield Exchange(expect={self.other: each})
                gap = ring.add(_gaps(x, layer, levels), of(got[self.other], 0))
                x = _crossed(x, layer, levels, ring.add(ring.kept(gap, bits[layer]), of(words, layer)))
        else:
            if_zero, if_one = yield from self._turned(filled)
            for layer in range(turns):
                zero, one = of(if_zero, layer), of(if_one, layer)
                gap = _gaps(x, layer, levels)
                yield Exchange({self.other: ring.flat(ring.add(ring.subtract(zero, one), gap))})
                x = _crossed(x, layer, levels, ring.negative(zero))
        return Shares(x[:rows])


def _pairs(x: Words, layer: int, levels: int) -> Words:
    """Rows as (blocks, 2, rows of a block, columns): a layer's switches join both places of the second axis."""
    return x.reshape(*layer_shape(layer, levels), x.shape[1])


def _gaps(x: Words, layer: int, levels: int) -> Words:
    """For each switch of a layer and column the one place less the other."""
    pairs = _pairs(x, layer, levels)
    return ring.subtract(pairs[:, 1], pairs[:, 0]).reshape(-1)


def _crossed(x: Words, layer: int, levels: int, moved: Words) -> Words:
    """Rows after a layer: `moved` is added to the first place of each switch, and taken from the second."""
    pairs = _pairs(x, layer, levels)
    change = moved.reshape(pairs[:, 0].shape)
    both = [ring.add(pairs[:, 0], change), ring.subtract(pairs[:, 1], change)]
    return np.stack(both, axis=1).reshape(x.shape)
