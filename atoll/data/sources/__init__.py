"""Sources of tables, and how to open one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atoll.data.schema import Declaration
from atoll.data.sources.address import Address
from atoll.data.sources.base import BadRow, BadRows, Inspection, Mode, Source
from atoll.data.sources.csv import CsvSource
from atoll.data.sources.memory import MemorySource
from atoll.data.sources.parquet import ParquetSource
from atoll.data.sources.sql import SqlSource
from atoll.errors import AtollError

__all__ = [
    "Address",
    "BadRow",
    "BadRows",
    "CsvSource",
    "Inspection",
    "MemorySource",
    "Mode",
    "ParquetSource",
    "Source",
    "SqlSource",
    "inspect",
    "open_source",
]

_FILES: dict[str, type[CsvSource] | type[ParquetSource]] = {
    ".csv": CsvSource,
    ".tsv": CsvSource,
    ".txt": CsvSource,
    ".parquet": ParquetSource,
    ".pq": ParquetSource,
}


def open_source(
    what: Any, *, declaration: Declaration | None = None, work: Path | None = None, name: str = "table"
) -> Source:
    """The source for a path or an in-memory table.

    Args:
        what: path of a .csv, .tsv, .txt, .parquet or .pq file, or a pyarrow Table, pandas or polars
            DataFrame.
        declaration: the owner's words about it.
        work: folder of the node for temporary files.
        name: how messages call an in-memory table.

    Raises:
        AtollError: `E_SOURCE` if `what` is none of these.
    """
    if not isinstance(what, str | Path):
        return MemorySource(what, declaration=declaration, name=name)
    suffix = Path(what).suffix.lower()
    if suffix not in _FILES:
        raise AtollError(
            "E_SOURCE",
            f"{str(what)!r:.200} is not a kind of source that is known: {', '.join(_FILES)}, or a table",
        )
    return _FILES[suffix](what, declaration=declaration, work=work)


def inspect(source: Source) -> Inspection:
    """Schema, row count, encoding, delimiter and warnings, to be shown to the owner before the table is
    added.
    """
    return source.inspect()
