"""Records of a lookup: rows and back, what a lying holder may write into one, and changes between two tables."""

from __future__ import annotations

import datetime as dt
import json
import math
import random
import struct
from decimal import Decimal
from pathlib import Path
from typing import Any

import cbor2
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto.keys import key_digests
from atoll.data.snapshot import create
from atoll.data.sources import open_source
from atoll.errors import AtollError
from atoll.functions.query.columns import encode_batch
from atoll.functions.query.records import (
    Changes,
    Records,
    decode_rows,
    differences,
    encode_rows,
    fits,
    read_records,
)

LENGTH = 96


def framed(body: bytes, length: int = LENGTH) -> bytes:
    """A record with any body."""
    return (struct.pack("<H", len(body)) + body).ljust(length, b"\0")


# Rows and back.

VALUES: dict[str, tuple[pa.DataType, Any, Any]] = {
    "string": (pa.string(), "岛 é", "岛 é"),
    "empty string": (pa.string(), "", ""),
    "int64": (pa.int64(), -(2**63), -(2**63)),
    "largest int64": (pa.int64(), 2**63 - 1, 2**63 - 1),
    "decimal": (pa.decimal128(38, 4), Decimal("-12345678901234567890.1200"), "-12345678901234567890.1200"),
    "float64": (pa.float64(), 0.1, 0.1),
    "whole float64": (pa.float64(), -0.0, -0.0),
    "infinity": (pa.float64(), -math.inf, "-inf"),
    "bool": (pa.bool_(), True, True),
    "date": (pa.date32(), dt.date(2026, 11, 27), "2026-11-27"),
    "timestamp": (pa.timestamp("us"), dt.datetime(2026, 11, 27, 8, 0, 0, 1), "2026-11-27T08:00:00.000001"),
    "timestamp with a zone": (
        pa.timestamp("us", "UTC"),
        dt.datetime(2026, 11, 27, 8, tzinfo=dt.UTC),
        "2026-11-27T08:00:00+00:00",
    ),
    "null": (pa.int64(), None, None),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_record_fits_its_columns_types_alone(name: str) -> None:
    kind, value, plain = VALUES[name]
    types = {"string": "string", "int64": "int64", "double": "float64", "bool": "bool", "date32[day]": "date"}
    own = types.get(str(kind), "decimal" if pa.types.is_decimal(kind) else "timestamp")
    record = encode_rows([[pa.array([value], kind).to_pylist()[0]]], LENGTH)
    assert record is not None
    assert fits(record, [own], 1)
    assert fits(record, [own], 2)
    for other in ("string", "int64", "float64", "bool"):
        alike = value is None or (other == own) or (other == "string" and type(plain) is str)
        assert fits(record, [other], 1) is alike
    assert not fits(record, [own, own], 1)
    two = encode_rows([[plain], [plain]], LENGTH)
    assert two is not None
    assert (fits(two, [own], 1), fits(two, [own], 2)) == (False, True)


@pytest.mark.parametrize("name", VALUES)
def test_values_of_every_type_come_back_as_plain_values(name: str) -> None:
    kind, value, plain = VALUES[name]
    given_value = pa.array([value], kind).to_pylist()[0]
    record = encode_rows([[given_value, "x"], ["y", given_value]], LENGTH)
    assert record is not None
    assert len(record) == LENGTH
    rows = decode_rows(record, 2)
    assert rows == [[plain, "x"], ["y", plain]]
    assert [type(row) for row in rows[0]] == [type(plain), str]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


columns = st.sampled_from(
    [
        (pa.int64(), st.integers(-(2**63), 2**63 - 1)), (pa.int64(), st.integers(-300, 70000)),
        (pa.bool_(), st.booleans()), (pa.string(), st.text(max_size=30)),
        (pa.string(), st.text(min_size=20, max_size=300)),
        (pa.date32(), st.dates()), (pa.timestamp("us"), st.datetimes()), (pa.float64(), st.floats()),
        (pa.decimal128(20, 3), st.decimals(-(10**16), 10**16, places=3)),
    ]
)  # fmt: skip


@settings(max_examples=60)
@given(st.data(), st.integers(1, 30), st.integers(0, 40), st.integers(0, 3))
def test_batches_are_encoded_as_single_rows_are(data: Any, width: int, height: int, skipped: int) -> None:
    drawn = [data.draw(columns) for _ in range(width)]
    arrays = [
        pa.array(data.draw(st.lists(st.none() | values, min_size=height, max_size=height)), kind)
        for kind, values in drawn
    ]
    names = [f"c{n}" for n in range(width)]
    batch = pa.record_batch(arrays, names=names).slice(min(skipped, height))
    rows = [list(row.values()) for row in batch.to_pylist()]
    single = [encode_rows([row], 2000) for row in rows]
    length = data.draw(st.sampled_from([2000, 60]))
    found, misfit = encode_batch(batch, names, length)
    assert found.shape == (len(rows), length)
    lengths = [len(cbor2.dumps(cbor2.loads(one[2:]))) + 2 if one else 2001 for one in single]
    fits = [size <= length for size in lengths]
    assert misfit == (None if all(fits) else fits.index(False))
    if misfit is None:
        assert [bytes(row) for row in found] == [encode_rows([row], length) for row in rows]


plain_values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
)
tables = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(plain_values, min_size=width, max_size=width), min_size=1, max_size=5)
)


