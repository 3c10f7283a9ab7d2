"""Printing: tables and facts for people, JSON for machines, errors on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from atoll.errors import AtollError

if TYPE_CHECKING:
    from rich.console import Console

# Wide enough for keys and digests where no terminal cuts the line.
_PIPE_WIDTH = 240


def clean(value: Any) -> str:
    """Text without control characters: names and reasons come from partners, and this is a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in str(value))


@cache
def _console(error: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    return Console(
        stderr=error, width=None if stream.isatty() else _PIPE_WIDTH, highlight=False, soft_wrap=False
    )


def line(*parts: Any, style: str | None = None) -> None:
    """One line on standard output."""
    text = " ".join(clean(p) for p in parts)
    _console(False).print(text, style=style, markup=False, soft_wrap=True)


def lines(texts: Iterable[str]) -> None:
    """Lines on standard output."""
    for text in texts:
        line(text)


def note(*parts: Any) -> None:
    """One line on standard error: not a result."""
    _console(True).print(" ".join(clean(p) for p in parts), markup=False, soft_wrap=True)


def as_json(value: Any) -> None:
    """A value as JSON on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def as_line(value: Any) -> None:
    """A value as JSON on one line of standard output, for a file."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{clean(k)}: {_cell(v)}" for k, v in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(v) for v in value) or "-"
    return clean(value)


def table(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str] | Sequence[str], empty: str) -> None:
    """A table of the given keys; `columns` maps keys to headings."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    if not rows:
        line(empty)
        return
    headings = columns if isinstance(columns, Mapping) else {c: c for c in columns}
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings.values():
        drawn.add_column(heading, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(_cell(row.get(key))) for key in headings))
    _console(False).print(drawn)


def facts(values: Mapping[str, Any]) -> None:
    """Names and values, one a line."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        line(f"{name:<{width}}  {_cell(value)}")


def price(value: Mapping[str, Any] | None) -> str:
    """A price in a few words: `CNY 12 per call`."""
    if value is None:
        return "free"
    amounts = [
        f"{amount} {name.replace('_', ' ')}"
        for name, amount in value.items()
        if name.startswith("per_") and amount != "0"
    ]
    return f"{value['currency']} {' + '.join(amounts) or '0'}"


def terms(grant: Mapping[str, Any], names: Mapping[str, str] | None = None) -> None:
    """A grant or the terms of an offer, one line for each thing that is said."""
    names = names or {}
    said = {k: v for k, v in grant.items() if v not in (None, [], {})}
    quota = {k.replace("_", " "): v for k, v in grant["quota"].items() if v is not None}
    rate, consent, privacy = grant["rate"], grant["consent"], grant["privacy"]
    said["quota"] = quota or None
    said["rate"] = f"{rate['most']} in {rate['seconds']} s" if rate else None
    said["consent"] = None
    if consent["mode"] != "none":
        issuers = [names.get(key, key) for key in consent["issuers"]]
        said["consent"] = f"{consent['mode']}, issued by {', '.join(issuers) or 'the asker'}"
    if privacy:
        said["privacy"] = f"epsilon {privacy['epsilon']}, delta {privacy['delta']} in {privacy['days']} days"
    if grant["price"] is not None:
        shares = {names.get(s["to"], s["to"]): s["parts"] for s in grant["price"]["shares"]}
        said["price"] = price(grant["price"])
        said["shares"] = shares or None
    if "to" in grant:
        said["to"] = [names.get(key, key) for key in grant["to"]]
    facts({f"  {k.replace('_', ' ')}": v for k, v in said.items() if v is not None})


def statement(lines: Iterable[str], heading: str = "Who learns what:") -> None:
    """A disclosure statement."""
    line(heading)
    for text in lines:
        line(f"  - {text}")


def reasons(problem: Mapping[str, Any]) -> list[str]:
    """One line for each reason of a refusal, with the grant that would remove it."""
    out = []
    found = (problem.get("facts") or {}).get("reasons") or []
    for reason in found:
        text = reason.get("text")
        said = text.get("en") if isinstance(text, Mapping) else text
        where = f" (column {reason['column']})" if reason.get("column") else ""
        out.append(f"{reason.get('code')}{where}: {said or 'no more is told'}")
        grant = reason.get("grant")
        if isinstance(grant, Mapping):
            change = json.dumps(grant.get("change"), ensure_ascii=False)
            out.append(f"  the grant that would do, on {grant.get('asset')}: {change}")
    return out


def error(problem: AtollError, machine: bool) -> None:
    """An error on standard error: code and text, then what to do; or its problem document."""
    if machine:
        sys.stderr.write(json.dumps(problem.to_problem(), ensure_ascii=False) + "\n")
        return
    sys.stderr.write(clean(f"{problem.code}: {problem.text}") + "\n")
    for text in reasons(problem.to_problem()):
        sys.stderr.write(clean(f"  {text}") + "\n")
    sys.stderr.write(clean(problem.cure) + "\n")
