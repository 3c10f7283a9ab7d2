"""The join of statistics: two tables in buckets, each joined on its own, so that memory stays bounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from atoll import mpc
from atoll.crypto.circuit import HiddenSide
from atoll.mpc.array import SharedArray
from atoll.mpc.joining import Described, joined_shares
from atoll.mpc.kinds import Bounds, decimal
from atoll.plan.operators import hidden_join
from atoll.plan.operators.hidden_join import Brought, shared_column
from atoll.protocols import hidden_totals
from atoll.protocols.hidden_totals import Fit, Terms

Json = dict[str, Any]
U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Sizes:
    """What both sides know of a join.

    Attributes:
        unique: number of the side each of whose keys stands once.
        placer_items: its keys.
        mapper_items: rows of the other, at most.
        multiplicity: rows of the other with one key, at most.
        fit: the buckets.
    """

    unique: int
    placer_items: int
    mapper_items: int
    multiplicity: int
    fit: Fit

    @classmethod
    def of(cls, op: Json, keys: tuple[int, int], unique: int) -> Sizes:
        """From the operator and both sides' distinct keys.

        How many rows there are within these bounds, nobody else learns: the rest are fillers.

        Raises:
            AtollError: `E_TOO_LARGE` for more rows, or rows a key, than buckets take.
        """
        parameters = op["parameters"]
        multiplicity = parameters["multiplicity"]
        placer = keys[unique]
        mapper = min(keys[1 - unique] * multiplicity, parameters["maximum_rows"])
        # Buckets follow from these alone.
        terms = Terms(placer, mapper, multiplicity, 0, 0, 1, "both", b"")
        return cls(unique, placer, mapper, multiplicity, hidden_totals.fit(terms))


class Own(Protocol):
    """One party's rows, by bucket."""

    def bucket(self, number: int) -> tuple[bytes, U64]:
        """Digests and words of the rows of a bucket, fillers included."""


def brought(op: Json, side: int) -> list[Brought]:
    """What a side of the join brings."""
    return [Brought.parse(b, code="E_PLAN", what="brings") for b in op["parameters"]["brings"][side]]


def described(op: Json, sizes: Sizes) -> tuple[list[Described], list[Described]]:
    """What the words of a row are: those of the side with unique keys, and of the other.

    The first brings a one, which counts rows; where keys repeat, the other a one at the first row of each key.
    """
    one = Bounds(0, 1)
    sides: list[list[Described]] = []
    for side in (sizes.unique, 1 - sizes.unique):
        columns = [shared_column(one) for one in brought(op, side)]
        sides.append([Described(c.name, decimal(c.scale), Bounds(c.low, c.high)) for c in columns])
    placer, mapper = sides
    placer = [Described(hidden_join.ROWS, decimal(), one), *placer]
    if sizes.multiplicity > 1:
        mapper = [Described(hidden_join.KEYS, decimal(), one), *mapper]
    return placer, mapper


def joined(
    session: mpc.Session, op: Json, sizes: Sizes, own: Own | None, number: int
) -> dict[str, SharedArray]:
    """The shared rows of one bucket, by column.

    Args:
        own: this party's rows; None where only the cost is counted.
    """
    placer, mapper = described(op, sizes)
    mine = session.me == sizes.unique
    digests, words = own.bucket(number) if own is not None else (b"", np.empty((0, 0), np.uint64))
    side = HiddenSide(
        "placer" if mine else "mapper",
        digests,
        np.ascontiguousarray(words, "<u8").tobytes(),
        sizes.fit.placer_items,
        sizes.fit.mapper_items,
        sizes.multiplicity,
        len(placer),
        len(mapper),
        context=b"",
    )
    columns = [*placer, *mapper]
    found = joined_shares(session, side, columns)
    rows = {what.name: array for what, array in zip(columns, found.columns, strict=True)}
    # With keys that stand once each, a row is a key.
    rows.setdefault(hidden_join.KEYS, rows[hidden_join.ROWS])
    return rows
