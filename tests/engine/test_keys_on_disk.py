"""The join of tables whose keys are in files, against the same join in memory; and how much memory it takes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto.files import FileArray, FileBytes
from atoll.engine import KeyFiles, key_files, private_intersection
from atoll.errors import AtollError
from atoll.protocols import buckets, rows_on_disk
from atoll.protocols.memory import pair
from atoll.protocols.rows import NO_KEY, rows_in_order, rows_of

SWAPPED = {"me": "peer", "peer": "me", "both": "both"}
RUNS = {
    "malicious": {},
    "semi-honest": {"security": "semi-honest"},
    "low-communication": {"variant": "low-communication"},
    "ecdh": {"protocol": "ecdh-psi/v1"},
}
# A few buckets for tens of thousands of keys.
MEMORY = 4 << 20


def both(left, right, learns="both", seconds=20.0, **how):
    """Results of the two sides."""
    ends = pair(capacity=64, seconds=seconds)

    def side(keys, end, who, seed):
        try:
            return private_intersection(keys, end, learns=who, seed=seed * 32, **how)
        except BaseException:
            end.close()
            raise

    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(side, left, ends[0], learns, b"1"),
            pool.submit(side, right, ends[1], SWAPPED[learns], b"2"),
        ]
        errors = [e for e in (run.exception() for run in runs) if e is not None]
        for error in errors:
            if getattr(error, "code", "") != "E_PEER_SILENT":
                raise error
        return [run.result() for run in runs]


def in_files(keys, folder: Path, **how) -> KeyFiles:
    return key_files(pa.table({"k": pa.array(keys, pa.int64())}), ["k"], folder, **how)


def listed(rows):
    return None if rows is None else np.asarray(rows).tolist()


keys_lists = st.lists(st.one_of(st.none(), st.integers(0, 12)), max_size=25)


def plain(mine, theirs):
    """Row numbers of `mine` whose value `theirs` has."""
    return [i for i, value in enumerate(mine) if value is not None and value in set(theirs)]


def alike(left, right, mine, theirs):
    """Whether rows in the shared order name the same keys in the same order, rows of one key ascending."""
    told = [[(keys[row], row) for row in rows] for keys, rows in ((left, mine), (right, theirs))]
    order = list(dict.fromkeys(key for key, _ in told[0]))
    place = {key: at for at, key in enumerate(order)}
    assert order == list(dict.fromkeys(key for key, _ in told[1]))
    return all(pairs == sorted(pairs, key=lambda pair: (place[pair[0]], pair[1])) for pairs in told)


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(sorted(RUNS)), keys_lists, keys_lists, st.booleans(), st.sampled_from(["rows", "shared"])
)
def test_agrees_with_a_plain_comparison(tmp_path_factory, run, left, right, peer_too, order):
    folder = tmp_path_factory.mktemp("keys")
    mine = in_files(left, folder / "left", chunk_rows=4)
    theirs = in_files(right, folder / "right", chunk_rows=4) if peer_too else pa.array(right, pa.int64())
    found = [listed(rows) for rows in both(mine, theirs, order=order, **RUNS[run])]
    assert [sorted(rows) for rows in found] == [plain(left, right), plain(right, left)]
    assert order == "shared" or found == [sorted(rows) for rows in found]
    assert order == "rows" or alike(left, right, *found)


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(buckets, "_CHUNK", 5000)
    monkeypatch.setattr(rows_on_disk, "BLOCK", 3000)
    monkeypatch.setattr(rows_on_disk.rows_in_order, "__defaults__", (4000,))


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("learns", ["me", "peer", "both"])
@pytest.mark.parametrize("order", ["rows", "shared"])
def test_many_buckets_from_files_give_the_same_rows(tmp_path, learns, order):
    pick = np.random.default_rng(2)
    left, right = pick.integers(0, 50_000, 60_000), pick.permutation(70_000)[:40_000]
    filed = [in_files(keys, tmp_path / str(i), chunk_rows=7000) for i, keys in enumerate((left, right))]
    how = {"learns": learns, "order": order, "memory": MEMORY, "security": "semi-honest"}
    found = both(*filed, **how)
    for mine, rows, keys, others in zip(found, ("peer", "me"), (left, right), (right, left), strict=True):
        assert (mine is None) == (learns == rows)
        if mine is not None:
            assert isinstance(mine, FileArray)
            assert sorted(listed(mine)) == np.flatnonzero(np.isin(keys, others)).tolist()
            assert order == "shared" or listed(mine) == sorted(listed(mine))
    if learns == "both" and order == "shared":
        assert alike(left, right, *map(listed, found))
    assert all(
        sorted(os.listdir(tmp_path / str(i))) == ["digests.bin", "multiplicity.bin", "rows.bin"]
        for i in (0, 1)
    )


@pytest.mark.usefixtures("small_pieces")
def test_a_disk_that_is_full_in_the_join_is_named(tmp_path, monkeypatch):
    keys = in_files(range(40_000), tmp_path / "keys")

    def full(descriptor, data, at):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(AtollError) as caught:
        both(keys, np.arange(40_000), memory=MEMORY)
    assert caught.value.code == "E_DISK"
    assert sorted(os.listdir(tmp_path / "keys")) == ["digests.bin", "multiplicity.bin", "rows.bin"]


rows_lists = st.lists(st.one_of(st.just(NO_KEY), st.integers(0, 9)), max_size=40)


@given(rows_lists, st.permutations(range(10)), st.integers(0, 10), st.integers(1, 12))
def test_rows_of_keys_through_files(tmp_path_factory, rows, keys, count, span):
    array = np.array([*rows, *range(10)], np.uint32)
    matched = np.array(keys[:count], np.uint32)
    stored = FileBytes.scratch(tmp_path_factory.getbasetemp())
    stored.append(array)
    assert listed(rows_on_disk.rows_of(stored, matched.tobytes(), 10)) == rows_of(array, matched, 10).tolist()
    found, counts = rows_on_disk.rows_in_order(stored, matched.tobytes(), 10, span)
    want, want_counts = rows_in_order(array, matched, 10)
    assert (listed(found), listed(counts)) == (want.tolist(), want_counts.tolist())


PARTY = """
import json, re, sys
from collections import deque
from pathlib import Path
import numpy as np, pyarrow as pa
from concurrent.futures import ThreadPoolExecutor
from atoll.engine import key_files, private_intersection
from atoll.protocols.memory import pair

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10

