"""`hidden_join/v1`: the rows that two owners have in common, as columns that both hold in shares and neither sees.

Each owner works out from its own row what it brings, in clear and at home: a number, a square, a product, whether it
lies in a range or has one of some codes. Where nothing matches, everything is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from atoll.agreements.terms import Use
from atoll.crypto.document import Document, Key, Name, Text, WholeNumber, require_unique
from atoll.disclosure import Kind, Statement
from atoll.disclosure import Parameters as Facts
from atoll.plan.flow import Flow, Protocol, Rule, Side, Uses, among, wrong
from atoll.plan.model import Edge, InputColumn, Operator, Plan
from atoll.plan.operators.psi import Columns, pair
from atoll.plan.shared import MOST_BROUGHT, Cell, Origin, SharedColumn

PROTOCOL = Protocol("circuit-psi/v1", "semi-honest", "lpn-permutation-two-party")
MAX_BROUGHT = 128
MAX_ROWS = 2**25
KEYS, ROWS = "matched_keys", "matched_rows"
"""Columns that every such edge has: one for each key, and for each row, that matched."""
CODE_TYPES = ("string", "int64", "bool", "date")

Form = Literal["value", "square", "product", "range", "codes"]
_FORMS: Final[dict[Form, tuple[int, Kind, Use]]] = {
    "value": (1, "matched_sum", "aggregate"),
    "square": (1, "matched_moments", "aggregate"),
    "product": (2, "matched_moments", "aggregate"),
    "range": (1, "matched_histogram", "group_key"),
    "codes": (1, "matched_histogram", "group_key"),
}


class Brought(Document):
    """What an owner brings of each of its rows.

    `form`: the `value` of a column, its `square`, the `product` of two, one or zero for a `range` (at least `low` and
    below `high`, in units; null for no end), or for one of some `codes`, or with `other` for none of them. `ranges` are
    `[min, max]` of each column in units of 10^-scale; a value outside stops the run at its owner. `scales` are those of
    the columns. Both are left empty for codes.
    """

    name: Annotated[Name, Field(alias="as")]
    form: Form
    columns: Annotated[tuple[Name, ...], Field(min_length=1, max_length=2)]
    scales: Annotated[tuple[Annotated[int, Field(ge=0, le=38)], ...], Field(max_length=2)]
    ranges: Annotated[
        tuple[Annotated[tuple[WholeNumber, ...], Field(min_length=2, max_length=2)], ...],
        Field(max_length=2),
    ]
    low: WholeNumber | None = None
    high: WholeNumber | None = None
    codes: Annotated[tuple[Text, ...], Field(max_length=MAX_BROUGHT)] = ()
    other: bool = False

    @model_validator(mode="after")
    def _validate(self) -> Brought:
        count = _FORMS[self.form][0]
        numbers = 0 if self.form == "codes" else count
        if len(self.columns) != count or len(self.scales) != numbers or len(self.ranges) != numbers:
            raise ValueError(f"columns, scales, ranges: {self.form} takes {count} columns")
        if any(int(low) > int(high) for low, high in self.ranges):
            raise ValueError("ranges: min is larger than max")
        if self.form != "range" and (self.low is not None or self.high is not None):
            raise ValueError("low, high: only a range has ends")
        if (self.form == "codes") != bool(self.codes) or (self.other and not self.codes):
            raise ValueError("codes, other: stand with the form codes, and only there")
        require_unique(self.codes, "codes: code")
        if self.low is not None and self.high is not None and int(self.low) >= int(self.high):
            raise ValueError("low, high: a range ends above its beginning")
        return self

    def document(self) -> dict[str, Any]:
        """Without what only another form has."""
        absent = [name for name in ("low", "high", "codes", "other") if not getattr(self, name)]
        return {name: value for name, value in super().document().items() if name not in absent}

    @property
    def scale(self) -> int:
        """Digits after the point of what is brought."""
        return {"value": sum(self.scales), "square": 2 * sum(self.scales), "product": sum(self.scales)}.get(
            self.form, 0
        )

    @property
    def bounds(self) -> tuple[int, int]:
        """Least and largest number of units."""
        ranges = [(int(low), int(high)) for low, high in self.ranges]
        if self.form == "value":
            return ranges[0]
        if self.form == "square":
            (low, high) = ranges[0]
            least = 0 if low <= 0 <= high else min(low * low, high * high)
            return least, max(low * low, high * high)
        if self.form == "product":
            corners = [a * b for a in ranges[0] for b in ranges[1]]
            return min(corners), max(corners)
        return 0, 1


class Parameters(Document):
    """Whose keys stand once each, and how often those of the other one may stand; what each of the two brings.

    `unique` is the party each of whose keys stands on one row; the other one's stand on `multiplicity` rows at most,
    and its table has `maximum_rows` rows with a key at most, so that no sum can overflow. `brings` is in the order of
    the parties.
    """

    unique: Key
    multiplicity: Annotated[int, Field(ge=1, le=1000)]
    maximum_rows: Annotated[int, Field(ge=1, le=MAX_ROWS)]
    keys: Annotated[tuple[Columns, ...], Field(min_length=2, max_length=2)]
    brings: Annotated[
        tuple[Annotated[tuple[Brought, ...], Field(max_length=MAX_BROUGHT)], ...],
        Field(min_length=2, max_length=2),
    ]

    @model_validator(mode="after")
    def _validate(self) -> Parameters:
        require_unique((KEYS, ROWS, *(b.name for side in self.brings for b in side)), "brings: name")
        return self


def _column(op: Operator, source: Flow, plan: Plan, name: str) -> InputColumn:
    """A column that its owner reads."""
    columns = {c.name: c for c in plan.input(source.inputs[0]).columns}
    if name not in columns or name not in source.delivers.get(source.owner or "", ()):
        raise wrong(op.id, f"brings a column {name!r} that its owner does not read")
    return columns[name]


def shared_column(
    brought: Brought, input: str = "", origins: frozenset[Origin] = frozenset()
) -> SharedColumn:
    """What is brought, or zero where nothing matched; ranges and codes come in as numbers, 0 or 1."""
    low, high = brought.bounds
    cell = None
    if brought.form == "range":
        least, most = (None if end is None else int(end) for end in (brought.low, brought.high))
        cell = Cell(input, brought.columns[0], least, most)
    elif brought.form == "codes":
        cell = Cell(input, brought.columns[0], codes=brought.codes, other=brought.other)
    return SharedColumn(brought.name, brought.scale, min(low, 0), max(high, 0), origins, cell)


def _brought(op: Operator, brought: Brought, source: Flow, plan: Plan) -> SharedColumn:
    """What is brought as a shared column: of the stated types and scales, and such that it fits."""
    found = [_column(op, source, plan, name) for name in brought.columns]
    for number, column in enumerate(found):
        if brought.form == "codes":
            if column.type not in CODE_TYPES:
                text = f"counts codes of {column.name!r}, which is no {', '.join(CODE_TYPES)}"
                raise wrong(op.id, text, "E_TYPE", column.name)
            continue
        if column.type not in ("int64", "decimal"):
            raise wrong(op.id, f"brings {column.name!r}, which is {column.type}", "E_TYPE", column.name)
        if brought.scales[number] != (column.scale or 0):
            text = f"brings {column.name!r} at another scale than the column's"
            raise wrong(op.id, text, "E_UNIT", column.name)
    low, high = brought.bounds
    if max(abs(low), abs(high)) > MOST_BROUGHT:
        text = (
            f"could overflow in {brought.columns[0]!r}: its {brought.form} may pass 2^62 units by its declared range; "
            "declare a narrower range in the agreement"
        )
        raise wrong(op.id, text, "E_RANGE", brought.columns[0])
    _, tells, _ = _FORMS[brought.form]
    origins = frozenset(Origin(source.inputs[0], column.name, tells) for column in found)
    return shared_column(brought, source.inputs[0], origins)


def derive(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> Flow:
    """Columns that both parties hold in shares."""
    left, right = pair(op, parameters.keys, (), sources)
    if parameters.unique not in op.at:
        raise wrong(op.id, "names a party with unique keys that is not one of its two parties")
    sides = zip(sources, parameters.brings, strict=True)
    brought = [_brought(op, b, source, plan) for source, side in sides for b in side]
    counted = [SharedColumn(name, 0, 0, 1) for name in (KEYS, ROWS)]
    columns = (*counted, *brought)
    edge = Edge(type="shares", columns=tuple(c.name for c in columns), rows=None, visibility=among(*op.at))
    return Flow(
        edge,
        left.inputs + right.inputs,
        shared=columns,
        most_rows=parameters.maximum_rows,
        unique_rows=parameters.multiplicity == 1,
        sides=tuple(Side(s.inputs[0], s.owner or "", s.asset, s.edge.columns) for s in sources),
    )


def uses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...]) -> Uses:
    """Key columns are join keys; what is brought is aggregated, or groups rows by ranges and codes."""
    found = [(s.inputs[0], c.name, "join_key") for s in sources for c in s.columns]
    for source, side in zip(sources, parameters.brings, strict=True):
        found += [(source.inputs[0], name, _FORMS[b.form][2]) for b in side for name in b.columns]
    return found


def discloses(op: Operator, parameters: Parameters, sources: tuple[Flow, ...], plan: Plan) -> list[Statement]:
    """Sizes to each other, and nothing of what matched; what a party that departs from the protocol could do."""

    def say(what: Kind, about: Flow | None, to: Sequence[str], facts: Facts) -> Statement:
        return Statement(
            subject=about.inputs[0] if about else op.id,
            owner=about.owner if about else None,
            what=what,
            to=tuple(sorted(to)),
            step=op.id,
            security=PROTOCOL.security,
            assumption=PROTOCOL.assumption,
            parameters=facts,
        )

    out = []
    for mine, theirs in (sources, sources[::-1]):
        facts = Facts(asset=theirs.asset, columns=theirs.edge.columns)
        out.append(say("size", theirs, [mine.owner or ""], facts))
    return [*out, say("corruptible", None, op.at, Facts())]


RULE = Rule(
    "hidden_join/v1",
    Parameters,
    derive,
    uses,
    discloses,
    function="join_statistics",
    protocol=PROTOCOL,
)
