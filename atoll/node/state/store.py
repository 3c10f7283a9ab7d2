"""Opening, migrating and using the state store.

One node process owns a store. Writers take one lock, so that a decision and the debit that follows from it are
one step; on SQLite every write transaction begins IMMEDIATE and is synchronous=FULL, so that what was
acknowledged survives a power cut.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from atoll.errors import AtollError

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
            self.engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
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

    def close(self) -> None:
        """Closes all connections."""
        self.engine.dispose()
