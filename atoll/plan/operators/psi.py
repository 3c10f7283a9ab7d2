"""`psi/v1`: two owners find their common keys. A receiver learns its matched rows, or only how many.

ECDH for small sets and where only the size is revealed; else the fast join over vector oblivious linear evaluation,
which may be secure against parties that cheat.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from atoll.agreements.terms import JoinVariant
from atoll.crypto.document import Document, Key, Name, require_unique
from atoll.disclosure import Kind, Statement
from atoll.disclosure import Parameters as Facts
from atoll.plan.flow import Flow, Protocol, Rule, Uses, clear, wrong
from atoll.plan.model import Edge, Operator, Plan

PROTOCOL = Protocol("ecdh-psi/v1", "semi-honest", "ddh-two-party")
FAST = "vole-psi/v1"
MALICIOUS = Protocol(FAST, "malicious", "lpn-two-party")
SEMI_HONEST = Protocol(FAST, "semi-honest", "lpn-two-party")
Variant = Literal["fast", "low-communication"]

# A side is split into buckets of at most so many keys of the larger side; both sides' buckets are padded.
BUCKET_KEYS = 2**20
# Whoever learns first encodes its keys in more slots than it has keys, and could put a key of its choice in each.
EXTRA_KEYS = Facts(percent=135, extra=800)

Columns = Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)]


class Parameters(Document):
    """Receivers learn `reveal`; `keys` names each side's key columns; `duplicates` as in SQL, or refused.

    `variant` stands with `vole-psi/v1`, and only there: `low-communication` sends less and computes more.
    """

    receivers: Annotated[tuple[Key, ...], Field(min_length=1, max_length=2)]
    reveal: Literal["rows", "size"]
    duplicates: Literal["sql", "refuse"]
    keys: Annotated[tuple[Columns, ...], Field(min_length=2, max_length=2)]
    variant: Variant | None = None

    @model_validator(mode="after")
    def _validate(self) -> Parameters:
        require_unique(self.receivers, "receiver")
        if list(self.receivers) != sorted(self.receivers):
            raise ValueError("receivers: keys stand in order")
        return self


def check_alike(op: Operator, left: Flow, right: Flow) -> None:
    """Both sides' keys have the same types, units and normalisation, column by column."""
    for a, b in zip(left.columns, right.columns, strict=True):
        if (a.type, a.scale) != (b.type, b.scale):
            raise wrong(op.id, f"joins {a.name!r} with {b.name!r}, whose types differ", "E_TYPE", a.name)
        if a.unit != b.unit:
            raise wrong(op.id, f"joins {a.name!r} with {b.name!r}, whose units differ", "E_UNIT", a.name)
    if left.keyset is None or right.keyset is None or left.keyset.steps != right.keyset.steps:
        raise wrong(op.id, "joins keys that are normalised differently")


def chosen(op: Operator) -> Protocol:
    """Protocol and security level that the operator names; the checker has seen that the rule has them."""
    return next(p for p in RULE.protocols if (p.id, p.security) == (op.protocol, op.security))


def _variant(op: Operator, parameters: Parameters) -> JoinVariant | None:
    """What grants must name for this choice; `E_PLAN` if protocol, security and variant do not go together."""
    if op.protocol != FAST:
        if parameters.variant is not None:
            raise wrong(op.id, f"names a variant, which {op.protocol} does not have")
        return None
    if parameters.variant is None:
        raise wrong(op.id, f"names no variant of {op.protocol}")
    if parameters.reveal == "size":
        raise wrong(op.id, f"reveals the size alone, which {op.protocol} cannot")
    if parameters.variant == "low-communication":
        # Keys are hashed to few bits there, so a party that cheats could find keys that collide.
        if op.security != "semi-honest":
            raise wrong(op.id, f"claims security {op.security} for the variant low-communication")
        return "low-communication"
    return None if op.security == "malicious" else "semi-honest"


