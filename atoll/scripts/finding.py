"""What a static check finds wrong in a package."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something that a package must not have; a package with any finding is refused.

    Attributes:
        code: a short stable name, such as `rules-import`.
        place: where it stands, such as `rules.py:12:5`.
        text: what is wrong and what to do, in English.
    """

    code: str
    place: str
    text: str
