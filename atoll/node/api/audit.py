"""Files for auditors."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import Query, Response
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from atoll.audit import SUFFIX
from atoll.node.api.guard import Here, Router
from atoll.node.evidence.audits import Asked

router = Router(prefix="/v1/audit", tags=["audit"])

Words = Annotated[list[str] | None, Query()]


@router.on("GET", "/export", "auditor", "steward", response_class=Response)
def export(
    node: Here, agreement: str, job: Words = None, month: Words = None, call: Words = None
) -> Response:
    """Entries of an agreement's logs with their proofs, in one file that anyone can check offline.

    Without `job` and `month` all entries; each may be repeated. `call` (`JOB:BLOCK:CALL`) opens a call with its
    consent.
    """
    folder = Path(tempfile.mkdtemp(dir=node.home.path / "work"))
    path = folder / f"audit{SUFFIX}"

    def clean() -> None:
        path.unlink(missing_ok=True)
        folder.rmdir()

    try:
        node.audits.export(agreement, path, Asked(job or (), month or (), call or ()))
    except BaseException:
        clean()
        raise
    return FileResponse(
        path, media_type="application/zip", filename=f"{agreement}{SUFFIX}", background=BackgroundTask(clean)
    )
