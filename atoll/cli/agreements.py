"""`agreement`: drafts, signatures, revocation."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atoll.cli import show
from atoll.cli.context import Here, command
from atoll.cli.groups import group
from atoll.errors import AtollError

if TYPE_CHECKING:
    from atoll.client import Client

agreement = group("agreement", "Agreements: draft, propose, sign, revoke.")

Identifier = Annotated[str, typer.Argument(metavar="ID", help="Identifier of the agreement.")]
Version = Annotated[int | None, typer.Option(help="Version; default the newest in force or on offer.")]
READERS = ("steward", "analyst", "auditor", "administrator")


def read_document(path: Path) -> dict[str, Any]:
    """A JSON object from a file, `-` for standard input."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8-sig")
        body = json.loads(text)
    except OSError as error:
        raise AtollError("E_SOURCE", f"cannot read {path}: {error.strerror}.", fault="caller") from None
    except ValueError as error:
        raise AtollError("E_FORMAT", f"{path}: {error}.") from None
    if not isinstance(body, dict):
        raise AtollError("E_FORMAT", f"{path}: it is no JSON object.")
    return body


def _table(text: str) -> tuple[str, dict[str, str]]:
    """`loans:id=join_key,debt=aggregate+reveal` as a name and uses by column."""
    name, _, rest = text.partition(":")
    uses = {}
    for part in filter(None, rest.split(",")):
        column, equals, words = part.partition("=")
        if not equals:
            raise AtollError("E_FORMAT", f"--table {text}: write TABLE:COLUMN=USE+USE,COLUMN=USE.")
        uses[column] = words
    return name, uses


def _assets(
    client: Client, tables: list[str], services: list[str], me: str, others: list[str], grant: dict[str, Any]
) -> list[dict[str, Any]]:
    from atoll.client import drafts

    out = []
    for text in tables:
        name, uses = _table(text)
        columns = client.data.show(name)["columns"]
        known = {c["name"] for c in columns}
        for column in uses:
            if column not in known:
                text = f"{name} has no column {column!r}; it has {', '.join(sorted(known))}."
                raise AtollError("E_COLUMN", text, column=column)
        grants = [drafts.grant(others, columns=uses, **grant)]
        out.append(drafts.asset(name, me, columns=columns, grants=grants))
    for name in services:
        grants = [drafts.grant(others, **grant | {"functions": ["echo"]})]
        out.append(drafts.asset(name, me, grants=grants, type="service"))
    return out


@command(agreement, "new")
def new(
    here: Here,
    partner: Annotated[
        list[str] | None, typer.Option("--with", help="A partner that signs too. Repeatable; default all.")
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TABLE:COLUMN=USE+USE,...", help="A table of yours and its permitted uses. Repeatable."
        ),
    ] = None,
    service: Annotated[list[str] | None, typer.Option(help="An echo service of yours. Repeatable.")] = None,
    purpose: Annotated[list[str] | None, typer.Option(help="A permitted purpose. Repeatable.")] = None,
    function: Annotated[
        list[str] | None, typer.Option(help="A permitted function: join, totals, echo. Repeatable.")
    ] = None,
    approval: Annotated[
        str, typer.Option(metavar="steward|automatic", help="Who decides on each run.")
    ] = "steward",
    minimum_group: Annotated[int, typer.Option(min=1, help="Distinct subjects in each released group.")] = 1,
    title: Annotated[str, typer.Option(help="What people call it.")] = "Agreement",
    days: Annotated[int, typer.Option(min=1, help="Validity from today.")] = 365,
    add: Annotated[Path | None, typer.Option(help="Add your tables to the draft in this file.")] = None,
    amend: Annotated[str | None, typer.Option(help="Start from this agreement, as its next version.")] = None,
) -> None:
    """Writes a draft to standard output: edit it, hand it to the partner for `--add`, then propose it."""
    from atoll.client import drafts

    with here.client("steward") as client:
        info = client.info()
        me, my_name = info["identity"], info["name"]
        if amend is not None:
            show.as_json(drafts.amend(client.agreements.show(amend)))
            return
        if add is not None:
            document = read_document(add)
            people = {s["key"]: s["name"] for s in document.get("signatories", []) if isinstance(s, dict)}
        else:
            known = {p["name"]: p["identity"] for p in client.peers.list() if p["state"] == "active"}
            for name in partner or []:
                if name not in known:
                    text = f"there is no partner {name!r}; there are {', '.join(known) or 'none'}."
                    raise AtollError("E_NOT_FOUND", text)
            people = {me: my_name} | {known[name]: name for name in partner or known}
            document = drafts.agreement(people, [], title=title, days=days)
        grant = {
            "purposes": purpose or ["credit-risk"], "functions": function or ["join", "totals"],
            "approval": approval, "minimum_group": minimum_group,
        }  # fmt: skip
        others = [key for key in people if key != me]
        document["assets"] += _assets(client, table or [], service or [], me, others, grant)
    show.as_json(document)


