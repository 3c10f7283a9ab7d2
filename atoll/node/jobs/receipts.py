"""The receipts that all parties sign: parts gathered by the asker, checked by everyone, signed by everyone.

A job has one at its end; a standing service has one for each block of calls besides. `block` is 0 for the whole job.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from atoll.agreements import build_receipt, check_receipt, open_receipt, parse_receipt, presented_rows
from atoll.agreements.receipt import RECEIPT_KIND, PartyRecord
from atoll.agreements.receipt import Receipt as AnyReceipt
from atoll.crypto import dsse
from atoll.crypto.document import document_digest
from atoll.crypto.suite import commit, digest_bytes, opening
from atoll.errors import AtollError
from atoll.net.link import Peer as Remote
from atoll.node.clock import parse, seconds, stamp
from atoll.node.jobs.desk import Desk
from atoll.node.jobs.launch import computes
from atoll.node.logs import logger
from atoll.node.state.models import Block, Job, Receipt, ReceiptPart

# As certificates have it: by so much partners' clocks may differ from this one.
_CLOCKS_DIFFER = timedelta(days=2)

SettleBlock = Callable[[Session, str, int, int], None]


def coarse_seconds(milliseconds: int) -> int:
    """Whole seconds of processor time, rounded up to 1, 2 or 5 times a power of ten; 0 for none."""
    need = -(-milliseconds // 1000)
    power = 1
    while need > 0:
        for step in (1, 2, 5):
            if need <= step * power:
                return step * power
        power *= 10
    return 0


def _transcripts(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        peer: {
            name: {
                "sent": c["sent"],
                "received": c["received"],
                "messages": list(c["messages"]),
                "bytes": list(c["bytes"]),
            }
            for name, c in by_name.items()
        }
        for peer, by_name in found.items()
    }


class Receipts:
    """Parts, checks and signatures of receipts."""

    def __init__(self, desk: Desk, settle_block: SettleBlock) -> None:
        self._desk, self._settle_block = desk, settle_block
        self._log = logger("receipts")
        desk.partners.handle("job.part", self._part_arrived)
        desk.partners.handle("job.receipt", self._sign_there)
        desk.partners.handle("job.final", self._final_arrived)
        desk.partners.outbox.on_answer("job.receipt", self._signature_arrived)
        desk.partners.outbox.on_refusal("job.receipt", self._disputed)

    # This node's own part.

    def own_part(self, row: Job, result: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """This node's part of a job's receipt, and what it must keep to open its output's commitment."""
        output, kept = None, None
        if result["output"] is not None:
            salt = opening()
            output = {"commitment": commit(result["output"]["digest"].encode(), salt)}
            kept = {
                **result["output"],
                "opening": salt.hex(),
                "commitment": output["commitment"],
                "scalars": result["scalars"],
            }
        meters = result["meters"]
        part = self._part(
            row,
            parse(row.started or row.created),
            result["transcripts"],
            calls=int(meters.get("calls", 0)),
            hits=meters.get("hits"),
            cpu_ms=meters["cpu_ms"],
            execution=result["execution"],
            output=output,
        )
        return part, kept

    def _part(
        self,
        row: Job,
        started: Any,
        transcripts: dict[str, Any],
        *,
        calls: int,
        hits: int | None,
        cpu_ms: int,
        execution: dict[str, Any] | None,
        output: dict[str, Any] | None,
    ) -> dict[str, Any]:
        desk = self._desk
        plan = desk.plan(row)
        derived = desk.derive(plan).stated
        channels = [c for by_name in transcripts.values() for c in by_name.values()]
        declares = derived.declares_hits and row.asker == desk.me
        part = {
            "times": {"started": seconds(started), "finished": seconds(desk.clock())},
            "meters": {
                "rows": presented_rows(plan, desk.approvals(row), derived, desk.me),
                "calls": calls,
                "hits": (hits or 0) if declares else None,
                "bytes_sent": sum(c["bytes"][0] for c in channels),
                "bytes_received": sum(c["bytes"][1] for c in channels),
                "cpu_seconds": coarse_seconds(cpu_ms),
            },
            "transcripts": _transcripts(transcripts),
            "output": output,
            "execution": execution,
            "grants": row.terms or {},
        }
        PartyRecord.parse(part)
        return part

    def store_part(
        self, session: Session, row: Job, part: dict[str, Any], block: int = 0, called: Any = None
    ) -> None:
        """Keeps this node's own part, in the caller's transaction."""
        session.merge(
            ReceiptPart(
                job=row.id, block=block, party=self._desk.me, attempt=row.attempt, part=part, called=called
            )
        )

    def close_block(self, job: str, attempt: int, message: dict[str, Any]) -> None:
        """The worker reports the end of a block of calls: keeps this node's part, settles what was reserved."""
        desk = self._desk
        row = desk.job(job)
        with desk.store.read() as session:
            block = session.scalars(
                select(Block).where(Block.job == job, Block.attempt == attempt, Block.book == message["book"])
            ).first()
        if block is None or row.attempt != attempt or block.used is not None:
            self._log.warning("a block that is not open was closed", job=job)
            return
        calls = int(message["calls"])
        part = self._part(
            row,
            parse(block.opened),
            message["transcripts"],
            calls=calls,
            hits=message["hits"],
            cpu_ms=message["cpu_ms"],
            execution=message["execution"],
            output=None,
        )
        digest_bytes(message["root"])
        with desk.store.write() as session:
            stored = session.get_one(Block, (job, block.number))
            stored.used, stored.closed = calls, stamp(desk.clock())
            self._settle_block(session, job, block.number, calls)
            self.store_part(session, row, part, block.number, {"calls": calls, "root": message["root"]})
            desk.event(session, job, "block closed", block=block.number, calls=calls)
        if row.asker != desk.me:
            desk.metrics.answered.labels(
                function=row.function, partner=desk.names(desk.plan(row))[row.asker]
            ).inc(calls)
        self.deliver_part(job, block.number)

    def deliver_part(self, job: str, block: int = 0) -> None:
        """Sends this node's part to the asker, or takes it up if this node is the asker."""
        desk = self._desk
        row = desk.job(job)
        if row.asker == desk.me:
            self._gathered(job, block)
            return
        with desk.store.write() as session:
            mine = session.get_one(ReceiptPart, (job, block, desk.me))
            desk.partners.outbox.put(
                session,
                row.asker,
                "job.part",
                {
                    "job": job,
                    "attempt": mine.attempt,
                    "block": block,
                    "part": mine.part,
                    "called": mine.called,
                },
            )
        desk.partners.outbox.wake()

    def resume(self) -> None:
        """After a restart: parts whose delivery the stop may have come before."""
        with self._desk.store.read() as session:
            mine = session.scalars(select(ReceiptPart).where(ReceiptPart.party == self._desk.me)).all()
            done = {
                (r.job, r.block)
                for r in session.scalars(select(Receipt).where(Receipt.kind == "final"))
                if len(dsse.signers(r.envelope)) > 1
            }
        for part in mine:
            if (part.job, part.block) not in done:
                try:
                    self.deliver_part(part.job, part.block)
                except AtollError as error:
                    self._log.warning("a part of a receipt was not delivered", job=part.job, code=error.code)

    # The asker.

    def _part_arrived(self, remote: Remote, body: Any) -> Any:
        desk = self._desk
        if (
            not isinstance(body, dict)
            or set(body) != {"job", "attempt", "block", "part", "called"}
            or type(body["block"]) is not int
            or not 0 <= body["block"] < 2**31
        ):
            raise AtollError("E_WIRE", "not a part of a receipt")
        row = desk.job(str(body["job"]))
        if row.asker != desk.me or remote.identity not in desk.others(desk.plan(row)):
            raise AtollError("E_RECEIPT", "the sender has no part in that job")
        number = body["block"]
        with desk.store.read() as session:
            block = session.get(Block, (row.id, number)) if number else None
        if number and block is None:
            raise AtollError("E_RECEIPT", f"this node gave no word for block {number}")
        if body["attempt"] != (block.attempt if block else row.attempt):
            raise AtollError("E_RECEIPT", "the part belongs to another attempt")
        PartyRecord.parse(body["part"])
        with desk.locked(row.id), desk.store.write() as session:
            # What all signed stays, whatever comes later.
            final = session.get(Receipt, (row.id, "final", "", number))
            if final is None:
                session.merge(
                    ReceiptPart(
                        job=row.id,
                        block=number,
                        party=remote.identity,
                        attempt=body["attempt"],
                        part=body["part"],
                        called=body["called"] if number else None,
                    )
                )
        self._gathered(row.id, number)
        return {}

    def _parts(self, job: str, block: int, attempt: int) -> dict[str, ReceiptPart]:
        with self._desk.store.read() as session:
            rows = session.scalars(
                select(ReceiptPart).where(
                    ReceiptPart.job == job, ReceiptPart.block == block, ReceiptPart.attempt == attempt
                )
            ).all()
        return {r.party: r for r in rows}

    def _gathered(self, job: str, block: int) -> None:
        """Signs and sends the receipt around, once every party's part is here."""
        desk = self._desk
        with desk.locked(job):
            row = desk.job(job)
            plan = desk.plan(row)
            attempt = self._attempt(row, block)
            parts = self._parts(job, block, attempt)
            parties = {p["key"] for p in plan["parties"]}
            if block == 0 and row.state in ("running", "released") and not computes(plan, desk.me):
                if set(parts) < parties - {desk.me}:
                    return
                row = self._only_asked(row)
                parts = self._parts(job, block, attempt)
            if (block == 0 and row.state != "completed") or set(parts) != parties:
                return
            self._sign_and_send(row, plan, block, parts)

    def _attempt(self, row: Job, block: int) -> int:
        if block == 0:
            return row.attempt
        with self._desk.store.read() as session:
            found = session.get(Block, (row.id, block))
        return found.attempt if found else 0

    def _only_asked(self, row: Job) -> Job:
        """At an asker that computes nothing itself: the job is complete once all others are."""
        desk = self._desk
        started = parse(row.started or row.created)
        part = self._part(row, started, {}, calls=0, hits=None, cpu_ms=0, execution=None, output=None)
        with desk.store.write() as session:
            stored = session.get_one(Job, row.id)
            stored.state, stored.ended = "completed", stamp(desk.clock())
            self.store_part(session, row, part)
            desk.event(session, row.id, "completed", rows=None)
        return desk.job(row.id)

    def _document(
        self, row: Job, plan: dict[str, Any], block: int, parts: dict[str, ReceiptPart]
    ) -> dict[str, Any]:
        desk = self._desk
        called = None
        if block:
            # Both sides state the same calls and root; the owner's numbers stand, the asker's are compared.
            with desk.store.read() as session:
                stored = session.get_one(Block, (row.id, block))
            if any(p.called != parts[desk.me].called for p in parts.values()):
                raise AtollError("E_RECEIPT", f"the two sides recorded block {block} differently")
            called = {"number": block, "first": stored.first, **parts[desk.me].called}
        return build_receipt(
            plan,
            desk.approvals(row),
            desk.derive(plan).stated,
            attempt=self._attempt(row, block),
            parties={key: p.part for key, p in parts.items()},
            block=called,
        )

    def _sign_and_send(
        self, row: Job, plan: dict[str, Any], block: int, parts: dict[str, ReceiptPart]
    ) -> None:
        desk = self._desk
        with desk.store.read() as session:
            held = session.get(Receipt, (row.id, "final", "", block))
        if held is not None:
            envelope = held.envelope
        else:
            try:
                document = self._document(row, plan, block, parts)
                self._check(row, plan, document)
            except AtollError as error:
                self._mark_disputed(row.id, block, error)
                return
            envelope = dsse.sign(RECEIPT_KIND, document, desk.signing)
        with desk.store.write() as session:
            if held is None:
                session.add(
                    Receipt(
                        job=row.id,
                        kind="final",
                        party="",
                        block=block,
                        envelope=envelope,
                        at=stamp(desk.clock()),
                    )
                )
            signed = dsse.signers(envelope)
            for key in desk.others(plan):
                if key not in signed:
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
            block = _block_of(answer["receipt"])
            with desk.store.write() as session:
                held = session.get(Receipt, (job, "final", "", block))
                if held is None or self._evidence(session, row.id, block) == "final":
                    return
                held.envelope = dsse.merge(held.envelope, answer["receipt"])
                parties = [p["key"] for p in plan["parties"]]
                if not set(parties) <= dsse.signers(held.envelope):
                    return
                self._store_final(session, row.id, block, held.envelope)
                for key in desk.others(plan):
                    desk.partners.outbox.put(
                        session, key, "job.final", {"receipt": held.envelope, "job": job}
                    )
        desk.partners.outbox.wake()

    def _disputed(self, peer: str, body: Any, error: AtollError) -> None:
        self._mark_disputed(str(body["job"]), _block_of(body["receipt"]), error)

    def _evidence(self, session: Session, job: str, block: int) -> str:
        if block:
            return session.get_one(Block, (job, block)).evidence
        return session.get_one(Job, job).evidence

    def _set_evidence(self, session: Session, job: str, block: int, value: str) -> None:
        if block:
            session.get_one(Block, (job, block)).evidence = value
        else:
            session.get_one(Job, job).evidence = value

    def _mark_disputed(self, job: str, block: int, error: AtollError) -> None:
        desk = self._desk
        with desk.store.write() as session:
            if block and session.get(Block, (job, block)) is None:
                return
            # What all signed stays; a dispute is noted once, however often a peer repeats its claim.
            if self._evidence(session, job, block) in ("final", "disputed"):
                return
            self._set_evidence(session, job, block, "disputed")
            row = session.get_one(Job, job)
            desk.event(session, job, "receipt disputed", block=block, code=error.code, text=error.text)
            document = {"job": job, "block": block, "error": error.to_wire()}
            desk.record(session, row.agreement, "dispute", document, job)

    def _store_final(self, session: Session, job: str, block: int, envelope: dsse.Envelope) -> None:
        self._set_evidence(session, job, block, "final")
        row = session.get_one(Job, job)
        self._desk.event(session, job, "receipt signed by all", block=block)
        self._desk.record(session, row.agreement, "receipt", {"envelope": envelope}, job)
        self._desk.receipted(session, envelope)

    # Everyone.

    def _check(self, row: Job, plan: dict[str, Any], document: Any) -> int:
        """Checks a receipt by this node's own records; gives its block."""
        desk = self._desk
        name = desk.config["node.name"]
        receipt = parse_receipt(document)
        block = receipt.block.number if receipt.block else 0
        with desk.store.read() as session:
            mine = session.get(ReceiptPart, (row.id, block, desk.me))
            stored = session.get(Block, (row.id, block)) if block else None
        if receipt.attempt != (stored.attempt if stored else row.attempt):
            raise AtollError("E_RECEIPT", "the receipt is of another attempt", party=name)
        own = receipt.parties.get(desk.me)
        if mine is None or own is None or own != PartyRecord.parse(mine.part):
            raise AtollError("E_RECEIPT", "the receipt changes this node's own part", party=name)
        if receipt.block is not None and (
            stored is None
            or receipt.block.first != stored.first
            or {"calls": receipt.block.calls, "root": receipt.block.root} != mine.called
        ):
            raise AtollError("E_RECEIPT", "the receipt changes the block of calls", party=name)
        self._check_times(receipt, row, stored)
        agreements = {k: s.agreement for k, s in desk.states(plan).items()}
        check_receipt(receipt, plan, desk.approvals(row), desk.derive(plan).stated, agreements)
        return block

    def _check_times(self, receipt: AnyReceipt, row: Job, stored: Block | None) -> None:
        """Clocks may differ by hours; a claim that is days off would put a use into another month."""
        begun = parse(stored.opened if stored is not None else row.created)
        low, high = begun - _CLOCKS_DIFFER, self._desk.clock() + _CLOCKS_DIFFER
        for key, record in receipt.parties.items():
            if not low <= parse(record.times.finished) <= high:
                raise AtollError(
                    "E_RECEIPT", "the receipt claims a time that is days from this node's", party=key
                )

    def _sign_there(self, remote: Remote, body: Any) -> Any:
        desk = self._desk
        if not isinstance(body, dict) or set(body) != {"receipt", "job"}:
            raise AtollError("E_WIRE", "not a receipt")
        row = desk.job(str(body["job"]))
        document = dsse.verify(RECEIPT_KIND, body["receipt"], [row.asker])
        if remote.identity != row.asker:
            raise AtollError("E_RECEIPT", "only the asker gathers the receipt")
        desk.require(row.agreement)
        try:
            self._check(row, desk.plan(row), document)
        except AtollError as error:
            self._mark_disputed(row.id, _block_of(body["receipt"]), error)
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
            block = self._check(row, plan, receipt.document())
            with desk.store.write() as session:
                if session.get(Receipt, (row.id, "final", "", block)) is None:
                    session.add(
                        Receipt(
                            job=row.id,
                            kind="final",
                            party="",
                            block=block,
                            envelope=body["receipt"],
                            at=stamp(desk.clock()),
                        )
                    )
                    self._store_final(session, row.id, block, body["receipt"])
        return {}


def _block_of(envelope: Any) -> int:
    """The block that a receipt in an envelope is about; 0 for the whole job or what is no receipt."""
    try:
        found = dsse.verify(RECEIPT_KIND, envelope, ())["block"]
        number = found["number"] if found else 0
        return number if type(number) is int and 0 <= number < 2**31 else 0
    except (AtollError, KeyError, TypeError):
        return 0


def receipt_digest(envelope: dsse.Envelope) -> str:
    """The digest by which statements name a receipt: the same whoever has signed so far."""
    return document_digest(RECEIPT_KIND, dsse.verify(RECEIPT_KIND, envelope, ()))
