"""Reading, exact sums, profiles, changes; names that need quoting; typed sources."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import random
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atoll.data.changes import count_changes
from atoll.data.profile import profile
from atoll.data.read import group_sums, read, table, take, take_batches
from atoll.data.schema import Declaration
from atoll.data.snapshot import Snapshot, create
from atoll.data.sources import ParquetSource, open_source
from atoll.errors import AtollError

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
NAMES = [
    'we"ird',
    "select",
    "客户 编号",
    "a b",
    "x'y",
    "a.b",
    "c0; DROP TABLE t",
    "count(*)",
    "-- x",
    "%s",
    "{}",
    "?",
]


def store(what: object, folder: Path, declaration: dict | None = None) -> Snapshot:
    parsed = None if declaration is None else Declaration.from_json(declaration)
    with open_source(what, declaration=parsed, work=folder) as source:
        return create(source, folder / "store", "t", now=NOW)


def decimals(values: list[str | None], precision: int = 18, scale: int = 2) -> pa.Array:
    return pa.array([None if v is None else Decimal(v) for v in values], pa.decimal128(precision, scale))


def loans(folder: Path) -> Snapshot:
    return store(
        pa.table(
            {
                "id": ["p1", "p1", "p2", None, "p3"],
                "segment": ["A", "A", "B", "B", "A"],
                "region": [1, 2, 1, 1, 1],
                "debt": decimals(["0.10", "0.20", "-5.00", None, "99.99"]),
                "n": pa.array([2**62, 2**62, 2**62, 2**62, 2**62]),
                "ok": [True, False, True, True, True],
                "day": [dt.date(2026, 1, 1)] * 5,
                "x": [0.5] * 5,
            }
        ),
        folder,
    )


def test_sums_counts_and_subjects(tmp_path):
    found = group_sums(loans(tmp_path), ["segment"], ["B", "C", "A"], ["debt", "n"], "id")
    assert found.domain == ["B", "C", "A"]
    assert found.sums == {"debt": [-500, 0, 10029], "n": [2 * 2**62, 0, 3 * 2**62]}
    assert found.scales == {"debt": 2, "n": 0}
    assert found.counts == [2, 0, 3]
    assert found.value_counts == {"debt": [1, 0, 3], "n": [2, 0, 3]}
    assert found.subjects == [1, 0, 2]


def test_several_one_and_no_group_columns(tmp_path):
    stored = loans(tmp_path)
    found = group_sums(stored, ["segment", "region"], [("A", "1"), ("A", "2"), ("B", "1")], ["debt"])
    assert found.sums == {"debt": [10009, 20, -500]}
    assert found.subjects is None
    assert group_sums(stored, ["ok"], ["true", "false"], []).counts == [4, 1]
    assert group_sums(stored, ["day"], ["2026-01-01"], []).counts == [5]
    assert group_sums(stored, [], [], ["debt"], "id").subjects == [3]


def test_segments_outside_the_domain(tmp_path):
    stored = loans(tmp_path)
    with pytest.raises(AtollError, match="segment='B'") as caught:
        group_sums(stored, ["segment"], ["A"], ["debt"])
    assert caught.value.code == "E_RANGE"
    assert "B" not in str(caught.value.to_wire())
    found = group_sums(stored, ["segment"], ["A", "other"], ["debt"], "id")
    assert (found.counts, found.subjects) == ([3, 2], [2, 1])
    with pytest.raises(AtollError, match="E_RANGE"):
        group_sums(stored, ["segment"], ["A", "other"], ["debt"], other=None)


def test_distinct_subjects_of_other_span_its_segments(tmp_path):
    stored = store(pa.table({"id": ["p", "p", "q"], "g": ["X", "Y", "A"]}), tmp_path)
    assert group_sums(stored, ["g"], ["A", "其他"], [], "id", other="其他").subjects == [1, 1]


def test_missing_group_values(tmp_path):
    stored = store(pa.table({"g": ["A", None], "v": [1, 2]}), tmp_path)
    with pytest.raises(AtollError, match="no value in the group column") as caught:
        group_sums(stored, ["g"], ["A", "other"], ["v"])
    assert (caught.value.code, caught.value.column) == ("E_DATA", "g")
    assert group_sums(stored, ["g"], ["A", "U"], ["v"], null="U").sums == {"v": [1, 2]}


def test_what_cannot_be_summed_or_grouped(tmp_path):
    stored = loans(tmp_path)
    with pytest.raises(AtollError, match="cannot be added exactly") as caught:
        group_sums(stored, ["segment"], ["A", "B"], ["x"])
    assert (caught.value.code, caught.value.column) == ("E_TYPE", "x")
    assert "decimal" in caught.value.cure
    for arguments in ((["x"], ["1"], []), (["segment"], ["A"], ["id"])):
        with pytest.raises(AtollError, match="E_TYPE"):
            group_sums(stored, *arguments)
    with pytest.raises(AtollError, match="E_COLUMN"):
        group_sums(stored, ["none"], ["A"], [])
    for domain in ([], ["A", "A"], [("A", "B")]):
        with pytest.raises(AtollError, match="E_RANGE"):
            group_sums(stored, ["segment"], domain, [])


def test_sums_are_exact_beyond_the_decimal_context(tmp_path):
    values = ["123456789012345678901234567890123456.78", "0.01", "-0.02"]
    stored = store(pa.table({"v": decimals(values, 38, 2)}), tmp_path)
    assert group_sums(stored, [], [], ["v"]).sums == {"v": [12345678901234567890123456789012345677]}
    many = store(pa.table({"v": decimals(["9" * 36 + ".99"] * 11, 38, 2)}), tmp_path / "many")
    with pytest.raises(AtollError, match="E_RANGE"):
        group_sums(many, [], [], ["v"])


@pytest.mark.parametrize("name", NAMES)
def test_names_are_quoted_everywhere(tmp_path, name):
    quoted = '"' + name.replace('"', '""') + '"'
    path = tmp_path / "it's a file.csv"
    path.write_text(f'{quoted},"g{quoted[1:]}\n1,A\n2,A\n2,B\n')
    stored = store(path, tmp_path)
    assert stored.schema.names == [name, f"g{name}"]
    assert table(stored, [name]).to_pydict() == {name: [1, 2, 2]}
    found = group_sums(stored, [f"g{name}"], ["A", "B"], [name], name)
    assert (found.sums[name], found.subjects) == ([3, 2], [2, 1])
    assert take(stored, [2, 0], [f"g{name}", name]).to_pydict() == {f"g{name}": ["B", "A"], name: [2, 1]}
    assert profile(stored, [[name]]).keys[0].duplicated == 1


@pytest.mark.parametrize("code", NAMES)
def test_codes_of_the_domain_are_quoted(tmp_path, code):
    stored = store(pa.table({"g": [code, "Z"], "v": [1, 2]}), tmp_path)
    assert group_sums(stored, ["g"], [code, "other"], ["v"]).sums == {"v": [1, 2]}


def test_read_by_folder_snapshot_and_file(tmp_path):
    stored = store(pa.table({"k": list(range(150_000)), "s": [str(i) for i in range(150_000)]}), tmp_path)
    for where in (stored, stored.path, str(stored.path), stored.data):
        batches = list(read(where, ["s", "k"], 50_000))
        assert batches[0].schema.names == ["s", "k"]
        assert max(b.num_rows for b in batches) <= 50_000
        assert pa.Table.from_batches(batches)["k"].to_pylist() == list(range(150_000))
    alone = tmp_path / "alone.parquet"
    pq.write_table(pa.table({"v": [1]}), alone)
    assert table(alone, ["v"]).to_pydict() == {"v": [1]}
    with pytest.raises(AtollError, match="E_COLUMN"):
        read(stored, ["none"])
    with pytest.raises(AtollError, match="E_NOT_FOUND"):
        read(tmp_path / "nothing", ["k"])


def test_take_keeps_the_order_asked(tmp_path):
    rows = 200_000
    stored = store(pa.table({"k": list(range(rows)), "s": [f"P{i}" for i in range(rows)]}), tmp_path)
    wanted = random.Random(1).choices(range(rows), k=5_000)
    found = take(stored, wanted, ["s", "k"]).to_pydict()
    assert found == {"s": [f"P{i}" for i in wanted], "k": wanted}
    assert take(stored, [], ["k"]).to_pydict() == {"k": []}
    assert take(stored, [1], []).num_columns == 0
    for bad in (-1, rows):
        with pytest.raises(AtollError, match="E_RANGE"):
            take(stored, [0, bad], ["k"])


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("batch_rows", [1_000, 65_536])
def test_batches_hold_what_take_gives(tmp_path, ascending, batch_rows):
    rows = 200_000
    stored = store(pa.table({"k": list(range(rows)), "s": [f"P{i}" for i in range(rows)]}), tmp_path)
    pick = np.random.default_rng(1)
    for count in (0, 1, 999, 1_000, 70_000):
        wanted = pick.choice(rows, count, replace=False)
        wanted = np.sort(wanted) if ascending else wanted
        reader = take_batches(stored, wanted, ["s", "k"], batch_rows)
        batches = list(reader)
        found = pa.Table.from_batches(batches, reader.schema)
        assert found.equals(take(stored, wanted, ["s", "k"]))
        assert found["k"].to_pylist() == wanted.tolist()
        assert all(batch.num_rows == batch_rows for batch in batches[:-1])
    for bad in (-1, rows):
        with pytest.raises(AtollError, match="E_RANGE"):
            take_batches(stored, np.sort(np.array([0, bad])), ["k"])
    with pytest.raises(AtollError, match="E_COLUMN"):
        take_batches(stored, np.array([0]), ["none"])


def test_damage_that_is_found_while_reading(tmp_path):
    rows = 200_000
    stored = store(pa.table({"k": list(range(rows))}), tmp_path)
    reader = take_batches(stored, np.arange(0, rows, 3), ["k"])
    size = stored.data.stat().st_size
    with stored.data.open("r+b") as file:
        # The pages of all groups but the footer, which was read already.
        file.write(bytes(size // 2))
    with pytest.raises(AtollError, match="E_DATA"):
        reader.read_all()


def test_damaged_file(tmp_path):
    stored = loans(tmp_path)
    stored.data.write_bytes(b"PAR1 nothing PAR1")
    for action in (
        lambda: list(read(stored, ["id"])),
        lambda: take(stored, [0], ["id"]),
        lambda: take_batches(stored, np.array([0]), ["id"]),
        lambda: group_sums(stored, [], [], ["debt"]),
        lambda: profile(stored),
    ):
        with pytest.raises(AtollError, match="E_DATA"):
            action()


def test_profile(tmp_path):
    found = profile(loans(tmp_path), [["id"], ["id", "region"]])
    assert found.rows == 5
    by_name = {c.name: c for c in found.columns}
    assert (by_name["id"].nulls, by_name["id"].distinct, by_name["id"].exact) == (1, 3, True)
    assert (by_name["debt"].least, by_name["debt"].greatest) == ("-5.00", "99.99")
    assert (found.keys[0].duplicated, found.keys[0].rows, found.keys[0].nulls) == (1, 2, 1)
    assert found.keys[1].duplicated == 0
    with pytest.raises(AtollError, match="E_COLUMN"):
        profile(loans(tmp_path), [["none"]])


def test_changes_count_distinct_keys():
    def keys(*numbers: int) -> bytes:
        return b"".join(n.to_bytes(32, "big") for n in numbers)

    assert count_changes(keys(1, 2, 3, 3), keys(4, 3, 2, 2)) == (1, 1)
    assert count_changes(b"", keys(1, 1, 2)) == (2, 0)
    assert count_changes(keys(1, 2), b"") == (0, 2)
    assert count_changes(b"", b"") == (0, 0)
    with pytest.raises(AtollError, match="E_FORMAT"):
        count_changes(b"x" * 31, b"")
    generator = random.Random(7)
    for _ in range(20):
        old, new = ([generator.randrange(60) for _ in range(generator.randrange(90))] for _ in range(2))
        expected = (len(set(new) - set(old)), len(set(old) - set(new)))
        assert count_changes(keys(*old), bytearray(keys(*new))) == expected


def test_changes_of_real_digests_and_of_colliding_ones():
    def digests(numbers: list[int], prefix: bytes = b"") -> bytes:
        return b"".join(
            prefix + hashlib.sha256(n.to_bytes(4, "big")).digest()[len(prefix) :] for n in numbers
        )

    generator = random.Random(8)
    for size in (1, 2, 10, 1000):
        for _ in range(5):
            old, new = ([generator.randrange(size * 2) for _ in range(size)] for _ in range(2))
            expected = (len(set(new) - set(old)), len(set(old) - set(new)))
            assert count_changes(digests(old), digests(new)) == expected
            assert count_changes(digests(old, b"same 64!"), digests(new, b"same 64!")) == expected
            # The same first 64 bits in the old and the new table, and different keys.
            assert count_changes(digests([1], b"same 64!"), digests([2], b"same 64!")) == (1, 1)


def test_parquet_types(tmp_path):
    path = tmp_path / "t.parquet"
    moment = dt.datetime(2026, 1, 1, 8, tzinfo=dt.timezone(dt.timedelta(hours=8)))
    pq.write_table(
        pa.table(
            {
                "i8": pa.array([1, None], pa.int8()),
                "u64": pa.array([1, 2], pa.uint64()),
                "f32": pa.array([0.5, float("nan")], pa.float32()),
                "dict": pa.array(["a", "b"]).dictionary_encode(),
                "large": pa.array(["a", None], pa.large_string()),
                "zoned": pa.array([moment, None], pa.timestamp("ms", "Asia/Shanghai")),
                "day": pa.array([dt.date(2026, 1, 1), None], pa.date64()),
                "money": decimals(["1.25", None], 9, 2),
            }
        ),
        path,
    )
    stored = store(path, tmp_path)
    kinds = ["int64", "int64", "float64", "string", "string", "timestamp", "date", "decimal"]
    assert [c.type for c in stored.schema] == kinds
    row = table(stored, stored.schema.names).to_pylist()
    assert row[0]["zoned"] == dt.datetime(2026, 1, 1)
    assert row[1]["f32"] is None
    assert row[0]["money"] == Decimal("1.25")
    assert row[1]["dict"] == "b"


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[1]]),
        pa.array([b"x"]),
        pa.array([dt.time(1)]),
        pa.array([{"a": 1}]),
        decimals(["1"], 38, 2).cast(pa.decimal256(60, 2)),
    ],
)
def test_unsupported_types_name_the_column(tmp_path, values):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"good": ["x"], "bad": values}), path)
    with pytest.raises(AtollError) as caught, ParquetSource(path) as source:
        source.inspect()
    assert (caught.value.code, caught.value.column) == ("E_TYPE", "bad")


@pytest.mark.parametrize(
    ("values", "declared", "expected"),
    [
        (pa.array([1.25, 2.5]), {"type": "decimal", "scale": 2}, [Decimal("1.25"), Decimal("2.50")]),
        (pa.array([1.255, 2.5]), {"type": "decimal", "scale": 2}, "row 1"),
        (pa.array([1.0, 2.0]), {"type": "int64"}, [1, 2]),
        (pa.array([1.0, 2.5]), {"type": "int64"}, "row 2"),
        (pa.array([1, 2**63], pa.uint64()), {"type": "int64"}, "row 2"),
        (pa.array([1, 2]), {"type": "string"}, ["1", "2"]),
        (pa.array([1, 200]), {"type": "decimal", "precision": 4, "scale": 2}, "row 2"),
        (pa.array(["1.5", "x"]), {"type": "decimal", "scale": 2}, "row 2"),
        (pa.array([1.0, float("inf")]), {"type": "float64"}, "row 2"),
        (pa.array([dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 1, 1)]), {"type": "date"}, "row 2"),
        (pa.array([1, 2]), {"type": "int64", "range": ["2", "3"]}, "row 1"),
        (pa.array([True]), {"type": "int64"}, "E_TYPE"),
        (pa.array([0.5]), {"type": "string"}, "E_TYPE"),
    ],
)
def test_declared_types_over_typed_sources(tmp_path, values, declared, expected):
    what, declaration = pa.table({"v": values}), {"columns": {"v": declared}}
    if isinstance(expected, list):
        assert table(store(what, tmp_path, declaration), ["v"])["v"].to_pylist() == expected
        return
    with pytest.raises(AtollError, match=expected) as caught:
        store(what, tmp_path, declaration)
    assert caught.value.column == "v"


def test_pandas_and_polars(tmp_path):
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    columns = {"id": ["a", None], "n": [1, 2], "x": [0.5, None], "t": [dt.datetime(2026, 1, 1)] * 2}
    for frame in (pandas.DataFrame(columns, index=[7, 9]), polars.DataFrame(columns)):
        stored = store(frame, tmp_path / type(frame).__module__[:6])
        assert [c.type for c in stored.schema] == ["string", "int64", "float64", "timestamp"]
        assert table(stored, ["id", "x"]).to_pydict() == {"id": ["a", None], "x": [0.5, None]}
    with pytest.raises(AtollError, match="E_TYPE"):
        open_source(pandas.DataFrame({"v": ["x", 1]}))
    with pytest.raises(AtollError, match="E_COLUMN"):
        open_source(pandas.DataFrame({0: ["x", 1]}))


@pytest.mark.skipif("ATOLL_DATA" not in os.environ, reason="ATOLL_DATA is not set")
def test_credit_table_sums_equal_pandas(tmp_path):
    pandas = pytest.importorskip("pandas")
    path = Path(os.environ["ATOLL_DATA"]) / "UCI_Credit_Card.csv"
    if not path.exists():
        pytest.skip(f"there is no {path}")
    frame = pandas.read_csv(path)
    domain = [str(v) for v in sorted(frame["EDUCATION"].unique())]
    found = group_sums(store(path, tmp_path), ["EDUCATION"], domain, ["LIMIT_BAL", "BILL_AMT1"], "ID")
    grouped = frame.groupby("EDUCATION")
    for name in ("LIMIT_BAL", "BILL_AMT1"):
        assert found.sums[name] == [int(v) for v in grouped[name].sum()]
    assert found.counts == grouped.size().tolist()
    assert found.subjects == grouped["ID"].nunique().tolist()


def test_the_engine_opens_no_other_file(tmp_path):
    import duckdb

    from atoll.data import engine

    allowed, other = tmp_path / "a.csv", tmp_path / "b.csv"
    for path in (allowed, other):
        path.write_text("a\n1\n")
    with engine.connect(allowed, work=tmp_path) as con:
        assert con.execute(f"SELECT * FROM read_csv('{allowed}')").fetchall() == [(1,)]
        for query in (
            f"SELECT * FROM read_csv('{other}')",
            f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
            "SET enable_external_access = true",
            "INSTALL httpfs",
            "LOAD httpfs",
            f"ATTACH '{tmp_path}/x.db'",
        ):
            with pytest.raises(duckdb.Error):
                con.execute(query).fetchall()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "b.csv"]


def test_paths_with_globs_partitions_and_quotes(tmp_path):
    folder = tmp_path / "it's [1]*? g=9" / "v=7"
    folder.mkdir(parents=True)
    path = folder / "a[b]* (1).csv"
    path.write_text("g,v\nA,1\nA,2\n")
    (folder / "ab (1).csv").write_text("g,v\nB,5\n")
    stored = store(path, folder)
    assert group_sums(stored, ["g"], ["A"], ["v"], work=folder).sums == {"v": [3]}
    assert profile(stored, [["g"]], work=folder).columns[1].greatest == "2"
