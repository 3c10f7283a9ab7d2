"""Totals of one key over several holders' tables, through real nodes, TLS, policy and evidence on.

    python benchmarks/query_totals.py [--holders 2,10] [--rows 1048576] [--queries 50] [--batch 20]

All through the asker's REST API. Every holder has `--rows` keys with a debt each; two neighbours share half of theirs,
so that a key that is drawn stands in two tables or in none. A total has the debt and the number of holders. `set-up` is
from the request to the first answer; `refresh` from one holder's refresh of a file with one row in a hundred changed to
the first answer of the new version. `cpu s` is that of all nodes, their workers and the callers, for all of a line;
`cpu ms` for one key. All nodes share the machine's processors: on machines of their own, holders work side by side.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from pathlib import Path

from harness.ids import identifiers
from harness.measure import Meter, resident_bytes
from harness.report import Report, Row, numbers, parser

from atoll.client import requests
from atoll.testing import Net, nodes, until

NAME = "bench"
COLUMNS = [
    "what",
    "holders",
    "rows",
    "keys",
    "wall s",
    "cpu s",
    "p50 ms",
    "p99 ms",
    "max ms",
    "cpu ms",
    "resident MB",
]


class Tables:
    """The holders' files: holder i has the keys from i/2 tables on, so that each half stands in two of them."""

    def __init__(self, folder: Path, holders: int, rows: int) -> None:
        self.files = [folder / f"table{number}.csv" for number in range(holders)]
        self.rows, self.half = rows, rows // 2
        self.ids = identifiers(0, self.half * (holders + 1)).to_pylist()
        self.absent = identifiers(len(self.ids), 10_000).to_pylist()
        self.debts = [[(number + row) % 1000 for row in range(rows)] for number in range(holders)]
        self.draws = random.Random(1)

    def write(self, number: int) -> None:
        """One holder's file anew, whole or not at all."""
        whole = self.files[number].with_suffix(".new")
        ids = self.ids[self.half * number : self.half * number + self.rows]
        with whole.open("w") as sink:
            sink.write("id,debt\n")
            sink.writelines(f"{i},{debt}\n" for i, debt in zip(ids, self.debts[number], strict=True))
        whole.replace(self.files[number])

    def total(self, at: int) -> dict[str, int]:
        """What all holders have of the key at this place, by a loop over their tables."""
        places = [at - self.half * number for number in range(len(self.files))]
        found = [
            debts[place] for debts, place in zip(self.debts, places, strict=True) if 0 <= place < self.rows
        ]
        return {"debt": sum(found), "holders": len(found)}

    def key(self) -> tuple[str, dict[str, int]]:
        """A key, and its total."""
        if self.draws.random() < 0.5:
            return self.draws.choice(self.absent), {"debt": 0, "holders": 0}
        at = self.draws.randrange(len(self.ids))
        return self.ids[at], self.total(at)


class Bench:
    """A lookup of totals between nodes, and what is measured of it."""

    def __init__(self, net: Net, tables: Tables, report: Report) -> None:
        self.net, self.tables, self._report = net, tables, report
        self._roots = [node.pid for node in net]
        self._client = net.asker.client("application", "caller")

    def _show(self, row: Row) -> None:
        shape = {"holders": len(self.tables.files), "rows": self.tables.rows}
        whole = shape | row | {"resident MB": resident_bytes(self._roots) / 1e6}
        self._report.repeat(1, lambda _: whole)

    def _read(self, keys: list[tuple[str, dict[str, int]]]) -> None:
        """One request; its totals must be right."""
        answers = self._client.lookups.query(NAME, [key for key, _ in keys])["answers"]
        assert [a["rows"] for a in answers] == [[total] for _, total in keys]

    def set_up(self) -> None:
        """Tables, an agreement of all, and the lookup until its first answer."""
        uses = {"id": "lookup_key", "debt": "aggregate"}
        holders = list(self.net)[1:]
        for number, (node, file) in enumerate(zip(holders, self.tables.files, strict=True)):
            self.tables.write(number)
            bounds = {"columns": {"debt": {"range": ["0", "10000000"]}}}
            node.steward.data.add("debtors", file, declaration=bounds)
        agreement = self.net.agreement(
            {node.name: {"debtors": uses} for node in holders}, parties=["asker"], functions=["query_totals"]
        )
        request = requests.lookup_totals(
            agreement, NAME, "debtors", purpose="test", on=["id"], values=["debt"], rows=1, count_holders=True,
            block_calls=1_000_000, block_seconds=86_400,
        )  # fmt: skip
        with Meter(self._roots) as meter:
            self.net.asker.analyst.lookups.start(request, timeout=3600)
            self._read([self.tables.key()])
        self._show({"what": "set-up", "wall s": meter.wall, "cpu s": meter.cpu})

    def requests(self, what: str, count: int, keys: int) -> None:
        """So many requests of so many keys, one after the other."""
        drawn = [[self.tables.key() for _ in range(keys)] for _ in range(count)]
        times = []
        with Meter(self._roots) as meter:
            for part in drawn:
                begun = time.perf_counter()
                self._read(part)
                times.append(time.perf_counter() - begun)
        times.sort()
        last = times[min(int(count * 0.99), count - 1)]
        self._show(
            {"what": what, "keys": keys, "wall s": meter.wall, "cpu s": meter.cpu}
            | {"p50 ms": statistics.median(times) * 1e3, "p99 ms": last * 1e3, "max ms": times[-1] * 1e3}
            | {"cpu ms": meter.cpu / count / keys * 1e3}
        )

    def refresh(self) -> None:
        """Other debts in one row of a hundred of the first holder's."""
        debts = self.tables.debts[0]
        for at in range(0, self.tables.rows, 100):
            debts[at] += 1000
        self.tables.write(0)
        with Meter(self._roots) as meter:
            self.net.holder0.steward.data.refresh("debtors")
            until("the new version answers", self._answers_anew, 600)
        self._show({"what": "refresh 1 %", "wall s": meter.wall, "cpu s": meter.cpu})

    def _answers_anew(self) -> bool:
        (answer,) = self._client.lookups.query(NAME, [self.tables.ids[0]])["answers"]
        return bool(answer["rows"] == [self.tables.total(0)])


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--holders", type=numbers, default=[2, 10])
    arguments.add_argument("--rows", type=int, default=1 << 20)
    arguments.add_argument("--queries", type=int, default=50, help="requests of one key")
    arguments.add_argument("--batch", type=int, default=20, help="keys of a larger request")
    options = arguments.parse_args()
    report = Report("query_totals", COLUMNS)
    for holders in options.holders:
        names = [f"holder{number}" for number in range(holders)]
        with (
            tempfile.TemporaryDirectory() as folder,
            nodes("asker", *names, settings={"logs.level": "info"}, warm=False) as net,
        ):
            bench = Bench(net, Tables(Path(folder), holders, options.rows), report)
            bench.set_up()
            bench.requests("one key", options.queries, 1)
            bench.requests("batch", 5, options.batch)
            bench.refresh()


if __name__ == "__main__":
    main()
