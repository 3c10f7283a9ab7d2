"""The tables of packages: what was published to whom, what was decided, and what waits; see `atoll.node.scripts`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped

from atoll.node.state.base import DIGEST, KEY, TIME, Base
from atoll.node.state.base import column as _c

NAME = String(32)
CALL_KEY = String(64)


class Package(Base):
    """A package that this node signed or was sent."""

    __tablename__ = "script_packages"
    digest: Mapped[str] = _c(DIGEST, "digest of the document", primary_key=True)
    author: Mapped[str] = _c(KEY, "who signed it")
    name: Mapped[str] = _c(NAME, "name in its manifest")
    version: Mapped[str] = _c(String(32), "version in its manifest")
    envelope: Mapped[Any] = _c(JSON, "DSSE envelope of the package")
    examined: Mapped[Any] = _c(JSON, "what static analysis found: findings and dependencies")
    created: Mapped[str] = _c(TIME, "when it was signed, or arrived")


class Placement(Base):
    """A package at a host: published by this node to a partner, or by a partner to this node."""

    __tablename__ = "script_placements"
    digest: Mapped[str] = _c(DIGEST, "digest of the package", primary_key=True)
    partner: Mapped[str] = _c(KEY, "the host for an own package, the author for another's", primary_key=True)
    mine: Mapped[bool] = _c(Boolean, "whether this node is the author")
    name: Mapped[str] = _c(NAME, "name of the package")
    agreement: Mapped[str] = _c(String(32), "agreement that it runs under")
    state: Mapped[str] = _c(String(16), "published, deployed, refused or withdrawn")
    deployment: Mapped[Any | None] = _c(JSON, "DSSE envelope of the host's last word", nullable=True)
    consent: Mapped[str | None] = _c(DIGEST, "digest of the consent that stands", nullable=True)
    active: Mapped[bool] = _c(Boolean, "at the author: new calls go to this version")
    job: Mapped[str | None] = _c(String(48), "at the author: the job of the standing service", nullable=True)
    created: Mapped[str] = _c(TIME, "when it was published, or arrived")
    changed: Mapped[str] = _c(TIME, "when the state last changed")


class Decision(Base):
    """At the host: what a package decided about one call. Never changed but for a steward's word on a held one."""

    __tablename__ = "script_decisions"
    partner: Mapped[str] = _c(KEY, "who asked", primary_key=True)
    name: Mapped[str] = _c(NAME, "name of the package", primary_key=True)
    key: Mapped[str] = _c(CALL_KEY, "the call's idempotency key", primary_key=True)
    package: Mapped[str] = _c(DIGEST, "digest of the version that decided")
    job: Mapped[str] = _c(String(48), "job of the standing service")
    request: Mapped[str] = _c(DIGEST, "digest of what was asked")
    subject: Mapped[str] = _c(String(64), "keyed digest of the subject, for the budget")
    state: Mapped[str] = _c(String(16), "decided, held, released or denied")
    sealed: Mapped[bytes] = _c(
        LargeBinary, "subject, arguments, answer, versions of the tables; under the node's key"
    )
    millibits: Mapped[int] = _c(BigInteger, "thousandths of a bit that were charged")
    at: Mapped[str] = _c(TIME, "when it was decided")
    person: Mapped[str | None] = _c(String(128), "who released or denied a held answer", nullable=True)
    settled: Mapped[str | None] = _c(TIME, "when that was", nullable=True)
    __table_args__ = (
        Index("script_decisions_subject", "partner", "name", "subject", "at"),
        Index("script_decisions_at", "at"),
    )


class Day(Base):
    """At the host: what left through a package in a UTC day."""

    __tablename__ = "script_days"
    partner: Mapped[str] = _c(KEY, "who asked", primary_key=True)
    name: Mapped[str] = _c(NAME, "name of the package", primary_key=True)
    day: Mapped[str] = _c(String(10), "UTC day", primary_key=True)
    calls: Mapped[int] = _c(BigInteger, "calls that were decided")
    millibits: Mapped[int] = _c(BigInteger, "thousandths of a bit that were charged")


class Call(Base):
    """At the asker: a call and its answer, once for each key."""

    __tablename__ = "script_calls"
    host: Mapped[str] = _c(KEY, "who decided", primary_key=True)
    name: Mapped[str] = _c(NAME, "name of the package", primary_key=True)
    key: Mapped[str] = _c(CALL_KEY, "idempotency key", primary_key=True)
    package: Mapped[str] = _c(DIGEST, "digest of the version that decided")
    job: Mapped[str] = _c(String(48), "job of the standing service")
    attempt: Mapped[int] = _c(Integer, "attempt of that job")
    book: Mapped[int | None] = _c(Integer, "block of calls in that attempt, from 1", nullable=True)
    call: Mapped[int | None] = _c(Integer, "number of the call in its block, from 1", nullable=True)
    state: Mapped[str] = _c(String(16), "decided or held")
    sealed: Mapped[bytes] = _c(LargeBinary, "subject, arguments and answer, under the node's key")
    person: Mapped[str | None] = _c(
        String(128), "who called; null where an event at the host caused the call", nullable=True
    )
    at: Mapped[str] = _c(TIME, "when the answer arrived")
    __table_args__ = (Index("script_calls_at", "at"),)


class Watch(Base):
    """At the host: new subjects in a table cause calls of a package."""

    __tablename__ = "script_watches"
    partner: Mapped[str] = _c(KEY, "author of the package", primary_key=True)
    name: Mapped[str] = _c(NAME, "name of the package", primary_key=True)
    every_seconds: Mapped[int | None] = _c(
        Integer, "how often the table is looked at; null for events from outside alone", nullable=True
    )
    seen: Mapped[str | None] = _c(DIGEST, "version of the table that was looked at last", nullable=True)
    next: Mapped[str | None] = _c(TIME, "when the table is looked at next", nullable=True)
    person: Mapped[str] = _c(String(128), "who set it up")
    created: Mapped[str] = _c(TIME, "when it was set up")


class Event(Base):
    """One subject that a call is to be made about: announced by the host, done by the asker. Kept at both."""

    __tablename__ = "script_events"
    partner: Mapped[str] = _c(KEY, "the other side", primary_key=True)
    name: Mapped[str] = _c(NAME, "name of the package", primary_key=True)
    key: Mapped[str] = _c(CALL_KEY, "key of the call that follows", primary_key=True)
    mine: Mapped[bool] = _c(Boolean, "whether this node announced it")
    sealed: Mapped[bytes] = _c(LargeBinary, "the subject, under the node's key")
    state: Mapped[str] = _c(String(16), "announced, waiting, done or failed")
    tries: Mapped[int] = _c(Integer, "how often a call was tried")
    next: Mapped[str] = _c(TIME, "when it is tried next")
    error: Mapped[Any | None] = _c(JSON, "why the last try failed", nullable=True)
    created: Mapped[str] = _c(TIME, "when it was announced")
    changed: Mapped[str] = _c(TIME, "when the state last changed")
    __table_args__ = (Index("script_events_due", "state", "next"),)
