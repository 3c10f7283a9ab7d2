"""`data rules`, `alerts`, `quality`, `figures`, `report`, `findings`: the quality of own tables and of partners'."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from atoll.cli import show
from atoll.cli.context import Here, Language, command
from atoll.cli.data import Name, data
from atoll.cli.rules import read_rules
from atoll.errors import AtollError

Agreement = Annotated[str, typer.Option("--agreement", help="Identifier of the agreement.")]
Foreign = Annotated[str, typer.Argument(metavar="PARTNER/TABLE", help="A partner's table.")]


def _show(found: dict[str, Any], language: Language) -> None:
    rules = found["rules"]
    if rules is None:
        show.line(f"{found['name']} has no quality rules: atoll data rules {found['name']} FILE")
    else:
        show.facts(
            {"every_seconds": rules["every_seconds"]} | {k: found[k] for k in ("next", "by", "created")}
        )
    result = found["result"]
    if result is not None:
        show.line(f"measured {result['at']}, {result['rows']} rows")
        rows = [outcome | {"text": outcome[language]} for outcome in result["outcomes"]]
        show.table(rows, ["state", "text", "stop"], "no rules were evaluated")
    show.table(found["results"], ["at", "trigger", "used", "failing", "rows"], "not measured yet")


@command(data, "rules")
def rules(
    here: Here,
    name: Name,
    file: Annotated[
        str | None,
        typer.Argument(help="TOML or JSON with the rules, or - for standard input; none shows them."),
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Forget the rules.")] = False,
) -> None:
    """Sets, clears or shows the quality rules of a table, and what came of them."""
    if clear and file is not None:
        raise AtollError("E_FORMAT", "--clear takes no file.")
    given = None if file is None else read_rules(file)
    with (
        here.client("steward") if clear or given is not None else here.client("steward", "auditor") as client
    ):
        if clear:
            found = client.quality.clear_rules(name)
        elif given is not None:
            found = client.quality.set_rules(name, given)
        else:
            found = client.quality.rules(name)
    here.out(found, lambda: _show(found, here.lang or "en"))


@command(data, "alerts")
def alerts(
    here: Here,
    ack: Annotated[int | None, typer.Option(metavar="ID", help="Take note of this alert.")] = None,
    table: Annotated[str | None, typer.Option(help="Only of this table.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also those of which someone took note.")] = False,
) -> None:
    """Quality rules that are broken, or were, until someone takes note."""
    if ack is not None:
        with here.client("steward") as client:
            taken = client.quality.acknowledge(ack)
        here.out(taken, lambda: show.line(f"Alert {ack} is noted."))
        return
    with here.client("steward", "auditor", "operator") as client:
        found = client.quality.alerts(table, every=every)
    rows = [alert | {"text": alert["text"][here.lang or "en"]} for alert in found]
    columns = [
        "id",
        "table",
        "text",
        "stop",
        "since",
        "seen",
        "ended",
        *(["acknowledged", "by"] if every else []),
    ]
    here.out(found, lambda: show.table(rows, columns, "no alerts"))


@command(data, "quality")
def quality(
    here: Here,
    table: Foreign,
    agreement: Agreement,
    figure: Annotated[
        list[str] | None, typer.Option(help="Only this figure, such as rows or nulls:COLUMN. Repeatable.")
    ] = None,
) -> None:
    """Asks a partner for the agreed quality figures of its table."""
    with here.client("analyst", "steward") as client:
        found = client.quality.figures(table, agreement, figure or [])
    rows = [{"figure": name, "value": value} for name, value in found["figures"].items()]
    here.out(found, lambda: show.table(rows, ["figure", "value"], "no figures"))


@command(data, "figures")
def figures(here: Here) -> None:
    """All quality figures that were shown to partners, or seen of theirs."""
    with here.client("steward", "auditor") as client:
        found = client.quality.shown()
    show_columns = ["at", "direction", "partner", "table", "figures", "agreement"]
    here.out(found, lambda: show.table(found, show_columns, "no figures"))


@command(data, "report")
def report(
    here: Here,
    table: Foreign,
    agreement: Agreement,
    category: Annotated[
        str,
        typer.Option(
            metavar="missing|stale|contradictory|malformed|duplicate|other", help="What is wrong with it."
        ),
    ],
    extent: Annotated[str, typer.Option(metavar="few|some|many", help="How many rows.")],
    column: Annotated[str | None, typer.Option(help="In which column; else the table as a whole.")] = None,
) -> None:
    """Tells a partner what is wrong with its table, in the categories that are agreed."""
    with here.client("analyst", "steward") as client:
        found = client.quality.report(table, agreement, category=category, extent=extent, column=column)
    here.out(found, lambda: show.line(f"{found['partner']} has the finding about {found['table']}."))


@command(data, "findings")
def findings(here: Here) -> None:
    """What partners found wrong with own tables, and what was reported to them."""
    with here.client("steward", "auditor") as client:
        found = client.quality.findings()
    columns = ["at", "direction", "partner", "table", "category", "column", "extent", "agreement"]
    here.out(found, lambda: show.table(found, columns, "no findings"))
