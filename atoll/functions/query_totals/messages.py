"""What asker and holders of lookup totals say to each other, read as strictly as anything that a partner sends.

holder  hello                its key for masks, signed
asker   roster               all holders' keys
holder  epoch, table         once, and again when the table has changed
both    preparation          of many queries, whenever none is left
holder  blocks               of each query, ahead of need
asker   calls                what each call shows of an authorisation
holder  admitted
asker   go                   the calls that all holders admitted; for some at a time:
asker   ask, then turns      and the holder's between them
holder  opened               its masked shares
asker   close, stop          and the holders the same
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from atoll.crypto.lookup_totals import MOST_CELLS, MOST_COLUMNS, SALT_BYTES, Shape
from atoll.functions import messages
from atoll.functions.calls import SALT_BYTES as CALL_SALT_BYTES

HELLO, ROSTER, EPOCH, BLOCKS, CALLS = "hello", "roster", "epoch", "blocks", "calls"
ADMITTED, GO, ASK, TURN, OPENED, CLOSE, STOP = "admitted", "go", "ask", "turn", "opened", "close", "stop"
TABLE = "table"
VERSION_BYTES = 16
REQUEST_BYTES = 16
"""Bytes of a query's first message without its header: what a call's record names, for each holder."""
HEADER_BYTES = 6
QUERIES_AT_ONCE = 32
"""Queries whose messages travel together."""
READY = 4
"""Queries whose blocks are sent ahead of need."""
MOST_TABLE = 1 << 31
MOST_MESSAGES = 64
_CALL = {"salt", "commitment", "authorisation"}


class Peer(messages.Peer):
    """Where messages come from and go to."""

    fields: ClassVar[Mapping[str, set[str]]] = {
        HELLO: {"key"},
        ROSTER: {"keys"},
        EPOCH: {"columns", "cells", "salt", "version"},
        BLOCKS: {"messages"},
        CALLS: {"calls"},
        ADMITTED: {"errors"},
        GO: {"passed"},
        ASK: {"requests", "messages"},
        TURN: {"messages"},
        OPENED: {"words"},
        CLOSE: set(),
        STOP: set(),
    }

    def read_bytes(self, value: Any, length: int, what: str) -> bytes:
        """Bytes of that length."""
        if not isinstance(value, bytes) or len(value) != length:
            raise self.wrong(f"{what} of {length} bytes is missing")
        return value

    def read_shape(self, body: dict[str, Any], words: int) -> Shape:
        """The shape of an epoch, for the plan's number of words."""
        columns, cells = body["columns"], body["cells"]
        if type(columns) is not int or type(cells) is not int:
            raise self.wrong("an epoch's sizes are none")
        if not 1 <= columns <= MOST_COLUMNS or not 1 <= cells <= MOST_CELLS:
            raise self.wrong(f"a table has at most {MOST_COLUMNS} columns of {MOST_CELLS} cells")
        shape = Shape(columns, cells, words)
        if shape.table_bytes > MOST_TABLE:
            raise self.wrong("a table is longer than any may be")
        self.read_bytes(body["salt"], SALT_BYTES, "a salt")
        self.read_bytes(body["version"], VERSION_BYTES, "a version")
        return shape

    def read_calls(self, body: dict[str, Any], most: int) -> list[dict[str, Any]]:
        """The calls of a group, at most so many."""
        calls = body["calls"]
        if not isinstance(calls, list) or not 1 <= len(calls) <= most:
            raise self.wrong(f"a group has 1 to {most} calls")
        for call in calls:
            if not isinstance(call, dict) or set(call) != _CALL:
                raise self.wrong("a call has other fields than it should")
            self.read_bytes(call["salt"], CALL_SALT_BYTES, "a call's salt")
        return calls

    def read_passed(self, body: dict[str, Any], admitted: list[int]) -> list[int]:
        """Places of the calls that go on: some of those that were admitted, in order."""
        passed = body["passed"]
        if (
            not isinstance(passed, list)
            or any(type(at) is not int for at in passed)
            or passed != sorted(set(passed))
            or not set(passed) <= set(admitted)
        ):
            raise self.wrong("calls go on that were not admitted")
        return passed

    def read_messages(self, body: dict[str, Any], queries: int) -> list[list[bytes]]:
        """For each query its messages of one turn."""
        found = body["messages"]
        if not isinstance(found, list) or len(found) != queries:
            raise self.wrong(f"a turn is of {queries} queries")
        for several in found:
            if not isinstance(several, list) or not 1 <= len(several) <= MOST_MESSAGES:
                raise self.wrong(f"a turn has 1 to {MOST_MESSAGES} messages of each query")
            if any(not isinstance(message, bytes) for message in several):
                raise self.wrong("a message is bytes")
        return found
