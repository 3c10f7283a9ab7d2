"""Data subjects' authorisations."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from atoll.node.api.guard import Here, Router

router = Router(prefix="/v1/consents", tags=["consents"])


class NewConsent(BaseModel):
    """An authorisation to issue for a data subject whose word this institution has."""

    model_config = ConfigDict(extra="forbid")
    subject: str
    purposes: list[str]
    functions: list[str]
    grantee: str | None = None
    days: int = 365


class Given(BaseModel):
    """An authorisation that another issuer signed."""

    model_config = ConfigDict(extra="forbid")
    envelope: dict[str, Any]


class Withdrawal(BaseModel):
    """The issuer's signed withdrawal; left out where this node is the issuer."""

    model_config = ConfigDict(extra="forbid")
    envelope: dict[str, Any] | None = None


@router.on("GET", "", "steward", "auditor", "application")
def consents(node: Here, limit: int = 100, before: str | None = None) -> list[dict[str, Any]]:
    """Authorisations, newest first."""
    return node.consents.listed(max(1, min(limit, 1000)), before)


@router.on("POST", "", "steward", "application", status_code=201)
def issue(node: Here, body: NewConsent) -> dict[str, Any]:
    """Issues an authorisation; the subject enters by a salted commitment only."""
    return node.consents.issue(
        body.subject, grantee=body.grantee, purposes=body.purposes, functions=body.functions, days=body.days
    )


@router.on("POST", "/given", "steward", "application", status_code=201)
def take(node: Here, body: Given) -> dict[str, Any]:
    """Keeps an authorisation that another issuer signed for this institution."""
    return node.consents.take(body.envelope)


@router.on("GET", "/{digest}", "steward", "auditor")
def show(node: Here, digest: str) -> dict[str, Any]:
    """One authorisation with its envelope, and its subject where this node issued it."""
    return node.consents.show(digest)


@router.on("POST", "/{digest}/withdraw", "steward", "application")
def withdraw(node: Here, digest: str, body: Withdrawal) -> dict[str, Any]:
    """Ends an authorisation; partners that would accept it are told."""
    return node.consents.withdraw(digest, body.envelope)
