"""Consents, files for auditors, and the state of the ledger, by the command line, the SDK and bare HTTP."""

from __future__ import annotations

import base64
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

    def issue(self, node: NodeProcess, subject: str, purpose: str, function: str, grantee: str | None) -> str:
        return str(
            node.steward.consents.issue(subject, purposes=[purpose], functions=[function], grantee=grantee)[
                "consent"
            ]
        )

    def consent(self, node: NodeProcess, digest: str) -> Json:
        return node.steward.consents.show(digest)

    def take(self, node: NodeProcess, envelope: Json) -> str:
        return str(node.steward.consents.take(envelope)["consent"])

    def withdraw(self, node: NodeProcess, digest: str) -> Json:
        return node.steward.consents.withdraw(digest)

    def call(self, node: NodeProcess, job: str, payload: bytes, consent: str | None) -> bytes:
        return node.application.services.get(job).call(payload, consent)

    def export(
        self, node: NodeProcess, agreement: str, to: Path, *, role: str = "auditor", **asked: list[str]
    ) -> None:
        node.client(role).audit.export(agreement, to, **asked)  # type: ignore[arg-type]

    def standing(self, node: NodeProcess) -> Json:
        return node.auditor.ledger.standing()

    def without(self, node: NodeProcess, partners: list[str]) -> Json:
        return node.administrator.ledger.go_on_without(partners)

    def forks(self, node: NodeProcess, agreement: str) -> list[Json]:
        return node.auditor.ledger.forks(agreement)

    def private(self, node: NodeProcess, role: str = "auditor") -> list[Json]:
        return node.client(role).ledger.private()  # type: ignore[arg-type]

    def bills(self, node: NodeProcess, month: str, **which: str) -> list[Json]:
        return node.auditor.bills.show(month, **which)

    def compare(self, node: NodeProcess, month: str, agreement: str, partner: str) -> Json:
        return node.auditor.bills.compare(month, agreement, partner)

    def sign_bill(
        self, node: NodeProcess, month: str, agreement: str, partner: str, role: str = "steward"
    ) -> Json:
        return node.client(role).bills.sign(month, agreement, partner)  # type: ignore[arg-type]


class RestActions(Actions):
    """By bare HTTP."""

    driver: Rest

    def issue(self, node: NodeProcess, subject: str, purpose: str, function: str, grantee: str | None) -> str:
        body = {
            "subject": subject,
            "purposes": [purpose],
            "functions": [function],
            "grantee": grantee,
            "days": 30,
        }
        return str(self.driver._send(node, "steward", "POST", "/v1/consents", body).json()["consent"])

    def consent(self, node: NodeProcess, digest: str) -> Json:
        return self.driver._send(node, "steward", "GET", f"/v1/consents/{digest}").json()

    def take(self, node: NodeProcess, envelope: Json) -> str:
        body = {"envelope": envelope}
        return str(self.driver._send(node, "steward", "POST", "/v1/consents/given", body).json()["consent"])

    def withdraw(self, node: NodeProcess, digest: str) -> Json:
        body = {"envelope": None}
        return self.driver._send(node, "steward", "POST", f"/v1/consents/{digest}/withdraw", body).json()

    def call(self, node: NodeProcess, job: str, payload: bytes, consent: str | None) -> bytes:
        body = {"payload": base64.b64encode(payload).decode(), "consent": consent}
        answer = self.driver._send(node, "application", "POST", f"/v1/services/{job}/call", body)
        return base64.b64decode(answer.json()["payload"])

    def export(
        self, node: NodeProcess, agreement: str, to: Path, *, role: str = "auditor", **asked: list[str]
    ) -> None:
        names = {"jobs": "job", "months": "month", "calls": "call"}
        query = [("agreement", agreement), *((names[k], v) for k, values in asked.items() for v in values)]
        to.write_bytes(self.driver._send(node, role, "GET", "/v1/audit/export", params=query).content)

    def standing(self, node: NodeProcess) -> Json:
        return self.driver._send(node, "auditor", "GET", "/v1/ledgers/standing").json()

    def without(self, node: NodeProcess, partners: list[str]) -> Json:
        body = {"partners": partners}
        return self.driver._send(node, "administrator", "POST", "/v1/ledgers/standing/without", body).json()

    def forks(self, node: NodeProcess, agreement: str) -> list[Json]:
        return self.driver._send(node, "auditor", "GET", f"/v1/ledgers/{agreement}/forks").json()

    def private(self, node: NodeProcess, role: str = "auditor") -> list[Json]:
        return self.driver._send(node, role, "GET", "/v1/ledgers/private").json()

    def bills(self, node: NodeProcess, month: str, **which: str) -> list[Json]:
        return self.driver._send(node, "auditor", "GET", "/v1/bills", params={"month": month, **which}).json()

    def compare(self, node: NodeProcess, month: str, agreement: str, partner: str) -> Json:
        query = {"month": month, "agreement": agreement, "partner": partner}
        return self.driver._send(node, "auditor", "GET", "/v1/bills/compare", params=query).json()

    def sign_bill(
        self, node: NodeProcess, month: str, agreement: str, partner: str, role: str = "steward"
    ) -> Json:
        body = {"month": month, "agreement": agreement, "partner": partner}
        return self.driver._send(node, role, "POST", "/v1/bills/sign", body).json()


