"""The table of replays; see `evidence.replays`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped

from atoll.node.state.base import KEY, TIME, Base
from atoll.node.state.base import column as _c


class Replay(Base):
    """A replay of this node's side of a job, for an auditor."""

    __tablename__ = "replays"
    id: Mapped[str] = _c(String(32), "identifier of the replay", primary_key=True)
    job: Mapped[str] = _c(String(64), "job that was run again", index=True)
    agreement: Mapped[str] = _c(String(64), "agreement whose log the report goes to")
    host: Mapped[str] = _c(KEY, "whose node runs it: this one, or an agreed host")
    person: Mapped[str] = _c(String(128), "who asked for it")
    options: Mapped[Any] = _c(JSON, "threads, any_build and anyway, as asked")
    state: Mapped[str] = _c(String(16), "running, done, failed or cancelled")
    report: Mapped[Any | None] = _c(JSON, "DSSE envelope of the report, once done", nullable=True)
    error: Mapped[Any | None] = _c(JSON, "owner's rendering of why there is no report", nullable=True)
    created: Mapped[str] = _c(TIME, "when it was asked for", index=True)
    ended: Mapped[str | None] = _c(TIME, "when it ended; null while it runs", nullable=True)
