"""Parameter tables: the CSV files that a package brings, as rules and feature SQL see them.

Strict on purpose: one spelling for each value, so that what a reviewer reads is what the rules look up. A row is one
line; a value holds no line break and no character that would deceive a reader.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from atoll.crypto.document import Text
from atoll.errors import AtollError
from atoll.scripts.manifest import ColumnFacts, Table, Type, column_facts

MAX_BYTES = 4 << 20
MAX_ROWS = 100_000

# A row as RFC 4180 has it. The csv module also takes quotes inside a field without quotes.
_FIELD = r'(?:"(?:[^"]|"")*+"|[^",\r\n]*+)'
_ROW = re.compile(f"{_FIELD}(?:,{_FIELD})*+")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_DECIMAL = re.compile(r"(-?)(0|[1-9][0-9]{0,17})(?:\.([0-9]{1,18}))?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TEXT: TypeAdapter[str] = TypeAdapter(Text)
_CLASSES: dict[Type, type] = {"string": str, "int64": int, "decimal": int, "bool": bool, "date": date}

Key = str | int | date
Row = dict[str, Any]


@dataclass(frozen=True)
class ParameterTable:
    """The rows of a parameter table by their key, in the order of the file.

    Attributes:
        name: what rules and feature SQL call it.
        key: the key's column.
        columns: the facts of each column, in the order of the manifest.
        rows: each row, key included, as rules see it: decimals are whole numbers of 10^-scale, missing values None.
    """

    name: str
    key: str
    columns: dict[str, ColumnFacts]
    rows: dict[Key, Row]

    def look_up(self, key: Any) -> Row | None:
        """A fresh copy of the key's row, or None: for no such row, and for a key of another type."""
        fits = type(key) is _CLASSES[self.columns[self.key].type]
        row = self.rows.get(key) if fits else None
        return None if row is None else dict(row)

    def arrow(self) -> pa.Table:
        """The rows for feature SQL: string, int64, decimal128(p, s), bool and date32, in the order of the file."""
        fields = [pa.field(n, _arrow_type(f), nullable=f.nullable) for n, f in self.columns.items()]
        arrays = []
        for (name, facts), field in zip(self.columns.items(), fields, strict=True):
            values = [row[name] for row in self.rows.values()]
            if facts.type == "decimal":
                assert facts.scale is not None  # every decimal has one
                values = [None if v is None else Decimal(v).scaleb(-facts.scale) for v in values]
            arrays.append(pa.array(values, type=field.type))
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _arrow_type(facts: ColumnFacts) -> pa.DataType:
    if facts.type == "decimal":
        return pa.decimal128(facts.precision, facts.scale)
    plain = {"string": pa.string(), "int64": pa.int64(), "bool": pa.bool_(), "date": pa.date32()}
    return plain[facts.type]


def _string(text: str, facts: ColumnFacts) -> str:
    try:
        return _TEXT.validate_python(text)
    except ValidationError as error:
        cause = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise ValueError(cause.removeprefix("Value error, ")) from None


def _integer(text: str, facts: ColumnFacts) -> int:
    if _INTEGER.fullmatch(text) is None:
        raise ValueError("is no whole number; write it as 1250, or declare the column as string")
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError("does not fit 64 bits")
    return value


def _decimal(text: str, facts: ColumnFacts) -> int:
    assert facts.precision is not None  # every decimal has one
    assert facts.scale is not None
    found = _DECIMAL.fullmatch(text)
    if found is None:
        raise ValueError("is no decimal number; write it as 12.50")
    sign, whole, fraction = found[1], found[2], found[3] or ""
    if len(fraction) > facts.scale:
        raise ValueError(f"has more than {facts.scale} digits behind the point")
    value = int(whole + fraction.ljust(facts.scale, "0"))
    if value >= 10**facts.precision:
        raise ValueError(f"has more digits than decimal({facts.precision},{facts.scale}) holds")
    return -value if sign else value


def _bool(text: str, facts: ColumnFacts) -> bool:
    if text not in ("true", "false"):
        raise ValueError("is neither true nor false")
    return text == "true"


