"""`join`, `intersect`, `totals`, `job ...`, `approve`, `refuse`, `policy explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from atoll.cli import ask, show
from atoll.cli.app import app
from atoll.cli.context import READERS, Here, command
from atoll.cli.groups import group
from atoll.cli.terms import read_document
from atoll.client import Job, requests, statistics
from atoll.errors import AtollError

job = group("job", "Jobs: list, show, approve, cancel, results, receipts.")
policy = group("policy", "What this node would decide.")

JobId = Annotated[str, typer.Argument(metavar="ID", help="Identifier of the job.")]


@command(app, "join")
def join(
    here: Here,
    agreement: ask.Agreement,
    left: Annotated[str, typer.Argument(help="A table: ASSET, or ASSET@PARTY.")],
    right: Annotated[str, typer.Argument(help="The other table.")],
    purpose: ask.Purpose,
    on: ask.On = None,
    left_on: Annotated[list[str] | None, typer.Option(help="Key columns of the left table.")] = None,
    right_on: Annotated[list[str] | None, typer.Option(help="Key columns of the right table.")] = None,
    receivers: Annotated[str, typer.Option(help="me, peer, both, or names between commas.")] = "me",
    reveal: Annotated[
        str, typer.Option(metavar="rows|size", help="Matched own rows, or only how many keys match.")
    ] = "rows",
    duplicates: ask.Duplicates = "sql",
    normalise: ask.Normalise = None,
    select: Annotated[
        list[str] | None,
        typer.Option(help="Columns of its rows that the left receiver is given; default all."),
    ] = None,
    right_select: Annotated[list[str] | None, typer.Option(help="The same on the right.")] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="ecdh-psi/v1|vole-psi/v1|kept-oprf-psi/v1", help="Default: by size and agreement."
        ),
    ] = None,
    security: Annotated[
        str | None, typer.Option(metavar="malicious|semi-honest", help="Against parties that cheat, or not.")
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(metavar="fast|low-communication", help="Of vole-psi/v1: quickest, or sends least."),
    ] = None,
    left_rows: Annotated[
        int | None, typer.Option(min=0, help="Expected keys, for choice and estimate.")
    ] = None,
    right_rows: Annotated[int | None, typer.Option(min=0, help="The same on the right.")] = None,
    aggregate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="count|left.COLUMN|right.COLUMN|STATISTIC",
            help="Only totals of what matches: count, and sum and mean of these columns; or statistics such as "
            "variance(left.A), stddev(right.B), covariance(left.A,right.B), correlation(left.A,right.B), "
            "histogram(right.B,10,20) by cuts or codes. Nobody learns which rows.",
        ),
    ] = None,
    repeated: Annotated[
        str | None,
        typer.Option(
            metavar="left|right", help="With --aggregate: the side whose keys may stand on several rows."
        ),
    ] = None,
    multiplicity: Annotated[
        int | None, typer.Option(min=1, max=1000, help="With --repeated: on how many rows at most.")
    ] = None,
    minimum_group: Annotated[
        int | None,
        typer.Option(min=1, help="With --aggregate: fewest matched keys. Default: what the grants ask."),
    ] = None,
    maximum_rows: Annotated[
        int | None, typer.Option(min=1, help="With --aggregate: bound on rows of the repeated side.")
    ] = None,
    seconds: ask.Seconds = None,
    out: ask.Out = None,
    yes: ask.Yes = False,
    wait: ask.Wait = True,
    explain: ask.Explain = False,
    estimate: ask.Estimate = False,
    every: ask.Every = None,
) -> None:
    """Finds the rows that two parties' tables have in common, without showing any other row."""
    to: Any = receivers.split(",") if "," in receivers else receivers
    how = ask.How(yes, wait, out, explain, estimate, every)
    bounds: dict[str, Any] = {
        "repeated": repeated, "multiplicity": multiplicity, "minimum_group": minimum_group,
        "maximum_rows": maximum_rows,
    }  # fmt: skip
    if aggregate:
        rows = {
            "--reveal": reveal != "rows", "--duplicates": duplicates != "sql", "--select": select,
            "--right-select": right_select, "--protocol": protocol, "--security": security, "--variant": variant,
        }  # fmt: skip
        _alone("--aggregate", rows)
        wanted: dict[str, Any] = {
            "purpose": purpose, "on": ask.split(on), "left_on": ask.split(left_on), "right_on": ask.split(right_on),
            "receivers": to, "normalise": ask.mapping(normalise, "--normalise"), "left_rows": left_rows,
            "right_rows": right_rows, "seconds": seconds, "shape": _shape(every), **bounds,
        }  # fmt: skip
        names = statistics.split(aggregate)
        if any(map(statistics.is_statistic, names)):
            request = requests.join_statistics(agreement, left, right, statistics=names, **wanted)
        else:
            request = requests.join_totals(agreement, left, right, **wanted, **_added(names))
        ask.run(here, request, how)
        return
    _alone(
        "a join without --aggregate", {f"--{name.replace('_', '-')}": value for name, value in bounds.items()}
    )
    request = requests.join(
        agreement, left, right, purpose=purpose, on=ask.split(on), left_on=ask.split(left_on),
        right_on=ask.split(right_on), receivers=to, reveal=reveal, duplicates=duplicates,
        normalise=ask.mapping(normalise, "--normalise"), left_select=ask.split(select),
        right_select=ask.split(right_select), seconds=seconds, shape=_shape(every), protocol=protocol,
        security=security, variant=variant, left_rows=left_rows, right_rows=right_rows,
    )  # fmt: skip
    ask.run(here, request, how)


