"""`group_sum/v1`: a holder adds its own values per public segment, locally and exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field, model_validator

from atoll.crypto.document import Document, Name, Text, WholeNumber, require_unique
from atoll.plan.flow import Flow, Release, Rule, Total, Uses, clear, no_disclosures, only_source, wrong
from atoll.plan.model import Edge, Operator, Plan

MAX_DOMAIN = 10_000
GROUP_TYPES = ("string", "int64", "bool", "date")


class Value(Document):
    """A column to add: its name in the result, its decimal scale, and the range of each value.

    `range` is `[min, max]` in whole units of 10^-scale; a value outside it stops the run at its owner.
    """

    column: Name
    name: Annotated[Name, Field(alias="as")]
    scale: Annotated[int, Field(ge=0, le=38)]
    range: Annotated[tuple[WholeNumber, ...], Field(min_length=2, max_length=2)]

    @model_validator(mode="after")
    def _validate(self) -> Value:
        if int(self.range[0]) > int(self.range[1]):
            raise ValueError("range: min is larger than max")
        if self.name == "count":
            raise ValueError("as: count is the name of the number of rows")
        return self


class Parameters(Document):
    """Group columns and their public domain; value columns; whether rows are counted.

    `domain` lists the segments, each with one code per group column; without group columns it is `[[]]`.
    `subject` is the column whose distinct values are the subjects of the minimum group; null means each row.
    `maximum_rows` bounds the rows of this holder, so that no sum can overflow.
    """

    group: Annotated[tuple[Name, ...], Field(max_length=4)]
    domain: Annotated[
        tuple[Annotated[tuple[Text, ...], Field(max_length=4)], ...],
        Field(min_length=1, max_length=MAX_DOMAIN),
    ]
    values: Annotated[tuple[Value, ...], Field(max_length=64)]
    count: bool
    subject: Name | None
    minimum_group: Annotated[int, Field(ge=1, le=2**31)]
    maximum_rows: Annotated[int, Field(ge=1, le=2**40)]

    @model_validator(mode="after")
    def _validate(self) -> Parameters:
        require_unique(self.group, "group: column")
        require_unique(self.domain, "domain: segment")
        require_unique((v.name for v in self.values), "values: name")
        if any(len(segment) != len(self.group) for segment in self.domain):
            raise ValueError("domain: each segment has one code for each group column")
        if not self.values and not self.count:
            raise ValueError("values: nothing is added and nothing is counted")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of the result, after the group columns."""
        return tuple(v.name for v in self.values) + (("count",) if self.count else ())


def _total(op: Operator, value: Value, source: Flow, rows: int) -> Total:
    column = source.column(value.column, op.id)
    if column.type not in ("int64", "decimal"):
        raise wrong(op.id, f"adds {value.column!r}, which is {column.type}", "E_TYPE", value.column)
    if value.scale != (column.scale or 0):
        raise wrong(
            op.id, f"adds {value.column!r} at another scale than the column's", "E_UNIT", value.column
        )
    magnitude = rows * max(abs(int(bound)) for bound in value.range)
    return Total(value.name, value.scale, column.unit, magnitude, value.column)


def derive(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> Flow:
    """A vector with one cell for each segment and value, in clear at its holder."""
    source = only_source(op, sources)
    for name in parameters.group:
        if source.column(name, op.id).type not in GROUP_TYPES:
            raise wrong(op.id, f"groups by {name!r}, which is no {', '.join(GROUP_TYPES)}", "E_TYPE", name)
    if parameters.subject is not None:
        source.column(parameters.subject, op.id)
    return replace(
        source,
        edge=Edge(
            type="vector",
            columns=parameters.names,
            rows=str(len(parameters.domain)),
            visibility=clear(*op.at),
        ),
        columns=tuple(source.column(name, op.id) for name in parameters.group),
        group=parameters.group,
        domain=parameters.domain,
        totals=tuple(_total(op, value, source, parameters.maximum_rows) for value in parameters.values),
        counted=parameters.count,
        release=Release(parameters.minimum_group, parameters.subject),
    )


def uses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...]) -> Uses:
    """Group columns are group keys; added columns and the subject column are aggregated."""
    (source,) = (s.inputs[0] for s in sources)
    aggregated = [value.column for value in parameters.values]
    if parameters.subject is not None:
        aggregated.append(parameters.subject)
    return [(source, name, "group_key") for name in parameters.group] + [
        (source, name, "aggregate") for name in aggregated
    ]


RULE = Rule("group_sum/v1", Parameters, derive, uses, no_disclosures)
