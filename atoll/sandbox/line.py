"""The line between a host and its cell: messages with their length in front, over one stream socket.

The host speaks CBOR. A cell answers in JSON: nothing in it can name a type, a tag or a reference, and the host
believes neither its length nor its form.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

import cbor2

from atoll.scripts.manifest import Choice, Manifest

HEAD = struct.Struct("!I")
# What a host may say at once: a package's files, or a batch's rows.
MAX_REQUEST = 256 << 20
# What a cell may say of itself.
GREETING = 8192
# A whole number of an output, or a flag.
_NUMBER = len(str(-(2**53)))


def answer_bytes(manifest: Manifest) -> int:
    """Most bytes of an answer that fits the manifest, as a cell writes it. A longer one is no answer."""
    size = len('{"reasons": []}')
    for name, output in manifest.outputs.items():
        value = max(len(v) + 2 for v in output.values) if isinstance(output, Choice) else _NUMBER
        size += len(name) + len('"": , ') + value
    longest = max((len(code) for code in manifest.reasons), default=0)
    return size + manifest.maximum_reasons * (longest + len('"", '))


def reply_bytes(manifest: Manifest, calls: int) -> int:
    """Most bytes of a reply to so many calls."""
    return GREETING + calls * (answer_bytes(manifest) + 2 * len("10000, "))


class ClosedError(Exception):
    """The other end is gone."""


class UntrueError(Exception):
    """The other end sent what is no message."""


def _remaining(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class Line:
    """One end. `deadline` is a time of `time.monotonic()`, None for none; TimeoutError when it passes."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def fileno(self) -> int:
        """The end's descriptor."""
        return self._socket.fileno()

    def send(self, body: bytes, deadline: float | None = None) -> None:
        """Sends one message; `ClosedError` if nobody is there."""
        view = memoryview(HEAD.pack(len(body)) + body)
        try:
            while view:
                self._socket.settimeout(_remaining(deadline))
                view = view[self._socket.send(view) :]
        except TimeoutError:
            raise
        except OSError:
            raise ClosedError from None

    def _exactly(self, size: int, deadline: float | None) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            try:
                self._socket.settimeout(_remaining(deadline))
                # Descriptors that someone might send along are dropped by the kernel: no room is offered for them.
                data = self._socket.recv(min(size - len(parts), 1 << 20))
            except TimeoutError:
                raise
            except OSError:
                raise ClosedError from None
            if not data:
                raise ClosedError
            parts += data
        return bytes(parts)

    def receive(self, limit: int, deadline: float | None = None) -> bytes:
        """The next message; `UntrueError` if it is longer than `limit` bytes, `ClosedError` at the end of the line."""
        (size,) = HEAD.unpack(self._exactly(HEAD.size, deadline))
        if size > limit:
            raise UntrueError
        return self._exactly(size, deadline)

    def quiet(self) -> bool:
        """Whether the other end is there and has sent nothing that was not asked for."""
        self._socket.settimeout(0.0)
        try:
            self._socket.recv(1)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def close(self) -> None:
        """Closes this end."""
        self._socket.close()


def request(message: dict[str, Any]) -> bytes:
    """A host's message."""
    return cbor2.dumps(message)


def read_request(body: bytes) -> dict[str, Any]:
    """What a host said. A cell trusts its host."""
    message: dict[str, Any] = cbor2.loads(body)
    return message


def reply(message: dict[str, Any]) -> bytes:
    """A cell's message."""
    return json.dumps(message, ensure_ascii=True, allow_nan=False).encode("ascii")


def read_reply(body: bytes) -> dict[str, Any]:
    """What a cell said, a map at least; `UntrueError` otherwise."""

    def refuse(text: str) -> Any:
        raise ValueError(text)

    try:
        message = json.loads(body.decode("ascii"), parse_constant=refuse)
    except (ValueError, RecursionError):
        raise UntrueError from None
    if not isinstance(message, dict):
        raise UntrueError
    return message
