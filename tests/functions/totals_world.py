"""Lookup totals of alice's over three holders, all sides in this process: what is asked, what travels, what comes out.

A test may stand on any line and change what one side sends.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from atoll_lookup_world import Line, digests

from atoll.crypto.suite import SigningKey
from atoll.crypto.wire import decode_body, encode_body
from atoll.errors import AtollError
from atoll.functions.calls import CallBook
from atoll.functions.context import Call, LocalInput, Outcome, Shown
from atoll.functions.query.messages import SEALING
from atoll.functions.query_totals.run import run
from atoll.protocols.memory import pair

SIGNERS = {str(key.public): key for key in (SigningKey(bytes([i]) * 32) for i in range(1, 5))}
ALICE, *HOLDERS = sorted(SIGNERS)
BOB, CAROL, DAN = HOLDERS
NAMES = {ALICE: "alice", BOB: "bob", CAROL: "carol", DAN: "dan"}
STEP = "n6"
SECONDS = 30.0
Row = tuple[str, int, int]
"""A key, a debt in hundredths, a number of loans."""
Tables = dict[str, list[Row]]
"""The rows of each holder."""
Change = Callable[[str, str, bytes], list[bytes]]
"""From the other party of the line, the step and the bytes of a message to what is sent in its place."""
VALUES = [
    {"column": "debt", "as": "debt", "scale": 2, "range": ["-10000000", "10000000"]},
    {"column": "loans", "as": "loans", "scale": 0, "range": ["-1000", "1000"]},
]
_IDLE = object()


def plain(tables: Tables, key: str) -> list[int]:
    """Debt, loans, rows and holders of a key as anyone sees them who has all tables."""
    found = {holder: [row for row in rows if row[0] == key] for holder, rows in tables.items()}
    every = [row for rows in found.values() for row in rows]
    return [
        sum(row[1] for row in every),
        sum(row[2] for row in every),
        len(every),
        sum(bool(rows) for rows in found.values()),
    ]


class Answer:
    """What alice's user gets for a request: `totals` of each key, codes of `errors`, the tables' version."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.totals: list[list[int] | None] = body["totals"]
        self.problems: list[dict[str, Any] | None] = body["errors"]
        self.errors = [None if e is None else e["code"] for e in self.problems]
        self.version: bytes = body["version"]


