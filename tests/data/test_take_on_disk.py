"""Rows in any order through files, against the same rows taken in memory."""

from __future__ import annotations

import datetime as dt
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto.files import BLOCK, FileArray, FileBytes
from atoll.data import take_on_disk as module
from atoll.data.read import take
from atoll.data.snapshot import create
from atoll.data.sources import open_source
from atoll.data.take_on_disk import take_on_disk
from atoll.errors import AtollError


def numbers(rows, folder):
    array = FileArray(FileBytes.scratch(folder), "<i8")
    array.append(np.array(rows, np.int64))
    return array


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    table = pa.table(
        {
            "name": pa.array([None if i % 7 == 0 else f"é{i}" for i in range(1000)]),
            "number": pa.array(range(1000), pa.int64()),
            "day": pa.array([dt.date(2020, 1, 1) + dt.timedelta(i) for i in range(1000)]),
            "flag": pa.array([i % 3 == 0 for i in range(1000)]),
        }
    )
    with open_source(table, work=folder) as source:
        return create(source, folder / "store", "t", now=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.one_of(st.integers(0, 999), st.integers(0, 3)), max_size=120),
    st.sampled_from([["number"], ["flag", "name", "number", "day"]]),
    st.integers(1, 12),
    st.integers(1, 300),
)
def test_the_rows_that_memory_would_give(stored, tmp_path_factory, rows, columns, batch_rows, span):
    folder = tmp_path_factory.getbasetemp()
    reader = take_on_disk(stored, numbers(rows, folder), columns, batch_rows, span)
    batches = list(reader)
    want = take(stored, rows, columns)
    assert reader.schema == want.schema
    assert pa.Table.from_batches(batches, reader.schema).equals(want)
    assert [b.num_rows for b in batches[:-1]] == [batch_rows] * (len(batches) - 1)


def test_many_rows_in_pieces(stored, tmp_path):
    rows = np.random.default_rng(1).integers(0, 1000, BLOCK + 5000)
    found = take_on_disk(stored, numbers(rows, tmp_path), ["number"], 1000, 64).read_all()
    assert found["number"].to_numpy().tolist() == rows.tolist()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("row", [-1, 1000])
def test_rows_that_are_not_there(stored, tmp_path, row):
    with pytest.raises(AtollError, match="E_RANGE"):
        take_on_disk(stored, numbers([0, row], tmp_path), ["number"]).read_all()


def test_columns_and_files_that_are_not_there(stored, tmp_path):
    with pytest.raises(AtollError, match="E_COLUMN"):
        take_on_disk(stored, numbers([0], tmp_path), ["other"])
    plain = tmp_path / "plain.parquet"
    pq.write_table(pa.table({"number": range(10)}), plain)
    assert take_on_disk(plain, numbers([3, 1], tmp_path), ["number"]).read_all()["number"].to_pylist() == [
        3,
        1,
    ]
    reader = take_on_disk(plain, numbers([3, 1], tmp_path), ["number"])
    plain.write_bytes(b"PAR1")
    with pytest.raises(AtollError, match="E_DATA"):
        reader.read_all()
    assert module.BATCH_ROWS == 65_536
