"""Sums by pairwise masks: exact, hidden without all holders, and closed to a hub that changes keys."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.crypto import masks
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.protocols import memory
from atoll.protocols.pairwise_masks import Holder, Session, run_holder, run_hub

KEYS = sorted((SigningKey(bytes([i]) * 32) for i in range(1, 9)), key=lambda k: str(k.public))


def session(n: int, length: int = 3, attempt: int = 0, label: str = "totals") -> Session:
    return Session("job-1", attempt, tuple(str(k.public) for k in KEYS[:n]), length, label)


def holder(s: Session, i: int) -> Holder:
    return Holder(s, KEYS[i], bytes([100 + i]) * 32)


def roster(s: Session, hellos: list[bytes]) -> bytes:
    return b"\x02" + b"".join(h[1:] for h in hellos)


def star(s: Session, vectors: list[list[int]], hub_is_holder: bool, tamper=lambda i, m: m):
    """Runs the star in threads; `tamper` may change any message of holder i to the hub."""
    first = int(hub_is_holder)
    n = len(s.holders)
    ends = {i: memory.pair(64, seconds=5) for i in range(first, n)}
    opened: list[int] = []

    class Tampering:
        def __init__(self, i):
            self.i, self.channel = i, ends[i][1]

        def __getattr__(self, name):
            return getattr(self.channel, name)

        def send(self, payload, step):
            self.channel.send(tamper(self.i, payload), step)

    def remote(i):
        run_holder(holder(s, i), vectors[i], Tampering(i), before_open=lambda: opened.append(i))

    with ThreadPoolExecutor(n) as workers:
        jobs = [workers.submit(remote, i) for i in ends]
        try:
            own = (holder(s, 0), vectors[0]) if hub_is_holder else None
            total = run_hub(s, {s.holders[i]: ends[i][0] for i in ends}, own)
        finally:
            for hub_end, _ in ends.values():
                hub_end.close()
        for job in jobs:
            job.result()
    assert sorted(opened) == list(ends)
    return total


@settings(max_examples=25, deadline=None)
@given(st.data(), st.integers(2, 8), st.integers(1, 5), st.booleans())
def test_the_hub_gets_the_exact_sum(data, n, length, hub_is_holder):
    s = session(n, length)
    limit = s.limit
    vectors = [
        data.draw(st.lists(st.integers(-limit, limit), min_size=length, max_size=length)) for _ in range(n)
    ]
    assert star(s, vectors, hub_is_holder) == [sum(column) for column in zip(*vectors, strict=True)]


def test_long_vectors_travel_in_pieces():
    length = (1 << 16) + 5
    vectors = [list(range(length)), [1] * length]
    assert star(session(2, length), vectors, True)[-1] == length


def masked_all(s: Session, values: list[int]) -> list[bytes]:
    holders = [holder(s, i) for i in range(len(s.holders))]
    every = roster(s, [h.hello() for h in holders])
    return [h.masked(every, values) for h in holders]


def test_without_one_holder_the_sum_is_noise():
    vectors = masked_all(session(4, 64), [7] * 64)
    assert masks.decode(masks.unmask_sum(vectors)) == [28] * 64
    for left_out in range(4):
        partial = masks.decode(masks.unmask_sum(vectors[:left_out] + vectors[left_out + 1 :]))
        # 64 uniform words below 2^64 in size: chance 2^-4032.
        assert sum(abs(value) > 2**64 for value in partial) > 60


def test_every_attempt_label_and_holder_set_masks_anew():
    base = masked_all(session(3), [1, 2, 3])
    for other in (
        session(3, attempt=1),
        session(3, label="counts"),
        session(4),
        replace(session(3), job="job-2"),
    ):
        assert masked_all(other, [1, 2, 3])[0] != base[0]
    assert masked_all(session(3), [1, 2, 3]) == base


def test_a_vector_is_masked_once():
    s = session(2)
    first, second = holder(s, 0), holder(s, 1)
    every = roster(s, [first.hello(), second.hello()])
    first.masked(every, [1, 2, 3])
    with pytest.raises(AtollError) as caught:
        first.masked(every, [4, 5, 6])
    assert caught.value.code == "E_REWIND"


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("empty", lambda s, h: b"", "E_PROTOCOL"),
        ("not a roster", lambda s, h: h[0], "E_PROTOCOL"),
        ("a holder missing", lambda s, h: roster(s, h[:2]), "E_PROTOCOL"),
        ("a holder twice", lambda s, h: roster(s, [h[0], h[1], h[1]]), "E_PROTOCOL"),
        ("another order", lambda s, h: roster(s, [h[1], h[0], h[2]]), "E_PROTOCOL"),
        ("one too many", lambda s, h: roster(s, [*h, h[0]]), "E_PROTOCOL"),
        ("trailing byte", lambda s, h: roster(s, h) + b"\0", "E_PROTOCOL"),
        ("cut short", lambda s, h: roster(s, h)[:-1], "E_PROTOCOL"),
        ("huge field", lambda s, h: b"\x02\xff\xff\xff\xff" + roster(s, h)[5:], "E_PROTOCOL"),
        (
            "the hub's own key",
            lambda s, h: roster(s, [h[0], h[1], h[2][:81] + b"\x09" * 32 + h[2][113:]]),
            "E_SIGNATURE",
        ),
        (
            "key of another attempt",
            lambda s, h: roster(s, [*h[:2], holder(session(3, attempt=1), 2).hello()]),
            "E_SIGNATURE",
        ),
        (
            "key of another set",
            lambda s, h: roster(s, [*h[:2], holder(session(4), 2).hello()]),
            "E_SIGNATURE",
        ),
        (
            "flipped signature",
            lambda s, h: roster(s, [*h[:2], h[2][:-1] + bytes([h[2][-1] ^ 1])]),
            "E_SIGNATURE",
        ),
    ],
)
def test_a_hub_that_changes_the_roster_gets_nothing(name, change, code):
    s = session(3)
    hellos = [holder(s, i).hello() for i in range(3)]
    with pytest.raises(AtollError) as caught:
        holder(s, 0).masked(change(s, hellos), [1, 2, 3])
    assert caught.value.code == code, name


@pytest.mark.parametrize(
    ("kind", "change", "code"),
    [
        (1, lambda m: b"", "E_PROTOCOL"),
        (1, lambda m: m + b"\0", "E_PROTOCOL"),
        (1, lambda m: holder(session(3), 2).hello(), "E_PROTOCOL"),
        (1, lambda m: m[:-1] + bytes([m[-1] ^ 1]), "E_SIGNATURE"),
        (3, lambda m: m[:-1], "E_PROTOCOL"),
        (3, lambda m: m + bytes(16), "E_PROTOCOL"),
        (3, lambda m: b"\x01" + m[1:], "E_PROTOCOL"),
    ],
)
def test_a_holder_that_breaks_the_rules_is_named(kind, change, code):
    s = session(3)

    def tamper(i, message):
        return change(message) if i == 1 and message[:1] == bytes([kind]) else message

    with pytest.raises(AtollError) as caught:
        star(s, [[1, 2, 3]] * 3, True, tamper)
    assert (caught.value.code, caught.value.party) == (code, s.holders[1])


def test_an_ephemeral_key_of_small_order_is_refused():
    with pytest.raises(AtollError, match="small order"):
        masks.masked(bytes(16), bytes(32), 0, "c", me="a", peers={"b": bytes(32)}, context=b"", label="l")


def test_values_beyond_the_limit_are_refused_before_anything_is_masked():
    s = session(3)
    with pytest.raises(AtollError, match="E_RANGE"):
        holder(s, 0).masked(b"", [s.limit + 1, 0, 0])
    with pytest.raises(AtollError, match="E_FORMAT"):
        holder(s, 0).masked(b"", [0, 0])


@pytest.mark.parametrize(
    "change",
    [
        {"holders": (session(2).holders[0],)},
        {"holders": session(2).holders[::-1]},
        {"length": 0},
        {"attempt": -1},
        {"holders": ("a", "b")},
    ],
)
def test_bad_sessions_are_refused(change):
    with pytest.raises(AtollError, match="E_FORMAT"):
        replace(session(2), **change)


def test_a_stranger_is_no_holder_and_channels_match_the_set():
    s = session(2)
    with pytest.raises(AtollError, match="not one of the holders"):
        Holder(s, KEYS[5], bytes(32))
    with pytest.raises(AtollError, match="not those of the agreed holders"):
        run_hub(s, {s.holders[0]: memory.pair()[0]})
