"""The worker's side of sums over N institutions: own exact sums, masked, added at the receiver."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, cast

import pyarrow as pa

from atoll.crypto.suite import PublicKey, SigningKey
from atoll.data.read import GroupSums, group_sums
from atoll.errors import AtollError
from atoll.functions.context import Context, LocalInput, NodeSigner, Outcome
from atoll.functions.values import check_values
from atoll.protocols.pairwise_masks import Holder, Session, run_holder, run_hub

PURPOSE = "pairwise-masks key"


def _own(context: Context, masked: dict[str, Any]) -> dict[str, Any] | None:
    """The group_sum operator that stands at this party, if it is a holder."""
    operators = {op["id"]: op for op in context.plan["operators"]}
    found = [operators[i] for i in masked["inputs"] if operators[i]["at"] == [context.me]]
    return found[0] if found else None


def _vector(found: GroupSums, parameters: dict[str, Any]) -> list[int]:
    """Sums of each value column, then counts, each in the order of the domain."""
    vector = [total for value in parameters["values"] for total in found.sums[value["column"]]]
    return vector + found.counts if parameters["count"] else vector


def _check_groups(found: GroupSums, minimum: int, step: str, party: str) -> None:
    """Every own non-empty segment must hold enough subjects: masks cannot compare inside (see the protocol's page)."""
    subjects = found.subjects if found.subjects is not None else found.counts
    small = [
        segment
        for segment, rows, n in zip(found.domain, found.counts, subjects, strict=True)
        if rows and n < minimum
    ]
    if small:
        raise AtollError(
            "E_MIN_GROUP",
            f"segment {small[0]!r} holds fewer than {minimum} subjects here ({len(small)} such segments)",
            step=step,
            party=party,
            fault="data",
        )


def _check_values(local: LocalInput, parameters: dict[str, Any], step: str, party: str) -> None:
    """Rows and values within what the plan declares, so that no sum can overflow."""
    columns = [v["column"] for v in parameters["values"]] or [
        *parameters["group"],
        *([parameters["subject"]] if parameters["subject"] else []),
    ]
    rows = check_values(local, parameters["values"], columns, step, party)
    if rows > parameters["maximum_rows"]:
        raise AtollError(
            "E_RANGE",
            f"{local.asset} has {rows} rows; the plan allows {parameters['maximum_rows']}",
            step=step,
            party=party,
            fault="data",
        )


def _table(masked: dict[str, Any], group: dict[str, Any], sums: list[int]) -> pa.Table:
    """One row a segment: group columns, one exact decimal or integer a value, and the count."""
    domain = group["parameters"]["domain"]
    width = len(domain)
    columns: dict[str, pa.Array] = {}
    for position, name in enumerate(group["parameters"]["group"]):
        columns[name] = pa.array([segment[position] for segment in domain], pa.string())
    at = 0
    for value in group["parameters"]["values"]:
        part = sums[at : at + width]
        scale = value["scale"] or 0
        kind = pa.decimal128(38, scale)
        columns[value["as"]] = pa.array([Decimal(v).scaleb(-scale) for v in part], kind)
        at += width
    if group["parameters"]["count"]:
        columns["count"] = pa.array(sums[at : at + width], pa.int64())
    return pa.table(columns)


def run(context: Context) -> Outcome:
    """Runs this party's side: holder, receiver, or both.

    Raises:
        AtollError: `E_MIN_GROUP` at the holder whose segment is too small; `E_RANGE`, `E_DATA` for rows outside the
            public domain; whatever channel and protocol raise.
    """
    plan = context.plan
    masked = next(op for op in plan["operators"] if op["kind"] == "masked_sum/v1")
    step, holders = masked["id"], tuple(sorted(masked["parameters"]["holders"]))
    receiver = plan["outputs"][0]["receiver"]
    own = _own(context, masked)
    operators = {op["id"]: op for op in plan["operators"]}
    group = own or operators[masked["inputs"][0]]
    parameters = group["parameters"]
    width = len(parameters["domain"]) * (len(parameters["values"]) + (1 if parameters["count"] else 0))
    session = Session(job=plan["id"], attempt=context.attempt, holders=holders, length=width, label=step)
    meters: dict[str, int] = {}
    holder: Holder | None = None
    vector: list[int] = []
    if own is not None:
        local = context.inputs()[operators[own["inputs"][0]]["inputs"][0]]
        _check_values(local, parameters, step, context.me)
        found = group_sums(
            local.data,
            parameters["group"],
            [tuple(s) for s in parameters["domain"]],
            [v["column"] for v in parameters["values"]],
            parameters["subject"],
            work=context.folder,
        )
        _check_groups(found, plan["outputs"][0]["minimum_group"], step, context.me)
        vector = _vector(found, parameters)
        meters["rows"] = sum(found.counts)
        holder = Holder(
            session,
            cast(SigningKey, NodeSigner(PublicKey.parse(context.me), PURPOSE, context.sign)),
            context.seed,
        )
    if context.me != receiver:
        if holder is None:
            raise AtollError("E_PLAN", "this party neither holds nor receives", step=step)
        run_holder(
            holder,
            vector,
            context.channel(receiver, step),
            before_open=lambda: context.before_open([receiver]),
        )
        return Outcome(meters=meters)
    channels = {key: context.channel(key, step) for key in holders if key != context.me}
    sums = run_hub(
        session,
        channels,
        (holder, vector) if holder else None,
        progress=lambda done, total: context.progress(done, total, step),
    )
    table = _table(masked, group, sums)
    return Outcome(table, table.num_rows, meters)
