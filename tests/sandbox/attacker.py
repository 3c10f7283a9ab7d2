"""A cell in an attacker's hands: instead of an engine, native code in the confined process tries what it can.

    python attacker.py DESCRIPTOR SPECIFICATION

The walls are those of `atoll.sandbox.walls`, put up as a cell puts them up, or none for the control. What came of each
attempt is sent over the line: `did`, or the name of what stopped it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from atoll.crypto import confine
from atoll.sandbox import walls
from atoll.sandbox.line import ClosedError, Line, reply

C = ctypes.CDLL(None, use_errno=True)
MEMORY = 64 << 20
# Numbers of system calls where the two architectures agree on none of the names.
NUMBERS = {
    "x86_64": {
        "bpf": 321,
        "io_uring_setup": 425,
        "keyctl": 250,
        "perf_event_open": 298,
        "userfaultfd": 323,
        "mq_open": 240,
        "open_by_handle_at": 304,
        "setns": 308,
        "mount": 165,
        "memfd_create": 319,
        "kcmp": 312,
        "process_vm_readv": 310,
        "ptrace": 101,
        "pidfd_getfd": 438,
        "landlock_restrict_self": 446,
    },
    "aarch64": {
        "bpf": 280,
        "io_uring_setup": 425,
        "keyctl": 219,
        "perf_event_open": 241,
        "userfaultfd": 282,
        "mq_open": 180,
        "open_by_handle_at": 265,
        "setns": 268,
        "mount": 40,
        "memfd_create": 279,
        "kcmp": 272,
        "process_vm_readv": 270,
        "ptrace": 117,
        "pidfd_getfd": 438,
        "landlock_restrict_self": 446,
    },
}[os.uname().machine]
PTRACE_SEIZE = 0x4206
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4


def checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "")


def call(name: str, *arguments: Any) -> None:
    checked(C.syscall(NUMBERS[name], *arguments))


def spawn(program: str, *arguments: str) -> None:
    _, status = os.waitpid(os.posix_spawn(program, [program, *arguments], {}), 0)
    assert os.WIFEXITED(status)


def fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def thread() -> None:
    started = threading.Thread(target=int)
    started.start()
    started.join()


def connect(family: int, kind: int, address: Any) -> None:
    with socket.socket(family, kind) as end:
        end.connect(address)
        end.send(b"secret")


def listen() -> None:
    with socket.socket() as end:
        end.bind(("127.0.0.1", 0))
        end.listen()


def read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(16)


def write(path: str) -> None:
    with open(path, "wb") as file:
        file.write(b"secret")


def huge() -> None:
    mmap.mmap(-1, 16 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000).close()


def raise_limit() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


def environment(planted: str) -> None:
    if planted not in os.environ.values():
        raise KeyError


def attempts(spec: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """What is tried in the cell itself, by name."""
    folder, victim = spec["folder"], spec["victim"]
    name = f"\0atoll-test-{spec['tcp']}"
    buffer = ctypes.create_string_buffer(64)
    secret = f"{folder}/secret"
    return {
        "read /etc/passwd": lambda: read("/etc/passwd"),
        "read the node's file": lambda: read(secret),
        "read by a descriptor that was left open": lambda: os.pread(spec["planted"], 4, 0),
        "read the environment": lambda: environment(spec["variable"]),
        "read another process's environment": lambda: read(f"/proc/{victim}/environ"),
        "open another process's memory": lambda: os.open(f"/proc/{victim}/mem", os.O_RDONLY),
        "open its own memory as a file": lambda: os.open("/proc/self/mem", os.O_RDWR),
        "list the processes": lambda: os.listdir("/proc"),
        "list a folder": lambda: os.listdir(folder),
        "ask whether a file exists": lambda: os.stat(secret),
        "write a file": lambda: write(f"{folder}/written"),
        "make a folder": lambda: os.mkdir(f"{folder}/made"),
        "make a link": lambda: os.symlink("secret", f"{folder}/link"),
        "rename a file": lambda: os.rename(f"{folder}/renamed", f"{folder}/again"),
        "remove a file": lambda: os.unlink(f"{folder}/removed"),
        "change a file's mode": lambda: os.chmod(f"{folder}/changed", 0o644),
        "change a file's times": lambda: os.utime(f"{folder}/changed"),
        "shorten a file": lambda: os.truncate(f"{folder}/changed", 0),
        "change the folder": lambda: os.chdir(folder),
        "connect by TCP": lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", spec["tcp"])),
        "listen by TCP": listen,
        "send by UDP": lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", spec["udp"])),
        "look a name up": lambda: socket.getaddrinfo("localhost", 53),
        "connect to a named socket": lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, f"{folder}/named"),
        "connect to an abstract socket": lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, name),
        "make a pair of sockets": socket.socketpair,
        "open a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
        "execute a shell": lambda: spawn("/bin/sh", "-c", "exit 0"),
        "fork": fork,
        "start a thread": thread,
        "take 16 GiB of memory": huge,
        "raise its own limits": raise_limit,
        "change another process's limits": lambda: resource.prlimit(victim, resource.RLIMIT_CORE, (0, 0)),
        "send a signal to another process": lambda: os.kill(victim, signal.SIGCONT),
        "send a signal to the group": lambda: os.killpg(0, signal.SIGCONT),
        "send a signal by descriptor": lambda: signal.pidfd_send_signal(
            os.pidfd_open(victim), signal.SIGCONT
        ),
        "send a signal as a descriptor's owner": lambda: fcntl.fcntl(0, 8, victim),  # F_SETOWN
        "trace another process": lambda: call("ptrace", PTRACE_SEIZE, victim, None, None),
        "take a descriptor of another process": lambda: call("pidfd_getfd", os.pidfd_open(victim), 0, 0),
        "compare with another process": lambda: call("kcmp", os.getpid(), victim, 2, 0, 0),
        "leave the group of processes": lambda: (
            os.setpgid(0, 0) if os.getpid() != os.getpgid(0) else os.setsid()
        ),
        "outlive its parent": lambda: checked(C.prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)),
        "allow debuggers": lambda: checked(C.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)),
        "make shared memory": lambda: checked(C.shmget(0, 4096, 0o1600)),
        "make a message queue": lambda: checked(C.msgget(0, 0o1600)),
        "make semaphores": lambda: checked(C.semget(0, 1, 0o1600)),
        "make a file in memory": lambda: call("memfd_create", b"m", 0),
        "make a POSIX message queue": lambda: call(
            "mq_open", b"atoll-test", os.O_CREAT | os.O_RDWR, 0o600, None
        ),
        "write a file of shared memory": lambda: write(f"/dev/shm/atoll-test-{os.getpid()}"),
        "make a namespace": lambda: checked(C.unshare(0x10000000)),
        "mount": lambda: call("mount", b"none", folder.encode(), b"tmpfs", 0, None),
        "load a BPF program": lambda: call("bpf", 0, buffer, 64),
        "use io_uring": lambda: call("io_uring_setup", 1, ctypes.create_string_buffer(256)),
        "use a keyring": lambda: call("keyctl", 0, -3, 0),
        "count events of the processor": lambda: call("perf_event_open", buffer, 0, -1, -1, 0),
        "handle page faults": lambda: call("userfaultfd", 0),
        "slow another process down": lambda: os.setpriority(os.PRIO_PROCESS, victim, 1),
    }


def outcome(attempt: Callable[[], Any]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    except BaseException as error:
        return type(error).__name__
    return "did"


def native(spec: dict[str, Any], program: str, walled: bool) -> tuple[dict[str, str], int]:
    """Runs the program in the place of the interpreter, with the walls that an interpreter has."""
    to_it, ours = os.pipe()
    theirs, from_it = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, to_it, 0), (os.POSIX_SPAWN_DUP2, from_it, 1)]
    given = [str(spec[name]) for name in ("folder", "victim", "tcp", "udp")]
    given += ["stay"] if spec["stay"] else []

    def start() -> int:
        return os.posix_spawn(program, [program, *given], {}, file_actions=actions)

    if walled:
        with walls.binding(MEMORY) as processes:
            confine.narrow()
            processes.append(start())
            child = processes[0]
        confine.seal()
        walls.settle()
    else:
        child = start()
    os.close(to_it)
    os.close(from_it)
    os.write(ours, b"x")
    text = b""
    while data := os.read(theirs, 65536):
        text += data
    found = {}
    for line in text.decode().splitlines():
        name, _, result = line.rpartition(" ")
        found[name] = "did" if result == "did" else errno.errorcode.get(int(result), result) if name else line
    return found, child


def run(line: Line, spec: dict[str, Any], interpreter: walls.Interpreter) -> None:
    walled = spec["walled"]
    program = walls.enclose(line.fileno(), interpreter, MEMORY) if walled else interpreter.program
    natively, child = native(spec, program, walled)
    if spec["stay"]:
        os.close(0)
        line.send(reply({"child": child, "cell": os.getpid()}))
    else:
        tried = attempts(spec)
        for name in spec["spared"]:
            del tried[name]
        within = {name: outcome(attempt) for name, attempt in tried.items()}
        line.send(reply({"natively": natively, "within": within}))
    with contextlib.suppress(ClosedError):
        line.receive(1)  # until the host is gone


def main() -> None:
    descriptor, spec = int(sys.argv[1]), json.loads(sys.argv[2])
    "localhost".encode("idna")  # behind the wall nothing can be loaded
    libraries = walls.find_interpreter().libraries
    if spec["user"] is not None:
        os.setgroups([])
        os.setresgid(*[spec["user"]] * 3)
        os.setresuid(*[spec["user"]] * 3)
        C.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # as any process of that user is
    fcntl.fcntl(spec["planted"], fcntl.F_SETFD, 0)
    if os.fork() == 0:
        try:
            interpreter = walls.Interpreter(spec["program"], libraries)
            run(Line(socket.socket(fileno=descriptor)), spec, interpreter)
        except BaseException as error:
            if not spec["walled"]:
                raise
            os._exit(100 + (error.errno or 0) if isinstance(error, OSError) else 1)
        os._exit(0)
    os.close(descriptor)
    _, status = os.wait()
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
