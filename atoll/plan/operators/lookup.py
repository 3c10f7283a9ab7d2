"""`lookup/v1`: a standing service in which the asker reads records of the host's table by their keys.

The host does not learn which keys. The asker learns the named columns of the rows that have a key that it asks for, one
call a key, and may fetch the rest of the table sealed. Its protocol says whether it takes a hint of the table first.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from atoll.agreements.terms import ConsentMode
from atoll.crypto.document import Document, Identifier, Name, require_unique
from atoll.disclosure import Kind, Statement
from atoll.disclosure import Parameters as Facts
from atoll.plan.flow import Flow, Protocol, Rule, Uses, clear, wrong
from atoll.plan.model import Edge, Operator, Plan

PROTOCOL = Protocol("sealed-lookup/v1", "semi-honest", "lwe-gap-dh-two-party")
ONE_SHOT = Protocol("sealed-lookup-one-shot/v1", "semi-honest", "rlwe-gap-dh-two-party")
"""Without a hint: for few keys, of which each takes more of the host's time."""
MOST_KEYS = 10_000
MOST_ONE_SHOT_KEYS = 64
"""Most keys in a request without a hint."""
DECLARED_CALLS, DECLARED_SECONDS = 100, 86_400
"""Least block whose hits may be declared."""


class Parameters(Document):
    """The lookup's `name` at the asker, the key columns and the columns that are read.

    `rows`: most rows of a key. `record_bytes`: room for them, padded. `maximum_keys` in one request of the asker,
    `maximum_bytes` of it. A receipt for at most `block_calls` keys and `block_seconds`. `declare_hits`: whether the
    asker declares, block by block, how many of its keys had a record; such blocks may last a day at least.
    """

    name: Identifier
    keys: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)]
    values: Annotated[tuple[Name, ...], Field(min_length=1, max_length=256)]
    rows: Annotated[int, Field(ge=1, le=64)]
    record_bytes: Annotated[int, Field(ge=8, le=4096)]
    maximum_keys: Annotated[int, Field(ge=1, le=MOST_KEYS)]
    maximum_bytes: Annotated[int, Field(ge=1, le=1 << 24)]
    block_calls: Annotated[int, Field(ge=1, le=1_000_000)]
    block_seconds: Annotated[int, Field(ge=1, le=31 * 86400)]
    consent: ConsentMode
    declare_hits: bool

    @model_validator(mode="after")
    def _validate(self) -> Parameters:
        require_unique(self.values, "values: ")
        if self.block_calls < self.maximum_keys:
            raise ValueError("block_calls: one request's keys go into one block")
        if self.declare_hits and (self.block_seconds < DECLARED_SECONDS or self.block_calls < DECLARED_CALLS):
            raise ValueError(
                f"declare_hits: blocks of {DECLARED_CALLS} calls and {DECLARED_SECONDS} seconds at least; shorter ones "
                "would tell of single keys"
            )
        return self


def chosen(op: Operator) -> Protocol:
    """The protocol that the operator names; the checker has seen that the rule has it."""
    return next(protocol for protocol in RULE.protocols if protocol.id == op.protocol)


def derive(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> Flow:
    """Records, in clear at the asker alone."""
    if len(sources) != 1 or sources[0].edge.type != "keys":
        raise wrong(op.id, "takes the keys of one table")
    (source,) = sources
    host = source.owner
    if host is None or host == plan.asker or op.at != (plan.asker, host):
        raise wrong(op.id, "stands at the asker and another party, the host, in order")
    if op.protocol == ONE_SHOT.id and parameters.maximum_keys > MOST_ONE_SHOT_KEYS:
        raise wrong(op.id, f"has more than {MOST_ONE_SHOT_KEYS} keys in a request without a hint")
    if parameters.keys != source.edge.columns:
        raise wrong(op.id, "names other key columns than it takes")
    unread = sorted(set(parameters.values) - set(source.delivers[host]))
    if unread:
        raise wrong(op.id, f"gives a column {unread[0]!r} that its table was not read with", column=unread[0])
    edge = Edge(type="table", columns=parameters.values, rows=None, visibility=clear(plan.asker))
    return Flow(
        edge,
        source.inputs,
        block_calls=parameters.block_calls,
        consent=parameters.consent,
        declares_hits=parameters.declare_hits,
        delivers={plan.asker: parameters.values},
    )


def uses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...]) -> Uses:
    """Keys find rows, the other columns are read."""
    name = sources[0].inputs[0]
    found = [(name, key, "lookup_key") for key in parameters.keys]
    return found + [(name, value, "lookup_value") for value in parameters.values]


def discloses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> list[Statement]:
    """To the asker records and the sealed table; to the host calls, presented authorisations, and declared hits."""
    asker, host = op.at
    (source,) = sources
    protocol = chosen(op)

    def say(what: Kind, subject: str, owner: str | None, to: tuple[str, ...], facts: Facts) -> Statement:
        return Statement(
            subject=subject,
            owner=owner,
            what=what,
            to=tuple(sorted(to)),
            step=op.id,
            security=protocol.security,
            assumption=protocol.assumption,
            parameters=facts,
        )

    name = source.inputs[0]
    asset, keys = source.asset, parameters.keys
    out = [
        say("record", name, host, (asker,), Facts(asset=asset, columns=parameters.values, by=keys)),
        say("sealed_table", name, host, (asker,), Facts(asset=asset, columns=keys)),
        say("call", op.id, asker, (host,), Facts(maximum_bytes=parameters.maximum_bytes)),
    ]
    if parameters.consent == "presented":
        out.append(say("authorisation", op.id, asker, (host,), Facts()))
    if parameters.declare_hits:
        out.append(say("hits", op.id, asker, (host,), Facts()))
    return [*out, say("corruptible", op.id, None, op.at, Facts())]


RULE = Rule(
    "lookup/v1",
    Parameters,
    derive,
    uses,
    discloses,
    function="query",
    protocol=PROTOCOL,
    alternatives=(ONE_SHOT,),
)
