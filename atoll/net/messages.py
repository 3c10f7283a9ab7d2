"""The control messages of a session, written and read: standing, credit, abort. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from atoll.crypto.wire import decode_body, encode_body
from atoll.errors import AtollError
from atoll.net.channel import check_name
from atoll.net.lane import read_standing

MAX_CHANNELS = 64
_CREDIT = struct.Struct(">QQ")


@dataclass(frozen=True)
class Scope:
    """What a session is for; both sides must say the same."""

    job: str
    attempt: int
    me: str
    peer: str


def write_resume(scope: Scope, standings: dict[str, list[Any]]) -> bytes:
    """Where each channel of this side stands."""
    return encode_body(
        {
            "job": scope.job,
            "attempt": scope.attempt,
            "from": scope.me,
            "to": scope.peer,
            "channels": standings,
        }
    )


def read_resume(scope: Scope, payload: bytes) -> dict[str, list[Any]]:
    """The peer's standings by channel; `E_WIRE` if malformed or for another job, attempt or party."""
    body = decode_body(payload)
    if not isinstance(body, dict) or set(body) != {"job", "attempt", "from", "to", "channels"}:
        raise AtollError("E_WIRE", "the peer's standing has other fields than it should", party=scope.peer)
    said = (body["job"], body["attempt"], body["from"], body["to"])
    if said != (scope.job, scope.attempt, scope.peer, scope.me) or type(body["attempt"]) is not int:
        raise AtollError("E_WIRE", "the peer speaks of another job or attempt", party=scope.peer)
    channels = body["channels"]
    if not isinstance(channels, dict) or len(channels) > MAX_CHANNELS:
        raise AtollError("E_WIRE", "the peer's standing is malformed", party=scope.peer)
    return {check_name(name): read_standing(value) for name, value in channels.items()}


def write_credit(consumed: int, stored: int) -> bytes:
    """Cost consumed on this connection, and messages stored in all."""
    return _CREDIT.pack(consumed, stored)


def read_credit(payload: bytes) -> tuple[int, int]:
    """Reads what `write_credit` wrote; `E_WIRE` for another length."""
    if len(payload) != _CREDIT.size:
        raise AtollError("E_WIRE", "a credit has two numbers")
    consumed, stored = _CREDIT.unpack(payload)
    return consumed, stored


def read_abort(scope: Scope, payload: bytes) -> AtollError:
    """`E_PEER_ABORT` with the peer's code and step; its wire rendering stands in `detail["reason"]`."""
    reason = AtollError.from_wire(decode_body(payload), peer=scope.peer)
    where = f" at step {reason.step}" if reason.step else ""
    return AtollError(
        "E_PEER_ABORT",
        f"{scope.peer} ended the job: {reason.code}{where}.",
        party=reason.party,
        step=reason.step,
        detail={"reason": reason.to_wire()},
    )
