"""One party's session: arrays come in, programs are noted, results open.

Nothing is sent while a program is written down. What it wants opened is then worked out, and everything that does not
wait for another result shares its rounds.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from atoll.crypto.arrays import keep_memory
from atoll.crypto.triples import Rich, Thin
from atoll.errors import AtollError
from atoll.mpc.additive import Additive
from atoll.mpc.array import SharedArray
from atoll.mpc.kinds import BOOLEAN, MOST_WIDE, Bounds, Kind, decimal, decode, encode, units_of
from atoll.mpc.outside import HELD, MOST_OUTSIDE, Doors, Outside
from atoll.mpc.replicated import Replicated
from atoll.mpc.rounds import STEP, Exchange, Links, Side, Step, nothing, together
from atoll.mpc.setting import Occasion, Setting
from atoll.mpc.shares import pack, unpack
from atoll.mpc.supply import Supply
from atoll.mpc.values import Deferred, Program
from atoll.mpc.wide import Words
from atoll.protocols.driver import Channel

MOST_ELEMENTS: Final = 1 << 30
PROGRAM: Final = "program/v1"


class Session(Program):
    """A computation of two or three parties, at one of them or at one of those outside.

    Two parties hold additive shares and need no third; three hold replicated shares, and one of them may be curious.
    Parties outside run the same program, bring inputs or receive what opens, and compute nothing.

    Args:
        me: this party's number, from 0: those that compute come first.
        channels: ordered, reliable, authenticated and encrypted channels by the numbers of the parties: those that
            compute have one to every other party, those outside one to each that computes.
        context: bytes that name the occasion and the program, the same at all.
        computing: how many parties compute, 2 or 3; all of them by default.
        seed: 32 secret bytes that fix all randomness of this party; new ones by default. Never use a seed twice.
        names: what errors call the parties.
        source: of two parties, how random transfers are made: `Rich` for links with room, `Thin` for those without; the
            same at both.
        threads: threads for products of matrices, and for what two parties make ahead of need.
        progress: called with (results done, results to do) after each round.

    Attributes:
        me: this party's number.
        parties: how many there are, those outside included.

    Raises:
        AtollError: `E_PROTOCOL` if a party means another occasion; what the channels raise, naming the party, and
            `E_PEER_SILENT` where they raise `OSError`.
    """

    def __init__(
        self,
        me: int,
        channels: Mapping[int, Channel],
        *,
        context: bytes,
        computing: int | None = None,
        seed: bytes | None = None,
        attempt: int = 0,
        names: Sequence[str] | None = None,
        source: Rich | Thin | None = None,
        threads: int = 1,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        computing = len(channels) + 1 if computing is None else computing
        outside = _outside(me, set(channels), computing)
        if source is not None and computing != 2:
            raise AtollError("E_FORMAT", "Three parties make no transfers: leave `source` out.")
        keep_memory()
        occasion = Occasion(context, os.urandom(32) if seed is None else seed, attempt)
        if me >= computing:
            own = Outside(Links(me, channels, names), occasion, computing)
            self._begin(own.parties, cast(Setting, own), own, None, threads, progress)
            return
        links = Links(me, channels, names, 1 - me if computing == 2 else None)
        setting: Setting
        supply = None
        if computing == 2:
            setting = additive = Additive(links, occasion, source or Rich(), threads)
            supply = additive.supply
        else:
            setting = Replicated(links, occasion)
        doors = Doors(setting, occasion, computing, outside)
        self._begin(computing + len(outside), setting, doors, supply, threads, progress)

    def _begin(
        self,
        parties: int,
        setting: Setting,
        beyond: Any,
        supply: Supply | None,
        threads: int,
        progress: Callable[[int, int], None],
    ) -> None:
        super().__init__(setting, threads)
        self.parties, self.me, self.links = parties, setting.me, setting.links
        self._beyond, self._supply, self._progress = beyond, supply, progress
        self._given: set[Deferred] = set()
        self.noted.note(PROGRAM, parties, setting.everybody)

    def prepare(self, *, bits: int = 0, words: int = 0, wide: int = 0, transfers: int = 0) -> None:
        """Makes what two parties use up before it is needed; both ask for the same. Three parties need nothing.

        Args:
            bits, words, wide: triples of bits, of words, and of wide words.
            transfers: random transfers in each direction.
        """
        self.noted.note("prepare", bits, words, wide, transfers)
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
            owner: number of the party that has them; it may be one outside.
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
        if not 0 <= size <= MOST_ELEMENTS or not 0 <= owner < self.parties:
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
        self.noted.note("share", owner)
        stored, bits = _stored(shape, kind), kind == BOOLEAN
        node = Deferred((), partial(self._shared, owner, words, stored, bits=bits, wide=bounds.wide))
        if words is not None and owner not in self.protocol.everybody:
            self._given.add(node)
        return SharedArray(self, shape, kind, bounds, node, name)

    def work(self, *arrays: SharedArray) -> None:
        """Works arrays out now, without opening them; what only they need is let go, so that memory stays bounded."""
        for array in arrays:
            self.own(array)
        self.noted.note("work", [array.number for array in arrays])
        with np.errstate(over="ignore"):
            self.links.run(self._reached([array.node for array in arrays]))

    def _shared(
        self, owner: int, words: Words | None, shape: tuple[int, ...], *, bits: bool, wide: bool
    ) -> Step[Any]:
        if self.me not in self.protocol.everybody and words is not None:
            step: Step[Any] = self._beyond.give(words, bits=bits)
        elif owner not in self.protocol.everybody:
            step = self._beyond.share(owner, shape, wide=wide)
        else:
            step = self.protocol.share(owner, words, shape, bits=bits, wide=wide)
        return step

    def open(self, *arrays: SharedArray, to: int | Sequence[int] | None = None) -> Any:
        """Works out arrays and opens them, to all parties or to those named.

        Returns:
            An array, or a tuple of several: int64 for integers, `decimal.Decimal` objects for other decimals, float64
            for reals, bool; objects of Python's integers where bounds pass 2^62. `None` where this party is not to
            learn.
        """
        everybody = tuple(range(self.parties))
        receivers = everybody if to is None else (to,) if isinstance(to, int) else tuple(sorted(set(to)))
        if not receivers or not set(receivers) <= set(everybody):
            raise AtollError("E_FORMAT", f"What opens, opens to some of the parties {everybody}.", step=STEP)
        for array in arrays:
            self.own(array)
        self.noted.note("open", [array.number for array in arrays], receivers)
        # A sum of single numbers passes the ring like those of arrays, which nobody is warned of.
        with np.errstate(over="ignore"):
            found = self.links.run(self._open(arrays, receivers))
        results = tuple(_result(a, w) for a, w in zip(arrays, found, strict=True))
        return results[0] if len(arrays) == 1 else results

    def _open(self, arrays: Sequence[SharedArray], to: Sequence[int]) -> Step[list[Any]]:
        yield from self._reached([array.node for array in arrays])
        computing = self.protocol.everybody
        if self._outside:
            if self.me not in to:
                return [None] * len(arrays)
            received = [
                self._beyond.receive(_stored(a.shape, a.kind), bits=a.kind == BOOLEAN, wide=a.wide)
                for a in arrays
            ]
            return (yield from together(*received))
        inside, outside = [p for p in to if p in computing], [p for p in to if p not in computing]
        steps: list[Step[Any]] = []
        for array in arrays:
            bits = array.kind == BOOLEAN
            steps.append(self.protocol.open(array.node.value, inside, bits=bits) if inside else nothing(None))
        for array in arrays if outside else ():
            steps.append(self._beyond.show(array.node.value, outside, bits=array.kind == BOOLEAN))
        return (yield from together(*steps))[: len(arrays)]

    def _agree(self) -> Step[None]:
        """One round: nothing is worked out, nor opened, before all parties are known to run one program."""
        mine, computing = self.noted.words(), self.protocol.everybody
        others = [p for p in (range(self.parties) if self.me in computing else computing) if p != self.me]
        got = yield Exchange(dict.fromkeys(others, mine), dict.fromkeys(others, mine.size))
        for party in others:
            if (got[party] != mine).any():
                name = self.links.name(party)
                raise AtollError("E_PROTOCOL", f"{name} runs another program.", party=name, step=STEP)

    @property
    def _outside(self) -> bool:
        """Whether this party computes nothing."""
        return self.me >= 0 and self.me not in self.protocol.everybody

    def _reached(self, nodes: Sequence[Deferred]) -> Step[None]:
        """All parties run one program, and its values are worked out.

        From a party that computes nothing its inputs leave, all that are needed in one round. Those that compute take
        them in their first round, in the same order: inputs need nothing, so all begin at once.
        """
        yield from self._agree()
        if not self._outside:
            yield from self._work(nodes)
            return
        order = _needed(nodes)
        yield from together(*[node.begin() for node in order if node in self._given])
        for node in order:
            self._given.discard(node)
            node.settle(None)

    def _work(self, wanted: Sequence[Deferred]) -> Step[None]:
        """Works out what is wanted and all that it needs."""
        ready, waits, users = _plan(wanted)
        side, finished, total = Side(), 0, len(ready) + len(waits)

        def finish(node: Deferred, value: Any) -> None:
            nonlocal finished
            node.settle(value)
            finished += 1
            for user in users.pop(node, ()):
                waits[user] -= 1
                if not waits[user]:
                    del waits[user]
                    ready.append(user)

        def start(node: Deferred) -> None:
            side.start(node.begin(), partial(finish, node))

        # No node is named here: a value that nobody waits for any more is let go while the rest is worked out.
        while ready or side:
            while ready:
                start(ready.popleft())
            if side:
                yield from side.round()
                self._progress(finished, total)


def _plan(
    wanted: Sequence[Deferred],
) -> tuple[deque[Deferred], dict[Deferred, int], dict[Deferred, list[Deferred]]]:
    """What can begin, for how many inputs each of the others waits, and who waits for an input."""
    users: dict[Deferred, list[Deferred]] = {}
    waits: dict[Deferred, int] = {}
    ready: deque[Deferred] = deque()
    for node in _needed(wanted):
        missing = {i for i in node.inputs if not i.done}
        if missing:
            waits[node] = len(missing)
        else:
            ready.append(node)
        for other in missing:
            users.setdefault(other, []).append(node)
    return ready, waits, users


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


def _outside(me: int, channels: set[int], computing: int) -> list[int]:
    """Numbers of the parties outside, where they are known: at those that compute."""
    inside = set(range(computing))
    outside = sorted(channels - inside)
    fits = not outside if me >= computing else outside == list(range(computing, computing + len(outside)))
    if computing not in HELD or me < 0 or not fits or channels & inside != inside - {me}:
        raise AtollError(
            "E_FORMAT",
            "Parties 0 and 1 compute, or 0 to 2, and have a channel to each other party; others one to each of them.",
        )
    if len(outside) > MOST_OUTSIDE:
        raise AtollError("E_FORMAT", f"At most {MOST_OUTSIDE} parties take part that compute nothing.")
    return outside


def _stored(shape: tuple[int, ...], kind: Kind) -> tuple[int, ...]:
    """Shape of a share: a word for each number, or for 64 booleans."""
    return (1, -(-int(np.prod(shape, dtype=object)) // 64)) if kind == BOOLEAN else shape


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
