"""CSV files: UTF-8, UTF-16 and GB18030; parsed by DuckDB after a scan of their structure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa

from atoll.data import engine
from atoll.data.schema import Declaration, Schema, check_name
from atoll.data.sources.base import BATCH_ROWS, LISTED, BadRow, Inspection, Mode
from atoll.data.sources.encoding import Utf8, private_file, to_utf8
from atoll.data.sources.infer import Inferred, infer
from atoll.data.sources.scan import MAX_RECORD, Dialect, Malformed, Run, Scanner, detect_delimiter
from atoll.errors import AtollError


class CsvSource:
    """A CSV file with a header row.

    Args:
        path: the file.
        declaration: encoding, delimiter, quote, null markers, number marks, and facts per column.
        work: folder of the node for temporary files (mode 0600), removed when the source is closed.
    """

    kind = "csv"
    mode: Mode = "snapshot"

    def __init__(
        self, path: str | Path, *, declaration: Declaration | None = None, work: Path | None = None
    ) -> None:
        self.path = Path(path).absolute()
        self.name = str(self.path)
        self.declaration = declaration or Declaration()
        self._work = work
        self._temporary: list[Path] = []
        self._prepared = False
        self._inspection: Inspection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for path in self._temporary:
            path.unlink(missing_ok=True)
        self._temporary.clear()
        self._prepared = False

    def _prepare(self) -> None:
        """Decodes and scans once: afterwards `_file` is sound, with one kind of line end and no malformed
        row.
        """
        if self._prepared:
            return
        options = self.declaration.options
        utf8 = to_utf8(self.path, options.get("encoding"), self._work)
        if utf8.temporary:
            self._temporary.append(utf8.path)
        quote = options.get("quote", '"')
        delimiter = options.get("delimiter") or detect_delimiter(utf8.path, self.name, quote)
        self._utf8, self._dialect = utf8, Dialect(delimiter, quote)
        self._file = utf8.path
        self._header(utf8)
        self._scan()
        self._prepared = True

    def _header(self, utf8: Utf8) -> None:
        scanner = Scanner(utf8.path, self.name, self._dialect, None)
        first = next(iter(scanner), None)
        if first is None:
            raise AtollError("E_DATA", f"{self.name} holds only blank lines", detail={"file": self.name})
        if isinstance(first, Malformed):
            raise AtollError("E_DATA", f"{self.name}, line {first.line}: the header row has {first.reason}")
        names = [name.strip() for name in scanner.split(first.data)]
        for i, name in enumerate(names, 1):
            if not name:
                raise AtollError(
                    "E_COLUMN", f"{self.name}, line {first.line}: column {i} of the header has no name"
                )
            check_name(name, f"{self.name}, line {first.line}: the name of column {i}")
            if name in names[: i - 1]:
                where = f"{self.name}, line {first.line}"
                text = f"{where}: columns {names.index(name) + 1} and {i} are both named {name!r}"
                raise AtollError("E_COLUMN", text, column=name)
        self.declaration.check_names(names, self.name)
        self._names = names
        self._header_data = first.data

    def _records(self) -> Iterator[Run | Malformed]:
        """All records after the header."""
        scanner = Scanner(self._utf8.path, self.name, self._dialect, len(self._names))
        header = True
        for item in scanner:
            if header and isinstance(item, Run):
                header = False
                if item.count > 1:
                    rest = item.data[item.data.index(b"\n") + 1 :]
                    yield Run(item.line + 1, item.count - 1, item.lines - 1, rest)
            else:
                yield item
        self._scanner = scanner

    def _scan(self) -> None:
        self._rows = self._malformed = 0
        self._examples: list[BadRow] = []
        for item in self._records():
            if isinstance(item, Run):
                self._rows += item.count
                continue
            self._malformed += 1
            if len(self._examples) < LISTED:
                self._examples.append(BadRow(f"line {item.line}", None, None, "E_DATA", item.reason))
        if self._rows == 0 and self._malformed == 0:
            raise AtollError(
                "E_DATA", f"{self.name} has a header and no rows", detail={"file": self.name, "rows": 0}
            )
        # DuckDB 2.0 reads no rows at all from files with CR LF when told so, and fails on some when not.
        if self._malformed or self._scanner.blank or self._scanner.crlf:
            self._copy()

    def _copy(self) -> None:
        """Writes the sound records, with LF line ends, to a temporary file for DuckDB."""
        target, path = private_file(self._work, ".csv")
        self._temporary.append(path)
        with target:
            target.write(self._header_data.replace(b"\r\n", b"\n"))
            for item in self._records():
                if isinstance(item, Run):
                    data = item.data
                    if item.lines == item.count:
                        data = data.replace(b"\r\n", b"\n")
                    elif data.endswith(b"\r\n"):  # line ends inside quotes are part of the value
                        data = data[:-2] + b"\n"
                    target.write(data)
        self._file = path

    def _relation(self) -> str:
        columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(self._names)))
        quoted = str(self.declaration.options.get("quoted_nulls", True)).lower()
        lit = engine.literal
        return (
            f"read_csv({lit(str(self._file))}, auto_detect=false, header=true, columns={{{columns}}}, "
            f"delim={lit(self._dialect.delimiter)}, quote={lit(self._dialect.quote)}, "
            f"escape={lit(self._dialect.quote)}, nullstr='', allow_quoted_nulls={quoted}, strict_mode=true, "
            f"null_padding=false, max_line_size={2 * MAX_RECORD}, "
            "new_line='\\n', compression='none', hive_partitioning=false)"
        )

    @contextlib.contextmanager
    def _engine(self) -> Iterator[duckdb.DuckDBPyConnection]:
        try:
            with engine.connect(self._file, work=self._work) as con:
                yield con
        except (duckdb.Error, pa.ArrowException) as error:
            reason = str(error).partition("\n")[0]
            raise AtollError(
                "E_DATA", f"{self.name} cannot be parsed: {reason}", detail={"file": self.name}
            ) from None

    def inspect(self) -> Inspection:
        """Types from all sound rows; `E_ENCODING`, `E_COLUMN`, `E_DATA` or `E_SOURCE` if the file cannot be
        read.
        """
        if self._inspection is not None:
            return self._inspection
        self._prepare()
        options = self.declaration.options
        with self._engine() as con:
            rows, inferred = infer(
                con,
                self._relation(),
                [self._markers(name) for name in self._names],
                options.get("decimal", "."),
                options.get("thousands"),
            )
            sample = con.execute(f"SELECT * FROM {self._relation()} LIMIT 5").fetchall()  # noqa: S608
        self._compare(rows)
        schema = Schema(
            tuple(
                self.declaration.column(name, i.type, i.precision, i.scale)
                for name, i in zip(self._names, inferred, strict=True)
            )
        )
        self._inspection = Inspection(
            schema=schema,
            rows=rows,
            encoding=self._utf8.encoding,
            delimiter=self._dialect.delimiter,
            warnings=tuple(self._warnings(inferred)),
            malformed=self._malformed,
            examples=tuple(self._examples),
            sample=tuple(sample),
        )
        return self._inspection

    def _warnings(self, inferred: list[Inferred]) -> Iterator[str]:
        if self._utf8.encoding != "utf-8" and "encoding" not in self.declaration.options:
            yield f"The file is not UTF-8; it was read as {self._utf8.encoding.upper()}."
        if self._malformed:
            yield f"{self._malformed} rows are malformed; the first: {self._examples[0]}."
        for name, i in zip(self._names, inferred, strict=True):
            if self.declaration[name].type is None:
                if i.values == 0:
                    yield f"Column {name!r} has no values; it is taken as string."
                elif i.misfits:
                    yield (
                        f"Column {name!r} is taken as {i.type}; {i.misfits} of its {i.values} values do not. "
                        "Declare it as string if they are right."
                    )

    def _compare(self, rows: int) -> None:
        if rows != self._rows:
            raise AtollError(
                "E_DATA",
                f"{self.name}: quoting is ambiguous ({self._rows} rows by its lines, {rows} by its quotes)",
                detail={"file": self.name},
            )

    def batches(self, schema: Schema) -> Iterator[pa.RecordBatch]:
        """Text columns in the file's order of rows; see `Source.batches`."""
        self._prepare()
        columns = []
        for name in schema.names:
            c = f"c{self._position(name)}"
            columns.append(c if "" in self._markers(name) else f"coalesce({c}, '')")
        chosen = ", ".join(columns)
        rows = 0
        with self._engine() as con:
            query = f"SELECT {chosen} FROM {self._relation()}"  # noqa: S608
            reader = con.sql(query).to_arrow_reader(BATCH_ROWS)
            for batch in reader:
                rows += batch.num_rows
                yield batch.rename_columns(schema.names)
        self._compare(rows)

    def _position(self, name: str) -> int:
        if name not in self._names:
            raise AtollError(
                "E_COLUMN",
                f"{self.name} has no column {name!r:.80}; it has {', '.join(self._names)}",
                column=name,
            )
        return self._names.index(name)

    def _markers(self, name: str) -> tuple[str, ...]:
        markers = self.declaration.nulls_of(name)
        return ("",) if markers is None else markers

    def nulls(self, name: str) -> tuple[str, ...]:
        """The declared null markers other than the empty field, which the parser sees to."""
        return tuple(marker for marker in self._markers(name) if marker)

    def places(self, rows: Sequence[int]) -> list[str]:
        """The line on which each row starts, counted from 1 as editors do."""
        self._prepare()
        out: list[str] = []
        start = 0
        for item in self._records():
            if isinstance(item, Run):
                while len(out) < len(rows) and rows[len(out)] < start + item.count:
                    out.append(f"line {item.line + rows[len(out)] - start}")
                start += item.count
            if len(out) == len(rows):
                break
        return out

    def facts(self) -> dict[str, Any]:
        """How the file was read."""
        self._prepare()
        return {
            "kind": self.kind,
            "name": self.name,
            "encoding": self._utf8.encoding,
            "delimiter": self._dialect.delimiter,
            "quote": self._dialect.quote,
        }
