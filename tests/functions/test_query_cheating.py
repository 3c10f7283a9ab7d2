"""One side of a lookup cheats: the other one ends with `E_PROTOCOL` that names it, and with nothing else."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from atoll_lookup_world import ALICE, BOB, Lookup, body, digests

from atoll.crypto.lookup import Holder
from atoll.crypto.wire import encode_body
from atoll.errors import AtollError
from atoll.functions.query import asker, host, messages
from atoll.functions.query.messages import FIELDS

TABLE = {f"key {n}": 3 * n for n in range(20)}
Body = dict[str, Any]
# From an honest message to what is sent in its place, one message or several.
Twist = Callable[[Body], Body | bytes | list[Body | bytes]]


class Bend:
    """Changes the first message of a kind; pieces are of the kinds `hint` and `delta`."""

    def __init__(self, kind: str, twist: Any, skip: int = 0) -> None:
        self.kind, self.twist, self.left = kind, twist, skip

    def __call__(self, step: str, message: bytes) -> list[bytes]:
        if step != self.kind:
            return [message]
        self.left -= 1
        if self.left != -1:
            return [message]
        found = self.twist(message if step in ("hint", "delta") else body(message))
        return [
            m if isinstance(m, bytes) else encode_body(m)
            for m in (found if isinstance(found, list) else [found])
        ]


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_LOOK_SECONDS", 0.005)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Lookup]]:
    running: list[Lookup] = []

    def started(**options: Any) -> Lookup:
        running.append(Lookup(tmp_path, TABLE, **options))
        return running[-1]

    yield started
    for one in running:
        one.stop()


def judged(lookup: Lookup, cheat: str, changed: bool = False) -> None:
    """Two requests, between them another version if asked for; the side that does not cheat says who does."""
    honest = BOB if cheat == ALICE else ALICE
    try:
        lookup.ask("key 1", "nobody")
        if changed:
            lookup.put({**TABLE, "key 1": -1, "new": 5})
        lookup.ask("key 1")
        lookup.idle()
        lookup.ask("key 2")
    except AtollError:
        pass
    error = lookup.fault(honest)
    assert (error.code, error.party, error.step) == ("E_PROTOCOL", cheat, "n2"), error.text
    # What the other side sees is that the line ended, if it sees anything.
    other = lookup.errors.get(cheat)
    assert other is None or isinstance(other, AtollError)


# Every message, every field.

HOSTS, ASKERS = ("epoch", "evaluated", "answers", "close", "stop"), ("calls", "queries", "close", "stop")
OTHER: dict[str, Any] = {
    "none": None, "text": "x", "number": 7, "bytes": b"x", "list": [], "truth": True, "mapping": {},
}  # fmt: skip


def without(name: str) -> Twist:
    return lambda m: {k: v for k, v in m.items() if k != name}


def having(**fields: Any) -> Twist:
    return lambda m: {**m, **fields}


def every(kind: str) -> dict[str, Twist]:
    found: dict[str, Twist] = {
        "no CBOR": lambda m: b"\xff",
        "nothing": lambda m: b"",
        "no mapping": lambda m: encode_body([m]),
        "bytes after it": lambda m: encode_body(m) + b"\0",
        "without kind": without("kind"),
        "of no kind": having(kind="calls "),
        "of a kind that is no text": having(kind=1),
        "with more": having(more=None),
    }
    for name in sorted(FIELDS[kind]):
        found[f"without {name}"] = without(name)
        for what, value in OTHER.items():
            # A delta of seven bytes is one that has not come yet.
            if (name, what) != ("delta", "number"):
                found[f"{name} is {what}"] = having(**{name: value})
    return found


def cases(kinds: tuple[str, ...]) -> list[Any]:
    return [
        pytest.param(kind, twist, id=f"{kind} {name}")
        for kind in kinds
        for name, twist in every(kind).items()
    ]


@pytest.mark.parametrize(("kind", "twist"), cases(HOSTS))
def test_a_host_whose_message_is_malformed_is_named(
    start: Callable[..., Lookup], kind: str, twist: Twist
) -> None:
    judged(start(bend_bob=Bend(kind, twist)), BOB)


@pytest.mark.parametrize(("kind", "twist"), cases(ASKERS))
def test_an_asker_whose_message_is_malformed_is_named(
    start: Callable[..., Lookup], kind: str, twist: Twist
) -> None:
    judged(start(bend_alice=Bend(kind, twist)), ALICE)


# Messages out of turn: well formed, where another one belongs.

VALID: dict[str, Body] = {
    "epoch": {
        "columns": 32, "cells": 4, "record_bytes": 16, "salt": bytes(16), "public": bytes(32), "version": bytes(16),
        "seed": bytes(32),
    },
    "calls": {"calls": [{"salt": bytes(16), "commitment": None, "authorisation": None}], "blinded": bytes(32)},
    "evaluated": {"errors": [None], "evaluation": bytes(96), "version": bytes(16), "delta": 0},
    "queries": {"queries": [bytes(144)]},
    "answers": {"answers": [bytes(16)]},
    "table": {},
    "close": {},
    "stop": {},
}  # fmt: skip
# What the other side may take in a place besides the message that belongs there.
TAKEN = {
    (BOB, "evaluated"): {"epoch"},
    (ALICE, "calls"): {"close"},
    (ALICE, "close"): {"calls"},
    (ALICE, "queries"): {"table"},
}


def turns(cheat: str, kinds: tuple[str, ...]) -> list[Any]:
    return [
        pytest.param(place, kind, id=f"{kind} for {place}")
        for place in kinds
        for kind in VALID
        if kind != place and kind not in TAKEN.get((cheat, place), set())
    ]


@pytest.mark.parametrize(("place", "kind"), turns(BOB, HOSTS))
def test_a_host_that_speaks_out_of_turn_is_named(start: Callable[..., Lookup], place: str, kind: str) -> None:
    judged(start(bend_bob=Bend(place, lambda m: {"kind": kind, **VALID[kind]})), BOB)


@pytest.mark.parametrize(("place", "kind"), turns(ALICE, ASKERS))
def test_an_asker_that_speaks_out_of_turn_is_named(
    start: Callable[..., Lookup], place: str, kind: str
) -> None:
    judged(start(bend_alice=Bend(place, lambda m: {"kind": kind, **VALID[kind]})), ALICE)


# What a host may lie about.


def epoch_again(m: Body) -> list[Body | bytes]:
    return [{"kind": "epoch", **VALID["epoch"]}, m]


def flipped(data: bytes, at: int, bit: int = 1) -> bytes:
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]


def evaluation(change: Callable[[bytes], bytes]) -> Twist:
    return lambda m: {**m, "evaluation": change(m["evaluation"])}


def answers(change: Callable[[list[bytes]], list[Any]]) -> Twist:
    return lambda m: {**m, "answers": change(m["answers"])}


NO_ELEMENT = b"\xff" * 32
REFUSED = {"code": "E_QUOTA", "party": None, "step": None, "column": None}
LIES: dict[str, tuple[str, Any]] = {
    **{f"{n} columns": ("epoch", having(columns=n)) for n in (0, -32, 31, 33, 2**20, 2**32, 2**63)},
    **{f"{n} cells": ("epoch", having(cells=n)) for n in (0, -1, 2**19, 2**40)},
    "one cell more": ("epoch", lambda m: {**m, "cells": m["cells"] + 1}),
    "a cell that is truth": ("epoch", having(cells=True)),
    "records of another length than in the plan": ("epoch", having(record_bytes=17)),
    "one cell of all bytes": ("epoch", lambda m: {**m, "cells": 1, "record_bytes": 36 * m["cells"] - 20}),
    "a short salt": ("epoch", having(salt=bytes(15))),
    "a long salt": ("epoch", having(salt=bytes(17))),
    "a short key": ("epoch", having(public=bytes(31))),
    "a key that is no element": ("epoch", having(public=NO_ELEMENT)),
    "a key that is the identity": ("epoch", having(public=bytes(32))),
    "a short seed": ("epoch", having(seed=bytes(31))),
    "a short version": ("epoch", having(version=bytes(15))),
    "a version that the hint has not": ("epoch", having(version=bytes(16))),
    "a hint of another version": ("hint", lambda m: flipped(m, 0)),
    "a short hint": ("hint", lambda m: m[:-1]),
    "a long hint": ("hint", lambda m: m + b"\0"),
    "no hint": ("hint", lambda m: b""),
    "a hint in other pieces": ("hint", lambda m: [m[:16], m[16:]]),
    "an epoch without a hint": ("evaluated", epoch_again),
    "fewer errors than calls": ("evaluated", having(errors=[None])),
    "more errors than calls": ("evaluated", having(errors=[None] * 3)),
    "fewer elements than calls": ("evaluated", evaluation(lambda e: e[:-32])),
    "more elements than calls": ("evaluated", evaluation(lambda e: e + e[-32:])),
    "part of an element": ("evaluated", evaluation(lambda e: e[:-1])),
    "no elements": ("evaluated", evaluation(lambda e: e[:64])),
    "no evaluation": ("evaluated", having(evaluation=b"")),
    "another challenge": ("evaluated", evaluation(lambda e: flipped(e, 0))),
    "another response": ("evaluated", evaluation(lambda e: flipped(e, 32))),
    "a response that is not reduced": ("evaluated", evaluation(lambda e: e[:32] + NO_ELEMENT + e[64:])),
    "an element that is none": ("evaluated", evaluation(lambda e: e[:64] + NO_ELEMENT + e[96:])),
    "the identity": ("evaluated", evaluation(lambda e: e[:64] + bytes(32) + e[96:])),
    "elements in another order": ("evaluated", evaluation(lambda e: e[:64] + e[96:] + e[64:96])),
    "one element for both": ("evaluated", evaluation(lambda e: e[:64] + e[64:96] * 2)),
    "a refused call that was evaluated": ("evaluated", having(errors=[None, REFUSED])),
    "refused calls that were evaluated": ("evaluated", having(errors=[REFUSED, REFUSED])),
    "errors that are none": ("evaluated", having(errors=[7, "x"])),
    "a version that nothing leads to": ("evaluated", having(version=bytes(16))),
    "a version that is short": ("evaluated", having(version=b"")),
    "a delta of less than nothing": ("evaluated", having(delta=-1)),
    "a delta beyond all": ("evaluated", having(delta=2**40)),
    "a delta of a few bytes": ("evaluated", lambda m: [{**m, "delta": 7}, bytes(7)]),
    "a delta to where the asker is": (
        "evaluated",
        lambda m: [{**m, "delta": 32}, bytes(16) + m["version"]],
    ),
    "fewer answers than queries": ("answers", answers(lambda a: a[:-1])),
    "more answers than queries": ("answers", answers(lambda a: [*a, a[0]])),
    "a short answer": ("answers", answers(lambda a: [a[0], a[1][:-1]])),
    "a long answer": ("answers", answers(lambda a: [a[0] + bytes(4), a[1]])),
    "an answer that is text": ("answers", answers(lambda a: ["x" * len(a[0]), a[1]])),
    "an answer of another version": ("answers", answers(lambda a: [a[0], flipped(a[1], 3)])),
}


@pytest.mark.parametrize("name", LIES)
def test_a_host_that_lies_is_named(start: Callable[..., Lookup], name: str) -> None:
    kind, twist = LIES[name]
    judged(start(bend_bob=Bend(kind, twist)), BOB)


def test_a_hint_beyond_all_is_refused_before_it_is_read(
    start: Callable[..., Lookup], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "MOST_HINT", 5632 * 36)
    lookup = start()
    judged(lookup, BOB)
    assert len(lookup.lines[ALICE].received) == 1


def delta_said(change: Callable[[int], int]) -> tuple[str, Any]:
    return "evaluated", lambda m: {**m, "delta": change(m["delta"])}


LATER: dict[str, tuple[str, Any]] = {
    "from another version": ("delta", lambda m: flipped(m, 0)),
    "to another version than was said": ("delta", lambda m: flipped(m, 16)),
    "said to lead to another version": ("evaluated", lambda m: {**m, "version": flipped(m["version"], 0)}),
    "shorter than was said": ("delta", lambda m: m[:-1]),
    "longer than was said": ("delta", lambda m: m + b"\0"),
    "longer, and said to be": delta_said(lambda n: n + 1),
    "not said": delta_said(lambda n: 0),
    "a cell outside": ("delta", lambda m: m[:32] + struct.pack("<I", 2**31) + m[36:]),
    "the cell behind the last": ("delta", lambda m: m[:32] + b"\xff" * 4 + m[36:]),
}


@pytest.mark.parametrize("name", LATER)
def test_a_host_whose_delta_is_wrong_is_named(start: Callable[..., Lookup], name: str) -> None:
    kind, twist = LATER[name]
    # The message before the delta is the second of its kind.
    bend = Bend(kind, twist, skip=1 if kind == "evaluated" else 0)
    if name == "longer, and said to be":
        longer = Bend("delta", lambda m: m + b"\0")
        judged(start(bend_bob=lambda step, m: [x for y in bend(step, m) for x in longer(step, y)]), BOB, True)
        return
    judged(start(bend_bob=bend), BOB, changed=True)


def test_a_host_that_evaluates_under_another_key_is_named(start: Callable[..., Lookup]) -> None:
    """As it would to know its asker again, or to give it other records than the rest."""
    other = Holder(
        b"other".ljust(32), bytes(32), 0, "c", version=bytes(16), matrix=bytes(32), digests=digests(["key 1"]),
        records=bytes(16), record_bytes=16,
    )  # fmt: skip
    asked: list[bytes] = []

    def listen(step: str, message: bytes) -> list[bytes]:
        if step == "calls":
            asked.append(body(message)["blinded"])
        return [message]

    twist = Bend("evaluated", lambda m: {**m, "evaluation": other.evaluate(asked[-1], 2, 1)})
    judged(start(bend_alice=listen, bend_bob=twist), BOB)


@pytest.mark.parametrize("bit", [1, 128], ids=["noise", "cells"])
def test_an_answer_of_any_words_is_read_as_it_is(start: Callable[..., Lookup], bit: int) -> None:
    """Spoiled cells are misses; the service goes on, and the asker's messages stay what they were."""

    def spoiled(answer: bytes) -> bytes:
        words = bytearray(answer)
        for at in range(16 + (0 if bit == 1 else 3), len(words), 4):
            words[at] ^= bit
        return bytes(words)

    lookup = start(bend_bob=Bend("answers", answers(lambda a: [spoiled(one) for one in a])))
    assert lookup.ask("key 1", "nobody").values == ([3, None] if bit == 1 else [None, None])
    assert lookup.ask("key 1", "nobody").values == [3, None]
    lookup.ended()
    sent = [body(m) for m in lookup.lines[BOB].received]
    shapes = [[len(query) for query in m["queries"]] for m in sent if m["kind"] == "queries"]
    assert shapes[0] == shapes[1]


