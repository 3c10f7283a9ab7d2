"""Asking for a job at the command line: show what is disclosed, ask, wait, write the result."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atoll.cli import show
from atoll.cli.context import Here
from atoll.errors import AtollError

if TYPE_CHECKING:
    from atoll.client import Client, Job

Json = dict[str, Any]

Agreement = Annotated[str, typer.Argument(help="Identifier of the agreement.")]
Purpose = Annotated[str, typer.Option(help="What for; one that the grants name.")]
On = Annotated[list[str] | None, typer.Option(help="Key columns; a,b for several.")]
Duplicates = Annotated[str, typer.Option(metavar="sql|refuse", help="Of keys.")]
Normalise = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN=STEP+STEP", help="Steps for a key column, such as id=trim+upper."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before running.")]
Out = Annotated[Path | None, typer.Option(help="Write the result here: .csv, .arrow or .parquet.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end, or only ask.")]
Seconds = Annotated[int | None, typer.Option(min=1, help="Time budget of the job.")]
Explain = Annotated[
    bool,
    typer.Option("--explain", help="Only show what this node would decide, and the grant that is missing."),
]
Estimate = Annotated[bool, typer.Option("--estimate", help="Only show estimate and disclosure statement.")]
Every = Annotated[int | None, typer.Option(min=1, help="Ask again every so many seconds: a schedule.")]


@dataclass
class How:
    """How a request is run."""

    yes: bool
    wait: bool = True
    out: Path | None = None
    explain: bool = False
    estimate: bool = False
    every: int | None = None


def split(values: list[str] | None) -> list[str] | None:
    """Names from repeated options, each of which may hold several between commas."""
    if not values:
        return None
    return [name for value in values for name in value.split(",") if name]


def mapping(values: list[str] | None, option: str) -> dict[str, list[str]]:
    """`column=step+step` options as a mapping."""
    out = {}
    for text in values or []:
        name, equals, steps = text.partition("=")
        if not equals:
            raise AtollError("E_FORMAT", f"{option} {text}: write COLUMN=STEP+STEP.")
        out[name] = [s for s in steps.split("+") if s]
    return out


def certain(yes: bool, question: str) -> None:
    """Asks at the terminal; without one, `--yes` must have been given (`E_APPROVAL`)."""
    if yes:
        return
    if not os.isatty(0):
        cure = "Read the statement above, then pass --yes."
        raise AtollError("E_APPROVAL", "there is no terminal to ask whether to run this.", cure=cure)
    if not typer.confirm(question, err=True):
        raise typer.Abort


def _estimate(found: Json, language: str) -> None:
    show.statement(found["statement"][language])
    cost = found["estimate"]
    rows = "" if cost["rows"] is None else f", {cost['rows']} rows"
    choice = found.get("choice")
    memory = "" if choice is None else f", {choice['memory_bytes']} bytes of memory"
    if choice is not None:
        variant = "" if choice["variant"] is None else f", {choice['variant']}"
        show.line(f"Protocol: {choice['protocol']}, {choice['security']}{variant}. {choice['why'][language]}")
    show.line(f"Estimate: {cost['seconds']} s, {cost['bytes']} bytes, {cost['rounds']} rounds{memory}{rows}")


def run(here: Here, request: Json, how: How) -> None:
    """Shows statement and estimate, asks, runs, and shows or writes the result."""
    if how.out is not None and how.out.suffix.lower() not in (".csv", ".arrow", ".parquet"):
        raise AtollError("E_FORMAT", f"--out {how.out}: the suffix is .csv, .arrow or .parquet.")
    with here.client("analyst") as client:
        if how.explain:
            found = client.policy.explain(request)
            here.out(found, lambda: explained(found, here.language(client)))
            return
        if how.estimate:
            estimate = client.jobs.estimate(request)
            here.out(estimate, lambda: _estimate(estimate, here.language(client)))
            return
        confirm(here, client, request, how.yes)
        if how.every is not None:
            added = client.schedules.add(request, how.every)
            here.out(added, lambda: show.facts(added))
            return
        job = client.jobs.ask(request)
        if not how.wait:
            here.out(job.document, lambda: show.line(f"Asked for: {job.id} ({job.state})"))
            return
        follow(here, job)
        finish(here, client, job, how.out)


def confirm(here: Here, client: Client, request: Json, yes: bool) -> None:
    """Shows statement and estimate of a request, and asks whether to run it."""
    if not here.json:
        _estimate(client.jobs.estimate(request), here.language(client))
    certain(yes, "Run this?")


def follow(here: Here, job: Job) -> None:
    """Waits for a job's end behind a progress bar."""
    with progress_bar(here, job.id) as look:
        job.wait(progress=look)


@contextmanager
def progress_bar(here: Here, job: str) -> Iterator[Callable[[Job], None]]:
    """A progress bar on standard error for a job; nothing where nobody looks."""
    with bar(here, job) as update:

        def look(seen: Job) -> None:
            at = seen.document.get("progress") or {}
            update(seen.state, at.get("done") or 0, at.get("total") or None)

        yield look


@contextmanager
def bar(here: Here, name: str) -> Iterator[Callable[[str, int, int | None], None]]:
    """A progress bar on standard error, told what goes on, and how much of how much is done."""
    if here.json or not os.isatty(2):
        yield lambda text, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(name, total=None)
        yield lambda text, done, total: shown.update(task, description=text, completed=done, total=total)


def finish(here: Here, client: Client, job: Job, out: Path | None) -> None:
    """Shows the end of a job, and the result where this node receives one."""
    facts = job.document.get("result")
    document = {"id": job.id, "state": job.state, "result": facts, "file": None}
    if facts is not None and out is not None:
        document["file"] = str(job.result().save(out))

    def people() -> None:
        show.line(f"{job.id}: {job.state}")
        if facts is None:
            show.line("This node receives nothing from it; the receivers have the result.")
            return
        show.facts(facts)
        if out is not None:
            show.line(f"Written to {out}.")
        elif facts["rows"]:
            preview(job)

    here.out(document, people)


def preview(job: Job, rows: int = 10) -> None:
    """The first rows of a result."""
    table = job.result().arrow()
    found = table.slice(0, rows).to_pylist()
    show.table(found, list(table.column_names), "no rows")
    if table.num_rows > rows:
        show.line(f"... {table.num_rows - rows} more rows: atoll job result {job.id} --out FILE")


def explained(found: Json, language: str) -> None:
    """What `policy explain` found, for people."""
    for text in found["lines"][language]:
        show.line(text)
    for grant in found["grants"]:
        show.line(f"The grant on {grant['asset']}, in place of number {grant['replaces']}:")
        show.as_json(grant["grant"])
