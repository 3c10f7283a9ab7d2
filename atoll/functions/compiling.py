"""What the compilers share: finding assets in an agreement, and the frame of a plan around its operators.

Compilers are convenience. No owner believes them: each checks the plan's graph itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from atoll.agreements import Agreement, Asset, Grant
from atoll.agreements.terms import ConsentMode
from atoll.crypto.document import AgreementId, Document, Name, format_time, parse_time
from atoll.errors import AtollError
from atoll.plan import check

Json = dict[str, Any]
OneRun = Literal["one-shot", "long", "scheduled"]


class Request(Document):
    """What every request may say. Times and budgets have defaults; see `frame`."""

    agreement: AgreementId
    purpose: Name
    expires_seconds: Annotated[int, Field(ge=60, le=366 * 86400)] = 86400
    seconds: Annotated[int, Field(ge=1, le=30 * 86400)] = 3600
    memory_bytes: Annotated[int, Field(ge=1 << 26, le=1 << 44)] = 1 << 31


@dataclass(frozen=True)
class Line:
    """What was measured of the connections to a partner: seconds of a round trip, payload bytes in a second.

    None where nothing was measured.
    """

    round_seconds: float | None = None
    bytes_per_second: float | None = None


@dataclass(frozen=True)
class Calibration:
    """What work costs here, and what is known of lines and tables; estimates and the choice of a variant rest on it.

    Args:
        key_seconds: one scalar multiplication and its encoding, with all threads at work.
        fast_seconds, dense_seconds: a key of the fast join, and of its variant that sends least.
        setup_seconds: what the fast join takes before the first key.
        row_seconds: adding one row into its segment.
        bytes_per_second: payload rate between nodes of which nothing was measured.
        round_seconds: one round trip between such nodes.
        start_seconds: starting and connecting the workers.
        lines: what was measured, by partner.
        sizes: distinct keys, or else rows, last known of a table, by host and name.
    """

    key_seconds: float = 30e-6
    fast_seconds: float = 0.7e-6
    dense_seconds: float = 0.7e-6
    setup_seconds: float = 0.05
    row_seconds: float = 0.1e-6
    bytes_per_second: float = 50e6
    round_seconds: float = 0.02
    start_seconds: float = 1.0
    lines: Mapping[str, Line] = field(default_factory=dict)
    sizes: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def among(self, parties: Iterable[str]) -> Calibration:
        """The same with the slowest line to any of these parties, as far as measured."""
        known = [self.lines[key] for key in parties if key in self.lines]
        rounds = [line.round_seconds for line in known if line.round_seconds is not None]
        rates = [line.bytes_per_second for line in known if line.bytes_per_second is not None]
        return replace(
            self,
            round_seconds=max(rounds, default=self.round_seconds),
            bytes_per_second=min(rates, default=self.bytes_per_second),
        )


DEFAULT_CALIBRATION = Calibration()


def open_agreement(given: Any, request: Request) -> Agreement:
    """The agreement (or its document) that the request names; `E_AGREEMENT` if it is another one."""
    agreement = given if isinstance(given, Agreement) else Agreement.parse(given, what="agreement")
    if agreement.id != request.agreement:
        raise AtollError(
            "E_AGREEMENT", f"agreement: {request.agreement} is asked for, {agreement.id} was given."
        )
    return agreement


def find_party(agreement: Agreement, party: str, field: str) -> str:
    """The key of a signatory given by key or display name; `E_NOT_FOUND` names the request's field."""
    for key, name in agreement.names.items():
        if party in (key, name):
            return key
    known = ", ".join(sorted(agreement.names.values()))
    raise AtollError(
        "E_NOT_FOUND", f"{field}: {party!r} is no signatory of {agreement.id}; there are {known}."
    )


def find_asset(agreement: Agreement, name: str, party: str | None, field: str) -> Asset:
    """The asset of that name, at that party where one is given; `E_NOT_FOUND` names the request's field."""
    host = find_party(agreement, party, field) if party is not None else None
    found = [a for a in agreement.assets if a.name == name and host in (None, a.host)]
    if len(found) == 1:
        return found[0]
    if found:
        raise AtollError(
            "E_NOT_FOUND", f"{field}: several parties have an asset {name!r}; name the party too."
        )
    known = ", ".join(sorted({a.name for a in agreement.assets})) or "none"
    raise AtollError("E_NOT_FOUND", f"{field}: {agreement.id} has no asset {name!r} there; it has {known}.")


