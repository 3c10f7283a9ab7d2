"""`total/v1`: sums over shared rows that matched, which stay shared. Nothing opens."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field, model_validator

from atoll.crypto.document import Document, Name, require_unique
from atoll.disclosure import Statement
from atoll.plan.flow import Flow, Rule, no_uses, only_shared, wrong
from atoll.plan.model import Edge, Operator, Plan
from atoll.plan.operators.calculate import PROTOCOL, corruptible
from atoll.plan.operators.hidden_join import KEYS, ROWS
from atoll.plan.shared import MOST_UNITS, SharedColumn

MAX_SUMS = 256


class Parameters(Document):
    """The columns to add. The numbers of keys and rows that matched stand before them always."""

    sums: Annotated[tuple[Name, ...], Field(max_length=MAX_SUMS)]

    @model_validator(mode="after")
    def _validate(self) -> Parameters:
        require_unique((KEYS, ROWS, *self.sums), "sums: column")
        return self


def _total(op: Operator, column: SharedColumn, rows: int) -> SharedColumn:
    total = column.times(rows)
    if total.largest > MOST_UNITS:
        name = next((origin.column for origin in column.origins), None)
        raise wrong(
            op.id,
            f"could overflow in {column.name!r}: {rows} rows of its declared range are more than 2^120 units; declare "
            "a narrower range in the agreement, or fewer maximum_rows",
            "E_RANGE",
            name,
        )
    return total


def derive(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> Flow:
    """One row of totals, shared as before."""
    source = only_shared(op, sources, rows=True)
    known = {column.name: column for column in source.shared}
    names = (KEYS, ROWS, *parameters.sums)
    missing = [name for name in names if name not in known]
    if missing:
        raise wrong(op.id, f"adds a column {missing[0]!r} that is not there")
    rows = source.most_rows or 0
    edge = Edge(type="shares", columns=names, rows="1", visibility=source.edge.visibility)
    totals = tuple(_total(op, known[name], rows) for name in names)
    return replace(source, edge=edge, shared=totals, most_rows=None)


def discloses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> list[Statement]:
    """Nothing to those who follow the protocol."""
    return [corruptible(op)]


RULE = Rule("total/v1", Parameters, derive, no_uses, discloses, function="join_statistics", protocol=PROTOCOL)
