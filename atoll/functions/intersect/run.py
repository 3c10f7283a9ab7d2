"""The worker's side of an intersection of several parties: own keys in, own rows that all have out."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pyarrow as pa

from atoll.crypto.files import whole
from atoll.crypto.suite import PublicKey, SigningKey
from atoll.data.read import take_batches
from atoll.errors import AtollError
from atoll.functions.context import Context, NodeSigner, Outcome
from atoll.functions.join.run import key_sides, own_keys
from atoll.protocols.rows import rows_in_order
from atoll.protocols.star_psi import Session, run_leader, run_party

PURPOSE = "star-psi key"


def _session(context: Context, sides: list[dict[str, Any]], joint: dict[str, Any]) -> Session:
    """What all parties agreed on in the plan and their approvals."""
    items = []
    for side in sides:
        declared = context.declared_keys[side["input"]]
        if declared is None:
            raise AtollError("E_PLAN", f"{side['party']} declared no number of keys", step=joint["id"])
        items.append(declared)
    parameters = joint["parameters"]
    return Session(
        job=context.plan["id"],
        attempt=context.attempt,
        parties=tuple(joint["at"]),
        items=tuple(items),
        label=joint["id"],
        learns=parameters["reveal"],
        everyone=len(parameters["receivers"]) > 1,
    )


def run(context: Context) -> Outcome:
    """Runs this party's side: the leader's, or that of another owner.

    Raises:
        AtollError: `E_DUPLICATE` at the party that has duplicate keys where the plan refuses them; whatever channels
            and the protocol raise.
    """
    joint, sides = key_sides(context.plan)
    step, parameters = joint["id"], joint["parameters"]
    mine = next(side for side in sides if side["party"] == context.me)
    local, keys = own_keys(context, mine, step, parameters["duplicates"])
    session = _session(context, sides, joint)
    leader, others = session.parties[0], session.parties[1:]
    # What this party sends to the leader opens the result to all receivers: each of them gives its word before.
    receivers = [key for key in parameters["receivers"] if key != context.me]
    signer = cast(SigningKey, NodeSigner(PublicKey.parse(context.me), PURPOSE, context.sign))
    options: dict[str, Any] = {
        "seed": context.seed,
        "threads": context.threads,
        "before_open": lambda: context.before_open(receivers),
        "progress": lambda done, total: context.progress(done, total, step),
    }
    if context.me == leader:
        channels = {key: context.channel(key, step) for key in others}
        found = run_leader(session, signer, keys.digests, channels, **options)
    else:
        found = run_party(session, signer, keys.digests, context.channel(leader, step), **options)
    meters = {"rows": len(keys.rows), "keys": keys.count}
    if context.me not in parameters["receivers"] or found.size is None:
        return Outcome(meters=meters)
    size = found.size
    if session.learns == "size":
        table = pa.table({"intersection_size": pa.array([size], pa.int64())})
        return Outcome(table, 1, meters, {"intersection_size": size})
    matched = np.frombuffer(whole(found.matched or b""), dtype="<u4")
    rows, _ = rows_in_order(keys.rows, matched, keys.count)
    columns = next(o for o in context.plan["outputs"] if o["receiver"] == context.me)["columns"]
    result = take_batches(local.data, rows, columns) if columns else pa.table({})
    count = len(rows) if columns else 0
    return Outcome(result, count, meters, {"matched_rows": count, "matched_keys": size})
