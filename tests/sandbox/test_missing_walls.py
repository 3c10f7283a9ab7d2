"""Where the kernel lacks a wall, no script runs: there is no mode without it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's")

# A kernel that does not know a system call, for this process and its children.
PROGRAM = """
import ctypes, importlib.util, struct, sys
number, error, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
load, equal, give = 0x20, 0x15, 0x06
steps = [(load, 0, 0, 0), (equal, 0, 1, number), (give, 0, 0, 0x00050000 | error), (give, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, program, 0, 0) == 0
spec = importlib.util.spec_from_file_location("cells", folder + "/packages.py")
cells = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cells)
from atoll.errors import AtollError
from atoll.sandbox.host import Cell, spawn_local
cell = Cell(spawn_local, cells.package())
for attempt in (cell.start, lambda: cell.run(*cells.batch(["plain"]), seconds=60)):
    try:
        attempt(*([60] if attempt == cell.start else []))
        print("ran")
    except AtollError as failure:
        print(failure.code, failure.text)
"""
LANDLOCK = 444
SECCOMP = {"x86_64": 317, "aarch64": 277}[os.uname().machine]


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (LANDLOCK, errno.ENOSYS, "Landlock"),
        (LANDLOCK, errno.EOPNOTSUPP, "Landlock"),
        (SECCOMP, errno.ENOSYS, "seccomp"),
    ],
    ids=["a kernel before Landlock", "Landlock switched off", "no seccomp"],
)
def test_no_script_runs_without_a_wall(number: int, error: int, words: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(number), str(error), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = found.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith("E_SANDBOX ")
        assert words in line