def test_a_refusal_that_is_none_is_the_callers_to_see(start: Callable[..., Lookup]) -> None:
    """Whatever a host says instead of an evaluation, the call is one that did not pass."""
    twist = having(errors=[7, {"code": "nothing"}], evaluation=b"")
    lookup = start(bend_bob=Bend("evaluated", lambda m: [twist(m)]))
    found = lookup.ask("key 1", "nobody")
    assert (found.values, found.errors) == ([None, None], ["E_WIRE", "E_WIRE"])


# What an asker may lie about.


def calls(change: Callable[[list[Body]], list[Any]]) -> Twist:
    return lambda m: {**m, "calls": change(m["calls"])}


def queries(change: Callable[[list[bytes]], list[Any]]) -> Twist:
    return lambda m: {**m, "queries": change(m["queries"])}


def many(m: Body) -> Body:
    return {**m, "calls": m["calls"][:1] * 65, "blinded": m["blinded"][:32] * 65}


TRICKS: dict[str, tuple[str, Twist]] = {
    "more keys than a request has": ("calls", many),
    "more calls than keys": ("calls", calls(lambda c: [*c, c[0]])),
    "fewer calls than keys": ("calls", calls(lambda c: c[:1])),
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
    "a key that is cut": ("calls", lambda m: {**m, "blinded": m["blinded"][:-1]}),
    "a key that is no element": ("calls", lambda m: {**m, "blinded": m["blinded"][:32] + NO_ELEMENT}),
    "a key that is the identity": ("calls", lambda m: {**m, "blinded": bytes(32) + m["blinded"][32:]}),
    "fewer queries than keys": ("queries", queries(lambda q: q[:-1])),
    "more queries than keys": ("queries", queries(lambda q: [*q, q[0]])),
    "a short query": ("queries", queries(lambda q: [q[0], q[1][:-4]])),
    "a long query": ("queries", queries(lambda q: [q[0] + bytes(4), q[1]])),
    "a query that is text": ("queries", queries(lambda q: [q[0], "x" * len(q[1])])),
    "a query of another version": ("queries", queries(lambda q: [q[0], flipped(q[1], 15)])),
}


