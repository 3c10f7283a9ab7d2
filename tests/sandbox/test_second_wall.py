"""The second wall, with an attacker behind it: as if the first one, the interpreter, had not held.

Each attempt stands here with what must stop it. The same attempts are made without the wall: there they succeed, so
that a test which sees them fail has seen the wall.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atoll.sandbox.line import ClosedError, Line, read_reply

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's")

HERE = Path(__file__).parent
NOBODY = 65534
PLANTED = "planted-7f3a9c"

# What stops a program of the attacker's in the place of the interpreter. EACCES: Landlock. EPERM: seccomp. EAGAIN and
# ENOMEM: a limit. EBADF: the descriptor is not there.
NATIVELY = {
    "use an inherited descriptor": "EBADF",
    "read /etc/passwd": "EACCES",
    "read the node's file": "EACCES",
    "change a file's mode": "EPERM",
    "write a file": "EACCES",
    "read another process's environment": "EACCES",
    "open another process's memory": "EACCES",
    "open the cell's memory": "EACCES",
    "list the processes": "EACCES",
    "list the root folder": "EACCES",
    "connect by TCP": "EPERM",
    "send by UDP": "EPERM",
    "connect to a named socket": "EPERM",
    "connect to an abstract socket": "EPERM",
    "open a netlink socket": "EPERM",
    "take 16 GiB of memory": "ENOMEM",
    "make shared memory": "EPERM",
    "make a message queue": "EPERM",
    "make semaphores": "EPERM",
    "make a file in memory": "EPERM",
    "make a file of shared memory": "EACCES",
    "send a signal to another process": "EPERM",
    "send a signal to the cell": "EPERM",
    "send a signal by descriptor": "EPERM",
    "change another process's limits": "EPERM",
    "read another process's memory": "EPERM",
    "trace another process": "EPERM",
    "trace the cell": "EPERM",
    "fork": "EPERM",
    "start a process as the interpreter was started": "EAGAIN",
    "start a thread": "EAGAIN",
    "leave the group of processes": "EPERM",
    "execute a shell": "EACCES",
}
# What stops the attacker in the cell's own process, which is sealed: it names no file at all.
WITHIN = {
    "read /etc/passwd": "EACCES",
    "read the node's file": "EACCES",
    "read by a descriptor that was left open": "EBADF",
    "read the environment": "KeyError",
    "read another process's environment": "EACCES",
    "open another process's memory": "EACCES",
    "open its own memory as a file": "EACCES",
    "list the processes": "EACCES",
    "list a folder": "EACCES",
    "ask whether a file exists": "EACCES",
    "write a file": "EACCES",
    "make a folder": "EPERM",
    "make a link": "EPERM",
    "rename a file": "EPERM",
    "remove a file": "EPERM",
    "change a file's mode": "EPERM",
    "change a file's times": "EPERM",
    "shorten a file": "EPERM",
    "change the folder": "EPERM",
    "connect by TCP": "EPERM",
    "listen by TCP": "EPERM",
    "send by UDP": "EPERM",
    "look a name up": "gaierror",
    "connect to a named socket": "EPERM",
    "connect to an abstract socket": "EPERM",
    "make a pair of sockets": "EPERM",
    "open a netlink socket": "EPERM",
    "execute a shell": "EPERM",
    "fork": "EPERM",
    "start a thread": "RuntimeError",
    "take 16 GiB of memory": "ENOMEM",
    "raise its own limits": "ValueError",
    "change another process's limits": "EPERM",
    "send a signal to another process": "EPERM",
    "send a signal to the group": "EPERM",
    "send a signal by descriptor": "EPERM",
    "send a signal as a descriptor's owner": "EPERM",
    "trace another process": "EPERM",
    "take a descriptor of another process": "EPERM",
    "compare with another process": "EPERM",
    "leave the group of processes": "EPERM",
    "outlive its parent": "EPERM",
    "allow debuggers": "EPERM",
    "make shared memory": "EPERM",
    "make a message queue": "EPERM",
    "make semaphores": "EPERM",
    "make a file in memory": "EPERM",
    "make a POSIX message queue": "EPERM",
    "write a file of shared memory": "EACCES",
    "make a namespace": "EPERM",
    "mount": "EPERM",
    "load a BPF program": "EPERM",
    "use io_uring": "EPERM",
    "use a keyring": "EPERM",
    "count events of the processor": "EPERM",
    "handle page faults": "EPERM",
    "slow another process down": "EPERM",
}
# Not tried without the wall: they would change the machine for others.
HARMFUL = {"mount", "make a namespace"}
# Without the wall these depend on the kernel's configuration, or reach it with arguments that it then refuses.
DEPENDS = {
    "load a BPF program",
    "use io_uring",
    "use a keyring",
    "count events of the processor",
    "handle page faults",
    "compare with another process",
    "make a POSIX message queue",
    "look a name up",
}
TRACING = {
    "trace another process",
    "trace the cell",
    "read another process's memory",
    "open another process's memory",
    "open the cell's memory",
    "read another process's environment",
    "take a descriptor of another process",
}


def _may_trace() -> bool:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/yama/ptrace_scope").read_text().strip() == "0"
    return True


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The attacker's program, in a folder that everybody can reach."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("program")
    path = folder / "interpreter"
    subprocess.run([compiler, "-O1", "-o", path, HERE / "interpreter.c", "-lpthread"], check=True)
    return path


class World:
    """What an attacker would like to reach: files, listening sockets, a process of the same user, a descriptor."""

    def __init__(self, folder: Path, user: int | None) -> None:
        self.folder, self.user = folder, user
        for name in ("secret", "renamed", "removed", "changed"):
            (folder / name).write_text(PLANTED)
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.named, self.abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        self.named.bind(str(folder / "named"))
        self.abstract.bind(f"\0atoll-test-{self.port}")
        for each in (self.named, self.abstract):
            each.listen()
        if user is not None:
            for path in (folder, *folder.iterdir()):
                os.chown(path, user, user)
        self.victim = subprocess.Popen(["sleep", "300"], env={"SECRET": PLANTED}, user=user, group=user)
        self.planted = os.open(folder / "secret", os.O_RDONLY)
        self.processes: list[subprocess.Popen[bytes]] = []

    def attack(
        self, program: Path, *, walled: bool, stay: bool = False
    ) -> tuple[subprocess.Popen[bytes], Line]:
        """Starts the attacker."""
        spec = {
            "folder": str(self.folder),
            "program": str(program),
            "victim": self.victim.pid,
            "tcp": self.port,
            "udp": self.udp.getsockname()[1],
            "planted": self.planted,
            "variable": PLANTED,
            "user": self.user,
            "walled": walled,
            "stay": stay,
            "spared": [] if walled else sorted(HARMFUL),
        }
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, str(HERE / "attacker.py"), str(theirs.fileno()), json.dumps(spec)],
                pass_fds=[theirs.fileno(), self.planted],
                env={**os.environ, "PLANTED": PLANTED},
                start_new_session=True,
            )
        self.processes.append(process)
        return process, Line(ours)

    def close(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        # What it started may have left its group, and may trace the victim, whose end would wait for it.
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if str(self.folder).encode() in entry.read_bytes():
                    os.kill(int(entry.parent.name), signal.SIGKILL)
        self.victim.kill()
        self.victim.wait()
        os.close(self.planted)
        for each in (self.tcp, self.udp, self.named, self.abstract):
            each.close()


def _users() -> list[int | None]:
    return [None, NOBODY] if os.geteuid() == 0 else [None]


@pytest.fixture(
    params=_users(), ids=lambda user: "root's" if user is None and os.geteuid() == 0 else "a user's"
)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    # Not under the test's own folder, which other users cannot enter.
    folder = Path(tempfile.mkdtemp(prefix="atoll-wall-"))
    folder.chmod(0o755)
    made = World(folder, request.param)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder)


def _report(line: Line) -> tuple[dict[str, Any], bytes]:
    body = line.receive(1 << 20, time.monotonic() + 30)
    return read_reply(body), body


def _public(program: Path, world: World) -> Path:
    copy = world.folder / "interpreter"
    shutil.copy(program, copy)
    copy.chmod(0o755)
    return copy


def test_nothing_gets_through(world: World, program: Path) -> None:
    _, line = world.attack(_public(program, world), walled=True)
    found, body = _report(line)
    assert found["natively"] == NATIVELY
    assert found["within"] == WITHIN
    assert PLANTED.encode() not in body
    assert not (world.folder / "written").exists()
    assert not (world.folder / "written-natively").exists()
    assert (world.folder / "changed").read_text() == PLANTED
    assert world.victim.poll() is None


def test_without_the_wall_everything_gets_through(world: World, program: Path) -> None:
    _, line = world.attack(_public(program, world), walled=False)
    found, _ = _report(line)
    loose = HARMFUL | DEPENDS
    loose |= TRACING if not _may_trace() and (world.user is not None or os.geteuid()) else set()
    for tried, names in ((found["natively"], NATIVELY), (found["within"], WITHIN)):
        failed = {name: tried.get(name) for name in names.keys() - loose if tried.get(name) != "did"}
        assert not failed


def _gone(pid: int, seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_a_program_that_ignores_every_signal_ends_with_its_group(world: World, program: Path) -> None:
    process, line = world.attack(_public(program, world), walled=True, stay=True)
    found, _ = _report(line)
    assert not _gone(found["child"], 0.2)
    os.killpg(process.pid, signal.SIGKILL)
    assert _gone(found["cell"])
    assert _gone(found["child"])


def test_the_cell_ends_with_its_parent(world: World, program: Path) -> None:
    process, line = world.attack(_public(program, world), walled=True, stay=True)
    found, _ = _report(line)
    process.kill()
    process.wait()
    assert _gone(found["cell"])
    with pytest.raises(ClosedError):
        line.receive(1, time.monotonic() + 5)
    os.kill(found["child"], signal.SIGKILL)
