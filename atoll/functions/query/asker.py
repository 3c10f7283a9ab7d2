"""The asker's side of a lookup: blinds keys, fetches columns, opens records, keeps the book."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from atoll.crypto.lookup import VERSION_BYTES, Epoch
from atoll.crypto.lookup import Asker as Sealed
from atoll.crypto.stream import stream_bytes
from atoll.crypto.wire import decode_body, encode_body
from atoll.errors import AtollError
from atoll.functions.calls import SALT_BYTES, CallBook
from atoll.functions.context import Call, Context, Shown
from atoll.functions.query import messages
from atoll.functions.query.messages import ANSWERS, CALLS, CLOSE, EPOCH, EVALUATED, QUERIES, STOP, TABLE, Peer
from atoll.functions.query.records import fits

# Queries that are ready before their keys are known: when fewer are left, as many are made at once.
_LEAST_READY, _MOST_READY = 8, 16
# Whoever fetched so many columns, and as many bytes as all have, takes them all; they take this part of the memory.
_LEAST_FETCHED, _TABLE_PART = 256, 4


class Evaluated(Protocol):
    """What blinds keys and takes evaluations in one epoch."""

    def blind(self, digests: bytes, number: int) -> tuple[Any, bytes]:
        """As `atoll.crypto.lookup.Asker.blind`."""

    def finish(self, blinded: Any, evaluation: bytes, places: Sequence[int]) -> list[Any]:
        """As `atoll.crypto.lookup.Asker.finish`."""


class Asker:
    """Makes calls and closes blocks. The first block is open from the epoch on, another one from its first call."""

    def __init__(
        self, context: Context, parameters: dict[str, Any], step: str, host: str, types: list[str]
    ) -> None:
        self._context, self._types = context, types
        self._rows: int = parameters["rows"]
        self._peer = Peer(context.channel(host, step), step, host)
        self._record_bytes: int = parameters["record_bytes"]
        self._block_calls: int = parameters["block_calls"]
        self._block_seconds: int = parameters["block_seconds"]
        self._declares: bool = parameters["declare_hits"]
        self._keys: Evaluated | None = None
        self._sealed: Sealed | None = None
        self._epoch: Epoch | None = None
        self._version = b""
        self._book: CallBook | None = None
        self._ends = 0.0
        self._epochs = self._salts = self._groups = 0
        self._hits_before = self._fetched = 0
        self._kept = False
        self._stopping = False
        self._taken = threading.Event()
        self.calls = self.hits = 0

    def run(self) -> None:
        """Until the service stops."""
        self._begin()
        self._make_ready_ahead()
        try:
            self._serve()
        finally:
            self._stopping = True
            self._taken.set()

    def _make_ready_ahead(self) -> None:
        # It holds nothing but what can be thrown away, so that it may end with the process.
        threading.Thread(target=self._make_ready, daemon=True, name="lookup queries").start()

    def _make_ready(self) -> None:
        """Makes queries ahead of need, while no key waits for one."""
        while not self._stopping:
            assert self._sealed is not None  # the epoch came before
            if not self._kept:
                self._sealed.prepare(_LEAST_READY, _MOST_READY)
            self._taken.wait()
            self._taken.clear()

    def _serve(self) -> None:
        while not self._stopping:
            wait = None if self._book is None else max(0.0, self._ends - time.monotonic())
            try:
                call = self._context.call(wait)
            except TimeoutError:
                self._close()
                continue
            if call is None:
                break
            self._make(call)
            self._taken.set()
        if self._book is not None:
            self._close()
        self._peer.say(STOP)
        self._peer.read(STOP)

    def _begin(self) -> None:
        """The first epoch. The node refuses calls until then, as the progress tells it."""
        self._context.progress(0, 1, messages.SEALING)
        self._take_epoch(self._peer.read(EPOCH))
        self._open_block()
        self._context.progress(1, 1, messages.SEALING)

    def _open_block(self) -> CallBook:
        self._book, self._hits_before = self._context.calls(), self.hits
        self._ends = time.monotonic() + self._block_seconds
        return self._book

    def _take_epoch(self, body: dict[str, Any]) -> None:
        epoch = self._peer.read_epoch(body, self._record_bytes)
        self._epochs += 1
        self._keys = self._begun(epoch, f"{self._peer.step}/{self._epochs}")
        self._epoch, self._version = epoch, epoch.version
        self._fetched, self._kept = 0, False

    def _begun(self, epoch: Epoch, name: str) -> Evaluated:
        """What asks in this epoch, whose randomness bears that name."""
        if epoch.hint_bytes > messages.MOST_HINT:
            raise self._peer.wrong("a hint is longer than any table's")
        # The hint as it comes and as it is kept, and the matrix.
        self._check_memory(2 * epoch.hint_bytes + epoch.matrix_bytes)
        hint = self._peer.read_pieces(epoch.hint_bytes)
        try:
            self._sealed = Sealed(epoch, hint, self._context.seed, self._context.attempt, name)
        except AtollError as error:
            raise self._peer.wrong(error.text) from None
        return self._sealed

    def _check_memory(self, need: int) -> None:
        have = self._context.memory_bytes
        if need > have:
            text = f"the lookup takes {need >> 20} MiB of memory; the worker has {have >> 20} MiB"
            cure = "Raise jobs.memory_bytes, or the plan's memory_bytes where that is less."
            raise AtollError("E_MEMORY", text, step=self._peer.step, cure=cure)

    # Calls.

    def _make(self, call: Call) -> None:
        """A request of this side's node: keys as digests, and what each shows of an authorisation."""
        body = decode_body(call.payload)
        digests: bytes = body["digests"]
        shown = [Shown(**one) if one else Shown() for one in body["shown"]]
        if self._book is not None and self._book.calls + len(shown) > self._block_calls:
            self._close()
        records, errors = self._look_up(digests, shown)
        reply = {"records": records, "errors": errors, "version": self._version}
        self._context.reply(call.number, encode_body(reply))

    def _look_up(
        self, digests: bytes, shown: list[Shown]
    ) -> tuple[list[bytes | None], list[dict[str, Any] | None]]:
        assert self._keys is not None  # the epoch came before the first call
        self._groups += 1
        blinded, message = self._keys.blind(digests, self._groups)
        calls: list[dict[str, Any]] = [
            {"salt": self._salt(), "commitment": word.commitment, "authorisation": word.envelope}
            for word in shown
        ]
        self._peer.say(CALLS, calls=calls, blinded=message)
        book = self._book or self._open_block()
        body = self._peer.read(EPOCH, EVALUATED)
        if body["kind"] == EPOCH:
            # Blinding does not depend on the key: the new one evaluates what was blinded before.
            self._take_epoch(body)
            body = self._peer.read(EVALUATED)
        errors = self._errors(body, len(shown))
        passed = [at for at, error in enumerate(errors) if error is None]
        self._catch_up(body)
        elements = [message[32 * at : 32 * at + 32] for at in range(len(shown))]
        keys = self._finish(blinded, digests, passed, body["evaluation"], elements)
        for number, at in enumerate(passed):
            value = body["evaluation"][64 + 32 * number : 96 + 32 * number]
            word = shown[at]
            book.add(elements[at], value, calls[at]["salt"], word.recorded, word.opening, word.envelope)
        self.calls += len(passed)
        records: list[bytes | None] = [None] * len(shown)
        for at, record in zip(passed, self._fetch(keys), strict=True):
            # What no honest host sealed is a miss, for the user and for the bill.
            if record is not None and fits(record, self._types, self._rows):
                records[at] = record
                self.hits += 1
        return records, errors

    def _salt(self) -> bytes:
        # From the job's seed, as all randomness of a protocol is, so that a replay makes the same call.
        self._salts += 1
        context = self._context
        return stream_bytes(context.seed, context.attempt, self._peer.step, f"salt/{self._salts}", SALT_BYTES)

    def _errors(self, body: dict[str, Any], count: int) -> list[dict[str, Any] | None]:
        errors = body["errors"]
        if not isinstance(errors, list) or len(errors) != count:
            raise self._peer.wrong("an evaluation says of each call whether it passed")
        return [
            None if error is None else AtollError.from_wire(error, peer=self._peer.key).to_problem()
            for error in errors
        ]

    def _catch_up(self, body: dict[str, Any]) -> None:
        """Comes to the holder's version."""
        length, version = body["delta"], body["version"]
        if (
            type(length) is not int
            or not 0 <= length <= messages.MOST_DELTA
            or not isinstance(version, bytes)
        ):
            raise self._peer.wrong("a delta has a length, and a version a name")
        if len(version) != VERSION_BYTES:
            raise self._peer.wrong(f"a version has {VERSION_BYTES} bytes")
        self._move(version, length)
        self._version = version

    def _move(self, version: bytes, length: int) -> None:
        """Brings the hint to that version, by a delta of so many bytes."""
        assert self._sealed is not None
        if length:
            delta = self._peer.read_pieces(length)
            if delta[16:32] != version:
                raise self._peer.wrong("a delta leads to another version than was said")
            try:
                self._sealed.apply(delta)
            except AtollError as error:
                raise self._peer.wrong(error.text) from None
        elif version != self._version:
            raise self._peer.wrong("a version is another one, and nothing leads to it")

    def _finish(
        self, blinded: Any, digests: bytes, passed: list[int], evaluation: Any, elements: list[bytes]
    ) -> list[Any]:
        assert self._keys is not None
        if not isinstance(evaluation, bytes):
            raise self._peer.wrong("an evaluation is bytes")
        if not passed:
            if evaluation:
                raise self._peer.wrong("an evaluation of calls that did not pass")
            return []
        try:
            return self._keys.finish(blinded, evaluation, passed)
        except AtollError as error:
            raise self._peer.wrong(error.text) from None

    def _fetch(self, keys: list[Any]) -> list[bytes | None]:
        """The record of each key, out of its column."""
        if not keys:
            return []
        self._fetched += len(keys)
        if not self._kept and self._whole_is_cheaper():
            self._take_table()
        if not self._kept:
            return self._fetch_columns(keys)
        assert self._sealed is not None
        try:
            return [self._sealed.open_kept(key) for key in keys]
        except AtollError as error:
            raise self._peer.wrong(error.text) from None

    def _whole_is_cheaper(self) -> bool:
        """Whether columns one by one, those before included, cost as many bytes as the sealed table.

        It follows from sizes and the number of keys, so that it tells the host nothing of keys.
        """
        assert self._epoch is not None
        columns = self._fetched * (self._epoch.query_bytes + self._epoch.answer_bytes)
        most = min(messages.MOST_TABLE, self._context.memory_bytes // _TABLE_PART)
        return self._fetched >= _LEAST_FETCHED and self._epoch.table_bytes <= min(columns, most)

    def _take_table(self) -> None:
        assert self._sealed is not None
        assert self._epoch is not None
        self._peer.say(TABLE)
        self._peer.read(TABLE)
        self._sealed.keep(self._peer.read_pieces(self._epoch.table_bytes))
        self._kept = True

    def _fetch_columns(self, keys: list[Any]) -> list[bytes | None]:
        """A query for each key, some in each message; then every record is opened."""
        assert self._sealed is not None
        found: list[bytes | None] = []
        waiting: deque[tuple[list[Any], list[Any]]] = deque()
        for start in range(0, len(keys), messages.QUERIES_AT_ONCE):
            part = keys[start : start + messages.QUERIES_AT_ONCE]
            asked = self._sealed.queries(part)
            self._peer.say(QUERIES, queries=[query for _, query in asked])
            waiting.append((part, asked))
            # While the host works on one part the next one is made.
            if len(waiting) > 1:
                found += self._opened(*waiting.popleft())
        while waiting:
            found += self._opened(*waiting.popleft())
        return found

    def _opened(self, keys: list[Any], asked: list[Any]) -> list[bytes | None]:
        """The records of one part, from the host's answers."""
        assert self._sealed is not None
        assert self._epoch is not None
        body = self._peer.read(ANSWERS)
        answers = self._peer.read_all(body["answers"], len(keys), self._epoch.answer_bytes, "answers")
        try:
            return [
                self._sealed.open(key, state, answer)
                for key, (state, _), answer in zip(keys, asked, answers, strict=True)
            ]
        except AtollError as error:
            raise self._peer.wrong(error.text) from None

    def _close(self) -> None:
        assert self._book is not None  # only an open block is closed
        self._peer.say(CLOSE)
        self._peer.read(CLOSE)
        self._book.close()
        self._context.close_block(self._book, self.hits - self._hits_before if self._declares else None)
        self._book = None
