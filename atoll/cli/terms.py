"""Terms from the command line: tables with uses, prices, quotas, rates, consent, privacy budgets."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atoll.errors import AtollError

if TYPE_CHECKING:
    from atoll.client import Client

Json = dict[str, Any]
JoinVariants = Annotated[
    list[str] | None,
    typer.Option(
        metavar="semi-honest|low-communication|kept",
        help="A weaker variant of the fast join, or the kept one, that may be chosen. Repeatable.",
    ),
]
AlsoDisclose = Annotated[
    list[str] | None,
    typer.Option(
        "--disclose",
        metavar="KIND",
        help="A kind of disclosure beside the functions' own, such as own_matched_sum.",
    ),
]
_PRICES = ("per_run", "per_call", "per_row", "per_hit", "per_month")
_QUOTAS = {"runs": "runs_per_day", "calls": "calls_per_day", "rows": "rows_per_day"}


def read_document(path: Path) -> Json:
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


def table(text: str) -> tuple[str, dict[str, str]]:
    """`loans:id=join_key,debt=aggregate+reveal` as a name and uses by column."""
    name, _, rest = text.partition(":")
    uses = {}
    for part in filter(None, rest.split(",")):
        column, equals, words = part.partition("=")
        if not equals:
            raise AtollError("E_FORMAT", f"--table {text}: write TABLE:COLUMN=USE+USE,COLUMN=USE.")
        uses[column] = words
    return name, uses


def columns_of(client: Client, name: str, uses: dict[str, str]) -> list[Json]:
    """The columns of an own table; `E_COLUMN` if one that is to be used is not there."""
    columns: list[Json] = client.data.show(name)["columns"]
    known = {c["name"] for c in columns}
    for column in uses:
        if column not in known:
            text = f"{name} has no column {column!r}; it has {', '.join(sorted(known))}."
            raise AtollError("E_COLUMN", text, column=column)
    return columns


def assets(
    client: Client, tables: Iterable[str], services: Iterable[str], me: str, others: list[str], grant: Json
) -> list[Json]:
    """Own tables and services as assets of an agreement, granted to the others."""
    from atoll.client import drafts

    out = []
    for text in tables:
        name, uses = table(text)
        columns = columns_of(client, name, uses)
        joins = any("join_key" in drafts.uses(words) for words in uses.values())
        own = grant if joins else {k: v for k, v in grant.items() if k != "join"}
        grants = [drafts.grant(others, columns=uses, **own)]
        out.append(drafts.asset(name, me, columns=columns, grants=grants))
    for name in services:
        grants = [drafts.grant(others, **grant | {"functions": ["echo"], "join": None})]
        out.append(drafts.asset(name, me, grants=grants, type="service"))
    return out


def partner_keys(client: Client, names: Iterable[str]) -> list[str]:
    """Keys of partners that are named, by name or key; `E_NOT_FOUND`."""
    info = client.info()
    known = {p["name"]: p["identity"] for p in client.peers.list() if p["state"] == "active"}
    known |= {info["name"]: info["identity"]} | {key: key for key in known.values()}
    out = []
    for name in names:
        if name not in known:
            there = ", ".join(sorted(n for n in known if ":" not in n))
            raise AtollError("E_NOT_FOUND", f"there is no partner {name!r}; there are {there}.")
        out.append(known[name])
    return out


def _whole(option: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise AtollError("E_FORMAT", f"{option}: {text!r} is not a whole number.")
    return int(text)


def _pairs(option: str, given: Iterable[str]) -> list[tuple[str, str]]:
    out = []
    for text in given:
        name, equals, value = text.rpartition("=")
        if not equals or not name or not value:
            raise AtollError("E_FORMAT", f"{option} {text}: write NAME=VALUE.")
        out.append((name, value))
    return out


def price(client: Client, given: Iterable[str], shares: Iterable[str]) -> Json | None:
    """`per-call=12`, `currency=CNY` and `PARTNER=PARTS` as arguments of `drafts.price_of`; None for no price."""
    out: Json = {}
    for name, value in _pairs("--price", given):
        field = name.replace("-", "_")
        if field == "currency":
            out[field] = value
        elif field in _PRICES:
            out[field] = _whole(f"--price {name}", value)
        else:
            names = ", ".join(p.replace("_", "-") for p in ("currency", *_PRICES))
            raise AtollError("E_FORMAT", f"--price {name}: the names are {names}.")
    parts = _pairs("--share", shares)
    if parts:
        keys = partner_keys(client, [name for name, _ in parts])
        out["shares"] = {
            key: _whole(f"--share {name}", text) for key, (name, text) in zip(keys, parts, strict=True)
        }
    return out or None


def quota(given: Iterable[str]) -> dict[str, int]:
    """`runs=100` as arguments of `drafts.grant`."""
    out = {}
    for name, value in _pairs("--quota", given):
        if name not in _QUOTAS:
            raise AtollError("E_FORMAT", f"--quota {name}: the names are {', '.join(_QUOTAS)}.")
        out[_QUOTAS[name]] = _whole(f"--quota {name}", value)
    return out


def rate(text: str | None) -> Json | None:
    """`100/60`: at most so many in any so many seconds."""
    if text is None:
        return None
    most, slash, seconds = text.partition("/")
    if not slash:
        raise AtollError("E_FORMAT", f"--rate {text}: write MOST/SECONDS.")
    return {"most": _whole("--rate", most), "seconds": _whole("--rate", seconds)}


def privacy(text: str | None) -> Json | None:
    """`EPSILON/DAYS` or `EPSILON/DELTA/DAYS`: losses in any so many days add up to at most this."""
    if text is None:
        return None
    parts = text.split("/")
    if len(parts) not in (2, 3):
        raise AtollError("E_FORMAT", f"--privacy {text}: write EPSILON/DAYS or EPSILON/DELTA/DAYS.")
    delta = parts[1] if len(parts) == 3 else "0"
    return {"epsilon": parts[0], "delta": delta, "days": _whole("--privacy", parts[-1])}
