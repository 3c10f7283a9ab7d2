"""From a user's request to the plan of a lookup: the standing service in which records are read by their keys."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from atoll.agreements import Asset, grants_to
from atoll.agreements.terms import ConsentMode
from atoll.crypto.document import Identifier, Name
from atoll.crypto.lookup import ENCRYPTION_KEYS_BYTES
from atoll.errors import AtollError
from atoll.functions import compiling
from atoll.functions.compiling import DEFAULT_CALIBRATION, Calibration, Json, clear_edge, operator
from atoll.functions.join.compile import Steps, compile_side
from atoll.plan.operators import lookup

# Bytes of a value in a record, with the byte that says its type; text has no bound of its own.
_VALUE_BYTES = {"string": 34, "decimal": 20, "timestamp": 10}
_TEXT_BYTES = 9
# Bytes of a key's digest, and of a request beside its keys.
_KEY_BYTES, _HEAD_BYTES = 32, 4096
_HOUR_SECONDS, _MONTH_SECONDS = 3600, 31 * 86_400
# Of a request; without a hint as many as share a pass over the table.
_MAXIMUM_KEYS, _ONE_SHOT_KEYS = 1000, 16
# Bytes of a sealed cell beside its record; cells for each key; rows of a table of which nothing is known.
_SEAL_BYTES, _PADDING, _UNKNOWN_ROWS = 20, 1.5, 1 << 20
# Without a hint: bytes of a question for each column and for a secret, of an answer for each byte of a column; the
# holder's seconds for each byte of a column.
_COLUMN_BYTES, _SECRET_BYTES, _ROW_BYTES, _ROW_SECONDS = 4, 33_840, 4.5, 30e-6


class Request(compiling.Request):
    """A lookup.

    `name`: what it is called at the asker. `asset`, `party`: the table. `keys`: its key columns, in the order in which
    keys are given; `normalise`: steps for each. `values`: columns that are read, null for all others. `rows`: most rows
    of a key. `record_bytes`: room for the values of a key, null for a guess from their types. `maximum_keys` in one
    request. `block_calls`, `block_seconds`: most keys and seconds of a receipt. `consent`: how each key shows the data
    subject's authorisation; null for what the grants ask. `declare_hits`: whether receipts state how many keys had a
    record; null if the grants ask a price for hits. `hint`: whether the asker takes a hint of the table once, so that
    each key costs little; without one it sends and waits more for each key, and asks for 64 at most in a request.
    """

    name: Identifier
    asset: Name
    party: Name | None = None
    keys: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)]
    values: Annotated[tuple[Name, ...], Field(min_length=1, max_length=256)] | None = None
    normalise: Annotated[dict[Name, Steps], Field(max_length=16)] = Field(default_factory=dict)
    rows: Annotated[int, Field(ge=1, le=64)] = 1
    record_bytes: Annotated[int, Field(ge=8, le=4096)] | None = None
    maximum_keys: Annotated[int, Field(ge=1, le=lookup.MOST_KEYS)] | None = None
    block_calls: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    block_seconds: Annotated[int, Field(ge=1, le=31 * 86400)] | None = None
    consent: ConsentMode | None = None
    declare_hits: bool | None = None
    hint: bool = True


def _maximum_keys(wanted: Request) -> int:
    """Most keys of a request, as asked or by default."""
    most = wanted.maximum_keys
    if wanted.hint:
        return _MAXIMUM_KEYS if most is None else most
    if most is not None and most > lookup.MOST_ONE_SHOT_KEYS:
        text = f"maximum_keys: without a hint a request has at most {lookup.MOST_ONE_SHOT_KEYS} keys."
        raise AtollError("E_RANGE", text, cure="Ask for fewer at once, or take the hint.")
    return _ONE_SHOT_KEYS if most is None else most


def _record_bytes(asset: Asset, values: list[str], rows: int) -> int:
    """Room for the values of a key, if texts are short: a guess from the types."""
    columns = {column.name: column.type for column in asset.columns}
    row = sum(_VALUE_BYTES.get(columns[name], _TEXT_BYTES) for name in values if name in columns)
    found = 4 + rows * (1 + row)
    if found > 4096:
        raise AtollError(
            "E_RANGE", "values: a key's records take more than the 4096 bytes that they may take"
        )
    return max(8, found)


def _one_shot(rows: int | None, record_bytes: int, keys: int) -> tuple[int, float]:
    """Bytes of one request without a hint, with the asker's keys before it; and the holder's seconds."""
    cells = _PADDING * (_UNKNOWN_ROWS if rows is None else max(rows, 100))
    # Columns are about as many as each has bytes.
    side = math.sqrt(cells * (_SEAL_BYTES + record_bytes))
    each = _SECRET_BYTES + (_COLUMN_BYTES + _ROW_BYTES) * side
    return ENCRYPTION_KEYS_BYTES + int(keys * each), keys * side * _ROW_SECONDS


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
    """The plan document of a lookup; arguments and errors as in `atoll.functions.join.compile`."""
    wanted = Request.parse(request, what="request")
    terms = compiling.open_agreement(agreement, wanted)
    asset = compiling.find_asset(terms, wanted.asset, wanted.party, "asset")
    unknown = sorted(wanted.normalise.keys() - set(wanted.keys))
    if unknown:
        raise AtollError("E_COLUMN", f"normalise: {unknown[0]!r} is no key column.")
    if asset.host == me:
        raise AtollError("E_FORMAT", "asset: the table is at this node; read it here.")
    others = [column.name for column in asset.columns if column.name not in wanted.keys]
    values = others if wanted.values is None else list(wanted.values)
    if not values:
        raise AtollError("E_COLUMN", f"values: {asset.name} has no other column than its keys.")
    steps = [wanted.normalise.get(key, ()) for key in wanted.keys]
    grants = [g for _, g in grants_to(asset, me, wanted.purpose, "query")]
    priced = any(g.price is not None and g.price.per_hit != "0" for g in grants)
    declare = priced if wanted.declare_hits is None else wanted.declare_hits
    # Hits are declared in long blocks, since short ones tell of single keys.
    seconds_of_block = wanted.block_seconds or (_MONTH_SECONDS if declare else _HOUR_SECONDS)
    maximum_keys = _maximum_keys(wanted)
    block_calls = max(wanted.block_calls, maximum_keys)
    record_bytes = wanted.record_bytes or _record_bytes(asset, values, wanted.rows)
    protocol = lookup.PROTOCOL if wanted.hint else lookup.ONE_SHOT
    if declare and (seconds_of_block < lookup.DECLARED_SECONDS or block_calls < lookup.DECLARED_CALLS):
        least = (
            f"block_calls of {lookup.DECLARED_CALLS} and block_seconds of {lookup.DECLARED_SECONDS} seconds"
        )
        raise AtollError("E_FORMAT", f"declare_hits: it takes at least {least}; less tells of single keys")
    item, local = compile_side(terms, asset, 0, wanted.keys, values, steps, "values")
    at = [me, asset.host]
    edge = {**clear_edge("table", values, [me]), "rows": None}
    joint = operator(
        "n2",
        lookup.RULE.kind,
        [local[-1]["id"]],
        at,
        edge,
        {
            "name": wanted.name,
            "keys": list(wanted.keys),
            "values": values,
            "rows": wanted.rows,
            "record_bytes": record_bytes,
            "maximum_keys": maximum_keys,
            "maximum_bytes": _HEAD_BYTES + _KEY_BYTES * maximum_keys,
            "block_calls": block_calls,
            "block_seconds": seconds_of_block,
            "consent": compiling.consent_mode(wanted.consent, grants),
            "declare_hits": declare,
        },
        protocol.id,
        protocol.security,
    )
    calibration = calibration.among([asset.host])
    rows = calibration.sizes.get((asset.host, asset.name))
    if wanted.hint:
        # The asker's hint is most of what travels, unless the table is small.
        total_bytes, work = 60_000_000 if rows is None else min(60_000_000, 6000 * max(rows, 100)), 0.0
    else:
        total_bytes, work = _one_shot(rows, record_bytes, maximum_keys)
    seconds = (
        work
        + calibration.start_seconds
        + total_bytes / calibration.bytes_per_second
        + (0 if rows is None else rows * 2 * calibration.key_seconds)
    )
    return compiling.frame(
        wanted,
        terms,
        function="query",
        shape="service",
        me=me,
        person=person,
        now=now,
        job=job,
        salt=salt,
        inputs=[item],
        operators=[*local, joint],
        outputs=[{"id": "out0", "from": "n2", "receiver": me, "columns": values, "minimum_group": 1}],
        estimate=compiling.estimate(None, wanted.block_calls, total_bytes, seconds),
    )
