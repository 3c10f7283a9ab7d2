"""The row tree of a version: built from its rows in bounded memory, however many there are.

Beside the tree over chunks (`atoll.data.commitment`) a table with a key gets a second one with a leaf for each
row, in order of a keyed tag of the row's id (`rust/rows` has every byte of it). Records of rows, 64 bytes each,
wait in a file until all are there; they are grouped by the first byte of their tags, so that one group at a time
is sorted in memory. A group that is too large for that, as in a table whose key is no key, is split by the next
byte, unless all its tags are equal: then it is in order already.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from atoll.crypto.rows import (
    GROUPS,
    HASH,
    RECORD_BYTES,
    SECRET_BYTES,
    TAG_BYTES,
    RowHasher,
    RowTree,
    partition,
    sort,
    tag_key_commitment,
)
from atoll.crypto.suite import digest_bytes
from atoll.data.schema import Schema
from atoll.errors import AtollError

THREADS = 2
_WRITE_BYTES = 16 << 20
_SORT_BYTES = 32 << 20

_Extent = tuple[int, int]  # offset and length in the file
_Groups = list[list[_Extent]]


@dataclass(frozen=True)
class RowKey:
    """What a version says of its row tree besides the root.

    Attributes:
        columns: the columns that identify a row.
        commitment: `algorithm:hex` of the key of the tags, which the owner shows with a proof.
        without_id: rows with a null in one of these columns. They are leaves too, each under a tag of its own,
            and no proof can be asked for them.
    """

    columns: tuple[str, ...]
    commitment: str
    without_id: int

    def document(self) -> dict[str, Any]:
        """The part `row_key` of a version's document."""
        return {"columns": list(self.columns), "commitment": self.commitment, "without_id": self.without_id}

    @classmethod
    def from_json(cls, body: Any) -> RowKey:
        """Reads that part; `E_FORMAT` for another form."""
        if not isinstance(body, dict) or set(body) != {"columns", "commitment", "without_id"}:
            raise AtollError("E_FORMAT", "a row key has columns, commitment and without_id")
        columns, count = body["columns"], body["without_id"]
        named = isinstance(columns, list) and columns and all(isinstance(c, str) for c in columns)
        if not named or len(set(columns)) != len(columns) or type(count) is not int or count < 0:
            raise AtollError("E_FORMAT", "a row key names columns and counts the rows without id")
        if not isinstance(body["commitment"], str):
            raise AtollError("E_FORMAT", "a row key has a commitment")
        digest_bytes(body["commitment"])
        return cls(tuple(columns), body["commitment"], count)


def check_key(schema: Schema, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns if they can identify rows.

    Raises:
        AtollError: `E_COLUMN` for none, a repeated or an unknown one; `E_TYPE` for one of floats, which are equal
            by accident only.
    """
    if not columns or len(set(columns)) != len(columns):
        raise AtollError("E_COLUMN", f"a key names one or more columns, each once, not {list(columns)}")
    for column in schema.select(columns):
        if column.type == "float64":
            raise AtollError(
                "E_TYPE",
                f"column {column.name!r} is float64, which cannot identify rows",
                column=column.name,
                fault="caller",
                cure="Declare the column as decimal, int64 or string, or give another key first.",
            )
    return tuple(columns)


def new_secret() -> bytes:
    """The secret of a new version's tags and salts."""
    return os.urandom(SECRET_BYTES)


class RowRecords:
    """Records of a version's rows: added in order of the rows, given back in order of their tags.

    A context manager; its file is in `folder`, has no name, and takes 64 bytes a row.

    Args:
        folder: of the node, for the file.
        schema: the version's columns.
        columns: those that identify a row; see `check_key`.
        secret: of `new_secret`.
    """

    def __init__(self, folder: Path | None, schema: Schema, columns: Sequence[str], secret: bytes) -> None:
        self.columns = check_key(schema, columns)
        self.rows = 0
        self._hasher = RowHasher(secret, schema.names, self.columns, THREADS)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115, closed by __exit__
        self._waiting = bytearray()
        self._groups: _Groups = [[] for _ in range(GROUPS)]

    def __enter__(self) -> RowRecords:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def key(self) -> RowKey:
        """What the version says of the tree, once all rows are added."""
        return RowKey(self.columns, tag_key_commitment(self._hasher.tag_key()), self._hasher.without_id)

    def tag_key(self) -> bytes:
        """The key of the tags."""
        return self._hasher.tag_key()

    def salt(self, row: int) -> bytes:
        """The salt of row number `row`."""
        return self._hasher.salt(row)

    def push(self, batch: pa.RecordBatch) -> bytes:
        """Adds the next rows, and gives their records in the order of the rows."""
        records = self._hasher.records(batch)
        self.rows += batch.num_rows
        self._waiting += records
        if len(self._waiting) >= _WRITE_BYTES:
            self._spill()
        return records

    def _spill(self) -> None:
        if self._waiting:
            self._write(bytes(self._waiting), 0, self._groups)
            self._waiting.clear()

    def _write(self, records: bytes, byte: int, groups: _Groups) -> None:
        parts, counts = partition(records, byte)
        at = self._file.seek(0, os.SEEK_END)
        self._file.write(parts)
        for group, count in zip(groups, counts, strict=True):
            if count:
                group.append((at, count * RECORD_BYTES))
                at += count * RECORD_BYTES

    def _read(self, extents: list[_Extent]) -> Iterator[bytes]:
        for at, length in extents:
            self._file.seek(at)
            yield self._file.read(length)

    def sorted(self) -> Iterator[bytes]:
        """All records in order of their tags, those of one tag in order of their rows, in pieces."""
        self._spill()
        yield from self._sorted(self._groups, 0)

    def _sorted(self, groups: _Groups, byte: int) -> Iterator[bytes]:
        for extents in groups:
            size = sum(length for _, length in extents)
            if size == 0:
                continue
            if size <= _SORT_BYTES:
                yield sort(b"".join(self._read(extents)))
            elif self._one_tag(extents):
                yield from self._read(extents)
            else:
                finer: _Groups = [[] for _ in range(GROUPS)]
                for records in self._read(extents):
                    self._write(records, byte + 1, finer)
                yield from self._sorted(finer, byte + 1)

    def _one_tag(self, extents: list[_Extent]) -> bool:
        first: Any = None
        for records in self._read(extents):
            tags = np.frombuffer(records, np.uint8).reshape(-1, RECORD_BYTES)[:, :TAG_BYTES]
            first = tags[0].copy() if first is None else first
            if not (tags == first).all():
                return False
        return True

    def root(self) -> str:
        """`algorithm:hex` of the tree's root, once all rows are added."""
        tree = RowTree(THREADS)
        for piece in self.sorted():
            tree.push(piece)
        return f"{HASH.name}:{tree.root().hex()}"
