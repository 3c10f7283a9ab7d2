"""The worker's side of a join on stored tables, against a plain SQL join; and what it needs of memory."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from atoll.data.snapshot import create
from atoll.data.sources import open_source
from atoll.errors import AtollError
from atoll.functions.context import LocalInput
from atoll.functions.join import budget, keys
from atoll.functions.join.keys import load_keys, prepare_keys
from atoll.functions.join.run import run
from atoll.node.worker.output import write_result
from atoll.protocols.memory import pair
from atoll.testing import nodes

PARTIES = ("alice", "bob")


Named = tuple[str, str, str | None]
PROTOCOLS: dict[str, Named] = {
    "ecdh": ("ecdh-psi/v1", "semi-honest", None),
    "malicious": ("vole-psi/v1", "malicious", "fast"),
    "semi-honest": ("vole-psi/v1", "semi-honest", "fast"),
    "low communication": ("vole-psi/v1", "semi-honest", "low-communication"),
    "from files": ("vole-psi/v1", "semi-honest", "fast"),
}
chosen: Named = PROTOCOLS["ecdh"]


@pytest.fixture(autouse=True, params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs by every protocol, and by one with as little in memory as in a join of large tables."""
    monkeypatch.setitem(globals(), "chosen", PROTOCOLS[request.param])
    if request.param == "from files":
        monkeypatch.setattr(keys, "FILED_ROWS", 0)
        monkeypatch.setattr(budget, "SMALL_KEYS", 0)
        monkeypatch.setattr(budget, "held_bytes", lambda keys: 1 << 40)


def _plan(columns: list[str], receivers: list[str], duplicates: str) -> dict[str, Any]:
    ids = [f"in-{party}" for party in PARTIES]
    psi = {
        "id": "psi",
        "kind": "psi/v1",
        "inputs": ["r0", "r1"],
        "protocol": chosen[0],
        "security": chosen[1],
        "parameters": {
            "keys": [columns, columns],
            "reveal": "rows",
            "receivers": receivers,
            "duplicates": duplicates,
            "variant": chosen[2],
        },
    }
    reads = [{"id": f"r{i}", "kind": "read/v1", "inputs": [ids[i]], "parameters": {}} for i in range(2)]
    return {
        "id": "plan",
        "inputs": [{"id": i, "party": party} for i, party in zip(ids, PARTIES, strict=True)],
        "operators": [*reads, psi],
        "outputs": [{"receiver": party, "columns": [*columns, "v"]} for party in receivers],
    }


def joined(
    tables: list[pa.Table],
    folder: Path,
    columns: list[str],
    receivers: tuple[str, ...] = PARTIES,
    duplicates: str = "sql",
) -> list[pa.Table | None]:
    """The results of both workers, through snapshots, prepared keys and result files."""
    plan = _plan(columns, list(receivers), duplicates)
    locals_, ends = [], pair(capacity=64, seconds=20)
    for party, table in zip(PARTIES, tables, strict=True):
        with open_source(table, work=folder) as source:
            stored = create(source, folder / party, party, now=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
        facts = prepare_keys(stored.data, folder / f"cache-{party}", columns, {}, 1, [])
        locals_.append(
            LocalInput(f"in-{party}", party, stored.data, folder / f"cache-{party}", "v", facts["keys"])
        )
    declared = {local.id: local.keys for local in locals_}

    def side(at: int) -> pa.Table | None:
        job = folder / f"job-{PARTIES[at]}"
        job.mkdir()
        context: Any = SimpleNamespace(
            plan=plan,
            me=PARTIES[at],
            seed=bytes([at + 1]) * 32,
            attempt=0,
            threads=1,
            memory_bytes=1 << 30,
            folder=job,
            declared_keys=declared,
            inputs=lambda: {locals_[at].id: locals_[at]},
            channel=lambda peer, name: ends[at],
            before_open=lambda who: None,
            progress=lambda done, total, step: None,
            restored=lambda: None,
            checkpoint=lambda state: None,
        )
        try:
            outcome = run(context)
        except AtollError:
            ends[at].close()
            raise
        if outcome.table is None:
            return None
        written = write_result(job, outcome.table)
        assert written["rows"] == outcome.rows == outcome.scalars["matched_rows"]
        return pa.ipc.open_file(job / written["file"]).read_all()

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(side, range(2)))


