"""Sealed lookup against a mapping: hits, misses, new versions, and what either side makes of the other's messages."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll import AtollError
from atoll.crypto.lookup import ENCRYPTION_KEYS_BYTES, Asker, Holder, OneShotAsker, Products

SEEDS = (b"a" * 32, b"b" * 32)
LENGTH = 12


def digest(key: object) -> bytes:
    return hashlib.sha256(repr(key).encode()).digest()


def digests(keys) -> bytes:
    return b"".join(digest(key) for key in keys)


def record(value: int) -> bytes:
    return struct.pack("<Q", value).ljust(LENGTH, b"r")


def version(number: int) -> bytes:
    return number.to_bytes(16, "big")


def holder(table: dict, secret: bytes = b"s" * 32) -> Holder:
    return Holder(
        secret, SEEDS[0], 0, "c", version=version(0), matrix=b"m" * 32, digests=digests(table),
        records=b"".join(record(value) for value in table.values()), record_bytes=LENGTH, threads=1,
    )  # fmt: skip


class Pair:
    """Both sides, and what travelled between them."""

    def __init__(self, table: dict) -> None:
        self.holder = holder(table)
        self.hint = self.holder.hint()
        self.asker = Asker(self.holder.epoch, self.hint, SEEDS[1], 0, "c")
        self.number = 0
        self.sent: list[bytes] = []

    def keys(self, wanted) -> list:
        self.number += 1
        state, blinded = self.asker.blind(digests(wanted), self.number)
        evaluation = self.holder.evaluate(blinded, len(wanted), self.number)
        self.sent += [blinded, evaluation]
        return self.asker.finish(state, evaluation, range(len(wanted)))

    def columns(self, keys) -> list:
        asked = self.asker.queries(keys)
        answers = self.holder.answer([query for _, query in asked])
        self.sent += [query for _, query in asked] + answers
        return [(key, state, answer) for key, (state, _), answer in zip(keys, asked, answers, strict=True)]

    def read(self, *wanted) -> list:
        return [self.asker.open(*found) for found in self.columns(self.keys(wanted))]


TABLE = {key: 7 * key for key in range(500)}


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair(TABLE)


def test_hits_and_misses(pair: Pair) -> None:
    pair.asker.prepare(1, 3)
    assert pair.read(3, 499, 500, "3", 3) == [record(21), record(3493), None, None, record(21)]


tables = st.dictionaries(st.integers(0, 60), st.integers(0, 2**64 - 1), max_size=30)


def update(both: Pair, number: int, before: dict, after: dict) -> bool:
    """Takes the table to the next version; False if a column is full, and nothing changed."""
    gone = [key for key in before if key not in after]
    changed = {k: v for k, v in after.items() if before.get(k) != v}
    new = b"".join(record(v) for v in changed.values())
    try:
        delta = both.holder.update(version(number), digests(gone), digests(changed), new)
    except AtollError as error:
        if error.code != "E_TOO_LARGE":
            raise
        return False
    both.asker.prepare(1, 2)
    both.asker.apply(delta)
    count = (len(delta) - 32) // (4 + 2 * (20 + LENGTH))
    assert len(delta) == both.holder.epoch.delta_bytes(count)
    # A key that comes may stand where one went.
    assert max(len(gone), len(changed)) <= count <= len(gone) + len(changed)
    return True


@settings(max_examples=25, deadline=None)
@given(tables, st.lists(tables, max_size=3))
def test_versions_equal_a_mapping(first: dict, later: list[dict]) -> None:
    both = Pair(first)
    stands = first
    for number, table in enumerate([first, *later]):
        if not number or update(both, number, stands, table):
            stands = table
        assert both.holder.keys == len(stands)
        wanted = [*range(0, 61, 7), *stands, *table]
        assert both.read(*wanted) == [record(stands[k]) if k in stands else None for k in wanted]


def test_a_delta_names_cells_in_their_order_and_each_once() -> None:
    """Whatever the order in which keys go and come: it would tell the order of the holder's rows."""
    both = Pair(TABLE)
    gone, changed = list(range(40)), list(range(100, 140))
    delta = both.holder.update(
        version(1),
        digests(gone),
        digests([*changed, *range(1000, 1040)]),
        b"".join(map(record, range(80))),
    )
    size = 4 + 2 * (20 + LENGTH)
    cells = [struct.unpack_from("<I", delta, at)[0] for at in range(32, len(delta), size)]
    assert cells == sorted(set(cells))
    both.asker.apply(delta)
    assert both.read(0, 100, 139, 1039, 50) == [None, record(0), record(39), record(79), record(350)]


