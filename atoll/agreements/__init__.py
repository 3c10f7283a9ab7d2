"""Signed objects: agreement, amendment, revocation, approval, receipts. Pure; envelopes are DSSE.

Public names, as other packages use them:

    model:      Agreement, Asset, Column, parse(document) -> Agreement
    terms:      Terms, Grant, JoinBounds, Quota, Price, USES
    roster:     Roster, Member; read_card(card, now), found(...), follow(old, ...); open_envelope(envelope)
                standing(new, signed, old) -> Standing, `.complete`, `.require(new)`; changes(old, new)
    build:      agreement, asset, column, grant, join_bounds (...) -> documents with safe defaults
    lifecycle:  AgreementState(agreement, signed, revocation, superseded_by)
                    `.refusal(now) -> AtollError | None`, `.missing`, `.complete`
                open_envelope(envelope) -> (Agreement, keys that signed)
                check_amendment(old, new)
                build_revocation(agreement, by, reason, at), open_revocation(envelope, agreement)
                grants_to(asset, partner, purpose, function) -> [(index, Grant)]
    difference: diff(old, new) -> [Change(path, old, new)], each with `.text(language)`
    approval:   build_approval(...), build_refusal(...), open_approval(envelope, plan=, job=, party=, inputs=)
    provisional: build_provisional(...), open_provisional(envelope, ...)
    receipt:    Derived(protocols, security, disclosures, consent, declares_hits)
                build_receipt(plan, approvals, derived, ...), parse_receipt(document)
                open_receipt(envelope, parties), check_receipt(receipt, plan, approvals, derived, agreements)
                presented_rows(plan, approvals, derived, party)
    consent:    build_consent(...), open_consent(envelope), check_consent(...)
                build_withdrawal(...), open_withdrawal(envelope, consent)
"""

from atoll.agreements.approval import Approval, build_approval, build_refusal, open_approval
from atoll.agreements.build import agreement, asset, column, grant, join_bounds
from atoll.agreements.difference import Change, diff
from atoll.agreements.lifecycle import (
    AgreementState,
    Revocation,
    build_revocation,
    check_amendment,
    grants_to,
    open_envelope,
    open_revocation,
)
from atoll.agreements.model import KIND, Agreement, Asset, Column, parse
from atoll.agreements.provisional import Provisional, build_provisional, open_provisional
from atoll.agreements.receipt import (
    Derived,
    Receipt,
    build_receipt,
    check_receipt,
    open_receipt,
    parse_receipt,
    presented_rows,
)
from atoll.agreements.terms import USES, Grant, JoinBounds, Price, Quota, Terms

__all__ = [
    "KIND",
    "USES",
    "Agreement",
    "AgreementState",
    "Approval",
    "Asset",
    "Change",
    "Column",
    "Derived",
    "Grant",
    "JoinBounds",
    "Price",
    "Provisional",
    "Quota",
    "Receipt",
    "Revocation",
    "Terms",
    "agreement",
    "asset",
    "build_approval",
    "build_provisional",
    "build_receipt",
    "build_refusal",
    "build_revocation",
    "check_amendment",
    "check_receipt",
    "column",
    "diff",
    "grant",
    "grants_to",
    "join_bounds",
    "open_approval",
    "open_envelope",
    "open_provisional",
    "open_receipt",
    "open_revocation",
    "parse",
    "parse_receipt",
    "presented_rows",
]
