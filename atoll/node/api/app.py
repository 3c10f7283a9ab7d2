"""The FastAPI application of one node: routes, the guard in front of them, problem documents."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from atoll import __version__
from atoll.errors import AtollError
from atoll.node.access import ROLES
from atoll.node.api import (
    agreements,
    audit,
    billing,
    consents,
    jobs,
    ledger,
    offers,
    partners,
    people,
    quality,
    replays,
    rosters,
    scripts,
    status,
    tables,
)
from atoll.node.api.guard import Guard, record_access
from atoll.node.logs import logger
from atoll.node.node import Node


def _problem(error: AtollError) -> Response:
    return Response(
        json.dumps(error.to_problem(), ensure_ascii=False),
        status_code=error.status,
        media_type="application/problem+json",
        headers={"WWW-Authenticate": "Bearer"} if error.code == "E_AUTH" else None,
    )


def build(node: Node) -> FastAPI:
    """The application of a node."""
    app = FastAPI(
        title="Atoll",
        version=__version__,
        description="REST API of one Atoll node.",
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        responses={
            "default": {
                "description": "A problem document (RFC 9457).",
                "content": {"application/problem+json": {}},
            }
        },
    )
    app.state.node = node
    app.state.guard = Guard(node)
    log = logger("api")
    for part in (
        status, people, partners, rosters, tables, quality, offers, agreements, consents, jobs, ledger, audit,
        replays, billing, scripts,
    ):  # fmt: skip
        app.include_router(part.router)

    @app.middleware("http")
    async def guarded(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        started = time.monotonic()
        try:
            app.state.guard.check_address(request)
            await run_in_threadpool(app.state.guard.check_token, request)
            response = await call_next(request)
        except AtollError as error:
            request.state.code = error.code
            response = _problem(error)
        route = request.scope.get("route")
        action = f"{request.method} {getattr(route, 'path', 'unknown')}"
        node.metrics.calls.labels(action=action, status=str(response.status_code)).inc()
        if request.method != "GET" or response.status_code in (401, 403):
            await run_in_threadpool(record_access, node, request, action, response.status_code)
        log.debug(
            "call", action=action, status=response.status_code, ms=int((time.monotonic() - started) * 1000)
        )
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @app.exception_handler(AtollError)
    async def refused(request: Request, error: AtollError) -> Response:
        request.state.code = error.code
        return _problem(error)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return await refused(request, AtollError("E_FORMAT", f"{where or 'the body'}: {first['msg']}"))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        if error.status_code in (404, 405):
            return await refused(
                request, AtollError("E_NOT_FOUND", f"there is no {request.method} {request.url.path}")
            )
        return await refused(request, AtollError("E_FORMAT", str(error.detail)))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        identifier = f"{int(time.time() * 1000):x}"
        log.error("a call failed", identifier=identifier, error=type(error).__name__, exc_info=error)
        return await refused(
            request, AtollError("E_INTERNAL", f"{type(error).__name__}, identifier {identifier}")
        )

    original = app.openapi

    def openapi() -> dict[str, Any]:
        body = original()
        body.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        body["x-roles"] = list(ROLES)
        return body

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the schema
    return app
