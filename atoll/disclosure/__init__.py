"""What becomes known to whom: a closed vocabulary, judged by policy and rendered in Chinese and English.

Public names: `Statement`, `Parameters`, `KINDS`, `GRANTABLE`, `QUALIFIERS`, `Kind`, `Security`, `Assumption`,
`to_json`, `from_json`, `exceeds`, `about`, `weakest`, `at_least`, `render`, `render_kind`.
"""

from atoll.disclosure.statement import (
    GRANTABLE,
    KINDS,
    QUALIFIERS,
    Assumption,
    Kind,
    Parameters,
    Security,
    Statement,
    about,
    at_least,
    exceeds,
    from_json,
    to_json,
    weakest,
)
from atoll.disclosure.text import Language, render, render_kind

__all__ = [
    "GRANTABLE",
    "KINDS",
    "QUALIFIERS",
    "Assumption",
    "Kind",
    "Language",
    "Parameters",
    "Security",
    "Statement",
    "about",
    "at_least",
    "exceeds",
    "from_json",
    "render",
    "render_kind",
    "to_json",
    "weakest",
]
