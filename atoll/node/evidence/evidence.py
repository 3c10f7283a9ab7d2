"""All of the evidence at one node, put together: what starts, what stops, what happens at the end of each round."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from atoll.ledger import checkpoint, note
from atoll.node.evidence.gossip import Gossip
from atoll.node.evidence.ledgers import Ledgers
from atoll.node.evidence.recovery import Recovery
from atoll.node.evidence.replication import Replication
from atoll.node.evidence.restore import NoteUse, Restore
from atoll.node.evidence.shelf import PRIVATE, Shelf
from atoll.node.evidence.standing import Standing
from atoll.node.evidence.witnesses import AskedWitnesses, BeingWitness
from atoll.node.state.models import LogName

_HEADS_SECONDS = 60.0


class Evidence:
    """The parts of the ledger at one node.

    Args:
        shelf: shared parts.
        home: the node's folder.
        standing_seconds: how long partners are waited for at a start.
        witness_for: names of partners whose logs this node cosigns as an independent witness.
        note_use: see `Restore`.
    """

    def __init__(
        self,
        shelf: Shelf,
        home: Path,
        *,
        standing_seconds: float,
        witness_for: Sequence[str],
        note_use: NoteUse,
    ) -> None:
        self._shelf = shelf
        self.replication = Replication(shelf, self._round)
        self.ledgers = Ledgers(shelf, self._require, self.replication.wake)
        self.restore = Restore(shelf, note_use)
        self.recovery = Recovery(shelf, self.ledgers, self.restore)
        self.standing = Standing(shelf, home, standing_seconds, self.recovery, self.replication.holds)
        self.gossip = Gossip(shelf)
        self.witnesses = AskedWitnesses(shelf, self.ledgers.append, self.standing.require)
        self.witness = BeingWitness(shelf, witness_for)
        self._heads: dict[str, bytes] = {}
        self._heads_next = 0.0
        shelf.partners.on_linked = self.standing.connected

    def start(self) -> None:
        """Asks the partners for the own standing, and begins to push the own logs."""
        self.standing.start()
        self.replication.start()

    def stop(self) -> None:
        """Ends both, and notes how far the own logs came."""
        self.standing.stop()
        self.replication.stop()
        self._note_heads()

    def _require(self, agreement: str) -> None:
        self.standing.require(agreement)

    def _round(self) -> None:
        self.gossip.round()
        self.witnesses.round()
        if time.monotonic() >= self._heads_next:
            self._heads_next = time.monotonic() + _HEADS_SECONDS
            self._note_heads()

    def _note_heads(self) -> None:
        """The newest checkpoints of the own logs go into the log of logs, if one of them is new."""
        shelf = self._shelf
        with shelf.store.read() as session:
            rows = session.scalars(
                select(LogName)
                .where(LogName.owner == shelf.me, LogName.agreement != PRIVATE)
                .order_by(LogName.origin)
            ).all()
        new = [row for row in rows if row.head is not None and self._heads.get(row.origin) != row.head]
        if not new:
            return
        heads: list[dict[str, Any]] = []
        for row in new:
            point = checkpoint.parse_text(note.parse(row.head or b"").text)
            root = f"{point.hash.name}:{point.root.hex()}"
            heads.append({"origin": row.origin, "size": point.size, "root": root})
        with shelf.store.write() as session:
            self.ledgers.record_private(session, "heads", {"logs": heads})
        self._heads.update({row.origin: row.head or b"" for row in new})

    def record_private(self, session: Session, kind: str, document: Any) -> None:
        """Appends to the log of logs, in the caller's transaction."""
        self.ledgers.record_private(session, kind, document)
