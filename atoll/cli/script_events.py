"""`script`, events: what happens in the owner's tables or systems causes calls at the author."""

from __future__ import annotations

from typing import Annotated

import typer

from atoll.cli import show
from atoll.cli.context import READERS, Here, command
from atoll.cli.scripts import Name, script

Author = Annotated[
    str | None, typer.Option("--partner", help="The author, where several have one of this name.")
]


@command(script, "watch")
def watch(
    here: Here,
    name: Name,
    every: Annotated[
        int | None,
        typer.Option(
            min=1, help="Look for new subjects every so many seconds; default only when they are announced."
        ),
    ] = None,
    partner: Author = None,
) -> None:
    """At the owner: each new subject of the package's table of subjects causes one call at its author."""
    with here.client("steward") as client:
        found = client.scripts.watch(name, every, partner=partner)
    how = f"looked at every {every} s" if every else "when they are announced"
    here.out(found, lambda: show.line(f"New subjects of {found['name']} of {found['partner']}: {how}"))


@command(script, "unwatch")
def unwatch(here: Here, name: Name, partner: Author = None) -> None:
    """Ends a watch; calls that were caused already go on."""
    with here.client("steward") as client:
        client.scripts.unwatch(name, partner=partner)
    here.out({"name": name}, lambda: show.line(f"{name} is watched no longer"))


@command(script, "watches")
def watches(here: Here) -> None:
    """What this node watches for its partners' packages."""
    with here.client("steward", "operator", "auditor") as client:
        found = client.scripts.watches()
    columns = ["name", "partner", "every_seconds", "next", "person", "created"]
    here.out(found, lambda: show.table(found, columns, "nothing is watched"))


@command(script, "announce")
def announce(
    here: Here,
    name: Name,
    subjects: Annotated[list[str], typer.Argument(metavar="SUBJECT...", help="What happened something to.")],
    event: Annotated[
        str | None, typer.Option(help="Tells occasions apart: a subject is announced once for each.")
    ] = None,
    partner: Author = None,
) -> None:
    """At the owner, for its own systems: the package's author is to call it about these subjects."""
    from atoll.client import call_tables

    with here.client("application", "steward") as client:
        kinds = [
            p["subject"]["type"] for p in client.scripts.packages() if p["name"] == name and not p["mine"]
        ]
        kind = kinds[0] if kinds else "string"
        about = [call_tables.typed(subject, kind, "SUBJECT") for subject in subjects]
        found = client.scripts.announce(name, about, event=event, partner=partner)
    here.out(
        found, lambda: show.line(f"{found['announced']} announced, {found['known']} were announced before")
    )


@command(script, "events")
def events(
    here: Here,
    name: Annotated[str | None, typer.Option(help="Only of this package.")] = None,
    state: Annotated[str | None, typer.Option(help="Only in this state, such as waiting or failed.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
) -> None:
    """Events, newest first: at the owner what was announced, at the author what became of each call."""
    with here.client(*READERS, "application") as client:
        found = client.scripts.events(name=name, state=state, limit=limit)
    columns = ["name", "partner", "subject", "state", "tries", "next", "error", "key", "created"]
    here.out(found, lambda: show.table(found, columns, "no events"))
