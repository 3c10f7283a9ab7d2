"""Features of calls, computed by a locked DuckDB in memory: no file, no extension, no setting, no clock.

The statement comes from `atoll.scripts.features`, which alone decides what runs. A call's features do not depend on
the calls beside it: where a batch fails, its halves run, down to the call that fails.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

from atoll.errors import AtollError
from atoll.scripts.feature_terms import kind_of, quoted
from atoll.scripts.features import FeatureQuery
from atoll.scripts.manifest import ColumnFacts, ColumnText, Manifest, column_facts

# Decisions of the planner that look at the data, and filters that come to be while a query runs: without them a row
# meets the same expressions in a batch and alone.
_OPTIMIZERS = (
    "build_side_probe_side",
    "join_filter_pushdown",
    "join_order",
    "late_materialization",
    "reorder_filter",
    "row_group_pruner",
    "statistics_propagation",
)
# The thread that asks is the only one: where the engine runs there may be no right to start others.
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "threads": "1",
}
_SETTINGS = (
    "SET temp_directory = ''",
    "SET preserve_insertion_order = true",
    "SET TimeZone = 'UTC'",
    "SET python_enable_replacements = false",
    "SET enable_external_access = false",
    f"SET disabled_optimizers = '{','.join(_OPTIMIZERS)}'",
)
# Up to so many rows are faster handed over as values than as an Arrow table.
_FEW = 64


class FeatureEngine:
    """The feature query of one package, prepared; for one thread.

    Args:
        query: checked, without findings.
        manifest: of the package.
        parameters: its parameter tables by name, with the manifest's columns.
        memory_bytes: most memory of the engine.

    Raises:
        AtollError: `E_SCRIPT` if the engine refuses the statement.
    """

    def __init__(
        self, query: FeatureQuery, manifest: Manifest, parameters: dict[str, pa.Table], *, memory_bytes: int
    ) -> None:
        assert not query.findings  # such a package is refused before anything of it runs
        assert manifest.features is not None
        self._sql = query.sql
        self._inputs = {name: _visible(of.columns) for name, of in manifest.inputs.items()}
        self._tables = {name: _visible(of.columns) for name, of in manifest.parameters.items()}
        self._parameters = parameters
        self._file = manifest.features.file
        self._memory = memory_bytes
        columns = sorted(manifest.features.columns.items())
        self._features = [(name, column_facts(text)) for name, text in columns]
        self._order = list(manifest.features.columns)
        self._interrupted = False
        self._connection = self._open()

    def _open(self) -> duckdb.DuckDBPyConnection:
        try:
            con = duckdb.connect(":memory:", config=_CONFIG | {"async_threads": "0"})
        except duckdb.Error:
            con = duckdb.connect(":memory:", config=_CONFIG)  # a version that has no such threads
        con.execute(f"SET memory_limit = '{max(self._memory >> 20, 1)}MiB'")
        for setting in _SETTINGS:
            con.execute(setting)
        con.execute('CREATE TABLE "__calls" ("__call" INTEGER, "today" DATE)')
        for name, columns in self._inputs.items():
            con.execute(f"CREATE TABLE {quoted(f'__input_{name}')} ({_definition(columns, call=True)})")
        for name, columns in self._tables.items():
            con.execute(f"CREATE TABLE {quoted(f'__table_{name}')} ({_definition(columns, call=False)})")
            _insert(con, f"__table_{name}", _renamed(self._parameters[name], columns, call=False))
        con.execute("SET lock_configuration = true")
        try:
            con.execute(f"PREPARE features AS {self._sql}")
            con.execute("EXECUTE features").fetchall()
        except duckdb.Error as error:
            con.close()
            text = f"{self._file}: the engine refuses the statement: {_first_line(error)}"
            raise AtollError("E_SCRIPT", text, fault="caller") from None
        return con

    def close(self) -> None:
        """Frees the engine's memory."""
        self._connection.close()

    def interrupt(self) -> None:
        """Stops a `run` in another thread: its calls get no features. The engine can be used again."""
        self._interrupted = True
        self._connection.interrupt()

    def run(
        self, calls: int, today: Sequence[datetime.date], inputs: dict[str, pa.Table]
    ) -> list[dict[str, Any] | None]:
        """The features of each call.

        Args:
            calls: how many.
            today: the frozen date of each.
            inputs: by name, the rows of all calls: `__call` int32 from 0, and the manifest's columns.

        Returns:
            For each call the features as rules see them (decimals as whole numbers of 10^-scale), or None: no row or
            several, a value missing that the manifest says is there, an error, or interrupted.
        """
        self._interrupted = False
        assert len(today) == calls
        frames = {
            f"__input_{name}": _renamed(inputs[name], columns, call=True)
            for name, columns in self._inputs.items()
        }
        frames["__calls"] = pa.table(
            {"__call": pa.array(range(calls), pa.int32()), "today": pa.array(today, pa.date32())}
        )
        found: list[dict[str, Any] | None] = [None] * calls
        waiting = [(0, calls)]
        while waiting and not self._interrupted:
            start, end = waiting.pop()
            part = frames if (start, end) == (0, calls) else _between(frames, start, end)
            rows = self._execute(part)
            if rows is None and end - start > 1:
                middle = (start + end) // 2
                waiting += [(middle, end), (start, middle)]
            for row in rows or ():
                found[row[0]] = self._features_of(row)
            for call in _repeated(rows or ()):
                found[call] = None
        return found

    def _execute(self, frames: dict[str, pa.Table]) -> list[tuple[Any, ...]] | None:
        """The statement's rows over these tables; None if it fails."""
        con = self._connection
        try:
            con.execute("BEGIN")
            for name, frame in frames.items():
                _insert(con, name, frame)
            rows: list[tuple[Any, ...]] = con.execute("EXECUTE features").fetchall()
        except (duckdb.FatalException, duckdb.InternalException):
            # Nothing can be done with that connection any more.
            con.close()
            self._connection = self._open()
            return None
        except (duckdb.Error, ValueError, OverflowError):  # the latter: a value that Python cannot hold
            rows = None  # type: ignore[assignment]  # said below
        with contextlib.suppress(duckdb.Error):
            con.execute("ROLLBACK")  # takes the rows out again, whatever happened
        return rows

    def _features_of(self, row: tuple[Any, ...]) -> dict[str, Any] | None:
        values = {}
        for (name, facts), value in zip(self._features, row[1:], strict=True):
            try:
                values[name] = _as_rules_see_it(value, facts)
            except ValueError:
                return None
        return {name: values[name] for name in self._order}


