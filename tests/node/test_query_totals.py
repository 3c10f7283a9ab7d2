"""One id against three holders through four nodes: totals against plain sight; versions, kills, refusals, receipts."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atoll.client import requests
from atoll.errors import AtollError
from atoll.testing import Net, nodes, until

HOLDERS = ("bob", "carol", "dan")
TOTALS = {"id": "lookup_key", "debt": "aggregate", "open": "aggregate"}
RANGES = {"columns": {"debt": {"range": ["0", "1000000.00"]}, "open": {"range": ["0", "50"]}}}


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("alice", *HOLDERS, settings={"jobs.concurrent": 8}) as made:
        yield made


class Credit:
    """Credit tables at three holders, some ids in all, in some, in one; some on several rows."""

    def __init__(self, seed: int = 1, ids: int = 300) -> None:
        draws = random.Random(seed)
        self.rows: dict[str, list[tuple[str, int, int]]] = {name: [] for name in HOLDERS}
        for name in HOLDERS:
            for number in range(ids):
                if draws.random() < 0.4:
                    for _ in range(draws.choice((1, 1, 3))):
                        self.rows[name].append((f"p{number}", draws.randrange(10**6), draws.randrange(9)))

    def write(self, name: str, file: Path) -> Path:
        lines = ["id,debt,open", *(f"{i},{d // 100}.{d % 100:02},{n}" for i, d, n in self.rows[name])]
        whole = file.with_suffix(".new")
        whole.write_text("\n".join(lines) + "\n")
        return whole.replace(file)

    def plain(self, id: str) -> dict[str, Any]:
        found = [[row for row in rows if row[0] == id] for rows in self.rows.values()]
        debt = sum(row[1] for rows in found for row in rows)
        return {
            "debt": f"{debt // 100}.{debt % 100:02}",
            "open": sum(row[2] for rows in found for row in rows),
            "rows": sum(map(len, found)),
            "holders": sum(bool(rows) for rows in found),
        }


class Lookup:
    """Standing totals of Alice's over the three holders."""

    def __init__(self, net: Net, folder: Path, name: str, **terms: Any) -> None:
        self.net, self.name, self.credit, self.folder = net, name, Credit(), folder
        for holder in HOLDERS:
            file = self.credit.write(holder, folder / f"{holder}.csv")
            net[holder].steward.data.add(name, file, declaration=RANGES)
        how = {k: terms.pop(k) for k in ("block_calls", "block_seconds", "maximum_keys") if k in terms}
        self.agreement = net.agreement(
            {holder: {name: TOTALS} for holder in HOLDERS},
            parties=["alice"],
            functions=["query_totals"],
            **terms,
        )
        self.request = requests.lookup_totals(
            self.agreement, name, name, purpose="test", on=["id"], values=["debt", "open"], count_rows=True,
            count_holders=True, **how,
        )  # fmt: skip
        self.job = net.alice.analyst.lookups.start(self.request)["job"]

    def read(self, *ids: str) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = self.net.alice.application.lookups.query(self.name, list(ids))[
            "answers"
        ]
        return answers

    def check(self, *ids: str) -> None:
        """All totals are those of plain sight."""
        for id, answer in zip(ids, self.read(*ids), strict=True):
            want = self.credit.plain(id)
            assert answer == {"found": want["holders"] > 0, "rows": [want], "error": None}, id

    def stop(self) -> dict[str, Any]:
        receipt: dict[str, Any] = self.net.alice.analyst.lookups.stop(self.name).wait(timeout=60).receipt(30)
        assert not receipt["missing"]
        return receipt


@pytest.fixture(scope="module")
def credit(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lookup]:
    lookup = Lookup(net, tmp_path_factory.mktemp("credit"), "credit")
    yield lookup
    lookup.stop()


def test_totals_are_those_of_plain_sight(credit):
    shown = credit.net.alice.analyst.lookups.get("credit")
    assert (shown["kind"], shown["partner"].split(", ")) == ("totals", sorted(HOLDERS, key=lambda name: credit.net[name].identity))
    for number in range(0, 12):
        credit.check(f"p{number}")
    credit.check(*(f"p{number}" for number in range(0, 320, 4)), "nobody", "p1", "p1")
