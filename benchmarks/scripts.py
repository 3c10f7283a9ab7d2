"""Visiting packages through two real nodes: claims in batches, single calls, and how soon a package is ready.

    python benchmarks/scripts.py [--only batch,single,ready] [--claims 2000] [--callers 1,4,8,16] [--calls 60]

The package is the demo's: feature SQL over three tables, an ONNX model, rules in Python, tables of the insurer. A claim
has one row, eight lines of a bill and four prescriptions. TLS, policy, budgets, receipts and the ledger are on, and
every decision is synced to disk at the host before it leaves. The callers' own processor time is not counted.
"""

from __future__ import annotations

import datetime
import json
import random
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from harness.measure import Meter
from harness.report import Report, Row, numbers, parser

from atoll.client.authoring import read_folder
from atoll.node.worker.nursery import Nursery
from atoll.sandbox.asked import Asked
from atoll.sandbox.host import Cell, CellPackage
from atoll.testing import Net, nodes, until

PACKAGE = Path(__file__).resolve().parents[1] / "atoll" / "demo" / "packages" / "claims"
ITEMS = ("110200005", "110900001", "120100003", "220302001")
DRUGS = ("J01DD04", "R03AC02", "A10BA02")
WIDE = {"subject_millibits": 10**9, "day_millibits": 10**12}


def tables(count: int) -> dict[str, pa.Table]:
    """Claims with eight lines of a bill and four prescriptions each."""
    draw = random.Random(1)
    ids = [f"C-{n:07d}" for n in range(count)]
    first = datetime.date(2026, 1, 1)

    def lines(column: str, codes: tuple[str, ...], each: int) -> pa.Table:
        rows = [(i, draw.choice(codes), draw.randrange(1, 9), draw.randrange(500, 90000)) for i in ids
                for _ in range(each)]  # fmt: skip
        price = [Decimal(r[3]).scaleb(-2) for r in rows]
        return pa.table(
            {
                "claim_id": [r[0] for r in rows],
                column: [r[1] for r in rows],
                "quantity": [r[2] for r in rows],
                "price": pa.array(price, pa.decimal128(12, 2)),
            }
        )

    return {
        "claims": pa.table(
            {
                "claim_id": ids,
                "diagnosis": ["J18.9"] * count,
                "admitted": [first + datetime.timedelta(n % 60) for n in range(count)],
                "discharged": [first + datetime.timedelta(n % 60 + 5) for n in range(count)],
            }
        ),
        "bills": lines("item", ITEMS, 8),
        "prescriptions": lines("drug", DRUGS, 4),
    }


def deployed(net: Net, count: int) -> None:
    """The hospital's tables, the agreement, and the package under a wide consent."""
    host, author = net.hospital.steward, net.insurer.steward
    uses = {}
    for name, table in tables(count).items():
        host.data.add(name, table)
        uses[name] = {c: ["script_input"] for c in table.column_names}
        uses[name]["claim_id"] = ["lookup_key", "script_input"]
    agreement = net.agreement(
        {"hospital": uses}, parties=["insurer"], purposes=["claim settlement"], functions=["script"],
        disclose=["outcome"],
    )  # fmt: skip
    author.scripts.pack(PACKAGE)
    author.scripts.publish("claims", "hospital", agreement)
    until("the package is there", lambda: host.scripts.packages())
    host.scripts.deploy("claims", bounds=WIDE)
    until("its author knows", lambda: author.scripts.packages()[0]["state"] == "deployed")
    net.insurer.application.scripts.call("claims", "C-0000000")


def batch(net: Net, count: int) -> Row:
    """One batch of so many claims, as one request."""
    calls = [{"subject": f"C-{n:07d}"} for n in range(count)]
    scripts = net.insurer.application.scripts
    with Meter([net.insurer.pid]) as insurer, Meter([net.hospital.pid]) as hospital:
        begun, own = time.perf_counter(), time.process_time()
        found = scripts.batch("claims", calls)
        wall, own = time.perf_counter() - begun, time.process_time() - own
    assert all(a["state"] == "decided" and a["answer"] is not None for a in found)
    cpu = insurer.cpu + hospital.cpu - 2 * own
    return {
        "what": "batch", "callers": 1, "calls": count, "calls/s": count / wall, "p50 ms": wall * 1e3,
        "p99 ms": wall * 1e3, "CPU ms a call": cpu * 1e3 / count, "calls/s/core": count / cpu,
    }  # fmt: skip


