"""Kernels of shared arrays: what one of three parties computes on its replicated shares (`rust/arrays`).

A share is an array of 64-bit words, modulo 2^64 or as 64 bits each. Arrays that were handed over are never written
to again; results cannot be written to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from atoll import _core
from atoll.crypto.stream import kernel_errors

STEP: Final = "shared-arrays"
KEY_BYTES: Final = 16
MOST_PLACES: Final = 1 << 28
U64: TypeAlias = npt.NDArray[np.uint64]
WIDE: Final = np.dtype([("lo", "<u8"), ("hi", "<u8")])
"""Words modulo 2^128."""


def _flat(words: npt.NDArray[Any]) -> U64:
    return np.ascontiguousarray(words).reshape(-1).view(np.uint64)


def _wide(data: bytes, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    return np.frombuffer(data, WIDE).reshape(shape)


def _array(data: bytes, shape: tuple[int, ...]) -> U64:
    return np.frombuffer(data, np.uint64).reshape(shape)


def _arrays(parts: list[bytes], shape: tuple[int, ...]) -> tuple[U64, ...]:
    return tuple(_array(part, shape) for part in parts)


class Streams:
    """A party's streams of random words: one that it has in common with the party before it, one with the one after.

    Both holders of a stream draw the same from it in the same order; nothing is drawn twice.

    Args:
        before, after: secret keys of 16 bytes.
    """

    def __init__(self, before: bytes, after: bytes) -> None:
        with kernel_errors(step=STEP):
            self._core = _core.ArrayStreams(before, after)

    def products(self, x: tuple[U64, U64], y: tuple[U64, U64]) -> U64:
        """This party's masked parts of products modulo 2^64; all four arrays have one shape, and so has the result."""
        with kernel_errors(step=STEP):
            out = self._core.products(_flat(x[0]), _flat(x[1]), _flat(y[0]), _flat(y[1]))
        return _array(out, x[0].shape)

    def bit_products(self, x: tuple[U64, U64], y: tuple[U64, U64]) -> U64:
        """The same of bits, 64 in a word."""
        with kernel_errors(step=STEP):
            out = self._core.bit_products(_flat(x[0]), _flat(x[1]), _flat(y[0]), _flat(y[1]))
        return _array(out, x[0].shape)

    def matrix_product(self, x: tuple[U64, U64], y: tuple[U64, U64], threads: int = 1) -> U64:
        """This party's masked part of a product of matrices, (m, k) times (k, n)."""
        (rows, inner), columns = x[0].shape, y[0].shape[1]
        with kernel_errors(step=STEP):
            out = self._core.matrix_product(
                _flat(x[0]), _flat(x[1]), _flat(y[0]), _flat(y[1]), (rows, inner, columns), threads
            )
        return _array(out, (rows, columns))

    def wide_products(self, x: tuple[Any, Any], y: tuple[Any, Any]) -> npt.NDArray[Any]:
        """As `products`, modulo 2^128: arrays of `WIDE`."""
        with kernel_errors(step=STEP):
            out = self._core.wide_products(_flat(x[0]), _flat(x[1]), _flat(y[0]), _flat(y[1]))
        return _wide(out, x[0].shape)

    def wide_matrix_product(
        self, x: tuple[Any, Any], y: tuple[Any, Any], threads: int = 1
    ) -> npt.NDArray[Any]:
        """As `matrix_product`, modulo 2^128."""
        (rows, inner), columns = x[0].shape, y[0].shape[1]
        with kernel_errors(step=STEP):
            out = self._core.wide_matrix_product(
                _flat(x[0]), _flat(x[1]), _flat(y[0]), _flat(y[1]), (rows, inner, columns), threads
            )
        return _wide(out, (rows, columns))

    def zeros(self, shape: tuple[int, ...]) -> U64:
        """This party's part of zeros: the three parts add up to nothing."""
        return _array(self._core.zeros(_size(shape)), shape)

    def before(self, shape: tuple[int, ...]) -> U64:
        """The next words in common with the party before."""
        return _array(self._core.before(_size(shape)), shape)

    def after(self, shape: tuple[int, ...]) -> U64:
        """The next words in common with the party after."""
        return _array(self._core.after(_size(shape)), shape)

    def scale_deal(self, part: U64, shift: int) -> tuple[U64, U64, U64]:
        """Party 2 of a division by 2^shift: what it sends to party 1, and its two shares of the result.

        It sends one array of three times the length: its part, then the masks' quotients and highest bits, less party
        0's shares of them.
        """
        with kernel_errors(step=STEP):
            sent, own, after = self._core.scale_deal(_flat(part), shift)
        return _array(sent, (3 * part.size,)), _array(own, part.shape), _array(after, part.shape)

    def scale_first(self, part: U64) -> tuple[U64, ...]:
        """Party 0: its masked part, the share of the result that it has in common with party 2, and its shares of the
        masks' quotients and highest bits."""
        with kernel_errors(step=STEP):
            return _arrays(self._core.scale_first(_flat(part)), part.shape)

    def scale_second(self, part: U64) -> tuple[U64, ...]:
        """Party 1: its masked part, and the share of the result that it has in common with party 2."""
        with kernel_errors(step=STEP):
            return _arrays(self._core.scale_second(_flat(part)), part.shape)

    def order_before(self, places: int) -> npt.NDArray[np.uint32]:
        """A uniform permutation in common with the party before: place i takes what stood at `result[i]`."""
        with kernel_errors(step=STEP):
            return np.frombuffer(self._core.order_before(places), np.uint32)

    def order_after(self, places: int) -> npt.NDArray[np.uint32]:
        """A uniform permutation in common with the party after."""
        with kernel_errors(step=STEP):
            return np.frombuffer(self._core.order_after(places), np.uint32)


