"""`data`: this institution's tables."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from atoll.cli import show
from atoll.cli.context import Here, command
from atoll.cli.groups import group
from atoll.cli.rules import read_rules
from atoll.errors import AtollError

data = group("data", "Tables of this institution: inspect, add, refresh, verify.")

Name = Annotated[str, typer.Argument(help="The table.")]
Where = Annotated[
    str,
    typer.Argument(
        help="A CSV or Parquet file on the node's machine, or postgresql://, mysql:// or sqlite:// with --query or"
        " --table. Give the password as ${ENV:NAME} or ${FILE:/path} of the node's machine."
    ),
]
Query = Annotated[str | None, typer.Option(help="What to read from a database: one SELECT.")]
Table = Annotated[str | None, typer.Option(help="Or a whole table or view: schema.table.")]
Declare = Annotated[
    Path | None,
    typer.Option(
        help="TOML or JSON with the parts source and columns.NAME: encoding, type, scale, unit, codes ..."
    ),
]


def declaration(path: Path | None) -> dict[str, Any] | None:
    """The owner's words about a source, from a TOML or JSON file."""
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8-sig")
        body = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise AtollError("E_SOURCE", f"cannot read {path}: {error.strerror}.", fault="caller") from None
    except ValueError as error:
        raise AtollError("E_FORMAT", f"{path}: {error}.") from None
    if not isinstance(body, dict):
        raise AtollError("E_FORMAT", f"{path}: a declaration has the parts [source] and [columns].")
    return body


def _columns(columns: list[dict[str, Any]], profile: Mapping[str, Any] | None = None) -> None:
    measured = {
        c["name"]: c for c in (profile or {}).get("columns", []) if isinstance(c, Mapping) and "name" in c
    }
    rows = []
    for column in columns:
        kind = column["type"]
        if kind == "decimal":
            kind = f"decimal({column['precision']}, {column['scale']})"
        found = measured.get(column["name"], {})
        codes = column.get("codes")
        rows.append(
            {
                "column": column["name"], "type": kind, "unit": column.get("unit"),
                "nullable": column.get("nullable"), "codes": ", ".join(codes) if codes else None,
                "label": column.get("label"), **{k: found.get(k) for k in ("nulls", "distinct", "least", "greatest")},
            }
        )  # fmt: skip
    heads = ["column", "type", "unit", "nullable", "codes", "label"]
    show.table(rows, [*heads, "nulls", "distinct", "least", "greatest"] if measured else heads, "no columns")


@command(data, "inspect")
def inspect(
    here: Here,
    source: Where,
    declare: Declare = None,
    query: Query = None,
    table: Table = None,
) -> None:
    """What a source would be as a table: columns, types, warnings, bad rows. Nothing is kept."""
    with here.client("steward") as client:
        found = client.data.inspect(source, declaration(declare), query=query, table=table)

    def people() -> None:
        show.facts({k: found.get(k) for k in ("rows", "bad_rows", "encoding", "delimiter")})
        _columns(found["columns"])
        show.table(found["examples"], ["place", "column", "value", "reason"], "no bad rows")
        for warning in found["warnings"]:
            show.line(f"note: {warning}")

    here.out(found, people)


@command(data, "add")
def add(
    here: Here,
    name: Annotated[str, typer.Argument(help="The table's name here and in agreements.")],
    source: Where,
    declare: Declare = None,
    query: Query = None,
    table: Table = None,
    mode: Annotated[
        str,
        typer.Option(
            metavar="snapshot|live", help="Keep the rows now, or let each job read the source anew."
        ),
    ] = "snapshot",
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="This column, or columns a,b, identify a row: duplicates are counted, and `data prove` can show"
            " rows. Repeatable, to count duplicates of other keys."
        ),
    ] = None,
    bad_rows: Annotated[
        str, typer.Option(metavar="refuse|skip", help="What to do with malformed rows.")
    ] = "refuse",
    rules: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Quality rules, as in `data rules`; - is standard input."),
    ] = None,
) -> None:
    """Adds a table; a snapshot is read now. On any refused row nothing is kept."""
    keys = [k.split(",") for k in key or []]
    wanted = None if rules is None else read_rules(rules)
    with here.client("steward") as client:
        found = client.data.add(
            name, source, declaration=declaration(declare), keys=keys, bad_rows=bad_rows, query=query, table=table,
            mode=mode, rules=wanted,
        )  # fmt: skip
    here.out(found, lambda: _describe(found))


def _describe(found: dict[str, Any]) -> None:
    show.facts({k: found.get(k) for k in ("name", "mode", "rows", "version", "created", "by")})
    profile = found.get("profile") or {}
    _columns(found["columns"], profile)
    for entry in profile.get("keys") or []:
        show.line(f"key {', '.join(entry['columns'])}: {entry['duplicated']} keys occur more than once")
    if profile.get("skipped"):
        show.line(f"rows left out: {profile['skipped']}")


@command(data, "list")
def list_(here: Here) -> None:
    """All tables."""
    with here.client("steward", "analyst", "auditor", "administrator") as client:
        found = client.data.list()
    columns = ["name", "mode", "versions", "created", "columns"]
    here.out(found, lambda: show.table(found, columns, "no tables yet: atoll data add NAME FILE"))


@command(data, "show")
def show_(here: Here, name: Name) -> None:
    """One table with columns, profile and versions."""
    with here.client("steward", "auditor") as client:
        found = client.data.show(name)

    def people() -> None:
        _describe(found)
        show.table(found["versions"], ["number", "rows", "created", "digest"], "no versions")

    here.out(found, people)


@command(data, "refresh")
def refresh(here: Here, name: Name) -> None:
    """Reads the source again, as the next version."""
    with here.client("steward") as client:
        found = client.data.refresh(name)
    here.out(found, lambda: _describe(found))


@command(data, "verify")
def verify(here: Here, name: Name) -> None:
    """Recomputes the commitment of the newest version."""
    with here.client("steward", "auditor") as client:
        found = client.data.verify(name)
    here.out(found, lambda: show.line(f"{name}: what is stored is what was committed to."))


@command(data, "remove")
def remove(here: Here, name: Name) -> None:
    """Forgets a table and deletes its versions."""
    with here.client("steward") as client:
        client.data.remove(name)
    here.out({"name": name, "removed": True}, lambda: show.line(f"{name} is removed."))
