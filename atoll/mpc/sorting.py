"""Orders that nobody knows: shuffling, sorting, grouping.

Rows are put into a random order first, and then compared in the open: since all keys are different (ties go by place),
what comparisons of a random order tell is the same whatever the data (Hamada et al., ICISC 2012).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from atoll.errors import AtollError
from atoll.mpc import operations as op
from atoll.mpc import wide as ring
from atoll.mpc.array import SharedArray, function
from atoll.mpc.kinds import BOOLEAN, MOST_UNITS, Bounds, decimal
from atoll.mpc.matrices import matrix_multiply
from atoll.mpc.operations import Public
from atoll.mpc.rounds import STEP, U64, Step, nothing, together
from atoll.mpc.setting import Setting
from atoll.mpc.shares import Shares, join, pack, unpack

Places = npt.NDArray[np.int64]

PIVOTS: Final = 3
SMALL: Final = 16
"""Segments of so many rows or fewer are ended by comparing all pairs."""


# Comparisons in the open.


def _less(
    protocol: Setting, keys: Shares, spans: Sequence[Bounds], left: Places, right: Places
) -> Step[npt.NDArray[np.bool_]]:
    """Whether rows are less than others, by their keys in order of columns; opened to all.

    Differences of keys keep the bounds in `spans`.
    """
    differences = keys.part(left) - keys.part(right)
    columns = [
        column if span.largest >= 1 << 63 else column.narrowed()
        for c, span in enumerate(spans)
        for column in [differences.part((slice(None), c))]
    ]
    signs = [protocol.negative(c, op.sign_bits(b)) for c, b in zip(columns, spans, strict=True)]
    zeros = [protocol.zero(c, op.zero_bits(b)) for c, b in zip(columns[:-1], spans, strict=False)]
    found = yield from together(*signs, *zeros)
    less = found[len(columns) - 1]
    for column in reversed(range(len(columns) - 1)):
        # Less here, or the same and less in what follows.
        further = yield from protocol.both(found[len(columns) + column], less)
        less = found[column] ^ further
    opened = yield from protocol.open(less, protocol.everybody, bits=True)
    assert opened is not None
    return unpack(opened, len(left)).astype(np.bool_)


def _ranked(protocol: Setting, keys: Shares, spans: Sequence[Bounds]) -> Step[Places]:
    """Places of the rows in ascending order of distinct keys, by quicksort with three pivots; opened to all."""
    count = keys.shape[0]
    # An estimate has no keys that could be compared: it brings an order.
    played = protocol.ranks(count) if hasattr(protocol, "ranks") else None
    order = np.arange(count)
    # Segments as starts and sizes; rows of a segment are larger than those of the ones before.
    starts, sizes = np.array([0]), np.array([count])
    while (open_ := sizes > 1).any():
        starts, sizes = starts[open_], sizes[open_]
        small = sizes <= SMALL
        pairs = [_all_pairs(starts[small], sizes[small]), _with_pivots(starts[~small], sizes[~small])]
        left, right = (np.concatenate([p[i] for p in pairs]) for i in (0, 1))
        less = yield from _less(protocol, keys, spans, order[left], order[right])
        if played is not None:
            less = played[order[left]] < played[order[right]]
        cut = len(pairs[0][0])
        ranks = np.zeros(count, np.int64)
        # In a small segment a row's rank is the number of rows that are less.
        np.add.at(ranks, left[:cut], ~less[:cut])
        np.add.at(ranks, right[:cut], less[:cut])
        # In a large one it is the number of pivots that are not more.
        np.add.at(ranks, left[cut:], ~less[cut:])
        segment = np.zeros(count, np.int64)
        segment[starts] = 1
        ends = (starts + sizes)[starts + sizes < count]
        segment[ends] = 1
        moved = np.lexsort((ranks, np.cumsum(segment)))
        order = order[moved]
        # A class of a large segment is a segment of the next turn.
        ranks, inside = ranks[moved], np.zeros(count + 1, np.int64)
        np.add.at(inside, starts[~small], 1)
        np.add.at(inside, (starts + sizes)[~small], -1)
        within = np.cumsum(inside[:-1]) > 0
        edge = np.ones(count, np.bool_)
        edge[1:] = (ranks[1:] != ranks[:-1]) | ~within[1:] | ~within[:-1]
        edge[starts] = True
        edge[ends] = True
        starts = np.flatnonzero(edge)
        sizes = np.diff(np.append(starts, count))
    return order


def _all_pairs(starts: Places, sizes: Places) -> tuple[Places, Places]:
    left, right = [], []
    for size in np.unique(sizes):
        first, second = np.triu_indices(size, 1)
        of_size = starts[sizes == size][:, None]
        left.append((of_size + first).ravel())
        right.append((of_size + second).ravel())
    empty = np.empty(0, np.int64)
    return (np.concatenate(left), np.concatenate(right)) if left else (empty, empty)


def _with_pivots(starts: Places, sizes: Places) -> tuple[Places, Places]:
    if not len(starts):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    total = int(sizes.sum())
    firsts = np.repeat(starts, sizes)
    rows = firsts + np.arange(total) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.concatenate([rows] * PIVOTS), np.concatenate([firsts + p for p in range(PIVOTS)])


# Rows of several arrays.


def _columns(arrays: Sequence[SharedArray]) -> tuple[list[SharedArray], int]:
    numbers = [op.numbers(a) for a in arrays]
    count = numbers[0].shape[0] if numbers[0].shape else -1
    for array in numbers:
        numbers[0].program.own(array)
        if array.ndim not in (1, 2) or array.shape[0] != count:
            raise AtollError(
                "E_FORMAT", f"{array.name} has shape {array.shape}, and {count} rows belong there.", step=STEP
            )
    return numbers, count


def _table(shares: Sequence[Shares]) -> Shares:
    return join([s.reshape(s.shape[0], *(s.shape[1:] or (1,))) for s in shares], axis=1)


def _taken(table: SharedArray, like: Sequence[SharedArray]) -> list[SharedArray]:
    """The arrays whose columns stand in a table one after the other."""
    arrays, at = [], 0
    for array in like:
        width = 1 if array.ndim == 1 else array.shape[1]
        place = slice(at, at + width) if array.ndim == 2 else at
        arrays.append(
            op.made(
                array, (table.shape[0], *array.shape[1:]), array.kind, array.bounds, [table],
                lambda t, p=place, w=array.wide: nothing(_column(t, p, w)),
                wide=array.wide,
            )
        )  # fmt: skip
        at += width
    return arrays


def _column(table: Shares, place: Any, wide: bool) -> Shares:
    column = table.part((slice(None), place))
    return column if wide else column.narrowed()


def _rows(arrays: Sequence[SharedArray], count: int, make: Any) -> SharedArray:
    """A table that a step makes of the arrays' columns; all are wide if one is."""
    width = sum(1 if a.ndim == 1 else a.shape[1] for a in arrays)
    wide = any(a.wide for a in arrays)
    return op.made(
        arrays[0],
        (count, width),
        decimal(),
        Bounds(0, 0),
        [op.in_ring(a, wide) for a in arrays],
        lambda *s: make(_table(s)),
        wide=wide,
    )


