"""`lookup_totals/v1`: a standing service in which the asker reads, for one key, the sums over the tables of N holders.

No holder learns which key, nor whether it has it. The asker learns the totals of keys that it asks for, one call a key,
and not which of the holders has the key. Without all of them nothing opens.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from atoll.agreements.terms import ConsentMode
from atoll.crypto.document import Document, Identifier, Key, require_unique
from atoll.disclosure import Kind, Statement
from atoll.disclosure import Parameters as Facts
from atoll.plan.flow import Flow, Protocol, Rule, Uses, clear, wrong
from atoll.plan.model import Edge, InputColumn, Operator, Plan
from atoll.plan.operators.group_sum import Value
from atoll.plan.operators.psi import Columns, check_alike

PROTOCOL = Protocol("lookup-totals/v1", "semi-honest", "lpn-permutation-star")
MIN_HOLDERS, MAX_HOLDERS = 2, 20
MAX_WORDS = 16
MAX_SUM = 2**63
MOST_KEYS = 1000
ROWS, HOLDERS = "rows", "holders"
"""Columns of the result: on how many rows the key stands in all tables together, and in how many tables."""

Values = Annotated[tuple[Value, ...], Field(max_length=MAX_WORDS)]


class Parameters(Document):
    """The lookup's `name` at the asker; its `holders` in order of key, with their key columns and columns to add.

    `rows`: most rows of a key in one table; `count_rows`, `count_holders`: whether the totals say on how many rows, and
    in how many tables, the key stands. `maximum_keys` in one request of the asker, `maximum_bytes` of it. A receipt
    for at most `block_calls` keys and `block_seconds`.
    """

    name: Identifier
    holders: Annotated[tuple[Key, ...], Field(min_length=MIN_HOLDERS, max_length=MAX_HOLDERS)]
    keys: Annotated[tuple[Columns, ...], Field(min_length=MIN_HOLDERS, max_length=MAX_HOLDERS)]
    values: Annotated[tuple[Values, ...], Field(min_length=MIN_HOLDERS, max_length=MAX_HOLDERS)]
    rows: Annotated[int, Field(ge=1, le=1_000_000)]
    count_rows: bool
    count_holders: bool
    maximum_keys: Annotated[int, Field(ge=1, le=MOST_KEYS)]
    maximum_bytes: Annotated[int, Field(ge=1, le=1 << 24)]
    block_calls: Annotated[int, Field(ge=1, le=1_000_000)]
    block_seconds: Annotated[int, Field(ge=1, le=31 * 86400)]
    consent: ConsentMode

    @model_validator(mode="after")
    def _validate(self) -> Parameters:
        require_unique(self.holders, "holder")
        if list(self.holders) != sorted(self.holders):
            raise ValueError("holders: keys stand in order")
        if not len(self.holders) == len(self.keys) == len(self.values):
            raise ValueError("keys, values: one entry for each holder")
        first = [(value.name, value.scale) for value in self.values[0]]
        for values in self.values[1:]:
            if [(value.name, value.scale) for value in values] != first:
                raise ValueError("values: all holders add the same names, at the same scales")
        require_unique(self.columns, "values: name")
        if not 1 <= len(self.columns) <= MAX_WORDS:
            raise ValueError(f"values: a total has 1 to {MAX_WORDS} numbers")
        if self.block_calls < self.maximum_keys:
            raise ValueError("block_calls: one request's keys go into one block")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the result."""
        counted = [(ROWS, self.count_rows), (HOLDERS, self.count_holders)]
        return (*(value.name for value in self.values[0]), *(name for name, wanted in counted if wanted))


def _check_value(op: Operator, value: Value, source: Flow, plan: Plan) -> InputColumn:
    """The column is a number of the stated scale that its holder reads."""
    columns: dict[str, InputColumn] = {c.name: c for c in plan.input(source.inputs[0]).columns}
    column = columns.get(value.column)
    if column is None or value.column not in source.delivers.get(source.owner or "", ()):
        raise wrong(op.id, f"adds a column {value.column!r} that its holder does not read")
    if column.type not in ("int64", "decimal"):
        raise wrong(op.id, f"adds {value.column!r}, which is {column.type}", "E_TYPE", value.column)
    if value.scale != (column.scale or 0):
        raise wrong(
            op.id, f"adds {value.column!r} at another scale than the column's", "E_UNIT", value.column
        )
    return column


