"""One party of `benchmarks/psi.py`: a CSV file in, the rows that the other side has too out. Not run by hand."""

# ruff: noqa: E402, I001, the clock starts before anything is imported
import time

STARTED = time.perf_counter()

import gc
import os

# Nothing here makes cycles of objects, and importing makes many objects.
gc.disable()
# One thread of arithmetic is no arithmetic at all here; a pool of idle ones still spins.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import json
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
from harness.tcp import TcpChannel

from atoll.crypto.keys import int64_array
from atoll.engine import KeyFiles, KeySet, key_digests, key_files, private_intersection

# A file that is larger is read twice, so that only keys stay in memory.
TWICE_BYTES = 64 << 20
BLOCK = 1 << 18
OPTIONS = csv.ConvertOptions(column_types={"id": pa.string()})


class Stages:
    """Wall and CPU seconds since the last mark, by stage; a stage may come several times."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}
        self._at = STARTED, 0.0

    def mark(self, stage: str) -> None:
        now = time.perf_counter(), time.process_time()
        self.wall[stage] = self.wall.get(stage, 0.0) + now[0] - self._at[0]
        self.cpu[stage] = self.cpu.get(stage, 0.0) + now[1] - self._at[1]
        self._at = now


class Timed(TcpChannel):
    """Says of each message what it cost to make, under the name of its step, and how long was waited for the peer."""

    def __init__(self, sock: socket.socket, stages: Stages) -> None:
        super().__init__(sock)
        self._stages = stages

    def send(self, payload: bytes, step: str) -> None:
        # Buckets and chunks of one step are one stage.
        self._stages.mark("make " + re.sub(r"/\d+(?=/|$)", "", step))
        super().send(payload, step)
        self._stages.mark("socket")

    def recv(self) -> bytes:
        self._stages.mark("take messages")
        here = self.readable()
        found = super().recv()
        self._stages.mark("socket" if here else "wait")
        return found

    def wait(self, read: bool, write: bool) -> None:
        self._stages.mark("take messages")
        super().wait(read, write)
        self._stages.mark("wait")


def connect(task: dict[str, Any]) -> socket.socket:
    """The first party listens, the second calls until it is heard."""
    host, port = task["address"]
    if task["rank"] == 0:
        with socket.create_server((host, port)) as server:
            return server.accept()[0]
    until = time.perf_counter() + 60
    while True:
        try:
            return socket.create_connection((host, port))
        except OSError:
            if time.perf_counter() > until:
                raise
            time.sleep(0.002)


def batches(path: str, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    options = csv.ConvertOptions(column_types=OPTIONS.column_types, include_columns=columns)
    with csv.open_csv(
        path, csv.ReadOptions(use_threads=False, block_size=4 << 20), convert_options=options
    ) as reader:
        yield from reader


class Ahead:
    """Ascending numbers of an array, or of a file of which a block is in memory, taken from the front."""

    def __init__(self, rows: Any) -> None:
        self._rows, self._at = rows, 0

    def below(self, limit: int) -> Any:
        """The next numbers that are less than `limit`."""
        found = []
        while True:
            block = self._rows[self._at : self._at + BLOCK]
            count = int(np.searchsorted(block, limit))
            found.append(block[:count])
            self._at += count
            if count < len(block) or not len(block):
                return np.concatenate(found)


def kept(path: str, table: pa.Table | None, rows: Any, out: str) -> None:
    """Writes the rows with these ascending numbers."""
    if table is not None:
        mask = np.zeros(table.num_rows, dtype=np.bool_)
        mask[rows] = True
        bits = pa.py_buffer(np.packbits(mask, bitorder="little"))
        csv.write_csv(table.filter(pa.BooleanArray.from_buffers(pa.bool_(), len(mask), [None, bits])), out)
        return
    writer, first = None, 0
    ahead = Ahead(rows)
    for batch in batches(path, None):
        part = batch.take(int64_array(ahead.below(first + batch.num_rows) - first))
        writer = writer or csv.CSVWriter(out, batch.schema)
        writer.write(part)
        first += batch.num_rows
    if writer is not None:
        writer.close()


def main() -> None:
    task = json.loads(sys.argv[1])
    stages = Stages()
    stages.mark("import")
    table: pa.Table | None = None
    threads = task["threads"]
    if task["keys"] is None and Path(task["input"]).stat().st_size <= TWICE_BYTES:
        table = csv.read_csv(task["input"], csv.ReadOptions(use_threads=threads > 1), convert_options=OPTIONS)
        stages.mark("read")
        keys: KeySet | KeyFiles = key_digests(table, ["id"], threads=threads)
        stages.mark("keys")
    elif task["keys"] is not None:
        keys = key_files(batches(task["input"], ["id"]), ["id"], Path(task["keys"]), threads=threads)
        stages.mark("read, keys")
    else:
        keys = key_digests(batches(task["input"], ["id"]), ["id"], threads=threads)
        stages.mark("read, keys")
    channel = Timed(connect(task), stages)
    stages.mark("connect")
    learns = ("me", "peer")[task["rank"]]
    rows = private_intersection(keys, channel, learns=learns, threads=threads, **task["how"])
    stages.mark("take messages")
    channel.close()
    if task["keys"] is not None:
        shutil.rmtree(task["keys"])
    if rows is not None:
        kept(task["input"], table, rows, task["output"])
        stages.mark("write")
    closed = time.perf_counter()
    found = {
        "started": STARTED,
        "closed": closed,
        "rows": None if rows is None else len(rows),
        "sent": channel.sent,
        "wall": stages.wall,
        "cpu": stages.cpu,
    }
    print("RESULT " + json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
