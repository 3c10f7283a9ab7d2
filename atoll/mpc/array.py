"""Arrays that nobody sees, written like NumPy's.

    total = np.where(x > 0, x * y, 0).sum()
    session.open(total)

The same program on plain arrays gives the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from atoll.errors import AtollError
from atoll.mpc import operations as op
from atoll.mpc.kinds import BOOLEAN, Bounds, Kind, decimal
from atoll.mpc.rounds import STEP

if TYPE_CHECKING:
    from atoll.mpc.values import Deferred, Program

F = TypeVar("F", bound=Callable[..., Any])
UFUNCS: Final[dict[Any, Callable[..., SharedArray]]] = {}
"""What NumPy's element-wise functions do with shared arrays."""
FUNCTIONS: Final[dict[Any, Callable[..., SharedArray]]] = {}
"""What its other functions do."""


def ufunc(*functions: Any) -> Callable[[F], F]:
    """The decorated function stands for these of NumPy; it gets operands."""
    return _into(UFUNCS, functions)


def function(*functions: Any) -> Callable[[F], F]:
    """The decorated function stands for these of NumPy; it gets the arguments as they came."""
    return _into(FUNCTIONS, functions)


def _into(table: dict[Any, Callable[..., Any]], functions: Sequence[Any]) -> Callable[[F], F]:
    def put(f: F) -> F:
        table.update(dict.fromkeys(functions, f))
        return f

    return put


