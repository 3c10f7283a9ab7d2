"""From a user's request to the plan of an intersection of three to twenty tables."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from atoll.agreements import Agreement, Asset
from atoll.crypto.document import Name
from atoll.errors import AtollError
from atoll.functions import compiling
from atoll.functions.compiling import DEFAULT_CALIBRATION, Calibration, Json, clear_edge, operator
from atoll.functions.join.compile import Side, Steps, compile_side, selected
from atoll.plan.operators import star_psi
from atoll.protocols import star_cost
from atoll.protocols.star_psi import MAX_ITEMS


class Request(compiling.Request):
    """An intersection.

    `leader`: `me`, or the key or name of the owner of one of the tables, who learns. `everyone`: whether the other
    owners learn too, each of its own rows. `normalise`: steps for each key column, by the column's name in the first
    table. `reveal`: matched rows, or only how many keys all have, which the leader and the owner of the first of the
    other tables could together undo.
    """

    tables: Annotated[tuple[Side, ...], Field(max_length=64)]
    leader: Name = "me"
    reveal: Literal["rows", "size"] = "rows"
    everyone: bool = False
    duplicates: Literal["sql", "refuse"] = "sql"
    normalise: Annotated[dict[Name, Steps], Field(max_length=16)] = Field(default_factory=dict)
    shape: Literal["one-shot", "scheduled"] = "one-shot"


def _tables(request: Request, agreement: Agreement, leader: str) -> list[tuple[Side, Asset]]:
    """The tables in the order of the plan: the leader's, the first of the others, the rest by their owners' keys."""
    count = len(request.tables)
    if not star_psi.MIN_PARTIES <= count <= star_psi.MAX_PARTIES:
        raise AtollError(
            "E_FORMAT",
            f"tables: an intersection has {star_psi.MIN_PARTIES} to {star_psi.MAX_PARTIES} tables, not {count}; "
            "two are joined.",
        )
    first = request.tables[0].keys
    found = []
    for i, side in enumerate(request.tables):
        if len(side.keys) != len(first):
            raise AtollError(
                "E_FORMAT", f"tables.{i}.keys: as many key columns are needed as in the first table."
            )
        found.append((side, compiling.find_asset(agreement, side.asset, side.party, f"tables.{i}.asset")))
    if len({asset.host for _, asset in found}) != count:
        raise AtollError("E_FORMAT", "tables: each party gives one table.")
    unknown = sorted(request.normalise.keys() - set(first))
    if unknown:
        raise AtollError("E_COLUMN", f"normalise: {unknown[0]!r} is no key column of the first table.")
    leads = [pair for pair in found if pair[1].host == leader]
    if not leads:
        raise AtollError("E_FORMAT", "leader: it owns none of the tables.")
    others = [pair for pair in found if pair[1].host != leader]
    return [*leads, others[0], *sorted(others[1:], key=lambda pair: pair[1].host)]


def _estimate(request: Request, tables: list[tuple[Side, Asset]], calibration: Calibration) -> Json:
    """Costs by the known sizes; a table of unknown size counts as much as the largest known one."""
    known = [
        side.rows if side.rows is not None else calibration.sizes.get((asset.host, asset.name))
        for side, asset in tables
    ]
    largest = max((n for n in known if n is not None), default=0)
    sizes = [min(largest if n is None else n, MAX_ITEMS) for n in known]
    calibration = calibration.among(asset.host for _, asset in tables)
    cost, seconds = star_cost.estimate(
        sizes,
        learns=request.reveal,
        everyone=request.everyone,
        bandwidth=calibration.bytes_per_second,
        latency=calibration.round_seconds / 2,
    )
    total = cost.leader_bytes + sum(cost.party_bytes)
    rows = None if None in known else min(sizes)
    return compiling.estimate(rows, cost.rounds, total, calibration.start_seconds + seconds)


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
    """The plan document of an intersection; arguments as in `atoll.functions.join.compile`.

    Raises:
        AtollError: `E_FORMAT`, `E_NOT_FOUND`, `E_COLUMN` name the request's field; `E_TYPE` and `E_UNIT` the
            columns that cannot be joined.
    """
    wanted = Request.parse(request, what="request")
    terms = compiling.open_agreement(agreement, wanted)
    leader = me if wanted.leader == "me" else compiling.find_party(terms, wanted.leader, "leader")
    tables = _tables(wanted, terms, leader)
    owners = [asset.host for _, asset in tables]
    receivers = sorted(owners) if wanted.everyone else [leader]
    steps = [wanted.normalise.get(key, ()) for key in wanted.tables[0].keys]
    rows = wanted.reveal == "rows"
    places = {id(side): i for i, side in enumerate(wanted.tables)}
    given = [selected(side, asset) if rows and asset.host in receivers else [] for side, asset in tables]
    sides = [
        compile_side(terms, asset, i, side.keys, given[i], steps, f"tables.{places[id(side)]}")
        for i, (side, asset) in enumerate(tables)
    ]
    common = operator(
        "common",
        star_psi.RULE.kind,
        [f"n{2 * i + 1}" for i in range(len(tables))],
        owners,
        clear_edge("membership" if rows else "size", [], receivers, None if rows else 1),
        {
            "leader": leader,
            "second": owners[1],
            "receivers": receivers,
            "reveal": wanted.reveal,
            "duplicates": wanted.duplicates,
            "keys": [list(side.keys) for side, _ in tables],
        },
        star_psi.PROTOCOL.id,
        star_psi.PROTOCOL.security,
    )
    select = {asset.host: columns for (_, asset), columns in zip(tables, given, strict=True)}
    return compiling.frame(
        wanted,
        terms,
        function="intersect",
        shape=wanted.shape,
        me=me,
        person=person,
        now=now,
        job=job,
        salt=salt,
        inputs=[item for item, _ in sides],
        operators=[op for _, operators in sides for op in operators] + [common],
        outputs=[
            {"id": f"out{i}", "from": "common", "receiver": key, "columns": select[key], "minimum_group": 1}
            for i, key in enumerate(receivers)
        ],
        estimate=_estimate(wanted, tables, calibration),
    )
