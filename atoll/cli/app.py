"""The command line: all commands, and how an error ends one."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated

import typer

from atoll import AtollError, __version__
from atoll.cli import show

# Usage errors have no public base in typer, which may bring its own copy of click.
_UsageError = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

_MODULES = (
    "agreements",
    "audit",
    "billing",
    "consents",
    "data",
    "jobs",
    "keys",
    "ledger",
    "lookups",
    "nodes",
    "offers",
    "peers",
    "people",
    "proofs",
    "quality",
    "replays",
    "rosters",
    "scripts",
    "script_reviews",
    "script_calls",
    "script_events",
    "services",
)

app = typer.Typer(
    name="atoll",
    help="Institutions compute together on data that never leave them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"atoll {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Institutions compute together on data that never leave them."""


@app.command(
    "demo",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def demo(context: typer.Context) -> None:
    """Institutions on this machine compute together, each answer beside the plain one.

    Stories: `lenders` (also without a word), `claims`, `subsidy`.
    """
    from atoll.demo import main as run

    raise typer.Exit(run(context.args))


def _register() -> None:
    # Each module registers its commands on `app` when it is imported.
    for name in _MODULES:
        import_module(f"atoll.cli.{name}")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0 if it succeeded, 1 for an error (`E_CODE: text` and what to do on standard error), 2 for wrong usage,
        130 after an interrupt.
    """
    _register()
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = app(args=given, prog_name="atoll", standalone_mode=False)
    except typer.Exit as end:
        return end.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except AtollError as error:
        show.error(error, "--json" in given)
        return 1
    except BrokenPipeError:
        # The reader of our output went away, as `| head` does.
        sys.stdout = None
        return 1
    except Exception as error:
        if not isinstance(error, _UsageError):
            raise
        error.show()  # type: ignore[attr-defined]
        return 2
    return code if isinstance(code, int) else 0
