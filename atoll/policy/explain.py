"""Why a plan passes or not, column by column, and the one grant that would make it pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from atoll.agreements.lifecycle import AgreementState
from atoll.disclosure import Language
from atoll.plan import Derivation
from atoll.policy.decide import Verdict, decide, verdicts
from atoll.policy.judge import apply
from atoll.policy.model import Decision, Facts


@dataclass(frozen=True)
class ColumnReport:
    """One column of an own input, for one partner: uses asked, granted, and missing."""

    input: str
    asset: str
    column: str
    partner: str
    asked: tuple[str, ...]
    granted: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class PassingGrant:
    """The single grant to one partner on one asset under which the plan would pass.

    `replaces` is the place of the grant that it widens, for this partner alone; None if there is none.
    """

    agreement: str
    asset: str
    partner: str
    replaces: int | None
    grant: dict[str, Any]


@dataclass(frozen=True)
class Explanation:
    """A decision with what it rests on. `names` maps keys to display names."""

    decision: Decision
    columns: tuple[ColumnReport, ...]
    grants: tuple[PassingGrant, ...]
    names: Mapping[str, str]

    def document(self) -> dict[str, Any]:
        """JSON for CLI, REST and console; for the owner only."""
        return {
            "outcome": self.decision.outcome,
            "reasons": [reason.document() for reason in self.decision.reasons],
            "awaiting": list(self.decision.awaiting),
            "columns": [
                {
                    "input": c.input,
                    "asset": c.asset,
                    "column": c.column,
                    "partner": c.partner,
                    "asked": list(c.asked),
                    "granted": list(c.granted),
                    "missing": list(c.missing),
                }
                for c in self.columns
            ],
            "grants": [
                {
                    "agreement": g.agreement,
                    "asset": g.asset,
                    "partner": g.partner,
                    "replaces": g.replaces,
                    "grant": g.grant,
                }
                for g in self.grants
            ],
        }

    def lines(self, language: Language) -> list[str]:
        """The explanation for people, one line a fact."""
        en = language == "en"
        outcome = {"approve": "批准", "refuse": "拒绝", "steward": "须由数据管理员审批"}
        out = [f"Decision: {self.decision.outcome}" if en else f"决定：{outcome[self.decision.outcome]}"]
        for c in self.columns:
            who = self.names.get(c.partner, c.partner)
            asked, granted, missing = (", ".join(v) or "-" for v in (c.asked, c.granted, c.missing))
            out.append(
                f"{c.asset}.{c.column} for {who}: asked {asked}; granted {granted}; missing {missing}"
                if en
                else f"{c.asset}.{c.column}（{who}）：请求 {asked}；已授权 {granted}；缺少 {missing}"
            )
        out += [f"{reason.code}: {reason.text[language]}" for reason in self.decision.reasons]
        for g in self.grants:
            who = self.names.get(g.partner, g.partner)
            out.append(
                f"The plan would pass with one grant on {g.asset} to {who}."
                if en
                else f"若在资产“{g.asset}”上对{who}作如下一项授权，计划即可通过。"
            )
        return out


def _columns(verdict: Verdict) -> list[ColumnReport]:
    need = verdict.need
    out = []
    for column, asked in sorted(need.uses.items()):
        granted = verdict.grant.columns.get(column, ())
        missing = tuple(use for use in asked if use not in granted)
        out.append(
            ColumnReport(
                need.input, need.account.asset, column, need.account.partner, asked, tuple(granted), missing
            )
        )
    return out


def _passing(verdict: Verdict) -> PassingGrant | None:
    """None if the grant passes as it is, or if no grant would."""
    if not verdict.findings or any(finding.change is None for finding in verdict.findings):
        return None
    account = verdict.need.account
    grant = apply(verdict.grant, verdict.findings, account.partner)
    return PassingGrant(account.agreement, account.asset, account.partner, verdict.index, grant)


def explain(
    derivation: Derivation,
    *,
    me: str,
    agreements: Mapping[str, AgreementState],
    facts: Facts,
    now: datetime,
    final: bool = False,
) -> Explanation:
    """Explains the decision that `decide` makes with the same arguments."""
    found = verdicts(derivation, me, facts, final)
    decision = decide(derivation, me=me, agreements=agreements, facts=facts, now=now, final=final)
    return Explanation(
        decision,
        tuple(report for verdict in found for report in _columns(verdict)),
        tuple(grant for verdict in found if (grant := _passing(verdict)) is not None),
        derivation.plan.names,
    )
