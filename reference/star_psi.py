"""The intersection of several parties (Kolesnikov et al., eprint 2017/799) with hashlib and plain integers.

The oblivious programmed function is ideal here: a table at its sender, random elsewhere. What two implementations must
have alike is exact: keys of pairs, shares, names of common items, and what stands in the sender's store.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from reference import pairwise_masks, vole_psi
from reference.stream import Stream

LABELS = {
    "share": b"atoll zero share v1",
    "common": b"atoll common item v1",
    "blind": b"atoll blinded sum v1",
}


def keyed(use: str, keys: list[bytes], item: bytes) -> int:
    """The exclusive or, over all keys, of the function of `item` (a 32-byte digest)."""
    out = 0
    for key in keys:
        out ^= int.from_bytes(vole_psi.oracle(LABELS[use], key, item)[:16], "little")
    return out


@dataclass(frozen=True)
class Party:
    """Identifier, seed of the job, and digests of distinct keys."""

    name: str
    seed: bytes
    items: list[bytes]


def pair_key(me: str, other: str, secret: bytes, public: dict[str, bytes], context: bytes, use: str) -> bytes:
    """The key that two parties have: from X25519, their names and keys, and its use."""
    low, high = sorted((me, other))
    labels = [b"pairwise-masks/v1", context, low.encode(), public[low], high.encode(), public[high]]
    shared = pairwise_masks.x25519(secret, public[other])
    return Stream(shared, [*labels, f"star-psi/{use}".encode()]).take(32)


class Star:
    """All parties, the leader first, with what each computes alone."""

    def __init__(self, parties: list[Party], attempt: int, channel: str, context: bytes) -> None:
        self.parties, self.attempt, self.channel, self.context = parties, attempt, channel, context
        self.secret = {p.name: pairwise_masks.secret_key(p.seed, attempt, channel) for p in parties}
        self.public = {
            name: pairwise_masks.x25519(secret, pairwise_masks.BASE) for name, secret in self.secret.items()
        }

    def key(self, me: str, other: str, use: str) -> bytes:
        return pair_key(me, other, self.secret[me], self.public, self.context, use)

    def share(self, me: str, item: bytes) -> int:
        """A party's share of zero for an item."""
        others = [p.name for p in self.parties if p.name != me]
        return keyed("share", [self.key(me, other, "share") for other in others], item)

    def blind(self, item: bytes) -> int:
        """What the second party adds if the size alone is to be learnt."""
        key = Stream.of_step(self.parties[1].seed, self.attempt, self.channel, "star-psi/blind").take(32)
        return keyed("blind", [key], item)

    def sums(self, size: bool) -> list[int]:
        """The leader's sums, one for each of its items: zero, or blinded, for the common ones."""
        leader, *rest = self.parties
        sums = [self.share(leader.name, item) for item in leader.items]
        for i, party in enumerate(rest):
            table = {x: self.share(party.name, x) ^ (self.blind(x) * (size and i == 0)) for x in party.items}
            for k, item in enumerate(leader.items):
                away = hashlib.sha256(party.seed + b"away" + item).digest()
                sums[k] ^= table.get(item, int.from_bytes(away[:16], "little"))
        return sums


def slot(
    context: bytes, receiver: int, sender: int, bits: int, item: bytes, element: int, target: int
) -> dict[str, int]:
    """At a sender's item: the key of both stores, the value of the receiver's, the function and the value to send.

    `element` is what the function's oracle hashes, `target` what the receiver is to have.
    """
    name = vole_psi.digest(b"atoll opprf run v1", context, struct.pack("<I", bits))
    run = vole_psi.run(name, receiver, sender, malicious=False, short=False, both=False)
    key, value = vole_psi.item(run, item, 128)
    function = int.from_bytes(vole_psi.tag(run, item, element)[0], "big")
    return {"key": key, "value": value, "function": function, "programmed": (function ^ target) % 2**bits}
