"""ECDH-PSI as the papers write it (Meadows 1986; Huberman, Franklin, Hogg 1999), on ristretto255.

A -> B:  H(x)^a in A's secret order           B -> A:  H(y)^b in B's secret order
A -> B:  tag(H(y)^ab) in B's order            B -> A:  tag(H(x)^ab) in A's order
(sorted instead, if the receiver is to learn the size only; nothing, if it is to learn nothing)
both:    multiplicities of the matched keys in order of their tags
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from reference import ristretto255 as group
from reference.stream import Stream

DST = b"ATOLL-ECDH-PSI-V1-ristretto255_XMD:SHA-512_R255MAP_RO_"


def expand_message_xmd(message: bytes, dst: bytes) -> bytes:
    """RFC 9380, section 5.3.1, with SHA-512 and an output of 64 bytes."""
    if len(dst) > 255:
        dst = hashlib.sha512(b"H2C-OVERSIZE-DST-" + dst).digest()
    dst_prime = dst + bytes([len(dst)])
    b0 = hashlib.sha512(bytes(128) + message + struct.pack(">H", 64) + b"\0" + dst_prime).digest()
    return hashlib.sha512(b0 + b"\x01" + dst_prime).digest()


def hash_to_group(message: bytes, dst: bytes) -> group.Point:
    return group.from_uniform_bytes(expand_message_xmd(message, dst))


def tag_bytes(mine: int, peer: int) -> int:
    """Smallest length with n^2 / 2 pairs colliding at most once in 2^40 runs, at least 10 and at most 16."""
    length = 10
    while length < 16 and (mine + peer) ** 2 * 2**39 > 2 ** (8 * length):
        length += 1
    return length


@dataclass
class Party:
    seed: bytes
    digests: list[bytes]
    multiplicity: list[int] | None
    learns: str


def message(kind: int, items: list[bytes]) -> bytes:
    return bytes([kind]) + struct.pack("<I", len(items)) + b"".join(items)


def chunks(kind: int, items: list[bytes], size: int) -> list[bytes]:
    return [message(kind, items[i : i + size]) for i in range(0, len(items), size)]


def run(parties: tuple[Party, Party], context: bytes, channel: str, attempt: int, size: int) -> list[dict]:
    """All messages and results of both parties."""
    exponents, orders, blinded = [], [], []
    for party in parties:
        draw = Stream.of_step(party.seed, attempt, channel, "ecdh-psi/exponent").take(64)
        exponents.append(int.from_bytes(draw, "little") % group.ORDER)
        order = Stream.of_step(party.seed, attempt, channel, "ecdh-psi/order").permutation(len(party.digests))
        orders.append(order)
        points = [hash_to_group(party.digests[i], DST + context) for i in order]
        blinded.append([group.multiply(p, exponents[-1]) for p in points])

    length = tag_bytes(*(len(p.digests) for p in parties))
    domain = b"atoll ecdh-psi tag v1" + struct.pack("<Q", len(context)) + context

    def tags(points: list[group.Point], exponent: int) -> list[bytes]:
        raised = [group.encode(group.multiply(p, exponent)) for p in points]
        return [hashlib.sha256(domain + point).digest()[:length] for point in raised]

    # Party 1 computes the tags of party 0's items, and the other way round.
    doubly = [tags(blinded[0], exponents[1]), tags(blinded[1], exponents[0])]
    common = sorted(set(doubly[0]) & set(doubly[1]))
    both = all(p.learns == "rows" and p.multiplicity is not None for p in parties)
    out = []
    for me, party in enumerate(parties):
        peer = parties[1 - me]
        index = {tag: orders[me][place] for place, tag in enumerate(doubly[me])}
        matched = [index[tag] for tag in common]
        messages = chunks(1, [group.encode(p) for p in blinded[me]], size)
        if peer.learns != "nothing":
            returned = doubly[1 - me] if peer.learns == "rows" else sorted(doubly[1 - me])
            messages += chunks(2, returned, size)
        if both and party.multiplicity is not None:
            messages += chunks(3, [struct.pack("<I", party.multiplicity[i]) for i in matched], size)
        result = {"messages": messages, "matched": None, "size": None}
        if party.learns == "rows":
            result["matched"] = matched
        if party.learns != "nothing":
            result["size"] = len(common)
        out.append(result)
    return out
