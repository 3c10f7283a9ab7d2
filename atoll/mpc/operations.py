"""Operations on shared arrays: which steps they take, of what kind their results are, and within which bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from atoll.errors import AtollError
from atoll.mpc import circuits
from atoll.mpc import wide as ring
from atoll.mpc.kinds import (
    BOOLEAN,
    MOST_DIGITS,
    MOST_UNITS,
    Bounds,
    Kind,
    decimal,
    integers,
    real,
    units_of,
)
from atoll.mpc.rounds import STEP, U64, Step, nothing
from atoll.mpc.shares import Shares, join, pack, unpack
from atoll.mpc.values import Deferred
from atoll.mpc.wide import Words

if TYPE_CHECKING:
    from atoll.mpc.array import SharedArray

Operand: TypeAlias = "SharedArray | Public"


class Public:
    """Numbers that everybody knows, in the units of a kind.

    Attributes:
        units: integers, of 64 bits or of Python.
        kind, bounds, wide: as of a shared array.
    """

    def __init__(self, values: Any, kind: Kind) -> None:
        array = np.asarray(values)
        flat = [units_of(v, kind, "a public number") for v in array.reshape(-1).tolist()]
        self.kind = kind
        self.bounds = Bounds(min(flat, default=0), max(flat, default=0)).checked("A public number")
        self.units = integers(flat, array.shape)
        self.wide = self.bounds.wide
        self.values = values

    @classmethod
    def of_units(cls, units: int, kind: Kind) -> Public:
        """One number of so many units."""
        return cls(Fraction(units, kind.unit), kind)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape."""
        return self.units.shape

    def words(self, wide: bool) -> Words:
        """The units as words."""
        words = ring.from_integers(self.units) if self.wide or wide else self.units.view(np.uint64)
        return words if wide else ring.low(words)


def operand(value: Any, beside: SharedArray) -> Operand:
    """A shared array, or public numbers in a kind that goes with the array beside them."""
    if hasattr(value, "program"):
        beside.program.own(value)
        shared: SharedArray = value
        return shared
    array = np.asarray(value)
    if beside.kind.base == 2 and array.dtype.kind == "f":
        return Public(value, beside.kind)
    if array.dtype.kind in "iub":
        return Public(value, decimal())
    if beside.kind.base == 2:
        return Public(value, beside.kind)
    return Public(value, decimal(max((_digits(v) for v in array.reshape(-1).tolist()), default=0)))


def _digits(value: Any) -> int:
    for digits in range(MOST_DIGITS + 1):
        try:
            units_of(value, decimal(digits), "a public number")
        except AtollError:
            continue
        return digits
    raise AtollError("E_RANGE", f"The public number {value} has no exact form: use a real array.", step=STEP)


def made(
    like: SharedArray,
    shape: tuple[int, ...],
    kind: Kind,
    bounds: Bounds,
    inputs: Sequence[SharedArray],
    make: Callable[..., Step[Any]],
    *,
    check: bool = True,
    wide: bool | None = None,
) -> SharedArray:
    """The array that a step makes of others.

    Without `check` its bounds may pass the ring: where nothing but its sign is wanted, or it is taken back again. The
    step gives words of the ring that the bounds need, or that `wide` says. What `make` closes over is public, and goes
    into the digest of the program (`atoll.mpc.noted`).
    """
    name = " and ".join(dict.fromkeys(i.name for i in inputs)) or like.name
    if check:
        bounds = bounds.checked(f"A result of {name}")
    like.program.noted.note(make, [i.number for i in inputs])
    node = Deferred(tuple(i.node for i in inputs), make)
    return type(like)(like.program, shape, kind, bounds, node, name, wide)


def local(
    like: SharedArray, shape: tuple[int, ...], bounds: Bounds, change: Callable[[Shares], Shares]
) -> SharedArray:
    """An array of numbers that each party makes of its own shares, in the same ring."""
    return made(like, shape, like.kind, bounds, [like], lambda x: nothing(change(x)), wide=like.wide)


