"""Checkpoints: the signed size and root of a log (C2SP tlog-checkpoint).

One log belongs to one signatory of one agreement; its origin line says which:
`atoll/<agreement id>/<first 16 hex digits of the signatory's key>`. The format fixes SHA-256 for the root; a
log of another suite says so in an extension line `hash <name>`.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from atoll.crypto.suite import DEFAULT, Hash, PublicKey, SigningKey, hash_named
from atoll.errors import AtollError
from atoll.ledger import merkle, note

_IDENTIFIER = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_FIXED_HASH = "sha256"


def short(key: PublicKey) -> str:
    """The first 16 hex digits of a key, by which origins and cosigners' names refer to it."""
    return key.raw.hex()[:16]


def origin(agreement: str, key: PublicKey) -> str:
    """The origin line of a signatory's log of an agreement; `E_FORMAT` for an identifier of another form."""
    if not _IDENTIFIER.fullmatch(agreement):
        raise AtollError("E_FORMAT", f"not an agreement's identifier: {agreement[:80]!r}")
    return f"atoll/{agreement}/{short(key)}"


@dataclass(frozen=True)
class Checkpoint:
    """Size and root of a log. `root` has the size of the hash."""

    origin: str
    size: int
    root: bytes
    hash: Hash = DEFAULT.hash

    @property
    def text(self) -> str:
        """The note's text."""
        lines = [self.origin, str(self.size), base64.b64encode(self.root).decode()]
        if self.hash.name != _FIXED_HASH:
            lines.append(f"hash {self.hash.name}")
        return "".join(f"{line}\n" for line in lines)


class WrongEmptyRoot(AtollError):  # noqa: N818
    """`E_LEDGER`: well-formed, but of no entries and with a root that is not the empty tree's."""

    def __init__(self) -> None:
        super().__init__("E_LEDGER", "the checkpoint of an empty log has a root that is not the empty tree's")


def parse_text(text: str) -> Checkpoint:
    """Reads the text of a checkpoint's note.

    Raises:
        AtollError: `E_LEDGER` if it is not one, has an unknown extension line, or an impossible size or root;
            as `WrongEmptyRoot` if only the root of an empty log is wrong.
    """
    lines = text.split("\n")
    if len(lines) not in (4, 5) or lines[-1] != "" or not all(lines[:-1]):
        raise AtollError("E_LEDGER", "a checkpoint has the lines origin, size and root")
    name, size, root = lines[:3]
    hashing = hash_named(_FIXED_HASH)
    if len(lines) == 5:
        if not lines[3].startswith("hash ") or lines[3] == f"hash {_FIXED_HASH}":
            raise AtollError("E_LEDGER", "a checkpoint has an extension line that is not known")
        try:
            hashing = hash_named(lines[3].removeprefix("hash "))
        except AtollError:
            raise AtollError("E_LEDGER", "a checkpoint names an unknown hash") from None
    if not _SIZE.fullmatch(size) or int(size) > merkle.MAX_SIZE:
        raise AtollError("E_LEDGER", "a checkpoint's size is a decimal number below 2^63")
    value = note.decode_base64(root)
    if len(value) != hashing.size:
        raise AtollError("E_LEDGER", f"a checkpoint's root has {hashing.size} bytes")
    if int(size) == 0 and value != merkle.empty_root(hashing):
        raise WrongEmptyRoot
    return Checkpoint(note.check_name(name), int(size), value, hashing)


def sign(checkpoint: Checkpoint, key: SigningKey) -> note.Note:
    """The checkpoint's note, signed by the log's owner under the origin as its name."""
    return note.sign(checkpoint.text, checkpoint.origin, key)


def by_owner(signed: bytes, name: str, owner: PublicKey) -> bytes:
    """The note with its owner's signature lines only, for storage: others' lines were not verified."""
    whole = note.parse(signed)
    verifier = note.Verifier.of(name, owner)
    return note.Note(whole.text, tuple(s for s in whole.signatures if s.by(verifier))).encode()


def open_note(signed: note.Note, expected_origin: str, owner: PublicKey) -> Checkpoint:
    """The checkpoint of a note, once the log's owner has signed it.

    Raises:
        AtollError: `E_LEDGER` for another log or a malformed checkpoint, `E_SIGNATURE` if the owner did not
            sign.
    """
    checkpoint = parse_text(signed.text)
    if checkpoint.origin != expected_origin:
        raise AtollError(
            "E_LEDGER", f"a checkpoint of {checkpoint.origin[:120]} was given for {expected_origin}"
        )
    if not note.verify(signed, {"owner": note.Verifier.of(expected_origin, owner)}):
        raise AtollError("E_SIGNATURE", f"the checkpoint of {expected_origin} is not signed by its owner")
    return checkpoint
