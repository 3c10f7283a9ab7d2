"""The bare PSI kernels: cost of an item, and whole runs between two processes over a socket pair.

    python benchmarks/psi_kernel.py [--sizes 10000,100000] [--vole-sizes 10000,1000000] [--repeats 3] [--items 16384]

No node, no TLS, no file. `blind` is hash-to-group, one scalar multiplication and compression; `evaluate` is
decompression, one multiplication, compression and the tag. An item of either side costs one of each. The `vole`
rows are whole runs of the protocol from VOLE in each of its forms, with one thread at each side.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import queue
import resource
import socket
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from harness.report import Report, Row, numbers, parser

from atoll.crypto.psi import EcdhPsi, Security, Side, Variant
from atoll.protocols import vole_psi
from atoll.protocols.driver import drive
from atoll.protocols.ecdh_psi import result, wire_bytes

SEED = bytes(range(32))
VOLE: list[tuple[Security, Variant]] = [
    ("malicious", "fast"),
    ("semi-honest", "fast"),
    ("semi-honest", "low-communication"),
]


def side(digests: bytes, peer_items: int, learns: bool) -> Side:
    return Side(
        digests, None, peer_items, "rows" if learns else "nothing", "nothing" if learns else "rows", b"job"
    )


def item_cost(items: int, threads: int) -> Row:
    """Microseconds of an item with so many threads at one side: on the wall, and CPU of one multiplication."""
    mine, theirs = os.urandom(32 * items), os.urandom(32 * items)
    machine = EcdhPsi(SEED, 0, "c", side(mine, items, True), threads=threads)
    peer = EcdhPsi(SEED[::-1], 0, "c", side(theirs, items, False), threads=threads)
    foreign = [message[0] for message in iter(peer.next_message, None)]
    begun, cpu = time.perf_counter(), time.process_time()
    for _ in iter(machine.next_message, None):
        pass
    blind, blind_cpu = time.perf_counter() - begun, time.process_time() - cpu
    begun, cpu = time.perf_counter(), time.process_time()
    for message in foreign:
        machine.receive(message)
    evaluate, evaluate_cpu = time.perf_counter() - begun, time.process_time() - cpu
    return {
        "what": f"item, {threads} thread{'s' * (threads > 1)}",
        "items": items,
        "blind us": blind / items * 1e6,
        "evaluate us": evaluate / items * 1e6,
        "us cpu": (blind_cpu + evaluate_cpu) / items / 2 * 1e6,
        "mult/s": 2 * items / (blind + evaluate),
    }


class SocketChannel:
    """A channel over a stream socket; a thread reads ahead, so that both sides may send at once."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._inbox: queue.Queue[bytes] = queue.Queue()
        self._first: bytes | None = None
        self.sent = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with self._sock.makefile("rb") as stream:
            while head := stream.read(4):
                self._inbox.put(stream.read(int.from_bytes(head, "big")))

    def send(self, payload: bytes, step: str) -> None:
        self.sent += len(payload)
        self._sock.sendall(len(payload).to_bytes(4, "big") + payload)

    def recv(self) -> bytes:
        first, self._first = self._first, None
        return self._inbox.get() if first is None else first

    def readable(self) -> bool:
        return self._first is not None or not self._inbox.empty()

    def writable(self) -> bool:
        return True

    def wait(self, read: bool, write: bool) -> None:
        if read and self._first is None:
            self._first = self._inbox.get()


