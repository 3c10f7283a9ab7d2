"""What a run of circuit-PSI sends, and in how many rounds, to the byte (docs/protocols/circuit-psi.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from atoll import _core
from atoll.crypto.circuit import Role
from atoll.crypto.stream import kernel_errors
from atoll.errors import AtollError

_COUNTS: Final = 1 << 32


@dataclass(frozen=True)
class Sizes:
    """Sizes of a run, from public numbers.

    Attributes:
        bins: number of bins.
        placer_bytes: payload bytes that the placer sends, exactly.
        mapper_bytes: payload bytes that the mapper sends, exactly.
        rounds: how often the direction changes, the first message included.
        values: values of all correlations.
    """

    bins: int
    placer_bytes: int
    mapper_bytes: int
    rounds: int
    values: int

    def sent(self, role: Role) -> int:
        """Payload bytes that a side sends."""
        return self.placer_bytes if role == "placer" else self.mapper_bytes


def sizes(
    placer_items: int, mapper_items: int, multiplicity: int, placer_words: int, mapper_words: int
) -> Sizes:
    """Sizes of a run with these parameters, as for `atoll.crypto.circuit.HiddenSide`.

    Raises:
        AtollError: `E_FORMAT` for numbers out of range, `E_TOO_LARGE` for more than one run takes.
    """
    numbers = (placer_items, mapper_items, multiplicity, placer_words, mapper_words)
    if any(not 0 <= number < _COUNTS for number in numbers):
        raise AtollError("E_FORMAT", "A number of items, copies or words is out of range.")
    with kernel_errors(step="circuit-psi"):
        return Sizes(*_core.circuit_sizes(*numbers))
