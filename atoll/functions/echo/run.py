"""The worker's side of the echo service: the smallest standing service, which shows that the shape works.

The owner's node debits calls in blocks: before the first call of a block is answered, the asker's provisional
receipt for the whole block and its debit are stored; unused calls of the last block are not billed, since the
final receipt counts what was called.
"""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa

from atoll.errors import AtollError
from atoll.functions.context import Context, Outcome

CALL, STOP = 1, 2


def _operator(plan: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(op for op in plan["operators"] if op["kind"] == "echo/v1")
    return found


def _ask(context: Context, peer: str, step: str, maximum: int) -> int:
    channel = context.channel(peer, step)
    calls = 0
    while (call := context.call()) is not None:
        number, payload = call
        if len(payload) > maximum:
            raise AtollError(
                "E_TOO_LARGE", f"a call of {len(payload)} bytes; the plan allows {maximum}", fault="caller"
            )
        channel.send(struct.pack("!B", CALL) + payload, "call")
        answer = channel.recv()
        if answer[:1] != struct.pack("!B", CALL) or len(answer) - 1 > maximum:
            raise AtollError("E_PROTOCOL", "the answer is not one", step=step, party=peer)
        calls += 1
        context.reply(number, answer[1:])
    channel.send(struct.pack("!B", STOP), "stop")
    if channel.recv() != struct.pack("!B", STOP):
        raise AtollError("E_PROTOCOL", "the service did not stop", step=step, party=peer)
    return calls


def _answer(context: Context, peer: str, step: str, maximum: int, block: int) -> int:
    channel = context.channel(peer, step)
    calls = 0
    while True:
        message = channel.recv()
        if message == struct.pack("!B", STOP):
            channel.send(message, "stop")
            return calls
        if message[:1] != struct.pack("!B", CALL) or len(message) - 1 > maximum:
            raise AtollError("E_PROTOCOL", "the call is not one", step=step, party=peer)
        if calls % block == 0:
            context.before_open([peer])
        calls += 1
        context.progress(calls, calls + 1, step)
        channel.send(message, "answer")


def run(context: Context) -> Outcome:
    """Serves or makes calls until the service stops; the outcome counts them."""
    operator = _operator(context.plan)
    asker, maximum = context.plan["asker"], operator["parameters"]["maximum_bytes"]
    peer = next(key for key in operator["at"] if key != context.me)
    if context.me == asker:
        calls = _ask(context, peer, operator["id"], maximum)
        return Outcome(
            pa.table({"calls": pa.array([calls], pa.int64())}), 1, {"calls": calls}, {"calls": calls}
        )
    calls = _answer(context, peer, operator["id"], maximum, operator["parameters"]["block_calls"])
    return Outcome(meters={"calls": calls})
