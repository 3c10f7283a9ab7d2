"""Intersection of several parties: shares of zero, and the programmed function as a state machine without I/O."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final, Literal

from atoll import _core
from atoll.crypto.psi import MAX_ITEMS
from atoll.crypto.stream import check_labels, kernel_errors
from atoll.errors import AtollError

WORD_BYTES: Final = 16
_STEP: Final = "star-psi"


class ProgrammedFunction:
    """One party's side of the oblivious programmed function (eprint 2017/799, section 4), semi-honest.

    The receiver ends with an output at each of its keys: the sender's target where the sender has the key too, random
    elsewhere. All bytes that a side sends follow from seed, attempt, channel, inputs and agreed parameters, whatever
    the timing and the number of threads. A machine is driven by one thread at a time; `progress` may be read from
    another.

    Args:
        seed: 32 secret bytes of this party's job.
        attempt: number of the attempt, 0 to 2^32 - 1; a new attempt draws fresh randomness.
        channel: name of the channel, a label of the randomness.
        context: bytes that name the run, the same on both sides, with a coin that neither side could choose after
            its keys were fixed.
        digests: 32 bytes per distinct key, at least one.
        targets: 16 bytes per key, little-endian, at the sender; `None` at the receiver.
        peer_items: number of distinct keys that the peer declared, at least one.
        bits: bits of an output, the lowest of a target: 8 to 128, whole bytes.
        threads: worker threads, 1 to 1024.

    Raises:
        AtollError: `E_FORMAT` for arguments of wrong length or range, and, before anything leaves that depends on
            the keys, for a digest that stands twice; `E_TOO_LARGE` beyond 2^22 keys a side. Every method that
            takes peer bytes raises `E_PROTOCOL` for a message that breaks the protocol; `E_STATE` ever after, and
            with probability below 2^-40 if the coin fell badly.
    """

    def __init__(
        self,
        seed: bytes,
        attempt: int,
        channel: str,
        *,
        context: bytes,
        digests: bytes,
        targets: bytes | None,
        peer_items: int,
        bits: int,
        threads: int = 1,
    ) -> None:
        check_labels(seed, attempt)
        if not 0 <= peer_items <= MAX_ITEMS or not 1 <= threads <= 1024 or not 8 <= bits <= 128:
            raise AtollError("E_FORMAT", "The number of the peer's keys, bits or threads is out of range.")
        self._lock = threading.Lock()
        with kernel_errors(step=_STEP):
            self._core = _core.Opprf(
                seed, attempt, channel, context, digests, targets, peer_items, bits, threads
            )
        self._progress = self._core.progress()

    def next_message(self) -> tuple[bytes, str, bool] | None:
        """`(bytes, step, opens)` of the next message; `None` while the peer's comes first, and at the end."""
        with self._lock, kernel_errors(step=_STEP):
            message = self._core.next_message()
            self._progress = self._core.progress()
            return message

    def receive(self, message: bytes) -> None:
        """Takes the peer's next message; may come at any time."""
        with self._lock, kernel_errors(step=_STEP):
            self._core.receive(message)
            self._progress = self._core.progress()

    @property
    def done(self) -> bool:
        """True when nothing is left to send or to receive."""
        with self._lock:
            return self._core.done

    def outputs(self) -> bytes:
        """16 bytes per key, little-endian; `E_STATE` before the end and at the sender."""
        with self._lock, kernel_errors(step=_STEP):
            return self._core.outputs()

    def progress(self) -> tuple[int, int]:
        """Slots done and to do; never waits for a step that runs."""
        return self._progress


def pairwise(
    of: Literal["share", "common"],
    digests: bytes,
    seed: bytes,
    attempt: int,
    channel: str,
    *,
    me: str,
    peers: Mapping[str, bytes],
    context: bytes,
    threads: int = 1,
) -> bytes:
    """A keyed function of every item, summed (exclusive or) over the keys that this party has with `peers`.

    Args:
        of: `share` for shares of zero: with all other parties as `peers`, the sums of all parties cancel.
            `common` for the names by which one party tells another which items are common.
        digests: 32 bytes per item.
        me: this party's identifier.
        peers: identifier and X25519 public key (32 bytes) of other parties, at least one.
        context: bytes that name job, attempt and parties, the same at all.

    Returns:
        16 bytes per item, little-endian.

    Raises:
        AtollError: `E_FORMAT` for wrong lengths, `E_PROTOCOL` for a peer's key of small order.
    """
    check_labels(seed, attempt)
    if not 1 <= threads <= 1024:
        raise AtollError("E_FORMAT", f"threads is 1 to 1024, got {threads}.")
    pairs = [(name.encode(), key) for name, key in sorted(peers.items())]
    with kernel_errors(step=_STEP):
        return _core.star_pairwise(seed, attempt, channel, me.encode(), pairs, context, of, digests, threads)


def blinds(digests: bytes, seed: bytes, attempt: int, channel: str, *, threads: int = 1) -> bytes:
    """A function of every item (32 bytes each) under a key of this party alone: 16 bytes each; `E_FORMAT`."""
    check_labels(seed, attempt)
    if not 1 <= threads <= 1024:
        raise AtollError("E_FORMAT", f"threads is 1 to 1024, got {threads}.")
    with kernel_errors(step=_STEP):
        return _core.star_blinds(seed, attempt, channel, digests, threads)
