"""Joins whose members stay hidden, as input of a program: shares of who matched, and of both sides' columns.

joined = mpc.hidden_join(session, table, (1000, 800), [mpc.Given(0, debt, 0, 10**6), mpc.Given(1, None, 0, 100)])
count = joined.matched.sum()
mean = (joined.columns[0] * joined.columns[1]).sum() / count
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from atoll.crypto.circuit import HiddenShares, HiddenSide, Role, circuit_sizes
from atoll.crypto.keys import DIGEST_BYTES, KeySet, key_digests
from atoll.errors import AtollError
from atoll.mpc.array import SharedArray
from atoll.mpc.kinds import BOOLEAN, MOST_UNITS, Bounds, Kind, decimal, encode
from atoll.mpc.rounds import STEP, U64, nothing
from atoll.mpc.session import Session, declared_bounds
from atoll.mpc.shares import Shares
from atoll.mpc.values import Deferred

_NO_KEY: Final = 2**32 - 1


@dataclass(frozen=True)
class Given:
    """One column that a party brings into a join.

    Attributes:
        owner: number of the party that has it.
        values: the owner's numbers, one for each of its rows; `None` at the other.
        low, high: bounds that every value keeps, known to both.
        kind: `decimal(digits)` or `real(bits)`; integers by default.
        name: what errors call it.
    """

    owner: int
    values: Any
    low: Any
    high: Any
    kind: Kind | None = None
    name: str = "a column"


@dataclass(frozen=True)
class Joined:
    """A join that neither party sees. Places are bins of a table of public length, in an order that tells nothing.

    Attributes:
        matched: booleans: which bins hold a pair of rows with one key.
        columns: the columns in the order in which they were given; 0 where nothing matched.
    """

    matched: SharedArray
    columns: tuple[SharedArray, ...]


def hidden_join(
    session: Session,
    keys: pa.Table | KeySet | None,
    sizes: tuple[int, int],
    columns: Sequence[Given],
    *,
    unique: int = 0,
    multiplicity: int = 1,
) -> Joined:
    """The join of two parties' rows by keys, of which nothing opens: neither its members nor its size.

    By circuit-PSI (docs/protocols/circuit-psi.md), semi-honest. Rows that are fewer than declared are filled up.

    Args:
        session: of two parties.
        keys: this party's keys: a table of which all columns make the key, or the key set of `key_digests`. Rows
            without a key match nothing.
        sizes: rows of party 0 and of party 1, known to both: at least as many as they have.
        columns: what both bring, the same list at both but for the values.
        unique: the party whose keys are all different.
        multiplicity: most rows of the other with one key.

    Raises:
        AtollError: `E_FORMAT` for three parties, or columns of another length than the keys; `E_RANGE` naming column
            and place of a value outside its bounds; `E_TOO_LARGE` for more rows than declared, or than one run takes.
            When it is worked out: `E_DUPLICATE` at a party that has a key more often than declared.
    """
    if session.protocol.everybody != (0, 1):
        raise AtollError("E_FORMAT", "A hidden join is of two parties.", step=STEP)
    if unique not in (0, 1) or len(sizes) != 2:
        raise AtollError(
            "E_FORMAT", "A hidden join has the sizes of parties 0 and 1, of which one is unique.", step=STEP
        )
    kinds = [decimal() if c.kind is None else c.kind for c in columns]
    bounds = [declared_bounds(c.low, c.high, kind, c.name) for c, kind in zip(columns, kinds, strict=True)]
    if BOOLEAN in kinds or any(c.owner not in (0, 1) for c in columns):
        raise AtollError("E_FORMAT", "A column of a join has numbers, and is party 0's or 1's.", step=STEP)
    for given, limits in zip(columns, bounds, strict=True):
        limits.checked(f"A column of a join, {given.name},", MOST_UNITS)
    widths = [sum(c.owner == party for c in columns) for party in (0, 1)]
    numbers = (sizes[unique], sizes[1 - unique], multiplicity, widths[unique], widths[1 - unique])
    digests, payload = b"", b""
    if session.me in (0, 1):
        own = [(c, k, b) for c, k, b in zip(columns, kinds, bounds, strict=True) if c.owner == session.me]
        digests, payload = _rows(session, keys, sizes[session.me], own)
    session.noted.note(
        "hidden join",
        numbers,
        unique,
        [(c.owner, k, b) for c, k, b in zip(columns, kinds, bounds, strict=True)],
    )
    role: Role = "placer" if session.me == unique else "mapper"
    side = HiddenSide(role, digests, payload, *numbers, context=b"")
    # The unique party's words stand first.
    order = [place for party in (unique, 1 - unique) for place, c in enumerate(columns) if c.owner == party]
    described = [Described(columns[place].name, kinds[place], bounds[place]) for place in order]
    joined = joined_shares(session, side, described)
    return Joined(joined.matched, tuple(joined.columns[order.index(place)] for place in range(len(columns))))


@dataclass(frozen=True)
class Described:
    """What the words of one place in a join's rows mean."""

    name: str
    kind: Kind
    bounds: Bounds