def whole(both: Pair) -> bytes:
    count = both.holder.epoch.columns
    return b"".join(both.holder.columns(first, min(7, count - first)) for first in range(0, count, 7))


def test_a_table_taken_whole_opens_as_its_columns_do_and_follows_changes() -> None:
    both = Pair({key: key for key in range(300)})
    with pytest.raises(AtollError, match="E_STATE"):
        both.asker.open_kept(both.keys([1])[0])
    table = whole(both)
    assert len(table) == both.holder.epoch.table_bytes
    both.asker.keep(table)
    for number in range(2):
        wanted = [0, 5, 299, 300, 301]
        found = both.read(*wanted)
        assert [both.asker.open_kept(key) for key in both.keys(wanted)] == found
        assert [one is not None for one in found] == (
            [True] * 3 + [False] * 2,
            [False, True, True, True, False],
        )[number]
        delta = both.holder.update(
            version(number + 1), digests([0 if not number else 5]), digests([300, 299]), record(1) * 2
        )
        both.asker.apply(delta)
    assert table != whole(both)
    for bad in (b"", table[:-1], table + b"x"):
        with pytest.raises(AtollError, match="E_FORMAT"):
            both.asker.keep(bad)
    for outside in ((0, both.holder.epoch.columns + 1), (2**62, 2**62)):
        with pytest.raises(AtollError, match="E_RANGE"):
            both.holder.columns(*outside)


def test_a_changed_table_answers_nothing_of_the_version_before() -> None:
    both = Pair({1: 1, 2: 2})
    (key,) = both.keys([1])
    ((state, query),) = both.asker.queries([key])
    delta = both.holder.update(version(1), b"", digests([1]), record(9))
    with pytest.raises(AtollError) as caught:
        both.holder.answer([query])
    assert caught.value.code == "E_STATE"
    both.asker.apply(delta)
    with pytest.raises(AtollError) as caught:
        both.asker.apply(delta)
    assert caught.value.code == "E_STATE"
    assert both.read(1) == [record(9)]
    with pytest.raises(AtollError) as caught:
        both.asker.open(key, state, b"")
    assert caught.value.code == "E_STATE"


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("E_NOT_FOUND", (version(1), digests([9]), b"", b"")),
        ("E_DUPLICATE", (version(1), digests([1]), digests([1]), record(1))),
        ("E_DUPLICATE", (version(1), b"", digests([5, 5]), record(1) * 2)),
        ("E_FORMAT", (version(1), b"", digests([5]), b"short")),
        ("E_FORMAT", (version(1), b"x", b"", b"")),
        ("E_STATE", (version(0), b"", digests([5]), record(5))),
    ],
    ids=["unknown", "named twice", "comes twice", "record", "digest", "same version"],
)
def test_changes_that_are_none_leave_everything(code: str, arguments: tuple) -> None:
    both = Pair({1: 1, 2: 2})
    with pytest.raises(AtollError) as caught:
        both.holder.update(*arguments)
    assert caught.value.code == code
    assert both.read(1, 2, 5) == [record(1), record(2), None]


