"""What a log sends to a witness and what comes back, as text (C2SP tlog-witness).

The checkpoint stays opaque here: `atoll.ledger` reads and signs it, `atoll.net` carries it, and both know no
more of each other than these bytes.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from atoll.errors import AtollError

PATH = "add-checkpoint"
SIZE_TYPE = "text/x.tlog.size"
MAX_REQUEST = 1 << 18
MAX_ANSWER = 1 << 16
MAX_PROOF = 63
MAX_SIZE = 2**63 - 1
HASH_BYTES = 32  # the protocol fixes SHA-256
_NUMBER = r"0|[1-9][0-9]{0,18}"
_OLD = re.compile(f"old ({_NUMBER})")
_ANSWERED_SIZE = re.compile(f"({_NUMBER})\n")
_LINE = re.compile("\N{EM DASH} ([^ +]{1,500}) ([A-Za-z0-9+/]+={0,2})")
_KEY_ID_BYTES = 4


@dataclass(frozen=True)
class Request:
    """A checkpoint to cosign: the note's bytes, and the consistency proof from the tree of `old_size`."""

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: bytes


def _bad(text: str) -> AtollError:
    return AtollError("E_WIRE", f"not a request to a witness: {text}")


def encode_request(old_size: int, proof: Sequence[bytes], checkpoint: bytes) -> bytes:
    """The body of an `add-checkpoint` request.

    Args:
        old_size: size of the tree that the witness cosigned last, 0 if none; at most 2^63 - 1.
        proof: at most 63 SHA-256 hashes (RFC 6962, 2.1.2); none if `old_size` is 0.
        checkpoint: the signed note's bytes.

    Raises:
        AtollError: `E_FORMAT` for values that the protocol cannot carry, `E_TOO_LARGE` over 256 KiB.
    """
    if not 0 <= old_size <= MAX_SIZE or (old_size == 0 and proof):
        raise AtollError("E_FORMAT", "a witness is asked from a size below 2^63, and without a proof from 0")
    if len(proof) > MAX_PROOF or any(len(value) != HASH_BYTES for value in proof):
        raise AtollError(
            "E_FORMAT", f"a proof for a witness has at most {MAX_PROOF} hashes of {HASH_BYTES} bytes"
        )
    if not checkpoint or checkpoint.startswith(b"\n"):
        raise AtollError("E_FORMAT", "a witness is asked with a checkpoint")
    lines = [f"old {old_size}", *(base64.b64encode(value).decode() for value in proof)]
    body = "".join(f"{line}\n" for line in lines).encode() + b"\n" + checkpoint
    if len(body) > MAX_REQUEST:
        raise AtollError("E_TOO_LARGE", f"a request to a witness has at most {MAX_REQUEST} bytes")
    return body


def _base64(text: str) -> bytes | None:
    """Standard base64 in its one encoding; None for anything else."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if base64.b64encode(value).decode() == text else None


def _hash(line: str) -> bytes:
    value = _base64(line)
    if value is None or len(value) != HASH_BYTES:
        raise _bad(f"a proof line is not {HASH_BYTES} bytes in the one base64 encoding")
    return value


def parse_request(body: bytes) -> Request:
    """Reads the body of an `add-checkpoint` request strictly; the checkpoint is not looked into.

    Raises:
        AtollError: `E_TOO_LARGE` over 256 KiB, `E_WIRE` for anything that `encode_request` does not write,
            but that a proof may stand under an `old_size` of 0: a witness answers that in its own way.
    """
    if not isinstance(body, bytes):
        raise _bad("not bytes")
    if len(body) > MAX_REQUEST:
        raise AtollError("E_TOO_LARGE", f"a request to a witness has at most {MAX_REQUEST} bytes")
    head, blank, checkpoint = body.partition(b"\n\n")
    if not blank or not checkpoint or checkpoint.startswith(b"\n"):
        raise _bad("no blank line, or no checkpoint after it")
    try:
        first, *proof = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise _bad("its first lines are not ASCII") from None
    match = _OLD.fullmatch(first)
    if match is None or int(match[1]) > MAX_SIZE:
        raise _bad("the first line is `old` and a decimal size below 2^63")
    if len(proof) > MAX_PROOF:
        raise _bad(f"over {MAX_PROOF} proof lines")
    return Request(int(match[1]), tuple(_hash(line) for line in proof), checkpoint)


def encode_size(size: int) -> bytes:
    """The body that tells a log which size the witness cosigned last."""
    return b"%d\n" % size


def parse_size(body: bytes) -> int:
    """Reads `encode_size`; `E_WIRE` for anything else."""
    match = _ANSWERED_SIZE.fullmatch(body.decode("ascii", "replace"))
    if match is None or int(match[1]) > MAX_SIZE:
        raise AtollError("E_WIRE", "a witness's size is a decimal number below 2^63 and a newline")
    return int(match[1])


def parse_lines(body: bytes) -> list[str]:
    """The signature lines of an answer, without their newlines. Their form is checked, no signature is.

    Each is a line that `atoll.ledger.note.parse_signature` reads, so that what a witness garbles is its fault
    here and not the ledger's later.

    Raises:
        AtollError: `E_WIRE` if the answer is over 64 KiB or anything but signature lines of a note.
    """
    bad = AtollError("E_WIRE", "a witness's answer is not the signature lines of a note")
    if len(body) > MAX_ANSWER:
        raise bad
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise bad from None
    lines = text.split("\n")
    if len(lines) < 2 or lines[-1] != "":
        raise bad
    for line in lines[:-1]:
        match = _LINE.fullmatch(line) if line.isprintable() else None
        value = _base64(match[2]) if match else None
        if value is None or len(value) <= _KEY_ID_BYTES:
            raise bad
    return lines[:-1]
