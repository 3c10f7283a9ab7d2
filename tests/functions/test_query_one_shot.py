"""Lookups without a hint as they run: the same answers, what either side may lie about, and what the host sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from atoll_lookup_world import ALICE, BOB, Lookup, body, kinds
from atoll_view_statistics import BYTES_BOUND, TILT_BOUND, difference, tilted, uniformity
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto.lookup import ENCRYPTION_KEYS_BYTES
from atoll.crypto.stream import stream_bytes
from atoll.crypto.wire import encode_body
from atoll.errors import AtollError
from atoll.functions.context import Shown
from atoll.functions.query import host, messages
from atoll.functions.query.messages import FIELDS

TABLE = {f"key {n}": 3 * n for n in range(60)}
Body = dict[str, Any]
Twist = Callable[[Body], Any]
Start = Callable[..., Lookup]


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_LOOK_SECONDS", 0.005)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[Lookup] = []

    def started(table: dict[str, int] | None = None, **options: Any) -> Lookup:
        folder = tmp_path / str(len(running))
        folder.mkdir()
        running.append(Lookup(folder, TABLE if table is None else table, one_shot=True, **options))
        return running[-1]

    yield started
    for one in running:
        one.stop()


# Answers.


def test_hits_and_misses_and_nothing_of_a_hint(start: Start) -> None:
    lookup = start()
    assert lookup.ask("key 7").values == [21]
    wanted = ["key 0", "nobody", "key 59", "key 0", ""]
    assert lookup.ask(*wanted).values == [TABLE.get(key) for key in wanted]
    lookup.ended()
    assert kinds(lookup.lines[ALICE].received) == ["epoch", *["evaluated", "answers"] * 2, "close", "stop"]
    assert kinds(lookup.lines[BOB].received) == [
        "calls", "keys", "queries", "calls", "queries", "close", "stop",
    ]  # fmt: skip
    assert lookup.outcomes[ALICE].meters == {"calls": 6}


def test_a_request_of_many_keys_goes_in_groups_of_sixteen(start: Start) -> None:
    lookup = start()
    wanted = [f"key {n}" for n in range(40, 75)]
    assert lookup.ask(*wanted).values == [TABLE.get(key) for key in wanted]
    lookup.ended()
    sent = [body(message) for message in lookup.lines[BOB].received]
    assert [len(m["queries"]) for m in sent if m["kind"] == "queries"] == [16, 16, 3]


def test_keys_that_are_refused_are_not_asked_for(start: Start) -> None:
    def admit(shown: Shown | None) -> None:
        assert shown is not None
        if shown.commitment == "late":
            raise AtollError("E_QUOTA", "no more today")

    def word(text: str) -> Body:
        return {"commitment": text, "opening": b"o" * 32, "envelope": None}

    lookup = start(consent="attested", admit=admit)
    none = lookup.ask("key 1", shown=[word("late")])
    assert (none.values, none.errors) == ([None], ["E_QUOTA"])
    found = lookup.ask("key 1", "key 2", shown=[word("late"), word("a")])
    assert (found.values, found.errors) == ([None, 6], ["E_QUOTA", None])
    lookup.ended()
    assert kinds(lookup.lines[BOB].received) == ["calls", "calls", "keys", "queries", "close", "stop"]


tables = st.dictionaries(st.sampled_from([f"k{n}" for n in range(30)]), st.integers(0, 3), max_size=20)


@settings(max_examples=6)
@given(tables, st.lists(tables, max_size=3))
def test_each_request_is_answered_from_one_version(
    tmp_path_factory: pytest.TempPathFactory, first: dict[str, int], later: list[dict[str, int]]
) -> None:
    lookup = Lookup(tmp_path_factory.mktemp("lookup"), first, one_shot=True)
    wanted = [f"k{n}" for n in range(30)]
    versions = []
    for table in [first, *later]:
        if table is not first:
            lookup.put(table)
        found = lookup.ask(*wanted)
        assert found.values == [table.get(key) for key in wanted]
        versions.append(found.version)
    lookup.ended()
    changes = sum(a != b for a, b in zip([first, *later], later, strict=False))
    assert len(set(versions)) == changes + 1
    assert "piece" not in kinds(lookup.lines[ALICE].received)


@pytest.mark.parametrize("memory", [1 << 30, 1 << 22], ids=["kept", "made each time"])
def test_a_hint_that_is_too_large_to_keep_ready_gives_the_same(
    start: Start, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    monkeypatch.setattr("atoll.functions.query.one_shot._KEPT_PART", (1 << 30) // memory)
    lookup = start()
    assert lookup.ask("key 1", "nobody").values == [3, None]
    lookup.put({**TABLE, "key 1": -1})
    assert lookup.ask("key 1", "nobody").values == [-1, None]
    lookup.ended()


def test_a_table_that_outgrows_its_columns_is_sealed_anew_under_other_keys(start: Start) -> None:
    lookup = start({"a": 1, "b": 2})
    assert lookup.ask("a", "new 5").values == [1, None]
    large = {f"new {n}": n for n in range(3000)} | {"b": 4}
    lookup.put(large)
    assert lookup.ask("a", "b", "new 5", "new 2999").values == [None, 4, 5, 2999]
    lookup.put({**large, "a": 9})
    assert lookup.ask("a", "b").values == [9, 4]
    lookup.ended()
    sent = [body(m) for m in lookup.lines[BOB].received]
    assert [m["kind"] for m in sent] == [
        "calls", "keys", "queries", "calls", "keys", "queries", "calls", "queries", "close", "stop",
    ]  # fmt: skip
    first, second = (m["keys"] for m in sent if m["kind"] == "keys")
    assert len(first) == len(second) == ENCRYPTION_KEYS_BYTES
    assert first[:32] != second[:32]
    assert kinds(lookup.lines[ALICE].received).count("epoch") == 2


def test_an_epoch_beyond_the_askers_memory_is_refused(start: Start) -> None:
    lookup = start(bend_bob=Bend("epoch", having(columns=1 << 18)))
    with pytest.raises(AtollError) as caught:
        lookup.ask("key 1")
    assert caught.value.code == "E_MEMORY"


# Sides that cheat.


class Bend:
    """Changes the first message of a kind."""

    def __init__(self, kind: str, twist: Twist, skip: int = 0) -> None:
        self.kind, self.twist, self.left = kind, twist, skip

    def __call__(self, step: str, message: bytes) -> list[bytes]:
        if step != self.kind:
            return [message]
        self.left -= 1
        if self.left != -1:
            return [message]
        found = self.twist(body(message))
        return [
            m if isinstance(m, bytes) else encode_body(m)
            for m in (found if isinstance(found, list) else [found])
        ]


def having(**fields: Any) -> Twist:
    return lambda m: {**m, **fields}


def each(name: str, change: Callable[[bytes], Any]) -> Twist:
    """Changes the last entry of a list."""
    return lambda m: {**m, name: [*m[name][:-1], change(m[name][-1])]}


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def filled(data: bytes, at: int) -> bytes:
    """Two words of 44 bits that are not below the modulus."""
    return data[:at] + b"\xff" * 11 + data[at + 11 :]


OTHER: Body = {
    "none": None, "text": "x", "number": 7, "bytes": b"x", "list": [], "truth": True, "mapping": {},
}  # fmt: skip


def every(kind: str) -> dict[str, Twist]:
    found: dict[str, Twist] = {
        "no CBOR": lambda m: b"\xff",
        "nothing": lambda m: b"",
        "no mapping": lambda m: encode_body([m]),
        "of no kind": having(kind="calls "),
        "with more": having(more=None),
    }
    for name in sorted(FIELDS[kind]):
        found[f"without {name}"] = lambda m, name=name: {k: v for k, v in m.items() if k != name}  # type: ignore[misc]
        found |= {f"{name} is {what}": having(**{name: value}) for what, value in OTHER.items()}
    return {f"{kind} {name}": twist for name, twist in found.items()}


HOSTS: dict[str, tuple[str, Twist]] = {
    **{name: ("answers", twist) for name, twist in every("answers").items()},
    "a delta": ("evaluated", having(delta=104)),
    "a version that is short": ("evaluated", having(version=bytes(15))),
    "a version that is text": ("evaluated", having(version="x" * 16)),
    "fewer answers": ("answers", lambda m: {**m, "answers": m["answers"][:1]}),
    "more answers": ("answers", lambda m: {**m, "answers": m["answers"] * 2}),
    "a short answer": ("answers", each("answers", lambda a: a[:-1])),
    "a long answer": ("answers", each("answers", lambda a: a + b"x")),
    "an answer that is text": ("answers", each("answers", lambda a: "x" * len(a))),
    "an answer of another version": ("answers", each("answers", lambda a: flipped(a, 0))),
    "a table": ("answers", lambda m: {"kind": "table"}),
    "an epoch of no sizes": ("epoch", having(columns=33)),
}
ASKERS: dict[str, tuple[str, Twist]] = {
    **{name: ("keys", twist) for name, twist in every("keys").items()},
    **{name: ("queries", twist) for name, twist in every("queries").items()},
    "short keys": ("keys", lambda m: {**m, "keys": m["keys"][:-1]}),
    "long keys": ("keys", lambda m: {**m, "keys": m["keys"] + b"x"}),
    "keys with a word beyond the modulus": ("keys", lambda m: {**m, "keys": filled(m["keys"], 32)}),
    "keys whose last word is beyond it": ("keys", lambda m: {**m, "keys": filled(m["keys"], 168_981)}),
    "keys twice": ("keys", lambda m: [m, m]),
    "no keys": ("keys", lambda m: []),
    "the table whole": ("queries", lambda m: {"kind": "table"}),
    "fewer queries": ("queries", lambda m: {**m, "queries": m["queries"][:1]}),
    "more queries": ("queries", lambda m: {**m, "queries": m["queries"] * 2}),
    "a query that is text": ("queries", each("queries", lambda q: "x" * len(q))),
    "a query without its secret": ("queries", each("queries", lambda q: q[:-33_824])),
    "a short query": ("queries", each("queries", lambda q: q[:-1])),
    "a long query": ("queries", each("queries", lambda q: q + b"x")),
    "a query of another version": ("queries", each("queries", lambda q: flipped(q, 15))),
    "a secret with a word beyond the modulus": ("queries", each("queries", lambda q: filled(q, len(q) - 33_792))),
    "a secret whose last word is beyond it": ("queries", each("queries", lambda q: filled(q, len(q) - 11))),
}  # fmt: skip


def judged(lookup: Lookup, cheat: str) -> None:
    """The side that does not cheat says who does."""
    honest = BOB if cheat == ALICE else ALICE
    try:
        lookup.ask("key 1", "nobody")
        lookup.ask("key 2")
    except AtollError:
        pass
    error = lookup.fault(honest)
    assert (error.code, error.party, error.step) == ("E_PROTOCOL", cheat, "n2"), error.text
    other = lookup.errors.get(cheat)
    assert other is None or isinstance(other, AtollError)


@pytest.mark.parametrize("name", HOSTS)
def test_a_host_that_lies_is_named(start: Start, name: str) -> None:
    kind, twist = HOSTS[name]
    judged(start(bend_bob=Bend(kind, twist)), BOB)


@pytest.mark.parametrize("name", ASKERS)
def test_an_asker_that_lies_is_named(start: Start, name: str) -> None:
    kind, twist = ASKERS[name]
    judged(start(bend_alice=Bend(kind, twist)), ALICE)


def test_a_question_of_the_version_before_is_refused(start: Start) -> None:
    first: list[Body] = []

    def bend(step: str, message: bytes) -> list[bytes]:
        if step == "queries":
            first.append(body(message))
            return [encode_body(first[0])]
        return [message]

    lookup = start(bend_alice=bend)
    assert lookup.ask("key 1").values == [3]
    lookup.put({**TABLE, "key 1": -1})
    with pytest.raises(AtollError):
        lookup.ask("key 1")
    error = lookup.fault(BOB)
    assert (error.code, error.party) == ("E_PROTOCOL", ALICE)


@pytest.mark.parametrize("part", ["mask", "rows"])
def test_a_spoiled_answer_is_a_miss_and_the_service_goes_on(start: Start, part: str) -> None:
    def spoiled(answer: bytes) -> bytes:
        data = bytearray(answer)
        masks = len(data) - 2 * ((len(data) - 16 - 5120) // 2)
        places = range(16, masks) if part == "mask" else range(masks + 1, len(data), 2)
        for at in places:
            data[at] ^= 0x80
        return bytes(data)

    lookup = start(bend_bob=Bend("answers", lambda m: {**m, "answers": [*map(spoiled, m["answers"])]}))
    assert lookup.ask("key 1", "nobody").values == [None, None]
    assert lookup.ask("key 1", "nobody").values == [3, None]
    lookup.ended()
    shapes = [
        [len(query) for query in m["queries"]]
        for m in map(body, lookup.lines[BOB].received)
        if m["kind"] == "queries"
    ]
    assert shapes[0] == shapes[1]


# What the host sees.

KEYS = 32
Words = npt.NDArray[np.uint8]


def seen(folder: Path, keys: list[str]) -> tuple[list[tuple[str, int]], Words, Words]:
    """Kinds and lengths of what the host gets, the words of queries, and what encrypts their secrets."""
    lookup = Lookup(folder, TABLE, one_shot=True)
    found = []
    for at in range(0, len(keys), 8):
        found += lookup.ask(*keys[at : at + 8]).values
    lookup.ended()
    assert found == [TABLE.get(key) for key in keys]
    received = lookup.lines[BOB].received
    queries = [query for m in map(body, received) if m["kind"] == "queries" for query in m["queries"]]
    data = np.array([np.frombuffer(query, np.uint8) for query in queries])
    lengths = [(kind, len(m)) for kind, m in zip(kinds(received), received, strict=True)]
    return lengths, data[:, 16:-33_824], data[:, -33_824:]


def test_hits_and_misses_look_alike_and_like_what_needs_no_key(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    views = [
        seen(tmp_path_factory.mktemp("view"), keys)
        for keys in ([f"key {n}" for n in range(KEYS)], [f"none {n}" for n in range(KEYS)], ["key 3"] * KEYS)
    ]
    assert views[0][0] == views[1][0] == views[2][0]
    assert {kind for kind, _ in views[0][0]} == {"calls", "keys", "queries", "close", "stop"}
    for number, (_, queries, secrets) in enumerate(views):
        assert len({row.tobytes() for row in queries}) == len({row.tobytes() for row in secrets}) == KEYS
        for part in (queries, secrets):
            draw = stream_bytes(bytes(32), 0, "simulator", f"{number}", part.nbytes)
            assert uniformity(part) < BYTES_BOUND
            assert tilted(part) < TILT_BOUND
            assert difference(part, np.frombuffer(draw, np.uint8)) < BYTES_BOUND
            assert uniformity(part[1:] - part[:-1]) < BYTES_BOUND
    for one, other in ((0, 1), (0, 2)):
        for part in (1, 2):
            assert difference(views[one][part], views[other][part]) < BYTES_BOUND


def test_messages_have_the_fields_that_the_page_names() -> None:
    assert FIELDS[messages.KEYS] == {"keys"}
    assert FIELDS[messages.QUERIES] == {"queries"}
