"""`lookup`, `query`: standing lookups at partners, and the records of keys."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atoll.cli import ask, show
from atoll.cli.app import app
from atoll.cli.context import READERS, Here, command
from atoll.cli.groups import group
from atoll.client import requests
from atoll.errors import AtollError

if TYPE_CHECKING:
    from atoll.client import Client

lookup = group(
    "lookup", "Lookups: records of a partner's table by their keys; the partner does not learn which."
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="What the lookup is called here.")]
_CALLERS = ("application", "analyst")


@command(lookup, "start")
def start(
    here: Here,
    agreement: ask.Agreement,
    name: Name,
    table: Annotated[str, typer.Argument(help="The table: ASSET, or ASSET@PARTY.")],
    purpose: ask.Purpose,
    on: Annotated[list[str], typer.Option(help="Key columns; a,b for several.")],
    values: Annotated[list[str] | None, typer.Option(help="Columns to read; all others by default.")] = None,
    normalise: ask.Normalise = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Most rows of a key; 1 by default.")] = None,
    record_bytes: Annotated[
        int | None,
        typer.Option(min=8, help="Room for the values of a key; by default a guess from their types."),
    ] = None,
    maximum_keys: Annotated[int | None, typer.Option(min=1, help="Most keys in one request.")] = None,
    block_calls: Annotated[int | None, typer.Option(min=1, help="Most keys that one receipt covers.")] = None,
    block_seconds: Annotated[
        int | None, typer.Option(min=1, help="Most seconds that one receipt covers.")
    ] = None,
    consent: Annotated[
        str | None,
        typer.Option(
            metavar="none|attested|presented", help="How keys show consent; default as the grant asks."
        ),
    ] = None,
    declare_hits: Annotated[
        bool | None,
        typer.Option(
            "--declare-hits/--no-declare-hits",
            help="Whether receipts state how many keys had a record; by default if the grant asks a price for hits.",
        ),
    ] = None,
    hint: Annotated[
        bool,
        typer.Option(
            "--hint/--no-hint",
            help="Take a hint of the table once (up to 60 MB); without one, for a few keys, each costs more.",
        ),
    ] = True,
    yes: ask.Yes = False,
    wait: ask.Wait = True,
) -> None:
    """Asks for a lookup and waits until the partner has sealed its table."""
    request = requests.lookup(
        agreement, name, table, purpose=purpose, on=ask.split(on) or [], values=ask.split(values), rows=rows,
        normalise=ask.mapping(normalise, "--normalise"), record_bytes=record_bytes, maximum_keys=maximum_keys,
        block_calls=block_calls, block_seconds=block_seconds, consent=consent, declare_hits=declare_hits,
        hint=None if hint else False,
    )  # fmt: skip
    _begin(here, name, request, yes, wait)


@command(lookup, "start-totals")
def start_totals(
    here: Here,
    agreement: ask.Agreement,
    name: Name,
    tables: Annotated[
        list[str],
        typer.Argument(help="ASSET that every holder has, or ASSET@PARTY for each of them."),
    ],
    purpose: ask.Purpose,
    on: Annotated[list[str], typer.Option(help="Key columns; a,b for several.")],
    values: Annotated[list[str] | None, typer.Option(help="Columns to add; a,b for several.")] = None,
    normalise: ask.Normalise = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Most rows of a key in one table; 1,000 by default.")
    ] = None,
    count_rows: Annotated[bool, typer.Option(help="Also count the rows that a key stands on.")] = False,
    count_holders: Annotated[bool, typer.Option(help="Also count the holders that have a key.")] = False,
    maximum_keys: Annotated[int | None, typer.Option(min=1, help="Most keys in one request.")] = None,
    block_calls: Annotated[int | None, typer.Option(min=1, help="Most keys that one receipt covers.")] = None,
    block_seconds: Annotated[
        int | None, typer.Option(min=1, help="Most seconds that one receipt covers.")
    ] = None,
    consent: Annotated[
        str | None,
        typer.Option(
            metavar="none|attested|presented", help="How keys show consent; default as the grants ask."
        ),
    ] = None,
    yes: ask.Yes = False,
    wait: ask.Wait = True,
) -> None:
    """Asks for totals of one key over several holders, and waits until all have sealed their tables."""
    assets: str | list[str] = tables[0] if len(tables) == 1 and "@" not in tables[0] else tables
    request = requests.lookup_totals(
        agreement, name, assets, purpose=purpose, on=ask.split(on) or [], values=ask.split(values), rows=rows,
        normalise=ask.mapping(normalise, "--normalise"), count_rows=count_rows, count_holders=count_holders,
        maximum_keys=maximum_keys, block_calls=block_calls, block_seconds=block_seconds, consent=consent,
    )  # fmt: skip
    _begin(here, name, request, yes, wait)


def _begin(here: Here, name: str, request: dict[str, Any], yes: bool, wait: bool) -> None:
    """Asks, and waits until the lookup answers."""
    with here.client("analyst") as client:
        ask.confirm(here, client, request, yes)
        job = client.jobs.ask(request)
        found: dict[str, Any] = {"name": name, "job": job.id}
        if wait:
            with ask.progress_bar(here, job.id) as look:
                job.wait(progress=look, until="running")
                found = client.lookups.await_ready(job, progress=look)
    here.out(found, lambda: show.line(f"{name}: {job.state}. Ask it: atoll query {name} KEY"))


@command(lookup, "list")
def list_(here: Here) -> None:
    """Lookups that have not ended."""
    with here.client(*_CALLERS, *READERS) as client:
        found = client.lookups.list()
    rows = [
        one | {key: ", ".join(column["name"] for column in one[key]) for key in ("keys", "values")}
        for one in found
    ]
    columns = ["name", "kind", "hint", "partner", "asset", "keys", "values", "state", "ready", "job"]
    here.out(found, lambda: show.table(rows, columns, "no lookups"))


@command(lookup, "stop")
def stop(here: Here, name: Name) -> None:
    """Ends a lookup in order, so that its receipt is made."""
    with here.client("analyst", "operator") as client:
        job = client.lookups.stop(name).wait(timeout=60)
    here.out(job.document, lambda: show.line(f"{name}: {job.state}"))


@command(app, "query")
def query(
    here: Here,
    name: Name,
    key: Annotated[
        list[str] | None, typer.Argument(metavar="KEY", help="Keys; a,b where a key has several columns.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="A CSV file with the key columns, instead of keys here.")
    ] = None,
    table: Annotated[
        str | None, typer.Option(metavar="ASSET", help="An own table of the node's, instead of keys here.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="Its key columns, a,b for several; by default those of the lookup's names."),
    ] = None,
    consent_column: Annotated[
        str | None, typer.Option(help="Its column with digests of the data subjects' authorisations.")
    ] = None,
    start: Annotated[int, typer.Option(min=1, help="The row of the file or table to begin with.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write a CSV file: key columns, or the row of a table; found, error, and the values."
        ),
    ] = None,
    consent: Annotated[
        str | None,
        typer.Option(
            metavar="DIGEST", help="The data subject's authorisation of one key; a file has a column consent."
        ),
    ] = None,
) -> None:
    """Reads the records of keys, each one call; the partner does not learn which."""
    if (file is not None) + (table is not None) + bool(key) != 1:
        text = "name keys, or a file of keys with --file, or a table of the node's with --table."
        raise AtollError("E_FORMAT", text, fault="caller")
    if table is None and (column or consent_column):
        raise AtollError("E_FORMAT", "--column and --consent-column go with --table.", fault="caller")
    if table is not None and consent is not None:
        raise AtollError(
            "E_FORMAT", "--consent goes with keys; a table has a --consent-column.", fault="caller"
        )
    with here.client(*_CALLERS) as client:
        facts = client.lookups.get(name)
        values = [found["name"] for found in facts["values"]]
        with _counter(here, name) as count:
            answers: Iterator[tuple[list[str], dict[str, Any]]]
            if table is not None:
                heads = ["row"]
                lines = client.lookups.query_table(
                    name, table, ask.split(column), consent=consent_column, start=start, progress=count
                )
                answers = (([str(one["row"])], one) for one in lines)
            else:
                heads = [found["name"] for found in facts["keys"]]
                answers = _of_keys(client, facts, key or [], file, consent, start, count)
            if out is not None:
                told = _written(out, heads, values, answers, start)
                here.out(told, lambda: show.line(f"{out}: {told['answers']} answers, {told['found']} found"))
                return
            whole = list(answers)
    label = "key" if table is None else "row"
    shown = [line for row, answer in whole for line in _lines(row, answer, values, label)]
    here.out(
        {"answers": [answer for _, answer in whole]},
        lambda: show.table(shown, [label, "found", *values, "error"], "no keys"),
    )


@contextmanager
def _counter(here: Here, name: str) -> Iterator[Callable[[int, int], None]]:
    """How far a long request is, on standard error; nothing where nobody looks."""
    with ask.bar(here, name) as update:
        yield (lambda row, rows: update(name, row, rows))


def _of_keys(
    client: Client,
    facts: dict[str, Any],
    words: list[str],
    file: Path | None,
    consent: str | None,
    start: int,
    count: Callable[[int, int], None],
) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Keys as text with their answers, request after request."""
    from atoll.client import call_tables

    columns = [(column["name"], column["type"]) for column in facts["keys"]]
    texts, consents = _file_keys(file, [name for name, _ in columns]) if file else _keys(words, len(columns))
    if consent is not None:
        consents = [consent] * len(texts)
    if start > len(texts):
        raise AtollError("E_RANGE", f"there are {len(texts)} keys, and none from {start} on.", fault="caller")
    texts, consents = texts[start - 1 :], None if consents is None else consents[start - 1 :]
    keys = [
        [
            call_tables.typed(text, kind, f"key {at}, {column}")
            for text, (column, kind) in zip(row, columns, strict=True)
        ]
        for at, row in enumerate(texts, start)
    ]
    answers = client.lookups.query_all(facts["name"], keys, consents)
    for at, (row, answer) in enumerate(zip(texts, answers, strict=True), start):
        yield row, answer
        count(at, start - 1 + len(texts))


