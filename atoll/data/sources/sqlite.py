"""SQLite files, through the standard library.

A column of SQLite has no type, only its values have. So a first pass over the query's result finds the types of all
values; the second reads them, in the same transaction.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from atoll.data.schema import Column
from atoll.data.sources.address import Address
from atoll.data.sources.sql import Found, unsupported
from atoll.errors import AtollError

_STEPS = 10_000  # of SQLite's machine, between two looks at the clock
_PASS_ROWS = 4096


class Reader:
    """One connection that can only read, in one transaction."""

    kind = "sqlite"

    def __init__(self, address: Address, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        path = Path(address.database or "")
        if not path.is_file():
            raise AtollError("E_SOURCE", f"cannot read {path}: there is no such file", fault="owner")
        with self._errors("cannot open"):
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=10
            )
            self._connection.set_progress_handler(lambda: time.monotonic() > self._end, _STEPS)
            self._connection.execute("PRAGMA query_only = 1")

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if time.monotonic() > self._end:
                raise AtollError(
                    "E_TIME", f"the query ran longer than {self._seconds:.0f} s", cure="Raise data.seconds."
                ) from None
            raise AtollError("E_SOURCE", f"{doing}: {str(error)[:500]}", fault="owner") from None

    def start(self, query: str) -> list[Found]:
        """See `sql.Reader`."""
        with self._errors("the query was refused"):
            self._connection.execute("BEGIN")
            self._time = self._connection.execute("SELECT strftime('%Y-%m-%dT%H:%M:%SZ', 'now')").fetchone()[
                0
            ]
            cursor = self._connection.execute(query)
            names = [entry[0] for entry in cursor.description]
            kinds: list[set[type]] = [set() for _ in names]
            while rows := cursor.fetchmany(_PASS_ROWS):
                for seen, values in zip(kinds, zip(*rows, strict=True), strict=True):
                    seen |= set(map(type, values))
            self._cursor = self._connection.execute(query)
        return [_found(name, seen - {type(None)}) for name, seen in zip(names, kinds, strict=True)]

    def fetch(self, rows: int) -> Sequence[Sequence[Any]]:
        """See `sql.Reader`."""
        with self._errors("reading failed"):
            return self._cursor.fetchmany(rows)

    def facts(self) -> dict[str, Any]:
        """See `sql.Reader`."""
        return {"database_time": self._time, "server": sqlite3.sqlite_version}

    def warnings(self) -> list[str]:
        """See `sql.Reader`."""
        return []

    def close(self) -> None:
        """See `sql.Reader`."""
        self._connection.close()


def _found(name: str, kinds: set[type]) -> Found:
    if kinds <= {str}:
        return Found(name, Column(name, "string"), pa.string())
    if kinds == {int}:
        return Found(name, Column(name, "int64"), pa.int64())
    if kinds <= {int, float}:
        return Found(name, Column(name, "float64"), pa.string(), repr)
    if bytes in kinds:
        return unsupported(name, "blob")
    return unsupported(name, "of numbers and text mixed", declarable=True)
