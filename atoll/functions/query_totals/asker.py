"""The asker's side of lookup totals: keeps the holders' sealed tables, asks all of them, adds what they open."""

from __future__ import annotations

import os
import time
from collections import deque
from pathlib import Path
from typing import Any

from atoll.crypto.lookup_totals import WORD_BYTES, Pool, Preparation, Query, Shape, column_of
from atoll.crypto.stream import stream_bytes
from atoll.crypto.suite import digest, digest_bytes
from atoll.crypto.wire import decode_body, encode_body
from atoll.errors import AtollError
from atoll.functions.calls import SALT_BYTES, CallBook
from atoll.functions.context import Call, Context, Shown
from atoll.functions.messages import PIECE
from atoll.functions.query.messages import SEALING
from atoll.functions.query_totals import messages
from atoll.functions.query_totals.messages import (
    ADMITTED,
    ASK,
    BLOCKS,
    CALLS,
    CLOSE,
    EPOCH,
    GO,
    HELLO,
    OPENED,
    ROSTER,
    STOP,
    TURN,
    Peer,
)
from atoll.functions.query_totals.words import fits, signed
from atoll.protocols.pairwise_masks import Session


class Table:
    """A holder's sealed table in a file, which only this process sees; its columns are read as they are needed."""

    def __init__(self, path: Path, shape: Shape, salt: bytes, version: bytes) -> None:
        self.shape, self.salt, self.version = shape, salt, version
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.unlink(path)

    def take(self, peer: Peer) -> None:
        """Its bytes, piece by piece; `E_DISK` if they do not fit."""
        left = self.shape.table_bytes
        while left:
            piece = peer.channel.recv()
            if len(piece) != min(PIECE, left):
                raise peer.wrong("a piece has another length than was said")
            left -= len(piece)
            try:
                view = memoryview(piece)
                while view:
                    view = view[os.write(self._file, view) :]
            except OSError as error:
                text = f"a sealed table of {self.shape.table_bytes >> 20} MiB was not kept: {error.strerror}"
                raise AtollError("E_DISK", text, step=peer.step) from None

    def column(self, key: bytes) -> bytes:
        """The column in which a key's cell would stand."""
        length = self.shape.column_bytes
        return os.pread(self._file, length, length * column_of(key, self.salt, self.shape.columns))

    def close(self) -> None:
        """Lets go of it."""
        os.close(self._file)


class Pair:
    """What the asker has of one holder."""

    def __init__(self, context: Context, step: str, holder: str, words: int, folder: Path) -> None:
        self._context, self._words, self._folder = context, words, folder
        self.peer = Peer(context.channel(holder, step), step, holder)
        self.table: Table | None = None
        self._epochs = self._preparations = 0
        self._pool: Pool | None = None
        self._ready: deque[Query] = deque()

    @property
    def version(self) -> bytes:
        """The name of its table's state."""
        return b"" if self.table is None else self.table.version

    def close(self) -> None:
        """Lets go of its table."""
        if self.table is not None:
            self.table.close()
            self.table = None

    def take_epoch(self, body: dict[str, Any]) -> None:
        """A table that was sealed anew; what was prepared for the one before is gone."""
        shape = self.peer.read_shape(body, self._words)
        self.close()
        self._epochs += 1
        path = self._folder / f"sealed-{digest_bytes(digest(self.peer.key.encode())).hex()[:32]}"
        self.table = Table(path, shape, body["salt"], body["version"])
        self.table.take(self.peer)
        self._pool, self._preparations = None, 0
        self._ready.clear()

    def preparation(self, count: int) -> Preparation | None:
        """The preparation that comes next, if so many ready queries need one."""
        if len(self._ready) >= count or (self._pool is not None and self._pool.left):
            return None
        assert self.table is not None
        self._preparations += 1
        context = self._context
        return Preparation(
            context.seed,
            context.attempt,
            f"{self.peer.step}/{self.peer.key}/{self._epochs}/{self._preparations}",
            context.plan["id"].encode(),
            self.table.shape,
            asker=True,
            threads=context.threads,
        )

    def prepared(self, machine: Preparation) -> None:
        """Takes what a preparation made."""
        self._pool = machine.pool()

    def take_blocks(self, count: int) -> None:
        """The blocks of further queries, until so many are ready or none is left in the pool."""
        assert self.table is not None
        while len(self._ready) < count and self._pool is not None and self._pool.left:
            query = self._pool.query()
            (several,) = self.peer.read_messages(self.peer.read(BLOCKS), 1)
            if len(several) != self.table.shape.blocks:
                raise self.peer.wrong(f"a query has {self.table.shape.blocks} blocks")
            self.receive([query], [several])
            self._ready.append(query)

    def is_ready(self, count: int) -> bool:
        """Whether so many queries are ready."""
        return len(self._ready) >= count

    def queries(self, keys: list[bytes]) -> list[Query]:
        """A ready query for each key, which has it and its column."""
        assert self.table is not None
        found = []
        for key in keys:
            query = self._ready.popleft()
            query.ask(key, self.table.column(key))
            found.append(query)
        return found

    def receive(self, queries: list[Query], turn: list[list[bytes]]) -> None:
        """Takes the holder's messages of one turn."""
        try:
            for query, several in zip(queries, turn, strict=True):
                for message in several:
                    query.receive(message)
        except AtollError as error:
            raise self.peer.wrong(error.text) from None


