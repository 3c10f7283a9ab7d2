"""Was it within quota and rate? From the debits of each owner's releases, where its log is whole for that time.

A debit counts in the UTC day of its own time. The calls of a service's block count as reserved until the receipt of the
block says how many there were.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from atoll.agreements.lifecycle import grants_to
from atoll.agreements.model import Agreement
from atoll.agreements.terms import Grant
from atoll.audit.case import Charged, JobCase, Release
from atoll.audit.cover import Cover
from atoll.audit.scene import Scene, Tally, found
from atoll.ledger.report import Finding
from atoll.plan import Input

_UNITS = {
    "run": ("runs", "次运行"),
    "calls": ("calls", "次调用"),
    "rows": ("rows", "行"),
    "keys": ("distinct keys", "个不同键"),
}


@dataclass(frozen=True)
class _Use:
    """A debit as it counts: when, how much, of which job."""

    at: datetime
    amount: int
    job: str


_MOMENT = timedelta(microseconds=1)

Account = tuple[str, str, str, str]  # provider, asset, partner, agreement


def _inputs(job: JobCase, owner: str) -> Iterator[Input]:
    """The owner's inputs of a job that somebody else asked for."""
    if job.plan is not None and job.plan.document.asker != owner:
        yield from (item for item in job.plan.document.inputs if item.party == owner)


def _grant(scene: Scene, job: JobCase, item: Input, agreement: Agreement, block: int) -> Grant | None:
    """The grant that an input was used under: as the receipt names it, else the one that there is for it."""
    asset = agreement.asset_at(item.party, item.asset)
    if asset is None or job.plan is None:
        return None
    receipt = job.receipts.get(block) or next(iter(job.receipts.values()), None)
    record = receipt.document.parties.get(item.party) if receipt is not None else None
    index = record.grants.get(item.id) if record is not None else None
    if index is not None and index < len(asset.grants):
        return asset.grants[index]
    plan = job.plan.document
    fitting = grants_to(asset, plan.asker, plan.purpose, plan.function)
    return fitting[0][1] if len(fitting) == 1 else None


def _amount(job: JobCase, debit: Charged) -> int:
    receipt = job.receipts.get(debit.block) if debit.kind == "calls" else None
    block = receipt.document.block if receipt is not None else None
    return min(debit.amount, block.calls) if block is not None else debit.amount


def _limits(grant: Grant | None, debit: Charged) -> Iterator[tuple[str, int, timedelta | None]]:
    """The limits that a debit counts towards: kind, most, and over which span; None is a UTC day."""
    if grant is None:
        return
    quota = grant.quota
    daily = {"run": quota.runs_per_day, "calls": quota.calls_per_day, "rows": quota.rows_per_day}
    most = daily.get(debit.kind)
    if most is not None:
        yield debit.kind, most, None
    if debit.kind == "run" and grant.rate is not None:
        yield "run", grant.rate.most, timedelta(seconds=grant.rate.seconds)
    if debit.kind == "keys" and grant.join is not None:
        period = grant.join.distinct_keys_per_period
        yield "keys", period.keys, timedelta(days=period.days)


def quotas(scene: Scene) -> list[Finding]:
    """For every account and limit: the most that was used in its span, or that the file does not prove it."""
    missing = Tally()
    used: dict[tuple[Account, str, timedelta | None, int], list[_Use]] = defaultdict(list)
    spent: dict[tuple[Account, str], list[_Use]] = defaultdict(list)
    for job in scene.case.jobs.values():
        agreed = scene.agreements(job)
        for release in sorted(job.releases, key=lambda r: r.place.index):
            _release(scene, job, release, agreed or {}, used, spent)
        if agreed is not None:
            for owner in _undebited(job):
                missing.add("undebited", job.job, name=scene.name(owner))
    covers = {owner: Cover(log) for owner, log in scene.logs.items()}
    out = missing.findings()
    for (account, kind, span, most), uses in sorted(used.items(), key=lambda item: str(item[0])):
        everything = sorted(spent[account, kind], key=lambda use: use.at)
        out.append(_judged(scene, covers, account, kind, span, most, uses, everything))
    return out


