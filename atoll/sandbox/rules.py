"""Rules, run by Monty: an interpreter in a process of its own, with limits, a frozen clock and seeded randomness.

A call's answer never depends on its neighbours. Calls go in together, and what a chunk gives counts only if nothing in
it reached a limit; otherwise each of its calls runs alone, in the end in a session that nothing ran in before.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pydantic_monty

from atoll.errors import AtollError
from atoll.scripts.manifest import Manifest
from atoll.scripts.tables import ParameterTable

CALLS_PER_CHUNK = 32
# A chunk's rows share the memory of one call: more rows than this go in fewer calls at a time.
_VALUES_PER_CHUNK = 2000
# What one call of the entry function may need on top of its own depth: the loop below.
_RECURSION = 100
_LOAD_SECONDS = 5.0

# Names with two underscores in front are not to be had in rules.
_PRELUDE = """
import datetime as __datetime
import random as __random

__classes = {"string": str, "int64": int, "decimal": int, "bool": bool, "date": __datetime.date}

def __lookup(rows, kind):
    def look_up(key):
        row = rows.get(key) if type(key) is kind else None
        return None if row is None else dict(row)
    return look_up

__lookups = {}
for __name in __tables:
    __lookups[__name] = __lookup(__tables[__name][1], __classes[__tables[__name][0]])

def __small(value):
    if type(value) is str:
        return len(value) <= 64
    if type(value) is int:
        return -9007199254740991 <= value <= 9007199254740991
    return type(value) is bool

def __checked(answer):
    if type(answer) is not dict or len(answer) > 64:
        return None
    out = {}
    for key in answer:
        value = answer[key]
        if type(key) is not str or len(key) > 64:
            return None
        if type(value) is list:
            if len(value) > 64:
                return None
            for item in value:
                if not __small(item):
                    return None
            out[key] = list(value)
        elif __small(value):
            out[key] = value
        else:
            return None
    return out

def __run(calls):
    answers = []
    for seed, values in calls:
        try:
            __random.seed(seed)
            answers.append(__checked(__entry(**values, **__lookups)))
        except Exception:
            answers.append(None)
    return answers

__entry = ENTRY
"""


@dataclass(frozen=True)
class Call:
    """A call as rules see it.

    Attributes:
        seed: what the call's randomness grows from.
        today: the frozen date.
        values: by name, what the entry function may be given; parameter tables excepted.
    """

    seed: bytes
    today: datetime.date
    values: Mapping[str, Any]


@dataclass
class Ran:
    """Answers in the order of the calls; what they are is not checked. None is no decision.

    `unfinished`: the places of calls that did not run, since the interpreter ended and no other could be started.
    """

    answers: list[Any]
    unfinished: list[int] = field(default_factory=list)


class _FailedError(Exception):
    """A feed that reached a limit or lost the interpreter."""


class InterpreterGoneError(Exception):
    """The interpreter's process has ended and no other can be started."""


def _size(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_size, value.values()))
    if isinstance(value, list):
        return 1 + sum(map(_size, value))
    return 1


