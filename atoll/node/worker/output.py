"""A job's result as a file: the bytes whose digest its receipt commits to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from atoll.crypto.suite import digest_file


def write_result(folder: Path, table: pa.Table) -> dict[str, Any]:
    """Writes `result.arrow` into a folder; gives `file`, `digest` and `rows`."""
    path = folder / "result.arrow"
    temporary = folder / "result.arrow.new"
    with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=65_536)
    temporary.chmod(0o600)
    temporary.replace(path)
    return {"file": path.name, "digest": digest_file(path), "rows": table.num_rows}
