"""Tables in memory: Arrow, pandas, polars."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from atoll.data.schema import Column, Declaration, Schema, Type, check_name
from atoll.data.sources.base import BATCH_ROWS, Inspection, Mode
from atoll.errors import AtollError


def column_of(name: str, kind: pa.DataType) -> Column:
    """The column that an Arrow type maps to; `E_TYPE` naming the column if there is none.

    Integers up to 64 bits become int64 (a value beyond is refused when read), floats float64, decimals up to
    38 digits keep precision and scale, timestamps become microseconds in UTC, dictionaries their values.
    """
    types = pa.types
    if types.is_dictionary(kind):
        return column_of(name, kind.value_type)
    found: Type | None = None
    if (
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_null(kind)
    ):
        found = "string"
    elif types.is_integer(kind):
        found = "int64"
    elif types.is_floating(kind):
        found = "float64"
    elif types.is_boolean(kind):
        found = "bool"
    elif types.is_date(kind):
        found = "date"
    elif types.is_timestamp(kind):
        found = "timestamp"
    elif types.is_decimal(kind) and kind.precision <= 38 and 0 <= kind.scale <= kind.precision:
        return Column(name, "decimal", precision=kind.precision, scale=kind.scale)
    if found is None:
        raise AtollError(
            "E_TYPE",
            f"column {name!r} has the type {kind}, which Atoll does not know",
            column=name,
            cure="Make the column text, a number, a date or a timestamp at its source, or leave it out.",
        )
    return Column(name, found)


def schema_of(fields: pa.Schema, where: str, declaration: Declaration) -> Schema:
    """The declared schema of a typed source; `E_COLUMN` for empty or repeated names, `E_TYPE` for unknown
    types.
    """
    names = [check_name(f.name, f"{where}: a column name") for f in fields]
    declaration.check_names(names, where)
    return declaration.override(Schema(tuple(column_of(f.name, f.type) for f in fields)))


def to_arrow(table: Any, name: str) -> pa.Table:
    """A pyarrow Table of a pyarrow Table or RecordBatch, a pandas or a polars DataFrame; else `E_SOURCE`."""
    if isinstance(table, pa.Table):
        return table
    if isinstance(table, pa.RecordBatch):
        return pa.Table.from_batches([table])
    pandas, polars = sys.modules.get("pandas"), sys.modules.get("polars")
    try:
        if pandas is not None and isinstance(table, pandas.DataFrame):
            if not all(isinstance(c, str) for c in table.columns):
                raise AtollError("E_COLUMN", f"{name}: the names of the columns are not all text")
            return pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
        if polars is not None and isinstance(table, polars.DataFrame):
            return table.to_arrow()
    except (pa.ArrowException, ValueError) as error:
        raise AtollError(
            "E_TYPE", f"{name}: a column mixes types or has one that Arrow lacks: {error}"
        ) from None
    raise AtollError(
        "E_SOURCE", f"{name}: {type(table).__name__} is not a path, Arrow table, pandas or polars frame"
    )


class MemorySource:
    """An Arrow table, or a pandas or polars DataFrame. NaN in a float column is null."""

    kind = "memory"
    mode: Mode = "snapshot"

    def __init__(self, table: Any, *, declaration: Declaration | None = None, name: str = "table") -> None:
        self.name = name
        self.declaration = declaration or Declaration()
        self._table = to_arrow(table, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def inspect(self) -> Inspection:
        """Schema by type."""
        return Inspection(schema_of(self._table.schema, self.name, self.declaration), self._table.num_rows)

    def batches(self, schema: Schema) -> Iterator[pa.RecordBatch]:
        """The rows in order; see `Source.batches`."""
        have = self._table.schema.names
        for column in schema:
            if have.count(column.name) != 1:
                raise AtollError("E_COLUMN", f"{self.name} has no column {column.name!r}", column=column.name)
        yield from self._table.select(schema.names).to_batches(max_chunksize=BATCH_ROWS)

    def nulls(self, name: str) -> tuple[str, ...]:
        """The declared null markers; none by default, since a typed source has nulls of its own."""
        return self.declaration.nulls_of(name) or ()

    def places(self, rows: Sequence[int]) -> list[str]:
        """Row numbers, counted from 1."""
        return [f"row {row + 1}" for row in rows]

    def facts(self) -> dict[str, Any]:
        """Kind and name."""
        return {"kind": self.kind, "name": self.name}
