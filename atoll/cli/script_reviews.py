"""`script`, the owner's commands: review, try, deploy within bounds, refuse, withdraw, decide on held answers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atoll.cli import show
from atoll.cli.ask import certain
from atoll.cli.context import Here, command
from atoll.cli.scripts import Key, Name, Package, said, script, stands
from atoll.cli.terms import read_document
from atoll.errors import AtollError

if TYPE_CHECKING:
    from atoll.client import Client

Json = dict[str, Any]

_REVIEWERS = ("steward", "analyst", "auditor")

Partner = Annotated[str | None, typer.Option(help="The author, where several published this package.")]

# Bounds of a consent: the same options for review, trial and deploy.
BoundsFile = Annotated[
    Path | None, typer.Option("--bounds", metavar="FILE", help="Bounds as JSON; options go before them.")
]
CallsPerDay = Annotated[int | None, typer.Option(min=0, help="Most calls in a day; default no limit.")]
SubjectBits = Annotated[
    float | None, typer.Option(min=0, help="Most bits about one subject in --subject-days; default 64.")
]
SubjectDays = Annotated[
    int | None, typer.Option(min=1, max=3660, help="Days over which these are counted; default 365.")
]
DayBits = Annotated[float | None, typer.Option(min=0, help="Most bits in a day in all; default 100000.")]
Step = Annotated[
    list[str] | None,
    typer.Option(
        "--step", metavar="OUTPUT=N", help="A larger step of a number, such as pay=1000. Repeatable."
    ),
]
NoReasons = Annotated[bool, typer.Option("--no-reasons", help="Answers name no reasons.")]
HoldAbove = Annotated[
    list[str] | None,
    typer.Option(metavar="OUTPUT=N", help="An answer with a larger number waits for a steward. Repeatable."),
]
NotAfter = Annotated[
    str | None, typer.Option(metavar="TIME", help="When the consent ends, such as 2027-01-01T00:00:00Z.")
]


def _numbers(values: Iterable[str], option: str) -> dict[str, int]:
    out = {}
    for text in values:
        name, equals, number = text.partition("=")
        try:
            if not equals:
                raise ValueError
            out[name] = int(number)
        except ValueError:
            raise AtollError("E_FORMAT", f"{option} {text}: write OUTPUT=N, a whole number.") from None
    return out


def _bounds(
    file: Path | None,
    calls_per_day: int | None,
    subject_bits: float | None,
    subject_days: int | None,
    day_bits: float | None,
    step: list[str] | None,
    no_reasons: bool,
    hold_above: list[str] | None,
    not_after: str | None,
) -> Json:
    """Bounds that differ from the safe defaults, as REST takes them."""
    bounds = read_document(file) if file is not None else {}
    given = {
        "calls_per_day": calls_per_day,
        "subject_millibits": None if subject_bits is None else round(subject_bits * 1000),
        "subject_days": subject_days,
        "day_millibits": None if day_bits is None else round(day_bits * 1000),
        "steps": _numbers(step or [], "--step") or None,
        "reasons": False if no_reasons else None,
        "hold_above": _numbers(hold_above or [], "--hold-above") or None,
        "not_after": not_after,
    }
    return bounds | {name: value for name, value in given.items() if value is not None}


@command(script, "review")
def review(
    here: Here,
    package: Package,
    partner: Partner = None,
    code: Annotated[bool, typer.Option("--code", help="Show the files of the package too.")] = False,
    bounds: BoundsFile = None,
    calls_per_day: CallsPerDay = None,
    subject_bits: SubjectBits = None,
    subject_days: SubjectDays = None,
    day_bits: DayBits = None,
    step: Step = None,
    no_reasons: NoReasons = False,
    hold_above: HoldAbove = None,
    not_after: NotAfter = None,
) -> None:
    """The one page to read before consenting: what is read, what may leave, how much, and what changed."""
    given = _bounds(
        bounds, calls_per_day, subject_bits, subject_days, day_bits, step, no_reasons, hold_above, not_after
    )
    with here.client(*_REVIEWERS) as client:
        page = client.scripts.review(package, partner=partner, bounds=given)
        here.out(page, lambda: _page(here, client, page, code))


def _page(here: Here, client: Client, page: Json, code: bool = False) -> None:
    show.lines(page["lines"][here.language(client)])
    if code:
        for name, text in page["files"].items():
            show.line(f"\n{name}", style="bold")
            show.line(text)


@command(script, "trial")
def trial(
    here: Here,
    package: Package,
    rows: Annotated[int, typer.Option(min=1, max=200, help="On so many of your own subjects.")] = 20,
    bounds: BoundsFile = None,
    calls_per_day: CallsPerDay = None,
    subject_bits: SubjectBits = None,
    subject_days: SubjectDays = None,
    day_bits: DayBits = None,
    step: Step = None,
    no_reasons: NoReasons = False,
    hold_above: HoldAbove = None,
    not_after: NotAfter = None,
) -> None:
    """Runs a package on your own first subjects, arguments at their defaults; nothing leaves the node."""
    given = _bounds(
        bounds, calls_per_day, subject_bits, subject_days, day_bits, step, no_reasons, hold_above, not_after
    )
    with here.client("steward") as client:
        found = client.scripts.trial(package, rows, bounds=given)

    def people() -> None:
        if found["skipped"]:
            show.line(f"Nothing ran: {found['skipped']}.")
            return
        shown = [{"subject": r["subject"], "answer": said(r["answer"])} for r in found["results"]]
        show.table(shown, ["subject", "answer"], "no subjects")

    here.out(found, people)


@command(script, "deploy")
def deploy(
    here: Here,
    package: Package,
    partner: Partner = None,
    bounds: BoundsFile = None,
    calls_per_day: CallsPerDay = None,
    subject_bits: SubjectBits = None,
    subject_days: SubjectDays = None,
    day_bits: DayBits = None,
    step: Step = None,
    no_reasons: NoReasons = False,
    hold_above: HoldAbove = None,
    not_after: NotAfter = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deploying.")] = False,
) -> None:
    """Shows the page and consents, within bounds: the author may call from then on. Given again, new bounds hold."""
    given = _bounds(
        bounds, calls_per_day, subject_bits, subject_days, day_bits, step, no_reasons, hold_above, not_after
    )
    with here.client("steward") as client:
        if not here.json:
            _page(here, client, client.scripts.review(package, partner=partner, bounds=given))
        certain(yes, "Let it run on your data?")
        found = client.scripts.deploy(package, partner=partner, bounds=given)
    here.out(found, lambda: stands(found))


@command(script, "refuse")
def refuse(
    here: Here,
    package: Package,
    reason: Annotated[str, typer.Option(help="The author sees it.")],
    partner: Partner = None,
) -> None:
    """Refuses a package that a partner published."""
    with here.client("steward") as client:
        found = client.scripts.refuse(package, reason, partner=partner)
    here.out(found, lambda: stands(found))


@command(script, "withdraw")
def withdraw(
    here: Here,
    package: Package,
    reason: Annotated[str, typer.Option(help="The author sees it.")] = "",
    partner: Partner = None,
) -> None:
    """Ends a consent: no call is answered from now on."""
    with here.client("steward") as client:
        found = client.scripts.withdraw(package, reason, partner=partner)
    here.out(found, lambda: stands(found))


@command(script, "decisions")
def decisions(
    here: Here,
    name: Annotated[str | None, typer.Option(help="Only of this package.")] = None,
    held: Annotated[bool, typer.Option("--held", help="Only what waits for a steward.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
) -> None:
    """What packages of partners decided here, newest first."""
    with here.client("steward", "auditor") as client:
        found = client.scripts.decisions(state="held" if held else None, name=name, limit=limit)
    rows = [r | {"answer": said(r["answer"]), "bits": f"{r['millibits'] / 1000:g}"} for r in found]
    columns = ["name", "version", "key", "partner", "subject", "state", "answer", "bits", "at"]
    here.out(found, lambda: show.table(rows, columns, "no decisions"))


@command(script, "settle")
def settle(
    here: Here,
    name: Name,
    key: Key,
    release: Annotated[
        bool, typer.Option("--release/--deny", help="Let the answer leave, or make it no decision.")
    ],
    partner: Annotated[str | None, typer.Option(help="The caller, where several used this key.")] = None,
) -> None:
    """Decides on an answer that waits; the caller has it when it asks again under the same key."""
    with here.client("steward") as client:
        found = client.scripts.settle(name, key, release, partner=partner)
    here.out(found, lambda: show.line(f"{found['name']} {found['key']} is {found['state']}"))
