"""For which spans of time a file holds everything that a log says."""

from __future__ import annotations

from datetime import datetime

from atoll.audit.logs import CheckedLog
from atoll.crypto.document import format_time


class Cover:
    """For which spans of time all entries of a log are in the file with their bodies."""

    def __init__(self, log: CheckedLog) -> None:
        self._runs: list[tuple[str, str | None]] = []
        start = last = None
        for index in sorted(log.bodies):
            if last is None or index != last + 1:
                if start is not None and last is not None:
                    self._close(log, start, last)
                start = index
            last = index
        if start is not None and last is not None:
            self._close(log, start, last)

    def _close(self, log: CheckedLog, start: int, last: int) -> None:
        # Entries stand in order of time: between the times of the outermost two, nothing is left out.
        first = "" if start == 0 else log.bodies[start].time
        end = None if last == log.size - 1 else log.bodies[last].time
        self._runs.append((first, end))

    def holds(self, first: datetime, end: datetime) -> bool:
        """Whether every entry from `first` up to, not including, `end` is there."""
        low, high = format_time(first), format_time(end)
        return any(
            (start == "" or start < low) and (stop is None or stop >= high) for start, stop in self._runs
        )
