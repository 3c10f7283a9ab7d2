"""Columns, schemas, and what an owner declares about them.

A `Column` is the form that agreements and plans carry (`to_json`, `from_json`): its type, exact scale, unit,
bilingual label and definition, closed code list, range and as-of rule. A `Declaration` is the owner's file
(TOML or JSON) that says what a source does not: it overrides whatever was inferred.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast, get_args

import pyarrow as pa

from atoll.errors import AtollError

Type = Literal["string", "int64", "decimal", "float64", "bool", "date", "timestamp"]
TYPES: tuple[Type, ...] = get_args(Type)
Text = Mapping[str, str]  # language ("zh", "en") -> text
MAX_COLUMNS = 4096
MAX_NAME_BYTES = 256
MAX_TEXT = 4096
MAX_CODES = 10_000
MAX_PRECISION = 38

_LANGUAGES = ("zh", "en")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def check_name(name: Any, what: str = "a column name") -> str:
    """`name` if it is a usable name: 1 to 256 bytes of UTF-8 with no control character; else `E_COLUMN`."""
    if not isinstance(name, str) or not name or name != name.strip():
        raise AtollError("E_COLUMN", f"{what} is empty or has spaces around it: {name!r:.80}")
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        raise AtollError("E_COLUMN", f"{what} is not valid Unicode: {name!r:.80}") from None
    if size > MAX_NAME_BYTES or any(ord(c) < 32 or ord(c) == 127 for c in name):
        raise AtollError(
            "E_COLUMN", f"{what} has control characters or over {MAX_NAME_BYTES} bytes: {name!r:.80}"
        )
    return name


@dataclass(frozen=True)
class Column:
    """One column of an asset.

    Attributes:
        precision, scale: of a `decimal`: total digits (1 to 38) and digits after the point; None otherwise.
        codes: closed list of permitted values of a `string` or `int64` column, each with its texts or None.
        range: inclusive bounds, written as values of the column's type; for ordered types other than string.
        as_of: what moment the values hold for, in the owner's words.
    """

    name: str
    type: Type
    precision: int | None = None
    scale: int | None = None
    unit: str | None = None
    label: Text | None = None
    definition: Text | None = None
    codes: Mapping[str, Text | None] | None = None
    range: tuple[str, str] | None = None
    as_of: str | None = None
    nullable: bool = True

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.type not in TYPES:
            raise self._bad("E_TYPE", f"the type {self.type!r} is not one of {', '.join(TYPES)}")
        if self.type == "decimal":
            p, s = self.precision, self.scale
            if p is None or s is None or not 0 <= s <= p or not 1 <= p <= MAX_PRECISION:
                raise self._bad(
                    "E_TYPE", f"a decimal needs precision 1..{MAX_PRECISION} and scale 0..precision"
                )
        elif self.precision is not None or self.scale is not None:
            raise self._bad("E_TYPE", f"precision and scale belong to decimals, not to {self.type}")
        if self.codes is not None and self.type not in ("string", "int64"):
            raise self._bad("E_TYPE", f"a code list belongs to string or int64 columns, not to {self.type}")
        if self.range is not None:
            low, high = self.bounds()
            if low > high:
                raise self._bad("E_RANGE", f"its range is empty: {self.range[0]} is above {self.range[1]}")

    def _bad(self, code: str, text: str) -> AtollError:
        return AtollError(code, f"column {self.name!r}: {text}.", column=self.name)

    @property
    def arrow(self) -> pa.DataType:
        """The one Arrow type that this column has in a snapshot."""
        match self.type:
            case "string":
                return pa.string()
            case "int64":
                return pa.int64()
            case "decimal":
                return pa.decimal128(cast(int, self.precision), cast(int, self.scale))
            case "float64":
                return pa.float64()
            case "bool":
                return pa.bool_()
            case "date":
                return pa.date32()
            case "timestamp":
                return pa.timestamp("us")

    def bounds(self) -> tuple[Any, Any]:
        """The range as Python values (int, Decimal, float, date or datetime).

        Raises:
            AtollError: `E_TYPE` if there is no range, or a bound is not a value of the type.
        """
        if self.range is None:
            raise self._bad("E_TYPE", "it has no range")
        low, high = (self._bound(text) for text in self.range)
        return low, high

    def _bound(self, text: str) -> Any:
        try:
            if self.type == "int64":
                value = int(text)
                if not -(2**63) <= value < 2**63:
                    raise ValueError
                return value
            if self.type == "decimal" and _NUMBER.fullmatch(text):
                return Decimal(text)
            if self.type == "float64" and _NUMBER.fullmatch(text):
                return float(text)
            if self.type == "date":
                return dt.date.fromisoformat(text)
            if self.type == "timestamp":
                moment = dt.datetime.fromisoformat(text)
                return moment.astimezone(dt.UTC).replace(tzinfo=None) if moment.tzinfo else moment
        except (ValueError, OverflowError):
            pass
        raise self._bad("E_TYPE", f"its range bound {text!r:.80} is not a value of type {self.type}")

    def to_json(self) -> dict[str, Any]:
        """The column form of agreements: plain JSON values; precision and scale only on decimals."""
        body: dict[str, Any] = {"name": self.name, "type": self.type}
        if self.type == "decimal":
            body |= {"precision": self.precision, "scale": self.scale}
        return body | {
            "unit": self.unit,
            "label": None if self.label is None else dict(self.label),
            "definition": None if self.definition is None else dict(self.definition),
            "codes": None
            if self.codes is None
            else {code: None if text is None else dict(text) for code, text in self.codes.items()},
            "range": None if self.range is None else list(self.range),
            "as_of": self.as_of,
            "nullable": self.nullable,
        }

    @classmethod
    def from_json(cls, body: Any) -> Column:
        """Reads the column form; unknown keys and wrong values are refused (`E_COLUMN`, `E_TYPE`)."""
        if not isinstance(body, dict) or not isinstance(body.get("name"), str):
            raise AtollError("E_COLUMN", "a column is an object with a name and a type")
        name = check_name(body["name"])
        unknown = set(body) - _COLUMN_KEYS
        if unknown:
            raise AtollError(
                "E_COLUMN", f"column {name!r}: unknown keys {sorted(map(str, unknown))}", column=name
            )
        return cls(name=name, type=body.get("type"), **_facts(name, body))  # type: ignore[arg-type]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_COLUMN_KEYS = {
    "name", "type", "precision", "scale", "unit", "label", "definition", "codes", "range", "as_of", "nullable"
}  # fmt: skip


def _facts(name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The checked keyword arguments of a Column other than name and type, as far as `body` gives them."""

    def refuse(key: str, want: str) -> AtollError:
        return AtollError("E_COLUMN", f"column {name!r}: {key} is {want}.", column=name)

    facts: dict[str, Any] = {}
    for key in ("precision", "scale"):
        if body.get(key) is not None:
            if not _is_int(body[key]):
                raise refuse(key, "an integer")
            facts[key] = body[key]
    for key in ("unit", "as_of"):
        if body.get(key) is not None:
            if not isinstance(body[key], str) or not 0 < len(body[key]) <= MAX_TEXT:
                raise refuse(key, "a short text")
            facts[key] = body[key]
    for key in ("label", "definition"):
        if body.get(key) is not None:
            facts[key] = _text(body[key], refuse(key, "a text in zh, en or both"))
    if body.get("codes") is not None:
        error = refuse("codes", "an object of code -> texts, or a list of codes")
        codes = body["codes"]
        if isinstance(codes, list):
            if len(set(map(str, codes))) != len(codes):
                raise error
            codes = dict.fromkeys(codes)
        if not isinstance(codes, dict) or not 0 < len(codes) <= MAX_CODES:
            raise error
        if not all(isinstance(code, str) for code in codes):
            raise error
        facts["codes"] = {code: None if text is None else _text(text, error) for code, text in codes.items()}
    if body.get("range") is not None:
        pair = body["range"]
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(v, str) for v in pair):
            raise refuse("range", "two strings, lowest and highest value")
        facts["range"] = (pair[0], pair[1])
    if "nullable" in body:
        if not isinstance(body["nullable"], bool):
            raise refuse("nullable", "true or false")
        facts["nullable"] = body["nullable"]
    return facts


