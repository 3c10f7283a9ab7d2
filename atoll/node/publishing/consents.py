"""Data subjects' authorisations at one node: issued here, taken in from others, shown with calls, withdrawn."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import cbor2
from sqlalchemy import select
from sqlalchemy.orm import Session

from atoll.agreements.consent import (
    CONSENT_KIND,
    WITHDRAWAL_KIND,
    Authorisation,
    attest,
    build_consent,
    build_withdrawal,
    check_attested,
    check_consent,
    open_consent,
    open_withdrawal,
)
from atoll.agreements.terms import ConsentMode
from atoll.crypto import dsse
from atoll.crypto.document import parse_time
from atoll.crypto.suite import SigningKey, opening
from atoll.errors import AtollError
from atoll.net.link import Peer as Remote
from atoll.node.agreements import Agreements
from atoll.node.clock import Clock, parse, stamp
from atoll.node.logs import logger
from atoll.node.partners import Partners
from atoll.node.state.models import Consent
from atoll.node.state.store import Store
from atoll.node.vault import Vault

# Authorisations last at most so long: a data subject is asked again.
_MOST_DAYS = 3660


class Consents:
    """All authorisations that this node holds or knows to be withdrawn."""

    def __init__(
        self,
        store: Store,
        partners: Partners,
        agreements: Agreements,
        vault: Vault,
        signing: SigningKey,
        clock: Clock,
    ) -> None:
        self._store, self._partners, self._agreements = store, partners, agreements
        self._vault, self._signing, self._clock = vault, signing, clock
        self._me = str(signing.public)
        self._log = logger("consents")
        self.on_withdrawn: Callable[[str], None] = lambda consent: None
        partners.handle("consent.withdraw", self._withdrawn_there)

    # Issuing and taking in.

    def issue(
        self,
        subject: str,
        *,
        grantee: str | None,
        purposes: Sequence[str],
        functions: Sequence[str],
        days: int,
    ) -> dict[str, Any]:
        """An authorisation that this node signs for a data subject whose word it has.

        Args:
            subject: the subject's identity; it enters by a salted commitment only.
            grantee: name or key of the partner who may ask; None for this institution.
            days: of validity, from now.
        """
        if not 1 <= days <= _MOST_DAYS:
            raise AtollError("E_FORMAT", f"days: an authorisation lasts 1 to {_MOST_DAYS} days")
        if not 1 <= len(subject) <= 1000:
            raise AtollError("E_FORMAT", "subject: 1 to 1,000 characters")
        now = self._clock()
        salt = opening()
        document = build_consent(
            issuer=self._me,
            subject=subject,
            opening=salt,
            grantee=self._me if grantee is None else self._partners.peer(grantee).identity,
            purposes=purposes,
            functions=functions,
            not_before=now,
            not_after=now + timedelta(days=days),
            nonce=secrets.token_hex(16),
        )
        envelope = dsse.sign(CONSENT_KIND, document, self._signing)
        sealed = self._vault.seal(f"consent {dsse.identifier(envelope)}", cbor2.dumps([subject, salt]))
        return self._keep(envelope, sealed)

    def take(self, envelope: dsse.Envelope) -> dict[str, Any]:
        """Keeps an authorisation that another issuer signed for this institution."""
        found = open_consent(envelope)
        if found.grantee != self._me:
            raise AtollError("E_CONSENT", "the authorisation was given to another institution")
        return self._keep(envelope, None)

    def _keep(self, envelope: dsse.Envelope, sealed: bytes | None) -> dict[str, Any]:
        found, digest = open_consent(envelope), dsse.identifier(envelope)
        with self._store.write() as session:
            row = session.get(Consent, digest)
            if row is None:
                row = Consent(
                    digest=digest,
                    issuer=found.issuer,
                    grantee=found.grantee,
                    not_after=stamp(parse_time(found.not_after)),
                    created=stamp(self._clock()),
                )
                session.add(row)
            row.envelope = row.envelope or envelope
            row.subject = row.subject or sealed
        return self._describe(row)

    # Reading.

    def _row(self, digest: str) -> Consent:
        with self._store.read() as session:
            row = session.get(Consent, digest)
        if row is None or row.envelope is None:
            raise AtollError("E_NOT_FOUND", f"there is no authorisation {digest[:80]!r}")
        return row

    def _describe(self, row: Consent, full: bool = False) -> dict[str, Any]:
        found = open_consent(row.envelope)
        names = {p.identity: p.name for p in self._partners.active()} | {self._me: self._partners.name}
        state = "withdrawn" if row.withdrawn else "valid"
        if not row.withdrawn and parse(row.not_after) <= self._clock():
            state = "ended"
        body: dict[str, Any] = {
            "consent": row.digest,
            "issuer": names.get(row.issuer, row.issuer),
            "grantee": names.get(row.grantee, row.grantee),
            "purposes": list(found.purposes),
            "functions": list(found.functions),
            "not_before": found.not_before,
            "not_after": found.not_after,
            "state": state,
            "created": row.created,
            "withdrawn": row.withdrawn,
        }
        if full:
            body["envelope"] = row.envelope
            body["withdrawal"] = row.withdrawal
            if row.subject is not None:
                body["subject"] = cbor2.loads(self._vault.open(f"consent {row.digest}", row.subject))[0]
        return body

    def show(self, digest: str) -> dict[str, Any]:
        """One authorisation with its envelope, and where this node issued it, its subject."""
        return self._describe(self._row(digest), full=True)

    def listed(self, limit: int, before: str | None) -> list[dict[str, Any]]:
        """Authorisations, newest first; page with `before`, the `created` of the last one."""
        query = select(Consent).where(Consent.envelope.is_not(None)).order_by(Consent.created.desc())
        if before:
            query = query.where(Consent.created < before)
        with self._store.read() as session:
            rows = session.scalars(query.limit(limit)).all()
        return [self._describe(row) for row in rows]

    def shown(
        self, digest: str | None, *, mode: ConsentMode, issuers: Sequence[str], purpose: str, function: str
    ) -> dict[str, Any] | None:
        """What a call of this node's shows: nothing, a fresh commitment, or the authorisation itself.

        Raises:
            AtollError: `E_CONSENT` if none is named where one is needed, or it does not cover the call.
        """
        if mode == "none":
            return None
        if digest is None:
            raise AtollError(
                "E_CONSENT", f"the plan asks for consent that is {mode}, and the call names none"
            )
        row = self._row(digest)
        if row.withdrawn:
            raise AtollError("E_CONSENT", f"the authorisation was withdrawn at {row.withdrawn}")
        check_consent(
            self._opened(row),
            issuers=issuers,
            asker=self._me,
            purpose=purpose,
            function=function,
            now=self._clock(),
        )
        if mode == "presented":
            return {"commitment": None, "opening": None, "envelope": row.envelope}
        salt = opening()
        return {"commitment": attest(row.envelope, salt), "opening": salt, "envelope": None}

    @staticmethod
    def _opened(row: Consent) -> Authorisation:
        return open_consent(row.envelope)

    def envelopes(self) -> dict[str, dsse.Envelope]:
        """All authorisations that this node can show, by digest."""
        with self._store.read() as session:
            rows = session.scalars(select(Consent).where(Consent.envelope.is_not(None))).all()
        return {row.digest: row.envelope for row in rows}

    def attested(self, commitment: str, salt: bytes) -> dsse.Envelope | None:
        """The authorisation that a call's commitment opens to, if this node holds it."""
        held = self.envelopes().values()
        return next((envelope for envelope in held if check_attested(commitment, envelope, salt)), None)

    # The end.

    def withdraw(self, digest: str, withdrawal: dsse.Envelope | None = None) -> dict[str, Any]:
        """Ends an authorisation: signed here if this node issued it, else by the issuer's own withdrawal."""
        row = self._row(digest)
        if withdrawal is None:
            if row.issuer != self._me:
                raise AtollError(
                    "E_CONSENT",
                    "this node did not issue the authorisation",
                    cure="Give the withdrawal that its issuer signed.",
                )
            document = build_withdrawal(digest, self._clock())
            withdrawal = dsse.sign(WITHDRAWAL_KIND, document, self._signing)
        open_withdrawal(withdrawal, row.envelope)
        with self._store.write() as session:
            stored = session.get_one(Consent, digest)
            if stored.withdrawn is None:
                stored.withdrawn, stored.withdrawal = stamp(self._clock()), withdrawal
                self._tell(session, row.envelope, withdrawal)
        self._partners.outbox.wake()
        self.on_withdrawn(digest)
        return self._describe(self._row(digest))

    def _tell(self, session: Session, consent: dsse.Envelope, withdrawal: dsse.Envelope) -> None:
        """All partners whose agreements ask for consents of this issuer are told."""
        issuer = open_consent(consent).issuer
        told: set[str] = set()
        for agreement in self._agreements.in_force():
            for asset in agreement.assets:
                for grant in asset.grants:
                    if issuer in grant.consent.issuers and grant.consent.mode == "presented":
                        told.add(asset.host)
        paired = {p.identity for p in self._partners.active()}
        for key in sorted((told & paired) - {self._me}):
            body = {"consent": consent, "withdrawal": withdrawal}
            self._partners.outbox.put(session, key, "consent.withdraw", body)

    def _issuers(self) -> set[str]:
        """Whose authorisations this node's own grants ask for."""
        return {
            issuer
            for agreement in self._agreements.in_force()
            for asset in agreement.assets
            if asset.host == self._me
            for grant in asset.grants
            for issuer in grant.consent.issuers
        }

    def _withdrawn_there(self, remote: Remote, body: Any) -> Any:
        if not isinstance(body, dict) or set(body) != {"consent", "withdrawal"}:
            raise AtollError("E_WIRE", "not a withdrawal")
        found = open_consent(body["consent"])
        open_withdrawal(body["withdrawal"], body["consent"])
        if found.issuer not in self._issuers():
            raise AtollError(
                "E_CONSENT", "no agreement here asks for consents of that issuer", party=remote.name
            )
        digest = dsse.identifier(body["consent"])
        with self._store.write() as session:
            row = session.get(Consent, digest)
            if row is None:
                row = Consent(
                    digest=digest,
                    issuer=found.issuer,
                    grantee=found.grantee,
                    not_after=stamp(parse_time(found.not_after)),
                    created=stamp(self._clock()),
                )
                session.add(row)
            if row.withdrawn is None:
                row.withdrawn, row.withdrawal = stamp(self._clock()), body["withdrawal"]
        self.on_withdrawn(digest)
        self._log.info("an authorisation was withdrawn", peer=remote.name)
        return {}
