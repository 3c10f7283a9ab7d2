"""Reading a table, as a task of a worker process or in the node's own: checked only, or kept as a version."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from atoll.agreements import column
from atoll.data.measure import evaluate
from atoll.data.profile import profile
from atoll.data.quality import Result, parse_rules
from atoll.data.schema import Declaration, Schema
from atoll.data.snapshot import Snapshot, create, load
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


def refuse_bad(name: str, found: dict[str, Any], bad_rows: str) -> None:
    """`E_DATA` or what else the first bad row of a check is, unless bad rows may be skipped."""
    if found["bad_rows"] and bad_rows == "refuse":
        first = found["examples"][0]
        raise AtollError(
            first["code"],
            f"{name} has {found['bad_rows']} bad rows; the first: {first['place']}: {first['reason']}",
            column=first["column"],
            cure="Correct these rows, declare the column otherwise, or let bad rows be skipped.",
            detail={"bad_rows": found["bad_rows"], "examples": found["examples"]},
        )


class _StoppedError(Exception):
    """A rule stops the version."""


def materialise(source: Source, spec: dict[str, Any], work: Path) -> dict[str, Any]:
    """Keeps a source's rows as the next version of `spec["asset"]` in `spec["store"]`, and profiles and judges them.

    `spec` further holds `now` (seconds since 1970), `bad_rows`, `keys` (column lists for the profile, the first one the
    key of the row tree if `tree`), `known`, the columns that the table must still have, or None; and, if `judge`,
    `rules` of quality or None, and `previous`, the folder of the version to compare with, or None.

    Returns:
        `path` of the version's folder, None if a rule stopped it and nothing was kept; `profile`; `quality`, what came
        of the rules, None if they were not judged.
    """
    schema = source.inspect().schema
    if spec["known"] is not None:
        schema = keep_columns(spec["asset"], schema, spec["known"])
        if spec["only_known"]:
            schema = schema.select([c["name"] for c in spec["known"]])
    now = datetime.fromtimestamp(spec["now"], UTC)
    key = spec["keys"][0] if spec["keys"] else None
    rules = parse_rules(spec["rules"], schema) if spec["judge"] and spec["rules"] else None
    judged: Result | None = None

    def judge(candidate: Snapshot) -> None:
        nonlocal judged
        previous = load(Path(spec["previous"])) if spec["previous"] else None
        judged = evaluate(rules, candidate, previous, now=now, key=key, work=work)
        if judged.stopping:
            raise _StoppedError

    try:
        made = create(
            source,
            Path(spec["store"]),
            spec["asset"],
            now=now,
            schema=schema,
            bad_rows=spec["bad_rows"],
            key=key if spec["tree"] else None,
            accept=judge if spec["judge"] else None,
        )
    except _StoppedError:
        return {"path": None, "profile": {}, "quality": judged.document() if judged else None}
    found = profile(made, spec["keys"], work=work).to_json() if spec["profile"] else {}
    return {
        "path": str(made.path),
        "profile": {**found, "examples": [bad.to_json() for bad in made.examples]},
        "quality": judged.document() if judged else None,
    }


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """The worker's task "table": `what` is check or materialise; see `check` and `materialise`."""
    work = Path(spec["work"])
    with open_described(spec["source"], spec["declaration"], work) as source:
        source.mode = spec["mode"]
        if spec["what"] == "check":
            return check(source)
        return materialise(source, spec, work)


__all__ = [
    "Checked", "check", "columns_of", "keep_columns", "materialise", "open_described", "refuse_bad", "run",
]  # fmt: skip
