"""Replicated shares of three parties, of whom one may be curious (docs/protocols/replicated-shares.md).

x = x0 + x1 + x2 modulo 2^64 or 2^128, or under exclusive or; party i holds x_i and x_(i+1). Semi-honest, honest
majority: Araki et al., eprint 2016/768; conversions after Mohassel and Rindal, eprint 2018/403.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from atoll.crypto.arrays import KEY_BYTES, MOST_PLACES, Streams, scale_part
from atoll.crypto.stream import check_labels, stream_bytes
from atoll.crypto.suite import digest, digest_bytes
from atoll.errors import AtollError
from atoll.mpc import circuits
from atoll.mpc import wide as ring
from atoll.mpc.rounds import STEP, U64, Exchange, Links, Step, rows, together
from atoll.mpc.setting import Occasion
from atoll.mpc.shares import Shares, join, unpack
from atoll.mpc.wide import Words

PROTOCOL: Final = "replicated-shares/v1"
SECURITY: Final = "semi-honest"
PARTIES: Final = 3
BIAS_BITS: Final = 62
WIDE_BIAS_BITS: Final = 126
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

    def public(self, words: Words) -> Shares:
        """Shares of words that everybody knows."""
        nothing = np.zeros(words.shape, words.dtype)
        return Shares(
            words if self.me == 0 else nothing,
            words if self.after_me == 0 else nothing,
        )

    def _known(
        self, words: Words | None, holder: int, shape: tuple[int, ...], *, wide: bool = False
    ) -> Shares:
        """Shares of what the two holders of share `holder` know, and the third party does not."""
        nothing = np.zeros(shape, ring.kind(wide))
        return Shares(
            words if self.me == holder and words is not None else nothing,
            words if self.after_me == holder and words is not None else nothing,
        )

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
        """Shares of what `owner` alone has: one word to one party, the rest from streams.

        The owner's own share is drawn with the party before it, and the third share is zero: the two others hold a
        uniform word each.
        """
        nothing = np.zeros(shape, ring.kind(wide))
        after_owner = (owner + 1) % PARTIES
        if self.me == owner:
            assert words is not None
            drawn = ring.drawn(self._streams.before, shape, wide)
            rest = words ^ drawn if bits else ring.subtract(words, drawn)
            yield Exchange({after_owner: ring.flat(rest)})
            return Shares(drawn, rest)
        if self.me == after_owner:
            got = yield Exchange(expect={owner: ring.length(nothing.size, wide)})
            return Shares(ring.shaped(got[owner], shape, wide), nothing)
        drawn = ring.drawn(self._streams.after, shape, wide)
        yield Exchange()
        return Shares(nothing, drawn)

    def open(self, shares: Shares, to: Sequence[int], *, bits: bool = False) -> Step[Words | None]:
        """The values, for the parties in `to`; `None` for the others."""
        own, after = shares
        send = {self.after_me: ring.flat(own)} if self.after_me in to else {}
        expect = {self.before_me: ring.length(own.size, shares.wide)} if self.me in to else {}
        got = yield Exchange(send, expect)
        if self.me not in to:
            return None
        missing = ring.shaped(got[self.before_me], shares.shape, shares.wide)
        return own ^ after ^ missing if bits else ring.add(ring.add(own, after), missing)

    def mask(self, shape: tuple[int, ...]) -> U64 | None:
        """Words that parties 0 and 1 draw alike."""
        if self.me == 2:
            return None
        return self._streams.after(shape) if self.me == 0 else self._streams.before(shape)

    # Products.

    def _spread(self, part: Words) -> Step[Shares]:
        """Shares of what the parties hold in parts, masked so that each may be seen by one other."""
        wide = ring.is_wide(part)
        got = yield Exchange({self.before_me: ring.flat(part)}, {self.after_me: ring.length(part.size, wide)})
        return Shares(part, ring.shaped(got[self.after_me], part.shape, wide))

    def product(self, x: Shares, y: Shares) -> Step[Shares]:
        """Products element by element, modulo 2^64 or 2^128."""
        products = self._streams.wide_products if x.wide else self._streams.products
        return (yield from self._spread(products(_pair(x), _pair(y))))

    def both(self, x: Shares, y: Shares) -> Step[Shares]:
        """Bits that are set in both."""
        return (yield from self._spread(self._streams.bit_products(_pair(x), _pair(y))))

    def both_of(self, x: Shares, y: Shares, z: Shares) -> Step[tuple[Shares, Shares]]:
        """Bits that are set in x and y, and in x and z."""
        products = yield from self.both(join([x, x]), join([y, z]))
        half = x.shape[0]
        return products.part(slice(0, half)), products.part(slice(half, None))

    def matrix_product(self, x: Shares, y: Shares, threads: int = 1) -> Step[Shares]:
        """The product of matrices modulo 2^64 or 2^128."""
        product = self._streams.wide_matrix_product if x.wide else self._streams.matrix_product
        return (yield from self._spread(product(_pair(x), _pair(y), threads)))

    def scaled_product(self, x: Shares, y: Shares, shift: int) -> Step[Shares]:
        """Products divided by 2^shift, as `scaled`."""
        if x.wide:
            return (yield from self.scaled((yield from self.product(x, y)), shift))
        return (yield from self._scaled(self._streams.products(_pair(x), _pair(y)), shift))

    def scaled_matrix_product(self, x: Shares, y: Shares, shift: int, threads: int = 1) -> Step[Shares]:
        """The product of matrices divided by 2^shift, as `scaled`."""
        if x.wide:
            return (yield from self.scaled((yield from self.matrix_product(x, y, threads)), shift))
        return (yield from self._scaled(self._streams.matrix_product(_pair(x), _pair(y), threads), shift))

    def scaled(self, x: Shares, shift: int) -> Step[Shares]:
        """Signed numbers from -2^62 to 2^62 - 1 divided by 2^shift, and rounded down or up; wide ones from -2^126.

        Rounded up with probability of the fraction that is cut off, so that the mean is right; never off by more.
        """
        if x.wide:
            return (yield from self._wide_scaled(x, shift))
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

    # Between rings.

    def widened(self, x: Shares) -> Step[Shares]:
        """Signed numbers from -2^62 to 2^62 - 1, modulo 2^128.

        After 2^62 was added x = u + v - 2^64 (s + t - s t), with the highest bits s of u and t of v.
        """
        nothing = np.zeros(x.shape, np.uint64)
        return (
            yield from self._of_addends(
                x,
                BIAS_BITS,
                lambda w: ring.pair(w, np.asarray(-ring.top(w))),
                lambda both: ring.pair(nothing, both),
                -(1 << BIAS_BITS),
            )
        )

    def _wide_scaled(self, x: Shares, shift: int) -> Step[Shares]:
        """The division of wide numbers: both addends are cut, so that 1 or nothing is missing.

        After 2^126 was added x = u + v - 2^128 (s + t - s t).
        """
        nothing, back = np.zeros(x.shape, np.uint64), np.uint64(64 - shift)
        return (
            yield from self._of_addends(
                x,
                WIDE_BIAS_BITS,
                lambda w: ring.subtract(ring.cut(w, shift), ring.pair(nothing, ring.top(w) << back)),
                lambda both: ring.pair(nothing, np.asarray(both << back)),
                1 - (1 << WIDE_BIAS_BITS - shift),
            )
        )

    def _of_addends(
        self,
        x: Shares,
        bias: int,
        part: Callable[[Words], Words],
        carried: Callable[[U64], Words],
        constant: int,
    ) -> Step[Shares]:
        """part(u) + part(v) + carried(s t) + constant, wide: u + v is x and 2^bias, s and t are their highest bits.

        Party 0 knows u, its two shares, and both others know v. Their sum passed the ring just if s or t is set.
        """
        shape, (own, after) = x.shape, x
        u: Words | None = None
        v: Words | None = None
        if self.me == 0:
            u = ring.add(ring.add(own, after), ring.constant(1 << bias, x.wide))
        else:
            v = after if self.me == 1 else own

        def top() -> Step[Shares]:
            mine = yield from self.share(0, None if u is None else ring.top(u), shape)
            known = self._known(None if v is None else ring.top(v), 2, shape)
            return (yield from self.product(mine, known))

        share = self.share(0, None if u is None else part(u), shape, wide=True)
        first, both = yield from together(share, top())
        second = self._known(None if v is None else part(v), 2, shape, wide=True)
        sums: Shares = first + second + both.changed(carried) + self.public(ring.constant(constant, True))
        return sums

    # From words to bits and back.

    def addends(self, x: Shares, bits: int = 64, *, negated: bool = False) -> Step[tuple[Shares, Shares]]:
        """Planes of bits of two numbers that add up to x, or whose difference x is if `negated`.

        Party 0 knows the first two shares, and shares their sum in bits; the last share both others know.
        """
        own, after = x.reshape(-1)
        shape = (bits, -(-x.size // 64))
        first = ring.bits(ring.add(own, after), bits) if self.me == 0 else None
        known = after if self.me == 1 else own
        second = None if self.me == 0 else ring.bits(ring.negative(known) if negated else known, bits)
        a = yield from self.share(0, first, shape, bits=True)
        return a, self._known(second, 2, shape)

    def negative(self, x: Shares, bits: int = 64) -> Step[Shares]:
        """Which of x are below zero: their addends are added up to the sign."""
        return circuits.negative(self, x, bits)

    def zero(self, x: Shares, bits: int = 64) -> Step[Shares]:
        """Which of x are zero: the bits of their addends are compared."""
        return circuits.zero(self, x, bits)

    def words(self, b: Shares, count: int, *, wide: bool = False) -> Step[Shares]:
        """Words of 0 or 1 from the first `count` bits of one plane.

        b = u + v - 2 u v, where party 0 knows u, two bits of the three, and both others know v, the third.
        """
        own, after = b
        mine: Words | None = unpack(np.asarray(own ^ after), count) if self.me == 0 else None
        known: Words | None = None if self.me == 0 else unpack(after if self.me == 1 else own, count)
        if wide:
            mine, known = (None if w is None else ring.unsigned(w) for w in (mine, known))
        u = yield from self.share(0, mine, (count,), wide=wide)
        v = self._known(known, 2, (count,), wide=wide)
        return u + v - (yield from self.product(u, v)).times(2)

    def chosen(self, b: Shares, x: Shares) -> Step[Shares]:
        """Words where their bit is set, else 0."""
        w = yield from self.words(b, x.size, wide=x.wide)
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
        shape, wide, (own, after) = x.shape, x.wide, x
        size = ring.length(own.size, wide)
        if self.me == third:
            both = [ring.drawn(draw, shape, wide) for draw in (self._streams.before, self._streams.after)]
            yield Exchange()
            return Shares(*both)
        if self.me == first:
            order = self._streams.order_after(shape[0])
            drawn = ring.drawn(self._streams.before, shape, wide)
            mine = ring.subtract(own[order], drawn)
            got = yield Exchange({second: ring.flat(mine)}, {second: size})
            return Shares(drawn, ring.add(mine, ring.shaped(got[second], shape, wide)))
        order = self._streams.order_before(shape[0])
        drawn = ring.drawn(self._streams.after, shape, wide)
        mine = ring.subtract(ring.add(own, after)[order], drawn)
        got = yield Exchange({first: ring.flat(mine)}, {first: size})
        return Shares(ring.add(mine, ring.shaped(got[first], shape, wide)), drawn)


def _pair(x: Shares) -> tuple[Words, Words]:
    own, after = x
    return own, after
