"""Arrays whose bounds pass 2^62: every operation against integers of Python, at the edges, in both settings."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpc_parties import channels, hidden, mixed, run, share, uneven

from atoll import mpc
from atoll.errors import AtollError
from atoll.mpc import decimal, real
from atoll.mpc import wide as ring
from atoll.mpc.array import SharedArray
from atoll.mpc.kinds import MOST_WIDE
from atoll.mpc.supply import Supply

NARROW = 2**62 - 1
_HALF = [2**61, 2**62 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**64 + 1, 2**125 - 1, 2**100 + 2**63]
EDGES = np.array([0, 1, -1, *_HALF, *(-e for e in _HALF)], object)
FAR = np.array(2**90, object)
PARTIES = pytest.mark.parametrize("parties", [2, 3])


def opened(program, *arrays, low=1 - 2**125, high=2**125 - 1, parties=3, **options):
    """What a program on arrays opens, the same at all parties; the first array's owner is party 0, and so on."""

    def party(session):
        shared = [
            hidden(session, a, i, low, high, name=f"array {i}", **options) for i, a in enumerate(arrays)
        ]
        results = program(*shared)
        return session.open(*results) if len(results) > 1 else (session.open(*results),)

    found = run(party, parties=parties)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert (a == b).all()
    return found[0]


def same(got, expected):
    """Equal, element by element, as integers of Python."""
    assert np.shape(got) == np.shape(expected)
    assert np.asarray(got, object).ravel().tolist() == np.asarray(expected, object).ravel().tolist()


# Programs.

# On two arrays within 2^125.
PROGRAMS = {
    "opened": lambda x, y: (x,),
    "sums": lambda x, y: (x + y, x - y, -x, x + 5, 2**100 - y, x - np.array(2**80, object), x * 1, x * 0),
    "comparisons": lambda x, y: (x < y, x <= y, x > y, x == y, x != y, x < 2**64, x >= -(2**63), x == 2**62),
    "choices": lambda x, y: (np.where(x < y, x, y), np.where(x == y, x, 7), np.where(x < y, FAR, -FAR)),
    "extremes": lambda x, y: (np.minimum(x, y), np.maximum(x, 2**63), np.clip(x, -5, 2**64), abs(x), x.max(), x.min()),
    "public choices": lambda x, y: (np.where(np.arange(len(EDGES) ** 2) % 2 == 0, x, y),),
    "bits": lambda x, y: ((x < y) * x, y * (x == y), (x < 5) * FAR),
    "shapes": lambda x, y: (x[::-1], x[3], x.reshape(-1, 1).T, np.concatenate([x, y]), np.stack([x, y]), np.diff(x)),
}  # fmt: skip


@PARTIES
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_operation_is_that_of_integers_at_the_edges(name, parties):
    x, y = (np.array(a.ravel().tolist(), object) for a in np.meshgrid(EDGES, EDGES))
    got = opened(PROGRAMS[name], x, y, parties=parties)
    for one, expected in zip(got, PROGRAMS[name](x, y), strict=True):
        same(one, expected)


@PARTIES
def test_the_ends_of_the_ring(parties):
    edges = np.array(
        [MOST_WIDE, -MOST_WIDE, MOST_WIDE - 1, 1 - MOST_WIDE, 2**125, -(2**125), 2**63, 0, -1], object
    )
    x, y = (np.array(a.ravel().tolist(), object) for a in np.meshgrid(edges, edges))

    def program(a, b):
        return (
            a < b,
            a == b,
            np.where(a < b, a, b),
            np.maximum(a, b),
            abs(a),
            -b,
            (a == b) * b,
            a.min(),
            a < 0,
        )

    got = opened(program, x, y, low=-MOST_WIDE, high=MOST_WIDE, parties=parties)
    for one, expected in zip(got, program(x, y), strict=True):
        same(one, expected)


