"""An insurer and a hospital, and small packages that a test writes, publishes and has deployed."""

from __future__ import annotations

import contextlib
import datetime
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from atoll.errors import AtollError
from atoll.testing import Net, nodes, until

COUNT = 60
USES = {
    "claims": {
        "claim_id": ["lookup_key", "script_input"],
        "amount": "script_input",
        "kind": "script_input",
        "admitted": "script_input",
    },
    "lines": {"claim_id": ["lookup_key", "script_input"], "cost": "script_input"},
}
TERMS: dict[str, Any] = {
    "parties": ["insurer"],
    "purposes": ["claim settlement"],
    "functions": ["script"],
    "disclose": ["outcome"],
}

MANIFEST = """
name = "{name}"
version = "{version}"
purpose = "claim settlement"
title = {{ en = "Test", zh = "测试" }}
maximum_reasons = 1
[subject]
name = "claim"
type = "string"
[inputs.claim]
asset = "claims"
key = "claim_id"
rows = "one"
columns = {{ amount = "int64", kind = "string", admitted = "date" }}
[inputs.lines]
asset = "lines"
key = "claim_id"
rows = "many"
maximum_rows = 5
columns = {{ cost = "int64" }}
[arguments.share_bp]
type = "int64"
range = [0, 10000]
default = 10000
[rules]
file = "rules.py"
entry = "decide"
[outputs.decision]
type = "choice"
values = ["approve", "refuse"]
[outputs.pay]
type = "int64"
range = [0, 1000000]
step = 10
unit = "fen"
[reasons]
unknown = {{ en = "There is no such claim.", zh = "没有该笔理赔。" }}
small = {{ en = "The amount is too small.", zh = "金额过小。" }}
[limits]
time_ms = {time_ms}
"""
RULES = """
def decide(claim, lines, arguments) -> dict:
    if claim is None:
        return {"decision": "refuse", "pay": 0, "reasons": ["unknown"]}
    total = 0
    for line in lines:
        total += line["cost"]
    pay = total * arguments["share_bp"] // 10000 // 10 * 10
    if pay < 50:
        return {"decision": "refuse", "pay": 0, "reasons": ["small"]}
    return {"decision": "approve", "pay": pay, "reasons": []}
"""


def claims(count: int = COUNT) -> pa.Table:
    """Claim `C-7` has the amount 700 and three lines of 70, 71 and 72; `C-0` next to nothing."""
    return pa.table(
        {
            "claim_id": [f"C-{n}" for n in range(count)],
            "amount": [100 * n for n in range(count)],
            "kind": ["plain"] * count,
            "admitted": [datetime.date(2026, 1, 1 + n % 28) for n in range(count)],
            "patient": [f"patient {n}" for n in range(count)],
        }
    )


def lines(count: int = COUNT) -> pa.Table:
    rows = [(f"C-{n}", 10 * n + k) for n in range(count) for k in range(3)]
    # One claim has more lines than a call may see.
    rows += [("C-1", 1)] * 5
    return pa.table({"claim_id": [r[0] for r in rows], "cost": [r[1] for r in rows]})


def plain(claim: int, share_bp: int = 10000) -> dict[str, Any] | None:
    """The rules, in plain Python over the plain tables."""
    if claim == 1:
        return None
    total = sum(10 * claim + k for k in range(3))
    pay = total * share_bp // 10000 // 10 * 10
    if pay < 50:
        return {"decision": "refuse", "pay": 0, "reasons": ["small"]}
    return {"decision": "approve", "pay": pay, "reasons": []}


@dataclass
class World:
    """Two nodes, their agreement, and packages on the way between them."""

    net: Net
    agreement: str
    folder: Path
    numbers: Iterator[int]
    deployed: list[str] = field(default_factory=list)

    @property
    def author(self) -> Any:
        return self.net.insurer.steward.scripts

    @property
    def caller(self) -> Any:
        return self.net.insurer.application.scripts

    @property
    def host(self) -> Any:
        return self.net.hospital.steward.scripts

    def fresh(self) -> str:
        """A name that no other test has: budgets are its own."""
        return f"rule-{next(self.numbers)}"

    def write(
        self,
        name: str,
        version: str = "1.0.0",
        rules: str = RULES,
        change: Callable[[str], str] = lambda text: text,
        time_ms: int = 50,
    ) -> Path:
        """A package's folder."""
        folder = self.folder / f"{name}-{version}"
        folder.mkdir()
        text = MANIFEST.format(name=name, version=version, time_ms=time_ms)
        (folder / "package.toml").write_text(change(text), "utf-8")
        (folder / "rules.py").write_text(rules, "utf-8")
        return folder

    def publish(self, name: str, version: str = "1.0.0", **how: Any) -> str:
        """Signs and sends a package; gives its reference once the host has it."""
        self.author.pack(self.write(name, version, **how))
        reference = f"{name}@{version}"
        self.author.publish(reference, "hospital", self.agreement)
        until(
            f"{reference} is there",
            lambda: any(
                p["name"] == name and p["version"] == version and p.get("partner")
                for p in self.host.packages()
            ),
        )
        return reference

    def deploy(
        self, name: str, version: str = "1.0.0", bounds: dict[str, Any] | None = None, **how: Any
    ) -> str:
        """Signs, sends and deploys a package, and waits until its author knows."""
        reference = self.publish(name, version, **how)
        self.host.deploy(reference, bounds=bounds)
        self.deployed.append(reference)
        self.known(reference, "deployed")
        return reference

    def known(self, reference: str, state: str) -> None:
        """Waits until the author knows that state."""
        name, _, version = reference.partition("@")
        until(
            f"{reference} is {state} for its author",
            lambda: any(
                p["name"] == name and p["version"] == version and p.get("state") == state
                for p in self.author.packages()
            ),
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with nodes("insurer", "hospital") as net:
        net.hospital.steward.data.add("claims", claims())
        net.hospital.steward.data.add("lines", lines())
        agreement = net.agreement({"hospital": USES}, **TERMS)
        yield World(net, agreement, tmp_path_factory.mktemp("packages"), itertools.count(1))


@pytest.fixture(autouse=True)
def withdrawn(world: World) -> Iterator[None]:
    """Ends what a test deployed: each service is processes at both nodes."""
    yield
    while world.deployed:
        reference = world.deployed.pop()
        with contextlib.suppress(AtollError):
            world.host.withdraw(reference, "the test is over")
