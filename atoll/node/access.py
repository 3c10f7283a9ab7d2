"""Who may call what: named persons, roles, tokens.

A token is `atoll_<id>_<secret>`; only its digest is stored. Each belongs to one person and carries one role.
"""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import select

from atoll.crypto.suite import digest
from atoll.errors import AtollError
from atoll.node.clock import Clock, parse, stamp
from atoll.node.state.models import Person, Token
from atoll.node.state.store import Store

Role = Literal["administrator", "steward", "analyst", "auditor", "operator", "application"]
ROLES: tuple[Role, ...] = get_args(Role)

# What each role is for; the reference page and `GET /v1/node` show this text.
ROLE_MEANING: dict[Role, str] = {
    "administrator": "persons, tokens, pairing",
    "steward": "data, agreements, approvals",
    "analyst": "proposes jobs and reads their results",
    "auditor": "reads records, receipts and ledgers; changes nothing",
    "operator": "health, metrics, jobs' states; sees no result",
    "application": "calls standing services",
}


@dataclass(frozen=True)
class Caller:
    """Who is calling, once the token was checked."""

    person: str
    role: Role
    token: str


def _time(text: str) -> str:
    """A time as it is stored, so that it compares as text."""
    try:
        at = parse(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise AtollError("E_FORMAT", f"expires = {text[:40]!r} is not written as 2026-11-23T16:30:00Z")
    return stamp(at)


# A token that ends by its date is noticed so late at most; one that is revoked is noticed at once.
_KNOWN_SECONDS = 1.0
_KNOWN = 1000


class Access:
    """Persons and tokens of one node."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        # Headers that were accepted: caller, number of changes at that time, until when they need no second look.
        self._known: dict[str, tuple[Caller, int, float]] = {}
        self._changes = 0

    def add_person(self, name: str) -> None:
        """Adds a person; `E_CONFLICT` if the name is taken, `E_FORMAT` if it cannot be one."""
        if not 1 <= len(name) <= 128 or not name.isprintable() or name != name.strip():
            raise AtollError("E_FORMAT", "a person's name has 1 to 128 printable characters")
        with self._store.write() as session:
            if session.get(Person, name):
                raise AtollError("E_CONFLICT", f"there is already a person {name!r}")
            session.add(Person(name=name, created=stamp(self._clock())))

    def disable_person(self, name: str) -> None:
        """Ends all tokens of a person at once."""
        with self._store.write() as session:
            person = session.get(Person, name)
            if person is None:
                raise AtollError("E_NOT_FOUND", f"there is no person {name!r}")
            person.disabled = stamp(self._clock())
        self._changes += 1

    def issue(self, person: str, role: str, label: str = "", expires: str | None = None) -> str:
        """A new token for a person in a role. This is the only time it can be seen.

        Args:
            expires: RFC 3339 with its zone, or None for a token that does not end; else `E_FORMAT`.
        """
        if role not in ROLES:
            raise AtollError("E_FORMAT", f"there is no role {role!r}; the roles are {', '.join(ROLES)}")
        if expires is not None:
            expires = _time(expires)
        identifier, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        token = f"atoll_{identifier}_{secret}"
        with self._store.write() as session:
            known = session.get(Person, person)
            if known is None or known.disabled:
                raise AtollError("E_NOT_FOUND", f"there is no active person {person!r}")
            session.add(
                Token(
                    id=identifier,
                    digest=digest(token.encode()),
                    person=person,
                    role=role,
                    label=label[:128],
                    created=stamp(self._clock()),
                    expires=expires,
                )
            )
        return token

    def revoke(self, identifier: str) -> None:
        """Ends a token."""
        with self._store.write() as session:
            token = session.get(Token, identifier)
            if token is None:
                raise AtollError("E_NOT_FOUND", f"there is no token {identifier!r}")
            token.revoked = token.revoked or stamp(self._clock())
        self._changes += 1

    def known(self, header: str | None) -> Caller | None:
        """The caller of a header that `check` accepted a moment ago, if nothing about tokens changed since then.

        It costs nothing, so that the loop that serves all calls may ask.
        """
        found = self._known.get(header) if header is not None else None
        if found is None or found[1] != self._changes or time.monotonic() > found[2]:
            return None
        return found[0]

    def check(self, header: str | None) -> Caller:
        """The caller behind an Authorization header; `E_AUTH` if there is none, without saying why in detail."""
        changes = self._changes
        caller = self._check(header)
        if len(self._known) >= _KNOWN:
            self._known.clear()
        assert header is not None  # it was accepted
        self._known[header] = (caller, changes, time.monotonic() + _KNOWN_SECONDS)
        return caller

    def _check(self, header: str | None) -> Caller:
        refusal = AtollError("E_AUTH", "the call carries no valid token")
        scheme, _, token = (header or "").partition(" ")
        parts = token.split("_", 2)
        if scheme.lower() != "bearer" or len(parts) != 3 or parts[0] != "atoll" or len(token) > 200:
            raise refusal
        with self._store.read() as session:
            row = session.get(Token, parts[1])
            person = session.get(Person, row.person) if row else None
        if row is None or person is None or not hmac.compare_digest(row.digest, digest(token.encode())):
            raise refusal
        now = stamp(self._clock())
        if row.revoked or person.disabled or (row.expires and row.expires <= now):
            raise refusal
        role: Role = row.role  # type: ignore[assignment]  # only ROLES are ever stored
        return Caller(row.person, role, row.id)

    def people(self) -> list[dict[str, object]]:
        """Every person with their tokens; never a token's secret."""
        with self._store.read() as session:
            persons = session.scalars(select(Person).order_by(Person.name)).all()
            tokens = session.scalars(select(Token).order_by(Token.created)).all()
        return [
            {
                "name": p.name,
                "created": p.created,
                "disabled": p.disabled,
                "tokens": [
                    {
                        "id": t.id,
                        "role": t.role,
                        "label": t.label,
                        "created": t.created,
                        "expires": t.expires,
                        "revoked": t.revoked,
                    }
                    for t in tokens
                    if t.person == p.name
                ],
            }
            for p in persons
        ]
