"""This node's own inputs of a plan: which version, how many distinct keys, how far from earlier ones."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from atoll.functions.join.run import sides
from atoll.node.clock import stamp
from atoll.node.jobs.desk import Desk
from atoll.node.state.models import InputUse
from atoll.node.tables import Version
from atoll.node.worker.supervise import run_to_end

# Against so many earlier versions the change is computed; older ones are far away in practice.
_EARLIER = 32


def own_versions(desk: Desk, plan: dict[str, Any]) -> dict[str, Version]:
    """The version of each own input that this node would feed in."""
    versions = {}
    for entry in plan["inputs"]:
        if entry["party"] == desk.me:
            pinned = entry["version"]["digest"] if entry["version"] else None
            versions[entry["id"]] = desk.tables.version(entry["asset"], pinned)
    return versions


def _earlier(desk: Desk, agreement: str, asset: str, partner: str) -> list[str]:
    """Versions that took part with this partner under the agreement, newest first."""
    with desk.store.read() as session:
        used = session.scalars(
            select(InputUse.version)
            .where(InputUse.agreement == agreement, InputUse.asset == asset, InputUse.partner == partner)
            .order_by(InputUse.at.desc())
        ).all()
    return list(dict.fromkeys(used))[:_EARLIER]


def note_use(desk: Desk, session: Session, job: str, plan: dict[str, Any], versions: dict[str, str]) -> None:
    """Keeps which own versions took part with whom, in the transaction that releases a result."""
    for entry in plan["inputs"]:
        if entry["party"] == desk.me:
            for partner in desk.others(plan):
                session.merge(
                    InputUse(
                        job=job,
                        input=entry["id"],
                        partner=partner,
                        agreement=entry["agreement"],
                        asset=entry["asset"],
                        version=versions[entry["id"]],
                        at=stamp(desk.clock()),
                    )
                )


def commitments(desk: Desk, plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What an approval says of this node's inputs; prepares the keys of joins in a worker first."""
    found = {}
    for name, version in own_versions(desk, plan).items():
        entry = next(i for i in plan["inputs"] if i["id"] == name)
        facts: dict[str, Any] = {"keys": None, "change": None}
        if plan["function"] == "join":
            how = sides(plan, desk.me)
            mine = how["mine"]
            earlier = _earlier(desk, entry["agreement"], entry["asset"], how["theirs"]["party"])
            facts = run_to_end(
                {
                    "task": "prepare",
                    "data": str(version.data),
                    "cache": str(version.cache),
                    "columns": list(mine["columns"]),
                    "steps": mine["steps"],
                    "threads": desk.threads,
                    "earlier": [str(desk.tables.cache(digest)) for digest in earlier],
                },
                memory_bytes=desk.config["jobs.memory_bytes"],
                seconds=desk.config["jobs.seconds"],
            )
        found[name] = {
            "version": version.digest,
            "mode": version.mode,
            "keys": facts["keys"],
            "change": facts["change"],
        }
    return found