def shuffled(*arrays: SharedArray) -> tuple[SharedArray, ...]:
    """Rows of arrays of one length, in one random order that no party knows."""
    columns, count = _columns(arrays)
    protocol = columns[0].program.protocol
    return tuple(_taken(_rows(columns, count, protocol.shuffle), columns))


def ordered(keys: SharedArray | Sequence[SharedArray], *payload: SharedArray) -> tuple[SharedArray, ...]:
    """Keys and other arrays with their rows in ascending order of the keys; rows with equal keys stay in order.

    Args:
        keys: one array, or several of which the first counts most; one dimension each.
        payload: arrays with as many rows, of one or two dimensions.

    Returns:
        The keys, then the payload. Takes about 180 rounds for 100,000 rows, and 38 comparisons a row.
    """
    several = [keys] if isinstance(keys, SharedArray) else list(keys)
    columns, count = _columns([*several, *payload])
    sorts = columns[: len(several)]
    if any(k.ndim != 1 for k in sorts):
        raise AtollError("E_FORMAT", "Rows are ordered by keys of one dimension.", step=STEP)
    protocol = columns[0].program.protocol

    def sort(table: Shares) -> Step[Shares]:
        numbered = np.arange(count, dtype=np.uint64)
        places = protocol.public(ring.unsigned(numbered) if table.wide else numbered)
        wholes, spans = _packed(
            [table.part((slice(None), i)) for i in range(len(sorts))], sorts, places, count
        )
        width = len(wholes)
        mixed = yield from protocol.shuffle(join([_table(wholes), table], axis=1))
        order = yield from _ranked(protocol, mixed.part((slice(None), slice(0, width))), spans)
        return mixed.part((order, slice(width, None)))

    return tuple(_taken(_rows(columns, count, sort), columns))


