"""`agreement`: drafts, acceptance of offers, signatures, amendments, revocation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from atoll.cli import show, terms
from atoll.cli.context import Here, command
from atoll.cli.groups import group
from atoll.cli.terms import AlsoDisclose, JoinVariants, assets, read_document
from atoll.errors import AtollError

agreement = group("agreement", "Agreements: accept offers, draft, propose, sign, amend, revoke.")

Identifier = Annotated[str, typer.Argument(metavar="ID", help="Identifier of the agreement.")]
Version = Annotated[int | None, typer.Option(help="Version; default the newest in force or on offer.")]
READERS = ("steward", "analyst", "auditor", "administrator")


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
    maximum_ratio: Annotated[
        int | None, typer.Option(min=1, help="Keys of the larger side of a join for each one of the smaller.")
    ] = None,
    join_variant: JoinVariants = None,
    disclose: AlsoDisclose = None,
    title: Annotated[str, typer.Option(help="What people call it.")] = "Agreement",
    days: Annotated[int, typer.Option(min=1, help="Validity from today.")] = 365,
    add: Annotated[Path | None, typer.Option(help="Add your tables to the draft in this file.")] = None,
) -> None:
    """Writes a draft to standard output: edit it, hand it to the partner for `--add`, then propose it."""
    from atoll.client import drafts

    with here.client("steward") as client:
        info = client.info()
        me, my_name = info["identity"], info["name"]
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
            "approval": approval, "minimum_group": minimum_group, "also_disclose": disclose or [],
        }  # fmt: skip
        bounds = {"variants": join_variant, "maximum_ratio": maximum_ratio}
        if any(bounds.values()):
            grant["join"] = {name: value for name, value in bounds.items() if value}
        others = [key for key in people if key != me]
        document["assets"] += assets(client, table or [], service or [], me, others, grant)
    show.as_json(document)


@command(agreement, "propose")
def propose(here: Here, file: Annotated[Path, typer.Argument(help="A draft; - for standard input.")]) -> None:
    """Signs a draft for this institution and offers it to all its signatories."""
    document = read_document(file)
    with here.client("steward") as client:
        found = client.agreements.propose(document)
    here.out(found, lambda: _describe(found))


def _describe(found: dict[str, Any], language: str = "en") -> None:
    names = ("id", "version", "title", "state", "validity", "digest", "revocation")
    values = {k: found[k] for k in names if found.get(k)}
    for heading, signed in (("signed by", True), ("missing", False)):
        values[heading] = [s["name"] for s in found["signatories"] if s["signed"] is signed]
    values["waits for a steward"] = [reason[language] for reason in found.get("waits", [])] or None
    if "refused" in found:
        values["refused"] = f"by {found['refused']['by']}: {found['refused']['code']}"
    document = found.get("document", {})
    if document.get("witnesses"):
        witnesses = document["witnesses"]
        members = ", ".join(member["name"] for member in witnesses["members"])
        values["witnesses"] = f"{witnesses['quorum']} of {members}"
    if document.get("replay"):
        values["replay"] = f"kept {document['replay']['keep_days']} days"
    values |= {k: document[k] for k in ("jurisdiction", "offers") if document.get(k)}
    show.facts({k: v for k, v in values.items() if v is not None})


@command(agreement, "accept")
def accept(
    here: Here,
    offer: Annotated[list[str], typer.Argument(metavar="OFFER...", help="Identifiers or digests.")],
    table: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TABLE:COLUMN=USE+USE,...", help="A table of yours, granted to the providers. Repeatable."
        ),
    ] = None,
    service: Annotated[list[str] | None, typer.Option(help="An echo service of yours. Repeatable.")] = None,
    purpose: Annotated[
        list[str] | None, typer.Option(help="A purpose of your own grants; default the offers'. Repeatable.")
    ] = None,
    function: Annotated[
        list[str] | None, typer.Option(help="A function of your own grants; default the offers'. Repeatable.")
    ] = None,
    approval: Annotated[
        str, typer.Option(metavar="steward|automatic", help="Who decides on each run on your own tables.")
    ] = "steward",
    minimum_group: Annotated[int, typer.Option(min=1, help="Distinct subjects in each released group.")] = 1,
    title: Annotated[
        str | None, typer.Option(help="What people call it; default the offers' titles.")
    ] = None,
) -> None:
    """Makes one agreement of partners' offers; their nodes sign what they offered by themselves."""
    with here.client("steward") as client:
        own: list[dict[str, Any]] = []
        if table or service:
            offers = [client.catalog.show(name)["document"] for name in offer]
            said = [one for document in offers for one in document["terms"]]
            grant = {
                "purposes": purpose or list(dict.fromkeys(p for one in said for p in one["purposes"])),
                "functions": function or list(dict.fromkeys(f for one in said for f in one["functions"])),
                "approval": approval, "minimum_group": minimum_group,
            }  # fmt: skip
            others = sorted({document["provider"] for document in offers})
            me = client.info()["identity"]
            own = assets(client, table or [], service or [], me, others, grant)
        found = client.agreements.accept(offer, assets=own, title=title)
    here.out(found, lambda: _describe(found))


