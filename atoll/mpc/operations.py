"""Operations on shared arrays: which steps they take, of what kind their results are, and within which bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from atoll.errors import AtollError
from atoll.mpc import circuits
from atoll.mpc.kinds import BOOLEAN, MOST_DIGITS, Bounds, Kind, decimal, real, units_of
from atoll.mpc.rounds import STEP, U64, Step, nothing
from atoll.mpc.shares import Shares, join, pack, unpack
from atoll.mpc.values import Deferred

if TYPE_CHECKING:
    from atoll.mpc.array import SharedArray

Operand: TypeAlias = "SharedArray | Public"


class Public:
    """Numbers that everybody knows, in the units of a kind.

    Attributes:
        words: units as words.
        kind, bounds: as of a shared array.
    """

    def __init__(self, values: Any, kind: Kind) -> None:
        array = np.asarray(values)
        flat = [units_of(v, kind, "a public number") for v in array.reshape(-1).tolist()]
        self.kind = kind
        self.bounds = Bounds(min(flat, default=0), max(flat, default=0)).checked("A public number")
        self.words: U64 = np.array(flat, np.int64).reshape(array.shape).view(np.uint64)
        self.values = values

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape."""
        return self.words.shape


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
) -> SharedArray:
    """The array that a step makes of others.

    Without `check` its bounds may pass the ring: where nothing but its sign is wanted, or it is taken back again.
    What `make` closes over is public, and goes into the digest of the program (`atoll.mpc.noted`).
    """
    name = " and ".join(dict.fromkeys(i.name for i in inputs)) or like.name
    if check:
        bounds = bounds.checked(f"A result of {name}")
    like.program.noted.note(make, [i.number for i in inputs])
    node = Deferred(tuple(i.node for i in inputs), make)
    return type(like)(like.program, shape, kind, bounds, node, name)


def local(
    like: SharedArray, shape: tuple[int, ...], bounds: Bounds, change: Callable[[Shares], Shares]
) -> SharedArray:
    """An array of numbers that each party makes of its own shares."""
    return made(like, shape, like.kind, bounds, [like], lambda x: nothing(change(x)))


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


def _times(x: SharedArray, factor: int, kind: Kind) -> SharedArray:
    """Units times a public integer, under another kind."""
    word = np.uint64(factor % 2**64)
    bounds = x.bounds * Bounds(factor, factor)
    return made(x, x.shape, kind, bounds, [x], lambda s: nothing(s.changed(lambda w: w * word)))


