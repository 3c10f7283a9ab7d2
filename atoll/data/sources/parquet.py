"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from atoll.data.schema import Declaration, Schema
from atoll.data.sources.base import BATCH_ROWS, Inspection, Mode
from atoll.data.sources.memory import schema_of
from atoll.errors import AtollError


class ParquetSource:
    """A Parquet file with flat columns."""

    kind = "parquet"
    mode: Mode = "snapshot"

    def __init__(
        self, path: str | Path, *, declaration: Declaration | None = None, work: Path | None = None
    ) -> None:
        self.path = Path(path).absolute()
        self.name = str(self.path)
        self.declaration = declaration or Declaration()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path)
        except OSError as error:
            raise AtollError("E_SOURCE", f"cannot read {self.name}: {error.strerror or error}") from None
        except pa.ArrowException as error:
            raise AtollError("E_DATA", f"{self.name} is not a Parquet file: {error}") from None

    def inspect(self) -> Inspection:
        """Schema from the file's footer."""
        with self._open() as file:
            schema = schema_of(file.schema_arrow, self.name, self.declaration)
            return Inspection(schema, file.metadata.num_rows)

    def batches(self, schema: Schema) -> Iterator[pa.RecordBatch]:
        """The rows in order; see `Source.batches`."""
        with self._open() as file:
            have = file.schema_arrow.names
            for column in schema:
                if column.name not in have:
                    raise AtollError(
                        "E_COLUMN", f"{self.name} has no column {column.name!r}", column=column.name
                    )
            try:
                for batch in file.iter_batches(BATCH_ROWS, columns=schema.names, use_threads=False):
                    yield batch.select(schema.names)
            except (OSError, pa.ArrowException) as error:
                raise AtollError("E_DATA", f"{self.name} is damaged: {error}") from None

    def nulls(self, name: str) -> tuple[str, ...]:
        """The declared null markers; none by default, since a typed source has nulls of its own."""
        return self.declaration.nulls_of(name) or ()

    def places(self, rows: Sequence[int]) -> list[str]:
        """Row numbers, counted from 1."""
        return [f"row {row + 1}" for row in rows]

    def facts(self) -> dict[str, Any]:
        """Kind and name."""
        return {"kind": self.kind, "name": self.name}
