"""Lookups as they run: hits, misses, blocks, refusals of single keys, and tables that change meanwhile."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from atoll_lookup_world import ALICE, BOB, Lookup, body, kinds
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto import dsse
from atoll.crypto.suite import SigningKey
from atoll.crypto.wire import encode_body
from atoll.errors import AtollError
from atoll.functions.calls import read_book
from atoll.functions.context import Shown
from atoll.functions.query import asker, host, messages
from atoll.functions.query.records import Records, encode_rows, read_records

TABLE = {f"key {n}": 3 * n for n in range(200)}
Start = Callable[..., Lookup]


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_LOOK_SECONDS", 0.005)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts lookups, and ends those that a test left."""
    running: list[Lookup] = []

    def started(table: dict[str, int] | None = None, **options: Any) -> Lookup:
        folder = tmp_path / str(len(running))
        folder.mkdir()
        running.append(Lookup(folder, TABLE if table is None else table, **options))
        return running[-1]

    yield started
    for one in running:
        one.stop()


def test_hits_and_misses_of_one_and_of_many_keys(start: Start) -> None:
    lookup = start()
    assert lookup.ask("key 7").values == [21]
    assert lookup.ask("nobody").values == [None]
    wanted = ["key 0", "nobody", "key 199", "key 0", "", "key 1"]
    found = lookup.ask(*wanted)
    assert found.values == [TABLE.get(key) for key in wanted]
    assert found.errors == [None] * 6
    lookup.ended()
    assert lookup.released == [[ALICE]]
    assert lookup.outcomes[ALICE].rows == 1


def test_a_request_of_many_keys_is_fetched_in_groups_of_sixteen(start: Start) -> None:
    lookup = start()
    wanted = [f"key {n}" for n in range(180, 215)]
    assert lookup.ask(*wanted).values == [TABLE.get(key) for key in wanted]
    lookup.ended()
    sent = [body(message) for message in lookup.lines[BOB].received]
    assert [m["kind"] for m in sent] == ["calls", *["queries"] * 3, "close", "stop"]
    assert [len(m["queries"]) for m in sent[1:4]] == [16, 16, 3]


def test_a_table_without_keys_has_no_record_of_any(start: Start) -> None:
    lookup = start({})
    assert lookup.ask("key 1", "").values == [None, None]
    lookup.ended()


def test_both_books_hold_the_same_records_of_calls(start: Start) -> None:
    lookup = start()
    lookup.ask("key 1", "nobody")
    lookup.ask("key 2")
    lookup.ended()
    books = [read_book(lookup.books[party][0]) for party in (ALICE, BOB)]
    assert [kept.record for kept in books[0]] == [kept.record for kept in books[1]]
    assert len({json.loads(kept.record)["salt"] for kept in books[0]}) == 3
    assert [json.loads(kept.record)["call"] for kept in books[0]] == [1, 2, 3]


# Blocks.


def test_a_block_ends_before_a_request_that_it_has_no_room_for(start: Start) -> None:
    lookup = start(maximum_keys=4, block_calls=4)
    for count in (1, 2, 2, 4, 3):
        assert lookup.ask(*(f"key {n}" for n in range(count))).values == [3 * n for n in range(count)]
    lookup.ended()
    assert [calls for calls, _ in lookup.blocks[ALICE]] == [3, 2, 4, 3]
    # What the asker learns of a block waits for its own release.
    assert lookup.released == [[ALICE]] * 4


def test_a_block_ends_with_its_time_and_another_one_begins_with_a_call(start: Start) -> None:
    lookup = start()
    lookup.ask("key 1", "key 2")
    lookup.idle()
    assert lookup.ask("key 3").values == [9]
    lookup.idle()
    lookup.ended()
    assert [calls for calls, _ in lookup.blocks[ALICE]] == [2, 1]
    assert len({root for _, root in lookup.blocks[ALICE]}) == 2


def test_a_block_without_calls_is_closed_too(start: Start) -> None:
    lookup = start()
    lookup.idle()
    assert lookup.ask("key 3").values == [9]
    lookup.ended()
    assert [calls for calls, _ in lookup.blocks[BOB]] == [0, 1]


def test_a_call_before_the_table_is_sealed_waits_for_it(start: Start) -> None:
    """The node refuses calls until then; one that it let pass all the same is answered."""
    sealed, early = threading.Event(), threading.Event()

    def wait(step: str, message: bytes) -> list[bytes]:
        early.set()
        assert sealed.wait(30)
        return [message]

    lookup = start(bend_bob=wait)
    assert early.wait(30)
    threading.Timer(0.2, sealed.set).start()
    assert lookup.ask_now("key 1").values == [3]
    lookup.ended()


