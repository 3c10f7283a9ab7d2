"""The evidence: receipts appended durably, proofs from a long log, large files verified, and what it costs a job.

    python benchmarks/evidence.py [--only append,proofs,verify,job] [--entries 100000] [--log 1000000] [--repeats 3]

`append`: receipts of a real service as both sides signed them, into a node's own log in SQLite with every transaction
synced to disk, so many in a transaction. `proofs`: inclusion and consistency in one log of a million entries, each
read from the database. `verify`: an auditor's file and an exported ledger, of two logs with all documents opened:
releases, provisional receipts and receipts of a service's blocks, every one signed by the keys of two real nodes.
`job`: a private join between two real nodes, with the ledger, and with one that records, copies and cosigns nothing.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.ids import overlapping, write
from harness.measure import Meter
from harness.report import Report, Row, parser

from atoll.audit import LogPart, Selected, read_audit, verify_audit, write_audit
from atoll.crypto import canonical, dsse
from atoll.crypto.suite import PublicKey, SigningKey
from atoll.ledger import checkpoint
from atoll.ledger.entry import Entry, Record, open_leaf
from atoll.ledger.export import verify_export, write_export
from atoll.ledger.log import Log, OwnLog, Tail
from atoll.ledger.merkle import Frontier, leaf_hash
from atoll.ledger.storage import MemoryStorage
from atoll.net.identity import NodeKeys
from atoll.node.state.log_storage import LogStorage
from atoll.node.state.models import LogName
from atoll.node.state.store import Store
from atoll.testing import Net, nodes, until

AGREEMENT = "agr-00112233445566aa"


def timed(run: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


# A service with a few blocks at two real nodes, and as many more as wanted with the same keys.


def served(net: Net, folder: Path) -> tuple[Path, dict[str, SigningKey]]:
    """An auditor's file of a service with three blocks, and the nodes' own keys."""
    agreement = net.agreement({"alice": {}, "bob": {"echo": "service"}})
    service = net.alice.analyst.echo(agreement, "echo", purpose="test", block_calls=2)
    for _ in range(6):
        service.call(b"hello")
    service.stop().wait(timeout=60)
    for node in net:
        until(
            "the receipts are final",
            lambda n=node: (
                [e["kind"] for e in n.auditor.ledger.entries(agreement, 0, 100)].count("receipt/v1") == 4
            ),
        )
    until(
        "the logs are copied",
        lambda: all(
            c["behind"] == 0
            for node in net
            for log in node.auditor.ledger.list()
            for c in log["cosignatures"]
        ),
    )
    file = net.alice.auditor.audit.export(agreement, folder / "few.atoll-audit")
    keys = {}
    for node in net:
        shutil.copytree(node.folder / "keys", folder / node.name)
        signing = NodeKeys.load(folder / node.name, node.passphrase).signing
        keys[str(signing.public)] = signing
    return file, keys


def _signed(kind: str, envelope: Any, keys: dict[str, SigningKey], change: Callable[[Any], Any]) -> Any:
    document = change(canonical.loads(dsse.payload_bytes(envelope)))
    return dsse.sign(kind, document, *(keys[s["keyid"]] for s in envelope["signatures"]))


def _block(number: int, calls: int) -> dict[str, int]:
    return {"number": number, "first": (number - 1) * calls + 1, "calls": calls}


class Blocks:
    """More blocks of the same service: what each side's log holds of one, with fresh signatures."""

    def __init__(self, file: Path, keys: dict[str, SigningKey]) -> None:
        self.content, self.keys = read_audit(file), keys
        self.bodies = {
            str(log.owner): [
                open_leaf(item.entry.leaf, item.entry.opened) for item in log.entries if item.entry.opened
            ]
            for log in self.content.logs
        }
        self._receipts: dict[int, Any] = {}
        self._words: dict[int, Any] = {}

    def receipt(self, number: int) -> Any:
        """The receipt of a block, signed by both."""

        def change(document: Any) -> Any:
            first = document["block"]["calls"] * (number - 1) + 1
            return document | {"block": document["block"] | {"number": number, "first": first}}

        if number not in self._receipts:
            template = next(
                body.document["envelope"]
                for bodies in self.bodies.values()
                for body in bodies
                if body.kind == "receipt/v1"
                and canonical.loads(dsse.payload_bytes(body.document["envelope"]))["block"]
            )
            self._receipts[number] = _signed("receipt/v1", template, self.keys, change)
        return self._receipts[number]

    def word(self, number: int) -> Any:
        """The provisional receipt of a block."""
        template = next(
            body.document["envelope"]
            for bodies in self.bodies.values()
            for body in bodies
            if body.kind == "provisional/v1"
        )
        if number not in self._words:
            self._words[number] = _signed(
                "provisional/v1",
                template,
                self.keys,
                lambda d: d | {"block": _block(number, d["block"]["calls"])},
            )
        return self._words[number]

    def of(self, owner: str, number: int) -> list[Record]:
        """What the log of an owner holds of a block."""
        release = next((b for b in self.bodies[owner] if b.kind == "release/v1"), None)
        if release is not None:
            document = release.document
            debits = [d | {"block": number} for d in document["debits"] if d["kind"] == "calls"]
            block = _block(number, document["block"]["calls"])
            first = Record(
                "release/v1",
                document | {"block": block, "provisional": [self.word(number)], "debits": debits},
            )
        else:
            word = next(b for b in self.bodies[owner] if b.kind == "provisional/v1")
            first = Record("provisional/v1", word.document | {"envelope": self.word(number)})
        return [first, Record("receipt/v1", {"envelope": self.receipt(number)})]

    def log(self, owner: str, entries: int) -> OwnLog:
        """A whole log of so many entries."""
        log = OwnLog(MemoryStorage(), self.content.agreement, self.keys[owner])
        bodies = self.bodies[owner]
        at = datetime.fromisoformat(bodies[-1].time)
        tail: Tail | None = None
        records = [Record(body.kind, body.document) for body in bodies]
        number = 4
        while len(records) < entries:
            records += self.of(owner, number)
            number += 1
        for start in range(0, entries, 1000):
            log._tail = tail
            tail = log.append(records[start : min(entries, start + 1000)], at).tail
        return log