@PARTIES
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_any_numbers(parties, data):
    numbers = st.lists(st.integers(-(2**60), 2**60), min_size=24, max_size=24)
    x, y = (np.array(data.draw(numbers), object) for _ in range(2))

    def program(a, b):
        products = a * b
        return (
            products,
            products + a,
            products < b,
            np.where(a < b, products, b),
            (a * 2**60).sum(),
            products.reshape(4, 6).sum(axis=0),
            np.cumsum(products),
            a.reshape(4, 6) @ b.reshape(6, 4),
            a @ b,
            a * a - products,
        )

    got = opened(program, x, y, low=-(2**60), high=2**60, parties=parties)
    for one, expected in zip(got, program(x, y), strict=True):
        same(one, expected)


@PARTIES
def test_products_at_the_ends_of_the_ring(parties):
    edges = np.array([2**63 - 1, -(2**63) + 1, 2**62, -(2**62), 2**32, 1, 0, -1], object)
    x, y = (np.array(a.ravel().tolist(), object) for a in np.meshgrid(edges, edges))
    (got,) = opened(lambda a, b: (a * b,), x, y, low=-(2**63) + 1, high=2**63 - 1, parties=parties)
    same(got, x * y)
    assert max(map(abs, got)) == (2**63 - 1) ** 2 <= MOST_WIDE


@PARTIES
def test_narrow_numbers_are_widened_and_narrowed_at_the_edges(parties):
    """Also those that never occur in words of 64 bits: each edge is widened, moved far away, and taken back."""
    edges = np.array([NARROW, -NARROW, NARROW - 1, 0, 1, -1, 2**61, -(2**61), 2**32], object)
    x = np.concatenate([edges, np.repeat(edges, 100)])

    def program(a):
        far = a + 2**100
        back = far - 2**100
        return far, back, -far, a + a, far - a

    far, back, minus, twice, moved = opened(program, x, low=-NARROW, high=NARROW, parties=parties)
    same(far, x + 2**100)
    same(back, x)
    same(minus, -x - 2**100)
    same(twice, x + x)
    same(moved, np.full(x.shape, 2**100, object))


def test_whether_an_array_is_wide_follows_from_its_bounds_alone():
    kinds = {}

    def party(session):
        a = hidden(session, np.array([1, 2]), 0, 0, 2**40, name="a")
        wide = a * a
        far = wide + 2**90
        near = far - 2**90
        kinds[session.me] = [x.wide for x in (a, a + a, wide, far, near, mpc.shuffled(wide)[0], wide < 5, -a)]
        assert all(x.wide == x.bounds.wide for x in (a, wide, far, near))
        return session.open(near - wide, (far - far)[:1])

    found = run(party)
    assert kinds[0] == kinds[1] == kinds[2] == [False, False, True, True, True, True, False, False]
    assert found[0][0].dtype == object


def test_a_difference_of_wide_numbers_that_is_small_is_narrow():
    low, high = 2**100, 2**100 + 10**6

    def party(session):
        a = hidden(session, np.array([low, low + 5, high], object), 0, low, high, name="a")
        gap = a - low
        assert (a.wide, gap.wide) == (True, False)
        product, less = session.open(gap * gap, gap < 6)
        assert product.dtype == np.int64
        return product.tolist(), less.tolist()

    assert run(party)[0] == ([0, 25, 10**12], [True, True, False])


# Many rows.


@PARTIES
def test_sums_of_narrow_numbers_widen_only_what_could_pass(parties):
    most = 2**50
    rows = 1 << 14
    x = np.full(rows, most - 1)
    x[::3] = 7 - most

    def program(session):
        # What one party knows it widens alone.
        y = share(session, x, 0, 1 - most, most - 1) + share(session, np.zeros(rows, np.int64), 1, -1, 1)
        return session.open(y.sum())

    assert run(program, parties=parties)[0] == int(x.astype(object).sum())
    cost = mpc.estimate(program, parties)
    # 4095 numbers do not pass 2^62, so that five sums are widened: of two parties by transfers, which come by 64.
    if parties == 2:
        assert (cost.transfers, cost.wide) == (64, 0)
    else:
        assert cost.bytes < 16 * rows + 1000


