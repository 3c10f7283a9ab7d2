"""Jobs, services, schedules, policy."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict

from atoll.errors import AtollError
from atoll.node.access import Role
from atoll.node.api.guard import Here, Router, Who
from atoll.node.jobs.desk import ENDED

router = Router(prefix="/v1", tags=["jobs"])
_READERS: tuple[Role, ...] = ("analyst", "steward", "auditor", "operator", "administrator")


class Answer(BaseModel):
    """A steward's reason."""

    model_config = ConfigDict(extra="forbid")
    reason: str = ""


class Call(BaseModel):
    """A call of a standing service: bytes in base64, and the authorisation that it rests on, by its digest."""

    model_config = ConfigDict(extra="forbid")
    payload: str
    consent: str | None = None


class NewSchedule(BaseModel):
    """A request to be asked again at an interval."""

    model_config = ConfigDict(extra="forbid")
    request: dict[str, Any]
    every_seconds: int


@router.on("POST", "/jobs", "analyst", status_code=201)
def ask(node: Here, who: Who, body: dict[str, Any]) -> dict[str, Any]:
    """Compiles a request into a plan, signs and proposes it."""
    return node.jobs.ask(body, who.person)


@router.on("POST", "/jobs/estimate", "analyst")
def estimate(node: Here, who: Who, body: dict[str, Any]) -> dict[str, Any]:
    """The plan with its estimate, the chosen protocol and the disclosure statement; nothing is proposed."""
    return node.jobs.estimate(body, who.person)


@router.on("POST", "/policy/explain", "analyst", "steward", "auditor")
def explain(node: Here, who: Who, body: dict[str, Any]) -> dict[str, Any]:
    """What each column would be used for, and the one grant that would make the plan pass; nothing runs."""
    return node.jobs.explain(body, who.person)


@router.on("GET", "/jobs", *_READERS)
def jobs(
    node: Here,
    state: str | None = None,
    function: str | None = None,
    limit: int = 100,
    before: str | None = None,
) -> list[dict[str, Any]]:
    """Jobs, newest first; filter by state and function, page with `before` (the `created` of the last one)."""
    return node.jobs.listed(state, function, max(1, min(limit, 1000)), before)


@router.on("GET", "/jobs/{job}", *_READERS)
def show(node: Here, job: str) -> dict[str, Any]:
    """One job with plan and disclosure statement."""
    return node.jobs.show(job)


@router.on("GET", "/jobs/{job}/explain", "steward", "analyst", "auditor")
def explain_job(node: Here, job: str) -> dict[str, Any]:
    """What a proposed job would use each own column for."""
    return node.jobs.explain_job(job)


@router.on("GET", "/jobs/{job}/events", *_READERS)
async def events(request: Request, node: Here, job: str, after: int = 0, follow: bool = False) -> Any:
    """What happened to a job; with `follow`, a stream of server-sent events that ends with the job."""
    if not follow:
        return await run_in_threadpool(node.jobs.events, job, after)
    await run_in_threadpool(node.jobs.show, job)

    async def stream() -> AsyncIterator[str]:
        last, shown = after, None
        while not await request.is_disconnected():
            state = await run_in_threadpool(node.jobs.show, job)
            for event in await run_in_threadpool(node.jobs.events, job, last):
                last = event["id"]
                yield f"event: job\nid: {last}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"
            if state["progress"] and state["progress"] != shown:
                shown = state["progress"]
                yield f"event: progress\ndata: {json.dumps(shown)}\n\n"
            if state["state"] in ENDED:
                yield f"event: end\ndata: {json.dumps({'state': state['state']})}\n\n"
                return
            await asyncio.sleep(0.2)

    return StreamingResponse(stream(), media_type="text/event-stream")


@router.on("POST", "/jobs/{job}/approve", "steward")
def approve(node: Here, who: Who, job: str) -> dict[str, Any]:
    """A steward approves a job that waits for one."""
    return node.jobs.answer(job, who.person, True)


@router.on("POST", "/jobs/{job}/refuse", "steward")
def refuse(node: Here, who: Who, job: str, body: Answer) -> dict[str, Any]:
    """A steward refuses a job that waits for one."""
    return node.jobs.answer(job, who.person, False, body.reason)


@router.on("POST", "/jobs/{job}/cancel", "analyst", "steward", "operator")
def cancel(node: Here, who: Who, job: str) -> dict[str, Any]:
    """Ends a job on all sides."""
    return node.jobs.cancel(job, who.person)


@router.on("POST", "/jobs/{job}/rerun", "analyst")
def rerun(node: Here, job: str) -> dict[str, Any]:
    """The next attempt of a failed job: same plan, same inputs, no second debit."""
    return node.jobs.rerun(job)


def _flat(table: pa.Table) -> pa.Table:
    """The table with lists as JSON text, which a cell of a CSV can hold."""
    for place, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            texts = [
                None if value is None else json.dumps(value) for value in table.column(place).to_pylist()
            ]
            table = table.set_column(place, field.name, pa.array(texts, pa.string()))
    return table


@router.on("GET", "/jobs/{job}/result", "analyst", response_class=Response)
def result(request: Request, node: Here, job: str) -> Response:
    """The result as an Arrow IPC file, or as CSV where the Accept header asks for text/csv."""
    path = node.jobs.result_file(job)
    if "text/csv" not in request.headers.get("accept", ""):
        return FileResponse(path, media_type="application/vnd.apache.arrow.file", filename=f"{job}.arrow")
    with pa.memory_map(str(path)) as source:
        sink = pa.BufferOutputStream()
        pc.write_csv(_flat(pa.ipc.open_file(source).read_all()), sink)
    return Response(sink.getvalue().to_pybytes(), media_type="text/csv; charset=utf-8")


@router.on("GET", "/jobs/{job}/receipt", "analyst", "steward", "auditor")
def receipt(node: Here, job: str) -> dict[str, Any]:
    """Provisional and final receipts, and who has not signed."""
    return node.jobs.receipt(job)


@router.on("GET", "/charges", "steward", "auditor")
def charges(
    node: Here, agreement: str | None = None, job: str | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """Debits of quota and join bounds at this node, newest first."""
    return node.jobs.charges(agreement, job, max(1, min(limit, 1000)))


@router.on("POST", "/services/{job}/call", "application", "analyst")
def call(node: Here, job: str, body: Call) -> dict[str, str]:
    """One call of a standing service."""
    try:
        payload = base64.b64decode(body.payload, validate=True)
    except (binascii.Error, ValueError):
        raise AtollError("E_FORMAT", "payload is not base64") from None
    return {"payload": base64.b64encode(node.call(job, payload, body.consent)).decode()}


@router.on("POST", "/services/{job}/stop", "analyst", "operator")
def stop(node: Here, job: str) -> dict[str, Any]:
    """Ends a standing service in order, so that its receipt is made."""
    node.jobs.runs.stop_service(job)
    return node.jobs.show(job)


@router.on("GET", "/schedules", "analyst", "operator", "auditor")
def schedules(node: Here) -> list[dict[str, Any]]:
    """All schedules."""
    return node.jobs.schedules()


@router.on("POST", "/schedules", "analyst", status_code=201)
def add_schedule(node: Here, who: Who, body: NewSchedule) -> dict[str, Any]:
    """Asks the same again at an interval, first now."""
    return node.jobs.add_schedule(body.request, body.every_seconds, who.person)


@router.on("DELETE", "/schedules/{identifier}", "analyst", "operator")
def end_schedule(node: Here, identifier: str) -> dict[str, Any]:
    """Ends a schedule; a job that it started goes on."""
    return node.jobs.end_schedule(identifier)
