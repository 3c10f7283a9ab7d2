"""Products of matrices: in which ring they are worked out, and in how many parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from atoll.errors import AtollError
from atoll.mpc import operations as op
from atoll.mpc.kinds import MOST_UNITS, Bounds, Kind
from atoll.mpc.operations import Operand, Public
from atoll.mpc.rounds import STEP, Step
from atoll.mpc.shares import Shares

if TYPE_CHECKING:
    from atoll.mpc.array import SharedArray

MOST_PARTS: Final = 64
"""Into which a product of matrices is cut at most."""


def matrix_multiply(x: Operand, y: Operand) -> SharedArray:
    """The product of matrices, or of a matrix and a vector."""
    x, y = (o if isinstance(o, Public) else op.numbers(o) for o in (x, y))
    x, y, kind, shift = op.product_kind(x, y)
    if not (1 <= len(x.shape) <= 2 and 1 <= len(y.shape) <= 2) or x.shape[-1] != y.shape[0]:
        raise AtollError(
            "E_FORMAT", f"Matrices of shapes {x.shape} and {y.shape} have no product.", step=STEP
        )
    bounds = (x.bounds * y.bounds).times(x.shape[-1])
    what = " and ".join(o.name for o in (x, y) if not isinstance(o, Public))
    bounds.checked(f"A product of {what}")
    parts = _inner_parts(x, y, bounds)
    if len(parts) == 1:
        return _matrix(x, y, kind, shift)
    products = [_matrix(_at(x, (..., part)), _at(y, part), kind, 0) for part in parts]
    shape = products[0].shape
    out = op.total(op.concatenate([op.reshape(p, (1, *shape)) for p in products], 0), 0)
    return op.rescaled(out, shift, kind) if shift else out


def _at(x: Operand, index: Any) -> Operand:
    """The elements at public places."""
    if isinstance(x, Public):
        return Public(np.asarray(x.values)[index], x.kind)
    return op.part(x, np.empty(x.shape, np.bool_)[index].shape, lambda a: np.asarray(a[index]))


def _inner_parts(x: Operand, y: Operand, bounds: Bounds) -> list[slice]:
    """How a product of matrices is cut so that no part passes words of 64 bits; one part if that does not pay.

    Three parties pay for each sum that is widened, instead of for each entry; two save triples of wide words.
    """
    inner, largest = x.shape[-1], (x.bounds * y.bounds).largest
    if not bounds.wide or x.wide or y.wide or largest > MOST_UNITS:
        return [slice(None)]
    size = MOST_UNITS // largest
    count = -(-inner // size)
    shared = x if not isinstance(x, Public) else y
    assert not isinstance(shared, Public)
    left, right = (int(np.prod(o.shape, dtype=object)) for o in (x, y))
    sums = left // inner * (right // inner) * count
    if count > MOST_PARTS or (len(shared.program.protocol.everybody) == 3 and sums > left + right):
        return [slice(None)]
    return [slice(start, min(start + size, inner)) for start in range(0, inner, size)]


def _matrix(x: Operand, y: Operand, kind: Kind, shift: int) -> SharedArray:
    """The product of matrices in one ring."""
    shape = x.shape[:-1] + y.shape[1:]
    inner = x.shape[-1]
    bounds = (x.bounds * y.bounds).times(inner)
    wide, after = bounds.wide, bounds.shifted(shift) if shift else bounds
    left = (x.shape[0] if len(x.shape) == 2 else 1, inner)
    right = (inner, y.shape[1] if len(y.shape) == 2 else 1)
    given = [op.in_ring(o, wide) for o in (x, y) if not isinstance(o, Public)]
    protocol, threads = given[0].program.protocol, given[0].program.threads

    def product(*shares: Shares) -> Step[Shares]:
        rest = iter(shares)
        a, b = (protocol.public(o.words(wide)) if isinstance(o, Public) else next(rest) for o in (x, y))
        a, b = a.reshape(*left), b.reshape(*right)
        if shift:
            out = yield from protocol.scaled_matrix_product(a, b, shift, threads)
        else:
            out = yield from protocol.matrix_product(a, b, threads)
        return (out if after.wide else out.narrowed()).reshape(*shape)

    return op.made(given[0], shape, kind, after, given, product)