@pytest.mark.slow
def test_a_hundred_million_rows_are_bounded_and_summed():
    """1e8 rows as a thousand times the same 100,000, added up in words of 64 bits where these have room."""
    rows, times, most = 100_000, 1000, 10**12
    rng = np.random.default_rng(5)
    x = rng.integers(most - 1000, most, rows, endpoint=True)

    def party(session):
        a = hidden(session, x, 0, 0, most, name="amounts")
        many = np.broadcast_to(a, (times, rows))
        squares = np.broadcast_to(np.square(a), (times, rows))
        total, of_squares = many.sum(axis=0).sum(), squares.sum(axis=0).sum()
        assert total.bounds.high == times * rows * most
        assert of_squares.bounds.high == times * rows * most**2
        return session.open(total, of_squares)

    exact = x.astype(object)
    assert run(party)[0] == (times * exact.sum(), times * (exact * exact).sum())


@pytest.mark.parametrize("parties", [2, 3])
def test_the_bounds_of_a_hundred_million_rows_on_paper(parties):
    def program(session):
        amounts = session.share(None, 0, 10**8, low=0, high=10**9, kind=decimal(2), name="amounts")
        moments = mpc.exact_moments(amounts)
        assert moments.total.bounds.high == 10**8 * 10**11
        assert moments.squares.bounds.high == 10**8 * 10**22
        return session.open(moments.total, moments.squares)

    cost = mpc.estimate(program, parties)
    assert cost.rounds < 20
    assert cost.bytes < 10**8 * (900 if parties == 2 else 250)


@PARTIES
def test_variances_are_those_of_duckdb_and_of_fractions(parties):
    rng = np.random.default_rng(9)
    cents = rng.integers(-(10**14), 10**14, 4000)
    cents[:4] = [10**14, -(10**14), 0, 1]

    def party(session):
        x = hidden(
            session,
            [Decimal(int(c)).scaleb(-2) for c in cents],
            0,
            -(10**12),
            10**12,
            kind=decimal(2),
            name="x",
        )
        y = hidden(session, cents.reshape(40, 100), 1, -(10**14), 10**14, name="y")
        one, rows = mpc.exact_moments(x), mpc.exact_moments(y, axis=1)
        return (one.count, rows.count), session.open(one.total, one.squares, rows.total, rows.squares)

    for (count, of_rows), (total, squares, totals, row_squares) in run(party, parties=parties):
        exactly = [Fraction(int(c), 100) for c in cents]
        assert (count, of_rows) == (4000, 100)
        assert Fraction(total.item()) == sum(exactly)
        assert Fraction(squares.item()) == sum(f * f for f in exactly)
        variance = mpc.exact_variance(count, total, squares)
        mean = sum(exactly) / count
        assert variance == sum((f - mean) ** 2 for f in exactly) / count
        sample = mpc.exact_variance(count, total, squares, ddof=1)
        assert sample * (count - 1) == variance * count
        # HUGEINT sums of the same cents.
        rows = pa.table({"c": cents})  # noqa: F841 (DuckDB finds it by its name)
        one, two = duckdb.sql("select sum(c), sum(c::HUGEINT * c::HUGEINT) from rows").fetchall()[0]
        assert (Fraction(one, 100), Fraction(two, 10_000)) == (
            Fraction(total.item()),
            Fraction(squares.item()),
        )
        assert variance == mpc.exact_variance(count, Fraction(one, 100), Fraction(two, 10_000))
        assert float(sample) == pytest.approx(
            duckdb.sql("select var_samp(c / 100.0) from rows").fetchall()[0][0]
        )
        of_each = mpc.exact_variance(of_rows, totals, row_squares)
        for row, found in zip(cents.reshape(40, 100).astype(object), of_each, strict=True):
            assert found == Fraction(int((row * row).sum())) / 100 - Fraction(int(row.sum()), 100) ** 2