@command(agreement, "propose")
def propose(here: Here, file: Annotated[Path, typer.Argument(help="A draft; - for standard input.")]) -> None:
    """Signs a draft for this institution and offers it to all its signatories."""
    document = read_document(file)
    with here.client("steward") as client:
        found = client.agreements.propose(document)
    here.out(found, lambda: _describe(found))


def _describe(found: dict[str, Any]) -> None:
    names = ("id", "version", "title", "state", "validity", "digest", "revocation")
    values = {k: found[k] for k in names if found.get(k)}
    for heading, signed in (("signed by", True), ("missing", False)):
        values[heading] = [s["name"] for s in found["signatories"] if s["signed"] is signed]
    show.facts(values)


@command(agreement, "list")
def list_(here: Here) -> None:
    """Every version of every agreement, newest first."""
    with here.client(*READERS) as client:
        found = client.agreements.list()
    rows = [
        r | {"signatories": [s["name"] for s in r["signatories"]], "assets": [a["name"] for a in r["assets"]],
             "until": r["validity"]["not_after"]}
        for r in found
    ]  # fmt: skip
    columns = ["id", "version", "state", "title", "signatories", "assets", "until"]
    here.out(found, lambda: show.table(rows, columns, "no agreements yet: atoll agreement new"))


@command(agreement, "show")
def show_(here: Here, identifier: Identifier, version: Version = None) -> None:
    """One version: assets, grants, and what changed since the version before."""
    with here.client(*READERS) as client:
        found = client.agreements.show(identifier, version)
        language = here.language(client)

    def people() -> None:
        _describe(found)
        names = {s["key"]: s["name"] for s in found["signatories"]}
        for asset in found["document"]["assets"]:
            show.line(
                f"\n{asset['type']} {asset['name']} of {names.get(asset['provider'], asset['provider'])}"
            )
            for grant in asset["grants"]:
                to = [names.get(key, key) for key in grant["to"]]
                show.facts(
                    {"  to": to}
                    | {f"  {k}": v for k, v in grant.items() if k != "to" and v not in (None, [], {})}
                )
        for change in found.get("changes", []):
            show.line(change[language])
        for note in found["notes"][language]:
            show.line(note)

    here.out(found, people)


@command(agreement, "sign")
def sign(here: Here, identifier: Identifier, version: Version = None) -> None:
    """Signs an offered version for this institution."""
    with here.client("steward") as client:
        found = client.agreements.sign(identifier, version)
    here.out(found, lambda: _describe(found))


@command(agreement, "decline")
def decline(here: Here, identifier: Identifier, version: Annotated[int, typer.Option()] = 1) -> None:
    """Declines an offered version."""
    with here.client("steward") as client:
        found = client.agreements.decline(identifier, version)
    here.out(found, lambda: _describe(found))


@command(agreement, "revoke")
def revoke(
    here: Here,
    identifier: Identifier,
    reason: Annotated[str, typer.Option(help="All signatories see it.")] = "",
) -> None:
    """Ends an agreement for all, at once here."""
    with here.client("steward") as client:
        found = client.agreements.revoke(identifier, reason)
    here.out(found, lambda: _describe(found))
