"""Pairing."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from atoll.node.api.guard import Here, Router, Who

router = Router(prefix="/v1/peers", tags=["peers"])


class NewInvite(BaseModel):
    """An invite to make; it ends after so many hours."""

    model_config = ConfigDict(extra="forbid")
    hours: int = 24


class Accept(BaseModel):
    """A partner's invite."""

    model_config = ConfigDict(extra="forbid")
    invite: str


class Confirm(BaseModel):
    """The words that the partner's side reads."""

    model_config = ConfigDict(extra="forbid")
    words: str


@router.on("GET", "", "administrator", "steward", "analyst", "auditor", "operator")
def peers(node: Here) -> list[dict[str, Any]]:
    """All partners: state, address, words to compare, whether a link is up."""
    return node.partners.describe()


@router.on("POST", "/invites", "administrator", status_code=201)
def invite(node: Here, body: NewInvite) -> dict[str, Any]:
    """A new invite, to be handed to the partner."""
    return node.partners.invite(body.hours)


@router.on("POST", "/accept", "administrator", status_code=201)
def accept(node: Here, body: Accept) -> dict[str, Any]:
    """Takes up a partner's invite and gives the words to compare."""
    return node.partners.accept(body.invite)


@router.on("POST", "/{name}/confirm", "administrator")
def confirm(node: Here, who: Who, name: str, body: Confirm) -> dict[str, Any]:
    """Confirms the words that the partner's side reads."""
    return node.partners.confirm(name, body.words, who.person)


@router.on("DELETE", "/{name}", "administrator")
def remove(node: Here, who: Who, name: str, reason: str = "") -> dict[str, Any]:
    """Ends a pairing at once."""
    node.partners.remove(name, reason or "no reason given", who.person)
    return {"name": name, "state": "removed"}