def party(sock: socket.socket, number: int, items: int, out: Connection) -> None:
    """One process: its own distinct digests, of which half are the peer's too."""
    first = number * (items // 2)
    digests = b"".join((first + i).to_bytes(32, "little") for i in range(items))
    channel = SocketChannel(sock)
    learns = number == 0
    machine = EcdhPsi(bytes([number]) * 32, 0, "c", side(digests, items, learns), threads=1)
    out.send("ready")
    out.recv()
    drive(machine, channel, before_open=lambda: None)
    found = result(machine, "rows" if learns else "nothing")
    used = resource.getrusage(resource.RUSAGE_SELF)
    out.send((found.size, channel.sent, used.ru_utime + used.ru_stime, used.ru_maxrss << 10))


def pair(items: int) -> Row:
    """A whole run between two processes of one thread each."""
    context = multiprocessing.get_context("spawn")
    ends = socket.socketpair()
    parties: list[tuple[Any, Connection]] = []
    for number, end in enumerate(ends):
        ours, theirs = context.Pipe()
        process = context.Process(target=party, args=(end, number, items, theirs))
        process.start()
        parties.append((process, ours))
    for _, pipe in parties:
        assert pipe.recv() == "ready"
    begun = time.perf_counter()
    for _, pipe in parties:
        pipe.send("go")
    results = [pipe.recv() for _, pipe in parties]
    wall = time.perf_counter() - begun
    for process, _ in parties:
        process.join()
    assert results[0][0] == items - items // 2
    sent = sum(found[1] for found in results)
    paper = wire_bytes(items, items, peer_learns="nothing") + wire_bytes(items, items, peer_learns="rows")
    assert sent == paper, (sent, paper)
    return {
        "what": "run, 1+1 threads",
        "items": items,
        "wall s": wall,
        "cpu s": sum(found[2] for found in results),
        "us cpu": sum(found[2] for found in results) / (4 * items) * 1e6,
        "MB": sent / 1e6,
        "peak MB": max(found[3] for found in results) / 1e6,
        "mult/s": 4 * items / wall,
    }


def vole_party(
    sock: socket.socket, number: int, items: int, how: tuple[Security, Variant], out: Connection
) -> None:
    """One process of a run from VOLE, with the same sets; the first learns."""
    first = number * (items // 2)
    digests = b"".join(hashlib.sha256((first + i).to_bytes(8, "little")).digest() for i in range(items))
    channel = SocketChannel(sock)
    before = resource.getrusage(resource.RUSAGE_SELF)
    out.send("ready")
    out.recv()
    found = vole_psi.run(
        side(digests, items, number == 0),
        channel,
        seed=bytes([number]) * 32,
        attempt=0,
        name="c",
        security=how[0],
        variant=how[1],
        before_open=lambda: None,
    )
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    out.send((found.size, channel.sent, cpu, used.ru_maxrss << 10))


def vole_pair(items: int, how: tuple[Security, Variant]) -> Row:
    """A whole run from VOLE between two processes of one thread each."""
    context = multiprocessing.get_context("spawn")
    ends = socket.socketpair()
    parties: list[tuple[Any, Connection]] = []
    for number, end in enumerate(ends):
        ours, theirs = context.Pipe()
        process = context.Process(target=vole_party, args=(end, number, items, how, theirs))
        process.start()
        parties.append((process, ours))
    for _, pipe in parties:
        assert pipe.recv() == "ready"
    begun = time.perf_counter()
    for _, pipe in parties:
        pipe.send("go")
    results = [pipe.recv() for _, pipe in parties]
    wall = time.perf_counter() - begun
    for process, _ in parties:
        process.join()
    assert results[0][0] == items - items // 2
    return {
        "what": f"vole, {how[0]}, {how[1]}",
        "items": items,
        "wall s": wall,
        "cpu s": sum(found[2] for found in results),
        "us cpu": sum(found[2] for found in results) / (2 * items) * 1e6,
        "MB": sum(found[1] for found in results) / 1e6,
        "peak MB": max(found[3] for found in results) / 1e6,
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--sizes", type=numbers, default=[10_000, 100_000], help="items a side")
    arguments.add_argument("--vole-sizes", type=numbers, default=[10_000, 1_000_000], help="items a side")
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--items", type=int, default=16_384, help="items for the cost of one")
    options = arguments.parse_args()
    columns = [
        "what",
        "items",
        "blind us",
        "evaluate us",
        "us cpu",
        "mult/s",
        "wall s",
        "cpu s",
        "MB",
        "peak MB",
    ]
    report = Report("psi_kernel", columns)
    for threads in (1, 2):
        report.repeat(options.repeats, lambda _, n=threads: item_cost(options.items, n))
    for items in options.vole_sizes:
        for how in VOLE:
            report.repeat(options.repeats, lambda _, n=items, h=how: vole_pair(n, h))
    for items in options.sizes:
        report.repeat(options.repeats if items < 1_000_000 else 1, lambda _, n=items: pair(n))


if __name__ == "__main__":
    main()