def table(keys: list[Any], *more: list[Any]) -> pa.Table:
    names = ["k", *(f"k{i}" for i in range(len(more)))]
    columns = [pa.array(column, pa.string()) for column in (keys, *more)]
    return pa.table(dict(zip(names, columns, strict=True)) | {"v": pa.array(range(len(keys)), pa.int64())})


CASES = {
    "unique": (["a", "b", "c"], ["c", "a", "x"]),
    "duplicates": (["a", "b", "a", None, "c", "a"], ["a", "a", "b", None, "d"]),
    # A table has rows, but its rows may have no key.
    "no key on both sides": ([None], [None, None]),
    "no key on one side": ([None, None], ["a"]),
    "all equal": (["a", "b", "c"], ["b", "c", "a"]),
    "one key on every row": (["a"] * 5, ["a"] * 3),
    "nothing equal": (["a", "b"], ["c", "d"]),
}


@pytest.mark.parametrize("case", CASES)
def test_both_sides_get_the_pairs_of_a_sql_join(case, tmp_path):
    left, right = (table(keys) for keys in CASES[case])
    mine, theirs = joined([left, right], tmp_path, ["k"])
    pairs = Counter(
        (i, j)
        for i, a in enumerate(CASES[case][0])
        for j, b in enumerate(CASES[case][1])
        if a is not None and a == b
    )
    assert Counter(zip(mine["v"].to_pylist(), theirs["v"].to_pylist(), strict=True)) == pairs
    assert mine["k"].to_pylist() == theirs["k"].to_pylist()
    assert mine.schema.equals(theirs.schema)


@pytest.mark.parametrize("case", CASES)
def test_one_receiver_gets_its_rows_that_match(case, tmp_path):
    left, right = (table(keys) for keys in CASES[case])
    mine, theirs = joined([left, right], tmp_path, ["k"], receivers=("bob",))
    assert mine is None
    wanted = [j for j, b in enumerate(CASES[case][1]) if b is not None and b in CASES[case][0]]
    assert sorted(theirs["v"].to_pylist()) == wanted


def test_several_key_columns_with_duplicates(tmp_path):
    left = table(["a", "a", "b", None, "a"], ["x", "y", "x", "x", "x"])
    right = table(["a", "b", "a"], ["x", "x", None])
    mine, theirs = joined([left, right], tmp_path, ["k", "k0"])
    assert Counter(zip(mine["v"].to_pylist(), theirs["v"].to_pylist(), strict=True)) == {
        (0, 0): 1,
        (4, 0): 1,
        (2, 1): 1,
    }


def test_repeated_keys_are_refused_where_the_plan_says_so(tmp_path):
    with pytest.raises(AtollError) as caught:
        joined([table(["a", "a"]), table(["a"])], tmp_path, ["k"], duplicates="refuse")
    assert caught.value.code in ("E_DUPLICATE", "E_PEER_SILENT")


def test_keys_come_back_from_their_files(tmp_path):
    with open_source(table(["a", None, "a", "b"]), work=tmp_path) as source:
        stored = create(source, tmp_path / "store", "t", now=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    facts = prepare_keys(stored.data, tmp_path / "cache", ["k"], {}, 1, [])
    assert (facts["keys"], facts["rows"], facts["nulls"], facts["duplicates"]) == (2, 4, 1, 1)
    (folder,) = (tmp_path / "cache").iterdir()
    found = load_keys(folder)
    assert found.rows.tolist() == [0, 2**32 - 1, 0, 1]
    assert bytes(found.multiplicity) == bytes([2, 0, 0, 0, 1, 0, 0, 0])
    assert (found.count, found.duplicates, found.nulls) == (2, 1, 1)
    again = prepare_keys(stored.data, tmp_path / "cache", ["k"], {}, 1, [str(folder)])
    assert again["change"] == 0


def test_a_join_of_ten_thousand_rows_needs_little_memory():
    rows = 10_000
    with nodes("alice", "bob") as net:
        for node, first in ((net.alice, 0), (net.bob, rows // 2)):
            node.steward.data.add("t", {"id": [f"{i:018d}" for i in range(first, first + rows)]})
        agreement = net.agreement({"alice": {"t": "*"}, "bob": {"t": "*"}})
        tables = [{"asset": "t", "party": node.identity} for node in net]
        job = net.alice.analyst.join(agreement, *tables, on="id", purpose="test", receivers="both")
        assert job.wait().result().rows == rows // 2
        job.receipt(30)
        used = [node.analyst.jobs.get(job.id).document["meters"]["memory_bytes"] for node in net]
    assert all(10 << 20 < peak < 200_000_000 for peak in used), used
