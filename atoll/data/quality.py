"""Quality rules of a table: what an owner declares, what came of each rule, and what partners may see of it.

A rule is broken when what was measured is over its limit. Shares are compared exactly, as whole numbers of rows; the
texts show at most four decimals. `atoll.data.measure` does the measuring.

Limits are decimals as text, never floats:

    nulls        of all rows, percent that have no value in the column
    range        of the rows with a value, percent that lie outside `least` to `greatest`
    freshness    whole days from the newest date or time of the column to now; later ones do not count
    duplicates   of the rows with an id, percent that repeat the id of another row
    stability    population stability index of the column against the version before (`atoll.data.measure`)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from atoll.crypto.document import Digest, Document, Name, Time, require_unique
from atoll.data.schema import Column, Schema
from atoll.errors import AtollError

FORMAT: Final = "atoll.quality-rules/v1"
RESULT_FORMAT: Final = "atoll.quality-result/v1"
MAX_RULES = 200
_DAY = 86400

State = Literal["holds", "broken", "unknown"]
Kind = Literal["nulls", "range", "freshness", "duplicates", "stability"]


def _written(value: Any) -> Any:
    """A whole number stands for its digits."""
    return str(value) if type(value) is int else value


_Percent = Annotated[
    str, BeforeValidator(_written), StringConstraints(pattern=r"^(100|[1-9]?[0-9](\.[0-9]{1,4})?)$")
]
_Index = Annotated[
    str, BeforeValidator(_written), StringConstraints(pattern=r"^(0|[1-9][0-9]{0,2})(\.[0-9]{1,4})?$")
]
_Bound = Annotated[str, BeforeValidator(_written), StringConstraints(min_length=1, max_length=64)]


class _Rule(Document):
    stop: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that the rule is about."""
        raise NotImplementedError

    @property
    def key(self) -> str:
        """What tells the rule from the others of its table, and names its alerts."""
        return f"{self.kind}:{','.join(self.names)}"  # type: ignore[attr-defined]  # every rule states its kind


class _ColumnRule(_Rule):
    column: Name

    @property
    def names(self) -> tuple[str, ...]:
        return (self.column,)


class Nulls(_ColumnRule):
    """At most so many percent of the rows have no value."""

    kind: Literal["nulls"]
    at_most: _Percent = "0"


class Range(_ColumnRule):
    """At most so many percent of the values are smaller than `least` or greater than `greatest`."""

    kind: Literal["range"]
    least: _Bound | None = None
    greatest: _Bound | None = None
    at_most: _Percent = "0"

    @model_validator(mode="after")
    def _validate(self) -> Range:
        if self.least is None and self.greatest is None:
            raise ValueError("a range has least, greatest or both")
        return self


class Freshness(_ColumnRule):
    """The newest date or time is at most so many days old, by clocks that are `utc_offset` before UTC."""

    kind: Literal["freshness"]
    at_most_days: Annotated[int, Field(ge=0, le=36_500)]
    utc_offset: Annotated[str, StringConstraints(pattern=r"^[+-](0[0-9]|1[0-4]):[0-5][0-9]$")] = "+00:00"

    @property
    def seconds_east(self) -> int:
        """Seconds by which the column's clock is ahead of UTC."""
        hours, minutes = int(self.utc_offset[1:3]), int(self.utc_offset[4:])
        return (-1 if self.utc_offset[0] == "-" else 1) * (hours * 3600 + minutes * 60)


class Duplicates(_Rule):
    """At most so many percent of the rows repeat the id of another row."""

    kind: Literal["duplicates"]
    columns: Annotated[tuple[Name, ...], Field(min_length=1, max_length=32)]
    at_most: _Percent = "0"

    @property
    def names(self) -> tuple[str, ...]:
        return self.columns

    @model_validator(mode="after")
    def _validate(self) -> Duplicates:
        require_unique(self.columns, "columns: ")
        return self


class Stability(_ColumnRule):
    """The population stability index against the version before is at most so large, over so many bins."""

    kind: Literal["stability"]
    at_most: _Index = "0.25"
    bins: Annotated[int, Field(ge=2, le=50)] = 10


Rule = Nulls | Range | Freshness | Duplicates | Stability


