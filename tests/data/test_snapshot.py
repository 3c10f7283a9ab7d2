"""Snapshots and their commitment: what goes in comes out, every change shows, the chunking does not."""

from __future__ import annotations

import csv
import datetime as dt
import json
import tempfile
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.crypto.suite import DEFAULT
from atoll.data import commitment, snapshot
from atoll.data.commitment import CHUNK_ROWS, chunk_bytes, chunks, leaf, root
from atoll.data.read import table
from atoll.data.schema import Column, Declaration, Schema
from atoll.data.sources import MemorySource, open_source
from atoll.errors import AtollError

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
SCHEMA = Schema(
    (
        Column("id", "string"),
        Column("n", "int64"),
        Column("金额", "decimal", precision=20, scale=2),
        Column("x", "float64"),
        Column("ok", "bool"),
        Column("day", "date"),
        Column("at", "timestamp"),
    )
)
ROW = st.tuples(
    st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.integers(-(10**20) + 1, 10**20 - 1).map(lambda v: Decimal(v).scaleb(-2)),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.booleans(),
    st.none() | st.dates(dt.date(1, 1, 1)),
    st.none() | st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)),
)


def arrow(rows: list[tuple]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [[]] * len(SCHEMA)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA.arrow, strict=True)], SCHEMA.arrow)


def make(what: object, store: Path, asset: str = "loans", **options: object) -> snapshot.Snapshot:
    declaration = options.pop("declaration", None)
    with open_source(what, declaration=declaration) as source:
        return snapshot.create(source, store, asset, now=NOW, **options)


def numbers(rows: int, start: int = 0) -> pa.Table:
    return pa.table({"k": pa.array(range(start, start + rows)), "s": [str(i) for i in range(rows)]})


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ROW, min_size=1, max_size=60))
def test_values_to_csv_to_snapshot_and_back(rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            file.write(",".join(SCHEMA.names) + "\n")
            for row in rows:
                # Text is always quoted, a missing value never, so that the empty text and no value differ.
                cells = ["" if v is None else str(v) for v in row]
                if row[0] is not None:
                    cells[0] = '"' + row[0].replace('"', '""') + '"'
                file.write(",".join(cells) + "\n")
        declaration = Declaration.from_json(
            {
                "source": {"quoted_nulls": False, "delimiter": ",", "encoding": "utf-8"},
                "columns": {
                    c.name: {"type": c.type} | ({"precision": 20, "scale": 2} if c.scale else {})
                    for c in SCHEMA
                },
            }
        )
        stored = make(path, Path(folder) / "store", declaration=declaration)
        assert stored.schema == SCHEMA
        assert list(zip(*table(stored, SCHEMA.names).to_pydict().values(), strict=True)) == rows
        snapshot.verify_snapshot(stored.path)


@settings(max_examples=50)
@given(st.lists(ROW, min_size=1, max_size=30), st.data())
def test_bytes_depend_on_every_cell_and_on_order_and_not_on_layout(rows, data):
    def encode(table: pa.Table) -> list[bytes]:
        return [chunk_bytes(c, SCHEMA, i) for i, c in enumerate(chunks(table.to_batches(), SCHEMA))]

    whole = arrow(rows)
    plain = encode(whole)
    cut = data.draw(st.integers(0, len(rows)))
    padded = pa.concat_tables([arrow(rows[:1]), whole, arrow(rows[-1:])]).combine_chunks()
    assert encode(pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])) == plain
    assert encode(padded.slice(1, len(rows))) == plain
    row, column = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.integers(0, len(SCHEMA) - 1))
    other = data.draw(ROW)[column]
    changed = [list(r) for r in rows]
    changed[row][column] = other
    same = repr(other) == repr(rows[row][column])
    assert (encode(arrow([tuple(r) for r in changed])) == plain) == same
    shuffled = data.draw(st.permutations(rows))
    assert (encode(arrow(shuffled)) == plain) == (list(map(repr, shuffled)) == list(map(repr, rows)))


def test_null_slots_and_unused_bits_do_not_show():
    schema = Schema((Column("n", "int64"), Column("b", "bool"), Column("s", "string")))
    validity = pa.py_buffer(b"\x01")
    dirty = pa.RecordBatch.from_arrays(
        [
            pa.Array.from_buffers(pa.int64(), 2, [validity, pa.py_buffer(b"\x05" + b"\0" * 7 + b"\xff" * 8)]),
            pa.Array.from_buffers(pa.bool_(), 2, [pa.py_buffer(b"\xfd"), pa.py_buffer(b"\xff")]),
            pa.Array.from_buffers(
                pa.string(), 2, [validity, pa.py_buffer(b"\0\0\0\0\1\0\0\0\3\0\0\0"), pa.py_buffer(b"abc")]
            ),
        ],
        schema=schema.arrow,
    )
    clean = pa.RecordBatch.from_pydict(
        {"n": [5, None], "b": [True, None], "s": ["a", None]}, schema=schema.arrow
    )
    assert chunk_bytes(dirty, schema, 0) == chunk_bytes(clean, schema, 0)


