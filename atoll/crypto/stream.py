"""Labelled randomness: ChaCha20 streams of a job's seed, and how kernel errors become Atoll's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from atoll import _core
from atoll.errors import AtollError

SEED_BYTES = 32
MAX_ATTEMPT = 2**32 - 1


@contextmanager
def kernel_errors(*, party: str | None = None, step: str | None = None) -> Iterator[None]:
    """Turns every `CoreError` inside into the `AtollError` of the same code."""
    try:
        yield
    except _core.CoreError as error:
        code, text = error.args
        raise AtollError(code, f"{text}.", party=party, step=step) from None


def check_labels(seed: bytes, attempt: int) -> None:
    """`E_FORMAT` unless the seed has 32 bytes and the attempt fits 32 bits."""
    if len(seed) != SEED_BYTES:
        raise AtollError("E_FORMAT", f"A job seed has {SEED_BYTES} bytes, got {len(seed)}.")
    if not 0 <= attempt <= MAX_ATTEMPT:
        raise AtollError("E_FORMAT", f"An attempt is a number from 0 to {MAX_ATTEMPT}, got {attempt}.")


def stream_bytes(seed: bytes, attempt: int, channel: str, step: str, length: int) -> bytes:
    """The first `length` bytes of the stream of one step.

    The key is HKDF-SHA256 (RFC 5869) of the 32-byte `seed` under the length-prefixed labels, the stream is
    ChaCha20 (RFC 8439). Different labels give independent streams.

    Raises:
        AtollError: `E_FORMAT` for a seed of another length or an attempt outside 32 bits.
    """
    check_labels(seed, attempt)
    if not 0 <= length <= 1 << 30:
        raise AtollError("E_FORMAT", "A stream is read up to 1 GiB at a time.")
    with kernel_errors():
        return _core.stream_bytes(seed, attempt, channel, step, length)
