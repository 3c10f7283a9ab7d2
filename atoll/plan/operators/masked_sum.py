"""`masked_sum/v1`: all holders' vectors are added under pairwise masks; only the totals open, at the
receiver.

The holder set is fixed by the plan: without all of them nothing opens. Masks cannot enforce a minimum group,
so each holder checks its own non-zero cells before it sends anything (see the design's section on sums).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from atoll.crypto.document import Document, Key, require_unique
from atoll.disclosure import Kind, Statement
from atoll.disclosure import Parameters as Facts
from atoll.plan.flow import Flow, Protocol, Rule, clear, no_uses, wrong
from atoll.plan.model import Edge, Operator, Plan

PROTOCOL = Protocol("pairwise-masks/v1", "semi-honest", "no-full-collusion")
MIN_HOLDERS, MAX_HOLDERS = 3, 50
# Sums are computed modulo 2^128 and read as signed.
MAX_MAGNITUDE = 2**127


class Parameters(Document):
    """The holders, in order of key, and the one receiver, who need not be a holder."""

    holders: Annotated[tuple[Key, ...], Field(min_length=MIN_HOLDERS, max_length=MAX_HOLDERS)]
    receivers: Annotated[tuple[Key, ...], Field(min_length=1, max_length=1)]

    @model_validator(mode="after")
    def _validate(self) -> Parameters:
        require_unique(self.holders, "holder")
        if list(self.holders) != sorted(self.holders):
            raise ValueError("holders: keys stand in order")
        return self


def _check_alike(op: Operator, first: Flow, other: Flow) -> None:
    if (first.domain, len(first.group)) != (other.domain, len(other.group)):
        raise wrong(op.id, "adds vectors over different segments")
    for a, b in zip(first.columns, other.columns, strict=True):
        if a.type != b.type:
            raise wrong(op.id, f"groups by {a.name!r} and {b.name!r}, whose types differ", "E_TYPE", b.name)
        if a.unit != b.unit:
            raise wrong(op.id, f"groups by {a.name!r} and {b.name!r}, whose units differ", "E_UNIT", b.name)
    if first.edge.columns != other.edge.columns:
        raise wrong(op.id, "adds vectors of different columns")
    for x, y in zip(first.totals, other.totals, strict=True):
        if (x.scale, x.unit) != (y.scale, y.unit):
            raise wrong(op.id, f"adds {x.name!r} in unlike units or scales", "E_UNIT", y.column)
    if first.release is None or other.release is None:
        raise wrong(op.id, "takes vectors of sums")
    if first.release.minimum_group != other.release.minimum_group:
        raise wrong(op.id, "adds vectors under different minimum groups")


def derive(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> Flow:
    """The totals, in clear at the receiver."""
    if any(s.edge.type != "vector" for s in sources):
        raise wrong(op.id, "takes vectors of sums")
    if tuple(s.owner for s in sources) != parameters.holders:
        raise wrong(op.id, "takes exactly one vector of each holder, in order")
    if op.at != tuple(sorted({*parameters.holders, *parameters.receivers})):
        raise wrong(op.id, "stands at its holders and its receiver, in order")
    first = sources[0]
    for other in sources:
        _check_alike(op, first, other)
    for i, total in enumerate(first.totals):
        if sum(s.totals[i].magnitude for s in sources) >= MAX_MAGNITUDE:
            raise wrong(op.id, f"could overflow in {total.name!r}", "E_RANGE", total.column)
    edge = Edge(
        type="vector",
        columns=first.edge.columns,
        rows=first.edge.rows,
        visibility=clear(*parameters.receivers),
    )
    return Flow(
        edge,
        tuple(name for s in sources for name in s.inputs),
        release=first.release,
        delivers=dict.fromkeys(parameters.receivers, edge.columns),
    )


def discloses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> list[Statement]:
    """Totals to the receiver; who took part, and a refusal for a small group, to all; what collusion
    gives.
    """
    out = []
    count = len(parameters.holders)

    def say(what: Kind, to: tuple[str, ...], facts: Facts, source: Flow | None = None) -> None:
        out.append(
            Statement(
                subject=source.inputs[0] if source else op.id,
                owner=source.owner if source else None,
                what=what,
                to=to,
                step=op.id,
                security=PROTOCOL.security,
                assumption=PROTOCOL.assumption,
                parameters=facts,
            )
        )

    for s in sources:
        names = tuple(total.name for total in s.totals)
        by = sources[0].group
        if names:
            say("sum", parameters.receivers, Facts(asset=s.asset, columns=names, by=by, parties=count), s)
        if s.counted:
            say("count", parameters.receivers, Facts(asset=s.asset, by=by, parties=count), s)
        say("participation", op.at, Facts(asset=s.asset, parties=count), s)
        if s.release is not None and s.release.minimum_group > 1:
            others = tuple(key for key in op.at if key != s.owner)
            say("small_group_exists", others, Facts(asset=s.asset, minimum_group=s.release.minimum_group), s)
    say("collusion", parameters.receivers, Facts(parties=count))
    say("corruptible", op.at, Facts())
    return out


RULE = Rule("masked_sum/v1", Parameters, derive, no_uses, discloses, function="totals", protocol=PROTOCOL)
