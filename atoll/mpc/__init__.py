"""Shared arrays: computing on values that nobody sees (docs/how-to/shared-arrays.md)."""

from atoll.mpc import functions  # noqa: F401 (gives the arrays NumPy's functions)
from atoll.mpc.approximate import sigmoid
from atoll.mpc.array import SharedArray
from atoll.mpc.kinds import BOOLEAN, Kind, decimal, real
from atoll.mpc.session import Session
from atoll.mpc.sorting import compacted, group_sums, ordered, public_group_sums, segmented_cumsum, shuffled

__all__ = [
    "BOOLEAN",
    "Kind",
    "Session",
    "SharedArray",
    "compacted",
    "decimal",
    "group_sums",
    "ordered",
    "public_group_sums",
    "real",
    "segmented_cumsum",
    "shuffled",
    "sigmoid",
]