def _text(value: Any, error: AtollError) -> dict[str, str]:
    if isinstance(value, str):
        value = {"en": value}
    if (
        not isinstance(value, dict)
        or not value
        or not set(value) <= set(_LANGUAGES)
        or not all(isinstance(t, str) and 0 < len(t) <= MAX_TEXT for t in value.values())
    ):
        raise error
    return dict(value)


@dataclass(frozen=True)
class Schema:
    """An ordered list of columns with unique names."""

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.columns) <= MAX_COLUMNS:
            raise AtollError("E_COLUMN", f"a table has 1 to {MAX_COLUMNS} columns, not {len(self.columns)}")
        seen: set[str] = set()
        for column in self.columns:
            if column.name in seen:
                raise AtollError("E_COLUMN", f"two columns are named {column.name!r}", column=column.name)
            seen.add(column.name)
        # DuckDB, as most databases, does not tell names apart by case.
        folded: dict[str, str] = {}
        for name in (c.name for c in self.columns):
            other = folded.setdefault(name.casefold(), name)
            if other != name:
                raise AtollError(
                    "E_COLUMN", f"columns {other!r} and {name!r} differ only by case", column=name
                )

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __contains__(self, name: object) -> bool:
        return any(c.name == name for c in self.columns)

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise AtollError(
            "E_COLUMN", f"there is no column {name!r:.80}; there are {', '.join(self.names)}", column=name
        )

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [c.name for c in self.columns]

    @property
    def arrow(self) -> pa.Schema:
        """The Arrow schema of a snapshot with these columns."""
        return pa.schema([pa.field(c.name, c.arrow) for c in self.columns])

    def select(self, names: Iterable[str]) -> Schema:
        """The named columns, in the order asked; `E_COLUMN` for one that is not there."""
        return Schema(tuple(self[name] for name in names))

    def to_json(self) -> list[dict[str, Any]]:
        """A list of column forms."""
        return [c.to_json() for c in self.columns]

    @classmethod
    def from_json(cls, body: Any) -> Schema:
        """Reads a list of column forms; `E_COLUMN` or `E_TYPE` names what is wrong."""
        if not isinstance(body, list) or len(body) > MAX_COLUMNS:
            raise AtollError("E_COLUMN", f"a schema is a list of at most {MAX_COLUMNS} columns")
        return cls(tuple(Column.from_json(item) for item in body))


