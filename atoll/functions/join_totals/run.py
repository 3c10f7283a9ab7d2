"""The worker's side of totals over a hidden join: own keys and values in, totals out."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from decimal import Context as Exact
from typing import Any, cast

import numpy as np
import pyarrow as pa

from atoll.crypto.circuit import Role
from atoll.errors import AtollError
from atoll.functions.context import Context, LocalInput, Outcome
from atoll.functions.join.keys import PreparedKeys
from atoll.functions.join.run import key_sides, own_keys
from atoll.functions.values import check_values, words
from atoll.protocols import hidden_totals
from atoll.protocols.hidden_totals import HiddenTotals, Receivers, Terms
from atoll.protocols.rows import NO_KEY

MEAN_DIGITS = 6
"""Digits of a mean after those of its column."""
_EXACT = Exact(prec=60, rounding=ROUND_HALF_EVEN)


def own_rows(
    context: Context, keys: PreparedKeys, parameters: dict[str, Any], step: str
) -> np.ndarray[Any, Any]:
    """Numbers of the own rows that have a key; `E_DUPLICATE`, `E_RANGE` for more than the plan allows."""
    most = 1 if parameters["unique"] == context.me else parameters["multiplicity"]
    counts = np.frombuffer(keys.multiplicity, "<u4")
    over = int((counts > most).sum())
    if over:
        raise AtollError(
            "E_DUPLICATE",
            f"{over} keys stand on more than {most} rows here (one on {int(counts.max())}).",
            step=step,
            party=context.me,
            cure="Remove the repeated keys, or ask with this side as `repeated` and a larger `multiplicity`.",
        )
    found = np.flatnonzero(keys.rows != NO_KEY)
    if parameters["unique"] != context.me and len(found) > parameters["maximum_rows"]:
        raise AtollError(
            "E_RANGE",
            f"{len(found)} rows have a key here; the plan allows {parameters['maximum_rows']}. Ask with more "
            "maximum_rows.",
            step=step,
            party=context.me,
            fault="caller",
        )
    return found


def _terms(context: Context, joint: dict[str, Any], sides: list[dict[str, Any]]) -> tuple[Role, Terms]:
    """This party's role, and what both agreed on in the plan and their approvals."""
    parameters = joint["parameters"]
    placer = next(i for i, side in enumerate(sides) if side["party"] == parameters["unique"])
    declared = [context.declared_keys[side["input"]] for side in sides]
    for side, count in zip(sides, declared, strict=True):
        if count is None:
            raise AtollError("E_PLAN", f"{side['party']} declared no number of keys", step=joint["id"])
    counts = cast(list[int], declared)
    mapper = 1 - placer
    receivers: Receivers = "both"
    if len(parameters["receivers"]) == 1:
        receivers = "placer" if parameters["receivers"][0] == parameters["unique"] else "mapper"
    terms = Terms(
        placer_items=counts[placer],
        # How many rows there are within these bounds, nobody else learns: the rest are fillers.
        mapper_items=min(counts[mapper] * parameters["multiplicity"], parameters["maximum_rows"]),
        multiplicity=parameters["multiplicity"],
        placer_words=len(parameters["values"][placer]),
        mapper_words=len(parameters["values"][mapper]),
        minimum=parameters["minimum_group"],
        receivers=receivers,
        context=context.plan["id"].encode(),
    )
    return ("placer" if context.me == parameters["unique"] else "mapper"), terms


def _input(
    context: Context, local: LocalInput, keys: PreparedKeys, joint: dict[str, Any], number: int
) -> tuple[bytes, bytes]:
    """Digests and values of the own rows that have a key."""
    parameters, step = joint["parameters"], joint["id"]
    rows = own_rows(context, keys, parameters, step)
    values = parameters["values"][number]
    payload = b""
    if values:
        check_values(local, values, [value["column"] for value in values], step, context.me)
        payload = words(local, values, step, context.me)[rows].tobytes()
    digests = np.frombuffer(keys.digests, "<u8").reshape(-1, 4)[keys.rows[rows]]
    return digests.tobytes(), payload


def _mean(total: int, rows: int, scale: int) -> Decimal:
    unit = Decimal(1).scaleb(-(scale + MEAN_DIGITS))
    return _EXACT.divide(Decimal(total).scaleb(-scale), Decimal(rows)).quantize(unit, context=_EXACT)


def _table(found: HiddenTotals, parameters: dict[str, Any], placer: int) -> pa.Table:
    """One row: whether there were enough, count, and of each value its exact sum and its mean."""
    columns: dict[str, pa.Array] = {
        "enough": pa.array([found.enough], pa.bool_()),
        "matched_keys": pa.array([found.subjects], pa.int64()),
        "matched_rows": pa.array([found.rows], pa.int64()),
    }
    sums = [found.placer_sums, found.mapper_sums] if placer == 0 else [found.mapper_sums, found.placer_sums]
    for values, side in zip(parameters["values"], sums, strict=True):
        for number, value in enumerate(values):
            scale = value["scale"]
            total = None if side is None else side[number]
            columns[f"sum_{value['as']}"] = pa.array(
                [None if total is None else Decimal(total).scaleb(-scale)], pa.decimal128(38, scale)
            )
            mean = None if total is None or not found.rows else _mean(total, found.rows, scale)
            columns[f"mean_{value['as']}"] = pa.array([mean], pa.decimal128(38, min(scale + MEAN_DIGITS, 38)))
    return pa.table(columns)


def run(context: Context) -> Outcome:
    """Runs this party's side.

    Raises:
        AtollError: `E_DUPLICATE` at the party whose keys stand on more rows than the plan says; `E_RANGE` and `E_DATA`
            at the one whose values are not what the plan says; whatever channel and protocol raise.
    """
    joint, sides = key_sides(context.plan)
    step, parameters = joint["id"], joint["parameters"]
    number = next(i for i, side in enumerate(sides) if side["party"] == context.me)
    mine, peer = sides[number], sides[1 - number]["party"]
    local, keys = own_keys(context, mine, step, "sql")
    role, terms = _terms(context, joint, sides)
    digests, payload = _input(context, local, keys, joint, number)
    found = hidden_totals.run(
        role,
        digests,
        payload,
        terms,
        context.channel(peer, step),
        seed=context.seed,
        attempt=context.attempt,
        name=step,
        threads=context.threads,
        before_open=lambda: context.before_open([peer]),
        progress=lambda done, total: context.progress(done, total, step),
        checkpoint=context.restored(),
        save=context.checkpoint,
    )
    meters = {"rows": len(keys.rows), "keys": keys.count}
    if context.me not in parameters["receivers"]:
        return Outcome(meters=meters)
    placer = next(i for i, side in enumerate(sides) if side["party"] == parameters["unique"])
    scalars = {"enough": found.enough}
    return Outcome(_table(found, parameters, placer), 1, meters, scalars)
