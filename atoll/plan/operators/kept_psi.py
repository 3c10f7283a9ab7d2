"""`kept_psi/v1`: a small table is joined with a large one again and again, by a kept OPRF.

The receiver keeps one output for each key of the other side, the *holder*. A run brings them up to date, and then tells
the receiver which of its keys are among them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from atoll.crypto.document import Document, Key
from atoll.disclosure import Kind, Statement
from atoll.disclosure import Parameters as Facts
from atoll.plan.flow import Flow, Protocol, Rule, Uses, clear, wrong
from atoll.plan.model import Edge, Operator, Plan
from atoll.plan.operators.psi import Columns, pair

PROTOCOL = Protocol("kept-oprf-psi/v1", "semi-honest", "gap-dh-two-party")


class Parameters(Document):
    """The one receiver learns its matched rows; `keys` names each side's key columns; `duplicates`: repeated keys are
    matched as in SQL, or refused.
    """

    receivers: Annotated[tuple[Key, ...], Field(min_length=1, max_length=1)]
    duplicates: Literal["sql", "refuse"]
    keys: Annotated[tuple[Columns, ...], Field(min_length=2, max_length=2)]


def derive(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> Flow:
    """Membership of own rows, in clear at the receiver; every grant must name the variant `kept`."""
    left, right = pair(op, parameters.keys, parameters.receivers, sources)
    if plan.shape == "long":
        # Each run changes what is kept, so a worker cannot go on from an older checkpoint.
        raise wrong(op.id, "stands in a long job; what it keeps has no checkpoint")
    edge = Edge(type="membership", columns=(), rows=None, visibility=clear(*parameters.receivers))
    own = {**left.delivers, **right.delivers}
    delivers = {key: own[key] for key in parameters.receivers}
    return Flow(edge, left.inputs + right.inputs, variant="kept", delivers=delivers)


def uses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...]) -> Uses:
    """Every key column is a join key."""
    return [(s.inputs[0], c.name, "join_key") for s in sources for c in s.columns]


def discloses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> list[Statement]:
    """Sizes to each other; to the receiver membership, what it can recognise again, and how many keys came and went."""

    def say(what: Kind, about: Flow | None, to: tuple[str, ...]) -> Statement:
        facts = Facts() if about is None else Facts(asset=about.asset, columns=about.edge.columns)
        return Statement(
            subject=about.inputs[0] if about else op.id,
            owner=about.owner if about else None,
            what=what,
            to=tuple(sorted(to)),
            step=op.id,
            security=PROTOCOL.security,
            assumption=PROTOCOL.assumption,
            parameters=facts,
        )

    out = []
    for mine, theirs in (sources, sources[::-1]):
        me = mine.owner or ""
        out.append(say("size", theirs, (me,)))
        if me in parameters.receivers:
            kinds: tuple[Kind, ...] = ("membership", "linkable", "changes")
            out += [say(kind, theirs, (me,)) for kind in kinds]
    return [*out, say("corruptible", None, op.at)]


RULE = Rule("kept_psi/v1", Parameters, derive, uses, discloses, function="join", protocol=PROTOCOL)
