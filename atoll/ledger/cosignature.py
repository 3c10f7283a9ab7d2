"""Timestamped cosignatures: a witness saw this checkpoint, and it extends all that it saw before.

C2SP tlog-cosignature, `cosignature/v1`. The timestamp is the witness's own clock, in seconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from atoll.crypto.suite import PublicKey, SigningKey
from atoll.errors import AtollError
from atoll.ledger.checkpoint import short
from atoll.ledger.note import Note, Signature, Verifier, check_name

_TIME_BYTES = 8
_MAX_TIME = 2**63 - 1


@dataclass(frozen=True)
class Cosigned:
    """A verified cosignature: by which key, at which time of the witness's clock, in seconds since 1970."""

    key: PublicKey
    time: int

    @property
    def at(self) -> datetime | None:
        """The time in UTC; None if it lies outside the calendar."""
        try:
            return datetime.fromtimestamp(self.time, UTC)
        except (OverflowError, ValueError, OSError):
            return None


def name_of(key: PublicKey) -> str:
    """The name under which a node cosigns others' logs."""
    return f"atoll/{short(key)}"


def verifier(key: PublicKey, name: str | None = None) -> Verifier:
    """The verifier of cosignatures by this key; an outside witness has a name of its own."""
    return Verifier(check_name(name or name_of(key)), key, key.scheme.cosign_type)


def _message(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def cosign(text: str, key: SigningKey, now: datetime, name: str | None = None) -> Signature:
    """A cosignature on a checkpoint's text. The caller has checked consistency: see `witness`.

    Args:
        text: the checkpoint's note text.
        now: aware, UTC; truncated to seconds.
    """
    time = int(now.timestamp())
    if not 0 < time <= _MAX_TIME:
        raise AtollError("E_FORMAT", "the time of a cosignature lies after 1970")
    who = verifier(key.public, name)
    return Signature(who.name, who.id, time.to_bytes(_TIME_BYTES, "big") + key.sign(_message(text, time)))


def verify(text: str, signature: Signature, who: Verifier) -> Cosigned:
    """Checks one cosignature line.

    Raises:
        AtollError: `E_SIGNATURE` if it is by another key, of a wrong length, or does not verify.
    """
    time = int.from_bytes(signature.value[:_TIME_BYTES], "big")
    if (
        not signature.by(who)
        or not 0 < time <= _MAX_TIME
        or not who.key.verify(_message(text, time), signature.value[_TIME_BYTES:])
    ):
        raise AtollError("E_SIGNATURE", f"the cosignature of {signature.name[:120]} does not verify")
    return Cosigned(who.key, time)


def cosigners(signed: Note, known: list[Verifier]) -> list[Cosigned]:
    """The verified cosignatures of a note by known witnesses, of each key the latest; lines by others are ignored.

    Raises:
        AtollError: `E_SIGNATURE` if a line by a known witness does not verify.
    """
    latest: dict[PublicKey, Cosigned] = {}
    for who in known:
        for line in signed.signatures:
            if line.by(who):
                seen = verify(signed.text, line, who)
                # Lines are counted for a quorum: one key is one witness, under whatever names.
                latest[who.key] = max(seen, latest.get(who.key, seen), key=lambda found: found.time)
    return list(latest.values())
