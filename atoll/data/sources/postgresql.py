"""PostgreSQL, through psycopg 3 and a server-side cursor.

Numbers, dates and times travel as the text that the server writes, so that nothing is rounded or refused on the
way, and are checked like the text of a file.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import errors
from psycopg.types.string import TextLoader

from atoll.data.schema import Column, Type
from atoll.data.sources.address import Address
from atoll.data.sources.sql import Found, decimal, unsupported
from atoll.errors import AtollError

CONNECT_SECONDS = 10
_TEXT = ("numeric", "money", "date", "timestamp", "timestamptz", "uuid", "bpchar")
_SIMPLE: dict[str, tuple[Type, pa.DataType]] = {
    "bool": ("bool", pa.bool_()),
    "int2": ("int64", pa.int64()),
    "int4": ("int64", pa.int64()),
    "int8": ("int64", pa.int64()),
    "oid": ("int64", pa.int64()),
    "float4": ("float64", pa.float64()),
    "float8": ("float64", pa.float64()),
    "text": ("string", pa.string()),
    "varchar": ("string", pa.string()),
    "name": ("string", pa.string()),
    "uuid": ("string", pa.string()),
    "date": ("date", pa.string()),
    "timestamp": ("timestamp", pa.string()),
}


def _utc(text: str) -> str:
    """A timestamptz as written in a session whose zone is UTC."""
    return text.removesuffix("+00")


def _money(scale: int) -> Callable[[str], str]:
    """Reads the text of a money value, whatever marks the server's lc_monetary puts between its digits."""

    def convert(text: str) -> str:
        digits = "".join(c for c in text if c in "0123456789").rjust(scale + 1, "0")
        sign = "-" if "-" in text or "(" in text else ""
        return f"{sign}{digits[:-scale]}.{digits[-scale:]}" if scale else f"{sign}{digits}"

    return convert


class Reader:
    """One connection in one REPEATABLE READ, READ ONLY transaction."""

    kind = "postgresql"

    def __init__(self, address: Address, seconds: float) -> None:
        self._address, self._seconds = address, seconds
        self._end = time.monotonic() + seconds
        options: dict[str, Any] = {"host": address.host, **address.options}
        try:
            self._connection = psycopg.connect(
                "",
                user=address.username,
                password=address.password,
                port=address.port,
                dbname=address.database,
                **{k: v for k, v in options.items() if v},
                passfile=os.devnull,  # what the URL says is all there is
                connect_timeout=CONNECT_SECONDS,
                application_name="atoll",
                client_encoding="UTF8",
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=30_000,
            )
        except (psycopg.Error, ValueError, UnicodeError) as error:
            raise AtollError(
                "E_SOURCE", f"cannot connect: {address.withhold(str(error))}", fault="owner"
            ) from None
        for kind in _TEXT:
            self._connection.adapters.register_loader(kind, TextLoader)

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except errors.QueryCanceled:
            raise AtollError(
                "E_TIME", f"the query ran longer than {self._seconds:.0f} s", cure="Raise data.seconds."
            ) from None
        except UnicodeDecodeError:
            raise AtollError(
                "E_ENCODING", "a text of the database is not valid in its own encoding"
            ) from None
        except psycopg.Error as error:
            gone = self._connection.closed or (
                isinstance(error, errors.OperationalError) and not error.sqlstate
            )
            what = "the connection was lost" if gone else doing
            said = error.diag.message_primary or str(error)
            raise AtollError("E_SOURCE", f"{what}: {self._address.withhold(said)}", fault="owner") from None

    def start(self, query: str) -> list[Found]:
        """See `sql.Reader`."""
        with self._errors("the query was refused"):
            self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            self._connection.read_only = True
            settings = {
                "statement_timeout": f"{max(1, int(self._seconds * 1000))}",
                "TimeZone": "UTC",
                "DateStyle": "ISO, YMD",
                "extra_float_digits": "1",
            }
            for name, value in settings.items():
                self._connection.execute("SELECT set_config(%s, %s, true)", (name, value))
            self._cursor = self._connection.cursor(name="atoll", scrollable=False)
            self._cursor.execute(query)
            description = self._cursor.description or []
            return [self._found(column) for column in description]

    def _found(self, column: Any) -> Found:
        info = self._connection.adapters.types.get(column.type_code)
        kind = info.name if info is not None else ""
        array = info is not None and info.array_oid == column.type_code
        name = column.name
        if not array and kind in _SIMPLE:
            type_, raw = _SIMPLE[kind]
            return Found(name, Column(name, type_), raw)
        if not array and kind == "bpchar":
            # Blanks at the end of a char(n) are padding and mean nothing (PostgreSQL, Character Types).
            return Found(name, Column(name, "string"), pa.string(), lambda text: text.rstrip(" "))
        if not array and kind == "timestamptz":
            return Found(name, Column(name, "timestamp"), pa.string(), _utc)
        if not array and kind == "numeric":
            if column.precision is None or column.scale is None:
                return unsupported(name, "numeric without precision and scale", declarable=True)
            return decimal(name, column.precision, column.scale, "numeric")
        if not array and kind == "money":
            row = self._connection.execute("SELECT scale(0.123456::numeric::money::numeric)").fetchone()
            scale = int(row[0]) if row else 2
            return Found(name, Column(name, "decimal", precision=19, scale=scale), pa.string(), _money(scale))
        row = self._connection.execute("SELECT format_type(%s, NULL)", (column.type_code,)).fetchone()
        return unsupported(name, str(row[0]) if row else f"number {column.type_code}")

    def fetch(self, rows: int) -> Sequence[Sequence[Any]]:
        """See `sql.Reader`."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise AtollError(
                "E_TIME", f"the reading took longer than {self._seconds:.0f} s", cure="Raise data.seconds."
            )
        with self._errors("reading failed"):
            return self._cursor.fetchmany(rows)

    def facts(self) -> dict[str, Any]:
        """See `sql.Reader`."""
        with self._errors("reading failed"):
            row = self._connection.execute(
                "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), "
                "current_setting('server_version')"
            ).fetchone()
        assert row is not None
        return {"database_time": row[0], "server": row[1]}

    def warnings(self) -> list[str]:
        """See `sql.Reader`."""
        with self._errors("reading failed"):
            row = self._connection.execute(
                "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"
            ).fetchone()
        found = []
        if row is not None and row[0]:
            found.append("the login is a superuser of the database; use one that may only read this table")
        host = self._connection.info.host
        local = host.startswith("/") or host in ("localhost", "127.0.0.1", "::1")
        if not local and not self._connection.pgconn.ssl_in_use:
            found.append("the connection is not encrypted; add ?sslmode=verify-full to the URL")
        return found

    def close(self) -> None:
        """See `sql.Reader`."""
        self._connection.close()
