"""The receipt that all parties sign: parts gathered by the asker, checked by everyone, signed by everyone."""

from __future__ import annotations

from typing import Any

from atoll.agreements import build_receipt, check_receipt, open_receipt, parse_receipt
from atoll.agreements.receipt import RECEIPT_KIND, PartyRecord
from atoll.crypto import dsse
from atoll.crypto.suite import commit, opening
from atoll.errors import AtollError
from atoll.net.link import Peer as Remote
from atoll.node.clock import parse, seconds, stamp
from atoll.node.jobs.desk import Desk
from atoll.node.jobs.launch import computes
from atoll.node.logs import logger
from atoll.node.state.models import Job, Receipt

_METERS = ("rows", "keys", "calls", "bytes_sent", "bytes_received", "cpu_ms", "memory_bytes")


class Receipts:
    """Parts, checks and signatures of final receipts."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._log = logger("receipts")
        desk.partners.handle("job.part", self._part_arrived)
        desk.partners.handle("job.receipt", self._sign_there)
        desk.partners.handle("job.final", self._final_arrived)
        desk.partners.outbox.on_answer("job.receipt", self._signature_arrived)
        desk.partners.outbox.on_refusal("job.receipt", self._disputed)

    def own_part(self, row: Job, result: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """This node's part of the receipt, and what it must keep to open its output's commitment."""
        desk = self._desk
        channels = [c for by_name in result["transcripts"].values() for c in by_name.values()]
        meters = {name: int(result["meters"].get(name, 0)) for name in _METERS}
        meters["bytes_sent"] = sum(c["bytes"][0] for c in channels)
        meters["bytes_received"] = sum(c["bytes"][1] for c in channels)
        output, kept = None, None
        if result["output"] is not None:
            salt = opening()
            output = {"commitment": commit(result["output"]["digest"].encode(), salt), "rows": result["rows"]}
            kept = {
                **result["output"],
                "opening": salt.hex(),
                "commitment": output["commitment"],
                "scalars": result["scalars"],
            }
        part = {
            "times": {
                "started": seconds(parse(row.started or row.created)),
                "finished": seconds(desk.clock()),
            },
            "meters": meters,
            "transcripts": {
                peer: {
                    name: {
                        "sent": c["sent"],
                        "received": c["received"],
                        "messages": list(c["messages"]),
                        "bytes": list(c["bytes"]),
                    }
                    for name, c in by_name.items()
                }
                for peer, by_name in result["transcripts"].items()
            },
            "output": output,
        }
        PartyRecord.parse(part)
        return part, kept

    def deliver_part(self, job: str) -> None:
        """Sends this node's part to the asker, or takes it up if this node is the asker."""
        desk = self._desk
        row = desk.job(job)
        if row.asker == desk.me:
            self._take_part(job, desk.me, row.part)
            return
        with desk.store.write() as session:
            desk.partners.outbox.put(
                session, row.asker, "job.part", {"job": job, "attempt": row.attempt, "part": row.part}
            )
        desk.partners.outbox.wake()

    # The asker.

    def _part_arrived(self, remote: Remote, body: Any) -> Any:
        desk = self._desk
        if not isinstance(body, dict) or set(body) != {"job", "attempt", "part"}:
            raise AtollError("E_WIRE", "not a part of a receipt")
        row = desk.job(str(body["job"]))
        if row.asker != desk.me or remote.identity not in desk.others(desk.plan(row)):
            raise AtollError("E_RECEIPT", "the sender has no part in that job")
        if body["attempt"] != row.attempt:
            raise AtollError("E_RECEIPT", "the part belongs to another attempt")
        PartyRecord.parse(body["part"])
        self._take_part(row.id, remote.identity, body["part"])
        return {}

    def _take_part(self, job: str, party: str, part: dict[str, Any]) -> None:
        desk = self._desk
        with desk.locked(job):
            with desk.store.write() as session:
                stored = session.get_one(Job, job)
                stored.parts = {**(stored.parts or {}), party: part}
            row = desk.job(job)
            plan = desk.plan(row)
            if row.state in ("running", "released") and not computes(plan, desk.me):
                row = self._only_asked(row, plan)
            if row.state != "completed" or set(row.parts) != {p["key"] for p in plan["parties"]}:
                return
            self._sign_and_send(row, plan)

    def _only_asked(self, row: Job, plan: dict[str, Any]) -> Job:
        """At an asker that computes nothing itself: the job is complete once all others are."""
        desk = self._desk
        if set(row.parts) < {p["key"] for p in plan["parties"]} - {desk.me}:
            return row
        now = seconds(desk.clock())
        started = seconds(parse(row.started or row.created))
        part = {
            "times": {"started": started, "finished": now},
            "meters": dict.fromkeys(_METERS, 0),
            "transcripts": {},
            "output": None,
        }
        with desk.store.write() as session:
            stored = session.get_one(Job, row.id)
            stored.state, stored.ended, stored.part = "completed", stamp(desk.clock()), part
            stored.parts = {**stored.parts, desk.me: part}
            desk.event(session, row.id, "completed", rows=None)
        return desk.job(row.id)

    def _sign_and_send(self, row: Job, plan: dict[str, Any]) -> None:
        desk = self._desk
        derivation = desk.derive(plan)
        calls = row.parts[desk.me]["meters"]["calls"]
        document = build_receipt(
            plan,
            desk.approvals(row),
            attempt=row.attempt,
            protocols=derivation.protocols,
            security=derivation.security,
            disclosures=derivation.disclosures,
            parties=row.parts,
            batch={"calls": calls, "first": 1, "last": calls} if plan["shape"] == "service" else None,
        )
        try:
            self._check(row, plan, document)
        except AtollError as error:
            self._mark_disputed(row.id, error)
            return
        envelope = dsse.sign(RECEIPT_KIND, document, desk.signing)
        with desk.store.write() as session:
            if session.get(Receipt, (row.id, "final", "", 0)) is None:
                session.add(
                    Receipt(
                        job=row.id, kind="final", party="", batch=0, envelope=envelope, at=stamp(desk.clock())
                    )
                )
                for key in desk.others(plan):
                    desk.partners.outbox.put(
                        session, key, "job.receipt", {"receipt": envelope, "job": row.id}
                    )
        desk.partners.outbox.wake()

    def _signature_arrived(self, peer: str, answer: Any) -> None:
        desk = self._desk
        if not isinstance(answer, dict) or set(answer) != {"receipt", "job"}:
            return
        job = str(answer["job"])
        with desk.locked(job):
            row = desk.job(job)
            plan = desk.plan(row)
            with desk.store.write() as session:
                held = session.get(Receipt, (job, "final", "", 0))
                if held is None or row.evidence == "final":
                    return
                held.envelope = dsse.merge(held.envelope, answer["receipt"])
                parties = [p["key"] for p in plan["parties"]]
                if not set(parties) <= dsse.signers(held.envelope):
                    return
                self._store_final(session, session.get_one(Job, job), held.envelope)
                for key in desk.others(plan):
                    desk.partners.outbox.put(
                        session, key, "job.final", {"receipt": held.envelope, "job": job}
                    )
        desk.partners.outbox.wake()

    def _disputed(self, peer: str, body: Any, error: AtollError) -> None:
        self._mark_disputed(str(body["job"]), error)

    def _mark_disputed(self, job: str, error: AtollError) -> None:
        desk = self._desk
        with desk.store.write() as session:
            row = session.get_one(Job, job)
            # What all signed stays; a dispute is noted once, however often a peer repeats its claim.
            if row.evidence in ("final", "disputed"):
                return
            row.evidence = "disputed"
            desk.event(session, job, "receipt disputed", code=error.code, text=error.text)
            desk.record(session, row.agreement, "dispute", {"job": job, "error": error.to_wire()}, job)

    def _store_final(self, session: Any, row: Job, envelope: dsse.Envelope) -> None:
        row.evidence = "final"
        self._desk.event(session, row.id, "receipt signed by all")
        self._desk.record(session, row.agreement, "receipt", {"envelope": envelope}, row.id)

    # Everyone.

    def _check(self, row: Job, plan: dict[str, Any], document: Any) -> None:
        desk = self._desk
        derivation = desk.derive(plan)
        receipt = parse_receipt(document)
        if receipt.attempt != row.attempt:
            raise AtollError("E_RECEIPT", "the receipt is of another attempt", party=desk.config["node.name"])
        own = receipt.parties.get(desk.me)
        if row.part is None or own is None or own != PartyRecord.parse(row.part):
            raise AtollError(
                "E_RECEIPT", "the receipt changes this node's own part", party=desk.config["node.name"]
            )
        check_receipt(
            receipt,
            plan,
            desk.approvals(row),
            protocols=derivation.protocols,
            security=derivation.security,
            disclosures=derivation.disclosures,
        )

    def _sign_there(self, remote: Remote, body: Any) -> Any:
        desk = self._desk
        if not isinstance(body, dict) or set(body) != {"receipt", "job"}:
            raise AtollError("E_WIRE", "not a receipt")
        row = desk.job(str(body["job"]))
        document = dsse.verify(RECEIPT_KIND, body["receipt"], [row.asker])
        if remote.identity != row.asker:
            raise AtollError("E_RECEIPT", "only the asker gathers the receipt")
        try:
            self._check(row, desk.plan(row), document)
        except AtollError as error:
            self._mark_disputed(row.id, error)
            raise
        return {"receipt": dsse.add_signature(body["receipt"], desk.signing), "job": row.id}

    def _final_arrived(self, remote: Remote, body: Any) -> Any:
        desk = self._desk
        if not isinstance(body, dict) or set(body) != {"receipt", "job"}:
            raise AtollError("E_WIRE", "not a receipt")
        with desk.locked(str(body["job"])):
            row = desk.job(str(body["job"]))
            plan = desk.plan(row)
            receipt = open_receipt(body["receipt"], [p["key"] for p in plan["parties"]])
            self._check(row, plan, receipt.document())
            with desk.store.write() as session:
                if session.get(Receipt, (row.id, "final", "", 0)) is None:
                    session.add(
                        Receipt(
                            job=row.id,
                            kind="final",
                            party="",
                            batch=0,
                            envelope=body["receipt"],
                            at=stamp(desk.clock()),
                        )
                    )
                    self._store_final(session, session.get_one(Job, row.id), body["receipt"])
        return {}