def _release(
    scene: Scene,
    job: JobCase,
    release: Release,
    agreed: dict[str, Agreement],
    used: dict[tuple[Account, str, timedelta | None, int], list[_Use]],
    spent: dict[tuple[Account, str], list[_Use]],
) -> None:
    """Books one release's debits: under each limit of its grant, and under its account."""
    for debit in release.debits:
        account = (debit.provider, debit.asset, debit.partner, debit.agreement)
        if debit.provider != release.place.owner:
            continue
        use = _Use(datetime.fromisoformat(debit.at), _amount(job, debit), job.job)
        spent[account, debit.kind].append(use)
        agreement = agreed.get(debit.agreement)
        for item in _inputs(job, release.place.owner):
            asked = job.plan is not None and job.plan.document.asker == debit.partner
            if (
                agreement is None
                or item.asset != debit.asset
                or item.agreement != debit.agreement
                or not asked
            ):
                continue
            grant = _grant(scene, job, item, agreement, release.block)
            for kind, most, span in _limits(grant, debit):
                used[account, kind, span, most].append(use)


def _undebited(job: JobCase) -> Iterator[str]:
    """Owners whose releases lack the debit of a run, or of a block's calls, that every release of theirs needs."""
    by_owner: dict[str, list[Release]] = defaultdict(list)
    for release in job.releases:
        by_owner[release.place.owner].append(release)
    for owner, releases in by_owner.items():
        wanted = {(item.agreement, item.asset) for item in _inputs(job, owner)}
        asker = job.plan.document.asker if job.plan is not None else ""
        debits = [d for r in releases for d in r.debits if d.partner == asker and d.provider == owner]
        runs = {(d.agreement, d.asset) for d in debits if d.kind == "run"}
        calls = {(d.agreement, d.asset, d.block) for d in debits if d.kind == "calls"}
        # The first release of a job debits its run; the file may hold later ones alone.
        first = any(r.block <= 1 and r.attempt == 1 for r in releases)
        if first and wanted - runs:
            yield owner
        for release in releases:
            if release.block and {(*pair, release.block) for pair in wanted} - calls:
                yield owner


def _judged(
    scene: Scene,
    covers: dict[str, Cover],
    account: Account,
    kind: str,
    span: timedelta | None,
    limit: int,
    uses: list[_Use],
    everything: list[_Use],
) -> Finding:
    """The highest use up to any debit that this limit bounds, of everything on the account in the span before it."""
    provider, asset, partner, _ = account
    times = [use.at for use in everything]
    sums = [0]
    for use in everything:
        sums.append(sums[-1] + use.amount)
    most, worst, proved = 0, "", True
    for use in uses:
        day = use.at.replace(hour=0, minute=0, second=0, microsecond=0)
        # A window leaves out what is exactly as old as it is long; a day holds its first moment.
        begin = day - _MOMENT if span is None else use.at - span
        end = day + timedelta(days=1) if span is None else use.at + timedelta(seconds=1)
        total = sums[bisect_right(times, use.at)] - sums[bisect_right(times, begin)]
        cover = covers.get(provider)
        proved = proved and cover is not None and cover.holds(begin + _MOMENT, end)
        if total > most:
            most, worst = total, use.job
    unit, unit_zh = _UNITS[kind]
    facts = {
        "name": scene.name(provider),
        "asset": asset,
        "partner": scene.name(partner),
        "limit": limit,
        "unit": unit,
        "unit_zh": unit_zh,
        "span": _span(span),
        "span_zh": _span_zh(span),
    }
    if most > limit:
        return found("quota-exceeded", **facts, most=most, jobs=worst)
    return found("quota", **facts, most=most) if proved else found("quota-unknown", **facts)


def _span(span: timedelta | None) -> str:
    if span is None:
        return "a UTC day"
    return f"{span.days} days" if span.days else f"any {span.seconds} s"


def _span_zh(span: timedelta | None) -> str:
    if span is None:
        return "一个 UTC 日"
    return f"{span.days} 天" if span.days else f"任意 {span.seconds} 秒"
