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
        self.rows: dict[str, list[tuple[str, int | None, int]]] = {name: [] for name in HOLDERS}
        for name in HOLDERS:
            for number in range(ids):
                if draws.random() < 0.4:
                    for _ in range(draws.choice((1, 1, 3))):
                        # A missing debt, as real tables have it, adds nothing.
                        debt = None if draws.random() < 0.05 else draws.randrange(10**6)
                        self.rows[name].append((f"p{number}", debt, draws.randrange(9)))

    def write(self, name: str, file: Path) -> Path:
        lines = ["id,debt,open"]
        for id, debt, count in self.rows[name]:
            lines.append(f"{id},{'' if debt is None else f'{debt // 100}.{debt % 100:02}'},{count}")
        whole = file.with_suffix(".new")
        whole.write_text("\n".join(lines) + "\n")
        return whole.replace(file)

    def plain(self, id: str) -> dict[str, Any]:
        found = [[row for row in rows if row[0] == id] for rows in self.rows.values()]
        debt = sum(row[1] or 0 for rows in found for row in rows)
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
    assert (shown["kind"], shown["partner"].split(", ")) == (
        "totals",
        sorted(HOLDERS, key=lambda name: credit.net[name].identity),
    )
    for number in range(12):
        credit.check(f"p{number}")
    credit.check(*(f"p{number}" for number in range(0, 320, 4)), "nobody", "p1", "p1")


def test_a_wrong_question_is_refused_by_name(credit):
    ask = credit.net.alice.application.lookups.query
    for keys, text in (([], "1 to 100 keys"), ([7], "type string"), ([["p1", "p2"]], "key 1")):
        with pytest.raises(AtollError) as caught:
            ask("credit", keys)
        assert caught.value.code in ("E_FORMAT", "E_TOO_LARGE")
        assert text in caught.value.text
    with pytest.raises(AtollError) as caught:
        credit.net.bob.application.lookups.query("credit", ["p1"])
    assert caught.value.code == "E_NOT_FOUND"
    with pytest.raises(AtollError) as caught:
        credit.net.alice.client("auditor").lookups.query("credit", ["p1"])
    assert caught.value.code == "E_ROLE"


def test_every_block_has_one_receipt_of_all_parties_and_charges_each_holder(net, tmp_path, records):
    lookup = Lookup(net, tmp_path, "metered", block_calls=4, maximum_keys=4, rate={"most": 6, "seconds": 600})
    lookup.check("p1", "p2", "p3")
    lookup.check("p4", "nobody")
    answers = lookup.read("p5", "p6", "p7")
    assert [a["error"] and a["error"]["code"] for a in answers] == [None, "E_QUOTA", "E_QUOTA"]
    assert answers[0]["rows"] == [lookup.credit.plain("p5")]
    receipt = lookup.stop()
    assert [(b["number"], b["calls"]) for b in receipt["blocks"]] == [(1, 3), (2, 2), (3, 1)]
    for holder in HOLDERS:
        charged = [c["amount"] for c in records(net[holder]).charges(lookup.job) if c["kind"] == "calls"]
        assert sum(charged) == 6, holder
        theirs = net[holder].steward.jobs.get(lookup.job)
        until("the holder has it too", lambda job=theirs: not job.receipt(30)["missing"])
        assert signed(theirs.receipt(30)) == signed(receipt)


def signed(receipt: dict[str, Any]) -> list[tuple[int, str, str]]:
    """What all signed of each block."""
    return [(b["number"], b["evidence"], b["receipt"]["payload"]) for b in receipt["blocks"]]


