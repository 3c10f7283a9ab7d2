"""Where a database is: a checked URL, whose password is never shown.

    postgresql://reader:${ENV:LOANS_PASSWORD}@db.bank.example:5432/core?sslmode=verify-full

A URL may hold references `${ENV:NAME}` and `${FILE:/full/path}` in place of user, password, host, database or an
option, or be one reference as a whole. They are resolved when the source is read, by whoever may look them up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import unquote

from atoll.errors import AtollError

MAX_URL = 4096
Lookup = Callable[[str, str], str]  # ("ENV" or "FILE", name) -> value

_REFERENCE = re.compile(r"\$\{(ENV|FILE):([^{}$\s]{1,1024})\}")
_URL = re.compile(
    r"(?P<scheme>[A-Za-z0-9+]{1,40})://"
    r"(?:(?P<username>[^:/@?#]*)(?::(?P<password>[^@]*))?@)?"
    r"(?:(?P<host>\[[0-9A-Fa-f:.%]+\]|[^/:?#@\[\]]*)(?::(?P<port>[0-9]{1,5}))?)?"
    r"(?:/(?P<database>[^?#]*))?(?:\?(?P<options>[^#]*))?"
)
_DIALECTS = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "postgresql+psycopg": "postgresql",
    "mysql": "mysql",
    "mysql+pymysql": "mysql",
    "mariadb": "mysql",
    "mariadb+pymysql": "mysql",
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
}
# Options that say where and how safely to connect, and none that changes what a session may do.
OPTIONS: dict[str, frozenset[str]] = {
    "postgresql": frozenset(
        {"host", "sslmode", "sslrootcert", "sslcert", "sslkey", "channel_binding", "target_session_attrs"}
    ),
    "mysql": frozenset({"unix_socket", "ssl_ca", "ssl_cert", "ssl_key"}),
    "sqlite": frozenset(),
}


def _refuse(text: str) -> AtollError:
    """An error that does not repeat the URL, since that may hold a password."""
    return AtollError(
        "E_SOURCE", text, fault="caller", cure="Write it as dialect://user:${ENV:NAME}@host:port/database."
    )


@dataclass(frozen=True)
class Address:
    """A database: `dialect` is postgresql, mysql (MariaDB too) or sqlite; `database` is a path for sqlite."""

    dialect: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    host: str | None = None
    port: int | None = None
    database: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    shown: str = ""

    @property
    def literal_password(self) -> bool:
        """Whether the URL holds a password itself, not a reference to one."""
        return bool(self.password) and not _REFERENCE.fullmatch(self.password or "")

    def withhold(self, text: str) -> str:
        """A message of a driver, unless it repeats the password."""
        line = " ".join(text.split())[:500]
        if self.password and self.password in text:
            return "the database's message is withheld, since it repeats the password"
        return line

    def to_json(self) -> dict[str, Any]:
        """All fields, the password too: for the private line to a worker only."""
        return asdict(self) | {"options": dict(self.options)}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Address:
        """The address that `to_json` wrote."""
        return cls(**body)


def is_url(text: str) -> bool:
    """Whether a source's text is meant as a URL, or as a reference to one, rather than as a path."""
    return re.match(r"[A-Za-z0-9+]+://", text) is not None or _REFERENCE.fullmatch(text) is not None


def parse(url: str) -> Address:
    """The address in a URL, references unresolved.

    Raises:
        AtollError: `E_SOURCE` for anything else than a URL of a known dialect with known options. The message never
            repeats the URL.
    """
    if len(url) > MAX_URL or not url.isprintable():
        raise _refuse(f"the URL of a database has at most {MAX_URL} printable characters")
    names: list[str] = []

    def hide(found: re.Match[str]) -> str:
        names.append(found[0])
        return f"\x00{len(names) - 1}\x01"

    match = _URL.fullmatch(_REFERENCE.sub(hide, url))
    if match is None:
        raise _refuse("the URL of the database cannot be read")
    scheme = match["scheme"].lower()
    if scheme not in _DIALECTS:
        raise _refuse(f"databases of the kind {scheme!r} are not known; known are {', '.join(_DIALECTS)}")
    dialect = _DIALECTS[scheme]

    def show(text: str) -> str:
        return re.sub("\x00([0-9]+)\x01", lambda m: names[int(m[1])], text)

    def plain(text: str | None) -> str | None:
        return show(unquote(text)) if text else None

    options = {}
    for pair in filter(None, (match["options"] or "").split("&")):
        key, _, value = pair.partition("=")
        if key not in OPTIONS[dialect]:
            known = ", ".join(sorted(OPTIONS[dialect])) or "none"
            raise _refuse(f"the option {key[:40]!r} is not one that a {dialect} URL may have: {known}")
        options[key] = plain(value) or ""
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port <= 65535:
        raise _refuse(f"{port} is not a port")
    host = plain(match["host"])
    database = plain(match["database"])
    if not database:
        raise _refuse("the URL names no database")
    if dialect == "sqlite" and (host or match["username"] or not database.startswith("/")):
        raise _refuse("an SQLite URL names a full path, with four slashes: sqlite:////data/table.db")
    password = plain(match["password"])
    hidden = url if password is None else _mask(match, show, password)
    return Address(
        dialect,
        plain(match["username"]),
        password,
        host.strip("[]") if host else None,
        port,
        database,
        options,
        hidden,
    )


def _mask(match: re.Match[str], show: Callable[[str], str], password: str) -> str:
    start, end = match.span("password")
    shown = password if _REFERENCE.fullmatch(password) else "***"
    return show(match.string[:start]) + shown + show(match.string[end:])


def resolve(url: str, lookup: Lookup) -> Address:
    """The address in a URL with every reference replaced; `E_SOURCE` for one that cannot be looked up."""
    whole = _REFERENCE.fullmatch(url)
    if whole is not None:
        return replace(_resolved(parse(_value(whole, lookup)), lookup), shown=url)
    return _resolved(parse(url), lookup)


def check_url(url: str) -> tuple[str, bool]:
    """The form of a URL that may be shown, and whether the URL itself is a secret; `E_SOURCE`."""
    if _REFERENCE.fullmatch(url):
        return url, False
    found = parse(url)
    return found.shown, found.literal_password


def _value(reference: re.Match[str], lookup: Lookup) -> str:
    value = lookup(reference[1], reference[2])
    if not value or len(value) > MAX_URL or not value.isprintable():
        raise AtollError(
            "E_SOURCE",
            f"{reference[0]} does not hold one line of 1 to {MAX_URL} printable characters",
            fault="operator",
        )
    return value


def _resolved(address: Address, lookup: Lookup) -> Address:
    def fill(text: str | None) -> str | None:
        return None if text is None else _REFERENCE.sub(lambda m: _value(m, lookup), text)

    return replace(
        address,
        username=fill(address.username),
        password=fill(address.password),
        host=fill(address.host),
        database=fill(address.database),
        options={key: fill(value) or "" for key, value in address.options.items()},
    )
