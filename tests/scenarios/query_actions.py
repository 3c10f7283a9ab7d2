"""Lookups and their queries, by the command line, the SDK and bare HTTP."""

from __future__ import annotations

import csv
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from atoll_scenario_drivers import WAIT, Cli, Driver, Rest

from atoll import AtollError
from atoll.client import ENDED
from atoll.testing import NodeProcess

Json = dict[str, Any]


class Actions:
    """By the SDK."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def start(self, node: NodeProcess, request: Json) -> Json:
        """Asks for a lookup and waits until it answers."""
        return node.analyst.lookups.start(request, timeout=WAIT)

    def list(self, node: NodeProcess) -> list[Json]:
        return node.auditor.lookups.list()

    def stop(self, node: NodeProcess, name: str) -> None:
        node.analyst.lookups.stop(name).wait(timeout=WAIT)

    def query(
        self, node: NodeProcess, name: str, *keys: Any, consent: str | None = None, role: str = "application"
    ) -> list[Json]:
        """The answers of keys, all under one authorisation."""
        consents = None if consent is None else [consent] * len(keys)
        return list(node.client(role).lookups.query(name, keys, consents)["answers"])  # type: ignore[arg-type]

    def query_file(self, node: NodeProcess, name: str, columns: dict[str, list[str]]) -> list[dict[str, str]]:
        """Keys from a file, answers to a file: its lines as text."""
        keys = list(zip(*columns.values(), strict=True))
        answers = node.application.lookups.query_all(name, keys)
        return [
            {key: "" if value is None else str(value) for key, value in line.items()}
            for answer in answers
            for line in [row | {"found": True} for row in answer["rows"]] or [{"found": answer["found"]}]
        ]

    def query_table(
        self, node: NodeProcess, name: str, table: str, **how: Any
    ) -> tuple[list[Json], AtollError | None]:
        """The answers of the rows of an own table, and the error that ended them."""
        found: list[Json] = []
        try:
            for answer in node.application.lookups.query_table(name, table, **how):
                found.append(answer)
        except AtollError as error:
            if not found:
                raise
            return found, error
        return found, None


class RestActions(Actions):
    """By bare HTTP."""

    driver: Rest

    def _say(self, node: NodeProcess, role: str, method: str, path: str, body: Any = None) -> Any:
        return self.driver._send(node, role, method, f"/v1{path}", body).json()

    def start(self, node: NodeProcess, request: Json) -> Json:
        job = self._say(node, "analyst", "POST", "/jobs", request)["id"]
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            state = self._say(node, "analyst", "GET", f"/jobs/{job}")
            if state["state"] in ENDED:
                raise AtollError.from_problem(state["error"])
            for found in self._say(node, "analyst", "GET", "/lookups"):
                if found["job"] == job and found["ready"]:
                    assert found == self._say(node, "auditor", "GET", f"/lookups/{found['name']}")
                    return dict(found)
            time.sleep(0.05)
        raise AssertionError(f"{job} is not ready")

    def list(self, node: NodeProcess) -> list[Json]:
        return list(self._say(node, "auditor", "GET", "/lookups"))

    def stop(self, node: NodeProcess, name: str) -> None:
        self.driver.stop(node, self._say(node, "analyst", "GET", f"/lookups/{name}")["job"])

    def query(
        self, node: NodeProcess, name: str, *keys: Any, consent: str | None = None, role: str = "application"
    ) -> list[Json]:
        body: Json = {"keys": list(keys)}
        if consent is not None:
            body["consents"] = [consent] * len(keys)
        return list(self._say(node, role, "POST", f"/query/{name}", body)["answers"])

    def query_table(
        self, node: NodeProcess, name: str, table: str, **how: Any
    ) -> tuple[list[Json], AtollError | None]:
        body = {"table": table} | how
        answer = self.driver._send(node, "application", "POST", f"/v1/query/{name}/table", body)
        assert answer.headers["content-type"] == "application/x-ndjson"
        head, *lines = [json.loads(line) for line in answer.text.splitlines()]
        assert set(head) == {"asset", "version", "rows", "keys"}
        if lines and "stopped" in lines[-1]:
            return lines[:-1], AtollError.from_problem(lines[-1]["stopped"])
        assert len(lines) == head["rows"] - how.get("start", 1) + 1
        return lines, None


class CliActions(Actions):
    """By commands."""

    driver: Cli

    def start(self, node: NodeProcess, request: Json) -> Json:
        totals = request["function"] == "query_totals"
        of_each = request["assets"] if totals else [request]
        tables = (
            [of_each]
            if isinstance(of_each, str)
            else [f"{one['asset']}@{one['party']}" if "party" in one else one["asset"] for one in of_each]
        )
        words = ["start-totals" if totals else "start", request["agreement"], request["name"], *tables]
        words += ["--purpose", request["purpose"]]
        words += [f"--{o.replace('_', '-')}" for o in ("count_rows", "count_holders") if request.get(o)]
        words += ["--on", ",".join(request["keys"]), "--yes"]
        words += ["--values", ",".join(request["values"])] if "values" in request else []
        for column, steps in request.get("normalise", {}).items():
            words += ["--normalise", f"{column}={'+'.join(steps)}"]
        for option in ("rows", "record_bytes", "maximum_keys", "block_calls", "block_seconds", "consent"):
            words += [f"--{option.replace('_', '-')}", str(request[option])] if option in request else []
        if "declare_hits" in request:
            words += ["--declare-hits" if request["declare_hits"] else "--no-declare-hits"]
        words += ["--hint" if request["hint"] else "--no-hint"] if "hint" in request else []
        return dict(self.driver.run(node, "analyst", "lookup", *words))

    def list(self, node: NodeProcess) -> list[Json]:
        return list(self.driver.run(node, "auditor", "lookup", "list"))

    def stop(self, node: NodeProcess, name: str) -> None:
        self.driver.run(node, "analyst", "lookup", "stop", name)

    def query(
        self, node: NodeProcess, name: str, *keys: Any, consent: str | None = None, role: str = "application"
    ) -> list[Json]:
        texts = [",".join(map(str, key)) if isinstance(key, list) else str(key) for key in keys]
        words = [] if consent is None else ["--consent", consent]
        return list(self.driver.run(node, role, "query", name, *texts, *words)["answers"])

    def query_file(self, node: NodeProcess, name: str, columns: dict[str, list[str]]) -> list[dict[str, str]]:
        with tempfile.TemporaryDirectory() as folder:
            file, out = Path(folder) / "keys.csv", Path(folder) / "answers.csv"
            lines = [",".join(columns), *(",".join(key) for key in zip(*columns.values(), strict=True))]
            file.write_text("\n".join(lines) + "\n")
            self.driver.run(node, "application", "query", name, "--file", str(file), "--out", str(out))
            with out.open(newline="") as source:
                found = list(csv.DictReader(source))
        for line in found:
            assert line.pop("error") == ""
            for column in columns:
                line.pop(column)
            if line["found"] == "False":
                assert not any(value for key, value in line.items() if key != "found")
        return [{k: v for k, v in line.items() if line["found"] == "True" or k == "found"} for line in found]

    def query_table(
        self, node: NodeProcess, name: str, table: str, **how: Any
    ) -> tuple[list[Json], AtollError | None]:
        options = {"columns": "--column", "consent": "--consent-column", "start": "--start"}
        words = ["--table", table]
        for option, value in how.items():
            words += [options[option], ",".join(value) if isinstance(value, list) else str(value)]
        return self.driver.run(node, "application", "query", name, *words)["answers"], None


def actions(driver: Driver) -> Actions:
    """The actions by the way of this driver."""
    return {"cli": CliActions, "rest": RestActions}.get(driver.name, Actions)(driver)
