"""Offers, the catalogue, acceptance and amendment, by the command line, the SDK and bare HTTP."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from atoll_scenario_drivers import Cli, Driver, Rest

from atoll.client import drafts
from atoll.testing import NodeProcess

Json = dict[str, Any]


class Actions:
    """By the SDK."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def publish(
        self, node: NodeProcess, document: Json, *, version_of: str | None = None, dry_run: bool = False,
        role: str = "steward",
    ) -> Json:  # fmt: skip
        """The published offer, or with `dry_run` its document."""
        client = node.client(role)  # type: ignore[arg-type]
        found = client.offers.publish(document, version_of=version_of, dry_run=dry_run)
        return found["document"] if dry_run else found  # type: ignore[no-any-return]

    def offers(self, node: NodeProcess) -> list[Json]:
        return node.steward.offers.list()

    def offer(self, node: NodeProcess, offer: str) -> Json:
        return node.steward.offers.show(offer)

    def withdraw(self, node: NodeProcess, offer: str) -> Json:
        return node.steward.offers.withdraw(offer)

    def search(self, node: NodeProcess, text: str, **filters: str) -> list[Json]:
        return node.analyst.catalog.search(text, **filters)  # type: ignore[arg-type]

    def offered(self, node: NodeProcess, offer: str) -> Json:
        return node.analyst.catalog.show(offer)

    def accept(self, node: NodeProcess, *offers: str, title: str | None = None) -> Json:
        return node.steward.agreements.accept(offers, title=title)

    def changes(self, node: NodeProcess, agreement: str, purpose: str) -> list[Json]:
        """What one more purpose in own grants would change."""
        shown = node.steward.agreements.show(agreement)
        return node.steward.agreements.changes(drafts.amended(shown, node.identity, add_purposes=[purpose]))

    def amend(self, node: NodeProcess, agreement: str, purpose: str) -> Json:
        return node.steward.agreements.amend(agreement, add_purposes=[purpose])


class RestActions(Actions):
    """By bare HTTP."""

    driver: Rest

    def _say(
        self, node: NodeProcess, method: str, path: str, body: Any = None, role: str = "steward", **query: Any
    ) -> Any:
        given = {k: v for k, v in query.items() if v is not None}
        return self.driver._send(node, role, method, f"/v1{path}", body, params=given).json()

    def publish(
        self, node: NodeProcess, document: Json, *, version_of: str | None = None, dry_run: bool = False,
        role: str = "steward",
    ) -> Json:  # fmt: skip
        query = {"version_of": version_of, "dry_run": str(dry_run).lower()}
        found = self._say(node, "POST", "/offers", document, role, **query)
        return found["document"] if dry_run else found  # type: ignore[no-any-return]

    def offers(self, node: NodeProcess) -> list[Json]:
        return list(self._say(node, "GET", "/offers"))

    def offer(self, node: NodeProcess, offer: str) -> Json:
        return dict(self._say(node, "GET", f"/offers/{offer}"))

    def withdraw(self, node: NodeProcess, offer: str) -> Json:
        return dict(self._say(node, "POST", f"/offers/{offer}/withdraw"))

    def search(self, node: NodeProcess, text: str, **filters: str) -> list[Json]:
        return list(self._say(node, "GET", "/catalog", role="analyst", text=text, **filters))

    def offered(self, node: NodeProcess, offer: str) -> Json:
        return dict(self._say(node, "GET", f"/catalog/{offer}", role="analyst"))

    def accept(self, node: NodeProcess, *offers: str, title: str | None = None) -> Json:
        return dict(self._say(node, "POST", "/agreements/accept", {"offers": list(offers), "title": title}))

    def _amended(self, node: NodeProcess, agreement: str, purpose: str) -> Json:
        shown = self._say(node, "GET", f"/agreements/{agreement}")
        return drafts.amended(shown, node.identity, add_purposes=[purpose])

    def changes(self, node: NodeProcess, agreement: str, purpose: str) -> list[Json]:
        return list(self._say(node, "POST", "/agreements/changes", self._amended(node, agreement, purpose)))

    def amend(self, node: NodeProcess, agreement: str, purpose: str) -> Json:
        return dict(self._say(node, "POST", "/agreements", self._amended(node, agreement, purpose)))


class CliActions(Actions):
    """By commands."""

    driver: Cli

    def publish(
        self, node: NodeProcess, document: Json, *, version_of: str | None = None, dry_run: bool = False,
        role: str = "steward",
    ) -> Json:  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "draft.json"
            file.write_text(json.dumps(document))
            words = ["--version-of", version_of] if version_of else []
            words += ["--dry-run"] if dry_run else []
            return dict(self.driver.run(node, role, "publish", str(file), *words))

    def offers(self, node: NodeProcess) -> list[Json]:
        return list(self.driver.run(node, "steward", "offer", "list"))

    def offer(self, node: NodeProcess, offer: str) -> Json:
        return dict(self.driver.run(node, "steward", "offer", "show", offer))

    def withdraw(self, node: NodeProcess, offer: str) -> Json:
        return dict(self.driver.run(node, "steward", "offer", "withdraw", offer))

    def search(self, node: NodeProcess, text: str, **filters: str) -> list[Json]:
        words = [word for name, value in filters.items() for word in (f"--{name}", value)]
        return list(self.driver.run(node, "analyst", "catalog", "search", text, *words))

    def offered(self, node: NodeProcess, offer: str) -> Json:
        return dict(self.driver.run(node, "analyst", "catalog", "show", offer))

    def accept(self, node: NodeProcess, *offers: str, title: str | None = None) -> Json:
        words = ["--title", title] if title else []
        return dict(self.driver.run(node, "steward", "agreement", "accept", *offers, *words))

    def changes(self, node: NodeProcess, agreement: str, purpose: str) -> list[Json]:
        words = ("agreement", "amend", agreement, "--add-purpose", purpose, "--dry-run")
        return list(self.driver.run(node, "steward", *words))

    def amend(self, node: NodeProcess, agreement: str, purpose: str) -> Json:
        return dict(
            self.driver.run(node, "steward", "agreement", "amend", agreement, "--add-purpose", purpose)
        )


def actions(driver: Driver) -> Actions:
    """The actions by the way of this driver."""
    return {"cli": CliActions, "rest": RestActions}.get(driver.name, Actions)(driver)