def test_moments_of_reals_and_of_too_few_are_refused():
    def reals(session):
        return mpc.exact_moments(hidden(session, np.array([1.5]), 0, 0, 2, kind=real(), name="r"))

    with pytest.raises(AtollError, match="r is real"):
        run(reals)
    with pytest.raises(AtollError, match="too few"):
        mpc.exact_variance(1, 5, 25, ddof=1)


@PARTIES
def test_running_sums_that_begin_anew(parties):
    rng = np.random.default_rng(6)
    for most in (2**61, 2**59):
        values, starts = rng.integers(-most, most, 20), rng.integers(0, 4, 20) == 0

        def party(session, values=values, starts=starts, most=most):
            v = hidden(session, values, 0, -most, most, name="v")
            return session.open(mpc.segmented_cumsum(share(session, starts, 1, kind=mpc.BOOLEAN), v))

        expected, running = [], 0
        for value, begins in zip(values.tolist(), starts, strict=True):
            running = value if begins else running + value
            expected.append(running)
        same(run(party, parties=parties)[0], expected)


@PARTIES
def test_products_of_matrices_are_cut_where_words_of_64_bits_have_room(parties):
    """Parts that fit are multiplied in words of 64 bits; only their sums are widened."""
    most = 2**29
    rng = np.random.default_rng(8)
    x, y = rng.integers(-most, most, (2, 3, 70), endpoint=True)
    x[0], y[0] = most, most

    def program(a, b):
        return a @ b.T, a[0] @ b[0], b.T @ a, a @ y.T, x @ b[0]

    def party(session):
        a, b = (hidden(session, v, i, -most, most, name="m") for i, v in enumerate((x, y)))
        r, q = (
            hidden(session, v / 2**9, i, -(2**20), 2**20, kind=real(9), name="r")
            for i, v in enumerate((x, y))
        )
        return session.open(*program(a, b), r @ q.T), session.used

    exact = [np.asarray(p) for p in program(x.astype(object), y.astype(object))]
    for (*got, reals), used in run(party, parties=parties):
        for one, expected in zip(got, exact, strict=True):
            same(one, expected)
        assert np.abs(reals - (x / 2**9) @ (y / 2**9).T).max() <= 2**-9 + 2**48 * 2**-52
        assert used.get("wide", 0) == 0


# Orders and groups.


@PARTIES
def test_orders_and_groups_by_wide_keys_and_of_wide_values(parties):
    rng = np.random.default_rng(2)
    keys = rng.choice([2**70, -(2**80), 5, 2**70 + 1, 0], 60).astype(object)
    values = rng.integers(-(2**61), 2**61, 60).astype(object)
    small = rng.integers(0, 5, 60)

    def party(session):
        k = hidden(session, keys, 0, -(2**80), 2**80, name="k")
        v = hidden(session, values, 1, -(2**61), 2**61, name="v")
        s = hidden(session, small, 2, 0, 4, name="s")
        results = [np.sort(k), *mpc.ordered([s, k], v), mpc.shuffled(k)[0].sum()]
        held, groups, sums = mpc.group_sums(s, v)
        by_wide = mpc.group_sums(k, s)
        wide_sums = mpc.public_group_sums(s, np.arange(5), k)
        return session.open(
            *results, held, groups, sums, by_wide[1], by_wide[2], wide_sums, mpc.compacted(s < 2, k)[1]
        )

    for got in run(party, parties=parties):
        ordered_keys, s, k, v, total, held, groups, sums, wide_keys, counts, wide_sums, first = got
        same(ordered_keys, sorted(keys))
        same(s, sorted(small))
        same(k, [keys[i] for i in _order(small, keys)])
        same(v, [values[i] for i in _order(small, keys)])
        assert total == sum(keys)
        for group, summed in zip(groups[held], sums[held], strict=True):
            assert summed == sum(values[small == group])
        assert set(groups[held].tolist()) == set(small.tolist())
        distinct = sorted(set(keys.tolist()))
        same(wide_keys[: len(distinct)], distinct)
        same(counts[: len(distinct)], [int(small[keys == key].sum()) for key in distinct])
        same(wide_sums, [sum(keys[small == g]) for g in range(5)])
        same(first, np.concatenate([keys[small < 2], keys[small >= 2]]))


