"""The program of a warm process, which becomes a node in each of its forks.

    python -m atoll.testing.forking

It reads requests from its input, a JSON object a line, and answers each with one. It ends when its input does:

    {"folder", "log", "cwd", "environment"}   forks a node: {"pid"}, null if the system refuses
    {"ended"}                                 the status of a node that has ended, by its number: {"status"}
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
from pathlib import Path
from typing import Any


def _become(request: dict[str, Any]) -> Path:
    """Takes on a node's files, folder and environment in a process that was just forked; the node's folder."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for descriptor, number in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, number)
    os.close(nothing)
    os.close(log)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    return Path(request["folder"])


def _fork_on_request() -> Path | None:
    """Answers requests. In each forked process it returns the folder of the node to be; in this one None at the end."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "ended" in request:
            _, status = os.waitpid(request["ended"], 0)
            answer: dict[str, Any] = {"status": os.waitstatus_to_exitcode(status)}
        else:
            try:
                pid = os.fork()
            except OSError:
                answers.write(b'{"pid": null}\n')
                continue
            if pid == 0:
                os.setpgid(0, 0)
                answers.close()
                return _become(request)
            # Here as well: the owner may signal the group as soon as it has the answer.
            with contextlib.suppress(PermissionError, ProcessLookupError):
                os.setpgid(pid, pid)
            answer = {"pid": pid}
        answers.write(json.dumps(answer).encode() + b"\n")
    return None


def main() -> None:
    """Loads the code, forks on request, and is a node in each fork."""
    from atoll.errors import AtollError
    from atoll.node.serve import serve

    gc.collect()
    gc.freeze()  # what is shared with the forks is not written to by their collections
    folder = _fork_on_request()
    if folder is None:
        # There is nothing to end in order, and libraries complain about what is frozen.
        os._exit(0)
    gc.unfreeze()
    try:
        serve(folder, os.environ.pop("ATOLL_PASSPHRASE"))
    except AtollError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
