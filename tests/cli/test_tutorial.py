"""Runs the tutorials: every command of docs/tutorial.md and docs/tutorial-claim-rule.md, against real nodes."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import atoll
from atoll.testing import until

DOCS = Path(__file__).resolve().parents[2] / "docs"
ATOLL = [sys.executable, "-m", "atoll.cli"]
# Ward: quantity times price, 90 %; surgery: 80 %; drug-a: 70 % of at most 50.00; less the deductible, in whole 10 yuan.
ANSWERS = [
    ["approve", "812000", ""],
    ["refuse", "0", "excluded"],
    ["approve", "183000", ""],
    ["refuse", "0", "no_claim"],
]
_PORT = re.compile(r"127\.0\.0\.1:(\d+)")


class Reader:
    """Does what a reader does: writes the files, runs the commands, fills in what the nodes have answered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("ATOLL_")}
        self.running: list[subprocess.Popen[bytes]] = []
        self.ports: dict[str, int] = {}
        self.last = ""

    def fill_in(self, line: str) -> str:
        """Free ports instead of the tutorial's, and values instead of the words in capitals."""

        def port(match: re.Match[str]) -> str:
            return f"127.0.0.1:{self.ports.setdefault(match.group(1), free_port())}"

        line = _PORT.sub(port, line)
        if "WORDS" in line:
            node = shlex.split(line)[-1]
            line = line.replace("WORDS", until("words", lambda: self.words(node)))
        if "AGREEMENT" in line:
            line = line.replace("AGREEMENT", until("the agreement", lambda: self.agreement(line)))
        if re.search(r"\bJOB\b", line):
            line = re.sub(r"\bJOB\b", self.client("bank", "analyst").jobs.list()[0].id, line)
        return line

    def client(self, node: str, role: str) -> atoll.client.Client:
        return atoll.connect(folder=self.folder / node, role=role)

    def words(self, node: str) -> str | None:
        with self.client(node, "administrator") as client:
            return next((p["words"] for p in client.peers.list()), None)

    def agreement(self, line: str) -> str | None:
        """Its identifier, once the node that the command is for has it in the state that the command needs."""
        node = shlex.split(line)[-1]
        with self.client(node, "steward") as client:
            wanted = "offered" if " sign " in line or " show " in line else "active"
            return next((a["id"] for a in client.agreements.list() if a["state"] == wanted), None)

    def run(self, line: str) -> None:
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self.env[name] = shlex.split(value)[0]
            return
        if "job list --state waiting" in line:
            with self.client("office", "steward") as office:
                until("the job waits", lambda: office.jobs.list(state="waiting"))
        if line.startswith("atoll script "):
            self.wait_for_package(line)
        words = shlex.split(self.fill_in(line))
        target = None
        if ">" in words:
            target = self.folder / words[-1]
            words = words[: words.index(">")]
        command = [*ATOLL, *words[1:]] if words[0] == "atoll" else [sys.executable, *words[1:]]
        if words[-1] == "&":
            self.start(command[:-1], words[words.index("-d") + 1])
            return
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        self.last = done.stdout
        if target is not None:
            target.write_text(done.stdout)

    def wait_for_package(self, line: str) -> None:
        """A reader types slower than nodes talk: until the package is where the command needs it."""
        words = shlex.split(line)
        wanted = {
            "list": "published", "review": "published", "deploy": "published", "call": "deployed", "switch": "deployed",
        }.get(words[2])  # fmt: skip
        if wanted is None:
            return
        node, name, version = words[-1], "claims", "1.1.0" if "@1.1.0" in line else None

        def there() -> bool:
            with self.client(node, "steward") as client:
                rows = [r for r in client.scripts.packages() if r["name"] == name]
            rows = [r for r in rows if version is None or r["version"] == version]
            return any(r.get("state") in (wanted, "deployed") for r in rows)

        until(f"{name} is {wanted} at {node}", there)

    def start(self, command: list[str], node: str) -> None:
        with (self.folder / f"{node}.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.env, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self.running.append(process)
        address = self.folder / node / "api.address"

        def answers() -> bool:
            assert process.poll() is None, (self.folder / f"{node}.log").read_text()
            return address.exists() and bool(address.read_text())

        until(f"{node} answers", answers, timeout=60)

    def stop(self) -> None:
        for process in self.running:
            process.terminate()
        for process in self.running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def reader(tmp_path: Path):
    found = Reader(tmp_path)
    yield found
    found.stop()


def read(reader: Reader, page: str) -> list[str]:
    """Does everything that a page says, and gives the commands."""
    text = (DOCS / page).read_text(encoding="utf-8")
    commands = []
    for kind, name, body in re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if name:
            (reader.folder / name).write_text(body)
            continue
        assert kind == "sh"
        for line in body.splitlines():
            reader.run(line)
            commands.append(line)
    return commands


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command_of_the_tutorial(reader) -> None:
    assert len(read(reader, "tutorial.md")) > 25
    matched = (reader.folder / "matched.csv").read_text().splitlines()
    assert len(matched) == 1001
    companies = {row.split(",")[0].strip('"') for row in matched[1:]}
    assert companies == {f"CN{i:06}" for i in range(1000, 2000)}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command_of_the_tutorial_on_claim_rules(reader) -> None:
    assert len(read(reader, "tutorial-claim-rule.md")) > 40
    rows = (reader.folder / "answers.csv").read_text().splitlines()
    assert rows[0] == "key,subject,state,decision,pay,reasons,error,text"
    assert [row.split(",")[3:6] for row in rows[1:]] == ANSWERS
    with reader.client("insurer", "analyst") as insurer:
        calls = {c["key"]: c for c in insurer.scripts.calls(name="claims")}
    assert calls["claim-097"]["answer"]["pay"] > 1000000
    assert (calls["claim-004"]["version"], calls["claim-000"]["version"]) == ("1.1.0", "1.0.0")
