"""Proofs about single rows: against a plain search, against a dishonest maker of proofs, and with bad input."""

from __future__ import annotations

import copy
import json
import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto import canonical, rows
from atoll.data import rowproof, rowtree, snapshot
from atoll.data.rowproof import make_proof, verify_proof
from atoll.data.rowvalues import text, value
from atoll.data.schema import Column, Declaration, Schema
from atoll.data.snapshot import Snapshot, verify_snapshot
from atoll.data.sources import open_source
from atoll.errors import AtollError

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def version(folder: Path, columns, key=("id",), words=None) -> Snapshot:
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    with open_source(table, declaration=Declaration.from_json(words or {}), work=folder) as source:
        return snapshot.create(source, folder / "store", "t", now=NOW, key=key)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Snapshot:
    """Two hundred ids on three hundred rows, and ten rows without id."""
    ids = [f"s{i % 200}" for i in range(300)] + [None] * 10
    return version(tmp_path_factory.mktemp("made"), {"id": ids, "n": list(range(310))})


def refused(made: Snapshot, id, code: str) -> AtollError:
    with pytest.raises(AtollError) as caught:
        make_proof(made, id)
    assert caught.value.code == code
    return caught.value


# What is proved.


@pytest.mark.parametrize("name", ["s0", "s99", "s150", "s199"])
def test_all_rows_of_an_id_are_shown(made, name):
    read = verify_proof(make_proof(made, [name]), made.digest)
    number = int(name[1:])
    want = [number, number + 200] if number < 100 else [number]
    assert read.outcome == "present"
    assert read.rows == tuple({"id": name, "n": str(n)} for n in want)
    assert (read.total, read.without_id, read.id) == (310, 10, {"id": name})


@pytest.mark.parametrize("name", ["", "s200", "S0", " s0", "None"])
def test_absence_shows_no_row(made, name):
    data = make_proof(made, [name])
    read = verify_proof(data, made.digest)
    assert read.outcome == "absent"
    document = canonical.loads(data)
    assert document["rows"] == []
    for side in ("before", "after"):
        assert document[side] is None or set(document[side]) == {"tag", "inner"}


@settings(max_examples=60, deadline=None)
@given(
    ids=st.lists(st.none() | st.integers(-5, 5), min_size=1, max_size=24),
    asked=st.integers(-7, 7),
)
def test_a_proof_says_what_a_search_finds(tmp_path_factory, ids, asked):
    folder = tmp_path_factory.mktemp("any")
    table = pa.table({"id": pa.array(ids, pa.int64()), "place": list(range(len(ids)))})
    made = version(folder, table)
    read = verify_proof(make_proof(made, [str(asked)]), made.digest)
    assert [row["place"] for row in read.rows] == [str(i) for i, id in enumerate(ids) if id == asked]


def test_the_tree_has_a_leaf_for_each_row_and_rows_without_id_have_tags_of_their_own(tmp_path):
    made = version(tmp_path, {"id": ["a", None, "a", None], "n": [1, 2, 3, 4]})
    assert made.row_key is not None
    assert made.row_key.without_id == 2
    with rowtree.RowRecords(
        tmp_path, made.schema, ["id"], (made.path / "secret.bin").read_bytes()
    ) as records:
        for batch in snapshot.row_groups(made):
            records.push(batch)
        leaves = b"".join(records.sorted())
    tree = rows.RowTree(1)
    tree.push(leaves)
    assert (tree.size, f"sha256:{tree.root().hex()}") == (4, made.row_root)
    assert len({leaves[i : i + 32] for i in range(0, len(leaves), 64)}) == 3


def test_more_rows_than_a_chunk_and_groups_that_are_split(tmp_path, monkeypatch):
    monkeypatch.setattr(rowtree, "_WRITE_BYTES", 1 << 16)
    monkeypatch.setattr(rowtree, "_SORT_BYTES", 1 << 9)
    n = 70_000
    ids = [f"s{i}" if i % 7 else "often" for i in range(n)]
    made = version(tmp_path, {"id": ids, "n": list(range(n))})
    assert verify_proof(make_proof(made, ["s69999"]), made.digest).rows[0]["n"] == "69999"
    assert verify_proof(make_proof(made, ["nobody"]), made.digest).outcome == "absent"
    often = verify_proof(make_proof(made, ["often"]), made.digest)
    assert [row["n"] for row in often.rows] == [str(i) for i in range(0, n, 7)]
    verify_snapshot(made.path, work=tmp_path)


