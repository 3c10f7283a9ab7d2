"""Every operation on shared arrays against NumPy's on plain ones: the same program gives the reference."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpc_parties import hidden, mine, run, share

from atoll import mpc
from atoll.errors import AtollError
from atoll.mpc import BOOLEAN, decimal, real

MOST = 2**62 - 1
PUBLIC = np.array([[3], [-2], [0], [7]])

# Programs on two arrays of integers of shape (4, n), n at least 2.
EXACT = {
    "sums": lambda x, y: (x + y, x - y, -x, x + 5, 5 - x, x - PUBLIC),
    "products": lambda x, y: (x * y, x * 3, PUBLIC * x, np.square(x), x * -1),
    "comparisons": lambda x, y: (x < y, x <= y, x > y, x >= y, x == y, x != y, x < 3, x > 3, x == 0),
    "booleans": lambda x, y: ((x < y) & (x > 0), (x < y) | (x > 0), (x < y) ^ (x > 0), ~(x < y), (x < y) & True),
    "choices": lambda x, y: (np.where(x < y, x, y), np.where(x < y, x, 0), np.where(x > 0, 1, -1)),
    "public choices": lambda x, y: (np.where(PUBLIC > 0, x, y), np.where(PUBLIC > 0, x, 9)),
    "boolean choices": lambda x, y: (np.where(x < y, x > 0, y > 0), (x < y) == (y > 0), (x < y) != (y > 0)),
    "extremes": lambda x, y: (np.minimum(x, y), np.maximum(x, 2), np.clip(x, -5, 5), np.absolute(x), x.min()),
    "reductions": lambda x, y: (x.sum(), x.sum(axis=0), x.sum(axis=1), np.cumsum(x), x.cumsum(axis=1), (x > 0).sum()),
    "axes": lambda x, y: (x.min(axis=1), x.max(axis=1), x.min(axis=-1), np.sum(x, axis=-1), np.add.reduce(x, axis=0)),
    "matrices": lambda x, y: (x @ y.T, x.T @ y, x @ np.ones(x.shape[1], int), np.ones((2, 4), int) @ x, x[0] @ y[1]),
    "shapes": lambda x, y: (x.T, x.reshape(-1), x.ravel(), x[1:3], x[:, 0], x[2, 1], x[[0, 3]], x[::-1]),
    "joins": lambda x, y: (np.concatenate([x, y]), np.concatenate([x, y], axis=1), np.stack([x, y]), np.diff(x)),
    "boolean shapes": lambda x, y: ((x > 0).T, (x > 0)[1], (x > 0).reshape(-1), np.broadcast_to((x > 0)[0], x.shape)),
    "repeated": lambda x, y: (x + y[0], x * y[:, :1], np.where(x[0] > 0, x, y), np.broadcast_to(x[0], x.shape)),
}  # fmt: skip


def _open(session, results):
    return session.open(*results) if len(results) > 1 else (session.open(*results),)


def check(program, x, y, low=-1000, high=1000, parties=3):
    def party(session):
        a = share(session, x, 1, low, high, name="a")
        b = share(session, y, 2, low, high, name="b")
        return _open(session, program(a, b))

    opened = run(party, parties=parties)
    for party in opened:
        for got, expected in zip(party, program(x, y), strict=True):
            assert got.shape == np.shape(expected)
            assert (got == expected).all()
    return opened


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_integers_are_those_of_numpy(name, parties, data):
    columns = data.draw(st.integers(2, 40))
    numbers = st.lists(st.integers(-1000, 1000), min_size=8 * columns, max_size=8 * columns)
    x, y = np.array(data.draw(numbers)).reshape(2, 4, columns)
    x[1] = y[1]
    check(EXACT[name], x, y, parties=parties)


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_bits_are_right_wherever_a_word_ends(count, parties):
    rng = np.random.default_rng(count)
    x, y = rng.integers(-2, 3, (2, count))
    check(lambda a, b: (a < b, a == b, (a < b).sum(), np.where(a < b, a, b)), x, y, parties=parties)


@pytest.mark.parametrize("parties", [2, 3])
def test_comparisons_are_right_at_the_ends_of_the_ring(parties):
    edges = [MOST, -MOST, MOST - 1, 1 - MOST, 0, 1, -1, 2**61, -(2**61)]
    x, y = np.meshgrid(edges, edges)
    check(
        lambda a, b: (a < b, a == b, np.where(a < b, a, b), np.minimum(a, b), a > 0, a == MOST),
        x,
        y,
        -MOST,
        MOST,
    )


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("bits", [1, 2, 5, 31, 32, 33, 61])
def test_narrow_bounds_take_fewer_bits_and_no_other_result(bits, parties):
    most = 2**bits - 1
    edges = np.array([-most, -most + 1, -1, 0, 1, most - 1, most])
    x, y = (np.ascontiguousarray(a) for a in np.meshgrid(edges, edges))
    check(lambda a, b: (a < b, a == b, a < 0, a == 0), x, y, -most, most, parties)


def test_fewer_bits_send_fewer_bytes():
    def sent(most):
        def party(session):
            a = session.share(mine(session, 0, np.arange(6400) % 3), 0, (6400,), low=0, high=most)
            before = session.links.sent
            session.open((a < 1).sum())
            return session.links.sent - before

        return sum(run(party))

    assert sent(2**15) < sent(2**61) / 2


@pytest.mark.parametrize("parties", [2, 3])
def test_decimals_are_exact_and_open_as_decimals(parties):
    prices = [Decimal("0.10"), Decimal("19.99"), Decimal("-3.05")]
    counts = np.array([3, 7, 100])

    def party(session):
        p = share(session, prices, 0, -100, 100, kind=decimal(2), name="price")
        n = share(session, counts, 1, 0, 1000, name="count")
        total = p * n
        return session.open(total, total.sum(), p * p, p + 1, p * 0.25, p < n, np.cumsum(p), p.mean())

    products, total, squares, more, quarters, less, running, mean = run(party, parties=parties)[1]
    expected = [p * int(n) for p, n in zip(prices, counts, strict=True)]
    assert products.tolist() == expected
    assert total == sum(expected)
    assert squares.tolist() == [p * p for p in prices]
    assert more.tolist() == [p + 1 for p in prices]
    assert quarters.tolist() == [p / 4 for p in prices]
    assert less.tolist() == [True, False, True]
    assert running.tolist() == [prices[0], prices[0] + prices[1], sum(prices)]
    assert abs(mean - float(sum(prices)) / 3) < 4e-6


@pytest.mark.parametrize("parties", [2, 3])
def test_reals_are_near_those_of_numpy(parties):
    rng = np.random.default_rng(5)
    x, y = rng.uniform(-100, 100, (2, 6, 50))

    def programs(a, b):
        return (
            a * b,
            a + b,
            a * 0.3,
            a @ b.T,
            np.square(a),
            a.mean(),
            np.mean(a, axis=0),
            np.var(a),
            np.var(a, axis=1, ddof=1),
            a > b,
            np.where(a > b, a, b),
            a - b,
            np.clip(a, -1.5, 2.5),
        )

    def party(session):
        a = hidden(session, x, 0, -100, 100, kind=real(20), name="a")
        b = share(session, y, 1, -100, 100, kind=real(20), name="b")
        return session.open(*programs(a, b))

    for got, expected in zip(run(party, parties=parties)[-1], programs(x, y), strict=True):
        # Inputs are off by 2^-21, which a product of two numbers below 100 makes 200 times as much.
        error = np.abs(got.astype(float) - np.asarray(expected, float)).max()
        assert error <= 50 * 200 * 2.0**-20


@pytest.mark.parametrize("parties", [2, 3])
def test_kinds_go_together(parties):
    def party(session):
        i = share(session, np.array([3, -4]), 0, -10, 10, name="i")
        d = share(session, [Decimal("1.25"), Decimal("-2.5")], 1, -5, 5, kind=decimal(2))
        r = share(session, np.array([0.5, 2.0]), 2, -5, 5, kind=real(20))
        b = i > 0
        return session.open(
            i + d, i * r, d * r, d + r, b + i, b * d, b.astype(int), d.astype(real(16)), i < r, d == 1.25
        )

    opened = run(party, parties=parties)[0]
    expected = [[4.25, -6.5], [1.5, -8], [0.625, -5], [1.75, -0.5], [4, -4], [1.25, 0], [1, 0], [1.25, -2.5]]
    for got, wanted in zip(opened, expected, strict=False):
        assert np.abs(got.astype(float) - wanted).max() < 1e-4
    assert opened[-2].tolist() == [False, True]
    assert opened[-1].tolist() == [True, False]


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("sizes", [(70, 90, 1), (40, 50, 30), (1, 70000, 1)])
def test_large_matrices_are_those_of_numpy(sizes, parties):
    """Two parties multiply them under encryption, small ones by triples."""
    rng = np.random.default_rng(9)
    rows, inner, columns = sizes
    x, y = rng.integers(-1000, 1000, (rows, inner)), rng.integers(-1000, 1000, (inner, columns))
    check(lambda a, b: (a @ b, a @ b[:, 0]), x, y, parties=parties)


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("shape", [(0,), (), (1,), (3, 0), (2, 3, 4)])
def test_arrays_of_any_shape(shape, parties):
    x = np.arange(int(np.prod(shape))).reshape(shape)
    check(
        lambda a, b: (a + b, a * b, a < b, np.where(a < b, a, b), a.sum()),
        x,
        x[::-1] if shape else x,
        parties=parties,
    )


@pytest.mark.parametrize("parties", [2, 3])
def test_rounding_is_off_by_one_unit_at_the_most_and_right_in_the_mean(parties):
    edges = np.array([MOST, -MOST, 0, 1, -1, 2**20, -(2**20), 2**20 - 1, 2**61 + 12345])
    many = np.full(20_000, 2**20 * 3 + 2**18)

    def party(session):
        protocol = session.protocol
        shared = session.links.run(
            protocol.share(
                0, mine(session, 0, np.concatenate([edges, many]).view(np.uint64)), (len(edges) + len(many),)
            )
        )
        if parties == 2:
            shared = session.links.run(protocol.uniform(shared))
        out = session.links.run(protocol.scaled(shared, 20))
        return session.links.run(protocol.open(out, protocol.everybody)).view(np.int64)

    for got in run(party, parties=parties):
        floor = edges >> 20
        assert ((got[: len(edges)] - floor >= 0) & (got[: len(edges)] - floor <= 1)).all()
        # 3.25: rounded up in a quarter of all cases, give or take six standard deviations.
        share = (got[len(edges) :] == 4).mean()
        assert set(got[len(edges) :]) <= {3, 4}
        assert abs(share - 0.25) < 6 * (0.25 * 0.75 / len(many)) ** 0.5


# What is refused, and with which words.


def refused(program, *wanted, code="E_RANGE"):
    with pytest.raises(AtollError) as caught:
        run(program)
    assert caught.value.code == code
    for text in wanted:
        assert text in str(caught.value)


def test_a_value_outside_its_bounds_is_named_and_nothing_is_sent():
    sent = []

    def party(session):
        before = session.links.rounds
        try:
            session.share(mine(session, 0, np.array([1, 2, 300])), 0, 3, low=0, high=100, name="income")
        finally:
            sent.append(session.links.rounds - before)

    refused(party, "income, place 2: 300", "0 to 100")
    assert sent == [0, 0, 0]


@pytest.mark.parametrize(
    ("values", "kind", "text"),
    [
        (np.array([0.5]), decimal(), "0.5"),
        ([Decimal("1.234")], decimal(2), "more digits"),
        (np.array([np.nan]), real(), "place 0"),
        (np.array([np.inf]), decimal(3), "not a finite number"),
        (["x"], decimal(), "str is not a number"),
        (np.array([1]), BOOLEAN, "booleans belong there"),
        (np.array([2**63], np.uint64), decimal(), "cannot hold"),
    ],
)
def test_values_that_do_not_fit_their_kind(values, kind, text):
    bounds = {} if kind == BOOLEAN else {"low": 0, "high": 10}
    refused(lambda s: s.share(mine(s, 0, values), 0, 1, kind=kind, name="x", **bounds), "x", text)


def test_what_may_pass_the_ring_is_refused_by_name_before_anything_is_sent():
    def party(session):
        a = session.share(mine(session, 0, np.array([1])), 0, 1, low=0, high=2**70, name="assets")
        b = session.share(mine(session, 1, np.array([1])), 1, 1, low=0, high=2**60, name="factor")
        return a * b

    refused(party, "assets and factor", "narrower bounds")


@pytest.mark.parametrize(
    "program", [lambda a: bool(a > 0), lambda a: np.asarray(a), lambda a: a[a], lambda a: np.sin(a)]
)
def test_what_shared_arrays_cannot_do_is_a_type_error(program):
    def party(session):
        return program(session.share(mine(session, 0, np.array([1])), 0, 1, low=0, high=1))

    with pytest.raises(TypeError):
        run(party)


def test_wrong_shapes_parties_and_arrays_of_others():
    x = np.arange(3)
    refused(
        lambda s: s.share(mine(s, 0, x), 0, 4, low=0, high=9, name="x"), "x has shape (3,)", code="E_FORMAT"
    )
    refused(lambda s: s.share(None, 3, 4, low=0, high=9, name="x"), "owner", code="E_FORMAT")
    refused(lambda s: s.share(None, 0, 4, name="x"), "x needs bounds")
    refused(
        lambda s: s.open(s.share(mine(s, 0, x), 0, 3, low=0, high=9), to=()),
        "some of the parties",
        code="E_FORMAT",
    )

    def matrices(session):
        a = session.share(mine(session, 0, x), 0, 3, low=0, high=9)
        return a @ a[:2]

    refused(matrices, "no product", code="E_FORMAT")
    kept = {}

    def first(session):
        kept[session.me] = session.share(mine(session, 0, x), 0, 3, low=0, high=9)

    run(first)
    refused(lambda s: s.open(kept[s.me]), "another computation", code="E_FORMAT")


def test_only_who_is_named_learns():
    def party(session):
        a = session.share(mine(session, 0, np.array([7])), 0, 1, low=0, high=9)
        return session.open(a + 1, to=1), session.open(a + 2, to=(0, 2))

    opened = run(party)
    assert [o[0] is None for o in opened] == [True, False, True]
    assert [o[1] is None for o in opened] == [False, True, False]
    assert opened[1][0] == [8]
    assert opened[2][1] == [9]


def test_what_is_independent_shares_its_rounds():
    def rounds(program):
        def party(session):
            a = session.share(mine(session, 0, np.arange(5)), 0, 5, low=0, high=9)
            session.open(a)
            before = session.links.rounds
            _open(session, program(a))
            return session.links.rounds - before

        return run(party)[0]

    one = rounds(lambda a: (a * a,))
    assert rounds(lambda a: (a * a, a * (a + 1), a[:2] * a[2:4])) == one
    assert rounds(lambda a: (a * a * a,)) == one + 1
    assert rounds(lambda a: (a < 3, a == 3)) == rounds(lambda a: (a < 3,))


def test_nothing_is_sent_while_a_program_is_written():
    def party(session):
        a = session.share(mine(session, 0, np.arange(5)), 0, 5, low=0, high=9)
        before = session.links.rounds
        mpc.ordered(a * a, a)
        return session.links.rounds - before

    assert run(party) == [0, 0, 0]
