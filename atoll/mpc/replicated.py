"""Replicated shares of three parties, of whom one may be curious (docs/protocols/replicated-shares.md).

x = x0 + x1 + x2 modulo 2^64, or under exclusive or; party i holds x_i and x_(i+1). Semi-honest, honest majority:
Araki et al., eprint 2016/768; conversions after Mohassel and Rindal, eprint 2018/403.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from atoll.crypto.arrays import KEY_BYTES, MOST_PLACES, Streams, planes, scale_part
from atoll.crypto.stream import check_labels, stream_bytes
from atoll.crypto.suite import digest, digest_bytes
from atoll.errors import AtollError
from atoll.mpc import circuits
from atoll.mpc.rounds import STEP, U64, Exchange, Links, Step, rows
from atoll.mpc.setting import Occasion
from atoll.mpc.shares import Shares, join, unpack

PROTOCOL: Final = "replicated-shares/v1"
SECURITY: Final = "semi-honest"
PARTIES: Final = 3
_DIGEST_WORDS: Final = 4
_KEY_WORDS: Final = KEY_BYTES // 8


class Replicated:
    """One party's side of the computation on replicated shares. Every method is a step; all parties take the same.

    Steps run side by side, so both holders of a stream draw from it at the same place of a step, between the same
    rounds.

    Args:
        links: channels to the other two; `links.me` is this party's number, 0 to 2.
        occasion: what the parties agreed on, and this party's seed.

    Raises:
        AtollError: `E_PROTOCOL` if a peer means another occasion or does not begin; whatever the channels raise.
    """

    def __init__(self, links: Links, occasion: Occasion) -> None:
        check_labels(occasion.seed, occasion.attempt)
        self.links = links
        self.me = links.me
        self.before_me, self.after_me = (self.me - 1) % PARTIES, (self.me + 1) % PARTIES
        self._streams = links.run(self._begin(occasion))

    def _begin(self, occasion: Occasion) -> Step[Streams]:
        length = len(occasion.context).to_bytes(8, "big")
        hello = digest_bytes(digest(f"atoll {PROTOCOL}\n".encode() + length + occasion.context))
        about = np.frombuffer(hello, np.uint64)
        own = stream_bytes(
            occasion.seed, occasion.attempt, occasion.channel, f"{PROTOCOL}/key/{self.me}", KEY_BYTES
        )
        got = yield Exchange(
            {self.before_me: np.concatenate([about, np.frombuffer(own, np.uint64)]), self.after_me: about},
            {self.before_me: _DIGEST_WORDS, self.after_me: _DIGEST_WORDS + _KEY_WORDS},
        )
        for party, words in sorted(got.items()):
            if words[:_DIGEST_WORDS].tobytes() != hello:
                name = self.links.name(party)
                raise AtollError("E_PROTOCOL", f"{name} means another computation.", party=name, step=STEP)
        return Streams(own, got[self.after_me][_DIGEST_WORDS:].tobytes())

    @property
    def everybody(self) -> tuple[int, ...]:
        """All three."""
        return tuple(range(PARTIES))

    # What takes no round.

    def public(self, words: U64) -> Shares:
        """Shares of words that everybody knows."""
        nothing = np.zeros(words.shape, np.uint64)
        return Shares(
            words if self.me == 0 else nothing,
            words if self.after_me == 0 else nothing,
        )

    def _known(self, words: U64 | None, holder: int, shape: tuple[int, ...]) -> Shares:
        """Shares of what the two holders of share `holder` know, and the third party does not."""
        nothing = np.zeros(shape, np.uint64)
        return Shares(
            words if self.me == holder and words is not None else nothing,
            words if self.after_me == holder and words is not None else nothing,
        )

    # Into shares and out of them.

    def share(
        self, owner: int, words: U64 | None, shape: tuple[int, ...], *, bits: bool = False
    ) -> Step[Shares]:
        """Shares of what `owner` alone has: one word to one party, the rest from streams.

        The owner's own share is drawn with the party before it, and the third share is zero: the two others hold a
        uniform word each.
        """
        nothing = np.zeros(shape, np.uint64)
        after_owner = (owner + 1) % PARTIES
        if self.me == owner:
            assert words is not None
            drawn = self._streams.before(shape)
            rest = words ^ drawn if bits else words - drawn
            yield Exchange({after_owner: rest})
            return Shares(drawn, rest)
        if self.me == after_owner:
            got = yield Exchange(expect={owner: nothing.size})
            return Shares(got[owner].reshape(shape), nothing)
        drawn = self._streams.after(shape)
        yield Exchange()
        return Shares(nothing, drawn)

    def open(self, shares: Shares, to: Sequence[int], *, bits: bool = False) -> Step[U64 | None]:
        """The values, for the parties in `to`; `None` for the others."""
        own, after = shares
        send = {self.after_me: own} if self.after_me in to else {}
        expect = {self.before_me: own.size} if self.me in to else {}
        got = yield Exchange(send, expect)
        if self.me not in to:
            return None
        missing = got[self.before_me].reshape(shares.shape)
        return own ^ after ^ missing if bits else own + after + missing

    # Products.

    def _spread(self, part: U64) -> Step[Shares]:
        """Shares of what the parties hold in parts, masked so that each may be seen by one other."""
        got = yield Exchange({self.before_me: part}, {self.after_me: part.size})
        return Shares(part, got[self.after_me].reshape(part.shape))

    def product(self, x: Shares, y: Shares) -> Step[Shares]:
        """Products element by element, modulo 2^64."""
        return (yield from self._spread(self._streams.products(_pair(x), _pair(y))))

    def both(self, x: Shares, y: Shares) -> Step[Shares]:
        """Bits that are set in both."""
        return (yield from self._spread(self._streams.bit_products(_pair(x), _pair(y))))

    def both_of(self, x: Shares, y: Shares, z: Shares) -> Step[tuple[Shares, Shares]]:
        """Bits that are set in x and y, and in x and z."""
        products = yield from self.both(join([x, x]), join([y, z]))
        half = x.shape[0]
        return products.part(slice(0, half)), products.part(slice(half, None))

    def matrix_product(self, x: Shares, y: Shares, threads: int = 1) -> Step[Shares]:
        """The product of matrices modulo 2^64."""
        return (yield from self._spread(self._streams.matrix_product(_pair(x), _pair(y), threads)))

    def scaled_product(self, x: Shares, y: Shares, shift: int) -> Step[Shares]:
        """Products divided by 2^shift, as `scaled`."""
        return (yield from self._scaled(self._streams.products(_pair(x), _pair(y)), shift))

    def scaled_matrix_product(self, x: Shares, y: Shares, shift: int, threads: int = 1) -> Step[Shares]:
        """The product of matrices divided by 2^shift, as `scaled`."""
        return (yield from self._scaled(self._streams.matrix_product(_pair(x), _pair(y), threads), shift))

    def scaled(self, x: Shares, shift: int) -> Step[Shares]:
        """Signed numbers from -2^62 to 2^62 - 1 divided by 2^shift, and rounded down or up.

        Rounded up with probability of the fraction that is cut off, so that the mean is right; never off by more.
        """
        return (yield from self._scaled(x.words[0] + self._streams.zeros(x.shape), shift))

    def _scaled(self, part: U64, shift: int) -> Step[Shares]:
        """Shares of a sum of parts, divided by 2^shift.

        Party 2 knows a mask r, the others its halves. They learn c = x + r and nothing of x, and party 2 does not
        learn c. Since 0 <= x < 2^63 after a constant was added, the sum passed 2^64 just if the mask's highest bit
        is set and that of c is not, which makes the carry linear in what party 2 shares.
        """
        shape, size = part.shape, part.size
        if self.me == 2:
            to_one, own, after = self._streams.scale_deal(part, shift)
            yield Exchange({0: part, 1: to_one})
            yield Exchange()
            return Shares(own, after)
        other = 1 - self.me
        if self.me == 0:
            masked, drawn, high, top = self._streams.scale_first(part)
            got = yield Exchange({1: masked}, {1: size, 2: size})
            third = got[2]
        else:
            masked, drawn = self._streams.scale_second(part)
            got = yield Exchange({0: masked}, {0: size, 2: 3 * size})
            third, high, top = rows(got[2], [size] * 3)
        mine = scale_part((masked, got[other], third), high, top, drawn, shift, first=self.me == 0)
        got = yield Exchange({other: mine}, {other: size})
        middle = mine + got[other].reshape(shape)
        return Shares(drawn, middle) if self.me == 0 else Shares(middle, drawn)

    # From words to bits and back.

    def addends(self, x: Shares, bits: int = 64, *, negated: bool = False) -> Step[tuple[Shares, Shares]]:
        """Planes of bits of two numbers that add up to x, or whose difference x is if `negated`.

        Party 0 knows the first two shares, and shares their sum in bits; the last share both others know.
        """
        own, after = x.reshape(-1)
        shape = (bits, -(-x.size // 64))
        first = planes(own + after, bits) if self.me == 0 else None
        known = after if self.me == 1 else own
        second = None if self.me == 0 else planes(-known if negated else known, bits)
        a = yield from self.share(0, first, shape, bits=True)
        return a, self._known(second, 2, shape)

    def negative(self, x: Shares, bits: int = 64) -> Step[Shares]:
        """Which of x are below zero: their addends are added up to the sign."""
        return circuits.negative(self, x, bits)

    def zero(self, x: Shares, bits: int = 64) -> Step[Shares]:
        """Which of x are zero: the bits of their addends are compared."""
        return circuits.zero(self, x, bits)

    def words(self, b: Shares, count: int) -> Step[Shares]:
        """Words of 0 or 1 from the first `count` bits of one plane.

        b = u + v - 2 u v, where party 0 knows u, two bits of the three, and both others know v, the third.
        """
        own, after = b
        mine = unpack(own ^ after, count) if self.me == 0 else None
        known = None if self.me == 0 else unpack(after if self.me == 1 else own, count)
        u = yield from self.share(0, mine, (count,))
        v = self._known(known, 2, (count,))
        return u + v - (yield from self.product(u, v)).times(2)

    def chosen(self, b: Shares, x: Shares) -> Step[Shares]:
        """Words where their bit is set, else 0."""
        w = yield from self.words(b, x.size)
        return (yield from self.product(w, x))

    # Orders.

    def shuffle(self, columns: Shares) -> Step[Shares]:
        """Rows of shape (rows, columns) in an order that no party knows.

        Each pair of parties in turn puts them into an order that the third does not know, and shares them anew (Laur,
        Willemson & Zhang, ISC 2011).
        """
        places = columns.shape[0]
        if places > MOST_PLACES:
            raise AtollError("E_TOO_LARGE", f"At most {MOST_PLACES:,} rows are shuffled.", step=STEP)
        for first in range(PARTIES):
            columns = yield from self._turn(columns, first)
        return columns

    def _turn(self, x: Shares, first: int) -> Step[Shares]:
        second, third = (first + 1) % PARTIES, (first + 2) % PARTIES
        shape, (own, after) = x.shape, x
        if self.me == third:
            both = Shares(self._streams.before(shape), self._streams.after(shape))
            yield Exchange()
            return both
        if self.me == first:
            order = self._streams.order_after(shape[0])
            drawn = self._streams.before(shape)
            mine = own[order] - drawn
            got = yield Exchange({second: mine}, {second: mine.size})
            return Shares(drawn, mine + got[second].reshape(shape))
        order = self._streams.order_before(shape[0])
        drawn = self._streams.after(shape)
        mine = (own + after)[order] - drawn
        got = yield Exchange({first: mine}, {first: mine.size})
        return Shares(mine + got[first].reshape(shape), drawn)


def _pair(x: Shares) -> tuple[U64, U64]:
    own, after = x
    return own, after
