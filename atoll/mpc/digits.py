"""Comparisons of two numbers each of which one party knows, by digits (docs/protocols/additive-shares.md, step 6).

Rathee et al., CrypTFlow2, eprint 2020/1002; semi-honest. A digit of four bits takes a transfer of one of sixteen
entries, made of four random transfers of one of two words. Half of the numbers have one party for their sender, half
the other, so that both work and send alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import numpy as np

from atoll.crypto.arrays import Streams
from atoll.crypto.digits import BLOCK, Digits
from atoll.crypto.triples import Rich, Thin
from atoll.mpc.rounds import U64, Exchange, Step, together
from atoll.mpc.supply import PIECE, Supply

MOST_TRANSFERS: Final = 1 << 23
"""Of both directions, whose words are kept at the same time: 25 MB at each party."""


Piece: TypeAlias = tuple[int, int, int]
"""A sender, its first block, and its number of blocks."""


def groups(blocks: int, bits: int, source: Rich | Thin) -> Iterator[list[list[Piece]]]:
    """What is compared one after the other, and of each the pieces whose rounds are shared.

    Of each group the first half of the blocks has party 0 for its sender, the second party 1. Pieces, one of each half
    mostly, stand together whose transfers are made at once.
    """
    most = max(2, MOST_TRANSFERS // (BLOCK * bits))
    piece = max(1, PIECE[type(source)] // (BLOCK * bits))
    for start in range(0, blocks, most):
        end = min(start + most, blocks)
        middle = start + (end - start + 1) // 2
        halves = [(0, start, middle), (1, middle, end)]
        yield [
            [(sender, s + at, min(piece, e - s - at)) for sender, s, e in halves if s + at < e]
            for at in range(0, middle - start, piece)
        ]


class Comparer:
    """One party's side of comparisons by digits.

    Args:
        me: this party's number, 0 or 1.
        supply: whose transfers are used up.
        source: how they are made.
        masks: a stream of this party's own.
    """

    def __init__(self, me: int, supply: Supply, source: Rich | Thin, masks: Streams) -> None:
        self._me, self._supply, self._source, self._masks = me, supply, source, masks

    def compare(self, sends: U64, receives: U64, *, equal: bool = False) -> Step[U64]:
        """This party's shares of what is told of each digit, in planes as of `Digits`.

        Args:
            sends, receives: planes of the numbers that this party has where it is the sender, and where it receives.
            equal: whether digits are compared for equality alone.
        """
        bits, blocks = sends.shape
        digits = Digits(bits, equal=equal)
        found = [np.empty((digits.planes, 0), np.uint64)]
        for group in groups(blocks, bits, self._source):
            pieces, starts = [], []
            for beside in group:
                ahead = [sum(count for s, _, count in beside if s == sender) for sender in range(2)]
                for sender, start, count in beside:
                    numbers = (sends if sender == self._me else receives)[:, start : start + count]
                    pieces.append(self._one_way(digits, sender, numbers, ahead))
                    starts.append(start)
                    ahead = [0, 0]
            made = yield from together(*pieces)
            found += [made[place] for place in np.argsort(starts)]
        return np.concatenate(found, axis=1)

    def _one_way(self, digits: Digits, sender: int, numbers: U64, ahead: Sequence[int]) -> Step[U64]:
        """Of one piece: bits come turned, tables go back. `ahead`: blocks for which transfers are made before."""
        me, other, blocks = self._me, 1 - self._me, numbers.shape[1]
        transfers = BLOCK * digits.bits * blocks
        self._supply.prepare_transfers(*(BLOCK * digits.bits * count for count in ahead))
        if me == sender:
            sent = digits.fold_sent(*self._supply.sent(transfers))
            masks = self._masks.before((digits.planes, blocks))
            got = yield Exchange(expect={other: digits.bits * blocks})
            yield Exchange({other: digits.tables(sent, got[other], numbers, masks)})
            return masks
        choices, words = self._supply.chosen(transfers)
        chosen = digits.fold_chosen(words)
        yield Exchange({other: digits.turned(numbers, choices)})
        got = yield Exchange(expect={other: digits.table_words * blocks})
        return digits.opened(chosen, got[other], numbers)
