"""Real sockets on loopback: pairs of workers, nodes, and a proxy that can cut the line."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from atoll.errors import AtollError
from atoll.net.dial import dial
from atoll.net.identity import NodeKeys, TlsIdentity, ephemeral_tls
from atoll.net.link import Local
from atoll.net.session import Session


def utc() -> datetime:
    return datetime.now(UTC)


class Proxy:
    """A TCP proxy that counts bytes and can cut every connection; `limit` cuts after so many bytes, once."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._sock.getsockname()[1]}"
        self.limits: list[int] = []
        self.connections = 0
        self.delay = threading.Event()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._sock.accept()
                self.connections += 1
                try:
                    far = dial(self._target)
                except AtollError:
                    near.close()
                    continue
                self._open += [near, far]
                limit = self.limits.pop(0) if self.limits else None
                for a, b in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=(a, b, limit), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        moved = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
                moved += len(data)
                if limit is not None and moved > limit:
                    break
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self.cut()


@dataclass
class Door:
    """A listening socket that gives accepted connections to a session."""

    sock: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    def __post_init__(self) -> None:
        self.queue: queue.Queue[socket.socket] = queue.Queue()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.sock.getsockname()[1]}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.queue.put(self.sock.accept()[0])

    def connect(self) -> tuple[socket.socket, str | None]:
        try:
            return self.queue.get(timeout=0.5), None
        except queue.Empty:
            raise AtollError("E_UNREACHABLE", "nobody dialed") from None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def dialer(address: str) -> Callable[[], tuple[socket.socket, str | None]]:
    return lambda: (dial(address), "0123456789abcdef0123456789abcdef.job.atoll")


class Workers:
    """Makes sessions of alice, who dials, and bob, who accepts, through a proxy."""

    def __init__(self) -> None:
        self.door = Door()
        self.proxy = Proxy(self.door.address)
        self.tls: dict[str, TlsIdentity] = {who: ephemeral_tls(utc()) for who in ("alice", "bob")}
        self.sessions: list[Session] = []

    def make(self, who: str, **options: Any) -> Session:
        other = "bob" if who == "alice" else "alice"
        connect = dialer(self.proxy.address) if who == "alice" else self.door.connect
        options = {
            "clock": utc,
            "silence_seconds": 5.0,
            "tls": self.tls[who],
            "pinned": self.tls[other].fingerprint,
            "connect": connect,
            "job": "job-1",
            "attempt": 1,
        } | options
        session = Session(options.pop("me", who), other, **options)
        self.sessions.append(session)
        session.start()
        return session

    def both(self, **options: Any) -> tuple[Session, Session]:
        return self.make("alice", **options), self.make("bob", **options)

    def close(self) -> None:
        for session in self.sessions:
            # As `abort`, without waiting until the other side knows.
            session._fail(AtollError("E_CANCELLED", "the test is over"), tell=True)
        self.proxy.close()
        self.door.close()


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers()
    yield made
    made.close()


class Node:
    """The transport part of a node, with a diary of what it logs."""

    def __init__(self, folder: Path, name: str, address: str | None = None, silence: float = 5.0) -> None:
        self.keys = NodeKeys.create(folder / name, "open sesame", utc())
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.trusted: dict[str, str] = {}
        self.handlers: dict[str, Any] = {"echo": lambda peer, body: body}
        self.local = Local(
            self.keys,
            name,
            address,
            self.handlers,
            self._admit,
            lambda e, f: self.events.append((e, f)),
            utc,
            silence,
        )

    def _admit(self, identity: str, tls: str, statement: Any, purpose: str) -> None:
        if purpose == "pair":
            return
        if identity not in self.trusted:
            raise AtollError("E_PEER_UNKNOWN", f"{statement.name} is not paired; row 17 holds secret-value")
        if self.trusted[identity] != tls:
            raise AtollError("E_PEER_KEY", "another key")

    def trust(self, other: Node) -> None:
        self.trusted[other.keys.identity] = other.keys.tls.fingerprint

    def saw(self, event: str, code: str | None = None) -> bool:
        return any(e == event and (code is None or f.get("code") == code) for e, f in self.events)


@pytest.fixture
def node(tmp_path: Path) -> Callable[..., Node]:
    return lambda name, **options: Node(tmp_path, name, **options)


@pytest.fixture
def helpers() -> Any:
    class Helpers:
        proxy, door, dial_to, now = Proxy, Door, staticmethod(dialer), staticmethod(utc)

    return Helpers
