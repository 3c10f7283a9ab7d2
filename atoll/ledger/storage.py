"""What a log needs of a database, and the same in memory.

A storage holds one log. The node's implementation joins the transaction that also holds quota and job state:
`append`, `put_head` and what the job changes become durable together or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from atoll.errors import AtollError
from atoll.ledger.entry import Entry, Opened
from atoll.ledger.merkle import Node, Place


@dataclass(frozen=True)
class StoredCosignature:
    """A witness's newest cosignature: `witness` is its key identifier, `line` the note's signature line."""

    witness: str
    size: int
    line: str


class Storage(Protocol):
    """One log's rows. Methods raise whatever the database raises; indices given are within the log."""

    def size(self) -> int:
        """Number of entries."""

    def append(self, entries: Sequence[Entry], nodes: Sequence[Node]) -> None:
        """Adds entries at the end, with bodies and openings, and the hashes that they complete.

        Must fail, and change nothing, if another writer was faster: (level, number) of a node is unique.
        """

    def hashes(self, places: Sequence[Place]) -> list[bytes]:
        """The hash at each place, in the order asked."""

    def leaves(self, start: int, end: int) -> list[bytes]:
        """Leaf bytes of the entries `[start, end)`."""

    def bodies(self, start: int, end: int) -> list[Opened | None]:
        """What opens the entries `[start, end)`; None where it was erased or never received."""

    def put_body(self, index: int, opened: Opened | None) -> None:
        """Keeps what opens an entry, or with None erases it beyond recovery by this storage."""

    def head(self) -> bytes | None:
        """The newest signed checkpoint; None if there is none."""

    def put_head(self, note: bytes) -> None:
        """Replaces the newest signed checkpoint."""

    def checkpoint(self, size: int) -> bytes | None:
        """The signed checkpoint of that size that a cosignature stands on; None if there is none."""

    def put_checkpoint(self, size: int, note: bytes) -> None:
        """Keeps a signed checkpoint that a cosignature stands on."""

    def drop_checkpoints(self, sizes: Sequence[int]) -> None:
        """Forgets the checkpoints of these sizes: no cosignature stands on them any more."""

    def put_cosignature(self, cosignature: StoredCosignature) -> None:
        """Keeps a witness's cosignature in place of its older one."""

    def cosignatures(self) -> list[StoredCosignature]:
        """The newest cosignature of each witness, sorted by witness."""


class MemoryStorage:
    """A storage without a database, for tests and for the checking of files."""

    def __init__(self) -> None:
        self._leaves: list[bytes] = []
        self._bodies: list[Opened | None] = []
        self._levels: list[list[bytes]] = []
        self._head: bytes | None = None
        self._checkpoints: dict[int, bytes] = {}
        self._cosignatures: dict[str, StoredCosignature] = {}

    def size(self) -> int:
        """See `Storage`."""
        return len(self._leaves)

    def append(self, entries: Sequence[Entry], nodes: Sequence[Node]) -> None:
        """See `Storage`."""
        counts = [len(level) for level in self._levels]
        for node in nodes:
            if node.place.level == len(counts):
                counts.append(0)
            if node.place.number != counts[node.place.level]:
                raise AtollError(
                    "E_CONFLICT", "another writer appended to this log", cure="Run the step again."
                )
            counts[node.place.level] += 1
        for node in nodes:
            if node.place.level == len(self._levels):
                self._levels.append([])
            self._levels[node.place.level].append(node.hash)
        self._leaves.extend(entry.leaf for entry in entries)
        self._bodies.extend(entry.opened for entry in entries)

    def hashes(self, places: Sequence[Place]) -> list[bytes]:
        """See `Storage`."""
        return [self._levels[place.level][place.number] for place in places]

    def leaves(self, start: int, end: int) -> list[bytes]:
        """See `Storage`."""
        return self._leaves[start:end]

    def bodies(self, start: int, end: int) -> list[Opened | None]:
        """See `Storage`."""
        return self._bodies[start:end]

    def put_body(self, index: int, opened: Opened | None) -> None:
        """See `Storage`."""
        self._bodies[index] = opened

    def head(self) -> bytes | None:
        """See `Storage`."""
        return self._head

    def put_head(self, note: bytes) -> None:
        """See `Storage`."""
        self._head = note

    def checkpoint(self, size: int) -> bytes | None:
        """See `Storage`."""
        return self._checkpoints.get(size)

    def put_checkpoint(self, size: int, note: bytes) -> None:
        """See `Storage`."""
        self._checkpoints[size] = note

    def drop_checkpoints(self, sizes: Sequence[int]) -> None:
        """See `Storage`."""
        for size in sizes:
            self._checkpoints.pop(size, None)

    def put_cosignature(self, cosignature: StoredCosignature) -> None:
        """See `Storage`."""
        self._cosignatures[cosignature.witness] = cosignature

    def cosignatures(self) -> list[StoredCosignature]:
        """See `Storage`."""
        return [self._cosignatures[witness] for witness in sorted(self._cosignatures)]
