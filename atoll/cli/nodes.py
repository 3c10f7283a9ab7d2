"""`init`, `node`, `status`, `errors`: a node's folder and process."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from atoll.cli import show
from atoll.cli.app import app
from atoll.cli.context import Here, command, passphrase
from atoll.errors import CODES, AtollError

PassphraseFile = Annotated[
    Path | None,
    typer.Option(help="File whose only line is the passphrase. Else ATOLL_PASSPHRASE, else the terminal."),
]


def _settings(given: list[str]) -> dict[str, Any]:
    """`section.name=value` pairs; a value is read as TOML, else as text."""
    out: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise AtollError("E_FORMAT", f"--set {text}: write section.name=value.")
        try:
            out[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            out[key] = value
    return out


@command(app, "init")
def init(
    here: Here,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the new node; new or empty.")],
    name: Annotated[str, typer.Option(help="Name of the institution, as partners see it.")],
    listen: Annotated[
        str | None,
        typer.Option(
            help='The one address that serves partners, host:port; "" on a node that only dials out.'
        ),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="The host:port that partners dial, where it differs from --listen.")
    ] = None,
    api: Annotated[
        str | None, typer.Option(help="Address of REST API and console, host:port; keep it internal.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other setting of atoll.toml.")
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Makes a node: identity, keys under a passphrase, settings, state, an administrator's token."""
    from atoll.node.config import SETTINGS
    from atoll.node.home import init as make

    settings = _settings(set_ or [])
    given = {"partners.listen": listen, "partners.address": address, "api.listen": api}
    settings |= {key: value for key, value in given.items() if value is not None}
    if here.lang is not None:
        settings["node.language"] = here.lang
    known = {f"{s.section}.{s.name}" for s in SETTINGS}
    for key in settings:
        if key not in known:
            raise AtollError("E_CONFIG", f"there is no setting {key}; there are {', '.join(sorted(known))}.")
    home = make(folder, name, passphrase(passphrase_file, new=True), settings)

    def people() -> None:
        show.line(f"The node of {name} is in {home.path}.")
        show.line("Keep its passphrase safe: without it the keys are lost. Next:")
        show.line(f"  atoll node -d {folder}")
        show.line(f'  atoll person add "Your Name" --role steward --role analyst -d {folder}')
        show.line(f"  atoll peer invite -d {folder}")

    here.out({"folder": str(home.path), "name": name}, people)


@command(app, "node")
def node(here: Here, passphrase_file: PassphraseFile = None) -> None:
    """Runs the node until it is told to stop (ctrl-C, SIGTERM)."""
    from atoll.node.serve import serve

    folder = here.folder()
    if not (folder / "atoll.toml").is_file():
        cure = f'Make one first: atoll init {folder} --name "..."'
        raise AtollError("E_CONFIG", f"{folder} is not the folder of a node.", cure=cure)

    def started(running: Any, address: str) -> None:
        found = {"name": running.name, "api": address, "partners": running.partners.address}

        def people() -> None:
            show.line(
                f"{running.name}: API at {address}, partners at {found['partners'] or 'none: dials out'}"
            )

        here.out(found, people)

    serve(folder, passphrase(passphrase_file, new=False), started)


@command(app, "recover")
def recover(here: Here, passphrase_file: PassphraseFile = None) -> None:
    """After a restore from a backup, or a lost state store: the node fetches its own records back from its partners."""
    from atoll.node.home import recover as prepare

    folder = here.folder()
    lost = prepare(folder, passphrase(passphrase_file, new=False))

    def people() -> None:
        show.line(
            f"The node in {folder} records nothing before its partners have said what they hold of its logs."
        )
        show.line(f"  atoll node -d {folder}")
        if lost:
            show.line(
                "Its state store was lost: pair again with each partner; agreements, jobs and charges come back."
            )
            show.line("Persons, tokens and the registration of tables do not: add them again.")
        show.line(f"  atoll ledger standing -d {folder}")

    here.out({"folder": str(folder), "lost": lost}, people)


@command(app, "status")
def status(here: Here) -> None:
    """What runs where, and as whom you call."""
    with here.client() as client:
        found = client.info()
    found.pop("roles", None)
    here.out(found, lambda: show.facts(found))


@command(app, "errors")
def errors(here: Here, code: Annotated[str | None, typer.Argument(help="Only this code.")] = None) -> None:
    """Every error code: whose fault it usually is, and what to do."""
    if code is not None and code not in CODES:
        raise AtollError("E_NOT_FOUND", f"there is no error code {code}.")
    rows = [
        {"code": name, "status": status, "fault": fault, "cure": cure}
        for name, (status, fault, cure) in CODES.items()
        if code in (None, name)
    ]
    here.out(rows, lambda: show.table(rows, ["code", "fault", "cure"], "none"))
