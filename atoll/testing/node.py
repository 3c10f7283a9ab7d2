"""One real node as a process on this machine, with a client for each role."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any, Literal

from atoll.client import Client, connect
from atoll.errors import AtollError
from atoll.testing import warm

Role = Literal["administrator", "steward", "analyst", "auditor", "operator", "application"]
ROLES: tuple[Role, ...] = ("administrator", "steward", "analyst", "auditor", "operator", "application")
START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_PROGRAM = ("-m", "atoll.cli")
# Small and on loopback; a test overrides what it needs.
SETTINGS: dict[str, Any] = {
    "partners.listen": "127.0.0.1:0",
    "api.listen": "127.0.0.1:0",
    "jobs.threads": 1,
    "logs.level": "debug",
}


class NodeProcess:
    """A node in a folder of its own.

    `administrator`, `steward`, `analyst`, `auditor`, `operator`, `application` are clients, each for a person
    of its own, whose name is `<node> <role>`.
    """

    def __init__(self, name: str, folder: Path, settings: dict[str, Any] | None = None) -> None:
        self.name = name
        self.folder = folder
        self.settings = SETTINGS | (settings or {})
        self.passphrase = secrets.token_urlsafe(18)
        # Arguments of the interpreter; a test of a dishonest partner starts a program of its own here.
        self.program: tuple[str, ...] = _PROGRAM
        # Whether the process is forked from one that has loaded the code, where it can be.
        self.warm = True
        self.identity = ""
        self.address: str | None = None
        self._process: subprocess.Popen[bytes] | warm.Forked | None = None
        self._clients: dict[str, Client] = {}

    # The process.

    def create(self) -> None:
        """Makes the node's folder."""
        from atoll.node.home import init

        init(self.folder, self.name, self.passphrase, self.settings)

    @property
    def log_file(self) -> Path:
        """Where the process writes its log, beside the folder."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def log(self) -> str:
        """Everything that the node logged, over all its starts."""
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""

    @property
    def environment(self) -> dict[str, str]:
        """Environment for a process that works on this node as its operator would."""
        ours = {"ATOLL_DIR", "ATOLL_URL", "ATOLL_TOKEN", "ATOLL_PASSPHRASE"}
        return {k: v for k, v in os.environ.items() if k not in ours} | {"PYTHONUTF8": "1"}

    def start(self) -> NodeProcess:
        """Starts the process and waits until it answers; `E_STATE` with the end of its log if it does not."""
        (self.folder / "api.address").unlink(missing_ok=True)
        environment = self.environment | {"ATOLL_PASSPHRASE": self.passphrase}
        forked = None
        if self.warm and self.program == _PROGRAM:
            forked = warm.fork(self.folder, self.log_file, environment)
        self._process = forked or self._load(environment)
        self._await_health()
        self._learn()
        return self

    def _load(self, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """The process as an operator starts it, which loads the code."""
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *self.program, "node", "-d", str(self.folder)],
                env=environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # a signal of the terminal reaches the tests, and they stop the nodes
            )  # fmt: skip

    def _await_health(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            assert self._process is not None  # set by start
            if self._process.poll() is not None:
                raise self._failed(f"ended with status {self._process.returncode}")
            try:
                url = (self.folder / "api.address").read_text().strip()
                if url:
                    with Client(url, None, timeout=5) as client:
                        if client.health() == "ok":
                            self.url = url
                            return
            except FileNotFoundError:
                pass
            except AtollError as error:
                if error.code != "E_UNREACHABLE":
                    raise
            time.sleep(0.03)
        raise self._failed(f"did not answer within {START_SECONDS:g} s")

    def _failed(self, what: str) -> AtollError:
        return AtollError("E_STATE", f"the node {self.name} {what}. Its log ends:\n{self.log()[-4000:]}")

    def _learn(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        found = self.administrator.info()
        self.identity, self.address = found["identity"], found["partner_address"]
        self._pin_port()

    def _pin_port(self) -> None:
        """Partners dial the port of the first start, so that later starts take the same one."""
        if self.address is None or not str(self.settings["partners.listen"]).endswith(":0"):
            return
        file = self.folder / "atoll.toml"
        text = file.read_text(encoding="utf-8")
        listen = tomllib.loads(text)["partners"]["listen"]
        fixed = f"{listen.rpartition(':')[0]}:{self.address.rpartition(':')[2]}"
        file.write_text(text.replace(f'listen = "{listen}"', f'listen = "{fixed}"', 1), encoding="utf-8")
        self.settings["partners.listen"] = fixed

    @property
    def pid(self) -> int:
        """Identifier of the running process."""
        if self._process is None:
            raise AtollError("E_STATE", f"the node {self.name} does not run.")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Ends the process in order, as an operator does; kills it where it hangs."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the process and its workers at once (`kill -9`): nothing is flushed, nobody is told."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            if how == signal.SIGKILL:
                self._signal_group(process.pid)
            else:
                process.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
        self._signal_group(process.pid)
        process.wait()

    @staticmethod
    def _signal_group(group: int) -> None:
        """Kills what is left of the node's own process group, its workers among it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)

    def restart(self, *, kill: bool = False) -> NodeProcess:
        """Stops the process, or kills it, and starts it again."""
        self._end(signal.SIGKILL if kill else signal.SIGTERM)
        return self.start()

    def close(self) -> None:
        """Stops the process and closes all clients."""
        self.stop()
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    # People.

    def person(self, role: Role) -> str:
        """Name of the person that `client(role)` acts as."""
        return "administrator" if role == "administrator" else f"{self.name} {role}"

    def client(self, role: Role, person: str | None = None) -> Client:
        """A client in a role, for the role's own person or another one, who is added if need be."""
        who = person or self.person(role)
        key = f"{who}:{role}"
        if key not in self._clients:
            self._clients[key] = connect(folder=self.folder, token=self.token(role, who))
        return self._clients[key]

    def token(self, role: Role, person: str | None = None) -> str:
        """A token of that person in that role; made once and kept in the node's folder, for the CLI too."""
        from atoll.client import folder

        who = person or self.person(role)
        for found in folder.kept(self.folder):
            if found.person == folder.safe(who) and found.role == role:
                return found.read()
        try:
            self.administrator.persons.add(who)
        except AtollError as error:
            if error.code != "E_CONFLICT":
                raise
        token = self.administrator.persons.issue(who, role, "made by atoll.testing")
        folder.keep(self.folder, who, role, token)
        return token

    @property
    def administrator(self) -> Client:
        """Persons, tokens, pairing."""
        return self.client("administrator")

    @property
    def steward(self) -> Client:
        """Data, agreements, approvals."""
        return self.client("steward")

    @property
    def analyst(self) -> Client:
        """Proposes jobs and reads their results."""
        return self.client("analyst")

    @property
    def auditor(self) -> Client:
        """Reads records, receipts and ledgers."""
        return self.client("auditor")

    @property
    def operator(self) -> Client:
        """Health, metrics, states of jobs."""
        return self.client("operator")

    @property
    def application(self) -> Client:
        """Calls standing services."""
        return self.client("application")

    def __repr__(self) -> str:
        return f"<node {self.name}, {'running' if self.running else 'stopped'}, {self.folder}>"


__all__ = ["ROLES", "NodeProcess", "Role"]
