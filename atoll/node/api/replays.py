"""Replays: jobs run again from what was kept of them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from atoll.errors import AtollError
from atoll.node.api.guard import Here, Router, Who

router = Router(prefix="/v1/audit", tags=["audit"])


class NewReplay(BaseModel):
    """A job whose side at this node is to be run again."""

    model_config = ConfigDict(extra="forbid")
    job: str
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    any_build: bool = False
    anyway: bool = False
    at: str | None = None


@router.on("POST", "/replays", "auditor", "steward", status_code=201)
def replay(node: Here, who: Who, body: NewReplay) -> dict[str, Any]:
    """Runs this node's side of a completed job again, and compares all that it sends with the receipt.

    Only a steward has it run at a host, since the host is sent inputs, seed and messages.
    """
    if body.at is not None and who.role != "steward":
        raise AtollError("E_ROLE", f"{who.person} calls as {who.role}; a replay at a host needs steward")
    return node.replays.begin(
        body.job,
        who.person,
        threads=body.threads,
        any_build=body.any_build,
        anyway=body.anyway,
        at=body.at,
    )


@router.on("GET", "/replays", "auditor", "steward")
def replays(
    node: Here, job: str | None = None, limit: int = 100, before: str | None = None
) -> list[dict[str, Any]]:
    """Replays, newest first; all, or those of one job."""
    return node.replays.listed(job, max(1, min(limit, 1000)), before)


@router.on("GET", "/replays/{identifier}", "auditor", "steward")
def show(node: Here, identifier: str) -> dict[str, Any]:
    """One replay: its progress, and once it is done its report, signed by the node."""
    return node.replays.show(identifier)


@router.on("POST", "/replays/{identifier}/cancel", "auditor", "steward")
def cancel(node: Here, who: Who, identifier: str) -> dict[str, Any]:
    """Ends a replay that runs."""
    return node.replays.cancel(identifier, who.person)
