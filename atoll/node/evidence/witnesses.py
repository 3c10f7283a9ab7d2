"""Independent witnesses of an agreement's logs: asked for cosignatures, and being one.

A witness sees size, root and times of a log, never a leaf. So that it learns little of the rate of business, it is
shown a log only every so often, and only at sizes that are a multiple of what the agreement says: the owner fills up
with entries that mean nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from atoll.agreements.model import Witnesses, WitnessMember
from atoll.crypto import tlog_witness
from atoll.crypto.suite import PublicKey
from atoll.errors import AtollError
from atoll.ledger import checkpoint, cosignature, note
from atoll.ledger.entry import Record
from atoll.ledger.log import OwnLog
from atoll.ledger.replica import Forked
from atoll.ledger.witness import Witness
from atoll.ledger.witness_http import respond
from atoll.net.link import Peer as Remote
from atoll.net.witness import OldSizeRefused, add_checkpoint
from atoll.node.evidence.shelf import PRIVATE, Shelf
from atoll.node.state.log_storage import SeenStorage
from atoll.node.state.models import Cosignature, LogName, LogSeen

Append = Callable[[Session, str, Sequence[Record], str | None], Any]

# Logs of one partner that this node witnesses at most.
_LOGS = 10_000
_TRIES = 3


class AskedWitnesses:
    """Shows this node's own logs to the witnesses that its agreements name.

    Args:
        shelf: shared parts.
        append: appends to an own log.
        require: raises where nothing may be recorded now.
    """

    def __init__(self, shelf: Shelf, append: Append, require: Callable[[str], None]) -> None:
        self._shelf, self._append, self._require = shelf, append, require
        self._next: dict[tuple[str, str], float] = {}

    def round(self) -> None:
        """Asks every witness that is due, of every own log that has grown since it cosigned."""
        shelf = self._shelf
        with shelf.store.read() as session:
            own = session.scalars(
                select(LogName).where(LogName.owner == shelf.me, LogName.agreement != PRIVATE)
            ).all()
            cosigned = {(c.origin, c.witness): c.size for c in session.scalars(select(Cosignature))}
            due = []
            for row in own:
                agreement = shelf.agreement(session, row.agreement)
                terms = agreement.witnesses if agreement else None
                if terms is None:
                    continue
                for member in terms.members:
                    known = cosigned.get((row.origin, member.key), 0)
                    if known < row.size and time.monotonic() >= self._next.get((row.origin, member.key), 0.0):
                        due.append((row.agreement, row.origin, member, terms, known))
        for identifier, origin, member, terms, known in due:
            self._next[origin, member.key] = time.monotonic() + terms.seconds
            try:
                self._ask(identifier, member, self._padded(identifier, terms), known)
            except AtollError as error:
                shelf.log.warning(
                    "a witness did not cosign",
                    witness=member.name,
                    origin=origin,
                    code=error.code,
                    text=error.text,
                )

    def _padded(self, agreement: str, terms: Witnesses) -> int:
        """The log's size, filled up to a multiple of the agreed number."""
        shelf = self._shelf
        with shelf.store.read() as session:
            size = shelf.own(session, agreement).size
        missing = -size % terms.pad
        if missing:
            self._require(agreement)
            with shelf.store.write() as session:
                size = shelf.own(session, agreement).size
                missing = -size % terms.pad
                if missing:
                    self._append(session, agreement, [Record("padding/v1", None)] * missing, None)
        return size + missing

    def _ask(self, agreement: str, member: WitnessMember, size: int, known: int) -> None:
        shelf = self._shelf
        for _ in range(_TRIES):
            with shelf.store.read() as session:
                storage = shelf.storage(session, shelf.origin(agreement))
                log = OwnLog(storage, agreement, shelf.signing)
                proof = log.consistency_proof(known, size)
                signed = log.sign(size)
            try:
                lines = self._send(member, known, proof, signed)
            except OldSizeRefused as refused:
                if refused.size > size or refused.size == known:
                    raise AtollError(
                        "E_LEDGER", f"the witness {member.name} claims to have seen {refused.size} entries"
                    ) from None
                known = refused.size
                continue
            self._take(agreement, member, signed, lines)
            return
        raise AtollError("E_LEDGER", f"the witness {member.name} names another size each time")

    def _send(self, member: WitnessMember, known: int, proof: list[bytes], signed: bytes) -> list[str]:
        if member.address is not None:
            return add_checkpoint(member.address, old_size=known, proof=proof, checkpoint=signed)
        body = {"request": tlog_witness.encode_request(known, proof, signed)}
        answer = self._shelf.partners.request(member.key, "witness.cosign", body)
        if (
            not isinstance(answer, dict)
            or set(answer) != {"status", "body"}
            or not isinstance(answer["body"], bytes)
        ):
            raise AtollError("E_WIRE", f"the witness {member.name} gave no answer of a witness")
        if answer["status"] == 200:
            return tlog_witness.parse_lines(answer["body"])
        if answer["status"] == 409:
            raise OldSizeRefused(member.name, tlog_witness.parse_size(answer["body"]))
        raise AtollError("E_LEDGER", f"the witness {member.name} refused with status {answer['status']}")

    def _take(self, agreement: str, member: WitnessMember, signed: bytes, lines: list[str]) -> None:
        """Keeps the line by the witness's own key; lines by others are nobody's that this node knows."""
        key = PublicKey.parse(member.key)
        # A node cosigns under the name that its key gives it, whatever the agreement calls it.
        name = member.name if member.address is not None else None
        who = cosignature.verifier(key, name)
        line = next((text for text in lines if note.parse_signature(text).by(who)), None)
        if line is None:
            raise AtollError("E_SIGNATURE", f"no line of the answer is by the witness {member.name}")
        with self._shelf.store.write() as session:
            log = self._shelf.own(session, agreement)
            log.add_cosignature(signed, line, key, name)
            row = session.get_one(Cosignature, (log.origin, member.key))
            row.name = member.name


class BeingWitness:
    """Cosigns logs of partners that this node's administrator named, of whatever agreement.

    Args:
        shelf: shared parts.
        partners: names of the partners, from the settings.
    """

    def __init__(self, shelf: Shelf, partners: Sequence[str]) -> None:
        self._shelf, self._names = shelf, set(partners)
        shelf.partners.handle("witness.cosign", self._cosign)

    def _cosign(self, remote: Remote, body: Any) -> Any:
        shelf = self._shelf
        if not isinstance(body, dict) or set(body) != {"request"} or not isinstance(body["request"], bytes):
            raise AtollError("E_WIRE", "not a request to a witness")
        if shelf.partners.peer(remote.identity).name not in self._names:
            raise AtollError(
                "E_ROLE", "this node is not set up as a witness for the sender", party=remote.name
            )
        owner = PublicKey.parse(remote.identity)
        own = f"/{checkpoint.short(owner)}"

        def owner_of(origin: str) -> PublicKey | None:
            return owner if origin.startswith("atoll/agr-") and origin.endswith(own) else None

        with shelf.store.write() as session:
            logs = session.scalars(select(LogSeen.origin).where(LogSeen.origin.endswith(own))).all()
            if len(logs) >= _LOGS:
                raise AtollError(
                    "E_QUOTA", f"{_LOGS} logs of the sender are witnessed here", party=remote.name
                )
            answer = respond(
                body["request"], Witness(shelf.signing, SeenStorage(session)), owner_of, shelf.clock()
            )
        if isinstance(answer.error, Forked):
            origin = answer.error.proof.origin
            shelf.note_fork(origin.split("/")[1], origin, answer.error.proof.to_json())
        return {"status": answer.status, "body": answer.body}
