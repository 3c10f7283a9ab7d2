"""Calls at the asker: each key once, on the version that is switched to, through a service started when needed."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import cbor2
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from atoll.errors import AtollError
from atoll.functions.script.messages import is_key, is_subject
from atoll.node.clock import Clock, stamp
from atoll.node.jobs.manager import Jobs
from atoll.node.jobs.run import PASSING
from atoll.node.logs import logger
from atoll.node.memo import Memo
from atoll.node.partners import Partners
from atoll.node.publishing.consents import Consents
from atoll.node.scripts.packages import Packages
from atoll.node.scripts.services import service_request
from atoll.node.state.models import Block, Job, Receipt
from atoll.node.state.scripts import Call as Row
from atoll.node.state.scripts import Placement
from atoll.node.state.store import Store
from atoll.node.vault import Vault
from atoll.scripts.deployment import allowed, open_deployment
from atoll.scripts.manifest import Manifest
from atoll.scripts.outputs import gate

MAX_BATCH = 10_000
_START_SECONDS = 30.0
_CALL_SECONDS = 30.0
_GONE = ("completed", "refused", "cancelled")
_AGAIN = ("E_STATE", "E_SCRIPT")
_RENEW_SECONDS = 2.0


def _over(job: Job) -> bool:
    """Whether a service does not come back by itself."""
    return job.state in _GONE or (job.state == "failed" and (job.error or {}).get("code") not in PASSING)


def _label(host: str, name: str, key: str) -> str:
    return f"script call {host} {name} {key}"


class Calls:
    """Calls that this node makes of packages at its partners.

    Args:
        person_of_service: under whose name a service that a call needs is asked for.
    """

    def __init__(
        self,
        store: Store,
        partners: Partners,
        packages: Packages,
        jobs: Jobs,
        consents: Consents,
        vault: Vault,
        clock: Clock,
    ) -> None:
        self._store, self._partners, self._packages = store, partners, packages
        self._jobs, self._consents, self._vault, self._clock = jobs, consents, vault, clock
        self._log = logger("script calls")
        self._lock = threading.Lock()
        # Calls on the way, by host, name and key: asked twice at the same time, they are made once.
        self._going: dict[tuple[str, str, str], Future[dict[str, Any]]] = {}
        self._starting: dict[str, threading.Lock] = {}
        self._allowed: dict[tuple[str, str], Manifest] = {}
        # Which version takes calls, as read at a number of changes; and what a job's plan says, which never changes.
        self._actives: dict[tuple[str, str | None], tuple[int, Placement]] = {}
        self._terms: Memo[Any] = Memo(64)
        self._deployments: Memo[str | None] = Memo(64)

    # Which version, which service.

    def _active(self, name: str, host: str | None) -> Placement:
        changes = self._packages.changes
        known = self._actives.get((name, host))
        if known is not None and known[0] == changes:
            return known[1]
        found = self._find_active(name, host)
        self._actives[name, host] = (changes, found)
        return found

    def _find_active(self, name: str, host: str | None) -> Placement:
        query = select(Placement).where(Placement.mine, Placement.name == name, Placement.active)
        if host is not None:
            query = query.where(Placement.partner == self._partners.peer(host).identity)
        with self._store.read() as session:
            found = session.scalars(query).all()
        if not found:
            where = f" at {host}" if host else ""
            raise AtollError(
                "E_NOT_FOUND",
                f"no version of {name[:40]!r} is deployed{where}",
                cure="Publish it, and ask the host to review and deploy it: `atoll script list`.",
            )
        if len(found) > 1:
            raise AtollError("E_FORMAT", f"{name} is deployed at several hosts: name one")
        return found[0]

    def switch(self, reference: str, host: str | None = None) -> dict[str, Any]:
        """New calls go to this version from now on; calls on the way end on the version that took them."""
        row = self._packages.row(reference, mine=True)
        place = self._packages.placement(row.digest, host)
        if place.state != "deployed":
            raise AtollError("E_STATE", f"{row.name} {row.version} is {place.state} there, not deployed")
        self.job(place)
        with self._store.write() as session:
            for other in session.scalars(
                select(Placement).where(
                    Placement.mine, Placement.name == row.name, Placement.partner == place.partner
                )
            ):
                other.active = other.digest == row.digest
                other.changed = stamp(self._clock()) if other.digest == row.digest else other.changed
        self._packages.changes += 1
        return self._packages.describe(row, self._packages.placement(row.digest, place.partner))

    def job(self, place: Placement) -> str:
        """The job of a package's service, asked for if none runs; waits until it does.

        Raises:
            AtollError: what the service was refused or failed with; `E_APPROVAL` while a steward has not answered;
                `E_NOT_FOUND` once the consent was withdrawn.
        """
        with self._lock:
            lock = self._starting.setdefault(f"{place.digest} {place.partner}", threading.Lock())
        with lock:
            end = time.monotonic() + _START_SECONDS
            begun: set[str] = set()
            while True:
                place = self._packages.placement(place.digest, place.partner)
                if place.state != "deployed":
                    raise AtollError("E_NOT_FOUND", f"{place.name} is {place.state} there, not deployed")
                row = self._job_row(place.job)
                stale = row is None or (row.request or {}).get("deployment") != place.consent
                if row is None or stale or (_over(row) and row.id not in begun):
                    if row is not None and row.state not in (*_GONE, "failed"):
                        self._end(row.id)
                    row = self._begin(place)
                    begun.add(row.id)
                if row.state in ("running", "released"):
                    return row.id
                late = time.monotonic() > end
                if _over(row) or (row.state == "failed" and late):
                    raise AtollError.from_problem(row.error or AtollError("E_STATE", row.state).to_problem())
                if row.state == "waiting" or late:
                    raise AtollError("E_APPROVAL", f"the service {row.id} is {row.state}")
                time.sleep(0.01)

    def _begin(self, place: Placement) -> Job:
        asked = self._jobs.ask(service_request(self._packages, place), f"script:{place.name}")
        with self._store.write() as session:
            session.get_one(Placement, (place.digest, place.partner)).job = asked["id"]
        self._packages.changes += 1
        row = self._job_row(asked["id"])
        assert row is not None  # asked for above
        return row

    def _job_row(self, identifier: str | None) -> Job | None:
        if identifier is None:
            return None
        with self._store.read() as session:
            return session.get(Job, identifier)

    def _end(self, job: str) -> None:
        try:
            self._jobs.runs.stop_service(job)
        except AtollError:
            self._log.info("a service had ended already", job=job)

    def ended(self, digest: str, partner: str) -> None:
        """A consent ended: so does the service."""
        place = self._packages.placement(digest, partner)
        if place.mine and place.job is not None:
            self._end(place.job)

    # Calling.

    def call(
        self,
        name: str,
        subject: Any,
        arguments: dict[str, Any],
        *,
        key: str | None = None,
        host: str | None = None,
        consent: str | None = None,
        person: str,
    ) -> tuple[dict[str, Any], bool]:
        """One call. Made again under the same key it gives the same answer, whatever happened in between.

        Returns:
            The answer, and whether the call was made and stored now, with who made it.
        """
        item = {"key": key, "subject": subject, "arguments": arguments, "consent": consent}
        (found,), fresh = self._make(name, [item], host, person, batch=False)
        return found, fresh > 0

    def batch(
        self,
        name: str,
        items: Sequence[dict[str, Any]],
        *,
        host: str | None = None,
        person: str | None,
    ) -> list[dict[str, Any]]:
        """Many calls at once, in order; one that is refused has `error` in its place.

        Args:
            person: who calls; None for events at the host.
        """
        if not 0 < len(items) <= MAX_BATCH:
            raise AtollError("E_FORMAT", f"calls: a batch is 1 to {MAX_BATCH} calls")
        return self._make(name, items, host, person, batch=True)[0]

    def _make(
        self, name: str, items: Sequence[dict[str, Any]], host: str | None, person: str | None, *, batch: bool
    ) -> tuple[list[dict[str, Any]], int]:
        place = self._active(name, host)
        manifest = self._packages.package(place.digest).manifest
        calls = [self._check(manifest, item, at if batch else None) for at, item in enumerate(items)]
        keys = [call["key"] for call in calls]
        if len(set(keys)) != len(keys):
            raise AtollError("E_FORMAT", "calls: a key stands twice in the batch")
        # A key that was drawn just now is nobody's yet.
        held = self._held(place, [call["key"] for call in calls if not call["drawn"]])
        found: dict[str, dict[str, Any]] = {}
        for call in calls:
            if call["key"] in held:
                self._same(call, held[call["key"]])
                found[call["key"]] = held[call["key"]]
        open_calls = [c for c in calls if c["key"] not in found or found[c["key"]]["state"] == "held"]
        if open_calls:
            for answer in self._ask(place, open_calls, person, batch):
                found[answer["key"]] = answer
        out = [found[key] for key in keys]
        if not batch and out[0].get("error"):
            raise AtollError.from_problem(out[0]["error"])
        return out, len(open_calls)

    def _check(self, manifest: Manifest, item: dict[str, Any], at: int | None) -> dict[str, Any]:
        """A call as it is sent, defaults filled in; errors name the call's place in a batch."""
        where = "" if at is None else f"calls.{at}."
        unknown = sorted(item.keys() - {"key", "subject", "arguments", "consent"})
        if unknown:
            raise AtollError("E_FORMAT", f"{where}{unknown[0]}: a call has no such field")
        key = item.get("key") or secrets.token_hex(16)
        if not is_key(key):
            raise AtollError("E_FORMAT", f"{where}key: 1 to 64 printable ASCII characters without space")
        subject = item.get("subject")
        if not is_subject(subject, manifest.subject.type):
            kind = (
                "a text of at most 200 characters" if manifest.subject.type == "string" else "a whole number"
            )
            raise AtollError("E_FORMAT", f"{where}subject: the {manifest.subject.name} is {kind}")
        given = item.get("arguments") or {}
        unknown = sorted(given.keys() - manifest.arguments.keys())
        if unknown:
            known = ", ".join(manifest.arguments) or "none"
            raise AtollError("E_FORMAT", f"{where}arguments.{unknown[0]}: the package has {known}")
        arguments = {}
        for name, argument in manifest.arguments.items():
            value = given.get(name, argument.default)
            if value is None:
                raise AtollError("E_FORMAT", f"{where}arguments.{name}: give a value")
            try:
                arguments[name] = argument.check(value)
            except ValueError as error:
                raise AtollError("E_FORMAT", f"{where}arguments.{name}: {error}") from None
        drawn = not item.get("key")
        return {
            "key": key, "drawn": drawn, "subject": subject, "arguments": arguments, "consent": item.get("consent"),
        }  # fmt: skip

    def _held(self, place: Placement, keys: list[str]) -> dict[str, dict[str, Any]]:
        found = {}
        with self._store.read() as session:
            for first in range(0, len(keys), 500):
                for row in session.scalars(
                    select(Row).where(
                        Row.host == place.partner,
                        Row.name == place.name,
                        Row.key.in_(keys[first : first + 500]),
                    )
                ):
                    found[row.key] = self._describe(row)
        return found

    @staticmethod
    def _same(call: dict[str, Any], before: dict[str, Any]) -> None:
        if (call["subject"], call["arguments"]) != (before["subject"], before["arguments"]):
            raise AtollError("E_CONFLICT", f"key {call['key']} stands for another call")

    def _ask(
        self, place: Placement, calls: list[dict[str, Any]], person: str | None, batch: bool
    ) -> list[dict[str, Any]]:
        """Asks the host, each key once at a time."""
        mine: list[dict[str, Any]] = []
        others: list[Future[dict[str, Any]]] = []
        futures: dict[str, Future[dict[str, Any]]] = {}
        with self._lock:
            for call in calls:
                where = (place.partner, place.name, call["key"])
                if where in self._going:
                    others.append(self._going[where])
                else:
                    futures[call["key"]] = self._going[where] = Future()
                    mine.append(call)
        try:
            answers = self._send(place, mine, person, batch) if mine else []
            for answer in answers:
                futures[answer["key"]].set_result(answer)
        except BaseException as error:
            for future in futures.values():
                if not future.done():
                    future.set_exception(error)
            raise
        finally:
            with self._lock:
                for key in futures:
                    self._going.pop((place.partner, place.name, key), None)
        return [*answers, *(future.result(_CALL_SECONDS) for future in others)]

    def _send(
        self, place: Placement, calls: list[dict[str, Any]], person: str | None, batch: bool
    ) -> list[dict[str, Any]]:
        """Sends calls; those that a service left behind, as when its host consented anew, are sent once more.

        Under the same keys nothing is decided twice.
        """
        consent = place.consent
        try:
            found = self._send_once(place, calls, person, batch)
        except AtollError as error:
            if error.code not in _AGAIN:
                raise
            return self._send_once(self._renewed(place, consent), calls, person, batch)
        left = [at for at, one in enumerate(found) if one["error"] and one["error"]["code"] == "E_SCRIPT"]
        if left:
            place = self._renewed(place, consent)
            if place.consent is not None and place.consent != consent:
                more = self._send_once(place, [calls[at] for at in left], person, batch)
                for at, one in zip(left, more, strict=True):
                    found[at] = one
        return found

    def _renewed(self, place: Placement, consent: str | None) -> Placement:
        """The placement once its host's next word has arrived, which may be on its way; or as it is a while later."""
        end = time.monotonic() + _RENEW_SECONDS
        while True:
            found = self._packages.placement(place.digest, place.partner)
            if found.consent != consent or time.monotonic() > end:
                return found
            time.sleep(0.05)

    def _send_once(
        self, place: Placement, calls: list[dict[str, Any]], person: str | None, batch: bool
    ) -> list[dict[str, Any]]:
        job = place.job if place.job is not None and self._running(place) else self.job(place)
        terms = self._terms.get(job, lambda: self._jobs.consent_of(job))
        sent = []
        for call in calls:
            shown = self._consents.shown(call["consent"], **terms) if terms else None
            sent.append({**{f: call[f] for f in ("key", "subject", "arguments")}, "shown": shown})
        payload = cbor2.dumps({"batch": batch, "calls": sent}, canonical=True)
        seconds = _CALL_SECONDS + len(calls) * 0.1
        answers = cbor2.loads(self._jobs.runs.call(job, payload, None, seconds))["answers"]
        attempt = self._jobs.runs.serving(job)
        if attempt is None:
            with self._store.read() as session:
                attempt = session.scalars(select(Job.attempt).where(Job.id == job)).one()
        made = list(zip(calls, answers, strict=True))
        for _, answer in made:
            self._check_answer(place, answer)
            if answer["error"] is not None:
                answer["error"] = self._named(place, answer["error"])
        self._keep(place, job, attempt, made, person)
        return [self._result(place, job, call, answer) for call, answer in made]

    def _check_answer(self, place: Placement, answer: dict[str, Any]) -> None:
        """An answer is one of the version that gave it, within the host's own bounds."""
        if answer["status"] == "refused":
            return
        version = place
        if answer["package"] != place.digest:
            # The key was asked before, of another version: that one's answer stands.
            with self._store.read() as session:
                other = session.get(Placement, (answer["package"], place.partner))
            if other is None or other.name != place.name or not answer["again"]:
                raise self._untrue(place)
            version = other
        # Of a version that was withdrawn meanwhile the bounds are not known any more; the author's own are.
        left = self._left(version) if version.consent else self._packages.package(version.digest).manifest
        if answer["answer"] is not None and gate(left, left, answer["answer"]) is None:
            raise self._untrue(place)

    def _named(self, place: Placement, problem: dict[str, Any]) -> dict[str, Any]:
        """A host's refusal with its name; the worker knows it by its key."""
        error, name = AtollError.from_problem(problem), self._partners.peer(place.partner).name
        error.text = error.text.replace(place.partner, name)
        error.party = name if error.party == place.partner else error.party
        return error.to_problem()

    def _untrue(self, place: Placement) -> AtollError:
        party = self._partners.peer(place.partner).name
        return AtollError("E_PROTOCOL", "the host answered what the package cannot say", party=party)

    def _running(self, place: Placement) -> bool:
        """Whether the service runs that was asked for under the consent that stands."""
        if place.job is None or self._jobs.runs.serving(place.job) is None:
            return False
        return bool(self._deployments.get(place.job, lambda: self._deployment(place.job)) == place.consent)

    def _deployment(self, job: str | None) -> str | None:
        row = self._job_row(job)
        return (row.request or {}).get("deployment") if row is not None else None

    def _left(self, place: Placement) -> Manifest:
        """What may come back: the manifest within the host's bounds."""
        assert place.consent is not None  # deployed
        assert place.deployment is not None
        where = (place.digest, place.consent)
        if where not in self._allowed:
            word = open_deployment(place.deployment)
            assert word.bounds is not None  # a consent has bounds
            self._allowed[where] = allowed(self._packages.package(place.digest).manifest, word.bounds)
        return self._allowed[where]

    def _keep(
        self,
        place: Placement,
        job: str,
        attempt: int,
        made: list[tuple[dict[str, Any], dict[str, Any]]],
        person: str | None,
    ) -> None:
        """Stores answers once for each key; a held one is replaced when it was released."""
        now = stamp(self._clock())
        rows = []
        for call, answer in made:
            if answer["status"] == "refused":
                continue
            content = {"subject": call["subject"], "arguments": call["arguments"]}
            content |= {field: answer[field] for field in ("answer", "as_of", "data")}
            rows.append(
                {
                    "host": place.partner, "name": place.name, "key": call["key"], "package": answer["package"],
                    "job": job, "attempt": attempt, "book": answer["book"], "call": answer["call"],
                    "state": answer["status"], "person": person, "at": now,
                    "sealed": self._vault.seal(
                        _label(place.partner, place.name, call["key"]), cbor2.dumps(content)
                    ),
                }
            )  # fmt: skip

        named = [call["key"] for call, _ in made if not call["drawn"]]

        def store(session: Session) -> None:
            known = {
                row.key: row
                for first in range(0, len(named), 500)
                for row in session.scalars(
                    select(Row).where(
                        Row.host == place.partner,
                        Row.name == place.name,
                        Row.key.in_(named[first : first + 500]),
                    )
                )
            }
            for row in rows:
                before = known.get(row["key"])
                if before is not None and before.state == "held":
                    for field, value in row.items():
                        setattr(before, field, value)
            fresh = [row for row in rows if row["key"] not in known]
            if fresh:
                session.execute(insert(Row), fresh)

        if rows:
            self._store.together(store)

    # Showing.

    def _result(
        self, place: Placement, job: str, call: dict[str, Any], answer: dict[str, Any]
    ) -> dict[str, Any]:
        digest = answer["package"] or place.digest
        return {
            "key": call["key"],
            "name": place.name,
            "version": self._packages.package(digest).manifest.version,
            "package": digest,
            "subject": call["subject"],
            "arguments": call["arguments"],
            "state": answer["status"],
            "answer": answer["answer"],
            "as_of": answer["as_of"] or None,
            "job": job,
            "error": answer["error"],
        }

    def _describe(self, row: Row) -> dict[str, Any]:
        kept = cbor2.loads(self._vault.open(_label(row.host, row.name, row.key), row.sealed))
        return {
            "key": row.key,
            "name": row.name,
            "version": self._packages.package(row.package).manifest.version,
            "package": row.package,
            "subject": kept["subject"],
            "arguments": kept["arguments"],
            "state": row.state,
            "answer": kept["answer"],
            "as_of": kept["as_of"] or None,
            "job": row.job,
            "error": None,
        }

    def listed(self, name: str | None, state: str | None, limit: int) -> list[dict[str, Any]]:
        """Calls that this node made, newest first."""
        query = select(Row).order_by(Row.at.desc(), Row.key).limit(limit)
        if name:
            query = query.where(Row.name == name)
        if state:
            query = query.where(Row.state == state)
        with self._store.read() as session:
            return [self._describe(row) for row in session.scalars(query)]

    def row(self, name: str, key: str, host: str | None) -> Row:
        """A stored call; `E_NOT_FOUND`."""
        query = select(Row).where(Row.name == name, Row.key == key)
        if host is not None:
            query = query.where(Row.host == self._partners.peer(host).identity)
        with self._store.read() as session:
            found = session.scalars(query).all()
        if not found:
            raise AtollError("E_NOT_FOUND", f"there is no call {key[:64]!r} of {name[:40]!r}")
        if len(found) > 1:
            raise AtollError("E_FORMAT", "calls of that key were made at several hosts: name one")
        return found[0]

    def show(self, name: str, key: str, host: str | None = None) -> dict[str, Any]:
        """One call, and its receipt: the block that it stands in, once that is closed and signed."""
        row = self.row(name, key, host)
        receipt = None
        if row.book is not None:
            with self._store.read() as session:
                block = session.scalars(
                    select(Block).where(
                        Block.job == row.job, Block.attempt == row.attempt, Block.book == row.book
                    )
                ).first()
                held = session.get(Receipt, (row.job, "final", "", block.number)) if block else None
            receipt = {
                "job": row.job,
                "block": block.number if block else None,
                "call": row.call,
                "closed": block.closed if block else None,
                "signed": held is not None,
            }
        found = self._describe(row)
        return {
            **found,
            "host": self._partners.peer(row.host).name,
            "receipt": receipt,
            "explanation": self._packages.explain(
                row.package, found["state"], found["answer"], found["as_of"]
            ),
        }
