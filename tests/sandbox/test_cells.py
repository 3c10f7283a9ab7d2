"""Cells as whole processes: answers, limits, crashes, and that nothing is left behind."""

from __future__ import annotations

import dataclasses
import datetime
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import atoll_test_cells as w
import pytest

from atoll.errors import AtollError
from atoll.node.worker.nursery import Nursery
from atoll.sandbox.host import Cell, CellPackage, spawn_local

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cells need Linux")

SECONDS = 30.0


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery("cell")
    Cell(made.spawn, w.package()).start(SECONDS)
    yield made
    made.stop()


@pytest.fixture
def cell(nursery: Nursery) -> Iterator[Cell]:
    made = Cell(nursery.spawn, w.package())
    yield made
    made.close()


def processes(cell: Cell) -> tuple[int, int]:
    """The numbers of the cell's process and of its interpreter's."""
    assert cell._process is not None
    pid: int = cell._process.pid  # type: ignore[attr-defined]  # every process of a nursery has one
    (child,) = children(pid)
    return pid, child


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(*pids: int) -> bool:
    until = time.monotonic() + 5.0
    while time.monotonic() < until:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.02)
    return False


def run(cell: Cell, whats: list[str], *, seconds: float = SECONDS, **how: Any) -> list[Any]:
    calls, inputs = w.batch(whats, **how)
    return cell.run(calls, inputs, seconds=seconds)


def plain(count: int, **how: Any) -> list[Any]:
    return [w.expected(i, **how) for i in range(count)]


def test_answers_come_in_order(cell: Cell) -> None:
    assert run(cell, ["plain"] * 100) == plain(100)
    assert run(cell, ["plain"] * 3, n=10, rows=0) == plain(3, n=10, rows=0)
    assert cell.starts == 1


def test_the_author_sees_what_the_host_sees(cell: Cell) -> None:
    local = Cell(spawn_local, w.package())
    whats = ["plain", "random", "date", "none", "fails", "random", "answer", "memory", "wide"]
    try:
        assert run(local, whats) == run(cell, whats)
    finally:
        local.close()


def test_a_call_has_its_own_chance_and_date(cell: Cell) -> None:
    first = run(cell, ["random", "random", "date"])
    assert first[0] != first[1]
    assert first[2] == {"out": 20260301}
    assert run(cell, ["random", "random", "date"]) == first
    later = run(cell, ["random", "random", "date"], today=datetime.date(2027, 12, 31))
    assert later == [*first[:2], {"out": 20271231}]


def test_a_guilty_call_harms_no_other(cell: Cell) -> None:
    whats = ["plain", "loop", "plain", "memory", "plain", "answer", "fails", "none", "wide", "plain"]
    wanted = [w.expected(i) if what == "plain" else None for i, what in enumerate(whats)]
    assert run(cell, whats) == wanted
    assert not cell.failed


def test_more_rows_than_allowed_are_no_decision(cell: Cell) -> None:
    calls, inputs = w.batch(["plain", "plain"], rows=201)
    assert cell.run(calls, inputs, seconds=SECONDS) == [None, None]
    assert run(cell, ["plain"] * 2, rows=200) == plain(2, rows=200)


def test_the_longest_answer_fits(nursery: Nursery) -> None:
    names = {
        f"{'n' * 30}{i}": {"type": "int64", "range": [-(2**53 - 1), 2**53 - 1], "step": 1} for i in range(8)
    }
    names |= {f"{'c' * 30}{i}": {"type": "choice", "values": ["v" * 32, "w"]} for i in range(8)}
    reasons = {f"{'r' * 31}{i}": {"en": "x", "zh": "x"} for i in range(8)}
    answer: dict[str, Any] = {name: -(2**53 - 1) if name[0] == "n" else "v" * 32 for name in names}
    answer["reasons"] = list(reasons)
    source = f"def decide(item) -> dict:\n    return {answer!r}\n"
    changes = {"outputs": names, "reasons": reasons, "maximum_reasons": 8}
    files = {**w.FILES, "rules.py": source.encode()}
    made = Cell(nursery.spawn, CellPackage({**w.MANIFEST, **changes}, files))
    assert run(made, ["plain"] * 100) == [answer] * 100
    made.close()


def test_a_cell_is_ready_within_200_ms(nursery: Nursery) -> None:
    times = []
    for _ in range(7):
        made = Cell(nursery.spawn, w.package())
        started = time.monotonic()
        made.start()
        times.append(time.monotonic() - started)
        made.close()
    # The machine of a test runs other tests too: the best of several says what the cell needs.
    assert min(times) < 0.2


