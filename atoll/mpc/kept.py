"""What is kept of an array for its next product: the transforms of a left matrix, which cost more than a vector.

Both parties must keep and let go of the same. So what is let go follows from the order of products and from public
sizes, not from when an array is no more: then its memory is given back, and its place stays until others need it.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from atoll.mpc.shares import Shares

T = TypeVar("T")
MOST_KEPT: Final = 512 << 20
"""Bytes of all that is kept."""


class Kept(Generic[T]):
    """Values that belong to arrays; those that were not used for longest go first."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._numbers: weakref.WeakKeyDictionary[Shares, int] = weakref.WeakKeyDictionary()
        self._entries: OrderedDict[tuple[int, Hashable], tuple[int, list[T]]] = OrderedDict()
        self._count = 0

    def fits(self, size: int) -> bool:
        """Whether so many bytes would be kept."""
        return size <= self._most

    def get(self, array: Shares, what: Hashable) -> list[T] | None:
        """What was kept under a name for this object, if it is still there."""
        key = (self._numbers.get(array, 0), what)
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key][1]

    def put(self, array: Shares, what: Hashable, size: int, values: list[T]) -> None:
        """Keeps values of so many bytes, at most what `fits`."""
        if array not in self._numbers:
            self._count += 1
            self._numbers[array] = self._count
        self._entries[self._numbers[array], what] = (size, values)
        weakref.finalize(array, values.clear).atexit = False
        while sum(held for held, _ in self._entries.values()) > self._most:
            _, (_, last) = self._entries.popitem(last=False)
            # Memory goes now, though the array may live on.
            last.clear()