class Caller:
    """A connection that stays open, as an application keeps one."""

    def __init__(self, url: str, token: str) -> None:
        where = urlsplit(url)
        self._connection = HTTPConnection(str(where.hostname), where.port, timeout=60)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, subject: str) -> None:
        """One call; an answer that is no decision ends the measurement."""
        body = json.dumps({"subject": subject})
        self._connection.request("POST", "/v1/scripts/claims/calls", body, self._headers)
        response = self._connection.getresponse()
        text = response.read()
        assert response.status == 200, text
        assert json.loads(text)["answer"] is not None


def single(net: Net, callers: int, calls: int, count: int) -> Row:
    """So many callers, each of which calls as soon as it has its answer."""
    url, token = net.insurer.application.url, net.insurer.token("application")
    times: list[float] = []

    def run(number: int) -> None:
        caller = Caller(url, token)
        for n in range(calls):
            begun = time.perf_counter()
            caller.call(f"C-{(number * calls + n) % count:07d}")
            times.append(time.perf_counter() - begun)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(callers)]
    with Meter([net.insurer.pid]) as insurer, Meter([net.hospital.pid]) as hospital:
        begun, own = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall, own = time.perf_counter() - begun, time.process_time() - own
    times.sort()
    cpu = insurer.cpu + hospital.cpu - 2 * own
    return {
        "what": "single", "callers": callers, "calls": len(times), "calls/s": len(times) / wall,
        "p50 ms": statistics.median(times) * 1e3, "p99 ms": times[int(len(times) * 0.99)] * 1e3,
        "CPU ms a call": cpu * 1e3 / len(times), "calls/s/core": len(times) / cpu,
    }  # fmt: skip


def ready(nursery: Nursery) -> Row:
    """From nothing to the first answer of a package in its confined process; the nursery is warm, as in a node."""
    source = read_folder(PACKAGE)
    found = tables(1)
    inputs = {
        "claim": found["claims"].drop_columns(["claim_id"]),
        "bills": found["bills"].drop_columns(["claim_id"]),
        "prescriptions": found["prescriptions"].drop_columns(["claim_id"]),
    }
    rows = {n: t.append_column("__call", pa.array([0] * t.num_rows, pa.int32())) for n, t in inputs.items()}
    asked = Asked(b"seed", datetime.date(2026, 1, 31), {"deductible": 50000, "remaining": 5000000})
    begun = time.perf_counter()
    cell = Cell(nursery.spawn, CellPackage(source.manifest.document(), source.files))
    cell.start()
    started = time.perf_counter()
    (answer,) = cell.run([asked], rows, seconds=10)
    done = time.perf_counter()
    cell.close()
    assert answer is not None
    return {
        "what": "ready", "callers": 1, "calls": 1, "calls/s": 1 / (done - begun), "p50 ms": (started - begun) * 1e3,
        "p99 ms": (done - begun) * 1e3, "CPU ms a call": 0.0, "calls/s/core": 0.0,
    }  # fmt: skip


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--only", default="batch,single,ready")
    arguments.add_argument("--claims", type=int, default=2000, help="claims of the hospital, and of a batch")
    arguments.add_argument("--callers", type=numbers, default=[1, 4, 8, 16])
    arguments.add_argument("--calls", type=int, default=60, help="calls of each caller")
    arguments.add_argument("--repeats", type=int, default=3)
    options = arguments.parse_args()
    wanted = options.only.split(",")
    report = Report(
        "scripts",
        ["what", "callers", "calls", "calls/s", "p50 ms", "p99 ms", "CPU ms a call", "calls/s/core"],
    )

    def repeat(run: Callable[[], Any]) -> None:
        report.repeat(options.repeats, lambda _: run())

    if "ready" in wanted:
        nursery = Nursery("cell")
        nursery.start()
        try:
            ready(nursery)  # the nursery warms up
            repeat(lambda: ready(nursery))
        finally:
            nursery.stop()
    if {"batch", "single"} & set(wanted):
        with (
            tempfile.TemporaryDirectory() as folder,
            nodes("insurer", "hospital", settings={"logs.level": "info"}, folder=folder, warm=False) as net,
        ):
            deployed(net, options.claims)
            if "batch" in wanted:
                repeat(lambda: batch(net, options.claims))
            for callers in options.callers if "single" in wanted else ():
                repeat(lambda c=callers: single(net, c, options.calls, options.claims))  # type: ignore[misc]


if __name__ == "__main__":
    main()
