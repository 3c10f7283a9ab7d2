"""The host's side of a lookup: seals its table, evaluates blinded keys, answers queries, takes up new versions."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from atoll.crypto.lookup import STEP, Epoch, Holder
from atoll.crypto.stream import stream_bytes
from atoll.errors import AtollError
from atoll.functions.calls import CallBook
from atoll.functions.context import Context, LocalInput, Shown
from atoll.functions.query import messages
from atoll.functions.query.messages import CALLS, CLOSE, EPOCH, STOP, Peer
from atoll.functions.query.records import Changes, Records, differences, read_records

_LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class Source:
    """Where records come from: input, key columns with their steps, value columns, and the bounds of the plan."""

    input: str
    keys: list[str]
    steps: dict[str, list[str]]
    values: list[str]
    rows: int
    record_bytes: int

    def read(self, data: LocalInput, threads: int) -> Records:
        """The records of one version of the table."""
        return read_records(
            data.data, self.keys, self.steps, self.values, rows=self.rows, length=self.record_bytes, threads=threads
        )  # fmt: skip


@dataclass(frozen=True)
class _Next:
    """A version that waits to be taken up; `error` where it cannot be."""

    version: str
    records: Records
    changes: Changes
    error: Exception | None = None


class Host:
    """Answers groups of calls until the asker stops."""

    def __init__(self, context: Context, parameters: dict[str, Any], step: str, source: Source) -> None:
        self._context, self._source = context, source
        self._peer = Peer(context.channel(context.plan["asker"], step), step, context.plan["asker"])
        self._most: int = parameters["maximum_keys"]
        self._block_calls: int = parameters["block_calls"]
        self._consent: str = parameters["consent"]
        self._book: CallBook | None = None
        self._epochs = self._versions = self._groups = 0
        self._given = False
        self.calls = 0
        local = self._local()
        self._version = local.version
        self._records = source.read(local, context.threads)
        self._holder = self._seal(self._records)
        self._next: _Next | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def _local(self) -> LocalInput:
        return self._context.inputs()[self._source.input]

    def _drawn(self, what: str, length: int) -> bytes:
        step = self._peer.step
        return stream_bytes(self._context.seed, self._context.attempt, step, f"{STEP}/{what}", length)

    def _seal(self, records: Records) -> Holder:
        """Another epoch: a new key, everything sealed anew."""
        self._epochs += 1
        epoch = self._epochs
        return Holder(
            self._drawn(f"key/{epoch}", 32),
            self._context.seed,
            self._context.attempt,
            f"{self._peer.step}/{epoch}",
            version=self._named(),
            matrix=self._drawn(f"matrix/{epoch}", 32),
            digests=records.digests,
            records=records.records,
            record_bytes=self._source.record_bytes,
            threads=self._context.threads,
        )

    def _named(self) -> bytes:
        self._versions += 1
        return self._drawn(f"version/{self._versions}", 16)

    def run(self) -> int:
        """The number of calls that were answered."""
        hint = self._hint()
        # The sealed table is the first thing that leaves.
        self._open_block()
        self._announce(hint)
        watcher = threading.Thread(target=self._watch, daemon=True, name="lookup versions")
        watcher.start()
        try:
            self._serve()
        finally:
            self._ended.set()
            watcher.join()
        return self.calls

    def _hint(self) -> bytes:
        """What goes with an epoch."""
        return self._holder.hint()

    def _open_block(self) -> CallBook:
        self._context.before_open([self._peer.key])
        self._book = self._context.calls()
        return self._book

    def _announce(self, hint: bytes) -> None:
        self._given = False
        epoch: Epoch = self._holder.epoch
        self._peer.say(EPOCH, **vars(epoch))
        self._peer.send_pieces(hint, "hint")

    # New versions.

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
                records = self._source.read(local, 1)
                found = _Next(local.version, records, differences(self._records, records))
            except Exception as error:
                nothing = Changes(b"", b"", b"")
                found = _Next(local.version, self._records, nothing, error)
            with self._lock:
                # Only what was compared with the version that stands is of use.
                self._next = found if self._next is ahead else None

    def _take_up(self) -> bytes:
        """Takes up a version that waits: the delta for the asker, empty if there is none."""
        with self._lock:
            ahead, self._next = self._next, None
            if ahead is not None:
                # Together with `_next`: who reads the next version compares it with what stands.
                self._records, self._version = ahead.records, ahead.version
        self._context.taken_up(ahead.version if ahead else None)
        if ahead is None:
            return b""
        if ahead.error is not None:
            # The service ends, and says whose table it is: to serve an old version for ever would be a wrong answer.
            raise ahead.error
        changes = ahead.changes
        count = (len(changes.removed) + len(changes.digests)) // 32
        if not count:
            return b""
        if self._holder.epoch.delta_bytes(count) <= messages.MOST_DELTA:
            try:
                return self._holder.update(self._named(), changes.removed, changes.digests, changes.records)
            except AtollError as error:
                if error.code != "E_TOO_LARGE":
                    raise
        self._holder = self._seal(self._records)
        self._announce(self._hint())
        return b""

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
        blinded = [body["blinded"][at : at + 32] for at in range(0, len(body["blinded"]), 32)]
        errors: list[dict[str, Any] | None] = []
        passed: list[tuple[bytes, dict[str, Any], Shown | None]] = []
        for element, call in zip(blinded, calls, strict=True):
            try:
                shown = Shown.read(self._consent, call["commitment"], call["authorisation"])
                self._context.admit(shown)
            except AtollError as error:
                errors.append(error.to_wire())
            else:
                errors.append(None)
                passed.append((element, call, shown))
        delta = self._take_up()
        evaluation = self._evaluate(b"".join(element for element, _, _ in passed), len(passed))
        for at, (element, call, shown) in enumerate(passed):
            value = evaluation[64 + 32 * at : 96 + 32 * at]
            recorded, envelope = (shown.recorded, shown.envelope) if shown else (None, None)
            book.add(element, value, call["salt"], recorded, None, envelope)
        self.calls += len(passed)
        self._context.progress(self.calls, self.calls + 1, self._peer.step)
        self._peer.say(
            messages.EVALUATED,
            errors=errors,
            evaluation=evaluation,
            version=self._holder.epoch.version,
            delta=len(delta),
        )
        self._peer.send_pieces(delta, "delta")
        if passed and not self._given:
            self._answer(len(passed))

    def _give_table(self) -> None:
        """The sealed table whole: whoever may fetch any column may have them all."""
        epoch = self._holder.epoch
        self._peer.say(messages.TABLE)
        self._peer.send_columns(self._holder.columns, epoch.columns, epoch.column_bytes)
        self._given = True

    def _evaluate(self, blinded: bytes, granted: int) -> bytes:
        if not granted:
            return b""
        self._groups += 1
        try:
            return self._holder.evaluate(blinded, granted, self._groups)
        except AtollError as error:
            raise self._peer.wrong(error.text) from None

    def _answer(self, keys: int) -> None:
        """One query for each key, whatever it gives: the host cannot tell a hit from a miss."""
        length, first = self._holder.epoch.query_bytes, True
        while keys:
            count = min(keys, messages.QUERIES_AT_ONCE)
            body = self._peer.read(messages.QUERIES, *([messages.TABLE] if first else []))
            if body["kind"] == messages.TABLE:
                self._give_table()
                return
            first = False
            queries = self._peer.read_all(body["queries"], count, length, "queries")
            try:
                answers = self._holder.answer(queries)
            except AtollError as error:
                raise self._peer.wrong(error.text) from None
            self._peer.say(messages.ANSWERS, answers=answers)
            keys -= count
