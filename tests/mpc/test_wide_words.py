"""Words of 128 bits in plain sight: arithmetic against integers of Python, and numbers into words and back."""

from __future__ import annotations

import operator
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll import mpc
from atoll.crypto.arrays import WIDE, wide_plain
from atoll.errors import AtollError
from atoll.mpc import decimal, real
from atoll.mpc import wide as ring
from atoll.mpc.kinds import MOST_UNITS, MOST_WIDE, Bounds, decode, encode
from atoll.mpc.operations import sign_bits, zero_bits

_HALF = [2**62 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**100 + 2**63, 2**126 - 1]
EDGES = np.array([0, 1, -1, *_HALF, *(-e for e in _HALF)], object)
ANY = st.integers(-(2**127), 2**127 - 1) | st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**64), 2**127 - 1])


def same(got, expected):
    """Equal, element by element, as integers of Python."""
    assert np.shape(got) == np.shape(expected)
    assert np.asarray(got, object).ravel().tolist() == np.asarray(expected, object).ravel().tolist()


# Arithmetic.


def modulo(x):
    return (x + 2**127) % 2**128 - 2**127


@given(st.lists(st.tuples(ANY, ANY), min_size=1, max_size=20), ANY, st.integers(1, 63))
def test_words_are_integers_modulo_2_128(pairs, factor, shift):
    x, y = (np.array([p[i] for p in pairs] + [0], object) for i in (0, 1))
    a, b = ring.from_integers(x), ring.from_integers(y)
    same(ring.to_integers(a), x)
    with np.errstate(over="ignore"):
        _arithmetic(x, y, a, b, factor, shift)


def _arithmetic(x, y, a, b, factor, shift):
    for op, of in ((ring.add, operator.add), (ring.subtract, operator.sub), (ring.product, operator.mul)):
        same(ring.to_integers(op(a, b)), [modulo(of(int(i), int(j))) for i, j in zip(x, y, strict=True)])
    same(ring.to_integers(ring.negative(a)), [modulo(-i) for i in x])
    same(ring.to_integers(ring.times(a, factor)), [modulo(i * factor) for i in x])
    same(ring.to_integers(ring.total(a, 0)), modulo(sum(x)))
    same(ring.to_integers(ring.running(a, 0)), [modulo(i) for i in accumulate(x)])
    same(ring.to_integers(ring.parts(a, 0, 3)), [modulo(sum(x[i : i + 3])) for i in range(0, len(x), 3)])
    same(ring.to_integers(ring.cut(a, shift)), [modulo(i % 2**128 >> shift) for i in x])
    same(ring.top(a), [int(i < 0) for i in x])
    same(ring.low(a), [i % 2**64 for i in x])
    bits = np.arange(len(x), dtype=np.uint64) % np.uint64(2)
    same(ring.to_integers(ring.kept(a, bits)), [i if b else 0 for i, b in zip(x, bits, strict=True)])
    assert (ring.shaped(ring.flat(a), (len(x), 1), True)[:, 0] == a).all()


def test_shapes_are_those_of_numpy():
    x = (np.arange(24).astype(object) * 2**90 - 2**93).reshape(2, 3, 4)
    a = ring.from_integers(x)
    for axis in range(3):
        same(ring.to_integers(ring.total(a, axis)), x.sum(axis))
        same(ring.to_integers(ring.running(a, axis)), np.cumsum(x, axis))
    same(ring.to_integers(ring.add(a, a[:, :1])), x + x[:, :1])
    same(
        ring.to_integers(ring.product(a[0], a[1, :, :1])),
        [[modulo(v) for v in r] for r in x[0] * x[1, :, :1]],
    )
    small = np.array(3, object)
    same(ring.to_integers(ring.product(a, ring.from_integers(small))), x * 3)
    same(ring.to_integers(np.concatenate([a, a], 1).T), np.concatenate([x, x], 1).T)
    assert ring.constant(-1, True).shape == ()
    assert ring.constant(-1, False) == 2**64 - 1


# Numbers.


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (EDGES, decimal()),
        (np.array([2**63 - 1, -(2**63)]), decimal()),
        (np.array([2**64 - 1, 0], np.uint64), decimal()),
        ([Decimal("79228162514264337593543950336.01"), Decimal("-0.01")], decimal(2)),
        (np.array([2.0**80, -(2.0**70), 0.5]), real(20)),
        (np.array([2**62, 5]), real(20)),
    ],
)
def test_numbers_come_back_from_wide_words(values, kind):
    words = encode(values, kind, Bounds(-MOST_WIDE, MOST_WIDE), "x")
    assert words.dtype == WIDE
    back = decode(words, kind)
    assert [Fraction(b) for b in back.tolist()] == [Fraction(v) for v in np.asarray(values).tolist()]


def test_what_does_not_fit_is_refused_by_name_and_place():
    far = Bounds(-(2**70), 2**70)
    for values, kind, bounds, text in [
        ([2**70 + 1], decimal(), far, "x, place 0: 1180591620717411303425 is outside"),
        (np.array([0, 2**63 - 1]), decimal(), Bounds(0, 2**62 + 1), "x, place 1"),
        ([2**126], decimal(), far, "cannot hold"),
        (np.array([1e60]), real(), far, "place 0"),
        (np.array([np.nan]), real(), far, "place 0"),
    ]:
        with pytest.raises(AtollError, match=text) as caught:
            encode(values, kind, bounds, "x")
        assert caught.value.code == "E_RANGE"

    def declared(session):
        return session.share(None, 0, 1, low=0, high=2**126, name="x")

    with pytest.raises(AtollError, match="x has bounds"):
        mpc.estimate(declared)

    def joined(session):
        columns = [mpc.Given(0, None, 0, 2**63, name="debt"), mpc.Given(1, None, 0, 1, name="y")]
        return mpc.hidden_join(session, None, (5, 5), columns)

    with pytest.raises(AtollError, match="debt, may reach"):
        mpc.estimate(joined, 2)
    with pytest.raises(AtollError, match="0 to 36"):
        decimal(37)


def test_operands_that_do_not_go_together_are_refused():
    two, three = (ring.from_integers(np.arange(n)) for n in (2, 3))
    with pytest.raises(AtollError) as caught:
        wide_plain("+", two, three)
    assert caught.value.code == "E_FORMAT"
    with pytest.raises(AtollError):
        wide_plain("/", two, two)  # type: ignore[arg-type]
    assert wide_plain("*", three[:0], two[:1]).shape == (0,)


def test_bounds_of_both_rings():
    assert (MOST_UNITS, MOST_WIDE) == (2**62 - 1, 2**126 - 1)
    assert [Bounds(-m, m).wide for m in (MOST_UNITS, MOST_UNITS + 1)] == [False, True]
    # A difference of two numbers that fit has a sign in their ring.
    for most, bits in ((MOST_UNITS, 64), (MOST_WIDE, 128)):
        difference = Bounds(-most, most) - Bounds(-most, most)
        assert sign_bits(difference) == bits
        assert zero_bits(difference) == bits - 1
