"""The guard in front of every route: address, origin, token, role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from atoll.errors import AtollError
from atoll.node.access import Caller, Role
from atoll.node.clock import stamp
from atoll.node.node import Node
from atoll.node.state.models import AccessLog

MAX_BODY = 8 << 20
_LOOPBACK = {"127.0.0.1", "localhost", "[::1]"}


class Guard:
    """Host and Origin are checked before the token, so that a page in a browser cannot reach a local node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        host, _ = node.config.api_listen
        self._hosts = (
            _LOOPBACK | set(node.config["api.hosts"]) | ({host} if host not in ("0.0.0.0", "::") else set())  # noqa: S104
        )
        self._origins = set(node.config["api.origins"])

    def recognise(self, request: Request) -> bool:
        """Finds out who calls without a look at the store, where that is possible."""
        if request.scope["path"] == "/health":
            return True
        caller = self._node.access.known(request.headers.get("authorization"))
        if caller is not None:
            request.state.caller = caller
        return caller is not None

    def check_token(self, request: Request) -> None:
        """Finds out who calls, before anything of the call is read; `E_AUTH`."""
        request.state.caller = self._node.access.check(request.headers.get("authorization"))

    def check_address(self, request: Request) -> None:
        """`E_HOST`, `E_ORIGIN`, `E_TOO_LARGE`."""
        host = request.headers.get("host", "")
        name = host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdigit() else host
        if name not in self._hosts:
            raise AtollError("E_HOST", f"the Host header names {name[:100]!r}")
        origin = request.headers.get("origin")
        own = f"{request.scope['scheme']}://{host}"
        # Only PUT takes a body of unknown length; it is read piece by piece there.
        unknown = "transfer-encoding" in request.headers
        if request.method != "PUT" and (
            unknown or int(request.headers.get("content-length") or 0) > MAX_BODY
        ):
            raise AtollError(
                "E_TOO_LARGE", f"a body has at most {MAX_BODY >> 20} MiB and says its length", fault="caller"
            )
        if origin is not None and origin != own and origin not in self._origins:
            raise AtollError("E_ORIGIN", f"the Origin header names {origin[:100]!r}")


def needs(*roles: Role) -> Any:
    """A dependency that gives the caller, who must hold one of the roles; `E_ROLE`."""

    # Asynchronous like all dependencies here: FastAPI would send any other to a thread, which costs more than it does.
    async def check(request: Request) -> Caller:
        caller: Caller = request.state.caller
        if caller.role not in roles:
            raise AtollError(
                "E_ROLE", f"{caller.person} calls as {caller.role}; this needs {' or '.join(roles)}"
            )
        return caller

    return Depends(check)


async def node_of(request: Request) -> Node:
    """The node that the application serves."""
    node: Node = request.app.state.node
    return node


Here = Annotated[Node, Depends(node_of)]


class Router(APIRouter):
    """A router whose routes state their roles, in the schema too (`x-roles`)."""

    def on(
        self, method: str, path: str, *roles: Role, **options: Any
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Registers a route that only these roles may call."""
        extra = {"x-roles": list(roles), "security": [{"token": []}]}
        return self.api_route(
            path, methods=[method], dependencies=[needs(*roles)], openapi_extra=extra, **options
        )


async def caller_of(request: Request) -> Caller:
    """Who calls; the route's own dependency has checked the token."""
    caller: Caller = request.state.caller
    return caller


Who = Annotated[Caller, Depends(caller_of)]


def record_access(node: Node, request: Request, action: str, status: int) -> None:
    """Notes who called what, without bodies."""
    caller: Caller | None = getattr(request.state, "caller", None)
    target = ",".join(f"{v}" for v in request.scope.get("path_params", {}).values())
    entry = AccessLog(
        at=stamp(node.clock()),
        person=caller.person if caller else None,
        role=caller.role if caller else None,
        action=action[:200],
        target=target[:200],
        status=status,
        code=getattr(request.state, "code", None),
    )
    node.store.together(lambda session: session.add(entry))