def test_a_full_column_asks_for_another_epoch() -> None:
    both = Pair({1: 1})
    with pytest.raises(AtollError) as caught:
        both.holder.update(version(1), b"", digests(range(100, 5000)), b"".join(map(record, range(4900))))
    assert caught.value.code == "E_TOO_LARGE"
    assert both.read(1, 100) == [record(1), None]


def test_keys_that_come_twice_are_refused() -> None:
    for count in (2, 4000):
        with pytest.raises(AtollError) as caught:
            Holder(
                b"s" * 32, SEEDS[0], 0, "c", version=version(0), matrix=b"m" * 32, digests=digest(1) * count,
                records=record(1) * count, record_bytes=LENGTH,
            )  # fmt: skip
        assert caught.value.code == "E_DUPLICATE"


# A holder or an asker that breaks the rules.


def test_more_elements_than_calls_are_not_evaluated(pair: Pair) -> None:
    _, blinded = pair.asker.blind(digests([1, 2]), 5000)
    with pytest.raises(AtollError) as caught:
        pair.holder.evaluate(blinded, 1, 5000)
    assert caught.value.code == "E_QUOTA"


@pytest.mark.parametrize(
    "blinded", [b"", b"x" * 31, b"\xff" * 32, bytes(32)], ids=["none", "short", "no element", "identity"]
)
def test_bytes_that_are_no_elements_are_refused(pair: Pair, blinded: bytes) -> None:
    with pytest.raises(AtollError) as caught:
        pair.holder.evaluate(blinded, 1, 5001)
    assert caught.value.code == "E_PROTOCOL"


def test_an_evaluation_under_another_key_is_noticed(pair: Pair) -> None:
    other = holder(TABLE, b"t" * 32)
    state, blinded = pair.asker.blind(digests([1, 2]), 5002)
    wrong = other.evaluate(blinded, 2, 1)
    with pytest.raises(AtollError) as caught:
        pair.asker.finish(state, wrong, [0, 1])
    assert caught.value.code == "E_PROTOCOL"
    with pytest.raises(AtollError) as caught:
        pair.asker.finish(state, pair.holder.evaluate(blinded, 2, 5002), [0, 1])
    assert caught.value.code == "E_STATE"


@pytest.mark.parametrize("at", [0, 40, 64, 100])
def test_a_flipped_bit_of_an_evaluation_is_noticed(pair: Pair, at: int) -> None:
    state, blinded = pair.asker.blind(digests([1, 2]), 5100 + at)
    good = pair.holder.evaluate(blinded, 2, 5100 + at)
    bad = good[:at] + bytes([good[at] ^ 2]) + good[at + 1 :]
    with pytest.raises(AtollError) as caught:
        pair.asker.finish(state, bad, [0, 1])
    assert caught.value.code == "E_PROTOCOL"


@pytest.mark.parametrize("length", [0, 63, 64, 96, 160])
def test_an_evaluation_of_another_length_is_refused(pair: Pair, length: int) -> None:
    state, blinded = pair.asker.blind(digests([1, 2]), 5300 + length)
    evaluation = pair.holder.evaluate(blinded, 2, 5300 + length).ljust(length, b"\0")[:length]
    with pytest.raises(AtollError) as caught:
        pair.asker.finish(state, evaluation, [0, 1])
    assert caught.value.code == "E_PROTOCOL"


def test_some_of_the_keys_can_be_evaluated(pair: Pair) -> None:
    state, blinded = pair.asker.blind(digests([1, 2, 3]), 5500)
    evaluation = pair.holder.evaluate(blinded[:32] + blinded[64:], 2, 5500)
    keys = pair.asker.finish(state, evaluation, [0, 2])
    pair.number = 5500
    assert [pair.asker.open(*found) for found in pair.columns(keys)] == [record(7), record(21)]
    state, _ = pair.asker.blind(digests([1]), 5501)
    with pytest.raises(AtollError) as caught:
        pair.asker.finish(state, evaluation, [1])
    assert caught.value.code == "E_RANGE"


