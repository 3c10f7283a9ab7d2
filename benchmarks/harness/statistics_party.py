"""One party of `benchmarks/join_statistics.py`, the engine alone: a CSV file in, statistics out. Not run by hand."""

# ruff: noqa: E402, I001, the clock starts before anything is imported
import time

STARTED = time.perf_counter()

import json
import os
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pyarrow.csv as csv
from harness.blocking import connected
from harness.measure import peak_bytes
from harness.psi_party import OPTIONS

from atoll import mpc
from atoll.crypto.keys import key_digests
from atoll.functions.join_statistics.join import Sizes, brought
from atoll.functions.join_statistics.program import program, source
from atoll.functions.join_statistics.results import table
from atoll.functions.join_statistics.run import one_column
from atoll.protocols.buckets import Buckets


LOCAL: Any = None  # No codes are read here.


class Rows:
    """This party's rows in buckets; the key that places them is fixed here."""

    def __init__(self, digests: bytes, rows: Any, sizes: Sizes, me: int) -> None:
        fit = sizes.fit
        items = fit.placer_items if me == sizes.unique else fit.mapper_items
        self._rows, self._me = rows, me
        self._buckets = Buckets(digests, None, key=bytes(32), buckets=fit.buckets, capacity=items, threads=1)

    def bucket(self, number: int) -> tuple[bytes, Any]:
        """Digests and words of a bucket."""
        found = self._buckets.take(number, seed=bytes([self._me + 1]) * 32, attempt=0, name="benchmark")
        rows = np.zeros((len(found.digests) // 32, self._rows.shape[1]), np.uint64)
        rows[: len(found.items)] = self._rows[found.items]
        return found.digests, rows


def main() -> None:
    task: dict[str, Any] = json.loads(sys.argv[1])
    me, operators = task["rank"], task["operators"]
    given = csv.read_csv(task["input"], csv.ReadOptions(use_threads=False), convert_options=OPTIONS)
    keys = key_digests(given, ["id"])
    words = given["value"].to_numpy().astype("<u8")
    del given
    sizes = Sizes.of(operators[0], (task["rows"], task["rows"]), task["unique"])
    columns = [one_column(what, {"value": words}, LOCAL, {}) for what in brought(operators[0], me)]
    if me == sizes.unique:
        columns.insert(0, np.ones(len(words), np.uint64))
    own = Rows(keys.digests, np.stack(columns, axis=1), sizes, me)
    before, begun, cpu = peak_bytes("self"), time.perf_counter(), time.process_time()
    channels = connected(me, task["addresses"], 2)
    session = mpc.Session(
        me, channels, context=b"benchmark", seed=bytes([me + 1]) * 32, source=source(operators)
    )
    opened = program(session, operators, sizes, own)
    found = session.open(*opened.arrays)
    for channel in channels.values():
        channel.close()
    closed = time.perf_counter()
    totals = dict(zip(opened.names, (value.item() for value in found), strict=True))
    result = {
        "started": STARTED,
        "closed": closed,
        "found": {k: str(v) for k, v in table(opened.operator, totals).to_pylist()[0].items()},
        "protocol wall": closed - begun,
        "protocol cpu": time.process_time() - cpu,
        "protocol bytes": peak_bytes("self") - before,
        "sent": session.links.sent,
        "rounds": session.links.rounds,
    }
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