def test_a_service_that_is_stopped_before_its_table_is_sealed_ends_in_order(start: Start) -> None:
    go = threading.Event()

    def wait(step: str, message: bytes) -> list[bytes]:
        assert go.wait(30)
        return [message]

    lookup = start(bend_bob=wait)
    stopping = threading.Thread(target=lookup.stop)
    stopping.start()
    threading.Timer(0.2, go.set).start()
    assert go.wait(30)
    stopping.join(30)
    assert not lookup.errors
    assert [calls for calls, _ in lookup.blocks[ALICE]] == [calls for calls, _ in lookup.blocks[BOB]] == [0]


# Consent and rate.


def word(text: str) -> dict[str, Any]:
    return {"commitment": text, "opening": b"o" * 32, "envelope": None}


def test_single_keys_are_refused_and_the_others_answered(start: Start) -> None:
    def admit(shown: Shown | None) -> None:
        assert shown is not None
        if shown.commitment == "withdrawn":
            raise AtollError("E_CONSENT", "the data subject took it back")
        if shown.commitment == "late":
            raise AtollError("E_QUOTA", "no more today")

    lookup = start(consent="attested", admit=admit)
    words = [word("a"), word("withdrawn"), word("b"), None, word("late")]
    found = lookup.ask("key 1", "key 2", "nobody", "key 4", "key 5", shown=words)
    assert found.values == [3, None, None, None, None]
    assert found.errors == [None, "E_CONSENT", None, "E_CONSENT", "E_QUOTA"]
    none = lookup.ask("key 2", "key 3", shown=[word("late"), word("withdrawn")])
    assert (none.values, none.errors) == ([None, None], ["E_QUOTA", "E_CONSENT"])
    assert lookup.ask("key 6", shown=[word("c")]).values == [18]
    lookup.ended()
    kept = read_book(lookup.books[ALICE][0])
    # Calls that were refused cost nothing, and stand in no book.
    assert [json.loads(one.record)["consent"] for one in kept] == ["a", "b", "c"]
    assert [one.opening for one in kept] == [b"o" * 32] * 3
    assert [one.opening for one in read_book(lookup.books[BOB][0])] == [None] * 3
    fetched = [message for message in lookup.lines[BOB].received if body(message)["kind"] == "queries"]
    assert [len(body(message)["queries"]) for message in fetched] == [2, 1]


def test_consent_that_nobody_asked_for_is_refused(start: Start) -> None:
    lookup = start()
    assert lookup.ask("key 1", "key 2", shown=[word("a"), None]).errors == ["E_CONSENT", None]
    lookup.ended()


def test_a_commitment_of_another_type_costs_its_call_alone(start: Start) -> None:
    lookup = start(consent="attested")
    odd = [{**word("a"), "commitment": 5}, {**word("a"), "envelope": {}}, word("a")]
    found = lookup.ask("key 1", "key 2", "key 3", shown=odd)
    assert found.errors == ["E_PROTOCOL", "E_CONSENT", None]
    assert found.values == [None, None, 9]
    lookup.ended()


def test_an_authorisation_that_is_presented_stands_in_both_books(start: Start) -> None:
    seen: list[Shown | None] = []
    lookup = start(consent="presented", admit=seen.append)
    envelope = dsse.sign("consent/v1", {"who": "key 1"}, SigningKey(b"s" * 32))
    good = {"commitment": None, "opening": None, "envelope": envelope}
    bad = {"commitment": None, "opening": None, "envelope": {**envelope, "payload": 5}}
    found = lookup.ask("key 1", "key 2", "key 3", shown=[good, None, good])
    assert (found.values, found.errors) == ([3, None, 9], [None, "E_CONSENT", None])
    lookup.ended()
    assert [shown.envelope for shown in seen if shown] == [envelope] * 2
    for party in (ALICE, BOB):
        kept = read_book(lookup.books[party][0])
        assert [one.envelope for one in kept] == [envelope] * 2
        assert {json.loads(one.record)["consent"] for one in kept} == {dsse.identifier(envelope)}
    other = start(consent="presented", bend_alice=presenting(bad["envelope"]))
    assert other.ask("key 1", shown=[good]).errors == ["E_FORMAT"]
    other.ended()


def presenting(envelope: Any) -> Callable[[str, bytes], list[bytes]]:
    """An asker whose calls show something else than its own book says."""

    def bend(step: str, message: bytes) -> list[bytes]:
        if step != "calls":
            return [message]
        found = body(message)
        calls = [{**call, "authorisation": envelope} for call in found["calls"]]
        return [encode_body({**found, "calls": calls})]

    return bend


# Tables that change.


def test_all_rows_of_a_key_come_in_its_record(start: Start) -> None:
    lookup = start({"a": 1}, rows=3, record_bytes=20)
    lookup.put({}, ["a", "b", "a", "a"])
    assert lookup.ask("a", "b", "c").rows == [[[0], [2], [3]], [[1]], None]
    lookup.ended()