def _check_values(
    op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan, rows: int
) -> None:
    """Alike in all tables, and no total can leave 64 bits."""
    for together in zip(*parameters.values, strict=True):
        units = set()
        largest = 0
        for value, source in zip(together, sources, strict=True):
            units.add(_check_value(op, value, source, plan).unit)
            largest += rows * max(abs(int(bound)) for bound in value.range)
        first = together[0]
        if len(units) > 1:
            raise wrong(op.id, f"adds {first.name!r} in unlike units", "E_UNIT", first.column)
        if largest >= MAX_SUM:
            raise wrong(
                op.id,
                f"could overflow in {first.name!r}: {rows} rows of its declared range in each table are more than "
                "2^63; declare a narrower range in the agreement, or fewer rows",
                "E_RANGE",
                first.column,
            )


def derive(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> Flow:
    """Totals, in clear at the asker alone."""
    if any(s.edge.type != "keys" for s in sources):
        raise wrong(op.id, "takes edges of keys")
    if tuple(s.owner for s in sources) != parameters.holders:
        raise wrong(op.id, "takes exactly the keys of each holder, in order")
    if plan.asker in parameters.holders or op.at != tuple(sorted({plan.asker, *parameters.holders})):
        raise wrong(op.id, "stands at the asker and its holders, who are others, in order")
    if parameters.keys != tuple(s.edge.columns for s in sources):
        raise wrong(op.id, "names other key columns than its edges carry")
    for other in sources[1:]:
        if len(other.columns) != len(sources[0].columns):
            raise wrong(op.id, "has different numbers of key columns")
        check_alike(op, sources[0], other)
    _check_values(op, parameters, sources, plan, parameters.rows)
    columns = parameters.columns
    edge = Edge(type="table", columns=columns, rows=None, visibility=clear(plan.asker))
    return Flow(
        edge,
        tuple(name for s in sources for name in s.inputs),
        block_calls=parameters.block_calls,
        consent=parameters.consent,
        delivers={plan.asker: columns},
    )


def uses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...]) -> Uses:
    """Keys find rows, values are aggregated."""
    found = []
    for source, keys, values in zip(sources, parameters.keys, parameters.values, strict=True):
        found += [(source.inputs[0], key, "lookup_key") for key in keys]
        found += [(source.inputs[0], value.column, "aggregate") for value in values]
    return found


def discloses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> list[Statement]:
    """To the asker totals and sealed tables; to holders calls and presented authorisations; what collusion gives."""
    out = []
    count, asker = len(parameters.holders), plan.asker

    def say(what: Kind, source: Flow | None, to: tuple[str, ...], facts: Facts) -> None:
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

    first = parameters.keys[0]
    for source, keys in zip(sources, parameters.keys, strict=True):
        facts = Facts(asset=source.asset, columns=parameters.columns, by=first, parties=count)
        say("key_totals", source, (asker,), facts)
        say("sealed_cells", source, (asker,), Facts(asset=source.asset, columns=keys))

    def call(what: Kind, facts: Facts) -> None:
        out.append(
            Statement(
                subject=op.id,
                owner=asker,
                what=what,
                to=parameters.holders,
                step=op.id,
                security=PROTOCOL.security,
                assumption=PROTOCOL.assumption,
                parameters=facts,
            )
        )

    call("call", Facts(maximum_bytes=parameters.maximum_bytes))
    if parameters.consent == "presented":
        call("authorisation", Facts())
    say("collusion", None, (asker,), Facts(parties=count))
    say("corruptible", None, op.at, Facts())
    return out


RULE = Rule(
    "lookup_totals/v1", Parameters, derive, uses, discloses, function="query_totals", protocol=PROTOCOL
)
