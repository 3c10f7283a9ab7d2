"""The worker's side of a private join: own keys in, own matched rows out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from atoll.crypto.files import FileBytes, whole
from atoll.crypto.psi import Learns, Side
from atoll.data.read import take_batches
from atoll.errors import AtollError
from atoll.functions.context import Channel, Context, LocalInput, Outcome
from atoll.functions.join import budget, kept, on_disk
from atoll.functions.join.keys import FiledKeys, PreparedKeys, cache_name, load_keys, open_keys
from atoll.functions.join.pairs import expand
from atoll.plan.operators import hidden_join, hidden_totals, kept_psi, psi, star_psi
from atoll.protocols import ecdh_psi, vole_psi
from atoll.protocols.ecdh_psi import Intersection
from atoll.protocols.rows import rows_in_order

_JOINS = (
    psi.RULE.kind,
    kept_psi.RULE.kind,
    star_psi.RULE.kind,
    hidden_totals.RULE.kind,
    hidden_join.RULE.kind,
)
KEYED = ("join", "intersect", "join_totals", "join_statistics")
"""Functions that need the keys of tables prepared."""


def _operators(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {op["id"]: op for op in plan["operators"]}


def _side(plan: dict[str, Any], joint: dict[str, Any], side: int) -> tuple[str, dict[str, list[str]]]:
    """Input id and normalisation steps of one side of the psi operator."""
    operators = _operators(plan)
    at = operators[joint["inputs"][side]]
    steps: dict[str, list[str]] = {}
    while at["kind"] != "read/v1":
        if at["kind"] == "normalise/v1":
            steps.update({c["name"]: list(c["steps"]) for c in at["parameters"]["columns"]})
        at = operators[at["inputs"][0]]
    return at["inputs"][0], steps


def key_sides(plan: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The operator that joins keys, and its sides in order: input, party, key columns, normalisation."""
    joint = next(op for op in plan["operators"] if op["kind"] in _JOINS)
    owners = {i["id"]: i["party"] for i in plan["inputs"]}
    found = []
    for side in range(len(joint["inputs"])):
        input_id, steps = _side(plan, joint, side)
        found.append(
            {
                "input": input_id,
                "party": owners[input_id],
                "columns": joint["parameters"]["keys"][side],
                "steps": steps,
            }
        )
    return joint, found


def own_side(plan: dict[str, Any], me: str) -> tuple[dict[str, Any], list[str]]:
    """My side of the plan's join or intersection, and the owners of the other sides."""
    _, found = key_sides(plan)
    mine = next(side for side in found if side["party"] == me)
    return mine, [side["party"] for side in found if side["party"] != me]


def sides(plan: dict[str, Any], me: str) -> dict[str, Any]:
    """Which side of the plan's join of two is mine, which the peer's, and who learns what."""
    joint, found = key_sides(plan)
    mine, theirs = found if found[0]["party"] == me else reversed(found)
    return {
        "mine": mine,
        "theirs": theirs,
        # The kept join has no choice of what it reveals.
        "parameters": {"reveal": "rows", **joint["parameters"]},
        "step": joint["id"],
        "protocol": joint["protocol"],
        "security": joint["security"],
    }


def _result(
    context: Context, local: LocalInput, keys: PreparedKeys | FiledKeys, found: Intersection, first: bool
) -> tuple[pa.Table | pa.RecordBatchReader, int]:
    """The result and its number of rows; it is read from the table while it is written."""
    output = next(o for o in context.plan["outputs"] if o["receiver"] == context.me)
    columns = output["columns"]
    if isinstance(keys, FiledKeys):
        return on_disk.result(local, keys, found, first, columns)
    matched = np.frombuffer(whole(found.matched or b""), dtype="<u4")
    rows, counts = rows_in_order(keys.rows, matched, keys.count)
    if found.peer_multiplicity is not None:
        peer_counts = np.frombuffer(whole(found.peer_multiplicity), dtype="<u4").astype(np.int64)
        rows = expand(rows, counts, peer_counts, first)
    return (take_batches(local.data, rows, columns), len(rows)) if columns else (pa.table({}), 0)


def _intersect(context: Context, how: dict[str, Any], side: Side) -> Intersection:
    """Runs the protocol that the plan names."""
    peer, step = how["theirs"]["party"], how["step"]
    channel: Channel = context.channel(peer, step)
    if how["protocol"] == kept_psi.PROTOCOL.id:
        return kept.intersect(context, how, whole(side.digests), side.peer_items, channel)
    options: dict[str, Any] = {
        "seed": context.seed,
        "attempt": context.attempt,
        "name": step,
        "threads": context.threads,
        "before_open": lambda: context.before_open([peer]),
        "progress": lambda done, total: context.progress(done, total, step),
        "checkpoint": context.restored(),
        "save": context.checkpoint,
    }
    if how["protocol"] == psi.FAST:
        variant = how["parameters"]["variant"]
        results = (
            context.folder / matches_name(context.attempt) if isinstance(side.digests, FileBytes) else None
        )
        return vole_psi.run(
            side, channel, security=how["security"], variant=variant, results=results, **options
        )
    return ecdh_psi.run(side, channel, **options)


