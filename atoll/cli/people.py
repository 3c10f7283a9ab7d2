"""`person` and `token`: who may call this node, and as what."""

from __future__ import annotations

from typing import Annotated

import typer

from atoll.cli import show
from atoll.cli.context import ROLES, Here, command
from atoll.cli.groups import group
from atoll.client import folder
from atoll.errors import AtollError

person = group("person", "Persons who may call the node.")
token = group("token", "Tokens of persons.")


def _check_roles(roles: list[str]) -> None:
    for role in roles:
        if role not in ROLES:
            raise AtollError("E_FORMAT", f"there is no role {role!r}; the roles are {', '.join(ROLES)}.")


@command(person, "add")
def add(
    here: Here,
    name: Annotated[str, typer.Argument(help="Name, as agreements and receipts show it.")],
    role: Annotated[
        list[str] | None,
        typer.Option(help=f"Issue a token in this role too: {', '.join(ROLES)}. Repeatable."),
    ] = None,
) -> None:
    """Adds a person, with a token for each role; with -d the tokens are kept in the node's folder."""
    roles = role or []
    _check_roles(roles)
    with here.client("administrator") as client:
        client.persons.add(name)
        tokens = {r: client.persons.issue(name, r) for r in roles}
    _show_tokens(here, name, tokens)


def _show_tokens(here: Here, name: str, tokens: dict[str, str]) -> None:
    """Keeps tokens in the folder where there is one, else shows them: nobody can see them again."""
    if here.dir is not None:
        kept = {role: str(folder.keep(here.dir, name, role, value)) for role, value in tokens.items()}
        here.out({"name": name, "tokens": kept}, lambda: show.facts({"person": name} | kept))
    else:
        here.out({"name": name, "tokens": tokens}, lambda: show.facts({"person": name} | tokens))


@command(person, "list")
def list_(here: Here) -> None:
    """All persons and their tokens, without the secrets."""
    with here.client("administrator", "auditor") as client:
        found = client.persons.list()
    rows = [
        {"name": p["name"], "disabled": p["disabled"], "token": t.get("id"), **{k: t.get(k) for k in _TOKEN}}
        for p in found
        for t in (p["tokens"] or [{}])
    ]
    here.out(found, lambda: show.table(rows, ["name", "disabled", "token", *_TOKEN], "no persons"))


_TOKEN = ("role", "label", "created", "expires", "revoked")


@command(person, "disable")
def disable(here: Here, name: Annotated[str, typer.Argument()]) -> None:
    """Ends all tokens of a person at once."""
    with here.client("administrator") as client:
        client.persons.disable(name)
    here.out({"name": name, "disabled": True}, lambda: show.line(f"All tokens of {name} are ended."))


@command(token, "issue")
def issue(
    here: Here,
    name: Annotated[str, typer.Argument(metavar="PERSON")],
    role: Annotated[str, typer.Argument(help=f"One of {', '.join(ROLES)}.")],
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    expires: Annotated[str | None, typer.Option(help="RFC 3339, UTC: 2027-01-31T00:00:00Z.")] = None,
    reveal: Annotated[bool, typer.Option("--print", help="Show it, even if the folder keeps it.")] = False,
) -> None:
    """A new token for a person; with -d it is kept in the node's folder."""
    _check_roles([role])
    with here.client("administrator") as client:
        value = client.persons.issue(name, role, label, expires)
    if reveal and here.dir is not None:
        here.out({"name": name, "tokens": {role: value}}, lambda: show.line(value))
    else:
        _show_tokens(here, name, {role: value})


@command(token, "revoke")
def revoke(here: Here, identifier: Annotated[str, typer.Argument(help="From `person list`.")]) -> None:
    """Ends a token."""
    with here.client("administrator") as client:
        client.persons.revoke(identifier)
    here.out({"id": identifier, "revoked": True}, lambda: show.line(f"Token {identifier} is ended."))