class Versions:
    """Tables of which every value says of which version of which holder it is."""

    def __init__(self, net: Net, folder: Path, name: str, **terms: Any) -> None:
        self.net, self.name, self.folder = net, name, folder
        self.versions = dict.fromkeys(HOLDERS, 0)
        for holder in HOLDERS:
            ranges = {"columns": {c: {"range": ["0", "1000000000"]} for c in ("debt", "open")}}
            net[holder].steward.data.add(name, self.write(holder), declaration=ranges)
        self.agreement = net.agreement(
            {holder: {name: TOTALS} for holder in HOLDERS}, parties=["alice"], functions=["query_totals"],
            silence_seconds=3, **terms,
        )  # fmt: skip
        self.request = requests.lookup_totals(
            self.agreement, name, name, purpose="test", on=["id"], values=["debt", "open"], block_calls=1000
        )
        self.job = net.alice.analyst.lookups.start(self.request)["job"]

    @staticmethod
    def value(holder: str, version: int, key: int) -> int:
        return (version + 1) * 1000 * (HOLDERS.index(holder) + 1) + key

    def write(self, holder: str) -> Path:
        version = self.versions[holder]
        mark = version * 100 ** HOLDERS.index(holder)
        lines = ["id,debt,open", *(f"p{key},{self.value(holder, version, key)},{mark}" for key in range(50))]
        file = self.folder / f"{holder}.csv"
        whole = file.with_suffix(".new")
        whole.write_text("\n".join(lines) + "\n")
        return whole.replace(file)

    def refresh(self, holder: str) -> None:
        self.versions[holder] += 1
        self.write(holder)
        self.net[holder].steward.data.refresh(self.name)

    def read(self, key: int) -> dict[str, int]:
        """The versions of which a total is; fails if its debt is not theirs."""
        (answer,) = self.net.alice.application.lookups.query(self.name, [f"p{key}"])["answers"]
        if answer["error"] is not None:
            raise AtollError.from_problem(answer["error"])
        (row,) = answer["rows"]
        found = {h: row["open"] // 100**n % 100 for n, h in enumerate(HOLDERS)}
        assert row["debt"] == sum(self.value(h, v, key) for h, v in found.items())
        assert all(v <= self.versions[h] for h, v in found.items())
        return found

    def newest(self) -> bool:
        try:
            return self.read(5) == self.versions
        except AtollError:
            return False

    def stop(self) -> None:
        job = self.net.alice.analyst.lookups.stop(self.name).wait(timeout=60)
        assert not job.receipt(60)["missing"]


class Load:
    """Threads that read all the time. Refusals stop none of them; wrong answers are kept."""

    def __init__(self, versions: Versions) -> None:
        self.versions, self.wrong, self.right, self.errors = versions, [], 0, []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._read, args=(n,)) for n in range(2)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _read(self, key: int) -> None:
        while not self._ended.is_set():
            key = (key * 7 + 11) % 50
            try:
                self.versions.read(key)
                self.right += 1
            except AtollError as error:
                self.errors.append(error)
                time.sleep(0.2)
            except AssertionError as error:
                self.wrong.append(error)


def test_versions_change_under_load_and_every_total_is_right(net, tmp_path):
    versions = Versions(net, tmp_path, "versions")
    with Load(versions) as load:
        for holders in (("bob",), ("carol", "dan"), ("bob", "carol", "dan"), ("dan",)):
            for holder in holders:
                versions.refresh(holder)
            until("the versions answer", versions.newest, 60)
        before = load.right
        until("reading goes on", lambda: load.right >= before + 10, 60)
    assert (load.wrong, load.errors) == ([], [])
    versions.stop()


@pytest.mark.parametrize(
    "who", ["a-holders-worker", "the-askers-worker", "a-holders-node", "the-askers-node"]
)
def test_a_kill_under_load_makes_no_wrong_total(net, tmp_path, kill_workers, who):
    versions = Versions(net, tmp_path, f"kill-{who}")
    node = net.carol if "holder" in who else net.alice
    with Load(versions) as load:
        until("reading goes on", lambda: load.right >= 5, 60)
        if "worker" in who:
            assert kill_workers(node)
        else:
            node.restart(kill=True)
        versions.refresh("bob")
        before = load.right
        until(
            "reading goes on, of the new version", lambda: versions.newest() and load.right > before + 5, 120
        )
    assert load.wrong == []
    versions.stop()


def test_a_holder_whose_table_does_not_fit_ends_the_lookup_by_name(net, tmp_path):
    name, row = "broken", "\n".join(["p3,1,1"] * 1001)
    for holder in HOLDERS:
        file = tmp_path / f"{holder}.csv"
        body = f"{row}\n" if holder == "carol" else "p1,2.00,1\n"
        file.write_text("id,debt,open\np2,1.00,1\n" + body)
        columns = {"debt": {"type": "decimal", "precision": 9, "scale": 2}, "open": {"type": "int64"}}
        declared = {
            "columns": {
                c: facts | {"range": RANGES["columns"][c]["range"], "nullable": True}
                for c, facts in columns.items()
            }
        }
        net[holder].steward.data.add(name, file, declaration=declared)
    agreement = net.agreement(
        {holder: {name: TOTALS} for holder in HOLDERS}, parties=["alice"], functions=["query_totals"]
    )
    request = requests.lookup_totals(agreement, name, name, purpose="test", on=["id"], values=["debt"])
    with pytest.raises(AtollError):
        net.alice.analyst.lookups.start(request, timeout=60)
    (job,) = [job for job in net.carol.steward.jobs.list() if agreement in str(job.document["agreement"])]
    error = until("the holder says why", lambda: net.carol.steward.jobs.get(job.id).document["error"])
    assert (error["code"], "stands on 1001 rows" in error["detail"]) == ("E_DUPLICATE", True), error
