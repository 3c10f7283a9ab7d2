"""Ledgers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from fastapi import Response
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from atoll.node.api.guard import Here, Router

router = Router(prefix="/v1/ledgers", tags=["ledger"])


@router.on("GET", "", "auditor", "steward", "administrator", "operator", "analyst")
def ledgers(node: Here) -> list[dict[str, Any]]:
    """Every log that this node holds: size, checkpoint, cosignatures and their age."""
    return node.ledgers.describe()


@router.on("GET", "/{agreement}", "auditor", "steward")
def entries(node: Here, agreement: str, start: int = 0, count: int = 100) -> list[dict[str, Any]]:
    """Entries of this node's own log of an agreement, with their bodies."""
    return node.ledgers.entries(agreement, max(0, start), max(1, min(count, 1000)))


@router.on("GET", "/{agreement}/export", "auditor", "steward", response_class=Response)
def export(node: Here, agreement: str, bodies: bool = True) -> Response:
    """All logs of an agreement in one file that anyone can check offline."""
    folder = Path(tempfile.mkdtemp(dir=node.home.path / "work"))
    path = folder / f"{agreement}.atoll-ledger"
    node.ledgers.export(agreement, path, bodies)

    def clean() -> None:
        path.unlink(missing_ok=True)
        folder.rmdir()

    return FileResponse(
        path, media_type="application/zip", filename=path.name, background=BackgroundTask(clean)
    )
