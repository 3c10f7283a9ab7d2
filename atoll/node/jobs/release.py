"""What must stand before a result may open: the receiver's word, the debit, the record, in one transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atoll.agreements import build_provisional, open_provisional
from atoll.agreements.provisional import PROVISIONAL_KIND
from atoll.crypto import dsse
from atoll.errors import AtollError
from atoll.net.link import Peer as Remote
from atoll.node.clock import stamp
from atoll.node.jobs.desk import Desk
from atoll.node.jobs.facts import gather
from atoll.node.jobs.inputs import note_use
from atoll.node.state.models import Block, Charge, Job, Receipt
from atoll.plan import Derivation
from atoll.plan.operators import hidden_totals
from atoll.policy import Account, Debit, accounts, decide


def _learns(plan: dict[str, Any], party: str) -> bool:
    """Whether a party is told something by the joint step: what it receives, or at least whether enough matched."""
    return any(output["receiver"] == party for output in plan["outputs"]) or any(
        op["kind"] == hidden_totals.RULE.kind and party in op["at"] for op in plan["operators"]
    )


class Releases:
    """Both sides of the release: the owner who waits for it, and the receiver who gives its word."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        desk.partners.handle("job.provisional", self._give_word)

    def _versions(self, row: Job) -> dict[str, str]:
        return {
            name: fed.version for a in self._desk.approvals(row).values() for name, fed in a.inputs.items()
        }

    # The owner.

    def release(self, job: str, receivers: list[str]) -> None:
        """Stores everything that must stand before `receivers` can open what comes next.

        Raises:
            AtollError: `E_REVOKED`, `E_EXPIRED`, `E_QUOTA` and other refusals of policy at this moment;
                `E_RECEIPT` or `E_SIGNATURE` for a receiver's word that does not fit; `E_UNREACHABLE`.
        """
        desk = self._desk
        row = desk.job(job)
        plan = desk.plan(row)
        if plan["shape"] != "service" and self._stands(row, receivers):
            return
        block = self._next_block(row, plan)
        shared = block is not None and _several_owners(plan)
        body = {"job": job, "attempt": row.attempt, "block": block}
        words = {}
        for receiver in receivers:
            answer = desk.partners.request(
                receiver, "job.provisional", body, timeout=float(plan["limits"]["silence_seconds"])
            )
            if not isinstance(answer, dict) or set(answer) != {"provisional", *(["block"] if shared else [])}:
                raise AtollError(
                    "E_RECEIPT", "the receiver gave no provisional receipt", party=desk.names(plan)[receiver]
                )
            if shared:
                block = self._agreed(block, answer["block"], desk.names(plan)[receiver])
            open_provisional(
                answer["provisional"],
                job=job,
                plan=row.plan_digest,
                attempt=row.attempt,
                receiver=receiver,
                inputs=self._versions(row),
                block=block,
            )
            words[receiver] = answer["provisional"]
        with desk.locked(job), desk.store.write() as session:
            stored = session.get_one(Job, job)
            if stored.state not in ("running", "released") or stored.attempt != row.attempt:
                raise AtollError("E_STATE", f"the job is {stored.state}, in attempt {stored.attempt}")
            self._settle(session, stored, plan, words, block)

    def _stands(self, row: Job, receivers: list[str]) -> bool:
        """Whether this attempt was released already, as after a restart from a checkpoint."""
        with self._desk.store.read() as session:
            held = [session.get(Receipt, (row.id, "provisional", receiver, 0)) for receiver in receivers]
        return all(
            r is not None and dsse.verify(PROVISIONAL_KIND, r.envelope, [])["attempt"] == row.attempt
            for r in held
        )

    def _next_block(self, row: Job, plan: dict[str, Any]) -> dict[str, int] | None:
        """The block of calls that this release opens, for a standing service.

        A block whose end was never known, as when a worker died, counts as used up. Where several owners answer
        the same calls, each block does, so that all of them and the asker count alike whatever each knows of the last.
        """
        if plan["shape"] != "service":
            return None
        calls = next(
            op["parameters"]["block_calls"] for op in plan["operators"] if "block_calls" in op["parameters"]
        )
        with self._desk.store.read() as session:
            last = session.scalars(
                select(Block).where(Block.job == row.id).order_by(Block.number.desc()).limit(1)
            ).first()
        if last is None:
            return {"number": 1, "first": 1, "calls": calls}
        used = last.reserved if last.used is None or _several_owners(plan) else last.used
        return {"number": last.number + 1, "first": last.first + used, "calls": calls}

    def _agreed(self, least: dict[str, int] | None, block: Any, asker: str) -> dict[str, int]:
        """The block that the asker counts for all owners: this node's next one, or a later one of the same size."""
        if (
            least is None
            or not _is_block(block)
            or block["calls"] != least["calls"]
            or any(block[key] < least[key] for key in ("number", "first"))
        ):
            raise AtollError("E_RECEIPT", "the asker names a block that was before", party=asker)
        return dict(block)

    def open_block(self, session: Session, row: Job, block: dict[str, int]) -> None:
        """Notes a block that begins; asked again for the same one in the same attempt, nothing changes."""
        known = session.get(Block, (row.id, block["number"]))
        if known is not None and known.attempt == row.attempt:
            return
        earlier = session.query(Block).filter(Block.job == row.id, Block.attempt == row.attempt).count()
        session.merge(
            Block(
                job=row.id,
                number=block["number"],
                attempt=row.attempt,
                book=earlier + 1,
                first=block["first"],
                reserved=block["calls"],
                evidence="provisional",
                opened=stamp(self._desk.clock()),
            )
        )

    def _settle(
        self,
        session: Session,
        row: Job,
        plan: dict[str, Any],
        words: dict[str, Any],
        block: dict[str, int] | None,
    ) -> None:
        desk = self._desk
        derivation = desk.derive(plan)
        facts = gather(desk, session, derivation, desk.approvals(row), None)
        decision = decide(
            derivation, me=desk.me, agreements=desk.states(plan), facts=facts, now=desk.clock(), final=True
        )
        if decision.outcome == "refuse":
            raise decision.reasons[0].error(desk.config["node.name"])
        number = block["number"] if block else 0
        charged = [row for row in (self._debit(session, row, debit) for debit in decision.debits) if row]
        if block is not None:
            charged += self._charge_calls(session, row, derivation, decision.calls_left, block)
            self.open_block(session, row, block)
        now = stamp(desk.clock())
        for receiver, word in words.items():
            # A new attempt's word takes the place of the old one's, which stays in the ledger.
            session.merge(
                Receipt(job=row.id, kind="provisional", party=receiver, block=number, envelope=word, at=now)
            )
        note_use(desk, session, row.id, plan, self._versions(row))
        row.state, row.evidence = "released", "provisional"
        desk.event(session, row.id, "released", receivers=[desk.names(plan)[r] for r in words], block=block)
        desk.record(
            session,
            row.agreement,
            "release",
            {
                "job": row.id,
                "attempt": row.attempt,
                "provisional": list(words.values()),
                "block": block,
                "versions": self._versions(row),
                "debits": [charge_document(charge) for charge in charged],
            },
            row.id,
        )

    def _charge_calls(
        self, session: Session, row: Job, derivation: Derivation, left: int | None, block: dict[str, int]
    ) -> list[Charge]:
        """Reserves a block of a standing service's calls, before the first of them is answered."""
        # Every account of the job is charged alike; a service that stands for days has its calls of each day.
        today = stamp(self._desk.clock().replace(hour=0, minute=0, second=0, microsecond=0))
        by_account = session.execute(
            select(func.sum(Charge.amount))
            .where(Charge.job == row.id, Charge.kind == "calls", Charge.at >= today)
            .group_by(Charge.agreement, Charge.asset, Charge.provider, Charge.partner)
        ).scalars()
        used = max((int(amount) for amount in by_account), default=0)
        if left is not None and used + block["calls"] > left:
            raise AtollError(
                "E_QUOTA",
                f"{left - used} calls are left today; a block has {block['calls']}",
                party=self._desk.config["node.name"],
            )
        made = [
            self._charge(session, row, block["number"], "calls", account, block["calls"], None)
            for account in accounts(derivation, self._desk.me)
        ]
        return [charge for charge in made if charge is not None]

    def settle_block(self, session: Session, job: str, number: int, calls: int) -> None:
        """Gives back what a closed block reserved and did not use, in the transaction that closes it."""
        for charge in session.query(Charge).filter(
            Charge.job == job, Charge.block == number, Charge.kind == "calls"
        ):
            charge.amount = min(charge.amount, calls)

    def _debit(self, session: Session, row: Job, debit: Debit) -> Charge | None:
        """One charge. A new attempt of a job, or a later block of a service, never charges a run twice."""
        return self._charge(session, row, 0, debit.kind, debit.account, debit.amount, debit.keyset)

    def _charge(
        self,
        session: Session,
        row: Job,
        number: int,
        kind: str,
        account: Account,
        amount: int,
        keyset: str | None,
    ) -> Charge | None:
        known = (
            session.query(Charge)
            .filter(
                Charge.job == row.id,
                Charge.block == number,
                Charge.kind == kind,
                Charge.asset == account.asset,
                Charge.provider == account.provider,
                Charge.partner == account.partner,
            )
            .first()
        )
        if known is not None:
            return None
        charge = Charge(
            job=row.id,
            block=number,
            kind=kind,
            agreement=account.agreement,
            asset=account.asset,
            provider=account.provider,
            partner=account.partner,
            amount=amount,
            keyset=keyset,
            at=stamp(self._desk.clock()),
        )
        session.add(charge)
        return charge

    # The receiver.

    def _give_word(self, remote: Remote, body: Any) -> Any:
        """Signs that this node is about to receive; only while the job runs here in that attempt."""
        desk = self._desk
        if not isinstance(body, dict) or set(body) != {"job", "attempt", "block"}:
            raise AtollError("E_WIRE", "not a request for a provisional receipt")
        row = desk.job(str(body["job"]))
        plan = desk.plan(row)
        if (
            remote.identity not in desk.others(plan)
            or row.attempt != body["attempt"]
            or row.state not in ("running", "released")
        ):
            raise AtollError(
                "E_STATE", "the job does not run here in that attempt", party=desk.config["node.name"]
            )
        if not _learns(plan, desk.me):
            raise AtollError(
                "E_PLAN", "this node receives nothing in that job", party=desk.config["node.name"]
            )
        block, shared = body["block"], body["block"] is not None and _several_owners(plan)
        if shared:
            block = self._shared_block(row, plan, block)
        else:
            self._check_block(row, plan, block)
        document = build_provisional(
            job=row.id,
            plan=row.plan_digest,
            attempt=row.attempt,
            receiver=desk.me,
            inputs=self._versions(row),
            at=desk.clock(),
            block=block,
        )
        envelope = dsse.sign(PROVISIONAL_KIND, document, desk.signing)
        number = block["number"] if block else 0
        with desk.locked(row.id), desk.store.write() as session:
            key = (row.id, "provisional-given", remote.identity, number)
            given = session.get(Receipt, key)
            if given is None or dsse.verify(PROVISIONAL_KIND, given.envelope, [])["attempt"] != row.attempt:
                session.merge(
                    Receipt(
                        job=row.id,
                        kind="provisional-given",
                        party=remote.identity,
                        block=number,
                        envelope=envelope,
                        at=stamp(desk.clock()),
                    )
                )
                if block:
                    self.open_block(session, row, block)
                note_use(desk, session, row.id, plan, self._versions(row))
                document = {"envelope": envelope, "to": remote.identity}
                desk.record(session, row.agreement, "provisional", document, row.id)
            stored = session.get_one(Job, row.id)
            if stored.evidence == "none":
                stored.evidence = "provisional"
        return {"provisional": envelope} | ({"block": block} if shared else {})

    def _shared_block(self, row: Job, plan: dict[str, Any], asked: Any) -> dict[str, int]:
        """The block that stands open in this attempt, for whichever owner asks; else the next one.

        An owner may know less than this node, if it did not come to open an earlier one, and never more.
        """
        expected = self._next_block(row, plan)
        if expected is None or not _is_block(asked) or asked["calls"] != expected["calls"]:
            raise AtollError("E_RECEIPT", "the block has another size than the plan's", step="release")
        with self._desk.store.read() as session:
            last = session.scalars(
                select(Block).where(Block.job == row.id).order_by(Block.number.desc()).limit(1)
            ).first()
        # Who asks for the next one has seen the end of the one that stands open, maybe before this node noted it.
        if (
            last is not None
            and last.attempt == row.attempt
            and last.used is None
            and asked["number"] <= last.number
        ):
            expected = {"number": last.number, "first": last.first, "calls": last.reserved}
        if any(asked[key] > expected[key] for key in ("number", "first")):
            raise AtollError("E_RECEIPT", "the owner opens another block than the next one", step="release")
        return expected

    def _check_block(self, row: Job, plan: dict[str, Any], block: Any) -> None:
        """A word is given for a block that fits this node's own records, and has the plan's size.

        After a crash the two sides may know different ends of the last block. The owner may ask for a block again
        that was never closed, and may count from any call that the last block can have ended with.
        """
        expected = self._next_block(row, plan)
        if (block is None) != (expected is None):
            raise AtollError("E_WIRE", "the word is asked for a block where the plan has none, or for none")
        if expected is None:
            return
        if not _is_block(block) or block["calls"] != expected["calls"]:
            raise AtollError("E_RECEIPT", "the block has another size than the plan's", step="release")
        with self._desk.store.read() as session:
            rows = session.scalars(select(Block).where(Block.job == row.id).order_by(Block.number)).all()
        known = next((r for r in rows if r.number == block["number"]), None)
        if known is not None:
            if known.first != block["first"] or known.used is not None:
                raise AtollError("E_REWIND", "the owner asked for this block before", step="release")
            return
        last = rows[-1] if rows else None
        least = last.first + (last.used or 0) if last else 1
        most = last.first + last.reserved if last else 1
        if block["number"] != expected["number"] or not least <= block["first"] <= most:
            raise AtollError("E_RECEIPT", "the owner opens another block than the next one", step="release")


def _several_owners(plan: dict[str, Any]) -> bool:
    return len({item["party"] for item in plan["inputs"]}) > 1


def _is_block(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"number", "first", "calls"}
        and all(type(v) is int and 0 < v < 2**53 for v in value.values())
    )


def charge_document(charge: Charge) -> dict[str, Any]:
    """A charge as the release entry has it: everything that a recovered node needs to count on from there."""
    return {
        "block": charge.block,
        "kind": charge.kind,
        "agreement": charge.agreement,
        "asset": charge.asset,
        "provider": charge.provider,
        "partner": charge.partner,
        "amount": str(charge.amount),
        "keyset": charge.keyset,
        "at": charge.at,
    }
