"""Which of NumPy's functions shared arrays have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from atoll.errors import AtollError
from atoll.mpc import operations as op
from atoll.mpc.array import SharedArray, function, ufunc
from atoll.mpc.kinds import BOOLEAN, Bounds, real
from atoll.mpc.matrices import matrix_multiply
from atoll.mpc.operations import Operand, Public
from atoll.mpc.rounds import STEP

REAL_BITS = 20
"""Bits after the point of what is divided, unless an operand has more."""


def _array(value: Any) -> SharedArray:
    if not isinstance(value, SharedArray):
        raise AtollError("E_FORMAT", "A shared array belongs there.", step=STEP)
    return value


@ufunc(np.add)
def _add(x: Operand, y: Operand) -> SharedArray:
    return op.add(x, y)


@ufunc(np.subtract)
def _subtract(x: Operand, y: Operand) -> SharedArray:
    return op.add(x, y, minus=True)


@ufunc(np.multiply)
def _multiply(x: Operand, y: Operand) -> SharedArray:
    return op.multiply(x, y)


@ufunc(np.square)
def _square(x: SharedArray) -> SharedArray:
    squares = op.multiply(x, x)
    return op.within(squares, Bounds(-1 if not squares.kind.exact else 0, squares.bounds.high))


@ufunc(np.negative)
def _negative(x: SharedArray) -> SharedArray:
    return op.negative(x)


@ufunc(np.absolute)
def _absolute(x: SharedArray) -> SharedArray:
    x = op.numbers(x)
    if x.bounds.low >= 0:
        return x
    positive = op.select(op.compare(x, Public(0, x.kind)), op.negative(x), x)
    return op.within(positive, Bounds(0, x.bounds.largest))


@ufunc(np.matmul)
@function(np.dot)
def _matmul(x: Any, y: Any) -> SharedArray:
    shared = x if isinstance(x, SharedArray) else y
    x, y = (v if isinstance(v, Public) else op.operand(v, shared) for v in (x, y))
    return matrix_multiply(x, y)


@ufunc(np.less)
def _less(x: Operand, y: Operand) -> SharedArray:
    return op.compare(x, y)


@ufunc(np.greater)
def _greater(x: Operand, y: Operand) -> SharedArray:
    return op.compare(y, x)


@ufunc(np.greater_equal)
def _greater_equal(x: Operand, y: Operand) -> SharedArray:
    return op.inverted(op.compare(x, y))


@ufunc(np.less_equal)
def _less_equal(x: Operand, y: Operand) -> SharedArray:
    return op.inverted(op.compare(y, x))


@ufunc(np.equal)
def _equal(x: Operand, y: Operand) -> SharedArray:
    if x.kind == y.kind == BOOLEAN:
        return op.inverted(op.differ(x, y))
    return op.compare(x, y, equal=True)


@ufunc(np.not_equal)
def _not_equal(x: Operand, y: Operand) -> SharedArray:
    return op.inverted(_equal(x, y))


@ufunc(np.logical_not, np.invert)
def _not(x: SharedArray) -> SharedArray:
    if x.kind != BOOLEAN:
        raise AtollError("E_FORMAT", f"{x.name} is {x.kind}, and no boolean.", step=STEP)
    return op.inverted(x)


@ufunc(np.logical_and, np.bitwise_and)
def _and(x: Operand, y: Operand) -> SharedArray:
    return op.both(x, y)


@ufunc(np.logical_xor, np.bitwise_xor)
def _xor(x: Operand, y: Operand) -> SharedArray:
    return op.differ(x, y)


@ufunc(np.logical_or, np.bitwise_or)
def _or(x: Operand, y: Operand) -> SharedArray:
    return op.differ(op.differ(x, y), op.both(x, y))


@ufunc(np.minimum)
def _minimum(x: Operand, y: Operand) -> SharedArray:
    x, y = op.aligned(x, y)
    bounds = Bounds(min(x.bounds.low, y.bounds.low), min(x.bounds.high, y.bounds.high))
    return op.within(op.select(op.compare(x, y), x, y), bounds)


@ufunc(np.maximum)
def _maximum(x: Operand, y: Operand) -> SharedArray:
    x, y = op.aligned(x, y)
    bounds = Bounds(max(x.bounds.low, y.bounds.low), max(x.bounds.high, y.bounds.high))
    return op.within(op.select(op.compare(x, y), y, x), bounds)


@function(np.where)
def _where(condition: Any, x: Any, y: Any) -> SharedArray:
    if isinstance(condition, SharedArray):
        beside = next((v for v in (x, y) if isinstance(v, SharedArray)), condition)
        return op.select(condition, op.operand(x, beside), op.operand(y, beside))
    shared = x if isinstance(x, SharedArray) else y
    return op.choose(np.asarray(condition, np.bool_), op.operand(x, shared), op.operand(y, shared))


@function(np.clip)
def _clip(x: Any, a_min: Any = None, a_max: Any = None) -> SharedArray:
    clipped = _array(x)
    if a_min is not None:
        clipped = _maximum(clipped, op.operand(a_min, clipped))
    if a_max is not None:
        clipped = _minimum(clipped, op.operand(a_max, clipped))
    return clipped


@function(np.sum)
def _sum(x: Any, axis: int | None = None) -> SharedArray:
    return op.total(_array(x), axis)


@function(np.cumsum)
def _cumsum(x: Any, axis: int | None = None) -> SharedArray:
    return op.total(_array(x), axis, running=True)


@function(np.mean)
def _mean(x: Any, axis: int | None = None) -> SharedArray:
    x = op.numbers(_array(x))
    count = x.size if axis is None else x.shape[axis]
    if not count:
        raise AtollError("E_RANGE", f"{x.name} has no elements, and no mean.", step=STEP)
    bounds = x.bounds
    mean = divided(op.total(x, axis), count)
    exact = _in_kind(bounds, x.kind.unit, mean.kind.unit)
    return op.within(mean, Bounds(max(mean.bounds.low, exact.low), min(mean.bounds.high, exact.high)))


def _in_kind(bounds: Bounds, unit: int, other: int) -> Bounds:
    """Bounds in other units, with what rounding may add: a few units, and 2^-26 of a number (`op.guard_bits`)."""
    spare = 3 + (bounds.largest * other // unit >> 26)
    return Bounds(bounds.low * other // unit - spare, -(-bounds.high * other // unit) + spare)


@function(np.var)
def _var(x: Any, axis: int | None = None, *, ddof: int = 0) -> SharedArray:
    x = op.numbers(_array(x))
    count = (x.size if axis is None else x.shape[axis]) - ddof
    if count <= 0:
        raise AtollError("E_RANGE", f"{x.name} has too few elements for a variance.", step=STEP)
    mean = _mean(x, axis)
    if axis is not None:
        mean = op.reshape(mean, tuple(np.expand_dims(np.empty(mean.shape, np.bool_), axis).shape))
    centred = op.add(x, mean, minus=True)
    return divided(op.total(_square(centred), axis), count)


@dataclass(frozen=True)
class Moments:
    """Exact sums of which means and variances are made once they are open.

    Attributes:
        count: number of elements that were added up, which is public.
        total: their sum.
        squares: the sum of their squares, with twice the digits.
    """

    count: int
    total: SharedArray
    squares: SharedArray


def exact_variance(count: int, total: Any, squares: Any, *, ddof: int = 0) -> Any:
    """The variance of opened sums (`exact_moments`) as a `fractions.Fraction`, or an array of them.

    It is (squares - total^2 / count) / (count - ddof), and nothing is rounded.

    Raises:
        AtollError: `E_RANGE` if there are too few elements.
    """
    if count <= ddof:
        raise AtollError("E_RANGE", "There are too few elements for a variance.", step=STEP)

    def one(first: Any, second: Any) -> Fraction:
        return (Fraction(second) - Fraction(first) ** 2 / count) / (count - ddof)

    return np.frompyfunc(one, 2, 1)(np.asarray(total, object), np.asarray(squares, object))


def exact_moments(x: SharedArray, axis: int | None = None) -> Moments:
    """How many numbers there are over an axis or over all, their sum, and the sum of their squares, all of them exact.

    Integers and decimals up to 18 digits; `np.var` gives reals. Squares are of what numbers differ from the middle of
    their bounds, which leaves more of them to add up in words of 64 bits.

    Raises:
        AtollError: `E_RANGE` for reals, or sums beyond 2^126 units.
    """
    x = op.numbers(_array(x))
    if not x.kind.exact:
        raise AtollError(
            "E_RANGE", f"{x.name} is {x.kind}: exact sums are of integers and decimals.", step=STEP
        )
    count = x.size if axis is None else x.shape[axis]
    middle = (x.bounds.low + x.bounds.high) // 2
    low, high = x.bounds.low - middle, x.bounds.high - middle
    total = op.total(x, axis)
    centred = op.within(op.add(x, Public.of_units(middle, x.kind), minus=True), Bounds(low, high))
    squares = op.total(_square(centred), axis)
    # x^2 = (x - m)^2 + 2 m x - m^2.
    twice = op.add(
        op.times(total, 2 * middle, squares.kind),
        Public.of_units(count * middle**2, squares.kind),
        minus=True,
    )
    most = max(x.bounds.low**2, x.bounds.high**2) * count
    return Moments(count, total, op.within(op.add(squares, twice), Bounds(0, most)))


def divided(x: SharedArray, by: Any) -> SharedArray:
    """x divided by a public number, as a real."""
    kind = x.kind if not x.kind.exact else real(REAL_BITS)
    if not np.isfinite(float(by)) or by == 0:
        raise AtollError("E_RANGE", f"{x.name} is divided by {by}.", step=STEP)
    # One product and one cut: units * round(2^(bits + guard) / (unit * by)), with the guard bits that have room.
    places = kind.places if x.kind.exact else 0
    scale = Fraction(2**places) / (x.kind.unit if x.kind.exact else 1) / Fraction(by)
    guard = op.guard_bits(x, scale)
    if guard < 1:
        raise AtollError(
            "E_RANGE", f"{x.name} divided by {by} has no room: declare narrower bounds.", step=STEP
        )
    return op.rescaled(op.times(x, round(scale * 2**guard), x.kind), guard, kind)


@function(np.min)
def _min(x: Any, axis: int | None = None) -> SharedArray:
    return _reduced(x, axis, _minimum)


@function(np.max)
def _max(x: Any, axis: int | None = None) -> SharedArray:
    return _reduced(x, axis, _maximum)


def _reduced(x: Any, axis: int | None, of_two: Callable[[Operand, Operand], SharedArray]) -> SharedArray:
    """A tree: half as many in each turn."""
    left = op.numbers(_array(x))
    left, axis = (op.reshape(left, (left.size,)), 0) if axis is None else (left, axis % left.ndim)
    if not left.shape[axis]:
        raise AtollError("E_RANGE", f"{left.name} has no elements to choose from.", step=STEP)
    whole = (slice(None),) * axis
    while (count := left.shape[axis]) > 1:
        half = count // 2
        pairs = of_two(left[(*whole, slice(0, half))], left[(*whole, slice(half, 2 * half))])
        left = op.concatenate([pairs, left[(*whole, slice(2 * half, count))]], axis) if count % 2 else pairs
    return left[(*whole, 0)]


@function(np.concatenate)
def _concatenate(arrays: Sequence[Any], axis: int = 0) -> SharedArray:
    return op.concatenate([_array(a) for a in arrays], axis)


@function(np.stack)
def _stack(arrays: Sequence[Any], axis: int = 0) -> SharedArray:
    shared = [_array(a) for a in arrays]
    return op.concatenate(
        [op.reshape(a, tuple(np.expand_dims(np.empty(a.shape, np.bool_), axis).shape)) for a in shared], axis
    )


@function(np.reshape)
def _reshape(x: Any, shape: Any) -> SharedArray:
    return _array(x).reshape(shape)


@function(np.ravel)
def _ravel(x: Any) -> SharedArray:
    return _array(x).ravel()


@function(np.transpose)
def _transpose(x: Any) -> SharedArray:
    return _array(x).transpose()


@function(np.broadcast_to)
def _broadcast_to(x: Any, shape: Any) -> SharedArray:
    return op.part(_array(x), tuple(shape), lambda a: np.broadcast_to(a, shape))


@function(np.diff)
def _diff(x: Any, n: int = 1, axis: int = -1) -> SharedArray:
    gaps = op.numbers(_array(x))
    for _ in range(n):
        whole = (slice(None),) * (axis % gaps.ndim)
        gaps = op.add(gaps[(*whole, slice(1, None))], gaps[(*whole, slice(0, -1))], minus=True)
    return gaps