class RuleEngine:
    """Rules, ready to be called.

    Args:
        source: text of the rules, checked by `check_rules`.
        manifest: the package's.
        tables: its parameter tables by name.
        parameters: the names of the entry function's parameters.
        pool: the interpreter, started; one process of it at most.

    Raises:
        AtollError: `E_SCRIPT` if the rules do not load within the manifest's memory.
    """

    def __init__(
        self,
        source: str,
        manifest: Manifest,
        tables: Mapping[str, ParameterTable],
        parameters: tuple[str, ...],
        pool: pydantic_monty.Monty,
    ) -> None:
        self._source = source
        self._prelude = _PRELUDE.replace("ENTRY", manifest.rules.entry)
        self._names = frozenset(parameters) - manifest.parameters.keys()
        self._tables = {
            name: [table.columns[table.key].type, table.rows]
            for name, table in tables.items()
            if name in parameters
        }
        self._limits = manifest.limits
        self._state: tuple[datetime.date, bytes] | None = None
        self._session: pydantic_monty.MontySession | None = None
        self._day: datetime.date | None = None
        self._fresh = False
        self._pool = pool
        try:
            self._load(datetime.date(2000, 1, 1))
        except (pydantic_monty.MontyError, RuntimeError, ValueError):
            self._drop()
            text = "the rules and their tables do not load within limits.memory_bytes."
            raise AtollError("E_SCRIPT", text, fault="caller") from None

    def close(self) -> None:
        """Gives the interpreter back."""
        self._drop()

    def _drop(self) -> None:
        if self._session is not None:
            with contextlib.suppress(pydantic_monty.MontyError, RuntimeError):
                self._session.__exit__(None, None, None)
        self._session = None

    def _checkout(self, today: datetime.date, seconds: float) -> pydantic_monty.MontySession:
        self._drop()
        midnight = datetime.datetime(today.year, today.month, today.day)
        session = self._pool.checkout(
            limits={
                "max_memory": self._limits.memory_bytes,
                "max_recursion_depth": _RECURSION,
                "max_feed_duration_secs": seconds,
                "max_suspensions": 1,
                "max_total_sleep_secs": 0.0,
            },
            os_policy={
                "datetime": midnight,
                "timezone": "utc",
                "sleep": "zero",
                "process_time": "zero",
                "random_start": {"seed": 0},
            },
            assert_message_annotations=False,
        )
        self._session = session.__enter__()
        return self._session

    def _load(self, today: datetime.date) -> bytes:
        """A session that nothing has run in, and its state; the date is part of it."""
        session = self._checkout(today, _LOAD_SECONDS)
        session.feed_run(self._source, print_callback=_discard)
        session.feed_run(self._prelude, inputs={"__tables": self._tables}, print_callback=_discard)
        state = session.dump()
        self._drop()
        self._enter(today, state)
        return state

    def _enter(self, today: datetime.date, state: bytes) -> pydantic_monty.MontySession:
        session = self._checkout(today, self._limits.time_ms / 1000)
        session.load_session(state)
        self._state, self._day, self._fresh = (today, state), today, True
        return session

    def _ensure(self, today: datetime.date) -> pydantic_monty.MontySession:
        """A session of that date.

        Raises:
            InterpreterGoneError: there is no interpreter any more.
        """
        if self._session is not None and self._day == today:
            return self._session
        try:
            if self._state is None or self._state[0] != today:
                self._state = (today, self._load(today))
                assert self._session is not None  # _load leaves one
                return self._session
            return self._enter(today, self._state[1])
        except (pydantic_monty.MontyError, RuntimeError, TimeoutError):
            self._drop()
            raise InterpreterGoneError from None

    def _feed(self, calls: Sequence[Call]) -> list[Any]:
        session = self._ensure(calls[0].today)
        given = [(call.seed, {n: call.values[n] for n in self._names}) for call in calls]
        try:
            answers = session.feed_run("__run(__calls)", inputs={"__calls": given}, print_callback=_discard)
        except (
            Exception
        ):  # whatever the interpreter makes of it: Monty's errors, and values that do not come back
            raise _FailedError from None
        if not isinstance(answers, list) or len(answers) != len(calls):
            raise _FailedError
        self._fresh = False
        return answers

    def _alone(self, call: Call) -> Any:
        """The answer of a call; a failure counts only in a session that nothing ran in before."""
        while True:
            self._ensure(call.today)
            fresh = self._fresh
            try:
                return self._feed([call])[0]
            except _FailedError:
                # A session that reached a limit has no state that could be relied on.
                self._drop()
                if fresh:
                    return None

    def _chunks(self, calls: Sequence[Call]) -> Iterator[list[int]]:
        chunk: list[int] = []
        values = 0
        for place in sorted(range(len(calls)), key=lambda i: calls[i].today):
            size = sum(_size(calls[place].values[n]) for n in self._names)
            full = len(chunk) == CALLS_PER_CHUNK or values + size > _VALUES_PER_CHUNK
            if chunk and (full or calls[chunk[0]].today != calls[place].today):
                yield chunk
                chunk, values = [], 0
            chunk.append(place)
            values += size
        if chunk:
            yield chunk

    def run(self, calls: Sequence[Call], *, singly: bool = False) -> Ran:
        """The answers of the calls.

        Args:
            calls: any number; an answer does not depend on which others are among them.
            singly: one call at a time, for calls of which one ended an interpreter.
        """
        ran = Ran([None] * len(calls))
        waiting = [[i] for i in range(len(calls))] if singly else list(self._chunks(calls))
        while waiting:
            chunk = waiting.pop(0)
            try:
                if len(chunk) == 1:
                    ran.answers[chunk[0]] = self._alone(calls[chunk[0]])
                    continue
                for place, answer in zip(chunk, self._feed([calls[i] for i in chunk]), strict=True):
                    ran.answers[place] = answer
            except _FailedError:
                self._drop()
                waiting = [[i] for i in chunk] + waiting
            except InterpreterGoneError:
                ran.unfinished = sorted([*chunk, *(i for other in waiting for i in other)])
                break
        return ran


def _discard(stream: str, text: str) -> None:
    """Prints lead nowhere."""
