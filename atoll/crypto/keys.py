"""Key digests of Arrow tables: what a private join compares instead of the keys themselves.

A row's digest is SHA-256 over a domain and the typed, length-prefixed tuple of its key columns. Equal digests
mean equal types and equal normalised values in every column. A row with a null in a key column has no key.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atoll import _core
from atoll.crypto.stream import kernel_errors
from atoll.errors import AtollError

DIGEST_BYTES = 32
NO_KEY = 2**32 - 1
STEPS = ("trim", "lower", "upper", "width", "digits", "phone_cn", "id_cn")
_BATCH_ROWS = 1 << 16

_Buffers = tuple[str, bytes, bytes | None, int, bytes | None, int]


@dataclass(frozen=True, repr=False)
class KeySet:
    """The distinct keys of a table.

    Attributes:
        digests: 32 bytes per distinct key, in order of first appearance.
        rows: u32 little-endian per row, the index of its key; 2^32 - 1 where the row has none.
        multiplicity: u32 little-endian per distinct key, the number of rows that have it (at least 1).
        n_null: rows without key.
        duplicates: distinct keys that stand on more than one row.
    """

    digests: bytes
    rows: bytes
    multiplicity: bytes
    n_null: int
    duplicates: int

    @property
    def n_unique(self) -> int:
        """Number of distinct keys."""
        return len(self.digests) // DIGEST_BYTES

    @property
    def n_rows(self) -> int:
        """Number of rows, those without key included."""
        return len(self.rows) // 4

    def __repr__(self) -> str:
        return f"KeySet(n_rows={self.n_rows}, n_unique={self.n_unique}, n_null={self.n_null})"


def key_digests(
    table: pa.Table | Iterable[pa.RecordBatch],
    columns: Sequence[str],
    steps: Mapping[str, Sequence[str]] | None = None,
    threads: int = 1,
    *,
    on_invalid: Literal["refuse", "no_key"] = "refuse",
) -> KeySet:
    """Digests of the tuple of `columns`, batch by batch: only the digests of distinct keys stay in memory.

    Args:
        table: a table, or record batches one after the other.
        columns: key columns in the order that both sides of the join declare; at least one.
        steps: normalisation steps per text column, from `STEPS`, applied in order.
        threads: worker threads, 1 to 1024; the result does not depend on it.
        on_invalid: a value that a step cannot take (a wrong check digit, say) refuses the table, or leaves
            the row without key.

    Raises:
        AtollError: `E_COLUMN` for an unknown column, `E_TYPE` for a type that cannot be a key or steps on
            other than text, `E_FORMAT` for an unknown step, `E_DATA` for a value that cannot be normalised
            (the text names column and row), `E_TOO_LARGE` beyond 2^32 - 2 rows.
    """
    steps = check_columns(columns, steps, threads)
    return digests_of(key_batches(table, columns), columns, steps, threads, on_invalid)


def check_columns(
    columns: Sequence[str], steps: Mapping[str, Sequence[str]] | None, threads: int
) -> Mapping[str, Sequence[str]]:
    """The steps of key columns, if these are named once each; raises as `key_digests`."""
    steps = steps or {}
    unknown = sorted(set(steps) - set(columns))
    if not columns or len(set(columns)) != len(columns) or unknown:
        raise AtollError(
            "E_COLUMN", f"Key columns are named once each; {unknown or list(columns)} do not fit."
        )
    if not 1 <= threads <= 1024:
        raise AtollError("E_FORMAT", f"threads is 1 to 1024, got {threads}.")
    return steps


def digests_of(
    batches: Iterable[pa.RecordBatch],
    columns: Sequence[str],
    steps: Mapping[str, Sequence[str]],
    threads: int,
    on_invalid: str,
    first_row: int = 0,
) -> KeySet:
    """The keys of batches that have the key columns alone; `first_row` is the number of their first row in errors."""
    with kernel_errors():
        chosen = [(c, list(steps.get(c, ()))) for c in columns]
        builder = _core.KeyBuilder(chosen, on_invalid, threads, first_row)
        for batch in batches:
            builder.push([column_buffers(batch.column(i), c) for i, c in enumerate(columns)], batch.num_rows)
        rows, multiplicity, n_null, duplicates = builder.finish()
        return KeySet(_joined(builder), rows, multiplicity, n_null, duplicates)


def _joined(builder: _core.KeyBuilder) -> bytes:
    """All digests; the builder frees each block as it hands it out."""
    first, block = builder.next_digests() or b"", builder.next_digests()
    if block is None:
        return first
    # A BytesIO grows in place and hands out its buffer without a copy.
    digests = io.BytesIO()
    digests.write(first)
    del first
    while block:
        digests.write(block)
        block = builder.next_digests()
    return digests.getvalue()


def key_batches(
    table: pa.Table | Iterable[pa.RecordBatch], columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """The key columns alone, at most 65,536 rows at a time; `E_COLUMN` if one is missing or named twice."""
    batches = table.to_batches(max_chunksize=_BATCH_ROWS) if isinstance(table, pa.Table) else table
    if isinstance(table, pa.Table) and not batches:
        batches = [pa.RecordBatch.from_pylist([], schema=table.schema)]
    for batch in batches:
        missing = [c for c in columns if batch.schema.names.count(c) != 1]
        if missing:
            raise AtollError(
                "E_COLUMN", f"No (or no unique) column {missing}; there are {batch.schema.names}."
            )
        narrow = batch.select(list(columns))
        for start in range(0, max(narrow.num_rows, 1), _BATCH_ROWS):
            yield narrow.slice(start, _BATCH_ROWS)


_PLAIN: dict[Any, tuple[str, int]] = {
    pa.int64(): ("int64", 8),
    pa.int32(): ("int32", 4),
    pa.date32(): ("date32", 4),
}


def _plain(array: pa.Array, column: str) -> pa.Array:
    """The array in one of the layouts that the kernel reads; the same values."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _plain(array.dictionary_decode(), column)
    try:
        if pa.types.is_string_view(kind):
            return array.cast(pa.large_string())
        if pa.types.is_int8(kind) or pa.types.is_int16(kind) or pa.types.is_unsigned_integer(kind):
            return array.cast(pa.int64())
        if pa.types.is_date64(kind):
            return array.cast(pa.date32())
        if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
            return array.cast(pa.decimal128(kind.precision, kind.scale))
        if pa.types.is_timestamp(kind) and kind.unit != "us":
            return array.cast(pa.timestamp("us", kind.tz))
        if pa.types.is_null(kind):
            return array.cast(pa.string())
    except pa.ArrowInvalid as error:
        raise AtollError("E_TYPE", f"Column {column} cannot be a key: {error}.", column=column) from None
    return array


