"""The plan document: parties, inputs, operators with their edges, outputs, limits and estimate.

Kind `plan/v1`, signed by the asker. This module knows the form only; `check` knows what it must mean.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from atoll.agreements import model as agreement
from atoll.crypto.document import (
    AgreementId,
    Digest,
    Document,
    Identifier,
    JobId,
    Key,
    Name,
    Time,
    WholeNumber,
    document_digest,
    parse_time,
    require_unique,
)
from atoll.disclosure import Security
from atoll.errors import AtollError

KIND = "plan/v1"
FORMAT = "atoll.plan/v1"

Role = Literal["asker", "owner", "receiver", "computing"]
Shape = Literal["one-shot", "long", "service", "scheduled"]
OperatorKind = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}/v[1-9][0-9]{0,3}$")]
ProtocolId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}/v[1-9][0-9]{0,3}$")]
Positive = Annotated[int, Field(ge=1, le=2**53 - 1)]
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
Salt = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
MAX_KEYS = 64


class Party(Document):
    """A party and its roles, in order of name."""

    key: Key
    name: Name
    roles: Annotated[tuple[Role, ...], Field(min_length=1, max_length=4)]


class InputColumn(Document):
    """A column of an input, with the type that the agreement declares."""

    name: Name
    type: agreement.ColumnType
    precision: Annotated[int, Field(ge=1, le=38)] | None
    scale: Annotated[int, Field(ge=0, le=38)] | None
    unit: Name | None


class InputVersion(Document):
    """A version of an asset that the plan insists on."""

    digest: Digest


class Input(Document):
    """An asset of a party under an agreement, and the columns of it that the plan reads."""

    id: Identifier
    party: Key
    agreement: AgreementId
    agreement_digest: Digest
    asset: Name
    columns: Annotated[tuple[InputColumn, ...], Field(max_length=1024)]
    version: InputVersion | None

    @model_validator(mode="after")
    def _validate(self) -> Input:
        require_unique((c.name for c in self.columns), f"input {self.id}: column")
        return self


Keys = Annotated[tuple[Key, ...], Field(min_length=1, max_length=MAX_KEYS)]


class Visibility(Document):
    """Who sees an edge: in clear at named parties, shared among named parties, or public. Exactly one."""

    clear: Keys | None = None
    shared: Keys | None = None
    public: Literal[True] | None = None

    @model_validator(mode="after")
    def _validate(self) -> Visibility:
        if sum(v is not None for v in (self.clear, self.shared, self.public)) != 1:
            raise ValueError("exactly one of clear, shared and public")
        keys = self.clear or self.shared or ()
        require_unique(keys, "key")
        if list(keys) != sorted(keys):
            raise ValueError("keys stand in order")
        return self

    def document(self) -> dict[str, Any]:
        """Only the field that is present."""
        return {k: v for k, v in super().document().items() if v is not None}


class Edge(Document):
    """What leaves an operator: type, column names, row bound (text, null if unbounded), visibility."""

    type: Literal["table", "keys", "membership", "size", "vector", "bytes", "shares"]
    columns: Annotated[tuple[Name, ...], Field(max_length=1024)]
    rows: WholeNumber | None
    visibility: Visibility

    def document(self) -> dict[str, Any]:
        """The JSON document of this edge."""
        return {**super().document(), "visibility": self.visibility.document()}


class Operator(Document):
    """A step at one or several parties. Local steps have neither protocol nor security level."""

    id: Identifier
    kind: OperatorKind
    inputs: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=MAX_KEYS)]
    at: Keys
    protocol: ProtocolId | None
    security: Security | None
    parameters: dict[str, Any]
    edge: Edge

    def document(self) -> dict[str, Any]:
        """The JSON document of this operator."""
        return {**super().document(), "edge": self.edge.document()}


class Output(Document):
    """What a receiver gets: the columns of an operator's edge, or of the receiver's own matched rows."""

    id: Identifier
    source: Annotated[Identifier, Field(alias="from")]
    receiver: Key
    columns: Annotated[tuple[Name, ...], Field(max_length=1024)]
    minimum_group: Annotated[int, Field(ge=1, le=2**31)]


class Limits(Document):
    """Budgets: seconds, bytes on the wire, bytes of memory at each party, seconds of a peer's silence."""

    seconds: Positive
    bytes: Positive
    memory_bytes: Positive
    silence_seconds: Annotated[int, Field(ge=1, le=3600)]


class Estimate(Document):
    """The asker's estimate, for people only: no check rests on it."""

    rows: Count | None
    rounds: Count
    bytes: Count
    seconds: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}(\.[0-9]{1,3})?$")]


class Plan(Document):
    """What will be computed, on what, by whom, and who learns what.

    `salt` is fresh for each plan. The plan's digest stands in receipts; without the salt nobody who reads one
    can test a guess of what the plan says, such as a filter's value.
    """

    format: Literal["atoll.plan/v1"]
    id: JobId
    salt: Salt
    function: Name
    purpose: Name
    asker: Key
    person: Name
    created: Time
    expires: Time
    shape: Shape
    parties: Annotated[tuple[Party, ...], Field(min_length=2, max_length=MAX_KEYS)]
    inputs: Annotated[tuple[Input, ...], Field(min_length=1, max_length=MAX_KEYS)]
    operators: Annotated[tuple[Operator, ...], Field(min_length=1, max_length=256)]
    outputs: Annotated[tuple[Output, ...], Field(min_length=1, max_length=MAX_KEYS)]
    limits: Limits
    estimate: Estimate

    @model_validator(mode="after")
    def _validate(self) -> Self:
        keys = [p.key for p in self.parties]
        require_unique(keys, "parties: key")
        require_unique((p.name for p in self.parties), "parties: name")
        if keys != sorted(keys):
            raise ValueError("parties: keys stand in order")
        ids = [*(i.id for i in self.inputs), *(op.id for op in self.operators), *(o.id for o in self.outputs)]
        require_unique(ids, "inputs, operators, outputs: id")
        if parse_time(self.created) >= parse_time(self.expires):
            raise ValueError("expires: not after created")
        return self

    def document(self) -> dict[str, Any]:
        """The JSON document of this plan."""
        return {**super().document(), "operators": [op.document() for op in self.operators]}

    @property
    def names(self) -> dict[str, str]:
        """Display name of each party's key."""
        return {p.key: p.name for p in self.parties}

    def input(self, name: str) -> Input:
        """The input of that id."""
        return next(i for i in self.inputs if i.id == name)


def parse(document: Any) -> Plan:
    """The checked form of a plan.

    Raises:
        AtollError: `E_PLAN_VERSION` for another format; `E_PLAN` names the wrong field.
    """
    if (
        isinstance(document, dict)
        and isinstance(document.get("format"), str)
        and document["format"] != FORMAT
    ):
        raise AtollError("E_PLAN_VERSION", f"The plan's format {document['format'][:80]!r} is not known.")
    return Plan.parse(document, code="E_PLAN", what="plan")


def plan_digest(document: Any) -> str:
    """The digest that approvals and receipts name a plan by."""
    return document_digest(KIND, document)
