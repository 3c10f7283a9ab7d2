"""From a user's request to the plan of an echo service."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from atoll.crypto.document import Name
from atoll.functions import compiling
from atoll.functions.compiling import DEFAULT_CALIBRATION, Calibration, Json, clear_edge, operator
from atoll.plan.operators import echo


class Request(compiling.Request):
    """An echo service of a partner: the asset, most bytes in a call, and calls for each provisional
    receipt.
    """

    asset: Name
    party: Name | None = None
    maximum_bytes: Annotated[int, Field(ge=1, le=1 << 20)] = 4096
    block_calls: Annotated[int, Field(ge=1, le=1_000_000)] = 100


def compile(
    request: Any,
    agreement: Any,
    *,
    me: str,
    person: str,
    now: datetime,
    job: str,
    calibration: Calibration = DEFAULT_CALIBRATION,
) -> Json:
    """The plan document of an echo service; arguments and errors as in `atoll.functions.join.compile`."""
    wanted = Request.parse(request, what="request")
    terms = compiling.open_agreement(agreement, wanted)
    asset = compiling.find_asset(terms, wanted.asset, wanted.party, "asset")
    at = [me, asset.host]
    joint = operator(
        "n0",
        echo.RULE.kind,
        ["in0"],
        at,
        clear_edge("bytes", [], at),
        {"maximum_bytes": wanted.maximum_bytes, "block_calls": wanted.block_calls},
        echo.PROTOCOL.id,
        echo.PROTOCOL.security,
    )
    total_bytes = 2 * wanted.block_calls * wanted.maximum_bytes
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
        inputs=[compiling.input_document(terms, asset, "in0", [], "asset")],
        operators=[joint],
        outputs=[{"id": "out0", "from": "n0", "receiver": me, "columns": [], "minimum_group": 1}],
        estimate=compiling.estimate(None, wanted.block_calls, total_bytes, seconds),
    )
