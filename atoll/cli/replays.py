"""`audit replay`: what this node did, run again from what was kept of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from atoll.cli import show
from atoll.cli.audit import audit
from atoll.cli.context import Here, command
from atoll.errors import AtollError

_ROLES = ("auditor", "steward")
_ORDER = {"bad": 0, "ok": 1, "note": 2}


def _show(here: Here, client: Any, found: dict[str, Any]) -> None:
    """A replay's findings, what is wrong first; ends with an error if anything is."""
    language = here.language(client)
    report = found["report"]

    def people() -> None:
        show.facts({k: found[k] for k in ("id", "job", "state", "person", "created", "ended")})
        if found["error"] is not None:
            show.line(f"{found['error']['code']}: {found['error']['detail']}")
        for entry in sorted(report["findings"] if report else [], key=lambda f: _ORDER[f["level"]]):
            show.line(f"  {entry['level']:<4}  {entry[language]}")

    here.out(found, people)
    if report is not None and not found["ok"]:
        first = next(f for f in report["findings"] if f["level"] == "bad")
        raise AtollError(
            "E_REPLAY", first["en"], detail={"finding": first["code"], **first["facts"]}, fault="owner"
        )


@command(audit, "replay")
def replay(
    here: Here,
    job: Annotated[str, typer.Argument(help="Identifier of a completed job.")],
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads to use; as many as then if not given.")
    ] = None,
    any_build: Annotated[
        bool, typer.Option("--any-build", help="Also where the program is not the receipt's.")
    ] = False,
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Also where seed, input, messages or receipt were changed."),
    ] = False,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="PARTNER",
            help="An agreed host that runs it; it is sent this side's inputs, seed and messages.",
        ),
    ] = None,
) -> None:
    """Runs this node's side of a job again and compares what it sends with the receipt; exit code 1 if that differs."""
    seen: list[str] = []

    def progress(shown: dict[str, Any]) -> None:
        now = shown["progress"]
        text = f"{now['step']}: {now['done']} of {now['total']}" if now else ""
        if text and not here.json and (not seen or seen[-1] != text):
            seen.append(text)
            show.note(text)

    with here.client(*(_ROLES if at is None else ("steward",))) as client:
        found = client.audit.replay(
            job, threads=threads, any_build=any_build, anyway=anyway, at=at, progress=progress
        )
        _show(here, client, found)


@command(audit, "replays")
def replays(
    here: Here,
    job: Annotated[str | None, typer.Option(help="Only those of this job.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most of them.")] = 100,
) -> None:
    """Replays of this node, newest first."""
    with here.client(*_ROLES) as client:
        found = client.audit.replays(job, limit)
    here.out(
        found,
        lambda: show.table(
            found, ["id", "job", "state", "ok", "threads", "person", "created"], "no replays yet"
        ),
    )


@command(audit, "show-replay")
def show_replay(here: Here, replay: Annotated[str, typer.Argument(help="Identifier of the replay.")]) -> None:
    """One replay with its report; exit code 1 if the report finds anything wrong."""
    with here.client(*_ROLES) as client:
        _show(here, client, client.audit.show_replay(replay))


@command(audit, "cancel-replay")
def cancel_replay(
    here: Here, replay: Annotated[str, typer.Argument(help="Identifier of the replay.")]
) -> None:
    """Ends a replay that runs."""
    with here.client(*_ROLES) as client:
        found = client.audit.cancel_replay(replay)
    here.out(found, lambda: show.line(f"{found['id']} is {found['state']}."))
