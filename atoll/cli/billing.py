"""`bill`: what a month costs and earns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from atoll.cli import show
from atoll.cli.context import Here, command
from atoll.cli.groups import group
from atoll.cli.terms import read_document
from atoll.errors import AtollError

bill = group(
    "bill",
    "Statements of a month, computed from receipts. `atoll bill --month M` is `bill show`.",
    default="show",
)

Month = Annotated[str, typer.Option(metavar="YYYY-MM", help="The month, in UTC.")]
Agreement = Annotated[str, typer.Option(help="Identifier of the agreement.")]
Partner = Annotated[str, typer.Option(help="Name or key of the partner.")]


@command(bill, "show")
def show_(
    here: Here,
    month: Month,
    agreement: Annotated[str | None, typer.Option(help="Only this agreement.")] = None,
    partner: Annotated[str | None, typer.Option(help="Only this partner.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Writes the lines as CSV, amounts in minor units.")] = None,
) -> None:
    """Statements of a month, for each partner and agreement."""
    from atoll.client import bills_csv

    with here.client("steward", "auditor") as client:
        found = client.bills.show(month, agreement=agreement, partner=partner)
    if csv is not None:
        try:
            csv.write_text(bills_csv(found), encoding="utf-8")
        except OSError as error:
            raise AtollError("E_SOURCE", f"cannot write {csv}: {error.strerror}.", fault="caller") from None
    here.out(found, lambda: _people(found, month))


def _people(found: list[dict[str, Any]], month: str) -> None:
    if not found:
        show.line(f"nothing is billed in {month}")
    for statement in found:
        show.line(f"{statement['partner']}, {statement['agreement']}, {month}: {statement['state']}")
        show.table(
            statement["lines"], ["payer", "provider", "asset", "unit", "quantity", "price", "text"], ""
        )
        show.facts({"you owe": statement["owe"], "you are owed": statement["owed"]})


@command(bill, "compare")
def compare(here: Here, month: Month, agreement: Agreement, partner: Partner) -> None:
    """Fetches the partner's own statement and names the receipts by which the two differ; exit code 1 if they do."""
    with here.client("steward", "auditor") as client:
        found = client.bills.compare(month, agreement, partner)
    _differences(here, found)


@command(bill, "dispute")
def dispute(here: Here, month: Month, agreement: Agreement, partner: Partner) -> None:
    """As compare, and notes the difference in the agreement's log."""
    with here.client("steward") as client:
        found = client.bills.dispute(month, agreement, partner)
    _differences(here, found)


def _differences(here: Here, found: dict[str, Any]) -> None:
    def people() -> None:
        if found["equal"]:
            show.line(f"Both sides computed the same statement: {found['statements']['here']}")
            return
        show.table(
            found["lines"], ["payer", "provider", "asset", "unit", "here", "there"], "the lines are equal"
        )
        show.table(found["receipts"], ["evidence", "job", "block", "unit", "where", "fields"], "")

    here.out(found, people)
    if not found["equal"]:
        text = f"the statements of {found['month']} differ in {found['differences']} uses"
        raise AtollError("E_RECEIPT", text, party=found["partner"])


@command(bill, "sign")
def sign(here: Here, month: Month, agreement: Agreement, partner: Partner) -> None:
    """Signs this node's statement of a month that is over; it is agreed once the partner signed the same one."""
    with here.client("steward") as client:
        found = client.bills.sign(month, agreement, partner)
    here.out(
        found, lambda: show.facts({k: found[k] for k in ("statement", "state", "signed", "owe", "owed")})
    )


@command(bill, "verify")
def verify(
    here: Here, file: Annotated[Path, typer.Argument(help="A signed statement, or `bill show --json`.")]
) -> None:
    """Checks the arithmetic and signatures of a statement, without a node."""
    from atoll.client import verify_statement

    document = read_document(file)
    envelopes = [item["envelope"] for item in document] if isinstance(document, list) else [document]
    if not envelopes or not all(isinstance(envelope, dict) for envelope in envelopes):
        raise AtollError("E_FORMAT", f"{file} holds no signed statement.")
    signed = [verify_statement(envelope) for envelope in envelopes]

    def people() -> None:
        for keys in signed:
            show.line(f"The sums are right; signed by {', '.join(keys)}")

    here.out([{"signed": keys} for keys in signed], people)
