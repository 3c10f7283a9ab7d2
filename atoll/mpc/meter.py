"""What an estimate counts, and what follows from it: rounds, bytes, seconds, memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from atoll.mpc.machine import Machine
from atoll.mpc.paper import Memory
from atoll.mpc.rounds import Step, T

WORD: Final = 8
"""Bytes of a word."""
# Nanoseconds of all parties together, as in `atoll.mpc.cost`: of a byte, a round, a step that sends.
_BYTE_NS, _ROUND_NS, _STEP_NS = 1.0, 60_000.0, 40_000.0
# Of an input at its owner, and of a byte of memory that a process never had before.
_ENCODE_NS, _FRESH_NS = 25.0, 0.2
# Bytes of a party: Python and libraries.
_PROCESS_BYTES = 75e6


@dataclass(frozen=True)
class Cost:
    """What a program costs.

    Attributes:
        rounds: messages that wait for one another.
        bytes: what all parties send, what is made ahead of need included.
        processor_seconds: of all parties together.
        bits, words, wide, transfers: triples of bits, words and wide words, and transfers, that two parties use up.
        memory_bytes: largest resident memory of a party: Python and its libraries, its own plain inputs, shares that
            are held at once, what was made ahead of need, the largest step.
        parties: how many compute.
        waits: further messages that wait for one another, while what is used up is made.
        most_bytes: what the party that sends most sends.
    """

    rounds: int
    bytes: int
    processor_seconds: float
    bits: int = 0
    words: int = 0
    wide: int = 0
    transfers: int = 0
    memory_bytes: float = 0.0
    parties: int = 3
    waits: int = 0
    most_bytes: float = 0.0

    def seconds(self, *, delay: float = 0.0, rate: float = 1e9, cores: float = 1.0) -> float:
        """Wall time.

        Args:
            delay: seconds that a message takes from one party to another.
            rate: bytes a second that one party can send.
            cores: processors that all parties together have: one a party, or fewer where they share a machine.

        Within a factor of 2 where nothing else runs, with the factors of the machine (`mpc.calibrate`).
        """
        return (
            (self.rounds + self.waits) * delay
            + max(self.most_bytes, self.bytes / self.parties) / rate
            + self.processor_seconds / min(cores, self.parties)
        )


class Meter:
    """Counts in place of sending.

    Attributes:
        rounds, sent, waits: as of `Cost`, so far.
        steps: those that send.
        skew: bytes of the party that sends most, beyond the mean.
        ns, bits_ns, words_ns, encode_ns: nanoseconds of kernels, of what is made by transfers, of what is made under
            encryption, and of inputs at their owners.
        bits, words, wide, transfers: what is used up.
        memory: what a party holds.
    """

    def __init__(self, parties: int) -> None:
        self.parties = parties
        self.rounds = self.sent = self.waits = self.steps = 0
        self.skew = 0.0
        self.ns = self.bits_ns = self.words_ns = self.encode_ns = 0.0
        self.bits = self.words = self.wide = self.transfers = 0
        self.memory = Memory(2 if parties == 3 else 1)
        self._given: dict[int, float] = {}

    def given(self, owner: int, size: int, *, bits: bool) -> None:
        """An input: its owner has the plain numbers, and holds words of them until they are shared."""
        self.encode_ns += _ENCODE_NS * size
        self._own(owner, size + WORD * -(-size // 64) if bits else 2 * WORD * size)
        # Numbers are rounded and compared before they are words.
        self.memory.pass_by(WORD * size)

    def shared(self, owner: int, size: int) -> None:
        """The owner lets go of the words of an input."""
        self._own(owner, -WORD * size)

    def _own(self, owner: int, more: float) -> None:
        before = max(self._given.values(), default=0.0)
        self._given[owner] = self._given.get(owner, 0.0) + more
        self.memory.hold(max(self._given.values()) - before)

    def run(self, step: Step[T]) -> T:
        """Runs a step to its end; nothing comes."""
        try:
            next(step)
            while True:
                self.rounds += 1
                step.send({})
        except StopIteration as end:
            value: T = end.value
            return value

    def add(self, words: int, ns: float) -> None:
        """Words that all parties send, and processor time beside sending."""
        self.sent += WORD * words
        self.ns += ns
        self.steps += 1

    def cost(self, machine: Machine, own_ns: float) -> Cost:
        """What was counted, and what was done here on behalf of all parties."""
        fresh = self.parties * self.memory.peak * _FRESH_NS
        ns = (
            own_ns
            + self.ns * machine.kernels
            + self.bits_ns * machine.bits
            + self.words_ns * machine.words
            + (self.sent * _BYTE_NS + self.encode_ns + fresh) * machine.copies
            + (self.rounds * _ROUND_NS + self.steps * _STEP_NS) * machine.calls
        )
        return Cost(
            self.rounds,
            self.sent,
            ns / 1e9,
            self.bits,
            self.words,
            self.wide,
            self.transfers,
            memory_bytes=_PROCESS_BYTES + self.memory.peak,
            parties=self.parties,
            waits=self.waits,
            most_bytes=self.sent / self.parties + self.skew,
        )
