"""Rows of an own table for which a condition holds: `amount > 1000 AND region IN ('north', 'south')`.

The text is read with sqlglot, every node is checked against what is allowed, and the engine's SQL is generated from
that: it knows columns, values, comparisons and arithmetic, and no function, no other table, no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import numpy.typing as npt
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from atoll.data import engine
from atoll.data.schema import Column
from atoll.errors import AtollError

MAX_CHARACTERS: Final = 4096
_MAX_DEPTH: Final = 40
_DIALECT: Final = "duckdb"
_ALLOWED: Final = (
    exp.And, exp.Or, exp.Not, exp.Paren, exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.In, exp.Between,
    exp.Is, exp.Null, exp.Like, exp.Add, exp.Sub, exp.Mul, exp.Neg, exp.Literal, exp.Boolean, exp.Column,
    exp.Identifier,
)  # fmt: skip


def _refuse(text: str, column: str | None = None) -> AtollError:
    cure = "A condition compares columns of the table with values: amount > 1000 AND region IN ('north', 'south')."
    return AtollError("E_FORMAT", f"condition: {text}", column=column, cure=cure, fault="caller")


def _checked(text: str, columns: Mapping[str, Column]) -> exp.Expression:
    if not text.strip() or len(text) > MAX_CHARACTERS:
        raise _refuse(f"it has 1 to {MAX_CHARACTERS} characters, not {len(text)}")
    if text.count("(") > _MAX_DEPTH:
        raise _refuse("it is nested too deeply")
    try:
        # As the filter of a query, so that nothing else can stand behind it.
        statements = sqlglot.parse(f"SELECT 1 WHERE {text}", read=_DIALECT)
    except (SqlglotError, RecursionError) as error:
        reason = str(error).partition("\n")[0].partition(". Line")[0]
        raise _refuse(f"it cannot be read: {reason:.200}") from None
    tree = statements[0] if len(statements) == 1 else None
    if not isinstance(tree, exp.Select) or {k for k, v in tree.args.items() if v} != {"expressions", "where"}:
        raise _refuse("it is more than a condition")
    condition: exp.Expression = tree.args["where"].this
    for node in condition.walk():
        if not isinstance(node, _ALLOWED):
            raise _refuse(f"{node.key.upper()} is not allowed")
        if any(
            node.args.get(key) for key in ("query", "unnest", "field", "table", "db", "catalog", "join_mark")
        ):
            raise _refuse(f"{node.sql(_DIALECT):.80} is not allowed")
    return condition


def _resolved(condition: exp.Expression, columns: Mapping[str, Column], table: str) -> str:
    for found in list(condition.find_all(exp.Column)):
        name = found.name
        if name not in columns:
            text = f"{table} has no column {name!r}"
            raise AtollError("E_COLUMN", text, column=name, fault="caller")
        found.set("this", exp.to_identifier(name, quoted=True))
    return condition.sql(_DIALECT)


def rows_where(
    data: Path, columns: Mapping[str, Column], text: str, table: str, *, work: Path | None = None
) -> npt.NDArray[np.bool_]:
    """Whether the condition holds, for each row of a version; a row for which it is neither true nor false is left out.

    Args:
        data: the version's file.
        columns: the table's columns by name.
        text: the condition.
        table: what errors call the table.
        work: folder for the engine's temporary files.

    Raises:
        AtollError: `E_FORMAT` for what is no condition, or does not fit the columns' types; `E_COLUMN` naming a column
            that is not there; `E_MEMORY`; `E_DATA` if the file is damaged. No error shows a value of the table.
    """
    condition = _resolved(_checked(text, columns), columns, table)
    query = f"SELECT coalesce({condition}, false) AS holds FROM read_parquet(?, hive_partitioning=false)"  # noqa: S608, generated
    file = data.absolute()
    try:
        with engine.connect(file, work=work) as con:
            found = con.execute(query, [str(file)]).fetchnumpy()["holds"]
    except (duckdb.BinderException, duckdb.ConversionException, duckdb.InvalidInputException):
        # The engine's words may hold a value.
        raise _refuse(f"it does not fit the types of {table}'s columns") from None
    except duckdb.OutOfRangeException:
        raise _refuse(f"a sum or product of {table}'s columns is too large") from None
    except duckdb.Error as error:
        raise AtollError("E_DATA", f"{data} cannot be read: {str(error).partition(chr(10))[0]}") from None
    if found.dtype != np.bool_:
        raise _refuse("it is a value, and neither true nor false")
    return np.asarray(found, np.bool_)
