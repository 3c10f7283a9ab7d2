"""A receiver's word before a result opens (kind `provisional/v1`): without it the owner's node releases nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from atoll.crypto import dsse
from atoll.crypto.document import Digest, Document, Identifier, JobId, Key, Time, format_time
from atoll.errors import AtollError

PROVISIONAL_KIND = "provisional/v1"

Attempt = Annotated[int, Field(ge=1, le=2**31)]
BlockNumber = Annotated[int, Field(ge=1, le=2**31)]


class Reserved(Document):
    """A block of a standing service's calls: its number, the number of its first call, and at most how many."""

    number: BlockNumber
    first: Annotated[int, Field(ge=1, le=2**53 - 1)]
    calls: Annotated[int, Field(ge=1, le=1_000_000)]


class Provisional(Document):
    """A receiver's word that it is about to receive this job's result (or this block of calls)."""

    format: Literal["atoll.provisional/v1"]
    job: JobId
    plan: Digest
    attempt: Attempt
    receiver: Key
    inputs: Annotated[dict[Identifier, Digest], Field(max_length=64)]
    block: Reserved | None
    at: Time


def build_provisional(
    *,
    job: str,
    plan: str,
    attempt: int,
    receiver: str,
    inputs: Mapping[str, str],
    at: datetime,
    block: Mapping[str, int] | None = None,
) -> dict[str, object]:
    """A provisional receipt, to be signed by `receiver`; `inputs` maps input id -> version digest."""
    return Provisional.parse(
        {
            "format": "atoll.provisional/v1",
            "job": job,
            "plan": plan,
            "attempt": attempt,
            "receiver": receiver,
            "inputs": dict(inputs),
            "block": dict(block) if block else None,
            "at": format_time(at),
        }
    ).document()


def open_provisional(
    envelope: dsse.Envelope,
    *,
    job: str,
    plan: str,
    attempt: int,
    receiver: str,
    inputs: Mapping[str, str],
    block: Mapping[str, int] | None = None,
) -> Provisional:
    """The checked provisional receipt of `receiver` for exactly this attempt, block and inputs.

    Raises:
        AtollError: `E_SIGNATURE`, `E_FORMAT`, or `E_RECEIPT` naming the field that differs.
    """
    found = Provisional.parse(dsse.verify(PROVISIONAL_KIND, envelope, (receiver,)))
    wanted = {
        "job": job,
        "plan": plan,
        "attempt": attempt,
        "receiver": receiver,
        "inputs": dict(inputs),
        "block": Reserved.parse(dict(block)) if block else None,
    }
    for field, value in wanted.items():
        if getattr(found, field) != value:
            raise AtollError("E_RECEIPT", f"The provisional receipt differs in {field}.", party=receiver)
    return found
