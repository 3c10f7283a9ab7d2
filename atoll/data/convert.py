"""Values of a source to the one Arrow type that their column has in a snapshot.

Conversion never rounds, truncates, wraps or guesses: a value that is not exactly one of the type is bad.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from atoll.data.schema import Column, Declared
from atoll.data.sources.infer import BOOL, DATE, FLOAT, TIME, TIMESTAMP
from atoll.errors import AtollError


@dataclass(frozen=True)
class Reading:
    """How the text of a column is to be read."""

    nulls: tuple[str, ...] = ()
    decimal: str = "."
    thousands: str | None = None
    format: str | None = None

    @classmethod
    def of(cls, declared: Declared, nulls: tuple[str, ...], decimal: str, thousands: str | None) -> Reading:
        """The reading of one declared column."""
        for mark in (decimal, thousands):
            if mark is not None and (len(mark) != 1 or not mark.isascii() or mark.isalnum() or mark in "+-"):
                raise AtollError(
                    "E_FORMAT", f"the number mark {mark!r:.20} is not one ASCII punctuation character"
                )
        if decimal == thousands:
            raise AtollError("E_FORMAT", "the decimal mark and the thousands separator are the same")
        return cls(nulls, decimal, thousands, declared.format)


@dataclass(frozen=True)
class Converted:
    """`values` in the column's type, null where `bad` (bool, no nulls; None if no value is bad) is true."""

    values: pa.Array
    bad: pa.Array | None
    want: str


_WANT = {
    "string": "is not valid text",
    "int64": "is not a whole number from -2^63 to 2^63-1",
    "float64": "is not a finite number",
    "bool": "is not true or false",
    "date": "is not a date like 2026-01-31",
    "timestamp": "is not a time like 2026-01-31 23:59:59",
}


def want(column: Column, reading: Reading) -> str:
    """What is wrong with a value that is not one of the column's type, as the end of a sentence."""
    if column.type == "decimal":
        return (
            f"is not a decimal of at most {column.precision} digits, {column.scale} of them after the point"
        )
    if reading.format is not None:
        return f"is not written as {reading.format}"
    return _WANT[column.type]


def _any(mask: pa.Array) -> pa.Array | None:
    return mask if pc.any(mask).as_py() else None


def _each(
    values: pa.Array, cast: Callable[[pa.Array], pa.Array], kind: pa.DataType
) -> tuple[pa.Array, pa.Array]:
    """Casts value by value: the result, and which values cannot be cast. Only for batches that hold a bad
    value.
    """
    if len(values) > 1:
        half = len(values) // 2
        parts = []
        for part in (values.slice(0, half), values.slice(half)):
            try:
                parts.append((cast(part), pa.array([False] * len(part))))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                parts.append(_each(part, cast, kind))
        return pa.concat_arrays([p[0] for p in parts]), pa.concat_arrays([p[1] for p in parts])
    return pa.nulls(1, kind), pa.array([True])


def _cast(
    values: pa.Array, cast: Callable[[pa.Array], pa.Array], kind: pa.DataType
) -> tuple[pa.Array, pa.Array | None]:
    try:
        return cast(values), None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _each(values, cast, kind)


def convert(raw: pa.Array, column: Column, reading: Reading) -> Converted:
    """Converts one column of a batch.

    Text is trimmed and parsed (null markers become null; a string column keeps its text as it is); typed
    values are cast where that is exact. NaN in a float column is null.

    Raises:
        AtollError: `E_TYPE` if values of the source's type can never become the column's type.
    """
    if pa.types.is_dictionary(raw.type):
        raw = raw.dictionary_decode()
    if pa.types.is_large_string(raw.type) or pa.types.is_string_view(raw.type):
        raw = raw.cast(pa.string())
    if pa.types.is_null(raw.type):
        return Converted(pa.nulls(len(raw), column.arrow), None, "")
    message = want(column, reading)
    if pa.types.is_string(raw.type):
        values, bad = _text(raw, column, reading)
    else:
        values, bad = _typed(raw, column)
    if column.type == "float64":
        values = pc.if_else(pc.fill_null(pc.is_nan(values), False), pa.scalar(None, pa.float64()), values)
        infinite = pc.fill_null(pc.is_inf(values), False)
        bad = infinite if bad is None else pc.or_(bad, infinite)
    bad = None if bad is None else _any(bad)
    if bad is not None:
        values = pc.if_else(bad, pa.scalar(None, values.type), values)
    return Converted(values, bad, message)


