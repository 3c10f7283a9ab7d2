"""Keys of a table larger than memory: the same digests, rows and multiplicities as `key_digests`, written to files.

The rows come in chunks. Each is made distinct in memory and goes to a spool that is cut by the last byte of the digest,
so that one key's digests of all chunks lie in one of 256 parts. Each part is made distinct in memory again; then the
chunks pass once more, in the order of the rows, and keys are numbered by first appearance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atoll import _core
from atoll.crypto.files import FileBytes, disk_errors
from atoll.crypto.keys import DIGEST_BYTES, NO_KEY, check_columns, digests_of, key_batches
from atoll.crypto.spool import Beside, Spool
from atoll.crypto.stream import kernel_errors
from atoll.errors import AtollError

CHUNK_ROWS = 1 << 18
"""Rows that are made distinct at once, about 100 bytes each."""
PARTS = 256
_DIGEST = f"V{DIGEST_BYTES}"
_ENTRY = np.dtype([("digest", _DIGEST), ("number", "<u4"), ("count", "<u4")])
_FOUND = np.dtype([("first", "<u4"), ("count", "<u4")])
Flags = npt.NDArray[np.bool_]
U32 = npt.NDArray[np.uint32]


@dataclass(frozen=True, repr=False)
class KeyFiles:
    """The distinct keys of a table in files: as a `KeySet`, with less of it in memory.

    Attributes:
        digests: 32 bytes per distinct key, in order of first appearance.
        rows: u32 little-endian per row, the index of its key; 2^32 - 1 where the row has none.
        multiplicity: u32 little-endian per distinct key, the number of rows that have it (at least 1).
        n_null: rows without key.
        duplicates: distinct keys that stand on more than one row.
    """

    digests: FileBytes
    rows: FileBytes
    multiplicity: FileBytes
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
        return f"KeyFiles(n_rows={self.n_rows}, n_unique={self.n_unique}, n_null={self.n_null})"


def key_files(
    table: pa.Table | Iterable[pa.RecordBatch],
    columns: Sequence[str],
    folder: Path,
    steps: Mapping[str, Sequence[str]] | None = None,
    threads: int = 1,
    *,
    on_invalid: Literal["refuse", "no_key"] = "refuse",
    chunk_rows: int = CHUNK_ROWS,
) -> KeyFiles:
    """The keys of `key_digests`, byte by byte the same: `digests.bin`, `rows.bin` and `multiplicity.bin` in `folder`.

    Memory follows from `chunk_rows`, not from the table: about 100 bytes for each, and 150 bytes for each 256th key.
    While it runs it takes up to 92 bytes of disk a row in `folder`, of which 40 stay. The files hold digests of the
    keys under no secret, so they are as sensitive as the keys: mode 0600, in a folder of mode 0700.

    Args:
        folder: a folder that is not there yet; it is removed again if anything goes wrong.
        chunk_rows: rows that are made distinct at once, at least 1.

    Raises:
        AtollError: what `key_digests` raises; `E_CONFLICT` if the folder is there, `E_DISK` if the disk is full.
    """
    steps = check_columns(columns, steps, threads)
    if chunk_rows < 1:
        raise AtollError("E_FORMAT", f"A chunk has at least one row, not {chunk_rows}.")
    with disk_errors():
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            raise AtollError("E_CONFLICT", f"{folder} is there already.") from None
    try:
        making = _Making(folder, threads)
        making.spool_chunks(key_batches(table, columns), columns, steps, on_invalid, chunk_rows)
        return making.finish()
    except BaseException:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
        raise


class _Making:
    """The passes over the keys of one table."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._folder, self._threads = folder, threads
        self._spool = Spool(folder, _ENTRY, PARTS)
        # Keys of each chunk are entries, numbered through all chunks; rows name their key in their own chunk.
        self._starts: list[int] = [0]
        self._local = FileBytes.scratch(folder)
        self._rows: list[int] = [0]
        self._nulls = 0

    def spool_chunks(
        self,
        batches: Iterable[pa.RecordBatch],
        columns: Sequence[str],
        steps: Mapping[str, Sequence[str]],
        on_invalid: str,
        chunk_rows: int,
    ) -> None:
        """The first pass: digests of the rows, distinct within each chunk."""
        for chunk in _chunks(batches, chunk_rows):
            first, start = self._rows[-1], self._starts[-1]
            if first + sum(batch.num_rows for batch in chunk) > NO_KEY:
                raise AtollError("E_TOO_LARGE", "a table has at most 2^32 - 1 rows")
            found = digests_of(chunk, columns, steps, self._threads, on_invalid, first)
            entries = np.empty(found.n_unique, _ENTRY)
            entries["digest"] = np.frombuffer(found.digests, _DIGEST)
            entries["number"] = np.arange(start, start + found.n_unique)
            entries["count"] = np.frombuffer(found.multiplicity, "<u4")
            self._spool.append(
                entries, np.frombuffer(found.digests, np.uint8)[DIGEST_BYTES - 1 :: DIGEST_BYTES]
            )
            self._local.append(found.rows)
            self._starts.append(start + found.n_unique)
            self._rows.append(first + found.n_rows)
            self._nulls += found.n_null

    def _first_entries(self) -> Beside:
        """The second pass: for each entry the first one of its key, and there how many rows the key has."""
        beside = self._spool.beside(_FOUND)
        for part in range(PARTS):
            entries = self._spool.take(part)
            with kernel_errors():
                numbers = _core.key_numbers(entries["digest"].tobytes(), self._threads)
            keys = np.frombuffer(numbers, "<u4").astype(np.int64)
            # Keys are numbered as they appear: a larger number than all before is a new key.
            fresh = np.diff(np.maximum.accumulate(keys), prepend=-1) > 0
            found = np.zeros(len(entries), _FOUND)
            found["first"] = entries["number"][fresh][keys]
            found["count"][fresh] = np.bincount(keys, weights=entries["count"])
            beside.put(part, found)
        return beside

    def finish(self) -> KeyFiles:
        """The last pass: numbers of keys and rows, in the order of the rows."""
        beside = self._first_entries()
        names = ("digests.bin", "rows.bin", "multiplicity.bin")
        digests, rows, multiplicity = (FileBytes.create(self._folder / name) for name in names)
        ranks, keys, duplicates = _Ranks(self._starts), 0, 0
        chunks = zip(self._spool.chunks(), beside.chunks(), strict=True)
        for at, (entries, found) in enumerate(chunks):
            start, count = self._starts[at], len(entries)
            order = np.empty(count, np.intp)
            order[entries["number"] - np.uint32(start)] = np.arange(count)
            first, counts = found["first"][order], found["count"][order]
            fresh = first == np.arange(start, start + count, dtype=np.uint32)
            ranks.add(fresh)
            digests.append(entries["digest"][order[fresh]].tobytes())
            multiplicity.append(counts[fresh].tobytes())
            rows.append(self._numbered(at, ranks.of(first)))
            keys += int(fresh.sum())
            duplicates += int((counts[fresh] > 1).sum())
        for spent in (self._spool, beside, self._local):
            spent.close()
        return KeyFiles(digests, rows, multiplicity, self._nulls, duplicates)

    def _numbered(self, chunk: int, keys: U32) -> U32:
        """The key of each row of a chunk, of whose own keys `keys` are the numbers."""
        start, stop = self._rows[chunk], self._rows[chunk + 1]
        local = np.frombuffer(self._local.read(4 * start, 4 * (stop - start)), "<u4")
        has_key = local != NO_KEY
        out = np.full(len(local), NO_KEY, "<u4")
        out[has_key] = keys[local[has_key]]
        return out


