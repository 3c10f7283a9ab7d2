"""From a user's request to the plan of totals per segment over several holders."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from atoll.agreements import Agreement, Asset, Column
from atoll.crypto.document import Document, Name, Text
from atoll.errors import AtollError
from atoll.functions import compiling
from atoll.functions.compiling import DEFAULT_CALIBRATION, Calibration, Json, OneRun, clear_edge, operator
from atoll.functions.values import value_range
from atoll.plan.operators import masked_sum


class Holding(Document):
    """One holder's table. `rename` maps a name of the request to this table's own column name."""

    asset: Name
    party: Name | None = None
    rename: Annotated[dict[Name, Name], Field(max_length=64)] = Field(default_factory=dict)


class Request(compiling.Request):
    """Totals.

    `assets`: the holders' tables, or the name of an asset that several parties have: then all of them.
    `group`: the column of the segments, null for one total; `segments`: their codes, null for the column's
    code list. `values`: columns to add. `subject`: the column that tells subjects apart, needed for a
    minimum group. `minimum_group`: null for what the grants ask. `receiver`: `me`, or a key or name.
    `maximum_rows`: bound on each holder's rows.
    """

    assets: Name | Annotated[tuple[Holding, ...], Field(min_length=1, max_length=50)]
    group: Name | None = None
    segments: Annotated[tuple[Text, ...], Field(min_length=1, max_length=10_000)] | None = None
    values: Annotated[tuple[Name, ...], Field(max_length=64)] = ()
    count: bool = True
    subject: Name | None = None
    minimum_group: Annotated[int, Field(ge=1, le=2**31)] | None = None
    receiver: Name = "me"
    maximum_rows: Annotated[int, Field(ge=1, le=2**40)] = 100_000_000
    shape: OneRun = "one-shot"


def _holdings(request: Request, agreement: Agreement) -> list[tuple[Holding, Asset]]:
    """The tables in order of their holders' keys, one for each holder."""
    if isinstance(request.assets, str):
        found = [(Holding(asset=a.name), a) for a in agreement.assets if a.name == request.assets]
    else:
        found = [
            (h, compiling.find_asset(agreement, h.asset, h.party, f"assets.{i}.asset"))
            for i, h in enumerate(request.assets)
        ]
    hosts = {asset.host for _, asset in found}
    if len(hosts) != len(found):
        raise AtollError("E_FORMAT", "assets: each party gives one table.")
    if not masked_sum.MIN_HOLDERS <= len(found) <= masked_sum.MAX_HOLDERS:
        raise AtollError(
            "E_FORMAT",
            f"assets: totals need {masked_sum.MIN_HOLDERS} to {masked_sum.MAX_HOLDERS} holders, not "
            f"{len(found)}: "
            "the total of two tells each of them the other's value.",
        )
    return sorted(found, key=lambda pair: pair[1].host)


def _segments(request: Request, column: Column | None) -> list[list[str]]:
    if request.group is None:
        if request.segments is not None:
            raise AtollError("E_FORMAT", "segments: name the group column as well.")
        return [[]]
    if request.segments is not None:
        return [[code] for code in request.segments]
    if column is None or column.codes is None:
        raise AtollError(
            "E_FORMAT",
            f"segments: column {request.group!r} has no code list, so name the segments.",
            column=request.group,
        )
    return [[code] for code in column.codes]


def _minimum_group(request: Request, holdings: list[tuple[Holding, Asset]], receiver: str) -> int:
    """The largest minimum group that any holder's grant to the receiver asks for."""
    asked = [
        grant.minimum_group
        for _, asset in holdings
        for grant in asset.grants
        if receiver in grant.to and request.purpose in grant.purposes and "totals" in grant.functions
    ]
    return request.minimum_group or max(asked, default=1)


