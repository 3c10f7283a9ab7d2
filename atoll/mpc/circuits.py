"""Circuits over planes of shared bits: sums, signs, zeros. They need no more of a setting than `both`.

A plane holds one bit of every number; a row of planes is worked at once, in one round.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from atoll.mpc.rounds import Step, together
from atoll.mpc.setting import Setting
from atoll.mpc.shares import Shares, join

BITS: Final = 64
_ALL: Final = np.uint64(2**64 - 1)


def inverted(protocol: Setting, a: Shares) -> Shares:
    """Every bit the other way, those past the last number too."""
    return a ^ protocol.public(np.full(a.shape, _ALL))


def negative(protocol: Setting, x: Shares, bits: int = BITS) -> Step[Shares]:
    """One plane: which of x are below zero; x lie from -2^(bits - 1) to 2^(bits - 1) - 1, and `bits` is at least 2.

    Their sign is the highest of so many bits: what is above need not be added up.
    """
    a, b = yield from protocol.addends(x, bits)
    sums, top = a ^ b, slice(0, bits - 1)
    made = yield from protocol.both(a.part(top), b.part(top))
    carried = yield from carry(protocol, made, sums.part(top))
    return sums.part(slice(bits - 1, bits)) ^ carried


def carry(protocol: Setting, made: Shares, passed: Shares) -> Step[Shares]:
    """The carry out of the highest of several planes, where carries are made and passed on; a tree.

    A comparison by digits is the same: less in a digit, or equal in it and less in what is below. The lowest plane of
    `passed` is never read.
    """
    while (count := made.shape[0]) > 1:
        even = count - count % 2
        low, high, rest = slice(2, even, 2), slice(3, even, 2), slice(even, count)
        # The lowest pair passes nothing on: nothing comes in.
        steps: list[Step[Any]] = [protocol.both(passed.part(slice(1, 2)), made.part(slice(0, 1)))]
        if even > 2:
            steps.append(protocol.both_of(passed.part(high), made.part(low), passed.part(low)))
        lowest, *others = yield from together(*steps)
        further = [lowest, *(pair[0] for pair in others)]
        made_next = made.part(slice(1, even, 2)) ^ join(further)
        # Its place in `passed` is never read.
        passed_next = join([passed.part(slice(0, 1)), *(pair[1] for pair in others)])
        made = join([made_next, made.part(rest)])
        passed = join([passed_next, passed.part(rest)])
    return made


def zero(protocol: Setting, x: Shares, bits: int = BITS) -> Step[Shares]:
    """One plane: which of x are zero; x lie from 1 - 2^bits to 2^bits - 1."""
    a, b = yield from protocol.addends(x, bits, negated=True)
    return (yield from every(protocol, inverted(protocol, a ^ b)))


def every(protocol: Setting, planes: Shares) -> Step[Shares]:
    """Which numbers have all their bits set; a tree."""
    while (count := planes.shape[0]) > 1:
        half = count // 2
        pairs = yield from protocol.both(planes.part(slice(0, half)), planes.part(slice(half, 2 * half)))
        planes = join([pairs, planes.part(slice(2 * half, count))])
    return planes


def bits_of(protocol: Setting, x: Shares, bits: int = BITS) -> Step[Shares]:
    """The lowest planes of x (Sklansky's prefix tree)."""
    a, b = yield from protocol.addends(x, bits)
    sums = a ^ b
    made = yield from protocol.both(a, b)
    passed = sums
    places = np.arange(bits)
    distance = 1
    while distance < bits:
        upper = places[(places & distance) != 0]
        source = upper // distance * distance - 1
        carried, passed_on = yield from protocol.both_of(
            passed.part(upper), made.part(source), passed.part(source)
        )
        made = made.put(upper, made.part(upper) ^ carried)
        passed = passed.put(upper, passed_on)
        distance *= 2
    shape = (1, *made.shape[1:])
    carried = join([protocol.public(np.zeros(shape, np.uint64)), made.part(slice(0, bits - 1))])
    return sums ^ carried


def highest(protocol: Setting, planes: Shares) -> Step[Shares]:
    """Of each number the highest bit that is set, alone: at most one of its planes is set."""
    reached = planes
    distance = 1
    count = planes.shape[0]
    while distance < count:
        # reached[i] becomes: a bit in i .. i + 2 distance - 1 is set. a or b = a ^ b ^ ab.
        low, high = reached.part(slice(0, count - distance)), reached.part(slice(distance, count))
        product = yield from protocol.both(low, high)
        either = low ^ high ^ product
        reached = join([either, reached.part(slice(count - distance, count))])
        distance *= 2
    above = join(
        [reached.part(slice(1, count)), protocol.public(np.zeros((1, *planes.shape[1:]), np.uint64))]
    )
    return reached ^ above
