"""What one party knows of an array stays with it: every combination of owners, and what that sends."""

from __future__ import annotations

import numpy as np
import pytest
from mpc_parties import mixed, run, share
from test_operations import EXACT

from atoll import mpc
from atoll.mpc import real
from atoll.mpc import wide as ring

RNG = np.random.default_rng(5)
X, Y = RNG.integers(-100, 101, (2, 4, 33))
Y[1] = X[1]
INTEGERS = X.astype(object), Y.astype(object)
OWNERS = {2: (0, 1, None), 3: (0, 1, 2)}
PAIRS = [(parties, x, y) for parties, owners in OWNERS.items() for x in owners for y in owners]


def given(session, values, owner, bound=100, **options):
    """Shared by its owner, or known to no party alone."""
    if owner is None:
        return mixed(session, values, -bound, bound, **options)
    return share(session, values, owner, -bound, bound, **options)


def large(x, y):
    """Results of more than 63 bits, and what numbers of that size tell."""
    big, other, most, more = x * 10**15, y * 10**15, x * 10**30, y * 10**30
    return [
        big * other,
        big @ other.T,
        big.sum(axis=1) * 100,
        most - more,
        most < more,
        most == more,
        np.where(most < more, most, more),
        np.where(x == y, most, 5),
        np.absolute(most),
        np.maximum(most, more).sum(),
        x * 10**18 * (y > 0),
    ]


def narrow(x, y):
    return [result for program in EXACT.values() for result in program(x, y)]


def programs(x, y):
    return narrow(x, y) + large(x, y)


EXPECTED = narrow(X, Y) + large(*INTEGERS)


@pytest.mark.parametrize(("parties", "x_owner", "y_owner"), PAIRS)
def test_every_combination_of_owners_gives_numpys_results(parties, x_owner, y_owner):
    def party(session):
        results = programs(given(session, X, x_owner), given(session, Y, y_owner))
        return session.open(*results), [result.node.value for result in results]

    found = run(party, parties=parties)
    for opened, _ in found:
        for got, plain in zip(opened, EXPECTED, strict=True):
            assert got.shape == np.shape(plain)
            assert (got == plain).all()
    if parties == 3:
        assert all(value.mine is None and value.known is None for _, values in found for value in values)
        return
    for one, other in zip(found[0][1], found[1][1], strict=True):
        # Both say the same of an array, and it is true.
        assert (one.mine is None) == (other.mine is None)
        assert (one.known is None) == (other.known is None)
        if one.mine is not None:
            assert one.mine is not other.mine
            assert not ring.flat((other if one.mine else one).words[0]).any()
        if one.known is not None:
            assert np.array_equal(ring.flat(one.known), ring.flat(other.known))


REAL = {
    "products": lambda x, y: (x * y, x @ y.T, x * 0.5, np.square(x)),
    "functions": lambda x, y: (mpc.sigmoid(x * y), np.sqrt(np.absolute(x)), x / (np.absolute(y) + 1)),
    "means": lambda x, y: (x.mean(), (x + y).mean(axis=1), np.where(x < y, x, y).mean()),
}


@pytest.mark.parametrize(("x_owner", "y_owner"), [(x, y) for parties, x, y in PAIRS if parties == 2])
def test_reals_too(x_owner, y_owner):
    def results(x, y):
        return [result for program in REAL.values() for result in program(x, y)]

    def party(session):
        kind = real(18)
        x, y = given(session, X, x_owner, kind=kind), given(session, Y, y_owner, kind=kind)
        return session.open(*results(x, y))

    sigmoids = 1 / (1 + np.exp(-np.clip(X * Y, -50, 50)))
    plain = [X * Y, X @ Y.T, X / 2, X * X, sigmoids, np.sqrt(abs(X)), X / (abs(Y) + 1)]
    plain += [X.mean(), (X + Y).mean(axis=1), np.minimum(X, Y).mean()]
    for opened in run(party, parties=2):
        for got, value in zip(opened, plain, strict=True):
            assert np.abs(got - value).max() < 1e-3


@pytest.mark.parametrize("owner", [0, 1])
def test_what_one_party_computes_of_its_own_sends_nothing(owner):
    def program(session):
        x, y = given(session, X, owner), given(session, Y, owner)
        r = given(session, X, owner, kind=real(18))
        results = [*programs(x, y), mpc.sigmoid(r), np.sqrt(np.absolute(r)), (r * r).mean(), r @ r.T]
        rounds, sent = session.links.rounds, session.links.sent
        session.open(*results)
        return (
            session.links.rounds - rounds,
            session.links.sent - sent,
            sum(r.size for r in results),
            session.used,
        )

    for rounds, sent, size, used in run(program, parties=2):
        # Digests of the program, then results open: booleans in planes, wide numbers in two words.
        assert rounds == 2
        assert sent <= 16 * size + 32
        assert not any(used.values())
    cost = mpc.estimate(program, 2)
    assert (cost.rounds, cost.bits, cost.words, cost.wide, cost.transfers) == (2, 0, 0, 0, 0)


LEFT, RIGHT = RNG.integers(-100, 101, (300, 60)), RNG.integers(-100, 101, (60, 20))


def _sent(x_owner, y_owner, left=LEFT, right=RIGHT):
    def party(session):
        begun = session.links.sent
        x, y = given(session, left, x_owner), given(session, right, y_owner)
        product = x @ y
        session.open(product.sum())
        sent = session.links.sent - begun
        assert (session.open(product) == left @ right).all()
        return sent

    def unchecked(session):
        session.open((given(session, left, x_owner) @ given(session, right, y_owner)).sum())

    cost = mpc.estimate(unchecked, 2)
    sent = sum(run(party, parties=2))
    assert 0.99 < cost.bytes / sent < 1.01
    return sent


def test_a_matrix_that_one_party_knows_takes_one_direction():
    whole = _sent(None, None)
    for owners in [(0, 1), (1, 0), (0, None), (None, 0), (1, None), (None, 1)]:
        assert 0.49 < _sent(*owners) / whole < 0.51
    assert _sent(0, 0) < 1000
    assert _sent(1, 1) < 1000


def test_a_wide_right_matrix_is_transposed_where_that_sends_less():
    assert abs(_sent(0, 1, RIGHT.T, LEFT.T) / _sent(1, 0) - 1) < 0.01
    assert abs(_sent(None, None, RIGHT.T, LEFT.T) / _sent(None, None) - 1) < 0.01


@pytest.mark.parametrize(("bits", "bound"), [(20, 100), (40, 2**23)], ids=["narrow", "wide"])
@pytest.mark.parametrize("owner", [0, 1, None])
def test_rounding_is_exact_where_nothing_is_cut_off_and_right_in_the_mean(owner, bits, bound):
    whole, quarters = np.arange(-100, 101), np.full(40_000, 2.0**-10)

    def party(session):
        kind = real(bits)
        x, y = (given(session, values, owner, bound, kind=kind) for values in (whole, quarters))
        assert x.wide == (bits == 40)
        return session.open(x.astype(real(8)), y.astype(real(8)))

    for exact, rounded in run(party, parties=2):
        assert (exact == whole).all()
        units = rounded * 2**8
        assert set(np.unique(units)) == {0, 1}
        # Five standard deviations.
        assert abs(units.mean() - 0.25) < 0.011
