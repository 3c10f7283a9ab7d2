"""Which job an entry belongs to: its parties alone are shown its body, and an auditor's file is chosen by it."""

from __future__ import annotations

from atoll.crypto import canonical, dsse
from atoll.errors import AtollError
from atoll.ledger.entry import Body

# The job of an own entry whose body was lost: it is shown to nobody.
UNKNOWN = "unknown"
_MOST = 64


def job_of(body: Body) -> str | None:
    """The job that an entry is about; None for one about the agreement itself, or that names none."""
    document = body.document
    if not isinstance(document, dict):
        return None
    named = document.get("job")
    envelope = document.get("envelope")
    if named is None and isinstance(envelope, dict):
        try:
            inside = canonical.loads(dsse.payload_bytes(envelope))
        except AtollError:
            return None
        if isinstance(inside, dict):
            named = inside.get("id" if body.kind == "plan/v1" else "job")
    return named if isinstance(named, str) and 0 < len(named) <= _MOST else None
