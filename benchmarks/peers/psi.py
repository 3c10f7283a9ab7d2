"""The same two files through SecretFlow's `spu` 0.9.5 and through our engine: the same measures, in one run.

    python benchmarks/peers/run.py --install          # once: benchmarks/peers/.venv, about 1 GB
    python benchmarks/peers/psi.py [--rows 1000000] [--repeats 3] [--methods semi-honest,malicious]
                                   [--protocols RR22,RR22-low] [--shape 100mbit,10ms]

Both read CSV files of 18-digit ids and write the matched rows as CSV; half of the ids overlap, one side learns. Each
party is a process of its own, measured from its start to its end: wall time to the closed output file, CPU of both
over their whole life, and what the loopback device counted. The peer has no TLS, no policy and no receipt; nor has
our engine here. `x` is the peer's wall time over that of our first method, above 1 if ours is faster; `x cpu` the
same of CPU.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from harness.parties import Pair, free_ports, run  # noqa: E402
from harness.report import Report, Row, parser  # noqa: E402
from harness.shape import Link, NoShapingError, shaped  # noqa: E402
from psi import COLUMNS, METHODS, files, ours, row_of, written  # noqa: E402

PYTHON = HERE / ".venv" / "bin" / "python"
PEER_COLUMNS = [*COLUMNS, "call s", "x", "x cpu"]


def theirs(protocol: str, inputs: list[Path], rows: int, folder: Path, link: Link) -> Pair:
    """One PSI call of the peer, in two processes."""
    outputs = [folder / f"spu-{rank}.csv" for rank in range(2)]
    name, _, low = protocol.partition("-")
    second = link.host.rpartition(".")[0] + ".2" if link.prefixes[0] else link.host
    addresses = [f"{host}:{port}" for host, port in zip((link.host, second), free_ports(2), strict=True)]
    commands = []
    for rank in range(2):
        task: dict[str, Any] = {
            "rank": rank,
            "addresses": addresses,
            "protocol": name,
            "low_communication": bool(low),
            "input": str(inputs[rank]),
            "output": str(outputs[rank]),
        }
        commands.append([*link.prefixes[rank], str(PYTHON), str(HERE / "spu_party.py"), json.dumps(task)])
    pair = run(commands, folder, quiet=True)
    assert written(outputs[0]) == rows - rows // 2
    return pair


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--methods", default=next(iter(METHODS)), help=f"of {', '.join(METHODS)}")
    arguments.add_argument("--protocols", default="RR22", help="of RR22, RR22-low, KKRT, ECDH")
    arguments.add_argument("--threads", type=int, default=1, help="threads of each of our parties")
    arguments.add_argument("--shape", default=None, help="RATE,DELAY of the link, such as 100mbit,10ms")
    arguments.add_argument("--work", default=None, help="folder for the files; default a temporary one")
    options = arguments.parse_args()
    if not PYTHON.exists():
        sys.exit("The peer is not installed: python benchmarks/peers/run.py --install")
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        folder = Path(work)
        try:
            with shaped(options.shape) as link:
                compare(options, folder, link)
        except NoShapingError as error:
            print(f"Skipped: no shaped link here: {error}")


def compare(options: Any, folder: Path, link: Link) -> None:
    """All methods of ours, then all of the peer's."""
    inputs = files(options.rows, folder)
    report = Report("peer_psi", PEER_COLUMNS)
    first: Row | None = None
    for method in options.methods.split(","):

        def mine(_: int, method: str = method) -> Row:
            pair = ours(method, inputs, options.rows, folder, link, options.threads)
            return row_of(f"atoll {method}", options.rows, pair)

        row = report.repeat(options.repeats, mine)
        first = first or row
    for protocol in options.protocols.split(","):

        def peer(_: int, protocol: str = protocol, first: Row = first or {}) -> Row:
            pair = theirs(protocol, inputs, options.rows, folder, link)
            row = row_of(f"spu {protocol}", options.rows, pair, sent=False)
            call = max(life.result["wall"] for life in pair.lives)
            times = {
                f"x{name}": row[f"{kind} s"] / first[f"{kind} s"]
                for name, kind in (("", "wall"), (" cpu", "cpu"))
            }
            return row | times | {"call s": call}

        report.repeat(options.repeats, peer)


if __name__ == "__main__":
    main()
