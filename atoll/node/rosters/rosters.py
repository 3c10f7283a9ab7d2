"""Rosters of consortia at one node: drafts, signatures, the comparison of words, and what accepting one does.

Nothing that another node sends takes effect here: signatures are kept, and an administrator of this node accepts.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atoll.agreements import roster as rules
from atoll.agreements.roster import Member, Roster
from atoll.crypto import dsse
from atoll.crypto.words import SLOW_WORDS, same_words
from atoll.errors import AtollError
from atoll.net.identity import NodeKeys
from atoll.net.link import Peer as Remote
from atoll.node.clock import Clock, stamp
from atoll.node.logs import logger
from atoll.node.partners import Partners
from atoll.node.rosters.book import IN_FORCE, OPEN, RosterBook, opened, read_file, write_file
from atoll.node.rosters.effects import Effects, apply, check_pins
from atoll.node.rosters.view import describe, facts, words_number
from atoll.node.state.models import Peer
from atoll.node.state.models import Roster as Row
from atoll.node.state.store import Store

Json = dict[str, Any]
RecordPrivate = Callable[[Session, str, Any], None]

# A partner's versions that wait for an administrator here, at most.
_OFFERS = 8
_ANY = ("active", "left", "offered", "comparing", "superseded", "passed over", "withdrawn")


class Rosters:
    """All rosters that this node is, was, or is asked to be a member of.

    Args:
        record_private: `record_private(session, "roster", document)` is called in the transaction of each act of this
            node's people (`signed`, `accepted`, `left`, `withdrawn`), with the envelope in the document.

    `on_changed(roster)` is called after another version took effect here; it does nothing until it is set.
    """

    def __init__(
        self, store: Store, partners: Partners, keys: NodeKeys, clock: Clock, record_private: RecordPrivate
    ) -> None:
        self._store, self._partners, self._keys, self._clock = store, partners, keys, clock
        self._me = keys.identity
        self._book = RosterBook(self._me, clock)
        self._log = logger("rosters")
        self._record_private = record_private
        self.on_changed: Callable[[str], None] = lambda roster: None
        partners.handle("roster.offer", self._offered)

    # For other parts of the node.

    def members(self, identifier: str) -> dict[str, str]:
        """Names of all members by key, this node among them, in the version in force here; `E_NOT_FOUND`."""
        with self._store.read() as session:
            current = self._book.current(session, identifier)
        if current is None or current.state != "active":
            raise AtollError("E_NOT_FOUND", f"no version of a roster {identifier!r} is in force here")
        return opened(current.envelope)[0].names

    # Looking.

    def _describe(self, session: Session, row: Row, full: bool = True) -> Json:
        connected = self._partners.links.connected()
        return describe(session, self._book, row, self._me, connected, full)

    def list(self) -> Sequence[Json]:
        """Every version of every roster, newest first."""
        with self._store.read() as session:
            rows = session.scalars(select(Row).order_by(Row.created.desc(), Row.version.desc())).all()
            return [self._describe(session, row, full=False) for row in rows]

    def show(self, identifier: str, version: int | None = None, digest: str | None = None) -> Json:
        """One version with its members, words, file and changes; by default the one in force, else the newest."""
        with self._store.read() as session:
            row = self._book.pick(session, identifier, version, digest, IN_FORCE, _ANY)
            return self._describe(session, row)

    # Files.

    def card(self) -> Json:
        """This node's signed key statement, from which others make its entry."""
        statement = self._partners.statement()
        member = rules.read_card(statement, self._clock())
        shown = ("name", "key", "tls", "address", "issued", "not_after")
        return {"card": statement, **{field: getattr(member, field) for field in shown}}

    def _cards(self, cards: Iterable[Any]) -> tuple[Member, ...]:
        return tuple(rules.read_card(card, self._clock()) for card in cards)

    def new(self, name: str, cards: Iterable[Any], quorum: int | None, person: str) -> Json:
        """A first version of the nodes on the cards and this one, signed here."""
        others = [m for m in self._cards(cards) if m.key != self._me]
        own = self._cards([self._partners.statement()])
        identifier = f"ros-{secrets.token_hex(8)}"
        document = rules.found(identifier, name, [*own, *others], self._clock(), quorum)
        with self._store.write() as session:
            row = self._book.take(session, dsse.sign(rules.KIND, document), self._me)[0]
            self._sign(session, row, person)
            return self._describe(session, row)

    def next(
        self,
        identifier: str,
        *,
        add: Iterable[Any] = (),
        remove: Iterable[str] = (),
        renew: Iterable[Any] = (),
        quorum: int | None = None,
        name: str | None = None,
    ) -> Json:
        """A draft of the version after the one in force, not signed and not kept: propose its file.

        Arguments as `rules.follow`, with cards in place of entries.
        """
        with self._store.read() as session:
            current = self._book.current(session, identifier)
            if current is None or current.state != "active":
                raise AtollError("E_STATE", f"no version of a roster {identifier!r} is in force here")
            old = opened(current.envelope)[0]
            document = rules.follow(
                old,
                self._clock(),
                add=self._cards(add),
                remove=remove,
                renew=self._cards(renew),
                quorum=quorum,
                name=name,
            )
            envelope = dsse.sign(rules.KIND, document)
            file = write_file([*self._book.chain(session, current), envelope])
            connected = self._partners.links.connected()
            return {**facts(session, envelope, old, self._me, connected, True), "file": file}

    def read(self, file: Any) -> Json:
        """What the last version in a file says, and who has signed it; nothing is kept."""
        envelopes = read_file(file)
        roster = opened(envelopes[-1])[0]
        with self._store.read() as session:
            before = opened(envelopes[-2])[0] if len(envelopes) > 1 else self._book.before(session, roster)
            row = session.get(Row, roster.digest)
            connected = self._partners.links.connected()
            said = facts(session, envelopes[-1], before, self._me, connected, True)
            return {**said, "state": row.state if row is not None else "not kept here", "file": file}

    def take(self, file: Any) -> Json:
        """Keeps the versions of a file that are news here, and merges their signatures with those kept.

        Signatures on a version that this node proposed go on to its paired members.
        """
        envelopes = read_file(file)
        with self._store.write() as session:
            row, news = self._book.take_file(session, envelopes)
            if news and row.proposer == self._me and self._me in opened(row.envelope)[1]:
                self._send(session, row)
            described = self._describe(session, row)
        self._partners.outbox.wake()
        return described

    # Signing.

    def _check_own(self, roster: Roster, before: Roster | None) -> None:
        """This node signs only what is true of itself."""
        mine = roster.entries.get(self._me)
        if mine is None:
            if before is None or self._me not in before.entries:
                raise AtollError("E_ROSTER", f"this node is no member of the roster {roster.name}")
            return
        cure = "Draft it anew with a card of today: atoll roster card."
        if mine.tls not in {keys.tls.fingerprint for keys in self._keys.views(self._clock())}:
            text = f"the roster pins {mine.tls} for this node, which has no such TLS key"
            raise AtollError("E_ROSTER", text, cure=cure)
        if before is not None and before.entries.get(self._me) == mine:
            return
        real = {"address": self._partners.address, "name": self._partners.name}
        for what, value in real.items():
            if getattr(mine, what) != value:
                text = f"the roster gives this node the {what} {getattr(mine, what)!r}; it has {value!r}"
                raise AtollError("E_ROSTER", text, cure=cure)

    def sign(
        self, identifier: str, version: int | None, digest: str | None, person: str, *, propose: bool = False
    ) -> Json:
        """An administrator signs a version for this institution; paired members get it.

        With `propose` this node also passes on the signatures that others send it.
        """
        with self._store.write() as session:
            row = self._book.pick(session, identifier, version, digest, OPEN)
            self._sign(session, row, person)
            if propose:
                row.proposer = self._me
            self._send(session, row)
            described = self._describe(session, row)
        self._partners.outbox.wake()
        return described

    def _sign(self, session: Session, row: Row, person: str) -> None:
        roster, signed = opened(row.envelope)
        if row.state not in (*OPEN, "withdrawn"):
            raise AtollError("E_STATE", f"version {row.version} of the roster {row.name} is {row.state} here")
        self._check_own(roster, self._book.before(session, roster))
        for other in self._book.rows(session, row.id):
            rival = other.version == row.version and other.digest != row.digest and other.state != "withdrawn"
            if rival and self._me in opened(other.envelope)[1]:
                raise AtollError(
                    "E_ROSTER",
                    f"this node has signed version {row.version} of the roster {row.name} with other content: "
                    f"{other.digest}",
                    cure="Withdraw that one first, if it will not be used: atoll roster withdraw.",
                )
        if row.state == "withdrawn":
            row.state = "offered"
        if self._me not in signed:
            row.envelope = dsse.add_signature(row.envelope, self._keys.signing)
            row.changed = stamp(self._clock())
            self._record(session, row, "signed", person)

    def withdraw(self, identifier: str, version: int | None, digest: str | None, person: str) -> Json:
        """Puts an open version aside here. A signature that this node gave stays valid where it was sent."""
        with self._store.write() as session:
            row = self._book.pick(session, identifier, version, digest, OPEN)
            if row.state not in OPEN:
                text = f"version {row.version} of the roster {row.name} is {row.state} here"
                raise AtollError("E_STATE", text)
            row.state, row.changed = "withdrawn", stamp(self._clock())
            self._record(session, row, "withdrawn", person)
            return self._describe(session, row)

    def _record(self, session: Session, row: Row, act: str, person: str) -> None:
        document = {
            "act": act,
            "roster": row.id,
            "version": row.version,
            "digest": row.digest,
            "by": person,
            "envelope": row.envelope,
        }
        self._record_private(session, "roster", document)
        self._log.info(f"roster {act}", roster=row.id, version=row.version, person=person)

    # Between members.

    def _send(self, session: Session, row: Row, exclude: str | None = None) -> None:
        """To all paired members of this version and of the one before."""
        members = set(opened(row.envelope)[0].entries)
        before = session.get(Row, row.supersedes) if row.supersedes is not None else None
        if before is not None:
            members |= set(opened(before.envelope)[0].entries)
        body = {"envelope": row.envelope, "before": before.envelope if before is not None else None}
        # Read in this transaction: who was paired or un-paired in it is so for the message too.
        paired = set(session.scalars(select(Peer.identity).where(Peer.state == "active")))
        for key in sorted((members & paired) - {self._me, exclude}):
            self._partners.outbox.put(session, key, "roster.offer", body)

    def _offered(self, remote: Remote, body: Any) -> Any:
        """A member sends a version with signatures. They are kept; nothing takes effect."""
        if not isinstance(body, dict) or set(body) != {"envelope", "before"}:
            raise AtollError("E_WIRE", "not an offer of a roster")
        roster = opened(body["envelope"])[0]
        sent = opened(body["before"])[0] if body["before"] is not None else None
        if sent is not None:
            rules.check_succession(sent, roster)
        with self._store.write() as session:
            before = self._book.before(session, roster) or sent
            if before is None and roster.version > 1:
                raise AtollError("E_ROSTER", f"version {roster.version - 1} of {roster.id} is not known here")
            members = {*roster.entries, *(before.entries if before is not None else ())}
            if not {remote.identity, self._me} <= members:
                text = "sender and receiver of a roster are its members"
                raise AtollError("E_ROSTER", text, party=remote.name)
            if session.get(Row, roster.digest) is None:
                waiting = select(func.count()).select_from(Row)
                waiting = waiting.where(Row.proposer == remote.identity, Row.state == "offered")
                if (session.scalar(waiting) or 0) >= _OFFERS:
                    text = f"{_OFFERS} rosters of that member wait here"
                    raise AtollError("E_QUOTA", text, party=remote.name)
            if sent is not None:
                self._book.take(session, body["before"], remote.identity)
            row, news = self._book.take(session, body["envelope"], remote.identity)
            if news and row.proposer == self._me:
                self._send(session, row, exclude=remote.identity)
        self._partners.outbox.wake()
        return {}

    # Accepting.

    def accept(
        self,
        identifier: str,
        version: int | None,
        digest: str | None,
        include: Iterable[str],
        person: str,
    ) -> Json:
        """An administrator lets a complete version take effect at this node.

        The first one of a consortium waits for the comparison of words (`confirm`); a later one follows from the
        one in force by signatures and takes effect now. For the version in force it does what `include` says.

        Args:
            include: names of members whom this node's people had un-paired, to be paired again.
        """
        names, effects = set(include), Effects()
        with self._store.write() as session:
            row = self._book.pick(session, identifier, version, digest, OPEN, ("active",))
            current = self._book.current(session, identifier)
            if row.state == "active":
                effects = self._apply(session, row, row, names, person)
            elif row.state not in OPEN:
                if current is not None and row.digest != current.digest and row.version <= current.version:
                    raise self._book.outdated(session, opened(row.envelope)[0], current)
                text = f"version {row.version} of the roster {row.name} is {row.state} here"
                raise AtollError("E_STATE", text)
            elif current is not None:
                path = self._book.path(session, row, current)
                effects = self._take_effect(session, path, current, names, person)
                self._send(session, row)
            else:
                self._compare(session, row, names)
            described = self._describe(session, row)
        return self._settle(row, effects, described)

    def _compare(self, session: Session, row: Row, include: set[str]) -> None:
        """A first version waits for the comparison of words."""
        roster = opened(row.envelope)[0]
        if self._me not in roster.entries:
            raise AtollError("E_ROSTER", f"this node is no member of the roster {roster.name}")
        if include:
            raise AtollError(
                "E_FORMAT", "include: give it when you confirm the words; nobody is paired before"
            )
        self._book.path(session, row, None)
        check_pins(session, None, roster, self._me)
        for other in self._book.rows(session, row.id):
            if other.state == "comparing":
                other.state = "offered"
        row.state, row.changed = "comparing", stamp(self._clock())

    def confirm(self, identifier: str, words: str, include: Iterable[str], person: str) -> Json:
        """A person says which words the other members read; the first version takes effect. `E_WORDS`."""
        with self._store.read() as session:
            waiting = [r for r in self._book.rows(session, identifier) if r.state == "comparing"]
        if not waiting:
            raise AtollError(
                "E_STATE", f"no version of a roster {identifier!r} waits for a comparison of words"
            )
        if not same_words(words, words_number(waiting[0].digest), SLOW_WORDS):
            raise AtollError(
                "E_WORDS",
                f"these are not the words of the roster {waiting[0].name} that this node has.",
                cure="Somebody holds another roster. Do not confirm; find out whose differs, and who sent it.",
            )
        with self._store.write() as session:
            row = session.get_one(Row, waiting[0].digest)
            if row.state != "comparing":
                raise AtollError("E_STATE", f"version {row.version} of the roster {row.name} is {row.state}")
            path = self._book.path(session, row, None)
            effects = self._take_effect(session, path, None, set(include), person)
            described = self._describe(session, row)
        return self._settle(row, effects, described)

    def _take_effect(
        self, session: Session, path: Sequence[Row], current: Row | None, include: set[str], person: str
    ) -> Effects:
        row, now = path[-1], stamp(self._clock())
        if current is not None:
            current.state, current.changed = "superseded", now
        for passed in path[:-1]:
            passed.state, passed.changed = "superseded", now
            # With a version in force here, each of these was accepted on the way; before the first, none was.
            if current is not None:
                passed.accepted, passed.accepted_by = now, person
        for other in self._book.rows(session, row.id):
            if other.version <= row.version and other.state in OPEN and other.digest != row.digest:
                other.state, other.changed = "passed over", now
        member = self._me in opened(row.envelope)[0].entries
        row.state, row.changed = "active" if member else "left", now
        row.accepted, row.accepted_by = now, person
        effects = self._apply(session, row, current, include, person)
        self._record(session, row, "accepted" if member else "left", person)
        return effects

    def _apply(
        self, session: Session, row: Row, current: Row | None, include: set[str], person: str
    ) -> Effects:
        others: dict[str, str] = {}
        for other in session.scalars(select(Row).where(Row.state == "active", Row.id != row.id)):
            others |= dict.fromkeys(opened(other.envelope)[0].entries, other.id)
        before = opened(current.envelope)[0] if current is not None else None
        old = before if before is not None and self._me in before.entries else None
        new = opened(row.envelope)[0]
        return apply(session, self._partners, self._me, old, new, others, include, person)

    def _settle(self, row: Row, effects: Effects, described: Json) -> Json:
        """Links, jobs and hooks follow what was committed."""
        self._partners.outbox.wake()
        for key in effects.to_connect:
            self._partners.connect(key)
        for key, reason in effects.to_part.items():
            self._partners.part(key, reason)
        if row.state in IN_FORCE:
            self.on_changed(row.id)
        return {**described, "effects": effects.describe()}
