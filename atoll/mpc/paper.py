"""Arrays without values, of which it is counted how much memory they would take: what an estimate runs a program on.

Also doors that nothing passes, where what would pass is counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from atoll.crypto.arrays import WIDE
from atoll.mpc import wide as ring
from atoll.mpc.rounds import Exchange, Step
from atoll.mpc.shares import Shares

_MOVES = (np.broadcast_to, np.transpose, np.reshape, np.ravel)


class Room:
    """Bytes of memory that are no words."""


class Memory:
    """Bytes that a party holds at once, and the most so far.

    Args:
        words: words that a party holds of each shared one.
    """

    def __init__(self, words: int) -> None:
        self._words = words
        self._held = self.peak = 0.0

    def words(self, shape: tuple[int, ...], wide: bool = False) -> Any:
        """New words of a share, held until nobody refers to them.

        What is worked out of wide ones is not counted: there are few of them, since sums begin in narrow words.
        """
        if wide:
            plain = np.broadcast_to(np.zeros((), WIDE), shape)
            self.hold(16 * self._words * plain.size)
            weakref.finalize(plain, self.hold, -16 * self._words * plain.size).atexit = False
            return plain
        found = _view(np.broadcast_to(np.uint64(0), shape))
        found.memory = self
        if found.size:
            size = 8 * self._words * found.size
            self.hold(size)
            weakref.finalize(found, self.hold, -size).atexit = False
        return found

    def room(self, size: float) -> object:
        """Other bytes, held until nobody refers to what comes back."""
        found = Room()
        self.hold(size)
        weakref.finalize(found, self.hold, -size).atexit = False
        return found

    def hold(self, size: float) -> None:
        """More bytes from now on, or fewer."""
        self._held += size
        self.peak = max(self.peak, self._held)

    def pass_by(self, size: float) -> None:
        """Bytes that are taken for a moment."""
        self.peak = max(self.peak, self._held + size)


class Words(np.ndarray[Any, np.dtype[np.uint64]]):
    """Words of no values. What is worked out of them is new words, parts of them are none.

    Attributes:
        memory: where they are counted.
        whole: the words whose memory these are a part of, `None` for those that have memory of their own.
    """

    memory: Memory | None
    whole: Any

    def __array_finalize__(self, other: Any) -> None:
        self.memory, self.whole = getattr(other, "memory", None), _whole(other)

    def __array_ufunc__(self, ufunc: Any, method: Any, *inputs: Any, **options: Any) -> Any:
        plain = [_plain(i) for i in inputs]
        if method == "__call__" and not options and ufunc.nout == 1:
            # One element tells the type.
            one = ufunc(*(np.zeros((), np.asarray(p).dtype) for p in plain))
            if one.dtype == np.uint64:
                return self._new(np.broadcast_shapes(*(np.shape(p) for p in plain)))
        return self._counted(getattr(ufunc, method)(*plain, **options))

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        found = function(*_plain(arguments), **_plain(options))
        if function in _MOVES and isinstance(found, np.ndarray):
            return self._same(found.shape)
        return self._counted(found)

    def __getitem__(self, index: Any) -> Any:
        found = np.asarray(self)[index]
        return self._same(found.shape) if np.may_share_memory(found, self) else self._counted(found)

    def __setitem__(self, index: Any, values: Any) -> None:
        """Nothing: there are no values."""

    def reshape(self, *shape: Any, **options: Any) -> Any:
        """A part of the same memory, though without values it has to be copied."""
        return self._same(np.asarray(_plain(self)).reshape(*shape, **options).shape)

    def view(self, *kind: Any) -> Any:  # type: ignore[override]
        """As numbers of another size, which have to be there: zeros."""
        if kind == (np.uint8,):
            return np.zeros((*self.shape[:-1], 8 * self.shape[-1]), np.uint8)
        return super().view(*kind)

    def copy(self, order: Any = "C") -> Any:
        """New words."""
        return self._new(self.shape)

    def _same(self, shape: tuple[int, ...]) -> Words:
        part = _view(np.broadcast_to(np.uint64(0), shape))
        part.memory, part.whole = self.memory, _whole(self)
        return part

    def _new(self, shape: tuple[int, ...]) -> Any:
        return np.zeros(shape, np.uint64) if self.memory is None else self.memory.words(shape)

    def _counted(self, found: Any) -> Any:
        words = isinstance(found, np.ndarray) and found.dtype == np.uint64
        return self._new(found.shape) if words else found


class PaperDoors:
    """What crosses between those that compute and those outside, counted.

    Args:
        meter: what counts (`atoll.mpc.cost`).
        computing: how many compute.
    """

    def __init__(self, meter: Any, computing: int) -> None:
        self._meter, self._computing = meter, computing

    def share(self, owner: int, shape: tuple[int, ...], *, wide: bool = False) -> Step[Shares]:
        # The last share goes to all that hold it: one of two, two of three.
        size = ring.length(int(np.prod(shape, dtype=object)), wide)
        self._meter.add((self._computing - 1) * size, 0)
        yield Exchange()
        self._meter.shared(owner, size)
        return Shares(self._meter.memory.words(shape, wide))

    def show(self, shares: Shares, to: Sequence[int], *, bits: bool = False) -> Step[None]:
        self._meter.add(2 * ring.length(shares.size, shares.wide) * len(to), 0)
        yield Exchange()


def _whole(words: Any) -> Any:
    """The words that a part of these has to keep."""
    if not isinstance(words, Words):
        return None
    return words if words.whole is None else words.whole


def _view(words: Any) -> Words:
    return cast(Words, words.view(Words))


def _plain(value: Any) -> Any:
    """The same with plain arrays."""
    if isinstance(value, Words):
        return np.asarray(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(v) for v in value)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value
