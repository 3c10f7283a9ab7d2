"""A private PostgreSQL cluster under a temporary folder, on a Unix socket only."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest


class Cluster:
    """A running PostgreSQL server; `database()` gives the URL of a new database."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        # The server refuses to run as root, and the path of a socket has at most 107 bytes.
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self.folder = Path(tempfile.mkdtemp(prefix="atoll-pg-", dir="/tmp"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, self._user)
        self._run(
            "initdb", "-D", f"{self.folder}/data", "-U", "atoll", "--auth=trust", "--no-sync", "-E", "UTF8"
        )
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off"
        self._run(
            "pg_ctl", "-D", f"{self.folder}/data", "-l", f"{self.folder}/log", "-w", "-o", options, "start"
        )

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid", self._user, "--regid", self._user, "--clear-groups", *command]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"

    def database(self) -> str:
        """URL of a new, empty database."""
        name = f"atoll_{secrets.token_hex(4)}"
        with psycopg.connect(
            host=str(self.folder), user="atoll", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(f"create database {name}")
        return f"postgresql+psycopg://atoll@/{name}?host={self.folder}"

    def stop(self) -> None:
        """Ends the server and removes its files."""
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    require: Callable[[str], str] = request.getfixturevalue("require_server")
    made = Cluster(Path(require("postgresql")).parent)
    yield made
    made.stop()
