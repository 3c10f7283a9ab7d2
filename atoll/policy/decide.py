"""The owner's decision on a plan: a pure function of the derivation, its agreements, and facts looked up
before.

For each own input, every partner that learns something about it, receives the result, or asks, must hold one
grant that covers the whole use. That holds for the own asset in an own plan as well: what a partner learns of
it is the owner's to grant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from atoll.agreements.lifecycle import AgreementState
from atoll.agreements.model import Agreement, Asset
from atoll.agreements.terms import Grant
from atoll.crypto.document import parse_time
from atoll.disclosure import QUALIFIERS, Statement, about
from atoll.errors import AtollError
from atoll.plan import Derivation, Input
from atoll.policy.judge import ORACLE, Finding, JoinNeed, Need, blank, fits, judge, no_grant
from atoll.policy.model import Account, Debit, Decision, Facts, Reason, Windows
from atoll.policy.text import sentence


@dataclass(frozen=True)
class Verdict:
    """The best grant for one need: its index (None: no grant names the partner), and what it does not
    permit.
    """

    need: Need
    index: int | None
    grant: Grant
    findings: list[Finding]


def partners(derivation: Derivation, item: Input) -> tuple[str, ...]:
    """Partners that need a grant on this input: who learns about it, who receives, who asks."""
    learners = about(derivation.disclosures, item.party, item.id)
    return tuple(sorted((learners | {*derivation.receivers, derivation.plan.asker}) - {item.party}))


def accounts(derivation: Derivation, me: str) -> dict[Account, Windows]:
    """The accounts whose counters a decision needs, each with the windows to count in."""
    out: dict[Account, Windows] = {}
    for item in derivation.plan.inputs:
        asset = derivation.agreements[item.agreement].asset_at(item.party, item.asset)
        if item.party == me and asset is not None:
            for key in partners(derivation, item):
                grants = [g for g in asset.grants if key in g.to]
                windows = Windows(
                    frozenset(g.join.distinct_keys_per_period.days for g in grants if g.join),
                    frozenset(g.rate.seconds for g in grants if g.rate),
                )
                account = Account(item.agreement, item.asset, me, key)
                out[account] = out.get(account, Windows()) | windows
    return out


def periods(agreement: Agreement) -> tuple[int, ...]:
    """Every period length, in days, that a join bound of this agreement counts keys for."""
    bounds = [g.join for a in agreement.assets for g in a.grants if g.join is not None]
    return tuple(sorted({join.distinct_keys_per_period.days for join in bounds}))


def _could_test(statement: Statement, item: Input, partner: str) -> bool:
    """Whether a statement says that the partner could test more keys against this input than it declares."""
    return (statement.what, statement.subject) == ("extra_keys", item.id) and partner in statement.to


def _need(derivation: Derivation, item: Input, partner: str, facts: Facts, final: bool) -> Need:
    plan = derivation.plan
    kinds = tuple(
        sorted(
            {
                s.what
                for s in derivation.disclosures
                if s.owner == item.party
                and s.subject == item.id
                and partner in s.to
                and s.what not in QUALIFIERS
            }
        )
    )
    account = Account(item.agreement, item.asset, item.party, partner)
    if account not in facts.counters:
        raise AtollError("E_INTERNAL", f"The counters of {account} were not looked up.")
    join = None
    other = derivation.joined_with(item.id, partner)
    if other is not None and ORACLE & set(kinds):
        theirs = facts.declared.get(other)
        keyset = derivation.keysets[other].identify(theirs.version) if theirs else None
        extra = next((s.parameters for s in derivation.disclosures if _could_test(s, item, partner)), None)
        alone = len(derivation.receivers) == 1
        several = len(derivation.keysets) > 2
        mine = facts.declared.get(item.id)
        join = JoinNeed(item.id, other, mine, theirs, keyset, final, extra, alone, several)
    return Need(
        account=account,
        input=item.id,
        partner_name=plan.names[partner],
        purpose=plan.purpose,
        function=plan.function,
        person=plan.person if partner == plan.asker else None,
        uses=derivation.uses[item.id],
        kinds=kinds,
        security=derivation.security,
        release=derivation.releases.get(item.id),
        join=join,
        block_calls=derivation.block_calls,
        consent=derivation.consent,
        variant=derivation.variant,
        counters=facts.counters[account],
    )


def _verdict(need: Need, asset: Asset) -> Verdict:
    candidates = [
        Verdict(need, i, g, judge(need, g))
        for i, g in enumerate(asset.grants)
        if need.account.partner in g.to
    ]
    if not candidates:
        empty = blank(need)
        return Verdict(need, None, empty, [no_grant(need), *judge(need, empty)])

    # A grant that passes, if possible without a steward; else one for this purpose and function that comes
    # closest; then the first.
    def order(verdict: Verdict) -> tuple[bool, bool, int, bool, int | None]:
        findings, grant = verdict.findings, verdict.grant
        return (
            bool(findings),
            not fits(need, grant),
            len(findings),
            grant.approval == "steward",
            verdict.index,
        )

    return min(candidates, key=order)


def verdicts(derivation: Derivation, me: str, facts: Facts, final: bool) -> list[Verdict]:
    """The verdict on each own input for each partner."""
    out = []
    for item in derivation.plan.inputs:
        if item.party == me:
            asset = derivation.agreements[item.agreement].asset_at(item.party, item.asset)
            if asset is None:
                raise AtollError("E_INTERNAL", f"The checked plan names no asset {item.asset!r}.")
            for partner in partners(derivation, item):
                out.append(_verdict(_need(derivation, item, partner, facts, final), asset))
    return out


def general_reasons(
    derivation: Derivation, me: str, agreements: Mapping[str, AgreementState], now: datetime
) -> list[Reason]:
    """Reasons that no grant removes: not a party, a plan past its date, agreements that do not hold now."""
    plan = derivation.plan
    out = []
    if me not in plan.names:
        out.append(Reason(*sentence("not_a_party")))
    if now >= parse_time(plan.expires):
        out.append(Reason(*sentence("plan_expired", at=plan.expires)))
    for name, agreement in sorted(derivation.agreements.items()):
        state = agreements.get(name)
        if state is None or state.agreement != agreement:
            refusal: AtollError | None = AtollError(
                "E_AGREEMENT", f"Agreement {name} is not the one held here."
            )
        else:
            refusal = state.refusal(now)
        if refusal is not None:
            facts = sentence("agreement", code=refusal.code, text=refusal.text, agreement=name)
            out.append(Reason(*facts))
    return out


def reasons_of(verdict: Verdict) -> list[Reason]:
    """The findings of a verdict as reasons."""
    account = verdict.need.account
    return [
        Reason(
            finding.code,
            finding.text,
            verdict.need.input,
            finding.column,
            account.partner,
            None
            if finding.change is None
            else {
                "agreement": account.agreement,
                "asset": account.asset,
                "partner": account.partner,
                "index": verdict.index,
                "change": finding.change,
            },
        )
        for finding in verdict.findings
    ]


def _debits(verdict: Verdict, derivation: Derivation) -> list[Debit]:
    need = verdict.need
    out = [Debit("run", need.account, 1)] if need.asks else []
    join = need.join
    if join is not None and join.theirs is not None:
        asset = derivation.plan.input(join.their_input).asset
        where = {"keyset": join.keyset, "version": join.theirs.version, "partner_asset": asset}
        out.append(Debit("keys", need.account, need.keys_to_charge, **where))
        if need.asks:
            out.append(Debit("rows", need.account, join.theirs.keys or 0))
    return out


def decide(
    derivation: Derivation,
    *,
    me: str,
    agreements: Mapping[str, AgreementState],
    facts: Facts,
    now: datetime,
    final: bool = False,
) -> Decision:
    """Decides on a checked plan for the node `me`.

    Args:
        derivation: what `plan.check` derived; nothing else of the plan counts.
        me: this node's key.
        agreements: state of each agreement that the plan rests on.
        facts: declarations and counters; `accounts` says which counters.
        now: the node's time.
        final: false while other parties' approvals may still be missing; true before the run.

    Raises:
        AtollError: `E_INTERNAL` if counters were not looked up.
    """
    reasons = general_reasons(derivation, me, agreements, now)
    found = verdicts(derivation, me, facts, final)
    for verdict in found:
        reasons += reasons_of(verdict)
    if reasons:
        return Decision("refuse", tuple(reasons))
    joins = [v.need.join for v in found if v.need.join is not None]
    awaiting = {join.their_input for join in joins if join.theirs is None}
    awaiting |= {join.my_input for join in joins if join.mine is None}
    left = [
        v.grant.quota.calls_per_day - v.need.counters.calls_today
        for v in found
        if v.need.block_calls and v.need.asks and v.grant.quota.calls_per_day is not None
    ]
    return Decision(
        "steward" if any(v.grant.approval == "steward" for v in found) else "approve",
        debits=tuple(debit for v in found for debit in _debits(v, derivation)),
        awaiting=tuple(sorted(awaiting)),
        grants={(v.need.input, v.need.account.partner): v.index for v in found if v.index is not None},
        calls_left=min(left, default=None),
    )
