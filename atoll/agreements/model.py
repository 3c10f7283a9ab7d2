"""The agreement: assets, and who may use which column for what, until when. All signatories sign it.

Kind `agreement/v1`. Everything that policy judges stands here as data; there is no expression language.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, StringConstraints, model_validator

from atoll.crypto.document import (
    AgreementId,
    Amount,
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
from atoll.disclosure import GRANTABLE, Kind

KIND = "agreement/v1"

AssetType = Literal["dataset", "lookup", "rule", "model", "script", "service"]
ColumnType = Literal["string", "int64", "decimal", "float64", "bool", "date", "timestamp"]
Use = Literal[
    "join_key",
    "group_key",
    "equality_filter",
    "range_filter",
    "order",
    "aggregate",
    "feature",
    "label",
    "lookup_key",
    "lookup_value",
    "script_input",
    "reveal",
]
USES: tuple[Use, ...] = get_args(Use)
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
Positive = Annotated[int, Field(ge=1, le=2**53 - 1)]


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


class Quota(Document):
    """Most runs, calls and rows in a UTC day; null is no limit."""

    runs_per_day: Count | None
    calls_per_day: Count | None
    rows_per_day: Count | None


class KeysPerPeriod(Document):
    """Most distinct keys that a partner may present in any period of so many days."""

    keys: Positive
    days: Annotated[int, Field(ge=1, le=3660)]


class JoinBounds(Document):
    """Bounds on a join, since a join is a membership oracle.

    `minimum_rows` counts distinct keys on each side; `maximum_ratio` is larger side over smaller side;
    `minimum_change` is the least number of keys added plus removed between successive tables of a partner.
    """

    minimum_rows: Positive
    maximum_ratio: Positive
    distinct_keys_per_period: KeysPerPeriod
    minimum_change: Positive


class Price(Document):
    """Prices in minor units of `currency` (ISO 4217)."""

    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    per_run: Amount
    per_call: Amount
    per_row: Amount
    per_hit: Amount


class Grant(Document):
    """What named partners may do with an asset, for which purposes, and what may become known to them."""

    to: Annotated[tuple[Key, ...], Field(min_length=1, max_length=64)]
    purposes: Annotated[tuple[Name, ...], Field(min_length=1, max_length=64)]
    functions: Annotated[tuple[Name, ...], Field(min_length=1, max_length=64)]
    columns: Annotated[
        dict[Name, Annotated[tuple[Use, ...], Field(min_length=1, max_length=len(USES))]],
        Field(max_length=4096),
    ]
    users: Annotated[tuple[Name, ...], Field(min_length=1, max_length=1000)]
    minimum_group: Annotated[int, Field(ge=1, le=2**31)]
    minimum_security: Literal["semi-honest", "malicious"]
    disclose: Annotated[tuple[Kind, ...], Field(max_length=len(GRANTABLE))]
    approval: Literal["automatic", "steward"]
    quota: Quota
    join: JoinBounds | None
    price: Price | None

    @model_validator(mode="after")
    def _validate(self) -> Grant:
        for field in ("to", "purposes", "functions", "users", "disclose"):
            require_unique(getattr(self, field), f"{field}: ")
        for column, uses in self.columns.items():
            require_unique(uses, f"columns.{column}: ")
            if "join_key" in uses and self.join is None:
                raise ValueError(f"columns.{column}: a join key needs bounds under `join`")
        if "*" in self.users and len(self.users) > 1:
            raise ValueError('users: "*" stands alone')
        for kind in self.disclose:
            if kind not in GRANTABLE:
                raise ValueError(f"disclose: {kind} is not a kind that a grant lists")
        return self


class Asset(Document):
    """A dataset, lookup, service or logic of a provider, at the node of its host."""

    name: Name
    provider: Key
    host: Key
    type: AssetType
    columns: Annotated[tuple[Column, ...], Field(max_length=4096)]
    grants: Annotated[tuple[Grant, ...], Field(max_length=1000)]

    @model_validator(mode="after")
    def _validate(self) -> Asset:
        require_unique((c.name for c in self.columns), f"asset {self.name}: column")
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


class Signatory(Document):
    """A party that signs: key and display name."""

    key: Key
    name: Name


class Validity(Document):
    """From `not_before` up to, not including, `not_after`."""

    not_before: Time
    not_after: Time


class Agreement(Document):
    """An agreement of 2 to 64 signatories about their assets."""

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
