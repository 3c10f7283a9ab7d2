"""Values that are worked out later, and the program that they belong to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from atoll.errors import AtollError
from atoll.mpc.noted import Noted
from atoll.mpc.rounds import STEP, Step
from atoll.mpc.setting import Setting


class Deferred:
    """A value of a program: what it needs, and the step that makes it.

    What it needs is let go once it is there, so that memory holds no more than what is still wanted.
    """

    __slots__ = ("_make", "done", "inputs", "value")

    def __init__(self, inputs: tuple[Deferred, ...], make: Callable[..., Step[Any]]) -> None:
        self.inputs = inputs
        self._make: Callable[..., Step[Any]] | None = make
        self.value: Any = None
        self.done = False

    def begin(self) -> Step[Any]:
        """The step, once all inputs are done."""
        assert self._make is not None
        return self._make(*(i.value for i in self.inputs))

    def settle(self, value: Any) -> None:
        """Notes the value."""
        self.value, self.done = value, True
        self.inputs, self._make = (), None


class Program:
    """What arrays of one computation have in common.

    Attributes:
        noted: what the program did so far, the same at all parties.
    """

    def __init__(self, protocol: Setting, threads: int) -> None:
        self.protocol = protocol
        self.threads = threads
        self.noted = Noted()

    def own(self, array: Any) -> None:
        """`E_FORMAT` unless the array belongs to this computation."""
        if getattr(array, "program", None) is not self:
            raise AtollError(
                "E_FORMAT", "An array belongs to another computation, or is not shared.", step=STEP
            )
