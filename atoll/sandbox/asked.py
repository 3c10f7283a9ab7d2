"""A call as its host asks for it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atoll.crypto.suite import digest


@dataclass(frozen=True)
class Asked:
    """A call, apart from its rows.

    Attributes:
        seed: what the call's randomness grows from, 1 to 64 bytes.
        today: the date that the package sees.
        arguments: every argument of the manifest, defaults included.
    """

    seed: bytes
    today: datetime.date
    arguments: Mapping[str, Any]


def call_seed(content: str, key: str) -> bytes:
    """The seed of a call's randomness: whoever has the package and knows the call's key draws the same.

    Args:
        content: digest of the package's manifest and files.
        key: the call's idempotency key.
    """
    return bytes.fromhex(digest(f"atoll script seed v1 {content} {key}".encode()).partition(":")[2])