class Rules(Document):
    """The rules of one table, and how often they are evaluated between versions; None for at versions only."""

    format: Literal["atoll.quality-rules/v1"] = FORMAT
    every_seconds: Annotated[int, Field(ge=1, le=366 * _DAY)] | None = None
    rules: Annotated[
        tuple[Annotated[Rule, Field(discriminator="kind")], ...],
        Field(min_length=1, max_length=MAX_RULES),
    ]

    @model_validator(mode="after")
    def _validate(self) -> Rules:
        require_unique((rule.key for rule in self.rules), "rules: ")
        return self


def parse_rules(document: Any, schema: Schema) -> Rules:
    """The checked rules of a table with these columns.

    Raises:
        AtollError: `E_FORMAT` names the field; `E_COLUMN`, `E_TYPE` name the column.
    """
    where = _float(document, "")
    if where is not None:
        raise AtollError(
            "E_FORMAT",
            f"quality rules: {where} is a float",
            cure='Write a number with a point as text, "0.5".',
        )
    rules = Rules.parse(document, what="quality rules")
    for rule in rules.rules:
        for name in rule.names:
            _fits(rule, schema[name])
    return rules


def _float(value: Any, path: str) -> str | None:
    if isinstance(value, float):
        return path.lstrip(".")
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return next((found for key, item in inner if (found := _float(item, f"{path}.{key}"))), None)


def _fits(rule: Rule, column: Column) -> None:
    wanted = {
        "range": ("int64", "decimal", "float64", "date", "timestamp"),
        "freshness": ("date", "timestamp"),
    }.get(rule.kind)
    if wanted is not None and column.type not in wanted:
        raise AtollError(
            "E_TYPE",
            f"column {column.name!r} is {column.type}; a rule of the kind {rule.kind} takes {', '.join(wanted)}",
            column=column.name,
            fault="caller",
            cure="Give the rule another column, or declare the column's type.",
        )
    if isinstance(rule, Range):
        least, greatest = (None if b is None else bound(column, b) for b in (rule.least, rule.greatest))
        if least is not None and greatest is not None and least > greatest:
            raise AtollError(
                "E_FORMAT",
                f"quality rules: {rule.key}: least {rule.least} is over greatest {rule.greatest}",
                column=column.name,
            )


def bound(column: Column, text: str) -> Any:
    """A bound of a range as int, Decimal, float, date or datetime; `E_TYPE` if it is none of the column's type."""
    plain = Column(column.name, column.type, column.precision, column.scale, range=(text, text))
    found, _ = plain.bounds()
    if isinstance(found, Decimal) and column.scale is not None:
        exponent = found.normalize().as_tuple().exponent
        if -int(exponent) > column.scale or found.adjusted() >= 38 - column.scale:
            raise AtollError(
                "E_TYPE",
                f"column {column.name!r}: the bound {text} has more digits than a decimal with {column.scale} "
                "after the point",
                column=column.name,
                fault="caller",
            )
    return found


# What came of it.


class Outcome(Document):
    """One rule on one version. `measured` is None where there was nothing to measure."""

    rule: Annotated[str, StringConstraints(max_length=10_000)]
    kind: Kind
    columns: tuple[str, ...]
    stop: bool
    state: State
    measured: str | None
    limit: str
    en: str
    zh: str


class Repeated(Document):
    """Rows with an id, and those of them that repeat the id of another row: rows less distinct ids."""

    columns: tuple[str, ...]
    rows: int
    surplus: int


class Result(Document):
    """A version, measured. Counts and shares only: no value of the table, but for the owner's own limits.

    `nulls` counts rows without value by column; `duplicates` is of the first rule of that kind, else of the table's
    key; `freshness_days` of the first rule; `stability` by column, four decimals as text.
    """

    format: Literal["atoll.quality-result/v1"] = RESULT_FORMAT
    version: Digest
    previous: Digest | None
    at: Time
    rows: Annotated[int, Field(ge=0)]
    nulls: dict[str, int]
    duplicates: Repeated | None
    freshness_days: int | None
    stability: dict[str, str]
    outcomes: tuple[Outcome, ...]

    @property
    def broken(self) -> tuple[Outcome, ...]:
        """The rules that do not hold."""
        return tuple(o for o in self.outcomes if o.state == "broken")

    @property
    def stopping(self) -> tuple[Outcome, ...]:
        """Those of them that keep the version from being used."""
        return tuple(o for o in self.broken if o.stop)


