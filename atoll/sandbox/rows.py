"""Rows of the owner's tables as rules see them: decimals as whole numbers of 10^-scale, times naive in UTC."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from atoll.scripts.manifest import column_facts

# The column that says which call of a batch, from 0, a row belongs to.
CALL = "__call"


def read(data: bytes) -> pa.Table:
    """The table of an Arrow IPC stream. No thread is started for it."""
    options = pa.ipc.IpcReadOptions(use_threads=False)
    with pa.ipc.open_stream(data, options=options) as stream:
        return stream.read_all()


def write(table: pa.Table) -> bytes:
    """The table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def _values(column: pa.ChunkedArray, text: str) -> list[Any]:
    kind = column_facts(text).type
    if kind == "timestamp":
        return list(column.cast(pa.timestamp("us")).to_pylist())
    if kind != "decimal":
        return list(column.to_pylist())
    found: list[Any] = []
    for chunk in column.chunks:
        # The same digits without the point: the buffers of a decimal hold nothing else.
        whole = pa.Array.from_buffers(pa.decimal128(18, 0), len(chunk), chunk.buffers(), offset=chunk.offset)
        found += whole.cast(pa.int64()).to_pylist()
    return found


def by_call(table: pa.Table, columns: dict[str, str], calls: int) -> list[list[dict[str, Any]]]:
    """The rows of each of `calls` calls, in the order of the table.

    Args:
        table: these columns, and `__call`, int32, which call the row belongs to.
        columns: the columns' texts, as the manifest has them.
        calls: how many calls there are.
    """
    rows: list[list[dict[str, Any]]] = [[] for _ in range(calls)]
    values = [_values(table.column(name), text) for name, text in columns.items()]
    for call, *row in zip(table.column(CALL).to_pylist(), *values, strict=True):
        rows[call].append(dict(zip(columns, row, strict=True)))
    return rows
