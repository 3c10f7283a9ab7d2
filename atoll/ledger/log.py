"""A log: the reading side that owner and copies share, and the owner's appends.

Every signatory writes its own log of an agreement (docs/decisions/0001). A single writer needs no agreement
on an order, and its entry, quota and job state become durable in one local transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from atoll.crypto.suite import DEFAULT, Hash, PublicKey, SigningKey, Suite
from atoll.errors import AtollError
from atoll.ledger import checkpoint, cosignature, merkle, note, tiles
from atoll.ledger.checkpoint import Checkpoint
from atoll.ledger.entry import Body, Entry, Record, format_time, open_leaf, read_time, seal
from atoll.ledger.merkle import Frontier, Node
from atoll.ledger.storage import Storage, StoredCosignature

_LOOK_BACK = 16


@dataclass(frozen=True)
class Tail:
    """The end of an own log as one append left it, so that the next one need not read it again.

    It counts only while the storage's newest checkpoint is `head`: after a transaction that was rolled back, or
    another writer's, it is out of date and is not used.
    """

    head: bytes
    time: str
    edge: Frontier


@dataclass(frozen=True)
class Appended:
    """Outcome of an append: entries `[first, size)` are new; `checkpoint` is the signed note of `size`.

    `entries` hold bodies and openings, for the signatories' copies only.
    """

    first: int
    size: int
    root: bytes
    checkpoint: bytes
    entries: tuple[Entry, ...]
    tail: Tail


class Log:
    """One signatory's log of one agreement, in a storage.

    Args:
        storage: holds this log only.
        agreement: the agreement's identifier.
        owner: the key of the signatory whose log it is.
        using: the tree's hash.
    """

    def __init__(
        self, storage: Storage, agreement: str, owner: PublicKey, using: Hash = DEFAULT.hash
    ) -> None:
        self.storage = storage
        self.agreement = agreement
        self.owner = owner
        self.origin = checkpoint.origin(agreement, owner)
        self.hash = using

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.storage.size()

    def root(self, size: int | None = None) -> bytes:
        """Root of the first `size` entries, or of all."""
        return merkle.root(self._within(size), self.storage.hashes, self.hash)

    def _within(self, size: int | None) -> int:
        total = self.storage.size()
        if size is not None and not 0 <= size <= total:
            raise AtollError("E_LEDGER", f"{self.origin} has {total} entries, not {size}")
        return total if size is None else size

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """Proof that entry `index` is in the tree of `size`; `E_LEDGER` if it is not."""
        return merkle.inclusion_proof(index, self._within(size), self.storage.hashes, self.hash)

    def consistency_proof(self, old: int, new: int | None = None) -> list[bytes]:
        """Proof that the tree of `old` entries is a prefix of the tree of `new`."""
        return merkle.consistency_proof(old, self._within(new), self.storage.hashes, self.hash)

    def entries(self, start: int, end: int) -> list[Entry]:
        """Entries `[start, end)`, with bodies where they are kept."""
        if start > self._within(end) or start < 0:
            raise AtollError("E_LEDGER", f"{self.origin} has no entries {start} to {end}")
        leaves = self.storage.leaves(start, end)
        return [Entry(*pair) for pair in zip(leaves, self.storage.bodies(start, end), strict=True)]

    def body(self, index: int) -> Body | None:
        """The opened body of an entry; None if it was erased. `E_LEDGER` if it does not open the entry."""
        entry = self.entries(index, index + 1)[0]
        return None if entry.opened is None else open_leaf(entry.leaf, entry.opened)

    def erase(self, index: int) -> None:
        """Forgets body and opening of an entry: the log stays verifiable, the leaf cannot be opened again."""
        self.entries(index, index + 1)
        self.storage.put_body(index, None)

    def file(self, tile: tiles.Tile) -> bytes:
        """The bytes of a tile or an entry bundle of this log."""
        if tile.level is None:
            start = tile.number * tiles.WIDTH
            return tiles.encode_bundle([e.leaf for e in self.entries(start, start + tile.width)])
        return b"".join(self.storage.hashes(tile.places))

    def checkpoint(self) -> note.Note | None:
        """The newest checkpoint with the cosignatures that it has; None for a log without one."""
        stored = self.storage.head()
        if stored is None:
            return None
        signed = note.parse(stored)
        size = checkpoint.parse_text(signed.text).size
        return signed.with_signatures(*self._cosignatures().get(size, []))

    def cosigned(self) -> list[note.Note]:
        """Checkpoints with the newest cosignature of every witness, smallest first."""
        found = []
        for size, lines in sorted(self._cosignatures().items()):
            stored = self.storage.checkpoint(size)
            if stored is not None:
                found.append(note.parse(stored).with_signatures(*lines))
        return found

    def _cosignatures(self) -> dict[int, list[note.Signature]]:
        by_size: dict[int, list[note.Signature]] = {}
        for item in self.storage.cosignatures():
            by_size.setdefault(item.size, []).append(note.parse_signature(item.line.rstrip("\n")))
        return by_size

    def add_cosignature(self, signed: bytes, line: str, witness: PublicKey, name: str | None = None) -> None:
        """Keeps a witness's cosignature on a checkpoint of this log, unless a newer one is here.

        Args:
            signed: the checkpoint's note.
            line: the signature line as the witness sent it.
            name: of a witness that is not a node.

        Raises:
            AtollError: `E_LEDGER` or `E_SIGNATURE` if the note is no checkpoint of this log, the size is not here or
                has another root, or the line does not verify.
        """
        whole = note.parse(signed)
        point = checkpoint.open_note(whole, self.origin, self.owner)
        if point.size > self.storage.size() or self.root(point.size) != point.root:
            raise AtollError(
                "E_LEDGER", f"{self.origin} has no checkpoint of {point.size} entries with that root"
            )
        signature = note.parse_signature(line.rstrip("\n"))
        cosignature.verify(whole.text, signature, cosignature.verifier(witness, name))
        kept = self.storage.cosignatures()
        if any(item.witness == str(witness) and item.size > point.size for item in kept):
            return
        self.storage.put_checkpoint(point.size, checkpoint.by_owner(signed, self.origin, self.owner))
        self.storage.put_cosignature(StoredCosignature(str(witness), point.size, signature.line))
        before = {item.size for item in kept}
        self.storage.drop_checkpoints(sorted(before - {item.size for item in self.storage.cosignatures()}))

    def _extend(self, entries: Sequence[Entry]) -> tuple[bytes, list[Node]]:
        """Root and new hashes of this log after more entries; stores nothing."""
        edge = merkle.load_frontier(self.storage.size(), self.storage.hashes, self.hash)
        nodes = [node for e in entries for node in edge.append(merkle.leaf_hash(e.leaf, self.hash))]
        return edge.root(), nodes


class OwnLog(Log):
    """The log that this node writes.

    Args:
        key: the owner's signing key.
        using: suite of commitments and tree.
        tail: what the append before gave, or None.
    """

    def __init__(
        self,
        storage: Storage,
        agreement: str,
        key: SigningKey,
        using: Suite = DEFAULT,
        tail: Tail | None = None,
    ) -> None:
        super().__init__(storage, agreement, key.public, using.hash)
        self._key = key
        self._suite = using
        self._tail = tail

    def sign(self, size: int) -> bytes:
        """A signed checkpoint of the first `size` entries: of the own log, every prefix may be shown."""
        head = self.storage.head()
        if head is not None and checkpoint.parse_text(note.parse(head).text).size == size:
            return head
        return checkpoint.sign(Checkpoint(self.origin, size, self.root(size), self.hash), self._key).encode()

    def _end(self) -> tuple[Frontier, str]:
        """The right edge and the last time; `E_LEDGER` if the storage does not hold what was signed."""
        head, size = self.storage.head(), self.storage.size()
        if self._tail is not None and self._tail.head == head and self._tail.edge.size == size:
            return self._tail.edge.copy(), self._tail.time
        if head is not None:
            before = checkpoint.parse_text(note.parse(head).text)
            if before.size > size or self.root(before.size) != before.root:
                raise AtollError(
                    "E_LEDGER",
                    f"{self.origin} does not hold the {before.size} entries that it signed; recover it",
                )
        return merkle.load_frontier(size, self.storage.hashes, self.hash), last_time(self.storage, size)

    def append(self, records: Sequence[Record], now: datetime) -> Appended:
        """Adds records in order and signs the new checkpoint, all within the storage's transaction.

        A record is evidence only once that transaction is durable: send nothing before. Claimed times never go
        back: a clock that does is ignored until it has caught up.

        Args:
            records: at least one.
            now: aware; the writer's claimed time of all of them.

        Raises:
            AtollError: `E_FORMAT` or `E_TOO_LARGE` for a record that cannot be written; `E_CONFLICT`, or the
                database's own error, if another writer was faster; `E_LEDGER` if the stored checkpoint is
                ahead of the stored entries, as after an incomplete restore.
        """
        if not records:
            raise AtollError("E_FORMAT", "nothing to append")
        edge, time = self._end()
        time = max(time, format_time(now))
        first = edge.size
        entries = tuple(seal(record, time, self._suite) for record in records)
        nodes = [node for e in entries for node in edge.append(merkle.leaf_hash(e.leaf, self.hash))]
        point = Checkpoint(self.origin, edge.size, edge.root(), self.hash)
        signed = checkpoint.sign(point, self._key).encode()
        self.storage.append(entries, nodes)
        self.storage.put_head(signed)
        return Appended(first, point.size, point.root, signed, entries, Tail(signed, time, edge))


def last_time(storage: Storage, size: int) -> str:
    """The claimed time of the newest entry that can still be opened, among the last few; empty if none can."""
    for opened in reversed(storage.bodies(max(0, size - _LOOK_BACK), size)):
        if opened is not None:
            return read_time(opened)
    return ""
