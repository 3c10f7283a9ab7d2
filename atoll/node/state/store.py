"""Opening, migrating and using the state store.

One node process owns a store. Writers take one lock, so that a decision and the debit that follows from it are
one step; on SQLite every write transaction begins IMMEDIATE and is synchronous=FULL, so that what was
acknowledged survives a power cut.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from atoll.errors import AtollError

T = TypeVar("T")
_CONNECTIONS = 40
# So many small changes share a transaction at most.
_TOGETHER = 256
# Alembic keeps the migration that runs in a module's global.
_MIGRATING = threading.Lock()


def _sqlite_settings(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        write = connection.get_execution_options().get("atoll_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def migrations(url: str) -> AlembicConfig:
    """Alembic's settings for the store at `url`."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


class Store:
    """The state store of one node.

    `read()` gives a session that sees committed state; `write()` gives one whose changes commit together at the
    end of the block, or not at all.
    """

    def __init__(self, url: str) -> None:
        """Opens the store at an SQLAlchemy URL; `E_CONFIG` if it cannot be reached or its driver is missing."""
        self.url = url
        try:
            # As many connections as the API has threads: one that is made for each request costs more than the request.
            self.engine = create_engine(
                url,
                pool_pre_ping=not url.startswith("sqlite"),
                pool_size=_CONNECTIONS,
                max_overflow=_CONNECTIONS,
            )
        except NoSuchModuleError as error:
            raise AtollError("E_CONFIG", f"state.url: {error}") from None
        except (ArgumentError, ModuleNotFoundError) as error:
            raise AtollError(
                "E_CONFIG",
                f"state.url cannot be used: {error}",
                cure="Install the driver: pip install 'atoll[postgresql]'.",
            ) from None
        if url.startswith("sqlite"):
            _sqlite_settings(self.engine)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._writers = sessionmaker(self.engine.execution_options(atoll_write=True), expire_on_commit=False)
        self._lock = threading.RLock()
        self._gathering = threading.Lock()
        self._gathered: list[tuple[Callable[[Session], Any], Future[Any]]] = []

    @classmethod
    def sqlite(cls, path: Path) -> Store:
        """The store in an SQLite file."""
        return cls(f"sqlite:///{path}")

    def migrate(self) -> None:
        """Brings the tables to the current form."""
        try:
            with self.engine.connect() as connection:
                connection.execute(text("select 1"))
        except OperationalError as error:
            raise AtollError("E_CONFIG", f"state.url: the database does not answer: {error.orig}") from None
        config = migrations(self.url)
        config.attributes["engine"] = self.engine
        with _MIGRATING:
            command.upgrade(config, "head")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading."""
        with self._sessions() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes commit together; one writer at a time."""
        with self._lock, self._writers() as session, session.begin():
            yield session

    def together(self, change: Callable[[Session], T]) -> T:
        """What `change` gives, in a transaction that it shares with the changes that wait at the same moment.

        Returns once it is durable. A change that raises is undone alone. For small changes that come often, each of
        which costs less than a commit.
        """
        mine: Future[Any] = Future()
        with self._gathering:
            self._gathered.append((change, mine))
        with self._lock:
            if not mine.done():
                self._commit_gathered()
        result: T = mine.result()
        return result

    def _commit_gathered(self) -> None:
        with self._gathering:
            waiting, self._gathered = self._gathered[:_TOGETHER], self._gathered[_TOGETHER:]
        done: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            with self.write() as session:
                for change, future in waiting:
                    try:
                        with session.begin_nested():
                            done.append((future, change(session), None))
                    except Exception as error:
                        done.append((future, None, error))
        except BaseException as error:
            for _, future in waiting:
                future.set_exception(error)
            raise
        for future, value, refused in done:
            if refused is None:
                future.set_result(value)
            else:
                future.set_exception(refused)

    def close(self) -> None:
        """Closes all connections."""
        self.engine.dispose()
