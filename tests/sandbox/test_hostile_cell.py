"""A host believes nothing that a cell says: each of these cells breaks its word, and no call of it is answered."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import atoll_test_cells as w
import pytest

from atoll.errors import AtollError
from atoll.sandbox.host import Cell
from atoll.sandbox.line import ClosedError, Line, read_request, reply

MAXIMUM = 256 << 20


class Actor:
    """In the place of a process: a thread that plays a cell."""

    def __init__(self, play: Callable[[Line], None], theirs: socket.socket) -> None:
        self._line = Line(theirs.dup())
        self.killed = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(play,), daemon=True)
        self._thread.start()

    def _run(self, play: Callable[[Line], None]) -> None:
        try:
            play(self._line)
        except (ClosedError, OSError):
            pass
        finally:
            self._line.close()

    def kill(self) -> None:
        self.killed.set()

    def wait(self, timeout: float | None = None) -> bool:
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Nothing is held."""


def meet(line: Line) -> None:
    read_request(line.receive(MAXIMUM))
    line.send(reply({"kind": "confined"}))
    read_request(line.receive(MAXIMUM))
    line.send(reply({"kind": "ready"}))


def asked(line: Line) -> dict[str, Any]:
    return read_request(line.receive(MAXIMUM))


def done(message: dict[str, Any], **changes: Any) -> dict[str, Any]:
    answers = [{"out": 1}] * len(message["calls"])
    return {"kind": "done", "id": message["id"].hex(), "answers": answers, "unfinished": [], **changes}


def says(make: Callable[[dict[str, Any]], bytes]) -> Callable[[Line], None]:
    """A cell that sends these bytes for each run, length included."""

    def play(line: Line) -> None:
        meet(line)
        while True:
            body = make(asked(line))
            with_length = memoryview(body)
            line._socket.settimeout(None)
            line._socket.sendall(with_length)

    return play


