"""What an intersection of several parties costs, beside what `atoll.protocols.star_cost` says.

    python benchmarks/star_psi.py [--rows 100000] [--parties 3,5,10] [--repeats 3]

All parties in one process, a thread each, over channels in memory; every two neighbours share half of their keys. No
node, no TLS, no file. CPU is that of all parties; `paper s` the estimate of the same. `rows`: the leader alone learns,
`everyone`: all learn, `size`: the leader learns how many.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from harness.report import Report, Row, numbers, parser

from atoll.crypto.suite import SigningKey
from atoll.protocols import star_cost, star_psi
from atoll.protocols.memory import pair

HOW: dict[str, dict[str, Any]] = {"rows": {}, "everyone": {"everyone": True}, "size": {"learns": "size"}}


def digests(first: int, rows: int) -> bytes:
    """Digests of that many keys in a row."""
    return b"".join(i.to_bytes(32, "little") for i in range(first, first + rows))


def measure(parties: int, rows: int, what: str, attempt: int) -> Row:
    """One intersection, its size checked."""
    keys = [SigningKey.generate() for _ in range(parties)]
    names = tuple(str(key.public) for key in keys)
    session = star_psi.Session("job", attempt, names, (rows,) * parties, "n0", **HOW[what])
    step = rows // (2 * parties)
    tables = [digests(i * step, rows) for i in range(parties)]
    ends = [pair(1024, 600.0) for _ in names[1:]]

    def party(i: int) -> Any:
        how: dict[str, Any] = {"seed": bytes([i]) * 32, "before_open": lambda: None}
        if i:
            return star_psi.run_party(session, keys[i], tables[i], ends[i - 1][1], **how)
        channels = {name: end[0] for name, end in zip(names[1:], ends, strict=True)}
        return star_psi.run_leader(session, keys[0], tables[0], channels, **how)

    wall, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(parties) as workers:
        found = list(workers.map(party, range(parties)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert found[0].size == rows - (parties - 1) * step
    sent = [sum(len(message) for end in ends for _, message in end[side].sent) for side in (0, 1)]
    stated, _ = star_cost.estimate(session.items, **HOW[what])
    # What the leader and the second party alone do, comparing sums, is in both of these.
    compared = 2 * star_cost.POINT_MICROSECONDS * rows * 1e-6 * (what == "size")
    paper = stated.leader_core_seconds + (parties - 1) * (stated.party_core_seconds - compared) + compared
    return {
        "what": what,
        "parties": parties,
        "rows": rows,
        "wall s": wall,
        "cpu s": cpu,
        "paper s": paper,
        "leader MB": sent[0] / 1e6,
        "others MB": sent[1] / 1e6,
        "paper MB": (stated.leader_bytes + sum(stated.party_bytes)) / 1e6,
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rows", type=int, default=100_000)
    arguments.add_argument("--parties", type=numbers, default=[3, 5, 10])
    arguments.add_argument("--repeats", type=int, default=3)
    options = arguments.parse_args()
    columns = [
        "what", "parties", "rows", "wall s", "cpu s", "paper s", "leader MB", "others MB", "paper MB",
    ]  # fmt: skip
    report = Report("star_psi", columns)
    for parties in options.parties:
        for what in HOW:

            def once(number: int, parties: int = parties, what: str = what) -> Row:
                return measure(parties, options.rows, what, number)

            report.repeat(options.repeats, once)


if __name__ == "__main__":
    main()
