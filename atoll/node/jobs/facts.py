"""The facts that policy judges a plan by: sizes from signed approvals, counters from this node's charges."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atoll.agreements import Approval
from atoll.node.clock import stamp
from atoll.node.jobs.desk import Desk
from atoll.node.state.models import Charge
from atoll.plan import Derivation
from atoll.policy import Account, Counters, Declared, Facts, Windows, accounts
from atoll.policy.model import DebitKind

Kind = DebitKind | Literal["calls"]


def _sum_today(session: Session, account: Account, kind: Kind, day: str, apart_from: str) -> int:
    return (
        session.scalar(
            select(func.coalesce(func.sum(Charge.amount), 0)).where(
                *_of(account), Charge.kind == kind, Charge.at >= day, Charge.job != apart_from
            )
        )
        or 0
    )


def _of(account: Account) -> tuple[Any, ...]:
    return (
        Charge.agreement == account.agreement,
        Charge.asset == account.asset,
        Charge.provider == account.provider,
        Charge.partner == account.partner,
    )


def _counters(session: Session, desk: Desk, account: Account, windows: Windows, job: str) -> Counters:
    now = desk.clock()
    day = stamp(now.replace(hour=0, minute=0, second=0, microsecond=0))
    keys = {
        days: session.scalar(
            select(func.coalesce(func.sum(Charge.amount), 0)).where(
                *_of(account),
                Charge.kind == "keys",
                Charge.at >= stamp(now - timedelta(days=days)),
                Charge.job != job,
            )
        )
        or 0
        for days in windows.days
    }
    runs = {
        seconds: session.scalar(
            select(func.coalesce(func.sum(Charge.amount), 0)).where(
                *_of(account),
                Charge.kind == "run",
                Charge.at > stamp(now - timedelta(seconds=seconds)),
                Charge.job != job,
            )
        )
        or 0
        for seconds in windows.seconds
    }
    sets = session.scalars(
        select(Charge.keyset)
        .where(*_of(account), Charge.kind == "keys", Charge.keyset.is_not(None), Charge.job != job)
        .order_by(Charge.id)
    ).all()
    used = [s for s in sets if s is not None]
    return Counters(
        runs_today=_sum_today(session, account, "run", day, job),
        calls_today=_sum_today(session, account, "calls", day, job),
        rows_today=_sum_today(session, account, "rows", day, job),
        keys_in_period=keys,
        runs_in_window=runs,
        charged=frozenset(used),
        last=used[-1] if used else None,
    )


def gather(
    desk: Desk,
    session: Session,
    derivation: Derivation,
    approvals: Mapping[str, Approval],
    own: Mapping[str, Mapping[str, Any]] | None,
) -> Facts:
    """Facts for a decision; a job's own charges never count against it.

    Args:
        session: the session whose view of the charges is used, a writer's when the decision leads to a debit.
        approvals: the approvals that are known.
        own: this node's own commitments, where its approval is not among them yet.
    """
    declared = {}
    for approval in approvals.values():
        for name, fed in approval.inputs.items():
            declared[name] = Declared(version=fed.version, mode=fed.mode, keys=fed.keys, change=fed.change)
    for name, facts in (own or {}).items():
        declared[name] = Declared(
            version=facts["version"], mode=facts["mode"], keys=facts["keys"], change=facts["change"]
        )
    counters = {
        account: _counters(session, desk, account, windows, derivation.plan.id)
        for account, windows in accounts(derivation, desk.me).items()
    }
    return Facts(declared=declared, counters=counters)
