"""The logs at one node, as the rest of it uses them: appending to its own, reading, exporting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atoll.crypto.suite import PublicKey
from atoll.errors import AtollError
from atoll.ledger.entry import Record
from atoll.ledger.log import Appended, Log, OwnLog, Tail
from atoll.node.evidence.shelf import PRIVATE, Shelf
from atoll.node.state.models import Cosignature, Fork, LogName


class Ledgers:
    """All logs that this node holds.

    Args:
        shelf: shared parts.
        require: raises for an agreement in which nothing may be recorded now; see `standing`.
        grown: called after every append, before its transaction is durable.
    """

    def __init__(self, shelf: Shelf, require: Callable[[str], None], grown: Callable[[], None]) -> None:
        self._shelf, self._require, self._grown = shelf, require, grown
        self._tails: dict[str, Tail] = {}
        self._lock = threading.Lock()

    # Appending.

    def record(self, session: Session, agreement: str, kind: str, document: Any, job: str | None) -> None:
        """Appends to this node's log of an agreement, in the caller's transaction.

        Raises:
            AtollError: `E_RECOVERY` or `E_LEDGER` while the node cannot know that it holds its whole log.
        """
        self._require(agreement)
        self.append(session, agreement, [Record(f"{kind}/v1", document)], job)

    def record_private(self, session: Session, kind: str, document: Any) -> None:
        """Appends to the node's log of its logs, which its own auditor alone is shown."""
        self.append(session, PRIVATE, [Record(f"{kind}/v1", document)], None)

    def append(
        self, session: Session, agreement: str, records: Sequence[Record], job: str | None
    ) -> Appended:
        """Appends records in order, unasked whether that may be; for this package and for measurements."""
        shelf = self._shelf
        row = shelf.name(session, agreement, shelf.me)
        with self._lock:
            tail = self._tails.get(row.origin)
        log = OwnLog(shelf.storage(session, row.origin, job), agreement, shelf.signing, tail=tail)
        done = log.append(records, shelf.clock())
        with self._lock:
            # Rolled back, it does not fit the stored checkpoint and is not used.
            self._tails[row.origin] = done.tail
        self._grown()
        return done

    def forget_tail(self, agreement: str) -> None:
        """The own log was changed past `append`, as a recovery does."""
        with self._lock:
            self._tails.pop(self._shelf.origin(agreement), None)

    # Reading.

    def logs(self, session: Session, agreement: str) -> list[Log]:
        """All logs of an agreement that this node holds, its own first."""
        rows = session.scalars(
            select(LogName).where(LogName.agreement == agreement).order_by(LogName.owner)
        ).all()
        rows = sorted(rows, key=lambda r: r.owner != self._shelf.me)
        return [
            Log(self._shelf.storage(session, r.origin), agreement, PublicKey.parse(r.owner)) for r in rows
        ]

    def describe(self, agreement: str | None = None) -> list[dict[str, Any]]:
        """Size, root, and age of the cosignatures of every log of an agreement, or of all."""
        query = select(LogName).order_by(LogName.agreement, LogName.origin)
        if agreement is not None:
            query = query.where(LogName.agreement == agreement)
        else:
            query = query.where(LogName.agreement != PRIVATE)
        with self._shelf.store.read() as session:
            rows = session.scalars(query).all()
            cosigned: dict[str, list[Cosignature]] = {}
            for item in session.scalars(select(Cosignature).order_by(Cosignature.witness)):
                cosigned.setdefault(item.origin, []).append(item)
            forks = dict(
                session.execute(select(Fork.origin, func.count()).group_by(Fork.origin)).tuples().all()
            )
        return [
            {
                "agreement": row.agreement,
                "origin": row.origin,
                "owner": row.owner,
                "own": row.owner == self._shelf.me,
                "size": row.size,
                "checkpoint": row.head.decode() if row.head else None,
                "cosignatures": [
                    {
                        "witness": c.witness,
                        "name": c.name,
                        "size": c.size,
                        "behind": row.size - c.size,
                        "at": c.at,
                    }
                    for c in cosigned.get(row.origin, [])
                ],
                "forks": forks.get(row.origin, 0),
            }
            for row in rows
        ]

    def entries(self, agreement: str, start: int, count: int) -> list[dict[str, Any]]:
        """Entries of the own log with their bodies, for those who may read records."""
        with self._shelf.store.read() as session:
            if agreement == PRIVATE and not self.logs(session, agreement):
                return []  # it begins with its first entry
            log = self._one(session, agreement)[0]
            end = min(log.size, start + count)
            out = []
            for offset, entry in enumerate(log.entries(start, end) if start < end else []):
                body = log.body(start + offset)
                out.append(
                    {
                        "number": start + offset,
                        "commitment": entry.commitment,
                        "kind": body.kind if body else None,
                        "time": body.time if body else None,
                        "document": body.document if body else None,
                    }
                )
        return out

    def _one(self, session: Session, agreement: str) -> list[Log]:
        logs = self.logs(session, agreement)
        if not logs:
            raise AtollError("E_NOT_FOUND", f"there is no ledger of agreement {agreement!r}")
        return logs

    def forks(self, agreement: str) -> list[dict[str, Any]]:
        """Proofs and findings that a log of an agreement has two histories, oldest first."""
        with self._shelf.store.read() as session:
            origins = [log.origin for log in self._one(session, agreement)]
            rows = session.scalars(select(Fork).where(Fork.origin.in_(origins)).order_by(Fork.id)).all()
        return [{"origin": r.origin, "at": r.at, "proof": r.proof} for r in rows]

    def export(self, agreement: str, path: Path, with_bodies: bool) -> dict[str, Any]:
        """Writes all logs of an agreement into one file that can be checked offline."""
        from atoll.ledger.export import write_export

        with self._shelf.store.read() as session:
            logs = self._one(session, agreement)
            found = self._shelf.agreement(session, agreement)
            names = dict(found.names) if found else {}
            if found is not None and found.witnesses is not None:
                names |= {member.key: member.name for member in found.witnesses.members}
            return write_export(path, logs, names, with_bodies=with_bodies)
