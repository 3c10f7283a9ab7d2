"""What a log holds: a leaf that says nothing, and beside it the body that opens it.

A leaf is canonical JSON `{"commitment": "sha256:..."}`. The body (kind, time, document) is committed to
with a fresh 128-bit opening; whoever has the leaf alone learns nothing of the body, whatever he guesses.
Erasing body and opening leaves the log verifiable.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from atoll.crypto import canonical
from atoll.crypto.suite import (
    DEFAULT,
    OPENING_BYTES,
    Suite,
    check_commitment,
    commit,
    digest_bytes,
    opening,
)
from atoll.errors import AtollError

_LEAF = re.compile(rb'\{"commitment":"([a-z0-9-]{1,32}:[0-9a-f]{1,256})"\}')
_KIND = re.compile(r"[a-z0-9-]{1,48}/v[1-9][0-9]{0,3}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_LENGTH = 4


@dataclass(frozen=True)
class Record:
    """What the caller appends: the kind of a document, for example `receipt/v1`, and the document (JSON)."""

    kind: str
    document: Any


@dataclass(frozen=True)
class Body:
    """What a leaf commits to: `time` is the writer's claim, RFC 3339 UTC with seconds."""

    kind: str
    time: str
    document: Any


@dataclass(frozen=True, repr=False)
class Opened:
    """Body bytes (canonical JSON) with the opening of their commitment. Its `repr` shows neither."""

    body: bytes
    opening: bytes


@dataclass(frozen=True, repr=False)
class Entry:
    """A leaf's bytes, and what opens it unless that is withheld or erased."""

    leaf: bytes
    opened: Opened | None

    @property
    def commitment(self) -> str:
        """`algorithm:hex`."""
        return parse_leaf(self.leaf)


def format_time(now: datetime) -> str:
    """RFC 3339 UTC with seconds; `E_FORMAT` for a time without a zone."""
    if now.tzinfo is None:
        raise AtollError("E_FORMAT", "a time needs its zone")
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seal(record: Record, time: str, using: Suite = DEFAULT) -> Entry:
    """A leaf for a record of that time (`format_time`), with a fresh opening.

    Raises:
        AtollError: `E_FORMAT` for a document that canonical JSON cannot hold or a malformed kind,
            `E_TOO_LARGE` over the limit of `canonical`.
    """
    if not _KIND.fullmatch(record.kind):
        raise AtollError("E_FORMAT", f"a kind is written as name/v1, not {record.kind[:60]!r}")
    body = canonical.dumps({"kind": record.kind, "time": time, "document": record.document})
    if len(body) > canonical.MAX_BYTES:
        raise AtollError("E_TOO_LARGE", f"a ledger body of {len(body)} bytes is over {canonical.MAX_BYTES}")
    opened = Opened(body, opening())
    leaf = canonical.dumps({"commitment": commit(opened.body, opened.opening, using)})
    return Entry(leaf, opened)


def parse_leaf(leaf: bytes) -> str:
    """The commitment of a leaf; `E_LEDGER` unless the leaf is exactly of the one form."""
    match = _LEAF.fullmatch(leaf)
    if match is None:
        raise AtollError("E_LEDGER", "an entry is not a commitment in canonical form")
    commitment = match[1].decode()
    try:
        digest_bytes(commitment)
    except AtollError:
        raise AtollError("E_LEDGER", "an entry's commitment has an unknown algorithm or length") from None
    return commitment


def open_leaf(leaf: bytes, opened: Opened) -> Body:
    """The body of a leaf, once it opens the commitment.

    Raises:
        AtollError: `E_LEDGER` if it does not, or if the body is not of the right form.
    """
    if not check_commitment(opened.body, opened.opening, parse_leaf(leaf)):
        raise AtollError("E_LEDGER", "a body does not open its entry's commitment")
    try:
        value = canonical.loads(opened.body)
    except AtollError as error:
        raise AtollError("E_LEDGER", f"a body is not canonical: {error.text}") from None
    if (
        not isinstance(value, dict)
        or set(value) != {"kind", "time", "document"}
        or not isinstance(value["kind"], str)
        or not _KIND.fullmatch(value["kind"])
        or not isinstance(value["time"], str)
        or not _TIME.fullmatch(value["time"])
    ):
        raise AtollError("E_LEDGER", "a body has exactly kind, time and document")
    return Body(value["kind"], value["time"], value["document"])


def read_body(opened: Opened) -> Body:
    """A body that this node keeps, and checked when it came; `E_LEDGER` if it is none."""
    try:
        value = canonical.loads(opened.body)
        return Body(str(value["kind"]), str(value["time"]), value["document"])
    except (AtollError, KeyError, TypeError):
        raise AtollError("E_LEDGER", "a kept body is not one") from None


def read_time(opened: Opened) -> str:
    """The claimed time of a body that this node keeps; `E_LEDGER` if it is none."""
    return read_body(opened).time


def encode_bodies(bodies: Sequence[Opened | None]) -> bytes:
    """Bodies of a bundle: for each a 4-byte big-endian length, opening and body; length 0 if withheld."""
    parts = []
    for opened in bodies:
        data = b"" if opened is None else opened.opening + opened.body
        parts.append(len(data).to_bytes(_LENGTH, "big") + data)
    return b"".join(parts)


def decode_bodies(data: bytes, width: int) -> list[Opened | None]:
    """Reads `encode_bodies` of exactly `width` entries; `E_LEDGER` if cut short, too long or left over."""
    found: list[Opened | None] = []
    position = 0
    for _ in range(width):
        start = position + _LENGTH
        length = int.from_bytes(data[position:start], "big")
        position = start + length
        if start > len(data) or position > len(data) or 0 < length <= OPENING_BYTES:
            raise AtollError("E_LEDGER", f"the bodies end within body {len(found)}")
        if length > OPENING_BYTES + canonical.MAX_BYTES:
            raise AtollError("E_LEDGER", f"body {len(found)} is too large")
        cut = start + OPENING_BYTES
        found.append(Opened(data[cut:position], data[start:cut]) if length else None)
    if position != len(data):
        raise AtollError("E_LEDGER", f"bytes are left after {width} bodies")
    return found
