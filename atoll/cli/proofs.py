"""`data prove` and `data verify-proof`: single rows, shown to an auditor."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import typer

from atoll.cli import show
from atoll.cli.context import Here, command
from atoll.cli.data import Name, data
from atoll.errors import AtollError


def _values(text: str) -> list[str]:
    """The fields of one line of CSV."""
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise AtollError("E_FORMAT", f"--id {text!r:.80}: {error}.") from None
    return rows[0] if rows else [""]


@command(data, "prove")
def prove(
    here: Here,
    name: Name,
    id: Annotated[
        str,
        typer.Option(
            "--id", metavar="VALUE[,VALUE]",
            help="The id, a value for each column of the table's key, as in CSV: one with a comma in double quotes.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="File to write.")],
    version: Annotated[
        str | None,
        typer.Option(metavar="N|DIGEST", help="Number or digest of the version; else the one in use."),
    ] = None,
) -> None:  # fmt: skip
    """Writes a proof that a version has, or has not, rows of an id: it shows these rows in full."""
    wanted = int(version) if version is not None and version.isascii() and version.isdigit() else version
    with here.client("steward") as client:
        client.data.prove(name, _values(id), out, wanted)
    here.out(
        {"file": str(out)}, lambda: show.line(f"Written to {out}. Check it: atoll data verify-proof {out}")
    )


@command(data, "verify-proof")
def verify_proof(
    here: Here,
    file: Annotated[Path, typer.Argument(help="A file that `data prove` wrote.")],
    version_digest: Annotated[
        str,
        typer.Option(
            metavar="DIGEST", help="Of the version it must be about: an approval or receipt has it."
        ),
    ],
) -> None:
    """Checks a proof, without a node and without a network; exit code 1 if it does not hold."""
    from atoll.client import verify_row_proof

    proof = verify_row_proof(file, version_digest)

    def people() -> None:
        for line in proof.lines(here.lang or "en"):
            show.line(line)
        show.table(proof.rows, list(proof.rows[0]) if proof.rows else [], "no rows")

    here.out(proof.to_json(), people)
