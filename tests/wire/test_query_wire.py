"""What crosses while keys are looked up: no key, no record, nothing that tells a hit from a miss.

The control is an asker that puts the digest of its key where the salt of its call belongs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from atoll.client import requests
from atoll.crypto.keys import key_digests
from atoll.testing import Net, nodes, until

_DRAW = random.Random(20261127)
IDS = [f"{_DRAW.randrange(10**17, 10**18)}" for _ in range(60)]
ABSENT = [f"{_DRAW.randrange(10**17, 10**18)}" for _ in range(20)]
NAMES = [f"诸葛思远{_DRAW.randrange(10**6, 10**7)}" for _ in IDS]
DEBTS = [_DRAW.randrange(10**11, 10**12) for _ in IDS]
_LEAK = """
from atoll.functions.query.asker import Asker
look_up, salt = Asker._look_up, Asker._salt

def look_up_and_remember(self, digests, shown):
    self.digests = digests
    return look_up(self, digests, shown)

def leaking_salt(self):
    first, self.digests = self.digests[:16], self.digests[32:]
    return first if Path({flag!r}).exists() else salt(self)

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
    with nodes("bank", "lender") as made:
        made.lender.steward.data.add("debtors", pa.table({"id": IDS, "name": NAMES, "debt": DEBTS}))
        yield made


@pytest.fixture(scope="module")
def lookup(net: Net) -> str:
    uses = {"id": "lookup_key", "name": "lookup_value", "debt": "lookup_value"}
    agreement = net.agreement({"lender": {"debtors": uses}}, parties=["bank"], functions=["query"])
    request = requests.lookup(agreement, "debts", "debtors", purpose="test", on=["id"])
    net.bank.analyst.lookups.start(request)
    ask(net, *IDS[:8], *ABSENT[:8])
    return "debts"


@pytest.fixture(scope="module")
def without_hint(net: Net, lookup: str) -> str:
    """The same table, by a lookup that takes no hint."""
    (job,) = [one["job"] for one in net.bank.analyst.lookups.list() if one["name"] == lookup]
    agreement = net.bank.analyst.jobs.get(job).document["agreement"]
    request = requests.lookup(agreement, "few", "debtors", purpose="test", on=["id"], hint=False)
    net.bank.analyst.lookups.start(request)
    ask(net, IDS[0], ABSENT[0], name="few")
    return "few"


def ask(net: Net, *keys: str, name: str = "debts") -> list[Any]:
    found = net.bank.application.lookups.query(name, keys)["answers"]
    assert [a["found"] for a in found] == [key in IDS for key in keys]
    for node in net:
        until(f"{node.name} is quiet", lambda n=node: n.administrator.info()["waiting_messages"] == 0)
    return found


def digests(*keys: str) -> list[bytes]:
    return [key_digests(pa.table({"id": [key]}), ["id"]).digests for key in keys]


def test_neither_keys_nor_records_cross(net: Net, capture: Any, leaks: Any, lookup: str) -> None:
    capture.take()
    found = ask(net, *IDS[10:40], *ABSENT)
    sent = capture.take()
    labels = b"".join(data for name, data in sent.items() if name.endswith("labels")).decode()
    assert {" calls\n", " evaluated\n", " queries\n", " answers\n"} <= {
        f" {line.split()[-1]}\n" for line in labels.splitlines()
    }
    payload = b"".join(sent.values())
    assert len(payload) > 50 * 1500, "a query and an answer for each key"
    assert leaks(sent.values(), [*IDS, *ABSENT, *NAMES, *DEBTS]) == []
    assert not [d for d in digests(*IDS, *ABSENT) if d[:8] in payload]
    # The same search finds all of it in what the bank's own application is given.
    shown = {f.value for f in leaks([str(found).encode()], [*NAMES, *DEBTS])}
    assert shown == {*NAMES[10:40], *DEBTS[10:40]}


def test_an_asker_that_leaks_its_keys_is_found(net: Net, capture: Any, lookup: str, flag: Path) -> None:
    capture.take()
    flag.touch()
    try:
        ask(net, *IDS[40:50])
    finally:
        flag.unlink()
    payload = b"".join(capture.take().values())
    assert [key for key, d in zip(IDS, digests(*IDS), strict=True) if d[:16] in payload] == IDS[40:50]


def test_hits_and_misses_have_the_same_messages_in_the_same_order(
    net: Net, capture: Any, lookup: str
) -> None:
    """Lengths, kinds and order of all that either side sends: in the worker's channel and between the nodes."""

    def seen(*keys: str) -> dict[str, Any]:
        capture.take()
        ask(net, *keys)
        sent = capture.take()
        channels = {name: len(data) for name, data in sent.items() if "lookup" in name or "n2" in name}
        assert channels
        labels = {
            name: [line.split()[0::3] for line in data.decode().splitlines() if "job" in line or "n2" in line]
            for name, data in sent.items()
            if name.endswith("labels")
        }
        return {"channels": channels, "labels": labels}

    one = seen(IDS[50])
    assert one == seen(ABSENT[0])
    assert one != seen(IDS[50], IDS[51])
    several = seen(*IDS[50:60])
    assert several == seen(*ABSENT[5:15])
    assert several == seen(*IDS[50:55], *ABSENT[5:10])


def test_without_a_hint_neither_keys_nor_records_nor_hits_show(
    net: Net, capture: Any, leaks: Any, without_hint: str
) -> None:
    """All questions and answers have one length, hit or miss."""
    sent: dict[str, bytes] = {}
    shapes = []
    for number, keys in enumerate((IDS[10:18], ABSENT[:8])):
        capture.take()
        ask(net, *keys, name=without_hint)
        later = capture.take()
        shapes.append(
            {name: len(data) for name, data in later.items() if "n2" in name and "labels" not in name}
        )
        sent |= {f"{number} {name}": data for name, data in later.items()}
    assert shapes[0] == shapes[1] != {}
    payload = b"".join(sent.values())
    assert len(payload) > 16 * 33_824, "an encrypted secret for each key"
    assert leaks([payload], [*IDS, *ABSENT, *NAMES, *DEBTS]) == []
    assert not [d for d in digests(*IDS, *ABSENT) if d[:8] in payload]


def test_an_asker_that_asks_much_takes_the_sealed_table_and_still_shows_nothing(
    net: Net, capture: Any, leaks: Any, lookup: str
) -> None:
    """From then on a key costs its evaluation alone, hit or miss."""
    capture.take()
    for _ in range(4):
        ask(net, *IDS[:50], *ABSENT)
    sent = capture.take()
    labels = b"".join(data for name, data in sent.items() if name.endswith("labels")).decode()
    assert " table\n" in labels
    sizes = []
    for keys in (IDS[50:60], ABSENT[:10]):
        before = capture.take()
        ask(net, *keys)
        later = capture.take()
        sizes.append(sum(len(data) for name, data in later.items() if "n2" in name))
        sent |= {f"{len(sent)} {name}": data for name, data in (before | later).items()}
        assert " queries\n" not in b"".join(d for n, d in later.items() if n.endswith("labels")).decode()
    assert sizes[0] == sizes[1] < 10 * 250
    payload = b"".join(sent.values())
    assert leaks([payload], [*IDS, *ABSENT, *NAMES, *DEBTS]) == []
    assert not [d for d in digests(*IDS, *ABSENT) if d[:8] in payload]
