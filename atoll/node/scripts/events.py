"""Events: a new subject in the host's table, or its own system's word, causes one call at the asker.

The host announces a subject under a key that follows from it; the asker keeps what was announced until the call of that
key is done. Announced twice, called twice, answered twice: the outcome is recorded once.
"""

from __future__ import annotations

import hmac
import threading
from collections import defaultdict
from datetime import timedelta
from typing import Any

import cbor2
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atoll.errors import AtollError
from atoll.functions.script.messages import is_key, is_subject
from atoll.net.link import Peer as Remote
from atoll.node.clock import Clock, stamp
from atoll.node.logs import logger
from atoll.node.partners import Partners
from atoll.node.scripts.calls import Calls
from atoll.node.scripts.packages import Packages
from atoll.node.state.scripts import Event, Placement, Watch
from atoll.node.state.store import Store
from atoll.node.tables import Tables
from atoll.node.vault import Vault
from atoll.node.worker.nursery import Nursery
from atoll.node.worker.supervise import run_to_end
from atoll.scripts.manifest import Manifest

_LOOK_SECONDS = 0.5
_TOGETHER = 500
MAX_ANNOUNCED = 10_000
# Waiting events of one partner at most: what comes beyond is refused, and announced again later.
_MOST_WAITING = 1_000_000
_COMPARE_SECONDS = 600.0
_LONGEST_PAUSE = 3600
_TRIES = 50
# A held answer is asked for again at this interval.
_HELD_SECONDS = 30
# Refusals that another day, or another answer of a person, can cure.
_LATER = {"E_QUOTA", "E_BUDGET", "E_BUSY", "E_APPROVAL"}


def _label(partner: str, name: str, key: str) -> str:
    return f"script event {partner} {name} {key}"


