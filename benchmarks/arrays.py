"""Shared arrays by the engine alone: two or three processes on loopback, one operation after the other.

    python benchmarks/arrays.py [--parties 3] [--operations multiply,less,sort] [--repeats 3] [--scale 1]
                                [--source rich] [--field 4] [--shape 100mbit,10ms]

Every operation is measured from shared inputs to one opened element of the result (opening more is not the operation),
warm: a run before the first is not counted. Triples and transfers of two parties are made within it, unless those left
over from the run before suffice. `cpu s` is that of all parties, `MB` what they sent in all, `party MB` the peak of the
largest, `paper` columns are `mpc.estimate`'s with this machine's factors, warm too. Results are compared with NumPy's.
No node, no TLS, no receipt. `--scale` divides all sizes. `--shape` runs two parties in network namespaces with a link
of that rate and delay a direction (root, Linux).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from harness.arrays_party import OPERATIONS
from harness.parties import free_ports, run
from harness.report import Report, Row, parser
from harness.shape import Link, rate_and_delay, shaped

from atoll import mpc

PARTY = Path(__file__).resolve().parent / "harness" / "arrays_party.py"
COLUMNS = [
    "operation", "elements", "wall s", "cpu s", "MB", "rounds", "party MB",
    "paper s", "paper cpu s", "paper MB", "paper party MB",
]  # fmt: skip
# Of loopback, where bytes cost processor time alone.
LOOPBACK = (1e10, 0.0)


@dataclass(frozen=True)
class Setting:
    """How many parties, and how two of them make transfers."""

    parties: int = 3
    source: str | None = None
    field: int = 4


def paper(
    name: str, size: int, repeats: int, setting: Setting, machine: mpc.Machine, shape: str | None
) -> Row:
    """What an estimate says of one operation, as it is measured: without its inputs, after a run before the first."""
    operation = OPERATIONS[name]
    plain = operation.inputs(np.random.default_rng(7), size)
    source = {None: None, "rich": mpc.Rich(setting.field), "thin": mpc.Thin()}[setting.source]

    def cost(turns: int, whole: bool) -> mpc.Cost:
        def program(session: Any) -> None:
            for _ in range(turns):
                shared = [
                    session.share(None, owner % setting.parties, values.shape, low=low, high=high, kind=kind)
                    for owner, (values, low, high, kind) in enumerate(plain)
                ]
                session.open(*(array.ravel()[:1] for array in shared))
                if whole:
                    session.open(operation.work(*shared).ravel()[:1])

        return mpc.estimate(program, setting.parties, source, machine=machine)

    rate, delay = rate_and_delay(shape) if shape else LOOPBACK
    costs = {(turns, whole): cost(turns, whole) for turns in (1, repeats + 1) for whole in (True, False)}

    def each(of: Callable[[mpc.Cost], float]) -> float:
        found = {key: of(cost) for key, cost in costs.items()}
        more = {whole: found[repeats + 1, whole] - found[1, whole] for whole in (True, False)}
        return (more[True] - more[False]) / repeats

    cores = os.cpu_count() or 1
    return {
        "paper s": each(lambda c: c.seconds(rate=rate, delay=delay, cores=cores)),
        "paper cpu s": each(lambda c: c.processor_seconds),
        "paper MB": each(lambda c: c.bytes / 1e6),
        "paper party MB": costs[1, True].memory_bytes / 1e6,
    }


def measure(name: str, size: int, repeats: int, folder: Path, setting: Setting, link: Link) -> list[Row]:
    """Runs of one operation by new processes."""
    pairs = [f"{i}-{j}" for i in range(setting.parties) for j in range(i + 1, setting.parties)]
    addresses = {pair: [link.host, port] for pair, port in zip(pairs, free_ports(len(pairs)), strict=True)}
    task = {"operation": name, "size": size, "repeats": repeats, "addresses": addresses, **asdict(setting)}
    prefixes = [*link.prefixes, []]
    commands = [
        [*prefixes[me], sys.executable, str(PARTY), json.dumps({**task, "me": me})]
        for me in range(setting.parties)
    ]
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
    arguments.add_argument(
        "--shape", default=None, help="RATE,DELAY of the link of two parties: 100mbit,10ms"
    )
    options = arguments.parse_args()
    if options.shape and options.parties != 2:
        arguments.error("a shaped link is one of two parties")
    setting = Setting(options.parties, options.source if options.parties == 2 else None, options.field)
    report = Report("arrays", COLUMNS)
    machine = mpc.calibrate()
    with tempfile.TemporaryDirectory() as work, shaped(options.shape) as link:
        for name in options.operations.split(","):
            size = max(1, OPERATIONS[name].size // options.scale)
            said = paper(name, size, options.repeats, setting, machine, options.shape)
            rows = iter(measure(name, size, options.repeats, Path(work), setting, link))
            report.repeat(options.repeats, lambda _, rows=rows, said=said: next(rows) | said)


if __name__ == "__main__":
    main()
