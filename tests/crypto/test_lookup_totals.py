"""Shapes of sealed tables, and the words of tables: against exact chances, plain loops, and what must not be taken."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto.keys import key_digests
from atoll.crypto.lookup_totals import MOST_CELLS, Sealed, column_of, shape_for
from atoll.errors import AtollError
from atoll.functions.context import LocalInput
from atoll.functions.query_totals.words import Source, Sums, fits, plain_total, signed

SEED = b"s" * 32


def drawn(keys: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(32 * keys)


@pytest.mark.parametrize("keys", [0, 1, 64, 65, 128, 129, 1000, 20_000])
def test_no_column_of_a_random_table_overflows(keys: int) -> None:
    for seed in range(3):
        shape = shape_for(keys, 1)
        sealed = Sealed(SEED, seed, "c", shape)
        table = sealed.table(drawn(keys, seed), bytes(8 * keys))
        assert len(table) == shape.table_bytes == shape.columns * shape.column_bytes


def test_tables_of_up_to_64_keys_look_alike() -> None:
    assert {shape_for(keys, 2) for keys in range(65)} == {shape_for(64, 2)}
    assert shape_for(65, 2) != shape_for(64, 2)


def tail(keys: int, columns: int, cells: int) -> Fraction:
    """The exact chance that more than `cells` of `keys` fall into one column of so many."""
    total = Fraction(0)
    for n in range(cells + 1, keys + 1):
        total += Fraction(math.comb(keys, n) * (columns - 1) ** (keys - n), columns**keys)
    return total


@pytest.mark.parametrize("keys", [65, 100, 129, 200, 500, 1500])
def test_a_column_overflows_with_less_than_the_wanted_chance_and_not_far_less(keys: int) -> None:
    shape = shape_for(keys, 1)
    assert shape.columns * tail(keys, shape.columns, shape.cells) < Fraction(1, 2**40)
    # Chernoff's bound is not so loose that cells are wasted: an eighth fewer would not do for large tables.
    if keys >= 500:
        fewer = shape.cells - shape.cells // 8
        assert shape.columns * tail(keys, shape.columns, fewer) > Fraction(1, 2**40)


@given(st.integers(0, 1 << 24), st.integers(1, 16))
def test_shapes_are_of_allowed_sizes(keys: int, words: int) -> None:
    shape = shape_for(keys, words)
    assert shape.columns * shape.cells >= keys
    assert 64 <= shape.cells <= MOST_CELLS
    assert shape.columns <= 1 << 18
    assert 1 <= shape.prepared <= 128
    assert shape.blocks == math.ceil((1 + words) / 2)


def test_a_key_twice_and_a_column_that_overflows_are_refused() -> None:
    sealed = Sealed(SEED, 1, "c", shape_for(1, 1))
    for digests, code in ((drawn(1, 1) * 2, "E_DUPLICATE"), (drawn(65, 1), "E_TOO_LARGE")):
        with pytest.raises(AtollError) as caught:
            sealed.table(digests, bytes(len(digests) // 4))
        assert caught.value.code == code


def test_a_column_follows_from_key_and_salt_and_is_one_of_all() -> None:
    counts = np.zeros(7, int)
    keys = drawn(7000, 5)
    for at in range(0, len(keys), 32):
        counts[column_of(keys[at : at + 32], bytes(16), 7)] += 1
    assert counts.sum() == 7000
    # Six degrees of freedom: above 60 with a chance below 1e-10.
    assert ((counts - 1000) ** 2 / 1000).sum() < 60


# Words.

VALUES = [
    {"column": "debt", "as": "debt", "scale": 2, "range": ["-100000", "100000"]},
    {"column": "loans", "as": "loans", "scale": 0, "range": ["-9", "9"]},
]
rows = st.lists(
    st.tuples(
        st.sampled_from([None, "a", "b", "c", "d"]), st.integers(-100_000, 100_000), st.integers(-9, 9)
    ),
    max_size=12,
)


def source(values: list[dict[str, Any]], most: int, count_rows: bool, count_holders: bool) -> Source:
    return Source("in0", ["k"], {"k": []}, values, most, count_rows, count_holders)


def local(folder: Path, found: list[tuple[str | None, int, int]]) -> LocalInput:
    file = folder / "t.parquet"
    table = pa.table(
        {
            "k": pa.array([row[0] for row in found], pa.string()),
            "debt": pa.array([row[1] for row in found], pa.int64()).cast(pa.decimal128(38, 0)),
            "loans": pa.array([row[2] for row in found], pa.int64()),
        }
    )
    hundredths = pa.array(
        [None if v is None else v.scaleb(-2) for v in table["debt"].to_pylist()], pa.decimal128(18, 2)
    )
    pq.write_table(table.set_column(1, "debt", hundredths), file)
    return LocalInput("in0", "debts", file, folder, "v1", None)


@settings(max_examples=60)
@given(rows, st.booleans(), st.booleans(), st.booleans())
def test_words_are_what_a_plain_loop_adds_up(
    tmp_path_factory: pytest.TempPathFactory,
    found: list[tuple[str | None, int, int]],
    valued: bool,
    count_rows: bool,
    count_holders: bool,
) -> None:
    if not valued and not count_rows and not count_holders:
        count_holders = True
    wanted = source(VALUES if valued else [], 12, count_rows, count_holders)
    sums = wanted.read(local(tmp_path_factory.mktemp("t"), found), "n6", "bob", 1)
    got = {}
    for at in range(len(sums.digests) // 32):
        part = sums.words[8 * wanted.words * at : 8 * wanted.words * (at + 1)]
        got[sums.digests[32 * at : 32 * at + 32]] = [
            signed(int.from_bytes(part[i : i + 8], "little")) for i in range(0, len(part), 8)
        ]
    plain = {}
    for key in {row[0] for row in found} - {None}:
        mine = [row for row in found if row[0] == key]
        numbers = [sum(row[1] for row in mine), sum(row[2] for row in mine)] * valued
        digest = key_digests(pa.table({"k": [key]}), ["k"]).digests
        plain[digest] = numbers + [len(mine)] * count_rows + [1] * count_holders
    assert got == plain


def test_a_key_on_more_rows_than_the_plan_says_names_the_first_row_too_many(tmp_path: Path) -> None:
    found: list[tuple[str | None, int, int]] = [("a", 1, 1), ("b", 1, 1), ("a", 1, 1), ("a", 1, 1)]
    assert source(VALUES, 3, True, True).read(local(tmp_path, found), "n6", "bob", 1).words
    with pytest.raises(AtollError) as caught:
        source(VALUES, 2, True, True).read(local(tmp_path, found), "n6", "bob", 1)
    assert caught.value.code == "E_DUPLICATE"
    assert "row 4 has a key that stands on 3 rows" in caught.value.text


@given(st.permutations(range(5)), st.integers(0, 4), st.integers(0, 7))
def test_sums_are_the_same_in_any_order_and_no_other(order: list[int], at: int, bit: int) -> None:
    keys = [bytes([n]) * 32 for n in range(5)]
    words = [bytes([n]) * 16 for n in range(5)]
    one = Sums(b"".join(keys), b"".join(words))
    other = Sums(b"".join(keys[n] for n in order), b"".join(words[n] for n in order))
    assert one.same(other)
    assert other.same(one)
    changed = list(words)
    changed[at] = bytes([words[at][0] ^ 1 << bit]) + words[at][1:]
    assert not one.same(Sums(b"".join(keys), b"".join(changed)))
    assert not one.same(Sums(b"".join([b"x" * 32, *keys[1:]]), b"".join(words)))
    assert not one.same(Sums(b"".join(keys[1:]), b"".join(words[1:])))
    assert Sums(b"", b"").same(Sums(b"", b""))


PARAMETERS = {
    "holders": ["x", "y"], "rows": 3, "count_rows": True, "count_holders": True,
    "values": [[{"range": ["-5", "10"]}], [{"range": ["2", "20"]}]],
}  # fmt: skip


@pytest.mark.parametrize(
    ("totals", "expected"),
    [
        ([0, 0, 0], True), ([90, 6, 2], True), ([-15, 1, 1], True), ([91, 1, 1], False), ([-16, 1, 1], False),
        ([0, 7, 1], False), ([0, -1, 1], False), ([0, 0, 3], False), ([0, 0, -1], False),
    ],
)  # fmt: skip
def test_totals_fit_what_honest_holders_can_have(totals: list[int], expected: bool) -> None:
    assert fits(totals, PARAMETERS) is expected


@given(st.integers(-(2**63), 2**63 - 1))
def test_words_are_signed_numbers(number: int) -> None:
    assert signed(number % 2**64) == number


def test_totals_are_told_as_json_has_them() -> None:
    assert [plain_total(-5, 2), plain_total(7549, 2), plain_total(0, 2), plain_total(7, 0), plain_total(7, None)] == [
        "-0.05", "75.49", "0.00", 7, 7,
    ]  # fmt: skip
