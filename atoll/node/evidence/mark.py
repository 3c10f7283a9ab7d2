"""A file of the node's folder that says: its records may be incomplete, since it was restored.

While it is there, every signatory of an agreement must have said what it holds before anything is recorded in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from atoll.node.files import write_private

NAME = "recovering"


def mark(home: Path, without: Iterable[str] = ()) -> None:
    """Sets the mark; `without` are keys of partners that an operator decided not to wait for."""
    write_private(home / NAME, json.dumps({"without": sorted(without)}).encode())


def read_mark(home: Path) -> set[str] | None:
    """The partners that are not waited for; None where there is no mark."""
    try:
        found = json.loads((home / NAME).read_text(encoding="utf-8"))
        return {str(key) for key in found["without"]}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        # A damaged mark still is one.
        return set()


def unmark(home: Path) -> None:
    """Removes the mark."""
    (home / NAME).unlink(missing_ok=True)
