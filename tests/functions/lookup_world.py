"""A lookup of alice's in bob's table, both sides in this process: what is asked, what travels, what either side finds.

A test may stand on the line and change what one side sends.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from atoll.crypto.keys import key_digests
from atoll.crypto.wire import decode_body, encode_body
from atoll.errors import AtollError
from atoll.functions.calls import CallBook
from atoll.functions.context import Call, LocalInput, Outcome, Shown
from atoll.functions.query.messages import SEALING
from atoll.functions.query.records import decode_rows
from atoll.functions.query.run import run
from atoll.plan.operators import lookup
from atoll.protocols.memory import MemoryChannel, pair

ALICE, BOB = "alice", "bob"
SECONDS = 30.0
Change = Callable[[str, bytes], list[bytes]]
"""From the step and the bytes of a message to what is sent in its place."""
_IDLE = object()


def digests(keys: list[str]) -> bytes:
    """The digests of keys, one after the other."""
    return b"".join(key_digests(pa.table({"k": [key]}), ["k"]).digests for key in keys)


class Line:
    """One end of the channel, on which everything that its side sends may be changed."""

    def __init__(self, end: MemoryChannel, change: Change | None) -> None:
        self._end, self._change = end, change
        self.received: list[bytes] = []

    def send(self, payload: bytes, step: str) -> None:
        for message in [payload] if self._change is None else self._change(step, payload):
            self._end.send(message, step)

    def recv(self) -> bytes:
        message = self._end.recv()
        self.received.append(message)
        return message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._end, name)


class Answer:
    """What alice's user gets for a request: `rows` of each key, None for a miss; `errors`; the table's version."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.rows = [None if r is None else decode_rows(r, 1) for r in body["records"]]
        self.errors = [None if e is None else e["code"] for e in body["errors"]]
        self.version: bytes = body["version"]

    @property
    def values(self) -> list[Any]:
        """The value of each key that has one row."""
        return [None if rows is None else rows[0][0] for rows in self.rows]


