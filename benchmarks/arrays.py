"""Shared arrays by the engine alone: three processes on loopback, one operation after the other.

    python benchmarks/arrays.py [--operations multiply,less,sort] [--repeats 3] [--scale 1]

Every operation is measured from shared inputs to one opened element of the result (opening more is not the operation),
warm: a run before the first is not counted. `cpu s` is that of all three parties, `MB` what they sent in all,
`party MB` the peak of the largest. Results are compared with NumPy's. No node, no TLS, no receipt. `--scale` divides
all sizes.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from harness.arrays_party import OPERATIONS
from harness.parties import free_ports, run
from harness.report import Report, Row, parser

PARTY = Path(__file__).resolve().parent / "harness" / "arrays_party.py"
COLUMNS = ["operation", "elements", "wall s", "cpu s", "MB", "rounds", "party MB"]


def measure(name: str, size: int, repeats: int, folder: Path) -> list[Row]:
    """Runs of one operation by three new processes."""
    addresses = {
        pair: ["127.0.0.1", port] for pair, port in zip(("0-1", "0-2", "1-2"), free_ports(3), strict=True)
    }
    task = {"operation": name, "size": size, "repeats": repeats, "addresses": addresses}
    commands = [[sys.executable, str(PARTY), json.dumps({**task, "me": me})] for me in range(3)]
    trio = run(commands, folder)
    results = [life.result["runs"] for life in trio.lives]
    rows = []
    for turns in zip(*results, strict=True):
        rows.append(
            {
                "operation": name,
                "elements": size,
                "wall s": max(turn["wall"] for turn in turns),
                "cpu s": sum(turn["cpu"] for turn in turns),
                "MB": sum(turn["sent"] for turn in turns) / 1e6,
                "rounds": turns[0]["rounds"],
                "party MB": trio.peak / 1e6,
            }
        )
    return rows


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--operations", default=",".join(OPERATIONS))
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--scale", type=int, default=1, help="divides all sizes")
    options = arguments.parse_args()
    report = Report("arrays", COLUMNS)
    with tempfile.TemporaryDirectory() as work:
        for name in options.operations.split(","):
            size = max(1, OPERATIONS[name].size // options.scale)
            rows = iter(measure(name, size, options.repeats, Path(work)))
            report.repeat(options.repeats, lambda _, rows=rows: next(rows))


if __name__ == "__main__":
    main()
