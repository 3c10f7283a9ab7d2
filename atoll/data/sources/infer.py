"""Types of text columns, from all their values.

Rules: identifiers stay text (leading zeros, a plus sign, more than 18 digits); decimals keep their scale and
never become floats unless written with an exponent (a minority of whole numbers such as 1e+05 among plain
ones stays exact); booleans are only true and false; dates are yyyy-mm-dd and
yyyy/mm/dd (yyyymmdd only if declared); a column without values is text. Where at most one value in ten does
not fit the type of the others, the type stands, the owner is warned, and these values are refused as bad.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from atoll.data.engine import literal
from atoll.data.schema import MAX_PRECISION, Type

INT = r"-?(0|[1-9][0-9]{0,17})"
DECIMAL = r"-?(0|[1-9][0-9]*)\.[0-9]+"
WHOLE = r"[+-]?[1-9][0-9]{0,8}[eE]\+?0?[0-9]"  # such as 1e+05, which some tools write for 100000
FLOAT = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"
BOOL = r"(?i:true|false)"
DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}/[0-9]{1,2}/[0-9]{1,2}"
TIME = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
ZONE = r"(Z|[+-][0-9]{2}:[0-9]{2})?"
TIMESTAMP = rf"({DATE})[T ]{TIME}{ZONE}"
_IDENTIFIER = r"\+[0-9].*|-?0[0-9].*|-?[0-9]{19,}"
_KINDS = "sbdtximwf"
TOLERANCE = 10  # one misfit in ten values


@dataclass(frozen=True)
class Inferred:
    """Type of a column, and how many of its values do not fit it."""

    type: Type
    precision: int | None
    scale: int | None
    values: int
    misfits: int


def _number(column: str, decimal: str, thousands: str | None) -> str:
    text = f"trim({column})"
    if thousands:
        text = f"replace({text}, {literal(thousands)}, '')"
    if decimal != ".":
        text = f"replace({text}, {literal(decimal)}, '.')"
    return text


def infer(
    con: duckdb.DuckDBPyConnection,
    relation: str,
    nulls: list[tuple[str, ...]],
    decimal: str,
    thousands: str | None,
) -> tuple[int, list[Inferred]]:
    """Row count and types of the text columns c0, c1... of `relation`, in one pass.

    Args:
        nulls: null markers of each column.
    """
    parts, inner = ["count(*)"], []
    for i, markers in enumerate(nulls):
        c = f"c{i}"
        listed = ", ".join(literal(m) for m in dict.fromkeys([*markers, ""]))
        inner.append(
            f"""CASE WHEN {c} IS NULL OR trim({c}) IN ({listed}) THEN NULL
            WHEN regexp_full_match(n{i}, {literal(INT)}) THEN 'i'
            WHEN regexp_full_match(n{i}, {literal(DECIMAL)}) THEN 'm'
            WHEN NOT contains('0123456789+-.tTfF', left(trim({c}), 1)) THEN 's'
            WHEN regexp_full_match(trim({c}), {literal(BOOL)}) THEN 'b'
            WHEN regexp_full_match(trim({c}), {literal(DATE)}) THEN 'd'
            WHEN regexp_full_match(trim({c}), {literal(TIMESTAMP)}) THEN 't'
            WHEN regexp_full_match(n{i}, {literal(_IDENTIFIER)}) THEN 'x'
            WHEN regexp_full_match(n{i}, {literal(WHOLE)}) THEN 'w'
            WHEN regexp_full_match(n{i}, {literal(FLOAT)}) THEN 'f'
            ELSE 's' END AS k{i}"""
        )
        parts += [f"count(*) FILTER (k{i} = '{kind}')" for kind in _KINDS]
        parts.append(f"max(length(ltrim(split_part(n{i}, '.', 1), '+-'))) FILTER (k{i} IN ('i', 'm'))")
        parts.append(f"max(length(split_part(n{i}, '.', 2))) FILTER (k{i} = 'm')")
    numbers = ", ".join(f"{_number(f'c{i}', decimal, thousands)} AS n{i}" for i in range(len(nulls)))
    query = (
        f"SELECT {', '.join(parts)} FROM (SELECT *, {', '.join(inner)} "  # noqa: S608, literals are quoted
        f"FROM (SELECT *, {numbers} FROM {relation}))"
    )
    row = con.execute(query).fetchone() or ()
    step = len(_KINDS) + 2
    return int(row[0]), [_decide(row[1 + step * i : 1 + step * (i + 1)]) for i in range(len(nulls))]


def _decide(counts: tuple[int | None, ...]) -> Inferred:
    s, b, d, t, x, i, m, w, f, whole, fraction = (n or 0 for n in counts)
    values = s + b + d + t + x + i + m + w + f

    def fits(count: int) -> bool:
        return values > 0 and (values - count) * TOLERANCE <= values

    text = Inferred("string", None, None, values, 0)
    if fits(b):
        return Inferred("bool", None, None, values, values - b)
    if fits(d):
        return Inferred("date", None, None, values, values - d)
    if fits(d + t):
        return Inferred("timestamp", None, None, values, values - d - t)
    if x or not fits(i + m + w + f):
        return text
    if f or w > i:
        return Inferred("float64", None, None, values, values - i - m - w - f)
    if not m:
        return Inferred("int64", None, None, values, values - i - w)
    digits = whole + fraction
    if digits > MAX_PRECISION:
        return text
    return Inferred("decimal", 18 if digits <= 18 else MAX_PRECISION, fraction, values, values - i - m - w)
