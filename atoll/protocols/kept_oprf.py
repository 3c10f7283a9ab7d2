"""Unbalanced private set intersection by a kept OPRF (docs/protocols/kept-oprf.md), semi-honest.

Two procedures over a channel. *Update*: the asker says what it keeps, the holder sends what is missing, the asker
stores it and says so, the holder notes it. *Ask*: the asker's keys are evaluated and looked up.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from atoll.crypto.kept_oprf import (
    CHUNK_ITEMS,
    KeptOprf,
    State,
    difference,
    kept_items,
    output_bytes,
    public_key,
)
from atoll.errors import AtollError
from atoll.protocols.driver import Channel, drive

__all__ = [
    "ASSUMPTION", "PARTIES", "PROTOCOL", "RATIO", "SECURITY", "Estimate", "Held", "answer", "ask", "estimate",
    "kept_items", "output_bytes", "serve_update", "take_update",
]  # fmt: skip

PROTOCOL: Final = "kept-oprf-psi/v1"
SECURITY: Final[Literal["semi-honest"]] = "semi-honest"
ASSUMPTION: Final = "ristretto255-one-more-gap-dh-random-oracle"
PARTIES: Final = 2
RATIO: Final = 100
"""Sides whose sizes differ by more than this gain by a kept OPRF."""
_NUMBER_BITS: Final = 24
_DIGEST_BITS: Final = 40


def _name(seed: bytes, number: int, digests: bytes) -> int:
    """The version of a set: its number, and a digest that tells nothing to those without the seed."""
    told = hmac.new(seed, b"atoll kept-oprf set v1", "sha256")
    told.update(np.sort(np.frombuffer(digests, "S32")).tobytes())
    return number << _DIGEST_BITS | int.from_bytes(told.digest()[: _DIGEST_BITS // 8], "big")


@dataclass(frozen=True)
class Held:
    """The holder's side for one lineage of a table and one partner.

    Attributes:
        seed: 32 secret bytes of the key.
        info: what the key is bound to: lineage and partner, at most 65,535 bytes.
        version: names the set: its number under this key from 1 in the upper 24 bits, and 40 bits of a digest of it
            under the key's seed. A holder whose state went back and then changed has another name for the same number.
        width: bytes of an output, fixed for this key.
        digests: the set of that version, 32 bytes a key, no key twice.
        before: version and digests that the asker may still keep, or `None`.
    """

    seed: bytes = field(repr=False)
    info: bytes
    version: int
    width: int
    digests: bytes = field(repr=False)
    before: tuple[int, bytes] | None = field(default=None, repr=False)

    @property
    def state(self) -> State:
        """What an asker keeps when it is up to date."""
        return State(public_key(self.seed, self.info), self.version)

    @classmethod
    def first(cls, seed: bytes, info: bytes, digests: bytes, *, max_held: int, max_asked: int) -> Held:
        """The first version under a new key, for sets of at most `max_held` keys and `max_asked` askings' keys."""
        if len(digests) > 32 * max_held:
            raise AtollError("E_TOO_LARGE", f"The set has more than the {max_held} keys that were declared.")
        return cls(seed, info, _name(seed, 1, digests), output_bytes(max_held, max_asked), digests)

    def following(self, digests: bytes) -> Held:
        """The next version, of a changed set; the same if nothing changed."""
        if difference(self.digests, digests) == (b"", b""):
            return self
        number = (self.version >> _DIGEST_BITS) + 1
        if number >> _NUMBER_BITS:
            raise AtollError("E_STATE", "The set has changed 2^24 times under one key; it needs another key.")
        return Held(
            self.seed,
            self.info,
            _name(self.seed, number, digests),
            self.width,
            digests,
            (self.version, self.digests),
        )

    def confirmed(self) -> Held:
        """The same after the asker said that it keeps this version: what was before can go."""
        return Held(self.seed, self.info, self.version, self.width, self.digests)


