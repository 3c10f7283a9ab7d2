"""Where ECDH and the fast join cross, and what a key costs in each: the constants of estimates of joins.

    python benchmarks/join_choice.py [--sizes 256,1024,4096,16384] [--large 1000000] [--repeats 3]

Both parties in one process, a thread each, over a channel in memory. No node, no TLS, no file. `estimate s` is what
`atoll.functions.join.choice` says without start and line; the fast join's set-up does not depend on the sizes.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

from harness.report import Report, Row, numbers, parser

from atoll.crypto.psi import Side
from atoll.functions.compiling import DEFAULT_CALIBRATION
from atoll.functions.join.choice import DEFAULT, ECDH, SEMI_HONEST, THIN, Case, Option, cost
from atoll.protocols import ecdh_psi, vole_psi
from atoll.protocols.memory import pair

NO_LINE = replace(DEFAULT_CALIBRATION, round_seconds=0.0, bytes_per_second=1e15, start_seconds=0.0)


def side(number: int, items: int) -> Side:
    """Items of one party, of which half are the other's too; party 0 learns."""
    first = number * (items // 2)
    digests = b"".join((first + i).to_bytes(32, "little") for i in range(items))
    learns: Any = ("rows", "nothing")[:: 1 if number == 0 else -1]
    return Side(digests, None, items, *learns, b"job")


def measure(option: Option, items: int, attempt: int) -> Row:
    """One run of one option."""
    sides, ends = [side(i, items) for i in (0, 1)], pair(1024, 600.0)
    found: list[Any] = [None, None]

    def party(i: int) -> None:
        how: dict[str, Any] = {"seed": bytes([i]) * 32, "attempt": attempt, "name": "c", "threads": 1}
        how["before_open"] = lambda: None
        if option.variant is None:
            found[i] = ecdh_psi.run(sides[i], ends[i], **how)
        else:
            how |= {"security": option.security, "variant": option.variant}
            found[i] = vole_psi.run(sides[i], ends[i], **how)

    threads = [threading.Thread(target=party, args=(i,)) for i in (0, 1)]
    wall, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert found[0].size == items - items // 2
    stated = cost(option, Case((items, items), (True, False), False, NO_LINE))
    return {
        "what": f"{option.protocol} {option.security} {option.variant or ''}",
        "items": items,
        "wall s": wall,
        "cpu s": cpu,
        "us cpu": cpu / (2 * items) * 1e6,
        "estimate s": stated.seconds,
        "MB": sum(len(payload) for end in ends for _, payload in end.sent) / 1e6,
        "estimate MB": stated.bytes / 1e6,
        "messages": sum(len(end.sent) for end in ends),
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--sizes", type=numbers, default=[256, 1024, 2048, 4096, 8192, 16_384])
    arguments.add_argument("--large", type=numbers, default=[100_000, 1_000_000], help="fast join alone")
    arguments.add_argument("--repeats", type=int, default=3)
    options = arguments.parse_args()
    columns = ["what", "items", "wall s", "cpu s", "us cpu", "estimate s", "MB", "estimate MB", "messages"]
    report = Report("join_choice", columns)
    for items in options.sizes:
        for option in (ECDH, DEFAULT, SEMI_HONEST, THIN):
            report.repeat(options.repeats, lambda n, o=option, i=items: measure(o, i, n))
    for items in options.large:
        for option in (DEFAULT, SEMI_HONEST, THIN):
            report.repeat(options.repeats, lambda n, o=option, i=items: measure(o, i, n))


if __name__ == "__main__":
    main()