def in_ring(x: SharedArray, wide: bool) -> SharedArray:
    """The same numbers in words modulo 2^128 or 2^64. Widened once for an array.

    What is modulo 2^64 in the end may be worked out modulo 2^64 all the way, which costs nothing.
    """
    if x.wide == wide:
        return x
    if x.other_ring is None:
        protocol = x.program.protocol

        def other(s: Shares) -> Step[Shares]:
            return protocol.widened(s) if wide else nothing(s.narrowed())

        x.other_ring = made(x, x.shape, x.kind, x.bounds, [x], other, wide=wide)
    return x.other_ring


# Kinds.


def numbers(x: SharedArray) -> SharedArray:
    """Booleans as integers 0 and 1; numbers as they are. Made once for an array."""
    if x.kind != BOOLEAN:
        return x
    if x.as_numbers is None:
        protocol, size, shape = x.program.protocol, x.size, x.shape

        def words(b: Shares) -> Step[Shares]:
            w = yield from protocol.words(b, size)
            return w.reshape(*shape)

        x.as_numbers = made(x, shape, decimal(), Bounds(0, 1), [x], words)
    return x.as_numbers


def times(x: SharedArray, factor: int, kind: Kind) -> SharedArray:
    """Units times a public integer, under another kind."""
    bounds = x.bounds * Bounds(factor, factor)
    x = in_ring(x, bounds.wide)
    return made(x, x.shape, kind, bounds, [x], lambda s: nothing(s.times(factor)))


