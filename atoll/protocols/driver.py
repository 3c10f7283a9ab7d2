"""What moves messages between a two-party machine and a channel."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from atoll.errors import AtollError


class Channel(Protocol):
    """An ordered, reliable, authenticated channel to one peer. Every method may raise the channel's error."""

    def send(self, payload: bytes, step: str) -> None:
        """Sends one message; may block while `writable` is false."""

    def recv(self) -> bytes:
        """The next message; blocks until there is one."""

    def readable(self) -> bool:
        """True when `recv` would not block."""

    def writable(self) -> bool:
        """True when `send` would not block."""

    def wait(self, read: bool, write: bool) -> None:
        """Blocks until `readable` (if `read`) or `writable` (if `write`), or the channel has failed."""


class Machine(Protocol):
    """One party's side of a two-party protocol, without I/O."""

    def next_message(self) -> tuple[bytes, str, bool] | None:
        """`(bytes, step, opens)` of the next message, `None` while the peer's must come first."""

    def receive(self, message: bytes) -> None:
        """Takes the peer's next message."""

    @property
    def done(self) -> bool:
        """True when nothing is left to send or to receive."""

    def progress(self) -> tuple[int, int]:
        """Units of work done and to do."""


class Renamed:
    """A machine whose steps stand under another name, as where several runs of a protocol are parts of one.

    Args:
        machine: the machine.
        old: how its steps begin.
        new: how they shall begin.
    """

    def __init__(self, machine: Machine, old: str, new: str) -> None:
        self._machine, self._old, self._new = machine, old, new

    def next_message(self) -> tuple[bytes, str, bool] | None:
        """The machine's next message under its new name."""
        message = self._machine.next_message()
        if message is None:
            return None
        payload, step, opens = message
        return payload, f"{self._new}/{step.removeprefix(f'{self._old}/')}", opens

    def receive(self, message: bytes) -> None:
        """Hands the peer's message on."""
        self._machine.receive(message)

    @property
    def done(self) -> bool:
        """Whether the machine is done."""
        return self._machine.done

    def progress(self) -> tuple[int, int]:
        """The machine's progress."""
        return self._machine.progress()


class Several:
    """Machines side by side on one channel, so that one side works at one while the other works at the next.

    Each message begins with the number of its machine, from 0.

    Args:
        machines: at most 256, the same in the same order on both sides.
    """

    def __init__(self, machines: Sequence[Machine]) -> None:
        self._machines, self._next = machines, 0

    def next_message(self) -> tuple[bytes, str, bool] | None:
        """The next message of a machine that has one, in turns."""
        for offset in range(len(self._machines)):
            number = (self._next + offset) % len(self._machines)
            message = self._machines[number].next_message()
            if message is not None:
                self._next = number + 1
                payload, step, opens = message
                return bytes([number]) + payload, step, opens
        return None

    def receive(self, message: bytes) -> None:
        """Hands a message to its machine; `E_PROTOCOL` if there is none of that number."""
        if not message or message[0] >= len(self._machines):
            raise AtollError("E_PROTOCOL", "A message names no run that there is.")
        self._machines[message[0]].receive(message[1:])

    @property
    def done(self) -> bool:
        """Whether all are done."""
        return all(machine.done for machine in self._machines)

    def progress(self) -> tuple[int, int]:
        """Progress of all."""
        done, total = zip(*(machine.progress() for machine in self._machines), strict=True)
        return sum(done), sum(total)


def drive(
    machine: Machine,
    channel: Channel,
    *,
    before_open: Callable[[], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
    between: Callable[[], None] = lambda: None,
) -> None:
    """Runs `machine` over `channel` to its end.

    What can be sent is sent before a message is taken: after a restart the peer's answers to messages that are not
    sent again yet wait already, and must not come before them. Nothing is sent into a full channel, so two sides that
    both send much never wait for each other. After the last message of the protocol the channel is left alone:
    what follows on it belongs to the next step.

    Args:
        before_open: called once, before the first message that lets the peer open a result; what it raises
            ends the run with nothing opened. Not called if this side opens nothing to the peer.
        progress: called with (done, total) after every message.
        between: called after every message, when no message is computed and not yet sent: the one moment at
            which machine and channel agree, so that a checkpoint of both can be taken.
    """
    opened = False
    message: tuple[bytes, str, bool] | None = None
    while not machine.done or message is not None:
        message = message or machine.next_message()
        if message is not None and channel.writable():
            payload, step, opens = message
            if opens and not opened:
                before_open()
                opened = True
            channel.send(payload, step)
            message = None
        elif not machine.done and channel.readable():
            machine.receive(channel.recv())
        else:
            channel.wait(read=not machine.done, write=message is not None)
            continue
        progress(*machine.progress())
        if message is None:
            between()


def converse(
    machine: Machine,
    channel: Channel,
    backlog: deque[bytes],
    *,
    before_open: Callable[[], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Runs a machine of which every message has its place: it takes one only when it has none to send.

    So it does not matter how early a message arrives, as all of them do when a journal is played again. While
    nothing can be sent, messages are taken from the channel and laid aside, so that two sides that both send never
    wait for each other.

    Args:
        backlog: messages that were laid aside; handed to the run's next machine.
        before_open: called once, as in `drive`.
        progress: called with (done, total) after every message.
    """
    opened = False
    while True:
        message = machine.next_message()
        if message is None:
            if machine.done:
                return
            machine.receive(backlog.popleft() if backlog else channel.recv())
        else:
            payload, step, opens = message
            if opens and not opened:
                before_open()
                opened = True
            while not channel.writable():
                channel.wait(read=True, write=True)
                if not channel.writable() and channel.readable():
                    backlog.append(channel.recv())
            channel.send(payload, step)
        progress(*machine.progress())