def test_a_new_version_between_requests(start: Start) -> None:
    lookup = start()
    first = lookup.ask("key 1", "key 2", "new")
    assert first.values == [3, 6, None]
    after = {**TABLE, "key 1": -1, "new": 5}
    del after["key 2"]
    lookup.put(after)
    second = lookup.ask("key 1", "key 2", "new", "key 3")
    assert second.values == [-1, None, 5, 9]
    assert second.version != first.version
    # A version that only orders its rows otherwise is none for those who ask.
    lookup.put(dict(reversed(after.items())))
    assert lookup.ask("new").version == second.version
    lookup.ended()
    assert kinds(lookup.lines[ALICE].received).count("epoch") == 1
    deltas = [m["delta"] for m in map(body, plain(lookup)) if m["kind"] == "evaluated"]
    assert deltas == [0, 32 + 3 * (4 + 2 * 36), 0]


def plain(lookup: Lookup) -> list[bytes]:
    """What bob sent, without pieces."""
    received = lookup.lines[ALICE].received
    return [m for m, kind in zip(received, kinds(received), strict=True) if kind != "piece"]


def test_versions_that_nobody_asked_in_are_skipped(start: Start) -> None:
    lookup = start()
    for value in range(4):
        lookup.put({**TABLE, "key 1": value})
    assert lookup.ask("key 1").values == [3]
    # The table is again as it was first: nothing changed for those who ask.
    assert [m["delta"] for m in map(body, plain(lookup)) if m["kind"] == "evaluated"] == [0]
    lookup.put({**TABLE, "key 1": 50})
    assert lookup.ask("key 1").values == [50]
    lookup.ended()


tables = st.dictionaries(st.sampled_from([f"k{n}" for n in range(30)]), st.integers(0, 3), max_size=20)


@settings(max_examples=8)
@given(tables, st.lists(tables, max_size=4))
def test_each_request_is_answered_from_one_version(
    tmp_path_factory: pytest.TempPathFactory, first: dict[str, int], later: list[dict[str, int]]
) -> None:
    lookup = Lookup(tmp_path_factory.mktemp("lookup"), first)
    wanted = [f"k{n}" for n in range(30)]
    for table in [first, *later]:
        if table is not first:
            lookup.put(table)
        assert lookup.ask(*wanted).values == [table.get(key) for key in wanted]
    lookup.ended()


def test_a_table_that_outgrows_its_columns_is_sealed_anew(start: Start) -> None:
    lookup = start({"a": 1, "b": 2})
    first = lookup.ask("a", "new 5")
    assert first.values == [1, None]
    large = {f"new {n}": n for n in range(3000)} | {"b": 4}
    lookup.put(large)
    second = lookup.ask("a", "b", "new 5", "new 2999")
    assert second.values == [None, 4, 5, 2999]
    assert second.version != first.version
    lookup.put({**large, "a": 9})
    assert lookup.ask("a", "b").values == [9, 4]
    lookup.ended()
    epochs = [body(m) for m in plain(lookup) if body(m)["kind"] == "epoch"]
    assert len(epochs) == 2
    for name in ("public", "salt", "seed", "version"):
        assert epochs[0][name] != epochs[1][name]
    # The hint of the new epoch stands between a group's calls and its evaluations.
    before = ["evaluated", "answers", "epoch", *(["piece"] * pieces(epochs[1])), "evaluated", "answers"]
    after = ["evaluated", "piece", "answers", "close", "stop"]
    assert kinds(lookup.lines[ALICE].received)[2:] == [*before, *after]


