"""Signed objects: agreement, amendment, revocation, approval, receipts. Pure; envelopes are DSSE.

Public names, as other packages use them:

    model:      Agreement, Asset, Column, Grant, JoinBounds, Quota, Price, USES, parse(document) -> Agreement
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
    receipt:    build_provisional(...), open_provisional(envelope, ...)
                build_receipt(plan, approvals, ...), parse_receipt(document), open_receipt(envelope, parties)
                check_receipt(receipt, plan, approvals, protocols=, security=, disclosures=)
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
from atoll.agreements.model import (
    KIND,
    USES,
    Agreement,
    Asset,
    Column,
    Grant,
    JoinBounds,
    Price,
    Quota,
    parse,
)
from atoll.agreements.receipt import (
    Provisional,
    Receipt,
    build_provisional,
    build_receipt,
    check_receipt,
    open_provisional,
    open_receipt,
    parse_receipt,
)

__all__ = [
    "KIND",
    "USES",
    "Agreement",
    "AgreementState",
    "Approval",
    "Asset",
    "Change",
    "Column",
    "Grant",
    "JoinBounds",
    "Price",
    "Provisional",
    "Quota",
    "Receipt",
    "Revocation",
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
]