def test_the_root_does_not_depend_on_the_pieces_or_threads(tmp_path, monkeypatch):
    schema = Schema((Column("id", "int64"),))
    batch = pa.record_batch({"id": pa.array([i * 7919 % 1009 for i in range(5000)], pa.int64())})
    roots = set()
    for pieces, threads, sort_bytes in ((1, 1, 1 << 25), (7, 2, 1 << 12), (3, 4, 1 << 8)):
        monkeypatch.setattr(rowtree, "_SORT_BYTES", sort_bytes)
        monkeypatch.setattr(rowtree, "_WRITE_BYTES", 1 << 14)
        monkeypatch.setattr(rowtree, "THREADS", threads)
        with rowtree.RowRecords(tmp_path, schema, ["id"], b"k" * 32) as records:
            size = -(-batch.num_rows // pieces)
            for start in range(0, batch.num_rows, size):
                records.push(batch.slice(start, size))
            roots.add(records.root())
    assert len(roots) == 1


def test_a_version_without_key_has_the_same_rows_and_no_row_tree(tmp_path):
    made = version(tmp_path, {"id": ["a"]}, key=None)
    assert (made.row_root, made.row_key) == (None, None)
    assert not (made.path / "secret.bin").exists()
    error = refused(made, ["a"], "E_STATE")
    assert "--key" in error.cure
    verify_snapshot(made.path)


def test_a_version_that_is_not_accepted_leaves_nothing(tmp_path):
    seen = []

    def look(made: Snapshot) -> None:
        seen.append((made.version, made.digest, snapshot.load(made.path).digest))
        raise AtollError("E_QUALITY", "not so")

    with (
        open_source(pa.table({"id": ["a"]}), work=tmp_path) as source,
        pytest.raises(AtollError, match="not so"),
    ):
        snapshot.create(source, tmp_path / "store", "t", now=NOW, key=["id"], accept=look)
    ((number, digest, read),) = seen
    assert (number, digest) == (1, read)
    assert list((tmp_path / "store").iterdir()) == []


# What is not shown.


def test_each_version_has_secrets_of_its_own(tmp_path):
    first, second = (version(tmp_path, {"id": ["a", "b"]}) for _ in range(2))
    assert first.row_root != second.row_root
    assert first.row_key != second.row_key
    documents = [canonical.loads(make_proof(v, ["a"])) for v in (first, second)]
    assert documents[0]["tag_key"] != documents[1]["tag_key"]


def test_a_proof_holds_no_salt_but_those_of_its_rows(made):
    secret = (made.path / "secret.bin").read_bytes()
    data = make_proof(made, ["s5"])
    hasher = rows.RowHasher(secret, ["id", "n"], ["id"], 1)
    shown = {row["salt"] for row in canonical.loads(data)["rows"]}
    assert shown == {hasher.salt(5).hex(), hasher.salt(205).hex()}
    others = [hasher.salt(i).hex() for i in range(310) if i not in (5, 205)]
    assert not [salt for salt in others if salt.encode() in data]
    assert secret.hex().encode() not in data
    # The key of the tags is the key of no salt.
    assert rows.HASH.mac(hasher.tag_key(), (5).to_bytes(8, "little"))[:16] != hasher.salt(5)


def test_whoever_has_a_proof_can_test_guesses_against_the_neighbours_and_only_them(made):
    """What docs/explanation/data-authenticity.md says of the key of the tags."""
    document = canonical.loads(make_proof(made, ["nobody"]))
    key = bytes.fromhex(document["tag_key"])
    schema = list(made.schema.select(["id"]))
    tags = {rows.tag(key, rowproof.id_digest([f"s{i}"], schema)).hex() for i in range(200)}
    neighbours = {document[side]["tag"] for side in ("before", "after") if document[side]}
    assert neighbours
    seen = {word for word in _words(document) if word in tags}
    assert seen == neighbours & tags


def _words(document) -> set[str]:
    if isinstance(document, dict):
        return set().union(*map(_words, document.values()))
    if isinstance(document, list):
        return set().union(set(), *map(_words, document))
    return {document} if isinstance(document, str) else set()


def test_secrets_are_files_of_the_owner_alone(made):
    assert os.stat(made.path / "secret.bin").st_mode & 0o777 == 0o600
    assert not [p for p in made.path.iterdir() if p.name not in
                ("data.parquet", "manifest.json", "salts.bin", "leaves.bin", "secret.bin")]  # fmt: skip


# What does not hold.


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_change_of_a_proof_holds(made, data):
    name = data.draw(st.sampled_from(["s5", "s150", "nobody"]))
    whole = canonical.loads(make_proof(made, [name]))
    places = list(_places(whole))
    place = data.draw(st.sampled_from(places))
    changed = copy.deepcopy(whole)
    target = changed
    for step in place[:-1]:
        target = target[step]
    old = target[place[-1]]
    new = data.draw(
        st.sampled_from([None, 0, 1, "", [], {}, "00" * 32, "00" * 16, "s6"])
        | st.text(max_size=3)
        | st.integers(-1, 2**60)
    )
    if isinstance(old, str) and old and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(old) - 1))
        new = old[:at] + ("1" if old[at] != "1" else "2") + old[at + 1 :]
    if type(new) is type(old) and new == old:
        return
    target[place[-1]] = new
    with pytest.raises(AtollError):
        verify_proof(canonical.dumps(changed), made.digest)


