"""Records of many keys with one row each, made column by column: as `records.encode_rows` makes them one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import cbor2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_Bytes = npt.NDArray[np.uint8]
_Numbers = npt.NDArray[np.int64]
# First bytes of CBOR items (RFC 8949, section 3.1).
_POSITIVE, _NEGATIVE, _TEXT, _LIST = 0x00, 0x20, 0x60, 0x80
_FALSE, _TRUE, _NULL = 0xF4, 0xF5, 0xF6
_HEAD_BYTES = 2


def plain(value: Any) -> Any:
    """A value as CBOR holds it without tags: decimals, times and infinities as text, as their type reads them."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # as JSON cannot say it
    return value


@dataclass(frozen=True)
class _Part:
    """A piece of each row's record: how long it is, and the pieces of all rows one after the other."""

    lengths: _Numbers
    data: _Bytes

    def write(self, flat: _Bytes, starts: _Numbers) -> None:
        """Puts each piece where it begins."""
        before = np.cumsum(self.lengths) - self.lengths
        within = np.arange(len(self.data)) - np.repeat(before, self.lengths)
        flat[np.repeat(starts, self.lengths) + within] = self.data


def _heads(major: Any, numbers: npt.NDArray[np.uint64], null: npt.NDArray[np.bool_]) -> _Part:
    """The shortest head of each item: its kind and a number."""
    size = np.select([numbers < 24, numbers < 1 << 8, numbers < 1 << 16, numbers < 1 << 32], [0, 1, 2, 4], 8)
    size[null] = 0
    digits = numbers.astype(">u8").view(np.uint8).reshape(-1, 8)
    matrix = np.zeros((len(numbers), 9), np.uint8)
    for width, code in ((0, None), (1, 24), (2, 25), (4, 26), (8, 27)):
        of = size == width
        matrix[of, 0] = np.broadcast_to(major, len(numbers))[of] + (digits[of, 7] if code is None else code)
        matrix[of, 1 : 1 + width] = digits[of, 8 - width :]
    matrix[null, 0] = _NULL
    lengths = size.astype(np.int64) + 1
    return _Part(lengths, matrix[np.arange(9) < lengths[:, None]])


def _integers(column: pa.Array, null: npt.NDArray[np.bool_]) -> _Part:
    values = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    major = np.where(values < 0, _NEGATIVE, _POSITIVE).astype(np.uint8)
    return _heads(major, np.where(values < 0, ~values, values).astype(np.uint64), null)


def _texts(column: pa.Array, null: npt.NDArray[np.bool_]) -> Iterator[_Part]:
    filled = pc.fill_null(column, "")
    _, places, data = filled.buffers()
    offsets = np.frombuffer(places, np.int32)[filled.offset : filled.offset + len(filled) + 1]
    lengths = np.diff(offsets).astype(np.int64)
    yield _heads(np.uint8(_TEXT), lengths.astype(np.uint64), null)
    raw = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    yield _Part(lengths, raw[offsets[0] : offsets[-1]])


def _parts(column: pa.Array) -> Iterator[_Part]:
    null = column.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_boolean(column.type):
        truth = pc.fill_null(column, False).to_numpy(zero_copy_only=False)
        bytes_ = np.where(null, _NULL, np.where(truth, _TRUE, _FALSE)).astype(np.uint8)
        yield _Part(np.ones(len(column), np.int64), bytes_)
    elif pa.types.is_int64(column.type):
        yield _integers(column, null)
    elif pa.types.is_string(column.type):
        yield from _texts(column, null)
    else:
        items = [cbor2.dumps(plain(value)) for value in column.to_pylist()]
        yield _Part(
            np.array([len(item) for item in items], np.int64), np.frombuffer(b"".join(items), np.uint8)
        )


def encode_batch(batch: pa.RecordBatch, names: Sequence[str], length: int) -> tuple[_Bytes, int | None]:
    """Records of `length` bytes, one for each row; and the place of the first row that takes more, if one does.

    Args:
        names: 1 to 256 columns of the types that tables have.
    """
    rows = len(batch)
    # One row of so many values.
    head = bytes([_LIST + 1]) + bytes(
        _heads(np.uint8(_LIST), np.array([len(names)], np.uint64), np.zeros(1, bool)).data
    )
    parts = [part for name in names for part in _parts(batch.column(name))]
    sizes = len(head) + sum((part.lengths for part in parts), np.zeros(rows, np.int64))
    too_long = np.flatnonzero(sizes + _HEAD_BYTES > length)
    out = np.zeros((rows, length), np.uint8)
    if len(too_long):
        return out, int(too_long[0])
    out[:, :_HEAD_BYTES] = sizes.astype("<u2").view(np.uint8).reshape(-1, _HEAD_BYTES)
    begin = _HEAD_BYTES + len(head)
    out[:, _HEAD_BYTES:begin] = np.frombuffer(head, np.uint8)
    flat, starts = out.reshape(-1), np.arange(rows, dtype=np.int64) * length + begin
    for part in parts:
        part.write(flat, starts)
        starts += part.lengths
    return out, None