class CliActions(Actions):
    """By commands."""

    driver: Cli

    def issue(self, node: NodeProcess, subject: str, purpose: str, function: str, grantee: str | None) -> str:
        words = ["consent", "issue", subject, "--purpose", purpose, "--function", function]
        words += ["--for", grantee] if grantee else []
        return str(self.driver.run(node, "steward", *words)["consent"])

    def consent(self, node: NodeProcess, digest: str) -> Json:
        return self.driver.run(node, "steward", "consent", "show", digest)

    def take(self, node: NodeProcess, envelope: Json) -> str:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "consent.json"
            file.write_text(json.dumps(envelope))
            return str(self.driver.run(node, "steward", "consent", "take", str(file))["consent"])

    def withdraw(self, node: NodeProcess, digest: str) -> Json:
        return self.driver.run(node, "steward", "consent", "withdraw", digest)

    def call(self, node: NodeProcess, job: str, payload: bytes, consent: str | None) -> bytes:
        words = ["--consent", consent] if consent else []
        answer = self.driver.run(node, "application", "echo", "call", job, payload.decode(), *words)
        return str(answer["answer"]).encode()

    def export(
        self, node: NodeProcess, agreement: str, to: Path, *, role: str = "auditor", **asked: list[str]
    ) -> None:
        options = {"jobs": "--job", "months": "--month", "calls": "--open"}
        words = [word for name, values in asked.items() for v in values for word in (options[name], v)]
        self.driver.run(node, role, "audit", "export", agreement, "--out", str(to), *words)

    def standing(self, node: NodeProcess) -> Json:
        return self.driver.run(node, "auditor", "ledger", "standing")

    def without(self, node: NodeProcess, partners: list[str]) -> Json:
        return self.driver.run(node, "administrator", "ledger", "without", *partners)

    def forks(self, node: NodeProcess, agreement: str) -> list[Json]:
        return self.driver.run(node, "auditor", "ledger", "forks", agreement)

    def private(self, node: NodeProcess, role: str = "auditor") -> list[Json]:
        return self.driver.run(node, role, "ledger", "private")

    def bills(self, node: NodeProcess, month: str, **which: str) -> list[Json]:
        words = [word for name, value in which.items() for word in (f"--{name}", value)]
        return self.driver.run(node, "auditor", "bill", "--month", month, *words)

    @staticmethod
    def _between(month: str, agreement: str, partner: str) -> list[str]:
        return ["--month", month, "--agreement", agreement, "--partner", partner]

    def compare(self, node: NodeProcess, month: str, agreement: str, partner: str) -> Json:
        return self.driver.run(node, "auditor", "bill", "compare", *self._between(month, agreement, partner))

    def sign_bill(
        self, node: NodeProcess, month: str, agreement: str, partner: str, role: str = "steward"
    ) -> Json:
        return self.driver.run(node, role, "bill", "sign", *self._between(month, agreement, partner))


def actions(driver: Driver) -> Actions:
    """These actions by a driver of the scenarios."""
    kinds: dict[str, type[Actions]] = {"cli": CliActions, "rest": RestActions}
    return kinds.get(driver.name, Actions)(driver)
