"""What a program does, in a few bytes, so that all parties can see whether they run the same one.

Operations are noted by the steps that make arrays: their names and what they close over, which is public. Nobody who
adds an operation has to name it, nor its constants.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import numpy as np

from atoll.crypto.suite import digest, digest_bytes
from atoll.mpc.kinds import Bounds, Kind
from atoll.mpc.rounds import U64

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), slice, range, Bounds, Kind)


class Noted:
    """A running digest of all that was noted."""

    def __init__(self) -> None:
        self._digest = bytes(32)
        self._arrays = 0

    def note(self, *facts: Any) -> None:
        """Adds public facts, in an order that is the same at all parties."""
        text = described(facts)
        self._digest = digest_bytes(digest(self._digest + text.encode()))

    def array(self) -> int:
        """The number of the next array."""
        self._arrays += 1
        return self._arrays

    def words(self) -> U64:
        """The digest so far, four words."""
        return np.frombuffer(self._digest, np.uint64)


def described(value: Any) -> str:
    """Public facts as text: the same for the same facts, whatever the setting.

    Arrays of numbers stand by their digests, shared arrays by their numbers, functions by their names and what they
    close over. What belongs to one party or one setting (sessions, steps of a setting but for their names) is left out.
    """
    return _text(value, frozenset())


def _text(value: Any, within: frozenset[int]) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, _PLAIN):
        return repr(value)
    if id(value) in within:
        return "itself"
    within |= {id(value)}
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return f"array{value.shape}{_all(value.reshape(-1).tolist(), within)}"
        return f"array{value.shape}{value.dtype.str}{digest(np.ascontiguousarray(value).tobytes())}"
    if isinstance(value, (tuple, list)):
        return _all(value, within)
    if isinstance(value, dict):
        return _all(value.items(), within)
    if isinstance(value, MethodType):
        return f"method {value.__name__}"
    if isinstance(value, partial):
        return f"partial{_all((value.func, value.args, value.keywords), within)}"
    if isinstance(value, FunctionType):
        return f"function {value.__qualname__}{_all((value.__defaults__, *_closed(value)), within)}"
    number = getattr(value, "number", None)
    if isinstance(number, int):
        return f"#{number}"
    return "" if not isinstance(value, type) else value.__qualname__


def _all(values: Iterable[Any], within: frozenset[int]) -> str:
    return f"({','.join(_text(v, within) for v in values)})"


def _closed(function: FunctionType) -> list[tuple[str, Any]]:
    """Names and values that a function closes over; those that are not set yet are left out."""
    found = []
    for name, cell in sorted(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)):
        try:
            found.append((name, cell.cell_contents))
        except ValueError:
            continue
    return found