@pytest.mark.parametrize("name", TRICKS)
def test_an_asker_that_lies_is_named(start: Callable[..., Lookup], name: str) -> None:
    kind, twist = TRICKS[name]
    judged(start(bend_alice=Bend(kind, twist)), ALICE)


def test_an_asker_that_goes_on_in_a_full_block_is_named(start: Callable[..., Lookup]) -> None:
    seen: list[Body] = []

    def bend(step: str, message: bytes) -> list[bytes]:
        if step == "calls":
            seen.append(body(message))
        # A block of three calls comes to its end, and two more are made instead.
        return [encode_body(seen[0])] if step == "close" else [message]

    lookup = start(bend_alice=bend, maximum_keys=2, block_calls=3)
    judged(lookup, ALICE)
    assert lookup.outcomes == {}


@pytest.mark.parametrize("kind", ["close", "queries"])
def test_an_asker_that_closes_what_is_closed_is_named(start: Callable[..., Lookup], kind: str) -> None:
    # The third request follows the end of the first block.
    bend = Bend("calls", lambda m: {"kind": kind, **VALID[kind]}, skip=2)
    judged(start(bend_alice=bend), ALICE)


def test_a_query_of_the_version_before_is_refused(start: Callable[..., Lookup]) -> None:
    first: list[Body] = []

    def bend(step: str, message: bytes) -> list[bytes]:
        if step != "queries":
            return [message]
        first.append(body(message))
        return [encode_body({**first[0], "queries": first[0]["queries"][: len(first[-1]["queries"])]})]

    judged(start(bend_alice=bend), ALICE, changed=True)


