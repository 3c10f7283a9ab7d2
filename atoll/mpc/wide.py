"""Words modulo 2^128 beside those modulo 2^64: an array of two fields, whose shapes and places are NumPy's as before.

Functions take words of either ring, all of one, and give that ring's back. What carries and borrows is never a branch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from atoll.crypto.arrays import WIDE, planes, wide_plain
from atoll.crypto.arrays import matrix_product as narrow_matrix_product
from atoll.mpc.rounds import U64

Words: TypeAlias = npt.NDArray[Any]
"""Words of 64 bits, or of 128 (`WIDE`)."""

WORD: Final = 2**64
BITS: Final = 64
MOST_PRODUCTS: Final = 1 << 22
"""Products of two elements that are held at once."""
_HALF: Final = np.uint64(32)
_LOW_HALF: Final = np.uint64(2**32 - 1)
_TOP: Final = np.uint64(63)


def is_wide(words: Words) -> bool:
    """Whether they are modulo 2^128."""
    return words.dtype == WIDE


def kind(wide: bool) -> np.dtype[Any]:
    """The type of an array's words."""
    return WIDE if wide else np.dtype(np.uint64)


def pair(low: U64, high: U64) -> Words:
    """Wide words of their halves."""
    out = np.empty(np.broadcast_shapes(low.shape, high.shape), WIDE)
    out["lo"], out["hi"] = low, high
    return out


def low(words: Words) -> U64:
    """Modulo 2^64."""
    return np.ascontiguousarray(words["lo"]).reshape(words.shape) if is_wide(words) else words


def high(words: Words) -> U64:
    """The upper halves of wide words."""
    return np.asarray(words["hi"])


def signed(words: Words) -> Words:
    """Words of 64 bits, signed, modulo 2^128."""
    return pair(words, (words.view(np.int64) >> np.int64(63)).view(np.uint64))


def unsigned(words: Words) -> Words:
    """The same of unsigned ones."""
    return pair(words, np.zeros(words.shape, np.uint64))


# Into messages and out of them.


def flat(words: Words) -> U64:
    """One after the other in words of 64 bits, the low half first."""
    return np.ascontiguousarray(words).reshape(-1).view(np.uint64)


def length(size: int, wide: bool) -> int:
    """Words of 64 bits that so many elements take."""
    return 2 * size if wide else size


def shaped(words: U64, shape: tuple[int, ...], wide: bool) -> Words:
    """The inverse of `flat`."""
    return np.ascontiguousarray(words).reshape(-1).view(kind(wide)).reshape(shape)


def drawn(draw: Callable[[tuple[int, ...]], U64], shape: tuple[int, ...], wide: bool) -> Words:
    """Words of a stream."""
    return shaped(draw((*shape, 2)), shape, True) if wide else draw(shape)


# Arithmetic.


def _plain(what: Literal["+", "-", "*"], a: Words, b: Words) -> Words:
    shape = np.broadcast_shapes(a.shape, b.shape)
    # One word for all needs no copies.
    x, y = (w if w.size == 1 else np.broadcast_to(w, shape) for w in (a, b))
    return wide_plain(what, x, y).reshape(shape)


def add(a: Words, b: Words) -> Words:
    """Sums; shapes that go together."""
    return _plain("+", a, b) if is_wide(a) else np.asarray(a + b)


def subtract(a: Words, b: Words) -> Words:
    """Differences."""
    return _plain("-", a, b) if is_wide(a) else np.asarray(a - b)


def negative(a: Words) -> Words:
    """-a."""
    return _plain("-", constant(0, True), a) if is_wide(a) else np.asarray(-a)


def times(a: Words, factor: int) -> Words:
    """Times a public integer."""
    return (
        _plain("*", a, constant(factor, is_wide(a)))
        if is_wide(a)
        else np.asarray(a * np.uint64(factor % WORD))
    )


def product(a: Words, b: Words) -> Words:
    """Products."""
    return _plain("*", a, b) if is_wide(a) else np.asarray(a * b)


