"""The operators of a plan as a program on shared arrays: the same for those who run it and for who estimates it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from atoll import mpc
from atoll.errors import AtollError
from atoll.functions.join_statistics.join import Own, Sizes, joined
from atoll.mpc.array import SharedArray
from atoll.plan.operators import calculate, hidden_join, open, total, withhold

Arrays = dict[str, SharedArray]
Json = dict[str, Any]


def source(operators: Sequence[Json]) -> mpc.Rich | mpc.Thin:
    """How the plan has random transfers made."""
    kind, _, field = next(o for o in operators if o["kind"] == withhold.RULE.kind)["parameters"][
        "transfers"
    ].partition("-")
    return mpc.Thin() if kind == "thin" else mpc.Rich(int(field))


def transfers(found: mpc.Rich | mpc.Thin) -> withhold.Transfers:
    """The same as the plan has it."""
    names: dict[mpc.Rich | mpc.Thin, withhold.Transfers] = {
        mpc.Rich(2): "rich-2",
        mpc.Rich(4): "rich-4",
        mpc.Rich(8): "rich-8",
        mpc.Thin(): "thin",
    }
    return names[found]


@dataclass(frozen=True)
class Opened:
    """What the plan's last operator opens.

    Attributes:
        names: names of the totals, in order.
        arrays: the totals, shared.
        operator: the operator.
    """

    names: tuple[str, ...]
    arrays: tuple[SharedArray, ...]
    operator: Json


def program(
    session: mpc.Session,
    operators: Sequence[Json],
    sizes: Sizes,
    own: Own | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Opened:
    """Runs the plan's joint operators up to what opens, bucket after bucket.

    Args:
        operators: the plan's joint operators, in order.
        sizes: of the join.
        own: this party's rows; None where only the cost is counted.
        progress: called with buckets done and all buckets.
    """
    at = {op["kind"]: op for op in operators}
    added: Arrays = {}
    for number in range(sizes.fit.buckets):
        rows = joined(session, at[hidden_join.RULE.kind], sizes, own, number)
        if calculate.RULE.kind in at:
            rows = _calculated(at[calculate.RULE.kind], rows)
        totals = _totals(at[total.RULE.kind], rows)
        added = {name: added[name] + value for name, value in totals.items()} if added else totals
        # The rows of this bucket are let go before the next one comes.
        session.work(*added.values())
        progress(number + 1, sizes.fit.buckets)
    kept = withheld(at[withhold.RULE.kind], added)
    return Opened(tuple(kept), tuple(kept.values()), at[open.RULE.kind])


def check_operators(operators: Sequence[Json]) -> None:
    """`E_PLAN` for operators that this program does not run: the checker admits others than a function has."""
    order = [hidden_join, calculate, total, withhold, open]
    kinds = [op["kind"] for op in operators]
    expected = [module.RULE.kind for module in order if module.RULE.kind in kinds]
    if kinds != expected or not {m.RULE.kind for m in (hidden_join, total, withhold, open)} <= set(kinds):
        raise AtollError("E_PLAN", f"the operators {', '.join(kinds)} are no statistics of a hidden join")


_OPERATIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "negative": np.negative,
}


def _calculated(op: Json, rows: Arrays) -> Arrays:
    known = dict(rows)
    for step in op["parameters"]["steps"]:
        known[step["as"]] = _OPERATIONS[step["op"]](*(known[name] for name in step["of"]))
    return {name: known[name] for name in op["parameters"]["keep"]}


def _totals(op: Json, rows: Arrays) -> Arrays:
    names = (hidden_join.KEYS, hidden_join.ROWS, *op["parameters"]["sums"])
    return {name: rows[name].sum() for name in names}


def withheld(op: Json, totals: Arrays) -> Arrays:
    """The totals after whether there were enough keys: zero, and cells of histograms -1, where they must not open."""
    minimum = op["parameters"]["minimum_group"]
    enough = totals[hidden_join.KEYS] >= minimum
    out: Arrays = {withhold.ENOUGH: enough}
    cells: Arrays = {}
    for names in op["parameters"]["histograms"]:
        shown = _shown([totals[name] for name in names], minimum, enough)
        cells |= dict(zip(names, shown, strict=True))
    for name, value in totals.items():
        kept: Any = cells[name] if name in cells else np.where(enough, value, 0)
        out[name] = kept
    return out


def _shown(cells: Sequence[SharedArray], minimum: int, enough: SharedArray) -> list[SharedArray]:
    """Cells as they may open, -1 where one is withheld."""
    counts: Any = np.stack(cells)
    low = counts < minimum
    hidden = np.where(low, counts, 0).sum()
    # All that is withheld of a histogram together tells no more than a cell of the minimum would.
    more = (low.sum() > 0) & (hidden < minimum)
    places = np.arange(len(cells))
    # The smallest of the others, the first of several; larger than any where a cell is withheld already.
    largest = counts.bounds.high + 1
    order = np.where(low, largest, counts) * len(cells) + places
    second = (order == order.min()) & more
    withheld = low | second | ~enough
    shown: Any = np.where(withheld, -1, counts)
    return [shown[place] for place in places.tolist()]
