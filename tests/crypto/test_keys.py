"""Key digests of Arrow tables."""

from __future__ import annotations

import datetime
import hashlib
import struct
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto.keys import NO_KEY, KeySet, key_digests
from atoll.errors import AtollError


def rows_of(keys: KeySet) -> list[bytes | None]:
    """The digest of every row."""
    indices = struct.unpack(f"<{keys.n_rows}I", keys.rows)
    return [None if i == NO_KEY else keys.digests[32 * i : 32 * i + 32] for i in indices]


def digests(values: list[object], kind: pa.DataType, *steps: str) -> list[bytes | None]:
    return rows_of(key_digests(pa.table({"k": pa.array(values, kind)}), ["k"], {"k": list(steps)}))


def text_digest(*values: str) -> bytes:
    body = b"atoll key v1" + struct.pack("<I", len(values))
    for value in values:
        body += b"\x01" + struct.pack("<Q", len(value.encode())) + value.encode()
    return hashlib.sha256(body).digest()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "ab", "é", "", None]), st.sampled_from(["b", "", None])), max_size=40
    ),
    st.integers(1, 3),
    st.integers(0, 5),
    st.sampled_from(["string", "large", "dictionary", "view", "chunked"]),
)
def test_rows_have_the_digest_of_their_tuple_in_every_layout(pairs, threads, start, layout):
    kinds = {"large": pa.large_string(), "view": pa.string_view()}
    first = pa.array([a for a, _ in pairs], kinds.get(layout, pa.string()))
    if layout == "dictionary":
        first = first.dictionary_encode()
    if layout == "chunked":
        first = pa.chunked_array([first[:3], first[3:]], pa.string())
    table = pa.table({"a": first, "b": pa.array([b for _, b in pairs], pa.string())}).slice(start)
    keys = key_digests(table, ["a", "b"], threads=threads)
    want = [None if None in pair else text_digest(*pair) for pair in pairs[start:]]
    assert rows_of(keys) == want
    unique = list(dict.fromkeys(d for d in want if d))
    assert keys.digests == b"".join(unique)
    assert keys.multiplicity == struct.pack(f"<{len(unique)}I", *(want.count(d) for d in unique))
    assert (keys.n_null, keys.duplicates) == (want.count(None), sum(want.count(d) > 1 for d in unique))


def test_sliced_columns_of_every_type_equal_their_copies():
    values = {
        pa.int64(): [1, None, -5, 2**62],
        pa.int32(): [1, None, -5, 7],
        pa.int16(): [1, None, -5, 7],
        pa.bool_(): [True, None, False, True],
        pa.date32(): [datetime.date(2026, 1, 1), None, datetime.date(1969, 1, 1), datetime.date(2000, 2, 29)],
        pa.decimal128(20, 3): [Decimal("1.500"), None, Decimal("-2"), Decimal("0")],
        pa.timestamp("us"): [1, None, -5, 7],
        pa.timestamp("ms", "UTC"): [1, None, -5, 7],
        pa.string(): ["x", None, "yy", "zzz"],
    }
    for kind, column in values.items():
        long = pa.array(column * 5, kind)
        for start in (0, 1, 7, 9):
            part = key_digests(pa.table({"k": long.slice(start, 6)}), ["k"])
            copy = key_digests(pa.table({"k": pa.array((column * 5)[start : start + 6], kind)}), ["k"])
            assert (part.digests, part.rows) == (copy.digests, copy.rows), kind
            assert part.n_unique == len(set(column) - {None})
            assert part.n_null in (1, 2)


def test_equal_values_join_across_scales_and_widths_but_never_across_types():
    assert digests([Decimal("5.00")], pa.decimal128(9, 2)) == digests([Decimal(5)], pa.decimal128(5, 0))
    assert digests([5], pa.int32()) == digests([5], pa.int64()) == digests([5], pa.uint8())
    assert digests([7000], pa.timestamp("us")) == digests([7], pa.timestamp("ms"))
    kinds = [pa.int64(), pa.decimal128(5, 0), pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.date32()]
    seen = [digests([5], kind)[0] for kind in kinds] + [digests(["5"], pa.string())[0]]
    assert len(set(seen)) == len(seen)


def test_normalisation_makes_the_same_person_the_same_key():
    same = digests(["+86 138-0013-8000", "13800138000", "１３８００１３８０００"], pa.string(), "phone_cn")
    assert set(same) == {text_digest("13800138000")}
    ids = digests(["110105491231002", " 11010519491231002x"], pa.string(), "id_cn")
    assert set(ids) == {text_digest("11010519491231002X")}
    assert digests([" ＡB "], pa.string(), "trim", "width", "lower") == [text_digest("ab")]


def test_a_value_that_cannot_be_normalised_names_its_row_or_has_no_key():
    good = ["13800138000"] * 70_000
    table = pa.table({"phone": [*good, "12", "x"]})
    with pytest.raises(AtollError, match="column phone, row 70000") as caught:
        key_digests(table, ["phone"], {"phone": ["phone_cn"]}, threads=2)
    assert caught.value.code == "E_DATA"
    keys = key_digests(table, ["phone"], {"phone": ["phone_cn"]}, on_invalid="no_key")
    assert (keys.n_unique, keys.n_null, keys.n_rows) == (1, 2, 70_002)


@pytest.mark.parametrize(
    ("kind", "columns", "steps", "code"),
    [
        (pa.float64(), ["k"], {}, "E_TYPE"),
        (pa.list_(pa.int64()), ["k"], {}, "E_TYPE"),
        (pa.int64(), ["k"], {"k": ["trim"]}, "E_TYPE"),
        (pa.string(), ["k"], {"k": ["reverse"]}, "E_FORMAT"),
        (pa.string(), ["other"], {}, "E_COLUMN"),
        (pa.string(), [], {}, "E_COLUMN"),
        (pa.string(), ["k", "k"], {}, "E_COLUMN"),
        (pa.string(), ["k"], {"other": ["trim"]}, "E_COLUMN"),
    ],
)
def test_unfit_requests_are_refused(kind, columns, steps, code):
    with pytest.raises(AtollError) as caught:
        key_digests(pa.table({"k": pa.array([None], kind)}), columns, steps)
    assert caught.value.code == code


def test_empty_tables_and_batches():
    empty = key_digests(pa.table({"k": pa.array([], pa.string())}), ["k"])
    assert (empty.digests, empty.rows, empty.n_null) == (b"", b"", 0)
    batches = pa.table({"k": ["a", "b", "a"]}).to_batches(max_chunksize=1)
    assert key_digests(iter(batches), ["k"]).n_unique == 2
    assert "digests" not in repr(empty)