class Lookup:
    """A service that runs.

    Args:
        table: bob's values by key.
        bend_alice, bend_bob: what changes the messages of a side that cheats.
        admit: what bob's node says of a call.
        one_shot: whether alice takes no hint.
        parameters: of the plan.
    """

    def __init__(
        self,
        folder: Path,
        table: dict[str, int],
        *,
        bend_alice: Change | None = None,
        bend_bob: Change | None = None,
        admit: Callable[[Shown | None], None] = lambda shown: None,
        one_shot: bool = False,
        **parameters: Any,
    ) -> None:
        self._folder = folder
        self._admit = admit
        self._protocol = (lookup.ONE_SHOT if one_shot else lookup.PROTOCOL).id
        self.parameters = {
            "name": "debts", "keys": ["k"], "values": ["v"], "rows": 1, "record_bytes": 16, "maximum_keys": 64,
            "maximum_bytes": 4096, "block_calls": 1000, "block_seconds": 3600, "consent": "none",
            "declare_hits": False, **parameters,
        }  # fmt: skip
        ends = pair(capacity=256, seconds=SECONDS)
        self.lines = {ALICE: Line(ends[0], bend_alice), BOB: Line(ends[1], bend_bob)}
        self.blocks: dict[str, list[tuple[int, str]]] = {ALICE: [], BOB: []}
        self.hits: dict[str, list[int | None]] = {ALICE: [], BOB: []}
        self.books: dict[str, list[Path]] = {ALICE: [], BOB: []}
        self.released: list[list[str]] = []
        self.errors: dict[str, BaseException] = {}
        self.outcomes: dict[str, Outcome] = {}
        self._answers: queue.Queue[bytes | AtollError | None] = queue.Queue()
        self._requests: queue.Queue[Any] = queue.Queue()
        self._number = self._versions = 0
        self.sealed = threading.Event()
        self._looks = threading.Semaphore(0)
        self._local = self._written(table)
        self._threads = [
            threading.Thread(target=self._side, args=(party,), name=party, daemon=True)
            for party in self.lines
        ]
        for thread in self._threads:
            thread.start()

    # Bob's table.

    def _written(self, table: dict[str, int], keys: list[str] | None = None) -> LocalInput:
        self._versions += 1
        file = self._folder / f"{self._versions}.parquet"
        columns = {
            "k": pa.array(table if keys is None else keys, pa.string()),
            "v": pa.array(table.values() if keys is None else range(len(keys)), pa.int64()),
        }
        pq.write_table(pa.table(columns), file)
        return LocalInput("in0", "debts", file, self._folder, f"v{self._versions}", None)

    def _inputs(self) -> dict[str, LocalInput]:
        self._looks.release()
        return {"in0": self._local}

    def put(self, table: dict[str, int], keys: list[str] | None = None) -> None:
        """Gives bob another version, and waits until his side has read it; `keys` may name a key twice."""
        assert self.sealed.wait(SECONDS)  # what stands before is the first one
        self._local = self._written(table, keys)
        while self._looks.acquire(blocking=False):
            pass
        # The look that was under way, the one that reads, and the one after it.
        for _ in range(3):
            assert self._looks.acquire(timeout=SECONDS)

    # The two sides.

    def _plan(self) -> dict[str, Any]:
        at = [BOB]
        normal = {"columns": [{"name": "k", "steps": []}]}
        return {
            "id": "job",
            "asker": ALICE,
            "inputs": [{"id": "in0", "party": BOB, "columns": [{"name": "v", "type": "int64"}]}],
            "operators": [
                {"id": "n0", "kind": "read/v1", "inputs": ["in0"], "at": at, "parameters": {}},
                {"id": "n1", "kind": "normalise/v1", "inputs": ["n0"], "at": at, "parameters": normal},
                {
                    "id": "n2", "kind": "lookup/v1", "inputs": ["n1"], "at": [ALICE, BOB],
                    "protocol": self._protocol, "parameters": self.parameters,
                },
            ],
        }  # fmt: skip

    def _context(self, party: str) -> Any:
        def calls() -> CallBook:
            path = self._folder / f"{party}-{len(self.books[party])}.book"
            self.books[party].append(path)
            return CallBook(path)

        def close_block(book: CallBook, hits: int | None) -> None:
            self.blocks[party].append((book.calls, book.root))
            self.hits[party].append(hits)

        def call(timeout: float | None = None) -> Call | None:
            try:
                found = self._requests.get(timeout=SECONDS if timeout is None else min(timeout, SECONDS))
            except queue.Empty:
                raise TimeoutError from None
            if found is _IDLE:
                assert timeout is not None, "no block is open that could end"
                raise TimeoutError
            return found

        def progress(done: int, total: int, step: str) -> None:
            if step == SEALING and done == total:
                self.sealed.set()

        return SimpleNamespace(
            plan=self._plan(),
            me=party,
            seed=party.encode().ljust(32, b"."),
            attempt=1,
            threads=1,
            memory_bytes=1 << 30,
            inputs=self._inputs,
            taken_up=lambda version: None,
            channel=lambda peer, name: self.lines[party],
            before_open=self.released.append,
            progress=progress,
            call=call,
            reply=lambda number, payload: self._answers.put(payload),
            deny=lambda number, error: self._answers.put(error),
            admit=self._admit,
            calls=calls,
            close_block=close_block,
        )

    def _side(self, party: str) -> None:
        try:
            self.outcomes[party] = run(self._context(party))
        except BaseException as error:
            self.errors[party] = error
            self.lines[party].close()
        if party == ALICE:
            self._answers.put(None)
            self.sealed.set()

    # Alice's user.

    def ask(self, *keys: str, shown: list[dict[str, Any] | None] | None = None) -> Answer:
        """Asks for keys once the table is sealed.

        The refusal of the request as a whole, and the error that ended alice's side, are raised.
        """
        assert self.sealed.wait(SECONDS)
        return self.ask_now(*keys, shown=shown)

    def ask_now(self, *keys: str, shown: list[dict[str, Any] | None] | None = None) -> Answer:
        """Asks for keys, whether the table is sealed or not."""
        self._number += 1
        request = {"digests": digests(list(keys)), "shown": shown or [None] * len(keys)}
        self._requests.put(Call(self._number, encode_body(request)))
        found = self._answers.get(timeout=SECONDS)
        if found is None:
            raise self.errors[ALICE]
        if isinstance(found, AtollError):
            raise found
        return Answer(decode_body(found))

    def idle(self) -> None:
        """Nobody asks until the open block ends."""
        assert self.sealed.wait(SECONDS)
        self._requests.put(_IDLE)

    def stop(self) -> None:
        """Ends the service; both sides are through, or have failed, when it returns."""
        self._requests.put(None)
        for thread in self._threads:
            thread.join(SECONDS)
            assert not thread.is_alive()

    def ended(self) -> None:
        """Ends the service, which must have gone well: both sides count the same calls in the same blocks."""
        self.stop()
        for error in self.errors.values():
            raise error
        assert self.blocks[ALICE] == self.blocks[BOB]
        counts = [self.outcomes[party].meters["calls"] for party in (ALICE, BOB)]
        assert counts == [sum(calls for calls, _ in self.blocks[ALICE])] * 2

    def fault(self, party: str) -> AtollError:
        """Ends the service, and gives the error that ended this side of it."""
        self.stop()
        error = self.errors[party]
        assert isinstance(error, AtollError), repr(error)
        return error


def body(message: bytes) -> dict[str, Any]:
    """A message that is one; pieces are none."""
    found = decode_body(message)
    assert isinstance(found, dict)
    return found


def kinds(messages: list[bytes]) -> list[str]:
    """The kinds of messages that are no pieces."""
    out = []
    for message in messages:
        try:
            out.append(body(message)["kind"])
        except (AtollError, AssertionError):
            out.append("piece")
    return out
