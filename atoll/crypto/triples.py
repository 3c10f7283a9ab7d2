"""Correlated randomness of two parties without a dealer, made ahead of need: machines without I/O."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from atoll import _core
from atoll.crypto.arrays import WIDE
from atoll.crypto.stream import check_labels, kernel_errors
from atoll.errors import AtollError

Role = Literal["first", "second"]
Side = Literal["sender", "receiver"]
Words = npt.NDArray[np.uint64]
_Parts = TypeVar("_Parts", covariant=True)
_Three = tuple[bytes, bytes, bytes]
#: Most triples that are asked for at once.
MAX_BITS: Final = 1 << 32
MAX_WORDS: Final = 1 << 28
MAX_WIDE: Final = 1 << 26
MAX_TRANSFERS: Final = 1 << 28
_STEP: Final = "triples"


@dataclass(frozen=True)
class Rich:
    """Transfers by SoftSpoken OT, for links with room.

    Attributes:
        field: log2 of the size of the field, 2 to 8. A triple takes about `32 / field - 1/4` bytes in both directions;
            2 is the fastest, 4 takes half of its bytes and 1.2 times its work, 8 a quarter and 5 times its work.
    """

    field: int = 4


@dataclass(frozen=True)
class Thin:
    """Silent transfers, for links without room: 3 bits a triple in both directions, and six times the work.

    In runs of up to 2^20 triples; short runs cost as much traffic as long ones, up to 380 KB.
    """


@dataclass(frozen=True)
class Triples:
    """One party's triples; those of both parties belong together by their position.

    Attributes:
        a: uniform words, or packed uniform bits, the first in the lowest bit of the first word.
        b: the same.
        c: this party's share: words add up to `(a0 + a1) (b0 + b1)` modulo 2^64 or 2^128; bits to that modulo 2.
            Unused bits of the last word are zero.
    """

    a: npt.NDArray[Any]
    b: npt.NDArray[Any]
    c: npt.NDArray[Any]


@dataclass(frozen=True)
class Sent:
    """What the sender of transfers has, one word of each a transfer.

    Attributes:
        zero: what the receiver gets where it chose 0.
        one: the same where it chose 1.
    """

    zero: Words
    one: Words


@dataclass(frozen=True)
class Chosen:
    """What the receiver of transfers has.

    Attributes:
        choices: packed uniform bits, the first in the lowest bit of the first word; unused bits are zero.
        words: the sender's `one` where the choice is 1, its `zero` elsewhere.
    """

    choices: Words
    words: Words


class _Kernel(Protocol[_Parts]):
    def next_message(self) -> tuple[bytes, str, bool] | None: ...
    def receive(self, message: bytes) -> None: ...
    @property
    def done(self) -> bool: ...
    def progress(self) -> tuple[int, int]: ...
    def finish(self) -> _Parts: ...


class _Batching(_Kernel[_Parts], Protocol[_Parts]):
    def again(self, count: int) -> None: ...


class _Multiplying(_Kernel[bytes], Protocol):
    def again(self, right: Words | None) -> None: ...


def _array(part: bytes) -> Words:
    return np.frombuffer(part, "<u8")


def _field(source: Rich | Thin) -> int | None:
    field = source.field if isinstance(source, Rich) else None
    if field is not None and not 2 <= field <= 8:
        raise AtollError("E_FORMAT", f"The field of a rich link is 2 to 8, got {field}.")
    return field


def _check(seed: bytes, attempt: int, count: int, threads: int, most: int) -> None:
    check_labels(seed, attempt)
    _check_count(count, most)
    if not 1 <= threads <= 1024:
        raise AtollError("E_FORMAT", f"threads is 1 to 1024, got {threads}.")


def _check_count(count: int, most: int) -> None:
    if not 0 <= count <= most:
        raise AtollError("E_FORMAT", f"At most {most} are made at once, got {count}.")


_Core = TypeVar("_Core", bound=_Kernel[Any])


class _Session(Generic[_Core]):
    """A machine of `atoll.protocols.driver` that does one thing after the other under the same keys.

    All bytes it sends follow from seed, attempt, channel and arguments, whatever the timing and the number of
    threads. It is driven by one thread at a time; `progress` may be read from another.
    """

    def __init__(self, core: _Core) -> None:
        self._lock = threading.Lock()
        self._core = core
        self._progress = core.progress()

    def next_message(self) -> tuple[bytes, str, bool] | None:
        """`(bytes, step, opens)` of the next message; `None` while the peer's comes first, and at the end.

        `opens` is never true: what is random opens nothing.
        """
        with self._lock, kernel_errors(step=_STEP):
            message = self._core.next_message()
            self._progress = self._core.progress()
            return message

    def receive(self, message: bytes) -> None:
        """Takes the peer's next message.

        Raises:
            AtollError: `E_PROTOCOL` for a message that breaks the protocol, `E_STATE` ever after.
        """
        with self._lock, kernel_errors(step=_STEP):
            self._core.receive(message)
            self._progress = self._core.progress()

    @property
    def done(self) -> bool:
        """True when nothing of this batch is left to send or to receive."""
        with self._lock:
            return self._core.done

    def progress(self) -> tuple[int, int]:
        """Parts that are made, and all of them; never waits for a step that runs."""
        return self._progress


class _Batches(_Session[_Batching[_Parts]], Generic[_Parts]):
    """A session that makes batches."""

    def __init__(self, core: _Batching[_Parts], most: int) -> None:
        super().__init__(core)
        self._most = most

    def _finish(self) -> _Parts:
        with self._lock, kernel_errors(step=_STEP):
            return self._core.finish()

    def again(self, count: int) -> None:
        """Begins another batch of the session, which needs no set-up: drive the machine again, then `finish`.

        Both sides ask for the same count, after they have taken the batch before.

        Raises:
            AtollError: `E_STATE` if that was not taken, `E_FORMAT` for a count out of range, `E_TOO_LARGE` beyond
                what one session makes.
        """
        _check_count(count, self._most)
        with self._lock, kernel_errors(step=_STEP):
            self._core.again(count)
            self._progress = self._core.progress()


class _Products(_Batches[_Three]):
    def finish(self) -> Triples:
        """The triples of this batch as read-only arrays, handed out once; `E_STATE` before the end and after it."""
        a, b, c = self._finish()
        return Triples(_array(a), _array(b), _array(c))


class BitTriples(_Products):
    """Bit triples by oblivious transfer (semi-honest): `(a0 ^ a1) & (b0 ^ b1) == c0 ^ c1`.

    Args:
        role: `first` at one party, `second` at the other.
        seed: 32 secret bytes of this party's job.
        attempt: number of the attempt, 0 to 2^32 - 1; a new attempt draws fresh randomness.
        channel: name of the channel, a label of the randomness; the same on both sides.
        count: triples of the first batch, up to 2^32.
        context: bytes that name what the session is for, the same on both sides.
        source: how transfers are made, the same on both sides.
        threads: worker threads, 1 to 1024.

    Raises:
        AtollError: `E_FORMAT` for arguments out of range.
    """

    def __init__(
        self,
        role: Role,
        seed: bytes,
        attempt: int,
        channel: str,
        count: int,
        *,
        context: bytes = b"",
        source: Rich | Thin = Rich(),
        threads: int = 1,
    ) -> None:
        _check(seed, attempt, count, threads, MAX_BITS)
        field = _field(source)
        with kernel_errors(step=_STEP):
            core = _core.BitTriples(seed, attempt, channel, context, role, field, count, threads)
        super().__init__(core, MAX_BITS)


class WordTriples(_Products):
    """Products of words under RLWE encryption (semi-honest): `(a0 + a1) * (b0 + b1) == c0 + c1` modulo 2^64.

    Made in groups of 8192, of which each takes 1.6 MB, most of it from the first side, and 12 ms of processor time.

    Args:
        role: `first` holds the keys and encrypts, `second` multiplies.
        seed: 32 secret bytes of this party's job.
        attempt: number of the attempt, 0 to 2^32 - 1; a new attempt draws fresh randomness.
        channel: name of the channel, a label of the randomness; the same on both sides.
        count: triples of the first batch, up to 2^28.
        context: bytes that name what the session is for, the same on both sides.
        threads: worker threads, 1 to 1024.

    Raises:
        AtollError: `E_FORMAT` for arguments out of range.
    """

    def __init__(
        self,
        role: Role,
        seed: bytes,
        attempt: int,
        channel: str,
        count: int,
        *,
        context: bytes = b"",
        threads: int = 1,
    ) -> None:
        _check(seed, attempt, count, threads, MAX_WORDS)
        with kernel_errors(step=_STEP):
            core = _core.WordTriples(seed, attempt, channel, context, role, count, threads)
        super().__init__(core, MAX_WORDS)


class WideTriples(_Batches[_Three]):
    """The same modulo 2^128, under five plaintext primes.

    Made in groups of 8192, of which each takes 2.6 MB, and 5/3 of the work. Arguments and errors are those of
    `WordTriples`; a batch has up to 2^26, a session up to 2^28.
    """

    def __init__(
        self,
        role: Role,
        seed: bytes,
        attempt: int,
        channel: str,
        count: int,
        *,
        context: bytes = b"",
        threads: int = 1,
    ) -> None:
        _check(seed, attempt, count, threads, MAX_WIDE)
        with kernel_errors(step=_STEP):
            core = _core.WideTriples(seed, attempt, channel, context, role, count, threads)
        super().__init__(core, MAX_WIDE)

    def finish(self) -> Triples:
        """The triples of this batch as read-only arrays of `WIDE`, handed out once; `E_STATE` otherwise."""
        a, b, c = (np.frombuffer(part, WIDE) for part in self._finish())
        return Triples(a, b, c)


class WordTransfers(_Batches[tuple[bytes, bytes]]):
    """Random transfers of words in one direction (semi-honest): `words == where(choices, one, zero)`.

    A transfer of a rich link takes `16 / field - 1/8` bytes, all from the receiver; one of a thin link 1.5 bits, two
    thirds of them from the sender.

    Args:
        role: `sender` gets both words of each transfer, `receiver` chooses by random bits of its own.
        seed: 32 secret bytes of this party's job.
        attempt: number of the attempt, 0 to 2^32 - 1; a new attempt draws fresh randomness.
        channel: name of the channel, a label of the randomness; the same on both sides.
        count: transfers of the first batch, up to 2^28.
        context: bytes that name what the session is for, the same on both sides.
        source: how transfers are made, the same on both sides.
        threads: worker threads, 1 to 1024.

    Raises:
        AtollError: `E_FORMAT` for arguments out of range.
    """

    def __init__(
        self,
        role: Side,
        seed: bytes,
        attempt: int,
        channel: str,
        count: int,
        *,
        context: bytes = b"",
        source: Rich | Thin = Rich(),
        threads: int = 1,
    ) -> None:
        _check(seed, attempt, count, threads, MAX_TRANSFERS)
        with kernel_errors(step=_STEP):
            core = _core.WordTransfers(seed, attempt, channel, context, role, _field(source), count, threads)
        super().__init__(core, MAX_TRANSFERS)
        self._sends = role == "sender"

    def finish(self) -> Sent | Chosen:
        """This side's part of the batch as read-only arrays, handed out once; `E_STATE` before the end and after it."""
        left, right = self._finish()
        return (Sent if self._sends else Chosen)(_array(left), _array(right))