@given(tables)
def test_rows_fit_to_the_byte_and_come_back(rows: list[list[Any]]) -> None:
    least = 2 + len(cbor2.dumps(rows))
    assert encode_rows(rows, least - 1) is None
    for length in (least, least + 7):
        record = encode_rows(rows, length)
        assert record is not None
        assert len(record) == length
        assert decode_rows(record, len(rows[0])) == rows
        assert decode_rows(record, len(rows[0]) + 1) is None


# What a holder may write who lies.

GOOD = cbor2.dumps([["a", 1]])
MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "half a length": b"\x01",
    "no body": framed(b""),
    "cut": framed(GOOD[:-1]),
    "longer than the record": struct.pack("<H", LENGTH) + GOOD.ljust(LENGTH - 2, b"\0"),
    "junk after its rows": framed(GOOD + b"\0"),
    "junk after its end": framed(GOOD)[:-1] + b"\x01",
    "no row": framed(cbor2.dumps([])),
    "a row of fewer values": framed(cbor2.dumps([["a", 1], ["a"]])),
    "a row of more values": framed(cbor2.dumps([["a", 1, 2]])),
    "a row that is text": framed(cbor2.dumps(["ab"])),
    "no list": framed(cbor2.dumps({"a": 1})),
    "a list for a value": framed(cbor2.dumps([["a", [1]]])),
    "a mapping for a value": framed(cbor2.dumps([["a", {}]])),
    "bytes for a value": framed(cbor2.dumps([["a", b"b"]])),
    "an integer beyond 64 bits": framed(cbor2.dumps([["a", 2**64]])),
    "an integer that no column holds": framed(cbor2.dumps([["a", 2**63]])),
    "a negative one": framed(cbor2.dumps([["a", -(2**63) - 1]])),
    "an integer of ten thousand digits": framed(b"\x81\x82\x61a\xc2\x59\x10\x00" + b"\xff" * 4096, 4200),
    "not a number": framed(cbor2.dumps([["a", math.nan]])),
    "infinity": framed(cbor2.dumps([["a", -math.inf]])),
    "a short float": framed(b"\x81\x82\x61a\xf9\x3c\x00"),
    "a number that is not shortest": framed(b"\x81\x82\x61a\x18\x01"),
    "a time": framed(b"\x81\x82\x61a\xc1\x00"),
    "a time that is none": framed(b"\x81\x82\x61a\xc0\x63abc"),
    "a time beyond all": framed(b"\x81\x82\x61a\xc1\xfb\x7f\xf0\0\0\0\0\0\0"),
    "a tag before text": framed(b"\x81\x82\x61a\xd9\xd9\xf7\x61b"),
    "a pattern": framed(b"\x81\x82\x61a\xd8\x23\x61("),
    "a fraction over none": framed(b"\x81\x82\x61a\xd8\x1e\x82\x01\x00"),
    "a large exponent": framed(b"\x81\x82\x61a\xc5\x82\x1b" + b"\x7f" * 8 + b"\x01"),
    "a list that holds itself": framed(b"\xd8\x1c\x81\xd8\x1d\x00"),
    "undefined": framed(b"\x81\x82\x61a\xf7"),
    "indefinite lengths": framed(b"\x9f\x82\x61a\x01\xff"),
    "no UTF-8": framed(b"\x81\x82\x61\xff\x01"),
    "half a character": framed(b"\x81\x82\x63\xed\xa0\x80\x01"),
    "a length beyond all": framed(b"\x9b" + b"\xff" * 8),
    "text beyond all": framed(b"\x81\x82\x7b\x7f" + b"\xff" * 7),
    "deeply nested": framed(b"\x81" * 4000 + b"\x01", 4096),
    "nested mappings": framed(b"\xa1" * 4000, 4096),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_record_that_no_holder_writes_is_none(name: str) -> None:
    assert decode_rows(framed(GOOD), 2) == [["a", 1]]
    assert decode_rows(MALFORMED[name], 2) is None