def input_document(agreement: Agreement, asset: Asset, id: str, columns: Iterable[str], field: str) -> Json:
    """An input of a plan; `E_COLUMN` names the request's field and the missing column."""
    out = []
    for name in dict.fromkeys(columns):
        column = asset.column(name)
        if column is None:
            known = ", ".join(c.name for c in asset.columns)
            raise AtollError(
                "E_COLUMN", f"{field}: {asset.name} has no column {name!r}; it has {known}.", column=name
            )
        out.append(
            {
                "name": name,
                "type": column.type,
                "precision": column.precision,
                "scale": column.scale,
                "unit": column.unit,
            }
        )
    return {
        "id": id,
        "party": asset.host,
        "agreement": agreement.id,
        "agreement_digest": agreement.digest,
        "asset": asset.name,
        "columns": out,
        "version": None,
    }


def operator(
    id: str,
    kind: str,
    inputs: Sequence[str],
    at: Sequence[str],
    edge: Json,
    parameters: Json | None = None,
    protocol: str | None = None,
    security: str | None = None,
) -> Json:
    """An operator of a plan; local ones have no protocol."""
    return {
        "id": id,
        "kind": kind,
        "inputs": list(inputs),
        "at": list(at),
        "protocol": protocol,
        "security": security,
        "parameters": parameters or {},
        "edge": edge,
    }


def clear_edge(type: str, columns: Iterable[str], at: Iterable[str], rows: int | None = None) -> Json:
    """An edge in clear at the given parties."""
    return {
        "type": type,
        "columns": list(columns),
        "rows": None if rows is None else str(rows),
        "visibility": {"clear": sorted(at)},
    }


def minimum_group(wanted: int | None, purpose: str, function: str, assets: Sequence[Asset]) -> int:
    """What the request says, else the largest minimum group that any owner's grant to another of them asks for: who
    receives nothing may learn something too, such as whether there are enough.
    """
    asked = [
        grant.minimum_group
        for asset in assets
        for grant in asset.grants
        if {one.host for one in assets} & set(grant.to)
        and purpose in grant.purposes
        and function in grant.functions
    ]
    return wanted or max(asked, default=1)


def consent_mode(wanted: ConsentMode | None, grants: Iterable[Grant]) -> ConsentMode:
    """How each call shows the data subject's authorisation: as wanted, else as the strictest grant asks."""
    if wanted is not None:
        return wanted
    modes: tuple[ConsentMode, ...] = ("presented", "attested")
    asked = {grant.consent.mode for grant in grants}
    return next((mode for mode in modes if mode in asked), "none")


def estimate(rows: int | None, rounds: int, bytes: int, seconds: float) -> Json:
    """An estimate; seconds are rounded to a tenth."""
    return {"rows": rows, "rounds": rounds, "bytes": bytes, "seconds": f"{seconds:.1f}"}


def _roles(asker: str, inputs: list[Json], operators: list[Json], outputs: list[Json]) -> dict[str, set[str]]:
    roles: dict[str, set[str]] = {asker: {"asker"}}
    for item in inputs:
        roles.setdefault(item["party"], set()).add("owner")
    for output in outputs:
        roles.setdefault(output["receiver"], set()).add("receiver")
    for op in operators:
        for key in op["at"]:
            roles.setdefault(key, set()).update({"computing"} if op["protocol"] else ())
    return roles


def frame(
    request: Request,
    agreement: Agreement,
    *,
    function: str,
    shape: str,
    me: str,
    person: str,
    now: datetime,
    job: str,
    salt: str,
    inputs: list[Json],
    operators: list[Json],
    outputs: list[Json],
    estimate: Mapping[str, Any],
) -> Json:
    """The whole plan around its graph, checked as every owner will check it.

    Raises:
        AtollError: what `atoll.plan.check` raises; `E_EXPIRED` if the agreement has ended.
    """
    if me not in agreement.keys:
        raise AtollError("E_AGREEMENT", f"This node is no signatory of {agreement.id}.")
    end = parse_time(agreement.validity.not_after)
    if now >= end:
        raise AtollError("E_EXPIRED", f"Agreement {agreement.id} ended at {agreement.validity.not_after}.")
    roles = _roles(me, inputs, operators, outputs)
    plan: Json = {
        "format": "atoll.plan/v1",
        "id": job,
        "salt": salt,
        "function": function,
        "purpose": request.purpose,
        "asker": me,
        "person": person,
        "created": format_time(now),
        "expires": format_time(min(now + timedelta(seconds=request.expires_seconds), end)),
        "shape": shape,
        "parties": [
            {"key": key, "name": agreement.names[key], "roles": sorted(roles[key])} for key in sorted(roles)
        ],
        "inputs": inputs,
        "operators": operators,
        "outputs": outputs,
        "limits": {
            "seconds": request.seconds,
            # Four times the estimate, and room for retries of small jobs.
            "bytes": max(1 << 30, 4 * estimate["bytes"]),
            "memory_bytes": request.memory_bytes,
            "silence_seconds": agreement.silence_seconds,
        },
        "estimate": dict(estimate),
    }
    check(plan, {agreement.id: agreement})
    return plan
