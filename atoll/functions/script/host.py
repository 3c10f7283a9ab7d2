"""The host's side of a package's service: a subject's rows into the sandbox, and out of it what passes the gate."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from atoll.crypto import canonical
from atoll.crypto.stream import stream_bytes
from atoll.crypto.suite import commit, digest
from atoll.data.read import table as read_table
from atoll.errors import AtollError
from atoll.functions.calls import CallBook
from atoll.functions.context import Channel, Context, Shown
from atoll.functions.script import messages
from atoll.functions.script.messages import CALLS, CLOSE, DECIDED, HELD, REFUSED, STOP, Peer
from atoll.sandbox.asked import Asked, call_seed
from atoll.sandbox.host import Cell, CellPackage
from atoll.sandbox.subjects import SubjectRows, needed
from atoll.scripts.deployment import Bounds, allowed, held
from atoll.scripts.outputs import bits_per_call, gate
from atoll.scripts.package import open_package

_OPENING_BYTES = 16
# Beyond what its calls may take, a group has so many ticks for the way there and back, and no more than a second. So a
# call alone is done, or ended, within 64 ticks: at one of seven moments.
_SLACK_TICKS = 63
_SLACK_SECONDS = 1.0


class Host:
    """Answers groups of calls until the asker stops."""

    def __init__(self, context: Context, parameters: dict[str, Any], step: str) -> None:
        self._context = context
        self._parameters = parameters
        self._peer = Peer(step, context.plan["asker"])
        self._channel: Channel = context.channel(self._peer.key, step)
        deployed = context.deployed()
        self._package = open_package(deployed["package"])
        self._digest, self._content = self._package.digest, self._package.content
        self._declared = self._package.manifest
        self._bounds = Bounds.parse(deployed["bounds"], what="bounds")
        self._allowed = allowed(self._declared, self._bounds)
        self._millibits = bits_per_call(self._allowed, self._bounds.holds)
        self._slot = self._declared.limits.time_ms / 1000
        self._slack = min(_SLACK_SECONDS, _SLACK_TICKS * self._slot)
        self._cell = Cell(context.cell, CellPackage(self._declared.document(), self._package.contents))
        self._rows: dict[str, SubjectRows] = {}
        self._versions: dict[str, str] = {}
        self._groups = 0
        self._book: CallBook | None = None
        self.calls = 0

    def run(self) -> int:
        """The number of calls that were answered."""
        # Everything is ready before the first call comes.
        self._load()
        self._cell.start()
        try:
            self._serve()
        finally:
            self._cell.close()
        return self.calls

    def _load(self) -> None:
        """Takes up the present version of each input: a new one is used from the next group on."""
        found = self._context.inputs()
        versions = {name: item.version for name, item in found.items()}
        if versions == self._versions:
            return
        for name, item in found.items():
            if self._versions.get(name) != item.version:
                declared = self._declared.inputs[name]
                self._rows[name] = SubjectRows(read_table(item.data, needed(declared)), declared)
        self._versions = versions

    def _serve(self) -> None:
        while True:
            body = messages.read(self._peer, self._channel.recv(), (CALLS, CLOSE, STOP))
            if body["kind"] == CALLS:
                self._group(body)
                continue
            if (self._book is None) != (body["kind"] == STOP):
                raise self._peer.wrong("a block is closed before the service stops, and only then")
            self._channel.send(messages.say(body["kind"]), body["kind"])
            if self._book is None:
                return
            self._book.close()
            self._context.close_block(self._book, None)
            self._book = None

    # One group.

    def _group(self, body: dict[str, Any]) -> None:
        received = time.monotonic()
        calls = messages.read_calls(self._peer, body, messages.MAX_GROUP)
        if self._book is None:
            self._context.before_open([self._peer.key])
            self._book = self._context.calls()
        if self._book.calls + len(calls) > self._parameters["block_calls"]:
            raise self._peer.wrong(f"a block has at most {self._parameters['block_calls']} calls")
        answers: list[dict[str, Any] | None] = [None] * len(calls)
        shown: list[Shown | None] = [None] * len(calls)
        requests = [digest(messages.asked_bytes(call)) for call in calls]
        consent = self._parameters["consent"]
        known = self._context.recall([call["key"] for call in calls])
        for at, call in enumerate(calls):
            try:
                self._check(call)
                shown[at] = Shown.read(consent, call["commitment"], call["authorisation"])
                before = known.get(call["key"])
                if before is not None:
                    answers[at] = self._again(call, requests[at], before)
                else:
                    self._context.admit(shown[at])
            except AtollError as error:
                answers[at] = _refused(error)
        fresh = [at for at, answer in enumerate(answers) if answer is None]
        if fresh:
            self._decide(calls, requests, fresh, answers)
        for at, answer in enumerate(answers):
            assert answer is not None  # every call was answered above
            # A held answer is no answer yet: its call is counted once, when it is decided.
            if answer["status"] == DECIDED:
                self._keep(calls[at], shown[at], answer)
        self._context.progress(self.calls, self.calls + 1, self._peer.step)
        self._on_the_grid(received)
        self._channel.send(messages.say(messages.ANSWERS, answers=answers), "answers")

    def _check(self, call: dict[str, Any]) -> None:
        """Subject and arguments as the manifest declares them; `E_FORMAT` names what is wrong."""
        if not messages.is_subject(call["subject"], self._declared.subject.type):
            raise AtollError("E_FORMAT", f"{self._declared.subject.name} is no {self._declared.subject.type}")
        if set(call["arguments"]) != set(self._declared.arguments):
            raise AtollError("E_FORMAT", "a call names exactly the package's arguments")
        for name, argument in self._declared.arguments.items():
            try:
                argument.check(call["arguments"][name])
            except ValueError as error:
                raise AtollError("E_FORMAT", f"arguments.{name}: {error}") from None

    def _again(self, call: dict[str, Any], request: str, before: dict[str, Any]) -> dict[str, Any]:
        if before["request"] != request:
            raise AtollError("E_CONFLICT", f"the key {call['key']} stands for another call")
        return {**before["answer"], "again": True, "error": None}

    def _decide(
        self,
        calls: list[dict[str, Any]],
        requests: list[str],
        fresh: list[int],
        answers: list[dict[str, Any] | None],
    ) -> None:
        self._load()
        self._groups += 1
        now = datetime.now(UTC).replace(microsecond=0)
        opening = stream_bytes(
            self._context.seed, self._context.attempt, self._peer.step, f"data/{self._groups}", _OPENING_BYTES
        )
        versions = canonical.dumps(self._versions)
        data = commit(versions, opening)
        found = self._outcomes([calls[at] for at in fresh], now)
        rows = []
        for at, raw in zip(fresh, found, strict=True):
            left = gate(self._declared, self._allowed, raw)
            status = HELD if held(self._bounds, left) else DECIDED
            answer = {"status": status, "answer": left, "as_of": now.strftime("%Y-%m-%dT%H:%M:%SZ")}
            answer["package"] = self._digest
            rows.append(
                {
                    "key": calls[at]["key"],
                    "subject": calls[at]["subject"],
                    "request": requests[at],
                    "arguments": calls[at]["arguments"],
                    "answer": {**answer, "data": data},
                    "millibits": self._millibits,
                    "versions": versions,
                    "opening": opening,
                }
            )
        refusals = self._context.settle(rows)
        for at, row, refusal in zip(fresh, rows, refusals, strict=True):
            if refusal is not None:
                answers[at] = _refused(refusal)
                continue
            answer = dict(row["answer"])
            if answer["status"] == HELD:
                answer["answer"] = None
            answers[at] = {**answer, "again": False, "error": None}

    # The sandbox.

    def _outcomes(self, calls: list[dict[str, Any]], now: datetime) -> list[Any]:
        """What the package says of each call; None where it says nothing, for whatever reason."""
        subjects = [call["subject"] for call in calls]
        tables: dict[str, pa.Table] = {}
        run = [True] * len(calls)
        for name, rows in self._rows.items():
            tables[name], may = rows.take(subjects)
            run = [ran and ok for ran, ok in zip(run, may, strict=True)]
        inside = [
            Asked(call_seed(self._content, call["key"]), now.date(), call["arguments"]) for call in calls
        ]
        found = self._run(inside, tables)
        return [answer if ran else None for answer, ran in zip(found, run, strict=True)]

    def _run(self, calls: list[Asked], tables: dict[str, pa.Table]) -> list[Any]:
        """Runs calls together; where that ends the sandbox, in halves, until the guilty one stands alone."""
        found = self._cell.run(calls, tables, seconds=len(calls) * self._slot + self._slack)
        if not self._cell.failed or len(calls) == 1:
            return list(found)
        half = len(calls) // 2
        return [
            *self._run(calls[:half], {n: _part(t, 0, half) for n, t in tables.items()}),
            *self._run(calls[half:], {n: _part(t, half, len(calls)) for n, t in tables.items()}),
        ]

    # What leaves.

    def _keep(self, call: dict[str, Any], shown: Shown | None, answer: dict[str, Any]) -> None:
        assert self._book is not None  # opened before the first answer
        self._book.add(
            messages.request_bytes(self._digest, call),
            messages.answer_bytes(answer),
            call["salt"],
            shown.recorded if shown else None,
            None,
            shown.envelope if shown else None,
        )
        self.calls += 1

    def _on_the_grid(self, received: float) -> None:
        """Waits for the next moment at which answers may leave: one tick after the calls came, or two, or four ...

        Ticks at equal distance would tell far more of how long a package took.
        """
        moment = self._slot
        while received + moment < time.monotonic():
            moment *= 2
        time.sleep(max(0.0, received + moment - time.monotonic()))


def _part(table: pa.Table, first: int, last: int) -> pa.Table:
    """The rows of calls `first` up to `last`, numbered from 0."""
    numbers = table.column("__call")
    found = table.filter(pc.and_(pc.greater_equal(numbers, first), pc.less(numbers, last)))
    at = found.schema.get_field_index("__call")
    return found.set_column(
        at, "__call", pc.subtract(found.column(at), pa.scalar(first, pa.int32())).cast(pa.int32())
    )


def _refused(error: AtollError) -> dict[str, Any]:
    return {
        "status": REFUSED,
        "again": False,
        "answer": None,
        "as_of": "",
        "data": "",
        "package": "",
        "error": error.to_wire(),
    }