def _alone(with_what: str, given: dict[str, Any]) -> None:
    """`E_FORMAT` if an option is given that does not go with the others."""
    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise AtollError("E_FORMAT", f"{wrong[0]} does not go with {with_what}.")


def _added(names: list[str]) -> dict[str, Any]:
    """`left.COLUMN` and `right.COLUMN` as the columns of either side; `count` adds none, since it is always told."""
    found: dict[str, list[str]] = {"left_values": [], "right_values": []}
    for name in names:
        side, dot, column = name.partition(".")
        if name == "count":
            continue
        if not dot or side not in ("left", "right") or not column:
            raise AtollError("E_FORMAT", f"--aggregate {name}: write count, left.COLUMN or right.COLUMN.")
        found[f"{side}_values"].append(column)
    return found


def _shape(every: int | None) -> str | None:
    return None if every is None else "scheduled"


@command(app, "intersect")
def intersect(
    here: Here,
    agreement: ask.Agreement,
    tables: Annotated[list[str], typer.Argument(help="ASSET@PARTY for each of three to twenty parties.")],
    purpose: ask.Purpose,
    on: ask.On = None,
    leader: Annotated[str, typer.Option(help="me, or the owner of one of the tables: who learns.")] = "me",
    reveal: Annotated[
        str, typer.Option(metavar="rows|size", help="Own rows that all have, or only how many keys.")
    ] = "rows",
    everyone: Annotated[bool, typer.Option(help="The other owners learn too.")] = False,
    duplicates: ask.Duplicates = "sql",
    normalise: ask.Normalise = None,
    select: Annotated[
        list[str] | None, typer.Option(help="Columns of its rows that a receiver is given; default all.")
    ] = None,
    seconds: ask.Seconds = None,
    out: ask.Out = None,
    yes: ask.Yes = False,
    wait: ask.Wait = True,
    explain: ask.Explain = False,
    estimate: ask.Estimate = False,
    every: ask.Every = None,
) -> None:
    """Finds the rows whose keys all of three or more parties have, without showing what only some have."""
    request = requests.intersect(
        agreement, tables, purpose=purpose, on=ask.split(on), leader=leader, reveal=reveal, everyone=everyone,
        duplicates=duplicates, normalise=ask.mapping(normalise, "--normalise"), select=ask.split(select),
        seconds=seconds, shape=_shape(every),
    )  # fmt: skip
    ask.run(here, request, ask.How(yes, wait, out, explain, estimate, every))