def as_kind(x: Operand, kind: Kind) -> Operand:
    """Numbers in a kind with as many places or more, or in a real kind."""
    if isinstance(x, Public):
        return x if x.kind == kind else Public(x.values, kind)
    x = numbers(x)
    if x.kind == kind:
        return x
    if x.kind.base == kind.base or x.kind.places == 0:
        if kind.places >= x.kind.places:
            return times(x, kind.unit // x.kind.unit, kind)
        if kind.base == 2:
            return rescaled(x, x.kind.places - kind.places, kind)
    if kind.base != 2:
        raise AtollError("E_RANGE", f"{x.name} is {x.kind} and does not become {kind}.", step=STEP)
    # Multiply by 2^(bits + guard) / 10^digits, and cut the guard off.
    scale = Fraction(kind.unit, x.kind.unit)
    guard = max(guard_bits(x, scale), 1)
    return rescaled(times(x, round(scale * 2**guard), x.kind), guard, kind)


def guard_bits(x: SharedArray, scale: Fraction) -> int:
    """Bits that are kept behind units times a scale, and cut off then; below 1 if there is no room.

    Rounding the scale is to make less than half a unit, or 2^-27 of the number: if words of 64 bits have no room for
    that, the product is wide.
    """
    size = max(x.bounds.largest, 1).bit_length()
    # 2^more is above the scale, and at most four times it.
    more = abs(scale.numerator).bit_length() - scale.denominator.bit_length() + 1
    guard = min(61 - size - more, 50)
    enough = guard >= size or more + guard >= 28
    return guard if enough and not x.wide else min(125 - size - more, 62)


def rescaled(x: SharedArray, shift: int, kind: Kind) -> SharedArray:
    """Units divided by 2^shift and rounded either way, under another kind."""
    protocol, bounds = x.program.protocol, x.bounds.shifted(shift)

    def scaled(s: Shares) -> Step[Shares]:
        out = yield from protocol.scaled(s, shift)
        return out if bounds.wide else out.narrowed()

    return made(x, x.shape, kind, bounds, [x], scaled)


def aligned(x: Operand, y: Operand) -> tuple[Operand, Operand]:
    """Both in one kind."""
    kinds = [decimal() if o.kind == BOOLEAN else o.kind for o in (x, y)]
    if kinds[0].exact and kinds[1].exact:
        kind = decimal(max(k.places for k in kinds))
    else:
        kind = real(max(k.places for k in kinds if not k.exact))
    return as_kind(x, kind), as_kind(y, kind)


# Sums.


def add(x: Operand, y: Operand, *, minus: bool = False, check: bool = True) -> SharedArray:
    """x + y, or x - y; at least one is shared. `check` as for `made`."""
    x, y = aligned(x, y)
    shape = np.broadcast_shapes(x.shape, y.shape)
    bounds = x.bounds - y.bounds if minus else x.bounds + y.bounds

    # Only its sign is wanted without a check, for which a word of 64 bits does up to 2^63.
    wide = bounds.wide if check else bounds.largest >= 1 << 63

    def sums(a: Words, b: Words) -> Words:
        total = ring.subtract(a, b) if minus else ring.add(a, b)
        return total if total.shape == shape else np.broadcast_to(total, shape)

    given = [in_ring(o, wide) for o in (x, y) if not isinstance(o, Public)]
    protocol = given[0].program.protocol

    def summed(*shares: Shares) -> Step[Shares]:
        rest = iter(shares)
        a, b = (protocol.public(o.words(wide)) if isinstance(o, Public) else next(rest) for o in (x, y))
        return nothing(a.beside(b, sums))

    return made(given[0], shape, x.kind, bounds, given, summed, check=check, wide=wide)


def negative(x: SharedArray) -> SharedArray:
    """-x."""
    x = numbers(x)
    return local(x, x.shape, Bounds(-x.bounds.high, -x.bounds.low), lambda s: s.changed(ring.negative))


def total(x: SharedArray, axis: int | None, *, running: bool = False) -> SharedArray:
    """Sums over an axis or over all, or running sums."""
    x = numbers(x)
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
    axis = np.lib.array_utils.normalize_axis_index(axis, len(x.shape))
    count = x.shape[axis]
    bounds = x.bounds.times(count)
    if running:
        return local(
            in_ring(x, bounds.wide), x.shape, bounds, lambda s: s.changed(lambda w: ring.running(w, axis))
        )
    if bounds.wide and not x.wide:
        # As many are added up in words of 64 bits as cannot pass them; only these sums are widened.
        size = MOST_UNITS // x.bounds.largest
        shape = (*x.shape[:axis], -(-count // size), *x.shape[axis + 1 :])
        part = x.bounds.times(min(size, count))
        x = local(x, shape, part, lambda s: s.changed(lambda w: ring.parts(w, axis, size)))
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    return local(in_ring(x, bounds.wide), shape, bounds, lambda s: s.changed(lambda w: ring.total(w, axis)))


# Products.


def product_kind(x: Operand, y: Operand) -> tuple[Operand, Operand, Kind, int]:
    """Both operands, the kind of their product, and the places that are cut off."""
    if x.kind.exact and y.kind.exact:
        places = x.kind.places + y.kind.places
        if places > MOST_DIGITS:
            raise AtollError(
                "E_RANGE", f"A product has {places} digits, and {MOST_DIGITS} is the most.", step=STEP
            )
        return x, y, decimal(places), 0
    if x.kind.base == y.kind.base:
        return x, y, real(max(x.kind.places, y.kind.places)), min(x.kind.places, y.kind.places)
    if x.kind.places == 0 or y.kind.places == 0:
        return x, y, y.kind if x.kind.exact else x.kind, 0
    x, y = aligned(x, y)
    return x, y, x.kind, x.kind.places


def multiply(x: Operand, y: Operand) -> SharedArray:
    """Products element by element; at least one is shared."""
    for bit, number in ((x, y), (y, x)):
        # A choice by a bit costs less than a product of wide words.
        if bit.kind == BOOLEAN and number.bounds.wide and not isinstance(bit, Public):
            return select(bit, number, Public(0, number.kind))
    x, y = (o if isinstance(o, Public) else numbers(o) for o in (x, y))
    x, y, kind, shift = product_kind(x, y)
    shape = np.broadcast_shapes(x.shape, y.shape)
    bounds = x.bounds * y.bounds
    if isinstance(x, Public):
        x, y = y, x
    assert not isinstance(x, Public)
    x, protocol = in_ring(x, bounds.wide), x.program.protocol

    if isinstance(y, Public):
        words = y.words(bounds.wide)
        result = made(
            x, shape, kind, bounds, [x], lambda a: nothing(a.changed(lambda w: ring.product(w, words)))
        )
        return rescaled(result, shift, kind) if shift else result
    y = in_ring(y, bounds.wide)
    if not shift:
        return made(
            x,
            shape,
            kind,
            bounds,
            [x, y],
            lambda a, b: protocol.product(a.broadcast(shape), b.broadcast(shape)),
        )
    after = bounds.checked(f"A product of {x.name} and {y.name}").shifted(shift)

    def scaled(a: Shares, b: Shares) -> Step[Shares]:
        out = yield from protocol.scaled_product(a.broadcast(shape), b.broadcast(shape), shift)
        return out if after.wide else out.narrowed()

    return made(x, shape, kind, after, [x, y], scaled)


# Comparisons and choices.


def compare(x: Operand, y: Operand, *, equal: bool = False) -> SharedArray:
    """Which x are less than y, or equal to it."""
    # Two numbers below 2^62 differ by less than 2^63, below 2^126 by less than 2^127: the sign is right.
    difference = add(x, y, minus=True, check=False)
    protocol = difference.program.protocol
    step, bits = (protocol.zero, zero_bits) if equal else (protocol.negative, sign_bits)
    count = bits(difference.bounds)
    return made(
        difference, difference.shape, BOOLEAN, Bounds(0, 1), [difference],
        lambda d: step(d.reshape(d.size), count),
    )  # fmt: skip


def sign_bits(bounds: Bounds) -> int:
    """Bits that tell the sign of a number within bounds."""
    return max(2, min(128, bounds.largest.bit_length() + 1))


def zero_bits(bounds: Bounds) -> int:
    """Bits that tell whether a number within bounds is zero."""
    return max(1, min(128, bounds.largest.bit_length()))


def inverted(x: SharedArray) -> SharedArray:
    """not x."""
    protocol = x.program.protocol
    return made(x, x.shape, BOOLEAN, x.bounds, [x], lambda b: nothing(circuits.inverted(protocol, b)))


def _known(shared: SharedArray, shape: tuple[int, ...], bits: np.typing.NDArray[np.bool_]) -> SharedArray:
    protocol, words = (
        shared.program.protocol,
        pack(np.ascontiguousarray(np.broadcast_to(bits, shape)))[None, :],
    )
    return made(shared, shape, BOOLEAN, Bounds(0, 1), [], lambda: nothing(protocol.public(words)))


def _two_booleans(x: Operand, y: Operand) -> tuple[SharedArray, SharedArray]:
    shape = np.broadcast_shapes(x.shape, y.shape)
    shared = x if not isinstance(x, Public) else y
    assert not isinstance(shared, Public)
    both = []
    for one in (x, y):
        if isinstance(one, Public):
            if not set(np.unique(one.units).tolist()) <= {0, 1}:
                raise AtollError(
                    "E_FORMAT", "A boolean and a number that is none do not go together.", step=STEP
                )
            both.append(_known(shared, shape, one.units.astype(np.bool_)))
        elif one.kind != BOOLEAN:
            raise AtollError("E_FORMAT", f"{one.name} is {one.kind}, and booleans belong there.", step=STEP)
        else:
            both.append(bits_part(one, shape, lambda bits: np.broadcast_to(bits, shape)))
    return both[0], both[1]


def both(x: Operand, y: Operand) -> SharedArray:
    """x and y, of booleans."""
    x, y = _two_booleans(x, y)
    protocol = x.program.protocol
    return made(x, x.shape, BOOLEAN, Bounds(0, 1), [x, y], protocol.both)


def differ(x: Operand, y: Operand) -> SharedArray:
    """x or y and not both, of booleans."""
    x, y = _two_booleans(x, y)
    return made(x, x.shape, BOOLEAN, Bounds(0, 1), [x, y], lambda a, b: nothing(a ^ b))


def select(condition: SharedArray, x: Operand, y: Operand) -> SharedArray:
    """x where the condition holds, else y."""
    if condition.kind != BOOLEAN:
        raise AtollError("E_FORMAT", f"{condition.name} is {condition.kind}, and no condition.", step=STEP)
    if all(o.kind == BOOLEAN for o in (x, y)):
        return differ(y, both(condition, differ(x, y)))
    x, y = aligned(x, y)
    shape = np.broadcast_shapes(condition.shape, x.shape, y.shape)
    protocol = condition.program.protocol
    bounds = x.bounds.either(y.bounds)
    wide = bounds.wide
    given = [in_ring(o, wide) for o in (x, y) if not isinstance(o, Public)]
    if isinstance(x, Public) and isinstance(y, Public):
        gap, base = ring.subtract(x.words(wide), y.words(wide)), y.words(wide)
        word = in_ring(numbers(condition), wide)

        def known(w: Shares) -> Step[Shares]:
            chosen = w.changed(lambda a: ring.product(a, gap))
            return nothing(chosen + protocol.public(np.broadcast_to(base, shape)))

        return made(word, shape, x.kind, bounds, [word], known)
    bits = bits_part(condition, shape, lambda b: np.broadcast_to(b, shape))

    def chosen(b: Shares, *shares: Shares) -> Step[Shares]:
        # y + b (x - y): right in the ring whatever x - y is.
        rest = iter(shares)
        one, other = (protocol.public(o.words(wide)) if isinstance(o, Public) else next(rest) for o in (x, y))
        difference = (one - other).broadcast(shape).reshape(-1)
        product = yield from protocol.chosen(b, difference)
        return product.reshape(*shape) + other

    return made(given[0], shape, x.kind, bounds, [bits, *given], chosen)


def choose(condition: np.typing.NDArray[np.bool_], x: Operand, y: Operand) -> SharedArray:
    """x where everybody knows that a condition holds, else y; no round."""
    x, y = aligned(x, y)
    shape = np.broadcast_shapes(condition.shape, x.shape, y.shape)
    bounds = x.bounds.either(y.bounds)
    given = [in_ring(o, bounds.wide) for o in (x, y) if not isinstance(o, Public)]
    protocol = given[0].program.protocol

    def chosen(*shares: Shares) -> Step[Shares]:
        rest = iter(shares)
        one, other = (
            protocol.public(o.words(bounds.wide)) if isinstance(o, Public) else next(rest) for o in (x, y)
        )
        return nothing(one.beside(other, lambda a, b: np.where(condition, a, b)))

    return made(given[0], shape, x.kind, bounds, given, chosen)


def within(x: SharedArray, bounds: Bounds) -> SharedArray:
    """The same array, known to keep closer bounds."""
    x = in_ring(x, bounds.wide)
    return made(x, x.shape, x.kind, bounds, [x], nothing)


# Shapes.


def reshape(x: SharedArray, shape: tuple[int, ...]) -> SharedArray:
    """The same elements in another shape."""
    if int(np.prod(shape, dtype=object)) != x.size:
        raise AtollError("E_FORMAT", f"{x.name} has shape {x.shape} and does not take {shape}.", step=STEP)
    if x.kind == BOOLEAN:
        return made(x, shape, BOOLEAN, x.bounds, [x], nothing)
    return local(x, shape, x.bounds, lambda s: s.reshape(*shape))


def part(x: SharedArray, shape: tuple[int, ...], change: Callable[[Any], Any]) -> SharedArray:
    """Elements moved, repeated or left out, as `change` does with an array."""
    if x.kind == BOOLEAN:
        return bits_part(x, shape, change)
    return local(x, shape, x.bounds, lambda s: s.changed(change))


def bits_part(x: SharedArray, shape: tuple[int, ...], change: Callable[[Any], Any]) -> SharedArray:
    """The same of booleans."""
    if shape == x.shape and change(np.arange(x.size).reshape(shape)).tobytes() == np.arange(x.size).tobytes():
        return x
    size, before = x.size, x.shape

    def moved(plane: U64) -> U64:
        bits = unpack(plane, size).astype(np.bool_).reshape(before)
        return pack(np.ascontiguousarray(change(bits)))[None, :]

    return made(x, shape, BOOLEAN, x.bounds, [x], lambda s: nothing(s.changed(moved)))


def concatenate(arrays: Sequence[SharedArray], axis: int) -> SharedArray:
    """Arrays of numbers one after the other, in one kind."""
    arrays = [numbers(a) for a in arrays]
    exact = all(a.kind.exact for a in arrays)
    places = max(a.kind.places for a in arrays if exact or not a.kind.exact)
    kind = decimal(places) if exact else real(places)
    same = [as_kind(a, kind) for a in arrays]
    shape = np.concatenate([np.empty(a.shape, np.bool_) for a in same], axis).shape
    bounds = same[0].bounds
    for other in same[1:]:
        bounds = bounds.either(other.bounds)
    given = [in_ring(s, bounds.wide) for s in same if not isinstance(s, Public)]

    def joined(*shares: Shares) -> Step[Shares]:
        return nothing(join(shares, axis))

    return made(given[0], shape, kind, bounds, given, joined)
