"""The manifest of a package: what it reads, what it brings, what may leave, and within which limits.

An author writes it as TOML; a signed package holds its canonical JSON. Numbers that are not whole are text, money is
in whole minor units.
"""

from __future__ import annotations

import keyword
import re
import tomllib
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from atoll.agreements.model import Bilingual
from atoll.crypto.document import Document, Identifier, Name, require_unique
from atoll.errors import AtollError

FORMAT = "atoll.script/v1"
Type = Literal["string", "int64", "decimal", "float64", "bool", "date", "timestamp"]
MAX_WHOLE = 2**53 - 1
Whole = Annotated[int, Field(ge=-MAX_WHOLE, le=MAX_WHOLE)]

_COLUMN = re.compile(r"(string|int64|float64|bool|date|timestamp|decimal\(([1-9][0-9]?),([0-9]{1,2})\))(\?)?")
# A name that rule code can have as a parameter.
_Symbol = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
_RESERVED = frozenset({"arguments", "features", "today", "reasons"})


def _symbol(text: str) -> str:
    if keyword.iskeyword(text):
        raise ValueError(f"{text} is a word of the language")
    return text


Symbol = Annotated[_Symbol, AfterValidator(_symbol)]
# A file stands beside the manifest: no folder, nothing hidden, nothing that an author's folder needs itself.
_FILE = re.compile(r"\w[\w.-]{0,99}")


def _file(text: str) -> str:
    if not _FILE.fullmatch(text) or text in ("package.toml", "cases.toml"):
        raise ValueError(f"{text[:40]!r} is no plain name of a file beside the manifest")
    return text


FileName = Annotated[Name, AfterValidator(_file)]


@dataclass(frozen=True)
class ColumnFacts:
    """A column's type, as the owner's table has it.

    Rules see a decimal as a whole number of 10^-scale: 12.50 with scale 2 is 1250.
    """

    type: Type
    precision: int | None
    scale: int | None
    nullable: bool


def column_facts(text: str) -> ColumnFacts:
    """The facts of a column's text, such as `int64`, `decimal(12,2)` or `string?`; ValueError otherwise."""
    found = _COLUMN.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text[:40]!r} is no column type; write string, int64, float64, bool, date, timestamp or decimal(12,2), "
            "with ? behind it where values may be missing"
        )
    kind = found[1].partition("(")[0]
    assert kind in get_args(Type)  # by the expression above
    precision, scale = (int(found[2]), int(found[3])) if found[2] else (None, None)
    if precision is not None and scale is not None and not scale <= precision <= 18:
        raise ValueError(f"{text}: a decimal has at most 18 digits, and no more behind the point than in all")
    return ColumnFacts(kind, precision, scale, found[4] is not None)  # type: ignore[arg-type]  # asserted above


def _column(text: str) -> str:
    column_facts(text)
    return text


ColumnText = Annotated[str, StringConstraints(max_length=40), AfterValidator(_column)]
Columns = Annotated[dict[Name, ColumnText], Field(min_length=1, max_length=256)]


class Subject(Document):
    """What a call is about: its name for people, and the type of its key (`string` or `int64`)."""

    name: Symbol
    type: Literal["string", "int64"]


class Input(Document):
    """A table of the owner. A call sees the rows whose `key` column is the call's subject, at most `maximum_rows`.

    `rows`: `one` gives rules that row, or None; `many` a list of rows. More rows than allowed give no decision.
    """

    asset: Name
    key: Name
    rows: Literal["one", "many"]
    maximum_rows: Annotated[int, Field(ge=1, le=10_000)] = 200
    columns: Columns


class Table(Document):
    """A parameter table that the package brings: a CSV file, looked up by `key`. Rules see a function of the key."""

    file: FileName
    key: Name
    columns: Columns

    @model_validator(mode="after")
    def _validate(self) -> Table:
        if self.key not in self.columns:
            raise ValueError(f"key: {self.key!r} is no column of the table")
        if any(column_facts(c).type in ("float64", "timestamp") for c in self.columns.values()):
            raise ValueError("columns: a parameter table holds no float64 and no timestamp")
        return self


class Argument(Document):
    """A value that the caller gives with each call. Without a default every call names it."""

    type: Literal["string", "int64", "bool"]
    range: Annotated[tuple[Whole, ...], Field(min_length=2, max_length=2)] | None = None
    values: Annotated[tuple[Name, ...], Field(min_length=1, max_length=1000)] | None = None
    default: Name | Whole | bool | None = None

    @model_validator(mode="after")
    def _validate(self) -> Argument:
        if (self.range is not None) != (self.type == "int64") or (self.values is not None) != (
            self.type == "string"
        ):
            raise ValueError("an int64 has a range, a string has values, a bool neither")
        if self.range is not None and self.range[0] > self.range[1]:
            raise ValueError("range: min is larger than max")
        require_unique(self.values or (), "values: ")
        if self.default is not None:
            self.check(self.default)
        return self

    def check(self, value: Any) -> Any:
        """The value if it is one; ValueError otherwise."""
        if self.type == "bool" and type(value) is bool:
            return value
        if self.range is not None and type(value) is int and self.range[0] <= value <= self.range[1]:
            return value
        if self.values is not None and type(value) is str and value in self.values:
            return value
        wanted = (
            "true or false"
            if self.type == "bool"
            else (
                f"a whole number from {self.range[0]} to {self.range[1]}"
                if self.range is not None
                else f"one of {', '.join(self.values or ())}"
            )
        )
        raise ValueError(f"{value!r} is not {wanted}")


class Features(Document):
    """A SELECT over the inputs and parameter tables that gives one row for a call, with these columns."""

    file: FileName
    columns: Columns

    @model_validator(mode="after")
    def _validate(self) -> Features:
        if any(column_facts(c).type in ("float64", "timestamp") for c in self.columns.values()):
            raise ValueError("columns: features are exact: no float64 and no timestamp")
        return self


