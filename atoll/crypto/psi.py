"""Private set intersection: one party's side of each protocol as a state machine without I/O."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

from atoll import _core
from atoll.crypto.files import Bytes, whole
from atoll.crypto.keys import KeySet
from atoll.crypto.stream import check_labels, kernel_errors
from atoll.errors import AtollError

Learns = Literal["rows", "size", "nothing"]
Role = Literal["receiver", "sender"]
Security = Literal["malicious", "semi-honest"]
Variant = Literal["fast", "low-communication"]
CHUNK_ITEMS = 8192
MAX_ITEMS = 2**32 - 2


@dataclass(frozen=True)
class Side:
    """What one party brings and what both sides agreed on.

    Attributes:
        digests: 32 bytes per distinct key of this party; `vole-psi/v1` reads those in a file bucket by bucket.
        multiplicity: u32 little-endian per key, rows that have it (at least 1); `None` if duplicates do not
            count. Exchanged only if both learn rows, and then both sides give it.
        peer_items: number of distinct keys that the peer declared.
        i_learn: what this party learns: which of its keys match, how many match, or nothing.
        peer_learns: what the peer learns.
        context: bytes that name the job, the same on both sides; hashed into every point and tag.
        chunk_items: items in a message, 1 to 65,536.
    """

    digests: Bytes
    multiplicity: Bytes | None
    peer_items: int
    i_learn: Learns
    peer_learns: Learns
    context: bytes
    chunk_items: int = CHUNK_ITEMS

    @classmethod
    def of(
        cls,
        keys: KeySet,
        *,
        duplicates: Literal["sql", "refuse"],
        peer_items: int,
        i_learn: Learns,
        peer_learns: Learns,
        context: bytes,
    ) -> Side:
        """The side of a key set; `E_DUPLICATE` if `duplicates` refuses a key that stands on several rows."""
        if duplicates == "refuse" and keys.duplicates:
            raise AtollError("E_DUPLICATE", f"{keys.duplicates} keys stand on more than one row.")
        multiplicity = keys.multiplicity if duplicates == "sql" else None
        return cls(keys.digests, multiplicity, peer_items, i_learn, peer_learns, context)


Core = TypeVar("Core", _core.EcdhPsi, _core.VolePsi)


class _Machine(Generic[Core]):
    """What the machines of the protocols have in common. Every method that takes peer bytes raises `E_PROTOCOL` for a
    message that breaks the protocol, and `E_STATE` ever after.
    """

    _STEP: ClassVar[str]
    _core: Core

    def _begin(self, make: Callable[[], Core]) -> None:
        self._lock = threading.Lock()
        with kernel_errors(step=self._STEP):
            self._core = make()
        self._progress = self._core.progress()

    def next_message(self) -> tuple[bytes, str, bool] | None:
        """`(bytes, step, opens)` of the next message; `None` while the peer's comes first, and at the end.

        `opens` is true for messages that let the peer open (part of) its result.
        """
        with self._lock, kernel_errors(step=self._STEP):
            message = self._core.next_message()
            self._progress = self._core.progress()
            return message

    def receive(self, message: bytes) -> None:
        """Takes the peer's next message; may come at any time."""
        with self._lock, kernel_errors(step=self._STEP):
            self._core.receive(message)
            self._progress = self._core.progress()

    @property
    def done(self) -> bool:
        """True when nothing is left to send or to receive."""
        with self._lock:
            return self._core.done

    def matched(self) -> bytes:
        """u32 little-endian indices of the matched keys among this party's, in the order that both share.

        Raises `E_STATE` before the end or if this party does not learn rows.
        """
        with self._lock, kernel_errors(step=self._STEP):
            return self._core.matched()

    def peer_multiplicity(self) -> bytes | None:
        """u32 little-endian per matched key: the peer's rows that have it; `None` if not exchanged."""
        with self._lock, kernel_errors(step=self._STEP):
            return self._core.peer_multiplicity()

    def size(self) -> int | None:
        """Number of keys that both sides have; `None` if this party does not learn it."""
        with self._lock, kernel_errors(step=self._STEP):
            return self._core.size()

    def progress(self) -> tuple[int, int]:
        """Units of work done and to do (multiplications, or slots and tags); never waits for a step that runs."""
        return self._progress


