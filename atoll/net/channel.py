"""What protocols use: one named, ordered, flow-controlled channel to one peer."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING

from atoll.errors import AtollError
from atoll.net.lane import MAX_MESSAGE, Lane

if TYPE_CHECKING:
    from atoll.net.session import Session

MAX_STEP = 128
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def check_name(name: str) -> str:
    """A channel's name: 1 to 64 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit; else
    `E_WIRE`."""
    if _NAME.fullmatch(name) is None:
        raise AtollError("E_WIRE", f"not a channel name: {name[:80]!r}")
    return name


class Channel:
    """Messages in order, once each. One thread sends and one receives; they may be the same.

    Every method raises the session's error once it has ended: `E_PEER_SILENT`, `E_PEER_ABORT` (with the
    peer's code and step), `E_REWIND`, `E_PEER_KEY`, `E_WIRE`.
    """

    def __init__(self, session: Session, lane: Lane) -> None:
        self._session = session
        self._lane = lane
        self._sending = threading.Lock()

    @property
    def name(self) -> str:
        """The channel's name."""
        return self._lane.name

    def send(self, payload: bytes, step: str) -> None:
        """Sends a message of at most 64 MiB; waits while the peer's window is full.

        Args:
            payload: any bytes; a `bytearray` or `memoryview` is copied.
            step: label of the protocol's step, at most 128 bytes; part of the transcript.

        Raises:
            AtollError: `E_TOO_LARGE`; `E_REWIND` if a journal says that other bytes were sent here before.
        """
        data = bytes(payload)
        if len(data) > MAX_MESSAGE or len(step.encode()) > MAX_STEP:
            raise AtollError("E_TOO_LARGE", f"a message has at most {MAX_MESSAGE} bytes, its step {MAX_STEP}")
        with self._sending:
            self._session._send(self._lane, step, data)

    def receive(self, timeout: float | None = None) -> tuple[str, bytes]:
        """Step and payload of the next message; `E_PEER_SILENT` if none comes within `timeout` seconds."""
        message = self._session._receive(self._lane, timeout)
        return message.step, message.payload

    def recv(self, timeout: float | None = None) -> bytes:
        """Payload of the next message; as `receive`."""
        return self._session._receive(self._lane, timeout).payload

    def sent_chain(self) -> bytes:
        """The transcript's chain after the last message that was sent here."""
        return self._lane.sent.chain

    def readable(self) -> bool:
        """True while a message waits."""
        return self._session._ask(lambda: self._lane.readable)

    def writable(self) -> bool:
        """True while `send` would not wait for the peer."""
        return self._session._ask(lambda: self._lane.writable)

    def wait(self, read: bool, write: bool, timeout: float | None = None) -> None:
        """Blocks until the channel is readable (if `read`) or writable (if `write`).

        With neither it returns at once; `E_PEER_SILENT` after `timeout` seconds.
        """
        if not (read or write):
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        self._session._wait(
            lambda: (read and self._lane.readable) or (write and self._lane.writable),
            deadline,
            self._lane.name,
        )