def _entries(matrix: Words, rows: int, columns: int) -> Words:
    if matrix.dtype != np.uint64 or matrix.shape != (rows, columns):
        text = (
            f"A matrix of {rows} by {columns} words of 64 bits is due, got {matrix.shape} of {matrix.dtype}."
        )
        raise AtollError("E_FORMAT", text)
    return np.ascontiguousarray(matrix, "<u8").reshape(-1)


def matrix_bytes(rows: int, inner: int, columns: int) -> int:
    """Bytes that both sides send for one product of these sizes, without headers and 193 KB of keys.

    Raises:
        AtollError: `E_FORMAT` for a size below 1, `E_TOO_LARGE` for a matrix of more than 2^26 entries.
    """
    _check_sizes(rows, inner, columns)
    with kernel_errors(step=_STEP):
        return _core.matrix_bytes(rows, inner, columns)


def matrix_room(rows: int, inner: int, columns: int) -> int:
    """Bytes of memory that the transformed left matrix of such a product takes; errors as of `matrix_bytes`."""
    _check_sizes(rows, inner, columns)
    with kernel_errors(step=_STEP):
        return _core.matrix_room(rows, inner, columns)


def _check_sizes(*sizes: int) -> None:
    if any(not 1 <= size < 1 << 32 for size in sizes):
        raise AtollError("E_FORMAT", f"Sizes of matrices are at least 1, got {sizes}.")


