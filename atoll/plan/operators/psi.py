"""`psi/v1`: two owners find their common keys. A receiver learns its matched rows, or only how many."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from atoll.crypto.document import Document, Key, Name, require_unique
from atoll.disclosure import Kind, Statement
from atoll.disclosure import Parameters as Facts
from atoll.plan.flow import Flow, Protocol, Rule, Uses, clear, wrong
from atoll.plan.model import Edge, Operator, Plan

PROTOCOL = Protocol("ecdh-psi/v1", "semi-honest", "ddh-two-party")

Columns = Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)]


class Parameters(Document):
    """Receivers learn `reveal`; `keys` names each side's key columns; `duplicates` as in SQL, or refused."""

    receivers: Annotated[tuple[Key, ...], Field(min_length=1, max_length=2)]
    reveal: Literal["rows", "size"]
    duplicates: Literal["sql", "refuse"]
    keys: Annotated[tuple[Columns, ...], Field(min_length=2, max_length=2)]

    @model_validator(mode="after")
    def _validate(self) -> Parameters:
        require_unique(self.receivers, "receiver")
        if list(self.receivers) != sorted(self.receivers):
            raise ValueError("receivers: keys stand in order")
        return self


def _check_alike(op: Operator, left: Flow, right: Flow) -> None:
    """Both sides' keys have the same types, units and normalisation, column by column."""
    for a, b in zip(left.columns, right.columns, strict=True):
        if (a.type, a.scale) != (b.type, b.scale):
            raise wrong(op.id, f"joins {a.name!r} with {b.name!r}, whose types differ", "E_TYPE", a.name)
        if a.unit != b.unit:
            raise wrong(op.id, f"joins {a.name!r} with {b.name!r}, whose units differ", "E_UNIT", a.name)
    if left.keyset is None or right.keyset is None or left.keyset.steps != right.keyset.steps:
        raise wrong(op.id, "joins keys that are normalised differently")


def derive(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> Flow:
    """Membership of own rows, or the size, in clear at the receivers."""
    if len(sources) != 2 or any(s.edge.type != "keys" for s in sources):
        raise wrong(op.id, "takes two edges of keys")
    left, right = sources
    if left.owner == right.owner or op.at != (left.owner, right.owner):
        raise wrong(op.id, "stands at the two different owners of its keys, in order")
    if parameters.keys != (left.edge.columns, right.edge.columns):
        raise wrong(op.id, "names other key columns than its edges carry")
    if len(left.columns) != len(right.columns):
        raise wrong(op.id, "joins different numbers of key columns")
    _check_alike(op, left, right)
    if not set(parameters.receivers) <= set(op.at):
        raise wrong(op.id, "has a receiver that is not one of its two parties")
    rows = parameters.reveal == "rows"
    edge = Edge(
        type="membership" if rows else "size",
        columns=(),
        rows=None if rows else "1",
        visibility=clear(*parameters.receivers),
    )
    own = {**left.delivers, **right.delivers}
    delivers = {key: own[key] if rows else () for key in parameters.receivers}
    return Flow(edge, left.inputs + right.inputs, delivers=delivers)


def uses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...]) -> Uses:
    """Every key column is a join key."""
    return [(s.inputs[0], c.name, "join_key") for s in sources for c in s.columns]


def discloses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> list[Statement]:
    """Sizes to each other; membership or size to receivers; multiplicities where both learn rows as in
    SQL.
    """
    out = []

    def say(what: Kind, about: Flow, to: str) -> None:
        facts = Facts(asset=about.asset, columns=about.edge.columns)
        out.append(
            Statement(
                subject=about.inputs[0],
                owner=about.owner,
                what=what,
                to=(to,),
                step=op.id,
                security=PROTOCOL.security,
                assumption=PROTOCOL.assumption,
                parameters=facts,
            )
        )

    rows = parameters.reveal == "rows"
    both_expand = rows and len(parameters.receivers) == 2 and parameters.duplicates == "sql"
    for mine, theirs in (sources, sources[::-1]):
        me = mine.owner or ""
        say("size", theirs, me)
        if me in parameters.receivers:
            say("membership" if rows else "intersection_size", theirs, me)
        if both_expand:
            say("multiplicity", theirs, me)
    out.append(
        Statement(
            subject=op.id,
            owner=None,
            what="corruptible",
            to=tuple(sorted(op.at)),
            step=op.id,
            security=PROTOCOL.security,
            assumption=PROTOCOL.assumption,
            parameters=Facts(),
        )
    )
    return out


RULE = Rule("psi/v1", Parameters, derive, uses, discloses, function="join", protocol=PROTOCOL)
