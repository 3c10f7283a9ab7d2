"""What jobs read from a snapshot: rows of named columns, and exact sums per segment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from atoll.crypto.keys import int64_array
from atoll.data import engine
from atoll.data.schema import Column, Schema
from atoll.data.snapshot import Snapshot, load
from atoll.data.sources.parquet import ParquetSource
from atoll.errors import AtollError

Segment = str | tuple[str, ...]
Where = str | Path | Snapshot


@dataclass(frozen=True)
class Stored:
    """A Parquet file, the types of its columns, and the name that errors call it."""

    file: Path
    schema: Schema
    name: str


def stored_at(path: Where) -> Stored:
    """What stands there; see `read`."""
    if isinstance(path, Snapshot):
        return Stored(path.data.absolute(), path.schema, path.asset)
    path = Path(path).absolute()
    if path.suffix != ".parquet":
        return stored_at(load(path))
    if (path.parent / "manifest.json").exists():
        return stored_at(load(path.parent))
    with ParquetSource(path) as source:
        return Stored(path, source.inspect().schema, path.stem)


def schema_at(path: Where) -> Schema:
    """The schema of what stands there."""
    return stored_at(path).schema


def read(path: Where, columns: Sequence[str], batch_rows: int = 65_536) -> Iterator[pa.RecordBatch]:
    """The named columns of a snapshot, in the order asked and the snapshot's order of rows.

    Args:
        path: a version's folder, its Snapshot, or its Parquet file. A Parquet file without a manifest beside
            it is read with the types it has.
        batch_rows: most rows of a batch.

    Raises:
        AtollError: `E_COLUMN` for a column that is not there; `E_DATA` if the file is damaged.
    """
    stored = stored_at(path)
    return _batches(stored, stored.schema.select(columns), batch_rows)


def _batches(stored: Stored, schema: Schema, batch_rows: int) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(stored.file) as file:
            for batch in file.iter_batches(batch_rows, columns=schema.names, use_threads=False):
                yield batch.select(schema.names).replace_schema_metadata(None)
    except (OSError, pa.ArrowException) as error:
        raise AtollError("E_DATA", f"{stored.file} is damaged: {error}") from None


def table(path: Where, columns: Sequence[str]) -> pa.Table:
    """The named columns as one table in memory."""
    return pa.Table.from_batches(read(path, columns), schema_at(path).select(columns).arrow)


def take(path: Where, rows: Any, columns: Sequence[str]) -> pa.Table:
    """The named columns of the rows with these numbers, in the order given; rows may repeat.

    Holds the result in memory twice, and of the source one row group at a time.

    Args:
        rows: row numbers from 0: a sequence, Arrow or NumPy array of integers.
        columns: may be empty: the result then has no columns.

    Raises:
        AtollError: `E_COLUMN` for a column that is not there; `E_RANGE` for a row that is not there; `E_DATA`
            if the file is damaged.
    """
    if not columns:
        return pa.table({})
    stored = stored_at(path)
    schema = stored.schema.select(columns)
    wanted = _numbers(rows)
    ascending = bool((wanted[1:] >= wanted[:-1]).all())
    order = None if ascending else np.argsort(wanted, kind="stable")
    parts = list(taken(stored, schema, wanted if order is None else wanted[order]))
    if not parts:
        return schema.arrow.empty_table()
    found = pa.concat_tables(parts)
    if order is None:
        return found.combine_chunks()
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return found.take(int64_array(back))


def take_batches(
    path: Where, rows: npt.NDArray[np.int64], columns: Sequence[str], batch_rows: int = 65_536
) -> pa.RecordBatchReader:
    """As `take`, batch after batch: where rows ascend, as much of the result is in memory as a row group has.

    The columns and the row numbers are checked at once; a damaged file is found while reading.

    Args:
        columns: at least one.
        batch_rows: rows of every batch but the last.
    """
    if not len(rows) or not bool((rows[1:] >= rows[:-1]).all()):
        found = take(path, rows, columns)
        return pa.RecordBatchReader.from_batches(found.schema, found.to_batches(max_chunksize=batch_rows))
    stored = stored_at(path)
    schema = stored.schema.select(columns)
    _check_range(stored, rows)
    # The types are those of the file, as in `take`.
    there = pq.read_schema(stored.file)
    fields = pa.schema([there.field(name) for name in schema.names])
    return pa.RecordBatchReader.from_batches(fields, _cut(taken(stored, schema, rows), batch_rows))


def _cut(tables: Iterator[pa.Table], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """The rows of `tables` in batches of one size."""
    waiting: list[pa.Table] = []
    count = 0
    for part in tables:
        waiting.append(part)
        count += len(part)
        if count < batch_rows:
            continue
        joined = pa.concat_tables(waiting).combine_chunks()
        whole = count // batch_rows * batch_rows
        yield from joined.slice(0, whole).to_batches(max_chunksize=batch_rows)
        waiting, count = [joined.slice(whole)], count - whole
    if count:
        yield from pa.concat_tables(waiting).combine_chunks().to_batches()


def _numbers(rows: Any) -> npt.NDArray[np.int64]:
    if isinstance(rows, np.ndarray):
        return rows.astype(np.int64, copy=False)
    found: npt.NDArray[np.int64] = pa.array(rows, pa.int64()).to_numpy(zero_copy_only=False)
    return found


def row_count(path: Where) -> int:
    """Rows of a snapshot; `E_DATA` if the file is damaged."""
    return _rows(stored_at(path))


def _rows(stored: Stored) -> int:
    try:
        return int(pq.read_metadata(stored.file).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise AtollError("E_DATA", f"{stored.file} is damaged: {error}") from None


def _check_range(stored: Stored, ascending: npt.NDArray[np.int64]) -> None:
    rows = _rows(stored)
    if len(ascending) and not (ascending[0] >= 0 and ascending[-1] < rows):
        raise AtollError("E_RANGE", f"{stored.name} has {rows} rows; others were asked")


def taken(stored: Stored, schema: Schema, ascending: npt.NDArray[np.int64]) -> Iterator[pa.Table]:
    """The rows with these ascending numbers, one table for each row group that has any."""
    _check_range(stored, ascending)
    at = first = 0
    try:
        with pq.ParquetFile(stored.file) as file:
            for group in range(file.num_row_groups):
                if at == len(ascending):
                    break
                end = first + file.metadata.row_group(group).num_rows
                until = int(np.searchsorted(ascending, end))
                if until > at:
                    local = int64_array(ascending[at:until] - first)
                    rows = file.read_row_group(group, columns=schema.names, use_threads=False)
                    yield rows.select(schema.names).take(local).replace_schema_metadata(None)
                at, first = until, end
    except (OSError, pa.ArrowException) as error:
        raise AtollError("E_DATA", f"{stored.file} is damaged: {error}") from None


@dataclass(frozen=True)
class GroupSums:
    """Exact totals per segment, each list in the order of `domain`; a segment without rows has zeros.

    Attributes:
        domain: the public segments.
        sums: column -> totals as integers in units of 10^-scale; nulls do not count.
        scales: column -> scale (0 for int64).
        counts: rows per segment.
        value_counts: column -> rows per segment in which the value is not null.
        subjects: distinct non-null subjects per segment, or None if no subject column was named.
    """

    domain: list[Segment]
    sums: dict[str, list[int]]
    scales: dict[str, int]
    counts: list[int]
    value_counts: dict[str, list[int]]
    subjects: list[int] | None


def group_sums(
    path: Where,
    group_columns: Sequence[str],
    domain: Sequence[str | Sequence[str]],
    values: Sequence[str],
    subject_column: str | None = None,
    *,
    other: str | None = "other",
    null: str | None = None,
    work: Path | None = None,
) -> GroupSums:
    """Sums, counts and distinct subjects per segment of a public domain.

    Args:
        group_columns: columns whose values make the segment; none makes one segment, the empty tuple's.
        domain: the public segments: codes as text for one group column (bools as true and false, dates as
            yyyy-mm-dd), sequences of codes for several.
        values: int64 or decimal columns to be added.
        subject_column: column whose distinct values are counted per segment.
        other: the segment that takes rows outside the domain, if it is in the domain (one group column only).
        null: the code in the domain that stands for a missing group value.
        work: folder for the engine's temporary files.

    Raises:
        AtollError: `E_COLUMN` for a missing column; `E_TYPE` for values that cannot be added exactly or
            groups that are floats or times; `E_RANGE` if a row is outside the domain, or a total does not fit
            38 digits; `E_DATA` for a missing group value without a code.
    """
    stored = stored_at(path)
    groups = [_group(stored.schema[name]) for name in group_columns]
    added = [_addend(stored.schema[name]) for name in values]
    subject = None if subject_column is None else stored.schema[subject_column]
    segments = _domain(domain, len(groups))
    position = {segment: i for i, segment in enumerate(segments)}
    width = len(segments)
    result = GroupSums(
        domain=[s[0] if len(s) == 1 else s for s in segments],
        sums={c.name: [0] * width for c in added},
        scales={c.name: c.scale or 0 for c in added},
        counts=[0] * width,
        value_counts={c.name: [0] * width for c in added},
        subjects=None if subject is None else [0] * width,
    )
    into_other = len(groups) == 1 and other is not None and (other,) in position
    for row in _query(stored, groups, added, subject, segments, other if into_other else None, null, work):
        codes = tuple(row[: len(groups)])
        if codes not in position:
            raise _outside(stored, groups, codes, row[len(groups)])
        at, rest = position[codes], list(row[len(groups) :])
        result.counts[at] += rest.pop(0)
        for column in added:
            result.sums[column.name][at] += _scaled(rest.pop(0), column.scale or 0)
            result.value_counts[column.name][at] += rest.pop(0)
        if result.subjects is not None:
            result.subjects[at] += rest.pop(0)
    return result


def _group(column: Column) -> Column:
    if column.type not in ("string", "int64", "bool", "date"):
        raise AtollError(
            "E_TYPE",
            f"column {column.name!r} of type {column.type} cannot be a group key",
            column=column.name,
            cure="Group by a string, int64, bool or date column.",
        )  # fmt: skip
    return column


def _addend(column: Column) -> Column:
    if column.type not in ("int64", "decimal"):
        cure = "Declare the column as decimal with a scale, or as int64, and add the table again."
        raise AtollError(
            "E_TYPE",
            f"column {column.name!r} of type {column.type} cannot be added exactly",
            column=column.name,
            cure=cure,
        )  # fmt: skip
    return column


def _domain(domain: Sequence[str | Sequence[str]], width: int) -> list[tuple[str, ...]]:
    segments = [(s,) if isinstance(s, str) else tuple(s) for s in domain]
    if width == 0 and not segments:
        segments = [()]
    if not segments or any(len(s) != width or not all(isinstance(c, str) for c in s) for s in segments):
        raise AtollError("E_RANGE", f"a segment of the domain is not {width} codes, or the domain is empty")
    if len(set(segments)) != len(segments):
        raise AtollError("E_RANGE", "the domain lists a segment twice")
    return segments


def _query(
    stored: Stored,
    groups: list[Column],
    added: list[Column],
    subject: Column | None,
    segments: list[tuple[str, ...]],
    other: str | None,
    null: str | None,
    work: Path | None,
) -> list[tuple[Any, ...]]:
    name = engine.identifier
    keys = []
    parameters = [str(stored.file)]
    for i, column in enumerate(groups):
        key = f"CAST({name(column.name)} AS VARCHAR)"
        if other is not None:
            # All segments outside the domain become one group, so that its distinct subjects are right.
            known = ", ".join(engine.literal(s[0]) for s in segments)
            key = f"CASE WHEN {key} IS NULL OR {key} IN ({known}) THEN {key} ELSE {engine.literal(other)} END"
        if null is not None:
            key = f"coalesce({key}, {engine.literal(null)})"
        keys.append(f"{key} AS k{i}")
    parts = ["count(*)"]
    for column in added:
        quoted = name(column.name)
        parts += [f"sum({quoted})", f"count({quoted})"]
    if subject is not None:
        parts.append(f"count(DISTINCT {name(subject.name)})")
    query = f"SELECT {', '.join([*keys, *parts])} FROM read_parquet(?, hive_partitioning=false)"  # noqa: S608, identifiers are quoted
    if keys:
        query += f" GROUP BY {', '.join(f'k{i}' for i in range(len(keys)))}"
    limit = len(segments) + 2  # with more groups than segments, one is outside the domain
    query += f" LIMIT {limit}" if keys else ""
    try:
        with engine.connect(stored.file, work=work) as con:
            rows: list[tuple[Any, ...]] = con.execute(query, parameters).fetchall()
    except duckdb.OutOfRangeException:
        raise AtollError(
            "E_RANGE", f"a total over {', '.join(c.name for c in added)} exceeds 38 digits"
        ) from None
    except duckdb.Error as error:
        raise AtollError(
            "E_DATA", f"{stored.file} cannot be read: {str(error).partition(chr(10))[0]}"
        ) from None
    return rows


def _outside(stored: Stored, groups: list[Column], codes: tuple[Any, ...], rows: int) -> AtollError:
    for column, code in zip(groups, codes, strict=True):
        if code is None:
            return AtollError(
                "E_DATA",
                f"{stored.name}: {rows} rows have no value in the group column {column.name!r}",
                column=column.name,
                cure="Fill the column, or declare a code for missing values.",
                detail={"rows": rows},
            )
    named = ", ".join(f"{c.name}={v!r:.80}" for c, v in zip(groups, codes, strict=True))
    return AtollError(
        "E_RANGE",
        f"{stored.name}: {rows} rows have the segment {named}, which is not in the public domain",
        column=groups[0].name,
        cure="Add the segment to the domain, or a segment named other.",
        detail={"rows": rows},
    )


def _scaled(value: Any, scale: int) -> int:
    """A sum as an integer in units of 10^-scale; exact, whatever the decimal context is."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    unscaled: Fraction = Fraction(value) * 10**scale
    return unscaled.numerator
