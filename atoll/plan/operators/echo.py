"""`echo/v1`: a standing service that sends each request back. It shows the shape of services, and reads no
data.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from atoll.agreements.terms import ConsentMode
from atoll.crypto.document import Document
from atoll.disclosure import Kind, Statement
from atoll.disclosure import Parameters as Facts
from atoll.plan.flow import Flow, Protocol, Rule, clear, no_uses, wrong
from atoll.plan.model import Edge, Operator, Plan

PROTOCOL = Protocol("echo/v1", "semi-honest", "transport")


class Parameters(Document):
    """Most bytes in a request; a receipt for at most so many calls and seconds; how consent is shown, and
    whether the asker declares its hits: calls whose answer was not empty.
    """

    maximum_bytes: Annotated[int, Field(ge=1, le=1 << 20)]
    block_calls: Annotated[int, Field(ge=1, le=1_000_000)]
    block_seconds: Annotated[int, Field(ge=1, le=31 * 86400)]
    consent: ConsentMode
    declare_hits: bool


def derive(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> Flow:
    """The same bytes, in clear at asker and host."""
    if len(sources) != 1 or not sources[0].raw or sources[0].asset_type != "service" or sources[0].columns:
        raise wrong(op.id, "takes one service without columns")
    host = sources[0].owner
    if host == plan.asker or op.at != (plan.asker, host):
        raise wrong(op.id, "stands at the asker and another party, the host, in order")
    edge = Edge(type="bytes", columns=(), rows=None, visibility=clear(*op.at))
    return Flow(
        edge,
        sources[0].inputs,
        block_calls=parameters.block_calls,
        consent=parameters.consent,
        declares_hits=parameters.declare_hits,
        delivers={plan.asker: ()},
    )


def discloses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> list[Statement]:
    """The host sees that a call is made, its bytes, an authorisation that is presented, and declared hits."""

    def say(what: Kind, owner: str | None, to: tuple[str, ...], facts: Facts) -> Statement:
        return Statement(
            subject=op.id,
            owner=owner,
            what=what,
            to=tuple(sorted(to)),
            step=op.id,
            security=PROTOCOL.security,
            assumption=PROTOCOL.assumption,
            parameters=facts,
        )

    host = op.at[1]
    limit = parameters.maximum_bytes
    out = [
        say("call", plan.asker, (host,), Facts(maximum_bytes=limit)),
        say("value", plan.asker, (host,), Facts(columns=("request",), maximum_bytes=limit)),
    ]
    if parameters.consent == "presented":
        out.append(say("authorisation", plan.asker, (host,), Facts()))
    if parameters.declare_hits:
        out.append(say("hits", plan.asker, (host,), Facts()))
    return [*out, say("corruptible", None, op.at, Facts())]


RULE = Rule("echo/v1", Parameters, derive, no_uses, discloses, function="echo", protocol=PROTOCOL)
