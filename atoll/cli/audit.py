"""`audit`: files for auditors, and what they prove."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atoll.cli import show
from atoll.cli.context import Here, command
from atoll.cli.groups import group
from atoll.cli.ledger import named_keys

audit = group("audit", "For auditors: what was agreed, ran and was recorded, provable without a node.")

File = Annotated[Path, typer.Argument(help="A file that `audit export` wrote.")]


@command(audit, "export")
def export(
    here: Here,
    agreement: Annotated[str, typer.Argument(help="Identifier of the agreement.")],
    out: Annotated[Path | None, typer.Option(help="File to write.")] = None,
    job: Annotated[list[str] | None, typer.Option(help="A job. Repeatable.")] = None,
    month: Annotated[
        list[str] | None, typer.Option(help="A month, such as 2026-11, by the owners' clocks. Repeatable.")
    ] = None,
    open_: Annotated[
        list[str] | None,
        typer.Option(
            "--open", metavar="JOB:BLOCK:CALL", help="A call to open with its consent, from 1. Repeatable."
        ),
    ] = None,
) -> None:
    """Writes one file for a third party: the entries asked for with all proofs. Neither --job nor --month: all."""
    to = out or Path(f"{agreement}.atoll-audit")
    with here.client("auditor", "steward") as client:
        client.audit.export(agreement, to, jobs=job or (), months=month or (), calls=open_ or ())
    here.out({"file": str(to)}, lambda: show.line(f"Written to {to}. Check it: atoll audit verify {to}"))


@command(audit, "verify")
def verify(
    here: Here,
    file: File,
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=KEY",
            help="A signatory's or witness's key from another source. Repeatable; give all that count.",
        ),
    ] = None,
) -> None:
    """Says what a file proves and what it does not, without a node and a network; exit code 1 if anything is wrong."""
    from atoll.client import verify_audit

    report = verify_audit(file, named_keys("--key", key) or None)

    def people() -> None:
        for line in report.lines(here.lang or "en"):
            show.line(line)

    here.out(report.to_json(), people)
    report.require()


@command(audit, "draw")
def draw(
    here: Here,
    file: File,
    count: Annotated[int, typer.Option(min=1, help="How many calls.")] = 20,
) -> None:
    """Draws calls that rest on consent, for the asker to open: give them to its `audit export --open`."""
    from atoll.client import draw_calls

    drawn = draw_calls(file, count)

    def people() -> None:
        for call in drawn:
            show.line(f"--open {call}")
        if not drawn:
            show.line("no call in the file rests on consent")

    here.out(drawn, people)
