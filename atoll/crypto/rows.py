"""The kernel of the row tree: records of rows, in order of a keyed tag of the row's id, and the tree above them.

A record is 64 bytes: the tag, then the inner commitment of the row. What both are made of stands in `rust/rows`;
the same in Python, for verifiers, in `tag`, `inner`, `leaf` and `node`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pyarrow as pa

from atoll import _core
from atoll.crypto.keys import column_buffers
from atoll.crypto.stream import kernel_errors
from atoll.crypto.suite import Hash, digest, hash_named
from atoll.errors import AtollError

# The kernel is written for this hash; a digest of another one names another kernel.
HASH: Hash = hash_named("sha256")
SECRET_BYTES = 32
RECORD_BYTES = 64
TAG_BYTES = 32
SALT_BYTES = 16
GROUPS = 256

_ROW = b"atoll row v1\0"
_LEAF = b"\0atoll row leaf v1\0"
_TAG_KEY = b"atoll row tag key commitment v1\0"


class RowHasher:
    """Records of a table's rows, batch by batch.

    Args:
        secret: 32 bytes from the operating system, fresh for each version of a table.
        columns: names of all columns in the schema's order.
        id: the columns that identify a row, in the order of the key; some of `columns`.
        threads: worker threads, 1 to 1024; the result does not depend on it.

    Raises:
        AtollError: `E_FORMAT` for a secret of another length, `E_COLUMN` for an id of unknown columns.
    """

    def __init__(self, secret: bytes, columns: Sequence[str], id: Sequence[str], threads: int) -> None:
        self._columns = list(columns)
        unknown = [name for name in id if name not in self._columns]
        if unknown or not id:
            raise AtollError("E_COLUMN", f"an id is made of the table's columns; {unknown} are none")
        with kernel_errors():
            places = [self._columns.index(name) for name in id]
            self._kernel = _core.RowHasher(secret, self._columns, places, threads)

    def records(self, batch: pa.RecordBatch) -> bytes:
        """Records of the next rows, 64 bytes each, in the order of the rows; `E_TYPE` for an id of floats."""
        with kernel_errors():
            return self._kernel.push(
                [_column(batch.column(i), name) for i, name in enumerate(self._columns)], batch.num_rows
            )

    @property
    def without_id(self) -> int:
        """Rows so far that have a null in a column of the id."""
        return self._kernel.without_id

    def tag_key(self) -> bytes:
        """The 32-byte key of the tags; tells nothing of the salts."""
        return self._kernel.tag_key()

    def salt(self, row: int) -> bytes:
        """The 16-byte salt of row number `row`, from 0."""
        return self._kernel.salt(row)


def _column(values: pa.Array, name: str) -> tuple[str, bytes, bytes | None, int, bytes | None, int]:
    if pa.types.is_float64(values.type):
        _, *rest = column_buffers(values.view(pa.int64()), name)
        return "float64", *rest  # type: ignore[return-value]
    return column_buffers(values, name)


class RowTree:
    """A tree over sorted records that grows to the right; one hash for each complete subtree is in memory."""

    def __init__(self, threads: int) -> None:
        with kernel_errors():
            self._kernel = _core.RowTree(threads)

    def push(self, records: bytes) -> None:
        """Adds sorted records."""
        with kernel_errors():
            self._kernel.push(records)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._kernel.size

    def root(self) -> bytes:
        """The root (RFC 6962, 2.1); that of no leaves is the hash of nothing."""
        return self._kernel.root()


def partition(records: bytes, byte: int) -> tuple[bytes, tuple[int, ...]]:
    """Records in 256 groups by byte number `byte` of their tags, and the number of records of each group.

    Each group keeps the order that its records had.
    """
    with kernel_errors():
        parts, counts = _core.rows_partition(records, byte)
    return parts, struct.unpack(f"<{GROUPS}I", counts)


def sort(records: bytes) -> bytes:
    """Records in order of their tags; those of one tag keep their order."""
    with kernel_errors():
        return _core.rows_sort(records)


# What a verifier computes itself.


def tag(tag_key: bytes, key_digest: bytes, using: Hash = HASH) -> bytes:
    """The tag of the id with this 32-byte key digest (`atoll.crypto.keys`)."""
    return using.mac(tag_key, b"\x01" + key_digest)


def inner(salt: bytes, row: bytes, using: Hash = HASH) -> bytes:
    """The inner commitment of a row's canonical bytes."""
    return using.run(_ROW + salt + row)


def leaf(tag: bytes, inner: bytes, using: Hash = HASH) -> bytes:
    """The leaf of a row."""
    return using.run(_LEAF + tag + inner)


def node(left: bytes, right: bytes, using: Hash = HASH) -> bytes:
    """An inner node."""
    return using.run(b"\x01" + left + right)


def tag_key_commitment(tag_key: bytes) -> str:
    """`algorithm:hex` commitment to a tag key: 32 random bytes need no opening."""
    return digest(_TAG_KEY + tag_key)