def _order(first, second):
    return sorted(range(len(first)), key=lambda i: (first[i], second[i], i))


# Kinds.


@PARTIES
def test_decimals_of_36_digits(parties):
    texts = [
        "1.000000000000000000000000000000000001",
        "-9.5",
        "0.123456789012345678901234567890123456",
        "41.5",
    ]
    x = [Decimal(t) for t in texts]

    def party(session):
        a = hidden(session, x, 0, -42, 42, kind=decimal(36), name="a")
        cents = hidden(session, [Decimal("123456789.99")] * 4, 1, 0, 10**10, kind=decimal(2), name="cents")
        return session.open(a, a - a, cents * cents, a < Decimal("0.2"), a == Decimal("-9.5"))

    for a, nothing, squares, less, equal in run(party, parties=parties):
        assert a.tolist() == x
        assert nothing.tolist() == [0] * 4
        assert squares[0] == Decimal("15241578994634964.2001")
        assert less.tolist() == [False, True, True, False]
        assert equal.tolist() == [False, True, False, False]


# Reals.


@PARTIES
def test_reals_whose_products_pass_64_bits(parties):
    rng = np.random.default_rng(4)
    x = np.round(rng.uniform(-1e9, 1e9, 300) * 2**20) / 2**20

    def party(session):
        a = hidden(session, x, 0, -1e9, 1e9, kind=real(20), name="a")
        b = hidden(session, x[::-1], 1, -1e9, 1e9, kind=real(20), name="b")
        product = a * b
        return session.open(product, a @ b, product.mean(), a < product, product - product)

    exact = [Fraction(i) * Fraction(j) for i, j in zip(x.tolist(), x[::-1].tolist(), strict=True)]

    def near(got, exactly, most=Fraction(1, 2**20)):
        # What opens is the nearest float.
        assert abs(Fraction(float(got)) - exactly) <= most + abs(exactly) / 2**52

    for product, dot, mean, less, nothing in run(party, parties=parties):
        for one, exactly in zip(product, exact, strict=True):
            near(one, exactly)
        near(dot, sum(exact))
        # The factor 1/300 is rounded to 2^-27 of the sum and less.
        near(mean, sum(exact) / 300, Fraction(1, 2**19) + Fraction(10**18, 2**27))
        assert (less == (x < x * x[::-1])).all()
        assert (nothing == 0).all()


@PARTIES
def test_a_wide_division_is_off_by_less_than_a_unit_at_the_ends_of_the_ring(parties):
    most = 2**63 - 1
    units = np.array([most, -most, most - 1, 2**62, 1, -1, 0, 3 << 20, 2**43], object)
    x, y = (a.ravel().tolist() for a in np.meshgrid(units, units))
    repeated = 40
    exact = [Fraction(i * j, 2**20) for i, j in zip(x, y, strict=True)] * repeated

    def party(session):
        ends = (Fraction(-most, 2**20), Fraction(most, 2**20))
        a, b = (
            hidden(session, [Fraction(u, 2**20) for u in v] * repeated, i, *ends, kind=real(20), name="r")
            for i, v in enumerate((x, y))
        )
        product = a * b
        assert product.wide
        # As integers of the same units, which open exactly.
        as_units = SharedArray(session, product.shape, decimal(), product.bounds, product.node, "units")
        return session.open(as_units)

    for got in run(party, parties=parties):
        off = [Fraction(g) - e for g, e in zip(got.tolist(), exact, strict=True)]
        assert max(map(abs, off)) < 1
        # Rounded either way with the probability of what is cut off: right in the mean.
        assert abs(sum(off)) < 6 * len(off) ** 0.5


