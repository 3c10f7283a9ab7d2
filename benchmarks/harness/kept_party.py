"""One party of `benchmarks/kept.py`: a CSV file of keys in, an update and askings. Not run by hand."""

# ruff: noqa: E402, I001, the clock starts before anything is imported
import time

STARTED = time.perf_counter()

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyarrow.csv as csv
from harness.psi_party import OPTIONS, connect
from harness.tcp import TcpChannel

from atoll.crypto.keys import key_digests
from atoll.protocols.kept_oprf import Held, answer, ask, serve_update, take_update

SEED = b"k" * 32


def say(channel: TcpChannel, text: bytes) -> None:
    """Tells the peer that this side stands where it stands, and waits for the same."""
    channel.send(text, "benchmark")
    assert channel.recv() == text


def hold(task: dict[str, Any], digests: bytes, channel: TcpChannel, meters: dict[str, Any]) -> None:
    """The side with the large table."""
    most = {"max_held": len(digests) // 32, "max_asked": 1 << 24}
    held = Held.first(SEED, b"benchmark", digests, **most)
    started = time.process_time()
    held = serve_update(held, channel, before_open=lambda: None, threads=task["threads"])
    meters["set-up cpu"] = time.process_time() - started
    meters["set-up sent"] = channel.sent
    changed = task["changed"]
    if changed:
        # As many go as come.
        fresh = os.urandom(32 * changed)
        held = held.following(digests[: len(digests) - 32 * changed] + fresh)
        say(channel, b"changed")
        sent, started = channel.sent, time.process_time()
        held = serve_update(held, channel, before_open=lambda: None, threads=task["threads"])
        meters["change cpu"], meters["change sent"] = time.process_time() - started, channel.sent - sent
    for number, asked in enumerate(task["asked"]):
        say(channel, b"ask")
        sent, started = channel.sent, time.process_time()
        answer(
            held, channel, seed=SEED, attempt=0, name=str(number), max_items=asked, meter=lambda keys: None,
            threads=task["threads"],
        )  # fmt: skip
        meters[f"{asked} cpu"], meters[f"{asked} sent"] = time.process_time() - started, channel.sent - sent


def look(task: dict[str, Any], digests: bytes, channel: TcpChannel, meters: dict[str, Any]) -> None:
    """The side with the small table."""
    rows = len(digests) // 32
    kept: list[bytes] = []
    most = {"max_items": task["held"]}
    started, cpu = time.perf_counter(), time.process_time()
    store = take_update(None, channel, save=kept.append, **most)
    meters["set-up wall"], meters["set-up cpu"] = time.perf_counter() - started, time.process_time() - cpu
    meters["set-up sent"], meters["kept"] = channel.sent, len(store)
    if task["changed"]:
        say(channel, b"changed")
        started, cpu, sent = time.perf_counter(), time.process_time(), channel.sent
        store = take_update(store, channel, save=kept.append, **most)
        meters["change wall"], meters["change cpu"] = time.perf_counter() - started, time.process_time() - cpu
        meters["change sent"] = channel.sent - sent
    for number, asked in enumerate(task["asked"]):
        part = digests[: 32 * asked]
        say(channel, b"ask")
        started, cpu, sent = time.perf_counter(), time.process_time(), channel.sent
        found = ask(store, part, channel, seed=SEED, attempt=0, name=str(number), threads=task["threads"])
        meters[f"{asked} wall"] = time.perf_counter() - started
        meters[f"{asked} cpu"], meters[f"{asked} sent"] = time.process_time() - cpu, channel.sent - sent
        assert 0 < len(found) // 4 < asked, "about half of the keys are held"
    assert rows >= max(task["asked"])


def main() -> None:
    task = json.loads(sys.argv[1])
    table = csv.read_csv(task["input"], convert_options=OPTIONS)
    digests = key_digests(table, ["id"], threads=task["threads"]).digests
    connected: socket.socket = connect(task)
    channel = TcpChannel(connected)
    meters: dict[str, Any] = {}
    (look, hold)[task["rank"]](task, digests, channel, meters)
    channel.close()
    print("RESULT " + json.dumps({"started": STARTED, "closed": time.perf_counter(), **meters}))


if __name__ == "__main__":
    main()