def _parts(
    request: Request,
    agreement: Agreement,
    number: int,
    holding: Holding,
    asset: Asset,
    domain: list[list[str]],
    group: int,
) -> tuple[Json, list[Json]]:
    """Input and operators of one holder."""

    def own(name: str) -> str:
        return holding.rename.get(name, name)

    wanted = [own(n) for n in (request.group, *request.values, request.subject) if n is not None]
    if not wanted:
        # Rows can only be counted through some column.
        wanted = [c.name for c in asset.columns][:1]
    item = compiling.input_document(agreement, asset, f"in{number}", wanted, f"assets.{number}")
    names = [column["name"] for column in item["columns"]]
    values = []
    for name in request.values:
        column = asset.column(own(name))
        if column is None:
            raise AtollError(
                "E_COLUMN", f"values: {asset.name} has no column {own(name)!r}.", column=own(name)
            )
        values.append(
            {
                "column": column.name,
                "as": name,
                "scale": column.scale or 0,
                "range": value_range(column),
            }
        )
    parameters = {
        "group": [own(request.group)] if request.group else [],
        "domain": domain,
        "values": values,
        "count": request.count,
        "subject": own(request.subject) if request.subject else None,
        "minimum_group": group,
        "maximum_rows": request.maximum_rows,
    }
    at = [asset.host]
    read, added = f"r{number}", f"s{number}"
    columns = [*request.values, *(["count"] if request.count else [])]
    return item, [
        operator(read, "read/v1", [item["id"]], at, clear_edge("table", names, at)),
        operator(
            added, "group_sum/v1", [read], at, clear_edge("vector", columns, at, len(domain)), parameters
        ),
    ]


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
    """The plan document of totals; arguments as in `atoll.functions.join.compile`.

    Raises:
        AtollError: `E_FORMAT`, `E_NOT_FOUND`, `E_COLUMN` name the request's field; `E_TYPE`, `E_UNIT` and
            `E_RANGE` the columns that cannot be added; `E_MIN_GROUP` if a subject column is needed.
    """
    wanted = Request.parse(request, what="request")
    terms = compiling.open_agreement(agreement, wanted)
    holdings = _holdings(wanted, terms)
    receiver = me if wanted.receiver == "me" else compiling.find_party(terms, wanted.receiver, "receiver")
    group = _minimum_group(wanted, holdings, receiver)
    if group > 1 and wanted.subject is None:
        raise AtollError(
            "E_MIN_GROUP", f"subject: a minimum group of {group} needs the column of the subjects."
        )
    first, table = holdings[0]
    column = table.column(first.rename.get(wanted.group, wanted.group)) if wanted.group else None
    domain = _segments(wanted, column)
    parts = [_parts(wanted, terms, i, h, a, domain, group) for i, (h, a) in enumerate(holdings)]
    hosts = [asset.host for _, asset in holdings]
    columns = [*wanted.values, *(["count"] if wanted.count else [])]
    joint = operator(
        "total",
        masked_sum.RULE.kind,
        [f"s{i}" for i in range(len(holdings))],
        sorted({*hosts, receiver}),
        clear_edge("vector", columns, [receiver], len(domain)),
        {"holders": hosts, "receivers": [receiver]},
        masked_sum.PROTOCOL.id,
        masked_sum.PROTOCOL.security,
    )
    # 16 bytes for each cell, and a key and signature to and from each holder.
    total_bytes = len(hosts) * (len(domain) * len(columns) * 16 + len(hosts) * 160)
    calibration = calibration.among({*hosts, receiver})
    seconds = (
        calibration.start_seconds
        + 4 * calibration.round_seconds
        + total_bytes / calibration.bytes_per_second
        + len(domain) * len(columns) * len(hosts) * calibration.row_seconds
    )
    return compiling.frame(
        wanted,
        terms,
        function="totals",
        shape=wanted.shape,
        me=me,
        person=person,
        now=now,
        job=job,
        salt=salt,
        inputs=[item for item, _ in parts],
        operators=[op for _, operators in parts for op in operators] + [joint],
        outputs=[
            {"id": "out0", "from": "total", "receiver": receiver, "columns": columns, "minimum_group": group}
        ],
        estimate=compiling.estimate(len(domain), 4, total_bytes, seconds),
    )
