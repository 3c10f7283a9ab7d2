"""Lookups through two nodes: new versions and crashes under load, never a wrong answer; metering; sealing; roles."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from atoll.client import requests
from atoll.errors import AtollError
from atoll.testing import Net, nodes, until

ROWS = 400
STEP = 10**6


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with nodes("alice", "bob", settings={"jobs.concurrent": 8}) as made:
        yield made


def write(file: Path, version: int, keys: Iterable[int]) -> Path:
    """A table in which every value says of which version it is, and of which key."""
    lines = ["id,worth", *(f"k{i},{version * STEP + i}" for i in keys)]
    whole = file.with_suffix(".new")
    whole.write_text("\n".join(lines) + "\n")
    return whole.replace(file)


def look(*columns: str) -> dict[str, Any]:
    return {column: ["lookup_key", "lookup_value"] for column in columns}


class Lookup:
    """A standing lookup of Alice's in a table of Bob's that changes."""

    def __init__(self, net: Net, folder: Path, name: str, **terms: Any) -> None:
        self.net, self.name, self.version = net, name, 0
        self.contents = {0: range(ROWS)}
        self.file = write(folder / f"{name}.csv", 0, range(ROWS))
        net.bob.steward.data.add(name, self.file)
        how = {
            k: terms.pop(k) for k in ("block_calls", "block_seconds", "maximum_keys", "hint") if k in terms
        }
        self.agreement = net.agreement(
            {"bob": {name: look("id", "worth")}}, parties=["alice"], functions=["query"], **terms
        )
        request = requests.lookup(self.agreement, name, name, purpose="test", on=["id"], **how)
        self.job = net.alice.analyst.lookups.start(request)["job"]

    def refresh(self, keys: range) -> None:
        self.version += 1
        self.contents[self.version] = keys
        write(self.file, self.version, keys)
        self.net.bob.steward.data.refresh(self.name)

    def read(self, *keys: int) -> int:
        """Reads keys in one request, and gives the version that all answers are of, -1 if nothing says; fails if any is
        wrong."""
        body = self.net.alice.application.lookups.query(self.name, [f"k{key}" for key in keys])
        answers = body["answers"]
        assert [a["error"] for a in answers] == [None] * len(keys)
        found = {key: a["rows"][0]["worth"] for key, a in zip(keys, answers, strict=True) if a["found"]}
        versions = {worth // STEP for worth in found.values()}
        assert len(versions) <= 1, "answers of two versions in one request"
        assert all(worth % STEP == key for key, worth in found.items())
        missing = set(keys) - set(found)
        if not versions:
            return -1
        (version,) = versions
        assert missing == {key for key in keys if key not in self.contents[version]}
        return version

    def stop(self) -> dict[str, Any]:
        receipt: dict[str, Any] = self.net.alice.analyst.lookups.stop(self.name).wait(timeout=60).receipt(30)
        assert not receipt["missing"]
        return receipt


class Load:
    """Threads that read all the time. Errors stop none of them; wrong answers are kept."""

    def __init__(self, lookup: Lookup, threads: int = 3) -> None:
        self.lookup, self.wrong, self.errors, self.right = lookup, [], [], 0
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._read, args=(n,)) for n in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _read(self, number: int) -> None:
        newest, key = 0, number
        while not self._ended.is_set():
            key = (key * 7 + 11) % (4 * ROWS)
            try:
                version = self.lookup.read(key, key + 1, 5)
            except AssertionError as error:
                self.wrong.append(error)
            except AtollError as error:
                self.errors.append(error)
                time.sleep(0.1)
            else:
                if -1 < version < newest:
                    self.wrong.append(AssertionError(f"version {version} after {newest}"))
                newest = max(newest, version)
                self.right += 1


@pytest.mark.parametrize("hint", [None, False], ids=["with a hint", "without"])
def test_versions_change_under_load_and_every_answer_is_right(
    net: Net, tmp_path: Path, hint: bool | None
) -> None:
    lookup = Lookup(net, tmp_path, "changing" if hint is None else "changing-no-hint", hint=hint)
    with Load(lookup) as load:
        for keys in (
            range(ROWS),  # other values
            range(5, 5 + ROWS),  # some keys go, some come
            range(3 * ROWS),  # more than any column takes: all is sealed anew
            range(5, ROWS // 2),
            range(4, 5 * ROWS),
        ):
            lookup.refresh(keys)
            until("the version answers", lambda: lookup.read(5) == lookup.version, 60)
        before = load.right
        until("reading goes on", lambda: load.right >= before + 10, 60)
    assert load.wrong == []
    assert load.errors == []
    lookup.stop()


def test_a_version_that_does_not_fit_ends_the_lookup_rather_than_an_old_one_answers(
    net: Net, tmp_path: Path
) -> None:
    lookup = Lookup(net, tmp_path, "broken")
    assert lookup.read(1) == 0
    write(lookup.file, 1, [0, 1, 2, 2, 3])
    net.bob.steward.data.refresh("broken")
    # The holder looks at its table several times a second.
    with pytest.raises(AtollError):
        until("an old version answers", lambda: lookup.read(1) < 0, 30)
    until("bob's side ended", lambda: net.bob.steward.jobs.get(lookup.job).document["error"], 60)
    error = net.bob.steward.jobs.get(lookup.job).document["error"]
    assert (error["code"], error["column"]) == ("E_DUPLICATE", "id")
    assert "row 4" in error["detail"]


@pytest.mark.parametrize(
    ("who", "hint"),
    [
        ("the holder's worker", None),
        ("the asker's worker", None),
        ("the holder's node", None),
        ("the asker's node", None),
        ("the holder's worker", False),
        ("the asker's node", False),
    ],
)
def test_a_kill_under_load_makes_no_wrong_answer(
    net: Net, tmp_path: Path, kill_workers: Callable[[Any], int], who: str, hint: bool | None
) -> None:
    name = "kill-" + "-".join(who.replace("'s", "").split()[1:]) + ("" if hint is None else "-no-hint")
    lookup = Lookup(net, tmp_path, name, silence_seconds=3, block_calls=100, maximum_keys=10, hint=hint)
    node = net.bob if "holder" in who else net.alice
    with Load(lookup) as load:
        until("reading goes on", lambda: load.right >= 5, 60)
        if "worker" in who:
            assert kill_workers(node)
        else:
            node.restart(kill=True)
        lookup.refresh(range(7, ROWS + 7))
        before = load.right
        until("reading goes on, of the new version", lambda: _newest(lookup) and load.right > before + 5, 120)
    assert load.wrong == []
    lookup.stop()


def _newest(lookup: Lookup) -> bool:
    try:
        return lookup.read(10, 0) == lookup.version
    except AtollError:
        return False


def test_while_the_table_is_sealed_a_query_is_told_so(net: Net, tmp_path: Path) -> None:
    rows = 60_000
    net.bob.steward.data.add("large", write(tmp_path / "large.csv", 0, range(rows)))
    agreement = net.agreement({"bob": {"large": look("id", "worth")}}, parties=["alice"], functions=["query"])
    request = requests.lookup(agreement, "large", "large", purpose="test", on=["id"])
    job = net.alice.analyst.jobs.ask(request)
    job.wait(timeout=60, until="running")
    with pytest.raises(AtollError) as caught:
        net.alice.application.lookups.query("large", ["k1"])
    assert caught.value.code in ("E_BUSY", "E_STATE")
    found = net.alice.analyst.lookups.await_ready(job, 120)
    assert (found["asset"], found["ready"]) == ("large", True)
    answers = net.alice.application.lookups.query("large", ["k1", f"k{rows}"])["answers"]
    assert [a["rows"] for a in answers] == [[{"worth": 1}], []]
    net.alice.analyst.lookups.stop("large").wait(timeout=60)


def test_each_key_is_charged_once_and_no_more_than_the_rate_allows(
    net: Net, tmp_path: Path, records: Any
) -> None:
    lookup = Lookup(net, tmp_path, "metered", rate={"most": 5, "seconds": 600}, block_calls=4, maximum_keys=4)
    assert lookup.read(1, 2, ROWS + 1, 1) == 0
    answers = net.alice.application.lookups.query("metered", ["k1", "k2", "k3"])["answers"]
    assert [a["found"] for a in answers] == [True, None, None]
    assert [a["error"] and a["error"]["code"] for a in answers] == [None, "E_QUOTA", "E_QUOTA"]
    receipt = lookup.stop()
    assert [(b["number"], b["calls"]) for b in receipt["blocks"]] == [(1, 4), (2, 1)]
    charged = [c["amount"] for c in records(net.bob).charges(lookup.job) if c["kind"] == "calls"]
    assert sum(charged) == 5
    page = httpx.get(
        f"{net.bob.url}/metrics", headers={"Authorization": f"Bearer {net.bob.token('operator')}"}
    ).text
    (counted,) = [
        line.rsplit(" ", 1)[1]
        for line in page.splitlines()
        if line.startswith("atoll_service_answered_total{") and '"query"' in line and '"alice"' in line
    ]
    assert float(counted) >= 5


def test_two_lookups_of_one_name_and_keys_that_are_none(net: Net, tmp_path: Path) -> None:
    first = Lookup(net, tmp_path, "named")
    request = requests.lookup(first.agreement, "named", "named", purpose="test", on=["id"])
    second = net.alice.analyst.lookups.start(request)
    assert net.alice.analyst.lookups.get("named")["job"] == second["job"] != first.job
    for keys, text in (
        ([], "1 to 1000 keys"), ([7], "type string"), ([["k1", "k2"]], "key 1"), (["k1", None], "key 2"),
    ):  # fmt: skip
        with pytest.raises(AtollError) as caught:
            net.alice.application.lookups.query("named", keys)
        assert caught.value.code in ("E_FORMAT", "E_TOO_LARGE")
        assert text in caught.value.text
    net.alice.analyst.lookups.stop("named").wait(timeout=60)
    assert first.read(1) == 0
    first.stop()


def test_keys_of_every_type(net: Net) -> None:
    """As JSON holds them: numbers beyond 2^53, decimals, dates and times as text."""
    rows = {
        "whole": pa.array([2**62, -5], pa.int64()),
        "amount": pa.array([Decimal("1.50"), Decimal("-0.01")], pa.decimal128(9, 2)),
        "day": pa.array([date(2026, 11, 27), date(1999, 1, 1)], pa.date32()),
        "moment": pa.array([datetime(2026, 11, 27, 8, 30), datetime(1999, 1, 1)], pa.timestamp("us")),
        "yes": pa.array([True, False]),
        "name": ["Ann", "本"],
    }
    net.bob.steward.data.add("typed", pa.table(rows))
    keys = ["whole", "amount", "day", "moment", "yes"]
    uses = dict.fromkeys(keys, "lookup_key") | {"name": "lookup_value"}
    agreement = net.agreement({"bob": {"typed": uses}}, parties=["alice"], functions=["query"])
    net.alice.analyst.lookups.start(
        requests.lookup(agreement, "typed", "typed", purpose="test", on=keys, values=["name"])
    )
    query = net.alice.application.lookups.query
    first = [str(2**62), "1.5", "2026-11-27", "2026-11-27T08:30:00", True]
    asked = [first, [-5, "-0.01", "1999-01-01", "1999-01-01T00:00:00", False], ["-5", *first[1:]]]
    assert [a["rows"] for a in query("typed", asked)["answers"]] == [[{"name": "Ann"}], [{"name": "本"}], []]
    for at, wrong in enumerate(("0x10", "1,5", "27.11.2026", "noon", 1)):
        with pytest.raises(AtollError) as caught:
            query("typed", [[*first[:at], wrong, *first[at + 1 :]]])
        assert (caught.value.code, caught.value.column) == ("E_FORMAT", keys[at])
    net.alice.analyst.lookups.stop("typed").wait(timeout=60)


def test_who_may_ask(net: Net, tmp_path: Path) -> None:
    lookup = Lookup(net, tmp_path, "guarded")
    for role in ("auditor", "steward", "administrator"):
        with pytest.raises(AtollError) as caught:
            net.alice.client(role).lookups.query("guarded", ["k1"])
        assert caught.value.code == "E_ROLE"
    with pytest.raises(AtollError) as caught:
        net.bob.application.lookups.query("guarded", ["k1"])
    assert caught.value.code == "E_NOT_FOUND"
    lookup.stop()


# Keys of an own table.


def test_a_lookup_that_ends_amid_a_table_says_where_to_go_on(net: Net, tmp_path: Path) -> None:
    lookup = Lookup(net, tmp_path, "amid", maximum_keys=1)
    net.alice.steward.data.add("askers", pa.table({"id": [f"k{i % 2000}" for i in range(3000)]}))
    seen: list[tuple[int, int]] = []
    answers = net.alice.application.lookups.query_table(
        lookup.name, "askers", progress=lambda row, rows: seen.append((row, rows))
    )
    first = [next(answers) for _ in range(5)]
    assert [answer["rows"] for answer in first] == [[{"worth": i}] for i in range(5)]
    assert seen[:3] == [(0, 3000), (1, 3000), (2, 3000)]
    net.alice.analyst.lookups.stop(lookup.name)
    rest = []
    with pytest.raises(AtollError) as caught:
        rest.extend(answers)
    assert caught.value.code in ("E_STATE", "E_NOT_FOUND"), caught.value
    # What came before is whole, and the row to go on from is the next one.
    assert caught.value.detail["row"] == seen[-1][0] + 1
    assert seen[-1][0] < 3000


def test_a_live_table_has_no_rows_to_ask_with(net: Net, tmp_path: Path) -> None:
    lookup = Lookup(net, tmp_path, "lively")
    file = write(tmp_path / "live.csv", 0, range(3))
    net.alice.steward.data.add("livelist", file, mode="live")
    with pytest.raises(AtollError) as caught:
        next(net.alice.application.lookups.query_table(lookup.name, "livelist"))
    assert caught.value.code == "E_STATE"
    with pytest.raises(AtollError) as caught:
        next(net.alice.auditor.lookups.query_table(lookup.name, "livelist"))
    assert caught.value.code == "E_ROLE"


def test_thousands_of_keys_of_an_own_table_come_out_as_plaintext(net: Net, tmp_path: Path) -> None:
    lookup = Lookup(net, tmp_path, "thousands", maximum_keys=1000)
    keys = [f"k{i * 7 % 800}" for i in range(5000)]
    net.alice.steward.data.add("many", pa.table({"key": keys, "n": list(range(5000))}))
    answers = list(net.alice.application.lookups.query_table(lookup.name, "many", ["key"]))
    numbers = [int(key[1:]) for key in keys]
    assert [a["rows"] for a in answers] == [[{"worth": n}] if n < ROWS else [] for n in numbers]
    receipt = lookup.stop()
    assert {part["meters"]["calls"] for part in receipt["document"]["parties"].values()} == {800}
