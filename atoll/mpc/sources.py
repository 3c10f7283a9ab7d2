"""What it costs two parties to make what they use up, by each source; and which source a link asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from atoll.crypto.triples import Rich, Thin
from atoll.mpc.supply import BATCH_BITS, BATCH_TRANSFERS

if TYPE_CHECKING:
    from atoll.mpc.meter import Cost

SOURCES: Final[tuple[Rich | Thin, ...]] = (Rich(2), Rich(4), Rich(8), Thin())
"""What `pick_source` chooses among."""
RUN: Final = 1 << 20
"""Most transfers that are made silently at once (rust/triples/src/runs.rs)."""
# Nanoseconds of one processor for both parties together, measured on one core of 2026 (docs/performance.md): on a rich
# link what is the same for all fields, and each block of AES; of silent transfers each one, and each run.
_BIT_NS, _BIT_BLOCK_NS = 22.0, 4.1
_TRANSFER_NS, _TRANSFER_BLOCK_NS = 20.0, 2.9
_SILENT_NS, _SILENT_RUN_NS = 190.0, 30e6
# Silent transfers: base transfers of three points, trees of which each has one noisy leaf (docs/protocols/vole.md).
_BASES, _POINT, _TREES, _LEAST_ROWS, _BLOCK = 128, 32, 249, 1 << 13, 16
_WAITS: Final = 3
"""Messages of a run of which each waits for the one before."""


def _blocks(source: Rich) -> float:
    """AES blocks of one triple at one party: leaves of both directions, and hashes."""
    columns = -(-_BASES // source.field)
    return (2 << source.field) * columns / _BASES + 3


def _rich_bytes(source: Rich, count: int) -> int:
    """Of one direction."""
    return 16 * (-(-_BASES // source.field) - 1) * -(-count // 128)


def _silent_bytes(count: int) -> int:
    """Of one direction."""
    sent = 0
    while count > 0:
        leaves = -(-2 * max(min(count, RUN), _LEAST_ROWS) // _TREES)
        depth = (leaves - 1).bit_length()
        trees = _TREES * (2 * depth + 1) * _BLOCK
        extension = _BASES * -(-(_TREES * depth + _TREES) // 8)
        sent += 3 * _BASES * _POINT + extension + trees
        count -= RUN
    return sent


def transfers_bytes(source: Rich | Thin, count: int) -> int:
    """What both parties send for so many transfers in one direction that are made together, without set-up."""
    return _silent_bytes(count) if isinstance(source, Thin) else _rich_bytes(source, count)


def transfers_ns(source: Rich | Thin, count: int) -> float:
    """Nanoseconds of processor time of both parties together for them."""
    if isinstance(source, Thin):
        return _SILENT_NS * count + _SILENT_RUN_NS * -(-count // RUN)
    return (_TRANSFER_NS + _TRANSFER_BLOCK_NS * _blocks(source)) * count


def bits_bytes(source: Rich | Thin, count: int) -> int:
    """What both parties send for so many bit triples that are made together, without set-up."""
    return 2 * transfers_bytes(source, count)


def bits_ns(source: Rich | Thin, count: int) -> float:
    """Nanoseconds of processor time of both parties together for them."""
    if isinstance(source, Thin):
        return 2 * transfers_ns(source, count)
    return (_BIT_NS + _BIT_BLOCK_NS * _blocks(source)) * count


def pick_source(cost: Cost, *, rate: float, delay: float = 0.0, cores: float = 2.0) -> Rich | Thin:
    """The source with which a program of two parties takes the least time; the same arguments give the same.

    Args:
        cost: of the program, whatever the source it was estimated with: what it uses up counts.
        rate: bytes a second that one party can send.
        delay: seconds that a message takes from one party to the other.
        cores: processors that both parties together have.
    """

    def seconds(source: Rich | Thin) -> float:
        counts = [max(cost.bits, BATCH_BITS) if cost.bits else 0]
        counts += [max(cost.transfers // 2, BATCH_TRANSFERS) if cost.transfers else 0] * 2
        bits, *directions = counts
        sent = bits_bytes(source, bits) + sum(transfers_bytes(source, n) for n in directions)
        ns = bits_ns(source, bits) + sum(transfers_ns(source, n) for n in directions)
        waits = sum(-(-n // RUN) for n in counts) * _WAITS if isinstance(source, Thin) else 0
        return sent / 2 / rate + waits * delay + ns / 1e9 / cores

    return min(SOURCES, key=seconds)
