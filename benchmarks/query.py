"""Lookups through two real nodes, TLS, policy and evidence on: set-up, single keys, batches, refresh, sustained load.

    python benchmarks/query.py [--rows 1048576] [--record 32] [--queries 300] [--batch 100] [--callers 1,4]
                               [--rate 50] [--seconds 60] [--no-hint]

All through the asker's REST API, with keys of which half are in the table, drawn at random. `set-up` is from the
request to the first answer, `refresh` from the owner's refresh of a file with one row in a hundred changed to the first
answer of the new version. `cpu s` is that of both nodes, their workers and the callers, for all of a line; `cpu ms` for
one key. `sustained` begins queries at `--rate` a second whether or not earlier ones have ended; its latencies count
from when each was due. `grown MB` is by how much the processes of both sides grew meanwhile.

With `--no-hint` the asker takes no hint. Each key costs the holder more: requests are fewer and smaller unless said
otherwise, and none are begun at a given rate.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.ids import identifiers
from harness.measure import Meter, resident_bytes
from harness.report import Report, Row, numbers, parser

from atoll.client import Client, requests
from atoll.testing import Net, nodes, until

NAME = "bench"
COLUMNS = [
    "what",
    "rows",
    "keys",
    "callers",
    "wall s",
    "cpu s",
    "p50 ms",
    "p99 ms",
    "max ms",
    "keys/s",
    "cpu ms",
    "grown MB",
]


class Table:
    """Keys and one number each, in a file of the owner's."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.file, self.rows = folder / "table.csv", rows
        self.ids = identifiers(0, rows).to_pylist()
        self.absent = identifiers(rows, min(rows, 10_000)).to_pylist()
        self.values = list(range(rows))
        self.draws = random.Random(1)

    def write(self) -> None:
        """The file anew, whole or not at all."""
        whole = self.file.with_suffix(".new")
        with whole.open("w") as sink:
            sink.write("id,value\n")
            sink.writelines(f"{i},{v}\n" for i, v in zip(self.ids, self.values, strict=True))
        whole.replace(self.file)

    def change(self) -> tuple[str, int]:
        """Another value in one row of a hundred; a key that has one, and its value."""
        for at in range(0, self.rows, 100):
            self.values[at] += self.rows
        return self.ids[0], self.values[0]

    def key(self) -> tuple[str, int | None]:
        """A key, and its value if it is in the table."""
        if self.draws.random() < 0.5:
            return self.draws.choice(self.absent), None
        at = self.draws.randrange(self.rows)
        return self.ids[at], self.values[at]