@command(agreement, "amend")
def amend(
    here: Here,
    identifier: Identifier,
    file: Annotated[Path | None, typer.Option(help="The edited draft; - for standard input.")] = None,
    asset: Annotated[str | None, typer.Option(help="Change the grants of this asset only.")] = None,
    title: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Validity from today.")] = None,
    add_purpose: Annotated[list[str] | None, typer.Option(help="Permit a purpose. Repeatable.")] = None,
    remove_purpose: Annotated[list[str] | None, typer.Option(help="Permit it no longer. Repeatable.")] = None,
    add_function: Annotated[list[str] | None, typer.Option(help="Permit a function. Repeatable.")] = None,
    remove_function: Annotated[
        list[str] | None, typer.Option(help="Permit it no longer. Repeatable.")
    ] = None,
    approval: Annotated[
        str | None, typer.Option(metavar="steward|automatic", help="Who decides on each run.")
    ] = None,
    minimum_group: Annotated[
        int | None, typer.Option(min=1, help="Distinct subjects in each released group.")
    ] = None,
    price: Annotated[
        list[str] | None, typer.Option(metavar="NAME=AMOUNT", help="currency=CNY, per-call=12. Repeatable.")
    ] = None,
    share: Annotated[
        list[str] | None, typer.Option(metavar="PARTNER=PARTS", help="Parts of the price. Repeatable.")
    ] = None,
    quota: Annotated[
        list[str] | None, typer.Option(metavar="runs|calls|rows=N", help="Most in a day. Repeatable.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(metavar="MOST/SECONDS", help="Most in any so many seconds.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change; propose nothing.")
    ] = False,
) -> None:
    """Shows what the next version changes, and proposes it; without changes, writes it as a draft to edit."""
    from atoll.client import drafts

    with here.client("steward") as client:
        shown = client.agreements.show(identifier)
        changes: dict[str, Any] = {
            "title": title, "days": days, "add_purposes": add_purpose, "remove_purposes": remove_purpose,
            "add_functions": add_function, "remove_functions": remove_function, "approval": approval,
            "minimum_group": minimum_group, "price": terms.price(client, price or [], share or []),
            "quota": terms.quota(quota or []), "rate": terms.rate(rate),
        }  # fmt: skip
        wanted = {name: value for name, value in changes.items() if value}
        if file is None and not wanted:
            show.as_json(drafts.amend(shown))
            return
        if file is not None and wanted:
            raise AtollError("E_FORMAT", "give the edited draft or changes, not both.")
        document = (
            read_document(file)
            if file is not None
            else drafts.amended(shown, client.info()["identity"], asset=asset, **wanted)
        )
        if document.get("id") != identifier:
            raise AtollError("E_FORMAT", f"the draft is not one of agreement {identifier}.")
        lines = client.agreements.changes(document)
        language = here.language(client)
        if not here.json:
            for line in lines:
                show.line(line[language])
        if dry_run:
            if here.json:
                show.as_json(lines)
            return
        found = client.agreements.propose(document)
    here.out(found, lambda: _describe(found))


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
        _describe(found, language)
        names = {s["key"]: s["name"] for s in found["signatories"]}
        for asset in found["document"]["assets"]:
            show.line(
                f"\n{asset['type']} {asset['name']} of {names.get(asset['provider'], asset['provider'])}"
            )
            for grant in asset["grants"]:
                show.terms(grant, names)
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
