"""Round trips and rates of the connections to each partner, smoothed; kept while the node runs."""

from __future__ import annotations

import threading

from atoll.functions.compiling import Line
from atoll.net.line import Measured

ENOUGH_BYTES = 1 << 20
"""A connection that sent less was busy with round trips: its rate is no more than a lower bound."""
_ROUND_WEIGHT, _RATE_WEIGHT = 0.25, 0.5


class Lines:
    """What was measured last, and before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Line] = {}

    def note(self, partner: str, measured: Measured | None) -> None:
        """Takes in what the kernel said of a connection to a partner."""
        if measured is None:
            return
        with self._lock:
            before = self._known.get(partner, Line())
            self._known[partner] = Line(
                _smooth(before.round_seconds, measured.round_seconds, _ROUND_WEIGHT),
                _rate(before.bytes_per_second, measured),
            )

    def known(self) -> dict[str, Line]:
        """By partner."""
        with self._lock:
            return dict(self._known)


def _smooth(before: float | None, now: float | None, weight: float) -> float | None:
    if now is None or before is None:
        return before if now is None else now
    return before + weight * (now - before)


def _rate(before: float | None, measured: Measured) -> float | None:
    now = measured.bytes_per_second
    if measured.sent >= ENOUGH_BYTES:
        return _smooth(before, now, _RATE_WEIGHT)
    if before is not None and now is not None:
        return max(before, now)
    return before
