"""A small table asks a large one again and again: the kept OPRF by the engine alone, two processes on loopback.

    python benchmarks/kept.py [--held 1000000] [--asked 1000,10000] [--changed 10000] [--repeats 3] [--threads 1]

The holder's outputs are sent once (`set-up`), then what changed (`change`, half of it new keys), then each asking
runs over what is kept. Times are the asking side's, from its first message to its result in hand; CPU is that
of both. No node, no TLS, no file of results; keys were read and hashed before. Half of the asked keys are held.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from harness.parties import Pair, free_ports, run
from harness.report import Report, Row, numbers, parser
from psi import files

PARTY = Path(__file__).resolve().parent / "harness" / "kept_party.py"
COLUMNS = ["what", "keys", "wall s", "cpu s", "MB", "holder MB", "asker MB", "kept MB"]


def row_of(what: str, keys: int, name: str, pair: Pair) -> Row:
    """One line of the table out of both parties' meters."""
    asker, holder = (life.result for life in pair.lives)
    return {
        "what": what,
        "keys": keys,
        "wall s": asker[f"{name} wall"],
        "cpu s": asker[f"{name} cpu"] + holder[f"{name} cpu"],
        "MB": (asker[f"{name} sent"] + holder[f"{name} sent"]) / 1e6,
        "holder MB": pair.lives[1].peak / 1e6,
        "asker MB": pair.lives[0].peak / 1e6,
        "kept MB": asker["kept"] / 1e6,
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--held", type=int, default=1_000_000, help="keys of the large table")
    arguments.add_argument("--asked", type=numbers, default=[1_000, 10_000], help="keys of each asking")
    arguments.add_argument("--changed", type=int, default=10_000, help="keys that go, and as many that come")
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=1, help="threads of each party")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        inputs = files(max(options.asked), folder, options.held)
        pairs = []
        for _ in range(options.repeats):
            address = ["127.0.0.1", free_ports(1)[0]]
            commands = []
            for rank in range(2):
                task = {
                    "rank": rank,
                    "address": address,
                    "input": str(inputs[rank]),
                    "held": options.held,
                    "asked": options.asked,
                    "changed": options.changed,
                    "threads": options.threads,
                }
                commands.append([sys.executable, str(PARTY), json.dumps(task)])
            pairs.append(run(commands, folder))
        report = Report("kept", COLUMNS)
        steps = [("set-up", options.held, "set-up")]
        steps += [("change", 2 * options.changed, "change")] * bool(options.changed)
        steps += [("ask", asked, str(asked)) for asked in options.asked]
        for what, keys, name in steps:
            report.repeat(len(pairs), lambda i, a=(what, keys, name): row_of(*a, pairs[i]))


if __name__ == "__main__":
    main()
