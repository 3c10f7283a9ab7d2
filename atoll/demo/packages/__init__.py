"""The packages of the demo's stories: folders as their authors wrote them, and changed versions of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from atoll.errors import AtollError

# By file: texts that stand once in it, and what stands there instead.
Changes = Mapping[str, Sequence[tuple[str, str]]]


def folder_of(name: str) -> Path:
    """The folder of a package."""
    return Path(__file__).parent / name


def changed(name: str, to: Path, changes: Changes) -> Path:
    """A copy of a package's folder with changes, as its author would make them in an editor.

    Raises:
        AtollError: `E_STATE` for a text that does not stand in the file exactly once.
    """
    shutil.copytree(folder_of(name), to)
    for file, edits in changes.items():
        path = to / file
        text = path.read_text(encoding="utf-8")
        for old, new in edits:
            if text.count(old) != 1:
                raise AtollError("E_STATE", f"{path.name} has {old!r} {text.count(old)} times, not once.")
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
    return to
