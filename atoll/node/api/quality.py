"""Quality of tables: rules and alerts of the own ones, figures of partners' and findings about them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from atoll.node.api.guard import Here, Router, Who

router = Router(prefix="/v1", tags=["data"])


class FiguresQuestion(BaseModel):
    """Figures of a partner's table, those that are named or all that are agreed."""

    model_config = ConfigDict(extra="forbid", strict=True)
    partner: str
    table: str
    agreement: str
    figures: list[str] = []


class NewFinding(BaseModel):
    """A finding about a partner's table."""

    model_config = ConfigDict(extra="forbid", strict=True)
    partner: str
    table: str
    agreement: str
    category: str
    extent: str
    column: str | None = None


@router.on("GET", "/data/{name}/rules", "steward", "auditor")
def rules(node: Here, name: str) -> dict[str, Any]:
    """Quality rules of an own table, what came of them last, and the course of the last results."""
    return node.quality.describe(name)


@router.on("PUT", "/data/{name}/rules", "steward")
def set_rules(node: Here, who: Who, name: str, body: dict[str, Any]) -> dict[str, Any]:
    """Replaces the quality rules of an own table, and evaluates them now."""
    return node.quality.set_rules(name, body, who.person)


@router.on("DELETE", "/data/{name}/rules", "steward")
def clear_rules(node: Here, who: Who, name: str) -> dict[str, Any]:
    """Forgets the quality rules of an own table."""
    return node.quality.clear_rules(name, who.person)


@router.on("GET", "/quality/alerts", "steward", "auditor", "operator")
def alerts(node: Here, table: str | None = None, every: bool = False) -> list[dict[str, Any]]:
    """Alerts of own tables of which nobody took note, or every one, newest first."""
    return node.results.alerts(table, every)


@router.on("POST", "/quality/alerts/{identifier}/acknowledge", "steward")
def acknowledge(node: Here, who: Who, identifier: int) -> dict[str, Any]:
    """Takes note of an alert."""
    return node.results.acknowledge(identifier, who.person)


@router.on("POST", "/quality/figures", "analyst", "steward")
def ask_figures(node: Here, body: FiguresQuestion) -> dict[str, Any]:
    """Asks a partner for the agreed quality figures of its table."""
    return node.sharing.figures(body.partner, body.table, body.agreement, body.figures)


@router.on("GET", "/quality/figures", "steward", "auditor")
def figures(node: Here) -> list[dict[str, Any]]:
    """All quality figures that were shown to partners, or seen of theirs, newest first."""
    return node.sharing.shown()


@router.on("POST", "/quality/findings", "analyst", "steward", status_code=201)
def report(node: Here, body: NewFinding) -> dict[str, Any]:
    """Tells a partner what is wrong with its table, in agreed categories."""
    return node.sharing.report(
        body.partner, body.table, body.agreement, body.category, body.extent, body.column
    )


@router.on("GET", "/quality/findings", "steward", "auditor")
def findings(node: Here) -> list[dict[str, Any]]:
    """All findings, received and sent, newest first."""
    return node.sharing.findings()
