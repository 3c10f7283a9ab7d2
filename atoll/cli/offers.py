"""`publish`, `offer` and `catalog`: what this institution offers, and what it is offered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from atoll.cli import show, terms
from atoll.cli.app import app
from atoll.cli.context import Here, command
from atoll.cli.groups import group
from atoll.errors import AtollError

offer = group("offer", "Offers of this institution: list, show, withdraw.")
catalog = group(
    "catalog",
    "What partners offer this institution. `atoll catalog TEXT` is `catalog search`.",
    default="search",
)

OfferId = Annotated[str, typer.Argument(metavar="OFFER", help="Identifier of the offer.")]
READERS = ("steward", "analyst", "auditor", "administrator")
OWNERS = ("steward", "auditor", "administrator")


def _asset(
    client: Any,
    me: str,
    table: str | None,
    service: str | None,
    logic: str | None,
    file: Path | None,
    facts: Any,
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """The asset, the uses of its columns, and the functions that it is usually offered for."""
    from atoll.client import drafts

    if [table, service, logic].count(None) != 2:
        raise AtollError("E_FORMAT", "give one of --table, --service, --logic, or a draft in a file.")
    if (file is not None) != (logic is not None):
        raise AtollError("E_FORMAT", "--logic TYPE:NAME and --file belong together.")
    if table is not None:
        name, uses = terms.table(table)
        columns = terms.columns_of(client, name, uses)
        return drafts.asset(name, me, columns=columns, **facts), uses, ["join", "totals"]
    if service is not None:
        return drafts.asset(service, me, type="service", **facts), {}, ["echo"]
    kind, colon, name = str(logic).partition(":")
    if not colon or kind not in ("rule", "model", "script"):
        raise AtollError("E_FORMAT", f"--logic {logic}: write rule:NAME, model:NAME or script:NAME.")
    content = drafts.content_digest(Path(str(file)))
    return drafts.asset(name, me, type=kind, content=content, **facts), {}, [kind]


@command(app, "publish")
def publish(
    here: Here,
    draft: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A whole draft, - for standard input; else the options."),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(metavar="TABLE:COLUMN=USE+USE,...", help="A table of yours and its permitted uses."),
    ] = None,
    service: Annotated[str | None, typer.Option(help="An echo service of yours.")] = None,
    logic: Annotated[
        str | None, typer.Option(metavar="TYPE:NAME", help="A rule, model or script; --file is what it is.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="The file whose digest the offer of logic names.")] = None,
    title: Annotated[str | None, typer.Option(help="What people call it; default the asset's name.")] = None,
    title_zh: Annotated[str | None, typer.Option(help="The same in Chinese; default the title.")] = None,
    to: Annotated[list[str] | None, typer.Option(help="A partner it stands for. Repeatable.")] = None,
    consortium: Annotated[
        str | None, typer.Option(metavar="ROSTER", help="A consortium it stands for.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="It stands for every partner, later ones too.")] = False,
    purpose: Annotated[list[str] | None, typer.Option(help="A permitted purpose. Repeatable.")] = None,
    function: Annotated[list[str] | None, typer.Option(help="A permitted function. Repeatable.")] = None,
    approval: Annotated[
        str, typer.Option(metavar="steward|automatic", help="Who decides on each run.")
    ] = "steward",
    minimum_group: Annotated[int, typer.Option(min=1, help="Distinct subjects in each released group.")] = 1,
    minimum_rows: Annotated[int, typer.Option(min=1, help="Distinct keys on each side of a join.")] = 1000,
    minimum_change: Annotated[
        int, typer.Option(min=1, help="Keys that change between successive tables of a partner.")
    ] = 100,
    maximum_ratio: Annotated[
        int, typer.Option(min=1, help="Keys of the larger side for each one of the smaller.")
    ] = 100,
    join_variant: terms.JoinVariants = None,
    disclose: terms.AlsoDisclose = None,
    price: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=AMOUNT", help="currency=CNY, per-call=12, per-month=... Repeatable."),
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
    consent: Annotated[
        str, typer.Option(metavar="none|attested|presented", help="Consent that each call needs.")
    ] = "none",
    issuer: Annotated[list[str] | None, typer.Option(help="Who may issue consent. Repeatable.")] = None,
    privacy: Annotated[
        str | None, typer.Option(metavar="EPSILON/DAYS", help="Only noisy results, within this budget.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="How long the offer stands.")] = 365,
    agreement_days: Annotated[
        int | None, typer.Option(min=1, help="How long an agreement made from it lasts; default --days.")
    ] = None,
    jurisdiction: Annotated[str | None, typer.Option(help="Whose law holds.")] = None,
    replay_days: Annotated[
        int | None, typer.Option(min=1, help="What a replay needs is kept so long.")
    ] = None,
    quality: Annotated[
        list[str] | None, typer.Option(help="A figure that partners may see. Repeatable.")
    ] = None,
    finding: Annotated[
        list[str] | None, typer.Option(help="A category in which partners may report back. Repeatable.")
    ] = None,
    version_of: Annotated[str | None, typer.Option(metavar="OFFER", help="Renew this offer.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the draft; publish nothing.")] = False,
) -> None:
    """Offers a table, a service or logic: partners for whom it stands find it and may accept it at once."""
    from atoll.client import drafts

    with here.client("steward") as client:
        if draft is not None:
            if table or service or logic:
                raise AtollError("E_FORMAT", "give a draft or --table, --service, --logic, not both.")
            document = terms.read_document(draft)
        else:
            if [bool(to), consortium is not None, all_].count(True) != 1:
                raise AtollError("E_FORMAT", "say for whom it stands: one of --to, --consortium, --all.")
            me = client.info()["identity"]
            facts = {"quality": quality or [], "findings": finding or []}
            asset, uses, usual = _asset(client, me, table, service, logic, file, facts)
            bounds = {
                "minimum_rows": minimum_rows, "maximum_ratio": maximum_ratio, "minimum_change": minimum_change,
                "variants": join_variant or (),
            }  # fmt: skip
            joins = any("join_key" in drafts.uses(words) for words in uses.values())
            offered = drafts.terms(
                purposes=purpose or ["credit-risk"], functions=function or usual, columns=uses,
                approval=approval, minimum_group=minimum_group, join=bounds if joins else None,
                also_disclose=disclose or (),
                price=_priced(terms.price(client, price or [], share or [])), rate=terms.rate(rate),
                consent={"mode": consent, "issuers": sorted(terms.partner_keys(client, issuer or []))},
                privacy=terms.privacy(privacy), **terms.quota(quota or []),
            )  # fmt: skip
            name = title or asset["name"]
            document = drafts.offer(
                asset, [offered], title={"en": name, "zh": title_zh or name},
                to=terms.partner_keys(client, to) if to else None, consortium=consortium, days=days,
                agreement_days=agreement_days, jurisdiction=jurisdiction,
                replay={"keep_days": replay_days} if replay_days else None,
            )  # fmt: skip
        found = client.offers.publish(document, version_of=version_of, dry_run=dry_run)
        language = here.language(client)
    if dry_run:
        for change in found["changes"]:
            show.note(change[language])
        show.as_json(found["document"])
        return
    here.out(found, lambda: show.facts({**_facts(found, language), "receivers": found["receivers"]}))


def _priced(price: dict[str, Any] | None) -> dict[str, Any] | None:
    if price is not None and "currency" not in price:
        raise AtollError("E_FORMAT", "--price: give the currency too, as in --price currency=CNY.")
    return price


def _to(found: dict[str, Any]) -> str:
    to = found["to"]
    return str(to["roster"] or ", ".join(to["names"]) or "all partners")


def _facts(found: dict[str, Any], language: str) -> dict[str, Any]:
    names = ("id", "version", "state", "provider", "asset", "type", "agreement_days", "digest")
    values = {k: found[k] for k in names}
    ends = found["validity"]
    return {
        "title": found["title"][language], **values, "to": _to(found),
        "validity": f"{ends['not_before']} to {ends['not_after']}",
    }  # fmt: skip


def _people(found: dict[str, Any], language: str) -> None:
    show.facts(_facts(found, language) | {"agreements": found.get("agreements", [])})
    document = found["document"]
    for column in document["asset"]["columns"]:
        label = (column["label"] or {}).get(language)
        uses = sorted({u for t in document["terms"] for u in t["columns"].get(column["name"], [])})
        show.line(
            f"column {column['name']}  {column['type']}",
            *[f"unit {column['unit']}"] * bool(column["unit"]),
            *[label] * bool(label),
            f"for {', '.join(uses) or 'nothing'}",
        )
    for one in document["terms"]:
        show.line("")
        show.terms(one)
    show.facts({k: document[k] for k in ("jurisdiction", "witnesses", "replay") if document[k]})
    for change in found.get("changes", []):
        show.line(change[language])


@command(offer, "list")
def list_(here: Here) -> None:
    """The newest version of every offer of this institution."""
    with here.client(*OWNERS) as client:
        found = client.offers.list()
        language = here.language(client)
    rows = [
        r | {"title": r["title"][language], "to": _to(r), "until": r["validity"]["not_after"]} for r in found
    ]
    columns = ["id", "version", "state", "title", "asset", "type", "to", "until"]
    here.out(found, lambda: show.table(rows, columns, "no offers yet: atoll publish"))


@command(offer, "show")
def show_(
    here: Here,
    offer: OfferId,
    version: Annotated[int | None, typer.Option(help="Version; default the newest.")] = None,
) -> None:
    """One version of an own offer: terms, receivers, and what changed since the version before."""
    with here.client(*OWNERS) as client:
        found = client.offers.show(offer, version)
        language = here.language(client)
    here.out(found, lambda: _people(found, language))


@command(offer, "withdraw")
def withdraw(here: Here, offer: OfferId) -> None:
    """Ends an offer; agreements that were made from it stay."""
    with here.client("steward") as client:
        found = client.offers.withdraw(offer)
        language = here.language(client)
    here.out(found, lambda: show.facts(_facts(found, language)))


@command(catalog, "search")
def search(
    here: Here,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="Words in Chinese or English.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only of this partner.")] = None,
    type: Annotated[str | None, typer.Option(help="Only assets of this type.")] = None,
    function: Annotated[str | None, typer.Option(help="Only what this function may use.")] = None,
    purpose: Annotated[str | None, typer.Option(help="Only what this purpose may use.")] = None,
    unit: Annotated[str | None, typer.Option(help="Only assets with a column of this unit.")] = None,
) -> None:
    """What partners offer now: words of titles, assets, and columns with their labels and definitions."""
    with here.client(*READERS) as client:
        found = client.catalog.search(
            text, provider=provider, type=type, function=function, purpose=purpose, unit=unit
        )
        language = here.language(client)
    rows = [
        r
        | {
            "title": r["title"][language],
            "columns": [c["name"] for c in r["columns"]],
            "price": [show.price(t["price"]) for t in r["terms"]],
            "consent": sorted({t["consent"]["mode"] for t in r["terms"]}),
            "until": r["validity"]["not_after"],
        }
        for r in found
    ]
    columns = [
        "id",
        "provider",
        "title",
        "asset",
        "type",
        "columns",
        "price",
        "consent",
        "until",
        "agreements",
    ]
    here.out(found, lambda: show.table(rows, columns, "nothing is offered that fits"))


@command(catalog, "show")
def offered(here: Here, offer: OfferId) -> None:
    """One offer of a partner, by identifier or digest: columns and terms."""
    with here.client(*READERS) as client:
        found = client.catalog.show(offer)
        language = here.language(client)
    here.out(found, lambda: _people(found, language))