def _presented(how: dict[str, Any], me: str, mine: int, theirs: int) -> int:
    """Keys that I present; the bound on what I could test, where the disclosure statement gives one."""
    receivers = how["parameters"]["receivers"]
    if how["security"] != "malicious" or me not in receivers:
        return mine
    return psi.presented_at_most(psi.EXTRA_KEYS, mine, theirs, alone=len(receivers) == 1)


def own_keys(
    context: Context, mine: dict[str, Any], step: str, duplicates: str
) -> tuple[LocalInput, PreparedKeys]:
    """My input and its prepared keys, as many as were approved.

    Raises:
        AtollError: `E_DUPLICATE` where the plan refuses repeated keys, `E_MEMORY` if the keys do not fit in memory.
    """
    local, folder = _own_input(context, mine)
    if local.keys is not None and local.keys > budget.SMALL_KEYS:
        budget.check_held(local.keys, context.memory_bytes, step)
    keys = load_keys(folder)
    _check_keys(context, local, keys, step, duplicates)
    return local, keys


def _own_input(context: Context, mine: dict[str, Any]) -> tuple[LocalInput, Path]:
    local = context.inputs()[mine["input"]]
    return local, local.cache / cache_name(mine["columns"], mine["steps"])


def _check_keys(
    context: Context, local: LocalInput, keys: PreparedKeys | FiledKeys, step: str, duplicates: str
) -> None:
    if keys.count != local.keys:
        raise AtollError(
            "E_STATE",
            f"the table has {keys.count} distinct keys, but {local.keys} were approved",
            step=step,
        )
    if duplicates == "refuse" and keys.duplicates:
        raise AtollError(
            "E_DUPLICATE",
            f"{local.asset}: {keys.duplicates} rows repeat a key",
            step=step,
            party=context.me,
        )


def matches_name(attempt: int) -> str:
    """What the files of an attempt's matches begin with, in the job's folder."""
    return f"matches-{attempt}"


def _joined_keys(
    context: Context, how: dict[str, Any], peer_keys: int
) -> tuple[LocalInput, PreparedKeys | FiledKeys]:
    """My input and its keys: in memory, or for the fast join in files if the worker's memory is too small for that."""
    step, duplicates = how["step"], how["parameters"]["duplicates"]
    local, folder = _own_input(context, how["mine"])
    mine = local.keys or 0
    if how["protocol"] != psi.FAST or max(mine, peer_keys) <= budget.SMALL_KEYS:
        return own_keys(context, how["mine"], step, duplicates)
    filed = budget.in_files(mine, peer_keys, context.memory_bytes, step)
    # A restarted run goes on as it began, whatever its memory is now.
    if not filed and not any(context.folder.glob(matches_name(context.attempt) + ".*")):
        return own_keys(context, how["mine"], step, duplicates)
    keys = open_keys(folder)
    _check_keys(context, local, keys, step, duplicates)
    return local, keys


def run(context: Context) -> Outcome:
    """Runs this party's side of a join.

    Raises:
        AtollError: `E_DUPLICATE` at the side that has duplicate keys where the plan refuses them; `E_MEMORY`, before
            anything is sent, if the join does not fit in the worker's memory, `E_DISK` if a disk is full; whatever
            the channel and the protocol raise.
    """
    how = sides(context.plan, context.me)
    parameters = how["parameters"]
    peer = how["theirs"]["party"]
    peer_keys = context.declared_keys[how["theirs"]["input"]]
    if peer_keys is None:
        raise AtollError("E_PLAN", f"{peer} declared no number of keys", step=how["step"])
    local, keys = _joined_keys(context, how, peer_keys)
    shows: Learns = parameters["reveal"]
    i_learn: Learns = shows if context.me in parameters["receivers"] else "nothing"
    peer_learns: Learns = shows if peer in parameters["receivers"] else "nothing"
    counted = keys.multiplicity if isinstance(keys, FiledKeys) else bytes(keys.multiplicity)
    both_rows = shows == "rows" and len(parameters["receivers"]) == 2
    side = Side(
        context=context.plan["id"].encode(),
        digests=keys.digests,
        multiplicity=counted if both_rows and parameters["duplicates"] == "sql" else None,
        peer_items=peer_keys,
        i_learn=i_learn,
        peer_learns=peer_learns,
    )
    found = _intersect(context, how, side)
    presented = _presented(how, context.me, keys.count, peer_keys)
    meters = {"rows": keys.row_count, "keys": presented}
    if i_learn == "nothing" or found.size is None:
        return Outcome(meters=meters)
    if i_learn == "size":
        size = found.size
        table = pa.table({"intersection_size": pa.array([size], pa.int64())})
        return Outcome(table, 1, meters, {"intersection_size": size})
    rows_found, count = _result(context, local, keys, found, context.me < peer)
    return Outcome(rows_found, count, meters, {"matched_rows": count, "matched_keys": found.size})
