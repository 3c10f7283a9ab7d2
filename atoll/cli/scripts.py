"""`script`: packages of rules that visit the data. Here the author's commands: write, check, test, sign, publish."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from atoll.cli import show
from atoll.cli.context import READERS, Here, command
from atoll.cli.groups import group
from atoll.errors import AtollError

Json = dict[str, Any]

script = group("script", "Visiting scripts: rules that run where the data are; only declared answers leave.")

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the package.")]
Package = Annotated[
    str,
    typer.Argument(metavar="PACKAGE", help="NAME, NAME@VERSION, or its digest. NAME is the newest version."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the package.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="Key of the call.")]
Host = Annotated[str | None, typer.Option(help="The host, where the package is deployed at several.")]
# On the author's machine; no node is needed.


@command(script, "new")
def new(here: Here, folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")]) -> None:
    """Writes a small package that works, to begin with. Needs no node."""
    from atoll.client.template import new_folder

    made = [str(path) for path in new_folder(folder)]

    def people() -> None:
        for path in made:
            show.line(path)
        show.line(f"Change them, then: atoll script check {folder}; atoll script test {folder}")

    here.out({"folder": str(folder), "files": made}, people)


@command(script, "check")
def check(here: Here, folder: Folder) -> None:
    """Checks a package as its host will, and the types of its rules; exit code 1 for findings. Needs no node."""
    from atoll.client.authoring import check_folder

    source, examined, findings = check_folder(folder)
    rows = [{"code": f.code, "place": f.place, "text": f.text} for f in findings]
    manifest = source.manifest
    body = {
        "name": manifest.name,
        "version": manifest.version,
        "findings": rows,
        "depends": examined.document()["depends"],
    }

    def people() -> None:
        for row in rows:
            show.line(f"{row['place']}: {row['text']} [{row['code']}]")
        if not rows:
            show.line(f"{manifest.name} {manifest.version}: nothing is wrong with it")

    here.out(body, people)
    if rows:
        raise typer.Exit(1)


@command(script, "test")
def run_tests(
    here: Here,
    folder: Folder,
    cases: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Another file of cases; default cases.toml of the folder."),
    ] = None,
) -> None:
    """Runs a package's cases in the sandbox that hosts use; exit code 1 if an answer differs. Needs no node."""
    from atoll.client.authoring import run_cases

    found = run_cases(folder, cases)
    rows: list[Json] = [
        {
            "name": outcome.case.name,
            "subject": outcome.case.subject,
            "passed": outcome.passed,
            "answer": outcome.answer,
            "differs": outcome.differs,
        }
        for outcome in found
    ]
    wrong = sum(not row["passed"] for row in rows)

    def people() -> None:
        shown = [
            {
                **row,
                "result": "as expected" if row["passed"] else row["differs"],
                "answer": said(row["answer"]),
            }
            for row in rows
        ]
        show.table(shown, {"name": "case", "subject": "subject", "answer": "answer", "result": "result"}, "")
        show.line(f"{len(rows) - wrong} of {len(rows)} cases as expected")

    here.out({"cases": rows, "wrong": wrong}, people)
    if wrong:
        raise typer.Exit(1)


def said(answer: Json | None) -> str:
    """An answer in one line."""
    if answer is None:
        return "no decision"
    parts = [f"{name}: {str(value).lower() if isinstance(value, bool) else value}"
             for name, value in sorted(answer.items()) if name != "reasons"]  # fmt: skip
    return ", ".join([*parts, *([f"because {', '.join(answer['reasons'])}"] if answer["reasons"] else [])])


# The author, at its node.


@command(script, "pack")
def pack(
    here: Here,
    folder: Folder,
    to: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the signed file here too.")] = None,
) -> None:
    """Checks a package and has the node sign it, in one file; a version is signed once."""
    with here.client("analyst", "steward") as client:
        found = client.scripts.pack(folder)
        if to is not None:
            data = client.scripts.file(found["digest"])
            try:
                to.write_bytes(data)
            except OSError as error:
                text = f"cannot write {to}: {error.strerror}."
                raise AtollError("E_SOURCE", text, fault="caller") from None

    def people() -> None:
        show.line(f"{found['name']} {found['version']} is signed: {found['digest']}")
        if to is not None:
            show.line(f"Written to {to}.")

    here.out(found | {"file": str(to) if to else None}, people)


@command(script, "publish")
def publish(
    here: Here,
    package: Package,
    to: Annotated[str, typer.Option(metavar="PARTNER", help="Its host to be.")],
    agreement: Annotated[str, typer.Option(metavar="ID", help="The agreement under which it will run.")],
) -> None:
    """Sends an own package to a partner, whose steward reviews it."""
    with here.client("steward") as client:
        found = client.scripts.publish(package, to, agreement)
    here.out(found, lambda: stands(found))


def stands(found: Json) -> None:
    word = found.get("word") or {}
    said = f": {word['reason']}" if word.get("reason") else ""
    where = f" at {found['partner']}" if found["mine"] else f" of {found['author']}"
    show.line(f"{found['name']} {found['version']}{where} is {found['state']}{said}")


@command(script, "list")
def list_(here: Here) -> None:
    """All packages, own ones and those that partners sent, and how each stands."""
    with here.client(*READERS, "application") as client:
        found = client.scripts.packages()
    rows = [r | {"state": r.get("state", "signed"), "findings": len(r["findings"]) or None} for r in found]
    columns = ["name", "version", "author", "partner", "agreement", "state", "active", "purpose", "findings"]
    here.out(found, lambda: show.table(rows, columns, "no packages yet: atoll script new"))


@command(script, "switch")
def switch(here: Here, package: Package, host: Host = None) -> None:
    """New calls go to this version from now on; calls on the way end on the version that took them."""
    with here.client("analyst", "steward") as client:
        found = client.scripts.switch(package, host)
    here.out(found, lambda: show.line(f"New calls of {found['name']} go to {found['version']}."))
