"""One party of `benchmarks/join_statistics.py`, the engine alone: a CSV file in, statistics out. Not run by hand."""

# ruff: noqa: E402, I001, the clock starts before anything is imported
import time

STARTED = time.perf_counter()

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
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
from atoll.functions.join_statistics.run import Rows, one_column


LOCAL: Any = None  # No codes are read here.


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
    here: Any = SimpleNamespace(seed=bytes([me + 1]) * 32, attempt=0, threads=1)
    # The key that places rows is tossed for between nodes.
    own = Rows(here, keys.digests, np.stack(columns, axis=1), sizes, bytes(32), me)
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
