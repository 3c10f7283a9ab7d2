"""The answering side of C2SP tlog-witness: from the bytes of a request to those of the answer, without HTTP.

Whoever carries the bytes, an HTTP route or a message between nodes, hands the body to `respond` and sends
what it gives. The order of the checks and their status codes are those of the specification.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from atoll.crypto import tlog_witness
from atoll.crypto.suite import PublicKey
from atoll.errors import AtollError
from atoll.ledger import checkpoint, note
from atoll.ledger.replica import Forked
from atoll.ledger.witness import Witness, WrongOldSize

_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """What to send: `status` as in HTTP, media type and body. `error` says why it is a refusal, for the
    owner of this node alone; a `Forked` among them carries the proof and must be kept."""

    status: int
    media: str
    body: bytes
    error: AtollError | None = None


class _Refused(Exception):  # noqa: N818
    def __init__(self, status: int, error: AtollError) -> None:
        super().__init__(error.text)
        self.status = status
        self.error = error


def _refusal(status: int, error: AtollError) -> Answer:
    # What leaves this node is the code: the texts of errors may name what the asker does not know.
    return Answer(status, _TEXT, f"{error.code}\n".encode(), error)


def _read(
    body: bytes, owner_of: Callable[[str], PublicKey | None]
) -> tuple[tlog_witness.Request, str, PublicKey]:
    """The request, its log's origin and owner, once the log is known and its owner has signed."""
    try:
        request = tlog_witness.parse_request(body)
        signed = note.parse(request.checkpoint)
    except AtollError as error:
        raise _Refused(413 if error.code == "E_TOO_LARGE" else 400, error) from None
    origin = signed.text.split("\n", 1)[0]
    owner = owner_of(origin)
    if owner is None:
        raise _Refused(404, AtollError("E_NOT_FOUND", f"no log {origin[:120]!r} is witnessed here"))
    try:
        if not note.verify(signed, {"owner": note.Verifier.of(origin, owner)}):
            raise AtollError("E_SIGNATURE", f"the checkpoint of {origin} is not signed by its owner")
    except AtollError as error:
        raise _Refused(403, error) from None
    try:
        point = checkpoint.parse_text(signed.text)
    except checkpoint.WrongEmptyRoot as error:
        raise _Refused(422, error) from None
    except AtollError as error:
        raise _Refused(400, error) from None
    if request.old_size > point.size:
        text = f"{origin}: a proof from {request.old_size} entries was given for {point.size}"
        raise _Refused(400, AtollError("E_WIRE", text))
    return request, origin, owner


def respond(
    body: bytes, witness: Witness, owner_of: Callable[[str], PublicKey | None], now: datetime
) -> Answer:
    """Answers one `add-checkpoint` request; raises nothing for anything that a request can hold.

    Args:
        body: as it came; whoever reads it off the wire stops after `tlog_witness.MAX_REQUEST` bytes.
        witness: checks and cosigns. It reads and writes what it has seen: around the call stands one
            transaction, committed before the answer is sent.
        owner_of: the key that signs the log of an origin; None for a log that is not witnessed.
        now: this node's clock, aware.

    Returns:
        200 with the cosignature's line; 409 with the size that was cosigned last; else 400, 403, 404, 413
        or 422 with an error code.
    """
    try:
        request, origin, owner = _read(body, owner_of)
    except _Refused as refused:
        return _refusal(refused.status, refused.error)
    try:
        line = witness.update(origin, owner, request.old_size, request.proof, request.checkpoint, now)
    except WrongOldSize as error:
        return Answer(409, tlog_witness.SIZE_TYPE, tlog_witness.encode_size(error.size), error)
    except Forked as error:
        size = witness.size(origin)
        if request.old_size != size:
            return Answer(409, tlog_witness.SIZE_TYPE, tlog_witness.encode_size(size), error)
        return _refusal(422, error)
    except AtollError as error:
        if error.code != "E_LEDGER":
            raise  # nothing that the asker sent: this node's clock, or its storage
        return _refusal(422, error)
    return Answer(200, _TEXT, line.line.encode())
