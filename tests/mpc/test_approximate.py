"""Quotients, roots, exponentials, logarithms within the errors that they state."""

from __future__ import annotations

import numpy as np
import pytest
from mpc_parties import hidden, mine, run

from atoll import mpc
from atoll.errors import AtollError
from atoll.mpc import real

BITS = 20
UNIT = 2.0**-BITS
RNG = np.random.default_rng(11)


def rounded(values):
    """As an owner's input is: to multiples of a unit."""
    return np.rint(np.asarray(values, float) / UNIT) * UNIT


def opened(program, *arrays, bits=BITS, parties=3):
    def party(session):
        shared = [
            hidden(session, v, i, low, high, kind=real(bits), name=f"x{i}")
            for i, (v, low, high) in enumerate(arrays)
        ]
        return session.open(program(*shared))

    results = run(party, parties=parties)
    assert all((r == results[0]).all() for r in results)
    return results[0]


@pytest.mark.parametrize("parties", [2, 3])
def test_quotients(parties):
    x = rounded(np.concatenate([RNG.uniform(-100, 100, 500), [0, 100, -100, UNIT]]))
    y = rounded(np.concatenate([RNG.uniform(0.5, 50, 250), RNG.uniform(-50, -0.5, 250), [1, 0.5, -50, 3]]))
    got = opened(lambda a, b: a / b, (x, -100, 100), (y, -50, 50), parties=parties)
    bound = np.abs(x / y) * 2.0**-24 + 2 * UNIT + 2 * UNIT / np.abs(y)
    assert (np.abs(got - x / y) <= bound).all()


def test_quotients_of_integers_and_public_numbers():
    k = np.arange(1, 200)

    def party(session):
        n = session.share(mine(session, 0, k), 0, k.shape, low=1, high=1000, name="n")
        return session.open(n / 7, 1000 / n, n / n[::-1], n / np.full(k.shape, 3), n.mean())

    for sevenths, inverse, ratio, thirds, mean in run(party):
        assert np.abs(sevenths - k / 7).max() <= 2 * UNIT
        assert (np.abs(inverse - 1000 / k) <= (1000 / k) * 2.0**-24 + 2 * UNIT + 2 * UNIT / k).all()
        assert (np.abs(ratio - k / k[::-1]) <= (k / k[::-1]) * 2.0**-24 + 4 * UNIT).all()
        assert np.abs(thirds - k / 3).max() <= 200 * UNIT
        assert abs(mean - 100) <= 2 * UNIT


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("bits", [12, 19, 20])
def test_roots(bits, parties):
    unit = 2.0**-bits
    x = np.concatenate([RNG.uniform(0, 200, 500), [0, unit, 0.25, 1, 4, 200, 2 * unit]])
    x = np.rint(x / unit) * unit
    got = opened(np.sqrt, (x, 0, 200), bits=bits, parties=parties)
    assert (np.abs(got - np.sqrt(x)) <= np.sqrt(x) * 2.0**-22 + 2 * unit).all()


@pytest.mark.parametrize("parties", [2, 3])
def test_logarithms(parties):
    x = rounded(np.concatenate([RNG.uniform(0, 200, 500), [UNIT, 2 * UNIT, 0.25, 0.5, 1, 2, 200]]))
    x[x == 0] = UNIT
    got = opened(np.log, (x, UNIT, 200), parties=parties)
    assert np.abs(got - np.log(x)).max() <= 2.0**-18


@pytest.mark.parametrize("parties", [2, 3])
def test_exponentials(parties):
    x = rounded(np.concatenate([RNG.uniform(-30, 6, 600), [-30, 0, 6, -13.8, -14, -16, UNIT, -UNIT]]))
    got = opened(np.exp, (x, -30, 6), parties=parties)
    assert (np.abs(got - np.exp(x)) <= np.exp(x) * 2.0**-18 + 2 * UNIT).all()


@pytest.mark.parametrize("parties", [2, 3])
def test_sigmoids(parties):
    x = rounded(np.concatenate([RNG.uniform(-100, 100, 300), RNG.uniform(-4, 4, 300), [0, -100, 100]]))
    got = opened(mpc.sigmoid, (x, -100, 100), parties=parties)
    assert np.abs(got - 1 / (1 + np.exp(-x))).max() <= 2.0**-17


@pytest.mark.parametrize(
    ("program", "low", "high", "text"),
    [
        (lambda x: x / 0, 0, 1, "divided by 0"),
        (np.exp, 0, 30, "too large"),
        (lambda x: x / x, 1, 2**35, "A quotient of x0"),
        (np.sqrt, 0, 2**41, "A root of x0"),
    ],
)
def test_what_has_no_room_is_refused_by_name(program, low, high, text):
    with pytest.raises(AtollError, match=text):
        opened(program, (np.array([1.0]), low, high))
