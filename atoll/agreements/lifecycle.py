"""From offer to end: who has signed, which version holds, who revoked, and whether it may be used now.

An agreement holds once every signatory has signed. A version holds until a later one is complete. Any one
signatory may revoke, and that ends every version.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from atoll.agreements.model import KIND, Agreement, Asset, parse
from atoll.agreements.terms import Grant
from atoll.crypto import canonical, dsse
from atoll.crypto.document import AgreementId, Document, Key, Text, Time, format_time, parse_time
from atoll.errors import AtollError

REVOCATION_KIND = "revocation/v1"


class Revocation(Document):
    """The end of an agreement by one signatory."""

    format: Literal["atoll.revocation/v1"]
    agreement: AgreementId
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    by: Key
    reason: Text
    at: Time


@dataclass(frozen=True)
class AgreementState:
    """What a node knows of one version of an agreement.

    Args:
        agreement: the checked document.
        signed: keys whose signatures verified.
        revocation: the revocation, if a signatory gave one.
        superseded_by: digest of the complete later version, if there is one.
    """

    agreement: Agreement
    signed: frozenset[str]
    revocation: Revocation | None = None
    superseded_by: str | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Signatories that have not signed."""
        return tuple(key for key in self.agreement.keys if key not in self.signed)

    @property
    def complete(self) -> bool:
        """Whether every signatory has signed."""
        return not self.missing

    def refusal(self, now: datetime) -> AtollError | None:
        """Why this version may not be used at `now`: `E_AGREEMENT`, `E_REVOKED`, `E_EXPIRED`; None if it
        may.
        """
        a = self.agreement
        if self.revocation is not None:
            who = a.names[self.revocation.by]
            return AtollError("E_REVOKED", f"Agreement {a.id} was revoked by {who} at {self.revocation.at}.")
        if not self.complete:
            names = ", ".join(a.names[key] for key in self.missing)
            return AtollError(
                "E_AGREEMENT", f"Agreement {a.id} version {a.version} is not signed by {names}."
            )
        if self.superseded_by is not None:
            return AtollError(
                "E_AGREEMENT", f"Agreement {a.id} version {a.version} was replaced by a later one."
            )
        if now < parse_time(a.validity.not_before):
            return AtollError("E_EXPIRED", f"Agreement {a.id} begins at {a.validity.not_before}.")
        if now >= parse_time(a.validity.not_after):
            return AtollError("E_EXPIRED", f"Agreement {a.id} ended at {a.validity.not_after}.")
        return None


def open_envelope(envelope: dsse.Envelope) -> tuple[Agreement, frozenset[str]]:
    """The agreement in an envelope and the signatories whose signatures verify, perhaps not yet all.

    Raises:
        AtollError: `E_SIGNATURE` for another kind or a signature by a stranger; `E_FORMAT` for a wrong field.
    """
    agreement = parse(dsse.verify(KIND, envelope, ()))
    if canonical.dumps(agreement.document()) != dsse.payload_bytes(envelope):
        raise AtollError("E_FORMAT", "agreement: the document does not read back to the same bytes.")
    strangers = {s["keyid"] for s in envelope["signatures"]} - set(agreement.keys)
    if strangers:
        raise AtollError("E_SIGNATURE", f"{sorted(strangers)[0]} signed but is no signatory.")
    return agreement, frozenset(dsse.signers(envelope))


def check_amendment(old: Agreement, new: Agreement) -> None:
    """Refuses a new version that does not follow from the old one.

    All old signatories remain, so that nobody's consent is lost by an amendment; a signatory who wants to
    leave revokes.

    Raises:
        AtollError: `E_AGREEMENT` names the field.
    """
    for field, wrong in {
        "id": new.id != old.id,
        "version": new.version != old.version + 1,
        "supersedes": new.supersedes != old.digest,
        "signatories": not set(old.keys) <= set(new.keys),
    }.items():
        if wrong:
            raise AtollError("E_AGREEMENT", f"The amendment of {old.id} does not follow: {field}.")


def build_revocation(agreement: Agreement, by: str, reason: str, at: datetime) -> dict[str, Any]:
    """A revocation document (kind `revocation/v1`), to be signed by `by`, one of the signatories."""
    if by not in agreement.keys:
        raise AtollError("E_AGREEMENT", f"{by} is no signatory of {agreement.id}.")
    return Revocation.parse(
        {
            "format": "atoll.revocation/v1",
            "agreement": agreement.id,
            "version": agreement.version,
            "by": by,
            "reason": reason,
            "at": format_time(at),
        }
    ).document()


def open_revocation(envelope: dsse.Envelope, agreement: Agreement) -> Revocation:
    """The checked revocation of `agreement`, signed by the signatory that it names.

    Raises:
        AtollError: `E_FORMAT`, `E_SIGNATURE`, or `E_AGREEMENT` if it is about another agreement.
    """
    revoked = Revocation.parse(dsse.verify(REVOCATION_KIND, envelope, ()))
    if revoked.agreement != agreement.id or revoked.by not in agreement.keys:
        raise AtollError("E_AGREEMENT", f"The revocation is not one by a signatory of {agreement.id}.")
    dsse.verify(REVOCATION_KIND, envelope, (revoked.by,))
    return revoked


def grants_to(asset: Asset, partner: str, purpose: str, function: str) -> list[tuple[int, Grant]]:
    """Grants of an asset to a partner for a purpose and function, with their places in the list."""
    return [
        (i, g)
        for i, g in enumerate(asset.grants)
        if partner in g.to and purpose in g.purposes and function in g.functions
    ]
