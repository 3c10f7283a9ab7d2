"""The owner's tables."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any, Literal

import anyio.from_thread
import anyio.to_thread
import pyarrow as pa
from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict
from starlette.requests import ClientDisconnect

from atoll.errors import AtollError
from atoll.node.api.guard import Here, Router, Who

router = Router(prefix="/v1/data", tags=["data"])


class Source(BaseModel):
    """A source, `{"path"}`, `{"url", "query"}` or `{"url", "table"}`, with the owner's words about it."""

    model_config = ConfigDict(extra="forbid")
    source: dict[str, Any]
    declaration: dict[str, Any] | None = None


class NewTable(Source):
    """A table to add."""

    name: str
    mode: Literal["snapshot", "live"] = "snapshot"
    bad_rows: Literal["refuse", "skip"] = "refuse"
    keys: list[list[str]] = []
    rules: dict[str, Any] | None = None


class Question(BaseModel):
    """An id, one text for each column of the table's key, and which version: number, digest, or the one in use."""

    model_config = ConfigDict(extra="forbid", strict=True)
    id: list[Any]
    version: int | str | None = None


@router.on("GET", "", "steward", "analyst", "auditor", "administrator")
def tables(node: Here) -> list[dict[str, Any]]:
    """All tables, without profiles."""
    return node.tables.list()


@router.on("POST", "/inspect", "steward")
def inspect(node: Here, body: Source) -> dict[str, Any]:
    """What a source would be as a table: columns, types, warnings, bad rows. Nothing is kept."""
    return node.tables.inspect(body.source, body.declaration)


@router.on("POST", "", "steward", status_code=201)
def add(node: Here, who: Who, body: NewTable) -> dict[str, Any]:
    """Adds a table from a source that the node can read."""
    return node.tables.add(
        body.name,
        body.source,
        body.declaration,
        bad_rows=body.bad_rows,
        keys=body.keys,
        person=who.person,
        mode=body.mode,
        rules=body.rules,
    )


def _declared(text: str | None, what: str) -> Any:
    if not text:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise AtollError("E_FORMAT", f"{what} is not JSON") from None


async def _upload(request: Request, node: Here, take: Callable[[pa.Table], Any]) -> Any:
    """The body as it arrives, handed to a thread piece by piece, and what `take` makes of its table."""
    send, receive = anyio.create_memory_object_stream[bytes](4)
    whole = False
    outcome: dict[str, Any] = {}

    async def pump() -> None:
        nonlocal whole
        # A reader that ended early has a reason of its own; a caller that went away hears no answer.
        with contextlib.suppress(anyio.BrokenResourceError, ClientDisconnect):
            async with send:
                async for piece in request.stream():
                    await send.send(piece)
                whole = True

    def pieces() -> Iterator[bytes]:
        while True:
            try:
                yield anyio.from_thread.run(receive.receive)
            except anyio.EndOfStream:
                # An Arrow stream may end after any batch: only the end of the body says that it was all.
                if not whole:
                    raise AtollError("E_FORMAT", "the upload broke off") from None
                return

    def work() -> None:
        try:
            with node.tables.upload(pieces()) as table:
                outcome["value"] = take(table)
        except Exception as error:  # out of the task group it would come wrapped in another one
            outcome["error"] = error

    async with anyio.create_task_group() as group:
        group.start_soon(pump)
        await anyio.to_thread.run_sync(work)
        receive.close()
        group.cancel_scope.cancel()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]


@router.on("PUT", "/{name}", "steward", status_code=201)
async def upload(
    request: Request,
    node: Here,
    who: Who,
    name: str,
    declaration: str | None = None,
    keys: str | None = None,
    rules: str | None = None,
) -> Any:
    """Adds a table sent as an Arrow IPC stream."""
    words, columns = _declared(declaration, "declaration"), _declared(keys, "keys") or []
    wanted = _declared(rules, "rules")
    return await _upload(
        request, node, lambda table: node.tables.add_table(name, table, words, columns, who.person, wanted)
    )


@router.on("GET", "/{name}", "steward", "auditor")
def show(node: Here, name: str) -> dict[str, Any]:
    """One table with columns, versions and the profile of the newest one."""
    return node.tables.describe(name)


@router.on("POST", "/{name}/refresh", "steward")
def refresh(node: Here, name: str) -> dict[str, Any]:
    """Reads the source again as the next version."""
    return node.tables.refresh(name)


@router.on("PUT", "/{name}/rows", "steward")
async def replace(request: Request, node: Here, name: str) -> Any:
    """The next version of an uploaded table, sent as an Arrow IPC stream."""
    return await _upload(request, node, lambda table: node.tables.refresh(name, table))


@router.on("POST", "/{name}/verify", "steward", "auditor")
def verify(node: Here, name: str) -> dict[str, Any]:
    """Recomputes the commitment of the newest version."""
    node.tables.verify(name)
    return {"name": name, "verified": True}


@router.on("POST", "/{name}/prove", "steward", response_class=Response)
def prove(node: Here, who: Who, name: str, body: Question) -> Response:
    """A proof that a version has, or has not, rows of an id: for an auditor, who checks it offline."""
    digest, proof = node.row_proofs.prove(name, body.id, body.version, who.person)
    return Response(proof, media_type="application/json", headers={"X-Version-Digest": digest})


@router.on("DELETE", "/{name}", "steward")
def remove(node: Here, name: str) -> dict[str, Any]:
    """Forgets a table and deletes its versions."""
    node.tables.remove(name)
    return {"name": name, "removed": True}