class MatrixProduct(_Session[_Multiplying]):
    """Shares of a product of two matrices modulo 2^64, of which each side has one (semi-honest).

    The first side has the right matrix, the second the left one; for shared matrices both directions are run, and each
    side multiplies its own halves. The left matrix is transformed once, and serves for as many right ones as are asked
    for; it takes 24 bytes an entry for each column of a block, at most 1 GB where blocks of several columns are chosen.

    Args:
        role: `first` gives the right matrix, `second` the left one.
        seed: 32 secret bytes of this party's job.
        attempt: number of the attempt, 0 to 2^32 - 1; a new attempt draws fresh randomness.
        channel: name of the channel, a label of the randomness; the same on both sides.
        sizes: rows of the left matrix, its columns, columns of the right matrix; the same on both sides.
        own: words of 64 bits, `(inner, columns)` at the first side, `(rows, inner)` at the second.
        context: bytes that name what the session is for, the same on both sides.
        threads: worker threads, 1 to 1024.

    Raises:
        AtollError: `E_FORMAT` for arguments out of range or a matrix of another size, `E_TOO_LARGE` for a matrix of
            more than 2^26 entries.
    """

    def __init__(
        self,
        role: Role,
        seed: bytes,
        attempt: int,
        channel: str,
        sizes: tuple[int, int, int],
        own: Words,
        *,
        context: bytes = b"",
        threads: int = 1,
    ) -> None:
        _check(seed, attempt, 0, threads, 0)
        _check_sizes(*sizes)
        self._sizes = rows, inner, columns = sizes
        entries = _entries(own, *((inner, columns) if role == "first" else (rows, inner)))
        with kernel_errors(step=_STEP):
            core = _core.MatrixProduct(seed, attempt, channel, context, role, sizes, entries, threads)
        super().__init__(core)

    def finish(self) -> Words:
        """This side's share of the product, `(rows, columns)`, read-only, handed out once; `E_STATE` otherwise."""
        with self._lock, kernel_errors(step=_STEP):
            share = self._core.finish()
        return np.frombuffer(share, "<u8").reshape(self._sizes[0], self._sizes[2])

    def again(self, right: Words | None = None) -> None:
        """Begins the product of the same left matrix with another right one, which the first side alone gives.

        Raises:
            AtollError: `E_STATE` if the product before was not taken, `E_FORMAT` for a matrix of another size, or for
                one at the second side.
        """
        entries = None if right is None else _entries(right, *self._sizes[1:])
        with self._lock, kernel_errors(step=_STEP):
            self._core.again(entries)
            self._progress = self._core.progress()
