"""Shared arrays: computing on values that nobody sees (docs/how-to/shared-arrays.md)."""

from atoll.crypto.triples import Rich, Thin
from atoll.mpc.approximate import sigmoid
from atoll.mpc.array import SharedArray
from atoll.mpc.cost import estimate
from atoll.mpc.functions import Moments, exact_moments, exact_variance
from atoll.mpc.joining import Given, Joined, hidden_join
from atoll.mpc.kinds import BOOLEAN, Kind, decimal, real
from atoll.mpc.machine import Machine, calibrate
from atoll.mpc.meter import Cost
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
    "Moments",
    "Rich",
    "Session",
    "SharedArray",
    "Thin",
    "calibrate",
    "compacted",
    "decimal",
    "estimate",
    "exact_moments",
    "exact_variance",
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
