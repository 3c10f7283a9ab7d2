"""Groups of commands, each `atoll NAME ...`."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from atoll.cli.app import app


def group(name: str, help: str, default: str | None = None) -> typer.Typer:
    """A group of commands under the root.

    Args:
        default: the command that is meant where none is named: `atoll bill --month M` is `atoll bill show --month M`.
    """

    class Group(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if default is not None and args and args[0] not in (*self.commands, "-h", "--help"):
                args = [default, *args]
            return super().parse_args(ctx, args)

    made = typer.Typer(name=name, cls=Group, help=help, no_args_is_help=True)
    app.add_typer(made)
    return made
