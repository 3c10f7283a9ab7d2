"""Bills at a node: uses noted with their receipts, statements from them, compared with the partner's, and signed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atoll.agreements import open_envelope, parse_receipt, presented_rows
from atoll.agreements.lifecycle import open_revocation
from atoll.agreements.model import Agreement
from atoll.agreements.provisional import PROVISIONAL_KIND, Provisional
from atoll.billing import (
    DISPUTE_KIND,
    STATEMENT_KIND,
    DayDifference,
    Item,
    Statement,
    compare,
    compare_day,
    flat_items,
    items_of,
    money,
    parse_statement,
    provisional_items,
    statement,
    word_counts,
)
from atoll.crypto import canonical, dsse
from atoll.crypto.document import document_digest
from atoll.errors import AtollError
from atoll.ledger.entry import Body
from atoll.net.link import Peer as Remote
from atoll.node.clock import seconds
from atoll.node.evidence.restore import Restore
from atoll.node.evidence.shelf import Shelf
from atoll.node.jobs.desk import Desk
from atoll.node.state.models import Agreement as AgreementRow
from atoll.node.state.models import Bill, BillItem, Block, Job, Receipt

_MONTH = re.compile(r"(20|21)[0-9]{2}-(0[1-9]|1[0-2])")
_DAY = re.compile(r"(20|21)[0-9]{2}-(0[1-9]|1[0-2])-[0-3][0-9]")
_PAGE = 2000
# Differences that one answer names; the rest is counted.
_NAMED = 1000


class Billing:
    """Statements between this node and its partners.

    Args:
        shelf: shared parts of the evidence.
        desk: shared parts of jobs.
        restore: rebuilds uses and statements from recovered entries too.
    """

    def __init__(self, shelf: Shelf, desk: Desk, restore: Restore) -> None:
        self._shelf, self._desk = shelf, desk
        restore.on("receipt/v1", lambda session, _, body: self.note(session, body.document["envelope"]))
        restore.on("statement/v1", self._restored)
        shelf.partners.handle("bill.statement", self._asked_statement)
        shelf.partners.handle("bill.day", self._asked_day)
        shelf.partners.handle("bill.sign", self._signed_there)

    # Metering.

    def note(self, session: Session, envelope: dsse.Envelope) -> None:
        """Notes what a receipt bills, in the transaction that stores the receipt."""
        receipt = parse_receipt(canonical.loads(dsse.payload_bytes(envelope)))
        agreements = {}
        for digest in receipt.agreements.values():
            row = session.scalars(select(AgreementRow).where(AgreementRow.digest == digest)).first()
            if row is not None:
                agreements[digest] = open_envelope(row.envelope)[0]
        try:
            items = items_of(receipt, dsse.identifier(envelope), agreements)
        except AtollError as error:
            # Only in a recovery: another agreement of the job may still be on its way back.
            self._shelf.log.error("a receipt was not billed", job=receipt.job, text=error.text)
            return
        for item in items:
            session.merge(
                BillItem(
                    job=item.job,
                    block=item.block,
                    provider=item.provider,
                    asset=item.asset,
                    unit=item.unit,
                    agreement=item.agreement,
                    payer=item.payer,
                    day=item.day,
                    evidence=item.evidence,
                    quantity=item.quantity,
                    price=item.price,
                    currency=item.currency,
                    payees=[list(payee) for payee in item.payees],
                )
            )

    @staticmethod
    def _of(agreement: str, pair: set[str], days: str) -> tuple[Any, ...]:
        return (
            BillItem.agreement == agreement,
            BillItem.provider.in_(pair),
            BillItem.payer.in_(pair),
            BillItem.day.startswith(days, autoescape=True),
        )

    def _receipted(
        self, session: Session, agreement: str, pair: set[str], days: str, page: tuple[int, int] | None = None
    ) -> Iterator[Item]:
        """Uses with a receipt that all signed, of days that begin like `days`; of a page `(start, most)` in order."""
        query = select(BillItem.__table__).where(*self._of(agreement, pair, days))
        if page is not None:
            order = (BillItem.job, BillItem.block, BillItem.provider, BillItem.asset, BillItem.unit)
            query = query.order_by(*order).offset(page[0]).limit(page[1])
        for row in session.execute(query.execution_options(yield_per=_PAGE)).mappings():
            facts = {name: row[name] for name in row if name != "payees"}
            payees = tuple((str(key), int(parts)) for key, parts in row["payees"])
            yield Item(**facts, payees=payees, basis="receipt")

    def _provisional(self, session: Session, agreement: str, pair: set[str], days: str) -> Iterator[Item]:
        """Uses for which only a receiver's word stands, here or at the owner."""
        rows = session.execute(
            select(Receipt, Job)
            .join(Job, Job.id == Receipt.job)
            .where(Receipt.kind.in_(("provisional", "provisional-given")))
            .outerjoin(Block, (Block.job == Receipt.job) & (Block.number == Receipt.block))
            .where(((Receipt.block == 0) & (Job.evidence != "final")) | (Block.evidence != "final"))
            .order_by(Receipt.job, Receipt.block, Receipt.kind, Receipt.party)
        )
        seen: set[tuple[str, int, str, str, str]] = set()
        for receipt, job in rows:
            word = Provisional.parse(dsse.verify(PROVISIONAL_KIND, receipt.envelope, ()))
            if not word.at.startswith(days):
                continue
            block = session.get(Block, (job.id, receipt.block)) if receipt.block else None
            plan = self._desk.plan(job)
            if agreement not in {item["agreement"] for item in plan["inputs"]}:
                continue
            if not word_counts(word, plan):
                continue
            agreements = {name: state.agreement for name, state in self._desk.states(plan).items()}
            found = provisional_items(
                word,
                dsse.identifier(receipt.envelope),
                plan,
                agreements,
                rows=presented_rows(
                    plan, self._desk.approvals(job), self._desk.derive(plan).stated, plan["asker"]
                ),
                used=block.used if block is not None else None,
            )
            hosts = {
                (entry["agreement"], asset.name, asset.provider): entry["party"]
                for entry in plan["inputs"]
                if (asset := agreements[entry["agreement"]].asset_at(entry["party"], entry["asset"]))
            }
            for item in found:
                use = (item.job, item.block, item.asset, item.provider, item.unit)
                # A word that this node gave is about the owner that it was given to.
                host = hosts[item.agreement, item.asset, item.provider]
                if host != (receipt.party if receipt.kind == "provisional-given" else self._shelf.me):
                    continue
                if item.agreement == agreement and {item.payer, item.provider} == pair and use not in seen:
                    seen.add(use)
                    yield item

    def _flat(self, session: Session, agreement: str, month: str) -> list[Item]:
        rows = session.scalars(select(AgreementRow).where(AgreementRow.id == agreement)).all()
        versions: list[Agreement] = []
        revoked = None
        for row in rows:
            document, signed = open_envelope(row.envelope)
            if signed == set(document.keys):
                versions.append(document)
            if row.revocation is not None:
                revoked = open_revocation(row.revocation, document).at
        return flat_items(versions, month, revoked)

    def _unreceipted(self, session: Session, agreement: str, pair: set[str], days: str) -> Iterator[Item]:
        """Uses that only one side has signed for, and flat prices."""
        for item in self._provisional(session, agreement, pair, days):
            noted = (
                select(BillItem.job).where(BillItem.job == item.job, BillItem.block == item.block).limit(1)
            )
            if session.execute(noted).first() is None:
                yield item
        for item in self._flat(session, agreement, days[:7]):
            if {item.payer, item.provider} == pair and item.day.startswith(days):
                yield item

    def _items(self, session: Session, agreement: str, partner: str, days: str) -> Iterator[Item]:
        """Everything billed between this node and a partner in a month, or on one day of it."""
        pair = {self._shelf.me, partner}
        yield from self._receipted(session, agreement, pair, days)
        yield from self._unreceipted(session, agreement, pair, days)

    def _page(self, session: Session, agreement: str, partner: str, day: str, start: int) -> list[Item]:
        """The items of a day from `start` on, at most `_PAGE`: those with a receipt first."""
        pair = {self._shelf.me, partner}
        found = list(self._receipted(session, agreement, pair, day, (start, _PAGE)))
        if len(found) < _PAGE:
            count = select(func.count()).select_from(BillItem).where(*self._of(agreement, pair, day))
            first = max(0, start - int(session.scalar(count) or 0))
            rest = sorted(self._unreceipted(session, agreement, pair, day))
            found += rest[first : first + _PAGE - len(found)]
        return found

    # Statements.

    def _statement(self, session: Session, agreement: str, partner: str, month: str) -> dict[str, Any]:
        found = self._items(session, agreement, partner, month)
        return statement(month, agreement, (self._shelf.me, partner), found)

    @staticmethod
    def _check_month(month: Any) -> str:
        if not isinstance(month, str) or not _MONTH.fullmatch(month):
            raise AtollError("E_FORMAT", f"month: write 2026-11, not {str(month)[:40]!r}")
        return month

    def _past(self, month: str) -> str:
        """A month that has begun by this node's clock."""
        self._check_month(month)
        if month > seconds(self._shelf.clock())[:7]:
            raise AtollError("E_FORMAT", f"month: {month} has not begun")
        return month

    def _names(self, session: Session, agreement: str) -> dict[str, str]:
        found = self._shelf.agreement(session, agreement)
        if found is None:
            raise AtollError("E_NOT_FOUND", f"there is no agreement {agreement[:80]!r}")
        return found.names

    def _partner(self, names: dict[str, str], partner: str) -> str:
        keys = [key for key, name in names.items() if partner in (key, name) and key != self._shelf.me]
        if not keys:
            raise AtollError("E_NOT_FOUND", f"{partner[:80]!r} is no other signatory of the agreement")
        return keys[0]

    def show(self, month: str, agreement: str | None, partner: str | None) -> list[dict[str, Any]]:
        """Statements of a month, one for each agreement and partner with which something is billed.

        Raises:
            AtollError: `E_FORMAT` for a month that is none or has not begun, `E_NOT_FOUND` for an agreement or partner.
        """
        self._past(month)
        out = []
        with self._shelf.store.read() as session:
            every = select(AgreementRow.id).distinct().order_by(AgreementRow.id)
            wanted = [agreement] if agreement is not None else list(session.scalars(every))
            for identifier in wanted:
                names = self._names(session, identifier)
                if partner is None:
                    others = [key for key in names if key != self._shelf.me]
                elif agreement is None and partner not in {*names, *names.values()}:
                    others = []
                else:
                    others = [self._partner(names, partner)]
                for key in others:
                    document = self._statement(session, identifier, key, month)
                    if document["lines"] or (agreement is not None and partner is not None):
                        out.append(self._describe(session, document, key, names))
        return out

    def _describe(
        self, session: Session, document: dict[str, Any], partner: str, names: dict[str, str]
    ) -> dict[str, Any]:
        digest = document_digest(STATEMENT_KIND, document)
        row = session.get(Bill, (document["agreement"], document["month"], partner, digest))
        signed = sorted(dsse.signers(row.envelope)) if row is not None else []
        return {
            "month": document["month"],
            "agreement": document["agreement"],
            "partner": names[partner],
            "statement": digest,
            "state": row.state if row is not None else "open",
            "signed": [names.get(key, key) for key in signed],
            "owe": self._sums(document, self._shelf.me),
            "owed": self._sums(document, partner),
            "lines": [
                {
                    **line,
                    "provider": names.get(line["provider"], line["provider"]),
                    "payer": names.get(line["payer"], line["payer"]),
                    "text": money(int(line["amount"]), line["currency"]),
                    "payees": [
                        {**payee, "to": names.get(payee["to"], payee["to"])} for payee in line["payees"]
                    ],
                }
                for line in document["lines"]
            ],
            "document": document,
            "envelope": row.envelope if row is not None else None,
        }

    @staticmethod
    def _sums(document: dict[str, Any], payer: str) -> list[str]:
        totals = [t for t in document["totals"] if t["payer"] == payer]
        return [money(int(total["amount"]), total["currency"]) for total in totals]

    # With the partner.

    def compare(
        self, month: str, agreement: str, partner: str, person: str, record: bool = False
    ) -> dict[str, Any]:
        """Fetches the partner's own statement and names what differs, down to the receipts.

        Args:
            record: notes a difference in the agreement's log.
            person: who asked.
        """
        self._past(month)
        with self._shelf.store.read() as session:
            names = self._names(session, agreement)
            key = self._partner(names, partner)
            mine = parse_statement(self._statement(session, agreement, key, month))
        theirs = self._fetch(key, agreement, month)
        lines, days = compare(mine, theirs)
        found: list[DayDifference] = []
        for day in days:
            with self._shelf.store.read() as session:
                here = [i.document() for i in self._items(session, agreement, key, day)]
            found += compare_day(here, self._fetch_day(key, agreement, day))
        digests = {
            "here": document_digest(STATEMENT_KIND, mine.document()),
            "there": document_digest(STATEMENT_KIND, theirs.document()),
        }
        if record and digests["here"] != digests["there"]:
            self._dispute(agreement, month, key, digests, found)
        self._shelf.log.info(
            "statements compared", agreement=agreement, month=month, person=person, equal=not (lines or days)
        )
        return {
            "month": month,
            "agreement": agreement,
            "partner": names[key],
            "equal": digests["here"] == digests["there"],
            "statements": digests,
            "lines": [
                {
                    **vars(d),
                    "provider": names.get(d.provider, d.provider),
                    "payer": names.get(d.payer, d.payer),
                }
                for d in lines
            ],
            "days": days,
            "differences": len(found),
            "receipts": [{**vars(d), "fields": list(d.fields)} for d in found[:_NAMED]],
        }

    def _dispute(
        self, agreement: str, month: str, partner: str, digests: dict[str, str], found: list[DayDifference]
    ) -> None:
        document = {
            "month": month,
            "partner": partner,
            **digests,
            "receipts": [d.evidence for d in found[:_NAMED]],
            "differences": len(found),
        }
        with self._shelf.store.write() as session:
            self._desk.record(session, agreement, DISPUTE_KIND.removesuffix("/v1"), document, None)

    def _fetch(self, partner: str, agreement: str, month: str) -> Statement:
        body = {"agreement": agreement, "month": month}
        answer = self._shelf.partners.request(partner, "bill.statement", body)
        if not isinstance(answer, dict) or set(answer) != {"statement"}:
            raise AtollError("E_WIRE", "not a statement", party=partner)
        found = parse_statement(dsse.verify(STATEMENT_KIND, answer["statement"], (partner,)))
        if (found.agreement, found.month) != (agreement, month) or set(found.parties) != {
            partner,
            self._shelf.me,
        }:
            raise AtollError("E_WIRE", "the statement is of another month, agreement or pair", party=partner)
        return found

    def _fetch_day(self, partner: str, agreement: str, day: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            body = {"agreement": agreement, "day": day, "start": len(found)}
            answer = self._shelf.partners.request(partner, "bill.day", body)
            items = answer.get("items") if isinstance(answer, dict) else None
            if not isinstance(items, list) or len(items) > _PAGE or not all(_is_item(i) for i in items):
                raise AtollError("E_WIRE", "not the items of a day", party=partner)
            found += items
            if len(items) < _PAGE:
                return found
            if len(found) > 10_000_000:
                raise AtollError("E_TOO_LARGE", "a day has too many items", party=partner)

    def sign(self, month: str, agreement: str, partner: str, person: str) -> dict[str, Any]:
        """Signs this node's statement of a month that is over; agreed once the partner signed the same one.

        Raises:
            AtollError: `E_STATE` before the month is over by this node's clock.
        """
        if self._past(month) == seconds(self._shelf.clock())[:7]:
            raise AtollError("E_STATE", f"{month} is not over")
        with self._shelf.store.write() as session:
            names = self._names(session, agreement)
            key = self._partner(names, partner)
            document = self._statement(session, agreement, key, month)
            if not document["lines"]:
                raise AtollError("E_STATE", f"nothing is billed with {names[key]} in {month}")
            row = self._keep(session, key, dsse.sign(STATEMENT_KIND, document, self._shelf.signing))
            self._shelf.partners.outbox.put(session, key, "bill.sign", {"statement": row.envelope})
            self._shelf.log.info("statement signed", agreement=agreement, month=month, person=person)
            found = self._describe(session, document, key, names)
        self._shelf.partners.outbox.wake()
        return found

    def _keep(self, session: Session, partner: str, envelope: dsse.Envelope) -> Bill:
        """Adds an envelope's signatures to those that are held; both make it agreed, and evidence."""
        document = parse_statement(dsse.verify(STATEMENT_KIND, envelope, ()))
        key = (document.agreement, document.month, partner, dsse.identifier(envelope))
        row = session.get(Bill, key)
        if row is None:
            row = Bill(
                agreement=key[0],
                month=key[1],
                partner=partner,
                digest=key[3],
                envelope=envelope,
                state="signed",
                at=self._shelf.now(),
            )
            session.add(row)
        row.envelope, row.at = dsse.merge(row.envelope, envelope), self._shelf.now()
        if row.state == "signed" and set(document.parties) <= dsse.signers(row.envelope):
            row.state = "agreed"
            self._desk.record(
                session,
                document.agreement,
                STATEMENT_KIND.removesuffix("/v1"),
                {"envelope": row.envelope},
                None,
            )
        return row

    def _restored(self, session: Session, agreement: str, body: Body) -> None:
        envelope = body.document["envelope"]
        document = parse_statement(dsse.verify(STATEMENT_KIND, envelope, ()))
        (partner,) = set(document.parties) - {self._shelf.me}
        session.merge(
            Bill(
                agreement=document.agreement,
                month=document.month,
                partner=partner,
                digest=dsse.identifier(envelope),
                envelope=envelope,
                state="agreed",
                at=body.time.replace("Z", ".000Z"),
            )
        )

    # What partners ask.

    def _asked_statement(self, remote: Remote, body: Any) -> Any:
        if not isinstance(body, dict) or set(body) != {"agreement", "month"}:
            raise AtollError("E_WIRE", "not a request for a statement")
        month = self._check_month(body["month"])
        with self._shelf.store.read() as session:
            self._shelf.require_signatory(session, body["agreement"], remote.identity, remote.name)
            document = self._statement(session, body["agreement"], remote.identity, month)
        return {"statement": dsse.sign(STATEMENT_KIND, document, self._shelf.signing)}

    def _asked_day(self, remote: Remote, body: Any) -> Any:
        if (
            not isinstance(body, dict)
            or set(body) != {"agreement", "day", "start"}
            or not isinstance(body["day"], str)
            or not _DAY.fullmatch(body["day"])
            or type(body["start"]) is not int
            or body["start"] < 0
        ):
            raise AtollError("E_WIRE", "not a request for the items of a day")
        with self._shelf.store.read() as session:
            self._shelf.require_signatory(session, body["agreement"], remote.identity, remote.name)
            part = self._page(session, body["agreement"], remote.identity, body["day"], body["start"])
        return {"items": [item.document() for item in part]}

    def _signed_there(self, remote: Remote, body: Any) -> Any:
        """A partner signed a statement; it counts here once a steward of this node signs the same one."""
        if not isinstance(body, dict) or set(body) != {"statement"}:
            raise AtollError("E_WIRE", "not a signed statement")
        document = parse_statement(dsse.verify(STATEMENT_KIND, body["statement"], (remote.identity,)))
        if set(document.parties) != {remote.identity, self._shelf.me}:
            raise AtollError("E_SIGNATURE", "the statement is of another pair", party=remote.name)
        with self._shelf.store.write() as session:
            self._shelf.require_signatory(session, document.agreement, remote.identity, remote.name)
            mine = self._statement(session, document.agreement, remote.identity, document.month)
            if document_digest(STATEMENT_KIND, mine) != dsse.identifier(body["statement"]):
                raise AtollError(
                    "E_RECEIPT", "this node's own statement of the month differs", party=remote.name
                )
            row = self._keep(session, remote.identity, body["statement"])
            if row.state == "agreed" and remote.identity in dsse.signers(row.envelope):
                known = {remote.identity, self._shelf.me} <= dsse.signers(body["statement"])
                if not known:
                    self._shelf.partners.outbox.put(
                        session, remote.identity, "bill.sign", {"statement": row.envelope}
                    )
        self._shelf.partners.outbox.wake()
        return {}


def _is_item(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value)
        == {
            "evidence", "asset", "provider", "payer", "unit", "quantity", "price", "currency", "payees", "job",
            "block", "basis",
        }
        and all(
            isinstance(value[k], str) and len(value[k]) <= 300
            for k in ("evidence", "asset", "provider", "payer", "unit", "price", "currency", "job", "basis")
        )
        and all(type(value[k]) is int for k in ("quantity", "block"))
        and isinstance(value["payees"], list)
        and len(value["payees"]) <= 64
    )  # fmt: skip
