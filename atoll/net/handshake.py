"""What two nodes say to each other before anything else: who they are, bound to this very connection.

After TLS each side sends its key statement and a signature by its identity key over the connection's exporter
value (RFC 9266 calls such a value a channel binding), its role and the purpose. A signature from one
connection is worth nothing on another, so nobody can stand in between.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from atoll.crypto import dsse
from atoll.crypto.suite import PublicKey
from atoll.crypto.wire import decode_body, encode_body
from atoll.errors import CODES, AtollError
from atoll.net.identity import KeyStatement, NodeKeys, read_key_statement, write_time

VERSION = 1
REFUSAL_KIND, REFUSAL_FORMAT = "refusal/v1", "atoll.refusal/v1"
BINDING_LABEL = b"EXPORTER-atoll-link-v1"
_DOMAIN = b"atoll link hello v1"

Purpose = Literal["control", "pair"]
Role = Literal["dialer", "listener"]
Admit = Callable[[str, str, KeyStatement, Purpose], None]


@dataclass(frozen=True)
class Hello:
    """A peer's first message, its form and its signatures checked."""

    statement: KeyStatement
    purpose: Purpose


def _signed_bytes(role: Role, purpose: str, nonce: bytes, binding: bytes) -> bytes:
    return b"\0".join([_DOMAIN, role.encode(), purpose.encode(), nonce + binding])


def write_hello(
    keys: NodeKeys, statement: dsse.Envelope, role: Role, purpose: Purpose, binding: bytes
) -> bytes:
    """The own hello around the own statement; `binding` is the exporter value of the connection, 32 bytes."""
    nonce = os.urandom(16)
    return encode_body(
        {
            "versions": [VERSION],
            "purpose": purpose,
            "statement": statement,
            "nonce": nonce,
            "signature": keys.signing.sign(_signed_bytes(role, purpose, nonce, binding)),
        }
    )


def claimed(payload: bytes) -> KeyStatement | None:
    """The statement in a hello, dates and binding unchecked; None where there is none: only for the log."""
    try:
        return read_key_statement(decode_body(payload)["statement"], None)
    except (AtollError, KeyError, TypeError):
        return None


def read_hello(
    payload: bytes, role: Role, purpose: Purpose, tls: str, binding: bytes, now: datetime
) -> Hello:
    """Checks a peer's hello.

    Args:
        payload: the frame's payload.
        role: the peer's role on this connection.
        purpose: what this side expects the connection to be for.
        tls: fingerprint of the certificate with which the peer completed TLS.
        binding: the exporter value of this connection.
        now: time at which the statement must be valid.

    Raises:
        AtollError: `E_WIRE`, `E_SIGNATURE`, `E_PEER_KEY` (another TLS key than stated) or `E_PEER_EXPIRED`.
    """
    body = decode_body(payload)
    if not isinstance(body, dict) or set(body) != {"versions", "purpose", "statement", "nonce", "signature"}:
        raise AtollError("E_WIRE", "the peer's hello has other fields than it should")
    versions, nonce, signature = body["versions"], body["nonce"], body["signature"]
    if not isinstance(versions, list) or len(versions) > 32 or VERSION not in versions:
        raise AtollError("E_WIRE", f"the peer does not speak version {VERSION} of the link")
    if body["purpose"] != purpose:
        raise AtollError("E_WIRE", "the peer opened the connection for another purpose than its name said")
    if not isinstance(nonce, bytes) or len(nonce) != 16 or not isinstance(signature, bytes):
        raise AtollError("E_WIRE", "the peer's hello has a malformed nonce or signature")
    statement = read_key_statement(body["statement"], now)
    if statement.tls != tls:
        raise AtollError(
            "E_PEER_KEY", f"{statement.name} states another TLS key than it uses", party=statement.identity
        )
    signed = _signed_bytes(role, purpose, nonce, binding)
    if not PublicKey.parse(statement.identity).verify(signed, signature):
        raise AtollError(
            "E_SIGNATURE", f"{statement.name} did not sign this connection", party=statement.identity
        )
    return Hello(statement, purpose)


def write_refusal(keys: NodeKeys, error: AtollError, to: str | None, now: datetime) -> bytes:
    """The signed reason. Its text is the code's own, so that nothing internal travels."""
    document = {
        "format": REFUSAL_FORMAT,
        "code": error.code,
        "text": CODES[error.code][2],
        "by": keys.identity,
        "to": to,
        "at": write_time(now),
    }
    return encode_body(dsse.sign(REFUSAL_KIND, document, keys.signing))


def read_refusal(payload: bytes, by: KeyStatement | None, to: str) -> AtollError:
    """The error that a refusal stands for; `E_WIRE` if it is not one that `by` signed for `to`."""
    who = by.name if by else "the peer"
    try:
        envelope: Any = decode_body(payload)
        document = dsse.verify(REFUSAL_KIND, envelope, [by.identity] if by else [])
        if (
            document["format"] != REFUSAL_FORMAT
            or document["code"] not in CODES
            or document["to"] not in (to, None)
            or (by is not None and document["by"] != by.identity)
        ):
            raise AtollError("E_WIRE", "fields")
    except (AtollError, KeyError, TypeError):
        return AtollError("E_WIRE", f"{who} sent a refusal that is not one")
    return AtollError(
        document["code"],
        f"{who} refused the connection: {document['code']}.",
        party=by.identity if by else None,
        detail={"refused_by_peer": True},
    )