def _date(text: str, facts: ColumnFacts) -> date:
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError("is no date; write it as 2026-11-26")


_READERS: dict[Type, Callable[[str, ColumnFacts], Any]] = {
    "string": _string,
    "int64": _integer,
    "decimal": _decimal,
    "bool": _bool,
    "date": _date,
}


def _refuse(text: str, column: str | None = None) -> AtollError:
    cure = "Correct the table's file, then check the package again."
    return AtollError("E_SCRIPT", text, column=column, fault="caller", cure=cure)


def _lines(data: bytes, file: str) -> Iterator[tuple[int, list[str]]]:
    """The number and the fields of each line, the header's included."""
    if len(data) > MAX_BYTES:
        raise _refuse(f"{file}: {len(data)} bytes; a parameter table has at most {MAX_BYTES}.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        raise _refuse(f"{file}, row {row}: byte {error.start} is no UTF-8; save the file as UTF-8.") from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if lines[-1] == "":
        del lines[-1]
    if not lines:
        raise _refuse(f"{file}: the file is empty; the first row names the columns.")
    if len(lines) > MAX_ROWS + 1:
        raise _refuse(f"{file}: {len(lines) - 1} rows; a parameter table has at most {MAX_ROWS}.")
    for number, line in enumerate(lines, 1):
        if line == "":
            raise _refuse(f"{file}, row {number}: the row is empty; remove it.")
        if _ROW.fullmatch(line) is None:
            raise _refuse(
                f"{file}, row {number}: a quote stands alone, or a value has a line break. Write quotes around the "
                'whole value, and "" for a quote in it.'
            )
        try:
            yield number, next(csv.reader([line], strict=True))
        except csv.Error as error:
            raise _refuse(f"{file}, row {number}: {error}.") from None


def _header(names: list[str], table: Table) -> None:
    wanted = ", ".join(table.columns)
    for position, name in enumerate(names):
        if name not in table.columns:
            raise _refuse(f"{table.file}, row 1: {name[:80]!r} is no declared column; declared are {wanted}.")
        if name in names[:position]:
            raise _refuse(f"{table.file}, row 1: column {name!r} stands twice.", name)
    for name in table.columns:
        if name not in names:
            raise _refuse(f"{table.file}, row 1: column {name!r} is missing.", name)


def parse_table(data: bytes, name: str, table: Table) -> ParameterTable:
    """The rows of a parameter table's CSV file.

    Args:
        data: UTF-8 with or without a byte order mark, at most 4 MiB and 100,000 rows; the first row names exactly the
            declared columns, in any order. Lines end with LF or CR LF.
        name: the parameter's name in the manifest.
        table: what the manifest declares.

    Raises:
        AtollError: `E_SCRIPT` names the file, the row (the header is row 1) and the column.
    """
    columns = {column: column_facts(text) for column, text in table.columns.items()}
    lines = _lines(data, table.file)
    _, header = next(lines)
    _header(header, table)
    # Every row has the manifest's order, whatever the file's.
    order = [(column, facts, header.index(column)) for column, facts in columns.items()]
    rows: dict[Key, Row] = {}
    for number, fields in lines:
        if len(fields) != len(header):
            raise _refuse(f"{table.file}, row {number}: {len(fields)} values for {len(header)} columns.")
        row: Row = {}
        for column, facts, position in order:
            text = fields[position]
            where = f"{table.file}, row {number}, column {column}"
            if text == "":
                if column == table.key or not facts.nullable:
                    reason = (
                        "a key is never empty"
                        if column == table.key
                        else f"declare {facts.type}? if it may be"
                    )
                    raise _refuse(f"{where}: the value is empty; {reason}.", column)
                row[column] = None
                continue
            try:
                row[column] = _READERS[facts.type](text, facts)
            except ValueError as error:
                raise _refuse(f"{where}: {text[:40]!r}: {error}.", column) from None
        key = row[table.key]
        if key in rows:
            raise _refuse(
                f"{table.file}, row {number}, column {table.key}: the key {key!s:.40} stands twice.",
                table.key,
            )
        rows[key] = row
    return ParameterTable(name, table.key, columns, rows)
