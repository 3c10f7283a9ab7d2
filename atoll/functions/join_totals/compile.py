"""From a user's request to the plan of totals over a hidden join of two tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from atoll.agreements import Asset
from atoll.crypto.document import Document, Name
from atoll.errors import AtollError
from atoll.functions import compiling
from atoll.functions.compiling import DEFAULT_CALIBRATION, Calibration, Json, OneRun, clear_edge, operator
from atoll.functions.join.compile import Receivers, Steps, choose_receivers, compile_side, find_pair
from atoll.functions.values import value_range
from atoll.plan.operators import hidden_totals
from atoll.protocols import hidden_totals_cost
from atoll.protocols.hidden_totals import Terms

FUNCTION = "join_totals"
MOST_ROWS = 1 << 22
"""Rows of a table whose keys may repeat, unless the request says otherwise."""


class Side(Document):
    """A table of the join. `values`: its columns to add. `rows`: expected distinct keys, for estimate and roles.

    `party` (key or name) may be left out where the asset's name is unique in the agreement.
    """

    asset: Name
    keys: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)]
    party: Name | None = None
    values: Annotated[tuple[Name, ...], Field(max_length=hidden_totals.MAX_VALUES)] = ()
    rows: Annotated[int, Field(ge=0, le=hidden_totals.MAX_ROWS)] | None = None


class Request(compiling.Request):
    """Totals over a hidden join.

    `receivers`: `me`, `peer`, `both`, or a list of keys or names. `repeated`: the side whose keys may stand on up to
    `multiplicity` rows; null where each key stands once on both sides. `minimum_group`: fewest matched keys for which
    totals open; null for what the grants ask. `maximum_rows`: bound on the rows of the side with repeated keys.
    """

    left: Side
    right: Side
    receivers: Receivers = "me"
    repeated: Literal["left", "right"] | None = None
    multiplicity: Annotated[int, Field(ge=1, le=1000)] = 1
    minimum_group: Annotated[int, Field(ge=1, le=2**31)] | None = None
    maximum_rows: Annotated[int, Field(ge=1, le=hidden_totals.MAX_ROWS)] = MOST_ROWS
    normalise: Annotated[dict[Name, Steps], Field(max_length=16)] = Field(default_factory=dict)
    shape: OneRun = "one-shot"


def check_multiplicity(repeated: str | None, multiplicity: int) -> None:
    """`E_FORMAT` unless a side is named just where its keys may stand on several rows."""
    if (repeated is None) != (multiplicity == 1):
        raise AtollError(
            "E_FORMAT",
            "multiplicity: name the side whose keys are repeated, and on how many rows a key may stand (2 to 1000).",
        )


def known_keys(
    stated: Sequence[int | None], assets: Sequence[Asset], calibration: Calibration
) -> list[int | None]:
    """Keys of both tables: as the request states them, else as last known."""
    return [
        rows if rows is not None else calibration.sizes.get((asset.host, asset.name))
        for rows, asset in zip(stated, assets, strict=True)
    ]


def unique_side(repeated: Literal["left", "right"] | None, known: Sequence[int | None]) -> int:
    """The side each of whose keys stands once: it costs most for each of them, so where it is free to choose, the
    smaller one.
    """
    left, right = known
    smaller = 0 if left is None or right is None or left <= right else 1
    return {"left": 1, "right": 0, None: smaller}[repeated]


def _values(side: Side, other: Side, asset: Asset, name: str) -> list[Json]:
    """The columns of one side to add; one that both sides have is named after its side in the result."""
    values = []
    for column_name in side.values:
        column = asset.column(column_name)
        if column is None:
            raise AtollError(
                "E_COLUMN", f"{name}.values: {asset.name} has no column {column_name!r}.", column=column_name
            )
        shown = f"{name}_{column_name}" if column_name in other.values else column_name
        values.append(
            {"column": column_name, "as": shown, "scale": column.scale or 0, "range": value_range(column)}
        )
    return values


def _estimate(
    request: Request,
    known: list[int | None],
    placer: int,
    group: int,
    calibration: Calibration,
) -> Json:
    """Costs by the known sizes; a table of unknown size counts as much as the other one."""
    largest = max((n for n in known if n is not None), default=0)
    sizes = [largest if n is None else n for n in known]
    repeated = min(sizes[1 - placer] * request.multiplicity, request.maximum_rows)
    words = [len(request.left.values), len(request.right.values)]
    terms = Terms(
        sizes[placer], repeated, request.multiplicity, words[placer], words[1 - placer], group, "both", b""
    )
    cost = hidden_totals_cost.estimate(
        terms, bandwidth=calibration.bytes_per_second, latency=calibration.round_seconds / 2
    )
    total = cost.placer_bytes + cost.mapper_bytes
    return compiling.estimate(1, cost.rounds, total, calibration.start_seconds + cost.seconds)


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
    """The plan document of totals over a hidden join; arguments as in `atoll.functions.join.compile`.

    Raises:
        AtollError: `E_FORMAT`, `E_NOT_FOUND`, `E_COLUMN` name the request's field; `E_TYPE`, `E_UNIT` and `E_RANGE` the
            columns that cannot be joined or added.
    """
    wanted = Request.parse(request, what="request")
    terms = compiling.open_agreement(agreement, wanted)
    assets = find_pair(wanted, terms)
    check_multiplicity(wanted.repeated, wanted.multiplicity)
    hosts = [asset.host for asset in assets]
    receivers = choose_receivers(wanted.receivers, terms, me, (hosts[0], hosts[1]))
    group = compiling.minimum_group(wanted.minimum_group, wanted.purpose, FUNCTION, assets)
    values = [
        _values(wanted.left, wanted.right, assets[0], "left"),
        _values(wanted.right, wanted.left, assets[1], "right"),
    ]
    steps = [wanted.normalise.get(key, ()) for key in wanted.left.keys]
    both = (wanted.left, wanted.right)
    known = known_keys([side.rows for side in both], assets, calibration)
    placer = unique_side(wanted.repeated, known)
    sides = [
        compile_side(terms, asset, i, side.keys, side.values, steps, ("left", "right")[i])
        for i, (side, asset) in enumerate(zip(both, assets, strict=True))
    ]
    parameters = {
        "receivers": receivers,
        "unique": hosts[placer],
        "multiplicity": wanted.multiplicity,
        "maximum_rows": wanted.maximum_rows,
        "minimum_group": group,
        "keys": [list(wanted.left.keys), list(wanted.right.keys)],
        "values": values,
    }
    columns = list(hidden_totals.Parameters.parse(parameters, code="E_FORMAT", what="request").columns)
    joint = operator(
        "n4",
        hidden_totals.RULE.kind,
        ["n1", "n3"],
        hosts,
        clear_edge("vector", columns, receivers, 1),
        parameters,
        hidden_totals.PROTOCOL.id,
        hidden_totals.PROTOCOL.security,
    )
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
        operators=[op for _, operators in sides for op in operators] + [joint],
        outputs=[
            {"id": f"out{i}", "from": "n4", "receiver": key, "columns": columns, "minimum_group": group}
            for i, key in enumerate(receivers)
        ],
        estimate=_estimate(wanted, known, placer, group, calibration.among(hosts)),
    )
