"""What all tables of the state store share: their base, and the types of identifiers and times."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.orm import DeclarativeBase, mapped_column

KEY = String(160)
DIGEST = String(160)
TIME = String(32)
# SQLite counts rows only in INTEGER primary keys.
SERIAL = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """Base of all tables."""


def column(kind: Any, comment: str, **options: Any) -> Any:
    """A column, which always says what it holds."""
    return mapped_column(kind, comment=comment, **options)
