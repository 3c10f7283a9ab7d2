"""Bills."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from atoll.node.api.guard import Here, Router, Who

router = Router(prefix="/v1/bills", tags=["billing"])


class Between(BaseModel):
    """A month under an agreement with one partner, by name or key."""

    model_config = ConfigDict(extra="forbid")
    month: str
    agreement: str
    partner: str


@router.on("GET", "", "steward", "auditor")
def bills(
    node: Here, month: str, agreement: str | None = None, partner: str | None = None
) -> list[dict[str, Any]]:
    """Statements of a month, one for each agreement and partner with which something is billed."""
    return node.billing.show(month, agreement, partner)


@router.on("GET", "/compare", "steward", "auditor")
def compare(node: Here, who: Who, month: str, agreement: str, partner: str) -> dict[str, Any]:
    """Fetches the partner's own statement and names the receipts by which the two differ."""
    return node.billing.compare(month, agreement, partner, who.person)


@router.on("POST", "/dispute", "steward")
def dispute(node: Here, who: Who, body: Between) -> dict[str, Any]:
    """The same, and notes a difference in the agreement's log."""
    return node.billing.compare(body.month, body.agreement, body.partner, who.person, record=True)


@router.on("POST", "/sign", "steward")
def sign(node: Here, who: Who, body: Between) -> dict[str, Any]:
    """Signs this node's statement of a month that is over; it is agreed once the partner signed the same one."""
    return node.billing.sign(body.month, body.agreement, body.partner, who.person)