def _packed(
    keys: Sequence[Shares], arrays: Sequence[SharedArray], places: Shares, count: int
) -> tuple[list[Shares], list[Bounds]]:
    """Keys and places in as few words as their bounds allow, in one mostly; and bounds of differences of each word."""
    words: list[Shares] = []
    bounds: list[Bounds] = []
    for key, its in [*zip(keys, [a.bounds for a in arrays], strict=True), (places, Bounds(0, count))]:
        span = its.high - its.low + 1
        if words and (joined := bounds[-1] * Bounds(span, span) + its).largest <= MOST_UNITS:
            words[-1] = words[-1].times(span) + key
            bounds[-1] = joined
        else:
            words.append(key)
            bounds.append(its)
    return words, [b - b for b in bounds]


@function(np.sort)
def _sort(x: Any, axis: int = -1) -> SharedArray:
    if x.ndim != 1:
        raise AtollError(
            "E_FORMAT", f"{x.name} has shape {x.shape}: arrays of one dimension are sorted.", step=STEP
        )
    return ordered(x)[0]


@function(np.argsort)
def _argsort(x: Any, axis: int = -1) -> SharedArray:
    return ordered(x, _places(x))[1]


def _places(x: SharedArray) -> SharedArray:
    """The numbers 0, 1, 2 ... as an array beside another."""
    zero = (
        op.multiply(x, Public(0, decimal()))
        if x.kind != BOOLEAN
        else op.multiply(op.numbers(x), Public(0, decimal()))
    )
    zero = op.made(zero, zero.shape, decimal(), Bounds(0, 0), [zero], nothing)
    return op.add(zero, Public(np.arange(x.shape[0]), decimal()))


# Groups.


def compacted(flags: SharedArray, *columns: SharedArray) -> tuple[SharedArray, ...]:
    """The flags, and arrays of as many rows, with the rows whose flag is set first; the order is kept among both."""
    arrays, count = _columns([flags, *columns])
    if flags.kind != BOOLEAN or flags.ndim != 1:
        raise AtollError("E_FORMAT", f"{flags.name} is {flags.kind}, and booleans belong there.", step=STEP)
    protocol = flags.program.protocol
    set_ = arrays[0]
    before = op.total(set_, 0, running=True)
    # A row with its flag goes behind those with a flag before it; the others stand behind all of them.
    ahead = op.add(before, Public(1, decimal()), minus=True)
    behind = op.add(op.add(Public(np.arange(count), decimal()), before, minus=True), before[-1:])
    target = op.add(op.multiply(set_, op.add(ahead, behind, minus=True)), behind)

    def move(table: Shares) -> Step[Shares]:
        mixed = yield from protocol.shuffle(table)
        # Where rows of a random order go tells nothing: each place comes once.
        places = yield from protocol.open(mixed.part((slice(None), 0)).narrowed(), protocol.everybody)
        assert places is not None
        order = np.zeros(count, np.int64)
        order[places.astype(np.int64)] = np.arange(count)
        return mixed.part((order, slice(1, None)))

    table = _rows([target, *arrays], count, move)
    return tuple(_taken(table, arrays))


