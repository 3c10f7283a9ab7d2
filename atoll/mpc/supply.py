"""What two parties make ahead of need, and use up: triples of bits, of words and of wide ones, random transfers.

Nothing is handed out twice. What is missing is made when it is missing, in batches; `prepare` makes it before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np

from atoll.crypto.arrays import WIDE, planes
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
from atoll.protocols.driver import Machine, Several

BATCH_BITS: Final = 1 << 22
BATCH_WORDS: Final = 1 << 13
BATCH_TRANSFERS: Final = 1 << 17
_THIN_PARTS: Final = 16
_FEWEST: Final = {BATCH_BITS: 1 << 14, BATCH_TRANSFERS: 1 << 10}
PIECE: Final = {Rich: 1 << 18, Thin: 1 << 20}
"""Transfers that are taken at once where they are soon folded: as many as stay in the processor's cache, or as one run
of silent ones has."""
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

    def missing(self, count: int) -> int:
        """How many are made next, so that `count` are ready."""
        missing = count - (self.made - self.used)
        if missing <= 0:
            return 0
        return min(batch_size(missing, self.made, self._batch, self._source), self._most)

    def begin(self, count: int) -> Machine:
        """The machine that makes so many."""
        if self._machine is None:
            self._machine = self._new(count)
        else:
            self._machine.again(count)
        machine: Machine = self._machine
        return machine

    def finish(self, count: int) -> None:
        """Takes them, once the machine is done."""
        found = self._parts(self._machine.finish())
        left = self.made - self.used
        self._arrays = tuple(map(np.concatenate, zip(self._arrays, found, strict=True))) if left else found
        self.made += count

    def prepare(self, count: int) -> None:
        """Has at least so many ready."""
        while missing := self.missing(count):
            self._links.drive(self.begin(missing))
            self.finish(missing)

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
        self._me, self._links = links.me, links
        self._piece = PIECE[type(source)] // 64

    def prepare(self, *, bits: int = 0, words: int = 0, wide: int = 0, transfers: int = 0) -> None:
        """Has so many triples of bits, words and wide words, and transfers each way, ready; both sides ask alike."""
        self._bits.prepare(-(-bits // 64) * 64)
        self._words.prepare(words)
        self._wide.prepare(wide)
        self.prepare_transfers(*[-(-transfers // 64) * 64] * 2)

    def prepare_transfers(self, *counts: int) -> None:
        """Has so many transfers ready whose sender is party 0, and party 1; both directions are made at once.

        So each party chooses in one while the other does in the other, and neither waits.
        """
        while missing := [
            (stock, number)
            for stock, count in zip(self._transfers, counts, strict=True)
            if (number := stock.missing(count))
        ]:
            self._links.drive(Several([stock.begin(number) for stock, number in missing]))
            for stock, number in missing:
                stock.finish(number)

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

    def pairs(self, words: int) -> tuple[U64, ...]:
        """Triples of a bit and two, in so many words of 64: a, b and this party's share of both products.

        a is of so many words, the others of shape (2, words).

        Of a transfer in each direction: the choice is a, the two lowest bits of the difference of the sender's words
        are b, and what is chosen plus the first of both words is a share of the other's a times b.
        """
        parts = [(np.empty(0, np.uint64), np.empty((2, 0), np.uint64), np.empty((2, 0), np.uint64))]
        for start in range(0, words, self._piece):
            count = 64 * min(self._piece, words - start)
            self.prepare_transfers(count, count)
            zero, one = (planes(w, 2) for w in self.sent(count))
            a, chosen = self.chosen(count)
            b = zero ^ one
            parts.append((a, b, zero ^ planes(chosen, 2) ^ (a & b)))
        return tuple(np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))

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
