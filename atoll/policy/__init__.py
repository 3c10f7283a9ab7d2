"""Policy: pure decisions on data. No I/O, no clock, no randomness; the node looks the facts up first.

Public names, as the node uses them:

    decide(derivation, *, me: key, agreements: Mapping[id, AgreementState], facts: Facts, now,
           final: bool = False) -> Decision
    accounts(derivation, me) -> {Account: Windows(days, seconds)}    the counters that `decide` must be given
    periods(agreement) -> every period length that its join bounds count keys for
    Account(agreement id, asset name, provider key, partner key)
    Facts(declared {input id: Declared(version, mode, keys, change)}, counters {Account: Counters(...)})
    Counters(runs_today, calls_today, rows_today, keys_in_period {days: keys}, runs_in_window {seconds: runs},
             charged, last)
        `charged` and `last` hold key set digests: `derivation.keysets[input].identify(version)`
    Decision: outcome "approve" | "refuse" | "steward", reasons, debits, awaiting, grants, calls_left
        While `awaiting` is not empty, decide again with `final=True` once all approvals are there.
    Reason: code, text {"zh", "en"}, input, column, partner, grant; `.wire(party)` for the peer,
        `.error(party)` and `.document()` for the owner
    Debit: kind "run" | "keys" | "rows", account, amount, keyset, version, partner_asset, and `.agreement`,
        `.asset`, `.provider`, `.partner` of the account. A service's calls are charged block by block, within
        `calls_left`
    explain(derivation, *, me, agreements, facts, now, final=False) -> Explanation
        with `.document()` for JSON and `.lines("zh" | "en")` for people
"""

from atoll.policy.decide import accounts, decide, periods
from atoll.policy.explain import ColumnReport, Explanation, PassingGrant, explain
from atoll.policy.model import Account, Counters, Debit, Decision, Declared, Facts, Reason, Windows

__all__ = [
    "Account",
    "ColumnReport",
    "Counters",
    "Debit",
    "Decision",
    "Declared",
    "Explanation",
    "Facts",
    "PassingGrant",
    "Reason",
    "Windows",
    "accounts",
    "decide",
    "explain",
    "periods",
]