_STEP = re.compile(r"0\.0{0,8}1|1")
_BOUND = re.compile(r"(0|-?[1-9][0-9]{0,8})(\.[0-9]{1,9})?|-0\.[0-9]{0,8}[1-9]")
Step = Annotated[str, StringConstraints(pattern=f"^({_STEP.pattern})$")]
Bound = Annotated[str, StringConstraints(pattern=f"^({_BOUND.pattern})$")]


class Model(Document):
    """An ONNX model over features: one row of float32 in, one number out.

    The score is clipped to `range` and rounded to whole multiples of `step`; rules see that multiple as a whole number.
    Within `band` of one of `thresholds` there is no score (None), so that all processors agree.
    """

    file: FileName
    inputs: Annotated[tuple[Name, ...], Field(min_length=1, max_length=1024)]
    output: Name
    range: Annotated[tuple[Bound, ...], Field(min_length=2, max_length=2)]
    step: Step
    thresholds: Annotated[tuple[Bound, ...], Field(max_length=16)] = ()
    band: Bound = "0"


class Rules(Document):
    """The rules' file and the function in it that decides."""

    file: FileName
    entry: Symbol


class Choice(Document):
    """One of the declared values."""

    type: Literal["choice"]
    values: Annotated[tuple[Symbol, ...], Field(min_length=2, max_length=256)]

    @model_validator(mode="after")
    def _validate(self) -> Choice:
        require_unique(self.values, "values: ")
        return self


class Number(Document):
    """A whole number `range[0] + k * step` up to `range[1]`. Money is in minor units, rates are in basis points."""

    type: Literal["int64"]
    range: Annotated[tuple[Whole, ...], Field(min_length=2, max_length=2)]
    step: Annotated[int, Field(ge=1, le=MAX_WHOLE)]
    unit: Name | None = None

    @model_validator(mode="after")
    def _validate(self) -> Number:
        low, high = self.range
        if low > high or (high - low) % self.step:
            raise ValueError("range: from min to max in whole steps")
        return self


class Flag(Document):
    """True or false."""

    type: Literal["bool"]


Output = Annotated[Choice | Number | Flag, Field(discriminator="type")]


class Limits(Document):
    """Most milliseconds of work for a call, and bytes of memory for rules."""

    time_ms: Annotated[int, Field(ge=1, le=1000)] = 20
    memory_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 30)] = 64 << 20


class Manifest(Document):
    """What a package is. Names of inputs, parameters and models share one space: rule code sees them all."""

    format: Literal["atoll.script/v1"]
    name: Identifier
    version: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6}$")]
    title: Bilingual
    purpose: Name
    subject: Subject
    inputs: Annotated[dict[Symbol, Input], Field(min_length=1, max_length=16)]
    parameters: Annotated[dict[Symbol, Table], Field(max_length=32)] = Field(default_factory=dict)
    arguments: Annotated[dict[Symbol, Argument], Field(max_length=32)] = Field(default_factory=dict)
    features: Features | None = None
    models: Annotated[dict[Symbol, Model], Field(max_length=8)] = Field(default_factory=dict)
    rules: Rules
    outputs: Annotated[dict[Symbol, Output], Field(min_length=1, max_length=16)]
    reasons: Annotated[dict[Symbol, Bilingual], Field(max_length=64)] = Field(default_factory=dict)
    maximum_reasons: Annotated[int, Field(ge=0, le=8)] = 0
    limits: Limits = Field(default_factory=lambda: Limits(time_ms=20, memory_bytes=64 << 20))

    @model_validator(mode="after")
    def _validate(self) -> Manifest:
        names = [*self.inputs, *self.parameters, *self.models]
        require_unique(names, "inputs, parameters, models: ")
        for name in [*names, *self.outputs]:
            if name in _RESERVED:
                raise ValueError(f"{name}: this name has a meaning of its own")
        if (self.maximum_reasons > 0) != bool(self.reasons):
            raise ValueError("maximum_reasons: how many of the declared reasons an answer may name, from 1")
        if self.maximum_reasons > len(self.reasons):
            raise ValueError("maximum_reasons: more than there are reasons")
        if self.models and self.features is None:
            raise ValueError("models: a model reads features, and there are none")
        for name, model in self.models.items():
            known = self.features.columns if self.features else {}
            missing = [column for column in model.inputs if column not in known]
            if missing:
                raise ValueError(f"models.{name}.inputs: {missing[0]!r} is no feature")
            strange = [c for c in model.inputs if column_facts(known[c]).type in ("string", "date")]
            if strange:
                raise ValueError(f"models.{name}.inputs: {strange[0]!r} is no number")
        require_unique(self.files, "file")
        return self

    @property
    def main(self) -> Input:
        """The table that says which subjects there are: the first in order of name with one row for a subject, else the
        first.
        """
        return next((i for i in self.inputs.values() if i.rows == "one"), next(iter(self.inputs.values())))

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files that the package must hold, beside the manifest."""
        found = [self.rules.file, *(t.file for t in self.parameters.values())]
        found += [self.features.file] if self.features else []
        return (*found, *(m.file for m in self.models.values()))


def parse(document: Any) -> Manifest:
    """The checked manifest; `E_SCRIPT` names the wrong field."""
    return Manifest.parse(document, code="E_SCRIPT", what="manifest")


def parse_toml(text: str, file: str) -> Manifest:
    """The manifest that an author wrote; `E_SCRIPT` names the file and the wrong line or field."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise AtollError("E_SCRIPT", f"{file}: {error}.", fault="caller") from None
    return Manifest.parse({"format": FORMAT, **document}, code="E_SCRIPT", what=file)
