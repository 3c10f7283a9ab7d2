"""However two sides' messages met on the wire, a replay of each sends the same ones, with any number of threads."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll import AtollError
from atoll.crypto.psi import Side
from atoll.net import transcript
from atoll.node.worker.replay import Chain, ReplayChannel
from atoll.protocols import vole_psi
from atoll.protocols.ecdh_psi import run as intersect
from atoll.protocols.memory import pair

JOB, NAME = "job-" + "0" * 32, "psi"
MODES = [("rows", "rows"), ("rows", "nothing"), ("nothing", "rows"), ("size", "size"), ("size", "nothing")]
SEEDS = (b"a" * 32, b"b" * 32)


def _digests(items: list[int]) -> bytes:
    return b"".join(hashlib.sha256(str(i).encode()).digest() for i in items)


def _sides(mine: list[int], theirs: list[int], modes: Any, counted: bool, chunk: int) -> tuple[Side, Side]:
    both = modes == ("rows", "rows") and counted
    counts = [
        b"".join((i % 3 + 1).to_bytes(4, "little") for i in items) if both else None
        for items in (mine, theirs)
    ]
    return (
        Side(_digests(mine), counts[0], len(theirs), *modes, b"job", chunk),
        Side(_digests(theirs), counts[1], len(mine), *reversed(modes), b"job", chunk),
    )


def _go(side: Side, channel: Any, i: int, threads: int) -> Any:
    return intersect(
        side, channel, seed=SEEDS[i], attempt=1, name=NAME, threads=threads, before_open=lambda: None
    )


def _live(
    sides: tuple[Side, Side], capacity: int, go: Any = _go
) -> tuple[list[Any], list[list[tuple[str, bytes]]]]:
    ends, found = pair(capacity), [None, None]

    def party(i: int) -> None:
        found[i] = go(sides[i], ends[i], i, 1)

    threads = [threading.Thread(target=party, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found, [end.sent for end in ends]


def _chain(who: int) -> Chain:
    return Chain(JOB, 1, NAME, f"party {who}")


def _channel(messages: list[list[tuple[str, bytes]]], i: int) -> tuple[ReplayChannel, Chain, Chain]:
    sent, taken = _chain(i), _chain(1 - i)
    kept, received = [sent.take(*m) for m in messages[i]], messages[1 - i]
    for message in received:
        taken.take(*message)
    return (
        ReplayChannel(NAME, iter(received), iter(kept), _chain(i), _chain(1 - i), lambda: None),
        sent,
        taken,
    )


@settings(max_examples=40)
@given(
    mine=st.lists(st.integers(0, 30), unique=True, max_size=20),
    theirs=st.lists(st.integers(0, 30), unique=True, max_size=20),
    modes=st.sampled_from(MODES),
    counted=st.booleans(),
    chunk=st.integers(1, 8),
    capacity=st.integers(1, 5),
    threads=st.sampled_from([1, 2]),
)
def test_each_side_comes_out_again(
    mine: list[int], theirs: list[int], modes: Any, counted: bool, chunk: int, capacity: int, threads: int
) -> None:
    sides = _sides(mine, theirs, modes, counted, chunk)
    found, messages = _live(sides, capacity)
    for i in (0, 1):
        channel, sent, taken = _channel(messages, i)
        assert _go(sides[i], channel, i, threads) == found[i]
        assert channel.first is None
        assert (channel.sent.value, channel.taken.value) == (sent.value, taken.value)
        assert not channel.document()["kept_more"]


FAST_MODES = [("rows", "rows"), ("rows", "nothing"), ("nothing", "rows")]
KINDS: list[tuple[Any, Any]] = [
    ("malicious", "fast"),
    ("semi-honest", "fast"),
    ("semi-honest", "low-communication"),
]


@settings(max_examples=15, deadline=None)
@given(
    mine=st.lists(st.integers(0, 30), unique=True, min_size=1, max_size=20),
    theirs=st.lists(st.integers(0, 30), unique=True, min_size=1, max_size=20),
    modes=st.sampled_from(FAST_MODES),
    kind=st.sampled_from(KINDS),
    counted=st.booleans(),
    bucket=st.sampled_from([5, 64]),
    capacity=st.integers(1, 5),
    threads=st.sampled_from([1, 2]),
)
def test_each_side_of_a_fast_join_comes_out_again(
    mine: list[int],
    theirs: list[int],
    modes: Any,
    kind: tuple[Any, Any],
    counted: bool,
    bucket: int,
    capacity: int,
    threads: int,
) -> None:
    def go(side: Side, channel: Any, i: int, threads: int) -> Any:
        return vole_psi.run(
            side,
            channel,
            seed=SEEDS[i],
            attempt=1,
            name=NAME,
            threads=threads,
            security=kind[0],
            variant=kind[1],
            before_open=lambda: None,
            bucket_items=bucket,
        )

    sides = _sides(mine, theirs, modes, counted, 1)
    found, messages = _live(sides, capacity, go)
    for i in (0, 1):
        channel, sent, taken = _channel(messages, i)
        assert go(sides[i], channel, i, threads) == found[i]
        assert channel.first is None
        assert (channel.sent.value, channel.taken.value) == (sent.value, taken.value)
        assert not channel.document()["kept_more"]


@settings(max_examples=25)
@given(place=st.integers(0, 19), changed=st.integers(100, 200), chunk=st.integers(1, 8))
def test_one_other_key_changes_the_message_that_holds_it(place: int, changed: int, chunk: int) -> None:
    mine, theirs = list(range(20)), list(range(10, 30))
    _, messages = _live(_sides(mine, theirs, ("rows", "rows"), False, chunk), 3)
    other = [changed if i == place else key for i, key in enumerate(mine)]
    channel, _, _ = _channel(messages, 0)
    _go(_sides(other, theirs, ("rows", "rows"), False, chunk)[0], channel, 0, 1)
    assert channel.first is not None
    assert channel.first["step"] == f"ecdh-psi/blinded/{channel.first['number'] - 1}"


def test_the_chain_is_the_sessions() -> None:
    channel, _, _ = _channel([[("one", b"1")], []], 0)
    channel.send(b"1", "one")
    start = transcript.start(JOB, 1, NAME, "party 0")
    assert channel.sent.value == transcript.extend(start, 0, "one", b"1")


def test_a_message_is_readable_only_once_it_is_waited_for_and_none_is_made_up() -> None:
    channel, _, _ = _channel([[], [("one", b"1")]], 0)
    assert not channel.readable()
    channel.wait(read=False, write=True)
    channel.wait(read=True, write=True)
    assert not channel.readable()
    channel.wait(read=True, write=False)
    assert channel.readable()
    assert channel.writable()
    assert channel.receive() == ("one", b"1")
    assert not channel.readable()
    with pytest.raises(AtollError) as none_left:
        channel.recv()
    assert none_left.value.code == "E_DATA"


def test_a_cancelled_replay_ends_at_the_next_message() -> None:
    def gone() -> None:
        raise AtollError("E_CANCELLED", "somebody cancelled it")

    channel = ReplayChannel(NAME, iter([("one", b"1")]), iter([]), _chain(0), _chain(1), gone)
    for act in (lambda: channel.send(b"", "x"), channel.recv):
        with pytest.raises(AtollError) as ended:
            act()
        assert ended.value.code == "E_CANCELLED"