def _keys(texts: list[str], columns: int) -> tuple[list[list[str]], list[str | None] | None]:
    rows = [text.split(",") if columns > 1 else [text] for text in texts]
    for at, row in enumerate(rows, 1):
        if len(row) != columns:
            raise AtollError(
                "E_FORMAT", f"key {at}: it has {columns} values, between commas.", fault="caller"
            )
    return rows, None


def _file_keys(file: Path, names: list[str]) -> tuple[list[list[str]], list[str | None] | None]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as source:
            rows = list(csv.DictReader(source))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AtollError("E_FORMAT", f"{file}: {error}.", fault="caller") from None
    for at, row in enumerate(rows, 2):
        for name in names:
            if not row.get(name):
                raise AtollError(
                    "E_FORMAT", f"{file}, line {at}: {name} has no value.", column=name, fault="caller"
                )
    if not rows:
        raise AtollError("E_FORMAT", f"{file} has no keys.", fault="caller")
    consents = [row.get("consent") or None for row in rows]
    return [[row[name] for name in names] for row in rows], consents if any(consents) else None


def _lines(
    key: list[str], answer: dict[str, Any], values: list[str], label: str = "key"
) -> Iterator[dict[str, Any]]:
    """A line for each row of an answer, one for an answer without rows."""
    error = answer["error"]["code"] if answer["error"] else ""
    for row in answer["rows"] or [dict.fromkeys(values, "")]:
        yield {label: ",".join(key), "found": answer["found"], "error": error} | row


