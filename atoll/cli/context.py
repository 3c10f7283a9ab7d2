"""What every command shares: which node, as whom, in which language, for people or for machines."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from atoll.cli import show
from atoll.errors import AtollError

if TYPE_CHECKING:
    from atoll.client import Client

Language = Literal["en", "zh"]
ROLES = ("administrator", "steward", "analyst", "auditor", "operator", "application")
# Any of these may look; the first that the folder has a token for is used.
READERS = ("analyst", "steward", "auditor", "operator", "administrator")


@dataclass
class Here:
    """The options that every command has, read."""

    dir: Path | None = None
    url: str | None = None
    token: str | None = None
    as_: str | None = None
    json: bool = False
    lang: Language | None = None

    def client(self, *roles: str) -> Client:
        """A client of the node for a call that any of `roles` may make; none means any role."""
        from atoll.client import connect, folder

        person, role = self._who()
        if role:
            roles = (role,)
        if self.token and not self.as_:
            url = self.url or (folder.address(self.dir) if self.dir else None)
            return connect(url, self.token)
        if self.dir is None:
            if self.as_:
                raise AtollError("E_AUTH", "--as chooses a token of a node's folder; give -d DIR too.")
            return connect(self.url)
        token = folder.choose(self.dir, person, roles)
        return connect(self.url or folder.address(self.dir), token)

    def _who(self) -> tuple[str | None, str | None]:
        if self.as_ is None:
            return None, None
        person, _, role = self.as_.rpartition(":")
        if role not in ROLES:
            raise AtollError("E_FORMAT", f"--as is PERSON:ROLE or ROLE; the roles are {', '.join(ROLES)}.")
        return person or None, role

    def folder(self) -> Path:
        """The node's folder, for commands that work on it."""
        if self.dir is None:
            raise AtollError("E_CONFIG", "no node's folder is named.", cure="Give -d DIR, or set ATOLL_DIR.")
        return self.dir

    def language(self, client: Client) -> Language:
        """The language of disclosure statements: `--lang`, else the node's setting."""
        if self.lang is not None:
            return self.lang
        found = client.info().get("language")
        return "zh" if found == "zh" else "en"

    def out(self, value: Any, people: Callable[[], None]) -> None:
        """Prints JSON for machines, or calls `people`."""
        if self.json:
            show.as_json(value)
        else:
            people()


_COMMON: dict[str, tuple[Any, Any]] = {
    "dir": (
        Annotated[Path | None, typer.Option("-d", "--dir", envvar="ATOLL_DIR", help="Folder of the node.")],
        None,
    ),
    "url": (Annotated[str | None, typer.Option(envvar="ATOLL_URL", help="Address of the node's API.")], None),
    "token": (
        Annotated[
            str | None,
            typer.Option(envvar="ATOLL_TOKEN", show_envvar=True, help="Token; else one of the folder's."),
        ],
        None,
    ),
    "as_": (
        Annotated[
            str | None,
            typer.Option("--as", metavar="PERSON:ROLE", help="Which of the folder's tokens, or only ROLE."),
        ],
        None,
    ),
    "json": (Annotated[bool, typer.Option("--json", help="JSON on standard output, for machines.")], False),
    "lang": (
        Annotated[
            str | None, typer.Option("--lang", metavar="en|zh", help="Language of disclosure statements.")
        ],
        None,
    ),
}


def _here(values: dict[str, Any]) -> Here:
    if values["lang"] not in (None, "en", "zh"):
        raise typer.BadParameter("--lang is en or zh")
    return Here(**values)


def command(group: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a function `f(here, ...)` as a command that also has the options of every command."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "here"]
        common = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for key, (annotation, default) in _COMMON.items()
        ]

        def run(**values: Any) -> None:
            here = _here({key: values.pop(key) for key in _COMMON})
            function(here, **values)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + common
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.__name__, run.__doc__ = function.__name__, function.__doc__
        group.command(name)(run)
        return function

    return decorate


def passphrase(file: Path | None, *, new: bool) -> str:
    """The passphrase, never from the command line: a file, the variable `ATOLL_PASSPHRASE`, or the terminal.

    The variable is taken out of the environment, so that no process started later inherits it.
    """
    given = os.environ.pop("ATOLL_PASSPHRASE", None)
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise AtollError("E_PASSPHRASE", f"cannot read {file}: {error}.") from None
    if given is not None:
        return given
    if not os.isatty(0):
        cure = "Set ATOLL_PASSPHRASE, or give --passphrase-file FILE."
        raise AtollError(
            "E_PASSPHRASE", "no passphrase is given, and there is no terminal to ask.", cure=cure
        )
    return str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=new, err=True))
