"""Columns of an edge that is shared: what a number there means, within which bounds, and what it is computed from.

Bounds follow from ranges that the plan declares for what owners bring, and are never found in the data: from them alone
it follows that no sum or product can overflow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from atoll.crypto.document import Document, Name, require_unique
from atoll.disclosure import Kind

MOST_BROUGHT: Final = 2**62 - 1
"""Largest number of units, either side of zero, that an owner may bring by its declared bounds."""
MOST_UNITS: Final = 2**120
"""The same of what is computed, of a sum over all rows above all."""
MOST_DIGITS: Final = 36
"""Digits after the point of a shared number."""

Operation = Literal["add", "subtract", "multiply", "negative"]


@dataclass(frozen=True)
class Origin:
    """A column of a plan's input that a shared number is computed from, and what a total of such numbers tells of
    it.
    """

    input: str
    column: str
    tells: Kind


@dataclass(frozen=True)
class Cell:
    """Of a histogram: the rows whose column lies in a range (null: no end), or has one of some codes, or none of
    them.
    """

    input: str
    column: str
    low: int | None = None
    high: int | None = None
    codes: tuple[str, ...] = ()
    other: bool = False


@dataclass(frozen=True)
class SharedColumn:
    """One column of a shared edge. On rows where nothing matched it is zero.

    Attributes:
        name: its name on the edge.
        scale: digits after the point; numbers are whole units of 10^-scale.
        low, high: bounds in units.
        origins: what it is computed from.
        cell: which rows it counts, where it is a one or zero.
    """

    name: str
    scale: int
    low: int
    high: int
    origins: frozenset[Origin] = frozenset()
    cell: Cell | None = None

    @property
    def largest(self) -> int:
        """Farthest from zero."""
        return max(abs(self.low), abs(self.high))

    def times(self, rows: int) -> SharedColumn:
        """As a sum over so many rows at most."""
        return replace(self, low=min(self.low, 0) * rows, high=max(self.high, 0) * rows)


class Step(Document):
    """One step of a calculation on every row: a new column from one or two others."""

    name: Annotated[Name, Field(alias="as")]
    operation: Annotated[Operation, Field(alias="op")]
    of: Annotated[tuple[Name, ...], Field(min_length=1, max_length=2)]

    @model_validator(mode="after")
    def _validate(self) -> Step:
        if len(self.of) != (1 if self.operation == "negative" else 2):
            raise ValueError(f"of: {self.operation} does not take {len(self.of)}")
        return self


class StepError(Exception):
    """A step that does not fit what it takes; the operator's rule says so with its own name."""

    def __init__(self, code: str, text: str, column: str | None = None) -> None:
        super().__init__(text)
        self.code, self.text, self.column = code, text, column


def _origins(columns: Iterable[SharedColumn], tells: Kind) -> frozenset[Origin]:
    """Origins of all, each once: where one tells more than a sum, all do."""
    found = [origin for column in columns for origin in column.origins]
    most = "matched_moments" if any(o.tells == "matched_moments" for o in found) else tells
    return frozenset(replace(origin, tells=most) for origin in found)


def _sum(step: Step, given: Sequence[SharedColumn]) -> SharedColumn:
    scale = max(column.scale for column in given)
    (a, b) = (
        replace(c, low=c.low * 10 ** (scale - c.scale), high=c.high * 10 ** (scale - c.scale)) for c in given
    )
    bounds = (a.low + b.low, a.high + b.high)
    if step.operation == "subtract":
        bounds = (a.low - b.high, a.high - b.low)
    return SharedColumn("", scale, *bounds, _origins(given, "matched_sum"))


def _product(step: Step, given: Sequence[SharedColumn]) -> SharedColumn:
    if any(origin.tells != "matched_sum" for column in given for origin in column.origins):
        # Totals of higher powers are ruled by the largest values: they would come close to telling them.
        raise StepError("E_PLAN", f"makes {step.name!r} a product of more than two columns")
    a, b = given
    corners = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
    return SharedColumn("", a.scale + b.scale, min(corners), max(corners), _origins(given, "matched_moments"))


def _negative(step: Step, given: Sequence[SharedColumn]) -> SharedColumn:
    (a,) = given
    return replace(a, low=-a.high, high=-a.low)


_OPERATIONS: Final = {"add": _sum, "subtract": _sum, "multiply": _product, "negative": _negative}


def _derive(step: Step, columns: Mapping[str, SharedColumn]) -> SharedColumn:
    missing = [name for name in step.of if name not in columns]
    if missing:
        raise StepError("E_PLAN", f"takes a column {missing[0]!r} that is not there")
    given = [columns[name] for name in step.of]
    for column in given:
        if column.cell is not None or not column.origins:
            # Whatever depends on a condition would have to keep a minimum group of its own.
            raise StepError("E_PLAN", f"computes with {column.name!r}, which only counts")
    made = _OPERATIONS[step.operation](step, given)
    if made.scale > MOST_DIGITS:
        text = f"gives {step.name!r} {made.scale} digits, and {MOST_DIGITS} is the most"
        raise StepError("E_UNIT", text, min(o.column for o in made.origins))
    if made.largest > MOST_UNITS:
        names = " and ".join(repr(c.name) for c in given)
        raise StepError(
            "E_RANGE",
            f"could overflow in {step.name!r}: what {names} give may pass 2^120 units by declared ranges; declare "
            "narrower ones in the agreement",
            min(o.column for o in made.origins),
        )
    return replace(made, name=step.name)


def derive_steps(steps: Sequence[Step], columns: Iterable[SharedColumn]) -> dict[str, SharedColumn]:
    """All columns after the steps, in order.

    Raises:
        StepError: a column that is not there, or twice, or a number that could overflow.
    """
    known = {column.name: column for column in columns}
    try:
        require_unique([*known, *(step.name for step in steps)], "column")
    except ValueError as error:
        raise StepError("E_PLAN", f"has it that {error}") from None
    for step in steps:
        known[step.name] = _derive(step, known)
    return known


def partition(cells: Sequence[Cell | None]) -> bool:
    """Whether cells are of one column and every row is in exactly one of them."""
    first = cells[0]
    if first is None or any(c is None or (c.input, c.column) != (first.input, first.column) for c in cells):
        return False
    known = [c for c in cells if c is not None]
    if not any(c.codes for c in known):
        joined = all(a.high is not None and a.high == b.low for a, b in pairwise(known))
        return joined and known[0].low is None and known[-1].high is None
    named = [code for c in known if not c.other for code in c.codes]
    rest = [c for c in known if c.other]
    return (
        all(c.codes for c in known)
        and len(named) == len(set(named))
        and len(rest) == 1
        and sorted(rest[0].codes) == sorted(named)
    )
