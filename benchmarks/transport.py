"""Payload per second, CPU per gigabyte and round trip between two worker processes on loopback.

Two paths are measured: (a) the listener hands the accepted connection to the worker (`SCM_RIGHTS`), so that the
workers speak TLS to each other; (b) the nodes relay: worker, Unix socket, node, TLS, node, Unix socket, worker.

    python benchmarks/transport.py [--megabytes 1000] [--rounds 2000]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing.connection import Connection as Out
from typing import Any

from atoll.crypto.tls import Connection
from atoll.crypto.wire import WORKER_LIMIT, Kind
from atoll.net.dial import dial
from atoll.net.identity import TlsIdentity, ephemeral_tls
from atoll.net.listener import Listener, job_name
from atoll.net.pipe import Pipe
from atoll.net.session import Session
from atoll.net.stream import FrameStream

MESSAGE = 1 << 20


def clock() -> datetime:
    return datetime.now(UTC)


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def talk(
    send: Callable[[bytes], None], recv: Callable[[], bytes], first: bool, size: int, rounds: int
) -> dict[str, float]:
    """Small messages there and back, then bulk from the first to the second."""
    for _ in range(50):
        send(b"warm") if first else recv()
        recv() if first else send(b"warm")
    begun = time.perf_counter()
    for _ in range(rounds):
        send(b"ping") if first else recv()
        recv() if first else send(b"pong")
    trip = (time.perf_counter() - begun) / rounds
    payload = os.urandom(MESSAGE)
    before, begun = cpu(), time.perf_counter()
    if first:
        for _ in range(size):
            send(payload)
        assert recv() == b"done"
    else:
        for _ in range(size):
            recv()
        send(b"done")
    wall = time.perf_counter() - begun
    gigabytes = size * MESSAGE / 1e9
    return {
        "round_trip_ms": trip * 1e3,
        "mb_per_s": gigabytes * 1e3 / wall,
        "cpu_s_per_gb": (cpu() - before) / gigabytes,
    }


def direct(
    who: str, source: Any, name: str | None, own: TlsIdentity, pin: str, size: int, rounds: int, out: Out
) -> None:
    waiting = [source if name is None else None]

    def connect() -> tuple[socket.socket, str | None]:
        if name is not None:
            return dial(source), name
        _, descriptor = Pipe(waiting.pop()).receive()
        return socket.socket(fileno=descriptor), None

    peer = "bob" if who == "alice" else "alice"
    session = Session(who, peer, "job", 1, connect, own, pin, clock=clock)
    session.start()
    channel = session.channel("bulk")
    out.send(talk(lambda b: channel.send(b, "s"), channel.recv, who == "alice", size, rounds))
    session.close()


def run_direct(size: int, rounds: int) -> dict[str, float]:
    a, b = ephemeral_tls(clock()), ephemeral_tls(clock())
    ours, theirs = Pipe.pair()
    listener = Listener("127.0.0.1", 0, lambda s: s.close(), lambda s: s.close(), lambda event, facts: None)
    name = job_name()

    def hand_over(sock: socket.socket) -> None:
        ours.send({"kind": "socket"}, sock.fileno())
        sock.close()

    listener.route(name, hand_over)
    listener.start()
    results = both(
        (direct, ("alice", listener.address, name, a, b.fingerprint, size, rounds)),
        (direct, ("bob", theirs, None, b, a.fingerprint, size, rounds)),
    )
    listener.stop()
    return results


def framed(sock: socket.socket) -> tuple[Callable[[bytes], None], Callable[[], bytes]]:
    def send(data: bytes) -> None:
        sock.sendall(len(data).to_bytes(4, "big"))
        sock.sendall(data)

    def exactly(size: int) -> bytes:
        buffer = bytearray(size)
        view = memoryview(buffer)
        while view:
            n = sock.recv_into(view)
            if n == 0:
                raise EOFError
            view = view[n:]
        return bytes(buffer)

    return send, lambda: exactly(int.from_bytes(exactly(4), "big"))


def relay(
    unix: socket.socket, line: socket.socket, name: str | None, own: TlsIdentity, pin: str, out: Out
) -> None:
    now = clock()
    if name is not None:
        tls = Connection.client(own.certificate, own.private_key, [pin], name, now, WORKER_LIMIT)
    else:
        tls = Connection.server(own.certificate, own.private_key, [pin], now, WORKER_LIMIT)
    stream = FrameStream(line, tls)
    stream.handshake(10)
    send, recv = framed(unix)

    def outward() -> None:
        try:
            while True:
                stream.send(Kind.DATA, "relay", 0, recv())
        except (EOFError, OSError):
            out.send(cpu())
            os._exit(0)

    threading.Thread(target=outward, daemon=True).start()
    while True:
        for frame in stream.receive():
            send(frame.payload)


def worker(unix: socket.socket, first: bool, size: int, rounds: int, out: Out) -> None:
    send, recv = framed(unix)
    out.send(talk(send, recv, first, size, rounds))
    unix.shutdown(socket.SHUT_RDWR)


def run_relay(size: int, rounds: int) -> dict[str, float]:
    a, b = ephemeral_tls(clock()), ephemeral_tls(clock())
    server = socket.create_server(("127.0.0.1", 0))
    near = dial(f"127.0.0.1:{server.getsockname()[1]}")
    far, _ = server.accept()
    (wa, na), (wb, nb) = socket.socketpair(), socket.socketpair()
    for end in (wa, na, wb, nb):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    context = multiprocessing.get_context("fork")
    nodes = []
    for unix, line, name, own, pin in (
        (na, near, "x.job.atoll", a, b.fingerprint),
        (nb, far, None, b, a.fingerprint),
    ):
        pipe, end = context.Pipe(False)
        nodes.append((context.Process(target=relay, args=(unix, line, name, own, pin, end)), pipe))
    for process, _ in nodes:
        process.start()
    results = both((worker, (wa, True, size, rounds)), (worker, (wb, False, size, rounds)))
    for process, _ in nodes:
        process.kill()
        process.join()
    return results


def both(one: tuple[Any, tuple[Any, ...]], two: tuple[Any, tuple[Any, ...]]) -> dict[str, float]:
    context = multiprocessing.get_context("fork")
    runs = []
    for work, arguments in (one, two):
        pipe, end = context.Pipe(False)
        process = context.Process(target=work, args=(*arguments, end))
        process.start()
        runs.append((process, pipe))
    results = [pipe.recv() for _, pipe in runs]
    for process, _ in runs:
        process.join()
    sender, receiver = results
    return {
        "mb_per_s": round(receiver["mb_per_s"], 1),
        "worker_cpu_s_per_gb": round(sender["cpu_s_per_gb"] + receiver["cpu_s_per_gb"], 2),
        "round_trip_ms": round(sender["round_trip_ms"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=1000, help="bulk payload, MiB")
    parser.add_argument("--rounds", type=int, default=2000, help="small messages there and back")
    options = parser.parse_args()
    for name, run in (("handed over", run_direct), ("relayed", run_relay)):
        print(json.dumps({"path": name, **run(options.megabytes, options.rounds)}), flush=True)


if __name__ == "__main__":
    main()
