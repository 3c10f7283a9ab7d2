"""What one party holds of an array, whatever the setting: words of one shape, one or more for each element."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from atoll.mpc import wide
from atoll.mpc.rounds import U64
from atoll.mpc.wide import Words


class Shares:
    """Words that mean nothing alone. Sums, differences and what else is linear each party does with its own.

    They are modulo 2^64, or modulo 2^128 (`atoll.mpc.wide`), or bits in planes.
    """

    __slots__ = ("words",)

    def __init__(self, *words: Words) -> None:
        self.words = words

    def __iter__(self) -> Iterator[Words]:
        return iter(self.words)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of each."""
        return self.words[0].shape

    @property
    def size(self) -> int:
        """Elements."""
        return self.words[0].size

    @property
    def wide(self) -> bool:
        """Whether they are modulo 2^128."""
        return wide.is_wide(self.words[0])

    def changed(self, change: Callable[[Words], Words]) -> Shares:
        """The same done to each."""
        return Shares(*map(change, self.words))

    def beside(self, other: Shares, change: Callable[[Words, Words], Words]) -> Shares:
        """The same done to each pair."""
        return Shares(*map(change, self.words, other.words))

    def __add__(self, other: Shares) -> Shares:
        return self.beside(other, wide.add)

    def __sub__(self, other: Shares) -> Shares:
        return self.beside(other, wide.subtract)

    def __xor__(self, other: Shares) -> Shares:
        return self.beside(other, lambda a, b: a ^ b)

    def times(self, factor: int) -> Shares:
        """Times a public integer."""
        return self.changed(lambda w: wide.times(w, factor))

    def narrowed(self) -> Shares:
        """Modulo 2^64: what shares of numbers that fit there are, whichever ring they are of."""
        return self.changed(wide.low)

    def part(self, index: Any) -> Shares:
        """Some elements."""
        return Shares(*(w[index] for w in self.words))

    def reshape(self, *shape: int) -> Shares:
        """In another shape."""
        return Shares(*(w.reshape(shape) for w in self.words))

    def broadcast(self, shape: tuple[int, ...]) -> Shares:
        """Repeated to a shape."""
        return Shares(*(np.broadcast_to(w, shape) for w in self.words))

    def put(self, places: Any, values: Shares) -> Shares:
        """A copy with other values at some places."""
        copies = [w.copy() for w in self.words]
        for copy, value in zip(copies, values, strict=True):
            copy[places] = value
        return Shares(*copies)


def join(parts: Sequence[Shares], axis: int = 0) -> Shares:
    """Shares one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Shares(*(np.concatenate(words, axis) for words in zip(*parts, strict=True)))


def unpack(plane: U64, count: int) -> U64:
    """The first `count` bits of a plane as words of 0 or 1."""
    return np.unpackbits(plane.reshape(-1).view(np.uint8), count=count, bitorder="little").astype(np.uint64)


def pack(bits: npt.NDArray[np.bool_]) -> U64:
    """A plane of so many bits."""
    data = np.packbits(bits.reshape(-1), bitorder="little")
    padded = np.zeros(-(-bits.size // 64) * 8, np.uint8)
    padded[: data.size] = data
    return padded.view(np.uint64)
