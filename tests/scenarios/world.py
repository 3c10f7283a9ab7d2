"""The nodes and tables that all scenarios share, and the form of a scenario."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atoll_scenario_drivers import Driver

from atoll import AtollError
from atoll.client import requests
from atoll.testing import Net, NodeProcess

Json = dict[str, Any]
numbers = itertools.count()


def ids(first: int, last: int) -> list[str]:
    return [f"s{i}" for i in range(first, last)]


class World:
    """Nodes and their tables. `alice.loans` and `bob.taxes` share the keys s60 to s119."""

    def __init__(self, net: Net, folder: Path) -> None:
        self.net, self.folder = net, folder
        fen = {"columns": {"debt": {"type": "decimal", "scale": 2, "unit": "fen"}}}
        yuan = {"columns": {"debt": {"type": "decimal", "scale": 2, "unit": "yuan"}}}
        loans = {
            "id": ids(0, 120),
            "segment": ["ABC"[i % 3] for i in range(120)],
            "debt": [f"{i}.25" for i in range(120)],
        }
        self._add(net.alice, "loans", loans, fen)
        self._add(net.bob, "taxes", {"id": ids(60, 200), "income": [str(i) for i in range(140)]})
        self._add(net.alice, "one", {"id": ["s60"]})
        self._add(net.alice, "dirty", {"id": [f" S{i} " for i in range(60, 70)]})
        self._add(net.alice, "twice", {"id": ["s60", "s60", "s61", "none"], "loan": ["1", "2", "3", "4"]})
        self._add(net.bob, "again", {"id": ["s60", "s60", "s60", "s61"], "visit": ["1", "2", "3", "4"]})
        self._add(net.alice, "pairs", {"id": ["s1", "s1", "s2"], "year": ["2024", "2025", "2024"]})
        self._add(net.bob, "years", {"id": ["s1", "s2", "s2"], "year": ["2025", "2024", "2026"]})
        metre, foot = ({"columns": {"length": {"type": "int64", "unit": unit}}} for unit in ("m", "ft"))
        self._add(net.alice, "rods", {"length": ["1", "2"]}, metre)
        self._add(net.bob, "poles", {"length": ["1", "2"]}, foot)
        for i, node in enumerate(net):
            self._add(node, "book", self.book(i), with_codes(fen))
        bounded = {
            "columns": {"debt": {"type": "decimal", "scale": 2, "unit": "fen", "range": ["0", "10000"]}}
        }
        for i, node in enumerate((net.alice, net.bob)):
            self._add(node, "amounts", self.book(i), bounded)
        self._add(net.carol, "few", {"id": ids(0, 7), "debt": ["1.00"] * 7}, bounded)
        self._add(net.carol, "foreign", self.book(2), with_codes(yuan))
        self._add(
            net.carol,
            "sparse",
            {"id": ids(0, 7), "segment": [*"AAABBBC"], "debt": ["1.00"] * 7},
            with_codes(fen),
        )

    @staticmethod
    def book(i: int) -> dict[str, list[str]]:
        """Thirty rows of holder number `i`."""
        return {
            "id": ids(0, 30),
            "segment": ["ABC"[j % 3] for j in range(30)],
            "debt": [f"{(i + 1) * j}.{j:02}" for j in range(30)],
        }

    def write(self, columns: dict[str, list[str]], name: str | None = None) -> Path:
        """A CSV file of these columns."""
        path = self.folder / f"{name or f'file{next(numbers)}'}.csv"
        rows = [",".join(columns), *(",".join(row) for row in zip(*columns.values(), strict=True))]
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return path

    def _add(
        self, node: NodeProcess, name: str, columns: dict[str, list[str]], words: Json | None = None
    ) -> None:
        node.steward.data.add(name, self.write(columns, f"{node.name}-{name}"), declaration=words)


def with_codes(words: Json) -> Json:
    return {"columns": words["columns"] | {"segment": {"type": "string", "codes": ["A", "B", "C"]}}}


@dataclass
class Play:
    """One scenario by one driver: the nodes, and shorthands for what scenarios share."""

    world: World
    do: Driver
    kept: Json = field(default_factory=dict)

    @property
    def alice(self) -> NodeProcess:
        return self.world.net.alice

    @property
    def bob(self) -> NodeProcess:
        return self.world.net.bob

    @property
    def carol(self) -> NodeProcess:
        return self.world.net.carol

    def agree(self, alice: Any = None, bob: Any = None, carol: Any = None, **terms: Any) -> str:
        """An agreement among those who bring tables."""
        brought = {"alice": alice, "bob": bob, "carol": carol}
        return self.world.net.agreement({k: v for k, v in brought.items() if v is not None}, **terms)

    def both(self, **terms: Any) -> str:
        """Alice's loans and Bob's taxes, for anything."""
        return self.agree(alice={"loans": "*"}, bob={"taxes": "*"}, **terms)

    def books(self, **terms: Any) -> str:
        """The three holders' books, for anything."""
        return self.agree(alice={"book": "*"}, bob={"book": "*"}, carol={"book": "*"}, **terms)

    def join(self, agreement: str, left: str = "loans", right: str = "taxes", **how: Any) -> Json:
        return requests.join(agreement, left, right, **{"on": "id", "purpose": "test"} | how)

    def run(self, request: Json, node: NodeProcess | None = None) -> str:
        """Asks and waits for the end."""
        node = node or self.alice
        job = self.do.ask(node, request)
        self.kept["job"] = job
        self.do.wait(node, job)
        return job

    def fresh(self, node: NodeProcess, columns: dict[str, list[str]]) -> str:
        """A new table of this scenario alone."""
        name = f"t{next(numbers)}"
        self.do.add(node, name, self.world.write(columns, f"{node.name}-{name}"))
        return name


@dataclass(frozen=True)
class Scenario:
    """`error` and `column`: of the refusal that must come; None for a success. `then` looks closer at it.

    A heavy scenario runs several jobs: by default one way has to do, and `make test-all` goes all three.
    """

    name: str
    steps: Callable[[Play], Any]
    error: str | None = None
    column: str | None = None
    text: str | None = None
    then: Callable[[Play, AtollError], None] | None = None
    heavy: bool = False


TABLE: list[Scenario] = []


def scenario(name: str, **expected: Any) -> Callable[[Callable[[Play], Any]], Callable[[Play], Any]]:
    """Puts a function into the table."""

    def put(steps: Callable[[Play], Any]) -> Callable[[Play], Any]:
        TABLE.append(Scenario(name, steps, **expected))
        return steps

    return put
