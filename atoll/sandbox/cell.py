"""The cell: the process in which one package runs. It confines itself before it reads anything of the package.

    python -m atoll.sandbox.cell DESCRIPTOR

It serves over the line with that descriptor and ends with it. Whatever fails here is no decision, and says nothing
else.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import pydantic_monty

from atoll.errors import AtollError
from atoll.sandbox import engines, rows, walls
from atoll.sandbox.asked import Asked
from atoll.sandbox.line import MAX_REQUEST, ClosedError, Line, answer_bytes, read_request, reply
from atoll.sandbox.warm import warm
from atoll.scripts.manifest import parse


def _answer(value: Any, most: int) -> str:
    try:
        text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return "null"
    return text if len(text) <= most else "null"


def _run(package: engines.Engines, message: dict[str, Any], most: int) -> bytes:
    calls = [
        Asked(c["seed"], datetime.date.fromisoformat(c["today"]), c["arguments"]) for c in message["calls"]
    ]
    inputs = {name: rows.read(data) for name, data in message["inputs"].items()}
    ran = package.run(calls, inputs, singly=message["singly"])
    answers = ", ".join(_answer(answer, most) for answer in ran.answers)
    head = json.dumps({"kind": "done", "id": message["id"].hex(), "unfinished": ran.unfinished})
    return f'{head[:-1]}, "answers": [{answers}]}}'.encode("ascii")


def _enclose(line: Line, interpreter: walls.Interpreter) -> pydantic_monty.Monty | None:
    memory = read_request(line.receive(MAX_REQUEST))["memory_bytes"]
    try:
        program = walls.enclose(line.fileno(), interpreter, memory)
        return walls.start_interpreter(program, memory)
    except AtollError as error:
        line.send(reply({"kind": "unable", "text": error.text[:1000]}))
        return None


def _serve(line: Line, interpreter: walls.Interpreter) -> None:
    pool = _enclose(line, interpreter)
    if pool is None:
        return
    line.send(reply({"kind": "confined"}))
    start = read_request(line.receive(MAX_REQUEST))
    try:
        manifest = parse(start["manifest"])
        package = engines.Engines(manifest, start["files"], pool)
    except AtollError as error:
        line.send(reply({"kind": "refused", "code": error.code, "text": error.text[:1000]}))
        return
    del start
    walls.settle()
    line.send(reply({"kind": "ready"}))
    most = answer_bytes(manifest)
    while True:
        line.send(_run(package, read_request(line.receive(MAX_REQUEST)), most))


def run(descriptor: int, interpreter: walls.Interpreter) -> NoReturn:
    """Encloses this process, serves over the line with that descriptor, and exits with it."""
    line = Line(socket.socket(fileno=descriptor))
    try:
        with contextlib.suppress(ClosedError):
            _serve(line, interpreter)
        os._exit(0)
    except BaseException:  # no text of it may reach anyone
        os._exit(1)


def refuse(descriptor: int, text: str) -> NoReturn:
    """Says why no cell can be here, and exits."""
    with contextlib.suppress(ClosedError):
        Line(socket.socket(fileno=descriptor)).send(reply({"kind": "unable", "text": text[:1000]}))
    os._exit(1)


def prepare() -> Callable[[int], NoReturn]:
    """Loads what cells need, and gives what runs one in a fork of this process."""
    try:
        warm()
        interpreter = walls.find_interpreter()
    except AtollError as error:
        text = error.text
        return lambda descriptor: refuse(descriptor, text)
    return lambda descriptor: run(descriptor, interpreter)


def main() -> None:
    """Forks the cell from here, so that it begins with a single thread, and waits for its end."""
    descriptor = int(sys.argv[1])
    start = prepare()
    child = os.fork()
    if child == 0:
        start(descriptor)
    os.close(descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.waitpid(child, 0)


if __name__ == "__main__":
    main()