# The table whole.


@pytest.fixture
def _whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asker.Asker, "_whole_is_cheaper", lambda self: True)


@pytest.mark.usefixtures("_whole")
@pytest.mark.parametrize(
    "twist",
    [
        lambda m: {"kind": "answers", "answers": []},
        having(more=1),
        lambda m: [m, b"piece of another length"],
        lambda m: [m, m],
    ],
    ids=["answers", "with more", "another piece", "twice"],
)
def test_a_host_that_gives_another_table_is_named(start: Callable[..., Lookup], twist: Twist) -> None:
    judged(start(bend_bob=Bend("table", twist)), BOB)


@pytest.mark.usefixtures("_whole")
@pytest.mark.parametrize(
    "twist",
    [having(more=1), lambda m: {"kind": "tables"}, lambda m: b""],
    ids=["with more", "no kind", "nothing"],
)
def test_an_asker_whose_wish_for_the_table_is_malformed_is_named(
    start: Callable[..., Lookup], twist: Twist
) -> None:
    judged(start(bend_alice=Bend("table", twist)), ALICE)


@pytest.mark.usefixtures("_whole")
def test_a_host_whose_change_is_of_no_cell_is_named_by_who_took_the_table(
    start: Callable[..., Lookup],
) -> None:
    def outside(delta: bytes) -> bytes:
        return delta[:32] + b"\xff" * 4 + delta[36:]

    judged(start(bend_bob=Bend("delta", outside)), BOB, changed=True)


@pytest.mark.usefixtures("_whole")
def test_an_asker_that_asks_for_columns_of_a_table_that_it_took_is_named(
    start: Callable[..., Lookup],
) -> None:
    """Its queries stand where another group of calls belongs."""

    def queries_before(m: Body) -> list[Body]:
        return [{"kind": "queries", "queries": [bytes(144)]}, m]

    judged(start(bend_alice=Bend("close", queries_before)), ALICE)


def test_an_epoch_beyond_the_askers_memory_is_refused_before_its_hint(start: Callable[..., Lookup]) -> None:
    """As many columns as a table may have: the matrix alone is 1.5 GB."""
    lookup = start(bend_bob=Bend("epoch", having(columns=1 << 18)))
    with pytest.raises(AtollError) as caught:
        lookup.ask("key 1")
    assert caught.value.code == "E_MEMORY"
    assert "1024 MiB" in caught.value.text
