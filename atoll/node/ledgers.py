"""The logs at one node: appending to its own, keeping copies of its partners', cosigning, gossip of checkpoints."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from atoll.crypto import dsse
from atoll.crypto.suite import PublicKey, SigningKey
from atoll.errors import AtollError
from atoll.ledger import checkpoint
from atoll.ledger.entry import Entry, Opened, Record
from atoll.ledger.log import Log, OwnLog
from atoll.ledger.replica import Forked, Replica
from atoll.ledger.witness import Witness, WrongOldSize
from atoll.net.link import Peer as Remote
from atoll.node.agreements import opened
from atoll.node.clock import Clock, stamp
from atoll.node.logs import logger
from atoll.node.partners import Partners
from atoll.node.state.log_storage import LogStorage, SeenStorage
from atoll.node.state.models import Agreement as AgreementRow
from atoll.node.state.models import Cosignature, Fork, Job, LogName
from atoll.node.state.store import Store
from atoll.plan import KIND as PLAN_KIND

_BATCH = 256
_PAUSE = 5.0
_FINDINGS = 16
_GATHER = 0.2


class Ledgers:
    """All logs of all agreements of this node."""

    def __init__(self, store: Store, partners: Partners, signing: SigningKey, clock: Clock) -> None:
        self._store, self._partners, self._signing, self._clock = store, partners, signing, clock
        self._me = str(signing.public)
        self._log = logger("ledger")
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="ledger", daemon=True)
        partners.handle("ledger.extend", self._extended_there)

    def start(self) -> None:
        """Starts the replication of own logs to the partners."""
        self._thread.start()

    def stop(self) -> None:
        """Ends replication; it goes on from the same place later."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout=5)

    # The own log.

    def record(self, session: Session, agreement: str, kind: str, document: Any, job: str | None) -> None:
        """Appends to this node's log of an agreement, in the caller's transaction."""
        origin = checkpoint.origin(agreement, self._signing.public)
        if session.get(LogName, origin) is None:
            session.add(LogName(origin=origin, agreement=agreement, owner=self._me, size=0))
            session.flush()
        storage = LogStorage(session, origin, stamp(self._clock()), job)
        OwnLog(storage, agreement, self._signing).append([Record(f"{kind}/v1", document)], self._clock())
        self._wake.set()

    # Replication.

    def _signatories(self, session: Session, agreement: str) -> list[str]:
        row = session.scalars(
            select(AgreementRow).where(AgreementRow.id == agreement).order_by(AgreementRow.version.desc())
        ).first()
        return list(opened(row)[0].keys) if row else []

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
            except Exception:
                self._log.exception("replication failed")

    def _push_all(self) -> None:
        connected = self._partners.links.connected()
        active = {p.identity for p in self._partners.active()}
        with self._store.read() as session:
            own = session.scalars(select(LogName).where(LogName.owner == self._me)).all()
            todo = []
            for name in own:
                for key in self._signatories(session, name.agreement):
                    cosigned = session.get(Cosignature, (name.origin, key))
                    if (
                        key != self._me
                        and key in active
                        and key in connected
                        and (cosigned is None or cosigned.size < name.size)
                    ):
                        todo.append((name.agreement, name.origin, key, cosigned.size if cosigned else 0))
        for agreement, origin, peer, size in todo:
            if self._stopping:
                return
            try:
                self._push(agreement, origin, peer, size)
            except AtollError as error:
                self._log.info("a partner did not cosign", peer=peer[:24], code=error.code, text=error.text)

    def _push(self, agreement: str, origin: str, peer: str, known: int) -> None:
        """Brings one partner's copy up to date, batch by batch; a partner that lost its copy says where it stands."""
        for _ in range(1_000_000):
            message, size = self._message(agreement, origin, peer, known)
            if message is None:
                return
            answer = self._partners.request(peer, "ledger.extend", message)
            if isinstance(answer, dict) and isinstance(answer.get("size"), int) and answer["size"] != known:
                if not 0 <= answer["size"] <= size:
                    raise AtollError(
                        "E_LEDGER", "the partner has seen more of this log than this node has", party=peer
                    )
                known = answer["size"]
                continue
            if not isinstance(answer, dict) or not isinstance(answer.get("cosignature"), str):
                raise AtollError("E_LEDGER", "the partner's cosignature is not one", party=peer)
            with self._store.write() as session:
                log = Log(LogStorage(session, origin, stamp(self._clock())), agreement, self._signing.public)
                log.add_cosignature(size, answer["cosignature"], PublicKey.parse(peer))
            known = size

    def _message(
        self, agreement: str, origin: str, peer: str, known: int
    ) -> tuple[dict[str, Any] | None, int]:
        with self._store.read() as session:
            storage = LogStorage(session, origin, stamp(self._clock()))
            log = Log(storage, agreement, self._signing.public)
            end = min(log.size, known + _BATCH)
            # A batch must end at a signed checkpoint; every append of this node signs one.
            while end > known and storage.checkpoint(end) is None:
                end -= 1
            if end <= known:
                return None, end
            entries = log.entries(known, end)
            shown = [self._may_see(session, job, peer) for job in storage.jobs(known, end)]
            return {
                "agreement": agreement,
                "old": known,
                "proof": log.consistency_proof(known, end),
                "checkpoint": storage.checkpoint(end),
                "entries": [
                    {
                        "leaf": e.leaf,
                        "body": e.opened.body if ok and e.opened else b"",
                        "opening": e.opened.opening if ok and e.opened else b"",
                    }
                    for e, ok in zip(entries, shown, strict=True)
                ],
            }, end

    def _may_see(self, session: Session, job: str | None, peer: str) -> bool:
        """The parties of a job see its entries' bodies; all signatories see those of the agreement itself."""
        if job is None:
            return True
        row = session.get(Job, job)
        if row is None:
            return False
        return any(p["key"] == peer for p in dsse.verify(PLAN_KIND, row.plan, [])["parties"])

    def _extended_there(self, remote: Remote, body: Any) -> Any:
        """A partner's own log grew: check, keep, cosign."""
        wanted = {"agreement", "old", "proof", "checkpoint", "entries"}
        if (
            not isinstance(body, dict)
            or set(body) != wanted
            or not isinstance(body["entries"], list)
            or len(body["entries"]) > _BATCH
        ):
            raise AtollError("E_WIRE", "not an extension of a log")
        known = (
            isinstance(body["agreement"], str)
            and isinstance(body["old"], int)
            and isinstance(body["checkpoint"], bytes)
        )
        if not known or not isinstance(body["proof"], list):
            raise AtollError("E_WIRE", "not an extension of a log")
        owner = PublicKey.parse(remote.identity)
        with self._store.read() as session:
            if remote.identity not in self._signatories(session, body["agreement"]):
                raise AtollError(
                    "E_AGREEMENT", "the sender is no signatory of that agreement", party=remote.name
                )
        origin = checkpoint.origin(body["agreement"], owner)
        entries = [self._entry(e) for e in body["entries"]]
        try:
            with self._store.write() as session:
                if session.get(LogName, origin) is None:
                    session.add(
                        LogName(origin=origin, agreement=body["agreement"], owner=remote.identity, size=0)
                    )
                    session.flush()
                witness = Witness(self._signing, SeenStorage(session))
                cosignature = witness.update(
                    origin, owner, body["old"], body["proof"], body["checkpoint"], self._clock()
                )
                storage = LogStorage(session, origin, stamp(self._clock()))
                Replica(storage, body["agreement"], owner).extend(body["old"], entries, body["checkpoint"])
        except WrongOldSize as error:
            return {"size": error.size}
        except Forked as error:
            self._note_fork(origin, error.proof.to_json())
            self._log.error("a partner signed two histories", peer=remote.name, origin=origin)
            raise
        except AtollError as error:
            if error.code == "E_LEDGER":
                self._note_fork(origin, {"text": error.text, "facts": error.detail})
            raise
        return {"cosignature": cosignature.line}

    def _note_fork(self, origin: str, proof: dict[str, Any]) -> None:
        """Keeps a finding once, and no more than a few of a log: a partner must not fill the store with them."""
        with self._store.write() as session:
            known = session.scalars(select(Fork).where(Fork.origin == origin)).all()
            if len(known) < _FINDINGS and all(row.proof != proof for row in known):
                session.add(Fork(origin=origin, proof=proof, at=stamp(self._clock())))

    @staticmethod
    def _entry(value: Any) -> Entry:
        if (
            not isinstance(value, dict)
            or set(value) != {"leaf", "body", "opening"}
            or not all(isinstance(v, bytes) for v in value.values())
        ):
            raise AtollError("E_WIRE", "not an entry of a log")
        return Entry(value["leaf"], Opened(value["body"], value["opening"]) if value["body"] else None)

    # Reading.

    def logs(self, session: Session, agreement: str) -> list[Log]:
        """All logs of an agreement that this node holds, its own first."""
        rows = session.scalars(
            select(LogName).where(LogName.agreement == agreement).order_by(LogName.owner)
        ).all()
        rows = sorted(rows, key=lambda r: r.owner != self._me)
        return [Log(LogStorage(session, r.origin, ""), agreement, PublicKey.parse(r.owner)) for r in rows]

    def describe(self, agreement: str | None = None) -> list[dict[str, Any]]:
        """Size, root, and age of the cosignatures of every log."""
        with self._store.read() as session:
            rows = session.scalars(select(LogName).order_by(LogName.agreement, LogName.origin)).all()
            found = []
            for row in rows:
                if agreement not in (None, row.agreement):
                    continue
                cosigned = session.scalars(select(Cosignature).where(Cosignature.origin == row.origin)).all()
                storage = LogStorage(session, row.origin, "")
                newest = storage.checkpoint()
                found.append(
                    {
                        "agreement": row.agreement,
                        "origin": row.origin,
                        "owner": row.owner,
                        "own": row.owner == self._me,
                        "size": row.size,
                        "checkpoint": newest.decode() if newest else None,
                        "cosignatures": [
                            {"witness": c.witness, "size": c.size, "behind": row.size - c.size, "at": c.at}
                            for c in cosigned
                        ],
                        "forks": session.query(Fork).filter(Fork.origin == row.origin).count(),
                    }
                )
        return found

    def entries(self, agreement: str, start: int, count: int) -> list[dict[str, Any]]:
        """Entries of the own log with their bodies, for those who may read records."""
        with self._store.read() as session:
            logs = self.logs(session, agreement)
            if not logs:
                raise AtollError("E_NOT_FOUND", f"there is no ledger of agreement {agreement!r}")
            log = logs[0]
            end = min(log.size, start + count)
            out = []
            for offset, entry in enumerate(log.entries(start, end) if start < end else []):
                body = log.body(start + offset)
                out.append(
                    {
                        "number": start + offset,
                        "commitment": entry.commitment,
                        "kind": body.kind if body else None,
                        "time": body.time if body else None,
                        "document": body.document if body else None,
                    }
                )
        return out

    def export(self, agreement: str, path: Path, with_bodies: bool) -> dict[str, Any]:
        """Writes all logs of an agreement into one file that can be checked offline."""
        from atoll.ledger.export import write_export

        with self._store.read() as session:
            logs = self.logs(session, agreement)
            if not logs:
                raise AtollError("E_NOT_FOUND", f"there is no ledger of agreement {agreement!r}")
            return write_export(path, logs, with_bodies=with_bodies)
