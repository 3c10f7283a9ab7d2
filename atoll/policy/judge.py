"""One partner's use of one own asset, held against one grant: every finding, with the change that removes
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atoll.agreements import build
from atoll.agreements.terms import ConsentMode, Grant, JoinVariant, consent_at_least
from atoll.disclosure import Kind, Parameters, Security, at_least, render_kind
from atoll.errors import AtollError
from atoll.plan import Release, presented_at_most
from atoll.policy.model import Account, Counters, Declared
from atoll.policy.text import sentence

# A partner that learns one of these has used the join as a membership oracle.
ORACLE: frozenset[Kind] = frozenset(
    {
        "membership",
        "intersection_size",
        "multiplicity",
        "matched_count",
        "matched_sum",
        "matched_moments",
        "matched_product",
        "matched_histogram",
        "own_matched_sum",
        "too_few_matched",
    }
)


@dataclass(frozen=True)
class JoinNeed:
    """A join in which the partner learns about membership in an own table.

    `theirs` is None while the partner has declared nothing; `final` says that this is no longer acceptable.
    """

    my_input: str
    their_input: str
    mine: Declared | None
    theirs: Declared | None
    keyset: str | None
    final: bool
    extra: Parameters | None = None
    """Facts of the statement that the partner could test more keys than it declares; None where it cannot."""
    alone: bool = True
    """Whether the partner alone learns; else the side with fewer keys learns first."""
    several: bool = False
    """Whether more than two tables are joined: the declared change may be one towards another party."""

    @property
    def presented(self) -> int:
        """Keys that the partner presents, or could: all of these are charged."""
        if self.theirs is None or self.theirs.keys is None:
            return 0
        theirs, mine = self.theirs.keys, None if self.mine is None else self.mine.keys
        if self.extra is None:
            return theirs
        return presented_at_most(self.extra, theirs, theirs if mine is None else mine, alone=self.alone)


@dataclass(frozen=True)
class Need:
    """What a plan asks of one own asset for one partner."""

    account: Account
    input: str
    partner_name: str
    purpose: str
    function: str
    person: str | None
    """Who asks, at the partner; None where the partner is not the asker."""
    uses: Mapping[str, tuple[str, ...]]
    kinds: tuple[Kind, ...]
    security: Security
    release: Release | None
    join: JoinNeed | None
    block_calls: int | None
    """For a service, the calls that one release opens."""
    consent: ConsentMode
    """How the plan's calls show the data subject's authorisation."""
    variant: JoinVariant | None
    """A variant of the join that the grant must name; None where it need not."""
    counters: Counters

    @property
    def asks(self) -> bool:
        """Whether the partner is the asker, who is charged for runs, rows and calls."""
        return self.person is not None

    @property
    def keys_to_charge(self) -> int:
        """Distinct keys that this plan adds to the partner's account: none for a key set charged before."""
        join = self.join
        if join is None or join.keyset in self.counters.charged:
            return 0
        return join.presented


@dataclass(frozen=True)
class Finding:
    """One thing that a grant does not permit; `change` maps grant fields to values that would."""

    code: str
    text: dict[str, str]
    column: str | None
    change: dict[str, Any] | None


def _find(
    need: Need, name: str, patch: dict[str, Any] | None, column: str | None = None, **facts: Any
) -> Finding:
    code, text = sentence(name, asset=need.account.asset, partner=need.partner_name, column=column, **facts)
    return Finding(code, text, column, patch)


def _uses(need: Need, grant: Grant) -> list[Finding]:
    out = []
    for column, uses in sorted(need.uses.items()):
        granted = grant.columns.get(column, ())
        wanted = [*granted, *(use for use in uses if use not in granted)]
        out += [
            _find(need, "use", {"columns": {column: wanted}}, column, use=use)
            for use in uses
            if use not in granted
        ]
    return out


def fits(need: Need, grant: Grant) -> bool:
    """Whether the grant is meant for this purpose and function, whatever else it lacks."""
    return need.purpose in grant.purposes and need.function in grant.functions


def _allowing(grant: Grant, variant: JoinVariant) -> dict[str, Any]:
    """The change that lets a partner choose a variant of the join."""
    if grant.join is None:
        return {"join": build.join_bounds(variants=[variant])}
    return {"join": {"variants": [*(grant.join.variants or ()), variant]}}


