"""A standing offer: an asset, its terms, and to whom they stand. Kinds `offer/v1` and `offer-withdrawal/v1`.

The provider alone signs an offer. Whoever it stands for makes an agreement of it with `from_offers`, and the
provider's node signs that agreement by itself where `follows` finds nothing that the offer does not say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from atoll.agreements.difference import Change, walk
from atoll.agreements.model import (
    FINDING_CATEGORIES,
    Agreement,
    Asset,
    AssetType,
    Bilingual,
    Column,
    FindingCategory,
    Replay,
    Validity,
    Witnesses,
    check_asset,
    parse,
)
from atoll.agreements.terms import Terms
from atoll.crypto import canonical, dsse
from atoll.crypto.document import (
    Digest,
    Document,
    Key,
    Name,
    Time,
    document_digest,
    format_time,
    parse_time,
    require_unique,
)
from atoll.errors import AtollError

OFFER_KIND = "offer/v1"
OFFER_WITHDRAWAL_KIND = "offer-withdrawal/v1"
# An agreement made from an offer begins when it is accepted; clocks differ by less than this.
_AHEAD = timedelta(minutes=10)
_SHARED = ("jurisdiction", "silence_seconds", "grace_seconds", "witnesses", "replay")

OfferId = Annotated[str, StringConstraints(pattern=r"^off-[0-9a-f]{16}$")]
Members = Mapping[str, Collection[str]]
"""Keys of the members of each consortium that a node knows, by the roster's identifier."""


class Audience(Document):
    """Whom an offer stands for: every partner of the provider, named keys, or the members of a consortium."""

    kind: Literal["all", "named", "consortium"]
    keys: Annotated[tuple[Key, ...], Field(max_length=1000)]
    roster: Name | None

    @model_validator(mode="after")
    def _validate(self) -> Audience:
        require_unique(self.keys, "keys: ")
        if list(self.keys) != sorted(self.keys):
            raise ValueError("keys: keys stand in order")
        if bool(self.keys) != (self.kind == "named"):
            raise ValueError("keys: stand in an offer to named partners, and only there")
        if (self.roster is not None) != (self.kind == "consortium"):
            raise ValueError("roster: stands in an offer to a consortium, and only there")
        return self


class OfferedAsset(Document):
    """An asset as an agreement has it, without provider and grants; see `model.Asset`."""

    name: Name
    host: Key
    type: AssetType
    content: Digest | None
    columns: Annotated[tuple[Column, ...], Field(max_length=4096)]
    quality: Annotated[tuple[Name, ...], Field(max_length=1000)]
    findings: Annotated[tuple[FindingCategory, ...], Field(max_length=len(FINDING_CATEGORIES))]

    @model_validator(mode="after")
    def _validate(self) -> OfferedAsset:
        require_unique((c.name for c in self.columns), f"asset {self.name}: column")
        check_asset(self.name, self.columns, self.quality, self.findings)
        return self


