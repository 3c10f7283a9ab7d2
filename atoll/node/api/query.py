"""Lookups by name: what there is, and the records of keys."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from atoll.node.access import Role
from atoll.node.api.guard import Here, Router

router = Router(prefix="/v1", tags=["query"])
_READERS: tuple[Role, ...] = ("application", "analyst", "auditor", "operator", "steward")


class Query(BaseModel):
    """Keys, each a list of values where there are several key columns; and for each the digest of its data
    subject's authorisation, where one is needed.
    """

    model_config = ConfigDict(extra="forbid")
    keys: list[Any]
    consents: list[str | None] | None = None


@router.on("GET", "/lookups", *_READERS)
def lookups(node: Here) -> list[dict[str, Any]]:
    """Lookups at partners that have not ended, newest first."""
    return node.lookups.listed()


@router.on("GET", "/lookups/{lookup}", *_READERS)
def show(node: Here, lookup: str) -> dict[str, Any]:
    """One lookup: its columns and types, and the job that serves it."""
    return node.lookups.show(lookup)


@router.on("POST", "/query/{lookup}", "application", "analyst")
def query(node: Here, lookup: str, body: Query) -> dict[str, Any]:
    """Reads the records of keys, each one call; the partner does not learn which."""
    return node.lookups.query(lookup, body.keys, body.consents)
