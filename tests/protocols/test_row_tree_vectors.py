"""Row trees and proofs of the product against the vectors, byte for byte."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from atoll.crypto import canonical
from atoll.crypto.rows import RECORD_BYTES
from atoll.data import rowproof, snapshot
from atoll.data.rowtree import RowRecords
from atoll.data.rowvalues import value, values
from atoll.data.schema import Schema
from atoll.data.sources import open_source
from atoll.errors import AtollError

ROOT = Path(__file__).resolve().parents[2]
VECTORS = json.loads((ROOT / "vectors" / "row_tree.json").read_text(encoding="utf-8"))
CASES = [pytest.param(case, id=case["name"]) for case in VECTORS["cases"]]
PROOFS = [
    pytest.param(case, proof, id=f"{case['name']}: {'+'.join(proof['id'])[:20]}")
    for case in VECTORS["cases"]
    for proof in case["proofs"]
]


def test_the_reference_makes_exactly_this_file():
    from reference import vectors

    assert vectors.render("row_tree.json") == (ROOT / "vectors" / "row_tree.json").read_text(encoding="utf-8")


def batch(case) -> tuple[Schema, pa.RecordBatch]:
    schema = Schema.from_json(case["version"]["schema"])
    columns = []
    for i, column in enumerate(schema):
        found = [None if row[i] is None else value(row[i], column) for row in case["rows"]]
        plain = {"date": pa.int32(), "timestamp": pa.int64()}.get(column.type, column.arrow)
        columns.append(pa.array(found, plain).cast(column.arrow))
        assert values(columns[-1], column) == found
    return schema, pa.RecordBatch.from_arrays(columns, schema=schema.arrow)


@pytest.mark.parametrize("case", CASES)
def test_records_and_root_are_those_of_the_reference(case, tmp_path):
    schema, rows = batch(case)
    with RowRecords(tmp_path, schema, case["key"], bytes.fromhex(case["secret"])) as records:
        # In two pieces, the second with an offset into its buffers.
        cut = rows.num_rows // 2
        found = records.push(rows.slice(0, cut)) + records.push(rows.slice(cut))
        made = [found[i : i + RECORD_BYTES].hex() for i in range(0, len(found), RECORD_BYTES)]
        assert made == case["records"]
        assert [records.salt(i).hex() for i in range(rows.num_rows)] == case["salts"]
        assert records.tag_key().hex() == case["tag_key"]
        assert records.root() == f"sha256:{case['row_root']}"
        assert records.key.document() == case["version"]["row_key"]


@pytest.mark.parametrize(("case", "proof"), [p for p in PROOFS if p.values[0]["rows"]])
def test_the_product_makes_the_proofs_of_the_reference(case, proof, tmp_path, monkeypatch):
    schema, rows = batch(case)
    monkeypatch.setattr(snapshot, "new_secret", lambda: bytes.fromhex(case["secret"]))
    with open_source(pa.Table.from_batches([rows]), work=tmp_path) as source:
        made = snapshot.create(
            source, tmp_path / "store", "t", now=datetime.now(UTC), schema=schema, key=case["key"]
        )
    found = canonical.loads(rowproof.make_proof(made, proof["id"], work=tmp_path))
    # The other tree, over chunks, has salts of its own.
    assert {**found, "version": None} == {**proof, "version": None}
    assert {**found["version"], "root": None} == {**case["version"], "root": None}


@pytest.mark.parametrize(("case", "proof"), PROOFS)
def test_proofs_of_the_reference_hold(case, proof):
    read = rowproof.verify_proof(canonical.dumps(proof), case["digest"])
    names = [c["name"] for c in case["columns"]]
    key = [names.index(name) for name in case["key"]]
    want = [row for row in case["rows"] if [row[i] for i in key] == proof["id"]]
    assert [list(row.values()) for row in read.rows] == want
    assert read.outcome == ("present" if want else "absent")


@pytest.mark.parametrize("bad", [pytest.param(b, id=b["name"]) for b in VECTORS["malformed"]])
def test_what_does_not_hold_is_refused(bad):
    with pytest.raises(AtollError) as caught:
        rowproof.verify_proof(bad["proof"].encode(), bad["digest"])
    assert caught.value.code == bad["code"]