def batches(first, count):
    for start in range(first, first + count, 50_000):
        yield pa.record_batch({"k": np.arange(start, min(start + 50_000, first + count))})

folder, rows = Path(sys.argv[1]), int(sys.argv[2])
# What the program itself takes, all of its ways gone once.
ends = pair(capacity=64)
with ThreadPoolExecutor(2) as pool:
    small = [key_files(batches(n, 1000), ["k"], folder / f"small-{n}") for n in (0, 1)]
    list(pool.map(lambda i: private_intersection(small[i], ends[i], learns=("me", "peer")[i]), (0, 1)))
before = peak()
keys = [key_files(batches(n, rows), ["k"], folder / f"keys-{n}") for n in (0, rows // 2)]
prepared = peak()
ends = pair(capacity=8, seconds=200)
for end in ends:
    # A channel for tests keeps all that was sent.
    end.sent = deque(maxlen=1)
how = {"order": sys.argv[3], "memory": 16 << 20, "security": "semi-honest"}
with ThreadPoolExecutor(2) as pool:
    found = list(pool.map(lambda i: private_intersection(keys[i], ends[i], learns=("me", "peer")[i], **how), (0, 1)))
print(json.dumps({"rows": len(found[0]), "prepared": prepared - before, "joined": peak() - before}))
"""


def peaks(folder: Path, rows: int, order: str) -> dict[str, int]:
    """Memory above the program's own, with both parties in one process."""
    out = subprocess.run(
        [sys.executable, "-c", PARTY, str(folder), str(rows), order],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(out.stdout)


@pytest.mark.parametrize("order", ["shared", pytest.param("rows", marks=pytest.mark.slow)])
def test_three_million_keys_a_side_take_less_memory_than_their_digests(tmp_path, order):
    found = peaks(tmp_path, 3_000_000, order)
    assert found["rows"] == 1_500_000
    # A chunk of keys, then the machines of both parties: 80 to 155 MB, as their peaks fall together or
    # not. Digests alone would be 192 MB.
    assert 10 << 20 < found["prepared"] <= found["joined"] < 185_000_000, found
