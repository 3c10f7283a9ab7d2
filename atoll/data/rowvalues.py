"""The values of a row as one text each, and as the canonical bytes that a row tree commits to.

A value has exactly one text, so that a proof has exactly one form:

    int64, decimal   digits; a decimal has all digits of its scale
    float64          the shortest decimal text that reads back as the same number
    bool             true, false
    date             2026-01-31
    timestamp        2026-01-31T23:59:59.000000
    string           itself

A date outside the years 1 to 9999 is written as its days since 1970-01-01, such a timestamp as its microseconds.
"""

from __future__ import annotations

import datetime as dt
import math
import struct
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from atoll.crypto.keys import key_digests
from atoll.data.convert import Reading, convert, want
from atoll.data.schema import Column, Schema
from atoll.errors import AtollError

Value = str | int | float | bool | Decimal
"""A date is its days and a timestamp its microseconds since 1970-01-01."""

# The type tags of `atoll.data.commitment` and `rust/rows`.
_TAGS = {"int64": 1, "decimal": 2, "float64": 3, "bool": 4, "date": 5, "timestamp": 6, "string": 7}
_FIRST, _ZERO = dt.date(1970, 1, 1), dt.datetime(1970, 1, 1)
_MICROSECOND = dt.timedelta(microseconds=1)


def values(array: pa.Array, column: Column) -> list[Value | None]:
    """The values of an array of the column's type."""
    if column.type == "date":
        array = array.cast(pa.int32())
    elif column.type == "timestamp":
        array = array.cast(pa.int64())
    found: list[Value | None] = array.to_pylist()
    return found


def array(value: Value, column: Column) -> pa.Array:
    """One value as an array of the column's type."""
    if column.type == "date":
        return pa.array([value], pa.int32()).cast(column.arrow)
    if column.type == "timestamp":
        return pa.array([value], pa.int64()).cast(column.arrow)
    return pa.array([value], column.arrow)


def text(value: Value, column: Column) -> str:
    """The one text of a value."""
    match column.type:
        case "bool":
            return "true" if value else "false"
        case "decimal":
            return format(Decimal(value), f".{column.scale}f")
        case "float64":
            return repr(float(value))
        case "date":
            try:
                return (_FIRST + dt.timedelta(days=int(value))).isoformat()
            except OverflowError:
                return str(value)
        case "timestamp":
            try:
                return (_ZERO + int(value) * _MICROSECOND).isoformat(timespec="microseconds")
            except OverflowError:
                return str(value)
        case _:
            return str(value)


def value(words: str, column: Column) -> Value:
    """The value that has this text; `E_FORMAT` for a text that is not the one text of a value of the type."""
    try:
        found = _value(words, column)
        # Back from the array, as there the decimal -0.00 is 0.00.
        stored = values(array(found, column), column)[0]
        finite = not isinstance(stored, float) or math.isfinite(stored)
        if stored is not None and finite and text(stored, column) == words:
            return stored
    except (ValueError, ArithmeticError, TypeError, pa.ArrowException):
        pass  # TypeError: a time with a zone
    raise AtollError("E_FORMAT", f"column {column.name!r}: {words!r:.80} is not written as a {column.type}")


def _value(words: str, column: Column) -> Value:
    match column.type:
        case "int64":
            return int(words)
        case "decimal":
            return Decimal(words)
        case "float64":
            return float(words)
        case "bool":
            return words == "true"
        case "date":
            return (dt.date.fromisoformat(words) - _FIRST).days if _dated(words) else int(words)
        case "timestamp":
            return (dt.datetime.fromisoformat(words) - _ZERO) // _MICROSECOND if _dated(words) else int(words)
        case _:
            words.encode("utf-8")
            return words


def _dated(words: str) -> bool:
    return "-" in words[1:]


def row_bytes(row: Sequence[Value | None], schema: Schema) -> bytes:
    """The canonical bytes of a row; its layout stands in `rust/rows/src/cells.rs`."""
    out = bytearray(struct.pack("<I", len(schema)))
    for column, item in zip(schema, row, strict=True):
        out += struct.pack("<BB", _TAGS[column.type], 0 if item is None else 1)
        if item is not None:
            data = _bytes(item, column)
            out += struct.pack("<I", len(data)) + data
    return bytes(out)


def _bytes(item: Any, column: Column) -> bytes:
    match column.type:
        case "int64" | "timestamp":
            return struct.pack("<q", item)
        case "decimal":
            unscaled = int(Decimal(item).scaleb(column.scale or 0))
            return unscaled.to_bytes(16, "little", signed=True)
        case "float64":
            return struct.pack("<d", item)
        case "bool":
            return struct.pack("<?", item)
        case "date":
            return struct.pack("<i", item)
        case _:
            return str(item).encode("utf-8")


def id_digest(item: Sequence[Value], columns: Iterable[Column]) -> bytes:
    """The 32-byte key digest of an id."""
    columns = list(columns)
    table = pa.table([array(v, c) for v, c in zip(item, columns, strict=True)], [c.name for c in columns])
    return key_digests(table, [c.name for c in columns]).digests


def read_id(texts: Sequence[Any], columns: Sequence[Column]) -> list[Value]:
    """An id as a person writes it, read as a CSV field of the columns' types would be.

    Raises:
        AtollError: `E_FORMAT` for another number of values than columns, or none; `E_TYPE` names the column.
    """
    names = ", ".join(c.name for c in columns)
    if len(texts) != len(columns):
        raise AtollError(
            "E_FORMAT",
            f"an id of this table has {len(columns)} values ({names}), not {len(texts)}",
            cure="Give one value for each of these columns; put a value with a comma in double quotes.",
        )
    found = []
    for words, column in zip(texts, columns, strict=True):
        if not isinstance(words, str):
            raise AtollError(
                "E_FORMAT",
                f"column {column.name!r}: an id is written as text, and a row without one cannot be asked for",
                column=column.name,
            )
        read = convert(pa.array([words], pa.string()), column, Reading())
        item = values(read.values, column)[0]
        if read.bad is not None or item is None:
            raise AtollError(
                "E_TYPE",
                f"column {column.name!r}: {words!r:.80} {want(column, Reading())}",
                column=column.name,
                fault="caller",
                cure="Write the id as the table's column has it: `atoll data show` names the type.",
            )
        found.append(item)
    return found
