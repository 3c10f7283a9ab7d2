"""A session between two workers: channels over one TLS connection that may drop and come back.

Two threads serve it. One connects, reads and hands messages over; it never sends while others do, so that
reading never waits for the peer to read. The other beats, sends what callers could not, and watches for
silence. Callers send from their own thread.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from atoll.crypto.tls import Connection
from atoll.crypto.wire import WORKER_LIMIT, Frame, Kind, encode_body
from atoll.errors import AtollError
from atoll.net import transcript
from atoll.net.channel import Channel, check_name
from atoll.net.identity import TlsIdentity
from atoll.net.journal import Journal
from atoll.net.lane import Lane, Message
from atoll.net.line import Measured
from atoll.net.messages import (
    MAX_CHANNELS,
    Scope,
    read_abort,
    read_credit,
    read_resume,
    write_credit,
    write_resume,
)
from atoll.net.stream import DroppedError, FrameStream

Connect = Callable[[], tuple[socket.socket, str | None]]
Tap = Callable[[str, str, str, bytes], None]
Position = dict[str, dict[str, int]]

HANDSHAKE_SECONDS = 10.0
TELL_SECONDS = 2.0
_BATCH = 512 << 10
_FIELDS = ("received", "received_bytes", "sent", "sent_bytes")


class Session:
    """All channels between this party and one other, for one attempt of one job.

    Args:
        me, peer: key identifiers; they begin the transcripts.
        job, attempt: what the session is for; both sides must say the same.
        connect: gives a connected socket, with the server name to send where this side dialed it and None
        where it
            accepted. Called again after every drop. It raises `E_UNREACHABLE` when it has none yet.
        tls: this worker's certificate.
        pinned: fingerprint of the peer's certificate, from its signed approval.
        clock: gives the time (aware, UTC), against which certificates are checked.
        silence_seconds: without a sign of life for so long the session ends with `E_PEER_SILENT`.
        grace_seconds: jobs with checkpoints wait so long for a dropped peer instead; None for the others.
        journal: folder of a job with checkpoints; None keeps everything in memory.
        position: what `position()` gave at the checkpoint from which a killed process goes on.
        tap: sees every message: "sent" or "received", channel, step, payload. For tests of what crosses
        the wire.
    """

    def __init__(
        self,
        me: str,
        peer: str,
        job: str,
        attempt: int,
        connect: Connect,
        tls: TlsIdentity,
        pinned: str,
        *,
        clock: Callable[[], datetime],
        silence_seconds: float = 10.0,
        grace_seconds: float | None = None,
        journal: Path | None = None,
        position: Position | None = None,
        tap: Tap | None = None,
    ) -> None:
        self._peer = peer
        self._scope = Scope(job, attempt, me, peer)
        self._connect, self._tls, self._pinned, self._clock = connect, tls, pinned, clock
        self._silence, self._grace = silence_seconds, grace_seconds
        self._tap = tap
        self._journal = None if journal is None else Journal(journal)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._sending = threading.Lock()
        self._wake = threading.Event()
        self._finished = threading.Event()
        self._told: FrameStream | None = None
        self._lanes: dict[str, Lane] = {}
        self._channels: dict[str, Channel] = {}
        self._stream: FrameStream | None = None
        self._error: AtollError | None = None
        self._farewell: bytes | None = None
        self._refused: AtollError | None = None
        self._closing = self._bye_sent = self._bye_heard = False
        self._at_rest = False
        self._heard = self._last_sent = self._ended_at = time.monotonic()
        if self._journal is not None:
            at = position or {}
            for name in sorted(self._journal.channels() | set(at)):
                self._lane(check_name(name)).restore(at.get(name, dict.fromkeys(_FIELDS, 0)))
        elif position is not None:
            raise AtollError("E_STATE", "a position needs a journal")
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), name=f"session-{job[:12]}", daemon=True)
            for work in (self._run, self._beat)
        ]

    # -- for callers

    def start(self) -> None:
        """Begins to connect; returns at once."""
        self._heard = time.monotonic()
        for thread in self._threads:
            thread.start()

    def channel(self, name: str) -> Channel:
        """The channel of that name; both sides name it alike and in any order."""
        with self._lock:
            if name not in self._channels:
                self._channels[name] = Channel(self, self._lane(check_name(name)))
            return self._channels[name]

    @property
    def error(self) -> AtollError | None:
        """Why the session ended; None while it lives or after a plain close."""
        return self._error

    def abort(self, error: AtollError) -> None:
        """Ends the session for both sides; the peer gets `error.to_wire()` as soon as it can be reached."""
        self._fail(error, tell=True)
        self._finished.wait(TELL_SECONDS)

    def close(self) -> None:
        """Ends in good order: everything sent goes out, then both sides say goodbye.

        Waits for the peer's goodbye at most `silence_seconds`; raises nothing.
        """
        deadline = time.monotonic() + self._silence
        with self._lock:
            self._closing = True
        self._wake.set()
        with contextlib.suppress(AtollError):
            self._wait(lambda: self._bye_sent and self._bye_heard, deadline, "close", ending=True)
        with self._lock:
            stream, failed = self._stream, self._error is not None
        if not failed:
            self._finished.set()
            if stream is not None:
                stream.limit_sending(TELL_SECONDS)
                stream.half_close()
        self._wake.set()
        for thread in self._threads:
            if thread is not threading.current_thread() and thread.ident is not None and not failed:
                thread.join(TELL_SECONDS)

    def transcripts(self) -> dict[str, dict[str, Any]]:
        """For each channel the chain over what this side sent and what it took, with messages and payload
        bytes."""
        with self._lock:
            return {
                name: {
                    "sent": transcript.write(lane.sent.chain),
                    "received": transcript.write(lane.consumed.chain),
                    "messages": [lane.sent.count, lane.consumed.count],
                    "bytes": [lane.sent.size, lane.consumed.size],
                }
                for name, lane in sorted(self._lanes.items())
            }

    def measure(self) -> Measured | None:
        """What the kernel measured of the connection that is open now."""
        with self._lock:
            stream = self._stream
        return None if stream is None else stream.measure()

    def position(self) -> Position:
        """How far the caller has come; store it with the caller's own checkpoint, in one write."""
        with self._lock:
            return {
                name: dict(
                    zip(
                        _FIELDS,
                        (lane.consumed.count, lane.consumed.size, lane.sent.count, lane.sent.size),
                        strict=True,
                    )
                )
                for name, lane in sorted(self._lanes.items())
            }

    def checkpointed(self, position: Position) -> None:
        """The caller's checkpoint with this position is durable: the peer may forget what came before it."""
        if self._journal is not None:
            self._journal.sync()
        with self._lock:
            for name, at in position.items():
                self._lane(name).stored(at["received"])
            self._at_rest = True
        self._wake.set()

    # -- for channels

    def _send(self, lane: Lane, step: str, payload: bytes) -> None:
        self._wait(lambda: lane.writable or lane.sent.count < lane._next, None, lane.name)
        chain = lane.chain_after(step, payload)
        new = lane.keep(step, payload, chain)
        if self._tap is not None:
            self._tap("sent", lane.name, step, payload)
        with self._lock:
            lane.push(step, payload, chain, new)
        self._pump()

    def _receive(self, lane: Lane, timeout: float | None) -> Message:
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            self._wait_locked(lambda: lane.readable, deadline, lane.name, ending=False)
            message = lane.pop()
            due = lane.credit_due(at_rest=False)
        if due:
            self._wake.set()
        if self._tap is not None:
            self._tap("received", lane.name, message.step, message.payload)
        return message

    def _ask(self, question: Callable[[], bool]) -> bool:
        with self._lock:
            if self._error is not None:
                raise self._error
            return question()

    def _wait(
        self, ready: Callable[[], bool], deadline: float | None, name: str, *, ending: bool = False
    ) -> None:
        with self._lock:
            self._wait_locked(ready, deadline, name, ending)

    def _wait_locked(
        self, ready: Callable[[], bool], deadline: float | None, name: str, ending: bool
    ) -> None:
        while True:
            if self._error is not None:
                raise self._error
            if self._closing and not ending:
                raise AtollError("E_STATE", "the session is closed")
            if ready():
                return
            if self._bye_heard and not ending:
                raise AtollError(
                    "E_PEER_ABORT", f"{self._peer} ended the session first.", party=self._peer, step=name
                )
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise AtollError(
                    "E_PEER_SILENT", f"nothing came on {name} in time.", party=self._peer, step=name
                )
            self._changed.wait(left)

    # -- state shared by the threads

    def _lane(self, name: str) -> Lane:
        if name not in self._lanes:
            if len(self._lanes) >= MAX_CHANNELS:
                raise AtollError("E_WIRE", f"more than {MAX_CHANNELS} channels")
            scope = self._scope
            mine = transcript.start(scope.job, scope.attempt, name, scope.me)
            theirs = transcript.start(scope.job, scope.attempt, name, scope.peer)
            self._lanes[name] = Lane(name, mine, theirs, self._journal)
        return self._lanes[name]

    def _fail(self, error: AtollError, *, tell: bool) -> None:
        with self._lock:
            if self._error is None and not self._finished.is_set():
                self._error = error
                self._ended_at = time.monotonic()
                if tell:
                    self._farewell = encode_body(error.to_wire())
            self._changed.notify_all()
        self._wake.set()

    # -- sending

    def _collect(self) -> list[tuple[Any, ...]]:
        """Arguments of the next frames to write; called under the lock."""
        out: list[tuple[Any, ...]] = []
        if self._error is not None:
            return out
        for name, lane in self._lanes.items():
            if lane.credit_due(self._at_rest):
                credit = write_credit(*lane.announce())
                out.append((Kind.CREDIT, name, 0, credit, 0, True, "", 0, len(credit)))
        self._at_rest = False
        size = 0
        busy = True
        while busy and size < _BATCH:
            busy = False
            for name, lane in self._lanes.items():
                if lane.sendable:
                    p = lane.next_piece()
                    out.append(
                        (Kind.DATA, name, p.sequence, p.payload, p.piece, p.last, p.step, p.start, p.end)
                    )
                    size += p.end - p.start
                    busy = True
        if self._closing and not self._bye_sent and not size and all(v.flushed for v in self._lanes.values()):
            out.append((Kind.BYE, "", 0, b"", 0, True, "", 0, 0))
        return out

    def _has_work(self) -> bool:
        with self._lock:
            if self._stream is None or self._error is not None:
                return False
            return (
                self._at_rest
                or any(v.sendable or v.credit_due(False) for v in self._lanes.values())
                or (self._closing and not self._bye_sent)
            )

    def _pump(self) -> None:
        """Sends what may go out. Whoever holds the sending lock also sends what others add meanwhile."""
        while self._has_work():
            if not self._sending.acquire(blocking=False):
                return
            try:
                while self._drain():
                    pass
            finally:
                self._sending.release()

    def _drain(self) -> bool:
        with self._lock:
            stream = self._stream
            frames = self._collect() if stream is not None else []
        if stream is None or not frames:
            return False
        try:
            for kind, name, sequence, payload, piece, last, step, start, end in frames:
                stream.tls.write_frame(
                    kind, name, sequence, payload, piece=piece, last=last, step=step, start=start, end=end
                )
                stream.flush()
        except (DroppedError, AtollError):
            self._lose(stream)
            return False
        self._last_sent = time.monotonic()
        with self._lock:
            # Only now: `close` shuts the connection once the goodbye is out, and not before.
            self._bye_sent |= any(frame[0] == Kind.BYE for frame in frames)
            self._changed.notify_all()
        return True

    def _lose(self, stream: FrameStream) -> None:
        """Forgets a connection that failed while sending; the reading thread finds out and connects again."""
        with self._lock:
            if self._stream is stream:
                self._stream = None
        stream.interrupt()

    def _guard(self, work: Callable[[], None]) -> None:
        """Runs a thread; a defect in it ends the session rather than leaving callers waiting."""
        try:
            work()
        except Exception as error:
            self._fail(AtollError("E_INTERNAL", f"the session failed: {error!r}."), tell=True)
            self._tell()
            self._finished.set()

    # -- the thread that beats

    def _beat(self) -> None:
        interval = min(2.0, self._silence / 5)
        while not self._finished.is_set():
            self._wake.wait(interval)
            self._wake.clear()
            now = time.monotonic()
            if self._error is not None:
                self._tell()
                if self._over or now - self._ended_at > self._silence:
                    break
                continue
            if now - self._last_sent >= interval:
                with self._lock:
                    self._at_rest = True
                self._ping()
            self._pump()
            self._watch(now)
        if self._over:
            # The reading thread is about to exchange the last words; it sets this when it is done.
            self._finished.wait(TELL_SECONDS)
        self._finished.set()
        with self._lock:
            stream = self._stream
            self._changed.notify_all()
        if stream is not None:
            # The reading thread gets a moment to see the peer's own end.
            time.sleep(0 if self._error else 0.2)
            stream.interrupt()

    def _ping(self) -> None:
        # A sender at work is itself the sign of life; waiting for it here would only delay the watch.
        if not self._sending.acquire(blocking=False):
            return
        try:
            stream = self._stream
            if stream is not None:
                stream.send(Kind.PING)
                self._last_sent = time.monotonic()
        except DroppedError:
            if stream is not None:
                self._lose(stream)
        finally:
            self._sending.release()

    def _watch(self, now: float) -> None:
        quiet = now - self._heard
        if quiet <= self._silence:
            return
        stream = self._stream
        if self._grace is not None and quiet <= self._grace:
            if stream is not None:
                self._lose(stream)
            return
        seconds = self._silence if self._grace is None else self._grace
        self._fail(
            self._refused
            or AtollError(
                "E_PEER_SILENT", f"{self._peer} has been silent for {seconds:g} s.", party=self._peer
            ),
            tell=True,
        )

    @property
    def _over(self) -> bool:
        """True once nothing is left to tell: the peer ended the session, or has confirmed that it knows."""
        return self._error is not None and (self._farewell is None or self._bye_heard)

    def _tell(self) -> None:
        """Sends the reason of the end on the connection in use, once."""
        stream = self._stream
        if self._told is stream or self._farewell is None or stream is None:
            return
        stream.limit_sending(TELL_SECONDS)
        if not self._sending.acquire(timeout=TELL_SECONDS):
            stream.interrupt()
            return
        try:
            self._told = stream
            # No half-close: the confirmation comes back, and not every box on the way lets it pass then.
            stream.send(Kind.ABORT, payload=self._farewell)
        except (DroppedError, AtollError):
            self._lose(stream)
        finally:
            self._sending.release()

    # -- the thread that connects and reads

    def _run(self) -> None:
        wait = 0.02
        while not self._finished.is_set() and not self._over:
            stream = self._open()
            if stream is None:
                self._finished.wait(wait)
                wait = min(2 * wait, 1.0)
                continue
            wait = 0.02
            try:
                self._converse(stream)
            except DroppedError:
                pass
            except AtollError as error:
                self._fail(error, tell=True)
                self._dismiss(stream)
            finally:
                with self._lock:
                    if self._stream is stream:
                        self._stream = None
                    for lane in self._lanes.values():
                        lane.disconnected()
                stream.close()
                if self._closing and self._bye_sent and self._bye_heard:
                    self._finished.set()
        self._finished.set()
        self._wake.set()
        with self._lock:
            self._changed.notify_all()

    def _open(self) -> FrameStream | None:
        try:
            sock, name = self._connect()
        except (AtollError, OSError):
            return None
        own, now = self._tls, self._clock()
        if name is None:
            tls = Connection.server(own.certificate, own.private_key, [self._pinned], now, WORKER_LIMIT)
        else:
            tls = Connection.client(own.certificate, own.private_key, [self._pinned], name, now, WORKER_LIMIT)
        stream = FrameStream(sock, tls)
        stream.limit_sending(self._silence)
        try:
            stream.handshake(min(HANDSHAKE_SECONDS, self._silence))
        except DroppedError:
            stream.close()
            return None
        except AtollError as error:
            stream.finish()
            if name is not None:
                self._fail(error, tell=True)
            # Whoever knows the route may try a wrong key: that must not end the job of those who have the
            # right one.
            self._refused = error
            return None
        return stream

    def _dismiss(self, stream: FrameStream) -> None:
        """Tells the peer why and waits a moment for its confirmation."""
        deadline = time.monotonic() + TELL_SECONDS
        with contextlib.suppress(DroppedError, AtollError):
            if self._told is not stream and self._farewell is not None:
                stream.limit_sending(TELL_SECONDS)
                with self._sending:
                    self._told = stream
                    stream.send(Kind.ABORT, payload=self._farewell)
            while not self._bye_heard:
                kinds = {frame.kind for frame in stream.receive(deadline)}
                self._bye_heard = bool(kinds & {Kind.BYE, Kind.ABORT})

    def _converse(self, stream: FrameStream) -> None:
        if self._error is not None:
            self._dismiss(stream)
            return
        with self._lock:
            standings = {name: lane.standing() for name, lane in self._lanes.items()}
        stream.send(Kind.RESUME, payload=write_resume(self._scope, standings))
        first = stream.receive_one(time.monotonic() + self._silence)
        if first.kind == Kind.ABORT:
            self._take(stream, first)
            return
        if first.kind != Kind.RESUME:
            raise AtollError("E_WIRE", "the peer did not begin with its standing", party=self._peer)
        theirs = read_resume(self._scope, first.payload)
        with self._sending, self._lock:
            for name in theirs:
                self._lane(name)
            for name, lane in self._lanes.items():
                lane.resume(theirs.get(name))
            self._stream = stream
            self._bye_sent = False
            self._refused = None
            self._heard = self._last_sent = time.monotonic()
            self._changed.notify_all()
        self._wake.set()
        while True:
            frames = stream.receive()
            self._heard = time.monotonic()
            for frame in frames:
                self._take(stream, frame)

    def _take(self, stream: FrameStream, frame: Frame) -> None:
        if frame.kind == Kind.DATA:
            with self._lock:
                if self._error is not None:
                    return
                lane = self._lane(check_name(frame.name))
            message = lane.take(frame)
            if message is not None:
                with self._lock:
                    lane.deliver(message)
                    self._changed.notify_all()
        elif frame.kind == Kind.CREDIT:
            consumed, stored = read_credit(frame.payload)
            with self._lock:
                self._lane(check_name(frame.name)).credit(consumed, stored)
                self._changed.notify_all()
            self._wake.set()
        elif frame.kind == Kind.BYE:
            with self._lock:
                self._bye_heard = True
                self._changed.notify_all()
        elif frame.kind == Kind.ABORT:
            self._fail(read_abort(self._scope, frame.payload), tell=False)
            self._bye_heard = True
            if self._farewell is None:
                # Without this the peer cannot tell a reason that arrived from one that was lost with the connection.
                with contextlib.suppress(DroppedError, AtollError):
                    stream.send(Kind.BYE)
            stream.finish()
            raise DroppedError("the peer ended the job")
        elif frame.kind != Kind.PING:
            raise AtollError("E_WIRE", "a frame that has no place in a session", party=self._peer)
