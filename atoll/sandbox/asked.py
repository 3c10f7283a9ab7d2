"""A call as its host asks for it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
