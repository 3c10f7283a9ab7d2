"""From an approved plan to a running worker: seed, inputs, budgets, and who dials whom."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import select

from atoll.agreements import Approval, Grant
from atoll.crypto.suite import digest
from atoll.errors import AtollError
from atoll.functions.join.kept import lineage
from atoll.functions.join.run import matches_name, sides
from atoll.net.listener import Listener
from atoll.node.jobs.desk import Desk
from atoll.node.jobs.inputs import is_table
from atoll.node.state.models import Consent, Job
from atoll.node.worker.supervise import Worker
from atoll.plan.operators import kept_psi, star_psi


@dataclass
class Running:
    """A worker, and the names under which peers reach it through the partner port."""

    worker: Worker
    listener: Listener | None
    service: bool
    attempt: int
    routes: list[str] = field(default_factory=list)

    def route(self, name: str, peer: str) -> None:
        """Hands connections of that name to the worker."""
        if self.listener is None:
            raise AtollError(
                "E_UNREACHABLE",
                "neither side of the job can be dialed",
                cure="Give one of the two nodes an address.",
            )

        def hand_over(sock: socket.socket) -> None:
            self.worker.send({"kind": "socket", "peer": peer}, sock.fileno())
            sock.close()

        self.listener.route(name, hand_over)
        self.routes.append(name)

    def close(self) -> None:
        """Takes no more connections for the worker."""
        for name in self.routes:
            if self.listener is not None:
                self.listener.unroute(name)
        self.routes.clear()


def seed(job: str, nonce: str, approvals: Mapping[str, Approval], secret: bytes) -> bytes:
    """The job's seed: the own secret, committed before any peer's nonce was known, mixed with all nonces.

    `nonce` is that of the start.
    """
    nonces = [a.nonce for _, a in sorted(approvals.items())] + [nonce]
    info = b"atoll job seed v1" + b"".join(bytes.fromhex(n) for n in nonces)
    return HKDF(SHA256(), 32, salt=job.encode(), info=info).derive(secret)


def talks(plan: dict[str, Any]) -> set[tuple[str, str]]:
    """Which parties exchange messages while a plan runs: pairs of keys, the smaller one first."""
    found = set()
    for op in plan["operators"]:
        if op["kind"] == "masked_sum/v1":
            hub = op["parameters"]["receivers"][0]
            found |= {(min(hub, key), max(hub, key)) for key in op["at"] if key != hub}
        elif op["kind"] == star_psi.RULE.kind:
            leader = op["parameters"]["leader"]
            found |= {(min(leader, key), max(leader, key)) for key in op["at"] if key != leader}
        elif op["protocol"] is not None:
            found |= {(a, b) for a in op["at"] for b in op["at"] if a < b}
    return found


def computes(plan: dict[str, Any], party: str) -> bool:
    """Whether a party runs a worker: the asker may ask for others only."""
    return any(party in op["at"] for op in plan["operators"])


def _connections(desk: Desk, row: Job) -> dict[str, tuple[str, str | None]]:
    """For each peer of a stored start: the connection's name, and the address if this node dials.

    Of a pair, the one with the smaller key dials if the other has an address, else the other one does. Both
    sides know both addresses from their pairing, so no message is needed to agree on it.
    """
    found: dict[str, tuple[str, str | None]] = {}
    for key, name in row.start["routes"].items():
        theirs = desk.partners.peer(key).address
        dials = theirs is not None and (desk.me < key or desk.partners.address is None)
        found[key] = (name, theirs if dials else None)
    return found


def peer_places(row: Job) -> dict[str, int]:
    """The number of each peer of a stored start, by which a worker's files name it."""
    return {peer: number for number, peer in enumerate(sorted(row.start["routes"]))}


def _inputs(desk: Desk, plan: dict[str, Any], own: Approval) -> dict[str, dict[str, Any]]:
    found = {}
    for name, fed in own.inputs.items():
        entry = next(i for i in plan["inputs"] if i["id"] == name)
        asset = entry["asset"]
        if not is_table(desk, entry):
            continue
        version = desk.tables.version(asset, fed.version)
        found[name] = {
            "asset": asset,
            "data": str(version.data),
            "cache": str(version.cache),
            "version": fed.version,
            "keys": fed.keys,
        }
    return found


FOLLOWING = ("script", "query", "query_totals")
"""Functions whose services take up new versions of the tables that they read."""