class Offer(Document):
    """One version of an offer.

    `agreement_days` is how long an agreement made from it lasts at most; it never outlasts the offer itself.
    `terms` become grants to all other signatories. What follows them stands in the agreement as it stands here.
    """

    format: Literal["atoll.offer/v1"]
    id: OfferId
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    supersedes: Digest | None
    provider: Key
    title: Bilingual
    to: Audience
    validity: Validity
    agreement_days: Annotated[int, Field(ge=1, le=36_600)]
    asset: OfferedAsset
    terms: Annotated[tuple[Terms, ...], Field(min_length=1, max_length=100)]
    jurisdiction: Name | None
    silence_seconds: Annotated[int, Field(ge=1, le=3600)]
    grace_seconds: Annotated[int, Field(ge=0, le=30 * 86400)]
    witnesses: Witnesses | None
    replay: Replay | None

    @model_validator(mode="after")
    def _validate(self) -> Offer:
        if (self.version == 1) != (self.supersedes is None):
            raise ValueError("supersedes: stands on every version but the first")
        if parse_time(self.validity.not_before) >= parse_time(self.validity.not_after):
            raise ValueError("validity: ends before it begins")
        if not (self.title.zh.strip() and self.title.en.strip()):
            raise ValueError("title: an offer has a title in both languages")
        if self.provider in self.to.keys:
            raise ValueError("to: a provider offers nothing to itself")
        names = {c.name for c in self.asset.columns}
        for i, terms in enumerate(self.terms):
            unknown = sorted(terms.columns.keys() - names)
            if unknown:
                raise ValueError(f"terms.{i}: the asset has no column {unknown[0]!r}")
        return self

    @cached_property
    def digest(self) -> str:
        """The digest that agreements name this version by."""
        return document_digest(OFFER_KIND, self.document())

    def allows(self, key: str, members: Members) -> bool:
        """Whether the offer stands for a party, as far as `members` tells of a consortium."""
        if self.to.kind == "consortium":
            return key in members.get(str(self.to.roster), ())
        return self.to.kind == "all" or key in self.to.keys

    def granted(self, signatories: Iterable[str]) -> dict[str, Any]:
        """The asset of an agreement among these, with this offer's terms for all but the provider."""
        to = sorted(set(signatories) - {self.provider})
        return {
            **self.asset.document(),
            "provider": self.provider,
            "grants": [{**terms.document(), "to": to} for terms in self.terms],
        }

    def refusal(self, now: datetime) -> AtollError | None:
        """`E_OFFER` before the offer begins and after it ended; None while it stands."""
        if now < parse_time(self.validity.not_before):
            return _wrong(f"Offer {self.id} begins at {self.validity.not_before}.")
        if now >= parse_time(self.validity.not_after):
            return _wrong(f"Offer {self.id} ended at {self.validity.not_after}.")
        return None


class OfferWithdrawal(Document):
    """The end of an offer, named with the digest of the version that stood."""

    format: Literal["atoll.offer-withdrawal/v1"]
    offer: OfferId
    version: Digest
    by: Key
    at: Time


@dataclass(frozen=True)
class Reason:
    """Why an agreement does not simply follow from offers, in both languages."""

    en: str
    zh: str


def _wrong(text: str) -> AtollError:
    return AtollError("E_OFFER", text)


def open_offer(envelope: dsse.Envelope) -> Offer:
    """The offer in an envelope, signed by its provider and nobody else.

    Raises:
        AtollError: `E_FORMAT` names the wrong field; `E_SIGNATURE`.
    """
    offer = Offer.parse(dsse.verify(OFFER_KIND, envelope, ()), what="offer")
    dsse.verify(OFFER_KIND, envelope, (offer.provider,))
    if len(envelope["signatures"]) != 1:
        raise AtollError("E_SIGNATURE", "an offer is signed by its provider alone")
    if canonical.dumps(offer.document()) != dsse.payload_bytes(envelope):
        raise AtollError("E_FORMAT", "offer: the document does not read back to the same bytes.")
    return offer


def check_successor(old: Offer, new: Offer) -> None:
    """Refuses a version that does not follow from the one before; `E_OFFER` names the field."""
    for field, wrong in {
        "id": new.id != old.id,
        "provider": new.provider != old.provider,
        "version": new.version != old.version + 1,
        "supersedes": new.supersedes != old.digest,
    }.items():
        if wrong:
            raise _wrong(f"Version {new.version} of offer {old.id} does not follow: {field}.")


def build_offer_withdrawal(offer: Offer, at: datetime) -> dict[str, Any]:
    """A withdrawal document, to be signed by the offer's provider."""
    return OfferWithdrawal.parse(
        {
            "format": "atoll.offer-withdrawal/v1",
            "offer": offer.id,
            "version": offer.digest,
            "by": offer.provider,
            "at": format_time(at),
        }
    ).document()


def open_offer_withdrawal(envelope: dsse.Envelope) -> OfferWithdrawal:
    """The withdrawal in an envelope, signed by whom it names; `E_FORMAT`, `E_SIGNATURE`."""
    found = OfferWithdrawal.parse(dsse.verify(OFFER_WITHDRAWAL_KIND, envelope, ()), what="withdrawal")
    dsse.verify(OFFER_WITHDRAWAL_KIND, envelope, (found.by,))
    return found