def pieces(epoch: dict[str, Any]) -> int:
    length = 16 + 5632 * epoch["cells"] * (20 + epoch["record_bytes"])
    return -(-length // (4 << 20))


def test_a_delta_that_is_longer_than_any_may_be_is_another_epoch(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "MOST_DELTA", 32 + 10 * (4 + 2 * 36))
    lookup = start()
    lookup.put({**TABLE, **{f"key {n}": -n for n in range(1, 11)}})
    assert lookup.ask("key 9").values == [-9]
    assert kinds(lookup.lines[ALICE].received).count("epoch") == 1
    lookup.put({**TABLE, **{f"key {n}": -1 - n for n in range(11)}})
    assert lookup.ask("key 9", "key 10", "key 11").values == [-10, -11, 33]
    assert kinds(lookup.lines[ALICE].received).count("epoch") == 2
    lookup.ended()


@pytest.mark.parametrize(
    ("broken", "code", "words"),
    [
        ({"keys": ["a", "b", "a"]}, "E_DUPLICATE", "row 3 "),
        ({"record_bytes": 10, "table": {"a": 1, "b": 2**60}}, "E_RANGE", "row 2:"),
    ],
    ids=["a key twice", "too long"],
)
def test_a_broken_table_ends_the_service_with_its_owners_error(
    start: Start, broken: dict[str, Any], code: str, words: str
) -> None:
    lookup = start({"a": 1}, record_bytes=broken.get("record_bytes", 16))
    assert lookup.ask("a").values == [1]
    lookup.put(broken.get("table", {}), broken.get("keys"))
    with pytest.raises(AtollError):
        lookup.ask("a")
    error = lookup.fault(BOB)
    assert error.code == code
    assert words in error.text
    assert lookup.fault(ALICE).code == "E_PEER_SILENT"


def test_a_version_that_cannot_be_read_ends_the_service_too(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup = start({"a": 1})
    assert lookup.ask("a").values == [1]

    def gone(*_: Any, **__: Any) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(host, "read_records", gone)
    lookup.put({"a": 2})
    with pytest.raises(AtollError):
        lookup.ask("a")
    lookup.stop()
    assert isinstance(lookup.errors[BOB], OSError)


def test_a_broken_table_that_was_mended_before_anybody_asked_is_of_no_account(start: Start) -> None:
    lookup = start({"a": 1})
    lookup.put({}, ["a", "a"])
    lookup.put({"a": 2})
    assert lookup.ask("a").values == [2]
    lookup.ended()


def test_a_first_table_that_is_broken_is_an_error_before_anything_leaves(start: Start) -> None:
    lookup = start({"a": 2**60}, record_bytes=10)
    error = lookup.fault(BOB)
    assert error.code == "E_RANGE"
    assert not lookup.lines[ALICE].received
    assert not lookup.released


# The table whole.


def test_who_asked_for_as_many_columns_as_there_are_takes_the_table(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asker, "_LEAST_FETCHED", 20)
    lookup = start()
    wanted = [f"key {n}" for n in range(195, 205)]
    values = [TABLE.get(key) for key in wanted]
    for _ in range(30):
        assert lookup.ask(*wanted).values == values
    lookup.put({**TABLE, "key 195": -1, "key 204": 7})
    assert lookup.ask(*wanted).values == [-1, *values[1:-1], 7]
    lookup.put({f"key {n}": n for n in range(100, 5000)})
    assert lookup.ask(*wanted).values == list(range(195, 205))
    lookup.ended()
    said = kinds(lookup.lines[BOB].received)
    epoch = body(plain(lookup)[0])
    traffic = 16 + 4 * epoch["columns"] + 16 + 4 * epoch["cells"] * 36
    first = said.index("table")
    fetched = sum(
        len(m["queries"]) for m in map(body, lookup.lines[BOB].received[:first]) if m["kind"] == "queries"
    )
    assert (fetched + 10) * traffic >= epoch["columns"] * epoch["cells"] * 36 > fetched * traffic
    # Nothing but calls, until all is sealed anew.
    calls = said[first + 1 : -3]
    assert set(calls) == {"calls"}
    assert said[-3:] == ["queries", "close", "stop"]


def test_a_table_beyond_a_part_of_the_memory_is_not_taken(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asker, "_LEAST_FETCHED", 1)
    monkeypatch.setattr(asker, "_TABLE_PART", 1 << 18)
    lookup = start()
    for _ in range(10):
        assert lookup.ask("key 7", *["nobody"] * 50).values[0] == 21
    lookup.ended()
    assert "table" not in kinds(lookup.lines[BOB].received)


@pytest.mark.parametrize("declared", [False, True])
def test_hits_are_declared_for_a_block_as_a_whole_and_only_by_the_plan(start: Start, declared: bool) -> None:
    lookup = start(declare_hits=declared)
    lookup.ask("key 1", "nobody", "key 2")
    lookup.ask("nobody")
    lookup.idle()
    lookup.ask("key 3")
    lookup.ended()
    assert lookup.hits == {ALICE: [2, 1] if declared else [None, None], BOB: [None, None]}


def test_a_record_of_other_types_than_the_plans_is_a_miss_and_no_hit(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a host that seals something else: texts in a column of numbers."""
    lookup = start(declare_hits=True)
    assert lookup.ask("key 1", "key 2").values == [3, 6]
    monkeypatch.setattr(host, "read_records", texts)
    lookup.put({**TABLE, "key 1": -1})
    assert lookup.ask("key 1", "key 2").values == [None, None]
    lookup.ended()
    assert lookup.hits[ALICE] == [2]


def texts(*given: Any, length: int, **how: Any) -> Records:
    honest = read_records(*given, length=length, **how)
    record = encode_rows([["7"]], length)
    assert record is not None
    return Records(honest.digests, record * (len(honest.digests) // 32))