class EcdhPsi(_Machine[_core.EcdhPsi]):
    """The protocol machine of one party (semi-honest; Meadows 1986, Huberman, Franklin and Hogg 1999).

    All bytes it sends follow from seed, attempt, channel and `side`, whatever the timing and the number of
    threads. A machine is driven by one thread at a time; `progress` may be read from another.

    Args:
        seed: 32 secret bytes of this party's job.
        attempt: number of the attempt, 0 to 2^32 - 1; a new attempt draws fresh randomness.
        channel: name of the channel, a label of the randomness.
        side: inputs and agreed parameters.
        threads: worker threads, 1 to 1024.
        checkpoint: bytes of `checkpoint()` of a machine with the same arguments; goes on from there.

    Raises:
        AtollError: `E_FORMAT` for arguments of wrong length or range or a checkpoint of another run,
            `E_TOO_LARGE` beyond 2^32 - 2 keys a side. Every method that takes peer bytes raises `E_PROTOCOL`
            for a message that breaks the protocol, and `E_STATE` ever after.
    """

    _STEP = "ecdh-psi"

    def __init__(
        self,
        seed: bytes,
        attempt: int,
        channel: str,
        side: Side,
        *,
        threads: int = 1,
        checkpoint: bytes | None = None,
    ) -> None:
        check_labels(seed, attempt)
        if not 0 <= side.peer_items <= MAX_ITEMS or not 1 <= side.chunk_items <= 1 << 16:
            raise AtollError("E_FORMAT", "The peer's number of keys or the chunk size is out of range.")
        if not 1 <= threads <= 1024:
            raise AtollError("E_FORMAT", f"threads is 1 to 1024, got {threads}.")
        self._begin(
            lambda: _core.EcdhPsi(
                seed,
                attempt,
                channel,
                side.context,
                whole(side.digests),
                None if side.multiplicity is None else whole(side.multiplicity),
                side.peer_items,
                side.i_learn,
                side.peer_learns,
                threads,
                side.chunk_items,
                checkpoint,
            )
        )

    @classmethod
    def restore(
        cls, seed: bytes, attempt: int, channel: str, side: Side, checkpoint: bytes, *, threads: int = 1
    ) -> EcdhPsi:
        """A machine that goes on from `checkpoint`, with byte-identical messages."""
        return cls(seed, attempt, channel, side, threads=threads, checkpoint=checkpoint)

    def checkpoint(self) -> bytes:
        """The state between two messages, without seed and inputs. Secret: keep it encrypted, mode 0600."""
        with self._lock, kernel_errors(step=self._STEP):
            return self._core.checkpoint()


class VolePsi(_Machine[_core.VolePsi]):
    """The machine of one party for one bucket, from VOLE and a key-value store (eprint 2021/266, 2022/320).

    The receiver learns first which of its keys match; the sender afterwards, if both learn. All bytes it sends
    follow from seed, attempt, channel, inputs and agreed parameters, whatever the timing and the number of threads.
    A machine is driven by one thread at a time; `progress` may be read from another.

    Args:
        seed: 32 secret bytes of this party's job.
        attempt: number of the attempt, 0 to 2^32 - 1; a new attempt draws fresh randomness.
        channel: name of the channel, a label of the randomness.
        context: bytes that name the run, the same on both sides, with a coin that neither side could choose
            after its keys were fixed.
        digests: 32 bytes per distinct key.
        multiplicity: u32 little-endian per key, at least 1; exchanged only if both learn, and then both give it.
        peer_items: number of distinct keys that the peer declared.
        both: whether the sender learns too.
        security: `malicious` or `semi-honest`.
        variant: `fast`, or `low-communication`, which is semi-honest only.
        threads: worker threads, 1 to 1024.

    Raises:
        AtollError: `E_FORMAT` for arguments of wrong length or range, and, before anything leaves that depends on
            the keys, for a digest that stands twice; `E_TOO_LARGE` beyond 2^22 keys a side. Every method that
            takes peer bytes raises `E_PROTOCOL` for a message that breaks the protocol; `E_STATE` ever after, and
            with probability below 2^-40 if the coin fell badly.
    """

    _STEP = "vole-psi"

    def __init__(
        self,
        seed: bytes,
        attempt: int,
        channel: str,
        *,
        context: bytes,
        digests: bytes,
        multiplicity: bytes | None,
        peer_items: int,
        role: Role,
        both: bool,
        security: Security = "malicious",
        variant: Variant = "fast",
        threads: int = 1,
    ) -> None:
        check_labels(seed, attempt)
        if not 0 <= peer_items <= MAX_ITEMS or not 1 <= threads <= 1024:
            raise AtollError(
                "E_FORMAT", "The peer's number of keys or the number of threads is out of range."
            )
        self._begin(
            lambda: _core.VolePsi(
                seed,
                attempt,
                channel,
                context,
                digests,
                multiplicity,
                peer_items,
                role,
                both,
                security,
                variant,
                threads,
            )
        )

    def presented_at_most(self) -> int:
        """Most keys that the receiver can have entered, whether or not it follows the protocol."""
        with self._lock:
            return self._core.presented_at_most()


def partition(digests: bytes, key: bytes, buckets: int, *, threads: int = 1) -> tuple[bytes, list[int]]:
    """Splits distinct keys into buckets by a hash under a 32-byte `key`.

    Returns:
        u32 little-endian indices by bucket, and the number of keys of each bucket (1 to 65,536 buckets).

    Raises:
        AtollError: `E_FORMAT` for arguments of wrong length or range.
    """
    if not 1 <= threads <= 1024 or buckets < 1:
        raise AtollError("E_FORMAT", "The number of threads or buckets is out of range.")
    with kernel_errors():
        return _core.psi_partition(digests, key, buckets, threads)


def slots(items: int, variant: Variant) -> int:
    """Slots of a receiver's store for so many keys."""
    with kernel_errors():
        return _core.psi_slots(items, variant)