def part(log: OwnLog) -> LogPart:
    """A whole log as an auditor's file has it."""
    entries = log.entries(0, log.size)
    head = log.storage.head()
    assert head is not None
    selected = [Selected(index, entry) for index, entry in enumerate(entries)]
    return LogPart(log.owner, head, log.size, {}, True, log.size, selected)


def verify(blocks: Blocks, folder: Path, entries: int) -> dict[str, Callable[[], Row]]:
    """Files of so many entries in two logs, and what verifies them."""
    logs = [blocks.log(owner, entries // 2) for owner in sorted(blocks.bodies)]
    audit, ledger = folder / "large.atoll-audit", folder / "large.atoll-ledger"
    write_audit(audit, replace(blocks.content, logs=[part(log) for log in logs]))
    write_export(ledger, list(logs), dict(blocks.content.names), with_bodies=True)
    trusted = {name: PublicKey.parse(key) for key, name in blocks.content.names.items()}

    def of_audit() -> Row:
        wall, cpu = timed(lambda: verify_audit(audit, trusted).require())
        return {
            "what": "audit file",
            "entries": entries,
            "MB": audit.stat().st_size / 1e6,
            "wall s": wall,
            "cpu s": cpu,
        }

    def of_ledger() -> Row:
        wall, cpu = timed(lambda: verify_export(ledger, datetime.now(UTC), trusted).require())
        size = ledger.stat().st_size / 1e6
        return {"what": "ledger export", "entries": entries, "MB": size, "wall s": wall, "cpu s": cpu}

    return {"audit": of_audit, "ledger": of_ledger}


# Appends and proofs.


@contextmanager
def store() -> Iterator[Store]:
    """A node's state store, on the disk that the working folder is on."""
    folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
    made = Store.sqlite(folder / "state.sqlite")
    try:
        made.migrate()
        yield made
    finally:
        made.close()
        shutil.rmtree(folder)


def append(blocks: Blocks, receipts: int, batch: int) -> Row:
    """Receipts appended, `batch` in a transaction, each transaction synced."""
    owner, key = next(iter(blocks.keys.items()))
    records = [Record("receipt/v1", {"envelope": blocks.receipt(4 + n)}) for n in range(receipts)]
    with store() as made:
        origin = checkpoint.origin(AGREEMENT, key.public)
        with made.write() as session:
            session.add(LogName(origin=origin, agreement=AGREEMENT, owner=owner, size=0))

        def run() -> None:
            tail: Tail | None = None
            for start in range(0, receipts, batch):
                with made.write() as session:
                    log = OwnLog(LogStorage(session, origin, "x"), AGREEMENT, key, tail=tail)
                    tail = log.append(records[start : start + batch], datetime.now(UTC)).tail

        wall, cpu = timed(run)
    return {"batch": batch, "receipts": receipts, "wall/s": receipts / wall, "cpu/s": receipts / cpu}


def long_log(made: Store, size: int) -> tuple[str, PublicKey]:
    """A log of so many short entries in the store."""
    key = SigningKey.generate()
    origin = checkpoint.origin(AGREEMENT, key.public)
    edge = Frontier()
    with made.write() as session:
        session.add(LogName(origin=origin, agreement=AGREEMENT, owner=str(key.public), size=0))
    for start in range(0, size, 50_000):
        with made.write() as session:
            storage = LogStorage(session, origin, "x")
            leaves = [b'{"commitment":"sha256:%s"}' % os.urandom(32).hex().encode() for _ in range(50_000)]
            entries = [Entry(leaf, None) for leaf in leaves[: size - start]]
            storage.append(entries, [node for e in entries for node in edge.append(leaf_hash(e.leaf))])
    with made.write() as session:
        session.get_one(LogName, origin).head = checkpoint.sign(
            checkpoint.Checkpoint(origin, size, edge.root()), key
        ).encode()
    return origin, key.public


def proofs(made: Store, origin: str, owner: PublicKey, size: int, count: int = 300) -> Row:
    """Median and 99th percentile of one proof, each for another entry or size, in one reading transaction."""
    pick = random.Random(size)
    took: dict[str, list[float]] = {"inclusion": [], "consistency": []}
    with made.read() as session:
        log = Log(LogStorage(session, origin, "x"), AGREEMENT, owner)
        for _ in range(count):
            index, older = pick.randrange(size), pick.randrange(1, size)
            for name, prove in (
                ("inclusion", lambda i=index: log.inclusion_proof(i, size)),
                ("consistency", lambda o=older: log.consistency_proof(o, size)),
            ):
                begun = time.perf_counter()
                prove()
                took[name].append((time.perf_counter() - begun) * 1e3)
    row: Row = {"entries": size}
    for name, values in took.items():
        row[f"{name} p50 ms"] = statistics.median(values)
        row[f"{name} p99 ms"] = sorted(values)[int(len(values) * 0.99)]
    return row


# What it costs a job.

_WITHOUT = """
from atoll.node.evidence.ledgers import Ledgers
from atoll.node.evidence.replication import Replication

Ledgers.record = lambda *_, **__: None
Ledgers.record_private = lambda *_, **__: None
Replication._push_all = lambda *_: None
"""


def job(folder: Path, rows: int, repeats: int, report: Report) -> None:
    """Joins with and without the ledger, in turn, so that both see the same machine."""
    site = folder / "without"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_WITHOUT, encoding="utf-8")
    keep = os.environ.get("PYTHONPATH")
    with nodes("left", "right", settings={"logs.level": "info"}, warm=False) as net:
        tables = overlapping(rows, 0)
        for node, table in zip(net, tables, strict=True):
            node.steward.data.add("t", write(table, folder / f"{node.name}.csv"))
        agreement = net.agreement({node.name: {"t": "*"} for node in net})
        requests = [{"asset": "t", "party": node.identity} for node in net]
        took: dict[str, list[Row]] = {"with": [], "without": []}
        for _ in range(repeats):
            for kind in took:
                if kind == "without":
                    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(site), keep)))
                for node in net:
                    node.restart()
                if keep is None:
                    os.environ.pop("PYTHONPATH", None)
                else:
                    os.environ["PYTHONPATH"] = keep
                for warm in (True, False, False, False):
                    with Meter([node.pid for node in net]) as meter:
                        net["left"].analyst.join(agreement, *requests, on="id", purpose="test").wait()
                    if not warm:
                        took[kind].append({"wall s": meter.wall, "cpu s": meter.cpu})
        for kind, found in took.items():
            rows_of = iter(found)
            report.repeat(
                len(found),
                lambda _, k=kind, r=rows_of: {"what": f"join, {k} ledger", "entries": rows, **next(r)},
            )


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--only", default="append,proofs,verify,job")
    arguments.add_argument("--entries", type=int, default=100_000)
    arguments.add_argument("--log", type=int, default=1_000_000)
    arguments.add_argument("--receipts", type=int, default=4000)
    arguments.add_argument("--rows", type=int, default=5000, help="of each side of the join")
    arguments.add_argument("--repeats", type=int, default=3)
    options = arguments.parse_args()
    wanted = options.only.split(",")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if {"append", "verify"} & set(wanted):
            with nodes("alice", "bob", warm=False) as net:
                blocks = Blocks(*served(net, folder))
        if "append" in wanted:
            report = Report("evidence_append", ["batch", "receipts", "wall/s", "cpu/s"])
            for batch in (1, 10, 100, 1000):
                count = min(options.receipts, batch * 400)
                report.repeat(options.repeats, lambda _, b=batch, c=count: append(blocks, c, b))
        if "proofs" in wanted:
            columns = [
                "entries",
                *(f"{k} {p} ms" for k in ("inclusion", "consistency") for p in ("p50", "p99")),
            ]
            report = Report("evidence_proofs", columns)
            with store() as made:
                origin, owner = long_log(made, options.log)
                report.repeat(options.repeats, lambda _: proofs(made, origin, owner, options.log))
        if "verify" in wanted:
            report = Report("evidence_verify", ["what", "entries", "MB", "wall s", "cpu s"])
            for run in verify(blocks, folder, options.entries).values():
                report.repeat(options.repeats, lambda _, r=run: r())
        if "job" in wanted:
            report = Report("evidence_job", ["what", "entries", "wall s", "cpu s"])
            job(folder, options.rows, options.repeats, report)


if __name__ == "__main__":
    main()
