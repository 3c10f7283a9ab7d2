"""Statistics over a hidden join: through two real nodes, and the same operators by the engine alone.

    python benchmarks/join_statistics.py [--rows 100000,1000000] [--repeats 3] [--what engine,nodes]
                                         [--statistics sum,variance,...] [--shape 100mbit,10ms]

Ids of 18 digits, half of which overlap, one value of a declared range on each side. `sum` asks for both sums,
`variance` for that of the partner's value, `correlation` for that of both, `histogram` for ten cells of the partner's
value. Engine: two processes from CSV files to the result, over loopback, without TLS, policy or receipts. Nodes: from
the request to the closed result, with all of these; tables were added before, and the first run prepares keys. CPU
counts all processes. `--shape` runs the engine's parties with a link of that rate and delay a direction (root, Linux).
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness.ids import overlapping, write
from harness.measure import Meter
from harness.parties import free_ports, run
from harness.report import Report, Row, numbers, parser
from harness.shape import Link, shaped

from atoll.testing import Net, nodes

PARTY = Path(__file__).resolve().parent / "harness" / "statistics_party.py"
COLUMNS = [
    "what", "statistic", "rows", "wall s", "cpu s", "run wall", "run cpu", "party MB", "MB", "rounds", "paper MB",
    "paper rounds", "paper s",
]  # fmt: skip
PARTIES = ("left", "right")


def asked(name: str, rows: int) -> list[str]:
    """The statistics of one row of the table."""
    tenths = ", ".join(str(rows * tenth // 10) for tenth in range(1, 10))
    return {
        "sum": ["sum(left.value)", "sum(right.value)"],
        "variance": ["variance(right.value)"],
        "correlation": ["correlation(left.value, right.value)"],
        "histogram": [f"histogram(right.value, {tenths})"],
    }[name]


def by_nodes(net: Net, agreement: str, name: str, rows: int) -> tuple[Row, dict[str, Any]]:
    """One job, and its plan."""
    with Meter([node.pid for node in net]) as meter:
        job = net["left"].analyst.join_statistics(
            agreement, f"t{rows}@left", f"t{rows}@right", on="id", purpose="test", statistics=asked(name, rows),
            maximum_rows=rows,
        )  # fmt: skip
        (found,) = job.wait().result().arrow().to_pylist()
    assert found["matched_keys"] == rows - rows // 2, found
    parts = job.receipt(60)["document"]["parties"].values()
    plan = job.plan()
    return {
        "what": "nodes",
        "statistic": name,
        "rows": rows,
        "wall s": meter.wall,
        "cpu s": meter.cpu,
        "run wall": job.document["meters"]["wall_ms"] / 1e3,
        "party MB": meter.worker_peak / 1e6,
        "MB": sum(part["meters"]["bytes_sent"] for part in parts) / 1e6,
        "paper MB": plan["estimate"]["bytes"] / 1e6,
        "paper rounds": plan["estimate"]["rounds"],
        "paper s": float(plan["estimate"]["seconds"]),
    }, plan


def by_engine(
    plan: dict[str, Any], name: str, rows: int, inputs: list[Path], folder: Path, link: Link
) -> Row:
    """The plan's joint operators, by two processes."""
    operators = [op for op in plan["operators"] if op["protocol"] is not None]
    parties = operators[0]["at"]
    address = [link.host, free_ports(1)[0]]
    commands = []
    for rank in range(2):
        task = {
            "rank": rank, "addresses": {"0-1": address}, "input": str(inputs[rank]), "operators": operators,
            "rows": rows, "unique": parties.index(operators[0]["parameters"]["unique"]),
        }  # fmt: skip
        commands.append([*link.prefixes[rank], sys.executable, str(PARTY), json.dumps(task)])
    pair = run(commands, folder)
    one, other = (life.result for life in pair.lives)
    assert one["found"] == other["found"], (one, other)
    assert one["found"]["matched_keys"] == str(rows - rows // 2), one
    return {
        "what": "engine",
        "statistic": name,
        "rows": rows,
        "wall s": pair.wall,
        "cpu s": pair.cpu,
        "run wall": max(one["protocol wall"], other["protocol wall"]),
        "run cpu": one["protocol cpu"] + other["protocol cpu"],
        "party MB": pair.peak / 1e6,
        "MB": (one["sent"] + other["sent"]) / 1e6,
        "rounds": one["rounds"],
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rows", type=numbers, default=[100_000, 1_000_000])
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--what", default="engine,nodes")
    arguments.add_argument("--statistics", default="sum,variance,correlation,histogram")
    arguments.add_argument(
        "--shape", default=None, help="RATE,DELAY of the engine's link, such as 100mbit,10ms"
    )
    options = arguments.parse_args()
    report = Report("join_statistics", COLUMNS)
    with tempfile.TemporaryDirectory() as work, nodes(*PARTIES, settings={"logs.level": "info"}) as net:
        folder = Path(work)
        for number, rows in enumerate(options.rows):
            tables = overlapping(rows, number)
            inputs = [write(t, folder / f"{n}-{rows}.csv") for t, n in zip(tables, PARTIES, strict=True)]
            declared = {"columns": {"value": {"range": ["0", str(rows)]}}}
            for node, path in zip(net, inputs, strict=True):
                node.steward.data.add(f"t{rows}", path, declaration=declared)
            agreement = net.agreement(
                {name: {f"t{rows}": "*"} for name in PARTIES},
                functions=["join_statistics"],
                also_disclose=["own_matched_sum", "matched_product"],
                minimum_group=10,
            )
            for name in options.statistics.split(","):
                _, plan = by_nodes(net, agreement, name, rows)
                if "engine" in options.what.split(","):
                    with shaped(options.shape) as link:
                        report.repeat(
                            options.repeats,
                            lambda _, p=plan, n=name, r=rows, i=inputs, k=link: by_engine(
                                p, n, r, i, folder, k
                            ),
                        )
                if "nodes" in options.what.split(","):
                    report.repeat(
                        options.repeats, lambda _, a=agreement, n=name, r=rows: by_nodes(net, a, n, r)[0]
                    )


if __name__ == "__main__":
    main()
