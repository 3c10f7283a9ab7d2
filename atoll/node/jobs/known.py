"""What this node knows that the choice of a protocol and an estimate rest on: lines to partners, sizes of tables."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import select

from atoll.agreements import Agreement
from atoll.errors import AtollError
from atoll.functions.compiling import DEFAULT_CALIBRATION, Calibration
from atoll.functions.join.run import KEYED
from atoll.node.jobs.desk import Desk
from atoll.node.state.models import Job

_JOBS = 20
"""So many of the newest joins under an agreement are looked at for sizes that partners declared."""


def calibration(desk: Desk, agreement: Agreement) -> Calibration:
    """What work costs here, with the lines and sizes that are known now."""
    for identity, measured in desk.partners.measured().items():
        desk.lines.note(identity, measured)
    sizes = _declared(desk, agreement) | _own(desk, agreement)
    return replace(DEFAULT_CALIBRATION, lines=desk.lines.known(), sizes=sizes)


def _own(desk: Desk, agreement: Agreement) -> dict[tuple[str, str], int]:
    """Rows of own tables in the newest version; live tables have none until they are read."""
    found = {}
    for asset in agreement.assets:
        if asset.host == desk.me and asset.type == "dataset":
            try:
                rows = desk.tables.describe(asset.name)["rows"]
            except AtollError:
                # The agreement may name a table that was removed: the job says so, not the estimate.
                continue
            if rows is not None:
                found[desk.me, asset.name] = int(rows)
    return found


def _declared(desk: Desk, agreement: Agreement) -> dict[tuple[str, str], int]:
    """Distinct keys that were declared in the newest join of each table, own ones included."""
    found: dict[tuple[str, str], int] = {}
    with desk.store.read() as session:
        rows = session.scalars(
            select(Job)
            .where(Job.agreement == agreement.id, Job.function.in_(KEYED))
            .order_by(Job.created.desc())
            .limit(_JOBS)
        ).all()
    for row in rows:
        names = {i["id"]: (i["party"], i["asset"]) for i in desk.plan(row)["inputs"]}
        for approval in desk.approvals(row).values():
            for name, fed in approval.inputs.items():
                if fed.keys is not None:
                    found.setdefault(names[name], fed.keys)
    return found
