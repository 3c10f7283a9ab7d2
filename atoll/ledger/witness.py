"""Cosigning others' logs: only what extends all that was seen before (C2SP tlog-witness, without its HTTP).

A witness keeps the newest checkpoint of each log, with the owner's signature. A log that cannot show
consistency is not cosigned; one that signed two roots for one size is caught with a proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from atoll.crypto.suite import PublicKey, SigningKey
from atoll.errors import AtollError
from atoll.ledger import checkpoint, cosignature, merkle, note
from atoll.ledger.checkpoint import Checkpoint
from atoll.ledger.fork import Branch, ForkProof
from atoll.ledger.replica import Forked


class Seen(Protocol):
    """What a witness remembers. Reading and writing around one `update` are one transaction."""

    def latest(self, origin: str) -> bytes | None:
        """The newest signed checkpoint of a log; None if none was seen."""

    def put(self, origin: str, size: int, note: bytes) -> None:
        """Replaces it, durably, before the cosignature is sent."""


class MemorySeen:
    """`Seen` without a database."""

    def __init__(self) -> None:
        self._notes: dict[str, bytes] = {}

    def latest(self, origin: str) -> bytes | None:
        """See `Seen`."""
        return self._notes.get(origin)

    def put(self, origin: str, size: int, note: bytes) -> None:
        """See `Seen`."""
        self._notes[origin] = note


class WrongOldSize(AtollError):  # noqa: N818
    """The proof begins elsewhere than the witness's newest checkpoint: ask again from `size`."""

    def __init__(self, origin: str, size: int) -> None:
        super().__init__(
            "E_STATE", f"the newest checkpoint of {origin} here has size {size}", detail={"size": size}
        )
        self.size = size


class Witness:
    """Cosigns with one key.

    Args:
        key: the node's signing key; cosignatures are a signature type of their own.
        seen: what it remembers.
        name: of a witness that is not a node.
    """

    def __init__(self, key: SigningKey, seen: Seen, name: str | None = None) -> None:
        self._key = key
        self._seen = seen
        self._name = name

    def size(self, origin: str) -> int:
        """Size of the newest checkpoint seen of a log; 0 if none."""
        stored = self._seen.latest(origin)
        return 0 if stored is None else checkpoint.parse_text(note.parse(stored).text).size

    def compare(self, origin: str, owner: PublicKey, signed: bytes) -> Checkpoint:
        """Looks at a checkpoint from anywhere (gossip) without cosigning it.

        Raises:
            Forked: if it contradicts, by itself, the newest one seen.
            AtollError: `E_LEDGER` or `E_SIGNATURE` if it is not a checkpoint of that log.
        """
        point = checkpoint.open_note(note.parse(signed), origin, owner)
        stored = self._seen.latest(origin)
        if stored is not None:
            before = checkpoint.parse_text(note.parse(stored).text)
            if before.size == point.size and before.root != point.root:
                raise Forked(ForkProof(origin, owner, Branch(stored), Branch(signed)))
        return point

    def update(
        self,
        origin: str,
        owner: PublicKey,
        old_size: int,
        proof: Sequence[bytes],
        signed: bytes,
        now: datetime,
    ) -> note.Signature:
        """The cosignature on a checkpoint that extends the newest one seen.

        Args:
            origin, owner: the log and its key, from the agreement, not from the message.
            old_size: size at which `proof` begins; must be that of the newest checkpoint seen.
            proof: RFC 6962 consistency proof; empty if `old_size` is 0 or the new size.
            signed: the new checkpoint's note.
            now: this node's clock, aware.

        Raises:
            Forked: the owner signed two roots for one size; carries the proof.
            WrongOldSize: `E_STATE`, with the size to start from; also for an older checkpoint sent again.
            AtollError: `E_LEDGER` if consistency is not shown, `E_SIGNATURE` if the owner did not sign.
        """
        point = self.compare(origin, owner, signed)
        stored = self._seen.latest(origin)
        if stored is None:
            before = Checkpoint(origin, 0, merkle.empty_root(point.hash), point.hash)
        else:
            before = checkpoint.parse_text(note.parse(stored).text)
        if old_size != before.size or point.size < before.size:
            raise WrongOldSize(origin, before.size)
        if before.hash.name != point.hash.name or not merkle.verify_consistency(
            before.size, point.size, before.root, point.root, proof, point.hash
        ):
            raise AtollError(
                "E_LEDGER",
                f"{origin} did not show that its {point.size} entries extend the {before.size} seen before",
                party=str(owner),
                detail={"seen": (stored or b"").decode(), "refused": signed.decode()},
            )
        self._seen.put(origin, point.size, checkpoint.by_owner(signed, origin, owner))
        return cosignature.cosign(point.text, self._key, now, self._name)