def _named(offer: Offer) -> dict[str, Any]:
    document = offer.document()
    asset = document["asset"]
    return {
        **document,
        "asset": {**asset, "columns": {c["name"]: c for c in asset["columns"]}},
        "terms": dict(enumerate(document["terms"])),
    }


def offer_changes(old: Offer, new: Offer) -> list[Change]:
    """Every difference between two versions of an offer, in order of place."""
    return walk("", _named(old), _named(new))


# From offers to an agreement, and back.


def _title(offers: Sequence[Offer]) -> str:
    return "; ".join(dict.fromkeys(offer.title.en for offer in offers))[:200].strip()


def from_offers(
    offers: Sequence[Offer],
    *,
    accepter: str,
    names: Mapping[str, str],
    id: str,
    now: datetime,
    members: Members | None = None,
    title: str | None = None,
    assets: Iterable[dict[str, Any]] = (),
) -> dict[str, Any]:
    """The agreement that the accepter proposes: it and the providers sign, each asset as it is offered.

    Args:
        offers: one to 64, each of an asset of its own, none by the accepter.
        accepter: key of whoever accepts.
        names: display name of the accepter's and every provider's key.
        id: `agr-` and 16 hex digits, drawn by the caller.
        now: the agreement begins then, or where a later one of the offers begins.
        members: keys of each consortium's members.
        title: what people call the agreement; None for the offers' titles.
        assets: what the accepter brings itself, as assets of an agreement.

    Raises:
        AtollError: `E_OFFER` names the offer and the party that it does not stand for, or what offers differ
            in; `E_FORMAT` for an asset that is none.
    """
    if not 1 <= len(offers) <= 64:
        raise _wrong("One to 64 offers are accepted at a time.")
    signatories = {accepter} | {offer.provider for offer in offers}
    first = offers[0]
    seen: dict[tuple[str, str], Offer] = {}
    for offer in offers:
        refusal = offer.refusal(now)
        if refusal is not None:
            raise refusal
        if offer.provider == accepter:
            raise _wrong(f"Offer {offer.id} is the accepter's own.")
        if (offer.provider, offer.asset.name) in seen:
            raise _wrong(
                f"Offers {seen[offer.provider, offer.asset.name].id} and {offer.id} are of one asset, "
                f"{offer.asset.name!r}; accept one of them."
            )
        seen[offer.provider, offer.asset.name] = offer
        for key in sorted(signatories - {offer.provider}):
            if not offer.allows(key, members or {}):
                raise _wrong(f"Offer {offer.id} of {names[offer.provider]} does not stand for {names[key]}.")
        payees = {s.to for t in offer.terms if t.price is not None for s in t.price.shares}
        for key in sorted((payees | {offer.asset.host}) - signatories):
            raise _wrong(f"Offer {offer.id} names {key}, which would be no signatory, as payee or host.")
        for field in _SHARED:
            if getattr(offer, field) != getattr(first, field):
                raise _wrong(f"Offers {first.id} and {offer.id} differ in {field}: accept them separately.")
    begins = max([now, *(parse_time(offer.validity.not_before) for offer in offers)]).replace(microsecond=0)
    last = begins + timedelta(days=min(offer.agreement_days for offer in offers))
    ends = min([last, *(parse_time(offer.validity.not_after) for offer in offers)])
    if begins >= ends:
        raise _wrong("The offers stand at no time together.")
    shared = first.document()
    return parse(
        {
            "format": "atoll.agreement/v1",
            "id": id,
            "version": 1,
            "supersedes": None,
            "title": title or _title(offers),
            "signatories": [{"key": key, "name": names[key]} for key in sorted(signatories)],
            "validity": {"not_before": format_time(begins), "not_after": format_time(ends)},
            **{field: shared[field] for field in _SHARED},
            "offers": [offer.digest for offer in offers],
            "assets": [*(offer.granted(signatories) for offer in offers), *assets],
        }
    ).document()


