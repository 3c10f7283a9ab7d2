"""Shared arrays: computing on values that nobody sees (docs/how-to/shared-arrays.md)."""

from atoll.crypto.triples import Rich, Thin
from atoll.mpc import functions  # noqa: F401 (gives the arrays NumPy's functions)
from atoll.mpc.approximate import sigmoid
from atoll.mpc.array import SharedArray
from atoll.mpc.cost import Cost, estimate
from atoll.mpc.joining import Given, Joined, hidden_join
from atoll.mpc.kinds import BOOLEAN, Kind, decimal, real
from atoll.mpc.machine import Machine, calibrate
from atoll.mpc.session import Session
from atoll.mpc.sorting import compacted, group_sums, ordered, public_group_sums, segmented_cumsum, shuffled
from atoll.mpc.sources import pick_source

__all__ = [
    "BOOLEAN",
    "Cost",
    "Given",
    "Joined",
    "Kind",
    "Machine",
    "Rich",
    "Session",
    "SharedArray",
    "Thin",
    "calibrate",
    "compacted",
    "decimal",
    "estimate",
    "group_sums",
    "hidden_join",
    "ordered",
    "pick_source",
    "public_group_sums",
    "real",
    "segmented_cumsum",
    "shuffled",
    "sigmoid",
]
