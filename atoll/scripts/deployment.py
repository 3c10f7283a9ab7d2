"""The owner's word on a package: consent, within limits of its own, or refusal; and its withdrawal.

Kind `deployment/v1`, signed by the host. A package runs only under a consent that stands.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from atoll.crypto import dsse
from atoll.crypto.document import AgreementId, Digest, Document, Identifier, Key, Name, Text, Time, parse_time
from atoll.errors import AtollError
from atoll.scripts.manifest import MAX_WHOLE, Manifest, Number, Symbol
from atoll.scripts.outputs import bits_per_call, coarsen

KIND = "deployment/v1"
FORMAT = "atoll.deployment/v1"
Millibits = Annotated[int, Field(ge=0, le=MAX_WHOLE)]
DEFAULT_SUBJECT_BITS = 64
DEFAULT_SUBJECT_DAYS = 365
DEFAULT_DAY_BITS = 100_000


class Bounds(Document):
    """What the owner allows, beside what the grants of the agreement say.

    `calls_per_day`: null is no limit. `subject_millibits` may leave about one subject in any `subject_days`, and
    `day_millibits` in all in a UTC day, over all versions of the package. `steps`: larger steps of outputs.
    `reasons`: whether answers name reasons. `hold_above`: an answer with a larger number waits for a steward.
    """

    calls_per_day: Annotated[int, Field(ge=0, le=MAX_WHOLE)] | None
    subject_millibits: Millibits
    subject_days: Annotated[int, Field(ge=1, le=3660)]
    day_millibits: Millibits
    steps: Annotated[dict[Symbol, Annotated[int, Field(ge=1, le=MAX_WHOLE)]], Field(max_length=16)]
    reasons: bool
    hold_above: Annotated[
        dict[Symbol, Annotated[int, Field(ge=-MAX_WHOLE, le=MAX_WHOLE)]], Field(max_length=16)
    ]
    not_after: Time | None

    @property
    def holds(self) -> bool:
        """Whether some answers wait for a steward."""
        return bool(self.hold_above)


class Deployment(Document):
    """The decision of a host about one package under one agreement."""

    format: Literal["atoll.deployment/v1"]
    agreement: AgreementId
    host: Key
    author: Key
    package: Digest
    name: Identifier
    version: Name
    decision: Literal["consent", "refuse", "withdraw"]
    bounds: Bounds | None
    reason: Text
    person: Name
    at: Time

    @model_validator(mode="after")
    def _validate(self) -> Self:
        if (self.decision == "consent") != (self.bounds is not None):
            raise ValueError("bounds: a consent has bounds, and nothing else has")
        return self


def default_bounds(**given: Any) -> dict[str, Any]:
    """Bounds as a document; what is not given has its safe default."""
    return {
        "calls_per_day": None,
        "subject_millibits": DEFAULT_SUBJECT_BITS * 1000,
        "subject_days": DEFAULT_SUBJECT_DAYS,
        "day_millibits": DEFAULT_DAY_BITS * 1000,
        "steps": {},
        "reasons": True,
        "hold_above": {},
        "not_after": None,
        **given,
    }


def allowed(manifest: Manifest, bounds: Bounds) -> Manifest:
    """The manifest within the owner's bounds: what may leave.

    Raises:
        AtollError: `E_SCRIPT` names a bound that does not fit the manifest.
    """
    found = coarsen(manifest, bounds.steps, bounds.reasons)
    for name in bounds.hold_above:
        if not isinstance(found.outputs.get(name), Number):
            raise AtollError("E_SCRIPT", f"bounds.hold_above.{name}: {manifest.name} has no such number.")
    need = bits_per_call(found, bounds.holds)
    for field, have in (
        ("subject_millibits", bounds.subject_millibits),
        ("day_millibits", bounds.day_millibits),
    ):
        if have < need:
            raise AtollError(
                "E_SCRIPT",
                f"bounds.{field}: {have / 1000:g} bits do not cover one call, which carries up to {need / 1000:g}.",
            )
    return found


def held(bounds: Bounds, answer: dict[str, Any] | None) -> bool:
    """Whether an answer waits for a steward."""
    return answer is not None and any(answer[name] > most for name, most in bounds.hold_above.items())


def open_deployment(envelope: Any) -> Deployment:
    """The deployment in an envelope that its host signed; `E_SIGNATURE`, `E_SCRIPT`."""
    found = Deployment.parse(dsse.verify(KIND, envelope, []), code="E_SCRIPT", what="deployment")
    dsse.verify(KIND, envelope, [found.host])
    return found


def ends(deployment: Deployment) -> Any:
    """When a consent ends; None where it does not."""
    bounds = deployment.bounds
    return parse_time(bounds.not_after) if bounds is not None and bounds.not_after is not None else None
