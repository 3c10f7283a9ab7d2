"""What signatories tell each other of third parties' logs, so that two histories shown to two partners are found.

After its own log was pushed, a node sends every other signatory of an agreement the newest checkpoints that it holds of
the remaining ones' logs. A checkpoint that contradicts the copy here is followed up: the sender gives the leaves of the
history that it was shown, and the two signed histories make a proof that convinces anyone.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from atoll.crypto.suite import PublicKey
from atoll.errors import AtollError
from atoll.ledger import checkpoint, note
from atoll.ledger.fork import ForkProof
from atoll.net.link import Peer as Remote
from atoll.node.evidence.shelf import PRIVATE, Shelf
from atoll.node.state.models import LogHeard, LogName

_MOST = 64
_LEAVES = 4096
_HISTORY = 1 << 20


class Gossip:
    """Tells and hears of checkpoints of third parties' logs."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._told: dict[tuple[str, str], int] = {}
        shelf.partners.handle("ledger.gossip", self._heard)
        shelf.partners.handle("ledger.leaves", self._leaves)
        shelf.partners.handle("ledger.fork", self._fork_told)
        shelf.on_fork = self._spread

    # Telling.

    def round(self) -> None:
        """Tells every connected partner what is new since it was told last, and looks at what was heard before."""
        shelf = self._shelf
        connected = shelf.partners.links.connected()
        active = {p.identity for p in shelf.partners.active()} & set(connected)
        messages: dict[tuple[str, str], list[tuple[str, int, bytes]]] = {}
        with shelf.store.read() as session:
            copies = session.scalars(
                select(LogName).where(LogName.owner != shelf.me, LogName.agreement != PRIVATE)
            ).all()
            for row in copies:
                if row.head is None:
                    continue
                for key in shelf.signatories(session, row.agreement):
                    if (
                        key in active
                        and key != row.owner
                        and self._told.get((row.origin, key), -1) < row.size
                    ):
                        messages.setdefault((row.agreement, key), []).append((row.origin, row.size, row.head))
        for (agreement, key), found in messages.items():
            body = {"agreement": agreement, "checkpoints": [head for _, _, head in found[:_MOST]]}
            try:
                shelf.partners.request(key, "ledger.gossip", body)
            except AtollError as error:
                shelf.log.info("a partner was not told of checkpoints", peer=key[:24], code=error.code)
                continue
            for origin, size, _ in found[:_MOST]:
                self._told[origin, key] = size
        self._look_again()

    # Hearing.

    def _heard(self, remote: Remote, body: Any) -> Any:
        if (
            not isinstance(body, dict)
            or set(body) != {"agreement", "checkpoints"}
            or not isinstance(body["checkpoints"], list)
            or len(body["checkpoints"]) > _MOST
        ):
            raise AtollError("E_WIRE", "not checkpoints")
        with self._shelf.store.read() as session:
            self._shelf.require_signatory(session, body["agreement"], remote.identity, remote.name)
        for signed in body["checkpoints"]:
            self._compare(body["agreement"], signed, remote.identity)
        return {}

    def _owner(self, agreement: str, signed: bytes) -> tuple[str, str]:
        """Origin and owner of the log that a checkpoint is of: a signatory's."""
        origin = checkpoint.parse_text(note.parse(signed).text).origin
        with self._shelf.store.read() as session:
            for key in self._shelf.signatories(session, agreement):
                if self._shelf.origin(agreement, key) == origin:
                    return origin, key
        raise AtollError("E_LEDGER", f"{origin[:120]} is no log of that agreement")

    def _compare(self, agreement: str, signed: bytes, source: str) -> None:
        """Holds a checkpoint against the copy here, or keeps it until the copy has come so far."""
        shelf = self._shelf
        origin, owner = self._owner(agreement, signed)
        point = checkpoint.open_note(note.parse(signed), origin, PublicKey.parse(owner))
        with shelf.store.read() as session:
            copy = shelf.copy(session, agreement, owner)
            size = copy.size
            root = copy.root(point.size) if point.size <= size else None
            head = copy.storage.head()
        if root == point.root:
            return
        if root is None:
            self._keep(origin, agreement, point.size, signed, source)
            return
        self._contradicted(agreement, owner, signed, head, source)

    def _keep(self, origin: str, agreement: str, size: int, signed: bytes, source: str) -> None:
        with self._shelf.store.write() as session:
            row = session.get(LogHeard, (origin, source))
            if row is None or row.size < size:
                session.merge(
                    LogHeard(
                        origin=origin,
                        source=source,
                        agreement=agreement,
                        size=size,
                        note=signed,
                        at=self._shelf.now(),
                    )
                )

    def _look_again(self) -> None:
        """Checkpoints that were ahead of the copy here, once the copy has come so far."""
        with self._shelf.store.read() as session:
            sizes = {r.origin: r.size for r in session.scalars(select(LogName))}
            due = [r for r in session.scalars(select(LogHeard)) if sizes.get(r.origin, 0) >= r.size]
        for row in due:
            try:
                self._compare(row.agreement, row.note, row.source)
            except AtollError as error:
                self._shelf.log.info("a checkpoint could not be compared", origin=row.origin, code=error.code)
            with self._shelf.store.write() as session:
                stored = session.get(LogHeard, (row.origin, row.source))
                if stored is not None and stored.note == row.note:
                    session.delete(stored)

    # Proving.

    def _contradicted(
        self, agreement: str, owner: str, signed: bytes, head: bytes | None, source: str
    ) -> None:
        """Two histories: asks for the other one's leaves, and keeps the proof, or at least both checkpoints."""
        shelf = self._shelf
        origin = shelf.origin(agreement, owner)
        proof: ForkProof | None = None
        try:
            leaves = self._fetch(agreement, owner, signed, source)
            with shelf.store.read() as session:
                proof = shelf.copy(session, agreement, owner).accuse(leaves, signed)
        except AtollError as error:
            shelf.log.warning("the other history could not be had", origin=origin, code=error.code)
        if proof is not None:
            shelf.note_fork(agreement, origin, proof.to_json())
        else:
            facts = {"seen": (head or b"").decode(), "heard": signed.decode(), "source": source}
            text = "two signed checkpoints that contradict each other; the entries between them are not here"
            shelf.note_fork(agreement, origin, {"text": text, "facts": facts})

    def _fetch(self, agreement: str, owner: str, signed: bytes, source: str) -> list[bytes]:
        size = checkpoint.parse_text(note.parse(signed).text).size
        if size > _HISTORY:
            raise AtollError("E_TOO_LARGE", f"a history of {size} entries is not fetched by itself")
        leaves: list[bytes] = []
        while len(leaves) < size:
            count = min(_LEAVES, size - len(leaves))
            body = {"agreement": agreement, "owner": owner, "start": len(leaves), "count": count}
            answer = self._shelf.partners.request(source, "ledger.leaves", body)
            found = answer.get("leaves") if isinstance(answer, dict) else None
            if (
                not isinstance(found, list)
                or not 0 < len(found) <= count
                or not all(isinstance(leaf, bytes) for leaf in found)
            ):
                raise AtollError("E_WIRE", "not the leaves of a log", party=source)
            leaves += found
        return leaves

    def _leaves(self, remote: Remote, body: Any) -> Any:
        """Leaves of a third signatory's log, as this node was shown them; they tell nothing of the entries."""
        shelf = self._shelf
        if (
            not isinstance(body, dict)
            or set(body) != {"agreement", "owner", "start", "count"}
            or not all(type(body[k]) is int and body[k] >= 0 for k in ("start", "count"))
            or not 0 < body["count"] <= _LEAVES
        ):
            raise AtollError("E_WIRE", "not a request for leaves")
        with shelf.store.read() as session:
            shelf.require_signatory(session, body["agreement"], remote.identity, remote.name)
            shelf.require_signatory(session, body["agreement"], str(body["owner"]), remote.name)
            copy = shelf.copy(session, body["agreement"], body["owner"])
            end = min(copy.size, body["start"] + body["count"])
            return {"leaves": copy.storage.leaves(body["start"], end) if body["start"] < end else []}

    def _spread(self, agreement: str, origin: str, proof: dict[str, Any]) -> None:
        """A proof goes to all other signatories: each can check it, and need not have been shown both histories."""
        if "format" not in proof:
            return
        shelf = self._shelf
        active = {p.identity for p in shelf.partners.active()}
        with shelf.store.write() as session:
            for key in shelf.signatories(session, agreement):
                if key in active and shelf.origin(agreement, key) != origin:
                    body = {"agreement": agreement, "proof": proof}
                    shelf.partners.outbox.put(session, key, "ledger.fork", body)
        shelf.partners.outbox.wake()

    def _fork_told(self, remote: Remote, body: Any) -> Any:
        """A partner sends a proof; it counts once it is checked here."""
        if not isinstance(body, dict) or set(body) != {"agreement", "proof"}:
            raise AtollError("E_WIRE", "not a proof")
        with self._shelf.store.read() as session:
            self._shelf.require_signatory(session, body["agreement"], remote.identity, remote.name)
            keys = self._shelf.signatories(session, body["agreement"])
        proof = ForkProof.from_json(body["proof"])
        expected = self._shelf.origin(body["agreement"], str(proof.key))
        if str(proof.key) not in keys or proof.origin != expected:
            raise AtollError("E_LEDGER", "the proof is about no log of that agreement", party=remote.name)
        proof.verify()
        self._shelf.note_fork(body["agreement"], proof.origin, proof.to_json())
        return {}
