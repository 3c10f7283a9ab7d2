"""Agreements at one node: offered, signed by a steward, sent around, amended, revoked."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atoll.agreements import (
    Agreement,
    AgreementState,
    build_revocation,
    check_amendment,
    diff,
    open_envelope,
    open_revocation,
)
from atoll.agreements.lifecycle import REVOCATION_KIND
from atoll.agreements.model import KIND, parse
from atoll.agreements.model import Asset as AgreedAsset
from atoll.agreements.notes import notes
from atoll.agreements.offer import Reason
from atoll.crypto import dsse
from atoll.crypto.suite import SigningKey
from atoll.errors import AtollError
from atoll.net.link import Peer as Remote
from atoll.node.clock import Clock, stamp
from atoll.node.logs import logger
from atoll.node.memo import Memo
from atoll.node.partners import Partners
from atoll.node.state.models import Agreement as Row
from atoll.node.state.models import Asset
from atoll.node.state.store import Store

Record = Callable[[Session, str, str, Any, str | None], None]

# A partner's offers that wait for a steward here, at most.
_OFFERS = 200


def new_agreement_id() -> str:
    """A fresh agreement identifier."""
    return f"agr-{secrets.token_hex(8)}"


_OPENED: Memo[tuple[Agreement, frozenset[str]]] = Memo()


def opened(row: Row) -> tuple[Agreement, frozenset[str]]:
    """The checked agreement of a row, and who has signed it."""
    signatures = tuple(s["sig"] for s in row.envelope["signatures"])
    return _OPENED.get((row.envelope["payload"], signatures), lambda: open_envelope(row.envelope))


class Agreements:
    """All agreements that this node is a signatory of."""

    def __init__(
        self, store: Store, partners: Partners, signing: SigningKey, clock: Clock, record: Record
    ) -> None:
        self._store, self._partners, self._signing, self._clock = store, partners, signing, clock
        self._record = record
        self._me = str(signing.public)
        self._log = logger("agreements")
        self.on_revoked: Callable[[str], None] = lambda agreement: None
        # Why an agreement that names offers does not simply follow from this node's; empty if it does.
        self.follows: Callable[[Session, Agreement], list[Reason]] | None = None
        partners.handle("agreement.offer", self._offered)
        partners.handle("agreement.revoke", self._revoked)
        partners.outbox.on_refusal("agreement.offer", self._refused_there)

    # Reading.

    def _rows(self, session: Session, identifier: str) -> list[Row]:
        return list(session.scalars(select(Row).where(Row.id == identifier).order_by(Row.version)))

    def row(self, identifier: str, version: int | None = None) -> Row:
        """One version, or the newest that is not only offered; `E_NOT_FOUND`."""
        with self._store.read() as session:
            rows = self._rows(session, identifier)
        if version is not None:
            rows = [r for r in rows if r.version == version]
        if not rows:
            raise AtollError(
                "E_NOT_FOUND",
                f"there is no agreement {identifier!r}" + (f" version {version}" if version else ""),
            )
        in_force = [r for r in rows if r.state in ("active", "revoked")]
        return (in_force or rows)[-1]

    def in_force(self) -> list[Agreement]:
        """Every agreement that all have signed and none has revoked, in its newest version."""
        with self._store.read() as session:
            rows = session.scalars(select(Row).where(Row.state == "active")).all()
        return [opened(row)[0] for row in rows]

    def state(self, identifier: str, digest: str | None = None) -> AgreementState:
        """What policy needs to know of the version in force, or of the version with that digest."""
        with self._store.read() as session:
            rows = self._rows(session, identifier)
        row = next((r for r in rows if r.digest == digest), None) if digest else None
        if row is None:
            if digest is not None or not rows:
                raise AtollError("E_AGREEMENT", f"this node has no such agreement {identifier}")
            row = self.row(identifier)
        agreement, signed = opened(row)
        revocation = next((r.revocation for r in rows if r.revocation), None)
        later = next(
            (r.digest for r in rows if r.version > row.version and r.state in ("active", "superseded")), None
        )
        return AgreementState(
            agreement, signed, open_revocation(revocation, agreement) if revocation else None, later
        )

    def describe(self, row: Row, full: bool = False) -> dict[str, Any]:
        """One version for the API."""
        agreement, signed = opened(row)
        body: dict[str, Any] = {
            "id": row.id,
            "version": row.version,
            "digest": row.digest,
            "title": row.title,
            "state": row.state,
            "proposer": agreement.names.get(row.proposer, row.proposer),
            "signatories": [
                {"name": s.name, "key": s.key, "signed": s.key in signed} for s in agreement.signatories
            ],
            "validity": {
                "not_before": agreement.validity.not_before,
                "not_after": agreement.validity.not_after,
            },
            "created": row.created,
            "changed": row.changed,
            "assets": [
                {"name": a.name, "provider": agreement.names[a.provider], "type": a.type}
                for a in agreement.assets
            ],
        }
        if row.revocation:
            revocation = open_revocation(row.revocation, agreement)
            body["revocation"] = {
                "by": agreement.names[revocation.by],
                "at": revocation.at,
                "reason": revocation.reason,
            }
        if row.state == "offered" and row.waits:
            body["waits"] = row.waits
        if row.refused:
            body["refused"] = {
                "by": agreement.names.get(row.refused["by"], row.refused["by"]),
                "code": row.refused["code"],
            }
        if full:
            body["document"] = agreement.document()
            body["notes"] = notes(agreement)
            body["envelope"] = row.envelope
            if row.version > 1:
                before, _ = opened(self.row(row.id, row.version - 1))
                body["changes"] = _lines(before, agreement)
        return body

    def changes(self, document: dict[str, Any]) -> list[dict[str, str]]:
        """What a draft of the next version would change against the version in force; nothing is proposed."""
        agreement = parse(document)
        with self._store.read() as session:
            row = next((r for r in self._rows(session, agreement.id) if r.state == "active"), None)
        if row is None:
            raise AtollError("E_NOT_FOUND", f"no agreement {agreement.id} is in force here")
        before = opened(row)[0]
        check_amendment(before, agreement)
        return _lines(before, agreement)

    def list(self) -> list[dict[str, Any]]:
        """Every version of every agreement, newest first."""
        with self._store.read() as session:
            rows = session.scalars(select(Row).order_by(Row.created.desc(), Row.version.desc())).all()
        return [self.describe(row) for row in rows]

    # Making and signing.

    def _check_own(self, session: Session, agreement: Agreement) -> None:
        """An owner signs only for assets that it has, as they are."""
        for asset in agreement.assets:
            if asset.provider == self._me:
                self.check_table(session, asset)

    @staticmethod
    def check_table(session: Session, asset: AgreedAsset) -> None:
        """An own dataset is one that this node has, as it is: `E_NOT_FOUND`, `E_COLUMN`, `E_TYPE`."""
        if asset.type != "dataset":
            return
        row = session.get(Asset, asset.name)
        if row is None:
            raise AtollError(
                "E_NOT_FOUND",
                f"this node has no table {asset.name!r} to bring into an agreement",
                fault="owner",
            )
        have = {c["name"]: c for c in row.schema}
        for column in asset.columns:
            own = have.get(column.name)
            if own is None:
                raise AtollError(
                    "E_COLUMN",
                    f"{asset.name} has no column {column.name!r}; it has {', '.join(have)}",
                    column=column.name,
                )
            for fact in ("type", "scale", "unit"):
                if own.get(fact) != getattr(column, fact):
                    raise AtollError(
                        "E_TYPE",
                        f"{asset.name}.{column.name}: the document says {fact} {getattr(column, fact)!r}, "
                        f"the table has {own.get(fact)!r}",
                        column=column.name,
                    )

    def _check_names(self, agreement: Agreement) -> None:
        if self._me not in agreement.keys:
            raise AtollError("E_AGREEMENT", "this node is no signatory of that agreement")

    def propose(self, document: dict[str, Any]) -> dict[str, Any]:
        """Signs a new agreement or the next version of one, and offers it to all signatories."""
        agreement = parse(document)
        self._check_names(agreement)
        paired = {p.identity for p in self._partners.active()}
        for key in agreement.keys:
            if key != self._me and key not in paired:
                raise AtollError(
                    "E_PEER_UNKNOWN",
                    f"{agreement.names[key]} ({key}) is a signatory but not paired with this node",
                )
        envelope = dsse.sign(KIND, agreement.document(), self._signing)
        with self._store.write() as session:
            self._check_own(session, agreement)
            self._check_chain(session, agreement)
            row = self._insert(session, agreement, envelope, self._me)
            self._send(session, row, agreement, exclude=None)
        self.outbox_wake()
        return self.describe(row)

    def outbox_wake(self) -> None:
        """Delivers what was queued."""
        self._partners.outbox.wake()

    def _check_chain(self, session: Session, agreement: Agreement) -> None:
        rows = self._rows(session, agreement.id)
        if any(r.version == agreement.version and r.state != "declined" for r in rows):
            raise AtollError(
                "E_CONFLICT", f"agreement {agreement.id} already has a version {agreement.version}"
            )
        if agreement.version > 1:
            before = next((r for r in rows if r.version == agreement.version - 1), None)
            if before is None or before.state != "active":
                raise AtollError(
                    "E_AGREEMENT", f"version {agreement.version - 1} of {agreement.id} is not in force here"
                )
            check_amendment(opened(before)[0], agreement)

    def _insert(self, session: Session, agreement: Agreement, envelope: dsse.Envelope, proposer: str) -> Row:
        old = session.get(Row, (agreement.id, agreement.version))
        if old is not None:
            session.delete(old)
            session.flush()
        now = stamp(self._clock())
        row = Row(
            id=agreement.id,
            version=agreement.version,
            digest=agreement.digest,
            title=agreement.title,
            envelope=envelope,
            state="offered",
            proposer=proposer,
            created=now,
            changed=now,
        )
        session.add(row)
        self._advance(session, row)
        return row

    def _advance(self, session: Session, row: Row) -> None:
        """Moves a version into force once everyone signed."""
        agreement, signed = opened(row)
        if row.state != "offered" or signed != set(agreement.keys):
            return
        row.state, row.changed = "active", stamp(self._clock())
        for other in self._rows(session, row.id):
            if other.version < row.version and other.state == "active":
                other.state, other.changed = "superseded", row.changed
        self._record(session, row.id, "agreement", {"digest": row.digest, "envelope": row.envelope}, None)
        self._log.info("agreement in force", agreement=row.id, version=row.version)

    def _send(self, session: Session, row: Row, agreement: Agreement, exclude: str | None) -> None:
        paired = {p.identity for p in self._partners.active()}
        for key in agreement.keys:
            if key not in (self._me, exclude) and key in paired:
                self._partners.outbox.put(
                    session, key, "agreement.offer", {"envelope": row.envelope, "proposer": row.proposer}
                )

    def sign(self, identifier: str, version: int | None, person: str) -> dict[str, Any]:
        """A steward signs an offered version for this institution."""
        with self._store.write() as session:
            rows = [r for r in self._rows(session, identifier) if version in (None, r.version)]
            if not rows:
                raise AtollError("E_NOT_FOUND", f"there is no agreement {identifier!r}")
            row = rows[-1]
            agreement, signed = opened(row)
            if row.state != "offered":
                raise AtollError("E_STATE", f"agreement {identifier} version {row.version} is {row.state}")
            if self._me not in signed:
                self._check_own(session, agreement)
                row.envelope = dsse.add_signature(row.envelope, self._signing)
                row.changed = stamp(self._clock())
                self._advance(session, row)
                self._send(session, row, agreement, exclude=None)
                self._log.info("agreement signed", agreement=identifier, version=row.version, person=person)
        self.outbox_wake()
        return self.describe(row)

    def decline(self, identifier: str, version: int, person: str) -> dict[str, Any]:
        """A steward declines an offered version here; it can be offered again."""
        with self._store.write() as session:
            row = session.get(Row, (identifier, version))
            if row is None or row.state != "offered":
                raise AtollError("E_STATE", f"agreement {identifier} version {version} is not on offer")
            row.state, row.changed = "declined", stamp(self._clock())
            self._log.info("agreement declined", agreement=identifier, version=version, person=person)
        return self.describe(row)

    def _offered(self, remote: Remote, body: Any) -> Any:
        if not isinstance(body, dict) or set(body) != {"envelope", "proposer"}:
            raise AtollError("E_WIRE", "not an offer")
        agreement, _ = open_envelope(body["envelope"])
        self._check_names(agreement)
        if remote.identity not in agreement.keys or body["proposer"] not in agreement.keys:
            raise AtollError("E_AGREEMENT", "the sender is no signatory of that agreement")
        with self._store.write() as session:
            row = session.get(Row, (agreement.id, agreement.version))
            if row is not None and row.digest != agreement.digest and row.state != "declined":
                raise AtollError(
                    "E_CONFLICT", f"another version {agreement.version} of {agreement.id} is known here"
                )
            if row is not None and row.refused and row.digest == agreement.digest:
                return {}  # refused for good elsewhere: a copy that was still on its way changes nothing
            if row is None or row.state == "declined":
                self._check_chain(session, agreement)
                waits = self._waits(session, agreement)
                open_offers = select(func.count()).select_from(Row).where(Row.state == "offered")
                if (session.scalar(open_offers.where(Row.proposer == body["proposer"])) or 0) >= _OFFERS:
                    raise AtollError(
                        "E_QUOTA", f"{_OFFERS} offers of that signatory are open", party=remote.name
                    )
                row = self._insert(session, agreement, body["envelope"], body["proposer"])
                if waits is not None:
                    self._follow(session, row, agreement, waits)
                self.outbox_wake()
                return {}
            merged = dsse.merge(row.envelope, body["envelope"])
            if len(merged["signatures"]) > len(row.envelope["signatures"]):
                row.envelope, row.changed = merged, stamp(self._clock())
                self._advance(session, row)
                self._send(session, row, agreement, exclude=remote.identity)
        self.outbox_wake()
        return {}

    def _waits(self, session: Session, agreement: Agreement) -> Sequence[Reason] | None:
        """Why an agreement made from offers needs a steward here; None for one that is not made from offers."""
        if self.follows is None or agreement.version != 1 or not agreement.offers:
            return None
        if not any(a.provider == self._me for a in agreement.assets):
            return None
        reasons: Sequence[Reason] = self.follows(session, agreement)
        if not reasons:
            try:
                self._check_own(session, agreement)
            except AtollError as error:
                reasons = [Reason(f"{error.code}: {error.text}.", f"{error.code}：{error.text}。")]
        return reasons

    def _follow(self, session: Session, row: Row, agreement: Agreement, waits: Sequence[Reason]) -> None:
        """Signs what only says what this node offers; notes for the steward why it does not."""
        if waits:
            row.waits = [{"en": reason.en, "zh": reason.zh} for reason in waits]
            return
        row.envelope = dsse.add_signature(row.envelope, self._signing)
        self._advance(session, row)
        self._send(session, row, agreement, exclude=None)
        self._log.info("agreement signed, as offered", agreement=row.id)

    def _refused_there(self, peer: str, body: Any, error: AtollError) -> None:
        """A signatory's node did not take an agreement; one whose offer does not stand can never be in force."""
        agreement, _ = open_envelope(body["envelope"])
        with self._store.write() as session:
            row = session.get(Row, (agreement.id, agreement.version))
            if row is None or row.digest != agreement.digest or row.state != "offered":
                return
            row.refused, row.changed = {"by": peer, "code": error.code}, stamp(self._clock())
            if error.code == "E_OFFER" and row.proposer == self._me:
                row.state = "declined"
        self._log.info("a signatory refused an agreement", agreement=agreement.id, code=error.code)

    # The end.

    def revoke(self, identifier: str, reason: str, person: str) -> dict[str, Any]:
        """Ends an agreement for all, at once here."""
        with self._store.write() as session:
            rows = self._rows(session, identifier)
            if not rows:
                raise AtollError("E_NOT_FOUND", f"there is no agreement {identifier!r}")
            row = next((r for r in reversed(rows) if r.state == "active"), rows[-1])
            if row.state not in ("active", "offered"):
                raise AtollError("E_STATE", f"agreement {identifier} is {row.state}")
            agreement, _ = opened(row)
            document = build_revocation(agreement, self._me, reason, self._clock())
            row.revocation = dsse.sign(REVOCATION_KIND, document, self._signing)
            row.state, row.changed = "revoked", stamp(self._clock())
            self._record(session, identifier, "revocation", {"envelope": row.revocation}, None)
            paired = {p.identity for p in self._partners.active()}
            for key in agreement.keys:
                if key != self._me and key in paired:
                    self._partners.outbox.put(session, key, "agreement.revoke", {"envelope": row.revocation})
            self._log.info("agreement revoked", agreement=identifier, person=person)
        self.outbox_wake()
        self.on_revoked(identifier)
        return self.describe(row)

    def _revoked(self, remote: Remote, body: Any) -> Any:
        if not isinstance(body, dict) or set(body) != {"envelope"}:
            raise AtollError("E_WIRE", "not a revocation")
        document = dsse.verify(REVOCATION_KIND, body["envelope"], [])
        identifier = str(document.get("agreement")) if isinstance(document, dict) else ""
        with self._store.write() as session:
            rows = self._rows(session, identifier)
            if not rows:
                raise AtollError("E_AGREEMENT", "no such agreement here")
            row = next((r for r in reversed(rows) if r.state == "active"), rows[-1])
            if row.revocation:
                return {}
            open_revocation(body["envelope"], opened(row)[0])
            row.revocation, row.state, row.changed = body["envelope"], "revoked", stamp(self._clock())
            self._record(session, identifier, "revocation", {"envelope": body["envelope"]}, None)
        self._log.info("agreement revoked by a partner", agreement=identifier, peer=remote.name)
        self.on_revoked(identifier)
        return {}


def _lines(before: Agreement, after: Agreement) -> list[dict[str, str]]:
    return [{"path": c.path, "en": c.text("en"), "zh": c.text("zh")} for c in diff(before, after)]
