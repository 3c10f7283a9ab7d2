"""The agreement: assets, and who may use which column for what, until when. All signatories sign it.

Kind `agreement/v1`. Everything that policy judges stands here as data; there is no expression language.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, StringConstraints, model_validator

from atoll.agreements.terms import Grant
from atoll.crypto.document import (
    AgreementId,
    Digest,
    Document,
    Key,
    Name,
    Text,
    Time,
    document_digest,
    parse_time,
    require_unique,
)

KIND = "agreement/v1"

AssetType = Literal["dataset", "lookup", "rule", "model", "script", "service"]
ColumnType = Literal["string", "int64", "decimal", "float64", "bool", "date", "timestamp"]
FindingCategory = Literal["missing", "stale", "contradictory", "malformed", "duplicate", "other"]
FINDING_CATEGORIES: tuple[FindingCategory, ...] = get_args(FindingCategory)
# What an owner may agree to show of a table's quality; see docs/how-to/data-quality.md.
_PLAIN_FIGURES = frozenset({"rows", "duplicates", "freshness_days", "failing_rules"})
_COLUMN_FIGURES = frozenset({"nulls", "stability"})
_ADDRESS = re.compile(
    r"https://[^\s/@?#]+(/[^\s?#]*)?|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/[^\s?#]*)?"
)


class Bilingual(Document):
    """A text in Chinese and English."""

    zh: Text
    en: Text


class Column(Document):
    """A column as its owner declares it.

    `precision` and `scale` belong to decimals; `range` is `[min, max]` as text; `codes` is a closed list.
    """

    name: Name
    type: ColumnType
    precision: Annotated[int, Field(ge=1, le=38)] | None
    scale: Annotated[int, Field(ge=0, le=38)] | None
    unit: Name | None
    label: Bilingual | None
    definition: Bilingual | None
    codes: Annotated[dict[Name, Bilingual], Field(min_length=1, max_length=10_000)] | None
    range: Annotated[tuple[Text, ...], Field(min_length=2, max_length=2)] | None
    as_of: Text | None
    nullable: bool

    @model_validator(mode="after")
    def _validate(self) -> Column:
        stated = {self.precision is not None, self.scale is not None}
        if stated != {self.type == "decimal"}:
            raise ValueError(f"column {self.name}: precision and scale stand on decimals, and only there")
        if self.precision is not None and self.scale is not None and self.scale > self.precision:
            raise ValueError(f"column {self.name}: the scale is larger than the precision")
        return self


class Asset(Document):
    """A dataset, lookup, service or logic of a provider, at the node of its host.

    `content` is the digest of the rule, model or script that is meant, null for what is no file. `quality`
    lists the figures that grantees may see of a table: `rows`, `duplicates`, `freshness_days`,
    `failing_rules`, `nulls:COLUMN`, `stability:COLUMN`. `findings` lists the categories in which they may
    report back.
    """

    name: Name
    provider: Key
    host: Key
    type: AssetType
    content: Digest | None
    columns: Annotated[tuple[Column, ...], Field(max_length=4096)]
    quality: Annotated[tuple[Name, ...], Field(max_length=1000)]
    findings: Annotated[tuple[FindingCategory, ...], Field(max_length=len(FINDING_CATEGORIES))]
    grants: Annotated[tuple[Grant, ...], Field(max_length=1000)]

    @model_validator(mode="after")
    def _validate(self) -> Asset:
        require_unique((c.name for c in self.columns), f"asset {self.name}: column")
        check_asset(self.name, self.columns, self.quality, self.findings)
        names = {c.name for c in self.columns}
        for i, grant in enumerate(self.grants):
            unknown = sorted(grant.columns.keys() - names)
            if unknown:
                raise ValueError(f"asset {self.name}: grants.{i}: no column {unknown[0]!r}")
            if self.provider in grant.to:
                raise ValueError(f"asset {self.name}: grants.{i}: a provider grants nothing to itself")
        return self

    def column(self, name: str) -> Column | None:
        """The column of that name."""
        return next((c for c in self.columns if c.name == name), None)


def check_asset(
    name: str, columns: tuple[Column, ...], quality: tuple[str, ...], findings: tuple[str, ...]
) -> None:
    """`ValueError` for a quality figure that is not known, or of a column that the asset lacks."""
    require_unique(quality, f"asset {name}: quality: ")
    require_unique(findings, f"asset {name}: findings: ")
    known = {c.name for c in columns}
    for figure in quality:
        kind, _, column = figure.partition(":")
        if figure not in _PLAIN_FIGURES and (kind not in _COLUMN_FIGURES or column not in known):
            raise ValueError(f"asset {name}: quality: {figure!r} is no figure of this asset")


class Signatory(Document):
    """A party that signs: key and display name."""

    key: Key
    name: Name


class Validity(Document):
    """From `not_before` up to, not including, `not_after`."""

    not_before: Time
    not_after: Time


class WitnessMember(Document):
    """An independent witness: the name and key under which it cosigns, and its address.

    `address` is the prefix of a C2SP tlog-witness; null for a node that the signatories are paired with.
    """

    name: Name
    key: Key
    address: Annotated[str, StringConstraints(max_length=300)] | None

    @model_validator(mode="after")
    def _validate(self) -> WitnessMember:
        if any(c.isspace() for c in self.name) or "+" in self.name:
            raise ValueError("name: a witness's name holds no space and no plus sign")
        if self.address is not None and not _ADDRESS.fullmatch(self.address):
            raise ValueError("address: an https address, or an http address of this machine")
        return self


class Witnesses(Document):
    """Who beside the signatories cosigns the logs, and how many of them make a quorum.

    A witness learns size and rate of a log: so a log is shown to it every `seconds` at the soonest, at
    sizes that are multiples of `pad`.
    """

    quorum: Annotated[int, Field(ge=1, le=16)]
    pad: Annotated[int, Field(ge=1, le=65_536)]
    seconds: Annotated[int, Field(ge=1, le=86_400)]
    members: Annotated[tuple[WitnessMember, ...], Field(min_length=1, max_length=16)]

    @model_validator(mode="after")
    def _validate(self) -> Witnesses:
        require_unique((m.key for m in self.members), "witnesses: key")
        require_unique((m.name for m in self.members), "witnesses: name")
        if self.quorum > len(self.members):
            raise ValueError("witnesses: quorum: more than there are witnesses")
        return self


class Replay(Document):
    """Every party keeps the messages that it received, and its seed, for so many days after a job.

    With them it can re-run its side for an auditor: at its own node, or at one of `hosts`, which may be
    handed a party's inputs, seed and messages for this purpose alone.
    """

    keep_days: Annotated[int, Field(ge=1, le=3660)]
    hosts: Annotated[tuple[Key, ...], Field(max_length=16)]

    @model_validator(mode="after")
    def _validate(self) -> Replay:
        require_unique(self.hosts, "replay: hosts: ")
        return self


class Agreement(Document):
    """An agreement of 2 to 64 signatories about their assets.

    `offers` are digests of the standing offers that its assets follow from, if any.
    """

    format: Literal["atoll.agreement/v1"]
    id: AgreementId
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    supersedes: Digest | None
    title: Name
    signatories: Annotated[tuple[Signatory, ...], Field(min_length=2, max_length=64)]
    validity: Validity
    jurisdiction: Name | None
    silence_seconds: Annotated[int, Field(ge=1, le=3600)]
    grace_seconds: Annotated[int, Field(ge=0, le=30 * 86400)]
    offers: Annotated[tuple[Digest, ...], Field(max_length=64)]
    witnesses: Witnesses | None
    replay: Replay | None
    assets: Annotated[tuple[Asset, ...], Field(max_length=1000)]

    @model_validator(mode="after")
    def _validate(self) -> Agreement:
        keys = [s.key for s in self.signatories]
        require_unique(keys, "signatories: key")
        require_unique((s.name for s in self.signatories), "signatories: name")
        if keys != sorted(keys):
            raise ValueError("signatories: keys stand in order")
        if (self.version == 1) != (self.supersedes is None):
            raise ValueError("supersedes: stands on every version but the first")
        if parse_time(self.validity.not_before) >= parse_time(self.validity.not_after):
            raise ValueError("validity: ends before it begins")
        require_unique(((a.provider, a.name) for a in self.assets), "assets: provider and name")
        require_unique(((a.host, a.name) for a in self.assets), "assets: host and name")
        for asset in self.assets:
            named = {asset.provider, asset.host}.union(*(grant.to for grant in asset.grants))
            if not named <= set(keys):
                raise ValueError(f"asset {asset.name}: provider, host and grantees are signatories")
            payees = {s.to for g in asset.grants if g.price is not None for s in g.price.shares}
            if not payees <= set(keys):
                raise ValueError(f"asset {asset.name}: payees are signatories")
        require_unique(self.offers, "offers: ")
        if self.witnesses is not None and {m.key for m in self.witnesses.members} & set(keys):
            raise ValueError("witnesses: a signatory is no independent witness")
        return self

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the signatories, in order."""
        return tuple(s.key for s in self.signatories)

    @property
    def names(self) -> dict[str, str]:
        """Display name of each signatory's key."""
        return {s.key: s.name for s in self.signatories}

    def asset(self, provider: str, name: str) -> Asset | None:
        """The asset of that provider and name."""
        return next((a for a in self.assets if (a.provider, a.name) == (provider, name)), None)

    def asset_at(self, host: str, name: str) -> Asset | None:
        """The asset of that name at that host's node."""
        return next((a for a in self.assets if (a.host, a.name) == (host, name)), None)

    @cached_property
    def digest(self) -> str:
        """The digest that plans and receipts name this version by."""
        return document_digest(KIND, self.document())


def parse(document: Any) -> Agreement:
    """The checked agreement; `E_FORMAT` names the wrong field."""
    return Agreement.parse(document, what="agreement")
