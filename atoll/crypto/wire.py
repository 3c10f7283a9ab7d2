"""Frames and the plain CBOR bodies that they carry (formats: `rust/wire`)."""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import cbor2

from atoll import _core
from atoll.errors import AtollError

WORKER_LIMIT = 4 << 20
CONTROL_LIMIT = 8 << 20


class Kind(enum.IntEnum):
    """What a frame is for."""

    HELLO = 1
    WELCOME = 2
    REFUSAL = 3
    REQUEST = 4
    RESPONSE = 5
    FAILURE = 6
    PING = 7
    BYE = 8
    DATA = 9
    CREDIT = 10
    RESUME = 11
    ABORT = 12


class Frame(NamedTuple):
    """One frame: `name` is a channel or a verb, `sequence` the number of the message or request."""

    kind: int
    name: str
    sequence: int
    piece: int
    last: bool
    step: str
    payload: bytes


def encode_frame(frame: Frame, limit: int) -> bytes:
    """The bytes of a frame; `E_TOO_LARGE` over `limit` bytes, `E_WIRE` for a header that has no form."""
    try:
        return _core.frame_encode(*frame, limit)
    except _core.CoreError as error:
        raise AtollError(*error.args) from None


def decode_frames(data: bytes, limit: int) -> list[Frame]:
    """All frames in `data`; `E_WIRE` or `E_TOO_LARGE` if anything in it is not a whole frame."""
    try:
        return [Frame(*fields) for fields in _core.frames_decode(data, limit)]
    except _core.CoreError as error:
        raise AtollError(*error.args) from None


def encode_body(value: Any) -> bytes:
    """Deterministic CBOR of plain data; `E_FORMAT` for anything else (floats, tags, deep nesting)."""
    try:
        data = cbor2.dumps(value, canonical=True)
        _core.cbor_check(data)
    except _core.CoreError as error:
        raise AtollError("E_FORMAT", f"a message body is plain data: {error.args[1]}") from None
    except (cbor2.CBOREncodeError, ValueError, TypeError, RecursionError) as error:
        raise AtollError("E_FORMAT", f"a message body is plain data: {error}") from None
    return data


def decode_body(data: bytes) -> Any:
    """Reads a body: dict with str keys, list, str, bytes, int, bool or None.

    Raises:
        AtollError: `E_WIRE` for tags, floats, indefinite lengths, nesting over 16, double or unordered keys,
            a number not in shortest form, or bytes that follow.
    """
    try:
        _core.cbor_check(data)
        return cbor2.loads(data)
    except _core.CoreError as error:
        raise AtollError(*error.args) from None
    except (cbor2.CBORDecodeError, ValueError, RecursionError) as error:
        raise AtollError("E_WIRE", f"the body is not CBOR: {error}") from None