def percent(part: int, whole: int, places: int = 4) -> str:
    """`part` of `whole` in percent, rounded half up to so many decimals, all of them written; 0 of nothing is 0."""
    share = Fraction(100 * part, whole) if whole else Fraction(0)
    return _rounded(share, places)


def _rounded(number: Fraction, places: int) -> str:
    scaled = number * 10**places
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return str(Decimal(whole).scaleb(-places).quantize(Decimal(1).scaleb(-places)))


def short(number: str) -> str:
    """A decimal without zeros at its end."""
    return number.rstrip("0").rstrip(".") if "." in number else number


def over(part: int, whole: int, limit: str) -> bool:
    """Whether `part` of `whole` is more than `limit` percent."""
    return 100 * part > Fraction(limit) * whole


# What partners may see.

PLAIN_FIGURES = ("rows", "duplicates", "freshness_days", "failing_rules")
COLUMN_FIGURES = ("nulls", "stability")
_PATTERN = re.compile(
    rf"(?:{'|'.join(PLAIN_FIGURES)}|(?:{'|'.join(COLUMN_FIGURES)}):(?P<column>.+))", re.DOTALL
)


def check_figure(name: Any) -> str:
    """`name` if it is one of the figures that can be agreed; `E_FORMAT` otherwise."""
    found = _PATTERN.fullmatch(name) if isinstance(name, str) and len(name) <= 300 else None
    if found is None:
        raise AtollError(
            "E_FORMAT",
            f"{name!r:.80} is no quality figure: {', '.join(PLAIN_FIGURES)}, "
            + ", ".join(f"{kind}:COLUMN" for kind in COLUMN_FIGURES),
        )
    return str(name)


def figures(result: Result, wanted: Iterable[str]) -> dict[str, str | None]:
    """The coarse figures of a measured version, each as text; None for one that was not measured.

    rows is given to two significant digits, nulls and duplicates in percent with one decimal, stability with two,
    freshness_days and failing_rules as whole numbers.

    Raises:
        AtollError: `E_FORMAT` for a name that is no figure.
    """
    return {name: _figure(result, check_figure(name)) for name in wanted}


def _figure(result: Result, name: str) -> str | None:
    kind, _, column = name.partition(":")
    match kind:
        case "rows":
            return str(two_digits(result.rows))
        case "nulls":
            count = result.nulls.get(column)
            return None if count is None else percent(count, result.rows, 1)
        case "duplicates":
            found = result.duplicates
            return None if found is None else percent(found.surplus, found.rows, 1)
        case "freshness_days":
            return None if result.freshness_days is None else str(result.freshness_days)
        case "stability":
            index = result.stability.get(column)
            return None if index is None else str(Decimal(index).quantize(Decimal("0.01"), ROUND_HALF_UP))
        case _:
            return str(len(result.broken))


def two_digits(number: int) -> int:
    """A count to two significant digits, rounded half up."""
    unit: int = 10 ** max(0, len(str(number)) - 2)
    return (number + unit // 2) // unit * unit


def columns_named(figures_: Iterable[str]) -> set[str]:
    """The columns that figures are about."""
    return {name.partition(":")[2] for name in figures_ if ":" in name}


def check_answer(document: Any, wanted: Sequence[str]) -> dict[str, str | None]:
    """A partner's answer to `wanted`: each a figure, as text of its own form or None; `E_WIRE` otherwise."""
    if not isinstance(document, Mapping) or set(document) != set(wanted):
        raise AtollError("E_WIRE", "the answer has other figures than were asked for")
    for name, text in document.items():
        known = _PATTERN.fullmatch(name)
        form = _FORMS[name.partition(":")[0]] if known else ""
        if not known or (text is not None and not (isinstance(text, str) and re.fullmatch(form, text))):
            raise AtollError("E_WIRE", f"the figure {name:.80} is not written as one")
    return dict(document)


_COUNT = r"0|[1-9][0-9]{0,17}"
_FORMS = {
    "rows": _COUNT,
    "freshness_days": _COUNT,
    "failing_rules": _COUNT,
    "nulls": r"(100|[1-9]?[0-9])\.[0-9]",
    "duplicates": r"(100|[1-9]?[0-9])\.[0-9]",
    "stability": r"[0-9]{1,3}\.[0-9]{2}",
}
