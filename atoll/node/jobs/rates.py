"""The agreed rate of a service's calls, at the owner: one window for all services that use an asset, across restarts.

Calls are counted in memory, one by one. What passed before this node started is read from the blocks that are stored
with their debits: a block whose end is known counts its calls at its end, one that a crash left open all of its calls.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from datetime import timedelta

from sqlalchemy import and_, or_, select

from atoll.agreements.terms import Rate
from atoll.errors import AtollError
from atoll.node.clock import parse, stamp
from atoll.node.jobs.desk import Desk
from atoll.node.state.models import Block, Charge, Job
from atoll.policy import Account

# Jobs whose accounts are remembered; a service makes many calls.
_REMEMBERED = 1000


class Rates:
    """Lets calls pass, or refuses them. Used by the threads of all services."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._began = desk.clock()
        self._lock = threading.Lock()
        self._past: dict[tuple[Account, int], deque[float]] = {}
        self._accounts: dict[tuple[str, int], list[tuple[Account, Rate]]] = {}

    def admit(self, job: str, attempt: int) -> None:
        """Lets one call of a service pass.

        Raises:
            AtollError: `E_QUOTA` if a rate is used up; such a call does not count.
        """
        with self._lock:
            now = time.monotonic()
            windows = []
            for account, rate in self._rated(job, attempt):
                past = self._window(account, rate)
                while past and past[0] <= now - rate.seconds:
                    past.popleft()
                if len(past) >= rate.most:
                    raise AtollError(
                        "E_QUOTA",
                        f"{rate.most} calls in {rate.seconds} s are agreed on",
                        cure="Wait a moment, or ask the owner for a higher rate.",
                    )
                windows.append(past)
            for past in windows:
                past.append(now)

    def _rated(self, job: str, attempt: int) -> list[tuple[Account, Rate]]:
        known = self._accounts.get((job, attempt))
        if known is not None:
            return known
        desk = self._desk
        row = desk.job(job)
        plan = desk.plan(row)
        found = []
        for name, index in (row.terms or {}).items():
            entry = next(i for i in plan["inputs"] if i["id"] == name)
            agreement = desk.agreements.state(entry["agreement"], entry["agreement_digest"]).agreement
            asset = agreement.asset_at(entry["party"], entry["asset"])
            rate = asset.grants[index].rate if asset is not None else None
            if rate is not None:
                found.append((Account(entry["agreement"], entry["asset"], desk.me, row.asker), rate))
        if len(self._accounts) >= _REMEMBERED:
            self._accounts.clear()
        self._accounts[job, attempt] = found
        return found

    def _window(self, account: Account, rate: Rate) -> deque[float]:
        known = self._past.get((account, rate.seconds))
        if known is None:
            known = self._past[account, rate.seconds] = deque(self._before(account, rate))
        return known

    def _before(self, account: Account, rate: Rate) -> list[float]:
        """Monotonic times of the calls that can have passed before this node started, at most what the rate allows."""
        now = self._desk.clock()
        with self._desk.store.read() as session:
            blocks = session.execute(
                select(Block, Job.ended)
                .join(Job, Job.id == Block.job)
                .join(Charge, and_(Charge.job == Block.job, Charge.block == Block.number))
                .where(
                    Charge.kind == "calls",
                    Charge.agreement == account.agreement,
                    Charge.asset == account.asset,
                    Charge.provider == account.provider,
                    Charge.partner == account.partner,
                    Block.opened < stamp(self._began),
                    or_(Block.closed.is_(None), Block.closed >= stamp(now - timedelta(seconds=rate.seconds))),
                )
            ).all()
            times: list[float] = []
            for block, ended in blocks:
                after = session.get(Block, (block.job, block.number + 1))
                # It cannot have served when the next one began, or its job or this process had ended.
                ends = [block.closed, after.opened if after else None, ended, stamp(self._began)]
                end = parse(min(e for e in ends if e is not None))
                age = max(0.0, (now - end).total_seconds())
                calls = block.reserved if block.used is None else block.used
                times += [time.monotonic() - age] * min(calls, rate.most)
        return sorted(times)[-rate.most :]
