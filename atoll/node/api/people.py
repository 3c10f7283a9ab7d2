"""Persons and tokens."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from atoll.node.api.guard import Here, Router

router = Router(prefix="/v1", tags=["persons"])


class NewPerson(BaseModel):
    """A person to add."""

    model_config = ConfigDict(extra="forbid")
    name: str


class NewToken(BaseModel):
    """A token to issue."""

    model_config = ConfigDict(extra="forbid")
    person: str
    role: str
    label: str = ""
    expires: str | None = None


@router.on("GET", "/persons", "administrator", "auditor")
def persons(node: Here) -> list[dict[str, object]]:
    """Every person with their tokens; never a token's secret."""
    return node.access.people()


@router.on("POST", "/persons", "administrator", status_code=201)
def add_person(node: Here, body: NewPerson) -> dict[str, Any]:
    """Adds a person."""
    node.access.add_person(body.name)
    return {"name": body.name}


@router.on("DELETE", "/persons/{name}", "administrator")
def disable_person(node: Here, name: str) -> dict[str, Any]:
    """Ends all tokens of a person at once."""
    node.access.disable_person(name)
    return {"name": name, "disabled": True}


@router.on("POST", "/tokens", "administrator", status_code=201)
def issue_token(node: Here, body: NewToken) -> dict[str, str]:
    """A new token; this is the only time it can be seen."""
    token = node.access.issue(body.person, body.role, body.label, body.expires)
    return {"token": token, "person": body.person, "role": body.role}


@router.on("DELETE", "/tokens/{identifier}", "administrator")
def revoke_token(node: Here, identifier: str) -> dict[str, Any]:
    """Ends a token."""
    node.access.revoke(identifier)
    return {"id": identifier, "revoked": True}
