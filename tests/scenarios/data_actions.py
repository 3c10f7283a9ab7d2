"""What a steward does about quality and proofs, by the command line, the SDK and bare HTTP."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from atoll_scenario_drivers import Cli, Driver, Rest

from atoll.testing import NodeProcess

Json = dict[str, Any]


class Actions:
    """By the SDK."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def add(self, node: NodeProcess, name: str, path: Path, key: str, rules: Json | None = None) -> Json:
        return node.steward.data.add(name, path, keys=[key], rules=rules)

    def prove(
        self, node: NodeProcess, name: str, id: str, to: Path, version: int | str | None = None
    ) -> None:
        node.steward.data.prove(name, id, to, version)

    def set_rules(self, node: NodeProcess, name: str, rules: Json) -> Json:
        return node.steward.quality.set_rules(name, rules)

    def rules(self, node: NodeProcess, name: str) -> Json:
        return node.auditor.quality.rules(name)

    def clear_rules(self, node: NodeProcess, name: str) -> Json:
        return node.steward.quality.clear_rules(name)

    def alerts(self, node: NodeProcess, name: str) -> list[Json]:
        return node.auditor.quality.alerts(name)

    def acknowledge(self, node: NodeProcess, alert: int) -> Json:
        return node.steward.quality.acknowledge(alert)

    def figures(self, node: NodeProcess, table: str, agreement: str) -> Json:
        return node.analyst.quality.figures(table, agreement)

    def report(self, node: NodeProcess, table: str, agreement: str, category: str, extent: str) -> Json:
        return node.analyst.quality.report(table, agreement, category=category, extent=extent)


class RestActions(Actions):
    """By bare HTTP."""

    driver: Rest

    def add(self, node: NodeProcess, name: str, path: Path, key: str, rules: Json | None = None) -> Json:
        body = {"name": name, "source": {"path": str(path)}, "keys": [[key]], "rules": rules}
        return self.driver._send(node, "steward", "POST", "/v1/data", body).json()

    def prove(
        self, node: NodeProcess, name: str, id: str, to: Path, version: int | str | None = None
    ) -> None:
        body = {"id": [id], "version": version}
        to.write_bytes(self.driver._send(node, "steward", "POST", f"/v1/data/{name}/prove", body).content)

    def set_rules(self, node: NodeProcess, name: str, rules: Json) -> Json:
        return self.driver._send(node, "steward", "PUT", f"/v1/data/{name}/rules", rules).json()

    def rules(self, node: NodeProcess, name: str) -> Json:
        return self.driver._send(node, "auditor", "GET", f"/v1/data/{name}/rules").json()

    def clear_rules(self, node: NodeProcess, name: str) -> Json:
        return self.driver._send(node, "steward", "DELETE", f"/v1/data/{name}/rules").json()

    def alerts(self, node: NodeProcess, name: str) -> list[Json]:
        return self.driver._send(node, "auditor", "GET", "/v1/quality/alerts", params={"table": name}).json()

    def acknowledge(self, node: NodeProcess, alert: int) -> Json:
        return self.driver._send(node, "steward", "POST", f"/v1/quality/alerts/{alert}/acknowledge").json()

    def figures(self, node: NodeProcess, table: str, agreement: str) -> Json:
        partner, _, name = table.partition("/")
        body = {"partner": partner, "table": name, "agreement": agreement}
        return self.driver._send(node, "analyst", "POST", "/v1/quality/figures", body).json()

    def report(self, node: NodeProcess, table: str, agreement: str, category: str, extent: str) -> Json:
        partner, _, name = table.partition("/")
        body = {
            "partner": partner,
            "table": name,
            "agreement": agreement,
            "category": category,
            "extent": extent,
        }
        return self.driver._send(node, "analyst", "POST", "/v1/quality/findings", body).json()


class CliActions(Actions):
    """By the command line."""

    driver: Cli

    def _with_file(self, node: NodeProcess, rules: Json | None, option: list[str], *words: str) -> Json:
        if rules is None:
            return self.driver.run(node, "steward", *words)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rules.json"
            file.write_text(json.dumps(rules))
            return self.driver.run(node, "steward", *words, *option, str(file))

    def add(self, node: NodeProcess, name: str, path: Path, key: str, rules: Json | None = None) -> Json:
        return self._with_file(node, rules, ["--rules"], "data", "add", name, str(path), "--key", key)

    def prove(
        self, node: NodeProcess, name: str, id: str, to: Path, version: int | str | None = None
    ) -> None:
        words = [] if version is None else ["--version", str(version)]
        self.driver.run(node, "steward", "data", "prove", name, "--id", id, "--out", str(to), *words)

    def set_rules(self, node: NodeProcess, name: str, rules: Json) -> Json:
        return self._with_file(node, rules, [], "data", "rules", name)

    def rules(self, node: NodeProcess, name: str) -> Json:
        return self.driver.run(node, "auditor", "data", "rules", name)

    def clear_rules(self, node: NodeProcess, name: str) -> Json:
        return self.driver.run(node, "steward", "data", "rules", name, "--clear")

    def alerts(self, node: NodeProcess, name: str) -> list[Json]:
        return self.driver.run(node, "auditor", "data", "alerts", "--table", name)

    def acknowledge(self, node: NodeProcess, alert: int) -> Json:
        return self.driver.run(node, "steward", "data", "alerts", "--ack", str(alert))

    def figures(self, node: NodeProcess, table: str, agreement: str) -> Json:
        return self.driver.run(node, "analyst", "data", "quality", table, "--agreement", agreement)

    def report(self, node: NodeProcess, table: str, agreement: str, category: str, extent: str) -> Json:
        return self.driver.run(
            node, "analyst", "data", "report", table, "--agreement", agreement,
            "--category", category, "--extent", extent,
        )  # fmt: skip


def actions(driver: Driver) -> Actions:
    """The actions by the way of a driver."""
    return {"cli": CliActions, "rest": RestActions}.get(driver.name, Actions)(driver)
