"""`peer`: pairing with partners."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atoll.cli import show
from atoll.cli.context import READERS, Here, command
from atoll.cli.groups import group
from atoll.errors import AtollError

peer = group("peer", "Partners: invite, accept, compare words, remove.")


@command(peer, "invite")
def invite(
    here: Here,
    hours: Annotated[int, typer.Option(min=1, help="Until it ends.")] = 24,
    out: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
) -> None:
    """A new invite, one line to hand to the partner."""
    with here.client("administrator") as client:
        line = client.peers.invite(hours)
    if out is not None:
        try:
            out.write_text(line + "\n", encoding="utf-8")
        except OSError as error:
            raise AtollError("E_SOURCE", f"cannot write {out}: {error.strerror}.", fault="caller") from None

    def people() -> None:
        show.line(line if out is None else f"The invite is in {out}.")
        show.note(
            "The partner runs: atoll peer accept INVITE. Then `atoll peer list` shows words to compare."
        )

    here.out({"invite": line}, people)


@command(peer, "accept")
def accept(
    here: Here,
    invite: Annotated[str, typer.Argument(help="The partner's invite: the line, or a file with it.")],
) -> None:
    """Takes up a partner's invite and shows the words to compare, by telephone for example."""
    path = Path(invite)
    try:
        # An invite is one long line: only a short text can be the name of a file.
        line = path.read_text(encoding="utf-8").strip() if len(invite) < 200 and path.is_file() else invite
    except (OSError, UnicodeDecodeError) as error:
        raise AtollError("E_INVITE", f"cannot read {path}: {error}.") from None
    with here.client("administrator") as client:
        found = client.peers.accept(line.strip())

    def people() -> None:
        show.line(f"{found['name']} must read the same words as you:")
        show.line(f"  {found['words']}", style="bold")
        show.line(f'If they are the same, both sides run: atoll peer confirm "PARTNER" "{found["words"]}"')

    here.out(found, people)


@command(peer, "confirm")
def confirm(
    here: Here,
    name: Annotated[str, typer.Argument(help="The partner.")],
    words: Annotated[list[str], typer.Argument(help="The words that the partner's side reads.")],
) -> None:
    """Confirms the words that the partner's side reads to you."""
    with here.client("administrator") as client:
        found = client.peers.confirm(name, " ".join(words))
    text = "paired" if found["state"] == "active" else "confirmed here; the partner confirms too"
    here.out(found, lambda: show.line(f"{found['name']}: {text}"))


@command(peer, "list")
def list_(here: Here) -> None:
    """All partners; while a pairing is open, the words to compare."""
    with here.client(*READERS) as client:
        found = client.peers.list()
    columns = ["name", "state", "connected", "address", "words", "not_after", "identity"]
    here.out(found, lambda: show.table(found, columns, "no partners yet: atoll peer invite"))


@command(peer, "remove")
def remove(
    here: Here,
    name: Annotated[str, typer.Argument(help="The partner.")],
    reason: Annotated[str, typer.Option(help="The partner sees it.")] = "",
) -> None:
    """Ends a pairing at once; running jobs with the partner end too."""
    with here.client("administrator") as client:
        client.peers.remove(name, reason)
    here.out({"name": name, "state": "removed"}, lambda: show.line(f"{name} is no partner any more."))
