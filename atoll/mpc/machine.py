"""How fast this machine is beside the one whose times stand in `atoll.mpc.cost`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from atoll.crypto.arrays import KEY_BYTES, Streams, keep_memory
from atoll.crypto.triples import BitTriples, WordTriples

_TURNS: Final = 3
_KERNEL_WORDS: Final = 1 << 20
_BITS: Final = 1 << 21
_WORDS: Final = 1 << 15
_COPIED: Final = 1 << 23
_CALLS: Final = 20_000
# Nanoseconds of what is tried here on the machine of reference: a word, a triple of both sides, a byte, a call.
_KERNEL_NS, _BIT_NS, _WORD_NS, _BYTE_NS, _CALL_NS = 5.5, 60.0, 1500.0, 0.11, 460.0


@dataclass(frozen=True)
class Machine:
    """How many times as long this machine takes as the one of reference; 1 for each is that one.

    Attributes:
        kernels: streams, products, planes of bits.
        bits: triples of bits, and transfers.
        words: triples of words, and products of matrices under encryption.
        copies: bytes that are moved, and memory that is new to a process.
        calls: what Python does between.
    """

    kernels: float = 1.0
    bits: float = 1.0
    words: float = 1.0
    copies: float = 1.0
    calls: float = 1.0


def calibrate() -> Machine:
    """Times products, triples and copies on this machine: a second or so of one processor.

    Processor time counts, not wall time, so that what else runs matters less; the best of three turns each.
    """
    return Machine(
        kernels=_best(_kernels) / _KERNEL_NS,
        bits=_best(_bits) / _BIT_NS,
        words=_best(_words) / _WORD_NS,
        copies=_best(_copies) / _BYTE_NS,
        calls=_best(_calls) / _CALL_NS,
    )


def _best(timed: Callable[[], float]) -> float:
    return max(1e-3, min(timed() for _ in range(_TURNS)))


def _ns(work: Callable[[], Any], units: int) -> float:
    begun = time.process_time_ns()
    work()
    return (time.process_time_ns() - begun) / units


def _kernels() -> float:
    keep_memory()
    streams = Streams(bytes(KEY_BYTES), bytes(range(KEY_BYTES)))
    x = np.arange(_KERNEL_WORDS, dtype=np.uint64)

    def work() -> None:
        streams.products((x, x), (x, x))
        streams.bit_products((x, x), (x, x))

    return _ns(work, 2 * _KERNEL_WORDS)


def _pair(make: Callable[..., Any], count: int) -> None:
    """Both sides of a machine in turns."""
    sides = [
        make(role, bytes([place + 1]) * 32, 0, "calibration", count)
        for place, role in enumerate(("first", "second"))
    ]
    while not all(side.done for side in sides):
        for side, other in (sides, sides[::-1]):
            while (message := side.next_message()) is not None:
                other.receive(message[0])
    for side in sides:
        side.finish()


def _bits() -> float:
    return _ns(lambda: _pair(BitTriples, _BITS), _BITS)


def _words() -> float:
    return _ns(lambda: _pair(WordTriples, _WORDS), _WORDS)


def _copies() -> float:
    source = np.ones(_COPIED // 8, np.uint64)
    return _ns(lambda: [source.copy() for _ in range(4)], 4 * _COPIED)


def _calls() -> float:
    a = np.arange(8, dtype=np.uint64)
    return _ns(lambda: [(a + a)[1:] for _ in range(_CALLS)], _CALLS)
