"""DuckDB, shut: no extension is loaded or fetched, and only the named files can be opened.

Settings: https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb

from atoll.errors import AtollError

MEMORY_BYTES = 384 << 20
THREADS = 2


def identifier(name: str) -> str:
    """`name` as a quoted SQL identifier, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as a quoted SQL string. DuckDB knows no escapes inside quotes other than the doubled quote."""
    return "'" + text.replace("'", "''") + "'"


@contextlib.contextmanager
def connect(
    *files: Path, work: Path | None = None, memory_bytes: int = MEMORY_BYTES, threads: int = THREADS
) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory DuckDB that can read `files` and nothing else; it spills into a private folder under
    `work`.

    Args:
        files: absolute paths that queries may open.
        work: a folder of the node for temporary files; the system's if None.

    Raises:
        AtollError: `E_MEMORY` if a query needs more than `memory_bytes`, spilled or not.
    """
    scratch = Path(tempfile.mkdtemp(prefix="engine-", dir=work))  # mode 0700
    con = duckdb.connect(
        ":memory:",
        config={"autoload_known_extensions": "false", "autoinstall_known_extensions": "false"},
    )
    try:
        con.execute(f"SET memory_limit = '{memory_bytes >> 20}MiB'")
        con.execute(f"SET threads = {int(threads)}")
        con.execute(f"SET temp_directory = {literal(str(scratch))}")
        con.execute("SET preserve_insertion_order = true")
        con.execute("SET TimeZone = 'UTC'")
        con.execute(f"SET allowed_paths = [{', '.join(literal(str(f)) for f in files)}]")
        con.execute("SET enable_external_access = false")
        con.execute("SET lock_configuration = true")
        yield con
    except duckdb.OutOfMemoryException as error:
        raise AtollError(
            "E_MEMORY", f"the local engine ran out of its {memory_bytes >> 20} MiB: {error}"
        ) from None
    finally:
        con.close()
        shutil.rmtree(scratch, ignore_errors=True)