def test_a_stopped_cell_is_late_and_killed(cell: Cell) -> None:
    run(cell, ["plain"])
    pid, interpreter = processes(cell)
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    assert run(cell, ["plain"] * 3, seconds=0.5) == [None] * 3
    assert time.monotonic() - started < 3.0
    assert cell.failed
    assert gone(pid, interpreter)
    assert run(cell, ["plain"] * 3) == plain(3)
    assert cell.starts == 2


def test_a_killed_cell_is_started_again(cell: Cell) -> None:
    run(cell, ["plain"])
    pid, interpreter = processes(cell)
    os.kill(pid, signal.SIGKILL)
    assert gone(pid, interpreter)
    assert run(cell, ["plain"] * 3) == plain(3)
    assert cell.starts == 2


def test_the_loss_of_an_interpreter_costs_no_answer(cell: Cell) -> None:
    run(cell, ["plain"])
    pid, interpreter = processes(cell)
    os.kill(interpreter, signal.SIGKILL)
    assert run(cell, ["plain"] * 3) == plain(3)
    assert gone(pid, interpreter)
    assert cell.starts == 2
    assert not cell.failed


def test_an_interpreter_that_ignores_the_end_of_its_line_ends_with_the_cell(cell: Cell) -> None:
    run(cell, ["plain"])
    pid, interpreter = processes(cell)
    os.kill(interpreter, signal.SIGSTOP)  # what does not run, does not notice
    os.kill(pid, signal.SIGKILL)
    assert gone(pid, interpreter)


def test_the_interpreter_has_no_line_to_the_host(cell: Cell) -> None:
    run(cell, ["plain"])
    _, interpreter = processes(cell)
    found = {os.readlink(f"/proc/{interpreter}/fd/{n}") for n in os.listdir(f"/proc/{interpreter}/fd")}
    assert not {each for each in found if not each.startswith(("pipe:", "/dev/null"))}


def test_the_processes_are_bound(cell: Cell) -> None:
    run(cell, ["plain"])
    for pid in processes(cell):
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
        assert "0" not in status["Uid"].split()
        limits = Path(f"/proc/{pid}/limits").read_text()
        for name in (
            "Max file size",
            "Max core file size",
            "Max processes",
            "Max locked memory",
            "Max msgqueue size",
        ):
            (line,) = [each for each in limits.splitlines() if each.startswith(name)]
            assert line.removeprefix(name).split()[:2] == ["0", "0"]
        (line,) = [each for each in limits.splitlines() if each.startswith("Max address space")]
        assert int(line.split()[3]) < 8 << 30
    pid, _ = processes(cell)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    open_files = {os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")}
    files = {each for each in open_files if each.startswith("/")} - {"/dev/null"}
    assert all(each.endswith("/monty") for each in files)


def test_nothing_is_left_of_a_hundred_cells(nursery: Nursery) -> None:
    assert nursery._process is not None
    warm = nursery._process.pid

    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(os.listdir(f"/proc/{warm}/fd"))

    def settled() -> tuple[int, int]:
        """What is held once no cell is left, and two looks a moment apart see the same."""
        until = time.monotonic() + 10.0
        found, alive = held(), children(warm)
        while time.monotonic() < until:
            time.sleep(0.1)
            before, found, alive = found, held(), children(warm)
            if not alive and found == before:
                break
        assert alive == []
        return found

    # A cell of an earlier test may still be leaving.
    before = settled()
    for n in range(100):
        made = Cell(nursery.spawn, w.package())
        made.start(SECONDS)
        if n % 10 == 0:
            assert run(made, ["plain"]) == plain(1)
        made.close()
    after = settled()
    assert after[0] <= before[0]
    assert after[1] <= before[1]


def test_the_end_of_a_host_is_the_end_of_a_cell_that_ignores_it(cell: Cell) -> None:
    run(cell, ["plain"])
    pids = processes(cell)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)  # what does not run, does not notice
    assert cell._line is not None
    cell._line.close()
    assert gone(*pids)


def test_the_end_of_a_nursery_is_the_end_of_its_cells() -> None:
    made = Nursery("cell")
    cell = Cell(made.spawn, w.package())
    cell.start(SECONDS)
    pids = processes(cell)
    made.stop()
    assert gone(*pids)
    cell.close()


def test_the_kill_of_a_nursery_is_the_end_of_its_cells() -> None:
    made = Nursery("cell")
    cell = Cell(made.spawn, w.package())
    cell.start(SECONDS)
    pids = processes(cell)
    assert made._process is not None
    made._process.kill()
    assert gone(*pids)
    # And both come again.
    assert run(cell, ["plain"]) == plain(1)
    cell.close()
    made.stop()


