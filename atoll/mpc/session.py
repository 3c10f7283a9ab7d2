"""One party's session: arrays come in, programs are noted, results open.

Nothing is sent while a program is written down. What it wants opened is then worked out, and everything that does not
wait for another result shares its rounds.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from atoll.crypto.arrays import keep_memory
from atoll.crypto.triples import Rich, Thin
from atoll.errors import AtollError
from atoll.mpc.additive import Additive
from atoll.mpc.array import SharedArray
from atoll.mpc.kinds import BOOLEAN, MOST_WIDE, Bounds, Kind, decimal, decode, encode, units_of
from atoll.mpc.replicated import Replicated
from atoll.mpc.rounds import STEP, Links, Side, Step, together
from atoll.mpc.setting import Occasion, Setting
from atoll.mpc.shares import pack, unpack
from atoll.mpc.supply import Supply
from atoll.mpc.values import Deferred, Program
from atoll.mpc.wide import Words
from atoll.protocols.driver import Channel

MOST_ELEMENTS: Final = 1 << 30


class Session(Program):
    """A computation of two or three parties, at one of them.

    Two parties hold additive shares and need no third; three hold replicated shares, and one of them may be curious.

    Args:
        me: this party's number, from 0.
        channels: ordered, reliable, authenticated and encrypted channels to the one or two others, by their numbers.
        context: bytes that name the occasion and the program, the same at all three.
        seed: 32 secret bytes that fix all randomness of this party; new ones by default. Never use a seed twice.
        names: what errors call the parties.
        source: of two parties, how random transfers are made: `Rich` for links with room, `Thin` for those without; the
            same at both.
        threads: threads for products of matrices, and for what two parties make ahead of need.
        progress: called with (results done, results to do) after each round.

    Raises:
        AtollError: `E_PROTOCOL` if a party means another occasion; whatever the channels raise.
    """

    def __init__(
        self,
        me: int,
        channels: Mapping[int, Channel],
        *,
        context: bytes,
        seed: bytes | None = None,
        attempt: int = 0,
        names: Sequence[str] | None = None,
        source: Rich | Thin | None = None,
        threads: int = 1,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        parties = len(channels) + 1
        if parties not in (2, 3) or set(channels) != set(range(parties)) - {me}:
            raise AtollError(
                "E_FORMAT", "A session has parties 0 and 1, or 0 to 2, and a channel to each other party."
            )
        if source is not None and parties != 2:
            raise AtollError("E_FORMAT", "Three parties make no transfers: leave `source` out.")
        keep_memory()
        links = Links(me, channels, names)
        occasion = Occasion(context, os.urandom(32) if seed is None else seed, attempt)
        if parties == 2:
            setting = Additive(links, occasion, source or Rich(), threads)
            self._begin(me, setting, links, setting.supply, threads, progress)
        else:
            self._begin(me, Replicated(links, occasion), links, None, threads, progress)

    def _begin(
        self,
        me: int,
        setting: Setting,
        links: Any,
        supply: Supply | None,
        threads: int,
        progress: Callable[[int, int], None],
    ) -> None:
        self.me, self.links, self._supply, self._progress = me, links, supply, progress
        super().__init__(setting, threads)

    def prepare(self, *, bits: int = 0, words: int = 0, wide: int = 0, transfers: int = 0) -> None:
        """Makes what two parties use up before it is needed; both ask for the same. Three parties need nothing.

        Args:
            bits, words, wide: triples of bits, of words, and of wide words.
            transfers: random transfers in each direction.
        """
        if self._supply is not None:
            self._supply.prepare(bits=bits, words=words, wide=wide, transfers=transfers)

    @property
    def used(self) -> dict[str, int]:
        """Triples of bits, words and wide words, and transfers, that were used up so far."""
        return self._supply.used if self._supply is not None else {}

    def share(
        self,
        values: Any,
        owner: int,
        shape: int | tuple[int, ...],
        *,
        low: Any = None,
        high: Any = None,
        kind: Kind | None = None,
        name: str = "the input",
    ) -> SharedArray:
        """An array of which `owner` has the values.

        Args:
            values: the owner's numbers or booleans; the others pass `None`.
            owner: number of the party that has them.
            shape: shape, known to all.
            low, high: bounds that every value keeps, known to all. Booleans have none.
            kind: `decimal(digits)`, `real(bits)` or `BOOLEAN`; integers by default.
            name: what errors call the array.

        Raises:
            AtollError: at the owner, naming the array and the place: `E_RANGE` for a value outside the bounds or with
                too many digits, `E_FORMAT` for another shape. Nothing was sent then.
        """
        kind = decimal() if kind is None else kind
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        size = int(np.prod(shape, dtype=object))
        if not 0 <= size <= MOST_ELEMENTS or owner not in self.protocol.everybody:
            raise AtollError("E_FORMAT", f"{name} has no shape or owner that a session can have.", step=STEP)
        bounds = Bounds(0, 1) if kind == BOOLEAN else declared_bounds(low, high, kind, name)
        words = None
        if owner == self.me:
            words = encode(values, kind, bounds, name)
            if words.shape != shape:
                raise AtollError(
                    "E_FORMAT", f"{name} has shape {words.shape}, and {shape} was agreed.", step=STEP
                )
            if kind == BOOLEAN:
                words = pack(words.astype(np.bool_))[None, :]
        stored = (1, -(-size // 64)) if kind == BOOLEAN else shape
        protocol = self.protocol
        node = Deferred(
            (), lambda: protocol.share(owner, words, stored, bits=kind == BOOLEAN, wide=bounds.wide)
        )
        return SharedArray(self, shape, kind, bounds, node, name)

    def open(self, *arrays: SharedArray, to: int | Sequence[int] | None = None) -> Any:
        """Works out arrays and opens them, to all parties or to those named.

        Returns:
            An array, or a tuple of several: int64 for integers, `decimal.Decimal` objects for other decimals, float64
            for reals, bool; objects of Python's integers where bounds pass 2^62. `None` where this party is not to
            learn.
        """
        everybody = self.protocol.everybody
        receivers = everybody if to is None else (to,) if isinstance(to, int) else tuple(sorted(set(to)))
        if not receivers or not set(receivers) <= set(everybody):
            raise AtollError("E_FORMAT", f"What opens, opens to some of the parties {everybody}.", step=STEP)
        for array in arrays:
            self.own(array)
        # A sum of single numbers passes the ring like those of arrays, which nobody is warned of.
        with np.errstate(over="ignore"):
            found = self.links.run(self._open(arrays, receivers))
        results = tuple(_result(a, w) for a, w in zip(arrays, found, strict=True))
        return results[0] if len(arrays) == 1 else results

    def _open(self, arrays: Sequence[SharedArray], to: Sequence[int]) -> Step[list[Any]]:
        yield from self._work([array.node for array in arrays])
        steps = [self.protocol.open(a.node.value, to, bits=a.kind == BOOLEAN) for a in arrays]
        return (yield from together(*steps))

    def _work(self, wanted: Sequence[Deferred]) -> Step[None]:
        """Works out what is wanted and all that it needs."""
        order = _needed(wanted)
        users: dict[Deferred, list[Deferred]] = {}
        waits = {}
        for node in order:
            missing = {i for i in node.inputs if not i.done}
            waits[node] = len(missing)
            for other in missing:
                users.setdefault(other, []).append(node)
        ready = deque(node for node in order if not waits[node])
        side, finished = Side(), 0

        def finish(node: Deferred, value: Any) -> None:
            nonlocal finished
            node.settle(value)
            finished += 1
            for user in users.pop(node, ()):
                waits[user] -= 1
                if not waits[user]:
                    ready.append(user)

        while ready or side:
            while ready:
                node = ready.popleft()
                side.start(node.begin(), partial(finish, node))
            if side:
                yield from side.round()
                self._progress(finished, len(order))


def _needed(wanted: Sequence[Deferred]) -> list[Deferred]:
    """What is not worked out yet, inputs first: the same order at all parties, since they run one program."""
    order: list[Deferred] = []
    seen: set[Deferred] = set()
    stack = [(node, False) for node in reversed(wanted)]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
        elif node not in seen and not node.done:
            seen.add(node)
            stack.append((node, True))
            stack.extend((i, False) for i in reversed(node.inputs))
    return order


def declared_bounds(low: Any, high: Any, kind: Kind, name: str) -> Bounds:
    """What an owner declares of an input, in units; `E_RANGE` if it is missing or does not fit."""
    if low is None or high is None:
        raise AtollError("E_RANGE", f"{name} needs bounds: the least and the largest number.", step=STEP)
    bounds = Bounds(units_of(low, kind, f"low of {name}"), units_of(high, kind, f"high of {name}"))
    if bounds.low > bounds.high or bounds.largest > MOST_WIDE:
        raise AtollError("E_RANGE", f"{name} has bounds that {kind} cannot hold.", step=STEP)
    return bounds


def _result(array: SharedArray, words: Words | None) -> npt.NDArray[Any] | None:
    if words is None:
        return None
    if array.kind == BOOLEAN:
        words = unpack(words, array.size).reshape(array.shape)
    return decode(words, array.kind)