def presented_at_most(facts: Facts, declared: int, peer: int, *, alone: bool) -> int:
    """The most keys that a party could test, by the facts of the `extra_keys` statement about it.

    Args:
        facts: `percent` and `extra` of the statement.
        declared: distinct keys that it declared.
        peer: distinct keys of the other party.
        alone: whether it alone learns; else the side with fewer keys learns first, and the other tests no more than
            it declared. At equal numbers either could be first.
    """
    if not alone and declared > peer:
        return declared
    buckets = max(1, -(-max(declared, peer) // BUCKET_KEYS))
    return -(-declared * (facts.percent or 100) // 100) + (facts.extra or 0) * buckets


def pair(
    op: Operator, keys: tuple[Columns, ...], receivers: tuple[str, ...], sources: tuple[Flow, ...]
) -> tuple[Flow, Flow]:
    """Left and right side of a join, checked: alike keys of two owners, receivers among them."""
    if len(sources) != 2 or any(s.edge.type != "keys" for s in sources):
        raise wrong(op.id, "takes two edges of keys")
    left, right = sources
    if left.owner == right.owner or op.at != (left.owner, right.owner):
        raise wrong(op.id, "stands at the two different owners of its keys, in order")
    if keys != (left.edge.columns, right.edge.columns):
        raise wrong(op.id, "names other key columns than its edges carry")
    if len(left.columns) != len(right.columns):
        raise wrong(op.id, "joins different numbers of key columns")
    check_alike(op, left, right)
    if not set(receivers) <= set(op.at):
        raise wrong(op.id, "has a receiver that is not one of its two parties")
    return left, right


def derive(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> Flow:
    """Membership of own rows, or the size, in clear at the receivers."""
    left, right = pair(op, parameters.keys, parameters.receivers, sources)
    rows = parameters.reveal == "rows"
    edge = Edge(
        type="membership" if rows else "size",
        columns=(),
        rows=None if rows else "1",
        visibility=clear(*parameters.receivers),
    )
    own = {**left.delivers, **right.delivers}
    delivers = {key: own[key] if rows else () for key in parameters.receivers}
    variant = _variant(op, parameters)
    return Flow(edge, left.inputs + right.inputs, variant=variant, delivers=delivers)


def uses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...]) -> Uses:
    """Every key column is a join key."""
    return [(s.inputs[0], c.name, "join_key") for s in sources for c in s.columns]


def discloses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> list[Statement]:
    """Sizes to each other; membership or size to receivers; multiplicities where both learn rows as in SQL; and what
    a party that departs from the protocol could do.
    """
    out = []
    protocol = chosen(op)

    def say(what: Kind, about: Flow | None, to: tuple[str, ...], facts: Facts | None = None) -> None:
        stated = facts or Facts()
        if about is not None:
            stated = stated.model_copy(update={"asset": about.asset, "columns": about.edge.columns})
        out.append(
            Statement(
                subject=about.inputs[0] if about else op.id,
                owner=about.owner if about else None,
                what=what,
                to=tuple(sorted(to)),
                step=op.id,
                security=protocol.security,
                assumption=protocol.assumption,
                parameters=stated,
            )
        )

    rows = parameters.reveal == "rows"
    both_learn = len(parameters.receivers) == 2
    malicious = protocol.security == "malicious"
    for mine, theirs in (sources, sources[::-1]):
        me = mine.owner or ""
        say("size", theirs, (me,))
        if me in parameters.receivers:
            say("membership" if rows else "intersection_size", theirs, (me,))
            if malicious:
                say("extra_keys", theirs, (me,), EXTRA_KEYS)
        if rows and both_learn and parameters.duplicates == "sql":
            say("multiplicity", theirs, (me,))
    say("input_choice" if malicious else "corruptible", None, op.at)
    if malicious and both_learn:
        say("omission", None, op.at)
    return out


RULE = Rule(
    "psi/v1",
    Parameters,
    derive,
    uses,
    discloses,
    function="join",
    protocol=PROTOCOL,
    alternatives=(MALICIOUS, SEMI_HONEST),
)