def _text(raw: pa.Array, column: Column, reading: Reading) -> tuple[pa.Array, pa.Array | None]:
    markers = pa.array(list(reading.nulls), pa.string())
    none = pa.scalar(None, pa.string())
    if column.type == "string":
        if len(markers):
            raw = pc.if_else(pc.is_in(raw, value_set=markers), none, raw)
        return raw, None
    text = pc.ascii_trim_whitespace(raw)
    text = pc.if_else(pc.is_in(text, value_set=pa.array(["", *reading.nulls], pa.string())), none, text)
    if text.null_count == len(text):
        return pa.nulls(len(text), column.arrow), None
    pattern = _pattern(column, reading)
    fits = pc.fill_null(pc.match_substring_regex(text, rf"\A(?:{pattern})\z"), True)
    text = pc.if_else(fits, text, none)
    values, failed = _cast(text, _parser(column, reading), column.arrow)
    misfit = pc.invert(fits)
    return values, misfit if failed is None else pc.or_(misfit, failed)


_EXPONENT = "[eE][+-]?[0-9]{1,2}"


def _expand(text: pa.Array) -> pa.Array:
    """Numbers with an exponent, such as 1e+05, written out: exact, and rare enough for Python."""
    written = pc.fill_null(pc.match_substring_regex(text, "[eE]"), False)
    if not pc.any(written).as_py():
        return text
    plain = [format(Decimal(number), "f") for number in text.filter(written).to_pylist()]
    return pc.replace_with_mask(text, written, pa.array(plain, pa.string()))


def _whole(reading: Reading) -> str:
    if reading.thousands is None:
        return "[0-9]+"
    return rf"(?:[0-9]{{1,3}}(?:{re.escape(reading.thousands)}[0-9]{{3}})+|[0-9]+)"


def _pattern(column: Column, reading: Reading) -> str:
    mark = re.escape(reading.decimal)
    if reading.format is not None:
        return _format(reading.format)[0]
    match column.type:
        case "int64":
            return rf"[+-]?{_whole(reading)}(?:{_EXPONENT})?"
        case "decimal":
            return rf"[+-]?{_whole(reading)}(?:{mark}[0-9]{{1,64}})?(?:{_EXPONENT})?"
        case "float64":
            if reading.decimal == "." and reading.thousands is None:
                return FLOAT
            return rf"[+-]?{_whole(reading)}(?:{mark}[0-9]*)?(?:[eE][+-]?[0-9]{{1,3}})?"
        case "bool":
            return BOOL
        case "date":
            return DATE
        case _:
            return rf"{TIMESTAMP}|{DATE}"


_DIRECTIVES = {"Y": "[0-9]{4}", "m": "[0-9]{1,2}", "d": "[0-9]{1,2}", "H": "[0-9]{2}", "M": "[0-9]{2}",
               "S": "[0-9]{2}", "f": "[0-9]{1,6}"}  # fmt: skip


def _format(format_: str) -> tuple[str, list[str]]:
    """A declared format as a regular expression with one group per directive, and the directives in order."""
    order: list[str] = []
    packed = re.search(r"%[mdHMS]%[mdHMS]", format_) or re.search(r"%Y%[mdHMS]|%[mdHMS]%Y", format_)
    pattern = ""
    for part in re.split(r"(%.)", format_):
        if part.startswith("%"):
            order.append(part[1])
            digits = _DIRECTIVES[part[1]]
            pattern += f"({digits.replace('{1,2}', '{2}') if packed else digits})"
        else:
            pattern += re.escape(part)
    return pattern, order


def _pad(text: pa.Array) -> pa.Array:
    """yyyy/m/d to yyyy-mm-dd, at the start of each text."""
    slashed = pc.replace_substring_regex(text, r"^([0-9]{4})[/-]([0-9])([/-])", r"\1-0\2\3")
    slashed = pc.replace_substring_regex(
        slashed, r"^([0-9]{4})[/-]([0-9]{2})[/-]([0-9])($|[T ])", r"\1-\2-0\3\4"
    )
    return pc.replace_substring_regex(slashed, r"^([0-9]{4})[/-]([0-9]{2})[/-]([0-9]{2})", r"\1-\2-\3")


