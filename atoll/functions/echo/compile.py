"""From a user's request to the plan of an echo service."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from atoll.agreements import Asset, Grant, grants_to
from atoll.agreements.terms import ConsentMode
from atoll.crypto.document import Name
from atoll.functions import compiling
from atoll.functions.compiling import DEFAULT_CALIBRATION, Calibration, Json, clear_edge, operator
from atoll.plan.operators import echo


class Request(compiling.Request):
    """An echo service of a partner: the asset, most bytes in a call, and calls and seconds for each receipt.

    `consent`: how each call shows the data subject's authorisation; null for what the grants ask. `declare_hits`:
    null for true where a grant has a price for each hit.
    """

    asset: Name
    party: Name | None = None
    maximum_bytes: Annotated[int, Field(ge=1, le=1 << 20)] = 4096
    block_calls: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    block_seconds: Annotated[int, Field(ge=1, le=31 * 86400)] = 3600
    consent: ConsentMode | None = None
    declare_hits: bool | None = None


def _granted(asset: Asset, me: str, wanted: Request) -> list[Grant]:
    return [g for _, g in grants_to(asset, me, wanted.purpose, "echo")]


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
    """The plan document of an echo service; arguments and errors as in `atoll.functions.join.compile`."""
    wanted = Request.parse(request, what="request")
    terms = compiling.open_agreement(agreement, wanted)
    asset = compiling.find_asset(terms, wanted.asset, wanted.party, "asset")
    at = [me, asset.host]
    grants = _granted(asset, me, wanted)
    priced = any(g.price is not None and g.price.per_hit != "0" for g in grants)
    joint = operator(
        "n0",
        echo.RULE.kind,
        ["in0"],
        at,
        clear_edge("bytes", [], at),
        {
            "maximum_bytes": wanted.maximum_bytes,
            "block_calls": wanted.block_calls,
            "block_seconds": wanted.block_seconds,
            "consent": compiling.consent_mode(wanted.consent, grants),
            "declare_hits": priced if wanted.declare_hits is None else wanted.declare_hits,
        },
        echo.PROTOCOL.id,
        echo.PROTOCOL.security,
    )
    total_bytes = 2 * wanted.block_calls * wanted.maximum_bytes
    calibration = calibration.among([asset.host])
    seconds = (
        calibration.start_seconds
        + wanted.block_calls * calibration.round_seconds
        + total_bytes / calibration.bytes_per_second
    )
    return compiling.frame(
        wanted,
        terms,
        function="echo",
        shape="service",
        me=me,
        person=person,
        now=now,
        job=job,
        salt=salt,
        inputs=[compiling.input_document(terms, asset, "in0", [], "asset")],
        operators=[joint],
        outputs=[{"id": "out0", "from": "n0", "receiver": me, "columns": [], "minimum_group": 1}],
        estimate=compiling.estimate(None, wanted.block_calls, total_bytes, seconds),
    )
