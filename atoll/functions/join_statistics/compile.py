"""From a user's request to the plan of statistics over a hidden join of two tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from atoll.agreements import Agreement, Asset, Column
from atoll.crypto.document import Document, Name, Text, require_unique
from atoll.errors import AtollError
from atoll.functions import compiling
from atoll.functions.compiling import DEFAULT_CALIBRATION, Calibration, Json, clear_edge, operator
from atoll.functions.join.compile import Receivers, Steps, choose_receivers, compile_side, find_pair
from atoll.functions.join_statistics.estimate import estimate, pick_transfers, sizes_of
from atoll.functions.join_statistics.names import Names
from atoll.functions.join_totals.compile import MOST_ROWS, check_multiplicity, known_keys, unique_side
from atoll.functions.values import value_range
from atoll.plan.operators import calculate, hidden_join, open, total, withhold
from atoll.plan.shared import MOST_BROUGHT

FUNCTION = "join_statistics"
MAX_STATISTICS = 64
MAX_CELLS = 64
Number = Annotated[str, StringConstraints(pattern=r"^-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,18})?$")]
"""Decimal text."""

Statistic = Literal["sum", "mean", "variance", "stddev", "covariance", "correlation", "histogram"]
_PAIRS = ("covariance", "correlation")


class Side(Document):
    """A table of the join. `rows`: expected distinct keys, for estimate and roles.

    `party` (key or name) may be left out where the asset's name is unique in the agreement.
    """

    asset: Name
    keys: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)]
    party: Name | None = None
    rows: Annotated[int, Field(ge=0, le=hidden_join.MAX_ROWS)] | None = None


class Asked(Document):
    """One statistic. `columns`: `left.NAME` or `right.NAME`, two for covariance and correlation, else one.

    A histogram has `cuts` of a number column, in order: cells below the first, from each to the next, and from the last
    on, but for those that the declared range leaves empty; or `codes` of another, and a cell for all others. Null for
    the codes that the agreement declares.
    """

    statistic: Statistic
    columns: Annotated[tuple[Name, ...], Field(min_length=1, max_length=2)]
    cuts: Annotated[tuple[Number, ...], Field(min_length=1, max_length=MAX_CELLS - 1)] | None = None
    codes: Annotated[tuple[Text, ...], Field(min_length=1, max_length=MAX_CELLS - 1)] | None = None

    @model_validator(mode="after")
    def _validate(self) -> Asked:
        if len(self.columns) != (2 if self.statistic in _PAIRS else 1):
            raise ValueError(
                f"columns: {self.statistic} takes {'two' if self.statistic in _PAIRS else 'one'}"
            )
        for column in self.columns:
            side, dot, name = column.partition(".")
            if side not in ("left", "right") or not dot or not name:
                raise ValueError(f"columns: {column!r} is not left.COLUMN or right.COLUMN")
        require_unique(self.columns, "columns:")
        if self.statistic != "histogram" and (self.cuts or self.codes):
            raise ValueError("cuts, codes: only a histogram has them")
        if self.cuts is not None and self.codes is not None:
            raise ValueError("cuts, codes: one of them at most")
        require_unique(self.codes or (), "codes:")
        return self


class Request(compiling.Request):
    """Statistics over a hidden join.

    `receivers`: `me`, `peer`, `both`, or a list of keys or names. `repeated`: the side whose keys may stand on up to
    `multiplicity` rows; null where each key stands once on both sides. `minimum_group`: fewest matched keys for which
    anything opens, and least number in a histogram; null for what the grants ask. `maximum_rows`: bound on the rows of
    the side with repeated keys, or of the larger side.
    """

    left: Side
    right: Side
    statistics: Annotated[tuple[Asked, ...], Field(min_length=1, max_length=MAX_STATISTICS)]
    receivers: Receivers = "me"
    repeated: Literal["left", "right"] | None = None
    multiplicity: Annotated[int, Field(ge=1, le=1000)] = 1
    minimum_group: Annotated[int, Field(ge=1, le=2**31)] | None = None
    maximum_rows: Annotated[int, Field(ge=1, le=hidden_join.MAX_ROWS)] = MOST_ROWS
    normalise: Annotated[dict[Name, Steps], Field(max_length=16)] = Field(default_factory=dict)
    shape: Literal["one-shot", "scheduled"] = "one-shot"


class _Graph:
    """What both sides bring, what is computed, and which results follow."""

    def __init__(self, request: Request, assets: tuple[Asset, Asset]) -> None:
        self._request, self._assets = request, assets
        self._names = Names(tuple(c for asked in request.statistics for c in asked.columns))
        self.brings: tuple[list[Json], list[Json]] = ([], [])
        self.steps: list[Json] = []
        self.sums: list[str] = []
        self.histograms: list[list[str]] = []
        self.results: list[Json] = []
        for number, asked in enumerate(request.statistics):
            self._add(asked, f"statistics.{number}")

    def columns(self, side: int) -> list[str]:
        """Columns that a side reads beside its keys."""
        return list(dict.fromkeys(name for brought in self.brings[side] for name in brought["columns"]))

    def _column(self, label: str, field: str) -> tuple[int, Column]:
        side, _, name = label.partition(".")
        number = ("left", "right").index(side)
        column = self._assets[number].column(name)
        if column is None:
            text = f"{field}.columns: {self._assets[number].name} has no column {name!r}."
            raise AtollError("E_COLUMN", text, column=name)
        return number, column

    def _number(self, label: str, field: str) -> Column:
        """A column of numbers."""
        _, column = self._column(label, field)
        if column.type not in ("int64", "decimal"):
            text = f"{field}.columns: {column.name!r} is {column.type}, and whole numbers or decimals are needed."
            raise AtollError("E_TYPE", text, column=column.name)
        return column

    def _bring(self, label: str, form: str, field: str, others: Sequence[str] = (), **more: Any) -> str:
        """The name of what a side brings; once however often it is wanted."""
        side, column = self._column(label, field)
        columns = [column, *(self._column(other, field)[1] for other in others)]
        if form != "codes":
            self._number(label, field)
        name = self._names.brought(form, [label, *others], more)
        if name not in self.sums:
            numbers = [] if form == "codes" else columns
            body = {
                "as": name, "form": form, "columns": [c.name for c in columns],
                "scales": [c.scale or 0 for c in numbers], "ranges": [value_range(c) for c in numbers],
            }  # fmt: skip
            self.brings[side].append(body | {k: v for k, v in more.items() if v})
            self.sums.append(name)
        return name

    def _products(self, labels: Sequence[str], field: str) -> str:
        """The sum of products of two columns, or of squares: brought by their owner if they fit a word, else computed
        from what is brought.
        """
        first, second = labels
        if first.partition(".")[0] == second.partition(".")[0] and self._fits(labels, field):
            if first == second:
                return self._bring(first, "square", field)
            return self._bring(first, "product", field, [second])
        factors = [self._bring(label, "value", field) for label in (first, second)]
        name = self._names.brought("product", labels, {})
        if name not in self.sums:
            self.steps.append({"as": name, "op": "multiply", "of": factors})
            self.sums.append(name)
        return name

    def _fits(self, labels: Sequence[str], field: str) -> bool:
        """Whether an owner can bring the product of two of its columns, or a square."""
        largest = 1
        for label in labels:
            low, high = map(int, value_range(self._number(label, field)))
            largest *= max(abs(low), abs(high))
        return largest <= MOST_BROUGHT

    def _add(self, asked: Asked, field: str) -> None:
        if asked.statistic == "histogram":
            of = self._histogram(asked, field)
        else:
            totals: dict[str, str] = {}
            for what, label in zip(("sum", "other sum"), asked.columns, strict=False):
                totals[what] = self._bring(label, "value", field)
                if asked.statistic in ("variance", "stddev", "correlation"):
                    squares = "squares" if what == "sum" else "other squares"
                    totals[squares] = self._products((label, label), field)
            if asked.statistic in _PAIRS:
                totals["products"] = self._products(asked.columns, field)
            of = [totals[what] for what in open.TAKES[asked.statistic]]
        name = self._names.result(asked.statistic, asked.columns)
        if name in {result["as"] for result in self.results}:
            raise AtollError(
                "E_FORMAT", f"{field}: {asked.statistic} of {asked.columns[0]} is asked for twice."
            )
        self.results.append({"as": name, "form": asked.statistic, "of": of})

    def _histogram(self, asked: Asked, field: str) -> list[str]:
        (label,) = asked.columns
        _, column = self._column(label, field)
        if column.type in ("int64", "decimal") and asked.codes is None:
            ends: list[str | None] = [None, *_cuts(asked, column, field), None]
            cells = [self._bring(label, "range", field, low=low, high=high) for low, high in pairwise(ends)]
        else:
            codes = asked.codes or tuple(column.codes or ())
            if not codes or asked.cuts:
                raise AtollError(
                    "E_FORMAT",
                    f"{field}: a histogram of {column.name!r}, which is {column.type}, needs codes"
                    f"{'' if asked.cuts else ': the agreement declares none'}.",
                    column=column.name,
                )
            cells = [self._bring(label, "codes", field, codes=[code]) for code in codes]
            cells.append(self._bring(label, "codes", field, codes=list(codes), other=True))
        if set(cells) & {name for other in self.histograms for name in other}:
            raise AtollError(
                "E_FORMAT", f"{field}: a second histogram of {label}; ask for it in another run."
            )
        self.histograms.append(cells)
        return cells


def _cuts(asked: Asked, column: Column, field: str) -> list[str]:
    """Cuts in units of the column."""
    if asked.cuts is None:
        raise AtollError(
            "E_FORMAT", f"{field}: a histogram of {column.name!r} needs cuts.", column=column.name
        )
    units = []
    for text in asked.cuts:
        try:
            number = Decimal(text).scaleb(column.scale or 0)
        except InvalidOperation:
            raise AtollError("E_FORMAT", f"{field}.cuts: {text!r} is no number.") from None
        if number != int(number):
            raise AtollError(
                "E_FORMAT", f"{field}.cuts: {text} has more digits than {column.name!r}.", column=column.name
            )
        units.append(int(number))
    if units != sorted(set(units)):
        raise AtollError("E_FORMAT", f"{field}.cuts: they stand in order, each once.")
    least, most = map(int, value_range(column))
    # A cell that the declared range leaves empty would be withheld, and with it another one.
    inside = [unit for unit in units if least < unit <= most]
    if not inside:
        text = f"{field}.cuts: none lies within the declared range of {column.name!r}."
        raise AtollError("E_FORMAT", text, column=column.name)
    return [str(unit) for unit in inside]


def compile(
    request: Any,
    agreement: Any,
    *,
    me: str,
    person: str,
    now: datetime,
    job: str,
    salt: str,
    calibration: Calibration = DEFAULT_CALIBRATION,
) -> Json:
    """The plan document of statistics over a hidden join; arguments as in `atoll.functions.join.compile`.

    Raises:
        AtollError: `E_FORMAT`, `E_NOT_FOUND`, `E_COLUMN` name the request's field; `E_TYPE`, `E_UNIT` and `E_RANGE` the
            columns that cannot be joined or computed with; `E_MIN_GROUP` for a histogram where keys may repeat.
    """
    wanted = Request.parse(request, what="request")
    terms: Agreement = compiling.open_agreement(agreement, wanted)
    assets = find_pair(wanted, terms)
    check_multiplicity(wanted.repeated, wanted.multiplicity)
    hosts = [asset.host for asset in assets]
    receivers = choose_receivers(wanted.receivers, terms, me, (hosts[0], hosts[1]))
    group = compiling.minimum_group(wanted.minimum_group, wanted.purpose, FUNCTION, assets)
    graph = _Graph(wanted, assets)
    steps = [wanted.normalise.get(key, ()) for key in wanted.left.keys]
    both = (wanted.left, wanted.right)
    known = known_keys([side.rows for side in both], assets, calibration)
    unique = unique_side(wanted.repeated, known)
    sides = [
        compile_side(terms, asset, i, side.keys, graph.columns(i), steps, ("left", "right")[i])
        for i, (side, asset) in enumerate(zip(both, assets, strict=True))
    ]
    operators = [op for _, made in sides for op in made]
    joined = {
        "unique": hosts[unique],
        "multiplicity": wanted.multiplicity,
        "maximum_rows": wanted.maximum_rows,
        "keys": [list(wanted.left.keys), list(wanted.right.keys)],
        "brings": [list(graph.brings[0]), list(graph.brings[1])],
    }
    counted = [hidden_join.KEYS, hidden_join.ROWS]
    brought = counted + [b["as"] for side in graph.brings for b in side]

    def then(kind: str, protocol: Any, edge: Json, parameters: Json, inputs: Sequence[str]) -> None:
        number = f"n{len(operators)}"
        operators.append(
            operator(number, kind, inputs, hosts, edge, parameters, protocol.id, protocol.security)
        )

    def shares(columns: Sequence[str], rows: str | None) -> Json:
        return {
            "type": "shares",
            "columns": list(columns),
            "rows": rows,
            "visibility": {"shared": sorted(hosts)},
        }

    def last() -> list[str]:
        return [operators[-1]["id"]]

    then(hidden_join.RULE.kind, hidden_join.PROTOCOL, shares(brought, None), joined, ["n1", "n3"])
    if graph.steps:
        keep = counted + graph.sums
        body = {"steps": graph.steps, "keep": keep}
        then(calculate.RULE.kind, calculate.PROTOCOL, shares(keep, None), body, last())
    totals = counted + graph.sums
    then(total.RULE.kind, calculate.PROTOCOL, shares(totals, "1"), {"sums": graph.sums}, last())
    kept = {"minimum_group": group, "histograms": graph.histograms, "transfers": "rich-4"}
    then(withhold.RULE.kind, calculate.PROTOCOL, shares([withhold.ENOUGH, *totals], "1"), kept, last())
    opened = {"receivers": receivers, "results": graph.results}
    columns = [withhold.ENOUGH, *counted, *(result["as"] for result in graph.results)]
    then(open.RULE.kind, calculate.PROTOCOL, clear_edge("vector", columns, receivers, 1), opened, last())
    outputs = [
        {
            "id": f"out{i}", "from": operators[-1]["id"], "receiver": key, "columns": columns, "minimum_group": group,
        }
        for i, key in enumerate(receivers)
    ]  # fmt: skip

    def plan(costs: Json) -> Json:
        return compiling.frame(
            wanted,
            terms,
            function=FUNCTION,
            shape=wanted.shape,
            me=me,
            person=person,
            now=now,
            job=job,
            salt=salt,
            inputs=[item for item, _ in sides],
            operators=operators,
            outputs=outputs,
            estimate=costs,
        )

    # What the plan says wrong is told by the names of its columns, before its program is counted.
    plan(compiling.estimate(None, 1, 0, 0.0))
    joint, line = operators[4:], calibration.among(hosts)
    sizes = sizes_of(joint[0], known, unique)
    kept["transfers"] = pick_transfers(joint, sizes, line)
    return plan(estimate(joint, sizes, line))
