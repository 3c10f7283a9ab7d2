"""Databases: PostgreSQL, MySQL and MariaDB, SQLite. One query, one read-only snapshot, streamed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import pyarrow as pa

from atoll.data.schema import Column, Declaration, Schema, check_name
from atoll.data.sources.address import Address
from atoll.data.sources.base import BATCH_ROWS, Inspection, Mode
from atoll.data.sources.query import check_query, table_query
from atoll.errors import AtollError

SECONDS = 900.0
FIRST_ROWS = 256
BATCH_BYTES = 2 << 20
_QUOTES = {"postgresql": '"', "mysql": "`", "sqlite": '"'}
_CAST = "Give a query that casts the column, for example to text or numeric(18, 2), or leave it out."


@dataclass(frozen=True)
class Found:
    """One column of a result.

    Attributes:
        column: its type here; None if it has none unless the owner declares one.
        raw: Arrow type of the values as `convert` gives them.
        convert: applied to each value that is not null; None if it can stay.
        problem: what is wrong, where `column` is None.
        declarable: whether a declared type makes up for that.
    """

    name: str
    column: Column | None
    raw: pa.DataType
    convert: Callable[[Any], Any] | None = None
    problem: str = ""
    declarable: bool = False


class Reader(Protocol):
    """A connection that reads one query.

    Every method raises only `AtollError`; what a driver says passes through `Address.withhold` first.
    """

    kind: str

    def start(self, query: str) -> list[Found]:
        """Begins a read-only transaction with one view of the data, and the query in it."""
        ...

    def fetch(self, rows: int) -> Sequence[Sequence[Any]]:
        """The next rows, at most so many; none at the end."""
        ...

    def facts(self) -> dict[str, Any]:
        """`database_time`, when the view of the data was taken (RFC 3339, UTC), and `server`, its version."""
        ...

    def warnings(self) -> list[str]:
        """What the owner should know about the connection."""
        ...

    def close(self) -> None:
        """Ends the connection at once, read to the end or not."""
        ...


def unsupported(name: str, kind: str, *, declarable: bool = False, hint: str = "") -> Found:
    """A column of a type that has no counterpart."""
    text = f"the type {kind}, which has no exact counterpart{hint}"
    return Found(name, None, pa.string(), str, text, declarable)


def decimal(name: str, precision: int, scale: int, kind: str) -> Found:
    """A decimal column whose values come as text."""
    if not (1 <= precision <= 38 and 0 <= scale <= precision):
        return unsupported(name, f"{kind}({precision}, {scale})", declarable=True)
    return Found(name, Column(name, "decimal", precision=precision, scale=scale), pa.string())


def open_reader(address: Address, seconds: float) -> Reader:
    """A connection to the database.

    Raises:
        AtollError: `E_SOURCE` if it cannot be reached, refuses the login, or its driver is not installed.
    """
    try:
        module = importlib.import_module(f"atoll.data.sources.{address.dialect}")
    except ModuleNotFoundError as error:
        raise AtollError(
            "E_SOURCE",
            f"the driver {error.name} is not installed",
            fault="operator",
            cure=f"pip install 'atoll[{address.dialect}]'",
        ) from None
    reader: Reader = module.Reader(address, seconds)
    return reader


class SqlSource:
    """What one query of a database gives.

    Args:
        address: where, with every reference resolved.
        query: one SELECT; or else
        table: a table's or view's name, `table`, `schema.table` or `database.schema.table`.
        declaration: facts per column. A declared type takes the place of the database's.
        mode: snapshot or live; goes into the manifest.
        seconds: after so long the database or this side ends the reading.

    `inspect` and the first `batches` share one transaction; a later `batches` begins another.
    """

    def __init__(
        self,
        address: Address,
        *,
        query: str | None = None,
        table: str | None = None,
        declaration: Declaration | None = None,
        mode: Mode = "snapshot",
        seconds: float = SECONDS,
    ) -> None:
        if (query is None) == (table is None):
            raise AtollError(
                "E_SOURCE", "a database is read by a query or by a table, one of the two", fault="caller"
            )
        self._given = {"query": query} if query is not None else {"table": table}
        self._query = (
            table_query(table, _QUOTES[address.dialect])
            if table is not None
            else check_query(query or "", address.dialect)
        )
        self.kind = address.dialect
        self.name = f"{address.shown} ({table})" if table is not None else address.shown
        self.mode: Mode = mode
        self.declaration = declaration or Declaration()
        self._address, self._seconds = address, seconds
        self._reader: Reader | None = None
        self._columns: list[Found] = []
        self._ahead: Sequence[Sequence[Any]] | None = None
        self._inspection: Inspection | None = None
        self._facts: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = self._ahead = None

    def _named(self, error: AtollError) -> AtollError:
        error.text = f"{self.name}: {error.text}"
        error.args = (error.text,)
        return error

    def _start(self) -> Reader:
        if self._reader is None:
            try:
                self._reader = open_reader(self._address, self._seconds)
                self._columns = self._reader.start(self._query)
                self._ahead = self._reader.fetch(FIRST_ROWS)
                self.kind = self._reader.kind
                self._facts = self._reader.facts()
            except AtollError as error:
                self._close()
                raise self._named(error) from None
        return self._reader

    def _column(self, found: Found) -> Column:
        name = check_name(found.name, f"{self.name}: a column name")
        declared = self.declaration[name].type
        if found.column is not None:
            base = found.column
            return self.declaration.column(name, base.type, base.precision, base.scale)
        if found.declarable and declared is not None:
            return self.declaration.column(name, declared, None, None)
        cure = f"Declare its type and scale. {_CAST}" if found.declarable else _CAST
        raise AtollError(
            "E_TYPE", f"{self.name}, column {name!r} has {found.problem}", column=name, cure=cure
        )

    def inspect(self) -> Inspection:
        """Schema by the database's types; the rows are not counted."""
        if self._inspection is None:
            reader = self._start()
            self.declaration.check_names([c.name for c in self._columns], self.name)
            schema = Schema(tuple(self._column(c) for c in self._columns))
            shown = tuple(
                tuple(
                    None if v is None else str(_plain(v, c))[:80]
                    for v, c in zip(row, self._columns, strict=True)
                )
                for row in (self._ahead or ())[:20]
            )
            self._inspection = Inspection(schema, 0, warnings=tuple(reader.warnings()), sample=shown)
        return self._inspection

    def batches(self, schema: Schema) -> Iterator[pa.RecordBatch]:
        """The rows in the order of the query; see `Source.batches`."""
        if self._reader is not None and self._ahead is None:
            self._close()
        reader = self._start()
        at = {c.name: i for i, c in enumerate(self._columns)}
        for column in schema:
            if column.name not in at:
                raise AtollError("E_COLUMN", f"{self.name} has no column {column.name!r}", column=column.name)
        rows, self._ahead = self._ahead or (), None
        done, wanted = 0, FIRST_ROWS
        while rows:
            batch = self._batch(rows, schema, [at[c.name] for c in schema], done)
            done += batch.num_rows
            # As many rows at a time as fit some megabytes, whatever the width of a row.
            each = max(1, batch.nbytes // batch.num_rows)
            wanted = max(1, min(BATCH_ROWS // 4, BATCH_BYTES // each))
            rows = ()
            yield batch
            try:
                rows = reader.fetch(wanted)
            except AtollError as error:
                error.text += f" (after {done} rows)"
                raise self._named(error) from None
        self._close()

    def _batch(
        self, rows: Sequence[Sequence[Any]], schema: Schema, places: list[int], done: int
    ) -> pa.RecordBatch:
        values = list(zip(*rows, strict=True))
        arrays = []
        for column, place in zip(schema, places, strict=True):
            found = self._columns[place]
            column_values = values[place]
            raw, convert = found.raw, found.convert
            if column.type == "bool" and found.column is not None and found.column.type == "int64":
                raw, convert = pa.string(), _truth
            if convert is not None:
                column_values = tuple(None if v is None else convert(v) for v in column_values)
            try:
                arrays.append(pa.array(column_values, raw))
            except (pa.ArrowException, OverflowError, TypeError, ValueError):
                raise AtollError(
                    "E_TYPE",
                    f"{self.name}, column {column.name!r} has a value in rows {done + 1} to {done + len(rows)} that is "
                    f"not of the type that the database gave for the column",
                    column=column.name,
                    cure=_CAST,
                ) from None
        return pa.RecordBatch.from_arrays(arrays, names=schema.names)

    def nulls(self, name: str) -> tuple[str, ...]:
        """The declared null markers; none by default, since a database has nulls of its own."""
        return self.declaration.nulls_of(name) or ()

    def places(self, rows: Sequence[int]) -> list[str]:
        """Row numbers, counted from 1, in the order of the query."""
        return [f"row {row + 1}" for row in rows]

    def facts(self) -> dict[str, Any]:
        """Kind, URL without password, query or table, the database's own time and version."""
        return {"kind": self.kind, "name": self._address.shown, **self._given, **self._facts}


def _plain(value: Any, found: Found) -> Any:
    return value if found.convert is None else found.convert(value)


def _truth(value: Any) -> str:
    """MySQL and SQLite keep truth as 1 and 0; any other number is left for the check to refuse."""
    return {1: "true", 0: "false"}.get(value, str(value)) if isinstance(value, int) else str(value)
