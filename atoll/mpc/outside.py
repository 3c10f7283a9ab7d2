"""Parties that compute nothing: they bring inputs, or receive what opens (docs/protocols/additive-shares.md).

An owner draws all shares of its input but the last from streams whose keys it gave to their holders, and sends the
last: every computing party lacks one uniform share. Who receives gets two words that are uniform but for their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType
from typing import Any, Final

import numpy as np

from atoll.crypto.arrays import KEY_BYTES, Streams
from atoll.crypto.stream import check_labels, stream_bytes
from atoll.crypto.suite import digest, digest_bytes
from atoll.errors import AtollError
from atoll.mpc import wide as ring
from atoll.mpc.rounds import STEP, U64, Exchange, Links, Step
from atoll.mpc.setting import Occasion, Setting
from atoll.mpc.shares import Shares
from atoll.mpc.wide import Words

PROTOCOL: Final = "outside-parties/v1"
MOST_OUTSIDE: Final = 20
"""Parties that do not compute, at the most."""
HELD: Final = {2: ((0,), (1,)), 3: ((0, 1), (1, 2), (2, 0))}
"""Which shares each of two or three computing parties holds, in its order."""
_DIGEST_WORDS: Final = 4
_KEY_WORDS: Final = KEY_BYTES // 8


def _hello(occasion: Occasion, computing: int) -> bytes:
    length = len(occasion.context).to_bytes(8, "big")
    return digest_bytes(digest(f"atoll {PROTOCOL} {computing}\n".encode() + length + occasion.context))


def _means(links: Links, party: int, words: U64, hello: bytes) -> None:
    if words[:_DIGEST_WORDS].tobytes() != hello:
        name = links.name(party)
        raise AtollError("E_PROTOCOL", f"{name} means another computation.", party=name, step=STEP)


class Doors:
    """A computing party's side towards those outside.

    Args:
        setting: this party's side of the computation.
        occasion: what all parties agreed on.
        computing: how many compute, 2 or 3.
        outside: numbers of those who do not.

    Raises:
        AtollError: `E_PROTOCOL` if one of them means another occasion; whatever the channels raise.
    """

    def __init__(self, setting: Setting, occasion: Occasion, computing: int, outside: Sequence[int]) -> None:
        self._setting, self._last = setting, computing - 1
        self._held = HELD[computing][setting.me]
        self._streams: dict[int, Streams] = {}
        if outside:
            setting.links.run(self._begin(occasion, computing, outside))

    def _begin(self, occasion: Occasion, computing: int, outside: Sequence[int]) -> Step[None]:
        hello = _hello(occasion, computing)
        mine = np.append(np.frombuffer(hello, np.uint64), np.uint64(computing + len(outside)))
        drawn = [share for share in self._held if share != self._last]
        expected = _DIGEST_WORDS + _KEY_WORDS * len(drawn)
        got = yield Exchange(dict.fromkeys(outside, mine), dict.fromkeys(outside, expected))
        for party in outside:
            _means(self._setting.links, party, got[party], hello)
            keys = got[party][_DIGEST_WORDS:].reshape(len(drawn), _KEY_WORDS)
            by_share = {share: key.tobytes() for share, key in zip(drawn, keys, strict=True)}
            if by_share:
                # A stream whose key this party lacks is never drawn from.
                some = by_share[drawn[0]]
                self._streams[party] = Streams(by_share.get(0, some), by_share.get(1, some))

    def share(self, owner: int, shape: tuple[int, ...], *, wide: bool = False) -> Step[Shares]:
        """Shares of what an owner outside has."""
        words = {s: _drawn(self._streams[owner], s, shape, wide) for s in self._held if s != self._last}
        if self._last in self._held:
            got = yield Exchange(expect={owner: ring.length(int(np.prod(shape, dtype=object)), wide)})
            words[self._last] = ring.shaped(got[owner], shape, wide)
        else:
            yield Exchange()
        return Shares(*(words[share] for share in self._held))

    def show(self, shares: Shares, to: Sequence[int], *, bits: bool = False) -> Step[None]:
        """Opens to parties outside: party 0 sends what it holds and party 1 the last share, under one mask."""
        send: dict[int, U64] = {}
        for party in to:
            drawn = self._setting.mask((*shares.shape, 2) if shares.wide else shares.shape)
            if drawn is None:
                continue
            mask = ring.shaped(drawn, shares.shape, shares.wide)
            if self._setting.me == 0:
                whole = shares.words[0]
                for other in shares.words[1:]:
                    whole = whole ^ other if bits else ring.add(whole, other)
                masked = whole ^ mask if bits else ring.add(whole, mask)
            else:
                masked = shares.words[-1] ^ mask if bits else ring.subtract(shares.words[-1], mask)
            send[party] = ring.flat(masked)
        yield Exchange(send)


def _drawn(streams: Streams, share: int, shape: tuple[int, ...], wide: bool) -> Words:
    return ring.drawn(streams.before if share == 0 else streams.after, shape, wide)


class Outside:
    """The side of a party that computes nothing. Its arrays have no values; steps of a setting have only names here.

    Args:
        links: channels to the computing parties; `links.me` is this party's number.
        occasion: what all parties agreed on, and this party's seed.
        computing: how many compute, 2 or 3.

    Attributes:
        parties: how many there are in all.

    Raises:
        AtollError: `E_PROTOCOL` if one of them means another occasion, or they count parties differently; whatever the
            channels raise.
    """

    def __init__(self, links: Links, occasion: Occasion, computing: int) -> None:
        check_labels(occasion.seed, occasion.attempt)
        self.links, self.me = links, links.me
        self.everybody = tuple(range(computing))
        self._last = computing - 1
        keys = [
            stream_bytes(
                occasion.seed,
                occasion.attempt,
                occasion.channel,
                f"{PROTOCOL}/key/{self.me}/{share}",
                KEY_BYTES,
            )
            for share in range(self._last)
        ]
        self._streams = Streams(keys[0], keys[-1])
        self.parties = links.run(self._begin(_hello(occasion, computing), keys))

    def _begin(self, hello: bytes, keys: Sequence[bytes]) -> Step[int]:
        send = {}
        for party, held in enumerate(HELD[len(self.everybody)]):
            given = b"".join(keys[share] for share in held if share != self._last)
            send[party] = np.frombuffer(hello + given, np.uint64)
        got = yield Exchange(send, dict.fromkeys(self.everybody, _DIGEST_WORDS + 1))
        for party in self.everybody:
            _means(self.links, party, got[party], hello)
            count = int(got[party][_DIGEST_WORDS])
            if not self.me < count <= len(self.everybody) + MOST_OUTSIDE or count != got[0][_DIGEST_WORDS]:
                name = self.links.name(party)
                raise AtollError(
                    "E_PROTOCOL", f"{name} counts {count} parties in all.", party=name, step=STEP
                )
        return int(got[0][_DIGEST_WORDS])

    def give(self, words: Words, *, bits: bool = False) -> Step[None]:
        """Sends shares of an own input: one word of each element to every party that holds the last share."""
        rest = words
        for share in range(self._last):
            drawn = _drawn(self._streams, share, words.shape, ring.is_wide(words))
            rest = rest ^ drawn if bits else ring.subtract(rest, drawn)
        held, last = HELD[len(self.everybody)], ring.flat(rest)
        yield Exchange({party: last for party in self.everybody if self._last in held[party]})

    def receive(self, shape: tuple[int, ...], *, bits: bool = False, wide: bool = False) -> Step[Words]:
        """What opens to this party."""
        size = ring.length(int(np.prod(shape, dtype=object)), wide)
        got = yield Exchange(expect={0: size, 1: size})
        first, second = (ring.shaped(got[party], shape, wide) for party in (0, 1))
        return first ^ second if bits else ring.add(first, second)

    def public(self, words: Words) -> Shares:
        """Words that everybody knows."""
        return Shares(words)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def step(self: Outside, *_: Any, **__: Any) -> Any:
            raise AssertionError("a party outside takes no step of the computation")

        # The program that it notes names the steps of those who compute.
        step.__name__ = step.__qualname__ = name
        return MethodType(step, self)
