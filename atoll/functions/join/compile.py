"""From a user's request to the plan of a private join of two tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from atoll.agreements import Agreement, Asset
from atoll.crypto.document import Document, Name
from atoll.errors import AtollError
from atoll.functions import compiling
from atoll.functions.compiling import DEFAULT_CALIBRATION, Calibration, Json, OneRun, clear_edge, operator
from atoll.functions.join import choice
from atoll.functions.join.choice import Case, Choice
from atoll.plan.operators import kept_psi, psi

Steps = Annotated[tuple[Name, ...], Field(max_length=16)]
Receivers = Literal["me", "peer", "both"] | Annotated[tuple[Name, ...], Field(min_length=1, max_length=2)]


class Side(Document):
    """A table of the join.

    `party` (key or name) may be left out where the asset's name is unique in the agreement. `select` names
    the columns of its own rows that this side is given where it receives rows; null means all of them.
    `rows` is the expected number of distinct keys, for the choice of a protocol and the estimate; null where the node
    shall look what it knows.
    """

    asset: Name
    keys: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)]
    party: Name | None = None
    select: Annotated[tuple[Name, ...], Field(max_length=1024)] | None = None
    rows: Annotated[int, Field(ge=0, le=2**40)] | None = None


class Request(compiling.Request):
    """A join.

    `receivers`: `me`, `peer`, `both`, or a list of keys or names. `normalise`: steps for each key column, by
    the column's name on the left side. `reveal`: matched rows, or only how many keys match. `protocol`, `security`,
    `variant`: see `choice`; null leaves the choice to the node.
    """

    left: Side
    right: Side
    receivers: Receivers = "me"
    reveal: Literal["rows", "size"] = "rows"
    duplicates: Literal["sql", "refuse"] = "sql"
    normalise: Annotated[dict[Name, Steps], Field(max_length=16)] = Field(default_factory=dict)
    shape: OneRun = "one-shot"
    protocol: choice.ProtocolId | None = None
    security: choice.Security | None = None
    variant: psi.Variant | None = None


def choose_receivers(wanted: Receivers, agreement: Agreement, me: str, owners: tuple[str, str]) -> list[str]:
    """The keys of who learns, in order; `E_FORMAT` if one is no owner of a table."""
    if isinstance(wanted, tuple):
        keys = {compiling.find_party(agreement, party, "receivers") for party in wanted}
    else:
        keys = {
            "me": {me},
            "peer": set(owners) - {me},
            "both": set(owners),
        }[wanted]
    if not keys <= set(owners):
        raise AtollError("E_FORMAT", "receivers: only the two owners of the tables can receive a join.")
    return sorted(keys)


@dataclass(frozen=True)
class _Join:
    """A request with what it means in its agreement."""

    request: Request
    terms: Agreement
    assets: tuple[Asset, Asset]
    receivers: list[str]

    def choose(self, me: str, calibration: Calibration) -> Choice:
        """Protocol, security level and variant; `E_FORMAT` names a field that does not go with the others."""
        wanted, hosts = self.request, [asset.host for asset in self.assets]
        sides = zip((wanted.left, wanted.right), self.assets, strict=True)
        left, right = (
            side.rows if side.rows is not None else calibration.sizes.get((asset.host, asset.name))
            for side, asset in sides
        )
        case = Case(
            (left, right),
            (hosts[0] in self.receivers, hosts[1] in self.receivers),
            wanted.reveal == "size",
            calibration.among(hosts),
            wanted.shape == "long",
        )
        option = choice.asked(wanted.protocol, wanted.security, wanted.variant)
        return choice.choose(
            option,
            wanted.security,
            case,
            lambda o: choice.allowed(self.terms, self.assets, me, wanted.purpose, o),
        )


def _estimate(chosen: Choice) -> Json:
    known = min(chosen.keys) if chosen.known else None
    return compiling.estimate(known, chosen.cost.rounds, chosen.cost.bytes, chosen.cost.seconds)


def selected(side: Side, asset: Asset) -> list[str]:
    """Columns of its own rows that a side is given."""
    return [c.name for c in asset.columns] if side.select is None else list(side.select)


def compile_side(
    agreement: Agreement,
    asset: Asset,
    number: int,
    keys: Sequence[str],
    others: Sequence[str],
    steps: list[Steps],
    field: str,
) -> tuple[Json, list[Json]]:
    """Input and operators of one side that reads its keys and other columns; operator ids are n0, n1 of the first side,
    n2, n3 of the next.
    """
    item = compiling.input_document(agreement, asset, f"in{number}", [*keys, *others], field)
    names = [column["name"] for column in item["columns"]]
    at = [asset.host]
    read, normal = f"n{2 * number}", f"n{2 * number + 1}"
    normalise = {"columns": [{"name": k, "steps": list(s)} for k, s in zip(keys, steps, strict=True)]}
    return item, [
        operator(read, "read/v1", [item["id"]], at, clear_edge("table", names, at)),
        operator(normal, "normalise/v1", [read], at, clear_edge("keys", keys, at), normalise),
    ]


class Pair(Protocol):
    """A request about two tables."""

    @property
    def left(self) -> Keyed: ...
    @property
    def right(self) -> Keyed: ...
    @property
    def normalise(self) -> Mapping[str, Steps]: ...


class Keyed(Protocol):
    """A table of such a request."""

    @property
    def asset(self) -> str: ...
    @property
    def party(self) -> str | None: ...
    @property
    def keys(self) -> Sequence[str]: ...


def find_pair(request: Pair, agreement: Agreement) -> tuple[Asset, Asset]:
    """Both tables: of two parties, with as many key columns, and steps for keys of the left one alone."""
    left = compiling.find_asset(agreement, request.left.asset, request.left.party, "left.asset")
    right = compiling.find_asset(agreement, request.right.asset, request.right.party, "right.asset")
    if len(request.left.keys) != len(request.right.keys):
        raise AtollError("E_FORMAT", "right.keys: as many key columns are needed as on the left.")
    unknown = sorted(request.normalise.keys() - set(request.left.keys))
    if unknown:
        raise AtollError("E_COLUMN", f"normalise: {unknown[0]!r} is no key column of the left side.")
    if left.host == right.host:
        raise AtollError("E_FORMAT", "right.asset: both tables are at the same party; join them there.")
    return left, right


def _open(request: Any, agreement: Any, me: str) -> _Join:
    """The request, checked against its agreement."""
    wanted = Request.parse(request, what="request")
    terms = compiling.open_agreement(agreement, wanted)
    left, right = find_pair(wanted, terms)
    return _Join(
        wanted, terms, (left, right), choose_receivers(wanted.receivers, terms, me, (left.host, right.host))
    )


def explain(request: Any, agreement: Any, *, me: str, calibration: Calibration = DEFAULT_CALIBRATION) -> Json:
    """Which protocol, security level and variant a request would run with, why, and how much memory it would take.

    Arguments and errors as for `compile`.
    """
    return _open(request, agreement, me).choose(me, calibration).document()


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
        calibration: costs for the choice of a protocol and for the estimate.

    Raises:
        AtollError: `E_FORMAT`, `E_NOT_FOUND`, `E_COLUMN` name the request's field; `E_TYPE` and `E_UNIT` the
            columns that cannot be joined.
    """
    join = _open(request, agreement, me)
    wanted, terms, receivers = join.request, join.terms, join.receivers
    left, right = join.assets
    chosen = join.choose(me, calibration)
    option = chosen.option
    steps = [wanted.normalise.get(key, ()) for key in wanted.left.keys]
    rows = wanted.reveal == "rows"
    both = ((wanted.left, left), (wanted.right, right))
    given = [selected(side, asset) if rows and asset.host in receivers else [] for side, asset in both]
    sides = [
        compile_side(terms, asset, i, side.keys, given[i], steps, ("left", "right")[i])
        for i, (side, asset) in enumerate(both)
    ]
    edge = clear_edge("membership" if rows else "size", [], receivers, None if rows else 1)
    kept = option.protocol == kept_psi.PROTOCOL.id
    joint = operator(
        "n4",
        (kept_psi if kept else psi).RULE.kind,
        ["n1", "n3"],
        [left.host, right.host],
        edge,
        {
            "receivers": receivers,
            **({} if kept else {"reveal": wanted.reveal}),
            "duplicates": wanted.duplicates,
            "keys": [list(wanted.left.keys), list(wanted.right.keys)],
            **({} if option.variant is None else {"variant": option.variant}),
        },
        option.protocol,
        option.security,
    )
    select = {left.host: given[0], right.host: given[1]}
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
        inputs=[item for item, _ in sides],
        operators=[op for _, operators in sides for op in operators] + [joint],
        outputs=outputs,
        estimate=_estimate(chosen),
    )
