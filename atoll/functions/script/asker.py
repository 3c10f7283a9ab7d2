"""The asker's side of a package's service: gathers calls into groups, sends them, keeps the book, closes blocks."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from atoll.crypto.stream import stream_bytes
from atoll.crypto.wire import decode_body, encode_body
from atoll.errors import AtollError
from atoll.functions.calls import SALT_BYTES, CallBook
from atoll.functions.context import Call, Channel, Context, Shown
from atoll.functions.script import messages
from atoll.functions.script.messages import ANSWERS, CALLS, CLOSE, DECIDED, REFUSED, STOP, Peer

# Single calls that wait at the same moment go out together; so many at most.
_TOGETHER = 64
_GATHER_SECONDS = 0.0005


@dataclass(frozen=True)
class _Waiting:
    """One call of the node, which may hold many of the package."""

    call: Call
    batch: bool
    items: list[dict[str, Any]]


def _payload(call: Call) -> _Waiting:
    body = decode_body(call.payload)
    return _Waiting(call, body["batch"], body["calls"])


class Asker:
    """Makes calls and closes blocks. A block is open from its first call to its closing."""

    def __init__(self, context: Context, parameters: dict[str, Any], step: str, host: str) -> None:
        self._context = context
        self._package: str = parameters["package"]
        self._block_calls: int = parameters["block_calls"]
        self._block_seconds: int = parameters["block_seconds"]
        self._peer = Peer(step, host)
        self._channel: Channel = context.channel(host, step)
        self._book: CallBook | None = None
        self._books = 0
        self._ends = 0.0
        self._sent = 0
        self._left: deque[_Waiting] = deque()
        self._stopping = False
        self.calls = 0

    def run(self) -> None:
        """Until the service stops."""
        while True:
            found = self._next()
            if found is None:
                if self._stopping:
                    break
                self._close()
                continue
            self._answer(found)
        if self._book is not None:
            self._close()
        self._channel.send(messages.say(STOP), "stop")
        messages.read(self._peer, self._channel.recv(), (STOP,))

    # What waits.

    def _take(self, wait: float | None) -> _Waiting | None:
        call = self._context.call(wait)
        if call is None:
            self._stopping = True
            return None
        return _payload(call)

    def _next(self) -> list[_Waiting] | None:
        """One batch, or the single calls that wait now; None when the block is old or the service stops."""
        if self._left:
            first = self._left.popleft()
        elif self._stopping:
            return None
        else:
            wait = None if self._book is None else max(0.0, self._ends - time.monotonic())
            try:
                taken = self._take(wait)
            except TimeoutError:
                return None
            if taken is None:
                return None
            first = taken
        found, keys = [first], {item["key"] for item in first.items}
        while not first.batch and len(found) < _TOGETHER and not self._stopping:
            try:
                more = self._take(_GATHER_SECONDS)
            except TimeoutError:
                break
            if more is None:
                break
            if more.batch or any(item["key"] in keys for item in more.items):
                self._left.append(more)
                break
            found.append(more)
            keys |= {item["key"] for item in more.items}
        return found

    # Calls.

    def _answer(self, waiting: list[_Waiting]) -> None:
        items = [item for one in waiting for item in one.items]
        answers: list[dict[str, Any]] = []
        while len(answers) < len(items):
            if self._book is not None and self._book.calls >= self._block_calls:
                self._close()
            room = self._block_calls - (self._book.calls if self._book else 0)
            part = items[len(answers) : len(answers) + min(room, messages.MAX_GROUP)]
            answers += self._group(part, waiting[0].batch)
        at = 0
        for one in waiting:
            mine = answers[at : at + len(one.items)]
            at += len(one.items)
            self._context.reply(one.call.number, encode_body({"answers": mine}))

    def _group(self, items: list[dict[str, Any]], batch: bool) -> list[dict[str, Any]]:
        shown = [Shown(**item["shown"]) if item["shown"] else Shown() for item in items]
        calls = []
        for item, word in zip(items, shown, strict=True):
            self._sent += 1
            # From the job's seed, as all randomness of a protocol is, so that a replay makes the same call.
            salt = stream_bytes(
                self._context.seed, self._context.attempt, self._peer.step, f"salt/{self._sent}", SALT_BYTES
            )
            calls.append(
                {
                    "key": item["key"],
                    "subject": item["subject"],
                    "arguments": item["arguments"],
                    "salt": salt,
                    "commitment": word.commitment,
                    "authorisation": word.envelope,
                }
            )
        self._channel.send(messages.say(CALLS, batch=batch, calls=calls), "calls")
        if self._book is None:
            self._book = self._context.calls()
            self._books += 1
            self._ends = time.monotonic() + self._block_seconds
        body = messages.read(self._peer, self._channel.recv(), (ANSWERS,))
        answers = messages.read_answers(self._peer, body, len(calls))
        return [self._keep(c, w, a) for c, w, a in zip(calls, shown, answers, strict=True)]

    def _keep(self, call: dict[str, Any], word: Shown, answer: dict[str, Any]) -> dict[str, Any]:
        assert self._book is not None  # opened before the answers came
        found = {**answer, "book": None, "call": None}
        if answer["status"] == REFUSED:
            refusal = AtollError.from_wire(answer["error"], peer=self._peer.key)
            return {**found, "error": refusal.to_problem()}
        self._check(answer)
        if answer["status"] == DECIDED:
            self._book.add(
                messages.request_bytes(self._package, call),
                messages.answer_bytes(answer),
                call["salt"],
                word.recorded,
                word.opening,
                word.envelope,
            )
            self.calls += 1
            found |= {"book": self._books, "call": self._book.calls}
        return found

    def _check(self, answer: dict[str, Any]) -> None:
        """An answer is no decision, or holds outputs; the node, which has the package, checks what they may be."""
        fits = answer["answer"] is None or (
            answer["status"] == DECIDED and isinstance(answer["answer"], dict)
        )
        if not fits:
            raise self._peer.wrong("an answer is none")

    def _close(self) -> None:
        assert self._book is not None  # only an open block is closed
        self._channel.send(messages.say(CLOSE), "close")
        messages.read(self._peer, self._channel.recv(), (CLOSE,))
        self._book.close()
        self._context.close_block(self._book, None)
        self._book = None
