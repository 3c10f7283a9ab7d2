"""Shared arrays by the engine alone: two or three processes on loopback, one operation after the other.

    python benchmarks/arrays.py [--parties 3] [--operations multiply,less,sort] [--repeats 3] [--scale 1]
                                [--source rich] [--field 4]

Every operation is measured from shared inputs to one opened element of the result (opening more is not the operation),
warm: a run before the first is not counted. Triples and transfers of two parties are made within it, unless those left
over from the run before suffice. `cpu s` is that of all parties, `MB` what they sent in all, `party MB` the peak of the
largest. Results are compared with NumPy's. No node, no TLS, no receipt. `--scale` divides
all sizes.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.arrays_party import OPERATIONS
from harness.parties import free_ports, run
from harness.report import Report, Row, parser

PARTY = Path(__file__).resolve().parent / "harness" / "arrays_party.py"
COLUMNS = ["operation", "elements", "wall s", "cpu s", "MB", "rounds", "party MB"]


@dataclass(frozen=True)
class Setting:
    """How many parties, and how two of them make transfers."""

    parties: int = 3
    source: str | None = None
    field: int = 4


def measure(name: str, size: int, repeats: int, folder: Path, setting: Setting) -> list[Row]:
    """Runs of one operation by new processes."""
    pairs = [f"{i}-{j}" for i in range(setting.parties) for j in range(i + 1, setting.parties)]
    addresses = {pair: ["127.0.0.1", port] for pair, port in zip(pairs, free_ports(len(pairs)), strict=True)}
    task = {"operation": name, "size": size, "repeats": repeats, "addresses": addresses, **asdict(setting)}
    commands = [[sys.executable, str(PARTY), json.dumps({**task, "me": me})] for me in range(setting.parties)]
    group = run(commands, folder)
    results = [life.result["runs"] for life in group.lives]
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
                "party MB": group.peak / 1e6,
            }
        )
    return rows


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--parties", type=int, default=3, choices=(2, 3))
    arguments.add_argument(
        "--source", default="rich", choices=("rich", "thin"), help="transfers of two parties"
    )
    arguments.add_argument("--field", type=int, default=4, help="of a rich source, 2 to 8")
    arguments.add_argument("--operations", default=",".join(OPERATIONS))
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--scale", type=int, default=1, help="divides all sizes")
    options = arguments.parse_args()
    setting = Setting(options.parties, options.source if options.parties == 2 else None, options.field)
    report = Report("arrays", COLUMNS)
    with tempfile.TemporaryDirectory() as work:
        for name in options.operations.split(","):
            size = max(1, OPERATIONS[name].size // options.scale)
            rows = iter(measure(name, size, options.repeats, Path(work), setting))
            report.repeat(options.repeats, lambda _, rows=rows: next(rows))


if __name__ == "__main__":
    main()
