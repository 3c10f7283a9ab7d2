"""`normalise/v1`: the owner brings its key columns into the declared form, locally, and makes keys of
them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from atoll.crypto.document import Document, Name, require_unique
from atoll.plan.flow import Flow, KeySet, Rule, clear, no_disclosures, no_uses, only_source, wrong
from atoll.plan.model import Edge, Operator, Plan

Step = Literal["trim", "lower", "upper", "width", "digits", "phone_cn", "id_cn"]
STEPS: tuple[Step, ...] = get_args(Step)


class KeyColumn(Document):
    """A key column and the steps it goes through, in order; only strings have steps."""

    name: Name
    steps: Annotated[tuple[Step, ...], Field(max_length=len(STEPS))]

    @model_validator(mode="after")
    def _validate(self) -> KeyColumn:
        require_unique(self.steps, "step")
        return self


class Parameters(Document):
    """The key columns, in order."""

    columns: Annotated[tuple[KeyColumn, ...], Field(min_length=1, max_length=16)]

    @model_validator(mode="after")
    def _validate(self) -> Parameters:
        require_unique((c.name for c in self.columns), "column")
        return self


def derive(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> Flow:
    """Keys in clear at their owner."""
    source = only_source(op, sources)
    columns = []
    for key in parameters.columns:
        column = source.column(key.name, op.id)
        if column.type == "float64":
            raise wrong(op.id, f"makes a key of {key.name!r}, which is float64", "E_TYPE", key.name)
        if key.steps and column.type != "string":
            raise wrong(op.id, f"normalises {key.name!r}, which is {column.type}", "E_TYPE", key.name)
        columns.append(column)
    names = tuple(c.name for c in columns)
    return replace(
        source,
        edge=Edge(type="keys", columns=names, rows=None, visibility=clear(*op.at)),
        columns=tuple(columns),
        keyset=KeySet(names, tuple(key.steps for key in parameters.columns)),
        # The owner may have any column that it read delivered beside its own matched rows.
        delivers={op.at[0]: source.edge.columns},
    )


RULE = Rule("normalise/v1", Parameters, derive, no_uses, no_disclosures)
