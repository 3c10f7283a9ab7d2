"""What every part of the job life cycle works with."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from atoll.agreements import AgreementState, Approval, open_approval
from atoll.crypto import canonical, dsse
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.node.agreements import Agreements
from atoll.node.clock import Clock, stamp
from atoll.node.config import Config
from atoll.node.lines import Lines
from atoll.node.memo import Memo
from atoll.node.metrics import Metrics
from atoll.node.partners import Partners
from atoll.node.scripts.decisions import Decisions
from atoll.node.scripts.packages import Packages
from atoll.node.state.models import Approval as ApprovalRow
from atoll.node.state.models import Job, JobEvent
from atoll.node.state.store import Store
from atoll.node.tables import Tables
from atoll.node.vault import Vault
from atoll.node.worker.nursery import Nursery
from atoll.plan import KIND as PLAN_KIND
from atoll.plan import Derivation, check

ENDED = ("completed", "refused", "failed", "cancelled")


@dataclass
class Desk:
    """Shared parts of the node, and a few helpers that every step of a job needs."""

    home: Path
    config: Config
    store: Store
    vault: Vault
    signing: SigningKey
    clock: Clock
    metrics: Metrics
    partners: Partners
    agreements: Agreements
    tables: Tables
    nursery: Nursery
    cells: Nursery
    packages: Packages
    decisions: Decisions
    record: Callable[[Session, str, str, Any, str | None], None]
    require: Callable[[str], None]
    """Raises for an agreement in which nothing may be signed and recorded now."""
    receipted: Callable[[Session, dsse.Envelope], None]
    """Called in the transaction that stores a receipt which all have signed."""
    lines: Lines = field(default_factory=Lines)
    # A fixed number of locks, since peers choose the names of jobs.
    _locks: tuple[threading.RLock, ...] = field(
        default_factory=lambda: tuple(threading.RLock() for _ in range(256))
    )

    _plans: Memo[Any] = field(default_factory=Memo)
    _derived: Memo[Derivation] = field(default_factory=Memo)

    @property
    def me(self) -> str:
        """This node's identity."""
        return str(self.signing.public)

    @contextmanager
    def locked(self, job: str) -> Iterator[None]:
        """One step at a time for a job."""
        with self._locks[zlib.crc32(job.encode()) % len(self._locks)]:
            yield

    def job(self, identifier: str) -> Job:
        """A job's row; `E_NOT_FOUND`."""
        with self.store.read() as session:
            row = session.get(Job, identifier)
        if row is None:
            raise AtollError("E_NOT_FOUND", f"there is no job {identifier!r}")
        return row

    def plan(self, row: Job) -> dict[str, Any]:
        """The plan of a job, its signature checked again."""
        signatures = tuple(s["sig"] for s in row.plan["signatures"])
        key = (row.plan["payload"], signatures, row.asker)
        plan: dict[str, Any] = self._plans.get(key, lambda: dsse.verify(PLAN_KIND, row.plan, [row.asker]))
        return plan

    def states(self, plan: dict[str, Any]) -> dict[str, AgreementState]:
        """The agreements that a plan names, in the versions that it names."""
        return {
            i["agreement"]: self.agreements.state(i["agreement"], i["agreement_digest"])
            for i in plan["inputs"]
        }

    def derive(self, plan: dict[str, Any]) -> Derivation:
        """What this node derives from the plan itself."""
        agreements = {k: s.agreement for k, s in self.states(plan).items()}
        key = (canonical.dumps(plan), *sorted(a.digest for a in agreements.values()))
        return self._derived.get(key, lambda: check(plan, agreements))

    def others(self, plan: dict[str, Any]) -> list[str]:
        """Keys of the other parties of a plan."""
        return [p["key"] for p in plan["parties"] if p["key"] != self.me]

    def names(self, plan: dict[str, Any]) -> dict[str, str]:
        """Display names of the parties of a plan."""
        return {p["key"]: p["name"] for p in plan["parties"]}

    def approvals(self, row: Job) -> dict[str, Approval]:
        """The checked approvals that are stored for a job."""
        plan = self.plan(row)
        with self.store.read() as session:
            rows = session.query(ApprovalRow).filter(ApprovalRow.job == row.id).all()
        return {r.party: self.open_approval(row, plan, r.party, r.envelope) for r in rows}

    def open_approval(self, row: Job, plan: dict[str, Any], party: str, envelope: dsse.Envelope) -> Approval:
        """Checks a party's approval of a job's plan."""
        inputs = [i["id"] for i in plan["inputs"] if i["party"] == party]
        return open_approval(envelope, plan=row.plan_digest, job=row.id, party=party, inputs=inputs)

    def event(self, session: Session, job: str, kind: str, **detail: Any) -> None:
        """Notes what happened to a job, in the caller's transaction."""
        session.add(JobEvent(job=job, at=stamp(self.clock()), kind=kind, detail=detail))

    @property
    def threads(self) -> int:
        """Threads that a worker may use."""
        return int(self.config["jobs.threads"]) or os.cpu_count() or 1

    def folder(self, job: str) -> Path:
        """A job's folder in the node's folder."""
        path = self.home / "jobs" / job
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path