def _slice(buffer: pa.Buffer, start: int, length: int) -> bytes:
    out: bytes = buffer.slice(start, length).to_pybytes()
    return out


def int64_array(numbers: npt.NDArray[np.int64]) -> pa.Array:
    """The numbers as an Arrow array without a copy.

    `pa.array` first asks pandas whether they are a series, and to import pandas takes longer than a small join.
    """
    numbers = np.ascontiguousarray(numbers, dtype="<i8")
    return pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(numbers)])


def column_buffers(array: pa.Array, column: str) -> _Buffers:
    """Bytes of one column of a batch, cut to its rows."""
    array = _plain(array, column)
    kind, n, at = array.type, len(array), array.offset
    parts = array.buffers()
    bits, start, span = at % 8, at // 8, (at % 8 + n + 7) // 8
    validity = None if parts[0] is None or not array.null_count else _slice(parts[0], start, span)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        width, name = (4, "utf8") if pa.types.is_string(kind) else (8, "large_utf8")
        if not n or parts[1] is None:
            return name, bytes(width), b"", 0, None, 0
        offsets = _slice(parts[1], at * width, (n + 1) * width)
        first = int.from_bytes(offsets[:width], "little")
        last = int.from_bytes(offsets[-width:], "little")
        data = b"" if parts[2] is None else _slice(parts[2], first, last - first)
        return name, _rebase(offsets, width, first), data, bits, validity, 0
    if pa.types.is_boolean(kind):
        return "bool", _slice(parts[1], start, span) if n else b"", None, bits, validity, 0
    if kind in _PLAIN:
        name, width = _PLAIN[kind]
        scale = 0
    elif pa.types.is_decimal128(kind):
        name, width, scale = "decimal128", 16, kind.scale
    elif pa.types.is_timestamp(kind):
        name, width, scale = ("timestamp_utc" if kind.tz else "timestamp"), 8, 0
    else:
        raise AtollError("E_TYPE", f"Column {column} of type {kind} cannot be a key.", column=column)
    return name, _slice(parts[1], at * width, n * width) if n else b"", None, bits, validity, scale


def _rebase(offsets: bytes, width: int, first: int) -> bytes:
    """Offsets that start at zero."""
    if not first:
        return offsets
    moved = np.frombuffer(offsets, "<i4" if width == 4 else "<i8") - first
    return moved.tobytes()
