"""`calculate/v1`: further columns of shared rows, each from others of the same row. Nothing opens.

Sums and products of two columns at most. What depends on a condition, such as a sum over those above a limit, is not
among them: its group would need a minimum of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from atoll.crypto.document import Document, Name, require_unique
from atoll.disclosure import Parameters as Facts
from atoll.disclosure import Statement
from atoll.plan.flow import Flow, Protocol, Rule, no_uses, only_shared, wrong
from atoll.plan.model import Edge, Operator, Plan
from atoll.plan.shared import SharedColumn, Step, StepError, derive_steps

PROTOCOL = Protocol("additive-shares/v1", "semi-honest", "rlwe-lpn-permutation-two-party")
MAX_STEPS = 256


class Parameters(Document):
    """Steps in order, each of columns that stand before it; and the columns that go on, in their order."""

    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=MAX_STEPS)]
    keep: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MAX_STEPS)]


def _columns(op: Operator, parameters: Parameters, source: Flow) -> dict[str, SharedColumn]:
    try:
        return derive_steps(parameters.steps, source.shared)
    except StepError as error:
        raise wrong(op.id, error.text, error.code, error.column) from None


def derive(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> Flow:
    """The columns that are kept, shared as before."""
    source = only_shared(op, sources, rows=True)
    known = _columns(op, parameters, source)
    missing = [name for name in parameters.keep if name not in known]
    if missing:
        raise wrong(op.id, f"keeps a column {missing[0]!r} that is not there")
    try:
        require_unique(parameters.keep, "keep: column")
    except ValueError as error:
        raise wrong(op.id, f"has {error}") from None
    edge = Edge(type="shares", columns=parameters.keep, rows=None, visibility=source.edge.visibility)
    return replace(source, edge=edge, shared=tuple(known[name] for name in parameters.keep))


def discloses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> list[Statement]:
    """Nothing to those who follow the protocol."""
    return [corruptible(op)]


def corruptible(op: Operator) -> Statement:
    """What a party that departs from the protocol of shares could do."""
    return Statement(
        subject=op.id,
        owner=None,
        what="corruptible",
        to=tuple(sorted(op.at)),
        step=op.id,
        security=PROTOCOL.security,
        assumption=PROTOCOL.assumption,
        parameters=Facts(),
    )


RULE = Rule(
    "calculate/v1", Parameters, derive, no_uses, discloses, function="join_statistics", protocol=PROTOCOL
)
