"""How Alembic runs the migrations of the state store: always online, on the store's own engine."""

from alembic import context
from sqlalchemy import create_engine

from atoll.node.state import models, offers, replays, scripts  # noqa: F401  # all tables, wherever they are described
from atoll.node.state.base import Base

engine = context.config.attributes.get("engine") or create_engine(
    context.config.get_main_option("sqlalchemy.url") or ""
)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
