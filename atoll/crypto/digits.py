"""Kernels of comparisons by digits (`rust/arrays/src/digits.rs`, docs/protocols/additive-shares.md).

Numbers that one party knows stand in planes: `(bits, blocks)` words, each of one bit of 64 numbers. Transfers and
tables stand block by block: `bits` times 64 transfers a block, those of the lowest bit first.
"""

from __future__ import annotations

import numpy as np

from atoll import _core
from atoll.crypto.arrays import STEP, U64
from atoll.crypto.stream import kernel_errors

BLOCK = 64


def _flat(words: U64) -> U64:
    return np.ascontiguousarray(words).reshape(-1)


class Digits:
    """Numbers of 1 to 64 bits, cut into digits of four; the lowest has what is left over.

    Args:
        bits: bits of a number.
        equal: whether digits are compared for equality alone.

    Attributes:
        count: digits.
        planes: planes of a result: of each digit, the lowest first, whether the receiver's is less than the sender's,
            then of each but the lowest whether they are equal. With `equal`: of each whether they are equal.
        table_words: words that the sender sends for a block.

    Raises:
        AtollError: `E_FORMAT` for another number of bits; of its methods, for arrays whose lengths do not go together.
    """

    def __init__(self, bits: int, *, equal: bool = False) -> None:
        with kernel_errors(step=STEP):
            self._core = _core.ArrayDigits(bits, equal)
        self.bits, self.equal = bits, equal
        self.count, self.planes, self.table_words = self._core.sizes()

    def fold_sent(self, zeros: U64, ones: U64) -> U64:
        """What the sender keeps of both words of its transfers: 20 bytes a digit in place of 64."""
        blocks = zeros.size // (BLOCK * self.bits)
        with kernel_errors(step=STEP):
            out = self._core.fold_sent(_flat(zeros), _flat(ones), blocks)
        return np.frombuffer(out, np.uint64)

    def fold_chosen(self, words: U64) -> U64:
        """What the receiver keeps of its words: 4 bytes a digit."""
        blocks = words.size // (BLOCK * self.bits)
        with kernel_errors(step=STEP):
            out = self._core.fold_chosen(_flat(words), blocks)
        return np.frombuffer(out, np.uint64)

    def turned(self, numbers: U64, choices: U64) -> U64:
        """What the receiver sends: its bits against its random choices, block by block."""
        return _flat(numbers.T).reshape(-1) ^ choices

    def tables(self, folded: U64, turned: U64, numbers: U64, masks: U64) -> U64:
        """What the sender sends, `table_words` a block; `masks`, uniform planes, are its shares of the result."""
        blocks = numbers.shape[1]
        with kernel_errors(step=STEP):
            out = self._core.tables(folded, _flat(turned), _flat(numbers), _flat(masks), blocks)
        return np.frombuffer(out, np.uint64)

    def opened(self, folded: U64, tables: U64, numbers: U64) -> U64:
        """The receiver's shares of the result, `(planes, blocks)`."""
        blocks = numbers.shape[1]
        with kernel_errors(step=STEP):
            out = self._core.opened(folded, _flat(tables), _flat(numbers), blocks)
        return np.frombuffer(out, np.uint64).reshape(self.planes, blocks)
