"""The terms of a grant: uses, bounds, quota, rate, consent, privacy budget, price. Data only, no expressions."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from atoll.crypto.document import Amount, Document, Key, Name, require_unique
from atoll.disclosure import GRANTABLE, Kind

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
Decimal = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,18})?$")]
"""A number that is not negative, as decimal text."""

ConsentMode = Literal["none", "attested", "presented"]
_CONSENT_RANK: dict[ConsentMode, int] = {"none": 0, "attested": 1, "presented": 2}


def consent_at_least(mode: ConsentMode, minimum: ConsentMode) -> bool:
    """Whether a way of showing consent reaches a minimum."""
    return _CONSENT_RANK[mode] >= _CONSENT_RANK[minimum]


class Quota(Document):
    """Most runs, calls and rows in a UTC day; null is no limit."""

    runs_per_day: Count | None
    calls_per_day: Count | None
    rows_per_day: Count | None


class Rate(Document):
    """At most `most` runs, or calls of a service, in any `seconds`."""

    most: Positive
    seconds: Annotated[int, Field(ge=1, le=86400)]


class KeysPerPeriod(Document):
    """Most distinct keys that a partner may present in any period of so many days."""

    keys: Positive
    days: Annotated[int, Field(ge=1, le=3660)]


JoinVariant = Literal["semi-honest", "low-communication", "kept"]
"""Variants of the fast join that are weaker than its default, which is secure against parties that cheat; and `kept`,
the join in which the receiver keeps what it can recognise keys by from run to run."""


class JoinBounds(Document):
    """Bounds on a join, since a join is a membership oracle.

    `minimum_rows` counts distinct keys on each side; `maximum_ratio` is larger side over smaller side;
    `minimum_change` is the least number of keys added plus removed between successive tables of a partner.
    `variants` are the weaker variants of the fast join, and the `kept` join, that a partner may choose. The field is
    absent where there are none; `minimum_security` must allow them too.
    """

    minimum_rows: Positive
    maximum_ratio: Positive
    distinct_keys_per_period: KeysPerPeriod
    minimum_change: Positive
    variants: Annotated[tuple[JoinVariant, ...], Field(min_length=1, max_length=3)] | None = None

    @model_validator(mode="after")
    def _validate(self) -> JoinBounds:
        if self.variants is None and "variants" in self.model_fields_set:
            raise ValueError("variants: is left out where there are none")
        require_unique(self.variants or (), "variants: ")
        return self

    @model_serializer(mode="wrap")
    def _present(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Only the fields that are present, so that a document reads back as it was written."""
        return {name: value for name, value in write(self).items() if value is not None}


class Consent(Document):
    """Whether each call needs the data subject's authorisation, and who may have issued it.

    `attested`: the asker binds each call to a salted commitment of the authorisation, of which an auditor can
    have a sample opened. `presented`: the owner's node checks the authorisation itself before it answers.
    `issuers` sign authorisations; empty leaves that to the asker, which is possible only for `attested`.
    """

    mode: ConsentMode
    issuers: Annotated[tuple[Key, ...], Field(max_length=64)]

    @model_validator(mode="after")
    def _validate(self) -> Consent:
        require_unique(self.issuers, "issuers: ")
        if list(self.issuers) != sorted(self.issuers):
            raise ValueError("issuers: keys stand in order")
        if self.mode == "none" and self.issuers:
            raise ValueError("issuers: where no consent is asked for there are none")
        if self.mode == "presented" and not self.issuers:
            raise ValueError("issuers: an authorisation that is presented needs someone who signs it")
        return self


class Privacy(Document):
    """A differential privacy budget: results carry noise, and their losses in any `days` add up to at most this."""

    epsilon: Decimal
    delta: Decimal
    days: Annotated[int, Field(ge=1, le=3660)]


class Share(Document):
    """A payee's parts of a price."""

    to: Key
    parts: Annotated[int, Field(ge=1, le=1_000_000)]


class Price(Document):
    """Prices in minor units of `currency` (ISO 4217).

    `per_row` counts rows that the payer presents, `per_hit` hits that it declares, `per_month` is flat for
    each calendar month (UTC) in which the agreement is in force. `shares` divides every amount among payees;
    empty: all goes to the provider.
    """

    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    per_run: Amount
    per_call: Amount
    per_row: Amount
    per_hit: Amount
    per_month: Amount
    shares: Annotated[tuple[Share, ...], Field(max_length=64)]

    @model_validator(mode="after")
    def _validate(self) -> Price:
        keys = [share.to for share in self.shares]
        require_unique(keys, "shares: ")
        if keys != sorted(keys):
            raise ValueError("shares: keys stand in order")
        return self


class Terms(Document):
    """What may be done with an asset, for which purposes, at what price, and what may become known."""

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
    rate: Rate | None
    join: JoinBounds | None
    consent: Consent
    privacy: Privacy | None
    price: Price | None

    @model_validator(mode="after")
    def _validate_terms(self) -> Terms:
        for field in ("purposes", "functions", "users", "disclose"):
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
        if self.minimum_security == "malicious" and self.join is not None and self.join.variants:
            raise ValueError("join.variants: none of them reaches the minimum security malicious")
        return self


class Grant(Terms):
    """Terms for named partners."""

    to: Annotated[tuple[Key, ...], Field(min_length=1, max_length=64)]

    @model_validator(mode="after")
    def _validate(self) -> Grant:
        require_unique(self.to, "to: ")
        return self

    @property
    def terms(self) -> dict[str, Any]:
        """The terms alone, as a document: what an offer states before anyone has accepted it."""
        return {name: value for name, value in self.document().items() if name != "to"}
