"""What every source is: a table of some rows, read in order, in Arrow batches.

A new kind of source is one more file with a class of this form, and one line in `sources/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import pyarrow as pa

from atoll.data.schema import Declaration, Schema

Mode = Literal["snapshot", "live"]
BadRows = Literal["refuse", "skip"]
BATCH_ROWS = 65_536
LISTED = 20  # bad rows that an error lists


@dataclass(frozen=True)
class BadRow:
    """One bad row, for the owner only: where it is and what is wrong. `value` is cut to 80 characters."""

    place: str
    column: str | None
    value: str | None
    code: str
    reason: str

    def __str__(self) -> str:
        if self.column is None:
            return f"{self.place}: {self.reason}"
        return f"{self.place}, column {self.column!r}: {self.value!r} {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """JSON form."""
        return {"place": self.place, "column": self.column, "value": self.value, "code": self.code,
                "reason": self.reason}  # fmt: skip


@dataclass(frozen=True)
class Inspection:
    """What is known about a source before it is added, to be shown to its owner.

    Attributes:
        schema: declared facts over inferred types.
        rows: number of sound rows that the types were inferred from; for files all rows.
        encoding, delimiter: of text files, else None.
        warnings: what the owner should look at, one sentence each.
        malformed: number of rows whose structure is broken; the first are in `examples`.
        sample: the first rows, as text.
    """

    schema: Schema
    rows: int
    encoding: str | None = None
    delimiter: str | None = None
    warnings: tuple[str, ...] = ()
    malformed: int = 0
    examples: tuple[BadRow, ...] = ()
    sample: tuple[tuple[str | None, ...], ...] = field(default=(), repr=False)


class Source(Protocol):
    """A table to be read. Use it as a context manager: leaving it removes temporary files.

    Attributes:
        kind: "csv", "parquet", "memory"...
        name: how messages and manifests call it, for example the path.
        mode: whether it is materialised as snapshots or read anew by every job.
        declaration: the owner's words about it.
    """

    kind: str
    name: str
    mode: Mode
    declaration: Declaration

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def inspect(self) -> Inspection:
        """Schema and warnings; reads as much of the source as inference needs. May be called twice
        cheaply.
        """
        ...

    def batches(self, schema: Schema) -> Iterator[pa.RecordBatch]:
        """The columns of `schema`, in its order: as text where the source has text, else in the source's
        types.

        Malformed rows are left out. Values are not yet converted or checked: `validate.Validator` does that.
        """
        ...

    def nulls(self, name: str) -> tuple[str, ...]:
        """Text values of a column that stand for no value and that `batches` has not made null."""
        ...

    def places(self, rows: Sequence[int]) -> list[str]:
        """Where the rows with these ascending 0-based positions in `batches` stand, for example "line 17"."""
        ...

    def facts(self) -> dict[str, Any]:
        """JSON facts for the manifest: kind, name, and how it was read."""
        ...
