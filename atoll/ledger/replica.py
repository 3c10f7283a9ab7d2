"""The copy of a partner's log: entries enter only under the owner's signature and change nothing before."""

from __future__ import annotations

from collections.abc import Sequence

from atoll.errors import AtollError
from atoll.ledger import checkpoint, fork, note
from atoll.ledger.checkpoint import Checkpoint
from atoll.ledger.entry import Entry, open_leaf, parse_leaf
from atoll.ledger.fork import Branch, ForkProof
from atoll.ledger.log import Log, last_time
from atoll.ledger.storage import MemoryStorage


class Forked(AtollError):  # noqa: N818
    """The owner signed two histories. `proof` convinces anyone who knows the owner's key."""

    def __init__(self, proof: ForkProof) -> None:
        super().__init__(
            "E_LEDGER",
            f"the owner of {proof.origin} signed two histories that cannot both be true",
            party=str(proof.key),
            detail={"fork": proof.to_json()},
        )
        self.proof = proof


class Replica(Log):
    """A signatory's copy of another signatory's log."""

    def extend(self, first: int, entries: Sequence[Entry], signed: bytes) -> Checkpoint:
        """Takes entries `[first, first + len(entries))` and the checkpoint that covers exactly them.

        What is here already is compared, so that a resent message changes nothing. Bodies that were missing
        are kept. The new checkpoint is consistent with the old by construction: it is recomputed over the
        old entries.

        Raises:
            Forked: with a proof, if the owner signed something else for a size that is known here.
            AtollError: `E_LEDGER` if entries are missing in between, changed or replayed, a body does not
            open
                its entry, or the root differs; `E_SIGNATURE` if the owner did not sign. Nothing is kept then.
        """
        point = checkpoint.open_note(note.parse(signed), self.origin, self.owner)
        size = self.storage.size()
        if not 0 <= first <= size or point.size != first + len(entries) or point.hash.name != self.hash.name:
            raise AtollError("E_LEDGER", f"{self.origin}: entries from {first} do not follow the {size} here")
        head = self.storage.head()
        newest = checkpoint.parse_text(note.parse(head).text) if head is not None else None
        if (
            head is not None
            and newest is not None
            and newest.size == point.size
            and newest.root != point.root
        ):
            raise Forked(ForkProof(self.origin, self.owner, Branch(head), Branch(signed)))
        self._check_bodies(first, entries)
        overlap = min(size - first, len(entries))
        for offset, (here, given) in enumerate(
            zip(self.entries(first, first + overlap), entries, strict=False)
        ):
            if here.leaf != given.leaf:
                raise AtollError(
                    "E_LEDGER", f"{self.origin}, entry {first + offset} is not the one received before"
                )
        fresh = entries[overlap:]
        root, nodes = self._extend(fresh) if fresh else (self.root(point.size), [])
        if root != point.root:
            raise AtollError(
                "E_LEDGER", f"{self.origin}: the signed root of {point.size} entries is not theirs"
            )
        if fresh:
            self.storage.append(fresh, nodes)
        for offset, entry in enumerate(entries[:overlap]):
            if entry.opened is not None:
                self.storage.put_body(first + offset, entry.opened)
        if newest is None or newest.size < point.size:
            self.storage.put_head(checkpoint.by_owner(signed, self.origin, self.owner))
        return point

    def _check_bodies(self, first: int, entries: Sequence[Entry]) -> None:
        """Each entry is of the one form, each body opens its entry, and no claimed time goes back."""
        before = last_time(self.storage, first)
        for offset, entry in enumerate(entries):
            try:
                parse_leaf(entry.leaf)
                if entry.opened is None:
                    continue
                time = open_leaf(entry.leaf, entry.opened).time
                if time < before:
                    raise AtollError(
                        "E_LEDGER", f"it claims the time {time}, before that of an earlier entry"
                    )
                before = time
            except AtollError as error:
                raise AtollError("E_LEDGER", f"{self.origin}, entry {first + offset}: {error.text}") from None

    def accuse(self, leaves: Sequence[bytes], signed: bytes) -> ForkProof | None:
        """Compares a whole other history that the owner signed, as another signatory received it, with this
        one.

        Args:
            leaves: all leaf bytes of that history, from the first.
            signed: the checkpoint that the owner signed over them.

        Returns:
            The proof if the two contradict each other, None if one extends the other.

        Raises:
            AtollError: `E_LEDGER` if this copy has no checkpoint yet or the leaves are not those of `signed`,
                `E_SIGNATURE` if the owner did not sign.
        """
        here = self.storage.head()
        point = checkpoint.open_note(note.parse(signed), self.origin, self.owner)
        if here is None or point.hash.name != self.hash.name:
            raise AtollError("E_LEDGER", f"nothing here to compare with the checkpoint of {self.origin}")
        other = Log(MemoryStorage(), self.agreement, self.owner, self.hash)
        entries = [Entry(leaf, None) for leaf in leaves]
        root, nodes = other._extend(entries)
        if (point.size, point.root) != (len(leaves), root):
            raise AtollError("E_LEDGER", f"the leaves are not those of the checkpoint of {self.origin}")
        other.storage.append(entries, nodes)
        sizes = (checkpoint.parse_text(note.parse(here).text).size, point.size)
        readers = (self.storage.hashes, other.storage.hashes)
        return fork.prove(self.origin, self.owner, (here, signed), sizes, readers)
