"""The FastAPI application of one node: routes, the guard in front of them, problem documents."""

from __future__ import annotations

import json
import time
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
    query,
    replays,
    rosters,
    scripts,
    status,
    tables,
)
from atoll.node.api.guard import Guard, record_access
from atoll.node.logs import logger
from atoll.node.node import Node

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def _problem(error: AtollError) -> Response:
    return Response(
        json.dumps(error.to_problem(), ensure_ascii=False),
        status_code=error.status,
        media_type="application/problem+json",
        headers={"WWW-Authenticate": "Bearer"} if error.code == "E_AUTH" else None,
    )


class Guarded:
    """Around every call: who calls, by which address. How it ended is noted before the answer is sent."""

    def __init__(self, app: ASGIApp, node: Node, guard: Guard) -> None:
        self._app, self._node, self._guard = app, node, guard
        self._log = logger("api")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, started = Request(scope), time.monotonic()

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._note(request, message["status"], started)
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        try:
            self._guard.check_address(request)
            if not self._guard.recognise(request):
                await run_in_threadpool(self._guard.check_token, request)
        except AtollError as error:
            request.state.code = error.code
            await _problem(error)(scope, receive, sent)
            return
        await self._app(scope, receive, sent)

    async def _note(self, request: Request, status: int, started: float) -> None:
        route = request.scope.get("route")
        action = f"{request.method} {getattr(route, 'path', 'unknown')}"
        self._node.metrics.calls.labels(action=action, status=str(status)).inc()
        if (request.method != "GET" and not getattr(request.state, "noted", False)) or status in (401, 403):
            await run_in_threadpool(record_access, self._node, request, action, status)
        self._log.debug("call", action=action, status=status, ms=int((time.monotonic() - started) * 1000))


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
        # Routes are tried in this order: what is called most often stands first.
        scripts, jobs, status, people, partners, rosters, tables, quality, offers, agreements, consents, ledger, query,
        audit, replays, billing,
    ):  # fmt: skip
        app.include_router(part.router)

    app.add_middleware(Guarded, node=node, guard=app.state.guard)

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