def matrix_product(x: Words, y: Words, threads: int = 1) -> Words:
    """The product of matrices."""
    if not is_wide(x):
        return narrow_matrix_product(x, y, threads)
    (rows, inner), columns = x.shape, y.shape[1]
    size = max(1, MOST_PRODUCTS // (rows * columns))
    out = np.zeros((rows, columns), WIDE)
    for start in range(0, inner, size):
        part = slice(start, start + size)
        out = add(out, total(product(x[:, None, part], y.T[None, :, part]), 2))
    return out


def total(a: Words, axis: int) -> Words:
    """Sums over an axis of up to 2^32 elements."""
    return _summed(a, lambda w: np.asarray(w.sum(axis, dtype=np.uint64), np.uint64))


def running(a: Words, axis: int) -> Words:
    """Running sums."""
    return _summed(a, lambda w: np.cumsum(w, axis, dtype=np.uint64))


def parts(a: Words, axis: int, size: int) -> Words:
    """Sums of so many neighbours along an axis, and of what is left."""
    starts = np.arange(0, a.shape[axis], size)
    return _summed(a, lambda w: np.add.reduceat(w, starts, axis, np.uint64))


def _summed(a: Words, of: Callable[[U64], U64]) -> Words:
    if not is_wide(a):
        return of(a)
    # Sums of halves of 32 bits do not pass 64.
    first, second = of(a["lo"] & _LOW_HALF), of(a["lo"] >> _HALF)
    low = np.asarray(first + (second << _HALF))
    return pair(low, np.asarray(of(a["hi"]) + (second >> _HALF) + (low < first)))


def kept(a: Words, bits: U64) -> Words:
    """a where its bit (a word of 0 or 1) is set, else 0: a product, which is no branch on the bit."""
    return product(a, unsigned(bits) if is_wide(a) else bits)


def bits(words: Words, count: int) -> U64:
    """The lowest `count` planes of bits (`atoll.crypto.arrays.planes`), of one dimension."""
    if not is_wide(words):
        return planes(words, count)
    lower = planes(low(words), min(count, 64))
    return np.concatenate([lower, planes(words["hi"], count - 64)]) if count > 64 else lower


def some(words: Words) -> npt.NDArray[np.bool_]:
    """Which are not zero."""
    return np.asarray(((words["lo"] | words["hi"]) if is_wide(words) else words) != 0)


def top(words: Words) -> U64:
    """The highest bits, as words of 0 or 1."""
    return np.asarray((words["hi"] if is_wide(words) else words) >> _TOP)


def cut(words: Words, shift: int) -> Words:
    """Unsigned words divided by 2^shift (1 to 63), rounded down."""
    by, back = np.uint64(shift), np.uint64(64 - shift)
    if not is_wide(words):
        return np.asarray(words >> by)
    return pair(words["lo"] >> by | words["hi"] << back, words["hi"] >> by)


# Numbers.


def from_integers(numbers: npt.NDArray[Any]) -> Words:
    """Wide words of integers, which may be Python's."""
    if numbers.dtype.kind == "i":
        return signed(numbers.astype(np.int64).view(np.uint64))
    data = b"".join(int(n % 2**128).to_bytes(16, "little") for n in numbers.reshape(-1).tolist())
    return np.frombuffer(data, WIDE).reshape(numbers.shape)


def constant(number: int, wide: bool) -> Words:
    """One public integer as a word without dimensions."""
    if wide:
        return from_integers(np.array(number, object))
    return np.array(number % WORD, np.uint64)


def to_integers(words: Words) -> npt.NDArray[Any]:
    """Signed integers of wide words, as Python's in an array of objects."""
    out = np.empty(words.size, object)
    highs = np.ascontiguousarray(words["hi"]).reshape(-1).view(np.int64).tolist()
    lows = np.ascontiguousarray(words["lo"]).reshape(-1).tolist()
    out[:] = [h * WORD + w for h, w in zip(highs, lows, strict=True)]
    return out.reshape(words.shape)
