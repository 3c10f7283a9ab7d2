"""`ledger`: the evidence, and its verification without a node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atoll.cli import show
from atoll.cli.context import Here, command
from atoll.cli.groups import group
from atoll.cli.terms import read_document
from atoll.errors import AtollError


def named_keys(option: str, given: list[str] | None) -> dict[str, str]:
    """`NAME=KEY` words of an option, by name."""
    keys: dict[str, str] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise AtollError("E_FORMAT", f"{option} {text}: write NAME=KEY.")
        keys[name] = value
    return keys


ledger = group("ledger", "The evidence: logs of agreements, approvals and receipts.")

Agreement = Annotated[str, typer.Argument(help="Identifier of the agreement.")]


@command(ledger, "list")
def list_(here: Here) -> None:
    """Every log that the node holds, its own and its partners'."""
    with here.client("auditor", "steward", "operator", "analyst", "administrator") as client:
        found = client.ledger.list()
    rows = []
    for entry in found:
        behind = [c["behind"] for c in entry["cosignatures"]]
        rows.append(entry | {"cosignatures": len(behind), "behind": max(behind, default=None)})
    columns = ["agreement", "own", "size", "cosignatures", "behind", "forks", "owner"]
    here.out(found, lambda: show.table(rows, columns, "no logs yet"))


@command(ledger, "show")
def show_(
    here: Here,
    agreement: Agreement,
    start: Annotated[int, typer.Option(min=0, help="First entry.")] = 0,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Number of entries.")] = 100,
) -> None:
    """Entries of this node's own log of an agreement."""
    with here.client("auditor", "steward") as client:
        found = client.ledger.entries(agreement, start, count)
    here.out(found, lambda: show.table(found, ["number", "time", "kind", "commitment"], "no entries"))


@command(ledger, "forks")
def forks(here: Here, agreement: Agreement) -> None:
    """Proofs that a log of an agreement has two histories; with --json to be shown to others."""
    with here.client("auditor", "steward") as client:
        found = client.ledger.forks(agreement)
    rows = [f | {"proof": "proof" if "format" in f["proof"] else f["proof"].get("text")} for f in found]
    here.out(
        found, lambda: show.table(rows, ["at", "origin", "proof"], "no log was found with two histories")
    )


@command(ledger, "private")
def private(
    here: Here,
    start: Annotated[int, typer.Option(min=0, help="First entry.")] = 0,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Number of entries.")] = 100,
) -> None:
    """Entries of the node's private log of its logs, which no partner is shown."""
    with here.client("auditor") as client:
        found = client.ledger.private(start, count)
    here.out(found, lambda: show.table(found, ["number", "time", "kind", "commitment"], "no entries"))


@command(ledger, "standing")
def standing(here: Here) -> None:
    """Whether the node may record, which partners it waits for, which own logs it fetches back."""
    with here.client("auditor", "steward", "operator", "administrator") as client:
        found = client.ledger.standing()
    here.out(found, lambda: show.facts(found))


@command(ledger, "without")
def without(
    here: Here,
    partner: Annotated[list[str], typer.Argument(help="Partners that are not waited for. Repeatable.")],
) -> None:
    """While the node recovers: does not wait for these partners. What they alone hold is lost, or forks the log."""
    with here.client("administrator") as client:
        found = client.ledger.go_on_without(partner)
    here.out(found, lambda: show.facts(found))


@command(ledger, "export")
def export(
    here: Here,
    agreement: Agreement,
    out: Annotated[Path | None, typer.Option(help="File to write.")] = None,
    bodies: Annotated[bool, typer.Option(help="With the documents, or only their commitments.")] = True,
) -> None:
    """Writes all logs of an agreement into one file that anyone can verify offline."""
    to = out or Path(f"{agreement}.atoll-ledger")
    with here.client("auditor", "steward") as client:
        client.ledger.export(agreement, to, bodies)
    here.out({"file": str(to)}, lambda: show.line(f"Written to {to}. Check it: atoll ledger verify {to}"))


@command(ledger, "verify")
def verify(
    here: Here,
    file: Annotated[Path, typer.Argument(help="A file that `ledger export` wrote.")],
    key: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=KEY", help="A signatory's key from another source. Repeatable; give all."),
    ] = None,
    witness: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=KEY", help="An independent witness whose cosignatures count. Repeatable."),
    ] = None,
) -> None:
    """Checks an exported file, without a node and without a network; exit code 1 if anything is wrong."""
    from atoll.client import verify_ledger

    report = verify_ledger(file, named_keys("--key", key) or None, named_keys("--witness", witness))

    def people() -> None:
        for line in report.lines(here.lang or "en"):
            show.line(line)

    here.out(report.to_json(), people)
    report.require()


@command(ledger, "verify-fork")
def verify_fork(
    here: Here,
    file: Annotated[Path, typer.Argument(help="A proof as JSON, as `ledger forks --json` gives it.")],
    key: Annotated[str, typer.Option(help="The key of the log's owner, from another source than the proof.")],
) -> None:
    """Checks a proof that the owner of a key signed two histories; needs neither node nor network."""
    from atoll.client import verify_fork as check

    first, second = check(read_document(file), key)
    here.out(
        {"proved": True, "key": key, "sizes": [first, second]},
        lambda: show.line(
            f"Proved: {key} signed two histories of one log, of {first} and of {second} entries."
        ),
    )
