"""Groups of commands, each `atoll NAME ...`."""

from __future__ import annotations

import typer

from atoll.cli.app import app


def group(name: str, help: str) -> typer.Typer:
    """A group of commands under the root."""
    made = typer.Typer(name=name, help=help, no_args_is_help=True)
    app.add_typer(made)
    return made
