"""The worker's side of lookup totals, at the asker and at each holder."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from atoll.functions.context import Context, Outcome
from atoll.functions.query_totals.asker import Asker
from atoll.functions.query_totals.host import Host
from atoll.functions.query_totals.words import Source
from atoll.plan.operators import lookup_totals


def _source(plan: dict[str, Any], op: dict[str, Any], me: str) -> Source:
    p = op["parameters"]
    place = p["holders"].index(me)
    normal = next(o for o in plan["operators"] if o["id"] == op["inputs"][place])
    read = next(o for o in plan["operators"] if o["id"] == normal["inputs"][0])
    return Source(
        input=read["inputs"][0],
        keys=p["keys"][place],
        steps={column["name"]: column["steps"] for column in normal["parameters"]["columns"]},
        values=p["values"][place],
        rows=p["rows"],
        count_rows=p["count_rows"],
        count_holders=p["count_holders"],
    )


def run(context: Context) -> Outcome:
    """Makes or answers calls until the service stops; the outcome counts them.

    Raises:
        AtollError: `E_DUPLICATE`, `E_RANGE` at a holder whose table does not fit the plan; `E_PROTOCOL` for a
            peer's broken message; whatever channel and release raise.
    """
    op = next(op for op in context.plan["operators"] if op["kind"] == lookup_totals.RULE.kind)
    if context.me == context.plan["asker"]:
        asker = Asker(context, op["parameters"], op["id"])
        asker.run()
        table = pa.table({"calls": pa.array([asker.calls], pa.int64())})
        return Outcome(table, 1, {"calls": asker.calls}, {"calls": asker.calls})
    source = _source(context.plan, op, context.me)
    return Outcome(meters={"calls": Host(context, op["parameters"], op["id"], source).run()})
