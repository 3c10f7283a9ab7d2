"""Lookup totals as they run: totals of plain sight, blocks, refusals at single holders, and tables that change."""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from atoll_lookup_world import body, kinds
from atoll_totals_world import ALICE, BOB, CAROL, DAN, HOLDERS, NAMES, STEP, Service, Tables, plain

from atoll.crypto import dsse
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.functions.calls import read_book
from atoll.functions.context import Shown
from atoll.functions.query_totals import host, messages

TABLES: Tables = {
    BOB: [("ann", 7000, 1), ("eve", -1250, 2), ("ann", -1, 0), ("all", 1, 1)],
    CAROL: [("ben", 4000, -3), ("all", -5, 1)],
    DAN: [("ann", 550, 4), ("kim", 900, 0), ("all", 10_000_000, 1), ("zero", 0, 0)],
}
Start = Callable[..., Service]


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_LOOK_SECONDS", 0.005)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts services, and ends those that a test left."""
    running: list[Service] = []

    def started(tables: Tables | None = None, **options: Any) -> Service:
        folder = tmp_path / str(len(running))
        folder.mkdir()
        running.append(Service(folder, tables or TABLES, **options))
        return running[-1]

    yield started
    for one in running:
        one.stop()


def many(seed: int, keys: int) -> Tables:
    """Keys at some of the holders, on up to four rows."""
    draws = random.Random(seed)
    return {
        holder: [
            (f"key {n}", draws.randrange(-(10**7), 10**7), draws.randrange(-9, 9))
            for n in range(keys)
            for _ in range(draws.choice((0, 0, 1, 1, 4)))
        ]
        for holder in HOLDERS
    }


def check(service: Service, tables: Tables, *keys: str) -> None:
    """A request for these keys is answered as plain sight has it."""
    found = service.ask(*keys)
    assert found.errors == [None] * len(keys)
    assert found.totals == [plain(tables, key) for key in keys]


def test_totals_are_those_of_plain_sight(start: Start) -> None:
    service = start()
    assert service.ask("ann").totals == [[7549, 5, 3, 2]]
    assert service.ask("nobody").totals == [[0, 0, 0, 0]]
    check(service, TABLES, "eve", "all", "nobody", "eve", "zero", "", "kim", "ben", "eve")
    service.ended()
    assert service.outcomes[ALICE].rows == 1
    assert service.outcomes[ALICE].scalars == {"calls": 11}
    assert service.released == {ALICE: [], **{holder: [[ALICE]] for holder in HOLDERS}}


@pytest.mark.parametrize(
    ("asked", "places"),
    [
        ({"count_rows": False, "count_holders": False}, [0, 1]),
        ({"values": [[]] * 3, "count_rows": False}, [3]),
        ({"values": [[]] * 3, "count_holders": False}, [2]),
    ],
    ids=["values alone", "holders alone", "rows alone"],
)
def test_a_total_has_the_numbers_that_the_plan_names(
    start: Start, asked: dict[str, Any], places: list[int]
) -> None:
    service = start(**asked)
    wanted = [[plain(TABLES, key)[at] for at in places] for key in ("ann", "ben", "nobody")]
    assert service.ask("ann", "ben", "nobody").totals == wanted
    service.ended()


def test_tables_without_keys_add_nothing(start: Start) -> None:
    tables: Tables = {BOB: [], CAROL: [("ben", 5, 1)], DAN: []}
    service = start(tables)
    check(service, tables, "ben", "ann", "")
    service.ended()


def test_many_keys_of_large_tables_in_several_columns(start: Start) -> None:
    tables = many(1, 700)
    service = start(tables)
    check(service, tables, *(f"key {n}" for n in range(690, 710)))
    check(service, tables, *(f"key {n}" for n in range(0, 690, 69)))
    service.ended()
    for holder in HOLDERS:
        epoch = next(
            m
            for m, kind in zip(service.sent(holder, ALICE), kinds(service.sent(holder, ALICE)), strict=True)
            if kind == "epoch"
        )
        assert body(epoch)["columns"] > 1


def test_keys_beyond_a_preparation_are_answered_from_the_next(start: Start) -> None:
    """A request is answered 32 keys at a time, and 128 queries are prepared at once."""
    tables = many(2, 60)
    service = start(tables)
    wanted = [f"key {n % 66}" for n in range(150)]
    check(service, tables, *wanted)
    check(service, tables, *wanted[:33])
    service.ended()
    asks = [m for m in service.sent(ALICE, BOB) if kinds([m]) == ["ask"]]
    assert [len(body(m)["requests"]) for m in asks] == [32, 32, 32, 32, 22, 32, 1]
    # Blocks are sent for what is asked, and a few ahead.
    assert kinds(service.sent(BOB, ALICE)).count("blocks") == 150 + 33 + messages.READY


