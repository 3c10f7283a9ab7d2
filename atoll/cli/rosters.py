"""`roster`: the members of a consortium, by files and between paired nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atoll.cli import show
from atoll.cli.context import Here, command
from atoll.cli.groups import group
from atoll.cli.terms import read_document
from atoll.errors import AtollError

if TYPE_CHECKING:
    from atoll.client import Client

roster = group("roster", "Consortia: their members' names, keys and addresses, signed by the members.")

READERS = ("administrator", "steward", "auditor", "analyst")
What = Annotated[str, typer.Argument(metavar="ID|FILE", help="Identifier of the roster, or a roster file.")]
Identifier = Annotated[str, typer.Argument(metavar="ID", help="Identifier of the roster.")]
Version = Annotated[int | None, typer.Option(help="Which version; default the newest open one.")]
Digest = Annotated[str | None, typer.Option(help="Which content, where a version has several.")]
Out = Annotated[Path | None, typer.Option(help="Write the roster file here, not to standard output.")]
Include = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", help="Pair again with this member, whom your people had un-paired. Repeatable."
    ),
]
Quorum = Annotated[
    int | None,
    typer.Option(min=1, help="How many members must sign the next version; default all, or as before."),
]


def _meant(what: str) -> str | dict[str, Any]:
    """An identifier, or the file of that name."""
    from atoll.client.rosters import is_identifier

    return what if is_identifier(what) else read_document(Path(what))


def _files(paths: list[Path] | None) -> list[dict[str, Any]]:
    return [read_document(path) for path in paths or []]


def _to_file(path: Path, value: Any) -> None:
    """Writes JSON on one line."""
    try:
        path.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise AtollError("E_SOURCE", f"cannot write {path}: {error.strerror}.", fault="caller") from None


def _write(here: Here, found: dict[str, Any], out: Path | None, *notes: str) -> None:
    """The file for the other members: to `out` or standard output; what to do with it to standard error."""
    if out is not None:
        _to_file(out, found["file"])

    def people() -> None:
        if out is None:
            show.as_line(found["file"])
        for note in (_progress(found), *notes):
            show.note(note)

    here.out(found, people)


def _progress(found: dict[str, Any]) -> str:
    which = f"{found['name']}, {found['id']} version {found['version']}"
    if found["complete"]:
        return f"{which}: signed by enough. Every member accepts it: atoll roster accept."
    waits = [f"missing: {', '.join(found['missing'])}"] if found["missing"] else []
    if found["more_needed"]:
        waits.append(f"signatures of members of the version before: {found['more_needed']} more")
    return f"{which}: {'; '.join(waits) or 'the version before is not known here'}"


def _people(here: Here, client: Client, found: dict[str, Any]) -> None:
    language = here.language(client)
    names = ("name", "id", "version", "state", "quorum", "created", "accepted", "accepted_by", "digest")
    facts = {k: found[k] for k in names if found.get(k) is not None}
    facts |= {"signed by": found["signed"], "complete": found["complete"]}
    if not found["complete"]:
        facts |= {"missing": found["missing"], "more needed": found["more_needed"]}
    if found.get("other_contents"):
        facts["other contents of this version"] = found["other_contents"]
    if found.get("signed_both"):
        facts["signed more than one content"] = found["signed_both"]
    show.facts(facts)
    columns = ["name", "signed", "pairing", "connected", "address", "not_after", "key", "tls"]
    show.table(found["members"], columns, "no members")
    for change in found.get("changes", []):
        show.line(change[language])
    show.line("Words of this version:")
    show.line(f"  {found['words'][language]}", style="bold")


def _effects(found: dict[str, Any]) -> None:
    texts = {
        "paired": "paired with {names}",
        "replaced": "new key or address of {names}",
        "unpaired": "un-paired from {names}",
        "kept": "still paired with {names}, who left: words or another roster paired you; "
        "`atoll peer remove` ends that",
        "not_paired": "not paired with {names}: un-paired before; name them with --include to pair again",
    }
    for effect, text in texts.items():
        if found["effects"][effect]:
            show.line(text.format(names=", ".join(found["effects"][effect])))


@command(roster, "card")
def card(here: Here, out: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None) -> None:
    """This node's card, one line for whoever drafts a roster: name, keys, address, signed by the node."""
    with here.client(*READERS) as client:
        found = client.rosters.card()
    if out is not None:
        _to_file(out, found["card"])

    def people() -> None:
        if out is None:
            show.as_line(found["card"])
        else:
            show.line(f"The card is in {out}.")

    here.out(found, people)


@command(roster, "new")
def new(
    here: Here,
    cards: Annotated[list[Path], typer.Argument(metavar="CARD...", help="Cards of the other members.")],
    name: Annotated[str, typer.Option(help="Name of the consortium.")],
    quorum: Quorum = None,
    out: Out = None,
) -> None:
    """Drafts a consortium of this node and those on the cards, and signs it; the others sign the file."""
    with here.client("administrator") as client:
        found = client.rosters.new(name, _files(cards), quorum)
    _write(here, found, out, "Hand the file to the others. Each runs: atoll roster sign FILE")


@command(roster, "sign")
def sign(here: Here, what: What, version: Version = None, digest: Digest = None, out: Out = None) -> None:
    """Signs a version for this institution; members that are paired with this node get the signature."""
    meant = _meant(what)
    with here.client("administrator") as client:
        found = client.rosters.sign(meant, version, digest)
        if isinstance(meant, dict) or out is not None:
            _write(here, found, out)
        else:
            here.out(found, lambda: show.line(_progress(found)))


