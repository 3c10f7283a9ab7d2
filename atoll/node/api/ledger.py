"""Ledgers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from fastapi import Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict
from starlette.background import BackgroundTask

from atoll.errors import AtollError
from atoll.node.api.guard import Here, Router, Who
from atoll.node.evidence.shelf import PRIVATE

router = Router(prefix="/v1/ledgers", tags=["ledger"])


class Without(BaseModel):
    """Names of partners."""

    model_config = ConfigDict(extra="forbid")
    partners: list[str]


def _not_private(agreement: str) -> None:
    if agreement == PRIVATE:
        raise AtollError("E_NOT_FOUND", f"there is no ledger of agreement {agreement!r}")


@router.on("GET", "", "auditor", "steward", "administrator", "operator", "analyst")
def ledgers(node: Here) -> list[dict[str, Any]]:
    """Every log that this node holds: size, checkpoint, cosignatures and their age."""
    return node.ledgers.describe()


@router.on("GET", "/standing", "auditor", "steward", "administrator", "operator")
def standing(node: Here) -> dict[str, Any]:
    """Whether the node may record, which partners it waits for, and which own logs it fetches back."""
    return node.evidence.standing.describe()


@router.on("POST", "/standing/without", "administrator")
def without(node: Here, who: Who, body: Without) -> dict[str, Any]:
    """While the node recovers: does not wait for these partners, who may hold entries that it lost."""
    return node.evidence.standing.go_on_without(body.partners, who.person)


@router.on("GET", "/private", "auditor")
def private(node: Here, start: int = 0, count: int = 100) -> list[dict[str, Any]]:
    """Entries of the node's private log of its logs."""
    return node.ledgers.entries(PRIVATE, max(0, start), max(1, min(count, 1000)))


@router.on("GET", "/{agreement}/forks", "auditor", "steward")
def forks(node: Here, agreement: str) -> list[dict[str, Any]]:
    """Proofs that a log of an agreement has two histories."""
    return node.ledgers.forks(agreement)


@router.on("GET", "/{agreement}", "auditor", "steward")
def entries(node: Here, agreement: str, start: int = 0, count: int = 100) -> list[dict[str, Any]]:
    """Entries of this node's own log of an agreement, with their bodies."""
    _not_private(agreement)
    return node.ledgers.entries(agreement, max(0, start), max(1, min(count, 1000)))


@router.on("GET", "/{agreement}/export", "auditor", "steward", response_class=Response)
def export(node: Here, agreement: str, bodies: bool = True) -> Response:
    """All logs of an agreement in one file that anyone can check offline."""
    _not_private(agreement)
    folder = Path(tempfile.mkdtemp(dir=node.home.path / "work"))
    path = folder / f"{agreement}.atoll-ledger"
    node.ledgers.export(agreement, path, bodies)

    def clean() -> None:
        path.unlink(missing_ok=True)
        folder.rmdir()

    return FileResponse(
        path, media_type="application/zip", filename=path.name, background=BackgroundTask(clean)
    )
