"""Rows of a table in any order, where neither row numbers nor result fit in memory: two passes through files.

The row numbers are cut by ranges of rows, each with its place in the result. Every range is read once, and its rows are
cut by ranges of places. Each of these is sorted in memory and given out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atoll.crypto.files import FileArray, FileBytes
from atoll.crypto.keys import int64_array
from atoll.crypto.spool import MOST_PARTS, Spool
from atoll.data.read import Stored, Where, stored_at, taken
from atoll.data.schema import Schema
from atoll.errors import AtollError

BATCH_ROWS = 65_536
_BATCHES = 4
_SPAN = 1 << 19
_AT = np.dtype([("row", "<u8"), ("place", "<u8")])


class _Tables:
    """Rows on disk by ranges of places, as record batches whose last column is the place."""

    def __init__(self, folder: Path, ranges: int, width: int) -> None:
        self._file, self._width = FileBytes.scratch(folder), width
        self._pieces: list[list[tuple[int, int]]] = [[] for _ in range(ranges)]
        self._schema: pa.Schema | None = None

    def append(self, table: pa.Table, places: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> None:
        """Cuts rows by their places."""
        ranges = (places // np.uint64(self._width)).astype(np.uint16)
        order = np.argsort(ranges, kind="stable")
        placed = table.append_column("", int64_array(places.astype(np.int64))).take(int64_array(order))
        self._schema = placed.schema
        ends = np.cumsum(np.bincount(ranges, minlength=len(self._pieces)))
        starts = np.concatenate((np.zeros(1, np.int64), ends[:-1]))
        for at in np.flatnonzero(ends > starts):
            piece = placed.slice(int(starts[at]), int(ends[at] - starts[at])).combine_chunks()
            for batch in piece.to_batches():
                data = batch.serialize()
                self._pieces[at].append((len(self._file), data.size))
                self._file.append(data)

    def ranges(self) -> Iterator[pa.Table]:
        """The rows in the order of their places, range by range."""
        for pieces in self._pieces:
            batches = [
                pa.ipc.read_record_batch(pa.py_buffer(self._file.read(start, length)), self._schema)
                for start, length in pieces
            ]
            found = pa.Table.from_batches(batches, self._schema)
            last = found.num_columns - 1
            order = np.argsort(found.column(last).to_numpy(), kind="stable")
            yield found.remove_column(last).take(int64_array(order)).combine_chunks()

    def close(self) -> None:
        """Frees the disk."""
        self._file.close()


def take_on_disk(
    path: Where, rows: FileArray, columns: Sequence[str], batch_rows: int = BATCH_ROWS, span: int = _SPAN
) -> pa.RecordBatchReader:
    """As `take_batches`, for row numbers in a file, in any order: in memory are some hundred thousand rows.

    The columns are checked at once; rows that are not there and a damaged file are found while reading. Beside the row
    numbers, there are files without a name as large as these and as the result.

    Args:
        columns: at least one.
        batch_rows: rows of every batch but the last.
        span: rows of the table that are read at once.
    """
    stored = stored_at(path)
    schema = stored.schema.select(columns)
    try:
        there = pq.read_schema(stored.file)
        source = pq.read_metadata(stored.file).num_rows
    except (OSError, pa.ArrowException) as error:
        raise AtollError("E_DATA", f"{stored.file} is damaged: {error}") from None
    fields = pa.schema([there.field(name).remove_metadata() for name in schema.names])
    return pa.RecordBatchReader.from_batches(fields, _found(stored, schema, rows, source, batch_rows, span))


def _found(
    stored: Stored, schema: Schema, rows: FileArray, source: int, batch_rows: int, span: int
) -> Iterator[pa.RecordBatch]:
    if not len(rows):
        return
    by_row = _by_row(stored, rows, source, max(span, -(-source // MOST_PARTS)))
    # Batches do not lie across ranges.
    batches = max(_BATCHES, -(-len(rows) // (batch_rows * MOST_PARTS)))
    width = batches * batch_rows
    tables = _Tables(rows.data.folder, -(-len(rows) // width), width)
    for part in range(by_row.parts):
        for at in by_row.pieces(part, span):
            at = at[np.argsort(at["row"], kind="stable")]
            found = list(taken(stored, schema, at["row"].astype(np.int64)))
            tables.append(pa.concat_tables(found), at["place"])
    by_row.close()
    for table in tables.ranges():
        yield from table.to_batches(max_chunksize=batch_rows)
    tables.close()


def _by_row(stored: Stored, rows: FileArray, source: int, width: int) -> Spool:
    """(row, place) of the result, by ranges of rows."""
    spool = Spool(rows.data.folder, _AT, max(-(-source // width), 1))
    start = 0
    for block in rows.blocks():
        if int(block.min()) < 0 or int(block.max()) >= source:
            raise AtollError("E_RANGE", f"{stored.name} has {source} rows; others were asked")
        at = np.empty(len(block), _AT)
        at["row"], at["place"] = block, np.arange(start, start + len(block))
        spool.append(at, block // width)
        start += len(block)
    return spool
