"""Columns that are added: their declared ranges, and their exact values as whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, InvalidOperation
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from atoll.agreements import Column
from atoll.data.read import read
from atoll.errors import AtollError
from atoll.functions.context import LocalInput

# Wide enough for any decimal of 38 digits: nothing is rounded by accident.
_EXACT = Context(prec=100)


def value_range(column: Column) -> list[str]:
    """The declared range in whole units of 10^-scale, or what the type can hold; `E_RANGE` if it is no
    number.
    """
    scale = column.scale or 0
    if column.range is not None:
        try:
            low, high = (_EXACT.scaleb(Decimal(text), scale) for text in column.range)
            bounds = (low.to_integral_value(ROUND_FLOOR), high.to_integral_value(ROUND_CEILING))
            return [str(int(bound)) for bound in bounds]
        except (InvalidOperation, ValueError, OverflowError):
            raise AtollError(
                "E_RANGE",
                f"The declared range of {column.name!r} is no range of numbers.",
                column=column.name,
            ) from None
    if column.precision is not None:
        return [str(1 - 10**column.precision), str(10**column.precision - 1)]
    return [str(-(2**63)), str(2**63 - 1)]


def check_values(
    local: LocalInput, values: Sequence[dict[str, Any]], columns: Sequence[str], step: str, party: str
) -> int:
    """Number of rows; `E_RANGE` for a value outside the range that the plan declares, so that no sum can overflow.

    Args:
        values: `column`, `scale` and `range` of each.
        columns: what is read to count the rows: those of the values, or others where there is none.
    """
    rows = 0
    bounds = {v["column"]: [Decimal(b).scaleb(-v["scale"]) for b in v["range"]] for v in values}
    for batch in read(local.data, columns):
        rows += batch.num_rows
        for name, (low, high) in bounds.items():
            found = pc.min_max(batch.column(name)).as_py()
            if found["min"] is not None and not (low <= found["min"] and found["max"] <= high):
                value = found["min"] if found["min"] < low else found["max"]
                raise AtollError(
                    "E_RANGE",
                    f"{local.asset}.{name} holds {value}; the plan allows {low} to {high}",
                    step=step,
                    party=party,
                    column=name,
                    wire_column=True,
                    fault="data",
                )
    return rows


def words(
    local: LocalInput,
    values: Sequence[dict[str, Any]],
    step: str,
    party: str,
    *,
    missing: Literal["refuse", "zero"] = "refuse",
) -> npt.NDArray[np.uint64]:
    """The values in whole units of 10^-scale as 64-bit words, a row each; negative ones as two's complement.

    Every value must be within a range of 64 bits: see `check_values`. A missing one is refused where a sum would be
    told as that of all rows; as zero it adds nothing, as in SQL.

    Returns:
        Shape (rows, values), uint64 little-endian.

    Raises:
        AtollError: `E_DATA` names a column in which a value is missing.
    """
    names = [value["column"] for value in values]
    parts = []
    for batch in read(local.data, names):
        part = np.empty((batch.num_rows, len(names)), "<u8")
        for number, name in enumerate(names):
            column = batch.column(name)
            if column.null_count and missing == "zero":
                column = pc.fill_null(
                    column, pa.scalar(0 if column.type == pa.int64() else Decimal(0), column.type)
                )
            if column.null_count:
                raise AtollError(
                    "E_DATA",
                    f"{local.asset}.{name} has rows without a value, which cannot be added",
                    step=step,
                    party=party,
                    column=name,
                    wire_column=True,
                    fault="data",
                    cure="Fill the column, or leave the rows out of the table.",
                )
            part[:, number] = _words(column)
        parts.append(part)
    return np.concatenate(parts) if parts else np.empty((0, len(names)), "<u8")


def _words(column: pa.Array) -> npt.NDArray[np.uint64]:
    """The lowest 64 bits of each value; an int64, or the digits of a decimal."""
    if not len(column):
        # Nothing need stand behind an empty column.
        return np.empty(0, "<u8")
    wide = pa.types.is_decimal(column.type)
    array = column.cast(pa.decimal128(38, column.type.scale)) if wide else column.cast(pa.int64())
    found = np.frombuffer(array.buffers()[1], "<u8").reshape(-1, 2 if wide else 1)
    low: npt.NDArray[np.uint64] = found[array.offset : array.offset + len(array), 0]
    return low
