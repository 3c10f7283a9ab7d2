"""The closed vocabulary of what becomes known to whom.

A statement is emitted by an operator of a plan, judged by policy and rendered for people from the same data.
What cannot be said with these kinds cannot be disclosed by any plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from atoll.crypto.document import Document, Identifier, Key, Name, require_unique
from atoll.errors import AtollError

Kind = Literal[
    "size",
    "membership",
    "intersection_size",
    "multiplicity",
    "matched_count",
    "matched_sum",
    "matched_moments",
    "matched_product",
    "matched_histogram",
    "own_matched_sum",
    "too_few_matched",
    "linkable",
    "changes",
    "order",
    "timing",
    "call",
    "hits",
    "authorisation",
    "sum",
    "count",
    "suppressed_groups",
    "small_group_exists",
    "participation",
    "value",
    "outcome",
    "record",
    "sealed_table",
    "key_totals",
    "sealed_cells",
    "extra_keys",
    "corruptible",
    "input_choice",
    "omission",
    "collusion",
    "common_collusion",
    "size_collusion",
    "guessing",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
# These qualify every other statement of a protocol: what a party that departs from it could do. The grant's
# minimum security judges them, not its list of kinds: an owner who accepts a semi-honest protocol accepts what
# semi-honest means. `extra_keys` is charged beside.
QUALIFIERS: frozenset[Kind] = frozenset(
    {
        "extra_keys",
        "corruptible",
        "input_choice",
        "omission",
        "collusion",
        "common_collusion",
        "size_collusion",
        "guessing",
    }
)
GRANTABLE: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind not in QUALIFIERS)
"""Kinds that a grant may list under `disclose`."""

Security = Literal["none", "semi-honest", "malicious"]
_RANK: dict[str, int] = {"none": 0, "semi-honest": 1, "malicious": 2}

Assumption = Literal[
    "ddh-two-party",
    "lpn-two-party",
    "lpn-permutation-two-party",
    "gap-dh-two-party",
    "lpn-star",
    "lpn-permutation-star",
    "lwe-gap-dh-two-party",
    "rlwe-gap-dh-two-party",
    "rlwe-lpn-permutation-two-party",
    "no-full-collusion",
    "transport",
]
"""What the security of a step rests on: the decisional Diffie-Hellman assumption in ristretto255 with a random
oracle; that learning parity with noise is hard in expand-convolute codes, with the computational Diffie-Hellman
assumption in ristretto255 and a random oracle; the same, and AES under a public key as a random permutation; the
one-more gap Diffie-Hellman assumption in ristretto255 with a random oracle; that learning with errors is hard, with
the one before; the same, and that ring learning with errors is hard, also where a key is encrypted under itself; that
of `lpn-permutation-two-party`, and that ring learning with errors is hard; for a star, that of `lpn-two-party` with
Diffie-Hellman on Curve25519 and ristretto255, or that of `lpn-permutation-two-party` with it and AES as a
pseudorandom function; that not all other holders collude with the receiver; TLS 1.3 between the two nodes."""


class Parameters(Document):
    """Facts that a statement's text needs. Which ones must be present depends on the kind."""

    asset: Name | None = None
    columns: Annotated[tuple[Name, ...], Field(max_length=256)] = ()
    by: Annotated[tuple[Name, ...], Field(max_length=16)] = ()
    minimum_group: Annotated[int, Field(ge=1, le=2**31)] | None = None
    parties: Annotated[int, Field(ge=2, le=64)] | None = None
    maximum_bytes: Annotated[int, Field(ge=1, le=2**40)] | None = None
    maximum_bits: Annotated[int, Field(ge=1, le=2**20)] | None = None
    percent: Annotated[int, Field(ge=100, le=10_000)] | None = None
    extra: Annotated[int, Field(ge=1, le=2**32)] | None = None

    def document(self) -> dict[str, Any]:
        """Only the parameters that are present."""
        return {k: v for k, v in super().document().items() if v not in (None, [])}


_STATED = tuple(name for name in Parameters.model_fields if name != "asset")

