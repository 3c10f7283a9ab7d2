"""`hidden_totals/v1`: count and sums over the rows that two owners have in common, which nobody learns.

Join and aggregate in one step: what matched stands in shares alone, and only the totals open, if enough keys matched.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from atoll.crypto.document import Document, Key, require_unique
from atoll.disclosure import Kind, Statement
from atoll.disclosure import Parameters as Facts
from atoll.plan.flow import Flow, Protocol, Release, Rule, Uses, clear, wrong
from atoll.plan.model import Edge, InputColumn, Operator, Plan
from atoll.plan.operators.group_sum import Value
from atoll.plan.operators.psi import Columns, pair

PROTOCOL = Protocol("hidden-totals/v1", "semi-honest", "lpn-permutation-two-party")
MAX_SUM = 2**63
MAX_VALUES = 64
MAX_ROWS = 2**25

Values = Annotated[tuple[Value, ...], Field(max_length=MAX_VALUES)]


class Parameters(Document):
    """Who learns; whose keys stand once each, and how often those of the other one may stand; what is added.

    `unique` is the party each of whose keys stands on one row; the other one's stand on `multiplicity` rows at most,
    and its table has `maximum_rows` rows with a key at most, so that no sum can overflow. `values` names each party's
    columns to add, in the order of the parties. Nothing but "too few" opens if fewer than `minimum_group` keys match.
    """

    receivers: Annotated[tuple[Key, ...], Field(min_length=1, max_length=2)]
    unique: Key
    multiplicity: Annotated[int, Field(ge=1, le=1000)]
    maximum_rows: Annotated[int, Field(ge=1, le=MAX_ROWS)]
    minimum_group: Annotated[int, Field(ge=1, le=2**31)]
    keys: Annotated[tuple[Columns, ...], Field(min_length=2, max_length=2)]
    values: Annotated[tuple[Values, ...], Field(min_length=2, max_length=2)]

    @model_validator(mode="after")
    def _validate(self) -> Parameters:
        require_unique(self.receivers, "receiver")
        if list(self.receivers) != sorted(self.receivers):
            raise ValueError("receivers: keys stand in order")
        require_unique((v.name for side in self.values for v in side), "values: name")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the result."""
        names = [v.name for side in self.values for v in side]
        sums = [f"{what}_{name}" for name in names for what in ("sum", "mean")]
        return ("enough", "matched_keys", "matched_rows", *sums)


def _check_value(op: Operator, value: Value, source: Flow, plan: Plan, rows: int) -> None:
    """The column is a number of the stated scale that its owner reads, and no sum of it can overflow."""
    columns: dict[str, InputColumn] = {c.name: c for c in plan.input(source.inputs[0]).columns}
    column = columns.get(value.column)
    if column is None or value.column not in source.delivers.get(source.owner or "", ()):
        raise wrong(op.id, f"adds a column {value.column!r} that its owner does not read")
    if column.type not in ("int64", "decimal"):
        raise wrong(op.id, f"adds {value.column!r}, which is {column.type}", "E_TYPE", value.column)
    if value.scale != (column.scale or 0):
        raise wrong(
            op.id, f"adds {value.column!r} at another scale than the column's", "E_UNIT", value.column
        )
    if rows * max(abs(int(bound)) for bound in value.range) >= MAX_SUM:
        raise wrong(
            op.id,
            f"could overflow in {value.column!r}: {rows} rows of its declared range are more than 2^63; declare a "
            "narrower range in the agreement, or fewer maximum_rows",
            "E_RANGE",
            value.column,
        )


def derive(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> Flow:
    """One row of totals, in clear at the receivers."""
    left, right = pair(op, parameters.keys, parameters.receivers, sources)
    if parameters.unique not in op.at:
        raise wrong(op.id, "names a party with unique keys that is not one of its two parties")
    for source, values in zip(sources, parameters.values, strict=True):
        for value in values:
            _check_value(op, value, source, plan, parameters.maximum_rows)
    edge = Edge(type="vector", columns=parameters.columns, rows="1", visibility=clear(*parameters.receivers))
    return Flow(
        edge,
        left.inputs + right.inputs,
        # A subject is a key.
        release=Release(parameters.minimum_group, left.edge.columns[0]),
        delivers=dict.fromkeys(parameters.receivers, parameters.columns),
    )


def uses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...]) -> Uses:
    """Key columns are join keys, values are aggregated."""
    found = [(s.inputs[0], c.name, "join_key") for s in sources for c in s.columns]
    for source, values in zip(sources, parameters.values, strict=True):
        found += [(source.inputs[0], value.column, "aggregate") for value in values]
    return found


def told_bits(values: Values, rows: int) -> int:
    """Bits that sums of so many rows at most can hold: what values chosen for it could tell about which rows match."""
    return sum((rows * (int(v.range[1]) - int(v.range[0]))).bit_length() for v in values)


def discloses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> list[Statement]:
    """Sizes to each other; count and sums to receivers, if enough keys match; whether they do to both."""
    out = []
    group = parameters.minimum_group

    def say(what: Kind, about: Flow | None, to: tuple[str, ...], facts: Facts) -> None:
        out.append(
            Statement(
                subject=about.inputs[0] if about else op.id,
                owner=about.owner if about else None,
                what=what,
                to=to,
                step=op.id,
                security=PROTOCOL.security,
                assumption=PROTOCOL.assumption,
                parameters=facts,
            )
        )

    added = [tuple(value.column for value in values) for values in parameters.values]
    bits = [told_bits(values, parameters.maximum_rows) for values in parameters.values]
    sides = list(zip(sources, added, bits, strict=True))
    for (mine, own, own_bits), (theirs, others, _) in (sides, sides[::-1]):
        me = (mine.owner or "",)
        keys = Facts(asset=theirs.asset, columns=theirs.edge.columns)
        protected = keys.model_copy(update={"minimum_group": group})
        say("size", theirs, me, keys)
        say("too_few_matched", theirs, me, protected)
        if me[0] in parameters.receivers:
            say("matched_count", theirs, me, protected)
            if others:
                say("matched_sum", theirs, me, protected.model_copy(update={"columns": others}))
            if own:
                told = {"columns": own, "maximum_bits": max(own_bits, 1)}
                say("own_matched_sum", theirs, me, protected.model_copy(update=told))
    say("guessing", None, tuple(sorted(op.at)), Facts(minimum_group=group))
    say("corruptible", None, tuple(sorted(op.at)), Facts())
    return out


RULE = Rule(
    "hidden_totals/v1", Parameters, derive, uses, discloses, function="join_totals", protocol=PROTOCOL
)
