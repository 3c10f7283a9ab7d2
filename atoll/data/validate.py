"""Rows of a source, converted to their schema and checked against what is declared: the way into a
snapshot.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
import pyarrow.compute as pc

from atoll.data.convert import Reading, convert
from atoll.data.schema import Column, Schema
from atoll.data.sources.base import LISTED, BadRow, BadRows, Source
from atoll.errors import AtollError


class Validator:
    """An iterable of checked batches.

    With `bad_rows="refuse"` the whole source is read, and then `E_DATA`, `E_TYPE` or `E_RANGE` (the code of
    the first bad row) tells how many rows are bad and lists the first 20 with place, column and value; after
    the first bad row no more batches come out. With "skip" bad rows are left out and counted.

    Attributes:
        rows: rows that came out.
        skipped: bad rows left out.
        examples: the first 20 bad rows.
    """

    def __init__(self, source: Source, schema: Schema, bad_rows: BadRows, *, empty: bool = False) -> None:
        if bad_rows not in ("refuse", "skip"):
            raise AtollError("E_FORMAT", f"bad_rows is 'refuse' or 'skip', not {bad_rows!r:.40}")
        self.source, self.schema, self.bad_rows, self._empty = source, schema, bad_rows, empty
        declaration = source.declaration
        options = declaration.options
        self._readings = [
            Reading.of(
                declaration[c.name],
                source.nulls(c.name),
                options.get("decimal", "."),
                options.get("thousands"),
            )
            for c in schema
        ]
        self._bounds = [None if c.range is None else _bounds(c) for c in schema]
        self._codes = [None if c.codes is None else _codes(c) for c in schema]
        self.rows = self.skipped = 0
        self.examples: list[BadRow] = []

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        inspection = self.source.inspect()
        self.rows, self.skipped = 0, inspection.malformed
        self.examples = list(inspection.examples)
        self._found: list[tuple[int, str, str | None, str, str]] = []
        first = 0
        for raw in self.source.batches(self.schema):
            batch = self._check(raw, first)
            first += raw.num_rows
            if batch.num_rows and (self.bad_rows == "skip" or not self.skipped):
                self.rows += batch.num_rows
                yield batch
        self._finish()

    def _check(self, raw: pa.RecordBatch, first: int) -> pa.RecordBatch:
        arrays, bad_any = [], None
        for i, column in enumerate(self.schema):
            values, bad = self._column(raw.column(i), i, column, first)
            arrays.append(values)
            if bad is not None:
                bad_any = bad if bad_any is None else pc.or_(bad_any, bad)
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema.arrow)
        if bad_any is None:
            return batch
        self.skipped += pc.sum(bad_any).as_py()
        return batch.filter(pc.invert(bad_any))

    def _column(self, raw: pa.Array, i: int, column: Column, first: int) -> tuple[pa.Array, pa.Array | None]:
        converted = convert(raw, column, self._readings[i])
        values, bad = converted.values, converted.bad
        if bad is not None:
            self._note(bad, raw, column, first, "E_TYPE", converted.want)

        def also(mask: pa.Array, code: str, reason: str) -> None:
            nonlocal bad
            mask = pc.fill_null(mask, False)
            if bad is not None:
                mask = pc.and_not(mask, bad)
            if pc.any(mask).as_py():
                self._note(mask, raw, column, first, code, reason)
                bad = mask if bad is None else pc.or_(bad, mask)

        if not column.nullable and values.null_count:
            also(pc.is_null(values), "E_DATA", "is missing, and the column is declared not nullable")
        bounds = self._bounds[i]
        if bounds is not None:
            low, high = bounds
            outside = pc.or_(pc.less(values, low), pc.greater(values, high))
            also(outside, "E_RANGE", f"is outside the declared range {' to '.join(column.range or ())}")
        codes = self._codes[i]
        if codes is not None:
            unknown = pc.and_(pc.invert(pc.is_in(values, value_set=codes)), pc.is_valid(values))
            also(unknown, "E_RANGE", "is not in the declared code list")
        return values, bad

    def _note(
        self, mask: pa.Array, raw: pa.Array, column: Column, first: int, code: str, reason: str
    ) -> None:
        """Keeps the first bad rows of this column in this batch, as long as they can be among the first
        20.
        """
        positions = pc.indices_nonzero(mask).slice(0, LISTED).to_pylist()
        for at in positions:
            value = raw[at].as_py()
            shown = None if value is None else str(value)[:80]
            self._found.append((first + at, column.name, shown, code, reason))
        self._found = sorted(self._found, key=lambda found: found[0])[: 2 * LISTED]

    def _finish(self) -> None:
        rows = sorted({found[0] for found in self._found})[:LISTED]
        places = dict(zip(rows, self.source.places(rows), strict=True)) if rows else {}
        self.examples += [
            BadRow(places[row], column, value, code, reason)
            for row, column, value, code, reason in self._found
            if row in places
        ]
        del self.examples[LISTED:]
        name = self.source.name
        if self.skipped and self.bad_rows == "refuse":
            listed = "; ".join(str(row) for row in self.examples)
            head = self.examples[0]
            raise AtollError(
                head.code,
                f"{name} has {self.skipped} bad {'row' if self.skipped == 1 else 'rows'}: {listed}",
                column=head.column,
                cure="Correct these rows, declare the column otherwise, or let bad rows be skipped.",
                detail={
                    "file": name,
                    "bad_rows": self.skipped,
                    "examples": [r.to_json() for r in self.examples],
                },
            )
        if self.rows == 0 and not self._empty:
            raise AtollError(
                "E_DATA", f"{name} has no rows to take", detail={"file": name, "bad_rows": self.skipped}
            )


@dataclass(frozen=True)
class Checked:
    """What a check of all rows found: sound rows, bad rows, and the first 20 bad ones."""

    rows: int
    bad: int
    examples: tuple[BadRow, ...]


def check_rows(source: Source, schema: Schema) -> Checked:
    """Reads every row as a snapshot would, keeps none of it, and refuses none.

    Raises:
        AtollError: what the source raises; never for a bad row, and not for a table without a sound one.
    """
    validator = Validator(source, schema, "skip", empty=True)
    for _ in validator:
        pass
    return Checked(validator.rows, validator.skipped, tuple(validator.examples))


def _bounds(column: Column) -> tuple[pa.Scalar, pa.Scalar]:
    """The bounds as Arrow scalars of the column's own type; decimal bounds are rounded inwards to its
    scale.
    """
    low, high = column.bounds()
    if column.type == "decimal":
        scale, limit = column.scale or 0, 10 ** (column.precision or 1) - 1
        whole_low = max(-limit, math.ceil(Fraction(low) * 10**scale))
        whole_high = min(limit, math.floor(Fraction(high) * 10**scale))
        low, high = (
            Decimal((v < 0, Decimal(abs(v)).as_tuple().digits, -scale)) for v in (whole_low, whole_high)
        )
    return pa.scalar(low, column.arrow), pa.scalar(high, column.arrow)


def _codes(column: Column) -> pa.Array:
    codes = list(column.codes or {})
    try:
        return pa.array(codes if column.type == "string" else [int(c) for c in codes], column.arrow)
    except (ValueError, pa.ArrowInvalid, OverflowError):
        raise AtollError(
            "E_TYPE",
            f"column {column.name!r}: its code list has a code that is not a whole number",
            column=column.name,
        ) from None