def _places(value, at=()):
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*at, key)
            yield from _places(item, (*at, key))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
def test_bytes_that_are_no_proof(made, data):
    with pytest.raises(AtollError) as caught:
        verify_proof(data, made.digest)
    assert caught.value.code == "E_FORMAT"


def test_a_proof_for_another_version_of_the_same_rows(tmp_path):
    first, second = (version(tmp_path, {"id": ["a", "b"]}) for _ in range(2))
    with pytest.raises(AtollError, match="another version"):
        verify_proof(make_proof(first, ["a"]), second.digest)


@pytest.mark.parametrize("digest", ["", "sha256:00", "md5:00", "sha256:" + "zz" * 32, "1"])
def test_a_digest_that_is_none(made, digest):
    with pytest.raises(AtollError) as caught:
        verify_proof(make_proof(made, ["a"]), digest)
    assert caught.value.code == "E_FORMAT"


def test_an_owner_that_did_not_sort_is_found_by_recomputing(made, tmp_path, monkeypatch):
    """A proof cannot show it; `verify_snapshot` at the owner does."""
    monkeypatch.setattr(rowtree, "sort", lambda records: records)
    wrong = version(tmp_path, {"id": [f"s{i}" for i in range(3000)]})
    monkeypatch.undo()
    with pytest.raises(AtollError, match="row tree"):
        verify_snapshot(wrong.path)


@pytest.mark.parametrize("file", ["secret.bin", "data.parquet"])
def test_a_version_that_is_no_longer_what_it_was(tmp_path, file):
    made = version(tmp_path, {"id": ["a", "b", "c"]})
    other = version(tmp_path, {"id": ["a", "b", "d"]})
    (made.path / file).write_bytes((other.path / file).read_bytes())
    error = refused(made, ["a"], "E_DATA")
    assert "committed to" in error.text
    with pytest.raises(AtollError):
        verify_snapshot(made.path)


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"short")])
def test_a_secret_that_is_gone(tmp_path, damage):
    made = version(tmp_path, {"id": ["a"]})
    damage(made.path / "secret.bin")
    refused(made, ["a"], "E_DATA")


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(row_root=None),
        lambda m: m.update(row_key=None),
        lambda m: m["row_key"].update(without_id=1),
        lambda m: m["row_key"].update(columns=["n"]),
        lambda m: m["row_key"].update(columns=[]),
        lambda m: m["row_key"].update(more=1),
        lambda m: m["row_key"].update(without_id=True),
        lambda m: m["row_key"].update(commitment="none"),
        lambda m: m.pop("row_root"),
    ],
)
def test_a_changed_manifest_is_refused(tmp_path, change):
    made = version(tmp_path, {"id": ["a"], "n": [1]})
    file = made.path / "manifest.json"
    body = json.loads(file.read_text())
    change(body)
    file.write_text(json.dumps(body))
    with pytest.raises(AtollError) as caught:
        snapshot.load(made.path)
    assert caught.value.code in ("E_DATA", "E_FORMAT")


# Ids.


def test_ids_are_read_as_the_column_is(tmp_path):
    table = {
        "day": ["2026-01-31"], "amount": ["1.50"], "n": ["7"], "open": ["true"], "seen": ["2026-01-31 10:00:00"],
    }  # fmt: skip
    words = {"columns": {
        "day": {"type": "date"}, "amount": {"type": "decimal", "precision": 9, "scale": 2}, "n": {"type": "int64"},
        "open": {"type": "bool"}, "seen": {"type": "timestamp"},
    }}  # fmt: skip
    made = version(tmp_path, table, key=list(table), words=words)
    for asked in (
        ["2026-01-31", "1.50", "7", "true", "2026-01-31 10:00:00"],
        ["2026/1/31", "1.5", " 7 ", "TRUE", "2026-01-31T10:00:00Z"],
    ):
        read = verify_proof(make_proof(made, asked), made.digest)
        assert read.outcome == "present"
        assert list(read.id.values()) == ["2026-01-31", "1.50", "7", "true", "2026-01-31T10:00:00.000000"]


