"""From a case to a worker's specification, and from what the worker gave to a signed report; on node and host alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from atoll.agreements.replay import REPLAY_KIND, build_replay
from atoll.crypto import dsse
from atoll.errors import AtollError
from atoll.ledger.report import Finding
from atoll.node.evidence.replay_case import Case
from atoll.node.evidence.replay_report import after, before, conclude, finding
from atoll.node.jobs.desk import Desk
from atoll.node.worker.build import build_digest
from atoll.node.worker.supervise import Worker
from atoll.plan import plan_digest

Json = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """How a replay is asked for: threads (None for as many as then), and what does not stop it."""

    threads: int | None
    any_build: bool
    anyway: bool

    def document(self) -> Json:
        """As JSON."""
        return {"threads": self.threads, "any_build": self.any_build, "anyway": self.anyway}


def start_worker(
    desk: Desk,
    case: Case,
    options: Options,
    *,
    kept: Path,
    work: Path,
    on_progress: Callable[[Json], None],
    on_end: Callable[[Json | None, AtollError | None], None],
) -> Worker:
    """Runs a case in a worker, under the budgets of a job; `kept` holds its messages, `work` is an empty folder."""
    execution = case.expected.record.execution
    budget = desk.config["jobs.memory_bytes"]
    memory = min(budget, case.plan["limits"]["memory_bytes"] or budget)
    spec = {
        "task": "replay",
        "plan": case.plan,
        "me": case.party,
        "seed": case.seed,
        "attempt": case.attempt,
        "threads": options.threads or case.threads,
        "memory_bytes": memory,
        "kept": str(kept),
        "work": str(work),
        "inputs": case.inputs,
        "declared_keys": case.declared_keys,
        "peers": case.peers,
        "expected": case.expected.transcripts(),
        "build": execution.build if execution else None,
        "any_build": options.any_build,
        "anyway": options.anyway,
        "run": all(f.level != "bad" for f in case.found),
    }

    def on_message(message: Json) -> None:
        if message["kind"] == "progress":
            on_progress({k: message[k] for k in ("done", "total", "step")})

    return Worker(
        desk.nursery,
        spec,
        on_message,
        on_end,
        memory_bytes=memory,
        seconds=float(desk.config["jobs.seconds"]),
    )


def _findings(case: Case, options: Options, result: Json | None) -> list[Finding]:
    if result is None:
        return [*case.found, finding("not-run")]
    checked = before(case.expected, result["checked"], any_build=options.any_build)
    found = [*case.found, *checked, *after(case.expected, result, options.threads or case.threads)]
    return conclude(found)


def signed_report(
    desk: Desk, case: Case, options: Options, result: Json | None, started: datetime
) -> tuple[Json, dsse.Envelope]:
    """The report as a document and signed by this node; `result` is None where nothing could be run."""
    document = build_replay(
        job=case.job,
        plan=plan_digest(case.plan),
        attempt=case.attempt,
        party=case.party,
        host=desk.me,
        receipt=case.receipt,
        build=result["checked"]["build"] if result else build_digest(),
        threads=options.threads or case.threads,
        ran=result is not None and result["ran"],
        started=started,
        finished=desk.clock(),
        findings=[
            {"code": f.code, "level": f.level, "facts": dict(f.facts)}
            for f in _findings(case, options, result)
        ],
    )
    return document, dsse.sign(REPLAY_KIND, document, desk.signing)
