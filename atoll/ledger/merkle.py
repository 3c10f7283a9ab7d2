"""Merkle trees of RFC 6962: roots, inclusion and consistency proofs, from stored hashes of complete subtrees.

A *place* is a complete subtree: `(level, number)` spans the leaves `[number << level, (number + 1) <<
level)`. A log stores one hash for each place, two per leaf on average, so that an append and a proof touch
O(log n) of them.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import NamedTuple

from atoll.crypto.suite import DEFAULT, Hash
from atoll.errors import AtollError

MAX_PROOF = 63
MAX_SIZE = 2**63 - 1


class Place(NamedTuple):
    """A complete subtree: 2**level leaves, the number-th of that level."""

    level: int
    number: int


class Node(NamedTuple):
    """The hash of a complete subtree."""

    place: Place
    hash: bytes


Reader = Callable[[Sequence[Place]], list[bytes]]


def leaf_hash(entry: bytes, using: Hash = DEFAULT.hash) -> bytes:
    """MTH of one leaf (RFC 6962, 2.1)."""
    return using.run(b"\x00" + entry)


def node_hash(left: bytes, right: bytes, using: Hash = DEFAULT.hash) -> bytes:
    """MTH of an inner node (RFC 6962, 2.1)."""
    return using.run(b"\x01" + left + right)


def empty_root(using: Hash = DEFAULT.hash) -> bytes:
    """MTH of the empty tree (RFC 6962, 2.1)."""
    return using.run(b"")


def complete_places(start: int, end: int) -> list[Place]:
    """The complete subtrees, left to right and falling in size, that make up the leaves `[start, end)`.

    `start` must be a multiple of the largest power of two within the length, as it is in every range that
    RFC 6962 splits a tree into.
    """
    places = []
    while start < end:
        level = (end - start).bit_length() - 1
        places.append(Place(level, start >> level))
        start += 1 << level
    return places


def _fold(hashes: Sequence[bytes], using: Hash) -> bytes:
    """The hash over subtrees of falling size: the rightmost pair joins first."""
    if not hashes:
        return empty_root(using)
    value = hashes[-1]
    for left in reversed(hashes[:-1]):
        value = node_hash(left, value, using)
    return value


class Frontier:
    """The right edge of a tree: hashes of the complete subtrees that a root of this size is made of.

    Args:
        size: number of leaves.
        hashes: one hash for each of `complete_places(0, size)`, in that order.
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = (), using: Hash = DEFAULT.hash) -> None:
        if not 0 <= size <= MAX_SIZE or len(hashes) != size.bit_count():
            raise AtollError("E_LEDGER", f"{len(hashes)} hashes do not make a tree of {size} leaves")
        self.size = size
        self._hashes = list(hashes)
        self._using = using

    def copy(self) -> Frontier:
        """Another edge of the same tree, which grows apart from this one."""
        return Frontier(self.size, self._hashes, self._using)

    def append(self, leaf: bytes) -> list[Node]:
        """Adds a leaf by its hash; the hashes of all subtrees that it completes, itself first."""
        place, value = Place(0, self.size), leaf
        nodes = [Node(place, value)]
        while (self.size >> place.level) & 1:
            value = node_hash(self._hashes.pop(), value, self._using)
            place = Place(place.level + 1, place.number >> 1)
            nodes.append(Node(place, value))
        self._hashes.append(value)
        self.size += 1
        return nodes

    def root(self) -> bytes:
        """MTH of the leaves so far."""
        return _fold(self._hashes, self._using)


def load_frontier(size: int, read: Reader, using: Hash = DEFAULT.hash) -> Frontier:
    """The right edge of the first `size` leaves of a stored tree."""
    return Frontier(size, read(complete_places(0, size)), using)


def root(size: int, read: Reader, using: Hash = DEFAULT.hash) -> bytes:
    """MTH of the first `size` leaves of a stored tree."""
    return _fold(read(complete_places(0, size)), using)


def _split(length: int) -> int:
    """The largest power of two smaller than `length` (RFC 6962, 2.1)."""
    return 1 << ((length - 1).bit_length() - 1)


def _read_ranges(ranges: Sequence[tuple[int, int]], read: Reader, using: Hash) -> list[bytes]:
    """MTH of each range, with one call to the storage."""
    places = [complete_places(start, end) for start, end in ranges]
    hashes = iter(read([place for group in places for place in group]))
    return [_fold([next(hashes) for _ in group], using) for group in places]


def inclusion_proof(index: int, size: int, read: Reader, using: Hash = DEFAULT.hash) -> list[bytes]:
    """PATH(index, D[size]) of RFC 6962, 2.1.1: sibling hashes from the leaf up.

    Raises:
        AtollError: `E_LEDGER` if there is no such leaf.
    """
    if not 0 <= index < size:
        raise AtollError("E_LEDGER", f"entry {index} is not in a log of {size} entries")
    ranges, start, end = [], 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return _read_ranges(ranges[::-1], read, using)


def consistency_proof(old: int, new: int, read: Reader, using: Hash = DEFAULT.hash) -> list[bytes]:
    """PROOF(old, D[new]) of RFC 6962, 2.1.2. Empty if `old` is 0 or `new`.

    Raises:
        AtollError: `E_LEDGER` if `old` is larger than `new`.
    """
    if not 0 <= old <= new:
        raise AtollError("E_LEDGER", f"a log of {old} entries does not grow into one of {new}")
    if old in (0, new):
        return []
    ranges, start, end = [], 0, new
    whole = True
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start, whole = middle, False
    if not whole:
        ranges.append((start, end))
    return _read_ranges(ranges[::-1], read, using)


def _check_proof(proof: Sequence[bytes], using: Hash) -> bool:
    return len(proof) <= MAX_PROOF and all(isinstance(v, bytes) and len(v) == using.size for v in proof)


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes, using: Hash = DEFAULT.hash
) -> bool:
    """True if `proof` shows that the leaf with this hash is the index-th of the tree (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size or not _check_proof(proof, using):
        return False
    position, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            value = node_hash(sibling, value, using)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            value = node_hash(value, sibling, using)
        position >>= 1
        last >>= 1
    return last == 0 and hmac.compare_digest(value, root)


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes], using: Hash = DEFAULT.hash
) -> bool:
    """True if `proof` shows that the old tree is a prefix of the new one (RFC 9162, 2.1.4.2).

    The empty tree is a prefix of every tree; for it, and for equal sizes, the proof is empty.
    """
    if not 0 <= old <= new or not _check_proof(proof, using):
        return False
    if old == 0:
        return not proof and hmac.compare_digest(old_root, empty_root(using))
    if old == new:
        return not proof and hmac.compare_digest(old_root, new_root)
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    position, last = old - 1, new - 1
    while position & 1:
        position >>= 1
        last >>= 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            first = node_hash(sibling, first, using)
            second = node_hash(sibling, second, using)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            second = node_hash(second, sibling, using)
        position >>= 1
        last >>= 1
    return last == 0 and hmac.compare_digest(first, old_root) and hmac.compare_digest(second, new_root)
