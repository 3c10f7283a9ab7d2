"""What a worker process runs: one job's side, from its specification to its outcome.

The first message on its line to the node is the specification. The process ends with the line: a worker never
outlives its node.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from atoll.errors import AtollError
from atoll.net.pipe import Pipe


def _prepare(spec: dict[str, Any]) -> dict[str, Any]:
    from atoll.functions.join.keys import prepare_keys

    return prepare_keys(
        Path(spec["data"]),
        Path(spec["cache"]),
        spec["columns"],
        spec["steps"],
        spec["threads"],
        spec["earlier"],
    )


def _table(spec: dict[str, Any]) -> dict[str, Any]:
    from atoll.node.worker import tables

    return tables.run(spec)


def _script(spec: dict[str, Any]) -> dict[str, Any]:
    from atoll.node.worker import scripts

    tasks = {"examine": scripts.examine, "trial": scripts.trial, "new_subjects": scripts.new_subjects}
    return tasks[spec["task"]](spec)


def _replay(spec: dict[str, Any], pipe: Pipe) -> dict[str, Any]:
    from atoll.node.worker import replay

    return replay.run(spec, pipe)


def _run(spec: dict[str, Any], pipe: Pipe) -> dict[str, Any]:
    from atoll.functions import runners
    from atoll.node.worker.context import WorkerContext
    from atoll.node.worker.output import write_result

    context = WorkerContext(spec, pipe)
    threading.Thread(target=context.listen, daemon=True, name="node").start()
    started = time.monotonic()
    try:
        outcome = runners()[spec["plan"]["function"]](context)
        output = write_result(Path(spec["folder"]), outcome.table) if outcome.table is not None else None
        measured = context.measured()
        context.close()
    except AtollError as error:
        context.abort(error)
        raise
    except BaseException:
        context.abort(AtollError("E_INTERNAL", "the worker failed"))
        raise
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "output": output,
        "scalars": outcome.scalars,
        "rows": outcome.rows,
        "transcripts": context.transcripts(),
        "execution": context.execution(),
        "measured": measured,
        "meters": {
            **outcome.meters,
            "cpu_ms": int((used.ru_utime + used.ru_stime) * 1000),
            "memory_bytes": _peak_memory(used.ru_maxrss * 1024),
            "wall_ms": int((time.monotonic() - started) * 1000),
        },
    }


def _peak_memory(fallback: int) -> int:
    """Peak resident bytes of this process. The kernel's own figure also counts the parent's, before exec."""
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return fallback


def _failure(error: BaseException) -> AtollError:
    if isinstance(error, AtollError):
        return error
    if isinstance(error, MemoryError):
        return AtollError("E_MEMORY", "the worker ran out of memory")
    where = traceback.extract_tb(error.__traceback__)[-1]
    # Types and places, never the message: it could hold a data value.
    return AtollError("E_INTERNAL", f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}")


def run(line: int) -> NoReturn:
    """Runs one specification over the line with that descriptor, and exits."""
    pipe = Pipe(socket.socket(fileno=line))
    with contextlib.suppress(BrokenPipeError, EOFError):
        try:
            spec, _ = pipe.receive()
            if spec["task"] == "prepare":
                result = _prepare(spec)
            elif spec["task"] == "table":
                result = _table(spec)
            elif spec["task"] in ("examine", "trial", "new_subjects"):
                result = _script(spec)
            elif spec["task"] == "replay":
                result = _replay(spec, pipe)
            else:
                result = _run(spec, pipe)
            pipe.send({"kind": "done", "result": result})
        except (BrokenPipeError, EOFError):
            raise
        except BaseException as error:
            pipe.send({"kind": "failed", "error": _failure(error).to_problem()})
    sys.stderr.flush()
    # Daemon threads may still hold sockets; nothing of theirs is needed any more.
    os._exit(0)
