"""A holder's side of lookup totals: seals its table, shares what it has for each id, opens only under masks."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, cast

from atoll.crypto import masks
from atoll.crypto.lookup_totals import STEP, WORD_BYTES, Pool, Preparation, Query, Sealed, shape_for
from atoll.crypto.stream import stream_bytes
from atoll.crypto.suite import PublicKey, SigningKey
from atoll.errors import AtollError
from atoll.functions.calls import CallBook
from atoll.functions.context import Context, LocalInput, NodeSigner, Shown
from atoll.functions.query_totals import messages
from atoll.functions.query_totals.messages import ASK, CALLS, CLOSE, EPOCH, GO, ROSTER, STOP, TURN, Peer
from atoll.functions.query_totals.words import Source, Sums
from atoll.protocols.driver import converse
from atoll.protocols.pairwise_masks import Session

_LOOK_SECONDS = 0.25
PURPOSE = "pairwise-masks key"


def _nothing_opens() -> None:
    """A preparation tells nothing of ids or tables."""


@dataclass(frozen=True)
class _Next:
    """A version that waits to be taken up; `error` where it cannot be."""

    version: str
    sums: Sums
    error: Exception | None = None


class Masks:
    """The masks of one attempt: under each number one vector of this holder, and the sum over all holders is theirs."""

    def __init__(self, context: Context, session: Session) -> None:
        self._context, self._session = context, session
        self._channel = f"{session.job}/{session.label}"
        self._public = masks.public_key(context.seed, context.attempt, self._channel)
        self._peers: dict[str, bytes] = {}
        self._last = 0

    def hello(self) -> bytes:
        """This holder's key, signed."""
        signer = NodeSigner(PublicKey.parse(self._context.me), PURPOSE, self._context.sign)
        return self._session.group.hello(cast(SigningKey, signer), self._public)

    def take(self, roster: bytes) -> None:
        """All holders' keys, each checked under its holder's signature; `E_PROTOCOL`, `E_SIGNATURE`."""
        group = self._session.group
        keys = group.read_roster(roster)
        if keys.pop(self._context.me) != self._public:
            raise group.broken("the asker changed this party's key", None)
        self._peers = keys

    def masked(self, words: list[int], number: int) -> bytes:
        """The words modulo 2^64 under the masks of `number`; `E_REWIND` unless it is above all before it.

        Two vectors under the same masks show their difference.
        """
        if number <= self._last:
            raise AtollError("E_REWIND", f"the masks of vector {number} were used", step=self._session.label)
        self._last = number
        found = masks.masked(
            # The upper half of a masked word stays here: its sum would count how often shares wrapped.
            b"".join(word.to_bytes(masks.WORD_BYTES, "little") for word in words),
            self._context.seed,
            self._context.attempt,
            self._channel,
            me=self._context.me,
            peers=self._peers,
            context=self._session.context,
            label=f"{self._session.label}/{number}",
        )
        return b"".join(found[at : at + WORD_BYTES] for at in range(0, len(found), masks.WORD_BYTES))


