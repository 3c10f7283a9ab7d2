"""Rounds: what steps of several operations send goes out together, and what answers them comes in together.

An operation is a generator. It yields what it sends to each party and how much it expects of each, gets what came, and
returns its result. Operations that do not need each other's results run side by side and share their rounds.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

from atoll.errors import AtollError
from atoll.protocols.driver import Channel, Machine, drive

U64: TypeAlias = npt.NDArray[np.uint64]
T = TypeVar("T")

STEP: Final = "shared-arrays"
PIECE_WORDS: Final = 1 << 20
"""Words of a message at most."""
_AT_ONCE: Final = 1 << 15
_WORD: Final = 8


@dataclass(frozen=True)
class Exchange:
    """One round of one operation.

    Attributes:
        send: words for each party that gets some.
        expect: number of words that each party sends.
    """

    send: Mapping[int, U64] = field(default_factory=dict)
    expect: Mapping[int, int] = field(default_factory=dict)


Step: TypeAlias = Generator[Exchange, Mapping[int, U64], T]


def _merge(exchanges: Sequence[Exchange]) -> Exchange:
    send: dict[int, list[U64]] = {}
    expect: dict[int, int] = {}
    for exchange in exchanges:
        for party, words in exchange.send.items():
            send.setdefault(party, []).append(words.reshape(-1))
        for party, count in exchange.expect.items():
            expect[party] = expect.get(party, 0) + count
    joined = {p: w[0] if len(w) == 1 else np.concatenate(w) for p, w in send.items()}
    return Exchange(joined, expect)


class Side:
    """Operations that run side by side; more may start at any round."""

    def __init__(self) -> None:
        self._running: list[tuple[Step[Any], Exchange, Callable[[Any], None]]] = []

    def start(self, step: Step[T], done: Callable[[T], None]) -> None:
        """Runs a step up to its first round; `done` gets its result, at once if it has no round."""
        self._turn(step, None, done)

    def _turn(self, step: Step[Any], got: Mapping[int, U64] | None, done: Callable[[Any], None]) -> None:
        try:
            exchange = next(step) if got is None else step.send(got)
        except StopIteration as end:
            done(end.value)
        else:
            self._running.append((step, exchange, done))

    def __bool__(self) -> bool:
        return bool(self._running)

    def round(self) -> Step[None]:
        """One round of everything that runs."""
        running, self._running = self._running, []
        got = yield _merge([exchange for _, exchange, _ in running])
        at = dict.fromkeys(got, 0)
        for step, exchange, done in running:
            mine = {}
            for party, count in exchange.expect.items():
                mine[party] = got[party][at[party] : at[party] + count]
                at[party] += count
            self._turn(step, mine, done)


def together(*steps: Step[Any]) -> Step[list[Any]]:
    """Runs steps side by side; their results in order."""
    side, results = Side(), [None] * len(steps)

    def put(place: int) -> Callable[[Any], None]:
        return lambda result: results.__setitem__(place, result)

    for place, step in enumerate(steps):
        side.start(step, put(place))
    while side:
        yield from side.round()
    return results


class Links:
    """The channels to the other parties, and what went over them.

    Args:
        me: this party's number.
        channels: a channel to each other party, by its number. Each carries nothing else meanwhile; one thread sends
            on it while another receives, but for the one to `peer`.
        names: what errors call the parties; default "party 0" and so on.
        peer: of two that compute, the number of the other.
    """

    def __init__(
        self,
        me: int,
        channels: Mapping[int, Channel],
        names: Sequence[str] | None = None,
        peer: int | None = None,
    ) -> None:
        self.me = me
        self._names = names
        self._peer = peer
        self._channels = {p: _Named(c, self.name(p)) for p, c in sorted(channels.items())}
        self.rounds = 0
        self.sent = 0
        """Bytes sent so far."""

    def name(self, party: int) -> str:
        """What a party is called in errors."""
        return self._names[party] if self._names else f"party {party}"

    def exchange(self, exchange: Exchange) -> dict[int, U64]:
        """One round: sends and receives.

        Raises:
            AtollError: `E_PROTOCOL` for a message of another length than the step's; whatever the channels raise.
        """
        step = f"{STEP}/{self.rounds}"
        self.rounds += 1
        sends = {p: w for p, w in exchange.send.items() if w.size}
        self.sent += sum(words.nbytes for words in sends.values())
        apart = {p: w for p, w in sends.items() if p != self._peer}
        # A message that does not fit a peer's window waits until the peer reads; nobody may wait in a circle.
        small = sum(words.size for words in apart.values()) <= _AT_ONCE
        workers = [] if small else [self._sender(p, w, step) for p, w in apart.items()]
        if small:
            for party, words in apart.items():
                self._send(party, words, step)
        got = {}
        if self._peer is not None and (self._peer in sends or self._peer in exchange.expect):
            got[self._peer] = self._swap(sends.get(self._peer), exchange.expect.get(self._peer, 0), step)
        for party, count in sorted(exchange.expect.items()):
            if party != self._peer:
                got[party] = self._receive(party, count, step)
        for worker in workers:
            worker.finish()
        return {party: got[party] for party in exchange.expect}

    def _swap(self, words: U64 | None, expected: int, step: str) -> U64:
        """A round with the only other party that computes: what can be sent is sent, what is there is taken."""
        assert self._peer is not None
        channel = self._channels[self._peer]
        out = deque() if words is None else deque(_pieces(words))
        sizes, pieces = deque(_sizes(expected)), []
        while out or sizes:
            if out and channel.writable():
                channel.send(_as_bytes(out.popleft()), step)
            elif sizes and channel.readable():
                pieces.append(self._checked(channel.recv(), self._peer, sizes.popleft(), step))
            else:
                channel.wait(read=bool(sizes), write=bool(out))
        return _joined(pieces)

    def drive(self, machine: Machine) -> None:
        """Runs a machine of the two parties that compute on their channel, between two rounds."""
        assert self._peer is not None
        try:
            drive(machine, _Counted(self._channels[self._peer], self), before_open=_nothing_opens)
        except AtollError as error:
            if error.fault == "peer" and error.party is None:
                raise _blamed(error, self.name(self._peer)) from error
            raise

    def _sender(self, party: int, words: U64, step: str) -> _Worker:
        return _Worker(lambda: self._send(party, words, step))

    def _send(self, party: int, words: U64, step: str) -> None:
        for piece in _pieces(words):
            self._channels[party].send(_as_bytes(piece), step)

    def _receive(self, party: int, count: int, step: str) -> U64:
        channel = self._channels[party]
        return _joined([self._checked(channel.recv(), party, n, step) for n in _sizes(count)])

    def _checked(self, message: bytes, party: int, words: int, step: str) -> U64:
        if len(message) != _WORD * words:
            raise AtollError(
                "E_PROTOCOL",
                f"{self.name(party)} sent {len(message)} bytes where {_WORD * words} belong.",
                party=self.name(party),
                step=step,
            )
        return np.frombuffer(message, np.uint64)

    def run(self, step: Step[T]) -> T:
        """Runs a step to its end."""
        try:
            exchange = next(step)
            while True:
                exchange = step.send(self.exchange(exchange))
        except StopIteration as end:
            value: T = end.value
            return value


def _pieces(words: U64) -> list[U64]:
    flat = np.ascontiguousarray(words).reshape(-1)
    return [flat[start : start + PIECE_WORDS] for start in range(0, flat.size, PIECE_WORDS)]


def _as_bytes(words: U64) -> bytes:
    """The words where they are: nobody writes to them any more, and a channel copies what it keeps."""
    return cast(bytes, words.data.cast("B"))


def _sizes(count: int) -> list[int]:
    return [min(PIECE_WORDS, count - start) for start in range(0, count, PIECE_WORDS)]


def _joined(pieces: Sequence[U64]) -> U64:
    if not pieces:
        return np.empty(0, np.uint64)
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _nothing_opens() -> None:
    raise AssertionError("what is made ahead of need opens nothing")


def _blamed(error: AtollError, party: str) -> AtollError:
    """The same error, naming the party whose fault it is."""
    return AtollError(
        error.code, f"{party}: {error.text}", party=party, step=error.step or STEP, detail=error.detail
    )


class _Named:
    """A channel whose errors say which party it leads to: `E_PEER_SILENT` where it broke."""

    def __init__(self, channel: Channel, party: str) -> None:
        self._channel, self._party = channel, party

    def _do(self, act: Callable[..., T], *arguments: Any) -> T:
        try:
            return act(*arguments)
        except AtollError as error:
            if error.fault != "peer" or error.party is not None:
                raise
            raise _blamed(error, self._party) from error
        except OSError as error:
            silent = AtollError("E_PEER_SILENT", f"The channel broke: {error or type(error).__name__}.")
            raise _blamed(silent, self._party) from error

    def send(self, payload: bytes, step: str) -> None:
        self._do(self._channel.send, payload, step)

    def recv(self) -> bytes:
        return self._do(self._channel.recv)

    def readable(self) -> bool:
        return self._do(self._channel.readable)

    def writable(self) -> bool:
        return self._do(self._channel.writable)

    def wait(self, read: bool, write: bool) -> None:
        self._do(self._channel.wait, read, write)


class _Counted:
    """A channel whose bytes are counted with those of the rounds."""

    def __init__(self, channel: Channel, links: Links) -> None:
        self._channel, self._links = channel, links
        self.recv, self.readable = channel.recv, channel.readable
        self.writable, self.wait = channel.writable, channel.wait

    def send(self, payload: bytes, step: str) -> None:
        """Sends and counts one message."""
        self._links.sent += len(payload)
        self._channel.send(payload, step)


class _Worker:
    """A thread whose error is raised where its end is awaited."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error

    def finish(self) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error


def nothing(value: T) -> Step[T]:
    """A step without a round."""
    return value
    yield Exchange()


def rows(words: U64, sizes: Iterable[int]) -> list[U64]:
    """Cuts words into parts of these sizes."""
    parts, at = [], 0
    for size in sizes:
        parts.append(words[at : at + size])
        at += size
    return parts
