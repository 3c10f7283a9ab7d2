"""The ledger's storage on the state store: one log's rows, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import cast

from sqlalchemy import Table, TextClause, delete, select, text
from sqlalchemy.orm import Session

from atoll.ledger.entry import Entry, Opened
from atoll.ledger.merkle import Node, Place
from atoll.ledger.storage import StoredCosignature
from atoll.node.state.models import Cosignature, LogCheckpoint, LogEntry, LogHash, LogName, LogSeen

_ENTRIES = cast(Table, LogEntry.__table__)
_HASHES = cast(Table, LogHash.__table__)


# Well below what any of the databases takes in one statement.
_AT_ONCE = 100


@lru_cache(maxsize=_AT_ONCE)
def _lookups(count: int) -> TextClause:
    """So many look-ups by primary key in one statement: a list of pairs would be searched for in the whole table."""
    one = "SELECT level, number, hash FROM log_hashes WHERE origin = :origin AND level = :l{0} AND number = :n{0}"
    return text(" UNION ALL ".join(one.format(i) for i in range(count)))


class LogStorage:
    """Implements `atoll.ledger.storage.Storage`; see there.

    Args:
        session: of the transaction that also holds what the entries are evidence of.
        origin: the log.
        now: time stamp for cosignatures.
        job: job that appended entries belong to, if any: its parties alone receive their bodies.
        job_of: finds the job in an entry itself, for a partner's log, of which only its body says it.
    """

    def __init__(
        self,
        session: Session,
        origin: str,
        now: str,
        job: str | None = None,
        job_of: Callable[[Opened], str | None] | None = None,
    ) -> None:
        self._session, self._origin, self._now = session, origin, now
        self._job, self._job_of = job, job_of

    def _belongs(self, opened: Opened | None) -> str | None:
        return self._job if self._job_of is None or opened is None else self._job_of(opened)

    def size(self) -> int:
        """Number of entries."""
        row = self._session.get(LogName, self._origin)
        return row.size if row else 0

    def append(self, entries: Sequence[Entry], nodes: Sequence[Node]) -> None:
        """Adds entries at the end with the hashes that they complete."""
        row = self._session.get_one(LogName, self._origin)
        rows = [
            {
                "origin": self._origin,
                "number": row.size + offset,
                "leaf": entry.leaf,
                "body": entry.opened.body if entry.opened else None,
                "opening": entry.opened.opening if entry.opened else None,
                "job": self._belongs(entry.opened),
            }
            for offset, entry in enumerate(entries)
        ]
        hashes = [
            {"origin": self._origin, "level": n.place.level, "number": n.place.number, "hash": n.hash}
            for n in nodes
        ]
        # Past the objects of the mapper, which cost more than the rest of an append together.
        for table, values in ((_ENTRIES, rows), (_HASHES, hashes)):
            if values:
                self._session.connection().execute(table.insert(), values)
        row.size += len(entries)

    def hashes(self, places: Sequence[Place]) -> list[bytes]:
        """The hash at each place, in the order asked."""
        connection = self._session.connection()
        found: dict[tuple[int, int], bytes] = {}
        for start in range(0, len(places), _AT_ONCE):
            part = places[start : start + _AT_ONCE]
            names = {f"l{i}": place.level for i, place in enumerate(part)}
            names |= {f"n{i}": place.number for i, place in enumerate(part)}
            rows = connection.execute(_lookups(len(part)), {"origin": self._origin, **names})
            found.update({(level, number): value for level, number, value in rows})
        return [found[(p.level, p.number)] for p in places]

    def _rows(self, start: int, end: int) -> Sequence[LogEntry]:
        return self._session.scalars(
            select(LogEntry)
            .where(LogEntry.origin == self._origin, LogEntry.number >= start, LogEntry.number < end)
            .order_by(LogEntry.number)
        ).all()

    def leaves(self, start: int, end: int) -> list[bytes]:
        """Leaf bytes of the entries `[start, end)`."""
        return [row.leaf for row in self._rows(start, end)]

    def bodies(self, start: int, end: int) -> list[Opened | None]:
        """What opens the entries `[start, end)`."""
        return [
            Opened(r.body, r.opening) if r.body is not None and r.opening is not None else None
            for r in self._rows(start, end)
        ]

    def jobs(self, start: int, end: int) -> list[str | None]:
        """The job that each of the entries `[start, end)` belongs to."""
        return [row.job for row in self._rows(start, end)]

    def put_body(self, index: int, opened: Opened | None) -> None:
        """Keeps or erases what opens an entry."""
        row = self._session.get_one(LogEntry, (self._origin, index))
        row.body, row.opening = (opened.body, opened.opening) if opened else (None, None)
        if self._job_of is not None:
            row.job = self._belongs(opened)

    def head(self) -> bytes | None:
        """The newest signed checkpoint."""
        row = self._session.get(LogName, self._origin)
        return row.head if row else None

    def put_head(self, note: bytes) -> None:
        """Replaces the newest signed checkpoint."""
        self._session.get_one(LogName, self._origin).head = note

    def checkpoint(self, size: int) -> bytes | None:
        """The checkpoint of that size, where a cosignature stands on it."""
        row = self._session.get(LogCheckpoint, (self._origin, size))
        return row.note if row else None

    def put_checkpoint(self, size: int, note: bytes) -> None:
        """Keeps a signed checkpoint that a cosignature stands on."""
        self._session.merge(LogCheckpoint(origin=self._origin, size=size, note=note))

    def drop_checkpoints(self, sizes: Sequence[int]) -> None:
        """Forgets checkpoints that no cosignature stands on."""
        if sizes:
            self._session.execute(
                delete(LogCheckpoint).where(
                    LogCheckpoint.origin == self._origin, LogCheckpoint.size.in_(sizes)
                )
            )

    def put_cosignature(self, cosignature: StoredCosignature) -> None:
        """Keeps a witness's cosignature in place of its older one."""
        self._session.merge(
            Cosignature(
                origin=self._origin,
                witness=cosignature.witness,
                size=cosignature.size,
                line=cosignature.line,
                at=self._now,
            )
        )

    def cosignatures(self) -> list[StoredCosignature]:
        """The newest cosignature of each witness."""
        rows = self._session.scalars(
            select(Cosignature).where(Cosignature.origin == self._origin).order_by(Cosignature.witness)
        )
        return [StoredCosignature(r.witness, r.size, r.line) for r in rows]


class SeenStorage:
    """Implements `atoll.ledger.witness.Seen` on the state store."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def latest(self, origin: str) -> bytes | None:
        """The newest checkpoint that was cosigned here."""
        row = self._session.get(LogSeen, origin)
        return row.note if row else None

    def put(self, origin: str, size: int, note: bytes) -> None:
        """Replaces it."""
        self._session.merge(LogSeen(origin=origin, size=size, note=note))
