"""Signed notes: text with signature lines (C2SP signed-note).

A signature line names its key by a name and a 32-bit identifier; the identifier covers the algorithm's byte
from the suite, so one key never verifies as two algorithms.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from atoll.crypto.suite import PublicKey, SigningKey, hash_named
from atoll.errors import AtollError

MAX_BYTES = 1 << 20
MAX_SIGNATURES = 128
_DASH = "\N{EM DASH} "


def _bad(text: str) -> AtollError:
    return AtollError("E_LEDGER", f"not a signed note: {text}")


def decode_base64(text: str) -> bytes:
    """Standard base64 in its one encoding, padding bits included; `E_LEDGER` otherwise."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _bad("a value is not base64") from None
    if base64.b64encode(data).decode() != text:
        raise _bad("a value is not in the one base64 encoding")
    return data


def check_name(name: str) -> str:
    """`name`, if it may name a key: not empty, no space, no plus sign, no control character."""
    if not name or "+" in name or any(c.isspace() or not c.isprintable() for c in name):
        raise _bad("a key's name is empty or holds a space, a plus sign or a control character")
    return name


def key_id(name: str, type_byte: bytes, public: bytes) -> bytes:
    """The 4-byte identifier of a key. C2SP fixes SHA-256 for it, whatever the log's own hash."""
    return hash_named("sha256").run(check_name(name).encode() + b"\n" + type_byte + public)[:4]


@dataclass(frozen=True)
class Verifier:
    """A named key with the signature type under which it signs notes."""

    name: str
    key: PublicKey
    type_byte: bytes

    @classmethod
    def of(cls, name: str, key: PublicKey) -> Verifier:
        """The verifier of plain note signatures by this key."""
        return cls(check_name(name), key, key.scheme.note_type)

    @property
    def id(self) -> bytes:
        """The key's 4-byte identifier."""
        return key_id(self.name, self.type_byte, self.key.raw)

    @property
    def vkey(self) -> str:
        """The key as other C2SP tools read it: name, identifier, type and public key."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(self.type_byte + self.key.raw).decode()}"


@dataclass(frozen=True)
class Signature:
    """One signature line: who signed, and what the algorithm made (a cosignature begins with its time)."""

    name: str
    key_id: bytes
    value: bytes

    @property
    def line(self) -> str:
        """The line with its newline."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.value).decode()}\n"

    def by(self, verifier: Verifier) -> bool:
        """True if the line claims to be by this key; says nothing of its validity."""
        return self.name == verifier.name and self.key_id == verifier.id


@dataclass(frozen=True)
class Note:
    """A note: `text` ends in a newline; the signatures are not verified by having been read."""

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        """The note's bytes."""
        return (self.text + "\n" + "".join(s.line for s in self.signatures)).encode()

    def with_signatures(self, *more: Signature) -> Note:
        """A copy with further signature lines; a line that stands there already is not repeated."""
        return Note(self.text, (*self.signatures, *(s for s in more if s not in self.signatures)))


def parse_signature(line: str) -> Signature:
    """Reads one signature line, without its newline; `E_LEDGER` if it is not one."""
    if not line.startswith(_DASH):
        raise _bad("a signature line does not begin with a dash")
    name, space, value = line.removeprefix(_DASH).rpartition(" ")
    if not space:
        raise _bad("a signature line lacks a name or a signature")
    data = decode_base64(value)
    if len(data) < 5:
        raise _bad("a signature is too short")
    return Signature(check_name(name), data[:4], data[4:])


def parse(data: bytes) -> Note:
    """Reads a note strictly.

    Raises:
        AtollError: `E_LEDGER` if it is over 1 MiB or 128 signatures, not UTF-8, holds a control character,
            has no signature, or does not encode to the same bytes again.
    """
    if not isinstance(data, bytes) or len(data) > MAX_BYTES:
        # Also what came off the wire as another type.
        raise _bad(f"not bytes, or over {MAX_BYTES} of them")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad("not UTF-8") from None
    if any(c < " " and c != "\n" for c in whole):
        raise _bad("it holds a control character")
    text, blank, block = whole.rpartition("\n\n")
    if not blank or not block.endswith("\n"):
        raise _bad("no blank line before the signatures, or no newline at the end")
    lines = block[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise _bad(f"over {MAX_SIGNATURES} signatures")
    return Note(text + "\n", tuple(parse_signature(line) for line in lines))


def check_text(text: str) -> str:
    """`text`, if it can be the text of a note; `E_LEDGER` otherwise."""
    if not text.endswith("\n") or any(c < " " and c != "\n" for c in text):
        raise _bad("its text ends in a newline and holds no other control character")
    return text


def sign(text: str, name: str, key: SigningKey) -> Note:
    """A note with one plain signature."""
    verifier = Verifier.of(name, key.public)
    return Note(check_text(text), (Signature(name, verifier.id, key.sign(text.encode())),))


def verify(note: Note, verifiers: Mapping[str, Verifier]) -> set[str]:
    """The keys of `verifiers` whose plain signature stands under the note. Lines by other keys are ignored.

    Raises:
        AtollError: `E_SIGNATURE` if a line by a known key does not verify.
    """
    good = set()
    for label, verifier in verifiers.items():
        for signature in note.signatures:
            if not signature.by(verifier):
                continue
            if not verifier.key.verify(note.text.encode(), signature.value):
                raise AtollError("E_SIGNATURE", f"the signature of {verifier.name} on a note does not verify")
            good.add(label)
    return good
