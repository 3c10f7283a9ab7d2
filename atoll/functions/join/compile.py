"""From a user's request to the plan of a private join of two tables."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from atoll.agreements import Agreement, Asset
from atoll.crypto.document import Document, Name
from atoll.errors import AtollError
from atoll.functions import compiling
from atoll.functions.compiling import DEFAULT_CALIBRATION, Calibration, Json, OneRun, clear_edge, operator
from atoll.plan.operators import psi

Steps = Annotated[tuple[Name, ...], Field(max_length=16)]


class Side(Document):
    """A table of the join.

    `party` (key or name) may be left out where the asset's name is unique in the agreement. `select` names
    the columns of its own rows that this side is given where it receives rows; null means all of them.
    `rows` is the expected number of rows, for the estimate only.
    """

    asset: Name
    keys: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)]
    party: Name | None = None
    select: Annotated[tuple[Name, ...], Field(max_length=1024)] | None = None
    rows: Annotated[int, Field(ge=0, le=2**40)] | None = None


class Request(compiling.Request):
    """A join.

    `receivers`: `me`, `peer`, `both`, or a list of keys or names. `normalise`: steps for each key column, by
    the column's name on the left side. `reveal`: matched rows, or only how many keys match.
    """

    left: Side
    right: Side
    receivers: (
        Literal["me", "peer", "both"] | Annotated[tuple[Name, ...], Field(min_length=1, max_length=2)]
    ) = "me"
    reveal: Literal["rows", "size"] = "rows"
    duplicates: Literal["sql", "refuse"] = "sql"
    normalise: Annotated[dict[Name, Steps], Field(max_length=16)] = Field(default_factory=dict)
    shape: OneRun = "one-shot"


def _receivers(request: Request, agreement: Agreement, me: str, owners: tuple[str, str]) -> list[str]:
    if isinstance(request.receivers, tuple):
        keys = {compiling.find_party(agreement, party, "receivers") for party in request.receivers}
    else:
        keys = {
            "me": {me},
            "peer": set(owners) - {me},
            "both": set(owners),
        }[request.receivers]
    if not keys <= set(owners):
        raise AtollError("E_FORMAT", "receivers: only the two owners of the tables can receive a join.")
    return sorted(keys)


def _estimate(request: Request, calibration: Calibration) -> Json:
    """Bytes: 32 for each blinded key and at most 16 for its tag. Seconds: two multiplications for each key at
    each of two parties who work at the same time, the line, six rounds, and the start."""
    sizes = [request.left.rows, request.right.rows]
    keys = sum(size or 0 for size in sizes)
    total_bytes = keys * 48
    seconds = (
        calibration.start_seconds
        + 6 * calibration.round_seconds
        + keys * 2 * calibration.key_seconds
        + total_bytes / calibration.bytes_per_second
    )
    known = [size for size in sizes if size is not None]
    return compiling.estimate(min(known) if len(known) == 2 else None, 6, total_bytes, seconds)


def _side(
    agreement: Agreement, side: Side, asset: Asset, number: int, rows: bool, steps: list[Steps]
) -> Json:
    """Input, operators and selected columns of one side; operator ids are n0, n1 left and n2, n3 right."""
    field = ("left", "right")[number]
    selected: list[str] = []
    if rows:
        selected = [c.name for c in asset.columns] if side.select is None else list(side.select)
    item = compiling.input_document(agreement, asset, f"in{number}", [*side.keys, *selected], field)
    names = [column["name"] for column in item["columns"]]
    at = [asset.host]
    read, keys = f"n{2 * number}", f"n{2 * number + 1}"
    normalise = {"columns": [{"name": k, "steps": list(s)} for k, s in zip(side.keys, steps, strict=True)]}
    return {
        "input": item,
        "operators": [
            operator(read, "read/v1", [item["id"]], at, clear_edge("table", names, at)),
            operator(keys, "normalise/v1", [read], at, clear_edge("keys", side.keys, at), normalise),
        ],
        "select": selected,
    }


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
    """The plan document of a join.

    Args:
        request: see `Request`.
        agreement: the agreement that it names, or its document.
        me: the asker's key.
        person: who asks, by the name that the asker's node knows.
        now: the time of asking.
        job: `job-` and 32 hex digits, drawn by the caller.
        salt: 32 hex digits, drawn by the caller.
        calibration: costs for the estimate.

    Raises:
        AtollError: `E_FORMAT`, `E_NOT_FOUND`, `E_COLUMN` name the request's field; `E_TYPE` and `E_UNIT` the
            columns that cannot be joined.
    """
    wanted = Request.parse(request, what="request")
    terms = compiling.open_agreement(agreement, wanted)
    left = compiling.find_asset(terms, wanted.left.asset, wanted.left.party, "left.asset")
    right = compiling.find_asset(terms, wanted.right.asset, wanted.right.party, "right.asset")
    if len(wanted.left.keys) != len(wanted.right.keys):
        raise AtollError("E_FORMAT", "right.keys: as many key columns are needed as on the left.")
    unknown = sorted(wanted.normalise.keys() - set(wanted.left.keys))
    if unknown:
        raise AtollError("E_COLUMN", f"normalise: {unknown[0]!r} is no key column of the left side.")
    if left.host == right.host:
        raise AtollError("E_FORMAT", "right.asset: both tables are at the same party; join them there.")
    receivers = _receivers(wanted, terms, me, (left.host, right.host))
    steps = [wanted.normalise.get(key, ()) for key in wanted.left.keys]
    rows = wanted.reveal == "rows"
    sides = [
        _side(terms, side, asset, i, rows and asset.host in receivers, steps)
        for i, (side, asset) in enumerate(((wanted.left, left), (wanted.right, right)))
    ]
    edge = clear_edge("membership" if rows else "size", [], receivers, None if rows else 1)
    joint = operator(
        "n4",
        psi.RULE.kind,
        ["n1", "n3"],
        [left.host, right.host],
        edge,
        {
            "receivers": receivers,
            "reveal": wanted.reveal,
            "duplicates": wanted.duplicates,
            "keys": [list(wanted.left.keys), list(wanted.right.keys)],
        },
        psi.PROTOCOL.id,
        psi.PROTOCOL.security,
    )
    select = {left.host: sides[0]["select"], right.host: sides[1]["select"]}
    outputs = [
        {"id": f"out{i}", "from": "n4", "receiver": key, "columns": select[key], "minimum_group": 1}
        for i, key in enumerate(receivers)
    ]
    return compiling.frame(
        wanted,
        terms,
        function="join",
        shape=wanted.shape,
        me=me,
        person=person,
        now=now,
        job=job,
        salt=salt,
        inputs=[side["input"] for side in sides],
        operators=[op for side in sides for op in side["operators"]] + [joint],
        outputs=outputs,
        estimate=_estimate(wanted, calibration),
    )