def test_a_spoiled_cell_is_a_miss_and_a_wrong_length_is_refused(pair: Pair) -> None:
    ((key, state, answer),) = pair.columns(pair.keys([4]))
    # Every cell of the answered column is shifted by one half of its range.
    words = np.frombuffer(answer, "<u4", offset=16) + np.uint32(1 << 31)
    assert pair.asker.open(key, state, answer[:16] + words.tobytes()) is None
    ((key, state, answer),) = pair.columns(pair.keys([4]))
    with pytest.raises(AtollError) as caught:
        pair.asker.open(key, state, answer + bytes(4))
    assert caught.value.code == "E_FORMAT"


def test_an_epoch_that_is_none_is_refused(pair: Pair) -> None:
    from dataclasses import replace

    epoch = pair.holder.epoch
    for changes in ({"columns": 31}, {"cells": 0}, {"record_bytes": 5000}, {"columns": 1 << 20}):
        with pytest.raises(AtollError) as caught:
            Asker(replace(epoch, **changes), pair.hint, SEEDS[1], 0, "c")
        assert caught.value.code in ("E_RANGE", "E_FORMAT")
    with pytest.raises(AtollError) as caught:
        Asker(epoch, pair.hint[:-4], SEEDS[1], 0, "c")
    assert caught.value.code == "E_FORMAT"


# What the messages tell.


def test_the_holder_sees_the_same_of_a_hit_and_of_a_miss(pair: Pair) -> None:
    """Number and lengths are equal, and the bytes are uniform in both cases: a chi-square test over byte values."""

    def sent(*wanted) -> list[bytes]:
        pair.sent = []
        pair.read(*wanted)
        # Blinded elements and queries are the asker's; what follows a query's version is LWE.
        return [pair.sent[0], *(message[16:] for message in pair.sent[2 : 2 + len(wanted)])]

    hit, miss = sent(*range(8)), sent(*range(1000, 1008))
    assert [len(m) for m in hit] == [len(m) for m in miss]
    for messages in (hit, miss):
        counts = np.bincount(np.frombuffer(b"".join(messages[1:]), np.uint8), minlength=256)
        expected = counts.sum() / 256
        # 255 degrees of freedom: above 400 with probability below 1e-8.
        assert ((counts - expected) ** 2 / expected).sum() < 400
    columns = list(pair.keys([1, 1]))
    pair.number += 1
    first, second = pair.columns(columns)
    assert first[2] != second[2], "two questions for one key share nothing"


def test_the_table_does_not_come_out_of_what_an_asker_holds() -> None:
    """All columns, all deltas: cells of keys that were not asked look like cells of none."""
    secret = dict.fromkeys(range(300), 1234605616436508552)
    both = Pair(secret)
    asked = both.keys([5])[0]
    epoch = both.holder.epoch
    cell = 20 + LENGTH
    delta = both.holder.update(version(1), digests(range(50)), digests(range(100, 150)), record(1) * 50)
    both.asker.apply(delta)
    changes = [delta[at + 4 :][: 2 * cell] for at in range(32, len(delta), 4 + 2 * cell)]
    cells = [half for change in changes for half in (change[:cell], change[cell:])]
    assert len(cells) == 200
    # Nothing of a record shows, whatever the cells are combined with.
    for plain in (record(secret[0]), record(1)):
        assert not any(plain[:8] in one for one in cells)
        for one in cells:
            other = bytes(a ^ b for a, b in zip(one[20:], plain, strict=True))
            assert sum(other in two for two in cells) == 0
    body = np.frombuffer(b"".join(one[4:] for one in cells), np.uint8)
    counts = np.bincount(body, minlength=256)
    assert ((counts - len(body) / 256) ** 2 / (len(body) / 256)).sum() < 400
    # A key that was asked opens its own cell, and no other one of all columns.
    both.number += 1
    opened = 0
    for _, state, answer in both.columns([asked] * 2):
        opened += both.asker.open(asked, state, answer) is not None
    assert opened == 0, "key 5 was removed"
    assert epoch.columns * epoch.cells > 300


