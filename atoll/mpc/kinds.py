"""What the words of a shared array mean, and within which bounds they lie.

Bounds are declared, never found in the data: from them alone it follows that no sum or product passes the ring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context
from decimal import Decimal as Exactly
from fractions import Fraction
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from atoll.errors import AtollError
from atoll.mpc import wide
from atoll.mpc.rounds import STEP
from atoll.mpc.wide import Words

MOST_UNITS: Final = 2**62 - 1
"""Largest number of units, either side of zero, that an array of words of 64 bits may reach by its declared bounds."""
MOST_WIDE: Final = 2**126 - 1
"""The same of words of 128 bits, which arrays with larger bounds take by themselves."""
MOST_DIGITS: Final = 36
MOST_BITS: Final = 40
# Numbers of 126 bits have 38 digits; the usual 28 would round them.
_EXACTLY: Final = Context(prec=40)


@dataclass(frozen=True)
class Kind:
    """Numbers are units divided by `base ** places`: 10 for exact decimals, 2 for rounded reals, 1 for booleans."""

    base: Literal[1, 2, 10]
    places: int = 0

    @property
    def exact(self) -> bool:
        """Whether sums and products are exact."""
        return self.base != 2

    @property
    def unit(self) -> int:
        """Units in 1."""
        return int(self.base**self.places)

    def __str__(self) -> str:
        if self.base == 1:
            return "boolean"
        return f"{'decimal' if self.exact else 'real'}({self.places})"


BOOLEAN: Final = Kind(1)


def decimal(digits: int = 0) -> Kind:
    """Exact numbers with so many digits (0 to 36) after the point; integers by default."""
    if not 0 <= digits <= MOST_DIGITS:
        raise AtollError("E_RANGE", f"A decimal has 0 to {MOST_DIGITS} digits after the point, not {digits}.")
    return Kind(10, digits)


def real(bits: int = 20) -> Kind:
    """Numbers rounded to multiples of 2^-bits (1 to 40)."""
    if not 1 <= bits <= MOST_BITS:
        raise AtollError("E_RANGE", f"A real has 1 to {MOST_BITS} bits after the point, not {bits}.")
    return Kind(2, bits)


@dataclass(frozen=True)
class Bounds:
    """The least and the largest number of units."""

    low: int
    high: int

    def __add__(self, other: Bounds) -> Bounds:
        return Bounds(self.low + other.low, self.high + other.high)

    def __sub__(self, other: Bounds) -> Bounds:
        return Bounds(self.low - other.high, self.high - other.low)

    def __mul__(self, other: Bounds) -> Bounds:
        corners = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        return Bounds(min(corners), max(corners))

    def times(self, count: int) -> Bounds:
        """Of a sum of 0 or `count` such numbers."""
        return Bounds(min(self.low * count, 0), max(self.high * count, 0)) if count else Bounds(0, 0)

    def shifted(self, bits: int) -> Bounds:
        """After a division by 2^bits that rounds either way."""
        return Bounds((self.low >> bits) - 1, (self.high >> bits) + 1)

    def either(self, other: Bounds) -> Bounds:
        """Of one or the other."""
        return Bounds(min(self.low, other.low), max(self.high, other.high))

    @property
    def largest(self) -> int:
        """Farthest from zero."""
        return max(abs(self.low), abs(self.high))

    @property
    def wide(self) -> bool:
        """Whether words of 64 bits are too short."""
        return self.largest > MOST_UNITS

    def checked(self, what: str, most: int = MOST_WIDE) -> Bounds:
        """Itself; `E_RANGE` if a number may pass the ring."""
        if self.largest > most:
            raise AtollError(
                "E_RANGE",
                f"{what} may reach {Exactly(self.largest):.3g} units by its declared bounds, and {most:.3g} is the "
                "most. Declare narrower bounds, or fewer places.",
                step=STEP,
            )
        return self


def units_of(number: Any, kind: Kind, name: str) -> int:
    """A public number in units: exact for decimals, else to the nearest."""
    if isinstance(number, (bool, np.bool_)):
        number = int(number)
    if isinstance(number, np.generic):
        number = number.item()
    if isinstance(number, float) and not np.isfinite(number):
        raise AtollError("E_RANGE", f"{name} is not a finite number.", step=STEP)
    # A float stands for the shortest decimal that means it.
    exactly = Fraction(repr(number)) if isinstance(number, float) else Fraction(number)
    units = exactly * kind.unit
    if units.denominator == 1:
        return int(units)
    if kind.exact:
        raise AtollError("E_RANGE", f"{name} is {number}, which has more digits than {kind}.", step=STEP)
    return round(units)


def encode(values: Any, kind: Kind, bounds: Bounds, name: str) -> Words:
    """An owner's numbers as words, wide ones if the bounds are.

    Raises:
        AtollError: `E_RANGE` naming the place of a number that is outside the bounds, not finite, or has more digits.
    """
    array = np.asarray(values)
    if kind == BOOLEAN:
        if array.dtype != np.bool_:
            raise AtollError("E_RANGE", f"{name} holds {array.dtype}, and booleans belong there.", step=STEP)
        return array.astype(np.uint64)
    units = _units(array, kind, name, MOST_WIDE if bounds.wide else MOST_UNITS)
    outside = np.flatnonzero((units.reshape(-1) < bounds.low) | (units.reshape(-1) > bounds.high))
    if outside.size:
        raise AtollError(
            "E_RANGE",
            f"{name}, place {outside[0]}: {array.reshape(-1)[outside[0]]} is outside the declared bounds "
            f"{decode_one(bounds.low, kind)} to {decode_one(bounds.high, kind)}.",
            step=STEP,
        )
    return wide.from_integers(units) if bounds.wide else units.view(np.uint64)


def _units(array: npt.NDArray[Any], kind: Kind, name: str, most: int) -> npt.NDArray[Any]:
    """Units as int64, or as integers of Python where those are too short."""
    if array.dtype.kind in "iu":
        largest = max(abs(int(array.max())), abs(int(array.min()))) * kind.unit if array.size else 0
        if largest > most:
            raise AtollError("E_RANGE", f"{name} holds numbers that {kind} cannot hold.", step=STEP)
        return array.astype(object if largest > MOST_UNITS else np.int64) * kind.unit
    if array.dtype.kind == "f" and not kind.exact:
        scaled = np.rint(array.astype(np.float64) * kind.unit)
        wrong = np.flatnonzero(~(np.abs(scaled) <= most))
        if wrong.size:
            place = wrong[0]
            text = f"{name}, place {place}: {array.reshape(-1)[place]} is not a number that {kind} can hold."
            raise AtollError("E_RANGE", text, step=STEP)
        if (np.abs(scaled) > MOST_UNITS).any():
            return integers([int(x) for x in scaled.reshape(-1).tolist()], array.shape)
        return scaled.astype(np.int64)
    units = []
    for place, value in enumerate(array.reshape(-1).tolist()):
        if not isinstance(value, (int, float, Exactly, Fraction)):
            text = f"{name}, place {place}: {type(value).__name__} is not a number."
            raise AtollError("E_RANGE", text, step=STEP)
        units.append(units_of(value, kind, f"{name}, place {place},"))
    if units and max(map(abs, units)) > most:
        raise AtollError("E_RANGE", f"{name} holds numbers that {kind} cannot hold.", step=STEP)
    return integers(units, array.shape)


def integers(units: Sequence[int], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """An array of int64, or of Python's integers where those are too short."""
    if max(map(abs, units), default=0) <= MOST_UNITS:
        return np.array(units, np.int64).reshape(shape)
    out = np.empty(len(units), object)
    out[:] = units
    return out.reshape(shape)


def decode_one(units: int, kind: Kind) -> str:
    """Units as a number to read."""
    return str(Exactly(units).scaleb(-kind.places, _EXACTLY)) if kind.exact else str(units / kind.unit)


def decode(words: Words, kind: Kind) -> npt.NDArray[Any]:
    """Opened words as numbers: bool, int64, float64, or `decimal.Decimal` objects where there are digits.

    Integers of wide words are Python's, in an array of objects.
    """
    if kind == BOOLEAN:
        return words.astype(np.bool_)
    units = wide.to_integers(words) if wide.is_wide(words) else words.view(np.int64)
    if not kind.exact:
        # Python rounds a quotient of integers to the nearest float.
        return np.asarray(units / (kind.unit if wide.is_wide(words) else np.float64(kind.unit)), np.float64)
    if not kind.places:
        return units
    out = np.empty(units.size, object)
    out[:] = [Exactly(u).scaleb(-kind.places, _EXACTLY) for u in units.reshape(-1).tolist()]
    return out.reshape(units.shape)
