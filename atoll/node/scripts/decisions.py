"""Decisions at the host: found again by their key, charged to the budget, stored before they leave, held or let go."""

from __future__ import annotations

import hmac
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import cbor2
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from atoll.crypto.document import format_time
from atoll.errors import AtollError
from atoll.node.clock import Clock, stamp
from atoll.node.partners import Partners
from atoll.node.scripts.packages import Packages
from atoll.node.state.models import Job
from atoll.node.state.scripts import Day, Decision
from atoll.node.state.store import Store
from atoll.node.vault import Vault
from atoll.scripts.deployment import Bounds

# So many parameters stand in one statement, within SQLite's limit.
_AT_ONCE = 500
_HELD = "held"


def subject_key(identity_seed: bytes) -> bytes:
    """The key of the digests under which subjects are counted."""
    return HKDF(SHA256(), 32, salt=None, info=b"atoll script subjects v1").derive(identity_seed)


def _label(partner: str, name: str, key: str) -> str:
    return f"decision {partner} {name} {key}"


class Decisions:
    """What packages decided at this node.

    Args:
        subject_key: keyed digests of subjects stand in the store, not the subjects.
        record: appends to an agreement's log, in the caller's transaction: session, agreement, kind, document, job.
    """

    def __init__(
        self,
        store: Store,
        partners: Partners,
        packages: Packages,
        vault: Vault,
        subject_key: bytes,
        clock: Clock,
        record: Callable[[Session, str, str, Any, str | None], None],
    ) -> None:
        self._store, self._partners, self._packages = store, partners, packages
        self._vault, self._key, self._clock, self._record = vault, subject_key, clock, record

    def _tag(self, partner: str, name: str, subject: str | int) -> str:
        text = cbor2.dumps([partner, name, subject], canonical=True)
        return hmac.digest(self._key, text, "sha256").hex()

    # For the worker.

    def recall(self, partner: str, name: str, keys: list[str]) -> dict[str, dict[str, Any]]:
        """What was decided before under these keys: the digest of what was asked, and the answer as it may leave."""
        found: dict[str, dict[str, Any]] = {}
        with self._store.read() as session:
            for first in range(0, len(keys), _AT_ONCE):
                rows = session.execute(
                    select(Decision.key, Decision.request, Decision.state, Decision.sealed).where(
                        Decision.partner == partner,
                        Decision.name == name,
                        Decision.key.in_(keys[first : first + _AT_ONCE]),
                    )
                ).all()
                for key, request, state, sealed in rows:
                    kept = cbor2.loads(self._vault.open(_label(partner, name, key), sealed))
                    found[key] = {"request": request, "answer": _leaving(state, kept["answer"])}
        return found

    def settle(
        self, job: str, plan: dict[str, Any], decisions: list[dict[str, Any]]
    ) -> list[AtollError | None]:
        """Stores decisions and charges them; for each None, or why it may not leave. One transaction for all.

        Where the consent does not stand any more, nothing leaves: `E_SCRIPT`, `E_EXPIRED`.
        """
        op = next(op for op in plan["operators"] if op["kind"] == "visit/v1")
        terms, partner = op["parameters"], plan["asker"]
        try:
            _, word = self._packages.consented(terms["package"], partner, terms["deployment"])
        except AtollError as error:
            return [error] * len(decisions)
        assert word.bounds is not None  # a consent has bounds
        name, now = terms["name"], self._clock()
        tags = [self._tag(partner, name, row["subject"]) for row in decisions]
        sealed = [
            self._vault.seal(
                _label(partner, name, row["key"]),
                cbor2.dumps({f: row[f] for f in ("subject", "arguments", "answer", "versions", "opening")}),
            )
            for row in decisions
        ]
        out: list[AtollError | None] = []
        stored = []
        with self._store.write() as session:
            budget = _Budget(session, partner, name, word.bounds, now, set(tags))
            for row, tag, secret in zip(decisions, tags, sealed, strict=True):
                refusal = budget.charge(tag, row["millibits"])
                out.append(refusal)
                if refusal is None:
                    stored.append(
                        {
                            "partner": partner, "name": name, "key": row["key"], "package": terms["package"],
                            "job": job, "request": row["request"], "subject": tag,
                            "state": row["answer"]["status"], "sealed": secret, "millibits": row["millibits"],
                            "at": stamp(now), "person": None, "settled": None,
                        }
                    )  # fmt: skip
            if stored:
                session.execute(insert(Decision), stored)
                budget.close()
        return out

    # For people.

    def _describe(self, row: Decision, full: bool) -> dict[str, Any]:
        names = {p.identity: p.name for p in self._partners.active()}
        kept = cbor2.loads(self._vault.open(_label(row.partner, row.name, row.key), row.sealed))
        version = self._packages.package(row.package).manifest.version
        body = {
            "key": row.key,
            "name": row.name,
            "version": version,
            "package": row.package,
            "partner": names.get(row.partner, row.partner),
            "subject": kept["subject"],
            "state": row.state,
            "answer": kept["answer"]["answer"],
            "as_of": kept["answer"]["as_of"],
            "millibits": row.millibits,
            "job": row.job,
            "at": row.at,
            "person": row.person,
        }
        if not full:
            return body
        leaving = _leaving(row.state, kept["answer"])
        words = self._packages.explain(row.package, row.state, leaving["answer"], row.at)
        return {**body, "arguments": kept["arguments"], "explanation": words}

    def listed(self, state: str | None, name: str | None, limit: int) -> list[dict[str, Any]]:
        """Decisions, newest first."""
        query = select(Decision).order_by(Decision.at.desc(), Decision.key).limit(limit)
        if state:
            query = query.where(Decision.state == state)
        if name:
            query = query.where(Decision.name == name)
        with self._store.read() as session:
            return [self._describe(row, False) for row in session.scalars(query)]

    def _row(self, session: Session, name: str, key: str, partner: str | None) -> Decision:
        query = select(Decision).where(Decision.name == name, Decision.key == key)
        if partner is not None:
            query = query.where(Decision.partner == self._partners.peer(partner).identity)
        found = session.scalars(query).all()
        if len(found) != 1:
            text = f"there is no decision {key[:64]!r} of {name[:40]!r}"
            raise AtollError(
                "E_NOT_FOUND" if not found else "E_FORMAT", text if not found else "name the partner"
            )
        return found[0]

    def show(self, name: str, key: str, partner: str | None = None) -> dict[str, Any]:
        """One decision, with what was asked and the reasons in words."""
        with self._store.read() as session:
            return self._describe(self._row(session, name, key, partner), True)

    def release(
        self, name: str, key: str, person: str, release: bool, partner: str | None = None
    ) -> dict[str, Any]:
        """A steward's word on a held answer: it leaves when it is asked for again, or becomes no decision."""
        with self._store.write() as session:
            row = self._row(session, name, key, partner)
            if row.state != _HELD:
                raise AtollError("E_STATE", f"decision {key} is {row.state} and not held")
            row.state = "released" if release else "denied"
            row.person, row.settled = person, stamp(self._clock())
            agreement = session.get_one(Job, row.job).agreement
            document = {
                "package": row.package, "request": row.request, "decision": row.state,
                "at": format_time(self._clock()),
            }  # fmt: skip
            self._record(session, agreement, "script-release", document, row.job)
        return self._describe(row, True)


