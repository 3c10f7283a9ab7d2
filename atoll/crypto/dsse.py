"""Signed documents: canonical JSON in DSSE envelopes (Dead Simple Signing Envelope, v1.0.2).

The payload type stands under the signature, so that a document of one kind never passes for another.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from atoll.crypto import canonical
from atoll.crypto.suite import DEFAULT, PublicKey, SigningKey, Suite, digest, verify_many
from atoll.errors import AtollError

Envelope = dict[str, Any]


def _pae(payload_type: str, payload: bytes) -> bytes:
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def media_type(kind: str) -> str:
    """The payload type of a document kind, for example `plan/v1`."""
    return f"application/vnd.atoll.{kind.replace('/', '.')}+json"


def sign(kind: str, document: Any, *keys: SigningKey) -> Envelope:
    """An envelope around `document` (canonical JSON), signed by every key."""
    return add_signature(
        {
            "payloadType": media_type(kind),
            "payload": base64.b64encode(canonical.dumps(document)).decode(),
            "signatures": [],
        },
        *keys,
    )


def add_signature(envelope: Envelope, *keys: SigningKey) -> Envelope:
    """A copy of `envelope` with a signature by each key, in order of key identifier; a key signs once."""
    payload = payload_bytes(envelope)
    message = _pae(envelope["payloadType"], payload)
    signatures = {s["keyid"]: s for s in envelope["signatures"]}
    for key in keys:
        signatures[str(key.public)] = {
            "keyid": str(key.public),
            "sig": base64.b64encode(key.sign(message)).decode(),
        }
    return {**envelope, "signatures": [signatures[k] for k in sorted(signatures)]}


def merge(first: Envelope, second: Envelope) -> Envelope:
    """One envelope with the signatures of both; `E_SIGNATURE` if they are not around the same bytes."""
    if first["payloadType"] != second["payloadType"] or first["payload"] != second["payload"]:
        raise AtollError("E_SIGNATURE", "the two envelopes hold different documents")
    signatures = {s["keyid"]: s for s in [*first["signatures"], *second["signatures"]]}
    return {**first, "signatures": [signatures[k] for k in sorted(signatures)]}


def payload_bytes(envelope: Envelope) -> bytes:
    """The canonical payload bytes of an envelope, its form checked but no signature."""
    if (
        not isinstance(envelope, dict)
        or set(envelope) != {"payloadType", "payload", "signatures"}
        or not isinstance(envelope["payloadType"], str)
        or not envelope["payloadType"].isascii()
        or not isinstance(envelope["payload"], str)
        or not isinstance(envelope["signatures"], list)
        or len(envelope["signatures"]) > 256
    ):
        raise AtollError("E_FORMAT", "not a DSSE envelope")
    for entry in envelope["signatures"]:
        if (
            not isinstance(entry, dict)
            or set(entry) != {"keyid", "sig"}
            or not all(isinstance(v, str) for v in entry.values())
        ):
            raise AtollError("E_FORMAT", "not a DSSE signature")
    try:
        return base64.b64decode(envelope["payload"], validate=True)
    except (binascii.Error, ValueError):
        raise AtollError("E_FORMAT", "the payload is not base64") from None


def identifier(envelope: Envelope, using: Suite = DEFAULT) -> str:
    """The digest of type and payload: the same whoever has signed so far."""
    payload = payload_bytes(envelope)
    return digest(_pae(envelope["payloadType"], payload), using)


def _claims(envelope: Envelope, message: bytes) -> list[tuple[str, tuple[PublicKey, bytes, bytes]]]:
    """Each signature that can be tried: the identifier that it states; key, signed bytes and signature."""
    found = []
    for entry in envelope["signatures"]:
        try:
            signature = base64.b64decode(entry["sig"], validate=True)
            found.append((entry["keyid"], (PublicKey.parse(entry["keyid"]), message, signature)))
        except (AtollError, binascii.Error, ValueError):
            continue
    return found


def signers(envelope: Envelope) -> set[str]:
    """Identifiers of the keys whose signatures verify. Unknown algorithms and bad signatures do not count."""
    payload = payload_bytes(envelope)
    claims = _claims(envelope, _pae(envelope["payloadType"], payload))
    return {name for name, (key, message, signature) in claims if key.verify(message, signature)}


@dataclass(frozen=True)
class Examined:
    """What is to be known of an envelope: its payload, its `identifier`, and its `signers`."""

    payload: bytes
    identifier: str
    signers: frozenset[str]


def examine_many(envelopes: Sequence[Envelope], threads: int = 1) -> list[Examined | AtollError]:
    """Looks into envelopes, each once, with the signatures of all verified together.

    Returns:
        For each in order what is known of it, or `E_FORMAT` where it is malformed.

    Raises:
        AtollError: `E_FORMAT` if `threads` is not 1 to 1024.
    """
    opened: list[tuple[bytes, str] | AtollError] = []
    stated: list[tuple[int, str]] = []
    items: list[tuple[PublicKey, bytes, bytes]] = []
    for number, envelope in enumerate(envelopes):
        try:
            payload = payload_bytes(envelope)
        except AtollError as error:
            opened.append(error)
            continue
        message = _pae(envelope["payloadType"], payload)
        opened.append((payload, digest(message)))
        for name, item in _claims(envelope, message):
            stated.append((number, name))
            items.append(item)
    good: list[set[str]] = [set() for _ in envelopes]
    failed = set(verify_many(items, threads))
    for at, (number, name) in enumerate(stated):
        if at not in failed:
            good[number].add(name)
    return [
        found if isinstance(found, AtollError) else Examined(*found, frozenset(good[number]))
        for number, found in enumerate(opened)
    ]


def signers_many(envelopes: Sequence[Envelope], threads: int = 1) -> list[set[str]]:
    """What `signers` says of each envelope, with the signatures of all verified together.

    Raises:
        AtollError: `E_FORMAT` for a malformed envelope, with its position from 0, or if `threads` is not 1 to 1024.
    """
    out: list[set[str]] = []
    for number, found in enumerate(examine_many(envelopes, threads)):
        if isinstance(found, AtollError):
            raise AtollError(found.code, f"envelope {number}: {found.text}")
        out.append(set(found.signers))
    return out


def verify(kind: str, envelope: Envelope, required: Iterable[PublicKey | str]) -> Any:
    """The document, once its kind is `kind` and every required key has signed it.

    Raises:
        AtollError: `E_SIGNATURE` names the missing or wrong signature; `E_FORMAT` for a malformed envelope.
    """
    payload = payload_bytes(envelope)
    if envelope["payloadType"] != media_type(kind):
        raise AtollError(
            "E_SIGNATURE", f"expected a document of kind {kind}, got {envelope['payloadType'][:80]}"
        )
    good = signers(envelope)
    missing = [str(key) for key in required if str(key) not in good]
    if missing:
        raise AtollError("E_SIGNATURE", f"no valid signature on this {kind} by {', '.join(missing)}")
    return canonical.loads(payload)
