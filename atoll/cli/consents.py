"""`consent`: data subjects' authorisations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atoll.cli import show
from atoll.cli.context import Here, command
from atoll.cli.groups import group
from atoll.cli.terms import read_document

consent = group("consent", "Authorisations of data subjects: issue, take in, withdraw.")

Digest = Annotated[str, typer.Argument(metavar="CONSENT", help="Digest of the authorisation.")]
COLUMNS = ["consent", "state", "issuer", "grantee", "purposes", "functions", "not_after"]


@command(consent, "issue")
def issue(
    here: Here,
    subject: Annotated[str, typer.Argument(help="Whose authorisation it is; only a commitment leaves.")],
    purpose: Annotated[list[str], typer.Option(help="What it is given for. Repeatable.")],
    function: Annotated[list[str], typer.Option(help="Which function it covers. Repeatable.")],
    grantee: Annotated[
        str | None, typer.Option("--for", help="Partner who may ask; default this institution.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="Validity from now.")] = 365,
) -> None:
    """Issues an authorisation for a data subject whose word this institution has."""
    with here.client("steward", "application") as client:
        found = client.consents.issue(
            subject, purposes=purpose, functions=function, grantee=grantee, days=days
        )
    here.out(found, lambda: show.facts(found))


@command(consent, "take")
def take(
    here: Here, file: Annotated[Path, typer.Argument(help="A signed authorisation; - for standard input.")]
) -> None:
    """Keeps an authorisation that another issuer signed for this institution."""
    envelope = read_document(file)
    with here.client("steward", "application") as client:
        found = client.consents.take(envelope)
    here.out(found, lambda: show.facts(found))


@command(consent, "list")
def list_(
    here: Here,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 100,
    before: Annotated[str | None, typer.Option(help="Only those created before.")] = None,
) -> None:
    """Authorisations, newest first."""
    with here.client("steward", "auditor", "application") as client:
        found = client.consents.list(limit, before)
    here.out(found, lambda: show.table(found, COLUMNS, "no authorisations yet"))


@command(consent, "show")
def show_(here: Here, consent: Digest) -> None:
    """One authorisation; with --json its signed envelope, to be handed to the grantee."""
    with here.client("steward", "auditor") as client:
        found = client.consents.show(consent)
    here.out(
        found, lambda: show.facts({k: v for k, v in found.items() if k not in ("envelope", "withdrawal")})
    )


@command(consent, "withdraw")
def withdraw(
    here: Here,
    consent: Digest,
    file: Annotated[
        Path | None, typer.Option(help="The issuer's signed withdrawal, where that is another one.")
    ] = None,
) -> None:
    """Ends an authorisation at once; partners that would accept it are told."""
    envelope = read_document(file) if file is not None else None
    with here.client("steward", "application") as client:
        found = client.consents.withdraw(consent, envelope)
    here.out(found, lambda: show.facts(found))
