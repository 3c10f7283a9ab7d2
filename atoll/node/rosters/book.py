"""The versions of rosters that this node keeps: found, taken in, merged, and followed from one to the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from atoll.agreements import roster as rules
from atoll.agreements.roster import Roster
from atoll.crypto import dsse
from atoll.errors import AtollError
from atoll.node.clock import Clock, stamp
from atoll.node.memo import Memo
from atoll.node.state.models import Roster as Row

FILE_FORMAT = "atoll.roster-file/v1"
# Versions in a file: the newest ones of a long history are enough to see that the last follows.
VERSIONS = 64
OPEN, IN_FORCE = ("offered", "comparing"), ("active", "left")

_OPENED: Memo[tuple[Roster, frozenset[str]]] = Memo()


def opened(envelope: Any) -> tuple[Roster, frozenset[str]]:
    """The checked roster in an envelope, and who has signed it; errors as `rules.open_envelope`."""
    dsse.payload_bytes(envelope)
    signatures = tuple((s["keyid"], s["sig"]) for s in envelope["signatures"])
    key = (envelope["payloadType"], envelope["payload"], signatures)
    return _OPENED.get(key, lambda: rules.open_envelope(envelope))


def read_file(file: Any) -> list[dsse.Envelope]:
    """The envelopes in a roster file, oldest first; a lone envelope is a file too. `E_FORMAT`."""
    if isinstance(file, dict) and "payload" in file:
        return [file]
    if not isinstance(file, dict) or set(file) != {"format", "versions"} or file["format"] != FILE_FORMAT:
        raise AtollError("E_FORMAT", "this is no roster file of a known version")
    versions = file["versions"]
    if not isinstance(versions, list) or not 1 <= len(versions) <= VERSIONS:
        raise AtollError("E_FORMAT", f"a roster file holds 1 to {VERSIONS} versions")
    return versions


def write_file(envelopes: Sequence[dsse.Envelope]) -> dict[str, Any]:
    """A roster file of these versions, oldest first; the newest `VERSIONS` of them."""
    return {"format": FILE_FORMAT, "versions": list(envelopes[-VERSIONS:])}


class RosterBook:
    """Rows of the table `rosters`, in the caller's transaction."""

    def __init__(self, me: str, clock: Clock) -> None:
        self._me, self._clock = me, clock

    def rows(self, session: Session, identifier: str) -> Sequence[Row]:
        """Every version that is kept, oldest first."""
        query = select(Row).where(Row.id == identifier).order_by(Row.version, Row.created, Row.digest)
        return session.scalars(query).all()

    def current(self, session: Session, identifier: str) -> Row | None:
        """The version that an administrator of this node accepted last."""
        query = select(Row).where(Row.id == identifier, Row.state.in_(IN_FORCE))
        return session.scalars(query).first()

    def before(self, session: Session, roster: Roster) -> Roster | None:
        """The version before, if it is kept."""
        row = session.get(Row, roster.supersedes) if roster.supersedes is not None else None
        return opened(row.envelope)[0] if row is not None else None

    def pick(
        self,
        session: Session,
        identifier: str,
        version: int | None,
        digest: str | None,
        *choices: Iterable[str],
    ) -> Row:
        """The version meant: by digest, by number, or the newest in the first of the sets of states that has one.

        Raises:
            AtollError: `E_NOT_FOUND`; `E_ROSTER` where there are several of one number.
        """
        rows = self.rows(session, identifier)
        if not rows:
            raise AtollError("E_NOT_FOUND", f"there is no roster {identifier!r} here")
        if digest is not None:
            found = [r for r in rows if r.digest == digest and version in (None, r.version)]
        elif version is not None:
            alike = [r for r in rows if r.version == version]
            found = [r for r in alike if r.state not in ("withdrawn", "passed over")] or alike
        else:
            fit = next((fit for states in choices if (fit := [r for r in rows if r.state in states])), [])
            found = [r for r in fit if r.version == fit[-1].version]
        if len(found) > 1:
            raise AtollError(
                "E_ROSTER",
                f"there are {len(found)} different contents of version {found[0].version} of {identifier}",
                cure="Show them, and name one by its digest: " + ", ".join(r.digest for r in found),
            )
        if not found:
            what = (
                f"version {version}" if version is not None else "such version" if digest else "open version"
            )
            raise AtollError("E_NOT_FOUND", f"there is no {what} of the roster {identifier} here")
        return found[0]

    def chain(self, session: Session, row: Row) -> list[dsse.Envelope]:
        """A version and those before it, oldest first, as far as they are kept and a file may hold them."""
        found = [row]
        while len(found) < VERSIONS and found[-1].supersedes is not None:
            before = session.get(Row, found[-1].supersedes)
            if before is None:
                break
            found.append(before)
        return [r.envelope for r in reversed(found)]

    def take_file(self, session: Session, envelopes: Sequence[Any]) -> tuple[Row, bool]:
        """Keeps what is news in a file that this node's people bring; the row of its last version, and if it was news.

        Raises:
            AtollError: as `take`; `E_ROSTER` if this node is no member; `E_FORMAT` for a file of several rosters.
        """
        last = opened(envelopes[-1])[0]
        before = opened(envelopes[-2])[0] if len(envelopes) > 1 else self.before(session, last)
        if self._me not in {*last.entries, *(before.entries if before is not None else ())}:
            raise AtollError("E_ROSTER", f"this node is no member of the roster {last.name}")
        current = self.current(session, last.id)
        number = 0
        for envelope in envelopes[:-1]:
            roster = opened(envelope)[0]
            if roster.id != last.id or not number < roster.version < last.version:
                raise AtollError("E_FORMAT", "a roster file holds versions of one roster, oldest first")
            number = roster.version
            # History from before this node came is nothing that it needs.
            kept = session.get(Row, roster.digest) is not None
            if current is None or roster.version > current.version or kept:
                self.take(session, envelope, self._me)
        return self.take(session, envelopes[-1], self._me)

    def take(self, session: Session, envelope: Any, proposer: str) -> tuple[Row, bool]:
        """Keeps a version, or merges its signatures into what is kept; and whether anything was new.

        Raises:
            AtollError: `E_FORMAT`, `E_SIGNATURE`; `E_ROSTER` for one that is not newer than the one in force, or
                does not follow from the one before it.
        """
        roster, signed = opened(envelope)
        before = self.before(session, roster)
        if roster.version == 1 or before is not None:
            rules.standing(roster, signed, before)  # refuses strangers' signatures and what does not follow
        row = session.get(Row, roster.digest)
        now = stamp(self._clock())
        if row is not None:
            # Both hold valid signatures only, so that none can be replaced by a wrong one.
            merged = dsse.merge(envelope, row.envelope)
            grown = len(merged["signatures"]) > len(row.envelope["signatures"])
            if grown:
                row.envelope, row.changed = merged, now
            return row, grown
        current = self.current(session, roster.id)
        if current is not None and roster.version <= current.version:
            raise self.outdated(session, roster, current)
        row = Row(
            digest=roster.digest,
            id=roster.id,
            version=roster.version,
            name=roster.name,
            supersedes=roster.supersedes,
            envelope=envelope,
            state="offered",
            proposer=proposer,
            created=now,
            changed=now,
        )
        session.add(row)
        session.flush()
        return row, True

    def outdated(self, session: Session, roster: Roster, current: Row) -> AtollError:
        """Why a version that is not newer than the one in force is refused."""
        held = [r for r in self.rows(session, roster.id) if r.version == roster.version and r.accepted]
        if any(r.digest != roster.digest for r in held):
            return AtollError(
                "E_ROSTER",
                f"version {roster.version} of the roster {roster.name} was accepted here with other content: "
                f"{held[0].digest}, not {roster.digest}",
            )
        return AtollError(
            "E_ROSTER",
            f"version {current.version} of the roster {roster.name} is in force here; "
            f"version {roster.version} is not newer",
        )

    def path(self, session: Session, row: Row, current: Row | None) -> Sequence[Row]:
        """The versions after the one in force up to `row`, each complete.

        Raises:
            AtollError: `E_SIGNATURE` names who has not signed; `E_ROSTER` where `row` does not follow.
        """
        found = [row]
        while True:
            here, signed = opened(found[-1].envelope)
            before = self.before(session, here)
            if before is None and here.version > 1 and current is None and found[-1] is not row:
                break  # a node that joins has no older history; the words stand for it
            rules.standing(here, signed, before).require(here)
            if before is None or (current is not None and before.digest == current.digest):
                break
            found.append(session.get_one(Row, before.digest))
        if current is not None and found[-1].supersedes != current.digest:
            raise AtollError(
                "E_ROSTER",
                f"version {row.version} of the roster {row.name} does not follow from version {current.version}, "
                "which is in force here",
            )
        return found[::-1]
