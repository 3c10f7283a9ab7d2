"""The report of a replay (kind `replay/v1`): what one party's side of a job gave when it was run again.

The node on which it ran signs it. It names channels, messages and inputs, never a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from atoll.agreements.provisional import Attempt
from atoll.crypto import dsse
from atoll.crypto.document import Digest, Document, JobId, Key, Text, Time, format_time

REPLAY_KIND = "replay/v1"

Threads = Annotated[int, Field(ge=1, le=1024)]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z-]{0,39}$")]
Fact = Annotated[int, Field(ge=0, le=2**53 - 1)] | Text


class ReplayFinding(Document):
    """One finding: its code, and the facts that fill its text."""

    code: Code
    level: Literal["ok", "note", "bad"]
    facts: Annotated[dict[Code, Fact], Field(max_length=16)]


class ReplayReport(Document):
    """What a replay found.

    `party` is whose side was run again, `host` whose node ran it; `receipt` is the digest of the receipt that it
    was compared with, null where not all parties have signed one. `build` and `threads` are those of the replay.
    """

    format: Literal["atoll.replay/v1"]
    job: JobId
    plan: Digest
    attempt: Attempt
    party: Key
    host: Key
    receipt: Digest | None
    build: Digest
    threads: Threads
    ran: bool
    started: Time
    finished: Time
    ok: bool
    findings: Annotated[tuple[ReplayFinding, ...], Field(max_length=100_000)]

    @model_validator(mode="after")
    def _validate(self) -> ReplayReport:
        if self.ok != (self.ran and all(f.level != "bad" for f in self.findings)):
            raise ValueError("ok: stands on a replay that ran and found nothing wrong, and only there")
        return self


def build_replay(
    *,
    job: str,
    plan: str,
    attempt: int,
    party: str,
    host: str,
    receipt: str | None,
    build: str,
    threads: int,
    ran: bool,
    started: datetime,
    finished: datetime,
    findings: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """A report, to be signed by `host`; fields as `ReplayReport`, `findings` as `ReplayFinding`."""
    return ReplayReport.parse(
        {
            "format": "atoll.replay/v1",
            "job": job,
            "plan": plan,
            "attempt": attempt,
            "party": party,
            "host": host,
            "receipt": receipt,
            "build": build,
            "threads": threads,
            "ran": ran,
            "started": format_time(started),
            "finished": format_time(finished),
            "ok": ran and all(f["level"] != "bad" for f in findings),
            "findings": [dict(f) for f in findings],
        }
    ).document()


def open_replay(envelope: dsse.Envelope) -> ReplayReport:
    """The checked report in an envelope that its host signed; `E_FORMAT`, `E_SIGNATURE`."""
    found = ReplayReport.parse(dsse.verify(REPLAY_KIND, envelope, ()))
    dsse.verify(REPLAY_KIND, envelope, (found.host,))
    return found
