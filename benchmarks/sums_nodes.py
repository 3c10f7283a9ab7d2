"""Totals per segment over several real nodes, from the request to the table at the asker.

python benchmarks/sums_nodes.py [--holders 3,8] [--rows 30000] [--segments 20] [--repeats 3]
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from harness.measure import Meter
from harness.report import Report, Row, numbers, parser

from atoll.testing import Net, nodes


def book(holder: int, rows: int, segments: int) -> pa.Table:
    """One holder's table."""
    pick = np.random.default_rng(holder)
    codes = np.array([f"g{code}" for code in range(segments)])
    values = {name: pick.integers(-(10**9), 10**9, rows) for name in ("debt", "income")}
    return pa.table({"segment": codes[pick.integers(0, segments, rows)], **values})


def run(net: Net, agreement: str, books: list[pa.Table], segments: int) -> Row:
    """One job, with its answer compared to the pooled tables."""
    codes = [f"g{code}" for code in range(segments)]
    with Meter([node.pid for node in net]) as meter:
        job = next(iter(net)).analyst.totals(
            agreement, "book", group="segment", segments=codes, values=["debt", "income"], purpose="test"
        )
        found = job.wait().result().arrow()
    pooled = pa.concat_tables(books).group_by("segment").aggregate([("debt", "sum"), ("segment", "count")])
    want = {r["segment"]: (r["debt_sum"], r["segment_count"]) for r in pooled.to_pylist()}
    assert {r["segment"]: (int(r["debt"]), r["count"]) for r in found.to_pylist()} == want
    parts = job.receipt(30)["document"]["parties"].values()
    return {
        "holders": len(net),
        "rows each": len(books[0]),
        "segments": segments,
        "wall s": meter.wall,
        "cpu s": meter.cpu,
        "worker MB": meter.worker_peak / 1e6,
        "sent kB": sum(part["meters"]["bytes_sent"] for part in parts) / 1e3,
        # Each holder but the asker sends one masked vector of 16-byte words: two sums and a count a segment.
        "vectors kB": (len(net) - 1) * 3 * segments * 16 / 1e3,
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--holders", type=numbers, default=[3, 8])
    arguments.add_argument("--rows", type=int, default=30_000, help="rows of each holder")
    arguments.add_argument("--segments", type=int, default=20)
    arguments.add_argument("--repeats", type=int, default=3)
    options = arguments.parse_args()
    columns = ["holders", "rows each", "segments", "wall s", "cpu s", "worker MB", "sent kB", "vectors kB"]
    report = Report("sums_nodes", columns)
    for holders in options.holders:
        names = [f"holder {number}" for number in range(holders)]
        with nodes(*names, pair="star", settings={"logs.level": "info"}, warm=False) as net:
            books = [book(number, options.rows, options.segments) for number in range(holders)]
            for node, table in zip(net, books, strict=True):
                node.steward.data.add("book", table)
            agreement = net.agreement({name: {"book": "*"} for name in names})
            report.repeat(
                options.repeats,
                lambda _, n=net, a=agreement, b=books: run(n, a, b, options.segments),
            )


if __name__ == "__main__":
    main()
