"""Lookups by name: what there is, and the records of keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fastapi.responses import StreamingResponse
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


class TableQuery(BaseModel):
    """An own table whose rows' keys are asked: its key columns in the order of the lookup's, by default those of the
    lookup's names; the column with digests of authorisations; the row to begin with.
    """

    model_config = ConfigDict(extra="forbid")
    table: str
    columns: list[str] | None = None
    consent: str | None = None
    start: int = 1


class RowsQuery(TableQuery):
    """As for a table, of those rows for which a condition on its columns holds."""

    where: str


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


@router.on("POST", "/query/{lookup}/table", "application", "analyst")
def query_table(node: Here, lookup: str, body: TableQuery) -> StreamingResponse:
    """Reads the records of the keys of an own table, as lines of JSON: what is asked, a line for each row, and, if it
    ends early, why and before which row.
    """
    return _lines(node.table_lookups.query(lookup, body.table, body.columns, body.consent, body.start))


@router.on("POST", "/query/{lookup}/rows", "analyst")
def query_rows(node: Here, lookup: str, body: RowsQuery) -> StreamingResponse:
    """As `/table`, for the rows of an own table for which a condition holds."""
    found = node.table_lookups.query(lookup, body.table, body.columns, body.consent, body.start, body.where)
    return _lines(found)


def _lines(found: Iterator[dict[str, Any]]) -> StreamingResponse:
    def lines() -> Iterator[str]:
        for line in found:
            yield json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")