def test_no_request_comes_twice_and_each_stands_in_all_books(start: Start) -> None:
    service = start()
    service.ask("ann", "ann", "nobody")
    service.ask("ann")
    service.ended()
    books = {party: [kept.record for kept in read_book(service.books[party][0])] for party in NAMES}
    assert books[BOB] == books[CAROL] == books[DAN] == books[ALICE]
    records = [json.loads(record) for record in books[ALICE]]
    assert [record["call"] for record in records] == [1, 2, 3, 4]
    for name in ("salt", "request"):
        assert len({record[name] for record in records}) == 4


# Blocks.


def test_a_block_ends_before_a_request_that_it_has_no_room_for(start: Start) -> None:
    service = start(maximum_keys=4, block_calls=4)
    keys = ["ann", "ben", "eve", "all"]
    for count in (1, 2, 2, 4, 3):
        check(service, TABLES, *keys[:count])
    service.ended()
    assert [calls for calls, _ in service.blocks[ALICE]] == [3, 2, 4, 3]
    assert len({root for _, root in service.blocks[ALICE]}) == 4
    # What the asker learns of a block waits for its own release, at each holder.
    assert all(service.released[holder] == [[ALICE]] * 4 for holder in HOLDERS)


def test_a_block_ends_with_its_time_and_another_one_begins_with_a_call(start: Start) -> None:
    service = start()
    service.idle()
    check(service, TABLES, "ann", "ben")
    service.idle()
    check(service, TABLES, "eve")
    service.idle()
    service.ended()
    assert [calls for calls, _ in service.blocks[DAN]] == [0, 2, 1]


def test_a_service_that_is_stopped_before_its_tables_are_sealed_ends_in_order(start: Start) -> None:
    go = threading.Event()

    def wait(peer: str, step: str, message: bytes) -> list[bytes]:
        assert go.wait(30)
        return [message]

    service = start(bend={CAROL: wait})
    stopping = threading.Thread(target=service.stop)
    stopping.start()
    threading.Timer(0.2, go.set).start()
    stopping.join(30)
    assert not service.errors
    assert {party: [calls for calls, _ in blocks] for party, blocks in service.blocks.items()} == {
        party: [0] for party in NAMES
    }
    for holder in HOLDERS:
        assert kinds(service.sent(ALICE, holder))[-2:] == kinds(service.sent(holder, ALICE))[-2:]
        assert kinds(service.sent(ALICE, holder))[-2:] == ["close", "stop"]


# Consent and rate.


def word(text: str) -> dict[str, Any]:
    return {"commitment": text, "opening": b"o" * 32, "envelope": None}


def refusing(text: str, code: str) -> Callable[[Shown | None], None]:
    def admit(shown: Shown | None) -> None:
        assert shown is not None
        if shown.commitment == text:
            raise AtollError(code, "no")

    return admit


def test_a_call_that_one_holder_refuses_opens_nothing_and_the_others_are_right(start: Start) -> None:
    admit = {BOB: refusing("b", "E_QUOTA"), DAN: refusing("d", "E_CONSENT")}
    service = start(consent="attested", admit=admit)
    keys = ["ann", "ben", "eve", "all", "kim"]
    words = [word(text) for text in ("a", "b", "c", "d", "e")]
    found = service.ask(*keys, shown=words)
    assert found.errors == [None, "E_QUOTA", None, "E_CONSENT", None]
    assert found.totals == [
        None if error else plain(TABLES, key) for key, error in zip(keys, found.errors, strict=True)
    ]
    assert [None if p is None else p["party"] for p in found.problems] == [None, BOB, None, DAN, None]
    none = service.ask("ben", "all", shown=[word("b"), word("d")])
    assert (none.totals, none.errors) == ([None, None], ["E_QUOTA", "E_CONSENT"])
    assert service.ask("ben", shown=[word("f")]).totals == [plain(TABLES, "ben")]
    service.ended()
    for holder in HOLDERS:
        received = [m for m in service.sent(ALICE, holder) if kinds([m])[0] in ("go", "ask")]
        assert [body(m).get("passed", len(body(m).get("requests", []))) for m in received] == [
            [0, 2, 4], 3, [], [0], 1,
        ]  # fmt: skip
        opened = [body(m)["words"] for m in service.sent(holder, ALICE) if kinds([m]) == ["opened"]]
        assert [len(words) for words in opened] == [3 * 4 * 8, 4 * 8]
    for party in NAMES:
        kept = read_book(service.books[party][0])
        assert [json.loads(one.record)["consent"] for one in kept] == ["a", "c", "e", "f"]
        assert {one.opening for one in kept} == {b"o" * 32 if party == ALICE else None}


def test_consent_that_nobody_asked_for_is_refused(start: Start) -> None:
    service = start()
    found = service.ask("ann", "ben", shown=[word("a"), None])
    assert (found.errors, found.totals) == (["E_CONSENT", None], [None, plain(TABLES, "ben")])
    service.ended()


