"""Writes an auditor's file: the entries asked for, of the own log and of the partners' as far as this node may read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from atoll.agreements import open_envelope
from atoll.audit import AuditFile, LogPart, Opening, Selected, write_audit
from atoll.crypto import canonical, dsse
from atoll.crypto.document import format_time
from atoll.errors import AtollError
from atoll.functions.calls import prove_call, read_book
from atoll.ledger import checkpoint
from atoll.ledger.entry import Entry, Opened, read_time
from atoll.ledger.log import Log
from atoll.ledger.merkle import Place, inclusion_proof
from atoll.ledger.storage import Storage
from atoll.node.evidence.ledgers import Ledgers
from atoll.node.evidence.shelf import PRIVATE, Shelf
from atoll.node.jobs.desk import Desk
from atoll.node.publishing.consents import Consents
from atoll.node.state.models import Agreement, Block, Consent, Job, LogEntry, LogHash
from atoll.node.worker.context import book_name

_MONTH = re.compile(r"(?:20|21)[0-9]{2}-(?:0[1-9]|1[0-2])")
_CALL = re.compile(r"([^:]{1,64}):([1-9][0-9]{0,8}):([1-9][0-9]{0,8})")
_PAGE = 2048
_ALIGNED = 256
# Kinds that are no job's and stand in every file: without them nothing else can be judged.
_ALWAYS = ("agreement/v1", "revocation/v1", "deployment/v1", "statement/v1", "statement-dispute/v1")
MAX_CHOSEN = 10_000


@dataclass(frozen=True)
class Asked:
    """What a file is to hold; nothing named means everything.

    Args:
        jobs: identifiers.
        months: `YYYY-MM`; every entry of that month by its owner's clock.
        calls: `JOB:BLOCK:CALL`, both counted from 1: calls to be opened with the consent behind them.
    """

    jobs: Sequence[str] = ()
    months: Sequence[str] = ()
    calls: Sequence[str] = field(default=())

    def check(self) -> None:
        """`E_FORMAT` names what is not written as it should be."""
        for month in self.months:
            if not _MONTH.fullmatch(month):
                raise AtollError("E_FORMAT", f"month: write 2026-11, not {month[:40]!r}")
        for call in self.calls:
            if not _CALL.fullmatch(call):
                raise AtollError("E_FORMAT", f"open: write JOB:BLOCK:CALL, each from 1, not {call[:80]!r}")
        for name, values in (("job", self.jobs), ("month", self.months), ("open", self.calls)):
            if len(values) > MAX_CHOSEN:
                raise AtollError("E_TOO_LARGE", f"{name}: at most {MAX_CHOSEN} at once")

    @property
    def everything(self) -> bool:
        """Whether whole logs are asked for."""
        return not self.jobs and not self.months

    def document(self) -> dict[str, Any]:
        """As the file states it."""
        return {"jobs": sorted(set(self.jobs)), "months": sorted(set(self.months)), "all": self.everything}


class Audits:
    """Writes files for auditors."""

    def __init__(self, shelf: Shelf, ledgers: Ledgers, desk: Desk, consents: Consents) -> None:
        self._shelf, self._ledgers, self._desk, self._consents = shelf, ledgers, desk, consents

    def export(self, agreement: str, path: Path, asked: Asked) -> dict[str, Any]:
        """Writes the file, whole or not at all; gives its list of contents.

        Raises:
            AtollError: `E_NOT_FOUND` for an agreement without a log, a job that is not of it, or a call whose record is
                not kept here; `E_FORMAT` and `E_TOO_LARGE` for what cannot be asked.
        """
        asked.check()
        shelf = self._shelf
        if agreement == PRIVATE:
            raise AtollError("E_NOT_FOUND", f"there is no ledger of agreement {agreement!r}")
        with shelf.store.read() as session:
            logs = self._ledgers.logs(session, agreement)
            if not logs:
                raise AtollError("E_NOT_FOUND", f"there is no ledger of agreement {agreement!r}")
            self._check_jobs(session, agreement, asked)
            parts = [self._part(session, log, asked) for log in logs]
            content = AuditFile(
                agreement,
                shelf.me,
                format_time(shelf.clock()),
                asked.document(),
                self._names(session, agreement),
                sorted((part for part in parts if part is not None), key=lambda part: str(part.owner)),
                [self._opening(session, agreement, call) for call in dict.fromkeys(asked.calls)],
            )
            if not content.logs:
                raise AtollError("E_NOT_FOUND", f"the logs of agreement {agreement!r} have no entry yet")
            return write_audit(path, content)

    def _check_jobs(self, session: Session, agreement: str, asked: Asked) -> None:
        for job in dict.fromkeys([*asked.jobs, *(call.split(":")[0] for call in asked.calls)]):
            row = session.get(Job, job)
            if row is None or row.agreement != agreement:
                raise AtollError("E_NOT_FOUND", f"there is no job {job[:80]!r} under agreement {agreement}")

    def _names(self, session: Session, agreement: str) -> dict[str, str]:
        """Names of everybody who ever signed or was to witness, the newest version's last."""
        names: dict[str, str] = {}
        rows = session.scalars(
            select(Agreement).where(Agreement.id == agreement).order_by(Agreement.version)
        ).all()
        for row in rows:
            document, _ = open_envelope(row.envelope)
            names |= document.names
            if document.witnesses is not None:
                names |= {member.key: member.name for member in document.witnesses.members}
        return names

    # Entries.

    def _part(self, session: Session, log: Log, asked: Asked) -> LogPart | None:
        signed = log.checkpoint()
        if signed is None:
            return None
        size = checkpoint.parse_text(signed.text).size
        older = {}
        for item in log.cosigned():
            at = checkpoint.parse_text(item.text).size
            if at < size:
                older[at] = (item.encode(), tuple(log.consistency_proof(at, size)))
        if asked.everything:
            return LogPart(log.owner, signed.encode(), size, older, True, size, _whole(log, size))
        chosen = sorted(self._chosen(session, log, size, asked))
        if len(chosen) == size:
            return LogPart(log.owner, signed.encode(), size, older, True, size, _whole(log, size))
        entries = _with_proofs(session, log, chosen, size)
        return LogPart(log.owner, signed.encode(), size, older, False, len(chosen), entries)

    def _chosen(self, session: Session, log: Log, size: int, asked: Asked) -> set[int]:
        """Places of the entries asked for, in a log of that size."""
        chosen = set(self._always(session, log, size))
        for start in range(0, len(asked.jobs), 500):
            rows = session.scalars(
                select(LogEntry.number).where(
                    LogEntry.origin == log.origin,
                    LogEntry.number < size,
                    LogEntry.job.in_(list(asked.jobs)[start : start + 500]),
                )
            )
            chosen.update(rows)
        for month in asked.months:
            first, end = _bounds(month)
            # One entry more at each side shows that none of the month is left out.
            low = max(0, _first_at(log.storage, size, first) - 1)
            high = min(size, _first_at(log.storage, size, end) + 1)
            chosen.update(range(low, high))
        return chosen

    @staticmethod
    def _always(session: Session, log: Log, size: int) -> Iterator[int]:
        """Entries on the agreement itself, and statements and reports that are no job's."""
        rows = session.execute(
            select(LogEntry.number, LogEntry.body).where(
                LogEntry.origin == log.origin,
                LogEntry.number < size,
                LogEntry.job.is_(None),
                LogEntry.body.is_not(None),
            )
        )
        for number, body in rows:
            if body is not None and canonical.loads(body)["kind"] in _ALWAYS:
                yield number

    # Calls that are opened.

    def _opening(self, session: Session, agreement: str, call: str) -> Opening:
        job, block, number = call.split(":")
        row = session.get(Block, (job, int(block)))
        if row is None:
            raise AtollError("E_NOT_FOUND", f"open: job {job} has no block {block} here")
        book = read_book(self._desk.folder(job) / book_name(row.attempt, row.book))
        index = int(number) - 1
        if index >= len(book):
            raise AtollError("E_NOT_FOUND", f"open: block {block} of job {job} has {len(book)} calls here")
        kept = book[index]
        digest = canonical.loads(kept.record)["consent"]
        consent = dict(kept.envelope) if kept.envelope is not None else self._behind(kept.opening, digest)
        return Opening(
            job,
            int(block),
            index,
            kept.record,
            tuple(prove_call(book, index)),
            kept.opening,
            consent,
            self._withdrawal(session, consent),
        )

    def _behind(self, opening: bytes | None, commitment: str | None) -> dict[str, Any] | None:
        """The authorisation that a call's commitment opens to, if this node has it."""
        if opening is None or commitment is None:
            return None
        return self._consents.attested(commitment, opening)

    @staticmethod
    def _withdrawal(session: Session, consent: Mapping[str, Any] | None) -> dict[str, Any] | None:
        if consent is None:
            return None
        row = session.get(Consent, dsse.identifier(dict(consent)))
        return dict(row.withdrawal) if row is not None and row.withdrawal is not None else None


