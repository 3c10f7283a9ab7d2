"""Machines side by side on one channel."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest

from atoll.errors import AtollError
from atoll.protocols import memory
from atoll.protocols.driver import Several, drive


class Counting:
    """Sends its numbers, one for each that comes in; the first side begins."""

    def __init__(self, first, numbers):
        self.out, self.turn, self.came, self.wanted = deque(numbers), first, [], len(numbers)

    def next_message(self):
        if not self.out or not self.turn:
            return None
        self.turn = False
        return bytes([self.out.popleft()]), f"count/{len(self.out)}", False

    def receive(self, message):
        self.came.append(message[0])
        self.turn = True

    @property
    def done(self):
        return not self.out and len(self.came) == self.wanted

    def progress(self):
        return len(self.came), self.wanted


def machines(side):
    return [Counting(side == at % 2, range(10 * at, 10 * at + length)) for at, length in enumerate([3, 7, 1])]


def test_each_gets_its_own_messages_in_order():
    ends = memory.pair(4, 10)
    sides = [Several(machines(side)) for side in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda i: drive(sides[i], ends[i], before_open=lambda: None), range(2)))
    for side in sides:
        assert [m.came for m in side._machines] == [list(range(3)), list(range(10, 17)), [20]]
        assert side.done
        assert side.progress() == (11, 11)
        assert side.next_message() is None


@pytest.mark.parametrize("message", [b"", bytes([3]), bytes([255, 1])])
def test_a_message_for_none_of_them_is_refused(message):
    with pytest.raises(AtollError) as caught:
        Several(machines(0)).receive(message)
    assert caught.value.code == "E_PROTOCOL"
