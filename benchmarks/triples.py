"""Correlated randomness of two parties: whole runs between two processes over a TCP connection of this machine.

    python benchmarks/triples.py [--bits 200000000] [--fields 2,4] [--thin 8388608] [--words 1000000] [--wide 1000000]
        [--matrices 100000x100x1,1000x1000x1000] [--repeats 3]

One thread at each side. `cpu s` is that of both sides, `most cpu s` that of the busier one, `MB` what both send and
`turns` how many messages follow upon each other where nothing else waits. `ns` is wall time for one triple, or one
product of entries. Set-up is part of it, but not where a matrix is warm: there the left one is transformed before.
"""

from __future__ import annotations

import multiprocessing
import resource
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Literal

import numpy as np
from harness.report import Report, Row, numbers, parser
from harness.tcp import TcpChannel

from atoll.crypto.triples import (
    BitTriples,
    MatrixProduct,
    Rich,
    Role,
    Thin,
    Triples,
    WideTriples,
    WordTriples,
)
from atoll.protocols.driver import drive

Kind = Rich | Thin | Literal["words", "wide"]
Sizes = tuple[int, int, int]
ROLES: tuple[Role, Role] = ("first", "second")
#: How many of the triples are compared with their products.
CHECKED = 10_000
#: Messages of set-up and of one run, one after the other.
TURNS = {Rich: 3, Thin: 4, str: 3}


def make(role: Role, kind: Kind, count: int) -> BitTriples | WordTriples | WideTriples:
    """The machine of one side."""
    seed = role.encode().ljust(32, b"\0")
    if isinstance(kind, str):
        return (WordTriples if kind == "words" else WideTriples)(role, seed, 0, "c", count)
    return BitTriples(role, seed, 0, "c", count, source=kind)