def framed(body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + body


def text(message: Any) -> bytes:
    return framed(json.dumps(message).encode())


class Stage:
    """Cells played by actors."""

    def __init__(self, *plays: Callable[[Line], None]) -> None:
        self.plays = list(plays)
        self.actors: list[Actor] = []
        self.cell = Cell(self._spawn, w.package())

    def _spawn(self, theirs: socket.socket) -> Actor:
        play = self.plays[min(len(self.actors), len(self.plays) - 1)]
        self.actors.append(Actor(play, theirs))
        return self.actors[-1]

    def run(self, count: int = 3, seconds: float = 5.0) -> list[Any]:
        calls, inputs = w.batch(["plain"] * count)
        return self.cell.run(calls, inputs, seconds=seconds)


honest = says(lambda m: text(done(m)))

LIES: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "no JSON": lambda m: framed(b"\x81\xa3"),
    "no text": lambda m: framed(b"\xff\xfe"),
    "no map": lambda m: text([done(m)]),
    "no fields": lambda m: text({}),
    "another kind": lambda m: text(done(m, kind="ready")),
    "another run": lambda m: text(done(m, id="00" * 16)),
    "a run as a number": lambda m: text(done(m, id=5)),
    "one answer too few": lambda m: text(done(m, answers=[{"out": 1}] * (len(m["calls"]) - 1))),
    "one answer too many": lambda m: text(done(m, answers=[{"out": 1}] * (len(m["calls"]) + 1))),
    "answers as a map": lambda m: text(done(m, answers={"0": {"out": 1}})),
    "an answer as text": lambda m: text(done(m, answers=["approve"] * len(m["calls"]))),
    "an answer as a list": lambda m: text(done(m, answers=[[1]] * len(m["calls"]))),
    "a further field": lambda m: text(done(m, note="a secret")),
    "unfinished as a map": lambda m: text(done(m, unfinished={})),
    "unfinished out of range": lambda m: text(done(m, unfinished=[len(m["calls"])])),
    "unfinished below zero": lambda m: text(done(m, unfinished=[-1])),
    "unfinished as a flag": lambda m: text(done(m, unfinished=[True])),
    "unfinished twice": lambda m: text(done(m, unfinished=[1, 1])),
    "not a number": lambda m: framed(json.dumps(done(m, answers=[{"out": float("nan")}] * 3)).encode()),
    "infinity": lambda m: framed(json.dumps(done(m, answers=[{"out": float("inf")}] * 3)).encode()),
    "a number of many digits": lambda m: framed(
        text(done(m))[4:].replace(b": 1}", b": " + b"9" * 5000 + b"}")
    ),
    "deeply nested": lambda m: framed(b"[" * 12000),
    "nested answers": lambda m: framed(b'{"answers": ' + b"[" * 6000 + b"]" * 6000 + b"}"),
    "longer than allowed": lambda m: struct.pack("!I", 1 << 20) + b" " * (1 << 20),
    "longer than there is": lambda m: struct.pack("!I", 0xFFFFFFFF),
    "nothing at all": lambda m: framed(b""),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_no_decision_and_the_end_of_the_cell(lie: str) -> None:
    stage = Stage(says(LIES[lie]), honest)
    assert stage.run() == [None] * 3
    assert stage.cell.failed
    assert stage.actors[0].killed.is_set()
    # The next run has another cell.
    assert stage.run() == [{"out": 1}] * 3
    assert not stage.cell.failed
    assert stage.cell.starts == 2
    stage.cell.close()


def silent(line: Line) -> None:
    meet(line)
    asked(line)
    line.receive(MAXIMUM)


def deaf(line: Line) -> None:
    meet(line)
    line._socket.settimeout(None)
    line._socket.recv(1)
    time.sleep(1)


def dripping(line: Line) -> None:
    meet(line)
    body = text(done(asked(line)))
    for at in range(len(body)):
        try:
            line._socket.send(body[at : at + 1])
        except OSError:
            return
        time.sleep(0.1)


def leaving(line: Line) -> None:
    meet(line)
    asked(line)


def leaving_half(line: Line) -> None:
    meet(line)
    line._socket.send(text(done(asked(line)))[:20])


@pytest.mark.parametrize("play", [silent, dripping, leaving, leaving_half], ids=lambda play: play.__name__)
def test_a_cell_that_does_not_answer_in_time_is_killed(play: Callable[[Line], None]) -> None:
    stage = Stage(play, honest)
    started = time.monotonic()
    assert stage.run(seconds=0.5) == [None] * 3
    assert time.monotonic() - started < 2.0
    assert stage.actors[0].killed.is_set()
    assert stage.run() == [{"out": 1}] * 3
    stage.cell.close()


def test_a_cell_that_does_not_listen_is_killed() -> None:
    stage = Stage(deaf, honest)
    calls, inputs = w.batch(["plain" * 10000] * 100)
    started = time.monotonic()
    assert stage.cell.run(calls, inputs, seconds=0.5) == [None] * 100
    assert time.monotonic() - started < 2.0
    stage.cell.close()


def test_what_was_said_before_it_was_asked_is_not_taken_for_an_answer() -> None:
    def play(line: Line) -> None:
        meet(line)
        message = asked(line)
        line._socket.sendall(text(done(message)) + text(done(message, answers=[{"out": 2}] * 3)))
        line.receive(MAXIMUM)

    stage = Stage(play, honest)
    assert stage.run() == [{"out": 1}] * 3
    time.sleep(0.05)
    assert stage.run() == [{"out": 1}] * 3
    assert stage.cell.starts == 2
    stage.cell.close()


def test_a_late_answer_to_an_earlier_run_is_not_taken_for_one() -> None:
    def play(line: Line) -> None:
        meet(line)
        first = asked(line)
        line._socket.sendall(text(done(first)))
        asked(line)
        line._socket.sendall(text(done(first, answers=[{"out": 2}] * 3)))
        line.receive(MAXIMUM)

    stage = Stage(play)
    assert stage.run() == [{"out": 1}] * 3
    assert stage.run() == [None] * 3
    stage.cell.close()


def test_calls_that_stay_open_for_ever_come_to_an_end() -> None:
    """A cell that answers nothing and asks to be started again, each time."""

    def play(line: Line) -> None:
        meet(line)
        message = asked(line)
        line.send(reply(done(message, unfinished=list(range(len(message["calls"]))))))
        line.receive(MAXIMUM)

    stage = Stage(play)
    assert stage.run() == [None] * 3
    assert stage.cell.starts == 2
    stage.cell.close()


def test_answers_of_open_calls_are_dropped() -> None:
    def play(line: Line) -> None:
        meet(line)
        message = asked(line)
        line.send(reply(done(message, unfinished=[1])))
        line.receive(MAXIMUM)

    stage = Stage(play, says(lambda m: text(done(m, answers=[{"out": 7}] * len(m["calls"])))))
    assert stage.run() == [{"out": 1}, {"out": 7}, {"out": 1}]
    stage.cell.close()


def test_descriptors_that_come_along_are_dropped() -> None:

    def play(line: Line) -> None:
        meet(line)
        body = text(done(asked(line)))
        ours, theirs = os.pipe()
        socket.send_fds(line._socket, [body], [ours, theirs])
        os.close(ours)
        os.close(theirs)
        line.receive(MAXIMUM)

    stage = Stage(play)
    stage.cell.start()
    before = len(os.listdir("/proc/self/fd"))
    assert stage.run() == [{"out": 1}] * 3
    assert len(os.listdir("/proc/self/fd")) == before
    stage.cell.close()


@pytest.mark.parametrize(
    "first", [{"kind": "ready"}, {"kind": "confined", "more": 1}, {}, {"kind": ["confined"]}]
)
def test_a_wrong_greeting_starts_nothing(first: dict[str, Any]) -> None:
    def play(line: Line) -> None:
        asked(line)
        line.send(reply(first))
        line.receive(MAXIMUM)

    with pytest.raises(AtollError, match="did not start") as caught:
        Stage(play).cell.start()
    assert caught.value.code == "E_SANDBOX"
    assert Stage(play).run() == [None] * 3


def test_a_machine_without_walls_runs_nothing_and_hears_nothing_of_the_package() -> None:
    heard: list[dict[str, Any]] = []

    def play(line: Line) -> None:
        heard.append(asked(line))
        line.send(reply({"kind": "unable", "text": "this kernel has no Landlock"}))
        heard.append(asked(line))

    stage = Stage(play)
    for attempt in (stage.cell.start, stage.run):
        with pytest.raises(AtollError, match="this kernel has no Landlock") as caught:
            attempt()
        assert caught.value.code == "E_SANDBOX"
    assert all(message.keys() == {"kind", "memory_bytes"} for message in heard)


def test_the_words_of_a_refusal_are_not_repeated() -> None:
    def play(line: Line) -> None:
        asked(line)
        line.send(reply({"kind": "confined"}))
        asked(line)
        line.send(reply({"kind": "refused", "code": "E_AUTH", "text": "planted-words"}))
        line.receive(MAXIMUM)

    with pytest.raises(AtollError) as caught:
        Stage(play).cell.start()
    assert caught.value.code == "E_SCRIPT"
    assert "planted-words" not in str(caught.value.to_problem())


@pytest.mark.parametrize("count", [0, 10_001])
def test_a_run_has_a_size(count: int) -> None:
    with pytest.raises(AtollError) as caught:
        Stage(honest).run(count)
    assert caught.value.code == "E_INTERNAL"