class Asker:
    """Makes calls and closes blocks. The first block is open from the beginning, another one from its first call."""

    def __init__(self, context: Context, parameters: dict[str, Any], step: str) -> None:
        self._context, self._parameters, self._step = context, parameters, step
        self._holders: list[str] = parameters["holders"]
        self._words = len(parameters["values"][0]) + parameters["count_rows"] + parameters["count_holders"]
        self._pairs = [Pair(context, step, h, self._words, context.folder) for h in self._holders]
        self._block_calls: int = parameters["block_calls"]
        self._block_seconds: int = parameters["block_seconds"]
        self._book: CallBook | None = None
        self._ends = 0.0
        self._salts = 0
        self.calls = 0

    def run(self) -> None:
        """Until the service stops."""
        try:
            self._serve()
        finally:
            for pair in self._pairs:
                pair.close()

    def _serve(self) -> None:
        self._begin()
        while True:
            wait = None if self._book is None else max(0.0, self._ends - time.monotonic())
            try:
                call = self._context.call(wait)
            except TimeoutError:
                self._close()
                continue
            if call is None:
                break
            self._make(call)
        if self._book is not None:
            self._close()
        self._to_all(STOP)
        self._from_all(STOP)

    def _to_all(self, kind: str, **body: Any) -> None:
        for pair in self._pairs:
            pair.peer.say(kind, **body)

    def _from_all(self, kind: str) -> list[dict[str, Any]]:
        return [pair.peer.read(kind) for pair in self._pairs]

    def _begin(self) -> None:
        """Keys of masks, tables, the first queries. The node refuses calls until then, as the progress tells it."""
        context, pairs = self._context, self._pairs
        context.progress(0, len(pairs) + 1, SEALING)
        session = Session(context.plan["id"], context.attempt, tuple(self._holders), self._words, self._step)
        hellos = []
        for pair, body in zip(pairs, self._from_all(HELLO), strict=True):
            if not isinstance(body["key"], bytes):
                raise pair.peer.wrong("a key is bytes")
            hellos.append(session.group.read_hello(pair.peer.key, body["key"]))
        self._to_all(ROSTER, keys=session.group.roster(hellos))
        for number, pair in enumerate(pairs, 1):
            pair.take_epoch(pair.peer.read(EPOCH))
            context.progress(number, len(pairs) + 1, SEALING)
        self._make_ready(messages.READY)
        self._open_block()
        context.progress(1, 1, SEALING)

    def _make_ready(self, count: int) -> None:
        """Prepares queries where none is left, at all such holders side by side, and takes their blocks."""
        while not all(pair.is_ready(count) for pair in self._pairs):
            running = [(pair, machine) for pair in self._pairs if (machine := pair.preparation(count))]
            self._run([(machine, pair.peer) for pair, machine in running])
            for pair, machine in running:
                pair.prepared(machine)
            for pair in self._pairs:
                pair.take_blocks(count)

    def _run(self, machines: list[tuple[Preparation, Peer]]) -> None:
        """All of them to their ends: while one holder computes, the others' messages are taken."""
        while machines:
            for machine, peer in machines:
                while (message := machine.next_message()) is not None:
                    peer.channel.send(message[0], message[1])
            for machine, peer in machines:
                if not machine.done:
                    try:
                        machine.receive(peer.channel.recv())
                    except AtollError as error:
                        raise self._blamed(error, peer) from None
            machines = [(machine, peer) for machine, peer in machines if not machine.done]

    @staticmethod
    def _blamed(error: AtollError, peer: Peer) -> AtollError:
        return peer.wrong(error.text) if error.code == "E_PROTOCOL" and error.party is None else error

    def _open_block(self) -> CallBook:
        self._book = self._context.calls()
        self._ends = time.monotonic() + self._block_seconds
        return self._book

    # Calls.

    def _make(self, call: Call) -> None:
        """A request of this side's node: keys as digests, and what each shows of an authorisation."""
        body = decode_body(call.payload)
        digests: bytes = body["digests"]
        shown = [Shown(**one) if one else Shown() for one in body["shown"]]
        if self._book is not None and self._book.calls + len(shown) > self._block_calls:
            self._close()
        keys = [digests[at : at + 32] for at in range(0, len(digests), 32)]
        totals, errors = self._look_up(keys, shown)
        versions = b"".join(pair.version for pair in self._pairs)
        version = digest_bytes(digest(versions))[: messages.VERSION_BYTES]
        reply = {"totals": totals, "errors": errors, "version": version}
        self._context.reply(call.number, encode_body(reply))
        # Blocks of the next queries, while the user reads the answer.
        self._make_ready(messages.READY)

    def _look_up(
        self, keys: list[bytes], shown: list[Shown]
    ) -> tuple[list[list[int] | None], list[dict[str, Any] | None]]:
        calls: list[dict[str, Any]] = [
            {"salt": self._salt(), "commitment": word.commitment, "authorisation": word.envelope}
            for word in shown
        ]
        self._to_all(CALLS, calls=calls)
        book = self._book or self._open_block()
        errors: list[dict[str, Any] | None] = [None] * len(keys)
        for pair in self._pairs:
            body = pair.peer.read(EPOCH, ADMITTED)
            if body["kind"] == EPOCH:
                pair.take_epoch(body)
                self._renew(pair)
                body = pair.peer.read(ADMITTED)
            for at, error in enumerate(self._errors(pair, body, len(keys))):
                errors[at] = errors[at] or error
        passed = [at for at, error in enumerate(errors) if error is None]
        self._to_all(GO, passed=passed)
        totals: list[list[int] | None] = [None] * len(keys)
        for start in range(0, len(passed), messages.QUERIES_AT_ONCE):
            part = passed[start : start + messages.QUERIES_AT_ONCE]
            found = self._totals([keys[at] for at in part], [calls[at]["salt"] for at in part], book,
                                 [shown[at] for at in part])  # fmt: skip
            for at, total in zip(part, found, strict=True):
                if fits(total, self._parameters):
                    totals[at] = total
                else:
                    text = "the holders' shares give no total: one of them departed from the protocol, or from the plan"
                    errors[at] = AtollError("E_PROTOCOL", text, step=self._step).to_problem()
        self.calls += len(passed)
        return totals, errors

    def _renew(self, pair: Pair) -> None:
        """The first queries of a new epoch."""
        machine = pair.preparation(messages.READY)
        assert machine is not None  # nothing is ready in a new epoch
        self._run([(machine, pair.peer)])
        pair.prepared(machine)
        pair.take_blocks(messages.READY)

    def _salt(self) -> bytes:
        # From the job's seed, as all randomness of a protocol is, so that a replay makes the same call.
        self._salts += 1
        context = self._context
        return stream_bytes(context.seed, context.attempt, self._step, f"salt/{self._salts}", SALT_BYTES)

    def _errors(self, pair: Pair, body: dict[str, Any], count: int) -> list[dict[str, Any] | None]:
        errors = body["errors"]
        if not isinstance(errors, list) or len(errors) != count:
            raise pair.peer.wrong("a holder says of each call whether it passed")
        return [
            None if error is None else AtollError.from_wire(error, peer=pair.peer.key).to_problem()
            for error in errors
        ]

    def _totals(
        self, keys: list[bytes], salts: list[bytes], book: CallBook, shown: list[Shown]
    ) -> list[list[int]]:
        """The totals of some keys: all holders' queries of all keys, turn by turn."""
        self._make_ready(len(keys))
        sides = [(pair, pair.queries(keys)) for pair in self._pairs]
        turns = [[query.outgoing() for query in queries] for _, queries in sides]
        requests = [
            b"".join(turn[number][0][messages.HEADER_BYTES :] for turn in turns)
            for number in range(len(keys))
        ]
        for (pair, _), turn in zip(sides, turns, strict=True):
            pair.peer.say(ASK, requests=requests, messages=turn)
        for request, salt, word in zip(requests, salts, shown, strict=True):
            book.add(request, b"", salt, word.recorded, word.opening, word.envelope)
        waiting = sides
        while waiting:
            for pair, queries in waiting:
                turn = pair.peer.read_messages(pair.peer.read(TURN), len(keys))
                pair.receive(queries, turn)
                if all(query.done for query in queries):
                    continue
                answers = [query.outgoing() for query in queries]
                if not all(answers):
                    raise pair.peer.wrong("a turn lacks a message of a query")
                pair.peer.say(TURN, messages=answers)
            waiting = [(p, queries) for p, queries in waiting if not all(query.done for query in queries)]
        totals = [[0] * self._words for _ in keys]
        for pair, queries in sides:
            length = WORD_BYTES * self._words * len(keys)
            opened = pair.peer.read_bytes(pair.peer.read(OPENED)["words"], length, "opened words")
            at = 0
            for total, query in zip(totals, queries, strict=True):
                for number, share in enumerate(query.shares()):
                    total[number] += share + int.from_bytes(opened[at : at + WORD_BYTES], "little")
                    at += WORD_BYTES
        return [[signed(word % (1 << 64)) for word in total] for total in totals]

    def _close(self) -> None:
        assert self._book is not None  # only an open block is closed
        self._to_all(CLOSE)
        self._from_all(CLOSE)
        self._book.close()
        self._context.close_block(self._book, None)
        self._book = None
