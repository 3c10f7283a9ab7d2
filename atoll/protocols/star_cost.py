"""What an intersection by a star costs: bytes, rounds, seconds (docs/protocols/star-psi.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from atoll.crypto.psi import slots
from atoll.errors import AtollError
from atoll.protocols import ecdh_psi
from atoll.protocols.pair_keys import hello_bytes
from atoll.protocols.star_psi import CHUNK, MAX_ITEMS, MAX_PARTIES, MIN_PARTIES, Learns, output_bits
from atoll.protocols.vole_psi import PART_BYTES, vole_bytes

_IDENTIFIER: Final = "ed25519:" + 64 * "0"
# Hello with a size and share of the coin; bytes of a slot of the receiver's store.
_COIN: Final = 1 + 8 + 32 + 32 + 1 + 32 + 16
_MASKED: Final = 16


def _chunked(count: int, each: int) -> int:
    return count * each + -(-count // CHUNK)


def _check(items: Sequence[int]) -> tuple[int, ...]:
    if not MIN_PARTIES <= len(items) <= MAX_PARTIES or not all(0 <= n <= MAX_ITEMS for n in items):
        raise AtollError("E_FORMAT", "The number of parties or of a party's keys is out of range.")
    return tuple(items)


def wire_bytes(items: Sequence[int], party: int, *, learns: Learns = "rows", everyone: bool = False) -> int:
    """Upper bound of the payload bytes that a party sends, over all its links; exact but for the common items told.

    Args:
        items: distinct keys of every party, the leader's first.
        party: index of the party, 0 for the leader.

    Raises:
        AtollError: `E_FORMAT` for arguments out of range.
    """
    sizes = _check(items)
    if not 0 <= party < len(sizes):
        raise AtollError("E_FORMAT", "There is no such party.")
    if not min(sizes):
        return 0
    leader, most = sizes[0], min(sizes)
    store = slots(leader, "fast")
    sender, receiver = vole_bytes(store, _MASKED, "semi-honest")
    compared = 0
    if learns == "size" and party < 2:
        mine, peer = (leader, sizes[1]) if party == 0 else (sizes[1], leader)
        compared = ecdh_psi.wire_bytes(mine, peer, peer_learns="nothing" if party == 0 else "size")
    if party:
        values = _chunked(slots(sizes[party], "fast"), output_bits(sizes, learns) // 8)
        return hello_bytes([_IDENTIFIER]) + _COIN + PART_BYTES + sender + values + compared
    told = 9 if learns == "size" else 5 + _chunked(most, 16)
    each = hello_bytes([_IDENTIFIER], len(sizes)) + _COIN + PART_BYTES + receiver + _chunked(store, _MASKED)
    return (len(sizes) - 1) * (each + told * everyone) + compared


@dataclass(frozen=True)
class Estimate:
    """What an intersection costs.

    Attributes:
        leader_bytes: payload bytes that the leader sends, an upper bound.
        party_bytes: payload bytes that each of the others sends, in their order, upper bounds.
        rounds: messages that wait for another side's.
        leader_core_seconds: time of one core at the leader.
        party_core_seconds: time of one core at the party that takes longest.
    """

    leader_bytes: int
    party_bytes: tuple[int, ...]
    rounds: int
    leader_core_seconds: float
    party_core_seconds: float


SETUP_SECONDS: Final = 0.012
LEADER_MICROSECONDS: Final = 0.5
PARTY_MICROSECONDS: Final = 0.4
SHARE_MICROSECONDS: Final = 0.06
NAME_MICROSECONDS: Final = 0.4
TOLD_MICROSECONDS: Final = 0.8
POINT_MICROSECONDS: Final = 22.0


def estimate(
    items: Sequence[int],
    *,
    learns: Learns = "rows",
    everyone: bool = False,
    threads: int = 1,
    bandwidth: float | None = None,
    latency: float = 0.0,
) -> tuple[Estimate, float]:
    """Cost of an intersection of parties with so many distinct keys each, the leader's first.

    Args:
        threads: cores that the leader has for its links.
        bandwidth: bytes a second of the leader's line, each way; `None` if it does not limit.
        latency: seconds one way.

    Returns:
        The costs, and seconds from beginning to end, each party on a machine of its own.

    Raises:
        AtollError: `E_FORMAT` for arguments out of range.
    """
    sizes = _check(items)
    sent = [wire_bytes(sizes, party, learns=learns, everyone=everyone) for party in range(len(sizes))]
    if not min(sizes):
        return Estimate(0, tuple(sent[1:]), 0, 0.0, 0.0), 0.0
    leader, links = sizes[0], len(sizes) - 1
    points = POINT_MICROSECONDS * (leader + sizes[1]) * (learns == "size")
    tells = everyone and learns == "rows"
    one = SETUP_SECONDS + (LEADER_MICROSECONDS + SHARE_MICROSECONDS) * leader / 1e6
    first = links * (one + SHARE_MICROSECONDS * tells * leader / 1e6) + points / 1e6

    def other(size: int) -> float:
        work = PARTY_MICROSECONDS * (size + leader) + SHARE_MICROSECONDS * links * size
        told = NAME_MICROSECONDS * size + TOLD_MICROSECONDS * min(sizes)
        return SETUP_SECONDS + (work + told * tells) / 1e6

    longest = max(other(size) for size in sizes[1:])
    rounds = 10 + 2 * (learns == "size") + everyone
    cost = Estimate(sent[0], tuple(sent[1:]), rounds, first, longest + points / 1e6)
    line = 0.0 if bandwidth is None else max(sent[0], sum(sent[1:])) / bandwidth
    seconds = (first - points / 1e6) / threads + longest + points / 1e6 + line + rounds * latency
    return cost, seconds
