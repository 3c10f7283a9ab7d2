"""Index PIR by the kernel alone, in one process and one thread: the pass beside a plain read of as many bytes.

    python benchmarks/pir.py [--rows 1048576,4194304] [--record 32] [--together 8] [--repeats 5]

`pass of 8` answers eight queries. GB/s are bytes of records, before encoding, once for each query, by CPU time.
`share` is that beside `read GB/s`: the C library's search for a byte that is not there, in a buffer of the table's
size, before each pass. `read` alone is over 1 GiB. `change` and `apply` are of one record in a hundred. MB is what
travels.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, TypeVar

from harness.report import Report, Row, numbers, parser

from atoll.crypto.pir import Asker, Table

SEED = b"\x07" * 32
#: Short passes are repeated until so many bytes were read.
ENOUGH = 1 << 30
FILL, ABSENT = b"\x5a", b"\xa5"
T = TypeVar("T")


class Clock:
    """Wall and CPU time of all that it ran."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def run(self, work: Callable[[], T]) -> T:
        """Runs `work` and gives its result."""
        cpu, begun = time.process_time(), time.perf_counter()
        result = work()
        self.wall += time.perf_counter() - begun
        self.cpu += time.process_time() - cpu
        return result


def row_of(what: str, rows: int, clock: Clock, times: int = 1) -> Row:
    """One line of the table, without rates and sizes."""
    return {"what": what, "rows": rows, "wall s": clock.wall / times, "cpu s": clock.cpu / times}


def megabytes(message: bytes) -> Row:
    """The size of what travels."""
    return {"MB": len(message) / 1e6}


def read(report: Report, size: int, repeats: int) -> None:
    """Memory read by one core."""
    buffer = FILL * size

    def run(_: int) -> Row:
        clock = Clock()
        assert clock.run(lambda: buffer.find(ABSENT)) < 0
        return row_of("read", 0, clock) | {"read GB/s": size / clock.cpu / 1e9}

    report.repeat(repeats, run)


def version(number: int) -> bytes:
    """Names the state of a table."""
    return number.to_bytes(16, "big")


class Bench:
    """One table and its asker, and what they do."""

    def __init__(self, report: Report, rows: int, size: int, repeats: int) -> None:
        self._report, self._rows, self._size, self._repeats = report, rows, size, repeats
        self._draws = random.Random(1)
        # In parts: one draw has at most 2^31 bits.
        self._records = b"".join(self._draws.randbytes(size << 12) for _ in range(-(-rows >> 12)))[
            : rows * size
        ]
        self._queries = count()
        self._versions: Iterator[int] = count(1)

    def _repeat(self, run: Callable[[int], Row]) -> None:
        self._report.repeat(self._repeats, run)

    def set_up(self) -> None:
        """The table, its hint, and the asker from it."""
        rows, size = self._rows, self._size

        def table(_: int) -> Row:
            clock = Clock()
            self._table = clock.run(lambda: Table(rows, size, version(0), self._records))
            return row_of("table", rows, clock)

        def hint(_: int) -> Row:
            clock = Clock()
            self._hint = clock.run(lambda: self._table.hint(SEED))
            return row_of("hint", rows, clock) | megabytes(self._hint)

        def asker(_: int) -> Row:
            clock = Clock()
            self._asker = clock.run(lambda: Asker(rows, size, version(0), SEED, self._hint))
            return row_of("asker", rows, clock)

        for step in (table, hint, asker):
            self._repeat(step)

    def _ask(self, row: int) -> tuple[Any, bytes]:
        column, _ = self._asker.place(row)
        return self._asker.query(column, SEED, 1, "benchmark", next(self._queries))

    def ask(self) -> None:
        """A query and what is recovered from its answer."""

        def query(_: int) -> Row:
            clock = Clock()
            _, sent = clock.run(lambda: self._ask(self._rows // 2))
            return row_of("query", self._rows, clock) | megabytes(sent)

        def recover(_: int) -> Row:
            clock, row = Clock(), self._draws.randrange(self._rows)
            state, sent = self._ask(row)
            (answer,) = self._table.answer([sent])
            column = clock.run(lambda: self._asker.recover(state, answer))
            offset, begin = self._asker.place(row)[1], row * self._size
            assert column[offset:][: self._size] == self._records[begin:][: self._size]
            return row_of("recover", self._rows, clock) | megabytes(answer)

        self._repeat(query)
        self._repeat(recover)

    def passes(self, together: int) -> None:
        """Answers to one query and to several, each pass after a read of as many bytes."""
        total = len(self._records)
        buffer, times = FILL * total, max(1, ENOUGH // total)
        for queries in (1, together):
            sent = [self._ask(row)[1] for row in range(queries)]

            def run(_: int, queries: int = queries, sent: list[bytes] = sent) -> Row:
                reads, passes = Clock(), Clock()
                for _ in range(times):
                    reads.run(lambda: buffer.find(ABSENT))
                    passes.run(lambda: self._table.answer(sent))
                plain = total * times / reads.cpu / 1e9
                rate = total * times * queries / passes.cpu / 1e9
                rates = {"GB/s": rate, "read GB/s": plain, "share": rate / plain}
                return row_of(f"pass of {queries}", self._rows, passes, times) | rates

            self._repeat(run)

    def change(self) -> None:
        """One record in a hundred, at the holder and then at the asker."""
        changed = range(0, self._rows, 100)
        deltas = []

        def publish() -> bytes:
            for row, record in zip(changed, fresh, strict=True):
                self._table.change(row, record)
            return self._table.publish(version(next(self._versions)))

        def change(_: int) -> Row:
            clock = Clock()
            fresh[:] = [self._draws.randbytes(self._size) for _ in changed]
            deltas.append(clock.run(publish))
            return row_of("change", self._rows, clock) | megabytes(deltas[-1])

        def apply(number: int) -> Row:
            clock = Clock()
            clock.run(lambda: self._asker.apply(deltas[number]))
            return row_of("apply", self._rows, clock) | megabytes(deltas[number])

        fresh: list[bytes] = []
        self._repeat(change)
        self._repeat(apply)
        state, sent = self._ask(changed[-1])
        offset = self._asker.place(changed[-1])[1]
        column = self._asker.recover(state, self._table.answer([sent])[0])
        assert column[offset:][: self._size] == fresh[-1]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rows", type=numbers, default=[1 << 20, 1 << 22], help="records of each table")
    arguments.add_argument("--record", type=int, default=32, help="bytes of a record")
    arguments.add_argument("--together", type=int, default=8, help="queries that share a pass")
    arguments.add_argument("--repeats", type=int, default=5)
    options = arguments.parse_args()
    columns = ["what", "rows", "wall s", "cpu s", "MB", "GB/s", "read GB/s", "share"]
    report = Report("pir", columns)
    read(report, ENOUGH, options.repeats)
    for rows in options.rows:
        bench = Bench(report, rows, options.record, options.repeats)
        bench.set_up()
        bench.ask()
        bench.passes(options.together)
        bench.change()


if __name__ == "__main__":
    main()
