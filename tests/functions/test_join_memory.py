"""Joins that are short of memory: what is weighed, and keys prepared, compared and paired through files."""

from __future__ import annotations

import datetime as dt
import errno
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.crypto.files import FileArray, FileBytes
from atoll.data.changes import count_changes, count_file_changes
from atoll.data.snapshot import create
from atoll.data.sources import open_source
from atoll.errors import AtollError
from atoll.functions.join import budget, keys
from atoll.functions.join.keys import load_keys, open_keys, prepare_keys
from atoll.functions.join.on_disk import expand_on_disk
from atoll.functions.join.pairs import expand

MIB = 1 << 20


def stored(folder, values):
    table = pa.table({"k": pa.array(values, pa.int64()), "v": pa.array(range(len(values)), pa.int64())})
    with open_source(table, work=folder) as source:
        return create(source, folder / "store", "t", now=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)).data


def test_keys_stay_in_files_where_memory_cannot_hold_them():
    assert not budget.in_files(10, budget.SMALL_KEYS, 64 * MIB, "psi"), "one bucket is tried"
    large = 100_000_000
    assert not budget.in_files(large, 5, budget.held_bytes(large), "psi")
    assert budget.in_files(large, 5, budget.held_bytes(large) - 1, "psi")
    assert budget.in_files(5, large, 600 * MIB, "psi")
    assert budget.filed_bytes(large) < 600 * MIB < budget.held_bytes(large) // 8
    with pytest.raises(AtollError, match=r"547 MiB of memory; the worker has 256 MiB") as caught:
        budget.in_files(large, large, 256 * MIB, "psi")
    assert (caught.value.code, caught.value.step) == ("E_MEMORY", "psi")


def test_protocols_that_take_all_keys_say_that_these_do_not_fit():
    budget.check_held(budget.SMALL_KEYS, 64 * MIB, "psi")
    budget.check_held(10_000_000, 1024 * MIB, "psi")
    with pytest.raises(AtollError, match="3934 MiB of memory") as caught:
        budget.check_held(100_000_000, 1024 * MIB, "psi")
    assert caught.value.code == "E_MEMORY"


def test_files_are_the_same_however_they_were_prepared(tmp_path, monkeypatch):
    values = [3, None, 4, 3, None, 5, 4, 3]
    data = stored(tmp_path, values)
    folders = []
    for name, threshold in (("memory", 9), ("files", 8)):
        monkeypatch.setattr(keys, "FILED_ROWS", threshold)
        facts = prepare_keys(data, tmp_path / name, ["k"], {}, 1, [])
        assert facts == {"keys": 3, "rows": 8, "nulls": 2, "duplicates": 3, "change": None}
        (folder,) = (tmp_path / name).iterdir()
        folders.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert folders[0] == folders[1]
    held, filed = load_keys(folder), open_keys(folder)
    assert (held.digests, bytes(held.multiplicity)) == (filed.digests[:], filed.multiplicity[:])
    for found in (held, filed):
        assert (found.count, found.row_count, found.duplicates, found.nulls) == (3, 8, 3, 2)


def test_change_is_counted_through_files(tmp_path, monkeypatch):
    earlier = []
    for name, values in (("one", range(500)), ("two", range(3, 499))):
        (tmp_path / name).mkdir()
        prepare_keys(stored(tmp_path / name, list(values)), tmp_path / name / "cache", ["k"], {}, 1, [])
        earlier += [str(folder) for folder in (tmp_path / name / "cache").iterdir()]
    data = stored(tmp_path, list(range(2, 500)))
    monkeypatch.setattr(keys, "FILED_ROWS", 0)
    facts = prepare_keys(data, tmp_path / "cache", ["k"], {}, 1, [*earlier, str(tmp_path / "gone")])
    assert facts["change"] == 2
    assert len(os.listdir(tmp_path / "cache")) == 1


digests = st.lists(st.integers(0, 40), unique=True).map(
    lambda found: b"".join(bytes([n % 3]) * 31 + bytes([n]) for n in found)
)


@given(digests, digests)
def test_changes_in_files_are_those_in_memory(tmp_path_factory, old, new):
    sides = []
    for data in (old, new):
        sides.append(FileBytes.scratch(tmp_path_factory.getbasetemp()))
        sides[-1].append(data)
    assert count_file_changes(*sides) == count_changes(old, new)


def test_changes_of_what_is_no_digest(tmp_path):
    file = FileBytes.scratch(tmp_path)
    file.append(b"x")
    with pytest.raises(AtollError, match="E_FORMAT"):
        count_file_changes(file, file)


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_makes_is_not(tmp_path):
    data, cache = stored(tmp_path, [1, 2]), tmp_path / "cache"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = [cache / f"keys-a.{dead.pid}.new", cache / f"keys-b.{os.getpid()}.new"]
    others = [cache / f"keys-c.{os.getppid()}.new", cache / "keys-d", cache / "keys-e.x.new"]
    for folder in [*left, *others]:
        folder.mkdir(parents=True)
        (folder / "digests.bin").write_bytes(bytes(32))
    prepare_keys(data, cache, ["k"], {}, 1, [])
    assert not any(folder.exists() for folder in left)
    assert all(folder.exists() for folder in others)


@pytest.mark.parametrize("threshold", [0, 100])
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, monkeypatch, threshold):
    data, cache = stored(tmp_path, list(range(50))), tmp_path / "cache"
    monkeypatch.setattr(keys, "FILED_ROWS", threshold)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    monkeypatch.setattr(keys, "_write", lambda found, folder: (folder.mkdir(), full()))
    with pytest.raises(AtollError, match="No space left") as caught:
        prepare_keys(data, cache, ["k"], {}, 1, [])
    assert caught.value.code == "E_DISK"
    assert os.listdir(cache) == []


def test_another_job_that_was_first_keeps_its_files(tmp_path, monkeypatch):
    data, cache = stored(tmp_path, [1, 2]), tmp_path / "cache"
    prepare_keys(data, cache, ["k"], {}, 1, [])
    (folder,) = cache.iterdir()
    facts = (folder / "keys.json").read_text()
    (folder / "keys.json").unlink()
    monkeypatch.setattr(keys, "_remove_leftovers", lambda _: (folder / "keys.json").write_text(facts))
    assert prepare_keys(data, cache, ["k"], {}, 1, [])["keys"] == 2
    assert os.listdir(cache) == [folder.name]
    shutil.rmtree(cache)


counts = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), max_size=30)


@given(counts, st.booleans(), st.integers(1, 12))
def test_pairs_through_files_are_those_in_memory(tmp_path_factory, found, first, most):
    mine, theirs = (np.array([pair[i] for pair in found], np.int64) for i in (0, 1))
    rows = np.random.default_rng(1).permutation(int(mine.sum()))
    arrays = []
    for numbers, kind in ((rows, "<i8"), (mine, "<i8"), (theirs, "<u4")):
        arrays.append(FileArray(FileBytes.scratch(tmp_path_factory.getbasetemp()), kind))
        arrays[-1].append(numbers)
    out = expand_on_disk(*arrays, first, most)
    assert np.asarray(out).tolist() == expand(rows, mine, theirs, first).tolist()
