"""MySQL and MariaDB, through PyMySQL and an unbuffered cursor.

As with PostgreSQL, decimals, dates and times travel as text and are checked like the text of a file.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pymysql
import pymysql.converters
from pymysql.constants import FIELD_TYPE, FLAG
from pymysql.cursors import SSCursor

from atoll.data.schema import Column, Type
from atoll.data.sources.address import Address
from atoll.data.sources.sql import Found, decimal, unsupported
from atoll.errors import AtollError

CONNECT_SECONDS = 10
_BINARY = 63  # the character set of values that are bytes, not text
_LOST = {2006, 2013, 2014, 4031, 1927, 1053, 1317, 0}
_TIMEOUT = {1969, 3024}  # MariaDB max_statement_time, MySQL max_execution_time
_WHOLE = {
    FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.INT24, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG, FIELD_TYPE.YEAR
}  # fmt: skip
_REAL = {FIELD_TYPE.FLOAT, FIELD_TYPE.DOUBLE}
_STRING = {FIELD_TYPE.STRING, FIELD_TYPE.VAR_STRING, FIELD_TYPE.VARCHAR, FIELD_TYPE.ENUM, FIELD_TYPE.SET,
           FIELD_TYPE.BLOB, FIELD_TYPE.TINY_BLOB, FIELD_TYPE.MEDIUM_BLOB, FIELD_TYPE.LONG_BLOB}  # fmt: skip
_MOMENTS: dict[int, Type] = {
    FIELD_TYPE.DATE: "date",
    FIELD_TYPE.NEWDATE: "date",
    FIELD_TYPE.DATETIME: "timestamp",
    FIELD_TYPE.TIMESTAMP: "timestamp",
}
_NAMES = {
    FIELD_TYPE.TIME: "time",
    FIELD_TYPE.BIT: "bit",
    FIELD_TYPE.JSON: "json",
    FIELD_TYPE.GEOMETRY: "geometry",
}


class Reader:
    """One connection in one REPEATABLE READ transaction with a consistent snapshot, READ ONLY."""

    def __init__(self, address: Address, seconds: float) -> None:
        self._address, self._seconds = address, seconds
        self._end = time.monotonic() + seconds
        options: dict[str, Any] = dict(address.options)
        if "ssl_ca" in options:
            options |= {"ssl_verify_cert": True, "ssl_verify_identity": True}
        conversions: dict[Any, Any] = {
            **pymysql.converters.encoders,  # for what the driver itself sends
            **dict.fromkeys(_WHOLE, int),
            **dict.fromkeys(_REAL, float),
        }
        try:
            self._connection = pymysql.connect(
                host=address.host or "localhost",
                port=address.port or 3306,
                user=address.username,
                password=address.password or "",
                database=address.database,
                charset="utf8mb4",
                conv=conversions,
                cursorclass=SSCursor,
                connect_timeout=CONNECT_SECONDS,
                read_timeout=int(seconds) + 5,
                write_timeout=30,
                local_infile=False,
                program_name="atoll",
                **options,
            )
        except (pymysql.Error, OSError, RuntimeError, ValueError, UnicodeError) as error:
            raise AtollError("E_SOURCE", f"cannot connect: {self._say(error)}", fault="owner") from None
        self.kind = "mariadb" if "mariadb" in str(self._connection.get_server_info()).lower() else "mysql"

    def _say(self, error: Exception) -> str:
        said = error.args[1] if len(error.args) > 1 else str(error)
        return self._address.withhold(str(said))

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError:
            raise AtollError(
                "E_ENCODING", "a text of the database is not valid in its own encoding"
            ) from None
        except (pymysql.Error, OSError, AttributeError) as error:
            number = error.args[0] if error.args else 0
            if number in _TIMEOUT or time.monotonic() > self._end:
                raise AtollError(
                    "E_TIME", f"the query ran longer than {self._seconds:.0f} s", cure="Raise data.seconds."
                ) from None
            lost = not isinstance(error, pymysql.Error) or number in _LOST
            what = "the connection was lost" if lost else doing
            raise AtollError("E_SOURCE", f"{what}: {self._say(error)}", fault="owner") from None

    def _one(self, statement: str) -> Any:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            row = cursor.fetchone()
            return row[0] if row else None

    def start(self, query: str) -> list[Found]:
        """See `sql.Reader`."""
        limit = (
            f"max_statement_time = {max(1, int(self._seconds))}"
            if self.kind == "mariadb"
            else f"max_execution_time = {max(1, int(self._seconds * 1000))}"
        )
        with self._errors("the session could not be set up"):
            for statement in (
                f"SET SESSION {limit}",
                "SET SESSION time_zone = '+00:00'",
                "SET SESSION net_write_timeout = 600",
                "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
                # For the whole session: DDL ends a read-only transaction before it runs, and would then succeed.
                "SET SESSION TRANSACTION READ ONLY",
                "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
            ):
                self._one(statement)
            # Asked first: an unbuffered result must be read to its end before anything else is asked.
            self._facts = {
                "database_time": self._one("SELECT DATE_FORMAT(UTC_TIMESTAMP(), '%Y-%m-%dT%H:%i:%sZ')"),
                "server": self._one("SELECT VERSION()"),
            }
            cipher = None
            with self._connection.cursor() as cursor:
                cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
                row = cursor.fetchone()
                cipher = row[1] if row else None
            local = "unix_socket" in self._address.options or self._address.host in (
                "localhost",
                "127.0.0.1",
                "::1",
            )
            self._open = not local and not cipher
        with self._errors("the query was refused"):
            self._cursor = self._connection.cursor()
            self._cursor.execute(query)
            # The driver's public description leaves out what tells text from bytes and signed from unsigned.
            result: Any = self._cursor._result
            return [_found(field) for field in result.fields or []]

    def fetch(self, rows: int) -> Sequence[Sequence[Any]]:
        """See `sql.Reader`."""
        if time.monotonic() > self._end:
            raise AtollError(
                "E_TIME", f"the reading took longer than {self._seconds:.0f} s", cure="Raise data.seconds."
            )
        with self._errors("reading failed"):
            found: Sequence[Sequence[Any]] = self._cursor.fetchmany(rows)
            return found

    def facts(self) -> dict[str, Any]:
        """See `sql.Reader`."""
        return self._facts

    def warnings(self) -> list[str]:
        """See `sql.Reader`."""
        if self._open:
            return ["the connection is not encrypted; add ?ssl_ca=/full/path/ca.pem to the URL"]
        return []

    def close(self) -> None:
        """See `sql.Reader`. What was not read is not waited for."""
        result: Any = self._connection._result
        if result is not None:
            result.unbuffered_active = False
        with contextlib.suppress(pymysql.Error):
            self._connection.close()


def _found(field: Any) -> Found:
    name, kind = field.name, field.type_code
    unsigned = bool(field.flags & FLAG.UNSIGNED)
    if kind in _WHOLE:
        if kind == FIELD_TYPE.LONGLONG and unsigned:
            return Found(
                name, Column(name, "int64"), pa.string(), str
            )  # up to 2^64-1: too large ones are refused
        return Found(name, Column(name, "int64"), pa.int64())
    if kind in _REAL:
        return Found(name, Column(name, "float64"), pa.float64())
    if kind in (FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL):
        # The length counts the digits, the point if there is one, and the sign if there can be one.
        precision = field.length - (1 if field.scale else 0) - (0 if unsigned else 1)
        return decimal(name, precision, field.scale, "decimal")
    if kind in _MOMENTS:
        return Found(name, Column(name, _MOMENTS[kind]), pa.string())
    if kind == FIELD_TYPE.BIT and field.length == 1:
        return Found(name, Column(name, "bool"), pa.bool_(), lambda value: value == b"\x01")
    if kind == FIELD_TYPE.NULL:
        return Found(name, Column(name, "string"), pa.string())
    if kind in _STRING:
        if field.charsetnr == _BINARY:
            return unsupported(name, "binary")
        return Found(name, Column(name, "string"), pa.string())
    return unsupported(name, _NAMES.get(kind, f"number {kind}"))
