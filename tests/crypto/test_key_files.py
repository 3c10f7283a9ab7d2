"""Keys of a table larger than memory, against the same keys in memory; what stands on the disk meanwhile and after."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto import files
from atoll.crypto.files import FileArray, FileBytes
from atoll.crypto.key_files import KeyFiles, key_files
from atoll.crypto.keys import KeySet, key_digests
from atoll.crypto.spool import Spool
from atoll.errors import AtollError


def batches(values: list[int | None], cut: int) -> list[pa.RecordBatch]:
    table = pa.table({"k": pa.array(values, pa.int64()), "v": pa.array(range(len(values)))})
    return table.to_batches(max_chunksize=cut)


def same(keys: KeyFiles, want: KeySet) -> bool:
    for name in ("digests", "rows", "multiplicity"):
        assert getattr(keys, name)[:] == getattr(want, name)
    assert (keys.n_null, keys.duplicates) == (want.n_null, want.duplicates)
    return (keys.n_rows, keys.n_unique) == (want.n_rows, want.n_unique)


values = st.lists(st.one_of(st.none(), st.integers(0, 30), st.integers(0, 3000)), max_size=300)


@settings(max_examples=60, deadline=None)
@given(values, st.integers(1, 70), st.integers(1, 200), st.sampled_from([1, 2]))
def test_files_hold_what_memory_would(tmp_path_factory, given_values, cut, chunk_rows, threads):
    folder = tmp_path_factory.mktemp("keys") / "made"
    parts = batches(given_values, cut)
    if not parts:
        parts = [pa.RecordBatch.from_pylist([], schema=pa.schema({"k": pa.int64()}))]
    found = key_files(iter(parts), ["k"], folder, threads=threads, chunk_rows=chunk_rows)
    assert same(found, key_digests(iter(parts), ["k"]))


def test_chunks_without_a_key_and_no_row_at_all(tmp_path):
    rows: list[int | None] = [None] * 70 + [5] * 3 + [None] * 200 + [5, 6] + [None] * 5
    found = key_files(iter(batches(rows, 10)), ["k"], tmp_path / "some", chunk_rows=10)
    assert same(found, key_digests(iter(batches(rows, 10)), ["k"]))
    none = key_files(iter([]), ["k"], tmp_path / "none")
    assert (none.n_rows, none.n_unique, none.n_null, none.duplicates) == (0, 0, 0, 0)


def test_many_chunks_of_many_keys(tmp_path):
    pick = np.random.default_rng(3)
    numbers = pick.integers(0, 60_000, 150_000)
    table = pa.table({"k": numbers})
    found = key_files(table, ["k"], tmp_path / "keys", threads=2, chunk_rows=1)
    assert same(found, key_digests(table, ["k"]))


def test_only_the_keys_stay_and_only_their_owner_reads_them(tmp_path):
    folder = tmp_path / "keys"
    key_files(iter(batches([1, 2, 1], 1)), ["k"], folder, chunk_rows=1)
    assert sorted(os.listdir(tmp_path)) == ["keys"]
    assert sorted(os.listdir(folder)) == ["digests.bin", "multiplicity.bin", "rows.bin"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_files_without_a_name_are_private(tmp_path):
    with files.scratch(tmp_path) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("written", [0, 1, 5, 2000])
def test_a_full_disk_is_named_and_nothing_is_left(tmp_path, monkeypatch, written):
    left = written
    pwrite = os.pwrite

    def full(descriptor, data, at):
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left -= 1
        return pwrite(descriptor, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    many = batches(list(range(3000)), 10)
    with pytest.raises(AtollError, match="No space left") as caught:
        key_files(iter(many), ["k"], tmp_path / "keys", chunk_rows=10)
    assert caught.value.code == "E_DISK"
    assert os.listdir(tmp_path) == []


def test_a_short_write_goes_on(tmp_path, monkeypatch):
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, at: pwrite(descriptor, data[:7], at))
    found = key_files(iter(batches([3, 4, 3], 2)), ["k"], tmp_path / "keys")
    assert same(found, key_digests(iter(batches([3, 4, 3], 2)), ["k"]))


def test_a_value_that_cannot_be_a_key_names_its_row_and_leaves_nothing(tmp_path):
    table = pa.table({"k": ["1"] * 500 + ["x"]})
    with pytest.raises(AtollError, match="row 500") as caught:
        key_files(
            table.to_batches(max_chunksize=9), ["k"], tmp_path / "keys", {"k": ["digits"]}, chunk_rows=7
        )
    assert caught.value.code == "E_DATA"
    assert os.listdir(tmp_path) == []
    kept = key_files(table, ["k"], tmp_path / "keys", {"k": ["digits"]}, on_invalid="no_key", chunk_rows=7)
    assert (kept.n_null, kept.n_unique, kept.duplicates) == (1, 1, 1)


def test_what_cannot_be_asked(tmp_path):
    table = pa.table({"k": [1]})
    (tmp_path / "there").mkdir()
    for code, columns, folder, chunk_rows in (
        ("E_CONFLICT", ["k"], "there", 1),
        ("E_DISK", ["k"], "not/there", 1),
        ("E_COLUMN", ["k", "k"], "new", 1),
        ("E_COLUMN", ["x"], "new", 1),
        ("E_FORMAT", ["k"], "new", 0),
    ):
        with pytest.raises(AtollError) as caught:
            key_files(table, columns, tmp_path / folder, chunk_rows=chunk_rows)
        assert caught.value.code == code
    assert os.listdir(tmp_path) == ["there"]


@given(st.lists(st.lists(st.integers(0, 6), max_size=20), max_size=5))
def test_a_spool_gives_each_part_in_the_order_of_writing(tmp_path_factory, chunks):
    spool = Spool(Path(tmp_path_factory.getbasetemp()), [("part", "u1"), ("number", "<u4")], 7)
    number, written = 0, []
    for chunk in chunks:
        records = np.array([(part, number + i) for i, part in enumerate(chunk)], spool.dtype)
        number += len(chunk)
        written += [records]
        spool.append(records, records["part"])
    everything = [record for records in written for record in records.tolist()]
    for part in range(7):
        assert spool.take(part).tolist() == [record for record in everything if record[0] == part]
    beside = spool.beside("<u4")
    for part in range(7):
        beside.put(part, spool.take(part)["number"])
    for chunk, found in zip(spool.chunks(), beside.chunks(), strict=True):
        assert found.tolist() == chunk["number"].tolist()
    spool.close()


def test_a_spool_takes_only_its_own_records(tmp_path):
    spool = Spool(tmp_path, "<u4", 3)
    with pytest.raises(ValueError, match="parts"):
        spool.append(np.zeros(2, "<u4"), np.array([1, 3]))
    with pytest.raises(ValueError, match="parts"):
        spool.append(np.zeros(2, "<u8"), np.array([1, 2]))
    with pytest.raises(ValueError, match="parts"):
        Spool(tmp_path, "<u4", 0)
    spool.append(np.zeros(2, "<u4"), np.array([1, 2]))
    with pytest.raises(ValueError, match="as many"):
        spool.beside("<u4").put(1, np.zeros(2, "<u4"))


def test_arrays_in_files(tmp_path):
    array = FileArray(FileBytes.scratch(tmp_path), "<i8")
    array.append(np.arange(5))
    array.append(np.arange(5, 9, dtype=np.int32))
    assert (len(array), array[2:4].tolist(), array[7:].tolist()) == (9, [2, 3], [7, 8])
    assert np.asarray(array).tolist() == list(array) == list(range(9))
    assert [block.tolist() for block in array.blocks(4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert np.asarray(array).dtype == np.int64


def test_a_file_that_became_shorter_is_said(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"12345678")
    data = FileBytes.open(path)
    assert (data[2:4], data[6:99], data[5:2]) == (b"34", b"78", b"")
    with pytest.raises(ValueError, match="gaps"):
        data[::2]
    os.truncate(path, 3)
    with pytest.raises(AtollError) as caught:
        data[:]
    assert caught.value.code == "E_DISK"
    with pytest.raises(AtollError):
        FileBytes.create(path)
