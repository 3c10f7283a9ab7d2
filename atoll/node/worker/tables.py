"""Reading a table, as a task of a worker process or in the node's own: checked only, or kept as a version."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from atoll.agreements import column
from atoll.data.profile import profile
from atoll.data.schema import Declaration, Schema
from atoll.data.snapshot import Snapshot, create
from atoll.data.sources import Address, Source, SqlSource, open_source
from atoll.data.validate import Checked, check_rows
from atoll.errors import AtollError

Columns = list[dict[str, Any]]


def columns_of(schema: Schema) -> Columns:
    """Columns in the form of agreements, every fact present."""
    return [column(**facts) for facts in schema.to_json()]


def open_described(what: dict[str, Any], declaration: dict[str, Any] | None, work: Path) -> Source:
    """The source that a specification describes: a path, or a database's address with a query or a table."""
    words = Declaration.from_json(declaration or {})
    if "path" in what:
        return open_source(what["path"], declaration=words, work=work)
    return SqlSource(
        Address.from_json(what["address"]),
        query=what.get("query"),
        table=what.get("table"),
        declaration=words,
        seconds=what["seconds"],
    )


def keep_columns(name: str, schema: Schema, known: Columns) -> Schema:
    """The columns that a table has had so far, in the source's present order.

    Raises:
        AtollError: `E_TYPE` if one of them is gone, or has another type, scale or unit: agreements rely on these.
    """
    have = {c["name"]: c for c in columns_of(schema)}
    for before in known:
        now = have.get(before["name"])
        if now is None or any(now.get(f) != before.get(f) for f in ("type", "scale", "unit")):
            is_now = "missing" if now is None else _type(now)
            raise AtollError(
                "E_TYPE",
                f"{name}.{before['name']} was {_type(before)} and is now {is_now}",
                column=before["name"],
                fault="owner",
                cure="Declare the column's type, or add the table under another name.",
            )
    return schema


def _type(facts: dict[str, Any]) -> str:
    scale = f" with scale {facts['scale']}" if facts["type"] == "decimal" else ""
    unit = f" in {facts['unit']}" if facts.get("unit") else ""
    return f"{facts['type']}{scale}{unit}"


def check(source: Source) -> dict[str, Any]:
    """What a source would be as a table, all its rows checked and none kept."""
    found = source.inspect()
    rows = check_rows(source, found.schema)
    return {
        "columns": columns_of(found.schema),
        "rows": rows.rows,
        "encoding": found.encoding,
        "delimiter": found.delimiter,
        "warnings": list(found.warnings),
        "malformed": found.malformed,
        "bad_rows": rows.bad,
        "examples": [bad.to_json() for bad in rows.examples],
        "sample": [list(row) for row in found.sample[:5]],
    }


def materialise(source: Source, spec: dict[str, Any], work: Path) -> tuple[Snapshot, dict[str, Any]]:
    """Keeps a source's rows as the next version of `spec["asset"]` in `spec["store"]`, and profiles them.

    `spec` further holds `now` (seconds since 1970), `bad_rows`, `keys` (column lists for the profile), and
    `known`, the columns that the table must still have, or None.
    """
    schema = source.inspect().schema
    if spec["known"] is not None:
        schema = keep_columns(spec["asset"], schema, spec["known"])
        if spec["only_known"]:
            schema = schema.select([c["name"] for c in spec["known"]])
    made = create(
        source,
        Path(spec["store"]),
        spec["asset"],
        now=datetime.fromtimestamp(spec["now"], UTC),
        schema=schema,
        bad_rows=spec["bad_rows"],
    )
    found = profile(made, spec["keys"], work=work).to_json() if spec["profile"] else {}
    return made, {**found, "examples": [bad.to_json() for bad in made.examples]}


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """The worker's task "table": `what` is check or materialise; see `check` and `materialise`."""
    work = Path(spec["work"])
    with open_described(spec["source"], spec["declaration"], work) as source:
        source.mode = spec["mode"]
        if spec["what"] == "check":
            return check(source)
        made, found = materialise(source, spec, work)
        return {"path": str(made.path), "profile": found}


__all__ = ["Checked", "check", "columns_of", "keep_columns", "materialise", "open_described", "run"]