def _scope(need: Need, grant: Grant) -> list[Finding]:
    """Purpose, function, person, security level and disclosure."""
    out = []
    if need.purpose not in grant.purposes:
        change: dict[str, Any] = {"purposes": [*grant.purposes, need.purpose]}
        out.append(_find(need, "purpose", change, purpose=need.purpose))
    if need.function not in grant.functions:
        change = {"functions": [*grant.functions, need.function]}
        out.append(_find(need, "function", change, function=need.function))
    if need.person is not None and "*" not in grant.users and need.person not in grant.users:
        out.append(_find(need, "user", {"users": [*grant.users, need.person]}, person=need.person))
    if not at_least(need.security, grant.minimum_security):
        change = {"minimum_security": need.security}
        # A plan without any protection cannot be granted at all.
        possible = change if need.security != "none" else None
        out.append(_find(need, "security", possible, security=need.security, minimum=grant.minimum_security))
    if need.variant is not None and (grant.join is None or need.variant not in (grant.join.variants or ())):
        out.append(_find(need, "variant", _allowing(grant, need.variant), variant=need.variant))
    if need.asks and not consent_at_least(need.consent, grant.consent.mode):
        change = {"consent": {"mode": need.consent, "issuers": []}}
        out.append(_find(need, "consent", change, consent=need.consent, minimum=grant.consent.mode))
    if grant.privacy is not None:
        # No protocol of this version adds noise: every result is exact, which no budget covers.
        out.append(_find(need, "privacy", {"privacy": None}, epsilon=grant.privacy.epsilon))
    missing = [kind for kind in need.kinds if kind not in grant.disclose]
    change = {"disclose": [*grant.disclose, *missing]}
    out += [
        _find(need, "disclose", change, kind=render_kind(kind, "en"), kind_zh=render_kind(kind, "zh"))
        for kind in missing
    ]
    return out


def _groups(need: Need, grant: Grant) -> list[Finding]:
    minimum = grant.minimum_group
    release = need.release
    if release is not None and release.minimum_group < minimum:
        change = {"minimum_group": release.minimum_group}
        return [_find(need, "minimum_group", change, group=release.minimum_group, minimum=minimum)]
    if release is not None and minimum > 1 and release.subject is None:
        return [_find(need, "no_subject", {"minimum_group": 1}, minimum=minimum)]
    if release is None and need.join is not None and minimum > 1:
        return [_find(need, "group_unprotected", {"minimum_group": 1}, minimum=minimum)]
    return []


def _change(need: Need, join: JoinNeed, theirs: Declared, minimum: int) -> list[Finding]:
    """The rule against small edits: v1, and then v1 plus one row, would tell about that row alone."""
    last, change = need.counters.last, theirs.change
    if last is not None and last != join.keyset and change is None:
        return [_find(need, "change_undeclared", None)]
    if join.several and last == join.keyset:
        return []
    if last is not None and last == join.keyset and change not in (None, 0):
        return [_find(need, "change_contradicts", None, change=change)]
    if change is not None and 0 < change < minimum:
        patch = {"join": {"minimum_change": change}}
        return [_find(need, "change", patch, change=change, minimum=minimum)]
    return []