def keep_memory() -> None:
    """Has the process keep up to 256 MB that arrays gave back, for those that follow: memory that is new to a process
    costs as much as what is computed on it. Only with glibc; arrays above 32 MB are given back as before."""
    _core.array_keep_memory()


def matrix_product(x: U64, y: U64, threads: int = 1) -> U64:
    """The product of two matrices in plain words, (m, k) times (k, n), modulo 2^64."""
    (rows, inner), columns = x.shape, y.shape[1]
    with kernel_errors(step=STEP):
        out = _core.array_matrix_product(_flat(x), _flat(y), (rows, inner, columns), threads)
    return _array(out, (rows, columns))


def wide_plain(what: Literal["+", "-", "*"], x: npt.NDArray[Any], y: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sums, differences or products of `WIDE` words modulo 2^128, element by element.

    Operands have one shape, or one of them is one word for all.
    """
    with kernel_errors(step=STEP):
        out = _core.array_wide_plain(what, _flat(x), _flat(y))
    return _wide(out, y.shape if x.size == 1 else x.shape)


def scale_part(
    sums: tuple[U64, U64, U64], high: U64, top: U64, result: U64, shift: int, *, first: bool
) -> U64:
    """Party 0's (`first`) or 1's part of quotients, less the share that it drew.

    `sums` are its own masked part, the other's, and party 2's part; all arrays have one shape.
    """
    mine, other, third = map(_flat, sums)
    with kernel_errors(step=STEP):
        part = _core.array_scale_part(
            mine, other, third, _flat(high), _flat(top), _flat(result), shift, first
        )
    return _array(part, result.shape)


def planes(numbers: U64, bits: int) -> U64:
    """The lowest `bits` (1 to 64) bits of n numbers as `bits` planes of ceil(n / 64) words; bits past n are zero."""
    with kernel_errors(step=STEP):
        out = _core.array_planes(_flat(numbers), bits)
    return _array(out, (bits, -(-numbers.size // 64)))


def numbers(words: U64, count: int) -> U64:
    """The inverse of `planes`: `count` numbers of as many bits as there are planes."""
    with kernel_errors(step=STEP):
        out = _core.array_numbers(_flat(words), words.shape[0], count)
    return _array(out, (count,))


@dataclass(frozen=True)
class Switches:
    """A permutation as the switches of a Beneš network (`rust/arrays/src/network.rs`), as secret as the permutation.

    Attributes:
        depth: k; the network has 2^k places, those beyond the permutation stay.
        bits: (layers, words) words; switch s of a layer crosses if bit s is set, the first in the lowest bit. There are
            2k - 1 layers (none for k = 0) of 2^(k - 1) switches; unused bits are zero.
    """

    depth: int
    bits: U64


def switches(order: npt.NDArray[np.uint32]) -> Switches:
    """The switches of a permutation of n places, up to 2^28: place i takes what stood at `order[i]`.

    Time follows from the permutation: it is for the party alone that knows it.

    Raises:
        AtollError: `E_FORMAT` if the order does not have each of its places once, `E_TOO_LARGE` beyond 2^28 places.
    """
    with kernel_errors(step=STEP):
        out = _core.array_switches(np.ascontiguousarray(order, "<u4").tobytes())
    depth = max(order.size - 1, 0).bit_length()
    return Switches(depth, _array(out, (layers(depth), -(-(1 << depth) // 128))))


def layers(depth: int) -> int:
    """Layers of the network of 2^depth places."""
    return max(2 * depth - 1, 0)


def layer_shape(layer: int, depth: int) -> tuple[int, int, int]:
    """The shape in which an array of 2^depth places has the pairs of a layer's switches along axis 1.

    It is (2^(depth - 1 - b), 2, 2^b) with b = abs(depth - 1 - layer): switch s joins what stands at
    [s // 2^b, 0, s % 2^b] and at [s // 2^b, 1, s % 2^b]; the layer's unpacked bits have shape (2^(depth - 1 - b), 2^b).

    Raises:
        AtollError: `E_FORMAT` for a layer that the network does not have.
    """
    with kernel_errors(step=STEP):
        bit = _core.array_layer(layer, depth)
    return 1 << (depth - 1 - bit), 2, 1 << bit


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
