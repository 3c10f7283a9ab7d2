"""What this machine can do at most of what a private join does, one thread each: the floor under benchmarks/psi.py.

    python benchmarks/psi_machine.py [--rows 1000000]

Memory is read as one array of 512 MiB. SHA-256 and AES are those of the `openssl` program (`openssl speed`), where it
is installed: at 16 KiB a call, and for SHA-256 one block, which is what a short key costs. CSV is Arrow's reader and
writer on the benchmark's own file. `ns a row` is the cost of one row, key, block or 16 bytes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
from harness.ids import overlapping, write
from harness.report import Report, Row, parser

from atoll.crypto.keys import key_digests

REPEATS = 5


def best(run: Callable[[], Any]) -> float:
    """CPU seconds of the fastest of several runs: the limit, not the usual."""
    took = []
    for _ in range(REPEATS):
        begun = time.process_time()
        run()
        took.append(time.process_time() - begun)
    return min(took)


def openssl(algorithm: str, size: int) -> float | None:
    """Bytes a second of one thread; None where the program is missing."""
    if shutil.which("openssl") is None:
        return None
    command = ["openssl", "speed", "-seconds", "1", "-bytes", str(size), "-evp", algorithm]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"([0-9.]+)k\s*$", done.stdout.strip())
    return float(found[1]) * 1e3 if found else None


def measures(rows: int, folder: Path) -> list[Row]:
    """One row for each limit."""
    found: list[Row] = []

    def add(what: str, seconds: float | None, size: float, items: float) -> None:
        if seconds:
            found.append({"what": what, "GB/s": size / seconds / 1e9, "ns a row": seconds / items * 1e9})

    memory = np.ones(1 << 26, dtype=np.uint64)
    add("memory read, 16 B", best(memory.sum), memory.nbytes, memory.nbytes / 16)
    add("memory write, 16 B", best(lambda: memory.fill(1)), memory.nbytes, memory.nbytes / 16)
    for what, algorithm, size, unit in (
        ("AES-128 CTR, 16 B", "aes-128-ctr", 16384, 16),
        ("SHA-256, long, 64 B", "sha256", 16384, 64),
        ("SHA-256, one call, 43 B", "sha256", 43, 43),
    ):
        rate = openssl(algorithm, size)
        add(what, None if rate is None else unit / rate, unit, 1)
    file = write(overlapping(rows, 0)[0], folder / "machine.csv")
    size = file.stat().st_size
    how = csv.ReadOptions(use_threads=False)
    options = csv.ConvertOptions(column_types={"id": pa.string()})
    table = csv.read_csv(file, how, convert_options=options)
    add("read bytes of the file", best(file.read_bytes), size, rows)
    add("CSV read", best(lambda: csv.read_csv(file, how, convert_options=options)), size, rows)
    add("CSV write", best(lambda: csv.write_csv(table, file)), size, rows)
    add("keys: digest, distinct", best(lambda: key_digests(table, ["id"])), 18 * rows, rows)
    return found


def show(rows: int = 1_000_000) -> None:
    """Measures and prints."""
    report = Report("psi_machine", ["GB/s", "ns a row", "what"])
    with tempfile.TemporaryDirectory() as work:
        for row in measures(rows, Path(work)):
            report.repeat(1, lambda _, row=row: row)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    show(arguments.parse_args().rows)


if __name__ == "__main__":
    main()
