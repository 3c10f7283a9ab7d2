"""Operations on shares by SecretFlow's `spu` 0.9.5 and by ours, engine beside engine, in the same run.

    python benchmarks/peers/run.py --install          # once
    python benchmarks/peers/arrays.py [--parties 3] [--operations multiply,less] [--repeats 3] [--scale 1]

Three parties: the peer's ABY3; two parties: its CHEETAH, the only one of its protocols for two that needs no trusted
dealer. Both engines run in processes of their own on loopback, without TLS, policy or receipts; both are warm: a run
before the first is not counted. `lo MB` of the peer is what the loopback device counted, a run; ours is what was sent.
The last columns are the peer's wall and CPU time over ours.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from arrays import OPERATIONS, Setting, measure  # noqa: E402
from harness.parties import free_ports, run  # noqa: E402
from harness.report import Report, Row, medians, parser  # noqa: E402
from harness.shape import shaped  # noqa: E402
from run import PYTHON  # noqa: E402

PARTY = HERE / "spu_arrays_party.py"
PROTOCOLS = {2: "CHEETAH", 3: "ABY3"}
COLUMNS = [
    "operation", "elements", "ours s", "ours cpu", "ours MB", "peer s", "peer cpu", "peer lo MB", "peer MB of memory",
    "times", "cpu times",
]  # fmt: skip


def theirs(name: str, size: int, repeats: int, parties: int, folder: Path) -> list[Row]:
    """Runs of one operation by the peer."""
    task = {
        "addresses": [f"127.0.0.1:{port}" for port in free_ports(parties)],
        "protocol": PROTOCOLS[parties],
        "operation": name,
        "size": size,
        "repeats": repeats,
        "shares": str(folder),
    }
    run([[str(PYTHON), str(PARTY), json.dumps({**task, "rank": -1})]], folder, quiet=True)
    commands = [[str(PYTHON), str(PARTY), json.dumps({**task, "rank": rank})] for rank in range(parties)]
    group = run(commands, folder, quiet=True)
    rows = []
    for turns in zip(*(life.result["runs"] for life in group.lives), strict=True):
        wall, cpu = max(t["wall"] for t in turns), sum(t["cpu"] for t in turns)
        row = {"peer s": wall, "peer cpu": cpu, "peer lo MB": group.loopback / 1e6 / (repeats + 1)}
        rows.append(row | {"peer MB of memory": group.peak / 1e6})
    return rows


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--parties", type=int, default=3, choices=(2, 3))
    arguments.add_argument(
        "--operations", default="multiply,less of 32 bits,matrix and vector,sort,sum by public groups"
    )
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--scale", type=int, default=1, help="divides all sizes")
    options = arguments.parse_args()
    setting = Setting(options.parties, "rich" if options.parties == 2 else None)
    report = Report("peer-arrays", COLUMNS)
    with tempfile.TemporaryDirectory() as work, shaped(None) as link:
        for name in options.operations.split(","):
            size = max(1, OPERATIONS[name].size // options.scale)
            ours = medians(measure(name, size, options.repeats, Path(work), setting, link))
            peer = medians(theirs(name, size, options.repeats, options.parties, Path(work)))
            row = {"operation": name, "elements": size, "ours s": ours["wall s"], "ours cpu": ours["cpu s"]}
            row |= {"ours MB": ours["MB"], **peer}
            row |= {"times": peer["peer s"] / ours["wall s"], "cpu times": peer["peer cpu"] / ours["cpu s"]}
            report.repeat(1, lambda _, row=row: row)


if __name__ == "__main__":
    main()
