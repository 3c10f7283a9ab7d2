"""The worker's side of a lookup, at the asker and at the host."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from atoll.functions.context import Context, Outcome
from atoll.functions.query.asker import Asker
from atoll.functions.query.host import Host, Source
from atoll.functions.query.one_shot import OneShotAsker, OneShotHost
from atoll.plan.operators import lookup


def _source(plan: dict[str, Any], op: dict[str, Any]) -> Source:
    normal = next(o for o in plan["operators"] if o["id"] == op["inputs"][0])
    read = next(o for o in plan["operators"] if o["id"] == normal["inputs"][0])
    p = op["parameters"]
    steps = {column["name"]: column["steps"] for column in normal["parameters"]["columns"]}
    return Source(read["inputs"][0], p["keys"], steps, p["values"], p["rows"], p["record_bytes"])


def run(context: Context) -> Outcome:
    """Makes or answers calls until the service stops; the outcome counts them.

    Raises:
        AtollError: `E_DUPLICATE`, `E_RANGE` at a host whose table does not fit the plan; `E_PROTOCOL` for a peer's
            broken message; whatever channel and release raise.
    """
    op = next(op for op in context.plan["operators"] if op["kind"] == lookup.RULE.kind)
    one_shot = op["protocol"] == lookup.ONE_SHOT.id
    if context.me == context.plan["asker"]:
        facts = {column["name"]: column["type"] for column in context.plan["inputs"][0]["columns"]}
        types = [facts[name] for name in op["parameters"]["values"]]
        side = OneShotAsker if one_shot else Asker
        asker = side(context, op["parameters"], op["id"], op["at"][1], types)
        asker.run()
        table = pa.table({"calls": pa.array([asker.calls], pa.int64())})
        meters = {"calls": asker.calls} | ({"hits": asker.hits} if op["parameters"]["declare_hits"] else {})
        return Outcome(table, 1, meters, {"calls": asker.calls})
    host = (OneShotHost if one_shot else Host)(context, op["parameters"], op["id"], _source(context.plan, op))
    return Outcome(meters={"calls": host.run()})