def _join(need: Need, grant: Grant, join: JoinNeed) -> list[Finding]:
    if not join.final and (join.mine is None or join.theirs is None):
        return [] if grant.join else [_find(need, "no_bounds", {"join": build.join_bounds()})]
    if join.mine is None or join.mine.keys is None:
        return [_find(need, "undeclared", None, input=join.my_input)]
    if join.theirs is None or join.theirs.keys is None:
        return [_find(need, "undeclared", None, input=join.their_input)]
    mine, theirs = join.mine.keys, join.theirs.keys
    smaller, larger = min(mine, theirs), max(mine, theirs)
    ratio = -(-larger // max(smaller, 1))
    bounds = grant.join
    if bounds is None:
        passing = build.join_bounds(
            minimum_rows=max(smaller, 1),
            maximum_ratio=max(ratio, 1),
            keys_per_period=max(need.keys_to_charge, 1),
            minimum_change=max(join.theirs.change or 0, 1),
        )
        # No bound admits a table without any key.
        return [_find(need, "no_bounds", {"join": passing} if smaller else None)]
    out = []
    if smaller < bounds.minimum_rows:
        patch = {"join": {"minimum_rows": smaller}} if smaller else None
        out.append(_find(need, "minimum_rows", patch, keys=smaller, minimum=bounds.minimum_rows))
    if smaller and ratio > bounds.maximum_ratio:
        patch = {"join": {"maximum_ratio": ratio}}
        out.append(_find(need, "ratio", patch, mine=mine, theirs=theirs, maximum=bounds.maximum_ratio))
    period = bounds.distinct_keys_per_period
    if period.days not in need.counters.keys_in_period:
        # A period that nobody counted is a defect, and never a zero.
        raise AtollError("E_INTERNAL", f"The keys of {period.days} days were not counted for {need.account}.")
    total = need.counters.keys_in_period[period.days] + need.keys_to_charge
    if need.keys_to_charge and total > period.keys:
        wider: dict[str, Any] = {"join": {"distinct_keys_per_period": {"keys": total, "days": period.days}}}
        out.append(_find(need, "keys_in_period", wider, total=total, days=period.days, maximum=period.keys))
    return out + _change(need, join, join.theirs, bounds.minimum_change)


def _quota(need: Need, grant: Grant) -> list[Finding]:
    if not need.asks:
        return []
    out = []
    quota, used = grant.quota, need.counters
    if quota.runs_per_day is not None and used.runs_today >= quota.runs_per_day:
        patch = {"quota": {"runs_per_day": used.runs_today + 1}}
        out.append(_find(need, "runs", patch, maximum=quota.runs_per_day))
    if grant.rate is not None and not need.block_calls:
        # A service's calls are counted where they are answered.
        if grant.rate.seconds not in used.runs_in_window:
            raise AtollError("E_INTERNAL", f"The runs of {grant.rate.seconds} s were not counted.")
        if used.runs_in_window[grant.rate.seconds] >= grant.rate.most:
            patch = {
                "rate": {"most": used.runs_in_window[grant.rate.seconds] + 1, "seconds": grant.rate.seconds}
            }
            out.append(_find(need, "rate", patch, maximum=grant.rate.most, seconds=grant.rate.seconds))
    calls = used.calls_today + (need.block_calls or 0)
    if need.block_calls and quota.calls_per_day is not None and calls > quota.calls_per_day:
        patch = {"quota": {"calls_per_day": calls}}
        out.append(_find(need, "calls", patch, total=calls, maximum=quota.calls_per_day))
    rows = need.join.theirs.keys if need.join and need.join.theirs else None
    total = used.rows_today + (rows or 0)
    if rows is not None and quota.rows_per_day is not None and total > quota.rows_per_day:
        patch = {"quota": {"rows_per_day": total}}
        out.append(_find(need, "rows", patch, total=total, maximum=quota.rows_per_day))
    return out


def judge(need: Need, grant: Grant) -> list[Finding]:
    """Everything that this grant does not permit; empty if the grant covers the need."""
    findings = _scope(need, grant) + _uses(need, grant) + _groups(need, grant) + _quota(need, grant)
    return findings + (_join(need, grant, need.join) if need.join else [])


def blank(need: Need) -> Grant:
    """A grant to the partner that permits this purpose and function to this person, and nothing else."""
    group = need.release.minimum_group if need.release and need.release.subject else 1
    return Grant.parse(
        build.grant(
            [need.account.partner],
            purposes=[need.purpose],
            functions=[need.function],
            columns={},
            users=[need.person or "*"],
            minimum_group=group,
        )
    )


def no_grant(need: Need) -> Finding:
    """The finding that no grant names the partner at all."""
    return _find(need, "no_grant", {"to": [need.account.partner]})


def apply(grant: Grant, findings: list[Finding], partner: str) -> dict[str, Any]:
    """The grant to `partner` alone with every possible change made: the least widening of this grant that
    passes.

    Columns, quota and join bounds change field by field, everything else as a whole.
    """
    out = {**grant.document(), "to": [partner]}
    for finding in findings:
        for field, value in (finding.change or {}).items():
            if field in ("columns", "quota", "join") and isinstance(out[field], dict):
                out[field] = {**out[field], **value}
            elif field != "to":
                out[field] = value
    return out
