"""One party of `benchmarks/hidden_totals.py`: a CSV file in, totals out. Not run by hand."""

# ruff: noqa: E402, I001, the clock starts before anything is imported
import time

STARTED = time.perf_counter()

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyarrow.csv as csv
from harness.measure import peak_bytes
from harness.psi_party import OPTIONS, connect
from harness.tcp import TcpChannel

from atoll.crypto.keys import key_digests
from atoll.protocols import hidden_totals


def main() -> None:
    task: dict[str, Any] = json.loads(sys.argv[1])
    threads = task["threads"]
    table = csv.read_csv(task["input"], csv.ReadOptions(use_threads=threads > 1), convert_options=OPTIONS)
    digests = key_digests(table, ["id"], threads=threads).digests
    payload = table["value"].to_numpy().astype("<u8").tobytes()
    del table
    before, begun, cpu = peak_bytes("self"), time.perf_counter(), time.process_time()
    channel = TcpChannel(connect(task))
    found = hidden_totals.run(
        ("placer", "mapper")[task["rank"]],
        digests,
        payload,
        hidden_totals.Terms(**task["terms"], context=b"benchmark"),
        channel,
        seed=bytes([task["rank"]]) * 32,
        attempt=0,
        name="benchmark",
        threads=threads,
        before_open=lambda: None,
        bucket_items=task["bucket"],
    )
    channel.close()
    closed = time.perf_counter()
    print(
        "RESULT "
        + json.dumps(
            {
                "started": STARTED,
                "closed": closed,
                "found": [found.enough, found.subjects, found.placer_sums, found.mapper_sums],
                "protocol wall": closed - begun,
                "protocol cpu": time.process_time() - cpu,
                "protocol bytes": peak_bytes("self") - before,
                "sent": channel.sent,
            }
        )
    )


if __name__ == "__main__":
    main()