def serve_update(
    held: Held,
    channel: Channel,
    *,
    threads: int = 1,
    before_open: Callable[[], None],
    anew: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Held:
    """The holder's side of an update.

    Args:
        before_open: called once before anything of the set is sent.
        anew: send everything even to an asker that names a version that is not held any more.

    Returns:
        What the holder keeps from now on; its caller stores it.

    Raises:
        AtollError: `E_STATE` if the asker keeps a version under this key of which nothing is held any more;
            `E_PROTOCOL` if the peer breaks the protocol, and whatever the channel raises.
    """
    kept = State.parse(channel.recv())
    now = held.state
    removed, added, start = b"", held.digests, 0
    if kept.public == now.public:
        if kept.version == now.version:
            added, start = b"", now.version
        elif held.before is not None and kept.version == held.before[0]:
            added, removed = difference(held.before[1], held.digests)
            start = kept.version
        elif not anew:
            raise AtollError(
                "E_STATE",
                f"The asker keeps version {kept.version}, of which nothing is held any more; send all anew.",
                step="kept-oprf/update",
            )
    machine = KeptOprf.holder(
        held.seed,
        held.info,
        from_version=start,
        to_version=now.version,
        removed=removed,
        added=added,
        width=held.width,
        threads=threads,
    )
    drive(machine, channel, before_open=before_open, progress=progress)
    if State.parse(channel.recv()) != now:
        raise AtollError("E_PROTOCOL", "The asker confirmed another version.", step="kept-oprf/update")
    return held.confirmed()


def take_update(
    store: bytes | None,
    channel: Channel,
    *,
    max_items: int,
    save: Callable[[bytes], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> bytes:
    """The asker's side of an update.

    Args:
        store: what is kept, or `None`.
        max_items: most outputs that are taken: what the holder's set may count by the agreement.
        save: makes the new store durable; called before it is confirmed to the holder.

    Returns:
        The store that is kept from now on.

    Raises:
        AtollError: `E_FORMAT` if `store` is damaged, `E_PROTOCOL` if the peer breaks the protocol.
    """
    machine = KeptOprf.keeper(store, max_items=max_items)
    channel.send(State.of(store).encode(), "kept-oprf/keeps")
    drive(machine, channel, before_open=lambda: None, progress=progress)
    after = machine.store()
    if after != store:
        save(after)
    channel.send(State.of(after).encode(), "kept-oprf/confirms")
    return after


def ask(
    store: bytes,
    digests: bytes,
    channel: Channel,
    *,
    seed: bytes,
    attempt: int,
    name: str,
    threads: int = 1,
    chunk_items: int = CHUNK_ITEMS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> bytes:
    """The asker's side of an asking.

    Args:
        digests: 32 bytes a key, no key twice.
        seed: 32 secret bytes of this party's job; used with `attempt` and `name` for all blinds.

    Returns:
        u32 little-endian indices of the keys that the holder has, ascending.

    Raises:
        AtollError: `E_PROTOCOL` if a proof does not show the kept key or the peer breaks the protocol otherwise.
    """
    machine = KeptOprf.asker(seed, attempt, name, store, digests, chunk_items=chunk_items, threads=threads)
    drive(machine, channel, before_open=lambda: None, progress=progress)
    return machine.matched()


def answer(
    held: Held,
    channel: Channel,
    *,
    seed: bytes,
    attempt: int,
    name: str,
    max_items: int,
    meter: Callable[[int], None],
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """The holder's side of an asking.

    Args:
        max_items: most keys that are answered.
        meter: called once with the number of keys that the asker declared, before the first element is evaluated;
            what it raises (a quota) ends the asking with nothing opened. Whatever follows, they are charged.

    Returns:
        Number of keys asked.

    Raises:
        AtollError: `E_PROTOCOL` if the peer asks for more than it declared or may, about another version, or
            breaks the protocol otherwise.
    """
    machine = KeptOprf.evaluator(
        seed,
        attempt,
        name,
        (held.seed, held.info),
        version=held.version,
        max_items=max_items,
        threads=threads,
    )
    machine.receive(channel.recv())
    asked = machine.declared()
    if asked is None:  # pragma: no cover: the first message is the declaration or is refused
        raise AtollError("E_PROTOCOL", "The asker did not say how many keys it asks.", step="kept-oprf/ask")
    meter(asked)
    drive(machine, channel, before_open=lambda: None, progress=progress)
    return asked


@dataclass(frozen=True)
class Estimate:
    """What one procedure costs.

    Attributes:
        holder_bytes: payload bytes that the holder sends, an upper bound.
        asker_bytes: payload bytes that the asker sends, an upper bound.
        rounds: messages that wait for the other side's.
        holder_core_seconds: time of one core at the holder.
        asker_core_seconds: time of one core at the asker.
    """

    holder_bytes: int
    asker_bytes: int
    rounds: int
    holder_core_seconds: float
    asker_core_seconds: float


SETUP_MICROSECONDS: Final = 25.0
ANSWER_MICROSECONDS: Final = 22.0
ASK_MICROSECONDS: Final = 55.0
_UPDATE_CHUNK: Final = 1 << 14
_HEADER: Final = 5


def estimate(
    *,
    changed: int,
    asked: int,
    width: int = 11,
    bandwidth: float | None = None,
    latency: float = 0.0,
) -> tuple[Estimate, float]:
    """Cost of an update of `changed` keys (all of them the first time) and an asking of `asked` keys.

    Args:
        width: bytes of an output.
        bandwidth: bytes a second of the link; `None` if it does not limit.
        latency: seconds one way.

    Returns:
        The costs, and seconds from beginning to end if each side uses one core and they do not overlap.
    """
    updates = -(-changed // _UPDATE_CHUNK) + 1
    chunks = -(-asked // CHUNK_ITEMS)
    holder_bytes = 66 + changed * width + updates * _HEADER + asked * 32 + chunks * (_HEADER + 64)
    asker_bytes = 3 * 49 + asked * 32 + chunks * _HEADER
    holder = (changed * SETUP_MICROSECONDS + asked * ANSWER_MICROSECONDS) / 1e6
    asker = asked * ASK_MICROSECONDS / 1e6
    cost = Estimate(holder_bytes, asker_bytes, 4, holder, asker)
    link = 0.0 if bandwidth is None else (holder_bytes + asker_bytes) / bandwidth
    return cost, holder + asker + link + cost.rounds * latency
