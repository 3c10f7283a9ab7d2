"""A job's result as a file: the bytes whose digest its receipt commits to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from atoll.crypto.suite import digest_file

_BATCH_ROWS = 65_536


def write_result(folder: Path, table: pa.Table | pa.RecordBatchReader) -> dict[str, Any]:
    """Writes `result.arrow` into a folder; gives `file`, `digest` and `rows`.

    The same rows give the same bytes, whether they come as a table or batch after batch.
    """
    path = folder / "result.arrow"
    temporary = folder / "result.arrow.new"
    with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        rows = 0
        batches = table.to_batches(max_chunksize=_BATCH_ROWS) if isinstance(table, pa.Table) else table
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    temporary.chmod(0o600)
    temporary.replace(path)
    return {"file": path.name, "digest": digest_file(path), "rows": rows}
