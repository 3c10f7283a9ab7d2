"""Agreements."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from atoll.node.agreements import new_agreement_id
from atoll.node.api.guard import Here, Router, Who

router = Router(prefix="/v1/agreements", tags=["agreements"])


class Revocation(BaseModel):
    """Why an agreement ends."""

    model_config = ConfigDict(extra="forbid")
    reason: str = ""


class Acceptance(BaseModel):
    """Offers by identifier or digest, and what this institution brings itself."""

    model_config = ConfigDict(extra="forbid")
    offers: list[str] = Field(min_length=1, max_length=64)
    assets: list[dict[str, Any]] = Field(default=[], max_length=1000)
    title: str | None = None


@router.on("GET", "", "steward", "analyst", "auditor", "administrator")
def agreements(node: Here) -> list[dict[str, Any]]:
    """Every version of every agreement, newest first."""
    return node.agreements.list()


@router.on("POST", "", "steward", status_code=201)
def propose(node: Here, body: dict[str, Any]) -> dict[str, Any]:
    """Signs an agreement document and offers it to all signatories; a missing `id` is filled in."""
    document = {"id": new_agreement_id(), **body} if "id" not in body else body
    return node.agreements.propose(document)


@router.on("POST", "/accept", "steward", status_code=201)
def accept(node: Here, body: Acceptance) -> dict[str, Any]:
    """Makes one agreement of partners' offers and proposes it; their nodes sign what they offered by themselves."""
    return node.catalogue.accept(body.offers, assets=body.assets, title=body.title)


@router.on("POST", "/changes", "steward")
def changes(node: Here, body: dict[str, Any]) -> list[dict[str, str]]:
    """What a draft of the next version would change, line by line; nothing is proposed."""
    return node.agreements.changes(body)


@router.on("GET", "/{identifier}", "steward", "analyst", "auditor", "administrator")
def show(node: Here, identifier: str, version: int | None = None) -> dict[str, Any]:
    """One version, with its document and what changed since the version before."""
    return node.agreements.describe(node.agreements.row(identifier, version), full=True)


@router.on("POST", "/{identifier}/sign", "steward")
def sign(node: Here, who: Who, identifier: str, version: int | None = None) -> dict[str, Any]:
    """Signs an offered version for this institution."""
    return node.agreements.sign(identifier, version, who.person)


@router.on("POST", "/{identifier}/decline", "steward")
def decline(node: Here, who: Who, identifier: str, version: int = 1) -> dict[str, Any]:
    """Declines an offered version."""
    return node.agreements.decline(identifier, version, who.person)


@router.on("POST", "/{identifier}/revoke", "steward")
def revoke(node: Here, who: Who, identifier: str, body: Revocation) -> dict[str, Any]:
    """Ends an agreement for all, at once here."""
    return node.agreements.revoke(identifier, body.reason, who.person)
