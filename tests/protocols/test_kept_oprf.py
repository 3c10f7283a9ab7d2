"""The kept OPRF over a channel: updates, askings, crashes between steps, cheating."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto.kept_oprf import KeptOprf, State, difference, kept_items
from atoll.errors import AtollError
from atoll.protocols.kept_oprf import (
    Held,
    answer,
    ask,
    estimate,
    serve_update,
    take_update,
)
from atoll.protocols.memory import MemoryChannel, pair

SEED = b"k" * 32


def digests(values: Any) -> bytes:
    return b"".join(hashlib.sha256(str(v).encode()).digest() for v in values)


def first(values: Any, seed: bytes = SEED) -> Held:
    return Held.first(seed, b"table/partner", digests(values), max_held=1000, max_asked=1000)


def both(one: Callable[[MemoryChannel], Any], two: Callable[[MemoryChannel], Any]) -> tuple[Any, Any]:
    """Results of two sides; an error closes the channel and stands in the place of the result."""
    ends = pair(seconds=5.0)
    results: list[Any] = [None, None]

    def side(i: int, body: Callable[[MemoryChannel], Any]) -> None:
        try:
            results[i] = body(ends[i])
        except AtollError as error:
            results[i] = error
            ends[i].close()

    threads = [threading.Thread(target=side, args=(i, body)) for i, body in enumerate((one, two))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results[0], results[1]


def update(held: Held, store: bytes | None, save: Callable[[bytes], None] = lambda store: None) -> Any:
    return both(
        lambda channel: serve_update(held, channel, before_open=lambda: None),
        lambda channel: take_update(store, channel, max_items=1000, save=save),
    )


def asking(
    held: Held,
    store: bytes,
    values: Any,
    max_items: int = 100,
    meter: Callable[[int], None] = lambda n: None,
) -> Any:
    return both(
        lambda c: answer(
            held, c, seed=b"h" * 32, attempt=0, name="c", max_items=max_items, meter=meter, threads=1
        ),
        lambda c: ask(store, digests(values), c, seed=b"a" * 32, attempt=0, name="c", chunk_items=7),
    )


def found(matched: bytes) -> list[int]:
    return [int.from_bytes(matched[i : i + 4], "little") for i in range(0, len(matched), 4)]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sets(st.integers(0, 30), max_size=20), min_size=1, max_size=4),
    st.lists(st.integers(0, 30), unique=True, max_size=20),
)
def test_matches_are_those_of_sets_after_any_changes(sets: list[set[int]], asked: list[int]) -> None:
    held: Held = first(sets[0])
    store: Any = None
    for i, values in enumerate(sets):
        held = held if i == 0 else held.following(digests(values))
        held, store = update(held, store)
        assert held.before is None
        assert kept_items(store) == len(values)
    metered: list[int] = []
    count, matched = asking(held, store, asked, meter=metered.append)
    assert count == len(asked)
    assert metered == [len(asked)]
    assert [asked[i] for i in found(matched)] == [v for v in asked if v in sets[-1]]


def test_an_unchanged_set_sends_no_output() -> None:
    held, store = update(first(range(50)), None)
    assert held.following(digests(reversed(range(50)))) is held
    ends = pair(seconds=5.0)
    thread = threading.Thread(
        target=take_update, args=(store, ends[1]), kwargs={"max_items": 50, "save": lambda store: None}
    )
    thread.start()
    serve_update(held, ends[0], before_open=lambda: None)
    thread.join()
    assert [len(payload) for _, payload in ends[0].sent] == [66]


def test_only_what_changed_is_sent() -> None:
    held, store = update(first(range(50)), None)
    after = held.following(digests([*range(1, 50), 99]))
    added, removed = difference(held.digests, after.digests)
    assert added == digests([99])
    assert removed == digests([0])
    sizes: list[int] = []

    def serve(channel: MemoryChannel) -> Held:
        result = serve_update(after, channel, before_open=lambda: None)
        sizes.extend(len(payload) for _, payload in channel.sent)
        return result

    both(serve, lambda c: take_update(store, c, max_items=1000, save=lambda store: None))
    assert sizes == [66, 5 + after.width, 5 + after.width]


def test_a_crash_of_the_asker_before_it_kept_leaves_both_at_the_old_version() -> None:
    held, store = update(first(range(10)), None)
    after = held.following(digests(range(5, 15)))

    def crash(_: bytes) -> None:
        raise AtollError("E_WORKER", "killed")

    served, taken = update(after, store, crash)
    assert isinstance(served, AtollError)
    assert taken.code == "E_WORKER"
    held, store = update(after, store)
    assert store is not None
    assert State.of(store) == after.state


def test_a_crash_before_the_confirmation_is_caught_up() -> None:
    held, store = update(first(range(10)), None)
    after = held.following(digests(range(5, 15)))
    saved: list[bytes] = []

    def keep_and_crash(new: bytes) -> None:
        saved.append(new)
        raise AtollError("E_WORKER", "killed")

    update(after, store, keep_and_crash)
    # The holder still has the version before; the asker is already at the new one.
    held, store = update(after, saved[0])
    assert store == saved[0]
    assert held.before is None


def test_a_version_that_is_not_held_is_refused_by_name_or_sent_anew() -> None:
    held, old = update(first(range(10)), None)
    held, _ = update(held.following(digests(range(20))), old)
    held = held.following(digests(range(30)))
    served, _ = update(held, old)
    assert served.code == "E_STATE"
    assert f"version {State.of(old).version}" in str(served)
    served, store = both(
        lambda c: serve_update(held, c, before_open=lambda: None, anew=True),
        lambda c: take_update(old, c, max_items=1000, save=lambda store: None),
    )
    assert kept_items(store) == 30
    assert State.of(store) == held.state


def test_a_new_key_replaces_everything_and_old_stores_are_refused() -> None:
    _held, store = update(first(range(10)), None)
    rotated = first(range(10), seed=b"n" * 32)
    served, _ = asking(rotated, store, [1])
    assert served.code == "E_PROTOCOL"
    assert "another key" in str(served)
    rotated, new = update(rotated, store)
    assert State.of(new).public != State.of(store).public
    assert found(asking(rotated, new, [3, 77])[1]) == [0]


def test_a_stale_version_is_refused() -> None:
    held, store = update(first(range(10)), None)
    after = held.following(digests(range(11)))
    served, _ = asking(after, store, [1])
    assert served.code == "E_PROTOCOL"
    assert f"version {held.version}, the set has version {after.version}" in str(served)


def test_a_holder_whose_state_went_back_sends_all_anew() -> None:
    older, store = update(first(range(10)), None)
    _, store = update(older.following(digests(range(20))), store)
    # As many changes and as many keys as the asker has seen, and other keys.
    for again in (older.following(digests(range(10, 30))), older):
        served, taken = both(
            lambda c, again=again: serve_update(again, c, before_open=lambda: None, anew=True),
            lambda c: take_update(store, c, max_items=1000, save=lambda store: None),
        )
        assert served.digests == again.digests
        assert State.of(taken) == again.state
        assert kept_items(taken) == len(again.digests) // 32
    assert first(range(10)).version == older.version, "the order of the keys is no matter"
    assert first(reversed(range(10))).version == older.version
    assert first(range(10), seed=b"n" * 32).version != older.version, "who has no seed cannot test a guess"


def test_quota_comes_before_any_evaluation() -> None:
    held, store = update(first(range(10)), None)
    sent: list[Any] = []

    def refuse(count: int) -> None:
        raise AtollError("E_QUOTA", f"{count} keys are too many.")

    def serve(channel: MemoryChannel) -> int:
        try:
            return answer(held, channel, seed=b"h" * 32, attempt=0, name="c", max_items=100, meter=refuse)
        finally:
            sent.extend(channel.sent)

    served, taken = both(serve, lambda c: ask(store, digests([1]), c, seed=b"a" * 32, attempt=0, name="c"))
    assert served.code == "E_QUOTA"
    assert sent == []
    assert isinstance(taken, AtollError)
    served, _ = asking(held, store, range(5), max_items=4)
    assert served.code == "E_PROTOCOL"
    assert "more keys than it may" in str(served)


def test_a_set_beyond_its_bound_is_refused_on_both_sides() -> None:
    with pytest.raises(AtollError) as error:
        Held.first(SEED, b"", digests(range(3)), max_held=2, max_asked=1)
    assert error.value.code == "E_TOO_LARGE"
    _, taken = both(
        lambda c: serve_update(first(range(3)), c, before_open=lambda: None),
        lambda c: take_update(None, c, max_items=2, save=lambda store: None),
    )
    assert taken.code == "E_PROTOCOL"


def test_nothing_of_the_set_leaves_before_it_may() -> None:
    def refuse() -> None:
        raise AtollError("E_QUOTA", "not now")

    sent: list[Any] = []

    def serve(channel: MemoryChannel) -> Held:
        try:
            return serve_update(first(range(3)), channel, before_open=refuse)
        finally:
            sent.extend(channel.sent)

    served, _ = both(serve, lambda c: take_update(None, c, max_items=9, save=lambda store: None))
    assert served.code == "E_QUOTA"
    assert sent == []


def test_bad_arguments() -> None:
    for make in (
        lambda: KeptOprf.keeper(b"not a store", max_items=1),
        lambda: KeptOprf.asker(SEED, 0, "c", b"", b""),
        lambda: KeptOprf.evaluator(SEED, 0, "c", (b"short", b""), version=1, max_items=1),
        lambda: KeptOprf.evaluator(SEED, 0, "c", (SEED, b""), version=1, max_items=1, threads=0),
        lambda: State(b"short", 1).encode(),
        lambda: difference(b"1", b""),
    ):
        with pytest.raises(AtollError) as error:
            make()
        assert error.value.code == "E_FORMAT"
    with pytest.raises(AtollError) as error:
        State.parse(b"\x01")
    assert error.value.code == "E_PROTOCOL"


def test_estimate_bounds_the_bytes() -> None:
    held = first(range(40))
    holder_sent: list[int] = []
    asker_sent: list[int] = []

    def serve(channel: MemoryChannel) -> None:
        now = serve_update(held, channel, before_open=lambda: None)
        answer(now, channel, seed=b"h" * 32, attempt=0, name="c", max_items=9, meter=lambda n: None)
        holder_sent.extend(len(payload) for _, payload in channel.sent)

    def take(channel: MemoryChannel) -> None:
        store = take_update(None, channel, max_items=40, save=lambda store: None)
        ask(store, digests(range(9)), channel, seed=b"a" * 32, attempt=0, name="c")
        asker_sent.extend(len(payload) for _, payload in channel.sent)

    both(serve, take)
    cost, seconds = estimate(changed=40, asked=9, width=held.width, bandwidth=1e6, latency=0.01)
    assert sum(holder_sent) <= cost.holder_bytes <= sum(holder_sent) + 16
    assert sum(asker_sent) <= cost.asker_bytes <= sum(asker_sent) + 16
    assert seconds > 0.04