def newest_inputs(desk: Desk, plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """This node's own inputs of a service's plan, in their newest versions; a live table was read for the job alone."""
    found = {}
    for entry in plan["inputs"]:
        if entry["party"] == desk.me and not desk.tables.is_live(entry["asset"]):
            version = desk.tables.version(entry["asset"])
            found[entry["id"]] = {
                "asset": entry["asset"],
                "data": str(version.data),
                "cache": str(version.cache),
                "version": version.digest,
                "keys": None,
            }
    return found


def _script(desk: Desk, plan: dict[str, Any]) -> dict[str, Any] | None:
    """Package and bounds for the worker of a host; None for everybody else."""
    for op in plan["operators"]:
        if op["kind"] == "visit/v1" and op["at"][1] == desk.me:
            digest, consent = op["parameters"]["package"], op["parameters"]["deployment"]
            _, word = desk.packages.consented(digest, plan["asker"], consent)
            assert word.bounds is not None  # a consent has bounds
            return {"package": desk.packages.row(digest).envelope, "bounds": word.bounds.document()}
    return None


def _kept(desk: Desk, plan: dict[str, Any]) -> dict[str, Any] | None:
    """The place of what a kept join keeps, the key that opens it alone, and the limits of the holder's key."""
    if not any(op["kind"] == kept_psi.RULE.kind for op in plan["operators"]):
        return None
    name = digest(lineage(plan, sides(plan, desk.me))).split(":")[1][:32]
    return {
        "folder": str(desk.home / "kept" / name),
        "key": desk.vault.derive(f"kept-oprf {name}"),
        "label": name,
        "limits": [desk.config[f"jobs.kept_{what}"] for what in ("runs", "days", "keys")],
    }


def replay_days(desk: Desk, plan: dict[str, Any]) -> int | None:
    """Days for which what a replay needs is kept: the most of a plan's agreements; None where none asks for it."""
    agreed = [s.agreement.replay.keep_days for s in desk.states(plan).values() if s.agreement.replay]
    return max(agreed, default=None)


def admission(desk: Desk, row: Job, plan: dict[str, Any]) -> dict[str, Any] | None:
    """What the owner of a service lets calls pass by: consent, and whether a rate of the grant is to be asked for."""
    if plan["shape"] != "service" or row.asker == desk.me:
        return None
    terms: list[Grant] = []
    for name, index in (row.terms or {}).items():
        entry = next(i for i in plan["inputs"] if i["id"] == name)
        agreement = desk.agreements.state(entry["agreement"], entry["agreement_digest"]).agreement
        asset = agreement.asset_at(entry["party"], entry["asset"])
        if asset is not None:
            terms.append(asset.grants[index])
    with desk.store.read() as session:
        withdrawn = session.scalars(select(Consent.digest).where(Consent.withdrawn.is_not(None))).all()
    return {
        "mode": desk.derive(plan).consent,
        "issuers": sorted({key for g in terms for key in g.consent.issuers}),
        "asker": row.asker,
        "purpose": plan["purpose"],
        "function": plan["function"],
        "rated": any(g.rate is not None for g in terms),
        "withdrawn": list(withdrawn),
    }


def remove_matches(desk: Desk, row: Job) -> None:
    """Removes what a join through files found on its way, once nobody goes on from there."""
    for path in desk.folder(row.id).glob(f"{matches_name(row.attempt)}.*"):
        path.unlink(missing_ok=True)


def launch(
    desk: Desk,
    row: Job,
    plan: dict[str, Any],
    on_message: Callable[[dict[str, Any]], None],
    on_end: Callable[[dict[str, Any] | None, AtollError | None], None],
) -> Running:
    """Starts the worker of a job's stored start; `E_UNREACHABLE` if neither side of a pair can be dialed."""
    assert row.secret is not None  # stored with this node's approval
    kept = cbor2.loads(desk.vault.open(f"job {row.id}", row.secret))
    approvals = desk.approvals(row)
    connections = _connections(desk, row)
    limits, budget = plan["limits"], desk.config["jobs.memory_bytes"]
    memory = min(budget, limits["memory_bytes"] or budget)
    places = peer_places(row)
    spec = {
        "task": "run",
        "plan": plan,
        "me": desk.me,
        "seed": seed(row.id, row.start["nonce"], approvals, kept["secret"]),
        "attempt": row.attempt,
        "threads": desk.threads,
        "memory_bytes": memory,
        "folder": str(desk.folder(row.id)),
        "inputs": _inputs(desk, plan, approvals[desk.me])
        | (newest_inputs(desk, plan) if plan["function"] in FOLLOWING else {}),
        "script": _script(desk, plan),
        "kept": _kept(desk, plan),
        "declared_keys": {name: fed.keys for a in approvals.values() for name, fed in a.inputs.items()},
        "keep": replay_days(desk, plan) is not None,
        "admission": admission(desk, row, plan),
        "tls": {k: kept[k] for k in ("certificate", "private_key", "not_before", "not_after")},
        "silence_seconds": limits["silence_seconds"],
        "grace_seconds": max((s.agreement.grace_seconds for s in desk.states(plan).values()), default=0),
        "peers": {
            peer: {"tls": approvals[peer].tls, "dial": address, "name": name, "index": places[peer]}
            for peer, (name, address) in connections.items()
        },
    }
    worker = Worker(
        desk.nursery,
        spec,
        on_message,
        on_end,
        memory_bytes=memory,
        seconds=None if plan["shape"] == "service" else min(desk.config["jobs.seconds"], limits["seconds"]),
    )
    running = Running(worker, desk.partners.listener, plan["shape"] == "service", row.attempt)
    try:
        for peer, (name, address) in connections.items():
            if address is None:
                running.route(name, peer)
    except AtollError:
        running.close()
        worker.suspend()
        raise
    return running