def test_an_authorisation_that_is_presented_stands_in_all_books(start: Start) -> None:
    service = start(consent="presented")
    envelope = dsse.sign("consent/v1", {"who": "ann"}, SigningKey(b"s" * 32))
    good = {"commitment": None, "opening": None, "envelope": envelope}
    found = service.ask("ann", "ben", shown=[good, None])
    assert (found.errors, found.totals) == ([None, "E_CONSENT"], [plain(TABLES, "ann"), None])
    service.ended()
    for party in NAMES:
        (kept,) = read_book(service.books[party][0])
        assert kept.envelope == envelope
        assert json.loads(kept.record)["consent"] == dsse.identifier(envelope)


# Tables that change.


@pytest.mark.parametrize("changed", [[CAROL], [BOB, DAN], HOLDERS], ids=["one", "two", "all"])
def test_new_versions_between_requests(start: Start, changed: list[str]) -> None:
    service = start()
    first = service.ask("ann", "ben", "new")
    later: Tables = {**TABLES, **{holder: [("new", 3, 1), ("ann", -9, 1)] for holder in changed}}
    service.put({holder: later[holder] for holder in changed})
    second = service.ask("ann", "ben", "new")
    assert second.totals == [plain(later, key) for key in ("ann", "ben", "new")]
    assert second.version != first.version
    # A version that only orders its rows otherwise is none for those who ask.
    service.put({holder: later[holder][::-1] for holder in changed})
    third = service.ask("new", *["ann"] * 33)
    assert third.totals == [plain(later, "new"), *[plain(later, "ann")] * 33]
    assert third.version == second.version
    service.ended()
    for holder in HOLDERS:
        assert kinds(service.sent(holder, ALICE)).count("epoch") == 1 + (holder in changed)


def test_a_new_version_is_taken_up_though_all_calls_are_refused(start: Start) -> None:
    service = start(consent="attested", admit={BOB: refusing("b", "E_QUOTA")})
    service.put({CAROL: [("ann", 1, 1)]})
    assert service.ask("ann", shown=[word("b")]).errors == ["E_QUOTA"]
    later = {**TABLES, CAROL: [("ann", 1, 1)]}
    assert service.ask("ann", shown=[word("c")]).totals == [plain(later, "ann")]
    service.ended()


def test_a_table_that_outgrows_its_columns_is_sealed_in_more(start: Start) -> None:
    service = start()
    later: Tables = {**TABLES, DAN: [(f"key {n}", n, 1) for n in range(300)]}
    service.put({DAN: later[DAN]})
    check(service, later, "key 1", "key 299", "ann", "kim")
    service.put({DAN: TABLES[DAN]})
    check(service, TABLES, "key 1", "ann", "kim")
    service.ended()


@pytest.mark.parametrize(
    ("rows", "code", "words"),
    [
        ([("ann", 1, 1)] * 11, "E_DUPLICATE", "row 11 "),
        ([("ann", 10_000_001, 1)], "E_RANGE", "100000.01"),
        ([("ann", 1, 1001)], "E_RANGE", "1001"),
    ],
    ids=["a key too often", "a debt out of range", "loans out of range"],
)
def test_a_broken_table_ends_the_service_with_its_owners_error(
    start: Start, rows: list[Any], code: str, words: str
) -> None:
    service = start()
    check(service, TABLES, "ann")
    service.put({CAROL: rows})
    with pytest.raises(AtollError):
        service.ask("ann")
    error = service.fault(CAROL)
    assert error.code == code
    assert words in error.text
    for other in (ALICE, BOB, DAN):
        assert service.fault(other).code == "E_PEER_SILENT"


def test_a_broken_table_that_was_mended_before_anybody_asked_is_of_no_account(start: Start) -> None:
    service = start()
    service.put({CAROL: [("ann", 1, 1)] * 11})
    service.put({CAROL: TABLES[CAROL]})
    check(service, TABLES, "ann")
    service.ended()


def test_a_first_table_that_is_broken_is_an_error_before_anything_leaves(start: Start) -> None:
    service = start({**TABLES, BOB: [("ann", 1, 1001)]})
    error = service.fault(BOB)
    assert (error.code, error.party, error.step) == ("E_RANGE", BOB, STEP)
    assert not service.sent(BOB, ALICE)
    assert not any(service.released.values())
    assert not service.outcomes


def test_no_file_stays_open(start: Start) -> None:
    """Sealed tables have no name: who keeps one open keeps its bytes on the disk."""

    def unnamed() -> int:
        found = 0
        for link in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                found += "/sealed-" in str(link.readlink())
        return found

    before = unnamed()
    service = start()
    service.ask("ann")
    assert unnamed() == before + len(HOLDERS)
    service.put({CAROL: [("ann", 1, 1)]})
    service.ask("ann")
    assert unnamed() == before + len(HOLDERS)
    service.ended()
    assert unnamed() == before