@pytest.mark.parametrize(
    "change",
    [
        lambda m, f: (m, {**f, "rules.py": b"import os\ndef decide(item) -> dict:\n    return None\n"}),
        lambda m, f: (m, {**f, "rules.py": b"\xff"}),
        lambda m, f: (m, {**f, "prices.csv": b"kind\nbed\n"}),
        lambda m, f: (m, {**f, "more.txt": b""}),
        lambda m, f: (m, {"rules.py": f["rules.py"]}),
        lambda m, f: (
            {**m, "limits": {"time_ms": 20, "memory_bytes": 1 << 20}},
            {**f, "prices.csv": b"kind,cents\n" + b"".join(b"k%d,1\n" % n for n in range(20_000))},
        ),
    ],
    ids=[
        "findings",
        "no text",
        "a wrong table",
        "a further file",
        "a missing file",
        "too large",
    ],
)
def test_a_package_that_does_not_pass_its_check_does_not_start(
    nursery: Nursery,
    change: Callable[[dict[str, Any], dict[str, bytes]], tuple[dict[str, Any], dict[str, bytes]]],
) -> None:
    manifest, files = change(w.MANIFEST, w.FILES)
    made = Cell(nursery.spawn, CellPackage(manifest, files))
    for attempt in (made.start, lambda: run(made, ["plain"])):
        with pytest.raises(AtollError) as caught:
            attempt()
        assert caught.value.code == "E_SCRIPT"
    made.close()


def test_a_wrong_manifest_starts_no_process() -> None:
    with pytest.raises(AtollError) as caught:
        Cell(spawn_local, w.package(outputs={}))
    assert caught.value.code == "E_SCRIPT"


def test_a_cell_gets_nothing_that_the_manifest_does_not_name(cell: Cell) -> None:
    calls, inputs = w.batch(["plain"])
    inputs["item"] = inputs["item"].append_column("identity", [["planted"]])
    inputs["others"] = inputs["item"]
    calls = [dataclasses.replace(c, arguments={**c.arguments, "note": "planted"}) for c in calls]
    sent: list[bytes] = []
    cell.start(SECONDS)
    assert cell._line is not None
    send = cell._line.send
    cell._line.send = lambda body, deadline=None: (sent.append(body), send(body, deadline))[1]  # type: ignore[method-assign,func-returns-value]
    assert cell.run(calls, inputs, seconds=SECONDS) == plain(1)
    assert sent
    assert b"planted" not in b"".join(sent)
    with pytest.raises(KeyError):
        cell.run(calls, {"item": inputs["item"]}, seconds=SECONDS)


ORDINARY = """
import importlib.util, os, signal, sys
from atoll.sandbox import cell
from atoll.sandbox.host import Cell
spec = importlib.util.spec_from_file_location("cells", sys.argv[1])
cells = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cells)
start = cell.prepare()
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)

class Forked:
    def __init__(self, pid):
        self.pid = pid
    def kill(self):
        os.killpg(self.pid, signal.SIGKILL)
    def wait(self, timeout=None):
        os.waitpid(self.pid, 0)
        return True
    def close(self):
        pass

def spawn(theirs):
    pid = os.fork()
    if pid == 0:
        os.setsid()
        start(theirs.fileno())
    return Forked(pid)

made = Cell(spawn, cells.package())
print(made.run(*cells.batch(["plain", "memory", "plain"]), seconds=60))
made.close()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="every other test here is an ordinary user's already")
def test_an_ordinary_user_has_cells() -> None:
    found = subprocess.run(
        [sys.executable, "-c", ORDINARY, str(Path(__file__).parent / "packages.py")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == str([w.expected(0), None, w.expected(2)])


def test_a_local_cell_leaves_nothing() -> None:
    cell = Cell(spawn_local, w.package())
    assert run(cell, ["plain"] * 2) == plain(2)
    assert cell._process is not None
    group: int = cell._process.pid  # type: ignore[attr-defined]  # a local process has one
    inside = children(group)
    inside += children(inside[0])
    assert len(inside) == 2
    cell.close()
    assert gone(group, *inside)


def test_a_local_cell_ends_with_its_line() -> None:
    cell = Cell(spawn_local, w.package())
    cell.start(SECONDS)
    assert cell._process is not None
    assert cell._line is not None
    cell._line.close()
    assert cell._process.wait(5.0)
    cell._process = None
