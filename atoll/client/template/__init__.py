"""A small package that works, for authors to begin with."""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from atoll.errors import AtollError

# Rule code is not a module of this program, and its file here must not look like one.
_DISGUISE = ".txt"


def _copy(source: Traversable, to: Path, name: str) -> list[Path]:
    made = []
    for item in sorted(source.iterdir(), key=lambda i: i.name):
        if item.is_dir() and not item.name.startswith("__"):
            (to / item.name).mkdir()
            made += _copy(item, to / item.name, name)
        elif item.is_file() and not item.name.endswith((".py", ".pyc")):
            place = to / item.name.removesuffix(_DISGUISE)
            text = item.read_text(encoding="utf-8")
            place.write_text(text.replace('name = "NAME"', f'name = "{name}"'), encoding="utf-8")
            made.append(place)
    return made


def new_folder(path: Path) -> list[Path]:
    """Writes the package into a new folder, named after it, and gives the files.

    Raises:
        AtollError: `E_CONFLICT` if the folder exists, `E_SOURCE` if it cannot be written.
    """
    name = re.sub(r"[^a-z0-9_-]+", "-", path.name.lower()).strip("-_")[:32]
    if not re.match("[a-z]", name):
        name = f"rules-{name}"[:32].rstrip("-_")
    try:
        path.mkdir(parents=True)
        return _copy(files(__name__), path, name)
    except FileExistsError:
        raise AtollError("E_CONFLICT", f"{path} exists.", cure="Name a folder that does not exist.") from None
    except OSError as error:
        raise AtollError("E_SOURCE", f"cannot write {path}: {error.strerror}.", fault="caller") from None
