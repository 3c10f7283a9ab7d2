"""`script`, the caller's commands: one call, many, what was answered, and its explanation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atoll.cli import show
from atoll.cli.context import READERS, Here, command
from atoll.cli.scripts import Host, Key, Name, said, script
from atoll.errors import AtollError

if TYPE_CHECKING:
    from atoll.client import Client

Json = dict[str, Any]

_CALLERS = ("application", "analyst")
_MAX_BATCH = 10_000


def _called(client: Client, name: str, host: str | None) -> Json | None:
    """The version that a call of this name goes to; None if there is none, which the call itself will say."""
    for found in client.scripts.packages():
        active = found["mine"] and found["name"] == name and found.get("active")
        if active and (host is None or found["partner"] == host):
            return found
    return None


@command(script, "call")
def call(
    here: Here,
    name: Name,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="What the call is about.")],
    arg: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An argument of the package. Repeatable.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Under the same key the answer is the same; else one is drawn.")
    ] = None,
    host: Host = None,
    consent: Annotated[
        str | None, typer.Option(metavar="DIGEST", help="The data subject's authorisation.")
    ] = None,
) -> None:
    """Calls a deployed package about one subject."""
    from atoll.client import call_tables

    texts = {}
    for text in arg or []:
        argument, equals, value = text.partition("=")
        if not equals:
            raise AtollError("E_FORMAT", f"--arg {text}: write NAME=VALUE.")
        texts[argument] = value
    with here.client(*_CALLERS) as client:
        package = _called(client, name, host)
        about: str | int = subject
        arguments: Json = dict(texts)
        if package is not None:
            about = call_tables.typed(subject, package["subject"]["type"], "SUBJECT")
            kinds = {argument: facts["type"] for argument, facts in package["arguments"].items()}
            arguments = {
                argument: call_tables.typed(value, kinds.get(argument, "string"), f"--arg {argument}")
                for argument, value in texts.items()
            }
        found = client.scripts.call(name, about, arguments, key=key, host=host, consent=consent)

    def people() -> None:
        if found["state"] == "held":
            show.line("The answer waits for a steward of the host. Ask again under the same key:")
        else:
            show.line(said(found["answer"]))
        show.facts({"key": found["key"], "version": found["version"], "as of": found["as_of"]})

    here.out(found, people)


@command(script, "batch")
def batch(
    here: Here,
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV with a header: subject, one column per argument, optionally key, consent.",
        ),
    ],
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the answers to this CSV file.")
    ] = None,
    host: Host = None,
) -> None:
    """Makes the calls of a file. With a column `key` a file that is sent again repeats no call."""
    from atoll.client import call_tables

    with here.client(*_CALLERS) as client:
        package = _called(client, name, host)
        if package is None:
            where = f" at {host}" if host else ""
            cure = "Publish it, and ask the host to review and deploy it: `atoll script list`."
            raise AtollError("E_NOT_FOUND", f"no version of {name!r} is deployed{where}.", cure=cure)
        calls = call_tables.read_calls(file, package)
        found: list[Json] = []
        for first in range(0, len(calls), _MAX_BATCH):
            found += client.scripts.batch(name, calls[first : first + _MAX_BATCH], host=host)
            if to is not None:
                # What was answered is on disk before the next part is asked.
                call_tables.write_answers(to, found, list(package["outputs"]))
    here.out(found, lambda: _answered(found, list(package["outputs"]), to))


def _answered(found: Sequence[Json], outputs: list[str], to: Path | None) -> None:
    from atoll.client import call_tables

    rows = [call_tables.flat(answer, outputs) for answer in found]
    if to is None:
        show.table(rows, ["subject", *outputs, "reasons", "state", "key", "error"], "no calls")
    counts: dict[str, int] = {}
    for answer, row in zip(found, rows, strict=True):
        none = row["state"] == "decided" and answer["answer"] is None
        said = "no decision" if none else row["error"] or row["state"]
        counts[said] = counts.get(said, 0) + 1
    show.line(f"{len(rows)} calls: {', '.join(f'{count} {said}' for said, count in sorted(counts.items()))}")
    if to is not None:
        show.line(f"Written to {to}.")


@command(script, "calls")
def calls(
    here: Here,
    name: Annotated[str | None, typer.Option(help="Only of this package.")] = None,
    state: Annotated[str | None, typer.Option(metavar="decided|held", help="Only in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
) -> None:
    """Calls that this node made, newest first."""
    with here.client(*READERS, "application") as client:
        found = client.scripts.calls(name=name, state=state, limit=limit)
    rows = [r | {"answer": said(r["answer"]) if r["state"] == "decided" else None} for r in found]
    columns = ["name", "version", "key", "subject", "state", "answer", "as_of"]
    here.out(found, lambda: show.table(rows, columns, "no calls"))


@command(script, "explain")
def explain(
    here: Here,
    name: Name,
    key: Key,
    host: Annotated[str | None, typer.Option(help="The other side, where several have this key.")] = None,
) -> None:
    """A decision for the person whom it is about: outcome and declared reasons. At the caller's node or the owner's."""
    with here.client("steward", "auditor", "analyst", "application", "operator", "administrator") as client:
        found = _decided(client, name, key, host)
        here.out(found, lambda: show.lines(found["explanation"][here.language(client)]))


def _decided(client: Client, name: str, key: str, partner: str | None) -> Json:
    """The call that this node made, else the decision that was made here."""
    try:
        return client.scripts.show_call(name, key, host=partner)
    except AtollError as error:
        if error.code != "E_NOT_FOUND":
            raise
        try:
            return client.scripts.decision(name, key, partner=partner)
        except AtollError as other:
            raise (error if other.code == "E_ROLE" else other) from None