def group_sums(keys: SharedArray, *values: SharedArray, most: int | None = None) -> tuple[SharedArray, ...]:
    """Sums by keys that nobody knows, in ascending order of the keys.

    Args:
        keys: the key of each row, one dimension.
        values: what is added up, one dimension each; none to count groups only.
        most: rows of the result, which is public: at least the number of groups, or the rest is left out; as many as
            there are rows by default.

    Returns:
        Booleans that say which rows of the result hold a group, the keys, and the sums of each array of values; zeros
        where there is none.
    """
    sorted_ = ordered(keys, *values)
    key, count = sorted_[0], len(sorted_[0])
    if not count:
        raise AtollError("E_RANGE", f"{keys.name} has no rows to group.", step=STEP)
    last = op.inverted(_padded(op.compare(key[1:], key[:-1], equal=True)))
    running = [op.total(v, 0, running=True) for v in sorted_[1:]]
    flags, key, *sums = compacted(last, key, *running)
    rows = count if most is None else min(most, count)
    flags, key, sums = flags[:rows], key[:rows], [s[:rows] for s in sums]
    kept = [op.multiply(flags, key)]
    for total, value in zip(sums, sorted_[1:], strict=True):
        zero = op.local(total, (1,), Bounds(0, 0), lambda s: s.changed(lambda w: np.zeros(1, w.dtype)))
        former = op.concatenate([zero, total[:-1]], 0)
        # What is no group's sum is outside of these bounds, and is multiplied by 0.
        difference = op.within(op.add(total, former, minus=True), value.bounds.times(count))
        kept.append(op.multiply(flags, difference))
    return op.compare(flags, Public(1, decimal()), equal=True), *kept


def _padded(same: SharedArray) -> SharedArray:
    """Booleans with one more at the end, which is not set."""
    size = same.size

    def longer(plane: U64) -> U64:
        # What stands behind the last bit is anything.
        bits = np.append(unpack(plane, size).astype(np.bool_), False)
        return pack(bits)[None, :]

    return op.made(same, (size + 1,), BOOLEAN, Bounds(0, 1), [same], lambda s: nothing(s.changed(longer)))


def public_group_sums(keys: SharedArray, groups: Any, values: SharedArray) -> SharedArray:
    """Sums of values (rows, or rows by columns) by the public keys in `groups`; rows with other keys count nowhere."""
    wanted = np.asarray(groups)
    here = op.compare(op.reshape(keys, (keys.size, 1)), op.operand(wanted[None, :], keys), equal=True)
    return matrix_multiply(op.numbers(here).transpose(), values)


def segmented_cumsum(starts: SharedArray, values: SharedArray) -> SharedArray:
    """Running sums that begin anew where `starts` is set; one dimension."""
    flags, sums = op.numbers(starts), op.numbers(values)
    bounds, distance = sums.bounds.times(len(sums)).checked(f"A running sum of {sums.name}"), 1
    flags = op.within(flags, Bounds(0, 1))
    while distance < len(sums):
        head, open_ = slice(0, distance), op.add(Public(1, decimal()), flags[distance:], minus=True)
        # A sum goes on where no segment began since.
        further = op.add(sums[distance:], op.multiply(open_, sums[:-distance]))
        begun = op.add(flags[distance:], op.multiply(open_, flags[:-distance]))
        sums = op.within(op.concatenate([sums[head], further], 0), bounds)
        flags = op.within(op.concatenate([flags[head], begun], 0), Bounds(0, 1))
        distance *= 2
    return sums