def read_any(record: bytes) -> None:
    """Whatever the bytes: no exception, and only what JSON can carry and what a holder would write so."""
    rows = decode_rows(record, 2)
    if rows is not None:
        json.dumps(rows, allow_nan=False)
        assert encode_rows(rows, len(record)) == record


nested = st.recursive(
    plain_values
    | st.binary(max_size=4)
    | st.integers()
    | st.floats()
    | st.datetimes(timezones=st.just(dt.UTC)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=8,
)


@given(st.binary(max_size=64) | nested.map(cbor2.dumps), st.binary(max_size=2))
def test_any_body_is_read_or_refused(body: bytes, after: bytes) -> None:
    read_any(framed(body + after, len(body) + len(after) + 9))


def test_random_heads_and_tags_are_read_or_refused() -> None:
    source = random.Random("records")
    for _ in range(20_000):
        tag = source.choice([b"", b"\xd8", b"\xd9", *(bytes([0xC0 + n]) for n in range(8))])
        read_any(framed(b"\x81\x82" + tag + source.randbytes(source.randrange(20))))


# From one table to the next.


def records(table: dict[int, int]) -> Records:
    keys = b"".join(bytes([key]) * 32 for key in table)
    return Records(keys, b"".join(struct.pack("<Q", value) for value in table.values()))


small = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), max_size=12).map(dict)


@given(small, small)
def test_differences_are_those_of_two_mappings(old: dict[int, int], new: dict[int, int]) -> None:
    found = differences(records(old), records(new))
    gone = [found.removed[at] for at in range(0, len(found.removed), 32)]
    changed = [found.digests[at] for at in range(0, len(found.digests), 32)]
    assert found.removed == b"".join(bytes([key]) * 32 for key in gone)
    assert sorted(gone) == sorted(old.keys() - new.keys())
    assert sorted(changed) == sorted(key for key in new if old.get(key) != new[key])
    assert found.records == b"".join(struct.pack("<Q", new[key]) for key in changed)


def test_digests_that_end_in_zeros_are_told_apart() -> None:
    """Keys are compared in all of their bytes, whatever these are."""
    a, b = bytes(31) + b"\x01", b"\x01" + bytes(31)
    old = Records(bytes(32) + a, b"01")
    assert differences(old, Records(b + bytes(32), b"20")) == Changes(a, b, b"2")


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_differences_of_large_tables(seed: int) -> None:
    source = np.random.default_rng(seed)
    numbers = source.permutation(3000)
    old = {n: n % 5 for n in numbers[:2000].tolist()}
    new = {n: n % 5 + (n % 7 == 0) for n in source.permutation(numbers[1000:]).tolist()}

    def of(table: dict[int, int]) -> Records:
        return Records(
            b"".join(n.to_bytes(32, "big") for n in table),
            b"".join(v.to_bytes(2, "big") for v in table.values()),
        )

    found = differences(of(old), of(new))
    named = {int.from_bytes(found.digests[at : at + 32], "big") for at in range(0, len(found.digests), 32)}
    assert named == {n for n in new if old.get(n) != new[n]}
    gone = {int.from_bytes(found.removed[at : at + 32], "big") for at in range(0, len(found.removed), 32)}
    assert gone == old.keys() - new.keys()


# Tables as they are stored.


@pytest.fixture
def store(tmp_path: Path) -> Any:
    def stored(columns: dict[str, Any]) -> Path:
        table = pa.table(columns)
        with open_source(table, work=tmp_path) as source:
            return create(source, tmp_path / "store", "t", now=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)).data

    return stored


def read(
    data: Path, values: list[str], rows: int = 1, length: int = LENGTH, steps: Any = None
) -> dict[bytes, Any]:
    """Rows by the digest of their key."""
    found = read_records(data, ["k"], steps or {}, values, rows=rows, length=length, threads=1)
    count = len(found.digests) // 32
    assert len(found.records) == count * length
    return {
        found.digests[32 * at : 32 * at + 32]: decode_rows(found.records[length * at :][:length], len(values))
        for at in range(count)
    }


