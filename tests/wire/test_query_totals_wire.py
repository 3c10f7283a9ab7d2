"""What crosses while totals of keys are asked at two holders: no key, no value, no total, no hit apart from a miss.

The control is an asker that puts the digest of its key where the salt of its call belongs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from atoll.client import requests
from atoll.crypto.keys import key_digests
from atoll.crypto.wire import Kind
from atoll.testing import Net, nodes, until

_DRAW = random.Random(20261128)
IDS = [f"{_DRAW.randrange(10**17, 10**18)}" for _ in range(60)]
ABSENT = [f"{_DRAW.randrange(10**17, 10**18)}" for _ in range(20)]
# Ids 0 to 39 are known to the first lender, 20 to 59 to the second.
KNOWN = {"first": range(40), "second": range(20, 60)}
DEBTS = {name: {i: _DRAW.randrange(10**15, 10**16) for i in known} for name, known in KNOWN.items()}
_LEAK = """
from atoll.functions.query_totals.asker import Asker
look_up, salt = Asker._look_up, Asker._salt

def look_up_and_remember(self, keys, shown):
    self.waiting = list(keys)
    return look_up(self, keys, shown)

def leaking_salt(self):
    key = self.waiting.pop(0)
    return key[:16] if Path({flag!r}).exists() else salt(self)

Asker._look_up, Asker._salt = look_up_and_remember, leaking_salt
"""


@pytest.fixture(scope="module")
def flag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The asker leaks while there is such a file."""
    return tmp_path_factory.mktemp("leak") / "on"


@pytest.fixture(scope="module")
def net(capture: Any, flag: Path) -> Iterator[Net]:
    site = capture.site / "sitecustomize.py"
    site.write_text(site.read_text() + _LEAK.format(flag=str(flag)))
    with nodes("bank", *KNOWN) as made:
        for name, known in KNOWN.items():
            table = pa.table({"id": [IDS[i] for i in known], "debt": list(DEBTS[name].values())})
            bounds = {"columns": {"debt": {"range": ["0", str(10**16)]}}}
            made[name].steward.data.add("debtors", table, declaration=bounds)
        yield made


@pytest.fixture(scope="module")
def lookup(net: Net) -> str:
    uses = {"id": "lookup_key", "debt": "aggregate"}
    agreement = net.agreement(
        {name: {"debtors": uses} for name in KNOWN}, parties=["bank"], functions=["query_totals"]
    )
    request = requests.lookup_totals(
        agreement, "debts", "debtors", purpose="test", on=["id"], values=["debt"], rows=1, count_holders=True
    )
    net.bank.analyst.lookups.start(request)
    # Afterwards the same number of blocks is ready at any time, and none has to be prepared.
    ask(net, *range(4))
    return "debts"


def plain(number: int) -> dict[str, int]:
    found = [debts[number] for debts in DEBTS.values() if number in debts]
    return {"debt": sum(found), "holders": len(found)}


def ask(net: Net, *numbers: int) -> list[Any]:
    """Totals of ids by their numbers; from 60 on they are absent everywhere."""
    keys = [(IDS + ABSENT)[number] for number in numbers]
    found = net.bank.application.lookups.query("debts", keys)["answers"]
    assert [a["rows"] for a in found] == [[plain(number)] for number in numbers]
    for node in net:
        until(f"{node.name} is quiet", lambda n=node: n.administrator.info()["waiting_messages"] == 0)
    return found


def settled(capture: Any) -> dict[str, bytes]:
    """What was captured, once nothing more comes: blocks of the next queries cross after the answer."""
    found: dict[str, bytes] = {}
    while True:
        time.sleep(0.5)
        more = capture.take()
        if not any("n4" in name for name in more):
            return found
        for name, data in more.items():
            found[name] = found.get(name, b"") + data


def digests(*keys: str) -> list[bytes]:
    return [key_digests(pa.table({"id": [key]}), ["id"]).digests for key in keys]


def test_neither_keys_nor_values_nor_totals_cross(net: Net, capture: Any, leaks: Any, lookup: str) -> None:
    capture.take()
    ask(net, *range(12, 28), *range(60, 64))
    sent = capture.take()
    labels = b"".join(data for name, data in sent.items() if name.endswith("labels")).decode()
    kinds = {line.split()[-1] for line in labels.splitlines()}
    assert {"calls", "admitted", "go", "ask", "turn", "opened", "blocks"} <= kinds
    payload = b"".join(sent.values())
    assert len(payload) > 20 * 2 * 150_000, "blocks for each key and holder"
    values = [value for debts in DEBTS.values() for value in debts.values()]
    totals = [plain(number)["debt"] for number in range(20, 40)]
    assert leaks(sent.values(), [*IDS, *ABSENT, *values, *totals]) == []
    assert not [d for d in digests(*IDS, *ABSENT) if d[:8] in payload]
    # Nor do values as words of eight bytes, by which the holders' shares would open.
    assert not [v for v in [*values, *totals] if v.to_bytes(8, "little") in payload]


def test_an_asker_that_leaks_its_keys_is_found(net: Net, capture: Any, lookup: str, flag: Path) -> None:
    capture.take()
    flag.touch()
    try:
        ask(net, *range(40, 50))
    finally:
        flag.unlink()
    payload = b"".join(capture.take().values())
    assert [key for key, d in zip(IDS, digests(*IDS), strict=True) if d[:16] in payload] == IDS[40:50]


def test_hits_and_misses_have_the_same_messages_in_the_same_order(
    net: Net, capture: Any, lookup: str
) -> None:
    """Lengths, kinds and order of all that crosses a worker's channel, whoever knows the id."""

    def seen(*numbers: int) -> dict[str, Any]:
        settled(capture)
        ask(net, *numbers)
        sent = settled(capture)
        # Messages of the worker's channel; acknowledgements follow the clock.
        channels = {name: len(data) for name, data in sent.items() if name.endswith(f"-{Kind.DATA.value}-n4")}
        lines = {
            name: [line.split() for line in data.decode().splitlines()]
            for name, data in sent.items()
            if name.endswith("labels")
        }
        labels = {
            name: kinds
            for name, found in lines.items()
            if (kinds := [one[3] for one in found if one[:2] == [str(Kind.DATA.value), "n4"]])
        }
        assert len(channels) == len(labels) == 3, "the asker and both holders"
        return {"channels": channels, "labels": labels}

    # Known to the first alone, to both, to the second alone, to nobody.
    one = [seen(number) for number in (1, 30, 50, 70)]
    assert one[0] == one[1] == one[2] == one[3]
    assert one[0] != seen(1, 2)
