"""Pairs of rows of an SQL join, from the rows of each matched key at both sides."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]


def expand(mine: I64, my_counts: I64, their_counts: I64, first: bool) -> I64:
    """Row numbers of the SQL join's pairs, alike ordered on both sides: by key, then first side, then second.

    Args:
        mine: my rows, grouped by matched key.
        my_counts: my rows in each matched key.
        their_counts: the peer's rows in each matched key.
        first: true on the side whose rows vary slowest.
    """
    starts = np.cumsum(my_counts) - my_counts
    pairs = my_counts * their_counts
    within = np.arange(int(pairs.sum())) - np.repeat(np.cumsum(pairs) - pairs, pairs)
    step = np.repeat(their_counts if first else my_counts, pairs)
    local = within // step if first else within % step
    out: I64 = mine[np.repeat(starts, pairs) + local]
    return out