def follows(
    agreement: Agreement,
    me: str,
    offers: Mapping[str, Offer],
    *,
    members: Members,
    partners: Collection[str],
    now: datetime,
) -> list[Reason]:
    """Why a provider's node must not sign an agreement by itself; nothing if it says what its offers say.

    Args:
        agreement: as proposed.
        me: key of the provider.
        offers: the provider's offers that stand now, by digest.
        members: keys of each consortium's members.
        partners: keys of the provider's partners: for whom an offer to all stands.
        now: by the provider's clock.
    """
    out: list[Reason] = []

    def no(en: str, zh: str) -> None:
        out.append(Reason(en, zh))

    named = {d: offers[d] for d in agreement.offers if d in offers and offers[d].provider == me}
    mine = {a.name: a for a in agreement.assets if a.provider == me}
    if agreement.version != 1:
        no("It is an amendment.", "这是一份修订。")
    if me not in agreement.keys:
        no("This institution is no signatory of it.", "本机构不是其签署方。")
    if not named:
        no("It names no standing offer of this institution.", "未引用本机构的有效要约。")
    by_asset = {offer.asset.name: offer for offer in named.values()}
    if len(by_asset) != len(named):
        no("It takes two offers for one asset.", "同一资产引用了两份要约。")
    for name in sorted(mine.keys() - by_asset.keys()):
        no(
            f"Asset {name} of this institution stands in none of these offers.",
            f"本机构的资产 {name} 不在所引要约之中。",
        )
    for offer in named.values():
        _follows_offer(agreement, offer, mine.get(offer.asset.name), members, partners, now, no)
    _obligations(agreement, me, no)
    return out


def _follows_offer(
    agreement: Agreement,
    offer: Offer,
    asset: Asset | None,
    members: Members,
    partners: Collection[str],
    now: datetime,
    no: Any,
) -> None:
    name = offer.asset.name
    if asset is None:
        no(f"Asset {name} of offer {offer.id} is missing.", f"缺少要约 {offer.id} 的资产 {name}。")
    elif asset.document() != offer.granted(agreement.keys):
        no(f"Asset {name} differs from offer {offer.id}.", f"资产 {name} 与要约 {offer.id} 不一致。")
    for s in agreement.signatories:
        if s.key == offer.provider:
            continue
        if not offer.allows(s.key, members) or (offer.to.kind == "all" and s.key not in partners):
            no(f"Offer {offer.id} does not stand for {s.name}.", f"要约 {offer.id} 不面向 {s.name}。")
    for field in _SHARED:
        if getattr(agreement, field) != getattr(offer, field):
            no(f"{field} differs from offer {offer.id}.", f"{field} 与要约 {offer.id} 不一致。")
    begins, ends = (parse_time(t) for t in (agreement.validity.not_before, agreement.validity.not_after))
    if (
        begins < parse_time(offer.validity.not_before)
        or ends > parse_time(offer.validity.not_after)
        or ends - begins > timedelta(days=offer.agreement_days)
        or begins > now + _AHEAD
    ):
        no(f"Its validity is not within offer {offer.id}.", f"有效期超出要约 {offer.id}。")
    if offer.refusal(now) is not None:
        no(f"Offer {offer.id} does not stand now.", f"要约 {offer.id} 目前无效。")


def _obligations(agreement: Agreement, me: str, no: Any) -> None:
    """What a signature would bind the provider to beyond giving what it offered."""
    for asset in agreement.assets:
        if asset.provider == me:
            continue
        if asset.host == me:
            no(f"It would host {asset.name}.", f"将由本机构托管 {asset.name}。")
        for grant in asset.grants:
            price = grant.price
            if price is None:
                continue
            if me in grant.to and price.per_month != "0":
                no(f"It would owe a monthly price for {asset.name}.", f"将须为 {asset.name} 支付月费。")
            if me in {share.to for share in price.shares}:
                no(f"It would be a payee of {asset.name}.", f"将成为 {asset.name} 的收款方。")
    if agreement.replay is not None and me in agreement.replay.hosts:
        no("It would host replays.", "将由本机构承担重放。")
