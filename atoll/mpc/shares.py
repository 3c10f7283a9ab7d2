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

    They are modulo 2^64, or modulo 2^128 (`atoll.mpc.wide`), or bits in planes. What is done to each must
    make zeros of zeros: `mine` and `known` are kept on that ground.

    Attributes:
        words: this party's words, one array or more of one shape.
        mine: of additive shares that stay with who knows the values: true at that party, false at the other, whose
            words are all zero; `None` if both have some, and of replicated shares.
        known: of additive shares of what everybody knows, the words themselves; else `None`.
    """

    __slots__ = ("__weakref__", "known", "mine", "words")

    def __init__(self, *words: Words, mine: bool | None = None, known: Words | None = None) -> None:
        self.words, self.mine, self.known = words, mine, known

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
        return _made([self], change)

    def beside(self, other: Shares, change: Callable[[Words, Words], Words]) -> Shares:
        """The same done to each pair."""
        return _made([self, other], change)

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
        return self.changed(lambda w: w[index])

    def reshape(self, *shape: int) -> Shares:
        """In another shape; the same object if that is its own."""
        return self if shape == self.shape else self.changed(lambda w: w.reshape(shape))

    def broadcast(self, shape: tuple[int, ...]) -> Shares:
        """Repeated to a shape."""
        return self.changed(lambda w: np.broadcast_to(w, shape))

    def put(self, places: Any, values: Shares) -> Shares:
        """A copy with other values at some places."""

        def filled(words: Words, value: Words) -> Words:
            copy = words.copy()
            copy[places] = value
            return copy

        return self.beside(values, filled)


def _made(parts: Sequence[Shares], change: Callable[..., Words]) -> Shares:
    """What a linear step makes of shares. It stays with the party that knows all parts which are not public."""
    sides = {part.mine for part in parts if part.known is None}
    first = parts[0].words
    if not sides:
        known = change(*(part.known for part in parts))
        own = known if first[0] is parts[0].known else np.zeros(known.shape, known.dtype)
        return Shares(own, known=known)
    mine = sides.pop() if len(sides) == 1 else None
    if mine is None:
        return Shares(*(change(*words) for words in zip(*(part.words for part in parts), strict=True)))
    words = []
    for part in parts:
        if part.known is None:
            words.append(part.words[0])
        else:
            # Who knows the rest has the public part too, in whichever party's words it stood.
            words.append(part.known if mine else np.broadcast_to(np.zeros((), part.known.dtype), part.shape))
    return Shares(change(*words), mine=mine)


def join(parts: Sequence[Shares], axis: int = 0) -> Shares:
    """Shares one after the other."""
    if len(parts) == 1:
        return parts[0]
    return _made(parts, lambda *words: np.concatenate(words, axis))


def unpack(plane: U64, count: int) -> U64:
    """The first `count` bits of a plane as words of 0 or 1."""
    return np.unpackbits(plane.reshape(-1).view(np.uint8), count=count, bitorder="little").astype(np.uint64)


def pack(bits: npt.NDArray[np.bool_]) -> U64:
    """A plane of so many bits."""
    data = np.packbits(bits.reshape(-1), bitorder="little")
    padded = np.zeros(-(-bits.size // 64) * 8, np.uint8)
    padded[: data.size] = data
    return padded.view(np.uint64)