class Host:
    """Answers groups of calls until the asker stops."""

    def __init__(self, context: Context, parameters: dict[str, Any], step: str, source: Source) -> None:
        self._context, self._source, self._step = context, source, step
        self._peer = Peer(context.channel(context.plan["asker"], step), step, context.plan["asker"])
        holders: list[str] = parameters["holders"]
        self._place = holders.index(context.me)
        self._holders = len(holders)
        self._most: int = parameters["maximum_keys"]
        self._block_calls: int = parameters["block_calls"]
        self._consent: str = parameters["consent"]
        session = Session(context.plan["id"], context.attempt, tuple(holders), source.words, step)
        self._masks = Masks(context, session)
        self._book: CallBook | None = None
        self._epochs = self._preparations = self._opened = 0
        self.calls = 0
        local = self._local()
        self._version = local.version
        self._sums = self._read(local)
        self._sealed: Sealed | None = None
        self._pool: Pool | None = None
        self._ready: deque[Query] = deque()
        self._next: _Next | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def _local(self) -> LocalInput:
        return self._context.inputs()[self._source.input]

    def _read(self, local: LocalInput) -> Sums:
        return self._source.read(local, self._step, self._context.me, self._context.threads)

    def run(self) -> int:
        """The number of calls that were answered."""
        self._peer.say(messages.HELLO, key=self._masks.hello())
        body = self._peer.read(ROSTER)
        if not isinstance(body["keys"], bytes):
            raise self._peer.wrong("the keys of all holders are bytes")
        try:
            self._masks.take(body["keys"])
        except AtollError as error:
            raise self._blamed(error) from None
        # The sealed table is the first thing that leaves.
        self._open_block()
        self._announce()
        watcher = threading.Thread(target=self._watch, daemon=True, name="lookup versions")
        watcher.start()
        try:
            self._serve()
        finally:
            self._ended.set()
            watcher.join()
        return self.calls

    def _open_block(self) -> CallBook:
        self._context.before_open([self._peer.key])
        self._book = self._context.calls()
        return self._book

    # Epochs: a table that changed is sealed anew, under another function.

    def _announce(self) -> None:
        context = self._context
        self._epochs += 1
        shape = shape_for(len(self._sums.digests) // 32, self._source.words)
        labels = context.seed, context.attempt, f"{self._step}/{self._epochs}"
        self._sealed = Sealed(*labels, shape)
        table = self._sealed.table(self._sums.digests, self._sums.words)
        self._peer.say(
            EPOCH,
            columns=shape.columns,
            cells=shape.cells,
            salt=self._sealed.salt,
            version=stream_bytes(*labels, f"{STEP}/version", messages.VERSION_BYTES),
        )
        self._peer.send_pieces(table, messages.TABLE)
        # What was prepared is of the old shape and function.
        self._pool, self._preparations = None, 0
        self._ready.clear()
        self._make_ready(messages.READY)

    def _prepare(self, sealed: Sealed) -> Pool:
        self._preparations += 1
        context = self._context
        machine = Preparation(
            context.seed,
            context.attempt,
            f"{self._step}/{context.me}/{self._epochs}/{self._preparations}",
            context.plan["id"].encode(),
            sealed.shape,
            asker=False,
            threads=context.threads,
        )
        backlog: deque[bytes] = deque()
        try:
            converse(machine, self._peer.channel, backlog, before_open=_nothing_opens)
        except AtollError as error:
            raise self._blamed(error) from None
        if backlog:
            raise self._peer.wrong("it says more than a preparation takes")
        return machine.pool()

    def _blamed(self, error: AtollError) -> AtollError:
        """Whatever is wrong with a message, it is the asker who sent it."""
        return self._peer.wrong(error.text) if error.code == "E_PROTOCOL" and error.party is None else error

    def _make_ready(self, count: int) -> None:
        """Sends the blocks of further queries until so many are ready; the asker counts alike."""
        assert self._sealed is not None
        while len(self._ready) < count:
            if self._pool is None or not self._pool.left:
                self._pool = self._prepare(self._sealed)
            query = self._sealed.query(self._pool)
            self._peer.say(messages.BLOCKS, messages=[query.outgoing()])
            self._ready.append(query)

    def _watch(self) -> None:
        """Reads new versions of the table while calls go on."""
        while not self._ended.wait(_LOOK_SECONDS):
            local = self._local()
            with self._lock:
                ahead = self._next
                known = ahead.version if ahead else self._version
            if local.version == known:
                continue
            try:
                found = _Next(local.version, self._read(local))
            except Exception as error:
                found = _Next(local.version, self._sums, error)
            with self._lock:
                self._next = found

    def _take_up(self) -> None:
        """Takes up a version that waits."""
        with self._lock:
            ahead, self._next = self._next, None
            if ahead is not None:
                self._version = ahead.version
        self._context.taken_up(ahead.version if ahead else None)
        if ahead is None:
            return
        if ahead.error is not None:
            # The service ends, and says whose table it is: to serve an old version for ever would be a wrong answer.
            raise ahead.error
        if not ahead.sums.same(self._sums):
            self._sums = ahead.sums
            self._announce()

    # Calls.

    def _serve(self) -> None:
        while True:
            body = self._peer.read(CALLS, CLOSE, STOP)
            if body["kind"] == CALLS:
                self._group(body)
                continue
            if (self._book is None) != (body["kind"] == STOP):
                raise self._peer.wrong("a block is closed before the service stops, and only then")
            self._peer.say(body["kind"])
            if self._book is None:
                return
            self._book.close()
            self._context.close_block(self._book, None)
            self._book = None

    def _group(self, body: dict[str, Any]) -> None:
        calls = self._peer.read_calls(body, self._most)
        book = self._book or self._open_block()
        if book.calls + len(calls) > self._block_calls:
            raise self._peer.wrong(f"a block has at most {self._block_calls} calls")
        self._take_up()
        errors: list[dict[str, Any] | None] = []
        shown: list[Shown | None] = []
        for call in calls:
            try:
                word = Shown.read(self._consent, call["commitment"], call["authorisation"])
                self._context.admit(word)
            except AtollError as error:
                errors.append(error.to_wire())
                shown.append(None)
            else:
                errors.append(None)
                shown.append(word)
        self._peer.say(messages.ADMITTED, errors=errors)
        admitted = [at for at, error in enumerate(errors) if error is None]
        passed = self._peer.read_passed(self._peer.read(GO), admitted)
        for start in range(0, len(passed), messages.QUERIES_AT_ONCE):
            part = passed[start : start + messages.QUERIES_AT_ONCE]
            self._answer(book, [(calls[at], shown[at]) for at in part])
        self.calls += len(passed)
        self._context.progress(self.calls, self.calls + 1, self._step)
        if passed:
            self._make_ready(messages.READY)

    def _answer(self, book: CallBook, calls: list[tuple[dict[str, Any], Shown | None]]) -> None:
        """Shares the words of some ids, and opens the shares to the sum over all holders."""
        self._make_ready(len(calls))
        queries = [self._ready.popleft() for _ in calls]
        body = self._peer.read(ASK)
        length = messages.REQUEST_BYTES * self._holders
        requests = self._peer.read_all(body["requests"], len(calls), length, "requests")
        turn = self._peer.read_messages(body, len(calls))
        own = slice(messages.REQUEST_BYTES * self._place, messages.REQUEST_BYTES * (self._place + 1))
        for request, several, (call, word) in zip(requests, turn, calls, strict=True):
            if several[0][messages.HEADER_BYTES :] != request[own]:
                raise self._peer.wrong("the asker records another request than it makes")
            recorded, envelope = (word.recorded, word.envelope) if word else (None, None)
            # All parties keep the same record: what each is asked, by all holders' first messages.
            book.add(request, b"", call["salt"], recorded, None, envelope)
        while True:
            self._take(queries, turn)
            answers = [query.outgoing() for query in queries]
            if not all(answers):
                # Nothing can be said to part of a turn; who is sent nothing would take it for this side's fault.
                raise self._peer.wrong("a turn lacks a message of a query")
            self._peer.say(TURN, messages=answers)
            if all(query.done for query in queries):
                break
            turn = self._peer.read_messages(self._peer.read(TURN), len(calls))
        opened = b""
        for query in queries:
            self._opened += 1
            opened += self._masks.masked(query.shares(), self._opened)
        self._peer.say(messages.OPENED, words=opened)

    def _take(self, queries: list[Query], turn: list[list[bytes]]) -> None:
        try:
            for query, several in zip(queries, turn, strict=True):
                for message in several:
                    query.receive(message)
        except AtollError as error:
            raise self._peer.wrong(error.text) from None
