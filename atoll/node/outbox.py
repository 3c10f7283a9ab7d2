"""Messages that must reach a partner: stored with the change that caused them, sent again until answered.

Handlers at the other side are idempotent, so a message that arrives twice does what it does once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import cbor2
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from atoll.errors import AtollError
from atoll.node.clock import Clock, stamp
from atoll.node.logs import logger
from atoll.node.state.models import Outbox as Message
from atoll.node.state.store import Store

_LONGEST_PAUSE = 60.0
# What another try cannot cure: the partner understood the message and refused it for good.
_RETRY = {"E_UNREACHABLE", "E_PEER_SILENT", "E_INTERNAL", "E_PEER_ABORT", "E_TIME", "E_RECOVERY"}


class Outbox:
    """Delivers stored messages, in order for each partner."""

    def __init__(self, store: Store, clock: Clock, request: Callable[[str, str, Any], Any]) -> None:
        self._store = store
        self._clock = clock
        self._request = request
        self._wake = threading.Event()
        self._stopping = False
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self._log = logger("outbox")
        self._answers: dict[str, Callable[[str, Any], None]] = {}
        self._refusals: dict[str, Callable[[str, Any, AtollError], None]] = {}
        self._thread = threading.Thread(target=self._loop, name="outbox", daemon=True)

    def on_answer(self, verb: str, taken: Callable[[str, Any], None]) -> None:
        """Calls `taken(peer, answer)` when a message of that verb was answered."""
        self._answers[verb] = taken

    def on_refusal(self, verb: str, taken: Callable[[str, Any, AtollError], None]) -> None:
        """Calls `taken(peer, body, error)` when a partner refused a message of that verb for good."""
        self._refusals[verb] = taken

    def put(self, session: Session, peer: str, verb: str, body: Any) -> None:
        """Queues a message in the caller's transaction. Call `wake` after it committed."""
        now = stamp(self._clock())
        session.add(
            Message(peer=peer, verb=verb, body=cbor2.dumps(body, canonical=True), created=now, next=now)
        )

    def wake(self) -> None:
        """Looks at the queue now."""
        self._wake.set()

    def waiting(self) -> int:
        """How many messages are not answered yet."""
        with self._store.read() as session:
            return session.scalar(select(func.count()).select_from(Message)) or 0

    def flush(self, timeout: float) -> None:
        """Waits a moment for what can be delivered at once."""
        end = time.monotonic() + timeout
        while time.monotonic() < end and self._due():
            self._wake.set()
            time.sleep(0.02)

    def _due(self) -> bool:
        with self._store.read() as session:
            due = select(Message.id).where(Message.next <= stamp(self._clock())).limit(1)
            return session.scalars(due).first() is not None

    def start(self) -> None:
        """Starts delivery."""
        self._thread.start()

    def stop(self) -> None:
        """Stops delivery; what is queued stays queued."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout=5)

    def reconnected(self, peer: str) -> None:
        """A partner is reachable again: what waits for it is due now."""
        with self._store.write() as session:
            for message in session.scalars(select(Message).where(Message.peer == peer)):
                message.next = stamp(self._clock())
        self.wake()

    def drop(self, session: Session, peer: str) -> None:
        """Forgets what waits for a partner that was un-paired."""
        session.execute(delete(Message).where(Message.peer == peer))

    def _loop(self) -> None:
        while not self._stopping:
            self._wake.wait(timeout=1.0)
            self._wake.clear()
            if self._stopping:
                return
            try:
                self._deliver_due()
            except Exception:
                self._log.exception("delivery failed")

    def _deliver_due(self) -> None:
        now = stamp(self._clock())
        with self._store.read() as session:
            first = select(func.min(Message.id)).group_by(Message.peer)
            due = session.scalars(select(Message).where(Message.id.in_(first), Message.next <= now)).all()
        for message in due:
            with self._lock:
                if message.peer in self._busy:
                    continue
                self._busy.add(message.peer)
            threading.Thread(target=self._deliver_to, args=(message.peer,), daemon=True).start()

    def _deliver_to(self, peer: str) -> None:
        """Sends what waits for one partner, oldest first, until the queue is empty or a message must wait."""
        try:
            while not self._stopping:
                with self._store.read() as session:
                    message = session.scalars(
                        select(Message).where(Message.peer == peer).order_by(Message.id).limit(1)
                    ).first()
                if message is None or message.next > stamp(self._clock()) or not self._deliver(message):
                    return
        finally:
            with self._lock:
                self._busy.discard(peer)
        if not self._stopping and self._due():
            self._wake.set()

    def _deliver(self, message: Message) -> bool:
        """True when the message is done with, delivered or refused for good."""
        body = cbor2.loads(message.body)
        try:
            answer = self._request(message.peer, message.verb, body)
        except AtollError as error:
            if error.code in _RETRY:
                pause = min(_LONGEST_PAUSE, 0.5 * 2 ** min(message.attempts, 10))
                with self._store.write() as session:
                    row = session.get(Message, message.id)
                    if row is not None:
                        row.attempts += 1
                        row.next = stamp(self._clock() + timedelta(seconds=pause))
                return False
            self._log.warning(
                "a partner refused a message", verb=message.verb, peer=message.peer[:24], code=error.code
            )
            refused = self._refusals.get(message.verb)
            if refused is not None:
                refused(message.peer, body, error)
        else:
            taken = self._answers.get(message.verb)
            if taken is not None:
                taken(message.peer, answer)
        with self._store.write() as session:
            row = session.get(Message, message.id)
            if row is not None:
                session.delete(row)
        return True
