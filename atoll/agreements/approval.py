"""A node's signed answer to a plan: approval with what it commits to, or refusal with the reasons.

Kind `approval/v1`. An approval fixes the version of each own input, its number of distinct keys and its
change since the table last used, the commitment to the job seed, and the certificate that the worker will
show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from atoll.crypto import dsse
from atoll.crypto.document import Digest, Document, Identifier, JobId, Key, Name, Time, format_time
from atoll.errors import CODES, AtollError

KIND = "approval/v1"
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]


class WireReason(Document):
    """A reason as a peer may see it: `AtollError.to_wire`, and no value."""

    code: Annotated[str, StringConstraints(max_length=40)]
    party: Name | None = None
    step: Name | None = None
    column: Name | None = None

    @model_validator(mode="after")
    def _validate(self) -> WireReason:
        if self.code not in CODES:
            raise ValueError(f"code: {self.code} is not known")
        if any(getattr(self, name) is None for name in self.model_fields_set):
            raise ValueError("what is not known is left out")
        return self

    def document(self) -> dict[str, Any]:
        """Only the fields that are present."""
        return {k: v for k, v in super().document().items() if v is not None}


class InputCommitment(Document):
    """What a party feeds in to a run.

    `keys` counts distinct keys. `change` is the least number of keys added plus removed since any table that
    this party joined before with the same partner under the agreement, whatever the tables are called; null
    if there was none. Inputs that are not joined give null for both.
    """

    version: Digest
    mode: Literal["snapshot", "live"]
    keys: Count | None
    change: Count | None


class Approval(Document):
    """An approval or a refusal of a plan by one party."""

    format: Literal["atoll.approval/v1"]
    job: JobId
    plan: Digest
    party: Key
    decision: Literal["approve", "refuse"]
    by: Name
    at: Time
    reasons: Annotated[tuple[WireReason, ...], Field(max_length=1000)]
    inputs: Annotated[dict[Identifier, InputCommitment], Field(max_length=64)]
    seed_commitment: Digest | None
    tls: Digest | None
    nonce: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]

    @model_validator(mode="after")
    def _validate(self) -> Approval:
        if self.decision == "approve" and (self.seed_commitment is None or self.tls is None or self.reasons):
            raise ValueError("an approval commits to seed and certificate, and gives no reason")
        if self.decision == "refuse" and (
            not self.reasons or self.inputs or self.seed_commitment or self.tls
        ):
            raise ValueError("a refusal gives reasons and commits to nothing")
        return self

    def document(self) -> dict[str, Any]:
        """The JSON document of this approval."""
        return {**super().document(), "reasons": [reason.document() for reason in self.reasons]}


def build_approval(
    *,
    job: str,
    plan: str,
    party: str,
    by: str,
    at: datetime,
    inputs: Mapping[str, Mapping[str, Any]],
    seed_commitment: str,
    tls: str,
    nonce: str,
) -> dict[str, Any]:
    """An approval document, to be signed by `party`.

    Args:
        job, plan: the plan's id and digest.
        party: the deciding node's key.
        by: the steward's name, or `agreement` for an automatic approval.
        at: time of the decision.
        inputs: for each own input of the plan `{"version", "mode", "keys", "change"}`.
        seed_commitment, tls, nonce: commitment to the job seed, fingerprint of the worker's certificate, and
            16 fresh random bytes as hex.
    """
    return Approval.parse(
        {
            "format": "atoll.approval/v1",
            "job": job,
            "plan": plan,
            "party": party,
            "decision": "approve",
            "by": by,
            "at": format_time(at),
            "reasons": [],
            "inputs": {name: dict(facts) for name, facts in inputs.items()},
            "seed_commitment": seed_commitment,
            "tls": tls,
            "nonce": nonce,
        }
    ).document()


def build_refusal(
    *,
    job: str,
    plan: str,
    party: str,
    by: str,
    at: datetime,
    reasons: Sequence[Mapping[str, str]],
    nonce: str,
) -> dict[str, Any]:
    """A refusal document, to be signed by `party`; `reasons` are wire renderings, at least one."""
    return Approval.parse(
        {
            "format": "atoll.approval/v1",
            "job": job,
            "plan": plan,
            "party": party,
            "decision": "refuse",
            "by": by,
            "at": format_time(at),
            "reasons": [dict(reason) for reason in reasons],
            "inputs": {},
            "seed_commitment": None,
            "tls": None,
            "nonce": nonce,
        }
    ).document()


def open_approval(
    envelope: dsse.Envelope, *, plan: str, job: str, party: str, inputs: Sequence[str]
) -> Approval:
    """The checked answer of `party` to this very plan, signed by it.

    `inputs` are the ids of the plan's inputs that belong to the party: an approval commits to exactly these.

    Raises:
        AtollError: `E_SIGNATURE`, `E_FORMAT`, or `E_APPROVAL` if it answers another plan or other inputs.
    """
    answer = Approval.parse(dsse.verify(KIND, envelope, (party,)))
    if (answer.plan, answer.job, answer.party) != (plan, job, party):
        raise AtollError("E_APPROVAL", "The approval answers another plan.", party=party)
    if answer.decision == "approve" and set(answer.inputs) != set(inputs):
        raise AtollError(
            "E_APPROVAL", "The approval does not commit to exactly its party's inputs.", party=party
        )
    return answer
