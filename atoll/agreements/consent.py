"""A data subject's authorisation, its withdrawal, and how a call is bound to it.

Kinds `consent/v1` and `consent-withdrawal/v1`. An authorisation names its subject by a salted commitment
only: whoever sees it learns that somebody agreed, not who.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from atoll.crypto import canonical, dsse
from atoll.crypto.document import (
    Digest,
    Document,
    Key,
    Name,
    Time,
    format_time,
    parse_time,
    require_unique,
)
from atoll.crypto.suite import check_commitment, commit, digest
from atoll.errors import AtollError

CONSENT_KIND = "consent/v1"
WITHDRAWAL_KIND = "consent-withdrawal/v1"

Hex16 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class Authorisation(Document):
    """What a data subject agreed to: who may ask, for which purposes and functions, from when until when.

    `subject` commits to the subject's identity under an opening that stays with whoever issued it; `issuer`
    signs. `nonce` makes each authorisation another one.
    """

    format: Literal["atoll.consent/v1"]
    issuer: Key
    subject: Digest
    grantee: Key
    purposes: Annotated[tuple[Name, ...], Field(min_length=1, max_length=64)]
    functions: Annotated[tuple[Name, ...], Field(min_length=1, max_length=64)]
    not_before: Time
    not_after: Time
    nonce: Hex16

    @model_validator(mode="after")
    def _validate(self) -> Authorisation:
        require_unique(self.purposes, "purposes: ")
        require_unique(self.functions, "functions: ")
        if parse_time(self.not_before) >= parse_time(self.not_after):
            raise ValueError("not_after: ends before it begins")
        return self


class Withdrawal(Document):
    """The end of an authorisation before its date."""

    format: Literal["atoll.consent-withdrawal/v1"]
    consent: Digest
    at: Time


def build_consent(
    *,
    issuer: str,
    subject: str,
    opening: bytes,
    grantee: str,
    purposes: Sequence[str],
    functions: Sequence[str],
    not_before: datetime,
    not_after: datetime,
    nonce: str,
) -> dict[str, Any]:
    """An authorisation, to be signed by `issuer`; `subject` is the identity, which only its commitment enters."""
    return Authorisation.parse(
        {
            "format": "atoll.consent/v1",
            "issuer": issuer,
            "subject": commit(subject.encode(), opening),
            "grantee": grantee,
            "purposes": list(purposes),
            "functions": list(functions),
            "not_before": format_time(not_before),
            "not_after": format_time(not_after),
            "nonce": nonce,
        },
        what="consent",
    ).document()


def build_withdrawal(consent: str, at: datetime) -> dict[str, Any]:
    """A withdrawal of the authorisation with that digest, to be signed by its issuer."""
    return Withdrawal.parse(
        {"format": "atoll.consent-withdrawal/v1", "consent": consent, "at": format_time(at)}
    ).document()


def _wrong(text: str) -> AtollError:
    return AtollError("E_CONSENT", text)


def open_consent(envelope: dsse.Envelope) -> Authorisation:
    """The authorisation in an envelope, signed by the issuer that it names; `E_CONSENT` otherwise."""
    try:
        found = Authorisation.parse(dsse.verify(CONSENT_KIND, envelope, ()), what="consent")
        dsse.verify(CONSENT_KIND, envelope, (found.issuer,))
    except AtollError as error:
        raise _wrong(f"The authorisation is not one: {error.text}") from None
    return found


def open_withdrawal(envelope: dsse.Envelope, consent: dsse.Envelope) -> Withdrawal:
    """The withdrawal of an authorisation by its issuer; `E_CONSENT` if it is about another, or by another."""
    try:
        found = Withdrawal.parse(dsse.verify(WITHDRAWAL_KIND, envelope, (open_consent(consent).issuer,)))
    except AtollError as error:
        raise _wrong(f"The withdrawal is not one: {error.text}") from None
    if found.consent != dsse.identifier(consent):
        raise _wrong("The withdrawal is of another authorisation.")
    return found


def check_consent(
    consent: Authorisation,
    *,
    issuers: Iterable[str],
    asker: str,
    purpose: str,
    function: str,
    now: datetime,
) -> None:
    """Refuses an authorisation that does not cover a call.

    Args:
        consent: as opened.
        issuers: who may sign; none means the asker itself.
        asker, purpose, function: of the plan that the call belongs to.
        now: by the clock of whoever checks.

    Raises:
        AtollError: `E_CONSENT` says what is not covered.
    """
    if consent.issuer not in (set(issuers) or {asker}):
        raise _wrong("The authorisation is signed by none of the issuers that the agreement names.")
    if consent.grantee != asker:
        raise _wrong("The authorisation was given to another institution.")
    if purpose not in consent.purposes:
        raise _wrong(f"The authorisation does not name the purpose {purpose!r}.")
    if function not in consent.functions:
        raise _wrong(f"The authorisation does not name the function {function!r}.")
    if now < parse_time(consent.not_before):
        raise _wrong(f"The authorisation begins at {consent.not_before}.")
    if now >= parse_time(consent.not_after):
        raise _wrong(f"The authorisation ended at {consent.not_after}.")


# Calls.


def attest(consent: dsse.Envelope, opening: bytes) -> str:
    """The salted commitment to an authorisation that a call carries."""
    return commit(dsse.identifier(consent).encode(), opening)


def check_attested(commitment: str, consent: dsse.Envelope, opening: bytes) -> bool:
    """Whether a call's commitment opens to this authorisation."""
    return check_commitment(dsse.identifier(consent).encode(), opening, commitment)


class CallRecord(Document):
    """One call of a service, as both sides record it: the leaf of its block's tree.

    `call` counts from 1 within the block; `consent` is the commitment, or the digest of the authorisation that
    was presented. The salt keeps the digests from being guessed when a neighbour in the tree is shown.
    """

    call: Annotated[int, Field(ge=1, le=2**31)]
    consent: Digest | None
    request: Digest
    answer: Digest
    salt: Hex16


def call_record(call: int, consent: str | None, request: bytes, answer: bytes, salt: bytes) -> bytes:
    """The bytes of a call's record."""
    return canonical.dumps(
        {
            "call": call,
            "consent": consent,
            "request": digest(request),
            "answer": digest(answer),
            "salt": salt.hex(),
        }
    )
