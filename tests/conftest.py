"""Helpers that every test may use."""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import settings

# A shared or slow machine must not turn a property into a timing test.
# Continuous integration draws the same examples each time, so that a change lands or not by its own merit; a
# developer's run draws new ones.
settings.register_profile("atoll", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("atoll")

# Where tests take longest, by folder or file: they begin first, so that no worker is left with such a file when the
# others have nothing more to do.
LONGEST = (
    "node/test_source_mutations.py", "scenarios/test_by_cli.py", "scenarios/test_by_rest.py",
    "scenarios/test_by_sdk.py", "script_nodes", "node", "replay", "agreements", "billing", "wire", "evidence", "demo",
    "protocols", "functions",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts files, and nothing inside of them."""
    folder = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        place = item.path.relative_to(folder).as_posix() if item.path.is_relative_to(folder) else ""
        found = (at for at, name in enumerate(LONGEST) if place == name or place.startswith(f"{name}/"))
        return next(found, len(LONGEST))

    items.sort(key=rank)


# The programs of each server, as PATH names and as places where distributions keep them outside of PATH. Go is
# none, and is asked for in the same way: it builds what checks the ledger's encodings from outside.
SERVERS: dict[str, tuple[str, ...]] = {
    "postgresql": ("postgres", "/usr/lib/postgresql/*/bin/postgres", "/usr/pgsql-*/bin/postgres"),
    "mysql": ("mysqld", "mariadbd", "/usr/sbin/mysqld", "/usr/sbin/mariadbd", "/usr/libexec/mysqld"),
    "go": ("go", "/usr/local/go/bin/go", "/usr/lib/go*/bin/go"),
}


def find_server(name: str) -> str | None:
    """Path of the program of a server (a key of `SERVERS`), or None where it is not installed."""
    for candidate in SERVERS[name]:
        places = sorted(glob.glob(candidate)) if "/" in candidate else [shutil.which(candidate)]
        # The highest version comes last in name order; an older one serves the tests as well.
        for place in reversed(places):
            if place and os.access(place, os.X_OK):
                return place
    return None


def require_server(name: str, found: str | None = None) -> str:
    """Path of a server's program; skips the test where it is absent.

    With `ATOLL_REQUIRE_SERVERS=1`, which continuous integration sets, an absent server fails the test:
    a test that never runs there would prove nothing.

    Args:
        name: a key of `SERVERS`, or any name when `found` is given.
        found: the program, where the caller looked for it itself; empty if absent.
    """
    place = find_server(name) if found is None else found
    if place:
        return place
    if os.environ.get("ATOLL_REQUIRE_SERVERS") == "1":
        pytest.fail(f"{name} is not installed, and ATOLL_REQUIRE_SERVERS=1 asks for it")
    pytest.skip(f"{name} is not installed")


@pytest.fixture(name="require_server", scope="session")
def _require_server():
    """`require_server` as a fixture, since test modules do not import this file."""
    return require_server


@dataclass
class Database:
    """A real server of a test: `admin` may do everything, `reader` only read. Nothing of it is shared with others."""

    kind: str
    port: int
    process: subprocess.Popen[bytes]
    name: str = "core"
    password: str = "p%40ss w/or:d"  # with characters that a URL must escape

    def url(self, user: str = "reader", password: str | None = None) -> str:
        """The URL for a user; `reader` and `admin` share the password."""
        secret = quote(self.password if password is None else password, safe="")
        return f"{self.kind}://{user}:{secret}@127.0.0.1:{self.port}/{self.name}"

    def connect(self):
        """A driver's connection as admin, in autocommit."""
        if self.kind == "postgresql":
            import psycopg

            return psycopg.connect(
                host="127.0.0.1", port=self.port, user="admin", password=self.password, dbname=self.name,
                autocommit=True,
            )  # fmt: skip
        import pymysql

        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="admin", password=self.password, database=self.name,
            autocommit=True,
        )  # fmt: skip

    def run(self, *statements: str):
        """Runs statements as admin; the rows of the last one."""
        connection = self.connect()
        try:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _server_user(*names: str) -> dict[str, object]:
    """As whom to run a server: these programs refuse root."""
    if os.geteuid() != 0:
        return {}
    for name in (*names, "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    pytest.fail("as root, the tests of servers need the user nobody")


@contextlib.contextmanager
def _server_folder(who: dict[str, object]):
    folder = Path(tempfile.mkdtemp(prefix="atoll-server-"))
    if who:
        os.chown(folder, int(str(who["user"])), int(str(who["group"])))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await_server(database: Database, log: Path) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            database.run("SELECT 1")
            return
        except Exception as error:
            if database.process.poll() is not None or time.monotonic() > end:
                pytest.fail(
                    f"{database.kind} did not start ({error}): {log.read_text(errors='replace')[-2000:]}"
                )
            time.sleep(0.1)


@contextlib.contextmanager
def _running(arguments: list[str], who: dict[str, object], log: Path, stop: signal.Signals):
    with log.open("wb") as out:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=log.parent, start_new_session=True,
            **who,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL server of this session's own, with the users admin and reader and the database core."""
    program = Path(require_server("postgresql"))
    who = _server_user("postgres")
    with _server_folder(who) as folder:
        database = Database("postgresql", _free_port(), None)
        words = folder / "password"
        words.write_text(database.password)
        if who:
            os.chown(words, int(str(who["user"])), int(str(who["group"])))
        subprocess.run(
            [program.with_name("initdb"), "-D", folder / "data", "-U", "admin", "-A", "scram-sha-256", "-E", "UTF8",
             "--locale=C", "--no-sync", f"--pwfile={words}"],
            check=True, capture_output=True, cwd=folder, **who,
        )  # fmt: skip
        settings = {
            "listen_addresses": "127.0.0.1", "port": database.port, "unix_socket_directories": "",
            "fsync": "off", "max_connections": 60,
        }  # fmt: skip
        arguments = [str(program), "-D", str(folder / "data")]
        for key, value in settings.items():
            arguments += ["-c", f"{key}={value}"]
        with _running(arguments, who, folder / "log", signal.SIGINT) as database.process:
            database.name = "postgres"
            _await_server(database, folder / "log")
            literal = database.password.replace("'", "''")
            database.run("CREATE DATABASE core", f"CREATE ROLE reader LOGIN PASSWORD '{literal}'")
            database.name = "core"
            database.run(
                "GRANT USAGE ON SCHEMA public TO reader",
                # The reader may write as well: what keeps it from that is the node, not the server.
                "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO reader",
                "GRANT CREATE ON SCHEMA public TO reader",
            )
            yield database


@pytest.fixture(scope="session")
def mysql():
    """A MariaDB or MySQL server of this session's own, with the users admin and reader and the database core."""
    program = require_server("mysql")
    who = _server_user("mysql")
    with _server_folder(who) as folder:
        database = Database("mysql", _free_port(), None)
        words = folder / "start.sql"
        secret = database.password.replace("'", "''")
        words.write_text(
            "CREATE DATABASE IF NOT EXISTS core CHARACTER SET utf8mb4;\n"
            f"CREATE USER IF NOT EXISTS 'admin'@'%' IDENTIFIED BY '{secret}';\n"
            "GRANT ALL ON *.* TO 'admin'@'%';\n"
            f"CREATE USER IF NOT EXISTS 'reader'@'%' IDENTIFIED BY '{secret}';\n"
            "GRANT ALL ON core.* TO 'reader'@'%';\n"
        )
        words.chmod(0o644)
        common = ["--no-defaults", f"--datadir={folder / 'data'}"]
        installer = shutil.which("mariadb-install-db") or shutil.which("mysql_install_db")
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        if "MariaDB" in version:
            if installer is None:
                pytest.fail("mariadb-install-db is not installed beside the server")
            prepare = [installer, *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
        else:
            prepare = [program, *common, "--initialize-insecure"]
        subprocess.run(prepare, check=True, capture_output=True, cwd=folder, **who)
        arguments = [
            program, *common, f"--port={database.port}", "--bind-address=127.0.0.1",
            f"--socket={folder / 's'}", f"--pid-file={folder / 'pid'}", f"--init-file={words}",
            "--skip-log-bin", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M",
        ]  # fmt: skip
        with _running(arguments, who, folder / "log", signal.SIGTERM) as database.process:
            _await_server(database, folder / "log")
            yield database
