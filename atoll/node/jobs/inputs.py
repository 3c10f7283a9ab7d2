"""This node's own inputs of a plan: which version, how many distinct keys, how far from earlier ones."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from atoll.agreements import Asset
from atoll.crypto import canonical
from atoll.crypto.suite import digest
from atoll.errors import AtollError
from atoll.functions.join.keys import cache_name
from atoll.functions.join.run import KEYED, own_side
from atoll.node.clock import stamp
from atoll.node.jobs.desk import Desk
from atoll.node.state.models import InputUse
from atoll.node.tables import Version
from atoll.node.worker.supervise import run_to_end

# Against so many earlier versions the change is computed; older ones are far away in practice.
_EARLIER = 32


def _asset(desk: Desk, entry: dict[str, Any]) -> Asset:
    agreement = desk.agreements.state(entry["agreement"], entry["agreement_digest"]).agreement
    found = agreement.asset_at(entry["party"], entry["asset"])
    if found is None:
        raise AtollError("E_AGREEMENT", f"{entry['agreement']} has no asset {entry['asset']!r} of this node")
    return found


def is_table(desk: Desk, entry: dict[str, Any]) -> bool:
    """Whether an input of a plan is a table; a service has no rows."""
    return _asset(desk, entry).type == "dataset"


def own_versions(desk: Desk, plan: dict[str, Any]) -> dict[str, Version]:
    """The version of each own input that this node would feed in; a live table is read for the job, now.

    Every decision reads anew: what is approved is what the table held then, however long a steward took.
    """
    versions = {}
    read: dict[str, Version] = {}
    for entry in plan["inputs"]:
        if entry["party"] == desk.me and is_table(desk, entry):
            name, pinned = entry["asset"], entry["version"]["digest"] if entry["version"] else None
            if not desk.tables.is_live(name):
                versions[entry["id"]] = desk.tables.version(name, pinned)
                continue
            if pinned is not None:
                raise AtollError("E_PLAN", f"{name} is live: a plan cannot name a version of it")
            if name not in read:
                read[name] = desk.tables.read_for(plan["id"], name)
            versions[entry["id"]] = read[name]
    return versions


def _earlier(desk: Desk, agreement: str, partner: str) -> list[str]:
    """Folders of the keys that this node joined with the partner under the agreement, newest first."""
    with desk.store.read() as session:
        rows = session.scalars(
            select(InputUse)
            .where(InputUse.agreement == agreement, InputUse.partner == partner, InputUse.keys.is_not(None))
            .order_by(InputUse.at.desc())
        ).all()
    folders = (str(desk.tables.cache(row.version) / str(row.keys)) for row in rows)
    return list(dict.fromkeys(folders))[:_EARLIER]


def note_use(desk: Desk, session: Session, job: str, plan: dict[str, Any], versions: dict[str, str]) -> None:
    """Keeps which own versions took part with whom, in the transaction that releases a result."""
    keys = None
    if plan["function"] in KEYED:
        mine, _ = own_side(plan, desk.me)
        keys = cache_name(list(mine["columns"]), mine["steps"])
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
                        keys=keys,
                        at=stamp(desk.clock()),
                    )
                )


def _prepared(
    desk: Desk, agreement: str, version: Any, mine: dict[str, Any], others: list[str]
) -> dict[str, Any]:
    """Number of distinct keys, and by how many they differ from the nearest ones joined with one of the others.

    With several others the smallest difference counts that is not zero: what one of them saw before says nothing of
    what another one did.
    """
    keys, changes = 0, []
    earlier = [found for found in (_earlier(desk, agreement, other) for other in others) if found]
    for folders in earlier or [[]]:
        facts = run_to_end(
            desk.nursery,
            {
                "task": "prepare",
                "data": str(version.data),
                "cache": str(version.cache),
                "columns": list(mine["columns"]),
                "steps": mine["steps"],
                "threads": desk.threads,
                "earlier": folders,
            },
            memory_bytes=desk.config["jobs.memory_bytes"],
            seconds=desk.config["jobs.seconds"],
        )
        keys = facts["keys"]
        changes += [] if facts["change"] is None else [facts["change"]]
    return {"keys": keys, "change": min((n for n in changes if n), default=0) if changes else None}


def commitments(desk: Desk, plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What an approval says of this node's inputs; prepares the keys of joins in a worker first."""
    found: dict[str, dict[str, Any]] = {}
    for entry in plan["inputs"]:
        if entry["party"] == desk.me and not is_table(desk, entry):
            # What a service is stands in the agreement; that is what the approval commits to.
            text = canonical.dumps(_asset(desk, entry).document())
            found[entry["id"]] = {"version": digest(text), "mode": "live", "keys": None, "change": None}
    for name, version in own_versions(desk, plan).items():
        entry = next(i for i in plan["inputs"] if i["id"] == name)
        facts: dict[str, Any] = {"keys": None, "change": None}
        if plan["function"] in KEYED:
            mine, others = own_side(plan, desk.me)
            facts = _prepared(desk, entry["agreement"], version, mine, others)
        found[name] = {
            "version": version.digest,
            "mode": version.mode,
            "keys": facts["keys"],
            "change": facts["change"],
        }
    return found
