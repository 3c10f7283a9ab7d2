"""The worker's side of a package's service, at the asker and at the host."""

from __future__ import annotations

import pyarrow as pa

from atoll.functions.context import Context, Outcome
from atoll.functions.script.asker import Asker
from atoll.functions.script.host import Host


def run(context: Context) -> Outcome:
    """Makes or answers calls until the service stops; the outcome counts them.

    Raises:
        AtollError: `E_SANDBOX` at a host that cannot confine a package; `E_PROTOCOL` for a peer's broken message;
            whatever channel and release raise.
    """
    op = next(op for op in context.plan["operators"] if op["kind"] == "visit/v1")
    if context.me == context.plan["asker"]:
        asker = Asker(context, op["parameters"], op["id"], op["at"][1])
        asker.run()
        table = pa.table({"calls": pa.array([asker.calls], pa.int64())})
        return Outcome(table, 1, {"calls": asker.calls}, {"calls": asker.calls})
    return Outcome(meters={"calls": Host(context, op["parameters"], op["id"]).run()})
