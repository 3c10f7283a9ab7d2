"""Offers of this institution, and the catalogue of what partners offer it."""

from __future__ import annotations

from typing import Any

from atoll.node.api.guard import Here, Router

router = Router(prefix="/v1", tags=["offers"])


@router.on("GET", "/offers", "steward", "auditor", "administrator")
def offers(node: Here) -> list[dict[str, Any]]:
    """The newest version of every offer that this node published, newest first."""
    return node.offers.listed()


@router.on("POST", "/offers", "steward", status_code=201)
def publish(
    node: Here, body: dict[str, Any], version_of: str | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """Signs an offer and sends it to whom it stands for; `version_of` names the offer that it renews.

    Identifier, version and provider are filled in. With `dry_run`: document, receivers and changes only.
    """
    return node.offers.publish(body, version_of, dry_run)


@router.on("GET", "/offers/{identifier}", "steward", "auditor", "administrator")
def show(node: Here, identifier: str, version: int | None = None) -> dict[str, Any]:
    """One version of an own offer, with its document and what changed since the version before."""
    return node.offers.show(identifier, version)


@router.on("POST", "/offers/{identifier}/withdraw", "steward")
def withdraw(node: Here, identifier: str) -> dict[str, Any]:
    """Ends an offer; agreements that were made from it stay."""
    return node.offers.withdraw(identifier)


@router.on("GET", "/catalog", "steward", "analyst", "auditor", "administrator")
def catalog(
    node: Here,
    text: str | None = None,
    provider: str | None = None,
    type: str | None = None,
    function: str | None = None,
    purpose: str | None = None,
    unit: str | None = None,
) -> list[dict[str, Any]]:
    """What partners offer now. `text`: words in Chinese or English, of titles, assets and columns."""
    return node.catalogue.search(
        text, provider=provider, type=type, function=function, purpose=purpose, unit=unit
    )


@router.on("GET", "/catalog/{offer}", "steward", "analyst", "auditor", "administrator")
def offered(node: Here, offer: str) -> dict[str, Any]:
    """One offer of a partner, by identifier or digest."""
    return node.catalogue.show(offer)