def as_kind(x: Operand, kind: Kind) -> Operand:
    """Numbers in a kind with as many places or more, or in a real kind."""
    if isinstance(x, Public):
        return x if x.kind == kind else Public(x.values, kind)
    x = numbers(x)
    if x.kind == kind:
        return x
    if x.kind.base == kind.base or x.kind.places == 0:
        if kind.places >= x.kind.places:
            return _times(x, kind.unit // x.kind.unit, kind)
        if kind.base == 2:
            return rescaled(x, x.kind.places - kind.places, kind)
    if kind.base != 2:
        raise AtollError("E_RANGE", f"{x.name} is {x.kind} and does not become {kind}.", step=STEP)
    # Multiply by 2^(bits + guard) / 10^digits, and cut the guard off: as many guard bits as the bounds leave room for.
    guard = max(61 - kind.places - max(1, x.bounds.largest // x.kind.unit).bit_length(), 1)
    guard = min(guard, 40)
    factor = round((1 << kind.places + guard) / x.kind.unit)
    return rescaled(_times(x, factor, x.kind), guard, kind)


def rescaled(x: SharedArray, shift: int, kind: Kind) -> SharedArray:
    """Units divided by 2^shift and rounded either way, under another kind."""
    protocol = x.program.protocol
    return made(x, x.shape, kind, x.bounds.shifted(shift), [x], lambda s: protocol.scaled(s, shift))


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

    def sums(a: U64, b: U64) -> U64:
        total = a - b if minus else a + b
        return total if total.shape == shape else np.broadcast_to(total, shape)

    if isinstance(y, Public):
        assert not isinstance(x, Public)
        protocol, words = x.program.protocol, y.words

        def with_right(a: Shares) -> Step[Shares]:
            b = protocol.public(words)
            return nothing(a.beside(b, sums))

        return made(x, shape, x.kind, bounds, [x], with_right, check=check)
    if isinstance(x, Public):
        protocol, words = y.program.protocol, x.words

        def with_left(b: Shares) -> Step[Shares]:
            a = protocol.public(words)
            return nothing(a.beside(b, sums))

        return made(y, shape, y.kind, bounds, [y], with_left, check=check)

    def with_both(a: Shares, b: Shares) -> Step[Shares]:
        return nothing(a.beside(b, sums))

    return made(x, shape, x.kind, bounds, [x, y], with_both, check=check)


def negative(x: SharedArray) -> SharedArray:
    """-x."""
    x = numbers(x)
    return local(x, x.shape, Bounds(-x.bounds.high, -x.bounds.low), lambda s: s.changed(lambda w: -w))


def total(x: SharedArray, axis: int | None, *, running: bool = False) -> SharedArray:
    """Sums over an axis or over all, or running sums."""
    x = numbers(x)
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
    axis = np.lib.array_utils.normalize_axis_index(axis, len(x.shape))
    bounds = x.bounds.times(x.shape[axis])
    if running:
        return local(x, x.shape, bounds, lambda s: s.changed(lambda w: np.cumsum(w, axis, dtype=np.uint64)))
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    return local(
        x,
        shape,
        bounds,
        lambda s: s.changed(lambda w: np.asarray(w.sum(axis, dtype=np.uint64), dtype=np.uint64)),
    )


# Products.


def _product_kind(x: Operand, y: Operand) -> tuple[Operand, Operand, Kind, int]:
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
    x, y = (o if isinstance(o, Public) else numbers(o) for o in (x, y))
    x, y, kind, shift = _product_kind(x, y)
    shape = np.broadcast_shapes(x.shape, y.shape)
    bounds = x.bounds * y.bounds
    if isinstance(x, Public):
        x, y = y, x
    assert not isinstance(x, Public)
    protocol = x.program.protocol

    if isinstance(y, Public):
        words = y.words
        result = made(x, shape, kind, bounds, [x], lambda a: nothing(a.changed(lambda w: w * words)))
        return rescaled(result, shift, kind) if shift else result
    if not shift:
        return made(
            x,
            shape,
            kind,
            bounds,
            [x, y],
            lambda a, b: protocol.product(a.broadcast(shape), b.broadcast(shape)),
        )
    bounds.checked(f"A product of {x.name} and {y.name}")
    return made(
        x, shape, kind, bounds.shifted(shift), [x, y],
        lambda a, b: protocol.scaled_product(a.broadcast(shape), b.broadcast(shape), shift),
    )  # fmt: skip


def matrix_multiply(x: Operand, y: Operand) -> SharedArray:
    """The product of matrices, or of a matrix and a vector."""
    x, y = (o if isinstance(o, Public) else numbers(o) for o in (x, y))
    x, y, kind, shift = _product_kind(x, y)
    if not (1 <= len(x.shape) <= 2 and 1 <= len(y.shape) <= 2) or x.shape[-1] != y.shape[0]:
        raise AtollError(
            "E_FORMAT", f"Matrices of shapes {x.shape} and {y.shape} have no product.", step=STEP
        )
    shape = x.shape[:-1] + y.shape[1:]
    inner = x.shape[-1]
    bounds = (x.bounds * y.bounds).times(inner)
    left = (x.shape[0] if len(x.shape) == 2 else 1, inner)
    right = (inner, y.shape[1] if len(y.shape) == 2 else 1)
    shared = x if not isinstance(x, Public) else y
    assert not isinstance(shared, Public)
    protocol, threads = shared.program.protocol, shared.program.threads
    what = " and ".join(o.name for o in (x, y) if not isinstance(o, Public))
    bounds.checked(f"A product of {what}")

    def product(a: Shares, b: Shares) -> Step[Shares]:
        a, b = a.reshape(*left), b.reshape(*right)
        if shift:
            out = yield from protocol.scaled_matrix_product(a, b, shift, threads)
        else:
            out = yield from protocol.matrix_product(a, b, threads)
        return out.reshape(*shape)

    after = bounds.shifted(shift) if shift else bounds
    if isinstance(x, Public):
        words = x.words
        return made(shared, shape, kind, after, [shared], lambda b: product(protocol.public(words), b))
    if isinstance(y, Public):
        words = y.words
        return made(shared, shape, kind, after, [shared], lambda a: product(a, protocol.public(words)))
    return made(shared, shape, kind, after, [x, y], product)


# Comparisons and choices.


def compare(x: Operand, y: Operand, *, equal: bool = False) -> SharedArray:
    """Which x are less than y, or equal to it."""
    # Two numbers below 2^62 differ by less than 2^63: the sign is right.
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
    return max(2, min(64, bounds.largest.bit_length() + 1))


def zero_bits(bounds: Bounds) -> int:
    """Bits that tell whether a number within bounds is zero."""
    return max(1, min(64, bounds.largest.bit_length()))


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
            if not set(np.unique(one.words).tolist()) <= {0, 1}:
                raise AtollError(
                    "E_FORMAT", "A boolean and a number that is none do not go together.", step=STEP
                )
            both.append(_known(shared, shape, one.words.astype(np.bool_)))
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
    given = [o for o in (x, y) if not isinstance(o, Public)]
    bounds = x.bounds.either(y.bounds)
    if not given:
        gap, base = _gap(x, y), y.words  # type: ignore[union-attr]
        word = numbers(condition)

        def known(w: Shares) -> Step[Shares]:
            return nothing(w.changed(lambda a: a * gap) + protocol.public(np.broadcast_to(base, shape)))

        return made(word, shape, x.kind, bounds, [word], known)
    bits = bits_part(condition, shape, lambda b: np.broadcast_to(b, shape))

    def chosen(b: Shares, *shares: Shares) -> Step[Shares]:
        # y + b (x - y): modulo 2^64 whatever x - y is.
        rest = iter(shares)
        one, other = (protocol.public(o.words) if isinstance(o, Public) else next(rest) for o in (x, y))
        difference = (one - other).broadcast(shape).reshape(-1)
        product = yield from protocol.chosen(b, difference)
        return product.reshape(*shape) + other

    return made(given[0], shape, x.kind, bounds, [bits, *given], chosen)


def _gap(x: Operand, y: Operand) -> U64:
    """x - y of public numbers, as words."""
    assert isinstance(x, Public)
    assert isinstance(y, Public)
    return np.asarray(x.words - y.words, np.uint64)


def choose(condition: np.typing.NDArray[np.bool_], x: Operand, y: Operand) -> SharedArray:
    """x where everybody knows that a condition holds, else y; no round."""
    x, y = aligned(x, y)
    shape = np.broadcast_shapes(condition.shape, x.shape, y.shape)
    given = [o for o in (x, y) if not isinstance(o, Public)]
    protocol = given[0].program.protocol

    def chosen(*shares: Shares) -> Step[Shares]:
        rest = iter(shares)
        one, other = (protocol.public(o.words) if isinstance(o, Public) else next(rest) for o in (x, y))
        return nothing(one.beside(other, lambda a, b: np.where(condition, a, b)))

    return made(given[0], shape, x.kind, x.bounds.either(y.bounds), given, chosen)


def within(x: SharedArray, bounds: Bounds) -> SharedArray:
    """The same array, known to keep closer bounds."""
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
    first = same[0]
    assert not isinstance(first, Public)

    def joined(*shares: Shares) -> Step[Shares]:
        return nothing(join(shares, axis))

    return made(first, shape, kind, bounds, [s for s in same if not isinstance(s, Public)], joined)
