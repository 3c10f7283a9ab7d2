"""What a join in buckets has found so far: in memory, or in a file that only grows.

A checkpoint holds all of what is in memory. Of a file it holds length and digest: after a restart the file is read
again, compared, and cut to what it was.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

from atoll.crypto.files import Bytes, FileBytes
from atoll.errors import AtollError

DIGEST_BYTES = 32
_PIECE = 1 << 20


class Results(Protocol):
    """Bytes that grow bucket by bucket."""

    def append(self, data: bytes) -> None:
        """Adds what a bucket gave."""

    def __len__(self) -> int: ...

    def all(self) -> Bytes:
        """Everything that was added."""

    def state(self) -> bytes:
        """What a checkpoint holds of them beside their length; what it stands for is durable."""

    def restore(self, state: bytes, length: int) -> None:
        """Goes back to a checkpoint.

        Raises:
            AtollError: `E_FORMAT` if there is not what the checkpoint was made of.
        """


class Held:
    """Results in memory: the state is all of them."""

    def __init__(self) -> None:
        self._data = bytearray()

    def append(self, data: bytes) -> None:
        """Adds what a bucket gave."""
        self._data += data

    def __len__(self) -> int:
        return len(self._data)

    def all(self) -> Bytes:
        """Everything that was added."""
        return bytes(self._data)

    def state(self) -> bytes:
        """Everything that was added."""
        return bytes(self._data)

    def restore(self, state: bytes, length: int) -> None:
        """Goes back to a checkpoint."""
        if len(state) != length:
            raise _foreign()
        self._data = bytearray(state)


class Filed:
    """Results in a file of mode 0600: the state is their digest.

    Args:
        file: the file; what stands there counts only after `restore`.
    """

    def __init__(self, file: FileBytes) -> None:
        self._file = file
        self._length = 0
        self._hash = hashlib.sha256()

    @classmethod
    def at(cls, path: Path) -> Filed:
        """Results in the file of that name, which is made if it is not there."""
        return cls(FileBytes.keep(path))

    @classmethod
    def scratch(cls, folder: Path) -> Filed:
        """Results in a file without a name, which no restarted run finds again."""
        return cls(FileBytes.scratch(folder))

    def append(self, data: bytes) -> None:
        """Adds what a bucket gave."""
        self._file.write(self._length, data)
        self._hash.update(data)
        self._length += len(data)

    def __len__(self) -> int:
        return self._length

    def all(self) -> Bytes:
        """Everything that was added."""
        self._file.cut(self._length)
        return self._file

    def state(self) -> bytes:
        """The digest of everything that was added."""
        self._file.sync()
        return self._hash.digest()

    def restore(self, state: bytes, length: int) -> None:
        """Goes back to a checkpoint."""
        if len(self._file) < length:
            raise _foreign()
        read = hashlib.sha256()
        for start in range(0, length, _PIECE):
            read.update(self._file.read(start, min(_PIECE, length - start)))
        if read.digest() != state:
            raise _foreign()
        self._file.cut(length)
        self._length, self._hash = length, read


def _foreign() -> AtollError:
    return AtollError("E_FORMAT", "This is not a checkpoint of this run, or its results are gone.")
