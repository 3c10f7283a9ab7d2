"""Agreement documents with sensible, safe defaults: no use, no disclosure and no partner that was not
named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from atoll.agreements.model import parse
from atoll.crypto.document import format_time

Json = dict[str, Any]


def column(
    name: str,
    type: str,  # the field's own name in the document
    *,
    precision: int | None = None,
    scale: int | None = None,
    unit: str | None = None,
    label: Json | None = None,
    definition: Json | None = None,
    codes: Mapping[str, Json] | None = None,
    range: Sequence[str] | None = None,
    as_of: str | None = None,
    nullable: bool = True,
) -> Json:
    """A column document; see `model.Column`."""
    return {
        "name": name,
        "type": type,
        "precision": precision,
        "scale": scale,
        "unit": unit,
        "label": label,
        "definition": definition,
        "codes": dict(codes) if codes is not None else None,
        "range": list(range) if range is not None else None,
        "as_of": as_of,
        "nullable": nullable,
    }


def join_bounds(
    *,
    minimum_rows: int = 1000,
    maximum_ratio: int = 100,
    keys_per_period: int = 5_000_000,
    days: int = 30,
    minimum_change: int = 100,
    variants: Iterable[str] = (),
) -> Json:
    """Bounds of a join; the defaults refuse small tables and small edits. See `terms.JoinBounds`."""
    weaker = list(variants)
    return {
        "minimum_rows": minimum_rows,
        "maximum_ratio": maximum_ratio,
        "distinct_keys_per_period": {"keys": keys_per_period, "days": days},
        "minimum_change": minimum_change,
        **({"variants": weaker} if weaker else {}),
    }


def price(
    currency: str,
    *,
    per_run: int = 0,
    per_call: int = 0,
    per_row: int = 0,
    per_hit: int = 0,
    per_month: int = 0,
    shares: Mapping[str, int] | None = None,
) -> Json:
    """A price document, in minor units of the currency; `shares` maps payees to parts. See `terms.Price`."""
    amounts = {
        "per_run": per_run,
        "per_call": per_call,
        "per_row": per_row,
        "per_hit": per_hit,
        "per_month": per_month,
    }
    return {
        "currency": currency,
        **{name: str(amount) for name, amount in amounts.items()},
        "shares": [{"to": key, "parts": parts} for key, parts in sorted((shares or {}).items())],
    }


def consent(mode: str = "none", issuers: Iterable[str] = ()) -> Json:
    """How consent is shown; see `terms.Consent`."""
    return {"mode": mode, "issuers": sorted(issuers)}


def grant(
    to: Iterable[str],
    *,
    purposes: Iterable[str],
    functions: Iterable[str],
    columns: Mapping[str, Iterable[str]],
    disclose: Iterable[str] = (),
    users: Iterable[str] = ("*",),
    minimum_group: int = 1,
    minimum_security: str = "semi-honest",
    approval: str = "steward",
    runs_per_day: int | None = None,
    calls_per_day: int | None = None,
    rows_per_day: int | None = None,
    rate: Json | None = None,
    join: Json | None = None,
    consent: Json | None = None,
    privacy: Json | None = None,
    price: Json | None = None,
) -> Json:
    """A grant document; `approval` is by a steward unless said otherwise. See `terms.Grant`."""
    return {
        "to": sorted(to),
        "purposes": list(purposes),
        "functions": list(functions),
        "columns": {name: list(uses) for name, uses in columns.items()},
        "users": list(users),
        "minimum_group": minimum_group,
        "minimum_security": minimum_security,
        "disclose": list(disclose),
        "approval": approval,
        "quota": {"runs_per_day": runs_per_day, "calls_per_day": calls_per_day, "rows_per_day": rows_per_day},
        "rate": rate,
        "join": join,
        "consent": consent or {"mode": "none", "issuers": []},
        "privacy": privacy,
        "price": price,
    }


def asset(
    name: str,
    provider: str,
    *,
    columns: Iterable[Json] = (),
    grants: Iterable[Json] = (),
    type: str = "dataset",
    host: str | None = None,
    content: str | None = None,
    quality: Iterable[str] = (),
    findings: Iterable[str] = (),
) -> Json:
    """An asset document; the host is the provider unless another is named. See `model.Asset`."""
    return {
        "name": name,
        "provider": provider,
        "host": host or provider,
        "type": type,
        "content": content,
        "columns": list(columns),
        "quality": list(quality),
        "findings": list(findings),
        "grants": list(grants),
    }


def agreement(
    id: str,
    *,
    title: str,
    signatories: Mapping[str, str],
    assets: Iterable[Json],
    not_before: datetime,
    not_after: datetime,
    version: int = 1,
    supersedes: str | None = None,
    jurisdiction: str | None = None,
    silence_seconds: int = 10,
    grace_seconds: int = 600,
    offers: Iterable[str] = (),
    witnesses: Json | None = None,
    replay: Json | None = None,
) -> Json:
    """A checked agreement document.

    Args:
        id: `agr-` and 16 hex digits, drawn by the caller.
        title: what people call it.
        signatories: display name of each key.
        assets: from `asset(...)`.
        not_before, not_after: validity; aware times.
        version, supersedes: 1 and null for a new agreement; see `lifecycle.check_amendment`.

    Raises:
        AtollError: `E_FORMAT` names the wrong field.
    """
    return parse(
        {
            "format": "atoll.agreement/v1",
            "id": id,
            "version": version,
            "supersedes": supersedes,
            "title": title,
            "signatories": [{"key": key, "name": signatories[key]} for key in sorted(signatories)],
            "validity": {"not_before": format_time(not_before), "not_after": format_time(not_after)},
            "jurisdiction": jurisdiction,
            "silence_seconds": silence_seconds,
            "grace_seconds": grace_seconds,
            "offers": list(offers),
            "witnesses": witnesses,
            "replay": replay,
            "assets": list(assets),
        }
    ).document()
