"""A control link between two nodes: requests and answers in both directions over one connection."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from atoll.crypto.tls import Connection
from atoll.crypto.wire import CONTROL_LIMIT, Frame, Kind, decode_body, encode_body
from atoll.errors import AtollError
from atoll.net.handshake import (
    BINDING_LABEL,
    Admit,
    Purpose,
    Role,
    claimed,
    read_hello,
    read_refusal,
    write_hello,
    write_refusal,
)
from atoll.net.identity import KeyStatement, NodeKeys, key_statement, read_key_statement
from atoll.net.line import Measured
from atoll.net.pairing import BINDING_LABEL as PAIR_LABEL
from atoll.net.stream import DroppedError, FrameStream

CONTROL_NAME, PAIR_NAME = "node.atoll", "pair.atoll"
# A node that renewed its TLS key answers under this name with the one before, for those who still pin that.
OLDER_NAME = "older.node.atoll"
HANDSHAKE_SECONDS = 10.0
HEARTBEAT_SECONDS = 2.0
CLOSE_SECONDS = 2.0
MAX_INCOMING = 64
HANDLER_THREADS = 4

Log = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Peer:
    """The other end of a link, as it proved itself.

    `dialed` is true where this side dialed; `mine` is the statement that this side sent; `binding` is a
    value that only the two ends of this link can compute (for `atoll.net.pairing`).
    """

    identity: str
    name: str
    tls: str
    address: str | None
    statement: KeyStatement
    dialed: bool
    purpose: Purpose
    mine: KeyStatement
    binding: bytes


Handler = Callable[[Peer, Any], Any]


@dataclass(frozen=True)
class Local:
    """What a node says of itself and how it treats others.

    `admit` raises to refuse a peer; `handlers` maps verbs; `log` gets an event name and facts without data
    values; `clock` gives the time (aware, UTC).
    """

    keys: NodeKeys
    name: str
    address: str | None
    handlers: Mapping[str, Handler]
    admit: Admit
    log: Log
    clock: Callable[[], datetime]
    silence_seconds: float = 10.0


@dataclass
class _Waiter:
    done: threading.Event = field(default_factory=threading.Event)
    value: Any = None
    error: AtollError | None = None


def _unreachable(who: str, why: str) -> AtollError:
    return AtollError("E_UNREACHABLE", f"the connection to {who} ended: {why}.")


def _greet(stream: FrameStream, local: Local, dialed: bool, purpose: Purpose) -> Peer:
    """Hello and welcome in both directions. A refusal is sent or raised, with its reason, on both sides."""
    deadline = time.monotonic() + HANDSHAKE_SECONDS
    own_role: Role = "dialer" if dialed else "listener"
    peer_role: Role = "listener" if dialed else "dialer"
    tls = stream.tls.peer_fingerprint or ""
    binding = stream.tls.exporter(BINDING_LABEL)
    now = local.clock()
    envelope = key_statement(local.keys, local.name, local.address, now)
    stream.send(Kind.HELLO, payload=write_hello(local.keys, envelope, own_role, purpose, binding))
    first = stream.receive_one(deadline)
    if first.kind != Kind.HELLO:
        raise AtollError("E_WIRE", "the peer did not begin with a hello")
    try:
        hello = read_hello(first.payload, peer_role, purpose, tls, binding, now)
        local.admit(hello.statement.identity, tls, hello.statement, purpose)
    except AtollError as error:
        statement = claimed(first.payload)
        local.log("link.refused", _facts(statement, tls, dialed) | {"code": error.code})
        to = statement.identity if statement else None
        stream.send(Kind.REFUSAL, payload=write_refusal(local.keys, error, to, now))
        raise
    stream.send(Kind.WELCOME)
    answer = stream.receive_one(deadline)
    if answer.kind == Kind.REFUSAL:
        refusal = read_refusal(answer.payload, hello.statement, local.keys.identity)
        local.log("link.refused_by_peer", _facts(hello.statement, tls, dialed) | {"code": refusal.code})
        raise refusal
    if answer.kind != Kind.WELCOME:
        raise AtollError("E_WIRE", "the peer answered a hello with something else")
    said, mine = hello.statement, read_key_statement(envelope, None)
    shared = stream.tls.exporter(PAIR_LABEL)
    return Peer(said.identity, said.name, said.tls, said.address, said, dialed, purpose, mine, shared)


def _facts(statement: KeyStatement | None, tls: str, dialed: bool) -> dict[str, Any]:
    return {
        "peer": statement.identity if statement else None,
        "name": statement.name if statement else None,
        "tls": tls,
        "dialed": dialed,
    }


def _establish(sock: socket.socket, tls: Connection, local: Local, dialed: bool, purpose: Purpose) -> Link:
    stream = FrameStream(sock, tls)
    try:
        stream.limit_sending(HANDSHAKE_SECONDS)
        stream.handshake(HANDSHAKE_SECONDS)
        peer = _greet(stream, local, dialed, purpose)
    except DroppedError as error:
        stream.close()
        raise _unreachable("the peer", str(error)) from None
    except AtollError as error:
        if error.code in ("E_PEER_KEY", "E_PEER_EXPIRED", "E_WIRE") and tls.handshaking:
            local.log("link.refused", _facts(None, tls.peer_fingerprint or "", dialed) | {"code": error.code})
        stream.finish()
        raise
    except BaseException:
        stream.close()
        raise
    stream.limit_sending(local.silence_seconds)
    return Link(stream, local, peer)


def open_link(
    sock: socket.socket, local: Local, tls_pin: str, purpose: Purpose = "control", *, older: bool = False
) -> Link:
    """Makes a link over a socket that this side dialed. The peer's certificate must have `tls_pin`.

    With `older` the peer is asked for the certificate that it had before it renewed its TLS key.

    Raises:
        AtollError: `E_PEER_KEY`, `E_PEER_EXPIRED`, `E_WIRE`, `E_SIGNATURE`, `E_UNREACHABLE`, or the code with
            which either side's `admit` refused. The socket is closed then.
    """
    name = PAIR_NAME if purpose == "pair" else OLDER_NAME if older else CONTROL_NAME
    own = local.keys.tls
    tls = Connection.client(own.certificate, own.private_key, [tls_pin], name, local.clock(), CONTROL_LIMIT)
    return _establish(sock, tls, local, True, purpose)


def accept_link(sock: socket.socket, local: Local, purpose: Purpose = "control") -> Link:
    """Makes a link over a socket that this side accepted; errors as `open_link`.

    TLS takes any key whose possession is proved, so that an unknown peer gets a signed refusal with the
    reason; `local.admit` decides.
    """
    own = local.keys.tls
    tls = Connection.server(own.certificate, own.private_key, None, local.clock(), CONTROL_LIMIT)
    return _establish(sock, tls, local, False, purpose)


class Link:
    """A live link. Threads may request at the same time; handlers run on a few threads of their own."""

    def __init__(self, stream: FrameStream, local: Local, peer: Peer) -> None:
        self.peer = peer
        self._stream = stream
        self._local = local
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiter] = {}
        self._incoming = 0
        self._reason: AtollError | None = None
        self._heard = self._used = time.monotonic()
        self._closed = threading.Event()
        self._drained = threading.Event()
        self._watchers: list[Callable[[Link], None]] = []
        self._pool = ThreadPoolExecutor(HANDLER_THREADS, f"link-{peer.name}")
        threading.Thread(target=self._read, name=f"link-read-{peer.name}", daemon=True).start()
        threading.Thread(target=self._beat, name=f"link-beat-{peer.name}", daemon=True).start()

    @property
    def alive(self) -> bool:
        """False once the link has ended."""
        return not self._closed.is_set()

    @property
    def reason(self) -> AtollError | None:
        """Why the link ended; None while it lives or after a plain close."""
        return self._reason

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last request or answer; 0 while one is under way."""
        with self._lock:
            return 0.0 if self._waiting or self._incoming else time.monotonic() - self._used

    def on_close(self, watcher: Callable[[Link], None]) -> None:
        """Calls `watcher` once when the link ends; at once if it has."""
        with self._lock:
            if not self._closed.is_set():
                self._watchers.append(watcher)
                return
        watcher(self)

    def request(self, verb: str, body: Any, timeout: float = 30.0) -> Any:
        """Asks the peer and waits for its answer.

        Args:
            verb: name of the peer's handler.
            body: plain data, encoded at most 8 MiB.
            timeout: seconds.

        Raises:
            AtollError: the peer's own code; `E_PEER_SILENT` without an answer in time; `E_UNREACHABLE`
            when the
                link ends; `E_FORMAT`, `E_TOO_LARGE` for a body that cannot be sent.
        """
        payload = encode_body(body)
        waiter = _Waiter()
        with self._lock:
            if self._closed.is_set():
                raise self._ended()
            number = next(self._numbers)
            self._waiting[number] = waiter
            self._used = time.monotonic()
        try:
            self._send(Kind.REQUEST, verb, number, payload)
            if not waiter.done.wait(timeout):
                raise AtollError(
                    "E_PEER_SILENT",
                    f"{self.peer.name} did not answer {verb} within {timeout:g} s.",
                    party=self.peer.identity,
                    step=verb,
                )
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        if waiter.error is not None:
            raise waiter.error
        return waiter.value

    def measure(self) -> Measured | None:
        """What the kernel measured of this connection; None where it says nothing."""
        return self._stream.measure()

    def close(self, reason: AtollError | None = None) -> None:
        """Ends the link at once; the peer is told the reason's code."""
        payload = b"" if reason is None else encode_body(reason.to_wire())
        with contextlib.suppress(AtollError):
            self._stream.limit_sending(1.0)
            self._send(Kind.BYE, "", 0, payload)
        self._stream.half_close()
        self._end(reason)

    def _ended(self) -> AtollError:
        if self._reason is not None:
            return self._reason
        return _unreachable(self.peer.name, "it was closed")

    def _send(self, kind: Kind, name: str, number: int, payload: bytes) -> None:
        try:
            self._stream.send(kind, name, number, payload)
        except DroppedError as error:
            self._end(_unreachable(self.peer.name, str(error)))
            raise self._ended() from None

    def _end(self, reason: AtollError | None) -> None:
        with self._lock:
            if self._closed.is_set():
                return
            self._reason = reason
            self._closed.set()
            waiting, self._waiting = self._waiting, {}
            watchers, self._watchers = self._watchers, []
        for waiter in waiting.values():
            waiter.error = self._ended()
            waiter.done.set()
        code = reason.code if reason else None
        self._local.log("link.closed", {"peer": self.peer.identity, "name": self.peer.name, "code": code})
        self._pool.shutdown(wait=False, cancel_futures=True)
        for watcher in watchers:
            watcher(self)

    def _read(self) -> None:
        try:
            while self.alive:
                frames = self._stream.receive()
                self._heard = time.monotonic()
                for frame in frames:
                    self._take(frame)
        except DroppedError as error:
            self._end(_unreachable(self.peer.name, str(error)))
        except AtollError as error:
            self._local.log("link.fault", {"peer": self.peer.identity, "code": error.code})
            self.close(error)
        self._stream.finish()
        self._drained.set()

    def _beat(self) -> None:
        interval = min(HEARTBEAT_SECONDS, self._local.silence_seconds / 4)
        while not self._closed.wait(interval):
            if time.monotonic() - self._heard > self._local.silence_seconds:
                self._end(
                    AtollError(
                        "E_PEER_SILENT",
                        f"{self.peer.name} has been silent for {self._local.silence_seconds:g} s.",
                        party=self.peer.identity,
                    )
                )
                self._stream.interrupt()
                return
            with contextlib.suppress(AtollError):
                self._send(Kind.PING, "", 0, b"")
        # A peer that does not close its end holds no thread here.
        if not self._drained.wait(CLOSE_SECONDS):
            self._stream.interrupt()

    def _take(self, frame: Frame) -> None:
        if frame.kind == Kind.PING:
            return
        if frame.kind == Kind.REQUEST:
            self._admit_request(frame)
        elif frame.kind in (Kind.RESPONSE, Kind.FAILURE):
            value = decode_body(frame.payload)
            with self._lock:
                waiter = self._waiting.get(frame.sequence)
                self._used = time.monotonic()
            if waiter is None or waiter.done.is_set():
                return  # an answer that came after its time
            if frame.kind == Kind.RESPONSE:
                waiter.value = value
            else:
                waiter.error = AtollError.from_wire(value, peer=self.peer.name)
            waiter.done.set()
        elif frame.kind == Kind.BYE:
            reason = None
            if frame.payload:
                reason = AtollError.from_wire(decode_body(frame.payload), peer=self.peer.name)
            self._end(reason)
        else:
            raise AtollError("E_WIRE", f"{self.peer.name} sent a frame that has no place on a link")

    def _admit_request(self, frame: Frame) -> None:
        with self._lock:
            full = self._incoming >= MAX_INCOMING
            if not full:
                self._incoming += 1
                self._used = time.monotonic()
        if full:
            error = AtollError("E_TOO_LARGE", f"more than {MAX_INCOMING} requests at once", step=frame.name)
            self._pool_submit(lambda: self._answer_error(frame, error))
        else:
            self._pool_submit(lambda: self._handle(frame))

    def _pool_submit(self, work: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the link has ended meanwhile
            self._pool.submit(work)

    def _handle(self, frame: Frame) -> None:
        try:
            handler = self._local.handlers.get(frame.name)
            if handler is None:
                raise AtollError("E_WIRE", f"{self.peer.name} asked for the unknown verb {frame.name!r}")
            payload = encode_body(handler(self.peer, decode_body(frame.payload)))
            self._send(Kind.RESPONSE, "", frame.sequence, payload)
        except AtollError as error:
            facts = {"peer": self.peer.identity, "verb": frame.name, "code": error.code}
            self._local.log("link.request_refused", facts)
            self._answer_error(frame, error)
        except Exception as error:
            # The peer learns that it was a defect, and nothing of it.
            facts = {"peer": self.peer.identity, "verb": frame.name, "error": repr(error)}
            self._local.log("link.handler_failed", facts)
            self._answer_error(frame, AtollError("E_INTERNAL", "a handler failed", step=frame.name))
        finally:
            with self._lock:
                self._incoming -= 1
                self._used = time.monotonic()

    def _answer_error(self, frame: Frame, error: AtollError) -> None:
        with contextlib.suppress(AtollError):
            self._send(Kind.FAILURE, "", frame.sequence, encode_body(error.to_wire()))
