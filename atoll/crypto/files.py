"""Bytes and numbers on disk that are read in pieces: what is larger than memory, behind the face of what is not.

Files are read and written at places, not mapped: a mapped page counts as memory of the process until the system takes
it back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from atoll.errors import AtollError

BLOCK = 1 << 18
"""Numbers that are read at once."""


@contextmanager
def disk_errors() -> Iterator[None]:
    """What the system says of a disk, above all that it is full, is `E_DISK`."""
    try:
        yield
    except OSError as error:
        raise AtollError("E_DISK", f"A file of keys cannot be written or read: {error.strerror}.") from None


def scratch(folder: Path) -> BinaryIO:
    """A file without a name in `folder`, mode 0600: gone with the process, however that ends."""
    # Here, since most joins need no file and an import takes milliseconds.
    import tempfile

    return tempfile.TemporaryFile(dir=folder, buffering=0)


class FileBytes:
    """Bytes in a file: `data[start:stop]` reads, `append` writes behind the last.

    Attributes:
        folder: where whoever works on these bytes keeps files as large as they are.
    """

    def __init__(self, file: BinaryIO, folder: Path) -> None:
        self._file, self.folder = file, folder
        self._length = os.fstat(file.fileno()).st_size

    @classmethod
    def open(cls, path: Path) -> FileBytes:
        """The bytes of a file that is there, for reading."""
        with disk_errors():
            return cls(path.open("rb", buffering=0), path.parent)

    @classmethod
    def create(cls, path: Path) -> FileBytes:
        """A new file, mode 0600; one of that name must not be there."""
        with disk_errors():
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            return cls(os.fdopen(descriptor, "w+b", buffering=0), path.parent)

    @classmethod
    def keep(cls, path: Path) -> FileBytes:
        """The bytes of a file that is there, or of a new one with mode 0600, for reading and writing."""
        with disk_errors():
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            return cls(os.fdopen(descriptor, "r+b", buffering=0), path.parent)

    @classmethod
    def scratch(cls, folder: Path) -> FileBytes:
        """A file without a name."""
        with disk_errors():
            return cls(scratch(folder), folder)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, at: slice) -> bytes:
        start, stop, step = at.indices(self._length)
        if step != 1:
            raise ValueError("bytes of a file are read without gaps")
        return self.read(start, max(stop - start, 0))

    def read(self, start: int, length: int) -> bytes:
        """`length` bytes from `start`.

        Raises:
            AtollError: `E_DISK` if they are not there any more.
        """
        with disk_errors():
            found = os.pread(self._file.fileno(), length, start)
            # One call gives at most 2 GiB.
            while len(found) < length:
                more = os.pread(self._file.fileno(), length - len(found), start + len(found))
                if not more:
                    raise AtollError("E_DISK", "A file of keys is shorter than it was.")
                found += more
        return found

    def write(self, start: int, data: Any) -> None:
        """Puts the bytes of `data` (anything with a buffer) at `start`.

        Raises:
            AtollError: `E_DISK` if the disk is full.
        """
        left = memoryview(data).cast("B")
        with disk_errors():
            while left:
                written = os.pwrite(self._file.fileno(), left, start)
                left, start = left[written:], start + written
        self._length = max(self._length, start)

    def append(self, data: Any) -> None:
        """Puts the bytes of `data` behind the last; as `write`."""
        self.write(self._length, data)

    def cut(self, length: int) -> None:
        """Forgets all bytes but the first `length`."""
        with disk_errors():
            os.ftruncate(self._file.fileno(), length)
        self._length = length

    def sync(self) -> None:
        """Returns when what was written is durable."""
        with disk_errors():
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Gives the file back to the system; one without a name is gone then."""
        self._file.close()


Bytes: TypeAlias = bytes | FileBytes


def whole(data: Bytes) -> bytes:
    """The bytes in memory, for what takes them all at once."""
    return data[:]


class FileArray:
    """One-dimensional array of numbers in a file: `array[start:stop]` reads a part as a NumPy array.

    `numpy.asarray(array)` reads it whole.

    Args:
        data: the numbers, one after the other.
        dtype: what they are.
    """

    def __init__(self, data: FileBytes, dtype: npt.DTypeLike) -> None:
        self.data, self.dtype = data, np.dtype(dtype)

    def __len__(self) -> int:
        return len(self.data) // self.dtype.itemsize

    def __getitem__(self, at: slice) -> npt.NDArray[Any]:
        start, stop, _ = at.indices(len(self))
        size = self.dtype.itemsize
        return np.frombuffer(self.data[start * size : stop * size], self.dtype)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def __iter__(self) -> Iterator[Any]:
        return (number for block in self.blocks() for number in block)

    def append(self, numbers: npt.NDArray[Any]) -> None:
        """Puts numbers behind the last."""
        self.data.append(np.ascontiguousarray(numbers, self.dtype))

    def blocks(self, size: int = BLOCK) -> Iterator[npt.NDArray[Any]]:
        """The numbers from first to last, so many at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]
