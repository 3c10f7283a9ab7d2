"""`visit/v1`: a standing service in which a package of the asker runs at the host on the rows of each call's subject.

Only declared outcomes leave. How many bits that can be follows from the outputs that stand here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, model_validator

from atoll.agreements.terms import ConsentMode
from atoll.crypto.document import Digest, Document, Identifier, Name, require_unique
from atoll.disclosure import Kind, Statement
from atoll.disclosure import Parameters as Facts
from atoll.plan.flow import Flow, Protocol, Rule, Uses, clear, wrong
from atoll.plan.model import Edge, Operator, Plan
from atoll.scripts.manifest import Output, Symbol
from atoll.scripts.outputs import TIMING_MILLIBITS, count, millibits

PROTOCOL = Protocol("visiting-script/v1", "semi-honest", "transport")


class Parameters(Document):
    """What runs, by whose consent, and what may leave; see docs/reference/operators.md."""

    package: Digest
    deployment: Digest
    name: Identifier
    version: Name
    keys: Annotated[dict[Identifier, Name], Field(min_length=1, max_length=16)]
    outputs: Annotated[dict[Symbol, Output], Field(min_length=1, max_length=16)]
    reasons: Annotated[tuple[Symbol, ...], Field(max_length=64)]
    maximum_reasons: Annotated[int, Field(ge=0, le=8)]
    depends: Annotated[
        dict[Symbol, Annotated[tuple[Identifier, ...], Field(max_length=16)]], Field(max_length=17)
    ]
    holds: bool
    arguments: Annotated[tuple[Symbol, ...], Field(max_length=32)]
    maximum_bytes: Annotated[int, Field(ge=1, le=1 << 23)]
    block_calls: Annotated[int, Field(ge=1, le=1_000_000)]
    block_seconds: Annotated[int, Field(ge=1, le=31 * 86400)]
    consent: ConsentMode

    @model_validator(mode="after")
    def _validate(self) -> Parameters:
        require_unique(self.reasons, "reasons: ")
        if (self.maximum_reasons > 0) != bool(self.reasons) or self.maximum_reasons > len(self.reasons):
            raise ValueError("maximum_reasons: from 1 to the number of reasons, or 0 without any")
        if self.depends.keys() != set(self.names):
            raise ValueError("depends: one entry for each output, and for reasons where there are any")
        unknown = {name for names in self.depends.values() for name in names} - self.keys.keys()
        if unknown:
            raise ValueError(f"depends: {sorted(unknown)[0]} is no input of the package")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """What an answer holds."""
        return (*self.outputs, *(("reasons",) if self.reasons else ()))

    @property
    def millibits(self) -> int:
        """Most millibits that leave with one call, timing included."""
        answers = count(self.outputs.values(), len(self.reasons), self.maximum_reasons)
        # An answer that was held and then denied is one more.
        return millibits(answers + self.holds) + TIMING_MILLIBITS


def derive(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> Flow:
    """Outcomes, in clear at asker and host."""
    hosts = {source.owner for source in sources}
    if len(hosts) != 1 or any(s.raw or s.edge.type != "table" or s.asset is None for s in sources):
        raise wrong(op.id, "takes tables of one host that were read")
    (host,) = hosts
    if host is None or host == plan.asker or op.at != (plan.asker, host):
        raise wrong(op.id, "stands at the asker and another party, the host, in order")
    if parameters.keys.keys() != {s.inputs[0] for s in sources}:
        raise wrong(op.id, "names a key column for other inputs than it takes")
    for source in sources:
        column = source.column(parameters.keys[source.inputs[0]], op.id)
        if column.type not in ("string", "int64"):
            raise wrong(
                op.id, f"looks rows up by {column.name!r}, which is {column.type}", "E_TYPE", column.name
            )
    edge = Edge(type="table", columns=parameters.names, rows=None, visibility=clear(*op.at))
    return Flow(
        edge,
        tuple(s.inputs[0] for s in sources),
        block_calls=parameters.block_calls,
        consent=parameters.consent,
        delivers={plan.asker: parameters.names},
    )


def uses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...]) -> Uses:
    """Key columns find the subject's rows; every column, the key included, goes into the script."""
    found: Uses = []
    for source in sources:
        name = source.inputs[0]
        found.append((name, parameters.keys[name], "lookup_key"))
        found += [(name, column.name, "script_input") for column in source.columns]
    return found


def discloses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> list[Statement]:
    """The asker learns the outcomes that depend on a table, the host the call, its subject and its arguments."""
    asker, host = op.at
    bits = -(-parameters.millibits // 1000)

    def say(what: Kind, subject: str, owner: str | None, to: Iterable[str], facts: Facts) -> Statement:
        return Statement(
            subject=subject,
            owner=owner,
            what=what,
            to=tuple(sorted(to)),
            step=op.id,
            security=PROTOCOL.security,
            assumption=PROTOCOL.assumption,
            parameters=facts,
        )

    out = []
    for source in sources:
        name = source.inputs[0]
        columns = tuple(o for o in parameters.names if name in parameters.depends[o])
        if columns:
            facts = Facts(asset=source.asset, columns=columns, maximum_bits=bits)
            out.append(say("outcome", name, host, (asker,), facts))
    request = ("subject", *parameters.arguments)
    out.append(say("call", op.id, asker, (host,), Facts(maximum_bytes=parameters.maximum_bytes)))
    out.append(say("value", op.id, asker, (host,), Facts(columns=request)))
    if parameters.consent == "presented":
        out.append(say("authorisation", op.id, asker, (host,), Facts()))
    return [*out, say("corruptible", op.id, None, op.at, Facts())]


RULE = Rule("visit/v1", Parameters, derive, uses, discloses, function="script", protocol=PROTOCOL)