def _visible(columns: dict[str, ColumnText]) -> list[tuple[str, str, ColumnFacts]]:
    """Name, name in the engine, and facts of the columns that SQL can see."""
    facts = [(name, f"c{n}", column_facts(columns[name])) for n, name in enumerate(sorted(columns))]
    return [column for column in facts if column[2].type != "float64"]


def _definition(columns: list[tuple[str, str, ColumnFacts]], *, call: bool) -> str:
    first = ['"__call" INTEGER'] if call else []
    listed = first + [f"{quoted(ours)} {kind_of(facts).sql}" for _, ours, facts in columns]
    return ", ".join(listed or ['"__nothing" INTEGER'])


def _renamed(table: pa.Table, columns: list[tuple[str, str, ColumnFacts]], *, call: bool) -> pa.Table:
    first = ["__call"] if call else []
    picked = table.select([*first, *(name for name, _, _ in columns)])
    return picked.rename_columns([*first, *(ours for _, ours, _ in columns)])


def _insert(con: duckdb.DuckDBPyConnection, name: str, frame: pa.Table) -> None:
    if frame.num_rows == 0:
        return
    few: dict[str, list[Any]] | None = None
    if frame.num_rows <= _FEW:
        with contextlib.suppress(ValueError, OverflowError):  # a date that Python cannot hold
            few = frame.to_pydict()
    if few is not None:
        marks = ", ".join(["(" + ", ".join("?" * frame.num_columns) + ")"] * frame.num_rows)
        con.execute(
            f"INSERT INTO {quoted(name)} VALUES {marks}",  # noqa: S608, the name is ours
            [v for row in zip(*few.values(), strict=True) for v in row],
        )
        return
    con.register("__arrow", frame)
    con.execute(f'INSERT INTO {quoted(name)} SELECT * FROM "__arrow"')  # noqa: S608, the name is ours
    con.unregister("__arrow")


def _between(frames: dict[str, pa.Table], start: int, end: int) -> dict[str, pa.Table]:
    """The rows of calls from `start` to before `end`."""
    found = {}
    for name, frame in frames.items():
        call = frame["__call"].to_numpy()
        found[name] = frame.filter(pa.array((call >= start) & (call < end)))
    return found


def _repeated(rows: Sequence[tuple[Any, ...]]) -> set[int]:
    """Calls with more than one row."""
    seen: set[int] = set()
    return {row[0] for row in rows if row[0] in seen or seen.add(row[0])}  # type: ignore[func-returns-value]


def _as_rules_see_it(value: Any, facts: ColumnFacts) -> Any:
    """A value of the engine; ValueError if it is not what the manifest says."""
    if value is None:
        if facts.nullable:
            return None
        raise ValueError
    if facts.type == "decimal" and type(value) is Decimal:
        return int(value.scaleb(facts.scale or 0))
    wanted = {"int64": int, "string": str, "bool": bool, "date": datetime.date}.get(facts.type)
    if type(value) is not wanted:
        raise ValueError
    return value


def _first_line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0][:200]
