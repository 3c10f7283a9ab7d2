"""The commitment to a table: canonical bytes of row chunks, salted leaves, an RFC 6962 tree.

The bytes are defined over values, not over a file format or an Arrow layout, so that the same rows in the
same order give the same bytes whatever the source's batches, slices, library version or file were.

Chunk `i` holds rows `65536 * i` to `65536 * (i + 1)`, the last one what is left. Its canonical bytes are, all
integers little-endian and unsigned unless said otherwise::

    "atoll chunk v1\\0"  u64 index  u32 rows  u32 columns
    per column, in the schema's order:
      u8 type tag  u8 precision  u8 scale          (tags below; precision and scale 0 unless decimal)
      u16 n, n bytes                               name in UTF-8
      u8 has_nulls                                 1 if any value of the chunk is null, else 0
      [rows bytes]                                 only if has_nulls: 1 where a value is present, 0 where null
      values, null slots zero:
        1 int64      i64 each
        2 decimal    16-byte two's complement unscaled integer each
        3 float64    8-byte IEEE 754 each
        4 bool       u8 0 or 1 each
        5 date       i32 each, days since 1970-01-01
        6 timestamp  i64 each, microseconds since 1970-01-01T00:00:00 without zone
        7 string     i32 byte length each, then u64 total and all the UTF-8 bytes one after the other

A leaf is H(0x00 || salt || chunk bytes), with 16 bytes of fresh randomness as salt, so that a digest tells
nothing about a chunk that could be guessed; an inner node is H(0x01 || left || right), with the tree's shape
as in RFC 6962, section 2.1. H is the hash of the node's algorithm suite.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from atoll.crypto.suite import DEFAULT, Hash
from atoll.data.schema import Column, Schema
from atoll.errors import AtollError

CHUNK_ROWS = 65_536
SALT_BYTES = 16
MAX_CHUNK_BYTES = 1 << 30

_TAGS = {"int64": 1, "decimal": 2, "float64": 3, "bool": 4, "date": 5, "timestamp": 6, "string": 7}
_WIDTHS = {"int64": 8, "decimal": 16, "float64": 8, "bool": 1, "date": 4, "timestamp": 8}


def chunks(batches: Iterable[pa.RecordBatch], schema: Schema) -> Iterator[pa.RecordBatch]:
    """Regroups batches of any sizes into chunks of 65,536 rows, the last one shorter; each contiguous."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        while rows + batch.num_rows >= CHUNK_ROWS:
            take = CHUNK_ROWS - rows
            held.append(batch.slice(0, take))
            yield _join(held, schema)
            held, rows = [], 0
            batch = batch.slice(take)
        if batch.num_rows:
            held.append(batch)
            rows += batch.num_rows
    if rows:
        yield _join(held, schema)


def _join(batches: list[pa.RecordBatch], schema: Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.concat_arrays([b.column(i) for b in batches]) for i in range(len(schema))], schema=schema.arrow
    )


def chunk_bytes(chunk: pa.RecordBatch, schema: Schema, index: int) -> bytes:
    """Canonical bytes of chunk `index`, a batch of at most 65,536 rows with the types of `schema.arrow`.

    Raises:
        AtollError: `E_TOO_LARGE` if the chunk has over 1 GiB of values.
    """
    if sys.byteorder != "little":
        raise AtollError("E_INTERNAL", "canonical chunks are made on little-endian machines only")
    if chunk.nbytes > MAX_CHUNK_BYTES:
        raise AtollError(
            "E_TOO_LARGE",
            f"rows {index * CHUNK_ROWS + 1} and following hold over {MAX_CHUNK_BYTES >> 20} MiB",
        )
    out = bytearray(b"atoll chunk v1\0")
    out += struct.pack("<QII", index, chunk.num_rows, len(schema))
    for i, column in enumerate(schema):
        _column(out, chunk.column(i), column)
    return bytes(out)


def _column(out: bytearray, values: pa.Array, column: Column) -> None:
    if values.type != column.arrow:
        raise AtollError("E_TYPE", f"column {column.name!r} has the type {values.type}", column=column.name)
    name = column.name.encode("utf-8")
    out += (
        struct.pack("<BBBH", _TAGS[column.type], column.precision or 0, column.scale or 0, len(name)) + name
    )
    out.append(1 if values.null_count else 0)
    if values.null_count:
        out += _fixed(pc.is_valid(values).cast(pa.uint8()), 1)
        zero = {"string": "", "decimal": Decimal(0), "bool": False}.get(column.type)
        if zero is None:
            zero = pa.scalar(0).cast(pa.int32() if column.type == "date" else pa.int64()).cast(values.type)
        elif column.type == "decimal":
            zero = pa.scalar(zero, values.type)
        values = pc.fill_null(values, zero)
    if column.type == "string":
        lengths = pc.binary_length(values).cast(pa.int32())
        out += _fixed(lengths, 4)
        data = _text(values)
        out += struct.pack("<Q", len(data))
        out += data
        return
    if column.type == "bool":
        values = values.cast(pa.uint8())
    out += _fixed(values, _WIDTHS[column.type])


def _fixed(values: pa.Array, width: int) -> memoryview:
    """The value bytes of an array of fixed width without nulls, wherever it starts in its buffer."""
    buffer = values.buffers()[1]
    return memoryview(buffer).cast("B")[values.offset * width : (values.offset + len(values)) * width]


def _text(values: pa.Array) -> memoryview:
    _, offsets, data = values.buffers()
    if data is None or len(values) == 0:
        return memoryview(b"")
    at = memoryview(offsets).cast("B").cast("i")
    return memoryview(data).cast("B")[at[values.offset] : at[values.offset + len(values)]]


def leaf(salt: bytes, chunk: bytes, using: Hash = DEFAULT.hash) -> bytes:
    """The leaf hash of one chunk."""
    if len(salt) != SALT_BYTES:
        raise AtollError("E_DATA", f"a salt has {SALT_BYTES} bytes")
    return using.run(b"\x00" + salt + chunk)


def root(leaves: list[bytes], using: Hash = DEFAULT.hash) -> bytes:
    """Root of the Merkle tree over leaf hashes (RFC 6962, section 2.1), built level by level.

    Pairing neighbours and lifting an odd last node unchanged gives the same tree as the RFC's split at the
    largest power of two. The root of no leaves is the hash of nothing.
    """
    if not leaves:
        return using.run(b"")
    level = leaves
    while len(level) > 1:
        pairs = [using.run(b"\x01" + a + b) for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0]