def digest(key: str, steps: list[str] | None = None) -> bytes:
    return key_digests(pa.table({"k": [key]}), ["k"], {"k": steps} if steps else {}).digests


def test_each_key_has_the_record_of_its_row_and_a_row_without_key_none(store: Any) -> None:
    data = store({"k": ["a", None, "b", ""], "n": [1, 2, None, 4], "t": ["x", "y", "z", "岛"]})
    assert read(data, ["t", "n"]) == {
        digest("a"): [["x", 1]],
        digest("b"): [["z", None]],
        digest(""): [["岛", 4]],
    }


def test_a_table_without_keys_has_no_records(store: Any) -> None:
    data = store({"k": pa.array([None, None], pa.string()), "n": [1, 2]})
    assert read_records(data, ["k"], {}, ["n"], rows=1, length=LENGTH, threads=1) == Records(b"", b"")


def test_several_rows_of_a_key_stand_in_its_record_in_their_order(store: Any) -> None:
    data = store({"k": ["a", "b", "a", None, "c", "b", "a"], "n": list(range(7))})
    assert read(data, ["n"], rows=3) == {
        digest("a"): [[0], [2], [6]],
        digest("b"): [[1], [5]],
        digest("c"): [[4]],
    }


def test_rows_of_a_key_far_apart_are_brought_together(store: Any) -> None:
    """A table is read in batches; what waits for its other rows goes from one to the next."""
    count = 70_000
    keys = ["far", *(f"{i:08d}" for i in range(count)), "far"]
    data = store({"k": keys, "n": list(range(count + 2))})
    found = read(data, ["n"], rows=2, length=16)
    assert len(found) == count + 1
    assert found[digest("far")] == [[0], [count + 1]]
    assert found[digest("00069999")] == [[count]]


@pytest.mark.parametrize(("rows", "row"), [(1, 3), (2, 6)])
def test_a_key_on_more_rows_than_the_lookup_allows_names_its_row(store: Any, rows: int, row: int) -> None:
    data = store({"k": ["b", "a", "b" if rows == 1 else "c", None, "a", "a"], "n": list(range(6))})
    with pytest.raises(AtollError) as caught:
        read(data, ["n"], rows=rows)
    assert caught.value.code == "E_DUPLICATE"
    assert caught.value.column == "k"
    assert f"row {row} " in caught.value.text
    assert f"allows {rows}" in caught.value.text


def test_values_that_take_a_byte_too_much_name_their_row(store: Any) -> None:
    data = store({"k": ["a", None, "b"], "t": ["x" * 10, "y" * 99, "z" * 12]})
    # A length of two bytes, three heads of a byte, text.
    assert read(data, ["t"], length=17)[digest("b")] == [["z" * 12]]
    with pytest.raises(AtollError) as caught:
        read(data, ["t"], length=16)
    assert caught.value.code == "E_RANGE"
    assert caught.value.column == "t"
    assert caught.value.text.startswith("row 3: ")
    assert "record_bytes" in (caught.value.cure or "")


def test_rows_of_one_key_that_take_too_much_together_name_the_last(store: Any) -> None:
    data = store({"k": ["a", "b", "a"], "t": ["x" * 10, "y", "z" * 10]})
    with pytest.raises(AtollError) as caught:
        read(data, ["t"], rows=2, length=20)
    assert (caught.value.code, caught.value.text[:6]) == ("E_RANGE", "row 3:")


def test_keys_are_normalised_before_they_are_compared(store: Any) -> None:
    data = store({"k": [" Ab ", "cd"], "n": [1, 2]})
    steps = ["trim", "lower"]
    assert read(data, ["n"], steps={"k": steps}) == {digest("AB", steps): [[1]], digest("Cd ", steps): [[2]]}
    same = store({"k": ["ab", " AB"], "n": [1, 2]})
    with pytest.raises(AtollError) as caught:
        read(same, ["n"], steps={"k": steps})
    assert caught.value.code == "E_DUPLICATE"
    assert "row 2 " in caught.value.text


def test_a_value_may_be_the_key_column_itself(store: Any) -> None:
    data = store({"k": ["a", "b"], "n": [1, 2]})
    assert read(data, ["k", "n"]) == {digest("a"): [["a", 1]], digest("b"): [["b", 2]]}
