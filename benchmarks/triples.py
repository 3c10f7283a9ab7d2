"""Correlated randomness of two parties: whole runs between two processes over a TCP connection of this machine.

    python benchmarks/triples.py [--bits 200000000] [--fields 2,4] [--thin 8388608] [--words 1000000] [--repeats 3]

One thread at each side, set-up included. `cpu s` is that of both sides, `most cpu s` that of the busier one, `MB` what
both send, `turns` how many messages follow upon each other where nothing else waits. `ns` is wall time for one triple.
"""

from __future__ import annotations

import multiprocessing
import resource
import socket
import time
from multiprocessing.connection import Connection

import numpy as np
from harness.report import Report, Row, numbers, parser
from harness.tcp import TcpChannel

from atoll.crypto.triples import BitTriples, Rich, Role, Thin, Triples, WordTriples
from atoll.protocols.driver import drive

Kind = Rich | Thin | None
ROLES: tuple[Role, Role] = ("first", "second")
#: How many of the triples are compared with their products.
CHECKED = 10_000
#: Messages of set-up and of one run, one after the other.
TURNS = {Rich: 3, Thin: 4, type(None): 3}


def make(role: Role, kind: Kind, count: int) -> BitTriples | WordTriples:
    """The machine of one side."""
    seed = role.encode().ljust(32, b"\0")
    if kind is None:
        return WordTriples(role, seed, 0, "c", count)
    return BitTriples(role, seed, 0, "c", count, source=kind)


def party(sock: socket.socket, role: Role, kind: Kind, count: int, out: Connection) -> None:
    """One process."""
    channel = TcpChannel(sock)
    out.send("ready")
    out.recv()
    before = resource.getrusage(resource.RUSAGE_SELF)
    begun = time.perf_counter()
    machine = make(role, kind, count)
    drive(machine, channel, before_open=lambda: None)
    made = machine.finish()
    wall = time.perf_counter() - begun
    channel.close()
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    some = [part[:CHECKED] for part in (made.a, made.b, made.c)]
    out.send((wall, cpu, channel.sent, used.ru_maxrss << 10, some))


def run(kind: Kind, count: int) -> Row:
    """Both processes."""
    context = multiprocessing.get_context("spawn")
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = socket.create_connection(server.getsockname())
        right, _ = server.accept()
    outs, processes = [], []
    for role, sock in zip(ROLES, (left, right), strict=True):
        here, there = context.Pipe()
        process = context.Process(target=party, args=(sock, role, kind, count, there))
        process.start()
        sock.close()
        outs.append(here)
        processes.append(process)
    for out in outs:
        out.recv()
    for out in outs:
        out.send("go")
    found = [out.recv() for out in outs]
    for process in processes:
        process.join()
    x, y = (Triples(*side[4]) for side in found)
    plain = (x.a ^ y.a) & (x.b ^ y.b) ^ x.c ^ y.c
    assert not np.any((x.a + y.a) * (x.b + y.b) - x.c - y.c if kind is None else plain)
    wall = max(side[0] for side in found)
    sent = sum(side[2] for side in found)
    return {
        "what": "words" if kind is None else f"bits, {kind}",
        "count": count,
        "wall s": wall,
        "cpu s": sum(side[1] for side in found),
        "most cpu s": max(side[1] for side in found),
        "MB": sent / 1e6,
        "bits each": 8 * sent / count,
        "turns": TURNS[type(kind)],
        "ns": wall / count * 1e9,
        "peak MB": max(side[3] for side in found) / 1e6,
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--bits", type=int, default=200_000_000, help="bit triples of a rich link")
    arguments.add_argument("--fields", type=numbers, default=[2, 4], help="log2 of the sizes of fields")
    arguments.add_argument("--thin", type=int, default=1 << 23, help="bit triples of a thin link")
    arguments.add_argument("--words", type=int, default=1_000_000, help="word triples")
    arguments.add_argument("--repeats", type=int, default=3)
    options = arguments.parse_args()
    numbers_of = ["wall s", "cpu s", "most cpu s", "MB", "bits each", "turns", "ns", "peak MB"]
    report = Report("triples", ["count", *numbers_of, "what"])
    kinds: list[tuple[Kind, int]] = [(Rich(field), options.bits) for field in options.fields]
    kinds += [(Thin(), options.thin), (None, options.words)]
    for kind, count in kinds:
        if count:
            report.repeat(options.repeats, lambda _, kind=kind, count=count: run(kind, count))


if __name__ == "__main__":
    main()
