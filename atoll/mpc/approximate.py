"""Quotients, roots, exponentials, logarithms of reals: what is worked out to a stated error.

Numbers are brought between 1/2 and 1 by the power of two that their highest bit names, worked out there with Newton's
method or a polynomial, and brought back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import reduce
from math import ceil, exp, log, log2
from operator import add
from typing import Any, Final

import numpy as np

from atoll.errors import AtollError
from atoll.mpc import circuits
from atoll.mpc import operations as op
from atoll.mpc.array import SharedArray, ufunc
from atoll.mpc.functions import REAL_BITS, divided
from atoll.mpc.kinds import MOST_UNITS, Bounds, Kind, real
from atoll.mpc.operations import Operand, Public
from atoll.mpc.rounds import STEP, Step
from atoll.mpc.setting import Setting
from atoll.mpc.shares import Shares

WORK_BITS: Final = 28
"""Bits after the point of numbers between 1/2 and 1 while they are worked at."""
_NEWTON: Final = 3


def _plus(protocol: Setting, x: Shares, number: int) -> Shares:
    known = protocol.public(np.full(x.shape, number % 2**64, np.uint64))
    return x + known


def _sum(parts: Sequence[Shares]) -> Shares:
    return reduce(add, parts)


def _polynomial(protocol: Setting, x: Shares, coefficients: Sequence[float], bits: int) -> Step[Shares]:
    """Horner's rule on numbers with so many bits after the point; the coefficient of the highest power is first."""
    units = [round(c * 2**bits) for c in coefficients]
    result = _plus(protocol, x.times(0), units[0])
    for unit in units[1:]:
        result = _plus(protocol, (yield from protocol.scaled_product(result, x, bits)), unit)
    return result


def _fit(f: Callable[[Any], Any], low: float, high: float, degree: int) -> list[float]:
    """The interpolation of a function at Chebyshev's points, highest power first."""
    series = np.polynomial.Chebyshev.interpolate(f, degree, domain=[low, high])
    return [float(c) for c in reversed(series.convert(kind=np.polynomial.Polynomial).coef)]


_ROOT: Final = _fit(lambda x: 1 / np.sqrt(x), 0.25, 1, 4)
_POWER: Final = _fit(lambda x: 2.0**x, 0, 1, 6)
# Of 4 c - 3, which is from -1 to 1: the powers of c itself would have large coefficients.
_LOG: Final = _fit(lambda t: np.log((t + 3) / 4), -1, 1, 9)


def _highest(protocol: Setting, x: Shares, bits: int) -> Step[list[Shares]]:
    """For each bit words of 0 or 1: whether it is the highest of x that is set; x below 2^bits, one dimension."""
    planes = yield from circuits.bits_of(protocol, x, bits)
    top = yield from circuits.highest(protocol, planes)
    count = x.shape[0]
    filled = top.shape[1] * 64
    words = yield from protocol.words(top, bits * filled)
    return [words.part(slice(b * filled, b * filled + count)) for b in range(bits)]


def _fraction(protocol: Setting, x: Shares, power: Shares, bits: int) -> Step[Shares]:
    """x times a power of two that brings it below 2^bits, with `WORK_BITS` after the point."""
    if bits > WORK_BITS:
        return (yield from protocol.scaled_product(x, power, bits - WORK_BITS))
    product = yield from protocol.product(x, power)
    return product.times(1 << WORK_BITS - bits)


def _inverse(protocol: Setting, c: Shares) -> Step[Shares]:
    """1 / c for c from 1/2 to 1, by Newton's method from a line that is off by 0.09 at the most."""
    result = _plus(protocol, c.times(-2), round(2.9142 * 2**WORK_BITS))
    for _ in range(_NEWTON):
        product = yield from protocol.scaled_product(result, c, WORK_BITS)
        rest = _plus(protocol, product.times(-1), 2 << WORK_BITS)
        result = yield from protocol.scaled_product(result, rest, WORK_BITS)
    return result


