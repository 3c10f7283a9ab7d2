"""Private set intersection of two parties by ECDH on ristretto255 (docs/protocols/ecdh-psi.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from atoll.crypto.files import Bytes
from atoll.crypto.psi import CHUNK_ITEMS, EcdhPsi, Learns, Side
from atoll.protocols.driver import Channel, drive

PROTOCOL: Final = "ecdh-psi/v1"
SECURITY: Final[Literal["semi-honest"]] = "semi-honest"
ASSUMPTION: Final = "ristretto255-ddh-random-oracle"
PARTIES: Final = 2
POINT_BYTES: Final = 32
HEADER_BYTES: Final = 5


@dataclass(frozen=True)
class Intersection:
    """What one party has at the end.

    Attributes:
        matched: u32 little-endian indices of matched keys in the order that both sides share; `None` unless
            this party learns rows.
        peer_multiplicity: u32 little-endian per matched key; `None` unless both learn rows and duplicates
            count.
        size: number of keys that both have; `None` if this party learns nothing.
    """

    matched: Bytes | None
    peer_multiplicity: Bytes | None
    size: int | None


def result(machine: EcdhPsi, i_learn: Learns) -> Intersection:
    """The result of a machine at its end; `E_STATE` before."""
    matched = machine.matched() if i_learn == "rows" else None
    return Intersection(matched, machine.peer_multiplicity(), machine.size())


def run(
    side: Side,
    channel: Channel,
    *,
    seed: bytes,
    attempt: int,
    name: str,
    threads: int = 1,
    before_open: Callable[[], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
    checkpoint: bytes | None = None,
    save: Callable[[Callable[[], bytes]], None] = lambda state: None,
) -> Intersection:
    """Runs one party's side over `channel`.

    Args:
        side: keys and agreed parameters; both parties swap `i_learn` and `peer_learns`.
        seed: 32 secret bytes of this party's job; used with `attempt` and `name` for all randomness.
        name: the channel's name.
        before_open: called once before the first message that opens a result to the peer.
        checkpoint: state from which a restarted run goes on, with byte-identical messages.
        save: called between messages with a function that gives the state; it decides whether to keep it.

    Raises:
        AtollError: `E_PROTOCOL` if the peer breaks the protocol, and whatever the channel raises.
    """
    machine = EcdhPsi(seed, attempt, name, side, threads=threads, checkpoint=checkpoint)
    drive(
        machine, channel, before_open=before_open, progress=progress, between=lambda: save(machine.checkpoint)
    )
    return result(machine, side.i_learn)


def tag_bytes(mine: int, peer: int) -> int:
    """Bytes of a tag: fewer than n^2 / 2 pairs among n = mine + peer keys collide with at most 2^-40."""
    n = mine + peer
    bits = 39 + max(n * n - 1, 0).bit_length()
    return min(max(-(-bits // 8), 10), 16)


def wire_bytes(mine: int, peer: int, *, peer_learns: Learns, multiplicities: bool = False) -> int:
    """Upper bound of the payload bytes that this party sends in messages of the default size."""
    items = [(mine, POINT_BYTES)]
    if peer_learns != "nothing":
        items.append((peer, tag_bytes(mine, peer)))
    if multiplicities:
        items.append((min(mine, peer), 4))
    return sum(count * width + HEADER_BYTES * -(-count // CHUNK_ITEMS) for count, width in items)
