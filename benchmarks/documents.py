"""Signed documents: canonical JSON of a receipt, and many signatures verified one by one and together.

    python benchmarks/documents.py [--signatures 200000] [--documents 2000] [--envelopes 5000] [--repeats 3]

A receipt is that of a join between two parties, about 3 KB. `rfc8785` is the implementation in plain Python that
the tests compare with; it refuses no float. Strict reading in plain Python is to read, write again and compare.
Signatures are over about 300 bytes, by 8 keys or by one key each.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import rfc8785
from harness.report import Report, Row, parser

from atoll.crypto import canonical, dsse
from atoll.crypto.suite import PublicKey, SigningKey, verify_many

Item = tuple[PublicKey, bytes, bytes]


def receipt(number: int) -> dict[str, Any]:
    """A document of the size and shape of a join's receipt."""
    parties = [f"ed25519:{n:02x}{number:062x}" for n in (1, 2)]
    hashes = [f"sha256:{n:02x}{number:062x}" for n in range(8)]
    meters = dict.fromkeys(
        ("bytes_received", "bytes_sent", "calls", "cpu_ms", "keys", "memory_bytes", "rows"), 1000 + number
    )

    def record(peer: str) -> dict[str, Any]:
        step = {"bytes": [9, 9], "messages": [3, 3], "received": hashes[6], "sent": hashes[7]}
        return {
            "meters": meters,
            "output": {"commitment": hashes[5], "rows": 7},
            "times": {"finished": "2026-11-23T12:00:05Z", "started": "2026-11-23T12:00:00Z"},
            "transcripts": {peer: {"n4": step}},
        }

    statement = {
        "assumption": "ddh-two-party",
        "owner": parties[0],
        "parameters": {"asset": "loans", "columns": ["id"]},
        "security": "semi-honest",
        "step": "n4",
        "subject": "in1",
        "to": [parties[1]],
        "what": "membership",
    }
    return {
        "format": "atoll.receipt/v1",
        "agreements": {"agr-0123456789abcdef": hashes[0]},
        "attempt": 1,
        "batch": None,
        "disclosures": [statement] * 4,
        "error": None,
        "function": "join",
        "inputs": {f"in{n}": {"mode": "snapshot", "version": hashes[1 + n]} for n in (0, 1)},
        "job": f"job-{number:032x}",
        "outcome": "completed",
        "parties": {parties[0]: record(parties[1]), parties[1]: record(parties[0])},
        "plan": hashes[4],
        "protocols": ["ecdh-psi/v1"],
        "security": "semi-honest",
    }


def timed(what: str, items: int, run: Callable[[], Any], **facts: Any) -> Row:
    """One run over all items, which says how long an item takes."""
    cpu, begun = time.process_time(), time.perf_counter()
    run()
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return {
        "what": what,
        "items": items,
        **facts,
        "wall s": wall,
        "cpu s": cpu,
        "us each": wall / items * 1e6,
    }


def plain_loads(data: bytes) -> Any:
    value = json.loads(data)
    assert rfc8785.dumps(value) == data
    return value


def documents(report: Report, count: int, repeats: int) -> None:
    values = [receipt(number) for number in range(count)]
    data = [canonical.dumps(value) for value in values]
    size = len(data[0])
    assert [rfc8785.dumps(value) for value in values[:10]] == data[:10]
    for what, function, over in (
        ("canonical.dumps", canonical.dumps, values),
        ("rfc8785.dumps", rfc8785.dumps, values),
        ("canonical.loads", canonical.loads, data),
        ("json, rfc8785", plain_loads, data),
        ("json.loads", json.loads, data),
    ):

        def run(_: int, function: Any = function, over: Any = over, what: str = what) -> Row:
            return timed(what, count, lambda: [function(one) for one in over], bytes=size)

        report.repeat(repeats, run)


def one_by_one(items: list[Item]) -> None:
    assert all(key.verify(message, signature) for key, message, signature in items)


def signatures(report: Report, count: int, signers: int, repeats: int) -> None:
    keys = [SigningKey(n.to_bytes(32, "big")) for n in range(signers)]
    items: list[Item] = []
    for number in range(count):
        key, message = keys[number % signers], b"%d" % number + bytes(290)
        items.append((key.public, message, key.sign(message)))
    facts = {"keys": signers, "bytes": len(items[0][1])}
    sample = items[: max(1, count // 10)]
    report.repeat(repeats, lambda _: timed("one by one", len(sample), lambda: one_by_one(sample), **facts))

    def together(what: str, threads: int, bad: set[int]) -> None:
        tried = [(k, m + b"!", s) if at in bad else (k, m, s) for at, (k, m, s) in enumerate(items)]

        def run(_: int) -> Row:
            found: list[int] = []
            row = timed(
                what, count, lambda: found.extend(verify_many(tried, threads)), threads=threads, **facts
            )
            assert found == sorted(bad)
            return row

        report.repeat(repeats, run)

    for threads in (1, 2):
        together("verify_many", threads, set())
    together("  one in 1,000 bad", 1, set(range(500, count, 1000)))
    together("  all bad", 1, set(range(count)))


def envelopes(report: Report, count: int, repeats: int) -> None:
    keys = [SigningKey(bytes([n]) * 32) for n in (1, 2)]
    signed = [dsse.sign("receipt/v1", receipt(number), *keys) for number in range(count)]
    facts = {"keys": 2, "bytes": len(signed[0]["payload"])}
    one = [{str(key.public) for key in keys}] * count

    def alone(_: int) -> Row:
        return timed("dsse.signers", count, lambda: [dsse.signers(e) for e in signed], **facts)

    report.repeat(repeats, alone)
    for threads in (1, 2):

        def together(_: int, threads: int = threads) -> Row:
            found: list[set[str]] = []
            row = timed(
                "dsse.signers_many",
                count,
                lambda: found.extend(dsse.signers_many(signed, threads)),
                threads=threads,
                **facts,
            )
            assert found == one
            return row

        report.repeat(repeats, together)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--signatures", type=int, default=200_000)
    arguments.add_argument("--documents", type=int, default=2000, help="receipts to write and read")
    arguments.add_argument("--envelopes", type=int, default=5000, help="receipts with two signatures")
    arguments.add_argument("--repeats", type=int, default=3)
    options = arguments.parse_args()
    columns = ["what", "items", "bytes", "keys", "threads", "wall s", "cpu s", "us each"]
    report = Report("documents", columns)
    documents(report, options.documents, options.repeats)
    for signers in (8, options.signatures):
        signatures(report, options.signatures, signers, options.repeats)
    envelopes(report, options.envelopes, options.repeats)


if __name__ == "__main__":
    main()
