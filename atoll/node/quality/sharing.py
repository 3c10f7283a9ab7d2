"""What partners see of a table's quality, and what they report back: both only as their agreement says.

Both messages are signed, kept at both sides, and recorded in both sides' logs by a salted commitment. The other
signatories of the agreement, who receive the logs, learn that there was one and about which table, and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atoll.agreements.figures import FIGURES_KIND, MAX_FIGURES, build_figures, open_figures
from atoll.agreements.finding import FINDING_KIND, build_finding, open_finding
from atoll.agreements.model import Agreement
from atoll.crypto import dsse
from atoll.crypto.suite import OPENING_BYTES, SigningKey, commit, opening
from atoll.data.quality import check_answer, check_figure, figures
from atoll.errors import AtollError
from atoll.net.link import Peer as Remote
from atoll.node.agreements import Agreements, Record
from atoll.node.clock import Clock, stamp
from atoll.node.logs import logger
from atoll.node.partners import Partners
from atoll.node.quality.results import Results
from atoll.node.state.models import Finding, QualityShown
from atoll.node.state.store import Store

# Of one partner in a day: the figures of a table, and findings in all.
ANSWERS_A_DAY = 96
FINDINGS_A_DAY = 1000
_DAY = timedelta(days=1)


def allowed(agreement: Agreement, asset: str, provider: str, partner: str) -> tuple[set[str], set[str]]:
    """The figures of an asset that a partner may see, and the categories in which it may report.

    What the agreement states of the asset, for a partner that a grant of it names; nothing for any other.
    """
    found = agreement.asset(provider, asset)
    if found is None or not any(partner in grant.to for grant in found.grants):
        return set(), set()
    return set(found.quality), set(found.findings)


class Sharing:
    """Both sides of quality between partners."""

    def __init__(
        self,
        store: Store,
        partners: Partners,
        agreements: Agreements,
        results: Results,
        signing: SigningKey,
        clock: Clock,
        record: Record,
    ) -> None:
        self._store, self._partners, self._agreements, self._results = store, partners, agreements, results
        self._signing, self._clock, self._record = signing, clock, record
        self._me = str(signing.public)
        self._log = logger("quality")
        partners.handle("quality.figures", self._asked)
        partners.handle("quality.report", self._reported)

    def _in_force(self, identifier: Any, party: str) -> Agreement:
        """The agreement, in force and signed by that party too."""
        if not isinstance(identifier, str):
            raise AtollError("E_WIRE", "an agreement is named by its identifier")
        state = self._agreements.state(identifier)
        refusal = state.refusal(self._clock())
        if refusal is not None:
            raise refusal
        if party not in state.agreement.keys:
            raise AtollError("E_AGREEMENT", f"the partner is no signatory of {identifier}")
        return state.agreement

    def _since(self) -> str:
        return stamp(self._clock() - _DAY)

    # Figures.

    def figures(self, partner: str, asset: str, agreement: str, wanted: Sequence[str] = ()) -> dict[str, Any]:
        """The agreed figures of a partner's table, or of these only.

        Raises:
            AtollError: `E_FORMAT` for a name that is no figure; `E_POLICY` for one that is not agreed; `E_QUOTA`;
                `E_STATE` if the partner has not measured the table; `E_UNREACHABLE`.
        """
        provider = self._partners.peer(partner)
        names = [check_figure(name) for name in dict.fromkeys(wanted)]
        self._asset(self._in_force(agreement, provider.identity), provider.identity, asset)
        body = {"agreement": agreement, "asset": asset, "figures": names}
        answer = self._partners.request(provider.identity, "quality.figures", body)
        envelope, salt = _signed(answer, provider.identity)
        shown = open_figures(
            envelope, agreement=agreement, asset=asset, provider=provider.identity, to=self._me
        )
        check_answer(shown.figures, names or list(shown.figures))
        with self._store.write() as session:
            self._keep_shown(session, envelope, salt, shown.agreement, asset, provider.identity, self._me)
        return {
            "agreement": agreement,
            "partner": provider.name,
            "table": asset,
            "at": shown.at,
            "figures": shown.figures,
        }

    def _asset(self, agreement: Agreement, provider: str, name: Any) -> str:
        if not isinstance(name, str) or agreement.asset(provider, name) is None:
            raise AtollError("E_NOT_FOUND", f"agreement {agreement.id} has no such table of that provider")
        return name

    def _asked(self, remote: Remote, body: Any) -> Any:
        if not isinstance(body, dict) or set(body) != {"agreement", "asset", "figures"}:
            raise AtollError("E_WIRE", "not a question for figures")
        wanted = body["figures"]
        if (
            not isinstance(wanted, list)
            or len(wanted) > MAX_FIGURES
            or not all(isinstance(n, str) for n in wanted)
        ):
            raise AtollError("E_WIRE", "not a question for figures")
        agreement = self._in_force(body["agreement"], remote.identity)
        asset = self._asset(agreement, self._me, body["asset"])
        may, _ = allowed(agreement, asset, self._me, remote.identity)
        names = wanted or sorted(may)
        if not names or not set(names) <= may:
            raise AtollError("E_POLICY", f"{agreement.id} shows {remote.name} no such figures of {asset}")
        with self._store.write() as session:
            query = select(func.count()).select_from(QualityShown).where(
                QualityShown.agreement == agreement.id, QualityShown.asset == asset,
                QualityShown.partner == remote.identity, QualityShown.at > self._since(),
            )  # fmt: skip
            if (session.scalar(query) or 0) >= ANSWERS_A_DAY:
                raise AtollError(
                    "E_QUOTA", f"{remote.name} has asked for figures of {asset} {ANSWERS_A_DAY} times today"
                )
            result = self._results.newest(session, asset)
            if result is None:
                raise AtollError(
                    "E_STATE", f"the quality of {asset} was never measured", fault="owner",
                    cure="Set quality rules for the table: `atoll data rules`.",
                )  # fmt: skip
            document = build_figures(
                agreement=agreement.id,
                asset=asset,
                provider=self._me,
                to=remote.identity,
                at=self._clock(),
                figures=figures(result, names),
            )
            envelope, salt = dsse.sign(FIGURES_KIND, document, self._signing), opening()
            self._keep_shown(session, envelope, salt, agreement.id, asset, self._me, remote.identity)
        self._log.info("quality figures shown", table=asset, agreement=agreement.id, peer=remote.name)
        return {"envelope": envelope, "opening": salt}

    def _keep_shown(
        self, session: Session, envelope: Any, salt: bytes, agreement: str, asset: str, provider: str, to: str
    ) -> None:
        session.add(
            QualityShown(
                agreement=agreement,
                asset=asset,
                provider=provider,
                partner=to,
                envelope=envelope,
                opening=salt,
                at=stamp(self._clock()),
            )
        )
        document = {
            "asset": asset,
            "provider": provider,
            "partner": to,
            "commitment": commit(dsse.payload_bytes(envelope), salt),
        }
        self._record(session, agreement, "quality-figures", document, None)

    # Findings.

    def report(
        self, partner: str, asset: str, agreement: str, category: str, extent: str, column: str | None = None
    ) -> dict[str, Any]:
        """Tells a partner what is wrong with its table, in the words of the closed lists.

        Raises:
            AtollError: `E_FORMAT` for a word of no list; `E_NOT_FOUND`, `E_COLUMN` for what the agreement does not
                name; `E_POLICY` for a category that is not agreed; `E_QUOTA`; `E_UNREACHABLE`.
        """
        provider = self._partners.peer(partner).identity
        document = build_finding(
            self._in_force(agreement, provider),
            asset=asset,
            provider=provider,
            by=self._me,
            category=category,
            column=column,
            extent=extent,
        )
        envelope, salt = dsse.sign(FINDING_KIND, document, self._signing), opening()
        answer = self._partners.request(provider, "quality.report", {"envelope": envelope, "opening": salt})
        if answer != {}:
            raise AtollError("E_WIRE", "not an answer to a finding", party=partner)
        with self._store.write() as session:
            row = self._keep_finding(session, envelope, salt, document)
        return self._describe(row)

    def _reported(self, remote: Remote, body: Any) -> Any:
        envelope, salt = _signed(body, remote.identity)
        document = dsse.verify(FINDING_KIND, envelope, (remote.identity,))
        identifier = document.get("agreement") if isinstance(document, dict) else None
        agreement = self._in_force(identifier, remote.identity)
        finding = open_finding(envelope, agreement)
        if finding.by != remote.identity or finding.provider != self._me:
            raise AtollError("E_AGREEMENT", "the finding is another party's, or about another's table")
        _, may = allowed(agreement, finding.asset, self._me, remote.identity)
        if finding.category not in may:
            raise AtollError("E_POLICY", f"{agreement.id} lets {remote.name} report nothing of that category")
        with self._store.write() as session:
            query = select(func.count()).select_from(Finding).where(
                Finding.by == remote.identity, Finding.at > self._since()
            )  # fmt: skip
            if self._known(session, envelope):
                return {}
            if (session.scalar(query) or 0) >= FINDINGS_A_DAY:
                raise AtollError("E_QUOTA", f"{remote.name} has reported {FINDINGS_A_DAY} findings today")
            self._keep_finding(session, envelope, salt, finding.document())
        self._log.info(
            "quality finding",
            table=finding.asset,
            agreement=agreement.id,
            peer=remote.name,
            category=finding.category,
        )
        return {}

    def _known(self, session: Session, envelope: Any) -> Finding | None:
        """The same finding of the last day: said again, it is not another one."""
        return session.scalars(
            select(Finding).where(Finding.digest == dsse.identifier(envelope), Finding.at > self._since())
        ).first()

    def _keep_finding(
        self, session: Session, envelope: Any, salt: bytes, document: dict[str, Any]
    ) -> Finding:
        known = self._known(session, envelope)
        if known is not None:
            return known
        row = Finding(
            digest=dsse.identifier(envelope),
            agreement=document["agreement"],
            asset=document["asset"],
            provider=document["provider"],
            by=document["by"],
            envelope=envelope,
            opening=salt,
            at=stamp(self._clock()),
        )
        session.add(row)
        body = {
            "asset": row.asset,
            "provider": row.provider,
            "by": row.by,
            "commitment": commit(dsse.payload_bytes(envelope), salt),
        }
        self._record(session, row.agreement, "finding", body, None)
        return row

    # Reading.

    def findings(self) -> list[dict[str, Any]]:
        """All findings, received and sent, newest first."""
        with self._store.read() as session:
            rows = session.scalars(select(Finding).order_by(Finding.id.desc())).all()
        return [self._describe(row) for row in rows]

    def _describe(self, row: Finding) -> dict[str, Any]:
        found = dsse.verify(FINDING_KIND, row.envelope, ())
        received = row.provider == self._me
        return {
            "direction": "received" if received else "sent",
            "partner": self._name(row.by if received else row.provider),
            "table": row.asset,
            "agreement": row.agreement,
            "category": found["category"],
            "column": found["column"],
            "extent": found["extent"],
            "at": row.at,
            **_evidence(row),
        }

    def shown(self) -> list[dict[str, Any]]:
        """All figures that this node showed or was shown, newest first."""
        with self._store.read() as session:
            rows = session.scalars(select(QualityShown).order_by(QualityShown.id.desc())).all()
        return [
            {
                "direction": "shown" if row.provider == self._me else "seen",
                "partner": self._name(row.partner if row.provider == self._me else row.provider),
                "table": row.asset,
                "agreement": row.agreement,
                "figures": dsse.verify(FIGURES_KIND, row.envelope, ())["figures"],
                "at": row.at,
                **_evidence(row),
            }
            for row in rows
        ]

    def _name(self, identity: str) -> str:
        try:
            return self._partners.peer(identity).name
        except AtollError:
            return identity


def _evidence(row: Finding | QualityShown) -> dict[str, Any]:
    """What opens the ledger's commitment to an auditor."""
    return {
        "envelope": row.envelope,
        "opening": row.opening.hex(),
        "commitment": commit(dsse.payload_bytes(row.envelope), row.opening),
    }


def _signed(body: Any, by: str) -> tuple[dsse.Envelope, bytes]:
    """An envelope of one signature, and the opening of the commitment that goes into the logs.

    Raises:
        AtollError: `E_WIRE`, `E_FORMAT`. More signatures would be stored without meaning anything.
    """
    if not isinstance(body, dict) or set(body) != {"envelope", "opening"}:
        raise AtollError("E_WIRE", "not a signed document with its opening")
    salt = body["opening"]
    if not isinstance(salt, bytes) or len(salt) != OPENING_BYTES:
        raise AtollError("E_WIRE", f"an opening has {OPENING_BYTES} bytes")
    dsse.payload_bytes(body["envelope"])
    if [entry["keyid"] for entry in body["envelope"]["signatures"]] != [by]:
        raise AtollError("E_WIRE", "the document is signed by another party than its sender, or by more")
    return body["envelope"], salt
