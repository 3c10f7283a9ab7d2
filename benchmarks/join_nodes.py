"""A private join through two real nodes: from the request to the closed output file.

    python benchmarks/join_nodes.py [--sizes 10000,100000] [--repeats 3] [--receivers me] [--threads 1]
                                    [--protocol ecdh-psi/v1] [--peer-rows 1000000]

Two tables of 18-digit text ids, half of which overlap, were added as CSV files before. The time holds the
proposal, both policies, key preparation, TLS between the workers, the protocol, receipts and ledger entries, and
the result written as CSV by the client. `warm` is a second job on the same tables, whose keys are prepared. CPU
counts both nodes, all their workers, and the client. All processes share this machine. `paper MB` and `rounds` are the
estimate's in the plan. Without `--protocol` the node chooses, by sizes. With `kept-oprf-psi/v1` the cold job sends the
partner's outputs, and the warm one asks what is kept.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness.ids import overlapping, write
from harness.measure import Meter
from harness.report import Report, Row, numbers, parser

from atoll.testing import Net, nodes

PARTIES = ("left", "right")


def add(net: Net, folder: Path, rows: int, number: int, others: int) -> tuple[str, Row]:
    """Adds a pair of tables and makes their agreement."""
    name = f"t{rows}x{number}"
    with Meter([node.pid for node in net]) as meter:
        for node, table in zip(net, overlapping(rows, number, others), strict=True):
            node.steward.data.add(name, write(table, folder / f"{node.name}-{name}.csv"))
    bounds = {"variants": ["kept"], "minimum_rows": 1, "minimum_change": 1, "maximum_ratio": 100_000}
    agreement = net.agreement({node.name: {name: "*"} for node in net}, join=bounds)
    return agreement, {"add s": meter.wall}


def join(
    net: Net,
    agreement: str,
    rows: int,
    others: int,
    number: int,
    out: Path,
    receivers: str,
    kind: str,
    protocol: str | None = None,
) -> Row:
    """One job, timed from the request to the closed file at the asker."""
    name = f"t{rows}x{number}"
    asker = net["left"].analyst
    tables = [
        {"asset": name, "party": node.identity, "rows": count}
        for node, count in zip(net, (rows, others), strict=True)
    ]
    with Meter([node.pid for node in net]) as meter:
        job = asker.join(agreement, *tables, on="id", purpose="test", receivers=receivers, protocol=protocol)
        job.wait().result().save(out)
    found = job.result().rows
    assert found == rows - rows // 2, found
    parts = job.receipt(30)["document"]["parties"].values()
    sent = sum(part["meters"]["bytes_sent"] for part in parts)
    plan = job.plan()
    estimate = plan["estimate"]
    return {
        "rows": rows,
        "peer rows": others,
        "kind": kind,
        "protocol": next(
            op["protocol"] for op in plan["operators"] if op["kind"] in ("psi/v1", "kept_psi/v1")
        ),
        "wall s": meter.wall,
        "cpu s": meter.cpu,
        "protocol s": max(job.document["meters"]["wall_ms"] / 1e3, 0),
        "worker MB": meter.worker_peak / 1e6,
        "sent MB": sent / 1e6,
        "paper MB": estimate["bytes"] / 1e6,
        "rounds": estimate["rounds"],
        "estimate s": float(estimate["seconds"]),
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--sizes", type=numbers, default=[10_000, 100_000], help="rows a side")
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--receivers", choices=("me", "both"), default="me")
    arguments.add_argument("--threads", type=int, default=1, help="threads of each worker")
    arguments.add_argument("--protocol", choices=("ecdh-psi/v1", "vole-psi/v1", "kept-oprf-psi/v1"))
    arguments.add_argument("--peer-rows", type=int, help="rows of the partner's table; default as many")
    arguments.add_argument("--work", help="folder for files and nodes; default a temporary one")
    options = arguments.parse_args()
    columns = [
        "rows", "peer rows", "kind", "protocol", "wall s", "cpu s", "protocol s", "worker MB", "sent MB", "paper MB",
        "rounds", "estimate s",
    ]  # fmt: skip
    report = Report("join_nodes", columns)
    settings = {"logs.level": "info", "jobs.threads": options.threads}
    with (
        tempfile.TemporaryDirectory(dir=options.work) as work,
        nodes(*PARTIES, settings=settings, folder=work, warm=False) as net,
    ):
        for rows in options.sizes:
            agreements: dict[int, str] = {}
            others = options.peer_rows or rows

            def cold(
                number: int, rows: int = rows, others: int = others, made: dict[int, str] = agreements
            ) -> Row:
                made[number], added = add(net, Path(work), rows, number, others)
                row = join(
                    net,
                    made[number],
                    rows,
                    others,
                    number,
                    Path(work) / "out.csv",
                    options.receivers,
                    "cold",
                    options.protocol,
                )
                return row | added

            def warm(
                number: int, rows: int = rows, others: int = others, made: dict[int, str] = agreements
            ) -> Row:
                return join(
                    net,
                    made[number],
                    rows,
                    others,
                    number,
                    Path(work) / "out.csv",
                    options.receivers,
                    "warm",
                    options.protocol,
                )

            report.repeat(options.repeats, cold)
            report.repeat(options.repeats, warm)


if __name__ == "__main__":
    main()
