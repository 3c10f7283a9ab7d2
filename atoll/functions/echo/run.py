"""The worker's side of the echo service: the smallest standing service, which shows that the shape works.

Calls come in blocks. Before the first call of a block is answered, the owner's node has stored the asker's
provisional receipt for the whole block and its debit. The asker closes a block once it is full or old enough; what
was called then stands in a receipt that both sign.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from atoll.crypto.stream import stream_bytes
from atoll.crypto.wire import decode_body, encode_body
from atoll.errors import AtollError
from atoll.functions.calls import SALT_BYTES, CallBook
from atoll.functions.context import Call, Channel, Context, Outcome, Shown

CALL, CLOSE, STOP, ANSWER, REFUSAL = "call", "close", "stop", "answer", "refusal"


@dataclass(frozen=True)
class _Limits:
    """Bounds of the operator, for both sides."""

    step: str
    peer: str
    maximum_bytes: int
    block_calls: int
    block_seconds: int
    consent: str
    declares_hits: bool


def _limits(context: Context) -> _Limits:
    op = next(op for op in context.plan["operators"] if op["kind"] == "echo/v1")
    p = op["parameters"]
    return _Limits(
        op["id"],
        next(key for key in op["at"] if key != context.me),
        p["maximum_bytes"],
        p["block_calls"],
        p["block_seconds"],
        p["consent"],
        p["declare_hits"],
    )


def _wrong(limits: _Limits, text: str) -> AtollError:
    return AtollError("E_PROTOCOL", text, step=limits.step, party=limits.peer)


def _read(limits: _Limits, message: bytes, kinds: dict[str, set[str]]) -> dict[str, Any]:
    """A message of one of these kinds, with exactly the fields of its kind."""
    try:
        body = decode_body(message)
    except AtollError as error:
        raise _wrong(limits, f"a message is malformed: {error.text}") from None
    kind = body.get("kind") if isinstance(body, dict) else None
    if not isinstance(kind, str) or kind not in kinds or set(body) != {"kind", *kinds[kind]}:
        raise _wrong(limits, "a message has no place here")
    return dict(body)


def _bytes(limits: _Limits, value: Any) -> bytes:
    if not isinstance(value, bytes) or len(value) > limits.maximum_bytes:
        raise _wrong(limits, f"a payload is no bytes, or over the {limits.maximum_bytes} of the plan")
    return value


# The asker.


class _Asker:
    """Makes calls and closes blocks. A block is open from its first call to its closing."""

    def __init__(self, context: Context, limits: _Limits) -> None:
        self._context, self._limits = context, limits
        self._channel: Channel = context.channel(limits.peer, limits.step)
        self._book: CallBook | None = None
        self._ends = 0.0
        self._hits = 0
        self.calls = 0

    def run(self) -> None:
        """Until the service stops."""
        while True:
            wait = None if self._book is None else max(0.0, self._ends - time.monotonic())
            try:
                call = self._context.call(wait)
            except TimeoutError:
                self._close()
                continue
            if call is None:
                break
            if self._book is not None and self._book.calls >= self._limits.block_calls:
                self._close()
            self._make(call)
        if self._book is not None:
            self._close()
        self._channel.send(encode_body({"kind": STOP}), "stop")
        _read(self._limits, self._channel.recv(), {STOP: set()})

    def _make(self, call: Call) -> None:
        limits = self._limits
        if len(call.payload) > limits.maximum_bytes:
            text = f"a call of {len(call.payload)} bytes; the plan allows {limits.maximum_bytes}"
            self._context.deny(call.number, AtollError("E_TOO_LARGE", text, fault="caller"))
            return
        shown = call.shown or Shown()
        # From the job's seed, as all randomness of a protocol is, so that a replay makes the same call.
        salt = stream_bytes(
            self._context.seed, self._context.attempt, limits.step, f"salt/{call.number}", SALT_BYTES
        )
        self._channel.send(
            encode_body(
                {
                    "kind": CALL,
                    "payload": call.payload,
                    "salt": salt,
                    "commitment": shown.commitment,
                    "authorisation": shown.envelope,
                }
            ),
            "call",
        )
        if self._book is None:
            self._book, self._hits = self._context.calls(), 0
            self._ends = time.monotonic() + limits.block_seconds
        answer = _read(limits, self._channel.recv(), {ANSWER: {"payload"}, REFUSAL: {"error"}})
        if answer["kind"] == REFUSAL:
            self._context.deny(call.number, AtollError.from_wire(answer["error"], peer=limits.peer))
            return
        payload = _bytes(limits, answer["payload"])
        self._book.add(call.payload, payload, salt, shown.recorded, shown.opening, shown.envelope)
        self._hits += payload != b""
        self.calls += 1
        self._context.reply(call.number, payload)

    def _close(self) -> None:
        assert self._book is not None  # only an open block is closed
        self._channel.send(encode_body({"kind": CLOSE}), "close")
        _read(self._limits, self._channel.recv(), {CLOSE: set()})
        self._book.close()
        self._context.close_block(self._book, self._hits if self._limits.declares_hits else None)
        self._book = None


# The owner.


def _answer(context: Context, limits: _Limits) -> int:
    channel = context.channel(limits.peer, limits.step)
    book: CallBook | None = None
    calls = 0
    fields = {CALL: {"payload", "salt", "commitment", "authorisation"}, CLOSE: set[str](), STOP: set[str]()}
    while True:
        body = _read(limits, channel.recv(), fields)
        if body["kind"] in (CLOSE, STOP):
            if (book is None) != (body["kind"] == STOP):
                raise _wrong(limits, "a block is closed before the service stops, and only then")
            channel.send(encode_body({"kind": body["kind"]}), body["kind"])
            if book is None:
                return calls
            book.close()
            context.close_block(book, None)
            book = None
            continue
        payload, salt = _bytes(limits, body["payload"]), body["salt"]
        if not isinstance(salt, bytes) or len(salt) != SALT_BYTES:
            raise _wrong(limits, f"a salt has {SALT_BYTES} bytes")
        if book is None:
            context.before_open([limits.peer])
            book = context.calls()
        if book.calls >= limits.block_calls:
            raise _wrong(limits, f"a block has at most {limits.block_calls} calls")
        try:
            shown = Shown.read(limits.consent, body["commitment"], body["authorisation"])
            context.admit(shown)
        except AtollError as error:
            channel.send(encode_body({"kind": REFUSAL, "error": error.to_wire()}), "answer")
            continue
        book.add(
            payload, payload, salt, shown.recorded if shown else None, None, shown.envelope if shown else None
        )
        calls += 1
        context.progress(calls, calls + 1, limits.step)
        channel.send(encode_body({"kind": ANSWER, "payload": payload}), "answer")


def run(context: Context) -> Outcome:
    """Serves or makes calls until the service stops; the outcome counts them."""
    limits = _limits(context)
    if context.me == context.plan["asker"]:
        asker = _Asker(context, limits)
        asker.run()
        table = pa.table({"calls": pa.array([asker.calls], pa.int64())})
        return Outcome(table, 1, {"calls": asker.calls}, {"calls": asker.calls})
    return Outcome(meters={"calls": _answer(context, limits)})
