"""Count and sums over a hidden intersection by the protocol alone: two processes, files in, everything counted.

    python benchmarks/hidden_totals.py [--rows 100000,1000000] [--repeats 3] [--threads 1] [--bucket 1048576]
                                       [--shape 100mbit,10ms]

Ids of 18 digits, half of which overlap, one value on each side. Wall time runs from the start of the first process to
the last result; CPU is that of both over their whole life. `run` columns are the protocol's alone: CPU of each
side, and how far its memory rose above what it had before. No node, no TLS, no receipt. `--shape` runs both parties in
network namespaces with a link of that rate and delay a direction (root, Linux).
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from harness.parties import free_ports, run
from harness.report import Report, Row, numbers, parser
from harness.shape import Link, shaped
from psi import files

from atoll.protocols import hidden_totals, hidden_totals_cost

PARTY = Path(__file__).resolve().parent / "harness" / "totals_party.py"
COLUMNS = [
    "rows", "wall s", "cpu s", "placer cpu", "mapper cpu", "run wall", "placer MB", "mapper MB", "party MB", "MB",
    "paper MB", "paper s",
]  # fmt: skip


def measure(rows: int, inputs: list[Path], folder: Path, threads: int, bucket: int, link: Link) -> Row:
    """One run, its count checked."""
    terms = {
        "placer_items": rows,
        "mapper_items": rows,
        "multiplicity": 1,
        "placer_words": 1,
        "mapper_words": 1,
        "minimum": 100,
        "receivers": "both",
    }
    address = [link.host, free_ports(1)[0]]
    commands = []
    for rank in range(2):
        task = {
            "rank": rank,
            "address": address,
            "input": str(inputs[rank]),
            "terms": terms,
            "threads": threads,
            "bucket": bucket,
        }
        commands.append([*link.prefixes[rank], sys.executable, str(PARTY), json.dumps(task)])
    pair = run(commands, folder)
    one, other = (life.result for life in pair.lives)
    assert one["found"] == other["found"], (one, other)
    assert one["found"][:2] == [True, rows - rows // 2], one
    agreed = hidden_totals.Terms(**terms, context=b"benchmark")  # type: ignore[arg-type]
    cost = hidden_totals_cost.estimate(agreed, bucket_items=bucket, threads=threads)
    return {
        "rows": rows,
        "wall s": pair.wall,
        "cpu s": pair.cpu,
        "placer cpu": one["protocol cpu"],
        "mapper cpu": other["protocol cpu"],
        "run wall": max(one["protocol wall"], other["protocol wall"]),
        "placer MB": one["protocol bytes"] / 1e6,
        "mapper MB": other["protocol bytes"] / 1e6,
        "party MB": pair.peak / 1e6,
        "MB": (one["sent"] + other["sent"]) / 1e6,
        "paper MB": (cost.placer_bytes + cost.mapper_bytes) / 1e6,
        "paper s": cost.seconds,
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rows", type=numbers, default=[100_000, 1_000_000])
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=1, help="threads of each party")
    arguments.add_argument("--bucket", type=int, default=hidden_totals.BUCKET_ITEMS, help="rows of a bucket")
    arguments.add_argument("--shape", default=None, help="RATE,DELAY of the link, such as 100mbit,10ms")
    options = arguments.parse_args()
    report = Report("hidden_totals", COLUMNS)
    with tempfile.TemporaryDirectory() as work, shaped(options.shape) as link:
        folder = Path(work)
        for rows in options.rows:
            inputs = files(rows, folder)

            def once(_: int, rows: int = rows, inputs: list[Path] = inputs) -> Row:
                return measure(rows, inputs, folder, options.threads, options.bucket, link)

            report.repeat(options.repeats, once)


if __name__ == "__main__":
    main()
