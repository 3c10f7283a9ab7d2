"""Statistics from exact totals: nothing is rounded before the last step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Any, Final

import pyarrow as pa

from atoll.plan.operators.hidden_join import KEYS, ROWS
from atoll.plan.operators.withhold import ENOUGH

Json = dict[str, Any]
Number = int | Decimal
MORE_DIGITS: Final = 6
"""Digits of a mean, variance or covariance after those of its columns."""
_DIGITS: Final = 38
_MOST_DIGITS: Final = 76
_EXACT = Context(prec=200, rounding=ROUND_HALF_EVEN)


def _scale(value: Number) -> int:
    """Digits after the point; a total keeps those of its column."""
    if isinstance(value, int):
        return 0
    exponent = value.as_tuple().exponent
    return max(0, -int(exponent))


def _decimal(value: Fraction | None, scale: int) -> pa.Array:
    """A fraction rounded half to even at so many digits, as a decimal that holds it."""
    wanted = min(scale, _DIGITS)
    rounded = None
    if value is not None:
        exact = _EXACT.divide(Decimal(value.numerator), Decimal(value.denominator))
        rounded = exact.quantize(Decimal(1).scaleb(-wanted), context=_EXACT)
    fits = rounded is None or len(rounded.as_tuple().digits) <= _DIGITS
    kind = pa.decimal128(_DIGITS, wanted) if fits else pa.decimal256(_MOST_DIGITS, wanted)
    return pa.array([rounded], kind)


def _float(value: Decimal | None) -> pa.Array:
    return pa.array([None if value is None else float(value)], pa.float64())


def _covariance(rows: int, x: Fraction, y: Fraction, xy: Fraction) -> Fraction | None:
    """Of a sample, from sums; None for fewer than two rows."""
    return None if rows < 2 else (rows * xy - x * y) / (rows * (rows - 1))


def _root(value: Fraction) -> Decimal:
    """Square root to 60 digits and more."""
    return _EXACT.sqrt(_EXACT.divide(Decimal(value.numerator), Decimal(value.denominator)))


def _correlation(rows: int, sums: Sequence[Fraction]) -> Decimal | None:
    x, y, xx, yy, xy = sums
    spread = (rows * xx - x * x) * (rows * yy - y * y)
    if spread <= 0:
        return None
    top = rows * xy - x * y
    exact = _EXACT.divide(_EXACT.divide(Decimal(top.numerator), Decimal(top.denominator)), _root(spread))
    return max(Decimal(-1), min(Decimal(1), exact))


def _histogram(cells: Sequence[int] | None) -> pa.Array:
    """Numbers of rows, in order of the cells; null for one that is withheld."""
    found = None if cells is None else [None if count < 0 else count for count in cells]
    return pa.array([found], pa.list_(pa.int64()))


def _statistic(form: str, of: Sequence[Number], rows: int | None) -> pa.Array:
    """One statistic as a column of one row; null where too few keys matched, or it has no value."""
    scales = [_scale(value) for value in of]
    sums = [Fraction(value) for value in of]
    if form == "histogram":
        return _histogram(None if rows is None else [int(value) for value in of])
    if form == "sum":
        return _decimal(None if rows is None else sums[0], scales[0])
    if form == "mean":
        mean = None if not rows else sums[0] / rows
        return _decimal(mean, scales[0] + MORE_DIGITS)
    if form in ("variance", "stddev"):
        variance = None if rows is None else _covariance(rows, sums[0], sums[0], sums[1])
        if form == "stddev":
            return _float(None if variance is None else _root(variance))
        return _decimal(variance, 2 * scales[0] + MORE_DIGITS)
    if form == "covariance":
        covariance = None if rows is None else _covariance(rows, *sums)
        return _decimal(covariance, scales[0] + scales[1] + MORE_DIGITS)
    return _float(None if rows is None else _correlation(rows, sums))


def table(operator: Json, totals: Mapping[str, Any]) -> pa.Table:
    """One row of statistics.

    Args:
        operator: the plan's `open` operator.
        totals: what opened, by name: bool, int or Decimal.
    """
    enough = bool(totals[ENOUGH])
    rows = int(totals[ROWS]) if enough else None
    columns: dict[str, pa.Array] = {
        ENOUGH: pa.array([enough], pa.bool_()),
        KEYS: pa.array([int(totals[KEYS]) if enough else None], pa.int64()),
        ROWS: pa.array([rows], pa.int64()),
    }
    for result in operator["parameters"]["results"]:
        of = [totals[name] for name in result["of"]]
        columns[result["as"]] = _statistic(result["form"], of, rows)
    return pa.table(columns)