class Events:
    """Watches and announcements at the host, and what is to be called at the asker."""

    def __init__(
        self,
        store: Store,
        partners: Partners,
        packages: Packages,
        calls: Calls,
        tables: Tables,
        nursery: Nursery,
        vault: Vault,
        subject_key: bytes,
        memory_bytes: int,
        clock: Clock,
    ) -> None:
        self._store, self._partners, self._packages, self._calls = store, partners, packages, calls
        self._tables, self._nursery, self._vault, self._clock = tables, nursery, vault, clock
        self._key, self._memory = subject_key, memory_bytes
        self._log = logger("script events")
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch_loop, name="script watches", daemon=True),
            threading.Thread(target=self._call_loop, name="script events", daemon=True),
        ]
        partners.handle("script.event", self._announced_there)
        partners.outbox.on_refusal("script.event", self._refused_there)

    def start(self) -> None:
        """Goes on with what waits."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends both loops; what waits stays."""
        self._stopping.set()
        self._wake.set()

    # The host.

    def _deployed(self, name: str, partner: str | None) -> Placement:
        query = select(Placement).where(
            ~Placement.mine, Placement.name == name, Placement.state == "deployed"
        )
        if partner is not None:
            query = query.where(Placement.partner == self._partners.peer(partner).identity)
        with self._store.read() as session:
            found = session.scalars(query.order_by(Placement.changed.desc())).all()
        if not found:
            raise AtollError("E_NOT_FOUND", f"no package {name[:40]!r} is deployed here")
        if len({place.partner for place in found}) > 1:
            raise AtollError("E_FORMAT", f"several partners have a package {name} here: name one")
        return found[0]

    def _manifest(self, place: Placement) -> Manifest:
        return self._packages.package(place.digest).manifest

    @staticmethod
    def _check_defaults(manifest: Manifest) -> None:
        lacking = sorted(name for name, a in manifest.arguments.items() if a.default is None)
        if lacking:
            raise AtollError(
                "E_STATE",
                f"argument {lacking[0]} of {manifest.name} has no default, and an event gives no arguments",
                fault="peer",
                cure="Ask the author for a version whose arguments have defaults.",
            )

    def watch(
        self, name: str, every_seconds: int | None, person: str, partner: str | None = None
    ) -> dict[str, Any]:
        """From now on, subjects that are new in the package's table of subjects cause a call.

        Args:
            every_seconds: how often the table's newest version is looked at, 1 to 86,400; None: only what
                `announce` says causes calls.
        """
        if every_seconds is not None and not 1 <= every_seconds <= 86_400:
            raise AtollError("E_FORMAT", "every_seconds: 1 to 86,400")
        place = self._deployed(name, partner)
        manifest = self._manifest(place)
        self._check_defaults(manifest)
        first = manifest.main
        now = stamp(self._clock())
        seen = self._tables.version(first.asset).digest if every_seconds is not None else None
        with self._store.write() as session:
            row = session.merge(
                Watch(
                    partner=place.partner,
                    name=name,
                    every_seconds=every_seconds,
                    seen=seen,
                    next=now if every_seconds is not None else None,
                    person=person,
                    created=now,
                )
            )
        return self._describe_watch(row)

    def unwatch(self, name: str, partner: str | None = None) -> None:
        """Ends a watch; calls that were caused already go on."""
        with self._store.write() as session:
            query = select(Watch).where(Watch.name == name)
            if partner is not None:
                query = query.where(Watch.partner == self._partners.peer(partner).identity)
            found = session.scalars(query).all()
            if not found:
                raise AtollError("E_NOT_FOUND", f"nothing watches for {name[:40]!r}")
            for row in found:
                session.delete(row)

    def watches(self) -> list[dict[str, Any]]:
        """All watches of this node."""
        with self._store.read() as session:
            return [self._describe_watch(row) for row in session.scalars(select(Watch).order_by(Watch.name))]

    def _describe_watch(self, row: Watch) -> dict[str, Any]:
        return {
            "name": row.name,
            "partner": self._name(row.partner),
            "every_seconds": row.every_seconds,
            "next": row.next,
            "person": row.person,
            "created": row.created,
        }

    def _name(self, key: str) -> str:
        return next((p.name for p in self._partners.active() if p.identity == key), key)

    def announce(
        self, name: str, subjects: list[Any], partner: str | None = None, event: str | None = None
    ) -> dict[str, Any]:
        """The owner's own system says that something happened to these subjects: one call each.

        Args:
            event: tells occasions apart; the same subjects under the same one cause no second call.
        """
        place = self._deployed(name, partner)
        manifest = self._manifest(place)
        self._check_defaults(manifest)
        if not 0 < len(subjects) <= MAX_ANNOUNCED:
            raise AtollError("E_FORMAT", f"subjects: 1 to {MAX_ANNOUNCED}")
        for at, subject in enumerate(subjects):
            if not is_subject(subject, manifest.subject.type):
                raise AtollError(
                    "E_FORMAT", f"subjects.{at}: {manifest.subject.name} is {manifest.subject.type}"
                )
        if event is not None and not is_key(event):
            raise AtollError("E_FORMAT", "event: 1 to 64 printable ASCII characters without space")
        with self._store.write() as session:
            made = self._put(session, place, subjects, event)
        self._partners.outbox.wake()
        return {"announced": made, "known": len(set(subjects)) - made}

    def _event_key(self, place: Placement, subject: Any, event: str | None) -> str:
        text = cbor2.dumps(["event", place.partner, place.name, subject, event], canonical=True)
        return f"ev-{hmac.digest(self._key, text, 'sha256').hex()[:40]}"

    def _put(self, session: Session, place: Placement, subjects: list[Any], event: str | None) -> int:
        """Stores and sends the announcements that are new; gives their number."""
        now = stamp(self._clock())
        made = 0
        keys = {self._event_key(place, subject, event): subject for subject in subjects}
        ordered = list(keys.items())
        for first in range(0, len(ordered), _TOGETHER):
            part = dict(ordered[first : first + _TOGETHER])
            known = set(
                session.scalars(
                    select(Event.key).where(
                        Event.partner == place.partner, Event.name == place.name, Event.key.in_(list(part))
                    )
                )
            )
            fresh = [(key, subject) for key, subject in part.items() if key not in known]
            for key, subject in fresh:
                session.add(self._row(place.partner, place.name, key, subject, True, "announced", now))
            if fresh:
                events = [{"key": key, "subject": subject} for key, subject in fresh]
                body = {"name": place.name, "events": events}
                self._partners.outbox.put(session, place.partner, "script.event", body)
            made += len(fresh)
        return made

    def _row(
        self, partner: str, name: str, key: str, subject: Any, mine: bool, state: str, now: str
    ) -> Event:
        return Event(
            partner=partner,
            name=name,
            key=key,
            mine=mine,
            sealed=self._vault.seal(_label(partner, name, key), cbor2.dumps(subject)),
            state=state,
            tries=0,
            next=now,
            error=None,
            created=now,
            changed=now,
        )

    def _refused_there(self, peer: str, body: Any, error: AtollError) -> None:
        with self._store.write() as session:
            for event in body["events"]:
                row = session.get(Event, (peer, body["name"], event["key"]))
                if row is not None and row.mine:
                    row.state, row.error, row.changed = "failed", error.to_problem(), stamp(self._clock())

    def _watch_loop(self) -> None:
        while not self._stopping.wait(timeout=_LOOK_SECONDS):
            with self._store.read() as session:
                due = session.scalars(
                    select(Watch).where(Watch.next.is_not(None), Watch.next <= stamp(self._clock()))
                ).all()
            for row in due:
                try:
                    self._look(row)
                except AtollError as error:
                    self._log.warning("a watch failed", name=row.name, code=error.code, text=error.text)
                except Exception:
                    self._log.exception("a watch failed", name=row.name)
                self._later(row)

    def _later(self, row: Watch) -> None:
        with self._store.write() as session:
            stored = session.get(Watch, (row.partner, row.name))
            if stored is not None and stored.every_seconds is not None:
                stored.next = stamp(self._clock() + timedelta(seconds=stored.every_seconds))

    def _look(self, row: Watch) -> None:
        """Announces the subjects of the newest version that the version looked at last did not have."""
        place = self._deployed(row.name, row.partner)
        first = self._manifest(place).main
        newest = self._tables.version(first.asset)
        if newest.digest == row.seen:
            return
        before = self._tables.version(first.asset, row.seen) if row.seen is not None else None
        found = run_to_end(
            self._nursery,
            {
                "task": "new_subjects",
                "before": str(before.data) if before is not None else None,
                "after": str(newest.data),
                "key": first.key,
            },
            memory_bytes=self._memory,
            seconds=_COMPARE_SECONDS,
        )
        with self._store.write() as session:
            made = self._put(session, place, found["subjects"], None)
            stored = session.get(Watch, (row.partner, row.name))
            if stored is not None:
                stored.seen = newest.digest
        self._partners.outbox.wake()
        if made:
            self._log.info("new subjects announced", name=row.name, count=made)

    # The asker.

    def _announced_there(self, remote: Remote, body: Any) -> Any:
        if not isinstance(body, dict) or set(body) != {"name", "events"} or not isinstance(body["name"], str):
            raise AtollError("E_WIRE", "not an announcement")
        events = body["events"]
        if not isinstance(events, list) or not 0 < len(events) <= _TOGETHER:
            raise AtollError("E_WIRE", f"an announcement holds 1 to {_TOGETHER} events")
        with self._store.read() as session:
            place = session.scalars(
                select(Placement).where(
                    Placement.mine, Placement.partner == remote.identity, Placement.name == body["name"]
                )
            ).first()
            waiting = session.scalar(
                select(func.count())
                .select_from(Event)
                .where(Event.partner == remote.identity, Event.state == "waiting")
            )
        if place is None:
            raise AtollError("E_SCRIPT", "no such package was published there", party=remote.name)
        if (waiting or 0) >= _MOST_WAITING:
            raise AtollError("E_BUSY", f"{_MOST_WAITING} events wait already", party=remote.name)
        kind = self._manifest(place).subject.type
        for event in events:
            fits = isinstance(event, dict) and set(event) == {"key", "subject"}
            if not fits or not is_key(event["key"]) or not is_subject(event["subject"], kind):
                raise AtollError("E_WIRE", "an event has a key and a subject of the package's type")
        now = stamp(self._clock())
        with self._store.write() as session:
            for event in events:
                if session.get(Event, (remote.identity, place.name, event["key"])) is None:
                    row = self._row(
                        remote.identity, place.name, event["key"], event["subject"], False, "waiting", now
                    )
                    session.add(row)
                    session.flush()
        self._wake.set()
        return {}

    def _call_loop(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(timeout=_LOOK_SECONDS)
            self._wake.clear()
            try:
                while not self._stopping.is_set() and self._pass():
                    pass
            except Exception:
                self._log.exception("events were not called")

    def _pass(self) -> bool:
        """Calls what is due, a group for each package and host; False if nothing was."""
        with self._store.read() as session:
            due = session.scalars(
                select(Event)
                .where(Event.state == "waiting", ~Event.mine, Event.next <= stamp(self._clock()))
                .order_by(Event.next)
                .limit(_TOGETHER)
            ).all()
        groups: dict[tuple[str, str], list[Event]] = defaultdict(list)
        for row in due:
            groups[(row.partner, row.name)].append(row)
        for (host, name), rows in groups.items():
            self._call(host, name, rows)
        return bool(due)

    def _call(self, host: str, name: str, rows: list[Event]) -> None:
        items = [
            {
                "key": row.key,
                "subject": cbor2.loads(self._vault.open(_label(host, name, row.key), row.sealed)),
            }
            for row in rows
        ]
        try:
            answers: list[dict[str, Any]] = self._calls.batch(name, items, host=host, person=None)
            outcomes = [(a["state"], a["error"]) for a in answers]
        except AtollError as error:
            self._log.info("events wait", name=name, code=error.code)
            outcomes = [("later", error.to_problem())] * len(rows)
        now = self._clock()
        with self._store.write() as session:
            for row, (state, problem) in zip(rows, outcomes, strict=True):
                stored = session.get_one(Event, (row.partner, row.name, row.key))
                stored.tries += 1
                stored.changed, stored.error = stamp(now), problem
                pause = min(_LONGEST_PAUSE, 2 ** min(stored.tries, 12))
                if state == "decided":
                    stored.state = "done"
                elif state == "held":
                    stored.next = stamp(now + timedelta(seconds=_HELD_SECONDS))
                elif (state == "later" or problem["code"] in _LATER) and stored.tries < _TRIES:
                    stored.next = stamp(now + timedelta(seconds=pause))
                else:
                    stored.state = "failed"

    # Showing.

    def listed(self, state: str | None, name: str | None, limit: int) -> list[dict[str, Any]]:
        """Events at this node, newest first, as host and as asker."""
        query = select(Event).order_by(Event.created.desc(), Event.key).limit(limit)
        if state:
            query = query.where(Event.state == state)
        if name:
            query = query.where(Event.name == name)
        with self._store.read() as session:
            rows = session.scalars(query).all()
        return [
            {
                "key": row.key,
                "name": row.name,
                "partner": self._name(row.partner),
                "mine": row.mine,
                "subject": cbor2.loads(self._vault.open(_label(row.partner, row.name, row.key), row.sealed)),
                "state": row.state,
                "tries": row.tries,
                "next": row.next if row.state == "waiting" else None,
                "error": row.error,
                "created": row.created,
                "changed": row.changed,
            }
            for row in rows
        ]
