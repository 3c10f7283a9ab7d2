"""Carries packets between two TUN devices with a rate and a delay in each direction: a link in user space.

    relay.py FIRST_FD SECOND_FD BITS_PER_SECOND DELAY_SECONDS

Started by `shape`, which hands over the open devices. A packet leaves when the one before it has gone through at the
rate, and arrives after the delay. Nothing is dropped.
"""

from __future__ import annotations

import os
import select
import sys
from collections import deque
from time import monotonic

_PACKET = 65_536
# Read at once from one device before the other one has its turn.
_BURST = 64


class Direction:
    """Packets from one device on their way to the other one."""

    def __init__(self, source: int, sink: int, rate: float, delay: float) -> None:
        self.source, self._sink, self._rate, self._delay = source, sink, rate, delay
        self._free = 0.0
        self._way: deque[tuple[float, bytes]] = deque()

    def take(self) -> None:
        """Takes what waits at the source."""
        for _ in range(_BURST):
            try:
                packet = os.read(self.source, _PACKET)
            except BlockingIOError:
                return
            self._free = max(self._free, monotonic()) + 8 * len(packet) / self._rate
            self._way.append((self._free + self._delay, packet))

    def give(self) -> float | None:
        """Hands over what has arrived; seconds until the next arrival, or None."""
        while self._way:
            left = self._way[0][0] - monotonic()
            if left > 0:
                return left
            os.write(self._sink, self._way.popleft()[1])
        return None


def main() -> None:
    """Runs until it is killed."""
    first, second = int(sys.argv[1]), int(sys.argv[2])
    rate, delay = float(sys.argv[3]), float(sys.argv[4])
    for device in (first, second):
        os.set_blocking(device, False)
    ways = [Direction(first, second, rate, delay), Direction(second, first, rate, delay)]
    while True:
        waits = [left for way in ways if (left := way.give()) is not None]
        ready, _, _ = select.select([way.source for way in ways], [], [], min(waits, default=None))
        for way in ways:
            if way.source in ready:
                way.take()


if __name__ == "__main__":
    main()