def test_canonical_bytes_are_those_of_the_docstring():
    schema = Schema((Column("é", "decimal", precision=4, scale=1), Column("s", "string")))
    chunk = pa.RecordBatch.from_pydict({"é": [Decimal("-0.1"), None], "s": ["", "ab"]}, schema=schema.arrow)
    assert chunk_bytes(chunk, schema, 3) == b"".join([
        b"atoll chunk v1\0", (3).to_bytes(8, "little"), (2).to_bytes(4, "little"), (2).to_bytes(4, "little"),
        b"\x02\x04\x01", b"\x02\x00\xc3\xa9", b"\x01", b"\x01\x00", b"\xff" * 16, b"\x00" * 16,
        b"\x07\x00\x00", b"\x01\x00s", b"\x00", b"\x00\x00\x00\x00\x02\x00\x00\x00",
        (2).to_bytes(8, "little"), b"ab",
    ])  # fmt: skip


def test_root_follows_rfc_6962():
    run = DEFAULT.hash.run

    def reference(leaves: list[bytes]) -> bytes:
        if not leaves:
            return run(b"")
        if len(leaves) == 1:
            return leaves[0]
        k = 1
        while k * 2 < len(leaves):
            k *= 2
        return run(b"\x01" + reference(leaves[:k]) + reference(leaves[k:]))

    assert root([]) == run(b"")
    assert leaf(b"s" * 16, b"x") == run(b"\x00" + b"s" * 16 + b"x")
    with pytest.raises(AtollError, match="E_DATA"):
        leaf(b"", b"x")
    for n in range(1, 40):
        leaves = [run(bytes([i])) for i in range(n)]
        assert root(leaves) == reference(leaves)


def test_files_modes_and_manifest(tmp_path):
    stored = make(numbers(CHUNK_ROWS + 5), tmp_path / "store")
    assert stored.path == tmp_path / "store" / "loans" / "1"
    assert stored.path.stat().st_mode & 0o777 == 0o700
    assert stored.path.parent.stat().st_mode & 0o777 == 0o700
    names = {p.name: p for p in stored.path.iterdir()}
    assert set(names) == {"data.parquet", "manifest.json", "salts.bin", "leaves.bin"}
    assert all(p.stat().st_mode & 0o777 == 0o600 for p in names.values())
    assert names["salts.bin"].stat().st_size == 32
    manifest = json.loads(names["manifest.json"].read_text())
    assert manifest["created"] == "2026-01-02T03:04:05Z"
    assert manifest["source"] == {"kind": "memory", "name": "table", "mode": "snapshot"}
    assert names["salts.bin"].read_bytes().hex()[:32] not in names["manifest.json"].read_text()
    assert snapshot.load(stored.path) == stored
    assert snapshot.verify_snapshot(stored.path) == stored


def test_versions_chain_and_salts_are_fresh(tmp_path):
    first, second = make(numbers(5), tmp_path), make(numbers(5), tmp_path)
    assert (first.version, second.version) == (1, 2)
    assert first.previous is None
    assert second.previous == first.digest
    assert first.root != second.root
    assert snapshot.versions(tmp_path, "loans") == [1, 2]
    assert snapshot.latest(tmp_path, "loans") == second
    assert snapshot.latest(tmp_path, "other") is None


@pytest.mark.parametrize("change", [{"unit": "fen"}, {"range": ("0", "9")}, {"nullable": False}])
def test_the_digest_binds_the_schema(change):
    plain, other = Schema((Column("n", "int64"),)), Schema((Column("n", "int64", **change),))
    facts = (5, "sha256:" + "0" * 64, None, None, None)
    made = [snapshot.version_digest(snapshot.version_document(s, *facts)) for s in (plain, other)]
    assert made[0] != made[1]


def test_source_chunking_does_not_change_the_root(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "opening", lambda: b"0123456789abcdef")
    whole = numbers(2 * CHUNK_ROWS + 77)
    pieces = pa.concat_tables([whole.slice(i, 10_007) for i in range(0, len(whole), 10_007)])
    assert make(whole, tmp_path).root == make(pieces, tmp_path).root
    swapped = pa.concat_tables([whole.slice(1, 1), whole.slice(0, 1), whole.slice(2)])
    make(swapped, tmp_path)
    assert snapshot.load(tmp_path / "loans" / "3").root != snapshot.load(tmp_path / "loans" / "1").root


def test_a_flipped_bit_is_named_by_chunk(tmp_path):
    stored = make(numbers(3 * CHUNK_ROWS), tmp_path)
    import pyarrow.parquet as pq

    meta = pq.ParquetFile(stored.data).metadata
    at = meta.row_group(1).column(0).data_page_offset + meta.row_group(1).column(0).total_compressed_size // 2
    data = bytearray(stored.data.read_bytes())
    data[at] ^= 1
    stored.data.write_bytes(data)
    with pytest.raises(AtollError, match="E_DATA") as caught:
        snapshot.verify_snapshot(stored.path)
    assert caught.value.detail["chunk"] == 1