# kind: parameters that must be present; every other parameter must be absent, `asset` excepted.
PARAMETERS: dict[Kind, frozenset[str]] = {
    "size": frozenset({"columns"}),
    "membership": frozenset({"columns"}),
    "intersection_size": frozenset({"columns"}),
    "multiplicity": frozenset({"columns"}),
    "matched_count": frozenset({"columns", "minimum_group"}),
    "matched_sum": frozenset({"columns", "minimum_group"}),
    "matched_moments": frozenset({"columns", "minimum_group"}),
    "matched_product": frozenset({"columns", "minimum_group", "maximum_bits"}),
    "matched_histogram": frozenset({"columns", "minimum_group"}),
    "own_matched_sum": frozenset({"columns", "minimum_group", "maximum_bits"}),
    "too_few_matched": frozenset({"columns", "minimum_group"}),
    "linkable": frozenset({"columns"}),
    "changes": frozenset({"columns"}),
    "order": frozenset(),
    "timing": frozenset(),
    "call": frozenset({"maximum_bytes"}),
    "hits": frozenset(),
    "authorisation": frozenset(),
    "sum": frozenset({"columns", "parties"}),
    "count": frozenset({"parties"}),
    "suppressed_groups": frozenset({"minimum_group"}),
    "small_group_exists": frozenset({"minimum_group"}),
    "participation": frozenset({"parties"}),
    "value": frozenset({"columns"}),
    "outcome": frozenset({"columns", "maximum_bits"}),
    "record": frozenset({"columns", "by"}),
    "sealed_table": frozenset({"columns"}),
    "key_totals": frozenset({"columns", "by", "parties"}),
    "sealed_cells": frozenset({"columns"}),
    "extra_keys": frozenset({"columns", "percent", "extra"}),
    "corruptible": frozenset(),
    "input_choice": frozenset(),
    "omission": frozenset(),
    "collusion": frozenset({"parties"}),
    "common_collusion": frozenset({"parties"}),
    "size_collusion": frozenset({"parties"}),
    "guessing": frozenset({"minimum_group"}),
}
_OPTIONAL: dict[Kind, frozenset[str]] = {
    "membership": frozenset({"parties"}),
    "intersection_size": frozenset({"parties"}),
    "sum": frozenset({"by"}),
    "count": frozenset({"by"}),
    "value": frozenset({"maximum_bytes"}),
}


class Statement(Document):
    """Who learns what about what, in which step, under which protocol security and assumption.

    `subject` is an input or operator id of the plan; `owner` the party whose data it is about, or null when
    it is about no single party.
    """

    subject: Identifier
    owner: Key | None
    what: Kind
    to: Annotated[tuple[Key, ...], Field(min_length=1, max_length=64)]
    step: Identifier
    security: Security
    assumption: Assumption
    parameters: Parameters

    @model_validator(mode="after")
    def _validate(self) -> Statement:
        require_unique(self.to, "receiver")
        if list(self.to) != sorted(self.to):
            raise ValueError("to: keys stand in order")
        given = self.parameters
        present = {k for k in _STATED if getattr(given, k) not in (None, ())}
        required = PARAMETERS[self.what]
        if not required <= present <= required | _OPTIONAL.get(self.what, frozenset()):
            raise ValueError(f"parameters: {self.what} takes {sorted(required)}, got {sorted(present)}")
        return self

    def document(self) -> dict[str, Any]:
        """The JSON document of this statement."""
        return {**super().document(), "parameters": self.parameters.document()}


MAX_STATEMENTS = 4096


def to_json(statements: Iterable[Statement]) -> list[dict[str, Any]]:
    """The statements as JSON documents, in the same order."""
    return [statement.document() for statement in statements]


def from_json(documents: Any) -> tuple[Statement, ...]:
    """Checked statements; `E_FORMAT` names the first wrong one."""
    if not isinstance(documents, list | tuple) or len(documents) > MAX_STATEMENTS:
        raise AtollError("E_FORMAT", f"disclosures: expected a list of at most {MAX_STATEMENTS} statements")
    return tuple(Statement.parse(d, what=f"disclosures.{i}") for i, d in enumerate(documents))


def exceeds(
    statements: Iterable[Statement], *, owner: str, subject: str, to: str, allowed: Iterable[str]
) -> list[Statement]:
    """Statements about `owner`'s `subject` that reach `to` and whose kind is not in `allowed`."""
    permitted = set(allowed) | QUALIFIERS
    return [
        s
        for s in statements
        if s.owner == owner and s.subject == subject and to in s.to and s.what not in permitted
    ]


def weakest(levels: Iterable[Security]) -> Security:
    """The security level of a whole: that of its weakest part, `none` for nothing at all."""
    return min(levels, key=_RANK.__getitem__, default="none")


def at_least(level: Security, minimum: Security) -> bool:
    """Whether a level reaches a minimum."""
    return _RANK[level] >= _RANK[minimum]


def about(statements: Sequence[Statement], owner: str, subject: str) -> set[str]:
    """Keys of the parties other than the owner that learn something about a subject."""
    return {k for s in statements if (s.owner, s.subject) == (owner, subject) for k in s.to} - {owner}
