"""The plan: one document that every owner can check. Pure: no I/O, no clock, no randomness.

Public names, as other packages use them:

    KIND = "plan/v1"
    parse(document) -> Plan                 E_PLAN, E_PLAN_VERSION; frozen; `.document()` gives the same back
    plan_digest(document) -> str            equal to dsse.identifier of the signed envelope
    check(document, agreements: Mapping[agreement id, agreement document]) -> Derivation
    Derivation: plan, function, uses {input: {column: (use...)}}, disclosures (Statement...), security,
        protocols, receivers, edges {operator: Edge}, keysets {input: KeySet}, releases {input: Release},
        block_calls, variant, agreements {id: Agreement}; `.statement_json()`; `.joined_with(input, partner)`
    KeySet(columns, steps).identify(version digest) -> digest that a distinct-key charge is booked under
    Release(minimum_group, subject)                  how an aggregate over an input is protected
    presented_at_most(facts, declared, peer, alone=) -> keys that a party of a join could test
    OPERATORS: {"psi/v1": Rule...}                   the known operators
"""

from atoll.plan.check import Derivation, check
from atoll.plan.flow import KeySet, Release
from atoll.plan.model import (
    KIND,
    Edge,
    Input,
    Operator,
    Output,
    Party,
    Plan,
    Visibility,
    parse,
    plan_digest,
)
from atoll.plan.operators import OPERATORS
from atoll.plan.operators.psi import presented_at_most

__all__ = [
    "KIND",
    "OPERATORS",
    "Derivation",
    "Edge",
    "Input",
    "KeySet",
    "Operator",
    "Output",
    "Party",
    "Plan",
    "Release",
    "Visibility",
    "check",
    "parse",
    "plan_digest",
    "presented_at_most",
]
