"""The second wall: what a cell does to itself before it reads anything of a package.

The first wall is the interpreter, which offers rules no file, no clock and no network. This one holds if the first
does not: it is built of what the kernel enforces, and nothing that runs behind it can take it down.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sys
import sysconfig
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pydantic_monty

from atoll.crypto import confine
from atoll.errors import AtollError

# Address space beyond what the libraries take, and beyond what the package's own memory is.
_OWN_BYTES = 2 << 30
_INTERPRETER_BYTES = 512 << 20
# Far more than a cell is busy before its host replaces it, so that one whose host is gone comes to an end.
_PROCESSOR_SECONDS = 1800
_DESCRIPTORS = 64
# Whom a cell becomes that root started: nobody.
_NOBODY = 65534


@dataclass(frozen=True)
class Interpreter:
    """The interpreter's program and the libraries that it is linked with."""

    program: str
    libraries: tuple[str, ...]


def find_interpreter() -> Interpreter:
    """What a cell may still read: the `monty` program, and the libraries of the system that are loaded here.

    Raises:
        AtollError: `E_SANDBOX` if the program is not installed, or where the system has no such walls.
    """
    if not os.path.exists("/proc/self/maps"):
        raise AtollError("E_SANDBOX", "scripts run on Linux only, with /proc mounted.")
    search = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    program = shutil.which("monty", path=search)
    if program is None:
        raise AtollError("E_SANDBOX", "the interpreter of rules, monty, is not installed.")
    ours = tuple(os.path.join(prefix, "") for prefix in {sys.prefix, sys.base_prefix})
    libraries = set()
    with open("/proc/self/maps") as maps:
        for line in maps:
            path = line.split(maxsplit=5)[-1].strip()
            if path.startswith("/") and ".so" in path and not path.startswith(ours):
                libraries.add(path)
    return Interpreter(os.path.realpath(program), tuple(sorted(libraries)))


def _forget(line: int) -> None:
    """Leaves no descriptor but the line, no environment, and no place in the file system."""
    null = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.set_inheritable(line, False)
    os.closerange(3, line)
    os.closerange(line + 1, 2**31 - 1)
    os.environ.clear()
    os.chdir("/")
    os.umask(0o777)


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _limit(memory_bytes: int) -> None:
    limits = {
        resource.RLIMIT_AS: _address_space() + _OWN_BYTES + memory_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: _PROCESSOR_SECONDS,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_NOFILE: _DESCRIPTORS,
    }
    for name, most in limits.items():
        _, hard = resource.getrlimit(name)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(name, (bound, bound))


def _become_nobody() -> None:
    if os.geteuid() != 0:
        return
    try:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    except OSError as error:
        text = f"started by root, a cell becomes the user {_NOBODY}, and cannot: {error.strerror}."
        raise AtollError("E_SANDBOX", text) from None


def enclose(line: int, interpreter: Interpreter, memory_bytes: int) -> str:
    """Encloses this process, which must have one thread.

    Args:
        line: the descriptor that stays.
        interpreter: what may still be started.
        memory_bytes: what the package may use.

    Returns:
        The path by which the interpreter is started from now on.

    Raises:
        AtollError: `E_SANDBOX` names what this machine lacks. The process must then end.
    """
    _forget(line)
    # By descriptor: the user that this process becomes may not see the folders.
    program = os.open(interpreter.program, os.O_PATH)
    libraries = {path: os.open(path, os.O_PATH) for path in interpreter.libraries}
    loaders = [fd for path, fd in libraries.items() if os.path.basename(path).startswith("ld-")]
    _limit(memory_bytes)
    _become_nobody()
    confine.enclose([_path(fd) for fd in libraries.values()], [_path(fd) for fd in (program, *loaders)])
    for descriptor in libraries.values():
        os.close(descriptor)
    return _path(program)


def _path(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


@contextlib.contextmanager
def binding(memory_bytes: int) -> Iterator[list[int]]:
    """Binds the processes whose numbers are listed within, by a thread that was there before `confine.narrow`."""
    processes: list[int] = []
    failures: list[OSError] = []
    ready = threading.Event()

    def bind() -> None:
        ready.wait()
        try:
            for process in processes:
                most = _INTERPRETER_BYTES + 2 * memory_bytes
                resource.prlimit(process, resource.RLIMIT_AS, (most, most))
                # No further thread and no process: one of this user is there already, itself.
                resource.prlimit(process, resource.RLIMIT_NPROC, (0, 0))
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=bind, name="binder")
    thread.start()
    try:
        yield processes
    finally:
        ready.set()
        thread.join()
    if failures:
        raise AtollError("E_SANDBOX", f"the interpreter cannot be bound: {failures[0].strerror}.")


def start_interpreter(program: str, memory_bytes: int) -> pydantic_monty.Monty:
    """Starts the one interpreter that this process will have, binds it, and seals this process.

    Raises:
        AtollError: `E_SANDBOX` if it does not start, or cannot be bound.
    """
    pool = pydantic_monty.Monty(binary_path=program, min_processes=1, max_processes=1, checkout_timeout=5.0)
    with binding(memory_bytes) as processes:
        confine.narrow()
        try:
            pool.__enter__()
            with pool.checkout() as session:
                assert session.worker_pid is not None  # nothing runs in it yet
                processes.append(session.worker_pid)
        except (RuntimeError, OSError, pydantic_monty.MontyError) as error:
            raise AtollError("E_SANDBOX", f"the interpreter of rules does not start: {error}.") from None
    confine.seal()
    return pool


def settle() -> None:
    """No further thread either, once the engines have theirs."""
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