def _flat(x: SharedArray, step: Callable[..., Step[Shares]]) -> Callable[..., Step[Shares]]:
    """The step on one dimension and words of 64 bits, its result in the array's shape."""

    def run(*shares: Shares) -> Step[Shares]:
        result = yield from step(*(s.narrowed().reshape(-1) for s in shares))
        return result.reshape(*x.shape)

    return run


def _real(x: Operand, least: int = 1) -> SharedArray:
    if isinstance(x, Public):
        raise AtollError("E_FORMAT", "A shared array belongs there.", step=STEP)
    kind = x.kind if x.kind.base == 2 and x.kind.places >= least else real(max(REAL_BITS, least))
    out = op.as_kind(x, kind)
    assert isinstance(out, SharedArray)
    return out


def _room(x: SharedArray, bits: int, what: str) -> None:
    if bits > 61:
        raise AtollError(
            "E_RANGE",
            f"{what} of {x.name} takes numbers of {bits} bits, and 61 is the most: declare narrower bounds, or fewer "
            "bits after the point.",
            step=STEP,
        )


@ufunc(np.divide)
def _divide(x: Operand, y: Operand) -> SharedArray:
    """x / y: off by 2^-24 of the quotient, 2 units, and what a change of x by 2 units makes. y is not zero.

    Integers are divided with as many bits after the point, up to 20, as their bounds leave room for.
    """
    if isinstance(y, Public):
        if isinstance(x, Public):
            raise AtollError("E_FORMAT", "A shared array belongs there.", step=STEP)
        if y.units.size == 1:
            number = int(y.units.reshape(-1)[0])
            return divided(op.numbers(x), Fraction(number, y.kind.unit))
        inverse = 1 / (y.units.astype(np.float64) / y.kind.unit)
        left = _real(x)
        return op.multiply(left, Public(inverse, left.kind))
    kind = _quotient_kind(x, y)
    divisor = op.as_kind(y, kind)
    assert isinstance(divisor, SharedArray)
    if isinstance(x, Public):
        x = op.add(op.multiply(divisor, Public(0, kind)), Public(x.values, kind))
    dividend = op.as_kind(x, kind)
    assert isinstance(dividend, SharedArray)
    if divisor.bounds.low < 0:
        below = op.compare(divisor, Public(0, kind))
        positive = op.within(
            op.select(below, op.negative(divisor), divisor), Bounds(0, divisor.bounds.largest)
        )
        quotient = _quotient(dividend, positive)
        return op.select(below, op.negative(quotient), quotient)
    return _quotient(dividend, divisor)


