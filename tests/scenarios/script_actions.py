"""Packages and their calls, by the command line, the SDK and bare HTTP."""

from __future__ import annotations

import base64
import csv
import json
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from atoll_scenario_drivers import Cli, Driver, Rest

from atoll.client.authoring import read_folder
from atoll.testing import NodeProcess

Json = dict[str, Any]


class Actions:
    """By the SDK."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def pack(self, node: NodeProcess, folder: Path, role: str = "analyst") -> Json:
        return node.client(role).scripts.pack(folder)  # type: ignore[arg-type]

    def packages(self, node: NodeProcess, role: str = "steward") -> list[Json]:
        return node.client(role).scripts.packages()  # type: ignore[arg-type]

    def publish(
        self, node: NodeProcess, package: str, partner: str, agreement: str, role: str = "steward"
    ) -> Json:
        return node.client(role).scripts.publish(package, partner, agreement)  # type: ignore[arg-type]

    def review(
        self, node: NodeProcess, package: str, bounds: Json | None = None, role: str = "steward"
    ) -> Json:
        return node.client(role).scripts.review(package, bounds=bounds)  # type: ignore[arg-type]

    def trial(self, node: NodeProcess, package: str, rows: int = 20) -> Json:
        return node.steward.scripts.trial(package, rows)

    def deploy(
        self, node: NodeProcess, package: str, bounds: Json | None = None, role: str = "steward"
    ) -> Json:
        return node.client(role).scripts.deploy(package, bounds=bounds)  # type: ignore[arg-type]

    def refuse(self, node: NodeProcess, package: str, reason: str) -> Json:
        return node.steward.scripts.refuse(package, reason)

    def withdraw(self, node: NodeProcess, package: str, reason: str = "") -> Json:
        return node.steward.scripts.withdraw(package, reason)

    def switch(self, node: NodeProcess, package: str, role: str = "analyst") -> Json:
        return node.client(role).scripts.switch(package)  # type: ignore[arg-type]

    def call(
        self, node: NodeProcess, name: str, subject: str, key: str | None = None, role: str = "application",
        **arguments: Any,
    ) -> Json:  # fmt: skip
        return node.client(role).scripts.call(name, subject, arguments, key=key)  # type: ignore[arg-type]

    def batch(self, node: NodeProcess, name: str, calls: list[Json]) -> list[Json]:
        return node.client("application").scripts.batch(name, calls)

    def calls(self, node: NodeProcess, name: str) -> list[Json]:
        return node.analyst.scripts.calls(name=name)

    def explained(self, node: NodeProcess, name: str, key: str) -> Json:
        """A call that this node made."""
        return node.analyst.scripts.show_call(name, key)

    def decisions(
        self, node: NodeProcess, name: str, held: bool = False, role: str = "steward"
    ) -> list[Json]:
        state = "held" if held else None
        return node.client(role).scripts.decisions(name=name, state=state)  # type: ignore[arg-type]

    def decision(self, node: NodeProcess, name: str, key: str) -> Json:
        """A decision that was made at this node."""
        return node.auditor.scripts.decision(name, key)

    def settle(self, node: NodeProcess, name: str, key: str, release: bool, role: str = "steward") -> Json:
        return node.client(role).scripts.settle(name, key, release)  # type: ignore[arg-type]

    def watch(self, node: NodeProcess, name: str, role: str = "steward") -> Json:
        """Without a look at the table: only what is announced."""
        return node.client(role).scripts.watch(name)  # type: ignore[arg-type]

    def watches(self, node: NodeProcess) -> list[Json]:
        return node.auditor.scripts.watches()

    def unwatch(self, node: NodeProcess, name: str) -> None:
        node.steward.scripts.unwatch(name)

    def announce(self, node: NodeProcess, name: str, *subjects: str, event: str | None = None) -> Json:
        return node.client("application").scripts.announce(name, subjects, event=event)

    def events(self, node: NodeProcess, name: str) -> list[Json]:
        return node.analyst.scripts.events(name=name)


class RestActions(Actions):
    """By bare HTTP."""

    driver: Rest

    def _say(
        self, node: NodeProcess, role: str, method: str, path: str, body: Any = None, **query: Any
    ) -> Any:
        given = {k: v for k, v in query.items() if v is not None}
        return self.driver._send(node, role, method, f"/v1{path}", body, params=given).json()

    def pack(self, node: NodeProcess, folder: Path, role: str = "analyst") -> Json:
        source = read_folder(folder)
        files = {name: base64.b64encode(data).decode() for name, data in source.files.items()}
        body = {"manifest": source.manifest.document(), "files": files}
        return dict(self._say(node, role, "POST", "/scripts", body))

    def packages(self, node: NodeProcess, role: str = "steward") -> list[Json]:
        return list(self._say(node, role, "GET", "/scripts"))

    def publish(
        self, node: NodeProcess, package: str, partner: str, agreement: str, role: str = "steward"
    ) -> Json:
        body = {"partner": partner, "agreement": agreement}
        return dict(self._say(node, role, "POST", f"/scripts/{package}/publish", body))

    def review(
        self, node: NodeProcess, package: str, bounds: Json | None = None, role: str = "steward"
    ) -> Json:
        return dict(self._say(node, role, "POST", f"/scripts/{package}/review", {"bounds": bounds or {}}))

    def trial(self, node: NodeProcess, package: str, rows: int = 20) -> Json:
        return dict(self._say(node, "steward", "POST", f"/scripts/{package}/trial", {}, rows=rows))

    def deploy(
        self, node: NodeProcess, package: str, bounds: Json | None = None, role: str = "steward"
    ) -> Json:
        return dict(self._say(node, role, "POST", f"/scripts/{package}/deploy", {"bounds": bounds or {}}))

    def refuse(self, node: NodeProcess, package: str, reason: str) -> Json:
        return dict(self._say(node, "steward", "POST", f"/scripts/{package}/refuse", {"reason": reason}))

    def withdraw(self, node: NodeProcess, package: str, reason: str = "") -> Json:
        return dict(self._say(node, "steward", "POST", f"/scripts/{package}/withdraw", {"reason": reason}))

    def switch(self, node: NodeProcess, package: str, role: str = "analyst") -> Json:
        return dict(self._say(node, role, "POST", f"/scripts/{package}/switch", {}))

    def call(
        self, node: NodeProcess, name: str, subject: str, key: str | None = None, role: str = "application",
        **arguments: Any,
    ) -> Json:  # fmt: skip
        # The key as other services take it.
        headers = {"Idempotency-Key": key} if key else {}
        body = {"subject": subject, "arguments": arguments}
        answer = self.driver._send(node, role, "POST", f"/v1/scripts/{name}/calls", body, headers=headers)
        return dict(answer.json())

    def batch(self, node: NodeProcess, name: str, calls: list[Json]) -> list[Json]:
        return list(self._say(node, "application", "POST", f"/scripts/{name}/batch", {"calls": calls}))

    def calls(self, node: NodeProcess, name: str) -> list[Json]:
        return list(self._say(node, "analyst", "GET", "/script-calls", name=name))

    def explained(self, node: NodeProcess, name: str, key: str) -> Json:
        return dict(self._say(node, "analyst", "GET", f"/script-calls/{name}/{key}"))

    def decisions(
        self, node: NodeProcess, name: str, held: bool = False, role: str = "steward"
    ) -> list[Json]:
        state = "held" if held else None
        return list(self._say(node, role, "GET", "/script-decisions", name=name, state=state))

    def decision(self, node: NodeProcess, name: str, key: str) -> Json:
        return dict(self._say(node, "auditor", "GET", f"/script-decisions/{name}/{key}"))

    def settle(self, node: NodeProcess, name: str, key: str, release: bool, role: str = "steward") -> Json:
        body = {"release": release}
        return dict(self._say(node, role, "POST", f"/script-decisions/{name}/{key}", body))

    def watch(self, node: NodeProcess, name: str, role: str = "steward") -> Json:
        return dict(self._say(node, role, "PUT", f"/script-watches/{name}", {}))

    def watches(self, node: NodeProcess) -> list[Json]:
        return list(self._say(node, "auditor", "GET", "/script-watches"))

    def unwatch(self, node: NodeProcess, name: str) -> None:
        self._say(node, "steward", "DELETE", f"/script-watches/{name}")

    def announce(self, node: NodeProcess, name: str, *subjects: str, event: str | None = None) -> Json:
        body = {"subjects": subjects, "event": event}
        return dict(self._say(node, "application", "POST", f"/script-events/{name}", body))

    def events(self, node: NodeProcess, name: str) -> list[Json]:
        return list(self._say(node, "analyst", "GET", "/script-events", name=name))


class CliActions(Actions):
    """By commands."""

    driver: Cli

    def _run(self, node: NodeProcess, role: str, *words: str) -> Any:
        return self.driver.run(node, role, "script", *words)

    def _bounded(self, node: NodeProcess, role: str, words: list[str], bounds: Json | None) -> Json:
        with tempfile.TemporaryDirectory() as folder:
            if bounds:
                file = Path(folder) / "bounds.json"
                file.write_text(json.dumps(bounds))
                words += ["--bounds", str(file)]
            return dict(self._run(node, role, *words))

    def pack(self, node: NodeProcess, folder: Path, role: str = "analyst") -> Json:
        file = folder.with_suffix(".script")
        found = self._run(node, role, "pack", str(folder), "--to", str(file))
        manifest = tomllib.loads((folder / "package.toml").read_text())
        assert (
            f'"name":"{manifest["name"]}"'
            in base64.b64decode(json.loads(file.read_bytes())["payload"]).decode()
        )
        return dict(found)

    def packages(self, node: NodeProcess, role: str = "steward") -> list[Json]:
        return list(self._run(node, role, "list"))

    def publish(
        self, node: NodeProcess, package: str, partner: str, agreement: str, role: str = "steward"
    ) -> Json:
        words = ("publish", package, "--to", partner, "--agreement", agreement)
        return dict(self._run(node, role, *words))

    def review(
        self, node: NodeProcess, package: str, bounds: Json | None = None, role: str = "steward"
    ) -> Json:
        return self._bounded(node, role, ["review", package], bounds)

    def trial(self, node: NodeProcess, package: str, rows: int = 20) -> Json:
        return dict(self._run(node, "steward", "trial", package, "--rows", str(rows)))

    def deploy(
        self, node: NodeProcess, package: str, bounds: Json | None = None, role: str = "steward"
    ) -> Json:
        return self._bounded(node, role, ["deploy", package, "--yes"], bounds)

    def refuse(self, node: NodeProcess, package: str, reason: str) -> Json:
        return dict(self._run(node, "steward", "refuse", package, "--reason", reason))

    def withdraw(self, node: NodeProcess, package: str, reason: str = "") -> Json:
        return dict(self._run(node, "steward", "withdraw", package, "--reason", reason))

    def switch(self, node: NodeProcess, package: str, role: str = "analyst") -> Json:
        return dict(self._run(node, role, "switch", package))

    def call(
        self, node: NodeProcess, name: str, subject: str, key: str | None = None, role: str = "application",
        **arguments: Any,
    ) -> Json:  # fmt: skip
        words = ["call", name, subject, *(["--key", key] if key else [])]
        for argument, value in arguments.items():
            words += ["--arg", f"{argument}={value}"]
        return dict(self._run(node, role, *words))

    def batch(self, node: NodeProcess, name: str, calls: list[Json]) -> list[Json]:
        with tempfile.TemporaryDirectory() as folder:
            rows = [
                {**{k: v for k, v in c.items() if k != "arguments"}, **c.get("arguments", {})} for c in calls
            ]
            columns = list(dict.fromkeys(name for row in rows for name in row))
            file, out = Path(folder) / "calls.csv", Path(folder) / "answers.csv"
            with file.open("w", newline="") as text:
                writer = csv.DictWriter(text, columns, restval="")
                writer.writeheader()
                writer.writerows(rows)
            found = list(self._run(node, "application", "batch", name, str(file), "--to", str(out)))
            with out.open(newline="") as text:
                written = list(csv.DictReader(text))
            assert [w["key"] for w in written] == [f["key"] for f in found]
            return found

    def calls(self, node: NodeProcess, name: str) -> list[Json]:
        return list(self._run(node, "analyst", "calls", "--name", name))

    def explained(self, node: NodeProcess, name: str, key: str) -> Json:
        return dict(self._run(node, "analyst", "explain", name, key))

    def decisions(
        self, node: NodeProcess, name: str, held: bool = False, role: str = "steward"
    ) -> list[Json]:
        return list(self._run(node, role, "decisions", "--name", name, *(["--held"] if held else [])))

    def decision(self, node: NodeProcess, name: str, key: str) -> Json:
        return dict(self._run(node, "auditor", "explain", name, key))

    def settle(self, node: NodeProcess, name: str, key: str, release: bool, role: str = "steward") -> Json:
        return dict(self._run(node, role, "settle", name, key, "--release" if release else "--deny"))

    def watch(self, node: NodeProcess, name: str, role: str = "steward") -> Json:
        return dict(self._run(node, role, "watch", name))

    def watches(self, node: NodeProcess) -> list[Json]:
        return list(self._run(node, "auditor", "watches"))

    def unwatch(self, node: NodeProcess, name: str) -> None:
        self._run(node, "steward", "unwatch", name)

    def announce(self, node: NodeProcess, name: str, *subjects: str, event: str | None = None) -> Json:
        words = ["--event", event] if event else []
        return dict(self._run(node, "application", "announce", name, *subjects, *words))

    def events(self, node: NodeProcess, name: str) -> list[Json]:
        return list(self._run(node, "analyst", "events", "--name", name))


def actions(driver: Driver) -> Actions:
    """The actions by the way of this driver."""
    return {"cli": CliActions, "rest": RestActions}.get(driver.name, Actions)(driver)
