"""The private join of two CSV files by the engine alone: two processes, files in, file out, everything counted.

    python benchmarks/psi.py [--rows 1000000] [--methods semi-honest,malicious] [--repeats 3] [--threads 1]
                             [--shape 100mbit,10ms] [--stages] [--peer-rows 1000000]
                             [--on-disk] [--memory 67108864] [--work FOLDER]

Ids of 18 digits, half of which overlap; the first party learns, and writes its matching rows as CSV. No node, no
TLS, no receipt. Wall time runs from the start of the first process to the closed output file; CPU is that of both
processes over their whole life, with Python's start and imports. Both share this machine. `MB` is what the two
sent; `lo MB` what the loopback device counted, headers and other programs' traffic included, as it is for a
peer's library (benchmarks/peers/psi.py). ECDH is left out above 100,000 rows unless it is named.

`--on-disk` keeps the keys of both parties in files, as for tables larger than memory; `party MB` then hardly follows
the rows, and each party takes about 90 bytes of disk a row at its most, beside its CSV, in `--work`. `--memory` bounds
what a bucket takes.

`--stages` says where the time of each party goes, by the step of the message that was made, and ends with what
this machine can do at most (benchmarks/psi_machine.py). `--shape` runs both parties in network namespaces with a
link of that rate and delay a direction (root, Linux).
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness.ids import write_overlapping
from harness.parties import Pair, free_ports, run
from harness.report import Report, Row, medians, parser
from harness.shape import Link, NoShapingError, shaped

PARTY = Path(__file__).resolve().parent / "harness" / "psi_party.py"
METHODS: dict[str, dict[str, Any]] = {
    "semi-honest": {"security": "semi-honest"},
    "malicious": {"security": "malicious"},
    "low-communication": {"security": "semi-honest", "variant": "low-communication"},
    "ecdh": {"protocol": "ecdh-psi/v1"},
}
ECDH_MOST = 100_000
COLUMNS = ["who", "rows", "wall s", "cpu s", "party MB", "MB", "lo MB"]


def _make(rows: int, others: int, folder: Path) -> None:
    write_overlapping(rows, others, *(folder / f"{side}-{rows}.csv" for side in ("left", "right")))


def files(rows: int, folder: Path, others: int | None = None) -> list[Path]:
    """The CSV files of both parties, made by another process: a small parent, since the kernel counts the size of the
    parent as its child's peak."""
    maker = multiprocessing.get_context("spawn").Process(target=_make, args=(rows, others or rows, folder))
    maker.start()
    maker.join()
    assert maker.exitcode == 0
    return [folder / f"{side}-{rows}.csv" for side in ("left", "right")]


def written(file: Path) -> int:
    """Rows of a CSV file with a header and no line break in a value."""
    with file.open("rb") as lines:
        return sum(part.count(b"\n") for part in iter(lambda: lines.read(1 << 20), b"")) - 1


def ours(
    method: str,
    inputs: list[Path],
    rows: int,
    folder: Path,
    link: Link,
    threads: int = 1,
    on_disk: bool = False,
    memory: int | None = None,
) -> Pair:
    """One run of the engine, its result checked."""
    output = folder / "ours.csv"
    output.unlink(missing_ok=True)
    port = free_ports(1)[0]
    commands = []
    for rank in range(2):
        task = {
            "rank": rank,
            "address": [link.host, port],
            "input": str(inputs[rank]),
            "output": str(output),
            "threads": threads,
            "how": METHODS[method] | ({} if memory is None else {"memory": memory}),
            "keys": str(folder / f"keys-{rank}") if on_disk else None,
        }
        commands.append([*link.prefixes[rank], sys.executable, str(PARTY), json.dumps(task)])
    pair = run(commands, folder)
    found = written(output)
    assert found == pair.lives[0].result["rows"] == rows - rows // 2, found
    return pair


def row_of(who: str, rows: int, pair: Pair, sent: bool = True) -> Row:
    """The columns of the table."""
    return {
        "who": who,
        "rows": rows,
        "wall s": pair.wall,
        "cpu s": pair.cpu,
        "party MB": pair.peak / 1e6,
        "lo MB": pair.loopback / 1e6,
        **({"MB": sum(life.result["sent"] for life in pair.lives) / 1e6} if sent else {}),
    }


def show_stages(pairs: list[Pair]) -> None:
    """Median wall and CPU of each stage, in the order of the first party."""
    for rank, name in enumerate(("first", "second")):
        rows = []
        for pair in pairs:
            life = pair.lives[rank]
            flat = {("start", "wall"): life.result["started"]}
            for kind in ("wall", "cpu"):
                flat |= {(stage, kind): seconds for stage, seconds in life.result[kind].items()}
            rows.append({f"{stage}|{kind}": seconds for (stage, kind), seconds in flat.items()})
        found = medians([row for row in rows if row.keys() == rows[0].keys()])
        stages = dict.fromkeys(key.partition("|")[0] for key in found)
        print(f"  {name} party, ms wall / cpu:")
        for stage in stages:
            wall, cpu = found.get(f"{stage}|wall", 0.0), found.get(f"{stage}|cpu", 0.0)
            print(f"    {stage:28} {wall * 1e3:8.1f} {cpu * 1e3:8.1f}")


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument(
        "--peer-rows", type=int, help="rows of the party that learns nothing; default as many"
    )
    arguments.add_argument("--methods", default=None, help=f"of {', '.join(METHODS)}")
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=1, help="threads of each party")
    arguments.add_argument("--shape", default=None, help="RATE,DELAY of the link, such as 100mbit,10ms")
    arguments.add_argument("--stages", action="store_true", help="where the time of each party goes")
    arguments.add_argument("--on-disk", action="store_true", help="keys in files")
    arguments.add_argument("--memory", type=int, default=None, help="bytes that a bucket takes at most")
    arguments.add_argument("--work", default=None, help="folder for the files; default a temporary one")
    options = arguments.parse_args()
    asked = options.methods.split(",") if options.methods else list(METHODS)
    unknown = sorted(set(asked) - set(METHODS))
    if unknown:
        sys.exit(f"methods are {', '.join(METHODS)}, not {', '.join(unknown)}")
    if options.methods is None and options.rows > ECDH_MOST:
        asked.remove("ecdh")
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        folder = Path(work)
        try:
            with shaped(options.shape) as link:
                inputs = files(options.rows, folder, options.peer_rows)
                report = Report("psi", COLUMNS)
                for method in asked:
                    pairs: list[Pair] = []

                    def once(_: int, method: str = method, pairs: list[Pair] = pairs) -> Row:
                        how = (options.threads, options.on_disk, options.memory)
                        pairs.append(ours(method, inputs, options.rows, folder, link, *how))
                        row = row_of(method, options.rows, pairs[-1])
                        others = options.peer_rows or options.rows
                        where = "disk" if options.on_disk else "memory"
                        return row | {"link": options.shape or "loopback", "peer rows": others, "keys": where}

                    report.repeat(options.repeats, once)
                    if options.stages:
                        show_stages(pairs)
        except NoShapingError as error:
            print(f"Skipped: no shaped link here: {error}")
            return
    if options.stages:
        import psi_machine

        psi_machine.show()


if __name__ == "__main__":
    main()
