"""Circuit-PSI: one party's side of the protocol as a state machine without I/O."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final, Literal

from atoll import _core
from atoll.crypto.stream import check_labels, kernel_errors
from atoll.errors import AtollError

Role = Literal["placer", "mapper"]
MAX_ENTRIES: Final = 1 << 22
MAX_ROWS: Final = MAX_ENTRIES // 3
MAX_WORDS: Final = 256
_COUNTS: Final = 1 << 32
_STEP: Final = "circuit-psi"


@dataclass(frozen=True)
class HiddenSide:
    """What one party brings and what both sides agreed on.

    Attributes:
        role: the `placer` has every key once, the `mapper` up to `multiplicity` times.
        digests: 32 bytes per row of this party.
        payload: u64 little-endian words, row by row: as many words a row as this role has.
        placer_items: number of keys that the placer declared; times `multiplicity` at most 2^22.
        mapper_items: number of rows that the mapper declared, at most 2^22 / 3.
        multiplicity: most rows of the mapper with one key, at least 1.
        placer_words: payload words of 64 bits a row of the placer, at most 256.
        mapper_words: payload words of 64 bits a row of the mapper, at most 256.
        context: bytes that name the job, the same on both sides; bound into every hash.
    """

    role: Role
    digests: bytes
    payload: bytes
    placer_items: int
    mapper_items: int
    multiplicity: int
    placer_words: int
    mapper_words: int
    context: bytes


@dataclass(frozen=True)
class HiddenShares:
    """One party's shares. A bin holds at most one pair of rows; which bins do is known to nobody.

    Attributes:
        bins: number of bins, the same on both sides.
        matched: one bit a bin, packed, the first in the lowest bit; the halves of both sides differ where the
            placer's entry of the bin is a key of the mapper's.
        words: u64 little-endian, bin by bin the placer's words, then the mapper's; the shares of both sides add
            up modulo 2^64 to the word where the bin matched, else to zero.
        rows: at the placer u32 little-endian per bin: the own row that stands there, or 2^32 - 1. A secret of the
            placer. `None` at the mapper.
    """

    bins: int
    matched: bytes
    words: bytes
    rows: bytes | None


class CircuitPsi:
    """The protocol machine of one party (semi-honest; eprint 2019/241, 2021/266, 2021/034).

    All bytes it sends follow from seed, attempt, channel and `side`, whatever the timing and the number of
    threads. A machine is driven by one thread at a time; `progress` may be read from another.

    Args:
        seed: 32 secret bytes of this party's job.
        attempt: number of the attempt, 0 to 2^32 - 1; a new attempt draws fresh randomness.
        channel: name of the channel, a label of the randomness.
        side: inputs and agreed parameters.
        threads: worker threads, 1 to 1024.

    Raises:
        AtollError: `E_FORMAT` for arguments of wrong length or range, `E_TOO_LARGE` beyond one bucket,
            `E_DUPLICATE` if a key stands on more rows than declared (at the placer: on more than one).
            `receive` raises `E_PROTOCOL` for a message that breaks the protocol, and `E_STATE` ever after.
    """

    def __init__(
        self, seed: bytes, attempt: int, channel: str, side: HiddenSide, *, threads: int = 1
    ) -> None:
        check_labels(seed, attempt)
        counts = (
            side.placer_items,
            side.mapper_items,
            side.multiplicity,
            side.placer_words,
            side.mapper_words,
        )
        if any(not 0 <= count < _COUNTS for count in counts):
            raise AtollError("E_FORMAT", "A number of items, copies or words is out of range.")
        if not 1 <= threads <= 1024:
            raise AtollError("E_FORMAT", f"threads is 1 to 1024, got {threads}.")
        self._lock = threading.Lock()
        with kernel_errors(step=_STEP):
            self._core = _core.CircuitPsi(
                seed,
                attempt,
                channel,
                side.context,
                side.digests,
                side.payload,
                side.role,
                side.placer_items,
                side.mapper_items,
                side.multiplicity,
                side.placer_words,
                side.mapper_words,
                threads,
            )
        self._progress = self._core.progress()

    def next_message(self) -> tuple[bytes, str, bool] | None:
        """`(bytes, step, opens)` of the next message; `None` while the peer's comes first, and at the end.

        `opens` is never true: shares open nothing.
        """
        with self._lock, kernel_errors(step=_STEP):
            message = self._core.next_message()
            self._progress = self._core.progress()
            return message

    def receive(self, message: bytes) -> None:
        """Takes the peer's next message."""
        with self._lock, kernel_errors(step=_STEP):
            self._core.receive(message)
            self._progress = self._core.progress()

    @property
    def done(self) -> bool:
        """True when nothing is left to send or to receive."""
        with self._lock:
            return self._core.done

    def progress(self) -> tuple[int, int]:
        """Bytes that went by and all of them, without the correlations; never waits for a step that runs."""
        return self._progress

    def shares(self) -> HiddenShares:
        """This party's shares; `E_STATE` before the end."""
        with self._lock, kernel_errors(step=_STEP):
            return HiddenShares(*self._core.output())


@dataclass(frozen=True)
class CircuitSizes:
    """Sizes of a run, from public numbers.

    Attributes:
        bins: number of bins.
        placer_bytes: payload bytes that the placer sends, exactly.
        mapper_bytes: payload bytes that the mapper sends, exactly.
        rounds: how often the direction changes, the first message included.
        values: values of all correlations.
    """

    bins: int
    placer_bytes: int
    mapper_bytes: int
    rounds: int
    values: int

    def sent(self, role: Role) -> int:
        """Payload bytes that a side sends."""
        return self.placer_bytes if role == "placer" else self.mapper_bytes


def circuit_sizes(
    placer_items: int, mapper_items: int, multiplicity: int, placer_words: int, mapper_words: int
) -> CircuitSizes:
    """Sizes of a run with these parameters, as for `HiddenSide`.

    Raises:
        AtollError: `E_FORMAT` for numbers out of range, `E_TOO_LARGE` for more than one run takes.
    """
    numbers = (placer_items, mapper_items, multiplicity, placer_words, mapper_words)
    if any(not 0 <= number < _COUNTS for number in numbers):
        raise AtollError("E_FORMAT", "A number of items, copies or words is out of range.")
    with kernel_errors(step=_STEP):
        return CircuitSizes(*_core.circuit_sizes(*numbers))