class SharedArray:
    """An array whose values no party has. Made by `Session.share` and by operations; opened by `Session.open`.

    Attributes:
        program: the computation.
        shape: public shape.
        kind: what a word means.
        bounds: least and largest number of units.
        wide: whether its words are modulo 2^128: those of arrays whose bounds pass 2^62.
        node: the value, once it is worked out.
        name: what errors call it.
        number: its place among the arrays of the program.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self,
        program: Program,
        shape: tuple[int, ...],
        kind: Kind,
        bounds: Bounds,
        node: Deferred,
        name: str,
        wide: bool | None = None,
    ) -> None:
        self.program, self.shape, self.kind, self.bounds = program, shape, kind, bounds
        self.node, self.name = node, name
        self.wide = bounds.wide if wide is None else wide
        self.number = program.noted.array()
        program.noted.note(shape, kind, bounds, self.wide)
        self.as_numbers: SharedArray | None = None
        self.other_ring: SharedArray | None = None
        self.transposed: SharedArray | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("an array without dimensions has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"SharedArray({self.name}, shape={self.shape}, {self.kind})"

    def __bool__(self) -> bool:
        raise TypeError("nobody knows whether a shared array is true: use np.where, or open it")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"{self.name} is shared: open it first, or use an operation that shared arrays have")

    def __array_ufunc__(self, f: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method == "reduce" and f in (np.add, np.minimum, np.maximum):
            axis = options.pop("axis", 0)
            options.pop("keepdims", None)
            if any(v is not None and v is not np._NoValue for v in options.values()):
                return NotImplemented
            names = {np.add: np.sum, np.minimum: np.min, np.maximum: np.max}
            return FUNCTIONS[names[f]](inputs[0], axis=axis)
        if method == "accumulate" and f is np.add:
            return FUNCTIONS[np.cumsum](inputs[0], options.get("axis", 0))
        if method != "__call__" or options or f not in UFUNCS:
            return NotImplemented
        shared = next(i for i in inputs if isinstance(i, SharedArray))
        return UFUNCS[f](*(op.operand(i, shared) for i in inputs))

    def __array_function__(self, f: Any, types: Any, arguments: Any, options: Any) -> Any:
        if f not in FUNCTIONS:
            return NotImplemented
        return FUNCTIONS[f](*arguments, **options)

    # Operators go the way of NumPy's functions.
    def __add__(self, other: Any) -> SharedArray:
        return _shared(np.add(self, other))

    def __radd__(self, other: Any) -> SharedArray:
        return _shared(np.add(other, self))

    def __sub__(self, other: Any) -> SharedArray:
        return _shared(np.subtract(self, other))

    def __rsub__(self, other: Any) -> SharedArray:
        return _shared(np.subtract(other, self))

    def __mul__(self, other: Any) -> SharedArray:
        return _shared(np.multiply(self, other))

    def __rmul__(self, other: Any) -> SharedArray:
        return _shared(np.multiply(other, self))

    def __truediv__(self, other: Any) -> SharedArray:
        return _shared(np.divide(self, other))

    def __rtruediv__(self, other: Any) -> SharedArray:
        return _shared(np.divide(other, self))

    def __matmul__(self, other: Any) -> SharedArray:
        return _shared(np.matmul(self, other))

    def __rmatmul__(self, other: Any) -> SharedArray:
        return _shared(np.matmul(other, self))

    def __neg__(self) -> SharedArray:
        return _shared(np.negative(self))

    def __abs__(self) -> SharedArray:
        return _shared(np.absolute(self))

    def __invert__(self) -> SharedArray:
        return _shared(np.logical_not(self))

    def __and__(self, other: Any) -> SharedArray:
        return _shared(np.logical_and(self, other))

    __rand__ = __and__

    def __or__(self, other: Any) -> SharedArray:
        return _shared(np.logical_or(self, other))

    __ror__ = __or__

    def __xor__(self, other: Any) -> SharedArray:
        return _shared(np.logical_xor(self, other))

    __rxor__ = __xor__

    def __lt__(self, other: Any) -> SharedArray:
        return _shared(np.less(self, other))

    def __le__(self, other: Any) -> SharedArray:
        return _shared(np.less_equal(self, other))

    def __gt__(self, other: Any) -> SharedArray:
        return _shared(np.greater(self, other))

    def __ge__(self, other: Any) -> SharedArray:
        return _shared(np.greater_equal(self, other))

    def __eq__(self, other: object) -> SharedArray:  # type: ignore[override]
        return _shared(np.equal(self, other))  # type: ignore[call-overload]

    def __ne__(self, other: object) -> SharedArray:  # type: ignore[override]
        return _shared(np.not_equal(self, other))  # type: ignore[call-overload]

    def __getitem__(self, index: Any) -> SharedArray:
        """The elements at public places."""
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(p, SharedArray) for p in parts):
            raise TypeError("places that nobody knows: use np.where, or sort")
        shape = np.empty(self.shape, np.bool_)[index].shape
        return op.part(self, shape, lambda a: np.asarray(a[index]))

    def reshape(self, *shape: Any) -> SharedArray:
        """The same elements in another shape; one length may be -1."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        return op.reshape(self, np.empty(self.shape, np.bool_).reshape(wanted).shape)

    def ravel(self) -> SharedArray:
        """In one dimension."""
        return op.reshape(self, (self.size,))

    def transpose(self) -> SharedArray:
        """Axes the other way round. Made once for an array, so that products with it know it again."""
        if self.transposed is None:
            self.transposed = op.part(self, self.shape[::-1], np.transpose)
        return self.transposed

    @property
    def T(self) -> SharedArray:  # noqa: N802 (NumPy's name)
        """As `transpose`."""
        return self.transpose()

    def sum(self, axis: int | None = None) -> SharedArray:
        """Sum over an axis, or over all."""
        return _shared(np.sum(self, axis))

    def cumsum(self, axis: int | None = None) -> SharedArray:
        """Running sums."""
        return _shared(np.cumsum(self, axis))

    def mean(self, axis: int | None = None) -> SharedArray:
        """Mean over an axis, or over all; a real."""
        return _shared(np.mean(self, axis))

    def min(self, axis: int | None = None) -> SharedArray:
        """Least over an axis, or over all."""
        return _shared(np.min(self, axis))

    def max(self, axis: int | None = None) -> SharedArray:
        """Largest over an axis, or over all."""
        return _shared(np.max(self, axis))

    def clip(self, low: Any = None, high: Any = None) -> SharedArray:
        """Numbers brought between two."""
        return _shared(np.clip(self, low, high))

    def astype(self, kind: Kind | type) -> SharedArray:
        """In another kind: `decimal(digits)`, `real(bits)`, or `int` for booleans."""
        if kind is int:
            kind = decimal()
        if not isinstance(kind, Kind) or kind == BOOLEAN:
            raise AtollError("E_FORMAT", f"{self.name} does not become {kind}.", step=STEP)
        return _shared(op.as_kind(self, kind))


def _shared(value: Any) -> SharedArray:
    """For the type checker: NumPy's own types know nothing of overridden functions."""
    assert isinstance(value, SharedArray)
    return value
