"""`star_psi/v1`: three to twenty owners find the keys that all of them have, or how many.

The leader learns; with everyone as a receiver it tells the others. Nobody learns what only some have in common.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from atoll.crypto.document import Document, Key, require_unique
from atoll.disclosure import Kind, Statement
from atoll.disclosure import Parameters as Facts
from atoll.plan.flow import Flow, Protocol, Rule, Uses, clear, wrong
from atoll.plan.model import Edge, Operator, Plan
from atoll.plan.operators.psi import Columns, check_alike

PROTOCOL = Protocol("star-psi/v1", "semi-honest", "lpn-star")
MIN_PARTIES, MAX_PARTIES = 3, 20


class Parameters(Document):
    """The receivers are the leader, or all. `second` hides the rows from the leader where the size alone is revealed.

    `keys` names each party's key columns, in the order of the parties; `duplicates`: repeated keys are all matched, or
    refused.
    """

    leader: Key
    second: Key
    receivers: Annotated[tuple[Key, ...], Field(min_length=1, max_length=MAX_PARTIES)]
    reveal: Literal["rows", "size"]
    duplicates: Literal["sql", "refuse"]
    keys: Annotated[tuple[Columns, ...], Field(min_length=MIN_PARTIES, max_length=MAX_PARTIES)]

    @model_validator(mode="after")
    def _validate(self) -> Parameters:
        require_unique(self.receivers, "receiver")
        if list(self.receivers) != sorted(self.receivers):
            raise ValueError("receivers: keys stand in order")
        return self


def derive(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> Flow:
    """Membership of own rows in all tables, or the size, in clear at the receivers."""
    if any(s.edge.type != "keys" for s in sources):
        raise wrong(op.id, "takes edges of keys")
    owners = tuple(s.owner or "" for s in sources)
    if op.at != owners or len(set(owners)) != len(owners):
        raise wrong(op.id, "stands at the different owners of its keys, in order")
    if owners[:2] != (parameters.leader, parameters.second) or list(owners[2:]) != sorted(owners[2:]):
        raise wrong(op.id, "does not have its leader first, its second party next and the others in order")
    if parameters.keys != tuple(s.edge.columns for s in sources):
        raise wrong(op.id, "names other key columns than its edges carry")
    for other in sources[1:]:
        if len(other.columns) != len(sources[0].columns):
            raise wrong(op.id, "joins different numbers of key columns")
        check_alike(op, sources[0], other)
    if parameters.receivers not in ((parameters.leader,), tuple(sorted(owners))):
        raise wrong(op.id, "has other receivers than its leader, or all of its parties")
    if plan.shape == "long":
        raise wrong(op.id, "stands in a long job; an intersection of several parties has no checkpoint")
    rows = parameters.reveal == "rows"
    edge = Edge(
        type="membership" if rows else "size",
        columns=(),
        rows=None if rows else "1",
        visibility=clear(*parameters.receivers),
    )
    own = {key: columns for s in sources for key, columns in s.delivers.items()}
    delivers = {key: own[key] if rows else () for key in parameters.receivers}
    return Flow(edge, tuple(name for s in sources for name in s.inputs), delivers=delivers)


def uses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...]) -> Uses:
    """Every key column is a join key."""
    return [(s.inputs[0], c.name, "join_key") for s in sources for c in s.columns]


def discloses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> list[Statement]:
    """Sizes to all; to receivers which of their keys all have, or how many; what those who collude learn."""
    count = len(sources)
    rows = parameters.reveal == "rows"

    def say(what: Kind, about: Flow | None, to: tuple[str, ...], facts: Facts | None = None) -> Statement:
        stated = facts or Facts()
        if about is not None:
            stated = stated.model_copy(update={"asset": about.asset, "columns": about.edge.columns})
        return Statement(
            subject=about.inputs[0] if about else op.id,
            owner=about.owner if about else None,
            what=what,
            to=tuple(sorted(to)),
            step=op.id,
            security=PROTOCOL.security,
            assumption=PROTOCOL.assumption,
            parameters=stated,
        )

    out = []
    for s in sources:
        out.append(say("size", s, tuple(key for key in op.at if key != s.owner)))
        learn = tuple(key for key in parameters.receivers if key != s.owner)
        if learn:
            out.append(say("membership" if rows else "intersection_size", s, learn, Facts(parties=count)))
    out.append(say("common_collusion", None, (parameters.leader,), Facts(parties=count)))
    if not rows:
        pair = (parameters.leader, parameters.second)
        out.append(say("size_collusion", None, pair, Facts(parties=count)))
    return [*out, say("corruptible", None, op.at)]


RULE = Rule("star_psi/v1", Parameters, derive, uses, discloses, function="intersect", protocol=PROTOCOL)
