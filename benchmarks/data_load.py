"""From a CSV file to a committed snapshot, in a process of its own: time, rows a second, peak memory.

python benchmarks/data_load.py [--rows 1000000] [--repeats 1] [--key id]
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
from harness.ids import identifiers
from harness.report import Report, Row, numbers, parser

BLOCK = 500_000


def write(path: Path, rows: int) -> None:
    """A file of ids, segments, decimals and dates, written in blocks."""
    pick = np.random.default_rng(1)
    writer = None
    for first in range(0, rows, BLOCK):
        n = min(BLOCK, rows - first)
        block = pa.table(
            {
                "id": identifiers(first, n),
                "segment": pa.array(np.array(["farm", "shop", "home"])[pick.integers(0, 3, n)]),
                "debt": pa.array(pick.integers(0, 10**9, n) / 100).cast(pa.string()),
                "opened": pa.array(pick.integers(10_000, 20_000, n).astype("int32")).cast(pa.date32()),
            }
        )
        writer = writer or csv.CSVWriter(path, block.schema)
        writer.write_table(block)
    assert writer is not None
    writer.close()


def load(path: Path, store: Path, key: str | None, out: Connection) -> None:
    """What a node does with a new table, and what it took."""
    from atoll.data import snapshot
    from atoll.data.sources import open_source

    begun = time.perf_counter()
    with open_source(path, work=store) as source:
        made = snapshot.create(source, store, "table", now=datetime.now(UTC), key=[key] if key else None)
    wall = time.perf_counter() - begun
    used = resource.getrusage(resource.RUSAGE_SELF)
    out.send((made.rows, wall, used.ru_utime + used.ru_stime, used.ru_maxrss << 10))


def run(path: Path, rows: int, key: str | None) -> Row:
    """One load in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=path.parent) as store:
        ours, theirs = context.Pipe()
        process = context.Process(target=load, args=(path, Path(store), key, theirs))
        process.start()
        found, wall, cpu, peak = ours.recv()
        process.join()
    assert found == rows
    size = path.stat().st_size
    return {
        "rows": rows,
        "file MB": size / 1e6,
        "wall s": wall,
        "cpu s": cpu,
        "rows/s": rows / wall,
        "MB/s": size / wall / 1e6,
        "peak MB": peak / 1e6,
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rows", type=numbers, default=[1_000_000])
    arguments.add_argument("--repeats", type=int, default=1)
    arguments.add_argument("--key", help="column of the key; with one, the version has a row tree")
    arguments.add_argument("--work", help="folder for the files; default a temporary one")
    options = arguments.parse_args()
    report = Report("data_load", ["rows", "file MB", "wall s", "cpu s", "rows/s", "MB/s", "peak MB"])
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        for rows in options.rows:
            path = Path(work) / f"{rows}.csv"
            write(path, rows)
            report.repeat(options.repeats, lambda _, p=path, n=rows: run(p, n, options.key))
            path.unlink()


if __name__ == "__main__":
    main()