class _Budget:
    """What may still leave, counted within one transaction."""

    def __init__(
        self, session: Session, partner: str, name: str, bounds: Bounds, now: datetime, tags: set[str]
    ) -> None:
        self._session, self._bounds = session, bounds
        self._where = (partner, name, now.date().isoformat())
        day = session.get(Day, self._where)
        self._calls, self._bits = (day.calls, day.millibits) if day else (0, 0)
        self._day = day
        self._subjects: dict[str, int] = defaultdict(int)
        since = stamp(now - timedelta(days=bounds.subject_days))
        ordered = sorted(tags)
        for first in range(0, len(ordered), _AT_ONCE):
            part = ordered[first : first + _AT_ONCE]
            rows = session.execute(
                select(Decision.subject, func.sum(Decision.millibits))
                .where(
                    Decision.partner == partner,
                    Decision.name == name,
                    Decision.subject.in_(part),
                    Decision.at >= since,
                )
                .group_by(Decision.subject)
            ).all()
            self._subjects.update({tag: int(total) for tag, total in rows})

    def charge(self, tag: str, millibits: int) -> AtollError | None:
        """Charges one call, or says which bound does not cover it."""
        bounds = self._bounds
        if bounds.calls_per_day is not None and self._calls + 1 > bounds.calls_per_day:
            return AtollError("E_QUOTA", f"{bounds.calls_per_day} calls a day are consented to")
        if self._bits + millibits > bounds.day_millibits:
            return AtollError("E_BUDGET", f"{bounds.day_millibits // 1000} bits may leave in a day")
        if self._subjects[tag] + millibits > bounds.subject_millibits:
            return AtollError(
                "E_BUDGET",
                f"{bounds.subject_millibits // 1000} bits may leave about one subject in {bounds.subject_days} days",
            )
        self._calls += 1
        self._bits += millibits
        self._subjects[tag] += millibits
        return None

    def close(self) -> None:
        """Stores the day's sums."""
        partner, name, day = self._where
        if self._day is None:
            self._day = Day(partner=partner, name=name, day=day, calls=0, millibits=0)
            self._session.add(self._day)
        self._day.calls, self._day.millibits = self._calls, self._bits


def _leaving(state: str, answer: dict[str, Any]) -> dict[str, Any]:
    """An answer as its state lets it leave."""
    if state == _HELD:
        return {**answer, "status": _HELD, "answer": None}
    return {**answer, "status": "decided", "answer": None if state == "denied" else answer["answer"]}
