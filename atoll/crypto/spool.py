"""Records on disk cut into parts, written chunk by chunk and read part by part.

Every chunk is sorted by part before it is written behind the earlier ones, and a table says where its parts begin: one
file, whatever the number of parts, written in one go and read in as many pieces as there are chunks and parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from atoll.crypto.files import FileBytes

Records = npt.NDArray[Any]
MOST_PARTS = 1 << 16


class Spool:
    """Records in a file without a name, mode 0600: gone with the process, however that ends.

    Args:
        folder: where the file is.
        dtype: what a record is; any dtype of fixed size.
        parts: number of parts, 1 to 2^16.
    """

    def __init__(self, folder: Path, dtype: npt.DTypeLike, parts: int) -> None:
        if not 1 <= parts <= MOST_PARTS:
            raise ValueError(f"a spool has 1 to {MOST_PARTS} parts, got {parts}")
        self.dtype, self.parts = np.dtype(dtype), parts
        self._file = FileBytes.scratch(folder)
        # For each chunk the places of its parts' first records, and of what follows its last.
        self._places: list[npt.NDArray[np.int64]] = []

    def append(self, records: Records, parts: npt.NDArray[Any]) -> None:
        """Writes a chunk, and for each record the number of its part. Records of one part keep their order."""
        parts = parts.astype(np.uint16, copy=False)
        self.append_sorted(
            records[np.argsort(parts, kind="stable")], np.bincount(parts, minlength=self.parts)
        )

    def append_sorted(self, records: Records, loads: npt.ArrayLike) -> None:
        """Writes a chunk that is sorted by part; `loads` are the records of each part."""
        ends = np.cumsum(loads, dtype=np.int64)
        if len(ends) != self.parts or ends[-1] != len(records) or records.dtype != self.dtype:
            raise ValueError("the records are not those of a chunk in parts")
        first = len(self._file) // self.dtype.itemsize
        self._file.append(np.ascontiguousarray(records).view(np.uint8))
        self._places.append(np.concatenate((np.zeros(1, np.int64), ends)) + first)

    def pieces(self, part: int, least: int = 1) -> Iterator[Records]:
        """The records of a part in the order in which they were written, at least so many at a time but the last."""
        found: list[Records] = []
        count = 0
        for places in self._places:
            if places[part] < places[part + 1]:
                found.append(self._read(int(places[part]), int(places[part + 1])))
                count += len(found[-1])
            if count >= least:
                yield np.concatenate(found)
                found, count = [], 0
        if found:
            yield np.concatenate(found)

    def take(self, part: int) -> Records:
        """The records of a part, in the order in which they were written."""
        found = list(self.pieces(part))
        return np.concatenate(found) if found else np.empty(0, self.dtype)

    def chunks(self) -> Iterator[Records]:
        """The chunks as they were written: sorted by part."""
        for places in self._places:
            yield self._read(int(places[0]), int(places[-1]))

    def _read(self, start: int, stop: int) -> Records:
        size = self.dtype.itemsize
        return np.frombuffer(self._file.read(start * size, (stop - start) * size), self.dtype)

    def beside(self, dtype: npt.DTypeLike) -> Beside:
        """A file with one record for each of those that are in the spool now."""
        return Beside(self._file.folder, np.dtype(dtype), self._places)

    def close(self) -> None:
        """Frees the disk."""
        self._file.close()


class Beside:
    """What is found out about the records of a spool: written part by part, read chunk by chunk."""

    def __init__(self, folder: Path, dtype: np.dtype[Any], places: list[npt.NDArray[np.int64]]) -> None:
        self.dtype, self._places = dtype, places
        self._file = FileBytes.scratch(folder)

    def put(self, part: int, records: Records) -> None:
        """Writes one record for each of the spool's records of that part, in the order of `Spool.take`."""
        size, done = self.dtype.itemsize, 0
        for places in self._places:
            start, count = int(places[part]), int(places[part + 1] - places[part])
            if count:
                part_of = np.ascontiguousarray(records[done : done + count])
                self._file.write(start * size, part_of.view(np.uint8))
            done += count
        if done != len(records):
            raise ValueError("as many records as the spool has in that part")

    def chunks(self) -> Iterator[Records]:
        """Chunk by chunk, in the order of `Spool.chunks`."""
        size = self.dtype.itemsize
        for places in self._places:
            start, stop = int(places[0]), int(places[-1])
            yield np.frombuffer(self._file.read(start * size, (stop - start) * size), self.dtype)

    def close(self) -> None:
        """Frees the disk."""
        self._file.close()