def joined_shares(session: Session, side: HiddenSide, columns: Sequence[Described]) -> Joined:
    """The join of rows that are digests and words already.

    Args:
        side: what this party brings.
        columns: what the words mean: the placer's, then the mapper's.
    """
    bins = circuit_sizes(
        side.placer_items, side.mapper_items, side.multiplicity, side.placer_words, side.mapper_words
    ).bins
    node = Deferred((), lambda: nothing(session.protocol.hidden_join(side)))  # type: ignore[attr-defined]

    def matched(shares: HiddenShares) -> Any:
        packed = np.zeros(-(-bins // 64) * 8, np.uint8)
        packed[: len(shares.matched)] = np.frombuffer(shares.matched, np.uint8)
        return nothing(Shares(packed.view(np.uint64)[None, :]))

    def column(place: int) -> SharedArray:
        def words(shares: HiddenShares) -> Any:
            table = np.frombuffer(shares.words, np.uint64).reshape(bins, len(columns))
            return nothing(Shares(np.ascontiguousarray(table[:, place])))

        what = columns[place]
        limits = what.bounds.either(Bounds(0, 0))
        return SharedArray(session, (bins,), what.kind, limits, Deferred((node,), words), what.name)

    shared = SharedArray(session, (bins,), BOOLEAN, Bounds(0, 1), Deferred((node,), matched), "who matched")
    return Joined(shared, tuple(column(place) for place in range(len(columns))))


def _rows(
    session: Session, keys: pa.Table | KeySet | None, size: int, columns: Sequence[tuple[Given, Kind, Bounds]]
) -> tuple[bytes, bytes]:
    """Digests and words of this party's rows that have a key, row by row."""
    if keys is None:
        raise AtollError("E_FORMAT", "This party brings no keys to the join.", step=STEP)
    key_set = keys if isinstance(keys, KeySet) else key_digests(keys, keys.column_names)
    rows = np.frombuffer(key_set.rows, "<u4")
    has = rows != _NO_KEY
    if has.sum() > size:
        raise AtollError(
            "E_TOO_LARGE", f"The join has {has.sum()} own rows, and {size} were declared.", step=STEP
        )
    words: list[U64] = []
    for given, kind, bounds in columns:
        word = encode(given.values, kind, bounds, given.name)
        if word.shape != rows.shape:
            text = f"{given.name} has shape {word.shape}, and the keys have {len(rows)} rows."
            raise AtollError("E_FORMAT", text, step=STEP)
        words.append(word[has])
    digests = np.frombuffer(key_set.digests, np.uint8).reshape(-1, DIGEST_BYTES)[rows[has]]
    table = np.stack(words, axis=1) if words else np.empty((len(digests), 0), np.uint64)
    return digests.tobytes(), np.ascontiguousarray(table, "<u8").tobytes()
