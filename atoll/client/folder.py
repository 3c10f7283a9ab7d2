"""A node's folder as its user's own programs see it: the API's address, and the tokens kept beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from atoll.errors import AtollError

ADDRESS, TOKENS = "api.address", "tokens"


@dataclass(frozen=True)
class Kept:
    """A token that was issued on this machine. `person` is as in its file name, other characters as `_`."""

    person: str
    role: str
    path: Path

    def read(self) -> str:
        """The token itself; `E_AUTH` if its file cannot be read."""
        try:
            return self.path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise AtollError("E_AUTH", f"cannot read the token in {self.path}.") from None


def safe(person: str) -> str:
    """A person's name as it stands in a file name."""
    return "".join(c if c.isalnum() else "_" for c in person)


def address(folder: Path) -> str:
    """URL of the running node; `E_UNREACHABLE` if none runs there, `E_CONFIG` if it is no node's folder."""
    if not (folder / "atoll.toml").is_file():
        cure = 'Give the folder of a node, or make one with `atoll init DIR --name "..."`.'
        raise AtollError("E_CONFIG", f"{folder} is not the folder of a node.", cure=cure)
    try:
        return (folder / ADDRESS).read_text(encoding="utf-8").strip()
    except OSError:
        cure = f"Start it: atoll node -d {folder}"
        text = f"the node in {folder} does not run."
        raise AtollError("E_UNREACHABLE", text, fault="operator", cure=cure) from None


def kept(folder: Path) -> list[Kept]:
    """All tokens that are kept in a folder."""
    try:
        names = sorted(p for p in (folder / TOKENS).iterdir() if p.is_file())
    except OSError:
        return []
    return [Kept(p.name.rpartition(".")[0], p.name.rpartition(".")[2], p) for p in names]


def choose(folder: Path, person: str | None, roles: tuple[str, ...]) -> str:
    """The token for a call that any of `roles` may make, the first role that has one; empty means any role.

    Raises:
        AtollError: `E_AUTH` if no token fits, or if tokens of several persons do.
    """
    have = [k for k in kept(folder) if person is None or k.person == safe(person)]
    wanted = roles or tuple(dict.fromkeys(k.role for k in have))
    for role in wanted:
        found = [k for k in have if k.role == role]
        if len(found) == 1:
            return found[0].read()
        if found:
            names = ", ".join(k.person for k in found)
            cure = f"Say which one: --as PERSON:{role}."
            raise AtollError("E_AUTH", f"{folder} keeps tokens of several persons: {names}.", cure=cure)
    who = f" of {person}" if person else ""
    role = wanted[0] if wanted else "ROLE"
    cure = f'Make one: atoll person add "NAME" --role {role} -d {folder}, or give --token.'
    text = f"{folder} keeps no token{who} with the role {' or '.join(wanted) or 'that is needed'}."
    raise AtollError("E_AUTH", text, cure=cure)


def keep(folder: Path, person: str, role: str, token: str) -> Path:
    """Keeps a token in the node's folder, readable by its user alone."""
    path = folder / TOKENS / f"{safe(person)}.{role}"
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(token)
    except OSError as error:
        raise AtollError("E_CONFIG", f"cannot write {path}: {error.strerror}.") from None
    return path