class Bench:
    """A lookup between two nodes, and what is measured of it."""

    def __init__(self, net: Net, table: Table, record: int, report: Report, hint: bool) -> None:
        self.net, self.table, self.record, self._report, self.hint = net, table, record, report, hint
        self.meter_roots = [node.pid for node in net]
        self._clients: dict[int, Client] = {}

    def client(self, number: int) -> Client:
        """One for each caller: connections are not shared between threads."""
        if number not in self._clients:
            self._clients[number] = self.net.asker.client("application", f"caller {number}")
        return self._clients[number]

    def read(self, number: int, keys: list[tuple[str, int | None]]) -> None:
        """One request; its answers must be right."""
        answers = self.client(number).lookups.query(NAME, [key for key, _ in keys])["answers"]
        found = [a["rows"][0]["value"] if a["found"] else None for a in answers]
        assert found == [value for _, value in keys]

    def show(self, row: Row) -> None:
        self._report.repeat(1, lambda _: {"rows": self.table.rows} | row)

    def set_up(self) -> None:
        self.table.write()
        self.net.holder.steward.data.add("table", self.table.file)
        uses = {"id": "lookup_key", "value": "lookup_value"}
        agreement = self.net.agreement({"holder": {"table": uses}}, parties=["asker"], functions=["query"])
        request = requests.lookup(
            agreement, NAME, "table", purpose="test", on=["id"], record_bytes=self.record,
            block_calls=1_000_000, block_seconds=86_400, hint=self.hint,
        )  # fmt: skip
        with Meter(self.meter_roots) as meter:
            self.net.asker.analyst.lookups.start(request)
            self.read(0, [self.table.key()])
        self.show({"what": "set-up", "wall s": meter.wall, "cpu s": meter.cpu})

    def requests(self, what: str, count: int, keys: int, callers: int) -> None:
        """So many requests of so many keys, one after the other by each caller."""
        drawn = [
            [[self.table.key() for _ in range(keys)] for _ in range(count // callers)] for _ in range(callers)
        ]
        for number in range(callers):
            self.read(number, [self.table.key()])

        def caller(number: int) -> list[float]:
            took = []
            for part in drawn[number]:
                begun = time.perf_counter()
                self.read(number, part)
                took.append(time.perf_counter() - begun)
            return took

        with Meter(self.meter_roots) as meter, ThreadPoolExecutor(callers) as pool:
            times = sorted(t for part in pool.map(caller, range(callers)) for t in part)
        total = keys * len(times)
        row = {"what": what, "keys": keys, "callers": callers, "wall s": meter.wall, "cpu s": meter.cpu}
        self.show(row | _latencies(times) | {"keys/s": total / meter.wall, "cpu ms": meter.cpu / total * 1e3})

    def refresh(self) -> None:
        key, value = self.table.change()
        self.table.write()
        with Meter(self.meter_roots) as meter:
            self.net.holder.steward.data.refresh("table")
            stored = time.perf_counter()
            until("the new version answers", lambda: self._is(key, value), 120)
            served = time.perf_counter() - stored
        self.show({"what": "refresh 1 %", "wall s": meter.wall, "cpu s": meter.cpu})
        self.show({"what": "  of it, sealed and sent", "wall s": served})

    def _is(self, key: str, value: int) -> bool:
        (answer,) = self.client(0).lookups.query(NAME, [key])["answers"]
        return bool(answer["found"] and answer["rows"][0]["value"] == value)

    def sustained(self, rate: float, seconds: float, callers: int = 8) -> None:
        """Requests of one key at a given rate."""
        total, lock = int(rate * seconds), threading.Lock()
        times: list[float] = []
        for number in range(callers):
            self.read(number, [self.table.key()])
        drawn = [[self.table.key()] for _ in range(total)]
        at = iter(range(total))
        before, begun = resident_bytes(self.meter_roots), time.perf_counter()

        def caller(number: int) -> None:
            while True:
                with lock:
                    turn = next(at, None)
                if turn is None:
                    return
                due = begun + turn / rate
                time.sleep(max(0.0, due - time.perf_counter()))
                self.read(number, drawn[turn])
                with lock:
                    times.append(time.perf_counter() - due)

        with Meter(self.meter_roots) as meter, ThreadPoolExecutor(callers) as pool:
            list(pool.map(caller, range(callers)))
        grown = (resident_bytes(self.meter_roots) - before) / 1e6
        row = {
            "what": f"sustained {rate:g}/s",
            "keys": 1,
            "callers": callers,
            "wall s": meter.wall,
            "cpu s": meter.cpu,
        }
        rates = {"keys/s": total / meter.wall, "cpu ms": meter.cpu / total * 1e3, "grown MB": grown}
        self.show(row | _latencies(sorted(times)) | rates)


def _latencies(times: list[float]) -> Row:
    last = times[min(int(len(times) * 0.99), len(times) - 1)]
    return {"p50 ms": statistics.median(times) * 1e3, "p99 ms": last * 1e3, "max ms": times[-1] * 1e3}


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rows", type=numbers, default=[1 << 20])
    arguments.add_argument("--record", type=int, default=32, help="bytes of a record")
    arguments.add_argument("--queries", type=int, help="requests of one key; 300, without a hint 40")
    arguments.add_argument("--batch", type=int, help="keys of a larger request; 100, without a hint 16")
    arguments.add_argument("--callers", type=numbers, default=[1, 4])
    arguments.add_argument("--rate", type=float, default=50)
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--no-hint", dest="hint", action="store_false", help="the asker takes no hint")
    options = arguments.parse_args()
    queries = options.queries or (300 if options.hint else 40)
    batch = options.batch or (100 if options.hint else 16)
    report = Report("query", COLUMNS)
    for rows in options.rows:
        with (
            tempfile.TemporaryDirectory() as folder,
            nodes("asker", "holder", settings={"logs.level": "info"}, warm=False) as net,
        ):
            bench = Bench(net, Table(Path(folder), rows), options.record, report, options.hint)
            bench.set_up()
            for callers in options.callers:
                bench.requests("one key", queries, 1, callers)
            bench.requests("batch", 5, batch, 1)
            bench.refresh()
            if options.seconds and options.hint:
                bench.sustained(options.rate, options.seconds)


if __name__ == "__main__":
    main()
