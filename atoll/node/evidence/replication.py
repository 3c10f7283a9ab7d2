"""Copies of logs among signatories: the own log is pushed and cosigned, partners' logs are checked and kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from atoll.crypto import dsse
from atoll.crypto.suite import PublicKey
from atoll.errors import AtollError
from atoll.ledger.entry import Entry, Opened
from atoll.ledger.log import OwnLog
from atoll.ledger.replica import Forked
from atoll.ledger.witness import Witness, WrongOldSize
from atoll.net.link import Peer as Remote
from atoll.node.evidence.shelf import PRIVATE, Shelf
from atoll.node.state.log_storage import SeenStorage
from atoll.node.state.models import Cosignature, Job, LogName
from atoll.plan import KIND as PLAN_KIND

BATCH = 256
_PAUSE = 5.0
_GATHER = 0.2


def read_entry(value: Any) -> Entry:
    """An entry as it travels; `E_WIRE` for anything else."""
    if (
        not isinstance(value, dict)
        or set(value) != {"leaf", "body", "opening"}
        or not all(isinstance(v, bytes) for v in value.values())
    ):
        raise AtollError("E_WIRE", "not an entry of a log")
    return Entry(value["leaf"], Opened(value["body"], value["opening"]) if value["body"] else None)


def write_entry(entry: Entry, shown: bool = True) -> dict[str, bytes]:
    """An entry for the wire, with its body if it is to be shown."""
    opened = entry.opened if shown else None
    return {
        "leaf": entry.leaf,
        "body": opened.body if opened else b"",
        "opening": opened.opening if opened else b"",
    }


class Replication:
    """Pushes own logs to the partners in the background, and takes theirs.

    Args:
        shelf: shared parts.
        after: called at the end of each round, in the same thread.
    """

    def __init__(self, shelf: Shelf, after: Callable[[], None]) -> None:
        self._shelf, self._after = shelf, after
        self._wake = threading.Event()
        self._stopping = False
        # What a partner says it holds, where that is less than its cosignature says: it lost its copy.
        self._held: dict[tuple[str, str], int] = {}
        self._thread = threading.Thread(target=self._loop, name="ledger", daemon=True)
        shelf.partners.handle("ledger.extend", self._extended_there)

    def start(self) -> None:
        """Starts pushing."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it; it goes on from the same place later."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout=5)

    def wake(self) -> None:
        """There is something to push."""
        self._wake.set()

    def holds(self, origin: str, peer: str, size: int) -> None:
        """A partner said how much of an own log it holds."""
        self._held[origin, peer] = size
        self._wake.set()

    def _loop(self) -> None:
        while not self._stopping:
            if self._wake.wait(timeout=_PAUSE):
                # A job appends several entries within moments: they travel together.
                time.sleep(_GATHER)
            self._wake.clear()
            if self._stopping:
                return
            try:
                self._push_all()
                self._after()
            except Exception:
                self._shelf.log.exception("replication failed")

    def _push_all(self) -> None:
        shelf = self._shelf
        connected = shelf.partners.links.connected()
        active = {p.identity for p in shelf.partners.active()}
        todo = []
        with shelf.store.read() as session:
            own = session.scalars(select(LogName).where(LogName.owner == shelf.me)).all()
            cosigned = {(c.origin, c.witness): c.size for c in session.scalars(select(Cosignature))}
            for name in own:
                if name.agreement == PRIVATE:
                    continue
                for key in shelf.signatories(session, name.agreement):
                    known = cosigned.get((name.origin, key), 0)
                    known = min(known, self._held.get((name.origin, key), known))
                    if key != shelf.me and key in active and key in connected and known < name.size:
                        todo.append((name.agreement, name.origin, key, known))
        for agreement, origin, peer, known in todo:
            if self._stopping:
                return
            try:
                self._push(agreement, origin, peer, known)
            except AtollError as error:
                shelf.log.info("a partner did not cosign", peer=peer[:24], code=error.code, text=error.text)

    def _push(self, agreement: str, origin: str, peer: str, known: int) -> None:
        """Brings one partner's copy up to date, batch by batch; a partner that lost its copy says where it stands."""
        shelf = self._shelf
        for _ in range(1_000_000):
            message, size = self._message(agreement, origin, peer, known)
            if message is None:
                self._held.pop((origin, peer), None)
                return
            answer = shelf.partners.request(peer, "ledger.extend", message)
            if isinstance(answer, dict) and isinstance(answer.get("size"), int) and answer["size"] != known:
                if not 0 <= answer["size"] <= size:
                    raise AtollError(
                        "E_LEDGER", "the partner has seen more of this log than this node has", party=peer
                    )
                known = answer["size"]
                continue
            if not isinstance(answer, dict) or not isinstance(answer.get("cosignature"), str):
                raise AtollError("E_LEDGER", "the partner's cosignature is not one", party=peer)
            with shelf.store.write() as session:
                log = shelf.own(session, agreement)
                log.add_cosignature(message["checkpoint"], answer["cosignature"], PublicKey.parse(peer))
            known = size

    def _message(
        self, agreement: str, origin: str, peer: str, known: int
    ) -> tuple[dict[str, Any] | None, int]:
        shelf = self._shelf
        with shelf.store.read() as session:
            storage = shelf.storage(session, origin)
            log = OwnLog(storage, agreement, shelf.signing)
            end = min(log.size, known + BATCH)
            if end <= known:
                return None, end
            entries = log.entries(known, end)
            shown = [self._may_see(session, job, peer) for job in storage.jobs(known, end)]
            return {
                "agreement": agreement,
                "old": known,
                "proof": log.consistency_proof(known, end),
                "checkpoint": log.sign(end),
                "entries": [write_entry(e, ok) for e, ok in zip(entries, shown, strict=True)],
            }, end

    @staticmethod
    def _may_see(session: Session, job: str | None, peer: str) -> bool:
        """The parties of a job see its entries' bodies; all signatories see those of the agreement itself."""
        if job is None:
            return True
        row = session.get(Job, job)
        if row is None:
            return False
        return any(p["key"] == peer for p in dsse.verify(PLAN_KIND, row.plan, [])["parties"])

    # A partner's log.

    def _extended_there(self, remote: Remote, body: Any) -> Any:
        """A partner's own log grew: check, keep, cosign."""
        shelf = self._shelf
        if (
            not isinstance(body, dict)
            or set(body) != {"agreement", "old", "proof", "checkpoint", "entries"}
            or type(body["old"]) is not int
            or not isinstance(body["checkpoint"], bytes)
            or not isinstance(body["proof"], list)
            or not isinstance(body["entries"], list)
            or len(body["entries"]) > BATCH
        ):
            raise AtollError("E_WIRE", "not an extension of a log")
        agreement = body["agreement"]
        with shelf.store.read() as session:
            shelf.require_signatory(session, agreement, remote.identity, remote.name)
        origin, owner = shelf.origin(agreement, remote.identity), PublicKey.parse(remote.identity)
        entries = [read_entry(e) for e in body["entries"]]
        try:
            with shelf.store.write() as session:
                shelf.name(session, agreement, remote.identity)
                witness = Witness(shelf.signing, SeenStorage(session))
                cosignature = witness.update(
                    origin, owner, body["old"], body["proof"], body["checkpoint"], shelf.clock()
                )
                copy = shelf.copy(session, agreement, remote.identity)
                copy.extend(body["old"], entries, body["checkpoint"])
                # Kept here too: this node's own files for auditors show that it has seen the partner's log.
                copy.add_cosignature(body["checkpoint"], cosignature.line, shelf.signing.public)
        except WrongOldSize as error:
            return {"size": error.size}
        except Forked as error:
            shelf.note_fork(agreement, origin, error.proof.to_json())
            raise
        except AtollError as error:
            if error.code == "E_LEDGER":
                shelf.note_fork(agreement, origin, {"text": error.text, "facts": error.detail})
            raise
        return {"cosignature": cosignature.line}