def _quotient_kind(x: Operand, y: SharedArray) -> Kind:
    """The real kind in which x is divided by y: that of an operand, else as many bits as bounds leave room for."""
    reals = [o.kind.places for o in (x, y) if o.kind.base == 2]
    if reals:
        return real(max(reals))
    whole = [max(1, o.bounds.largest // o.kind.unit).bit_length() for o in (x, y)]
    room = min(61 - WORK_BITS - 2 - whole[0], (60 - sum(whole)) // 2)
    return real(max(1, min(REAL_BITS, room)))


def _quotient(x: SharedArray, y: SharedArray) -> SharedArray:
    shape = np.broadcast_shapes(x.shape, y.shape)
    x, y = (op.part(a, shape, lambda w: np.broadcast_to(w, shape)) for a in (x, y))
    protocol, bits, places = x.program.protocol, max(1, y.bounds.high.bit_length()), y.kind.places
    size = x.bounds.largest.bit_length()
    _room(x, max(size + WORK_BITS + 1, size + bits + 1), "A quotient")

    def step(a: Shares, b: Shares) -> Step[Shares]:
        top = yield from _highest(protocol, b, bits)
        power = _sum([t.times(1 << bits - 1 - i) for i, t in enumerate(top)])
        inverse = yield from _inverse(protocol, (yield from _fraction(protocol, b, power, bits)))
        near = yield from protocol.scaled_product(a, inverse, WORK_BITS)
        if bits > places:
            return (yield from protocol.scaled_product(near, power, bits - places))
        return (yield from protocol.product(near, power)).times(1 << places - bits)

    most = (x.bounds.largest + 2 << places) // max(1, y.bounds.low) + 2
    low = 0 if x.bounds.low >= 0 else -most
    bounds = Bounds(min(low, -2), most).checked(f"A quotient of {x.name}", MOST_UNITS)
    return op.made(x, shape, y.kind, bounds, [x, y], _flat(x, step))


@ufunc(np.sqrt)
def _sqrt(x: Operand) -> SharedArray:
    """Square roots of numbers that are not below zero: off by 2^-22 of the root and 2 units."""
    radicand = _real(x)
    if radicand.kind.places % 2:
        radicand = _real(radicand, radicand.kind.places + 1)
    protocol, kind = radicand.program.protocol, radicand.kind
    bits = max(2, radicand.bounds.high.bit_length())
    bits += bits % 2
    _room(radicand, max(bits + 1, WORK_BITS + (bits + kind.places) // 2 + 1), "A root")

    def step(a: Shares) -> Step[Shares]:
        top = yield from _highest(protocol, a, bits)
        # Powers of four: the fraction is from 1/4 to 1.
        half = [(i + 2) // 2 for i in range(bits)]
        power = _sum([t.times(1 << bits - 2 * h) for t, h in zip(top, half, strict=True)])
        back = _sum([t.times(1 << h + kind.places // 2) for t, h in zip(top, half, strict=True)])
        c = yield from _fraction(protocol, a, power, bits)
        root = yield from _polynomial(protocol, c, _ROOT, WORK_BITS)
        for _ in range(_NEWTON - 1):
            square = yield from protocol.scaled_product(root, root, WORK_BITS)
            product = yield from protocol.scaled_product(square, c, WORK_BITS)
            rest = _plus(protocol, product.times(-1), 3 << WORK_BITS)
            root = yield from protocol.scaled_product(root, rest, WORK_BITS + 1)
        root = yield from protocol.scaled_product(root, c, WORK_BITS)
        return (yield from protocol.scaled_product(root, back, WORK_BITS))

    most = ceil((max(radicand.bounds.high, 0) << kind.places) ** 0.5 * (1 + 2**-20)) + 2
    bounds = Bounds(-2, most).checked(f"A root of {radicand.name}", MOST_UNITS)
    return op.made(radicand, radicand.shape, kind, bounds, [radicand], _flat(radicand, step))


@ufunc(np.log)
def _log(x: Operand) -> SharedArray:
    """Natural logarithms of numbers above zero: off by 2^-18."""
    number = _real(x)
    protocol, kind = number.program.protocol, number.kind
    bits, places = max(1, number.bounds.high.bit_length()), kind.places
    _room(number, bits + 1, "A logarithm")

    def step(a: Shares) -> Step[Shares]:
        top = yield from _highest(protocol, a, bits)
        power = _sum([t.times(1 << bits - 1 - i) for i, t in enumerate(top)])
        c = yield from _fraction(protocol, a, power, bits)
        centred = _plus(protocol, c.times(4), -3 << WORK_BITS)
        small = yield from _polynomial(protocol, centred, _LOG, WORK_BITS)
        if places < WORK_BITS:
            small = yield from protocol.scaled(small, WORK_BITS - places)
        else:
            small = small.times(1 << places - WORK_BITS)
        whole = _sum([t.times(round((i + 1 - places) * log(2) * 2**places)) for i, t in enumerate(top)])
        return _sum([small, whole])

    unit = 1 << places
    low = log(max(number.bounds.low, 1) / unit)
    high = log(max(number.bounds.high, 1) / unit)
    bounds = Bounds(int(low * unit) - 16 - unit // 2**17, int(high * unit) + 16 + unit // 2**17)
    return op.made(number, number.shape, kind, bounds, [number], _flat(number, step))


def _exponential(x: SharedArray, kind: Kind) -> SharedArray:
    """e^x: the whole part of x log2(e) by its bits, the rest by a polynomial."""
    protocol, places = x.program.protocol, kind.places
    # Below the last unit nothing is left: what is lower is taken for that.
    least = -ceil((places + 2) * log(2))
    if x.bounds.low < least << places:
        x = op.within(
            op.select(op.compare(x, Public(least, kind)), Public(least, kind), x),
            Bounds(least << places, max(x.bounds.high, least << places)),
        )
    # So that the exponent is not below zero: least * log2(e) is above -(places + 3.5).
    shift = places + 4
    highest = x.bounds.high / kind.unit * log2(exp(1))
    whole_bits = max(1, int(highest + shift + 1).bit_length())
    work = min(WORK_BITS, 60 - (shift + int(max(highest, 0)) + 2))
    if work < places // 2:
        raise AtollError(
            "E_RANGE", f"An exponential of {x.name} is too large: declare narrower bounds.", step=STEP
        )
    guard = max(0, min(30, 60 - x.bounds.largest.bit_length() - 2))
    factor = round(log2(exp(1)) * 2**guard)

    def step(a: Shares) -> Step[Shares]:
        power = yield from protocol.scaled(a.times(factor), guard)
        power = _plus(protocol, power, shift << places)
        planes = yield from circuits.bits_of(protocol, power, places + whole_bits)
        count = a.shape[0]
        filled = planes.shape[1] * 64
        words = yield from protocol.words(planes.part(slice(places, None)), whole_bits * filled)
        bits = [words.part(slice(b * filled, b * filled + count)) for b in range(whole_bits)]
        whole = _sum([b.times(1 << i + places) for i, b in enumerate(bits)])
        rest = power - whole
        rest = (
            rest.times(1 << work - places)
            if work >= places
            else (yield from protocol.scaled(rest, places - work))
        )
        fraction = yield from _polynomial(protocol, rest, _POWER, work)
        # 2^whole: a factor of 1 or 2^2^i for each bit; the highest that bounds allow fits.
        result = _plus(protocol, bits[0].times(1), 1)
        for i, bit in enumerate(bits[1:], 1):
            result = yield from protocol.product(
                result, _plus(protocol, bit.times(2 ** min(2**i, 63) - 1), 1)
            )
        return (yield from protocol.scaled_product(fraction, result, work + shift - places))

    most = ceil(exp(min(x.bounds.high / kind.unit, 40)) * kind.unit * (1 + 2**-12)) + 4
    bounds = Bounds(-4, most).checked(f"An exponential of {x.name}", MOST_UNITS)
    return op.made(x, x.shape, kind, bounds, [x], _flat(x, step))


@ufunc(np.exp)
def _exp(x: Operand) -> SharedArray:
    """e^x: off by 2^-18 of the result and 2 units. What is below the last unit is 0 or 1 units."""
    exponent = _real(x)
    return _exponential(exponent, exponent.kind)


def sigmoid(x: SharedArray) -> SharedArray:
    """1 / (1 + e^-x): off by 2^-17. From e^-|x|, so that nothing is large."""
    number = _real(x)
    protocol, kind = number.program.protocol, number.kind
    below = op.compare(number, Public(0, kind))
    size = op.within(op.select(below, number, op.negative(number)), Bounds(-number.bounds.largest, 0))
    power = _exponential(size, kind)

    def step(e: Shares) -> Step[Shares]:
        # (1 + e) / 2 is from 1/2 to 1; half of its inverse is the result.
        shift = WORK_BITS - 1 - kind.places
        c = e.times(1 << shift) if shift >= 0 else (yield from protocol.scaled(e, -shift))
        inverse = yield from _inverse(protocol, _plus(protocol, c, 1 << WORK_BITS - 1))
        return (yield from protocol.scaled(inverse, WORK_BITS + 1 - kind.places))

    unit = kind.unit
    upper = op.made(number, number.shape, kind, Bounds(unit // 2 - 8, unit + 8), [power], _flat(number, step))
    lower = op.add(Public(1, kind), upper, minus=True)
    return op.within(op.select(below, lower, upper), Bounds(-8, unit + 8))
