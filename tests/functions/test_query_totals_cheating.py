"""A side of lookup totals cheats: who hears it ends with an error that names it, and nobody has a total that is wrong.

What a holder sends for an id cannot be checked by its form: those who follow the protocol are all that is promised.
Here is what can be: forms, lengths and order of all messages, whose keys masks are made of, what is recorded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from atoll_lookup_world import body
from atoll_totals_world import (
    ALICE,
    BOB,
    CAROL,
    DAN,
    HOLDERS,
    NAMES,
    SIGNERS,
    STEP,
    VALUES,
    Service,
    Tables,
    plain,
)

from atoll.crypto.lookup_totals import MOST_CELLS, MOST_COLUMNS
from atoll.crypto.wire import encode_body
from atoll.errors import AtollError
from atoll.functions.context import Shown
from atoll.functions.query_totals import host, messages
from atoll.functions.query_totals.messages import Peer
from atoll.protocols.pairwise_masks import Session

TABLES: Tables = {
    BOB: [("ann", 7000, 1), ("eve", -1250, 2)],
    CAROL: [("ben", 4000, -3)],
    DAN: [("ann", 550, 4)],
}
Body = dict[str, Any]
# From an honest message to what is sent in its place, one message or several.
Twist = Callable[[Any], Any]
Start = Callable[..., Service]


class Bend:
    """Changes a message of a kind towards one party; pieces and messages of preparations are bytes to it."""

    def __init__(self, kind: str, twist: Twist, skip: int = 0, towards: str | None = None) -> None:
        self.kind, self.twist, self.left, self.towards = kind, twist, skip, towards

    def __call__(self, peer: str, step: str, message: bytes) -> list[bytes]:
        if step != self.kind or self.towards not in (None, peer):
            return [message]
        self.left -= 1
        if self.left != -1:
            return [message]
        found = self.twist(body(message) if step in Peer.fields else message)
        return [
            m if isinstance(m, bytes) else encode_body(m)
            for m in (found if isinstance(found, list) else [found])
        ]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_LOOK_SECONDS", 0.005)
    monkeypatch.setattr(messages, "READY", 2)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[Service] = []

    def started(**options: Any) -> Service:
        folder = tmp_path / str(len(running))
        folder.mkdir()
        one_word = {"values": [VALUES[:1]] * 3, "count_rows": False, "count_holders": False}
        running.append(Service(folder, TABLES, **{**one_word, **options}))
        return running[-1]

    yield started
    for one in running:
        one.stop()


def judged(service: Service, cheat: str, code: str = "E_PROTOCOL", changed: bool = False) -> AtollError:
    """Three requests, between them another version if asked for: all totals are right until the cheat is named.

    Of a holder alice says so, of alice carol.
    """
    honest = CAROL if cheat == ALICE else ALICE
    tables = TABLES
    try:
        for number, keys in enumerate((["ann", "nobody"], ["ben"], ["eve"])):
            found = service.ask(*keys)
            for key, total in zip(keys, found.totals, strict=True):
                assert total is None or total == plain(tables, key)[:1]
            if number == 0 and changed:
                tables = {**TABLES, CAROL: [("new", 1, 1)]}
                service.put({CAROL: tables[CAROL]})
            if number == 1:
                service.idle()
    except AtollError:
        pass
    error = service.fault(honest)
    assert (error.code, error.party) == (code, cheat), error.text
    assert error.step in (STEP, "pairwise-masks")
    # What others see is that a line ended, if they see anything.
    for party, other in service.errors.items():
        assert isinstance(other, AtollError), (NAMES[party], repr(other))
        assert party in (honest, cheat) or other.code == "E_PEER_SILENT"
    return error


def of_carol(service: Start, kind: str, twist: Twist, skip: int = 0, **options: Any) -> Service:
    return service(bend={CAROL: Bend(kind, twist, skip)}, **options)


def of_alice(service: Start, kind: str, twist: Twist, skip: int = 0, **options: Any) -> Service:
    """She cheats towards carol alone."""
    return service(bend_alice=Bend(kind, twist, skip, CAROL), **options)


# Every message, every field.

HOST_KINDS = ("hello", "epoch", "blocks", "admitted", "turn", "opened", "close", "stop")
ASKER_KINDS = ("roster", "calls", "go", "ask", "turn", "close", "stop")
OTHER: dict[str, Any] = {
    "none": None, "text": "x", "number": 7, "bytes": b"x", "list": [], "truth": True, "mapping": {},
}  # fmt: skip


def having(**fields: Any) -> Twist:
    return lambda m: {**m, **fields}


def without(name: str) -> Twist:
    return lambda m: {k: v for k, v in m.items() if k != name}


def every(kind: str) -> dict[str, Twist]:
    found: dict[str, Twist] = {
        "no CBOR": lambda m: b"\xff",
        "nothing": lambda m: b"",
        "no mapping": lambda m: encode_body([m]),
        "bytes after it": lambda m: encode_body(m) + b"\0",
        "without kind": without("kind"),
        "of no kind": having(kind=f"{kind} "),
        "of a kind that is no text": having(kind=[1]),
        "with more": having(more=None),
    }
    for name in sorted(Peer.fields[kind]):
        found[f"without {name}"] = without(name)
        for what, value in OTHER.items():
            found[f"{name} is {what}"] = having(**{name: value})
    return found


def sampled(found: list[Any]) -> list[Any]:
    """One in eight in every run; the others with the slow tests."""
    return [
        pytest.param(*case.values, id=case.id, marks=[pytest.mark.slow] if number % 8 else [])
        for number, case in enumerate(found)
    ]


def cases(kinds: tuple[str, ...]) -> list[Any]:
    return sampled(
        [
            pytest.param(kind, twist, id=f"{kind} {name}")
            for kind in kinds
            for name, twist in every(kind).items()
        ]
    )


@pytest.mark.parametrize(("kind", "twist"), cases(HOST_KINDS))
def test_a_holder_whose_message_is_malformed_is_named(start: Start, kind: str, twist: Twist) -> None:
    judged(of_carol(start, kind, twist), CAROL)


@pytest.mark.parametrize(("kind", "twist"), cases(ASKER_KINDS))
def test_an_asker_whose_message_is_malformed_is_named(start: Start, kind: str, twist: Twist) -> None:
    judged(of_alice(start, kind, twist), ALICE)


# Messages out of turn: well formed, where another one belongs.

VALID: dict[str, Body] = {
    "hello": {"key": bytes(32)},
    "roster": {"keys": bytes(32)},
    "epoch": {"columns": 1, "cells": 64, "salt": bytes(16), "version": bytes(16)},
    "blocks": {"messages": [[bytes(16)]]},
    "calls": {"calls": [{"salt": bytes(16), "commitment": None, "authorisation": None}]},
    "admitted": {"errors": [None]},
    "go": {"passed": [0]},
    "ask": {"requests": [bytes(48)], "messages": [[bytes(22)]]},
    "turn": {"messages": [[bytes(16)]]},
    "opened": {"words": bytes(8)},
    "close": {},
    "stop": {},
}
# What the other side may take in a place besides the message that belongs there.
TAKEN = {
    (CAROL, "admitted"): {"epoch"},
    (ALICE, "calls"): {"close"},
    (ALICE, "close"): {"calls"},
    (ALICE, "stop"): {"calls"},
}


def turns(cheat: str, kinds: tuple[str, ...]) -> list[Any]:
    return sampled(
        [
            pytest.param(place, kind, id=f"{kind} for {place}")
            for place in kinds
            for kind in VALID
            if kind != place and kind not in TAKEN.get((cheat, place), set())
        ]
    )


@pytest.mark.parametrize(("place", "kind"), turns(CAROL, HOST_KINDS))
def test_a_holder_that_speaks_out_of_turn_is_named(start: Start, place: str, kind: str) -> None:
    judged(of_carol(start, place, lambda m: {"kind": kind, **VALID[kind]}), CAROL)


@pytest.mark.parametrize(("place", "kind"), turns(ALICE, ASKER_KINDS))
def test_an_asker_that_speaks_out_of_turn_is_named(start: Start, place: str, kind: str) -> None:
    judged(of_alice(start, place, lambda m: {"kind": kind, **VALID[kind]}), ALICE)


# What a holder may lie about.


def flipped(data: bytes, at: int, bit: int = 1) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]


def of_queries(change: Callable[[list[list[bytes]]], Any]) -> Twist:
    return lambda m: {**m, "messages": change(m["messages"])}


# Changes of what one turn of several queries has.
TURNS: dict[str, Callable[[list[list[bytes]]], Any]] = {
    "of fewer queries": lambda q: q[:-1],
    "of more queries": lambda q: [*q, q[0]],
    "with no message of a query": lambda q: [*q[:-1], []],
    "with too many messages": lambda q: [*q[:-1], q[-1] * 65],
    "with a message twice": lambda q: [*q[:-1], [q[-1][0], *q[-1]]],
    "with a text": lambda q: [*q[:-1], ["x" * len(q[-1][0])]],
    "with an empty message": lambda q: [*q[:-1], [b""]],
    "with a header alone": lambda q: [*q[:-1], [q[-1][0][:6]]],
    "with a short message": lambda q: [*q[:-1], [q[-1][0][:-1], *q[-1][1:]]],
    "with a long message": lambda q: [*q[:-1], [q[-1][0] + b"\0", *q[-1][1:]]],
    "of another kind": lambda q: [*q[:-1], [flipped(q[-1][0], 0), *q[-1][1:]]],
    "of another level": lambda q: [*q[:-1], [flipped(q[-1][0], 1), *q[-1][1:]]],
    "of another query": lambda q: [*q[:-1], [flipped(q[-1][0], 2), *q[-1][1:]]],
}
ONE = {name: change for name, change in TURNS.items() if name != "of fewer queries"}


@pytest.mark.parametrize("turn", range(5))
@pytest.mark.parametrize("name", TURNS)
def test_a_holder_whose_turn_is_wrong_is_named(start: Start, name: str, turn: int) -> None:
    judged(of_carol(start, "turn", of_queries(TURNS[name]), skip=turn), CAROL)


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("name", TURNS)
def test_an_asker_whose_turn_is_wrong_is_named(start: Start, name: str, turn: int) -> None:
    judged(of_alice(start, "turn", of_queries(TURNS[name]), skip=turn), ALICE)


@pytest.mark.parametrize("name", TURNS)
def test_an_asker_whose_first_turn_is_wrong_is_named(start: Start, name: str) -> None:
    judged(of_alice(start, "ask", of_queries(TURNS[name])), ALICE)


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("number", [0, 1], ids=["ahead", "of a request"])
def test_a_holder_whose_blocks_are_wrong_is_named(start: Start, name: str, number: int) -> None:
    judged(of_carol(start, "blocks", of_queries(ONE[name]), skip=number), CAROL)


def test_a_holder_that_leaves_out_a_block_is_named(start: Start) -> None:
    """With four words a query has three blocks."""
    wide = {"values": [VALUES] * 3, "count_rows": True, "count_holders": True}
    judged(of_carol(start, "blocks", of_queries(lambda q: [q[0][:-1]]), **wide), CAROL)


@pytest.mark.parametrize("cheat", [CAROL, ALICE], ids=["holder", "asker"])
def test_a_turn_that_lacks_its_last_message_is_its_senders_fault(start: Start, cheat: str) -> None:
    """Where a turn has two messages of each query, the first one alone is none."""
    half = of_queries(lambda q: [several[:1] for several in q])
    service = of_carol(start, "turn", half, skip=3) if cheat == CAROL else of_alice(start, "turn", half, 3)
    judged(service, cheat)


PREPARED = "lookup-totals/"
PREPARATIONS = [
    (CAROL, "commitment"), (ALICE, "share"), (CAROL, "opening"), (CAROL, "turn/0/0"), (ALICE, "turn/1/0"),
    (CAROL, "turn/2/0"), (ALICE, "turn/3/0"),
]  # fmt: skip
PIECES: dict[str, Twist] = {
    "no bytes": lambda m: b"",
    "a short one": lambda m: m[:-1],
    "a long one": lambda m: m + b"\0",
    "of another kind": lambda m: flipped(m, 0),
    "a header alone": lambda m: m[:2],
    "twice": lambda m: [m, m],
    "a body": lambda m: encode_body({"kind": "stop"}),
}


@pytest.mark.parametrize("name", PIECES)
@pytest.mark.parametrize(("cheat", "step"), PREPARATIONS, ids=[step for _, step in PREPARATIONS])
def test_who_breaks_a_preparation_is_named(start: Start, cheat: str, step: str, name: str) -> None:
    of = of_carol if cheat == CAROL else of_alice
    judged(of(start, PREPARED + step, PIECES[name]), cheat)


def test_a_coin_that_was_not_committed_to_is_named(start: Start) -> None:
    judged(of_carol(start, PREPARED + "opening", lambda m: flipped(m, -1)), CAROL)


def group(holder: str) -> Any:
    return Session("job", 1, tuple(HOLDERS), 1, STEP).group.hello(SIGNERS[holder], bytes([9]) + bytes(31))


EPOCHS: dict[str, tuple[str, Twist]] = {
    **{
        f"{n} columns": ("epoch", having(columns=n))
        for n in (0, -1, 2, MOST_COLUMNS, MOST_COLUMNS + 1, 2**63)
    },
    **{f"{n} cells": ("epoch", having(cells=n)) for n in (0, -1, 1, MOST_CELLS, MOST_CELLS + 1, 2**63)},
    "one cell more": ("epoch", lambda m: {**m, "cells": m["cells"] + 1}),
    "a short salt": ("epoch", having(salt=bytes(15))),
    "a long salt": ("epoch", having(salt=bytes(17))),
    "a short version": ("epoch", having(version=bytes(15))),
    "a long version": ("epoch", having(version=bytes(17))),
    "a table beyond all": ("epoch", having(columns=MOST_COLUMNS, cells=MOST_CELLS)),
    "no table": ("table", lambda m: []),
    "an empty table": ("table", lambda m: b""),
    "a short table": ("table", lambda m: m[:-1]),
    "a long table": ("table", lambda m: m + b"\0"),
    "a table in other pieces": ("table", lambda m: [m[:100], m[100:]]),
    "a table twice": ("table", lambda m: [m, m]),
    "an epoch twice": ("epoch", lambda m: [m, m]),
    "an epoch without a table": ("admitted", lambda m: [{"kind": "epoch", **VALID["epoch"]}, m]),
    "fewer answers than calls": ("admitted", having(errors=[None])),
    "more answers than calls": ("admitted", having(errors=[None] * 3)),
    "fewer words": ("opened", lambda m: {**m, "words": m["words"][:-8]}),
    "more words": ("opened", lambda m: {**m, "words": m["words"] + bytes(8)}),
    "words of 16 bytes": ("opened", lambda m: {**m, "words": m["words"] * 2}),
    "words twice": ("opened", lambda m: [m, m]),
    "another one's key": ("hello", lambda m: {**m, "key": group(BOB)}),
    "a key that is cut": ("hello", lambda m: {**m, "key": m["key"][:-1]}),
    "a key with more": ("hello", lambda m: {**m, "key": m["key"] + b"\0"}),
    "a roster for a key": ("hello", lambda m: {**m, "key": b"\2" + m["key"][1:]}),
}


@pytest.mark.parametrize("name", EPOCHS)
def test_a_holder_that_lies_is_named(start: Start, name: str) -> None:
    kind, twist = EPOCHS[name]
    judged(of_carol(start, kind, twist), CAROL)


@pytest.mark.parametrize("at", [-1, -70], ids=["signature", "key"])
def test_a_holder_whose_key_is_not_the_signed_one_is_named(start: Start, at: int) -> None:
    judged(of_carol(start, "hello", lambda m: {**m, "key": flipped(m["key"], at)}), CAROL, "E_SIGNATURE")


def test_a_refusal_that_is_none_is_the_callers_to_see(start: Start) -> None:
    """Whatever a holder says in place of an error, the call is one that did not pass."""
    service = of_carol(start, "admitted", having(errors=[7, {"code": "nothing"}]))
    found = service.ask("ann", "ben")
    assert (found.totals, found.errors) == ([None, None], ["E_WIRE", "E_WIRE"])


@pytest.mark.parametrize("place", range(3), ids=["bob", "carol", "dan"])
def test_a_call_whose_shares_are_wrong_has_an_error_and_no_total(start: Start, place: int) -> None:
    """With `count_holders`, all words but a few give a number of holders that cannot be."""

    def spoiled(m: Body) -> Body:
        # The second of three calls; its word is the first of two.
        return {**m, "words": m["words"][:16] + bytes(b ^ 0xA5 for b in m["words"][16:32]) + m["words"][32:]}

    service = start(bend={HOLDERS[place]: Bend("opened", spoiled)}, count_holders=True)
    found = service.ask("ann", "ben", "eve")
    assert found.errors == [None, "E_PROTOCOL", None]
    assert found.totals == [[7550, 2], None, [-1250, 1]]
    assert service.ask("ben").totals == [[4000, 1]]
    service.ended()


# What an asker may lie about.


def calls(change: Callable[[list[Body]], list[Any]]) -> Twist:
    return lambda m: {**m, "calls": change(m["calls"])}


def requests(change: Callable[[list[bytes]], list[Any]]) -> Twist:
    return lambda m: {**m, "requests": change(m["requests"])}


PLACE = 16 * HOLDERS.index(CAROL)
TRICKS: dict[str, tuple[str, Twist]] = {
    "more calls than a request has": ("calls", calls(lambda c: c[:1] * 201)),
    "a call that is text": ("calls", calls(lambda c: [c[0], "x"])),
    "a call with more": ("calls", calls(lambda c: [c[0], {**c[1], "more": 1}])),
    **{
        f"a call without {name}": (
            "calls",
            calls(lambda c, name=name: [c[0], {k: v for k, v in c[1].items() if k != name}]),
        )
        for name in ("salt", "commitment", "authorisation")
    },
    "a short salt": ("calls", calls(lambda c: [c[0], {**c[1], "salt": bytes(15)}])),
    "a salt that is text": ("calls", calls(lambda c: [c[0], {**c[1], "salt": "x" * 16}])),
    "calls that are none of the group": ("go", having(passed=[0, 2])),
    "calls before the first": ("go", having(passed=[-1, 0])),
    "calls in another order": ("go", having(passed=[1, 0])),
    "a call twice": ("go", having(passed=[0, 0])),
    "calls that are text": ("go", having(passed=["0", "1"])),
    "calls that are truth": ("go", having(passed=[False, True])),
    "fewer calls than it asks for": ("go", having(passed=[0])),
    "fewer requests": ("ask", requests(lambda r: r[:-1])),
    "more requests": ("ask", requests(lambda r: [*r, r[0]])),
    "a request for fewer holders": ("ask", requests(lambda r: [r[0], r[1][:-16]])),
    "a request for more holders": ("ask", requests(lambda r: [r[0], r[1] + bytes(16)])),
    "a short request": ("ask", requests(lambda r: [r[0], r[1][:-1]])),
    "a request that is text": ("ask", requests(lambda r: [r[0], "x" * 48])),
    "another request than it makes": ("ask", requests(lambda r: [r[0], flipped(r[1], PLACE + 15)])),
    "requests in another order": ("ask", requests(lambda r: r[::-1])),
    "roster of others": (
        "roster",
        lambda m: {**m, "keys": m["keys"][:1] + m["keys"][187:] + m["keys"][1:187]},
    ),
    "a holder left out": ("roster", lambda m: {**m, "keys": m["keys"][:-186]}),
    "a holder too many": ("roster", lambda m: {**m, "keys": m["keys"] + m["keys"][-186:]}),
    "a hello for a roster": ("roster", lambda m: {**m, "keys": b"\1" + m["keys"][1:]}),
}


@pytest.mark.parametrize("name", TRICKS)
def test_an_asker_that_lies_is_named(start: Start, name: str) -> None:
    kind, twist = TRICKS[name]
    judged(of_alice(start, kind, twist), ALICE)


def test_an_asker_that_makes_a_call_which_the_holder_refused_is_named(start: Start) -> None:
    def admit(shown: Shown | None) -> None:
        assert shown is not None
        if shown.commitment == "b":
            raise AtollError("E_QUOTA", "no")

    bend = Bend("go", having(passed=[0, 1]), 0, CAROL)
    service = start(bend_alice=bend, consent="attested", admit={CAROL: admit})
    words = [{"commitment": text, "opening": b"o" * 32, "envelope": None} for text in "ab"]
    with pytest.raises(AtollError):
        service.ask("ann", "ben", shown=words)
    error = service.fault(CAROL)
    assert (error.code, error.party) == ("E_PROTOCOL", ALICE)
    assert "not admitted" in error.text


def test_an_asker_that_makes_more_calls_than_a_block_has_is_named(start: Start) -> None:
    error = judged(
        of_alice(start, "calls", calls(lambda c: [*c, c[0]]), block_calls=2, maximum_keys=2), ALICE
    )
    assert "a group has 1 to 2 calls" in error.text
    error = judged(
        of_alice(start, "calls", calls(lambda c: [*c, c[0]]), block_calls=2, maximum_keys=3), ALICE
    )
    assert "a block has at most 2 calls" in error.text


def test_an_asker_that_closes_a_block_twice_is_named(start: Start) -> None:
    judged(of_alice(start, "close", lambda m: [m, m]), ALICE)


def test_an_asker_that_says_more_than_a_preparation_takes_is_named(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages that come while a holder's own do not leave yet are laid aside; none may be left at the end."""
    honest = host.converse

    def converse(machine: Any, channel: Any, backlog: Any, **more: Any) -> None:
        honest(machine, channel, backlog, **more)
        if threading.current_thread().name == "carol":
            backlog.append(b"more")

    monkeypatch.setattr(host, "converse", converse)
    service = start()
    error = service.fault(CAROL)
    assert (error.code, error.party) == ("E_PROTOCOL", ALICE)
    assert "more than a preparation takes" in error.text


def test_masks_serve_once() -> None:
    """Who has two vectors under the same masks has their difference."""
    session = Session("job", 0, tuple(HOLDERS), 1, STEP)
    one, *others = [
        host.Masks(SimpleNamespace(me=me, seed=bytes([n]) * 32, attempt=0), session)  # type: ignore[arg-type]
        for n, me in enumerate(HOLDERS)
    ]
    one._peers = {me: other._public for me, other in zip(HOLDERS[1:], others, strict=True)}
    first, second = one.masked([5], 1), one.masked([5], 2)
    assert len(first) == len(second) == 8
    for number in (2, 1, 0):
        with pytest.raises(AtollError) as caught:
            one.masked([6], number)
        assert caught.value.code == "E_REWIND"
    assert one.masked([5], 3)
