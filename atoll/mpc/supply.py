"""What two parties make ahead of need, and use up: triples of bits, of words and of wide ones, random transfers.

Nothing is handed out twice. What is missing is made when it is missing, in batches; `prepare` makes it before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np

from atoll.crypto.arrays import WIDE
from atoll.crypto.triples import (
    BitTriples,
    Chosen,
    Rich,
    Sent,
    Thin,
    Triples,
    WideTriples,
    WordTransfers,
    WordTriples,
)
from atoll.mpc.rounds import U64, Links
from atoll.mpc.setting import Occasion
from atoll.mpc.wide import Words

BATCH_BITS: Final = 1 << 22
BATCH_WORDS: Final = 1 << 13
BATCH_TRANSFERS: Final = 1 << 17
_THIN_PARTS: Final = 16
_FEWEST: Final = {BATCH_BITS: 1 << 14, BATCH_TRANSFERS: 1 << 10}
# In one batch, which bounds the memory that making them takes: 100 MB of triples, 270 MB of transfers.
MOST_BITS: Final = 1 << 28
MOST_WORDS: Final = 1 << 22
MOST_WIDE: Final = 1 << 21
MOST_TRANSFERS: Final = 1 << 24


def batch_size(missing: int, made: int, batch: int, source: Rich | Thin) -> int:
    """How many are made when so many are missing: as many as were made before, from a few to a whole batch, so that a
    small program makes little that it never uses, and a long one makes it in few batches.
    """
    fewest = _FEWEST.get(batch, batch)
    if batch in _FEWEST and isinstance(source, Thin):
        fewest = batch // _THIN_PARTS
    return max(missing, min(batch, max(fewest, made)))


class _Stock:
    """Arrays of one length each, of which the first elements are taken; some count in words of 64."""

    def __init__(
        self,
        links: Links,
        machine: Callable[[int], Any],
        parts: Callable[[Any], tuple[U64, ...]],
        batch: int,
        most: int,
        source: Rich | Thin,
    ) -> None:
        self._links, self._new, self._parts, self._batch, self._most = links, machine, parts, batch, most
        self._source = source
        self._machine: Any = None
        self._arrays: tuple[U64, ...] = ()
        self.made = self.used = 0

    def _make(self, count: int) -> None:
        if self._machine is None:
            self._machine = self._new(count)
        else:
            self._machine.again(count)
        self._links.drive(self._machine)
        found = self._parts(self._machine.finish())
        left = self.made - self.used
        self._arrays = tuple(map(np.concatenate, zip(self._arrays, found, strict=True))) if left else found
        self.made += count

    def prepare(self, count: int) -> None:
        """Has at least so many ready."""
        while (missing := count - (self.made - self.used)) > 0:
            self._make(min(batch_size(missing, self.made, self._batch, self._source), self._most))

    def take(self, count: int, widths: tuple[int, ...]) -> tuple[U64, ...]:
        """The next `count`; an array has one word for `widths` of them."""
        if not count:
            return tuple(np.empty(0, np.uint64) for _ in widths)
        self.prepare(count)
        cuts = [count // w for w in widths]
        taken = tuple(a[:c] for a, c in zip(self._arrays, cuts, strict=True))
        self._arrays = tuple(a[c:] for a, c in zip(self._arrays, cuts, strict=True))
        self.used += count
        return taken


class Supply:
    """One party's stock.

    Args:
        links: the link to the other party, on which what is missing is made.
        occasion: whose seed and attempt all randomness follows from.
        source: how transfers are made, the same on both sides.
        threads: threads that make it.
    """

    def __init__(self, links: Links, occasion: Occasion, source: Rich | Thin, threads: int) -> None:
        role: Literal["first", "second"] = "first" if links.me == 0 else "second"
        labels = (occasion.seed, occasion.attempt)
        options: dict[str, Any] = {"context": occasion.context, "threads": threads}
        channel = occasion.channel

        def triples(made: Triples) -> tuple[U64, ...]:
            return made.a, made.b, made.c

        self._bits = _Stock(
            links,
            lambda n: BitTriples(role, *labels, f"{channel}/bits", n, source=source, **options),
            triples,
            BATCH_BITS,
            MOST_BITS,
            source,
        )
        self._words = _Stock(
            links,
            lambda n: WordTriples(role, *labels, f"{channel}/words", n, **options),
            triples,
            BATCH_WORDS,
            MOST_WORDS,
            source,
        )

        self._wide = _Stock(
            links,
            lambda n: WideTriples(role, *labels, f"{channel}/wide", n, **options),
            triples,
            BATCH_WORDS,
            MOST_WIDE,
            source,
        )

        def transfers(sender: int) -> _Stock:
            sends = sender == links.me

            def parts(made: Sent | Chosen) -> tuple[U64, ...]:
                return (made.zero, made.one) if isinstance(made, Sent) else (made.choices, made.words)

            return _Stock(
                links,
                lambda n: WordTransfers(
                    "sender" if sends else "receiver", *labels, f"{channel}/transfers/{sender}", n,
                    source=source, **options,
                ),
                parts,
                BATCH_TRANSFERS,
                MOST_TRANSFERS,
                source,
            )  # fmt: skip

        self._transfers = [transfers(0), transfers(1)]
        self._me = links.me

    def prepare(self, *, bits: int = 0, words: int = 0, wide: int = 0, transfers: int = 0) -> None:
        """Has so many triples of bits, words and wide words, and transfers each way, ready; both sides ask alike."""
        self._bits.prepare(-(-bits // 64) * 64)
        self._words.prepare(words)
        self._wide.prepare(wide)
        for stock in self._transfers:
            stock.prepare(-(-transfers // 64) * 64)

    def bits(self, words: int) -> tuple[U64, ...]:
        """Bit triples in so many words of 64: a, b and this party's share of a and b."""
        return self._bits.take(64 * words, (64, 64, 64))

    def words(self, count: int) -> tuple[U64, ...]:
        """Word triples: a, b and this party's share of a b."""
        return self._words.take(count, (1, 1, 1))

    def wide(self, count: int) -> tuple[Words, ...]:
        """The same of wide words."""
        if not count:
            return (np.empty(0, WIDE),) * 3
        return self._wide.take(count, (1, 1, 1))

    def sent(self, count: int) -> tuple[U64, ...]:
        """Transfers in which this party sends: both strings of each. `count` is a multiple of 64."""
        return self._transfers[self._me].take(count, (1, 1))

    def chosen(self, count: int) -> tuple[U64, ...]:
        """Transfers in which this party chose: packed choices, and the strings. `count` is a multiple of 64."""
        return self._transfers[1 - self._me].take(count, (64, 1))

    @property
    def used(self) -> dict[str, int]:
        """What was used up so far."""
        both = self._transfers
        return {
            "bits": self._bits.used,
            "words": self._words.used,
            "wide": self._wide.used,
            "transfers": both[0].used + both[1].used,
        }
