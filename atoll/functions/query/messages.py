"""What asker and host of a lookup say to each other, read as strictly as anything that a partner sends.

    host   epoch, hint                        once, and again when the table is sealed anew
    asker  calls        blinded keys
    host   evaluated    and the changes of the table since
    asker  queries      one for each key that was evaluated, some in each message
    host   answers
    asker  table        instead of queries: it takes the sealed table whole, and asks for no column of it again
    host   table, and the columns
    asker  close, stop  and the host the same

Without a hint there is none behind an epoch, no changes, and no table whole; the asker says once in each epoch, before
its first queries:

    asker  keys         of its encryption; queries and answers are longer then

Large parts travel in pieces behind the message that says their length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from atoll.crypto.lookup import MOST_COLUMNS, Epoch
from atoll.functions import messages
from atoll.functions.calls import SALT_BYTES
from atoll.functions.messages import PIECE as _PIECE

EPOCH, CALLS, EVALUATED = "epoch", "calls", "evaluated"
QUERIES, ANSWERS, TABLE, CLOSE, STOP = "queries", "answers", "table", "close", "stop"
KEYS = "keys"
_EPOCH = {"columns", "cells", "record_bytes", "salt", "public", "version", "seed"}
FIELDS: dict[str, set[str]] = {
    EPOCH: _EPOCH,
    CALLS: {"calls", "blinded"},
    EVALUATED: {"errors", "evaluation", "version", "delta"},
    QUERIES: {"queries"},
    ANSWERS: {"answers"},
    KEYS: {"keys"},
    TABLE: set(),
    CLOSE: set(),
    STOP: set(),
}
SEALING = "sealing"
"""The step whose progress says whether the table is sealed."""
QUERIES_AT_ONCE = 16
"""Queries in a message, which share one pass over the table."""
MOST_DELTA = MOST_HINT = MOST_TABLE = 1 << 30
_CALL = {"salt", "commitment", "authorisation"}


@dataclass(frozen=True)
class Peer(messages.Peer):
    """Where messages come from and go to."""

    fields = FIELDS

    def send_columns(self, columns: Callable[[int, int], bytes], count: int, length: int) -> None:
        """Sends so many columns of that length, as the pieces of what they are together."""
        waiting = bytearray()
        for first in range(0, count, step := max(1, _PIECE // length)):
            waiting += columns(first, min(step, count - first))
            while len(waiting) >= _PIECE:
                self.channel.send(bytes(waiting[:_PIECE]), TABLE)
                del waiting[:_PIECE]
        if waiting:
            self.channel.send(bytes(waiting), TABLE)

    def read_epoch(self, body: dict[str, Any], record_bytes: int) -> Epoch:
        """The epoch of a message, for records of the plan's length."""
        numbers = [body[name] for name in ("columns", "cells", "record_bytes")]
        lengths = {"salt": 16, "public": 32, "version": 16, "seed": 32}
        if any(type(number) is not int or not 0 < number < 1 << 32 for number in numbers):
            raise self.wrong("an epoch's sizes are none")
        if numbers[0] > MOST_COLUMNS:
            raise self.wrong(f"a table has at most {MOST_COLUMNS} columns")
        for name, length in lengths.items():
            if not isinstance(body[name], bytes) or len(body[name]) != length:
                raise self.wrong(f"an epoch's {name} has {length} bytes")
        if numbers[2] != record_bytes:
            raise self.wrong("records have another length than in the plan")
        return Epoch(*numbers, *(body[name] for name in lengths))

    def read_calls(self, body: dict[str, Any], most: int) -> list[dict[str, Any]]:
        """The calls of a group, at most so many, with as many blinded keys."""
        calls, blinded = body["calls"], body["blinded"]
        if not isinstance(calls, list) or not 1 <= len(calls) <= most:
            raise self.wrong(f"a group has 1 to {most} calls")
        if not isinstance(blinded, bytes) or len(blinded) != 32 * len(calls):
            raise self.wrong("a group has 32 bytes for each call")
        for call in calls:
            if not isinstance(call, dict) or set(call) != _CALL:
                raise self.wrong("a call has other fields than it should")
            if not isinstance(call["salt"], bytes) or len(call["salt"]) != SALT_BYTES:
                raise self.wrong(f"a salt has {SALT_BYTES} bytes")
        return calls