def spent() -> float:
    """Processor time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak() -> int:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def party(sock: socket.socket, role: Role, kind: Kind, count: int, out: Connection) -> None:
    """One process that makes triples."""
    channel = TcpChannel(sock)
    out.send("ready")
    out.recv()
    cpu, begun = spent(), time.perf_counter()
    machine = make(role, kind, count)
    drive(machine, channel, before_open=lambda: None)
    made = machine.finish()
    wall = time.perf_counter() - begun
    channel.close()
    some = [part[:CHECKED] for part in (made.a, made.b, made.c)]
    out.send([(wall, spent() - cpu, channel.sent, peak(), some)])


def factor(role: Role, sizes: Sizes) -> np.ndarray:
    """The matrix of one side."""
    rows, inner, columns = sizes
    shape = (inner, columns) if role == "first" else (rows, inner)
    return np.random.default_rng(ROLES.index(role)).integers(0, 2**64, shape, dtype=np.uint64)


def multiplier(sock: socket.socket, role: Role, kind: Kind, sizes: Sizes, out: Connection) -> None:
    """One process that multiplies matrices twice, cold and warm."""
    channel = TcpChannel(sock)
    own, found = factor(role, sizes), []
    machine: MatrixProduct | None = None
    out.send("ready")
    out.recv()
    for _ in ("cold", "warm"):
        cpu, begun, sent = spent(), time.perf_counter(), channel.sent
        if machine is None:
            machine = MatrixProduct(role, role.encode().ljust(32, b"\0"), 0, "c", sizes, own)
        else:
            machine.again(own if role == "first" else None)
        drive(machine, channel, before_open=lambda: None)
        share = machine.finish()
        found.append((time.perf_counter() - begun, spent() - cpu, channel.sent - sent, peak(), share[:3]))
    channel.close()
    out.send(found)


def both(work: Callable[..., None], kind: Kind, what: int | Sizes) -> list[list[tuple[Any, ...]]]:
    """What both processes found."""
    context = multiprocessing.get_context("spawn")
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = socket.create_connection(server.getsockname())
        right, _ = server.accept()
    outs, processes = [], []
    for role, sock in zip(ROLES, (left, right), strict=True):
        here, there = context.Pipe()
        process = context.Process(target=work, args=(sock, role, kind, what, there))
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
    return found


def row(what: str, count: int, turns: int, sides: tuple[tuple[Any, ...], ...]) -> Row:
    """One line of the table."""
    wall = max(side[0] for side in sides)
    sent = sum(side[2] for side in sides)
    return {
        "what": what,
        "count": count,
        "wall s": wall,
        "cpu s": sum(side[1] for side in sides),
        "most cpu s": max(side[1] for side in sides),
        "MB": sent / 1e6,
        "bits each": 8 * sent / count,
        "turns": turns,
        "ns": wall / count * 1e9,
        "peak MB": max(side[3] for side in sides) / 1e6,
    }


def run(kind: Kind, count: int) -> Row:
    """Triples of one kind."""
    sides = tuple(found[0] for found in both(party, kind, count))
    x, y = (Triples(*side[4]) for side in sides)
    if not isinstance(kind, str):
        wrong = (x.a ^ y.a) & (x.b ^ y.b) ^ x.c ^ y.c
    elif kind == "words":
        wrong = (x.a + y.a) * (x.b + y.b) - x.c - y.c
    else:
        a, b, c = (integers(x) + integers(y) for x, y in zip(sides[0][4], sides[1][4], strict=True))
        wrong = (a * b - c) % 2**128
    assert not np.any(wrong)
    return row(f"bits, {kind}" if not isinstance(kind, str) else kind, count, TURNS[type(kind)], sides)


def integers(words: np.ndarray) -> np.ndarray:
    """Wide words as integers of Python."""
    return words["lo"].astype(object) + (words["hi"].astype(object) << 64)


def multiply(report: Report, sizes: Sizes, repeats: int) -> None:
    """A product of matrices, cold and warm."""
    warm: list[Row] = []
    name = " x ".join(map(str, sizes))

    def cold(_: int) -> Row:
        first, second = both(multiplier, "words", sizes)
        expected = factor("second", sizes)[:3] @ factor("first", sizes)
        assert all(np.array_equal(x[4] + y[4], expected) for x, y in zip(first, second, strict=True))
        count = sizes[0] * sizes[1] * sizes[2]
        warm.append(row(f"matrices, {name}, warm", count, 2, (first[1], second[1])))
        return row(f"matrices, {name}", count, 4, (first[0], second[0]))

    report.repeat(repeats, cold)
    report.repeat(repeats, warm.__getitem__)


def sizes_of(text: str) -> list[Sizes]:
    """`2x3x4,5x6x7` as a list."""
    found = [tuple(int(size) for size in part.split("x")) for part in text.split(",") if part]
    return [(rows, inner, columns) for rows, inner, columns in found]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--bits", type=int, default=200_000_000, help="bit triples of a rich link")
    arguments.add_argument("--fields", type=numbers, default=[2, 4], help="log2 of the sizes of fields")
    arguments.add_argument("--thin", type=int, default=1 << 23, help="bit triples of a thin link")
    arguments.add_argument("--words", type=int, default=1_000_000, help="word triples")
    arguments.add_argument("--wide", type=int, default=1_000_000, help="triples of wide words")
    arguments.add_argument(
        "--matrices",
        type=sizes_of,
        default=[(100_000, 100, 1), (1000, 1000, 1000)],
        help="rows, inner size and columns",
    )
    arguments.add_argument("--repeats", type=int, default=3)
    options = arguments.parse_args()
    numbers_of = ["wall s", "cpu s", "most cpu s", "MB", "bits each", "turns", "ns", "peak MB"]
    report = Report("triples", ["count", *numbers_of, "what"])
    kinds: list[tuple[Kind, int]] = [(Rich(field), options.bits) for field in options.fields]
    kinds += [(Thin(), options.thin), ("words", options.words), ("wide", options.wide)]
    for kind, count in kinds:
        if count:
            report.repeat(options.repeats, lambda _, kind=kind, count=count: run(kind, count))
    for sizes in options.matrices:
        multiply(report, sizes, options.repeats)


if __name__ == "__main__":
    main()