@dataclass(frozen=True)
class Declared:
    """What the owner says about one column; None and absent facts are left to inference."""

    type: Type | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    nulls: tuple[str, ...] | None = None
    format: str | None = None


_CSV_OPTIONS = {"encoding": str, "delimiter": str, "quote": str, "decimal": str, "thousands": str,
                "quoted_nulls": bool}  # fmt: skip
_DATE_DIRECTIVES = set("YmdHMSf")


@dataclass(frozen=True)
class Declaration:
    """The owner's words about a source: reading options, and facts per column.

    In TOML::

        [source]
        encoding = "gb18030"      # else detected
        delimiter = "|"           # else detected
        quote = "'"
        decimal = ","             # decimal mark and thousands separator of numbers
        thousands = "."
        null = ["", "NULL"]       # values that mean "no value"; default: the empty field
        quoted_nulls = false      # a quoted empty field is then an empty string, not a null

        [columns.amount]
        type = "decimal"
        scale = 2                 # precision 18 if not given
        unit = "fen"
        label = {zh = "金额", en = "amount"}
        range = ["0", "1000000"]

        [columns.day]
        type = "date"
        format = "%Y%m%d"         # %Y %m %d %H %M %S %f and literals
    """

    columns: Mapping[str, Declared] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    nulls: tuple[str, ...] | None = None

    @classmethod
    def load(cls, path: str | Path) -> Declaration:
        """Reads a declaration file; the suffix says TOML or JSON. `E_SOURCE` or `E_FORMAT` if it cannot."""
        path = Path(path)
        try:
            if path.stat().st_size > 8 << 20:
                raise AtollError("E_FORMAT", f"{path}: a declaration has at most 8 MiB")
            raw = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise AtollError("E_SOURCE", f"cannot read {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise AtollError("E_FORMAT", f"{path}: a declaration is written in UTF-8") from None
        try:
            body = json.loads(raw) if path.suffix.lower() == ".json" else tomllib.loads(raw)
        except (ValueError, RecursionError) as error:
            raise AtollError("E_FORMAT", f"{path}: {error}") from None
        return cls.from_json(body)

    @classmethod
    def from_json(cls, body: Any) -> Declaration:
        """Reads the declaration's object form; `E_FORMAT`, `E_COLUMN` or `E_TYPE` names what is wrong."""
        if not isinstance(body, dict) or not set(body) <= {"source", "columns"}:
            raise AtollError("E_FORMAT", "a declaration has the parts [source] and [columns]")
        source, columns = body.get("source", {}), body.get("columns", {})
        if not isinstance(source, dict) or not isinstance(columns, dict):
            raise AtollError("E_FORMAT", "[source] and [columns] are tables")
        options: dict[str, Any] = {}
        nulls: tuple[str, ...] | None = None
        for key, value in source.items():
            if key == "null":
                nulls = _markers("[source]", value)
            elif key not in _CSV_OPTIONS or not isinstance(value, _CSV_OPTIONS[key]):
                raise AtollError("E_FORMAT", f"[source] {key!r} is not an option, or has the wrong type")
            else:
                options[key] = value
        return cls({check_name(n): _declared(n, c) for n, c in columns.items()}, options, nulls)

    def __getitem__(self, name: str) -> Declared:
        return self.columns.get(name, Declared())

    def nulls_of(self, name: str) -> tuple[str, ...] | None:
        """The declared null markers of a column: its own, else the source's, else None."""
        own = self[name].nulls
        return self.nulls if own is None else own

    def check_names(self, names: Iterable[str], where: str) -> None:
        """`E_COLUMN` if a declared column is not among `names`."""
        have = list(names)
        for name in self.columns:
            if name not in have:
                text = f"{where} has no column {name!r}, which the declaration describes: {', '.join(have)}"
                raise AtollError("E_COLUMN", text, column=name)

    def column(self, name: str, inferred: Type, precision: int | None, scale: int | None) -> Column:
        """The column as declared, what is not declared as inferred."""
        declared = self[name]
        facts = dict(declared.facts)
        kind = declared.type or inferred
        if kind == "decimal":
            facts.setdefault("scale", scale if scale is not None else 0)
            facts.setdefault("precision", max(18, facts["scale"], precision or 0) if "scale" in declared.facts
                             else precision or 18)  # fmt: skip
        return Column(name=name, type=kind, **facts)

    def override(self, schema: Schema) -> Schema:
        """A typed source's schema with the declared facts put over it."""
        return Schema(tuple(self.column(c.name, c.type, c.precision, c.scale) for c in schema))


def _markers(where: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > 100 or not all(isinstance(v, str) for v in value):
        raise AtollError("E_FORMAT", f"{where} null is a list of at most 100 strings")
    return tuple(value)


def _declared(name: str, body: Any) -> Declared:
    if not isinstance(body, dict):
        raise AtollError("E_COLUMN", f"column {name!r}: a declaration is a table", column=name)
    allowed = _COLUMN_KEYS - {"name"} | {"null", "format"}
    unknown = set(body) - allowed
    if unknown:
        raise AtollError(
            "E_COLUMN",
            f"column {name!r}: unknown keys {sorted(unknown)}; known: {sorted(allowed)}",
            column=name,
        )
    kind = body.get("type")
    if kind is not None and kind not in TYPES:
        raise AtollError("E_TYPE", f"column {name!r}: the type {kind!r:.40} is not one of {', '.join(TYPES)}",
                         column=name)  # fmt: skip
    facts = _facts(name, body)
    if kind is None and ("scale" in facts or "precision" in facts):
        kind = "decimal"
    format_ = body.get("format")
    if format_ is not None:
        if kind not in ("date", "timestamp") or not isinstance(format_, str):
            raise AtollError(
                "E_TYPE", f"column {name!r}: a format belongs to dates and timestamps", column=name
            )
        used = re.findall(r"%(.?)", format_)
        if not set(used) <= _DATE_DIRECTIVES or len(set(used)) != len(used) or not set("Ymd") <= set(used):
            raise AtollError(
                "E_TYPE",
                f"column {name!r}: a format is made of %Y %m %d and, for timestamps, %H %M %S %f, once each",
                column=name,
            )
    if kind is not None:
        probe = dict(facts)
        if kind == "decimal":
            probe.setdefault("scale", 0)
            probe.setdefault("precision", MAX_PRECISION)
        Column(name=name, type=kind, **probe)
    nulls = _markers(f"column {name!r}:", body["null"]) if "null" in body else None
    return Declared(kind, facts, nulls, format_)