@command(app, "totals")
def totals(
    here: Here,
    agreement: ask.Agreement,
    tables: Annotated[
        list[str], typer.Argument(help="One name that all have, or ASSET@PARTY for each holder.")
    ],
    purpose: ask.Purpose,
    group: Annotated[str | None, typer.Option(help="Column of the segments.")] = None,
    segments: Annotated[
        list[str] | None, typer.Option(help="Codes of the segments; default the code list.")
    ] = None,
    values: Annotated[list[str] | None, typer.Option(help="Columns to add.")] = None,
    count: Annotated[bool, typer.Option(help="Count the rows too.")] = True,
    subject: Annotated[str | None, typer.Option(help="Column that tells subjects apart.")] = None,
    minimum_group: Annotated[int | None, typer.Option(min=1, help="Default: what the grants ask.")] = None,
    receiver: Annotated[str, typer.Option(help="me, or a party.")] = "me",
    seconds: ask.Seconds = None,
    out: ask.Out = None,
    yes: ask.Yes = False,
    wait: ask.Wait = True,
    explain: ask.Explain = False,
    estimate: ask.Estimate = False,
    every: ask.Every = None,
) -> None:
    """Adds columns of three or more parties per segment; only the totals open."""
    single = len(tables) == 1 and "@" not in tables[0]
    request = requests.totals(
        agreement, tables[0] if single else tables, purpose=purpose, group=group, segments=ask.split(segments),
        values=ask.split(values) or (), count=count, subject=subject, minimum_group=minimum_group,
        receiver=receiver, seconds=seconds, shape=_shape(every),
    )  # fmt: skip
    ask.run(here, request, ask.How(yes, wait, out, explain, estimate, every))


# Jobs that are there.


