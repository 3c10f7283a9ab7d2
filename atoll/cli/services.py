"""`echo`, `schedule`: services that stand, and requests that come again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from atoll.cli import ask, show
from atoll.cli.context import Here, command
from atoll.cli.groups import group
from atoll.cli.terms import read_document
from atoll.client import requests

echo = group("echo", "The echo service, which shows how standing services work.")
schedule = group("schedule", "Requests that are asked again at an interval.")

JobId = Annotated[str, typer.Argument(metavar="ID", help="The service's job.")]


@command(echo, "start")
def start(
    here: Here,
    agreement: ask.Agreement,
    asset: Annotated[str, typer.Argument(help="The service: ASSET, or ASSET@PARTY.")],
    purpose: ask.Purpose,
    maximum_bytes: Annotated[int | None, typer.Option(min=1, help="Most bytes in a call.")] = None,
    block_calls: Annotated[
        int | None, typer.Option(min=1, help="Most calls that one receipt covers.")
    ] = None,
    block_seconds: Annotated[
        int | None, typer.Option(min=1, help="Most seconds that one receipt covers.")
    ] = None,
    consent: Annotated[
        str | None,
        typer.Option(
            metavar="none|attested|presented", help="How calls show consent; default as the grant asks."
        ),
    ] = None,
    yes: ask.Yes = False,
    wait: ask.Wait = True,
) -> None:
    """Asks for the service and waits until it serves."""
    request = requests.echo(
        agreement, asset, purpose=purpose, maximum_bytes=maximum_bytes, block_calls=block_calls,
        block_seconds=block_seconds, consent=consent,
    )  # fmt: skip
    with here.client("analyst") as client:
        ask.confirm(here, client, request, yes)
        job = client.jobs.ask(request)
        if wait:
            with ask.progress_bar(here, job.id) as look:
                job.wait(progress=look, until="running")
    here.out(
        job.document, lambda: show.line(f"{job.id}: {job.state}. Call it: atoll echo call {job.id} TEXT")
    )


@command(echo, "call")
def call(
    here: Here,
    identifier: JobId,
    text: Annotated[str, typer.Argument(help="What to send; - for standard input.")],
    consent: Annotated[
        str | None, typer.Option(help="Digest of the data subject's authorisation, where one is needed.")
    ] = None,
) -> None:
    """One call; prints the answer."""
    payload = sys.stdin.buffer.read() if text == "-" else text.encode()
    with here.client("application", "analyst") as client:
        answer = client.services.get(identifier).call(payload, consent)
    shown = answer.decode(errors="replace")
    here.out({"answer": shown, "bytes": len(answer)}, lambda: show.line(shown))


@command(echo, "stop")
def stop(here: Here, identifier: JobId) -> None:
    """Ends the service in order, so that its receipt is made."""
    with here.client("analyst", "operator") as client:
        job = client.services.get(identifier).stop().wait(timeout=60)
    here.out(job.document, lambda: show.line(f"{job.id}: {job.state}"))


@command(schedule, "add")
def add(
    here: Here,
    request: Annotated[Path, typer.Argument(help="The request as JSON; - for standard input.")],
    every: Annotated[int, typer.Option(min=1, help="Seconds between runs.")],
) -> None:
    """Asks a request now and at an interval; `join` and `totals` have --every for the same."""
    body = read_document(request)
    with here.client("analyst") as client:
        found = client.schedules.add(body, every)
    here.out(found, lambda: show.facts(found))


@command(schedule, "list")
def list_(here: Here) -> None:
    """All schedules."""
    with here.client("analyst", "operator", "auditor") as client:
        found = client.schedules.list()
    rows = [r | {"function": r["request"].get("function")} for r in found]
    columns = ["id", "function", "every_seconds", "next", "person", "last_job", "ended"]
    here.out(found, lambda: show.table(rows, columns, "no schedules"))


@command(schedule, "end")
def end(here: Here, identifier: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Ends a schedule; a job that it started goes on."""
    with here.client("analyst", "operator") as client:
        found = client.schedules.end(identifier)
    here.out(found, lambda: show.line(f"{identifier} is ended."))
