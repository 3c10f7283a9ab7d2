"""Migrations run up and down on both databases and give exactly the tables of the models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from atoll.errors import AtollError
from atoll.node.state.models import Base, Charge, Person, Token
from atoll.node.state.store import Store, migrations


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.sqlite'}"
    found: str = request.getfixturevalue("postgresql").database()
    return found


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    made = Store(url)
    yield made
    made.close()


def run(store: Store, what: Callable[..., None], revision: str) -> None:
    config = migrations(store.url)
    config.attributes["engine"] = store.engine
    what(config, revision)


def tables(store: Store) -> set[str]:
    return set(inspect(store.engine).get_table_names())


def test_there_is_one_first_migration() -> None:
    """Nothing is released yet: a change of the models changes the first migration."""
    script = ScriptDirectory.from_config(migrations("sqlite://"))
    assert [r.revision for r in script.walk_revisions()] == ["0001"]


def test_up_down_and_up_again(store: Store) -> None:
    run(store, command.upgrade, "head")
    assert tables(store) == set(Base.metadata.tables) | {"alembic_version"}
    run(store, command.downgrade, "base")
    assert tables(store) == {"alembic_version"}
    run(store, command.upgrade, "head")
    assert tables(store) == set(Base.metadata.tables) | {"alembic_version"}
    store.migrate()


def test_the_migrations_give_the_models(store: Store) -> None:
    store.migrate()
    with store.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        differences: list[Any] = compare_metadata(context, Base.metadata)
    assert differences == []


def test_names_and_nullability_are_the_models(store: Store) -> None:
    """What alembic does not compare on every database."""
    store.migrate()
    found = inspect(store.engine)
    for table in Base.metadata.sorted_tables:
        columns = {c["name"]: c for c in found.get_columns(table.name)}
        assert set(columns) == set(table.columns.keys())
        for column in table.columns:
            assert columns[column.name]["nullable"] == column.nullable, f"{table.name}.{column.name}"
            if store.engine.dialect.name == "postgresql":
                assert columns[column.name]["comment"] == column.comment, f"{table.name}.{column.name}"
        key = found.get_pk_constraint(table.name)["constrained_columns"]
        assert key == [c.name for c in table.primary_key], table.name
        unique = {frozenset(u["column_names"]) for u in found.get_unique_constraints(table.name)}
        wanted = {
            frozenset(c.name for c in u.columns)
            for u in table.constraints
            if type(u).__name__ == "UniqueConstraint"
        }
        assert unique == wanted, table.name


def test_every_column_and_table_says_what_it_holds() -> None:
    for mapper in Base.registry.mappers:
        assert mapper.class_.__doc__, mapper.class_.__name__
        for column in mapper.local_table.columns:
            assert column.comment, f"{mapper.local_table}.{column.name}"
            assert len(column.comment) > 3


def test_a_transaction_is_whole_or_not_there(store: Store) -> None:
    store.migrate()

    def half() -> None:
        with store.write() as session:
            session.add(Person(name="Li Wei", created="2026-11-23T16:30:00.000Z"))
            session.flush()
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        half()
    with store.read() as session:
        assert session.get(Person, "Li Wei") is None
    with store.write() as session:
        session.add(Person(name="Li Wei", created="2026-11-23T16:30:00.000Z"))
    with store.read() as session:
        assert session.get(Person, "Li Wei") is not None


def charge(**changed: Any) -> Charge:
    facts = {
        "job": "job-1", "block": 0, "kind": "run", "agreement": "agr-1", "asset": "loans", "partner": "ed25519:1",
        "amount": 1, "keyset": None, "at": "2026-11-23T16:30:00.000Z",
    }  # fmt: skip
    if "provider" in Charge.__table__.columns:
        facts["provider"] = "ed25519:0"
    return Charge(**(facts | changed))


def test_the_database_itself_refuses_a_second_charge(store: Store) -> None:
    from sqlalchemy.exc import IntegrityError

    store.migrate()
    with store.write() as session:
        session.add(charge())
        session.add(charge(kind="keys", amount=2**40, keyset="sha256:00"))
    with pytest.raises(IntegrityError), store.write() as session:
        session.add(charge())
    with store.write() as session:
        session.add(charge(block=1))
    with store.read() as session:
        assert sorted(c.amount for c in session.query(Charge)) == [1, 1, 2**40]


def test_texts_of_any_language_survive(store: Store) -> None:
    store.migrate()
    name = "李伟 — наука 🏦 'quoted'"
    with store.write() as session:
        session.add(Person(name=name, created="2026-11-23T16:30:00.000Z"))
        session.add(
            Token(
                id="1",
                digest="sha256:0",
                person=name,
                role="auditor",
                label="",
                created="2026-11-23T16:30:00.000Z",
            )
        )
    with store.read() as session:
        assert session.get(Person, name) is not None


@pytest.mark.parametrize(
    "url", ["nonsense", "oracle+nothing://x", "postgresql+psycopg://nobody@127.0.0.1:1/none"]
)
def test_a_store_that_cannot_be_opened_names_the_setting(url: str) -> None:
    with pytest.raises(AtollError) as caught:
        Store(url).migrate()
    assert caught.value.code == "E_CONFIG"
    assert "state.url" in caught.value.text
