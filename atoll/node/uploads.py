"""Tables that a caller sends."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from atoll.errors import AtollError

MAX_UPLOAD = 4 << 30


@contextmanager
def received(work: Path, pieces: Iterator[bytes]) -> Iterator[pa.Table]:
    """A table from the pieces of an Arrow IPC stream, in a file under `work` while it is used.

    Raises:
        AtollError: `E_FORMAT` if it is no such stream, `E_TOO_LARGE` over 4 GiB.
    """
    with tempfile.NamedTemporaryFile(dir=work, suffix=".arrow") as file:
        size = 0
        for piece in pieces:
            size += len(piece)
            if size > MAX_UPLOAD:
                raise AtollError(
                    "E_TOO_LARGE", f"an upload has at most {MAX_UPLOAD >> 30} GiB", fault="caller"
                )
            file.write(piece)
        file.flush()
        try:
            with pa.memory_map(file.name) as source, pa.ipc.open_stream(source) as reader:
                table = reader.read_all()
                table.validate(full=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise AtollError("E_FORMAT", f"the body is not an Arrow IPC stream: {error}") from None
        yield table
