"""The same join by SecretFlow's `spu` 0.9.5 and by two of our nodes, on files of the same making, in the same run.

    python benchmarks/peers/run.py --install          # once: benchmarks/peers/.venv, about 1 GB
    python benchmarks/peers/run.py [--rows 100000] [--repeats 3] [--protocols ECDH,RR22]

Both read CSV files of 18-digit ids and write the matched rows as CSV; half of the ids overlap, one side learns.
The peer's time is that of its PSI call, from file to file, in two processes that are already connected: it has no
policy, no TLS, no receipts. Ours is the job through two nodes, from the request to the closed file. Adding the
table before (`add s`) is shown beside it, since the peer reads its CSV within its call.

The peer needs Python 3.10 or 3.11. The last column is our wall time over the peer's: above 1 the peer is faster.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import pyarrow.csv as csv  # noqa: E402
from harness.ids import overlapping, write  # noqa: E402
from harness.parties import free_ports  # noqa: E402
from harness.report import Report, Row, parser  # noqa: E402
from join_nodes import add, join  # noqa: E402

from atoll.testing import nodes  # noqa: E402

PACKAGE = "spu==0.9.5"
ENVIRONMENT = HERE / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"


def install() -> None:
    """Makes the peer's environment; it pins old libraries and cannot share ours."""
    if sys.version_info[:2] not in ((3, 10), (3, 11)):
        sys.exit(f"{PACKAGE} has wheels for Python 3.10 and 3.11; run this with one of them")
    venv.create(ENVIRONMENT, with_pip=True)
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", PACKAGE], check=True)


def theirs(protocol: str, files: list[Path], rows: int, folder: Path) -> Row:
    """One PSI call of the peer, in two processes."""
    ports = free_ports(2)
    outputs = [folder / f"spu-{rank}.csv" for rank in range(2)]
    started = []
    for rank in range(2):
        task = {
            "rank": rank,
            "addresses": [f"127.0.0.1:{port}" for port in ports],
            "protocol": protocol,
            "input": str(files[rank]),
            "output": str(outputs[rank]),
        }
        command = [str(PYTHON), str(HERE / "spu_party.py"), json.dumps(task)]
        # It leaves trace files where it runs.
        started.append(
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder
            )
        )
    found: list[dict[str, Any]] = []
    for process in started:
        out, _ = process.communicate(timeout=1200)
        if process.returncode:
            sys.exit(f"the peer ended with {process.returncode}")
        # Its libraries write lines of their own.
        result = next(line for line in out.splitlines() if line.startswith("RESULT "))
        found.append(json.loads(result.removeprefix("RESULT ")))
    assert csv.read_csv(outputs[0]).num_rows == rows - rows // 2
    return {
        "who": f"spu {protocol}",
        "rows": rows,
        "wall s": max(party["wall"] for party in found),
        "cpu s": sum(party["cpu"] for party in found),
        "party MB": max(party["peak"] for party in found) / 1e6,
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--install", action="store_true", help=f"make {ENVIRONMENT.name} with {PACKAGE}")
    arguments.add_argument("--rows", type=int, default=100_000)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--protocols", default="ECDH,RR22")
    arguments.add_argument("--threads", type=int, default=1, help="threads of each of our workers")
    options = arguments.parse_args()
    if options.install:
        install()
        return
    if not PYTHON.exists():
        sys.exit("The peer is not installed: python benchmarks/peers/run.py --install")
    report = Report("peers", ["who", "rows", "wall s", "cpu s", "party MB", "add s", "x ours"])
    settings = {"logs.level": "info", "jobs.threads": options.threads}
    with (
        tempfile.TemporaryDirectory() as work,
        nodes("left", "right", settings=settings, folder=work, warm=False) as net,
    ):
        folder = Path(work)

        def ours(number: int) -> Row:
            agreement, added = add(net, folder, options.rows, number)
            row = join(net, agreement, options.rows, number, folder / "ours.csv", "me", "cold")
            return {"who": "two nodes", "party MB": row["worker MB"], **row, **added}

        mine = report.repeat(options.repeats, ours)
        for protocol in options.protocols.split(","):
            files = [
                write(table, folder / f"{side}.csv")
                for side, table in zip(("left", "right"), overlapping(options.rows, 0), strict=True)
            ]

            def once(_: int, protocol: str = protocol, files: list[Path] = files) -> Row:
                row = theirs(protocol, files, options.rows, folder)
                return row | {"x ours": mine["wall s"] / row["wall s"]}

            report.repeat(options.repeats, once)


if __name__ == "__main__":
    main()
