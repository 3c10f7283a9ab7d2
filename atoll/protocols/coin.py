"""A coin that two parties toss: neither can choose it, nor learn it before its own share is fixed (Blum 1981)."""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass

from atoll.crypto.stream import stream_bytes
from atoll.crypto.suite import OPENING_BYTES, commit, digest, digest_bytes
from atoll.errors import AtollError
from atoll.protocols.driver import Channel

COIN_BYTES = 32
_HELLO = 1
_SHARE = 2
_DOMAIN = b"atoll coin v1"


@dataclass(frozen=True)
class Coin:
    """What both have afterwards.

    Attributes:
        value: 32 bytes, the same at both.
        first: true at one of the two sides, by the toss.
    """

    value: bytes
    first: bool


def fields(*parts: bytes) -> bytes:
    """The parts, each after its length (u64, little-endian): different parts give different bytes."""
    return b"".join(struct.pack("<Q", len(part)) + part for part in parts)


def _hash(*parts: bytes) -> bytes:
    return digest_bytes(digest(fields(_DOMAIN, *parts)))


def _broken(text: str, step: str) -> AtollError:
    return AtollError("E_PROTOCOL", text, step=step)


def toss(
    channel: Channel,
    agreed: bytes,
    mine: bytes,
    peers: bytes,
    *,
    seed: bytes,
    attempt: int,
    name: str,
    step: str,
) -> Coin:
    """Tosses a coin once both sides have said what they bring.

    Each side sends `mine`, a digest of what is agreed on, and a commitment to its share; when the peer's are
    in, it opens its share. So neither side's data nor parameters can depend on the coin.

    Args:
        agreed: bytes that must be the same on both sides.
        mine: what this side says of itself.
        peers: what the peer must say of itself.
        seed: 32 secret bytes of this party's job; used with `attempt` and `name` for the share.
        step: prefix of the two steps' labels.

    Raises:
        AtollError: `E_PROTOCOL` if the peer says something else, sends this side's commitment back, or opens
            another share than it committed to.
    """
    drawn = stream_bytes(seed, attempt, name, f"{step}/coin", COIN_BYTES + OPENING_BYTES)
    share, opening = drawn[:COIN_BYTES], drawn[COIN_BYTES:]
    parameters = _hash(agreed)
    commitment = digest_bytes(commit(share, opening))
    channel.send(bytes([_HELLO]) + mine + parameters + commitment, f"{step}/hello")
    head = bytes([_HELLO]) + peers + parameters
    hello = channel.recv()
    if len(hello) != len(head) + len(commitment) or hello[: len(head)] != head:
        raise _broken("The peer's sizes or parameters are not those that were agreed on.", step)
    theirs = hello[len(head) :]
    if hmac.compare_digest(theirs, commitment):
        raise _broken("The peer sent this side's commitment back.", step)
    channel.send(bytes([_SHARE]) + drawn, f"{step}/coin")
    message = channel.recv()
    if len(message) != 1 + len(drawn) or message[0] != _SHARE:
        raise _broken("The peer did not open its share of the coin.", step)
    other = message[1 : 1 + COIN_BYTES]
    if not hmac.compare_digest(digest_bytes(commit(other, message[1 + COIN_BYTES :])), theirs):
        raise _broken("The peer opened another share of the coin than it committed to.", step)
    if other == share:
        raise _broken("The peer has this side's share of the coin.", step)
    return Coin(_hash(agreed, *sorted((share, other))), share < other)