class Service:
    """A service that runs.

    Args:
        tables: of the holders.
        bend_alice: what changes alice's messages to any holder, if she cheats.
        bend: the same of holders who cheat.
        admit: what a holder's node says of a call; none but those named say anything.
        seeds: what all sides' seeds end with: services of one text have the same randomness.
        parameters: of the plan.
    """

    def __init__(
        self,
        folder: Path,
        tables: Tables,
        *,
        bend_alice: Change | None = None,
        bend: Mapping[str, Change] | None = None,
        admit: Mapping[str, Callable[[Shown | None], None]] | None = None,
        seeds: str = "",
        **parameters: Any,
    ) -> None:
        self._folder = folder
        self._admit = admit or {}
        self._seeds = seeds
        self.parameters = {
            "name": "debts", "holders": HOLDERS, "keys": [["k"]] * 3, "values": [VALUES] * 3, "rows": 10,
            "count_rows": True, "count_holders": True, "maximum_keys": 200, "maximum_bytes": 1 << 20,
            "block_calls": 1000, "block_seconds": 3600, "consent": "none", **parameters,
        }  # fmt: skip
        self.lines: dict[tuple[str, str], Line] = {}
        for holder in HOLDERS:
            ends = pair(capacity=256, seconds=SECONDS)
            changes = self._towards(bend_alice, holder), self._towards((bend or {}).get(holder), ALICE)
            self.lines[ALICE, holder] = Line(ends[0], changes[0])
            self.lines[holder, ALICE] = Line(ends[1], changes[1])
        parties = [ALICE, *HOLDERS]
        self.blocks: dict[str, list[tuple[int, str]]] = {party: [] for party in parties}
        self.hits: list[int | None] = []
        self.books: dict[str, list[Path]] = {party: [] for party in parties}
        self.released: dict[str, list[list[str]]] = {party: [] for party in parties}
        self.errors: dict[str, BaseException] = {}
        self.outcomes: dict[str, Outcome] = {}
        self._answers: queue.Queue[bytes | None] = queue.Queue()
        self._requests: queue.Queue[Any] = queue.Queue()
        self._number = self._versions = 0
        self.sealed = threading.Event()
        self._looks = {holder: threading.Semaphore(0) for holder in HOLDERS}
        for party in parties:
            (folder / NAMES[party]).mkdir()
        self._local = {holder: self._written(holder, tables[holder]) for holder in HOLDERS}
        self._threads = [
            threading.Thread(target=self._side, args=(party,), name=NAMES[party], daemon=True)
            for party in parties
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _towards(change: Change | None, peer: str) -> Callable[[str, bytes], list[bytes]] | None:
        if change is None:
            return None
        bent = change
        return lambda step, message: bent(peer, step, message)

    # The holders' tables.

    def _written(self, holder: str, rows: list[Row]) -> LocalInput:
        self._versions += 1
        folder = self._folder / NAMES[holder]
        file = folder / f"{self._versions}.parquet"
        columns = {
            "k": pa.array([row[0] for row in rows], pa.string()),
            "debt": pa.array([Decimal(row[1]).scaleb(-2) for row in rows], pa.decimal128(18, 2)),
            "loans": pa.array([row[2] for row in rows], pa.int64()),
        }
        pq.write_table(pa.table(columns), file)
        return LocalInput(self._input(holder), "debts", file, folder, f"v{self._versions}", None)

    @staticmethod
    def _input(holder: str) -> str:
        return f"in{HOLDERS.index(holder)}"

    def _inputs(self, holder: str) -> dict[str, LocalInput]:
        self._looks[holder].release()
        return {self._input(holder): self._local[holder]}

    def put(self, tables: Tables) -> None:
        """Gives some holders another version, and waits until each has read its own."""
        assert self.sealed.wait(SECONDS)  # what stands before is the first one
        for holder, rows in tables.items():
            self._local[holder] = self._written(holder, rows)
        for holder in tables:
            looks = self._looks[holder]
            while looks.acquire(blocking=False):
                pass
        # The look that was under way, the one that reads, and the one after it.
        for holder in tables:
            for _ in range(3):
                assert self._looks[holder].acquire(timeout=SECONDS)

    # The sides.

    def _plan(self) -> dict[str, Any]:
        normal = {"columns": [{"name": "k", "steps": []}]}
        inputs, operators = [], []
        for number, holder in enumerate(HOLDERS):
            source, read, keys = f"in{number}", f"n{2 * number}", f"n{2 * number + 1}"
            inputs.append({"id": source, "party": holder, "columns": []})
            operators.append({"id": read, "kind": "read/v1", "inputs": [source], "parameters": {}})
            operators.append({"id": keys, "kind": "normalise/v1", "inputs": [read], "parameters": normal})
        joint = {"id": STEP, "kind": "lookup_totals/v1", "inputs": ["n1", "n3", "n5"]}
        operators.append({**joint, "parameters": self.parameters})
        return {"id": "job", "asker": ALICE, "inputs": inputs, "operators": operators}

    def _context(self, party: str) -> Any:
        folder = self._folder / NAMES[party]

        def calls() -> CallBook:
            path = folder / f"{len(self.books[party])}.book"
            self.books[party].append(path)
            return CallBook(path)

        def close_block(book: CallBook, hits: int | None) -> None:
            self.blocks[party].append((book.calls, book.root))
            self.hits.append(hits)

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
            seed=(NAMES[party] + self._seeds).encode().ljust(32, b"."),
            attempt=1,
            threads=1,
            folder=folder,
            inputs=lambda: self._inputs(party),
            taken_up=lambda version: None,
            channel=lambda peer, name: self.lines[party, peer],
            sign=lambda purpose, message: SIGNERS[party].sign(message),
            before_open=self.released[party].append,
            progress=progress,
            call=call,
            reply=lambda number, payload: self._answers.put(payload),
            admit=self._admit.get(party, lambda shown: None),
            calls=calls,
            close_block=close_block,
        )

    def _side(self, party: str) -> None:
        try:
            self.outcomes[party] = run(self._context(party))
        except BaseException as error:
            self.errors[party] = error
            for (own, _), line in self.lines.items():
                if own == party:
                    line.close()
        if party == ALICE:
            self._answers.put(None)
            self.sealed.set()

    # Alice's user.

    def ask(self, *keys: str, shown: list[dict[str, Any] | None] | None = None) -> Answer:
        """Asks for keys once the tables are sealed; the error that ended alice's side is raised."""
        assert self.sealed.wait(SECONDS)
        self._number += 1
        request = {"digests": digests(list(keys)), "shown": shown or [None] * len(keys)}
        self._requests.put(Call(self._number, encode_body(request)))
        found = self._answers.get(timeout=SECONDS)
        if found is None:
            raise self.errors[ALICE]
        return Answer(decode_body(found))

    def idle(self) -> None:
        """Nobody asks until the open block ends."""
        assert self.sealed.wait(SECONDS)
        self._requests.put(_IDLE)

    def stop(self) -> None:
        """Ends the service; all sides are through, or have failed, when it returns."""
        self._requests.put(None)
        for thread in self._threads:
            thread.join(SECONDS)
            assert not thread.is_alive()

    def ended(self) -> None:
        """Ends the service, which must have gone well: all sides count the same calls in the same blocks."""
        self.stop()
        for error in self.errors.values():
            raise error
        assert all(blocks == self.blocks[ALICE] for blocks in self.blocks.values())
        counts = [outcome.meters["calls"] for outcome in self.outcomes.values()]
        assert counts == [sum(calls for calls, _ in self.blocks[ALICE])] * 4
        assert set(self.hits) <= {None}

    def fault(self, party: str) -> AtollError:
        """Ends the service, and gives the error that ended this side of it."""
        self.stop()
        error = self.errors[party]
        assert isinstance(error, AtollError), repr(error)
        return error

    def sent(self, party: str, peer: str) -> list[bytes]:
        """What a party sent to its peer, in order, as it arrived."""
        return self.lines[peer, party].received