@pytest.mark.parametrize("name", ["salts.bin", "leaves.bin"])
@pytest.mark.parametrize("change", ["flip", "truncate", "remove"])
def test_damaged_side_files(tmp_path, name, change):
    stored = make(numbers(10), tmp_path)
    path = stored.path / name
    data = bytearray(path.read_bytes())
    if change == "remove":
        path.unlink()
    elif change == "truncate":
        path.write_bytes(data[:-1])
    else:
        data[3] ^= 0x80
        path.write_bytes(data)
    with pytest.raises(AtollError, match="E_DATA"):
        snapshot.verify_snapshot(stored.path)


def test_replaced_rows_with_a_valid_file_are_found(tmp_path):
    import pyarrow.parquet as pq

    stored = make(numbers(10), tmp_path)
    pq.write_table(numbers(10, start=1), stored.data)
    with pytest.raises(AtollError, match="chunk 0"):
        snapshot.verify_snapshot(stored.path)
    pq.write_table(numbers(10).slice(0, 0), stored.data)
    with pytest.raises(AtollError, match="ends before chunk 0"):
        snapshot.verify_snapshot(stored.path)
    pq.write_table(pa.table({"k": [1]}), stored.data)
    with pytest.raises(AtollError, match="other columns"):
        snapshot.verify_snapshot(stored.path)


@pytest.mark.parametrize(
    ("key", "value"), [("rows", 9), ("previous", "sha256:" + "1" * 64), ("schema", []), ("root", None)]
)
def test_damaged_manifest(tmp_path, key, value):
    stored = make(numbers(10), tmp_path)
    path = stored.path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(AtollError):
        snapshot.load(stored.path)


def test_nothing_is_left_behind_after_an_error(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a\n" + "1\n" * 100_000 + "x\n")
    with pytest.raises(AtollError, match="E_TYPE"):
        make(path, tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []
    stored = make(path, tmp_path / "store", bad_rows="skip")
    assert (stored.rows, stored.skipped, stored.version) == (100_000, 1, 1)
    assert [str(e) for e in stored.examples] == [
        "line 100002, column 'a': 'x' is not a whole number from -2^63 to 2^63-1"
    ]
    assert snapshot.load(stored.path).skipped == 1


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a\0", ".new", "a b", "x" * 65])
def test_asset_names_cannot_leave_the_folder(tmp_path, name):
    with pytest.raises(AtollError, match="E_FORMAT"):
        make(numbers(1), tmp_path, asset=name)
    assert make(numbers(1), tmp_path, asset="贷款-2026.v1_x").asset == "贷款-2026.v1_x"


def test_too_large_chunks_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(commitment, "MAX_CHUNK_BYTES", 100)
    with pytest.raises(AtollError, match="E_TOO_LARGE"):
        make(numbers(100), tmp_path)


def test_no_rows(tmp_path):
    with pytest.raises(AtollError, match="no rows"):
        make(numbers(0), tmp_path)


def test_some_columns_only(tmp_path):
    with MemorySource(numbers(3)) as source:
        chosen = source.inspect().schema.select(["s"])
        stored = snapshot.create(source, tmp_path, "t", now=NOW, schema=chosen)
    assert table(stored, ["s"]).to_pydict() == {"s": ["0", "1", "2"]}
    assert stored.schema.names == ["s"]


def test_csv_module_output_is_read_back(tmp_path):
    path = tmp_path / "t.csv"
    rows = [["a,b", 'say "hi"', "multi\nline"], ["", "x", " y "]]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["p", "q", "r"], *rows])
    stored = make(path, tmp_path / "store")
    assert [list(r.values()) for r in table(stored, ["p", "q", "r"]).to_pylist()] == [
        rows[0],
        [None, "x", " y "],
    ]


def test_a_killed_process_leaves_no_version(tmp_path, monkeypatch):
    make(numbers(3), tmp_path)
    monkeypatch.setattr(snapshot.shutil, "rmtree", lambda *a, **k: None)
    monkeypatch.setattr(snapshot, "_sync", lambda folder: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        make(numbers(4), tmp_path)
    monkeypatch.undo()
    assert len(list((tmp_path / "loans").iterdir())) == 2
    assert snapshot.versions(tmp_path, "loans") == [1]
    snapshot.sweep(tmp_path)
    assert [p.name for p in (tmp_path / "loans").iterdir()] == ["1"]
    assert make(numbers(4), tmp_path).version == 2


def test_two_processes_cannot_make_the_same_version(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "latest", lambda store, asset: None)
    make(numbers(3), tmp_path)
    with pytest.raises(AtollError, match="E_CONFLICT"):
        make(numbers(3), tmp_path)
    assert [p.name for p in (tmp_path / "loans").iterdir()] == ["1"]
