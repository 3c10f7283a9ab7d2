"""Nodes of tests that are forked from a warm process: processes of their own, as if each had loaded the code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from atoll import AtollError
from atoll.testing import NodeProcess, nodes, until


def parent(process: int) -> int:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])


def command(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    with nodes("alice", "bob", pair=None, folder=tmp_path_factory.mktemp("warm")) as net:
        yield net


def test_nodes_take_turns_at_two_warm_processes(made) -> None:
    parents = {parent(node.pid) for node in made}
    assert len(parents) == 2
    assert os.getpid() not in parents
    assert all("atoll.testing.forking" in command(one) for one in parents)


def test_each_has_a_group_a_log_and_an_identity_of_its_own(made) -> None:
    for node in made:
        assert os.getpgid(node.pid) == node.pid
        assert os.readlink(f"/proc/{node.pid}/fd/2") == str(node.log_file)
        assert node.identity in node.log()
    assert made.alice.identity not in made.bob.log()


def test_the_passphrase_is_in_no_environment_but_the_nodes(made) -> None:
    own = Path(f"/proc/{parent(made.alice.pid)}/environ").read_bytes()
    assert b"PATH=" in own
    assert b"ATOLL_PASSPHRASE" not in own


def test_a_killed_node_tells_its_signal_and_is_gone(made) -> None:
    process = made.alice._process
    pid = made.alice.pid
    os.kill(pid, signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL
    assert process.poll() == -signal.SIGKILL
    assert not Path(f"/proc/{pid}").exists()
    process.send_signal(signal.SIGTERM)  # to nobody
    made.alice.start()
    assert made.alice.running


def test_a_node_that_ends_in_order_tells_so(made) -> None:
    process = made.bob._process
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == -signal.SIGTERM
    assert "node stopped" in made.bob.log()
    made.bob.start()


def test_another_environment_loads_the_code_anew(
    made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As tests do that change a node's code by what Python loads first."""
    mark = tmp_path / "loaded"
    (tmp_path / "sitecustomize.py").write_text(f"open({str(mark)!r}, 'w').close()")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        made.alice.restart()
    assert parent(made.alice.pid) == os.getpid()
    assert "atoll.cli node" in command(made.alice.pid)
    assert mark.exists()
    made.alice.restart()
    assert parent(made.alice.pid) != os.getpid()


def test_a_node_that_is_not_to_be_warm_is_started_as_by_an_operator(tmp_path: Path) -> None:
    with nodes("alice", pair=None, folder=tmp_path, warm=False) as net:
        assert parent(net.alice.pid) == os.getpid()
        assert "atoll.cli node" in command(net.alice.pid)


def test_a_wrong_passphrase_ends_it(tmp_path: Path) -> None:
    node = NodeProcess("alice", tmp_path / "alice")
    node.create()
    node.passphrase = "another one, quite long"
    with pytest.raises(AtollError, match="ended with status 1") as caught:
        node.start()
    assert "E_PASSPHRASE" in caught.value.text
    node.close()


_OWNER = """
import sys
from pathlib import Path
from atoll.testing import NodeProcess
node = NodeProcess("alice", Path(sys.argv[1]))
node.create()
node.start()
print(Path(f"/proc/{node.pid}/stat").read_text().rpartition(")")[2].split()[1])
node.close()
"""


def test_a_warm_process_ends_with_its_owner(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _OWNER, str(tmp_path / "alice")],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    warm = Path(f"/proc/{int(done.stdout)}")
    until("the warm process ends", lambda: not warm.exists() or "Z" in (warm / "stat").read_text(), 20)