@command(roster, "merge")
def merge(
    here: Here,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Roster files of one version.")],
    out: Out = None,
) -> None:
    """Merges the signatures of several files into one file, and keeps it at the node."""
    with here.client("administrator") as client:
        found = client.rosters.merge(*_files(files))
    _write(here, found, out)


@command(roster, "list")
def list_(here: Here) -> None:
    """Every version of every roster, newest first."""
    with here.client(*READERS) as client:
        found = client.rosters.list()
    rows = [r | {"members": [m["name"] for m in r["members"]]} for r in found]
    columns = ["id", "version", "state", "complete", "name", "members", "missing", "accepted"]
    here.out(found, lambda: show.table(rows, columns, "no rosters yet: atoll roster new"))


@command(roster, "show")
def show_(
    here: Here,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID|FILE]", help="Identifier, or a roster file; needless where there is one roster."
        ),
    ] = None,
    version: Annotated[int | None, typer.Option(help="Which version; default the one in force.")] = None,
    digest: Digest = None,
    out: Annotated[Path | None, typer.Option(help="Write the roster file here too.")] = None,
) -> None:
    """One version: members, who has signed, the twelve words, and what changes."""
    with here.client(*READERS) as client:
        if what is None:
            known = sorted({r["id"] for r in client.rosters.list()})
            if len(known) != 1:
                text = f"there are {len(known)} rosters here" + (f": {', '.join(known)}" if known else "")
                raise AtollError("E_NOT_FOUND", text + ".", cure="Name one.")
            what = known[0]
        meant = _meant(what)
        rosters = client.rosters
        found = rosters.read(meant) if isinstance(meant, dict) else rosters.show(meant, version, digest)
        if out is not None:
            _to_file(out, found["file"])
        here.out(found, lambda: _people(here, client, found))


@command(roster, "accept")
def accept(
    here: Here, what: What, version: Version = None, digest: Digest = None, include: Include = None
) -> None:
    """Lets a complete version take effect at this node; the first one waits for the comparison of words."""
    meant = _meant(what)
    with here.client("administrator") as client:
        found = client.rosters.accept(meant, version, digest, include or [])
        language = here.language(client)

    def people() -> None:
        if found["state"] == "comparing":
            names = ", ".join(m["name"] for m in found["members"] if m["pairing"] != "this node")
            show.line(f"Every other member must read the same words as you: {names}")
            show.line(f"  {found['words'][language]}", style="bold")
            # Not with the words: whoever confirms types what the others read.
            show.line(f"If they all do: atoll roster confirm {found['id']} WORDS")
            return
        show.line(f"{found['name']}: version {found['version']} is {found['state']} here")
        for change in found["changes"]:
            show.line(change[language])
        _effects(found)

    here.out(found, people)


@command(roster, "confirm")
def confirm(
    here: Here,
    identifier: Identifier,
    words: Annotated[list[str], typer.Argument(help="The twelve words that the other members read.")],
    include: Include = None,
) -> None:
    """Confirms the words that the other members read to you; the node pairs with all of them."""
    with here.client("administrator") as client:
        found = client.rosters.confirm(identifier, " ".join(words), include or [])

    def people() -> None:
        show.line(f"{found['name']}: version {found['version']} is {found['state']} here")
        _effects(found)

    here.out(found, people)


@command(roster, "next")
def next_(
    here: Here,
    identifier: Identifier,
    add: Annotated[
        list[Path] | None, typer.Option(metavar="CARD", help="Card of a node that joins. Repeatable.")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A member that leaves. Repeatable.")
    ] = None,
    renew: Annotated[
        list[Path] | None,
        typer.Option(metavar="CARD", help="New card of a member: TLS key, address or name. Repeatable."),
    ] = None,
    quorum: Quorum = None,
    name: Annotated[str | None, typer.Option(help="Another name of the consortium.")] = None,
    out: Out = None,
) -> None:
    """Drafts the version after the one in force; nothing is signed or sent: read it, then propose it."""
    with here.client("administrator") as client:
        found = client.rosters.next(
            identifier, add=_files(add), remove=remove or [], renew=_files(renew), quorum=quorum, name=name
        )
        language = here.language(client)
    changes = [change[language] for change in found["changes"]]
    _write(here, found, out, *changes, "Read it: atoll roster show FILE; then: atoll roster propose FILE")


@command(roster, "propose")
def propose(here: Here, what: What, version: Version = None, digest: Digest = None, out: Out = None) -> None:
    """Signs a version, sends it to all paired members, and passes on the signatures that come back."""
    meant = _meant(what)
    with here.client("administrator") as client:
        found = client.rosters.propose(meant, version, digest)
    if out is not None:
        _write(here, found, out)
        return

    def people() -> None:
        show.line(_progress(found))
        away = [m["name"] for m in found["members"] if m["pairing"] not in ("this node", "active")]
        if away:
            show.line(f"Not paired with {', '.join(away)}: hand them the file, atoll roster show --out FILE.")

    here.out(found, people)


@command(roster, "withdraw")
def withdraw(here: Here, identifier: Identifier, version: Version = None, digest: Digest = None) -> None:
    """Puts an open version aside here; a signature that was sent stays valid."""
    with here.client("administrator") as client:
        found = client.rosters.withdraw(identifier, version, digest)
    here.out(found, lambda: show.line(f"version {found['version']} of {found['name']} is put aside here"))
