"""What partners offer this institution, to be searched, and agreements made of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from atoll.agreements.offer import Offer, from_offers
from atoll.errors import AtollError
from atoll.node.agreements import Agreements, new_agreement_id
from atoll.node.agreements import opened as opened_agreement
from atoll.node.clock import Clock
from atoll.node.partners import Partners
from atoll.node.publishing.offers import Offers, changes_between, opened
from atoll.node.state.models import Agreement as AgreementRow
from atoll.node.state.offers import Offer as Row
from atoll.node.state.store import Store

# Clocks differ a little; an agreement that begins a moment ago is in force everywhere at once.
_BEHIND = timedelta(minutes=1)


class Catalogue:
    """The offers of others that stand for this node."""

    def __init__(
        self, store: Store, partners: Partners, offers: Offers, agreements: Agreements, me: str, clock: Clock
    ) -> None:
        self._store, self._partners, self._offers, self._agreements = store, partners, offers, agreements
        self._me, self._clock = me, clock

    def search(
        self,
        text: str | None = None,
        *,
        provider: str | None = None,
        type: str | None = None,
        function: str | None = None,
        purpose: str | None = None,
        unit: str | None = None,
    ) -> list[dict[str, Any]]:
        """Offers that stand now, in order of arrival.

        Args:
            text: words that all stand, in either language and any case, in title, asset, or in a column's name,
                label, definition, unit or codes.
            provider: name or key of a partner; `E_NOT_FOUND`.
            type: of the asset.
            function, purpose: that some of the terms permit.
            unit: of some column.
        """
        key = self._partners.peer(provider).identity if provider is not None else None
        words = (text or "").casefold().split()
        used = self._used()
        out = []
        for row, offer in self._offers.current():
            fits = (
                (key is None or offer.provider == key)
                and (type is None or offer.asset.type == type)
                and (function is None or any(function in t.functions for t in offer.terms))
                and (purpose is None or any(purpose in t.purposes for t in offer.terms))
                and (unit is None or any(c.unit == unit for c in offer.asset.columns))
            )
            if fits and (not words or _contains(offer, words)):
                out.append(self._describe(row, used))
        return out

    def show(self, offer: str) -> dict[str, Any]:
        """One offer of a partner by identifier or digest, with its document and what changed; `E_OFFER`."""
        row = self._find(offer)
        body = self._describe(row, self._used())
        found = opened(row)
        body |= {"document": found.document(), "envelope": row.envelope}
        with self._store.read() as session:
            before = session.get(Row, (row.provider, row.id, row.version - 1))
        if before is not None:
            body["changes"] = changes_between(opened(before), found)
        return body

    def _find(self, offer: str) -> Row:
        """The row of an offer that stands; `E_OFFER` says why one does not."""
        with self._store.read() as session:
            rows = session.scalars(
                select(Row)
                .where(Row.provider != self._me, (Row.id == offer) | (Row.digest == offer))
                .order_by(Row.version.desc())
            ).all()
        if not rows:
            raise AtollError("E_OFFER", f"no partner offers {offer[:200]!r}")
        if len({row.provider for row in rows}) > 1:
            raise AtollError("E_CONFLICT", f"several partners have an offer {offer[:80]!r}: name its digest")
        row = rows[0]
        if row.state != "current":
            raise AtollError("E_OFFER", f"version {row.version} of offer {row.id} is {row.state}")
        refusal = opened(row).refusal(self._clock())
        if refusal is not None:
            raise refusal
        return row

    def _used(self) -> dict[str, list[str]]:
        """Agreements on the way or in force, by the digests of the offers that they name."""
        out: dict[str, list[str]] = {}
        with self._store.read() as session:
            rows = session.scalars(select(AgreementRow).where(AgreementRow.state.in_(("offered", "active"))))
            for row in rows:
                for digest in opened_agreement(row)[0].offers:
                    out.setdefault(digest, []).append(row.id)
        return out

    def _describe(self, row: Row, used: dict[str, list[str]]) -> dict[str, Any]:
        offer = opened(row)
        body = self._offers.describe(row)
        del body["receivers"]
        return body | {
            "columns": [
                c.document() | {"uses": sorted({u for t in offer.terms for u in t.columns.get(c.name, ())})}
                for c in offer.asset.columns
            ],
            "terms": [t.document() for t in offer.terms],
            "agreements": used.get(row.digest, []),
        }

    def accept(
        self, offers: Sequence[str], *, assets: Iterable[dict[str, Any]] = (), title: str | None = None
    ) -> dict[str, Any]:
        """Makes one agreement of offers and proposes it; providers' nodes sign what follows by themselves.

        Args:
            offers: identifiers or digests.
            assets: what this institution brings itself, as assets of an agreement.
            title: what people call it; None for the offers' titles.

        Raises:
            AtollError: `E_OFFER` for an offer that does not stand, or that does not go with the others.
        """
        found = [opened(self._find(offer)) for offer in dict.fromkeys(offers)]
        names = {p.identity: p.name for p in self._partners.active()} | {self._me: self._partners.name}
        for offer in found:
            if offer.provider not in names:
                raise AtollError("E_OFFER", f"the provider of offer {offer.id} is no partner any more")
        assets = list(assets)
        for asset in assets:
            if not isinstance(asset, dict) or asset.get("provider") != self._me:
                raise AtollError("E_FORMAT", "assets: whoever accepts brings assets of its own alone")
        members = self._offers.members_of(*found)
        for offer in found:
            if offer.to.kind == "consortium":
                # It was sent here because this institution is a member, whatever is known of the others.
                roster = str(offer.to.roster)
                members[roster] = members[roster] | {self._me}
        document = from_offers(
            found,
            accepter=self._me,
            names=names,
            id=new_agreement_id(),
            now=self._clock() - _BEHIND,
            members=members,
            title=title,
            assets=assets,
        )
        return self._agreements.propose(document)


def _contains(offer: Offer, words: Sequence[str]) -> bool:
    texts = [offer.title.zh, offer.title.en, offer.asset.name]
    for column in offer.asset.columns:
        texts += [column.name, column.unit or ""]
        for both in (column.label, column.definition, *(column.codes or {}).values()):
            if both is not None:
                texts += [both.zh, both.en]
    everything = "\n".join(texts).casefold()
    return all(word in everything for word in words)
