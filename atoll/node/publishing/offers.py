"""Standing offers at one node: published, renewed, withdrawn, received from partners; what follows from them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from atoll.agreements import Agreement, Asset
from atoll.agreements.offer import (
    OFFER_KIND,
    OFFER_WITHDRAWAL_KIND,
    Offer,
    Reason,
    build_offer_withdrawal,
    check_successor,
    follows,
    offer_changes,
    open_offer,
    open_offer_withdrawal,
)
from atoll.crypto import canonical, dsse
from atoll.crypto.document import parse_time
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.net.link import Peer as Remote
from atoll.node.agreements import Agreements
from atoll.node.agreements import opened as opened_agreement
from atoll.node.clock import Clock, stamp
from atoll.node.logs import logger
from atoll.node.memo import Memo
from atoll.node.partners import Partners
from atoll.node.state.models import Agreement as AgreementRow
from atoll.node.state.offers import Offer as Row
from atoll.node.state.store import Store

# What is kept of one partner at most, and how large one offer is at most.
_OFFERS = 500
_BYTES = 256 * 1024

_OPENED: Memo[Offer] = Memo(2048)


def opened(row: Row) -> Offer:
    """The checked offer of a row."""
    return _OPENED.get(row.digest, lambda: open_offer(row.envelope))


class Offers:
    """All offers that this node published or was sent.

    Args:
        record: appends to the node's private log, in the caller's transaction: session, kind, document.
        members: name of each member's key of a consortium's roster; raises `E_NOT_FOUND` for an unknown one.
    """

    def __init__(
        self,
        store: Store,
        partners: Partners,
        agreements: Agreements,
        signing: SigningKey,
        clock: Clock,
        record: Callable[[Session, str, Any], None],
        members: Callable[[str], Mapping[str, str]] | None = None,
    ) -> None:
        self._store, self._partners, self._agreements = store, partners, agreements
        self._signing, self._clock, self._record = signing, clock, record
        self.members = members or _no_roster
        self._me = str(signing.public)
        self._log = logger("offers")
        agreements.follows = self.follows
        partners.handle("offer.publish", self._published_there)
        partners.handle("offer.withdraw", self._withdrawn_there)

    # Reading.

    def _row(self, session: Session, identifier: str, version: int | None = None) -> Row:
        query = select(Row).where(Row.provider == self._me, Row.id == identifier).order_by(Row.version.desc())
        if version is not None:
            query = query.where(Row.version == version)
        row = session.scalars(query).first()
        if row is None:
            raise AtollError("E_NOT_FOUND", f"this node published no offer {identifier[:80]!r}")
        return row

    def describe(self, row: Row, full: bool = False) -> dict[str, Any]:
        """One version for the API."""
        offer = opened(row)
        state = row.state
        if state == "current" and parse_time(offer.validity.not_after) <= self._clock():
            state = "ended"
        names = {p.identity: p.name for p in self._partners.active()} | {self._me: self._partners.name}
        body: dict[str, Any] = {
            "id": row.id,
            "version": row.version,
            "digest": row.digest,
            "state": state,
            "provider": names.get(row.provider, row.provider),
            "title": offer.title.document(),
            "asset": offer.asset.name,
            "type": offer.asset.type,
            "to": {
                "kind": offer.to.kind,
                "names": [names.get(key, key) for key in offer.to.keys],
                "roster": offer.to.roster,
            },
            "receivers": [names.get(key, key) for key in row.receivers],
            "validity": offer.validity.document(),
            "agreement_days": offer.agreement_days,
            "created": row.created,
            "changed": row.changed,
        }
        if full:
            body["document"] = offer.document()
            body["envelope"] = row.envelope
            body["withdrawal"] = row.withdrawal
        return body

    def listed(self) -> list[dict[str, Any]]:
        """The newest version of every offer of this node, newest first."""
        with self._store.read() as session:
            rows = session.scalars(
                select(Row)
                .where(Row.provider == self._me, Row.state != "superseded")
                .order_by(Row.created.desc(), Row.id)
            ).all()
        return [self.describe(row) for row in rows]

    def show(self, identifier: str, version: int | None = None) -> dict[str, Any]:
        """One version with its document and what changed since the one before."""
        with self._store.read() as session:
            row = self._row(session, identifier, version)
            before = self._row(session, identifier, row.version - 1) if row.version > 1 else None
        body = self.describe(row, full=True)
        if before is not None:
            body["changes"] = changes_between(opened(before), opened(row))
        return body

    def current(self) -> list[tuple[Row, Offer]]:
        """Offers of active partners that stand now and are not withdrawn."""
        active = {p.identity for p in self._partners.active()}
        with self._store.read() as session:
            rows = session.scalars(
                select(Row).where(Row.provider != self._me, Row.state == "current").order_by(Row.created)
            ).all()
        found = [(row, opened(row)) for row in rows if row.provider in active]
        now = self._clock()
        return [(row, offer) for row, offer in found if offer.refusal(now) is None]

    def members_of(self, *offers: Offer) -> dict[str, frozenset[str]]:
        """Keys of the members of the consortia that offers stand for, as far as this node knows them."""
        out = {}
        for roster in {o.to.roster for o in offers if o.to.roster is not None}:
            try:
                out[roster] = frozenset(self.members(roster))
            except AtollError as error:
                if error.code != "E_NOT_FOUND":
                    raise
                out[roster] = frozenset()
        return out

    # Publishing.

    def publish(
        self, draft: dict[str, Any], version_of: str | None = None, dry_run: bool = False
    ) -> dict[str, Any]:
        """Signs an offer, or the next version of one, and sends it to whom it stands for.

        Args:
            draft: an offer; identifier, version and provider are filled in where they are missing.
            version_of: identifier of the offer that this is the next version of.
            dry_run: only checks, and shows the document, its receivers, and what changes.
        """
        with self._store.read() as session:
            before = self._row(session, version_of) if version_of is not None else None
        filled = {
            "format": "atoll.offer/v1",
            "id": before.id if before else f"off-{secrets.token_hex(8)}",
            "version": before.version + 1 if before else 1,
            "supersedes": before.digest if before else None,
            "provider": self._me,
        }
        offer = Offer.parse({**filled, **draft} if before is None else {**draft, **filled}, what="offer")
        self._check(offer)
        to = self._receivers(offer)
        if dry_run:
            names = {p.identity: p.name for p in self._partners.active()}
            changes = changes_between(opened(before), offer) if before is not None else []
            with self._store.read() as session:
                self._agreements.check_table(session, self._asset(offer))
            return {
                "document": offer.document(), "receivers": [names[key] for key in to], "changes": changes,
            }  # fmt: skip
        envelope = dsse.sign(OFFER_KIND, offer.document(), self._signing)
        now = stamp(self._clock())
        with self._store.write() as session:
            self._agreements.check_table(session, self._asset(offer))
            rows = session.scalars(
                select(Row).where(Row.provider == self._me, Row.id == offer.id).order_by(Row.version)
            ).all()
            last = rows[-1] if rows else None
            if last is not None:
                if last.state == "withdrawn":
                    raise AtollError("E_STATE", f"offer {offer.id} was withdrawn; publish a new one")
                check_successor(opened(last), offer)
                last.state, last.changed = "superseded", now
                self._tell_dropped(session, last, set(to))
            elif offer.version != 1:
                raise AtollError("E_OFFER", f"version {offer.version - 1} of {offer.id} does not stand here")
            row = Row(
                provider=self._me, id=offer.id, version=offer.version, digest=offer.digest, envelope=envelope,
                state="current", not_after=offer.validity.not_after, receivers=to, created=now, changed=now,
            )  # fmt: skip
            session.add(row)
            self._record(session, "offer", {"digest": offer.digest, "envelope": envelope})
            for key in to:
                self._partners.outbox.put(session, key, "offer.publish", {"envelope": envelope})
        self._partners.outbox.wake()
        self._log.info("offer published", offer=offer.id, version=offer.version, receivers=len(to))
        return self.describe(row)

    def _check(self, offer: Offer) -> None:
        if offer.provider != self._me:
            raise AtollError("E_OFFER", "provider: an institution publishes offers of its own alone")
        if offer.to.kind == "consortium":
            self.members(str(offer.to.roster))
        if parse_time(offer.validity.not_after) <= self._clock():
            raise AtollError("E_OFFER", f"the offer ended at {offer.validity.not_after}")
        if len(canonical.dumps(offer.document())) > _BYTES:
            raise AtollError("E_TOO_LARGE", f"an offer is at most {_BYTES} bytes", fault="caller")

    def _asset(self, offer: Offer) -> Asset:
        return Asset.parse({**offer.asset.document(), "provider": self._me, "grants": []}, what="asset")

    def _receivers(self, offer: Offer) -> list[str]:
        members = self.members_of(offer)
        return sorted(p.identity for p in self._partners.active() if offer.allows(p.identity, members))

    def _tell_dropped(self, session: Session, row: Row, kept: set[str]) -> None:
        """Those for whom an offer no longer stands are told that it ended for them."""
        active = {p.identity for p in self._partners.active()}
        dropped = [key for key in row.receivers if key not in kept and key in active]
        if dropped:
            document = build_offer_withdrawal(opened(row), self._clock())
            envelope = dsse.sign(OFFER_WITHDRAWAL_KIND, document, self._signing)
            for key in dropped:
                self._partners.outbox.put(session, key, "offer.withdraw", {"envelope": envelope})

    def withdraw(self, identifier: str) -> dict[str, Any]:
        """Ends an offer; agreements that were made from it stay."""
        with self._store.write() as session:
            row = self._row(session, identifier)
            if row.state == "current":
                document = build_offer_withdrawal(opened(row), self._clock())
                row.withdrawal = dsse.sign(OFFER_WITHDRAWAL_KIND, document, self._signing)
                row.state, row.changed = "withdrawn", stamp(self._clock())
                self._record(session, "offer-withdrawal", {"digest": row.digest, "envelope": row.withdrawal})
                active = {p.identity for p in self._partners.active()}
                for key in row.receivers:
                    if key in active:
                        body = {"envelope": row.withdrawal}
                        self._partners.outbox.put(session, key, "offer.withdraw", body)
        self._partners.outbox.wake()
        self._log.info("offer withdrawn", offer=identifier)
        return self.describe(row)

    def _redistribute(self, keys: set[str] | None, roster: str | None, again: bool) -> None:
        """Sends standing offers to partners for whom they stand now, and tells those for whom they ended.

        Args:
            keys: partners in question; None for all active ones.
            roster: only offers to this consortium; None for all offers.
            again: also to those to whom an offer was sent before.
        """
        with self._store.write() as session:
            rows = session.scalars(select(Row).where(Row.provider == self._me, Row.state == "current")).all()
            for row in rows:
                offer = opened(row)
                if offer.refusal(self._clock()) is not None or (roster and offer.to.roster != roster):
                    continue
                to = self._receivers(offer)
                for key in to:
                    if (keys is None or key in keys) and (again or key not in row.receivers):
                        body = {"envelope": row.envelope}
                        self._partners.outbox.put(session, key, "offer.publish", body)
                if keys is None:
                    self._tell_dropped(session, row, set(to))
                row.receivers = to if keys is None else sorted({*row.receivers, *(keys & set(to))})
        self._partners.outbox.wake()

    def on_active(self, identity: str) -> None:
        """A partner was paired: offers that stand for it go out, again if it was paired before."""
        self._redistribute({identity}, None, again=True)

    def on_roster_changed(self, roster: str) -> None:
        """The members of a consortium changed: new ones get its offers, former ones are told of the end."""
        self._redistribute(None, roster, again=False)

    # What partners send.

    def _published_there(self, remote: Remote, body: Any) -> Any:
        if not isinstance(body, dict) or set(body) != {"envelope"}:
            raise AtollError("E_WIRE", "not an offer")
        offer = open_offer(body["envelope"])
        if offer.provider != remote.identity:
            raise AtollError("E_OFFER", "the sender is not the offer's provider", party=remote.name)
        if len(canonical.dumps(offer.document())) > _BYTES:
            raise AtollError("E_TOO_LARGE", f"an offer is at most {_BYTES} bytes", party=remote.name)
        if offer.to.kind == "named" and self._me not in offer.to.keys:
            raise AtollError("E_OFFER", "the offer does not stand for this institution", party=remote.name)
        now = stamp(self._clock())
        with self._store.write() as session:
            rows = session.scalars(
                select(Row)
                .where(Row.provider == offer.provider, Row.id == offer.id)
                .order_by(Row.version.desc())
            ).all()
            last = rows[0] if rows else None
            if last is not None and last.version >= offer.version:
                if last.version == offer.version and last.digest != offer.digest:
                    raise AtollError(
                        "E_CONFLICT", f"another version {offer.version} of {offer.id} is known here",
                        party=remote.name,
                    )  # fmt: skip
                if last.version == offer.version and last.state == "withdrawn":
                    # It had ended for this institution alone, as when it left a consortium and came back.
                    last.state, last.withdrawal, last.changed = "current", None, now
                return {}
            if last is not None and last.version + 1 == offer.version:
                check_successor(opened(last), offer)
            self._make_room(session, remote, now)
            for row in rows[1:]:
                session.delete(row)
            if last is not None:
                last.state, last.changed = "superseded", now
            session.flush()
            session.add(
                Row(
                    provider=offer.provider, id=offer.id, version=offer.version, digest=offer.digest,
                    envelope=body["envelope"], state="current", not_after=offer.validity.not_after,
                    receivers=[], created=now, changed=now,
                )
            )  # fmt: skip
        self._log.info("offer received", offer=offer.id, version=offer.version, peer=remote.name)
        return {}

    def _make_room(self, session: Session, remote: Remote, now: str) -> None:
        """One partner's offers fill no more than their share; those that ended by their date go first."""
        theirs = select(func.count()).select_from(Row).where(Row.provider == remote.identity)
        if (session.scalar(theirs) or 0) < _OFFERS:
            return
        session.execute(delete(Row).where(Row.provider == remote.identity, Row.not_after < now))
        if (session.scalar(theirs) or 0) >= _OFFERS:
            raise AtollError("E_QUOTA", f"{_OFFERS} offers of that partner are kept", party=remote.name)

    def _withdrawn_there(self, remote: Remote, body: Any) -> Any:
        if not isinstance(body, dict) or set(body) != {"envelope"}:
            raise AtollError("E_WIRE", "not a withdrawal")
        found = open_offer_withdrawal(body["envelope"])
        if found.by != remote.identity:
            raise AtollError("E_OFFER", "the sender is not the offer's provider", party=remote.name)
        with self._store.write() as session:
            row = session.scalars(
                select(Row).where(Row.provider == found.by, Row.digest == found.version)
            ).first()
            # A version that is not the newest here has ended already.
            if row is not None and row.state == "current":
                row.state, row.changed = "withdrawn", stamp(self._clock())
                row.withdrawal = body["envelope"]
        self._log.info("offer withdrawn by a partner", offer=found.offer, peer=remote.name)
        return {}

    # What follows from this node's offers.

    def follows(self, session: Session, agreement: Agreement) -> list[Reason]:
        """Why a steward must look at an agreement that names offers; empty if it is what was offered.

        Raises:
            AtollError: `E_OFFER` if it names an offer of this node that does not stand, or none that is known.
        """
        rows = session.scalars(
            select(Row).where(Row.provider == self._me, Row.digest.in_(agreement.offers))
        ).all()
        if not rows and any(a.provider == self._me for a in agreement.assets):
            raise AtollError("E_OFFER", "no offer that the agreement names was published here")
        standing = {}
        for row in rows:
            offer = opened(row)
            if row.state != "current":
                raise AtollError("E_OFFER", f"version {row.version} of offer {row.id} is {row.state}")
            refusal = offer.refusal(self._clock())
            if refusal is not None:
                raise refusal
            standing[row.digest] = offer
        found = follows(
            agreement,
            self._me,
            standing,
            members=self.members_of(*standing.values()),
            partners={p.identity for p in self._partners.active()},
            now=self._clock(),
        )
        return found + self._again(session, agreement)

    def _again(self, session: Session, agreement: Agreement) -> list[Reason]:
        """Counters belong to an agreement: whoever makes another one of an asset begins with none used up."""
        new = _granted(agreement, self._me)
        out = []
        for row in session.scalars(select(AgreementRow).where(AgreementRow.state != "declined")):
            old, signed = opened_agreement(row)
            if row.id == agreement.id or self._me not in signed:
                continue
            for name, key in sorted(new & _granted(old, self._me)):
                who = agreement.names[key]
                out.append(
                    Reason(
                        f"{who} had {name} by agreement {row.id}: its quota and bounds would begin anew.",
                        f"{who} 已通过协议 {row.id} 获得 {name}：其配额与限制将重新计算。",
                    )
                )
        return out


def _granted(agreement: Agreement, provider: str) -> set[tuple[str, str]]:
    """Assets of a provider with each of their grantees."""
    return {
        (a.name, key) for a in agreement.assets if a.provider == provider for g in a.grants for key in g.to
    }


def _no_roster(roster: str) -> Mapping[str, str]:
    raise AtollError("E_NOT_FOUND", f"this node knows no consortium {roster[:80]!r}")


def changes_between(old: Offer, new: Offer) -> list[dict[str, str]]:
    return [{"path": c.path, "en": c.text("en"), "zh": c.text("zh")} for c in offer_changes(old, new)]
