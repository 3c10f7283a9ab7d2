"""Drafts of agreements and offers, from short arguments. The node checks every field; nothing here decides."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from atoll.crypto.suite import digest
from atoll.errors import AtollError

Json = dict[str, Any]

# What a function discloses about a table of another party: a grant that permits the function lists these.
DISCLOSED: dict[str, tuple[str, ...]] = {
    "join": ("size", "membership", "intersection_size", "multiplicity"),
    "intersect": ("size", "membership", "intersection_size"),
    # Sums of the partner's own columns are left out: with chosen values they tell which of its rows match.
    "join_totals": ("size", "matched_count", "matched_sum", "too_few_matched"),
    # So are sums of products with them, which tell single values of the owner's.
    "join_statistics": (
        "size",
        "matched_count",
        "matched_sum",
        "matched_moments",
        "matched_histogram",
        "too_few_matched",
    ),
    "totals": ("sum", "count", "participation", "small_group_exists"),
    "echo": ("call", "value"),
    "script": ("outcome",),
    "query": ("record", "sealed_table"),
    "query_totals": ("key_totals", "sealed_cells"),
}
KEPT_DISCLOSED = ("linkable", "changes")
"""What a kept join discloses beside."""
_COLUMN = {
    "precision": None, "scale": None, "unit": None, "label": None, "definition": None, "codes": None,
    "range": None, "as_of": None, "nullable": True,
}  # fmt: skip


def column(facts: Mapping[str, Any]) -> Json:
    """A column of an agreement, from the column that a table's description gives.

    An agreement has every text in both languages: where the owner gave one, it stands for the other too, and a
    code without a text is its own text.
    """
    out = _COLUMN | dict(facts)
    for key in ("label", "definition"):
        if out[key] is not None:
            out[key] = _both(out[key])
    if out["codes"] is not None:
        out["codes"] = {code: _both(text or {"en": code}) for code, text in out["codes"].items()}
    return out


def _both(text: Mapping[str, str]) -> Json:
    any_text = next(iter(text.values()))
    return {language: text.get(language, any_text) for language in ("zh", "en")}


def uses(text: str | Iterable[str]) -> list[str]:
    """Column uses from a list, or from words between spaces, commas or plus signs."""
    return text.replace(",", " ").replace("+", " ").split() if isinstance(text, str) else list(text)


def join_bounds(
    minimum_rows: int = 1000,
    maximum_ratio: int = 100,
    keys: int = 5_000_000,
    days: int = 30,
    minimum_change: int = 100,
    variants: Iterable[str] = (),
) -> Json:
    """Bounds of a join; the defaults refuse small tables and small edits.

    Args:
        minimum_rows: least distinct keys on each side.
        maximum_ratio: larger side over smaller side.
        keys, days: most distinct keys that a partner may present in any period of so many days.
        minimum_change: least keys added plus removed between successive tables of a partner.
        variants: weaker variants of the fast join that a partner may choose, `semi-honest` and `low-communication`;
            and `kept`, of a small table with a large one again and again.
    """
    weaker = list(variants)
    return {
        "minimum_rows": minimum_rows,
        "maximum_ratio": maximum_ratio,
        "distinct_keys_per_period": {"keys": keys, "days": days},
        "minimum_change": minimum_change,
        **({"variants": weaker} if weaker else {}),
    }


def price_of(
    currency: str,
    *,
    per_run: int = 0,
    per_call: int = 0,
    per_row: int = 0,
    per_hit: int = 0,
    per_month: int = 0,
    shares: Mapping[str, int] | None = None,
) -> Json:
    """A price in minor units of a currency (ISO 4217).

    Args:
        per_run, per_call: of a job, and of a call of a service.
        per_row: of a row that the payer presents, such as a distinct key of a join.
        per_hit: of a hit that the payer declares.
        per_month: flat, for each calendar month in which the agreement is in force.
        shares: parts of each payee, by key; None: all goes to the provider.
    """
    amounts = {
        "per_run": per_run, "per_call": per_call, "per_row": per_row, "per_hit": per_hit,
        "per_month": per_month,
    }  # fmt: skip
    return {
        "currency": currency,
        **{name: str(amount) for name, amount in amounts.items()},
        "shares": [{"to": key, "parts": parts} for key, parts in sorted((shares or {}).items())],
    }


def content_digest(path: str | Path) -> str:
    """The digest of a file, by which an asset names the rule, model or script that it is; `E_SOURCE`."""
    try:
        return digest(Path(path).read_bytes())
    except OSError as error:
        raise AtollError("E_SOURCE", f"cannot read {path}: {error.strerror}.", fault="caller") from None


def terms(**what: Any) -> Json:
    """Terms of an offer: as `grant`, without the partners, whom the offer itself names."""
    return {name: value for name, value in grant((), **what).items() if name != "to"}


def grant(
    to: Iterable[str],
    *,
    purposes: Iterable[str],
    functions: Iterable[str],
    columns: Mapping[str, str | Iterable[str]] | None = None,
    users: Iterable[str] = ("*",),
    minimum_group: int = 1,
    minimum_security: str = "semi-honest",
    disclose: Iterable[str] | None = None,
    also_disclose: Iterable[str] = (),
    approval: str = "steward",
    runs_per_day: int | None = None,
    calls_per_day: int | None = None,
    rows_per_day: int | None = None,
    rate: Mapping[str, int] | None = None,
    join: Mapping[str, Any] | None = None,
    consent: Mapping[str, Any] | None = None,
    privacy: Mapping[str, Any] | None = None,
    price: Mapping[str, Any] | None = None,
) -> Json:
    """A grant; see the agreement's reference page for the fields.

    Args:
        to: keys of the grantees.
        columns: uses of each column, a list or words.
        disclose: kinds; None for what the functions disclose, and a kept join where it is allowed.
        also_disclose: kinds beside these, such as `own_matched_sum`.
        approval: `steward` or `automatic`.
        rate: `{"most": 100, "seconds": 60}`: at most so many runs or calls in any so many seconds.
        join: keyword arguments of `join_bounds`; None for its defaults if a column is a join key.
        consent: `{"mode": "attested"}`, or `presented` with the `issuers`' keys; None for no consent.
        privacy: `{"epsilon": "1.0", "delta": "0", "days": 365}`: only noisy results within this budget.
        price: keyword arguments of `price_of`.
    """
    wanted = {name: uses(value) for name, value in (columns or {}).items()}
    functions = list(functions)
    if disclose is None:
        disclose = dict.fromkeys(kind for name in functions for kind in DISCLOSED.get(name, ()))
        if "join" in functions and "kept" in ((join or {}).get("variants") or ()):
            disclose |= dict.fromkeys(KEPT_DISCLOSED)
    joined = join is not None or any("join_key" in value for value in wanted.values())
    return {
        "to": sorted(to),
        "purposes": list(purposes),
        "functions": functions,
        "columns": {name: value for name, value in wanted.items() if value},
        "users": list(users),
        "minimum_group": minimum_group,
        "minimum_security": minimum_security,
        "disclose": list(dict.fromkeys([*disclose, *also_disclose])),
        "approval": approval,
        "quota": {"runs_per_day": runs_per_day, "calls_per_day": calls_per_day, "rows_per_day": rows_per_day},
        "rate": dict(rate) if rate is not None else None,
        "join": join_bounds(**(join or {})) if joined else None,
        "consent": {"mode": "none", "issuers": [], **(consent or {})},
        "privacy": dict(privacy) if privacy is not None else None,
        "price": price_of(**price) if price is not None else None,
    }


def asset(
    name: str, provider: str, *, columns: Iterable[Mapping[str, Any]] = (), grants: Iterable[Json] = (),
    type: str = "dataset", content: str | None = None, quality: Iterable[str] = (), findings: Iterable[str] = (),
) -> Json:  # fmt: skip
    """An asset at its provider's node.

    Args:
        content: digest of the file that a rule, model or script is.
        quality: figures that grantees may see, such as `rows` or `nulls:debt`.
        findings: categories in which grantees may report back, such as `stale`.
    """
    return {
        "name": name,
        "provider": provider,
        "host": provider,
        "type": type,
        "content": content,
        "columns": [column(c) for c in columns],
        "quality": list(quality),
        "findings": list(findings),
        "grants": list(grants),
    }


def agreement(
    signatories: Mapping[str, str],
    assets: Sequence[Json],
    *,
    title: str,
    days: int = 365,
    now: datetime | None = None,
    jurisdiction: str | None = None,
    silence_seconds: int = 10,
    grace_seconds: int = 600,
    witnesses: Mapping[str, Any] | None = None,
    replay: Mapping[str, Any] | None = None,
) -> Json:
    """A draft of version 1, without an identifier: the node that proposes it draws one.

    Args:
        signatories: display name of each key.
        days: of validity.
        now: beginning of validity, aware; None for a minute ago.
        witnesses: `{"quorum": 1, "members": [{"name": ..., "key": ..., "address": ...}]}`; None for none.
        replay: `{"keep_days": 30}`: what a replay audit needs is kept so long; None for no replay.
    """
    start = now or datetime.now(UTC) - timedelta(minutes=1)
    ends = start + timedelta(days=days)
    form = "%Y-%m-%dT%H:%M:%SZ"
    return {
        "format": "atoll.agreement/v1",
        "version": 1,
        "supersedes": None,
        "title": title,
        "signatories": [{"key": key, "name": signatories[key]} for key in sorted(signatories)],
        "validity": {"not_before": start.strftime(form), "not_after": ends.strftime(form)},
        "jurisdiction": jurisdiction,
        "silence_seconds": silence_seconds,
        "grace_seconds": grace_seconds,
        "offers": [],
        "witnesses": {"pad": 1, "seconds": 60, **witnesses} if witnesses is not None else None,
        "replay": {"hosts": [], **replay} if replay is not None else None,
        "assets": list(assets),
    }


def offer(
    asset: Mapping[str, Any],
    terms: Iterable[Json],
    *,
    title: str | Mapping[str, str],
    to: Iterable[str] | None = None,
    consortium: str | None = None,
    days: int = 365,
    agreement_days: int | None = None,
    now: datetime | None = None,
    jurisdiction: str | None = None,
    silence_seconds: int = 10,
    grace_seconds: int = 600,
    witnesses: Mapping[str, Any] | None = None,
    replay: Mapping[str, Any] | None = None,
) -> Json:
    """A draft of an offer: the node that publishes it fills in identifier, version and provider.

    Args:
        asset: from `asset(...)`, without grants.
        terms: each from `terms(...)`.
        title: in one language, or by language: `{"zh": ..., "en": ...}`.
        to: keys of the partners that it stands for; None for all partners.
        consortium: identifier of a roster, whose members it stands for.
        days: of validity.
        agreement_days: how long an agreement made from it lasts at most; None for `days`.
        now, jurisdiction, silence_seconds, grace_seconds, witnesses, replay: as in `agreement`.
    """
    frame = agreement(
        {}, [], title="", days=days, now=now, jurisdiction=jurisdiction, silence_seconds=silence_seconds,
        grace_seconds=grace_seconds, witnesses=witnesses, replay=replay,
    )  # fmt: skip
    shared = ("validity", "jurisdiction", "silence_seconds", "grace_seconds", "witnesses", "replay")
    keys = sorted(to) if to is not None else []
    kind = "consortium" if consortium is not None else "all" if to is None else "named"
    return {
        "format": "atoll.offer/v1",
        "title": _both({"en": title} if isinstance(title, str) else title),
        "to": {"kind": kind, "keys": keys, "roster": consortium},
        "agreement_days": agreement_days or days,
        "asset": {k: v for k, v in asset.items() if k not in ("provider", "grants")},
        "terms": list(terms),
        **{name: frame[name] for name in shared},
    }


def amended(
    shown: Mapping[str, Any],
    me: str,
    *,
    asset: str | None = None,
    title: str | None = None,
    days: int | None = None,
    add_purposes: Iterable[str] = (),
    remove_purposes: Iterable[str] = (),
    add_functions: Iterable[str] = (),
    remove_functions: Iterable[str] = (),
    approval: str | None = None,
    minimum_group: int | None = None,
    price: Mapping[str, Any] | None = None,
    quota: Mapping[str, int] | None = None,
    rate: Mapping[str, int] | None = None,
) -> Json:
    """The next version of an agreement that `agreements.show` gave, with changes to own grants.

    Args:
        me: key of the institution whose grants change.
        asset: only the grants of this asset; None for all own ones.
        days: of validity from now.
        price: keyword arguments of `price_of`, over what is charged now.
        quota: `runs_per_day`, `calls_per_day`, `rows_per_day` to set.

    Raises:
        AtollError: `E_NOT_FOUND` if there is no own grant that a change could be made to.
    """
    document = copy.deepcopy(amend(shown))
    if title is not None:
        document["title"] = title
    if days is not None:
        end = datetime.now(UTC) + timedelta(days=days)
        document["validity"] = {**document["validity"], "not_after": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
    lists = {
        "purposes": (list(add_purposes), set(remove_purposes)),
        "functions": (list(add_functions), set(remove_functions)),
    }
    single = {"approval": approval, "minimum_group": minimum_group, "rate": rate}
    touched = any(more or less for more, less in lists.values()) or price or quota
    if not touched and all(value is None for value in single.values()):
        return document
    grants = [
        grant
        for a in document["assets"]
        if a["provider"] == me and asset in (None, a["name"])
        for grant in a["grants"]
    ]
    if not grants:
        raise AtollError("E_NOT_FOUND", f"the agreement has no grant of {asset or 'this institution'}.")
    for grant in grants:
        for field, (more, less) in lists.items():
            grant[field] = [x for x in dict.fromkeys([*grant[field], *more]) if x not in less]
            if field == "functions" and more:
                kinds = [kind for name in more for kind in DISCLOSED.get(name, ())]
                grant["disclose"] = list(dict.fromkeys([*grant["disclose"], *kinds]))
        grant |= {name: value for name, value in single.items() if value is not None}
        grant["quota"] = {**grant["quota"], **(quota or {})}
        if price:
            old = grant["price"] or {}
            amounts = {k: int(v) for k, v in old.items() if k.startswith("per_")}
            shares = {s["to"]: s["parts"] for s in old.get("shares", [])}
            known = {"currency": old["currency"]} if "currency" in old else {}
            grant["price"] = price_of(**{**known, **amounts, "shares": shares, **price})
    return document


def amend(shown: Mapping[str, Any]) -> Json:
    """The next version of an agreement that `agreements.show` gave, to be changed and proposed."""
    document = shown.get("document")
    if not isinstance(document, Mapping):
        raise AtollError("E_FORMAT", "an amendment starts from a shown agreement with its document.")
    return {**document, "version": document["version"] + 1, "supersedes": shown["digest"]}