def _bounds(month: str) -> tuple[str, str]:
    year, number = int(month[:4]), int(month[5:])
    after = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    return format_time(datetime(year, number, 1, tzinfo=UTC)), format_time(after)


def _first_at(storage: Storage, size: int, time: str) -> int:
    """The first entry of that time or later, among those that can be opened; `size` if there is none."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        place, found = _next_time(storage, middle, high)
        if found is not None and found < time:
            low = place + 1
        else:
            high = middle
    return low


def _next_time(storage: Storage, start: int, end: int) -> tuple[int, str | None]:
    """The first entry from `start` on that can be opened, with its time."""
    for page in range(start, end, _ALIGNED):
        for offset, opened in enumerate(storage.bodies(page, min(end, page + _ALIGNED))):
            if opened is not None:
                return page + offset, read_time(opened)
    return end, None


def _whole(log: Log, size: int) -> Iterator[Selected]:
    for start in range(0, size, _PAGE):
        for offset, entry in enumerate(log.entries(start, min(size, start + _PAGE))):
            yield Selected(start + offset, entry)


class _Hashes:
    """Reads a log's hashes in aligned stretches, since neighbouring entries have most of their paths in common."""

    def __init__(self, session: Session, origin: str) -> None:
        self._session, self._origin = session, origin
        self._held: dict[tuple[int, int], dict[int, bytes]] = {}

    def __call__(self, places: Sequence[Place]) -> list[bytes]:
        out = []
        for place in places:
            key = (place.level, place.number // _ALIGNED)
            if key not in self._held:
                if len(self._held) > 4096:
                    self._held.clear()
                self._held[key] = self._stretch(place.level, key[1] * _ALIGNED)
            out.append(self._held[key][place.number])
        return out

    def _stretch(self, level: int, start: int) -> dict[int, bytes]:
        rows = self._session.execute(
            select(LogHash.number, LogHash.hash).where(
                LogHash.origin == self._origin,
                LogHash.level == level,
                LogHash.number >= start,
                LogHash.number < start + _ALIGNED,
            )
        )
        return dict(rows.tuples().all())


def _with_proofs(session: Session, log: Log, chosen: Sequence[int], size: int) -> Iterator[Selected]:
    hashes = _Hashes(session, log.origin)
    for start in range(0, len(chosen), 500):
        part = chosen[start : start + 500]
        for index, entry in _entries(session, log, part):
            yield Selected(index, entry, tuple(inclusion_proof(index, size, hashes, log.hash)))


def _entries(session: Session, log: Log, numbers: Iterable[int]) -> Iterator[tuple[int, Entry]]:
    rows = session.scalars(
        select(LogEntry)
        .where(LogEntry.origin == log.origin, LogEntry.number.in_(list(numbers)))
        .order_by(LogEntry.number)
    )
    for row in rows:
        opened = Opened(row.body, row.opening) if row.body is not None and row.opening is not None else None
        yield row.number, Entry(row.leaf, opened)