# Without a hint.


class OneShot:
    """Both sides without a hint."""

    def __init__(self, table: dict, kept_bytes: int = 1 << 30) -> None:
        self.holder = holder(table)
        self.products = Products(self.holder, kept_bytes)
        self.asker = OneShotAsker(self.holder.epoch, SEEDS[1], 0, "c")
        self.products.take_keys(self.asker.keys)
        self.number = 0

    def keys(self, wanted) -> list:
        self.number += 1
        state, blinded = self.asker.blind(digests(wanted), self.number)
        return self.asker.finish(
            state, self.holder.evaluate(blinded, len(wanted), self.number), range(len(wanted))
        )

    def read(self, *wanted) -> list:
        keys = self.keys(wanted)
        answers = self.products.answer(self.asker.questions(keys))
        return [self.asker.open(key, answer) for key, answer in zip(keys, answers, strict=True)]


@pytest.mark.parametrize("kept_bytes", [1 << 30, 0])
def test_hits_and_misses_without_a_hint(kept_bytes: int) -> None:
    both = OneShot(TABLE, kept_bytes)
    assert both.read(3, 499, 500, "3", 3) == [record(21), record(3493), None, None, record(21)]
    delta = both.holder.update(version(1), digests([3]), digests([499, 500]), record(1) + record(2))
    both.products.apply(delta)
    with pytest.raises(AtollError) as caught:
        both.read(3)
    assert caught.value.code == "E_STATE"
    both.asker.renew(version(1))
    assert both.read(3, 499, 500, 4) == [None, record(1), record(2), record(28)]


def test_lengths_without_a_hint_are_those_that_an_epoch_names() -> None:
    both = OneShot(TABLE)
    epoch = both.holder.epoch
    questions = both.asker.questions(both.keys([1, 2]))
    assert [len(one) for one in questions] == [epoch.question_bytes] * 2
    assert {len(one) for one in both.products.answer(questions)} == {epoch.whole_answer_bytes}
    assert both.asker._core.sizes() == (epoch.question_bytes, epoch.whole_answer_bytes)
    assert len(both.asker.keys) == ENCRYPTION_KEYS_BYTES
    # A secret of its own for each: no question is sent twice.
    assert questions[0][-64:] != questions[1][-64:]
    assert both.asker.questions(both.keys([1]))[0] != questions[0]


def test_what_is_malformed_without_a_hint_is_refused() -> None:
    both = OneShot(TABLE)
    keys = both.keys([1])
    (question,) = both.asker.questions(keys)
    (answer,) = both.products.answer([question])
    for bad, code in [
        (question[:-1], "E_FORMAT"),
        (question + b"x", "E_FORMAT"),
        (b"x" + question[1:], "E_STATE"),
        (question[:-11] + b"\xff" * 11, "E_FORMAT"),
    ]:
        with pytest.raises(AtollError) as caught:
            both.products.answer([question, bad])
        assert caught.value.code == code
    for bad, code in [(answer[:-1], "E_FORMAT"), (b"x" + answer[1:], "E_STATE"), (b"", "E_FORMAT")]:
        with pytest.raises(AtollError) as caught:
            both.asker.open(keys[0], bad)
        assert caught.value.code == code
    for bad in (b"", both.asker.keys[:-1], both.asker.keys[:-11] + b"\xff" * 11):
        with pytest.raises(AtollError) as caught:
            both.products.take_keys(bad)
        assert caught.value.code == "E_FORMAT"
    with pytest.raises(AtollError) as caught:
        Products(both.holder, 0).answer([question])
    assert caught.value.code == "E_STATE"
    with pytest.raises(AtollError) as caught:
        both.products.apply(b"x" * 32)
    assert caught.value.code == "E_STATE"
    assert both.asker.open(keys[0], answer) == record(7)
