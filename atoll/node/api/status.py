"""Health, metrics, the node itself, and who called."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response
from sqlalchemy import select

from atoll.errors import CODES
from atoll.node.access import ROLE_MEANING, ROLES, Caller
from atoll.node.api.guard import Here, Router
from atoll.node.state.models import AccessLog

router = Router(tags=["node"])


@router.get("/health", openapi_extra={"x-roles": []})
def health(node: Here) -> dict[str, str]:
    """Whether the process answers; the one call without a token, and it says nothing else."""
    return {"status": "ok" if node.ready else "starting"}


@router.on("GET", "/metrics", "operator", "administrator", response_class=Response)
def metrics(node: Here) -> Response:
    """Prometheus metrics."""
    node.metrics.links.set(len(node.partners.links.connected()))
    node.metrics.outbox.set(node.partners.outbox.waiting())
    return Response(node.metrics.text(), media_type="text/plain; version=0.0.4")


@router.on("GET", "/v1/node", *ROLES)
def show(node: Here, request: Request) -> dict[str, Any]:
    """This node: name, identity, address, version; and who calls."""
    caller: Caller = request.state.caller
    return {**node.describe(), "person": caller.person, "role": caller.role, "roles": ROLE_MEANING}


@router.on("GET", "/v1/errors", *ROLES)
def errors() -> list[dict[str, Any]]:
    """Every error code with its HTTP status, whose fault it usually is, and what to do."""
    return [
        {"code": code, "status": status, "fault": fault, "cure": cure}
        for code, (status, fault, cure) in CODES.items()
    ]


@router.on("GET", "/v1/access-log", "auditor", "administrator")
def access_log(node: Here, limit: int = 100, before: int | None = None) -> list[dict[str, Any]]:
    """Who called what, newest first. No bodies."""
    query = select(AccessLog).order_by(AccessLog.id.desc()).limit(max(1, min(limit, 1000)))
    if before is not None:
        query = query.where(AccessLog.id < before)
    with node.store.read() as session:
        rows = session.scalars(query).all()
    return [
        {
            "id": r.id,
            "at": r.at,
            "person": r.person,
            "role": r.role,
            "action": r.action,
            "target": r.target,
            "status": r.status,
            "code": r.code,
        }
        for r in rows
    ]