class _Ranks:
    """How many keys are new before an entry: one bit an entry, and a sum for each 64 of them."""

    def __init__(self, starts: list[int]) -> None:
        self._starts = np.array(starts[:-1], np.int64)
        counts = np.diff(starts)
        # Each chunk begins a word.
        self._words = np.concatenate((np.zeros(1, np.int64), np.cumsum(-(-counts // 64))))
        self._bits = np.zeros(int(self._words[-1]), "<u8")
        self._before = np.zeros(int(self._words[-1]), np.uint32)
        self._chunks = self._keys = 0

    def add(self, fresh: Flags) -> None:
        """Which entries of the next chunk are the first of their key."""
        begin, end = self._words[self._chunks : self._chunks + 2]
        packed = np.packbits(fresh, bitorder="little")
        self._bits[begin:end].view(np.uint8)[: len(packed)] = packed
        sums = np.cumsum(np.bitwise_count(self._bits[begin:end]), dtype=np.int64)
        self._before[begin:end] = self._keys + np.concatenate((np.zeros(1, np.int64), sums))[:-1]
        self._chunks, self._keys = self._chunks + 1, self._keys + int(fresh.sum())

    def of(self, entries: U32) -> U32:
        """The numbers of the keys whose first entries these are; all of chunks that were added."""
        chunk = np.searchsorted(self._starts, entries, side="right") - 1
        within = entries.astype(np.int64) - self._starts[chunk]
        word = self._words[chunk] + (within >> 6)
        below = (np.uint64(1) << (within & 63).astype(np.uint64)) - np.uint64(1)
        out: U32 = self._before[word] + np.bitwise_count(self._bits[word] & below).astype(np.uint32)
        return out


def _chunks(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[list[pa.RecordBatch]]:
    """Batches together, `rows` rows at least in each but the last."""
    chunk: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        chunk.append(batch)
        count += batch.num_rows
        if count >= rows:
            yield chunk
            chunk, count = [], 0
    if chunk:
        yield chunk
