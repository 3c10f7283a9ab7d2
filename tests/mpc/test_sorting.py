"""Orders: sorting, shuffling, grouping, and what comparisons in the open tell."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpc_parties import channels, run, share

from atoll import mpc
from atoll.errors import AtollError
from atoll.mpc import BOOLEAN, decimal, sorting


def shared(session, values, low, high, owner=0, name="x", kind=None):
    return share(session, values, owner, low, high, kind=kind, name=name)


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize(
    "values",
    [
        np.zeros(40, int),
        np.arange(100),
        np.arange(100)[::-1],
        np.array([5]),
        np.array([2, 1]),
        np.array([], int),
        np.array([-(2**61), 2**61, 0, -1, 1, 2**61 - 1] * 5),
        np.arange(400) % 3,
    ],
    ids=["equal", "sorted", "reversed", "one", "two", "none", "wide", "ties"],
)
def test_sort_and_argsort_are_those_of_numpy(values, parties):
    def party(session):
        x = shared(session, values, -(2**61), 2**61)
        return session.open(np.sort(x), np.argsort(x))

    for ascending, places in run(party, parties=parties):
        assert ascending.tolist() == np.sort(values).tolist()
        assert places.tolist() == np.argsort(values, kind="stable").tolist()


@pytest.mark.parametrize("parties", [2, 3])
@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 5), st.integers(0, 2**40)), min_size=1, max_size=80)
)
def test_rows_by_two_keys_keep_their_payload_and_the_order_of_ties(parties, rows):
    a, b, c = (np.array(column) for column in zip(*rows, strict=True))
    order = np.lexsort((b, a))

    def party(session):
        keys = [shared(session, a, -3, 3), shared(session, b, 0, 5, owner=1)]
        payload = np.stack([shared(session, c, 0, 2**40, owner=2), keys[0]], axis=1)
        return session.open(*mpc.ordered(keys, payload, keys[1] > 2))

    for first, second, both, flags in run(party, parties=parties):
        assert (first == a[order]).all()
        assert (second == b[order]).all()
        assert (both == np.stack([c, a], 1)[order]).all()
        assert (flags.astype(bool) == (b > 2)[order]).all()


def test_keys_that_do_not_fit_one_word_are_compared_word_by_word():
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 3, 200) * 2**60, rng.integers(0, 2**61, 200)
    b[:100] = b[100:]
    order = np.lexsort((b, a))

    def party(session):
        keys = [shared(session, a, 0, 2**61 + 2**60), shared(session, b, 0, 2**61, owner=1)]
        return session.open(*mpc.ordered(keys, shared(session, np.arange(200), 0, 200)))

    first, second, places = run(party)[2]
    assert (first == a[order]).all()
    assert (second == b[order]).all()
    assert (places == order).all()


@pytest.mark.parametrize("parties", [2, 3])
def test_a_shuffle_keeps_rows_together_and_every_order_comes(parties):
    seen = {}

    def party(session):
        x = shared(session, np.arange(3), 0, 3)
        y = shared(session, np.arange(3) * 10, 0, 30, owner=1)
        return session.open(*(a for _ in range(600) for a in mpc.shuffled(x, y)))

    opened = run(party, parties=parties)[1]
    for x, y in zip(opened[::2], opened[1::2], strict=True):
        assert (y == x * 10).all()
        seen[tuple(x.tolist())] = seen.get(tuple(x.tolist()), 0) + 1
    assert set(seen) == set(permutations(range(3)))
    # 100 of each, give or take six standard deviations.
    assert all(abs(n - 100) < 55 for n in seen.values()), seen


def test_comparisons_in_the_open_look_alike_whatever_the_data():
    """The ranks that a sort opens are those of a random order: for sorted, reversed and equal keys alike."""

    def first_ranks(values):
        found = []
        ranked = sorting._ranked

        def spy(protocol, keys, spans):
            order = yield from ranked(protocol, keys, spans)
            if protocol.me == 0:
                found.append(int(np.flatnonzero(order == 0)[0]))
            return order

        def party(session):
            x = shared(session, values, 0, 10)
            session.open(*(np.sort(x) for _ in range(400)))

        sorting._ranked = spy
        try:
            run(party)
        finally:
            sorting._ranked = ranked
        return np.bincount(found, minlength=len(values))

    for values in (np.arange(4), np.arange(4)[::-1], np.zeros(4, int)):
        counts = first_ranks(np.ascontiguousarray(values))
        # 100 of each rank, give or take six standard deviations.
        assert (np.abs(counts - 100) < 52).all(), (values, counts)


@pytest.mark.parametrize("parties", [2, 3])
@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-100, 100)), min_size=1, max_size=150))
def test_sums_by_secret_keys(parties, rows):
    keys, values = (np.array(column) for column in zip(*rows, strict=True))
    unique = np.unique(keys)

    def party(session):
        k, v = shared(session, keys, -4, 4), shared(session, values, -100, 100, owner=1)
        ones = k * 0 + 1
        return session.open(*mpc.group_sums(k, v, ones), *mpc.group_sums(k, v, most=9))

    for present, key, total, count, fewer_present, fewer_key, fewer_total in run(party, parties=parties):
        groups = len(unique)
        assert present.tolist() == [True] * groups + [False] * (len(rows) - groups)
        assert key[:groups].tolist() == unique.tolist()
        assert total[:groups].tolist() == [values[keys == u].sum() for u in unique]
        assert count[:groups].tolist() == [(keys == u).sum() for u in unique]
        # What is no group is nothing: the last key of a longer group would tell its size.
        assert not key[groups:].any()
        assert not total[groups:].any()
        assert len(fewer_key) == min(9, len(rows))
        assert fewer_present.sum() == groups
        assert fewer_key[:groups].tolist() == key[:groups].tolist()
        assert fewer_total[:groups].tolist() == total[:groups].tolist()


@pytest.mark.parametrize("parties", [2, 3])
def test_sums_by_public_keys(parties):
    rng = np.random.default_rng(4)
    keys, values = rng.integers(0, 6, 300), rng.integers(-50, 50, (300, 2))

    def party(session):
        k, v = shared(session, keys, 0, 9), shared(session, values, -50, 50, owner=1)
        return session.open(
            mpc.public_group_sums(k, [1, 4, 9], v), mpc.public_group_sums(k, np.arange(6), v[:, 0])
        )

    for some, all_ in run(party, parties=parties):
        assert some.tolist() == [values[keys == g].sum(0).tolist() for g in (1, 4, 9)]
        assert all_.tolist() == [values[keys == g, 0].sum() for g in range(6)]


@pytest.mark.parametrize("parties", [2, 3])
@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(-100, 100)), min_size=1, max_size=100))
def test_segments_and_compaction(parties, rows):
    starts, values = (np.array(column) for column in zip(*rows, strict=True))
    expected, total = [], 0
    for start, value in rows:
        total = value if start else total + value
        expected.append(total)

    def party(session):
        f = share(session, starts, 2, kind=BOOLEAN, name="starts")
        v = shared(session, values, -100, 100)
        return session.open(mpc.segmented_cumsum(f, v), *mpc.compacted(f, v))

    for running, flags, kept in run(party, parties=parties):
        assert running.tolist() == expected
        assert flags.tolist() == sorted(starts.astype(int).tolist(), reverse=True)
        assert kept.tolist() == [*values[starts].tolist(), *values[~starts].tolist()]


def test_what_cannot_be_ordered_is_named():
    def refused(program, text):
        with pytest.raises(AtollError, match=text):
            run(program)

    refused(lambda s: np.sort(shared(s, np.zeros((2, 2), int), 0, 1, name="grid")), "grid has shape")
    refused(
        lambda s: mpc.ordered(shared(s, np.arange(3), 0, 3), shared(s, np.arange(4), 0, 4, name="long")),
        "long has shape",
    )
    refused(lambda s: mpc.compacted(shared(s, np.arange(3), 0, 3, name="flags")), "flags is decimal")
    refused(lambda s: mpc.group_sums(shared(s, np.arange(0), 0, 3, name="none")), "none has no rows")


def test_decimals_sort_as_numbers():
    values = np.array([300, -5, 20])

    def party(session):
        x = shared(session, values, -1000, 1000, kind=decimal(2))
        return session.open(np.sort(x * 0.25))

    assert [float(v) for v in run(party)[0]] == [-1.25, 5, 75]


def test_a_party_alone_never_knows_a_shuffle():
    """Each of the three turns is kept from one party: it draws no order then."""
    drawn = []

    def party(session):
        streams = session.protocol._streams
        for name in ("order_before", "order_after"):
            original = getattr(streams, name)
            setattr(streams, name, lambda n, f=original, name=name: drawn.append((session.me, name)) or f(n))
        session.open(mpc.shuffled(shared(session, np.arange(5), 0, 5))[0])

    run(party)
    assert sorted(drawn) == [(me, name) for me in range(3) for name in ("order_after", "order_before")]


def test_empty_arrays_cost_no_message():
    links = channels()

    def party(session):
        x = shared(session, np.array([], int), 0, 5)
        return session.open(x * x, x < 3, np.sort(x))

    for product, less, ascending in run(party, links=links):
        assert product.size == less.size == ascending.size == 0
    # The beginning and the digest of the program were sent.
    assert {len(channel.sent) for ends in links for channel in ends.values()} == {2}