def _written(
    out: Path,
    heads: list[str],
    values: list[str],
    answers: Iterator[tuple[list[str], dict[str, Any]]],
    start: int,
) -> dict[str, Any]:
    """Writes answers as they come. What was answered, and charged, before an error stays beside the file."""
    part, count, found = out.with_name(f"{out.name}.part"), 0, 0
    columns, follows = [*heads, "found", "error", *values], True
    try:
        follows = _follows(part, columns, start)
        with part.open("a" if follows else "w", newline="", encoding="utf-8") as sink:
            writer = csv.writer(sink)
            if not follows:
                writer.writerow(columns)
            for key, answer in answers:
                for line in _lines(key, answer, values):
                    writer.writerow([*key, line["found"], line["error"], *(line[value] for value in values)])
                count, found = count + 1, found + bool(answer["found"])
        part.replace(out)
    except OSError as error:
        raise AtollError("E_FORMAT", f"{out}: {error.strerror}.", fault="caller") from None
    except AtollError as error:
        if count:
            error.cure = (
                f"{part} has what was answered before. {error.cure} Go on with --start {start + count}."
            )
        elif not follows:
            part.unlink(missing_ok=True)
        raise
    return {"file": str(out), "answers": count, "found": found}


def _follows(part: Path, columns: list[str], start: int) -> bool:
    """Whether these answers go on after those of a request that broke off, which were charged: none is lost."""
    if not part.exists():
        return False
    with part.open(newline="", encoding="utf-8") as source:
        text = source.read()
    lines = list(csv.reader(text.splitlines()))
    if len(lines) < 2:  # it broke off before the first answer
        return False
    if start == 1:
        cure = "Go on with --start, or move it away."
        raise AtollError("E_STATE", f"{part} has answers of an earlier request.", cure=cure, fault="caller")
    if lines[0] != columns or not text.endswith("\n"):
        cure = "Move it away, and put the two together by hand."
        raise AtollError(
            "E_FORMAT",
            f"{part} has answers of other columns, or ends amid a line.",
            cure=cure,
            fault="caller",
        )
    return True