@PARTIES
def test_divisions_of_large_numbers_keep_their_precision(parties):
    """Words of 64 bits leave no room for a precise factor beside large numbers."""
    x = np.array([10**12, 10**12 - 1, 3, 0] * 250)
    cents = np.array([123456789012] * 4)

    def party(session):
        a = hidden(session, x, 0, 0, 10**12, name="a")
        c = hidden(
            session, [Decimal(int(v)).scaleb(-2) for v in cents], 0, 0, 10**12, kind=decimal(2), name="c"
        )
        return session.open(a.mean(), (a / 7)[:4], c.astype(real(20)), c + np.float64(0.5))

    for mean, sevenths, as_real, _ in run(party, parties=parties):
        assert abs(mean - x.mean()) <= x.mean() * 2**-27 + 2**-20
        assert (np.abs(sevenths - x[:4] / 7) <= x[:4] / 7 * 2**-27 + 2**-20).all()
        assert (np.abs(as_real - cents / 100) <= cents / 100 * 2**-27 + 2**-20).all()


# What crosses.


def crossing(session):
    a = hidden(session, np.full(2000, 7), 0, -10, 2**61, name="a")
    b = hidden(session, np.full(2000, 2**70 + 7, object), 1, -(2**71), 2**71, name="b")
    r = hidden(session, np.full(2000, 7.0), 1, -1e9, 1e9, kind=real(20), name="r")
    chosen = np.where(b < a, b, a) + mpc.shuffled(b)[0]
    return session.open(chosen[:1], (a * a)[:1], (r * r)[:1], (b == a)[:1], to=0)


def _captured(parties):
    links = channels(parties=parties, capacity=256)
    run(crossing, links=links)
    bodies = []
    for i in range(parties):
        for j in range(parties):
            if i != j:
                sent = [(s, bytes(p)) for s, p in links[i][j].sent if s.startswith("shared-arrays/")]
                bodies.append(b"".join(p for s, p in sent if not s.endswith("/0")))
    return bodies


@PARTIES
def test_whatever_crosses_is_uniform(parties):
    for body in _captured(parties):
        assert len(body) > 20_000
        assert uneven([body]) < 6
        for half in (0, 8):
            every = np.frombuffer(body[: len(body) // 16 * 16], np.uint8).reshape(-1, 16)[:, half : half + 8]
            assert uneven([every.tobytes()]) < 6


def test_the_control_without_masks_is_caught(monkeypatch):
    """The same look finds what is wrong when triples and transfers are zeros."""
    for name in ("bits", "words", "wide", "sent", "chosen"):
        original = getattr(Supply, name)

        def bare(self, count, original=original):
            return tuple(np.zeros_like(words) for words in original(self, count))

        monkeypatch.setattr(Supply, name, bare)
    assert max(uneven([body]) for body in _captured(2)) > 100


def test_no_wide_triple_serves_twice():
    taken = []

    def party(session):
        supply = session.protocol.supply
        original = supply.wide

        def spy(count):
            found = original(count)
            taken.append(np.concatenate([ring.flat(f) for f in found]))
            return found

        supply.wide = spy
        a = mixed(session, np.arange(200), 0, 2**40)
        for _ in range(3):
            session.open(a * a)
        return session.used

    used = run(party, parties=2)
    assert used[0]["wide"] == 600
    words = np.concatenate(taken)
    assert len(words) == 2 * 3 * 2 * 600
    assert len(np.unique(words)) == len(words)


def test_what_was_prepared_is_used():
    def party(session):
        a = hidden(session, np.arange(100), 0, 0, 2**40)
        session.prepare(wide=200, transfers=300)
        sent = session.links.sent
        (product,) = (session.open(a * a),)
        same(product, np.arange(100).astype(object) ** 2)
        assert session.used["wide"] == 100
        return session.links.sent - sent

    assert max(run(party, parties=2)) < 10_000