@pytest.mark.parametrize(("asked", "code", "column"), [
    ([], "E_FORMAT", None), (["1", "2"], "E_FORMAT", None), ([None], "E_FORMAT", "id"), ([7], "E_FORMAT", "id"),
    (["x"], "E_TYPE", "id"), (["1.5"], "E_TYPE", "id"), ([""], "E_TYPE", "id"), (["9" * 30], "E_TYPE", "id"),
])  # fmt: skip
def test_ids_that_are_none(tmp_path, asked, code, column):
    made = version(tmp_path, {"id": [1, 2], "n": ["a", "b"]})
    error = refused(made, asked, code)
    assert error.column == column
    assert error.fault == "caller"


@pytest.mark.parametrize(("key", "code"), [
    (["nobody"], "E_COLUMN"), ([], "E_COLUMN"), (["id", "id"], "E_COLUMN"), (["rate"], "E_TYPE"),
])  # fmt: skip
def test_keys_that_are_none(tmp_path, key, code):
    with pytest.raises(AtollError) as caught:
        version(tmp_path, {"id": ["a"], "rate": [0.5]}, key=key)
    assert caught.value.code == code
    assert snapshot.versions(tmp_path / "store", "t") == []


def test_more_rows_of_an_id_than_a_proof_shows(tmp_path, monkeypatch):
    made = version(tmp_path, {"id": ["a"] * 5 + ["b"], "note": ["x" * 400] * 6})
    monkeypatch.setattr(rowproof, "MAX_ROWS", 4)
    refused(made, ["a"], "E_TOO_LARGE")
    monkeypatch.setattr(rowproof, "MAX_ROWS", 5)
    monkeypatch.setattr(canonical, "MAX_BYTES", 1000)
    assert "5 rows" in refused(made, ["a"], "E_TOO_LARGE").text


# Values and their one text.

TEXTS = [
    (Column("d", "decimal", precision=5, scale=2), ["0.00", "-1.20", "999.99"],
     ["-0.00", "1.2", "1000.00", "NaN", "Infinity", "1E+2", "０.00", " 1.20", "1_0.00", ""]),
    (Column("f", "float64"), ["0.0", "-0.0", "1e+300", "0.1"], ["nan", "inf", "-inf", "1", "0.10", "1e300", ""]),
    (Column("i", "int64"), ["0", "-5", str(2**63 - 1)], ["-0", "+5", "05", str(2**63), "1_0", "x", "9" * 5000, ""]),
    (Column("b", "bool"), ["true", "false"], ["True", "1", ""]),
    (Column("t", "date"), ["2026-01-31", "0001-01-01", "9999-12-31", "2932897"],
     ["2026-1-31", "0", "2026-02-30", "2026-W05-6", "-1", "99999999999", ""]),
    (Column("m", "timestamp"), ["2026-01-31T23:59:59.000000", str(2**63 - 1), str(-(2**63))],
     ["2026-01-31T23:59:59", "0", "2026-01-31T23:59:59.000000+00:00", str(2**63), ""]),
    (Column("s", "string"), ["", "ü中\0", " "], ["\ud800"]),
]  # fmt: skip


@pytest.mark.parametrize(("column", "good", "bad"), TEXTS, ids=lambda v: getattr(v, "type", None))
def test_a_value_has_one_text(column, good, bad):
    for words in good:
        assert text(value(words, column), column) == words
    for words in bad:
        with pytest.raises(AtollError) as caught:
            value(words, column)
        assert caught.value.code == "E_FORMAT"


@given(st.decimals(min_value=-999, max_value=999, places=2))
def test_decimals_keep_their_scale(number):
    column = Column("d", "decimal", precision=5, scale=2)
    words = text(number, column)
    if number == 0:
        words = "0.00"
    assert value(words, column) == number == Decimal(words)


def test_a_report_says_what_is_proved_in_two_languages(made):
    for name in ("s5", "nobody"):
        read = verify_proof(make_proof(made, [name]), made.digest)
        assert made.digest in read.lines("en")[0]
        assert made.digest in read.lines("zh")[0]
        assert len(read.lines("en")) == len(read.lines("zh"))
        assert json.loads(json.dumps(read.to_json()))["outcome"] == read.outcome
