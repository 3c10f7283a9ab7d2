"""The state of one channel, without a thread or a socket: order, flow control, what to send again.

The session calls it: `take` and `resume` from its reading thread, `push` and `pop` from the caller's, the
rest under its lock. Flow control counts per connection: at each start the receiver says what it still
holds, then what it consumes; the sender keeps at most `WINDOW` outstanding, one message over where that
message alone is larger.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from atoll.crypto.wire import Frame
from atoll.errors import AtollError
from atoll.net import transcript
from atoll.net.journal import Journal

WINDOW = 8 << 20
MAX_MESSAGE = 64 << 20
PIECE = 256 << 10
# What a message costs beside its payload, so that empty messages are bounded too.
OVERHEAD = 64
MOST_HELD = WINDOW + MAX_MESSAGE + OVERHEAD
_REMEMBERED = 1024
_CREDIT_BYTES = WINDOW // 4
_CREDIT_MESSAGES = 512


@dataclass(frozen=True)
class Piece:
    """A part of a message, `payload[start:end]`, ready to go out."""

    sequence: int
    piece: int
    last: bool
    step: str
    payload: bytes
    start: int
    end: int


@dataclass(frozen=True)
class Message:
    """A whole message with the chain after it."""

    sequence: int
    step: str
    payload: bytes
    chain: bytes


@dataclass
class Totals:
    """How far one direction has come: messages, payload bytes, chain."""

    count: int
    size: int
    chain: bytes

    def add(self, size: int, chain: bytes) -> None:
        """One more message."""
        self.count += 1
        self.size += size
        self.chain = chain


@dataclass
class _Kept:
    step: str
    size: int
    before: bytes
    payload: bytes | None


class Lane:
    """One channel. `sent` counts what the caller sent, `consumed` what it took, `arrived` what came whole."""

    def __init__(self, name: str, mine: bytes, theirs: bytes, journal: Journal | None) -> None:
        self.name = name
        self.sent = Totals(0, 0, mine)
        self.arrived = Totals(0, 0, theirs)
        self.consumed = Totals(0, 0, theirs)
        self._start_mine, self._start_theirs = mine, theirs
        self._inbox: deque[Message] = deque()
        self._journal = journal
        # Messages first .. first + len(kept) are kept until the peer has stored them; tail is the chain
        # after all.
        self._kept: deque[_Kept] = deque()
        self._first = 0
        self._tail = mine
        self._cursor = 0
        self._offset = 0
        self._outstanding = 0
        self._credited = 0
        self._held = 0
        self._consumed_here = 0
        self._consumed_messages = 0
        self._announced = (0, 0, 0)
        self._storable = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._assembling: int | None = None
        self._broken = b""
        self._history: deque[tuple[int, bytes]] = deque(maxlen=_REMEMBERED)
        if journal is not None:
            journal.open(name)

    def _rewind(self, what: str) -> AtollError:
        return AtollError("E_REWIND", f"channel {self.name}: {what}.", step=self.name)

    def _wrong(self, what: str) -> AtollError:
        return AtollError("E_WIRE", f"channel {self.name}: {what}.", step=self.name)

    def restore(self, position: dict[str, int]) -> None:
        """Goes on from a checkpoint of a journalled session; `E_REWIND` if the journal does not reach it."""
        if self._journal is None:
            raise AtollError("E_STATE", "a position needs a journal")
        for totals, kind in ((self.consumed, "received"), (self.sent, "sent")):
            count = position[kind]
            chain = totals.chain if count == 0 else self._journal.chain(self.name, kind, count - 1)
            if chain is None:
                raise self._rewind(f"the journal does not hold the {count} {kind} messages of the checkpoint")
            totals.count, totals.size, totals.chain = count, position[f"{kind}_bytes"], chain
        self.arrived = Totals(self.consumed.count, self.consumed.size, self.consumed.chain)
        self._storable = self.consumed.count
        total = self._journal.count(self.name, "sent")
        self._first = self._cursor = self._journal.first_kept(self.name)
        before = self._journal.chain(self.name, "sent", self._first - 1) or self._start_mine
        for sequence in range(self._first, total):
            step, payload = self._journal.load_sent(self.name, sequence)
            self._kept.append(_Kept(step, len(payload), before, None))
            before = transcript.extend(before, sequence, step, payload)
            if before != self._journal.chain(self.name, "sent", sequence):
                raise self._rewind(f"the kept message {sequence} is not the one that was sent")
        self._tail = before

    # -- sending

    @property
    def _next(self) -> int:
        return self._first + len(self._kept)

    @property
    def _open(self) -> bool:
        return self._outstanding - self._credited < WINDOW

    @property
    def writable(self) -> bool:
        """True while `push` need not wait."""
        return self._open and self._cursor >= self._next

    @property
    def sendable(self) -> bool:
        """True while a piece may go out."""
        return self._cursor < self._next and (self._offset > 0 or self._open)

    @property
    def flushed(self) -> bool:
        """True once everything has gone out."""
        return self._cursor >= self._next

    def chain_after(self, step: str, payload: bytes) -> bytes:
        """The chain after the next message of the caller; no state changes."""
        return transcript.extend(self.sent.chain, self.sent.count, step, payload)

    def keep(self, step: str, payload: bytes, chain: bytes) -> bool:
        """Journals the next message. False if it was sent before this process began; `E_REWIND` if it
        differs."""
        if self.sent.count < self._next:
            if self._journal is None or self._journal.chain(self.name, "sent", self.sent.count) != chain:
                raise self._rewind(f"message {self.sent.count} was sent before with other bytes")
            return False
        if self._journal is not None:
            self._journal.store_sent(self.name, self.sent.count, step, payload, chain)
        return True

    def push(self, step: str, payload: bytes, chain: bytes, new: bool) -> None:
        """Counts the next message, and queues it if it is `new`."""
        if new:
            self._kept.append(_Kept(step, len(payload), self._tail, payload))
            self._tail = chain
        self.sent.add(len(payload), chain)

    def next_piece(self) -> Piece:
        """The next part to go out; only while `sendable`."""
        kept = self._kept[self._cursor - self._first]
        if kept.payload is None:
            kept.payload = self._journal.load_sent(self.name, self._cursor)[1] if self._journal else b""
        if self._offset == 0:
            self._outstanding += kept.size + OVERHEAD
        start, end = self._offset, min(self._offset + PIECE, kept.size)
        last = end == kept.size
        out = Piece(self._cursor, start // PIECE, last, kept.step, kept.payload, start, end)
        if last:
            self._cursor, self._offset = self._cursor + 1, 0
            if self._journal is not None:
                kept.payload = None
        else:
            self._offset = end
        return out

    def credit(self, consumed: int, stored: int) -> None:
        """What the peer consumed on this connection and has stored in all; `E_WIRE` if that cannot be."""
        if not self._credited <= consumed <= self._outstanding or not 0 <= stored <= self._cursor:
            raise self._wrong("the peer credits what was not sent")
        self._credited = consumed
        self._drop(stored)

    def _drop(self, stored: int) -> None:
        while self._first < stored and self._kept:
            self._kept.popleft()
            if self._journal is not None:
                self._journal.drop_sent(self.name, self._first)
            self._first += 1

    # -- receiving

    def _known(self, sequence: int) -> bytes | None:
        if sequence < 0:
            return self._start_theirs
        if self._journal is not None:
            return self._journal.chain(self.name, "received", sequence)
        return next((chain for number, chain in self._history if number == sequence), None)

    def take(self, frame: Frame) -> Message | None:
        """Takes a piece; gives the message that it completes.

        Raises:
            AtollError: `E_WIRE` out of order or over the window, `E_TOO_LARGE` over `MAX_MESSAGE`,
            `E_REWIND` for
                a message that came before with other bytes.
        """
        if self._assembling is None:
            if frame.piece != 0 or frame.sequence > self.arrived.count:
                raise self._wrong("a message is missing")
            self._assembling = frame.sequence
        elif (frame.sequence, frame.piece) != (self._assembling, len(self._parts)):
            raise self._wrong("a piece is missing")
        if not frame.payload and not (frame.last and frame.piece == 0):
            raise self._wrong("a piece is empty")
        self._size += len(frame.payload)
        if self._size > MAX_MESSAGE:
            raise AtollError(
                "E_TOO_LARGE", f"a message is over the limit of {MAX_MESSAGE} bytes", step=self.name
            )
        if self._held + self._size > MOST_HELD:
            raise self._wrong("the peer sends more than its credit")
        self._parts.append(frame.payload)
        if not frame.last:
            return None
        payload = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts, self._size, self._assembling = [], 0, None
        return self._complete(frame.sequence, frame.step, payload)

    def _complete(self, sequence: int, step: str, payload: bytes) -> Message | None:
        if sequence < self.arrived.count:
            before, after = self._known(sequence - 1), self._known(sequence)
            if before is None or transcript.extend(before, sequence, step, payload) != after:
                raise self._rewind(f"message {sequence} came again with other bytes")
            return None
        if not payload.startswith(self._broken):
            raise self._rewind(f"message {sequence} came again with other bytes")
        self._broken = b""
        chain = transcript.extend(self.arrived.chain, sequence, step, payload)
        if self._journal is not None:
            known = self._known(sequence)
            if known is None:
                self._journal.record_received(self.name, chain)
            elif known != chain:
                raise self._rewind(f"message {sequence} came again with other bytes")
        else:
            self._history.append((sequence, chain))
        self.arrived.add(len(payload), chain)
        return Message(sequence, step, payload, chain)

    def deliver(self, message: Message) -> None:
        """Puts a whole message where the caller finds it."""
        self._held += len(message.payload) + OVERHEAD
        self._inbox.append(message)

    @property
    def readable(self) -> bool:
        """True while a message waits."""
        return bool(self._inbox)

    def pop(self) -> Message:
        """Hands over the next message."""
        message = self._inbox.popleft()
        cost = len(message.payload) + OVERHEAD
        self._held -= cost
        self._consumed_here += cost
        self._consumed_messages += 1
        self.consumed.add(len(message.payload), message.chain)
        if self._journal is None:
            self._storable = self.consumed.count
        return message

    def stored(self, count: int) -> None:
        """The caller can do without the first `count` messages: they need not come again."""
        if not self._storable <= count <= self.consumed.count:
            raise AtollError(
                "E_STATE", f"channel {self.name}: a checkpoint at {count} is not between the last and now"
            )
        self._storable = count

    def credit_due(self, at_rest: bool) -> bool:
        """True when the peer should hear what was consumed; `at_rest` asks for any news at all."""
        consumed, messages, stored = self._announced
        if at_rest:
            return (consumed, stored) != (self._consumed_here, self._storable)
        return (
            self._consumed_here - consumed >= _CREDIT_BYTES
            or self._consumed_messages - messages >= _CREDIT_MESSAGES
        )

    def announce(self) -> tuple[int, int]:
        """Consumed cost on this connection and stored messages, for the peer's `credit`."""
        self._announced = (self._consumed_here, self._consumed_messages, self._storable)
        return self._consumed_here, self._storable

    # -- connections

    def disconnected(self) -> None:
        """Keeps the beginning of an unfinished message, to compare it with what comes again."""
        if self._assembling == self.arrived.count:
            begun = b"".join(self._parts)
            if len(begun) > len(self._broken):
                self._broken = begun
        self._parts, self._size, self._assembling = [], 0, None

    def standing(self) -> list[Any]:
        """Where this side stands, for the peer's `resume`."""
        self._consumed_here = 0
        self._announced = (0, self._consumed_messages, self._storable)
        return [self.arrived.count, self.arrived.chain, self._held, self._storable, self._next]

    def resume(self, standing: Any) -> None:
        """Continues where the peer stands; None for a channel that the peer does not know.

        Raises:
            AtollError: `E_REWIND` where the two sides do not remember the same; `E_WIRE` for a malformed
            standing.
        """
        arrived, chain, held, stored, total = standing or [0, self._start_mine, 0, 0, 0]
        if total < self.arrived.count:
            raise self._rewind(f"the peer has sent {total} messages, but {self.arrived.count} had come")
        if not self._first <= arrived <= self._next:
            raise self._rewind(
                f"the peer stands at message {arrived}, this side keeps {self._first} to {self._next}"
            )
        mine = self._tail if arrived == self._next else self._kept[arrived - self._first].before
        if chain != mine:
            raise self._rewind(f"the peer received other bytes in the first {arrived} messages")
        if stored > arrived or held > MOST_HELD:
            raise self._wrong("the peer's standing cannot be")
        self._cursor, self._offset = arrived, 0
        self._outstanding, self._credited = held, 0
        self._drop(stored)


def read_standing(value: Any) -> list[Any]:
    """Checks the form of a standing; `E_WIRE` otherwise."""
    if (
        isinstance(value, list)
        and len(value) == 5
        and isinstance(value[1], bytes)
        and len(value[1]) == transcript.SIZE
        and all(type(value[i]) is int and 0 <= value[i] < 1 << 62 for i in (0, 2, 3, 4))
    ):
        return value
    raise AtollError("E_WIRE", "the peer's standing is malformed")