@command(job, "list")
def list_(
    here: Here,
    state: Annotated[str | None, typer.Option(help="Only jobs in this state, such as waiting.")] = None,
    function: Annotated[str | None, typer.Option(help="Only jobs of this function.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    before: Annotated[
        str | None, typer.Option(help="Older than this: `created` of the last one seen.")
    ] = None,
) -> None:
    """Jobs, newest first."""
    with here.client(*READERS) as client:
        found = [j.document for j in client.jobs.list(state, function, limit, before)]
    rows = [r | {"error": (r["error"] or {}).get("code")} for r in found]
    columns = ["id", "function", "state", "asker", "person", "purpose", "created", "error"]
    here.out(found, lambda: show.table(rows, columns, "no jobs"))


@command(job, "show")
def show_(here: Here, identifier: JobId) -> None:
    """One job: parties, approvals, state, disclosure statement."""
    with here.client(*READERS) as client:
        found = client.jobs.get(identifier).refresh()
        language = here.language(client)

    def people() -> None:
        _describe(found)
        show.statement(found.statement(language))

    here.out(found.document, people)


def _describe(found: Job) -> None:
    body = found.document
    names = [
        "id", "function", "purpose", "agreement", "asker", "person", "state", "attempt", "approvals", "created",
        "started", "ended", "progress", "result", "evidence",
    ]  # fmt: skip
    show.facts({k: body.get(k) for k in names if body.get(k) is not None})
    show.facts({"parties": [f"{p['name']} ({', '.join(p['roles'])})" for p in body["parties"]]})
    error = body.get("error")
    if error:
        show.line(f"{error['code']}: {error['detail']}")
        for text in show.reasons(error):
            show.line(f"  {text}")
        show.line(error["cure"])


@command(job, "events")
def events(
    here: Here, identifier: JobId, after: Annotated[int, typer.Option(min=0, help="Only later ones.")] = 0
) -> None:
    """What happened to a job, in order."""
    with here.client(*READERS) as client:
        found = client.jobs.get(identifier).events(after)
    here.out(found, lambda: show.table(found, ["id", "at", "kind", "detail"], "no events"))


def _approve(here: Here, identifier: JobId, yes: ask.Yes = False) -> None:
    """As a steward, lets a waiting job run, after the disclosure statement was shown."""
    with here.client("steward") as client:
        found = client.jobs.get(identifier)
        if not here.json:
            _describe(found)
            show.statement(found.statement(here.language(client)))
        ask.certain(yes, "Approve this?")
        found.approve()
    here.out(found.document, lambda: show.line(f"{found.id}: {found.state}"))


def _refuse(
    here: Here,
    identifier: JobId,
    reason: Annotated[
        str, typer.Option(help="Stays at this node; the asker sees only that it was refused.")
    ] = "",
) -> None:
    """As a steward, refuses a waiting job."""
    with here.client("steward") as client:
        found = client.jobs.get(identifier).refuse(reason)
    here.out(found.document, lambda: show.line(f"{found.id}: {found.state}"))


for place in (job, app):
    command(place, "approve")(_approve)
    command(place, "refuse")(_refuse)


@command(job, "cancel")
def cancel(here: Here, identifier: JobId) -> None:
    """Ends a job on all sides."""
    with here.client("analyst", "steward", "operator") as client:
        found = client.jobs.get(identifier).cancel()
    here.out(found.document, lambda: show.line(f"{found.id}: {found.state}"))


@command(job, "rerun")
def rerun(here: Here, identifier: JobId, wait: ask.Wait = True, out: ask.Out = None) -> None:
    """The next attempt of a failed job: same plan, same inputs, no second debit."""
    with here.client("analyst") as client:
        found = client.jobs.get(identifier)
        before = found.document["attempt"]
        found.rerun()
        if not wait:
            here.out(found.document, lambda: show.line(f"{found.id}: attempt {before + 1}"))
            return
        ask.follow(here, found)
        ask.finish(here, client, found, out)


@command(job, "wait")
def wait(here: Here, identifier: JobId) -> None:
    """Waits for the end of a job; exit code 1 with the reason if it does not complete."""
    with here.client(*READERS) as client:
        found = client.jobs.get(identifier)
        ask.follow(here, found)
    here.out(found.document, lambda: show.line(f"{found.id}: {found.state}"))


@command(job, "result")
def result(here: Here, identifier: JobId, out: ask.Out = None) -> None:
    """Shows the result of a job, or writes it to a file."""
    with here.client("analyst") as client:
        found = client.jobs.get(identifier)
        facts = found.result()
        saved = str(facts.save(out)) if out is not None else None
        document = {"rows": facts.rows, **facts.scalars, "file": saved}

        def people() -> None:
            show.facts(document)
            if out is None:
                ask.preview(found, 20)

        here.out(document, people)


@command(job, "receipt")
def receipt(
    here: Here,
    identifier: JobId,
    timeout: Annotated[float, typer.Option(min=0, help="Wait so many seconds for all to sign.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write it to this file, as JSON.")] = None,
) -> None:
    """The receipts of a job, and who has not signed."""
    import json

    with here.client("analyst", "steward", "auditor") as client:
        found = client.jobs.get(identifier).receipt(timeout)
    if out is not None:
        out.write_text(json.dumps(found, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

    def people() -> None:
        show.facts(
            {
                "job": found["job"], "outcome": found["outcome"], "evidence": found["evidence"],
                "final receipt": "signed by all" if not found["missing"] else "missing: " + ", ".join(found["missing"]),
                "provisional": [f"{p['party']} ({p['kind']})" for p in found["provisional"]],
            }
        )  # fmt: skip

    here.out(found, people)


@command(job, "explain")
def explain_job(here: Here, identifier: JobId) -> None:
    """What a proposed job would use each of your columns for, and the grant that would let it pass."""
    with here.client("steward", "analyst", "auditor") as client:
        found = client.jobs.get(identifier).explain()
        language = here.language(client)
    here.out(found, lambda: ask.explained(found, language))


@command(policy, "explain")
def explain(
    here: Here,
    target: Annotated[
        str, typer.Argument(metavar="JOB|FILE", help="A job's identifier, or a request as JSON.")
    ],
) -> None:
    """What each column would be used for, what is granted, and the one grant that would let it pass."""
    with here.client("steward", "analyst", "auditor") as client:
        if target.startswith("job-"):
            found = client.jobs.get(target).explain()
        else:
            found = client.policy.explain(read_document(Path(target)))
        language = here.language(client)
    here.out(found, lambda: ask.explained(found, language))
