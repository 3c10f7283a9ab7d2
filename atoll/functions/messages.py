"""What two sides of a function say to each other: bodies with exactly known fields, read strictly, and long bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from atoll.crypto.wire import decode_body, encode_body
from atoll.errors import AtollError
from atoll.functions.context import Channel

PIECE = 4 << 20
"""Bytes of a piece of something long."""


@dataclass(frozen=True)
class Peer:
    """Where messages come from and go to. A function says by `fields` which kinds there are, and what each holds."""

    channel: Channel
    step: str
    key: str
    fields: ClassVar[Mapping[str, set[str]]] = {}

    def wrong(self, text: str) -> AtollError:
        """A message that breaks the protocol."""
        return AtollError("E_PROTOCOL", text, step=self.step, party=self.key)

    def say(self, kind: str, **body: Any) -> None:
        """Sends a message."""
        self.channel.send(encode_body({"kind": kind, **body}), kind)

    def read(self, *kinds: str) -> dict[str, Any]:
        """The next message, of one of these kinds and with exactly the fields of its kind."""
        try:
            body = decode_body(self.channel.recv())
        except AtollError as error:
            if error.code != "E_WIRE":
                raise
            raise self.wrong(f"a message is malformed: {error.text}") from None
        kind = body.get("kind") if isinstance(body, dict) else None
        if kind not in kinds or set(body) != {"kind", *self.fields[str(kind)]}:
            raise self.wrong("a message has no place here")
        return dict(body)

    def send_pieces(self, data: bytes, step: str) -> None:
        """Sends what its own message said the length of."""
        for start in range(0, len(data), PIECE):
            self.channel.send(data[start : start + PIECE], step)

    def read_pieces(self, length: int) -> bytes:
        """What is so long."""
        found = bytearray()
        while len(found) < length:
            piece = self.channel.recv()
            if len(piece) != min(PIECE, length - len(found)):
                raise self.wrong("a piece has another length than was said")
            found += piece
        return bytes(found)

    def read_all(self, values: Any, count: int, length: int, what: str) -> list[bytes]:
        """As many byte strings of that length."""
        if not isinstance(values, list) or len(values) != count:
            raise self.wrong(f"a message has {count} {what}")
        if any(not isinstance(value, bytes) or len(value) != length for value in values):
            raise self.wrong(f"{what} have {length} bytes each")
        return values