def _parser(column: Column, reading: Reading) -> Callable[[pa.Array], pa.Array]:
    kind = column.arrow

    def number(text: pa.Array) -> pa.Array:
        if reading.thousands is not None:
            text = pc.replace_substring(text, reading.thousands, "")
        if reading.decimal != ".":
            text = pc.replace_substring(text, reading.decimal, ".")
        text = pc.replace_substring_regex(text, r"^\+", "")
        if column.type != "float64":
            text = _expand(text)
        if column.type == "decimal":
            text = pc.replace_substring_regex(text, r"(\.[0-9]*?)0+$", r"\1")
            text = pc.replace_substring_regex(text, r"\.$", "")
            text = pc.replace_substring_regex(text, r"^(-?)0+([0-9])", r"\1\2")
        return text.cast(kind)

    def moment(text: pa.Array) -> pa.Array:
        if reading.format is not None:
            pattern, order = _format(reading.format)
            at = {directive: f"\\{i}" for i, directive in enumerate(order, 1)}
            iso = f"{at['Y']}-{at['m']}-{at['d']}"
            if column.type == "timestamp":
                iso += f" {at.get('H', '00')}:{at.get('M', '00')}:{at.get('S', '00')}"
                iso += f".{at['f']}" if "f" in at else ""
            text = pc.replace_substring_regex(text, rf"\A{pattern}\z", iso)
        if column.type == "date":
            return _pad(text).cast(kind)
        text = _pad(text)
        zoned = pc.match_substring_regex(text, rf"{TIME}(Z|[+-][0-9]{{2}}:[0-9]{{2}})$")
        if not pc.any(zoned).as_py():
            return text.cast(kind)
        none = pa.scalar(None, pa.string())
        utc = pc.if_else(zoned, text, none).cast(pa.timestamp("us", "UTC")).cast(kind)
        return pc.coalesce(utc, pc.if_else(zoned, none, text).cast(kind))

    if column.type in ("int64", "decimal", "float64"):
        return number
    if column.type in ("date", "timestamp"):
        return moment
    return lambda text: pc.utf8_lower(text).cast(kind)


def _typed(raw: pa.Array, column: Column) -> tuple[pa.Array, pa.Array | None]:
    source, kind, types = raw.type, column.arrow, pa.types
    if source == kind:
        return raw, None
    number = types.is_integer(source) or types.is_decimal(source) or types.is_floating(source)
    allowed = {
        "string": number or types.is_boolean(source) or types.is_date(source) or types.is_timestamp(source),
        "int64": number,
        "decimal": number,
        "float64": number,
        "bool": types.is_boolean(source),
        "date": types.is_date(source) or types.is_timestamp(source),
        "timestamp": types.is_timestamp(source) or types.is_date(source),
    }[column.type]
    if not allowed or (column.type == "string" and types.is_floating(source)):
        raise AtollError(
            "E_TYPE",
            f"column {column.name!r}: values of type {source} cannot become {column.type}",
            column=column.name,
        )

    def cast(values: pa.Array) -> pa.Array:
        if types.is_timestamp(source):
            if source.tz is not None:
                values = values.cast(pa.timestamp(source.unit, "UTC")).cast(pa.timestamp(source.unit))
            values = values.cast(pa.timestamp("us"))
            if column.type == "timestamp":
                return values
            days = values.cast(kind)
            # Arrow drops the time of day where only a date is asked for.
            if column.type == "date" and not pc.all(pc.equal(days.cast(values.type), values)).as_py():
                raise pa.ArrowInvalid("inexact")
            return days
        if column.type == "decimal" and types.is_integer(source):
            return values.cast(pa.string()).cast(kind)
        out = values.cast(kind)
        if types.is_floating(source) and not types.is_floating(kind):
            # Arrow rounds floats to the nearest decimal: keep only those that come back unchanged.
            same = pc.equal(out.cast(pa.float64()), values.cast(pa.float64()))
            if not pc.all(same).as_py():
                raise pa.ArrowInvalid("inexact")
        return out

    if types.is_floating(source) and not types.is_floating(kind):
        raw = pc.if_else(pc.is_nan(raw), pa.scalar(None, source), raw)
    return _cast(raw, cast, kind)
