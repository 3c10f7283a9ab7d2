"""What every part of the ledger at a node works with: store, key, clock, the logs that it holds, and findings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from atoll.agreements import Agreement
from atoll.crypto.suite import PublicKey, SigningKey
from atoll.errors import AtollError
from atoll.ledger import checkpoint
from atoll.ledger.entry import read_body
from atoll.ledger.log import Log
from atoll.ledger.replica import Replica
from atoll.node.agreements import opened
from atoll.node.clock import Clock, stamp
from atoll.node.evidence.subjects import job_of
from atoll.node.logs import logger
from atoll.node.metrics import Metrics
from atoll.node.partners import Partners
from atoll.node.state.log_storage import LogStorage
from atoll.node.state.models import Agreement as AgreementRow
from atoll.node.state.models import Fork, LogName
from atoll.node.state.store import Store

# Findings on one log that are kept: a partner must not fill the store with them.
_FINDINGS = 16
# The node's log of its logs has no agreement; its origin says so.
PRIVATE = "private"


@dataclass
class Shelf:
    """Shared by the parts of the ledger. `on_fork` hears of every new proof."""

    store: Store
    partners: Partners
    signing: SigningKey
    clock: Clock
    metrics: Metrics
    log: Any = field(default_factory=lambda: logger("ledger"))
    on_fork: Callable[[str, str, dict[str, Any]], None] = lambda agreement, origin, proof: None

    @property
    def me(self) -> str:
        """This node's identity."""
        return str(self.signing.public)

    def now(self) -> str:
        """The node's time, as rows have it."""
        return stamp(self.clock())

    def origin(self, agreement: str, owner: str | None = None) -> str:
        """The origin line of a signatory's log, this node's own by default."""
        return checkpoint.origin(agreement, PublicKey.parse(owner) if owner else self.signing.public)

    def storage(self, session: Session, origin: str, job: str | None = None) -> LogStorage:
        """A log's rows in a session."""
        return LogStorage(session, origin, self.now(), job)

    def own(self, session: Session, agreement: str) -> Log:
        """This node's own log of an agreement, for reading."""
        return Log(self.storage(session, self.origin(agreement)), agreement, self.signing.public)

    def copy(self, session: Session, agreement: str, owner: str) -> Replica:
        """The copy of a partner's log."""
        storage = LogStorage(
            session,
            self.origin(agreement, owner),
            self.now(),
            job_of=lambda opened: job_of(read_body(opened)),
        )
        return Replica(storage, agreement, PublicKey.parse(owner))

    def name(self, session: Session, agreement: str, owner: str) -> LogName:
        """The row of a log, made if it is new."""
        origin = self.origin(agreement, owner)
        row = session.get(LogName, origin)
        if row is None:
            row = LogName(origin=origin, agreement=agreement, owner=owner, size=0)
            session.add(row)
            session.flush()
        return row

    def agreement(self, session: Session, identifier: str) -> Agreement | None:
        """The newest version of an agreement that is known here, whoever has signed it."""
        row = session.scalars(
            select(AgreementRow).where(AgreementRow.id == identifier).order_by(AgreementRow.version.desc())
        ).first()
        return opened(row)[0] if row else None

    def signatories(self, session: Session, identifier: str) -> list[str]:
        """Keys of an agreement's signatories; none for an agreement that is not known."""
        found = self.agreement(session, identifier)
        return list(found.keys) if found else []

    def require_signatory(self, session: Session, identifier: Any, peer: str, name: str) -> None:
        """`E_AGREEMENT` unless the peer is a signatory of that agreement."""
        if not isinstance(identifier, str) or peer not in self.signatories(session, identifier):
            raise AtollError("E_AGREEMENT", "the sender is no signatory of that agreement", party=name)

    def note_fork(self, agreement: str, origin: str, proof: dict[str, Any]) -> None:
        """Keeps a finding once, and no more than a few of a log."""
        if "format" in proof:
            # Two partners who find the same two histories have one proof, whichever each saw first.
            first, second = sorted((proof["first"], proof["second"]), key=lambda b: str(b["checkpoint"]))
            proof = {**proof, "first": first, "second": second}
        with self.store.write() as session:
            known = session.scalars(select(Fork).where(Fork.origin == origin)).all()
            if len(known) >= _FINDINGS or any(row.proof == proof for row in known):
                return
            session.add(Fork(origin=origin, proof=proof, at=self.now()))
        self.metrics.forks.inc()
        self.log.error("a log has two histories", origin=origin)
        self.on_fork(agreement, origin, proof)
