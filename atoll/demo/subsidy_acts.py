"""The acts of the subsidy: three offices each run their own part, and only outcomes meet."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from atoll.client.authoring import run_cases
from atoll.demo import families, subsidy_plain
from atoll.demo.families import Application
from atoll.demo.packages import Changes, changed
from atoll.demo.page import bits, print_changes, print_page, reads
from atoll.demo.plaintext import read
from atoll.demo.show import Show
from atoll.demo.subsidy_combine import combine
from atoll.demo.subsidy_stage import PARTS, Part, Stage
from atoll.demo.visiting import AT_LEAST, Caller, Json, consent, publish
from atoll.demo.wiretap import crossed
from atoll.testing import until

_BATCH = 80
_PERSONAL = frozenset({"name", "id_card", "phone", "company"})
# Millibits: owns is one of two, a band one of three, a size one of twelve; no decision, and the timing.
_BITS = {"ownership": 4585, "income": 5000, "household": 7644}
_TAX = PARTS[1]
NEW_LOW = Decimal(3000)
RAISED: Changes = {
    "package.toml": [('version = "1.0.0"', 'version = "1.1.0"')],
    "rules.py": [("LOW = 250000", f"LOW = {NEW_LOW * 100:.0f}")],
}
_VERDICTS = {"yes": "subsidy-yes", "no": "subsidy-no", "check": "subsidy-check", "open": "subsidy-open"}


def deploy(on: Stage, show: Show) -> None:
    """Each office reads its own page, and consents to its own part."""
    show.say("subsidy-deploy-intro", department=on.department.name)

    def one(part: Part) -> Json:
        office = on.offices[part.office]
        page = publish(
            on.department, office, on.agreements[part.office], on.package(part), part.package, "1.0.0"
        )
        consent(on.department, office, part.package, "1.0.0", {})
        return page

    with show.busy("asking"), ThreadPoolExecutor(len(PARTS)) as pool:
        tested = [
            outcome for found in pool.map(lambda p: run_cases(on.package(p)), PARTS) for outcome in found
        ]
        pages = list(pool.map(one, PARTS))
    show.check(show.text("subsidy-cases"), sum(outcome.passed for outcome in tested), len(tested))
    for part, page in zip(PARTS, pages, strict=True):
        name = on.offices[part.office].name
        print_page(show, page)
        columns = reads(page)
        own = {f"{table}.{column}" for table, found in part.uses.items() for column in found}
        show.check(show.text("subsidy-reads", office=name), set(columns) <= own, True)
        personal = sum(column.partition(".")[2] in _PERSONAL for column in columns)
        show.check(show.text("subsidy-personal", office=name), personal, 0)
        show.check(
            show.text("subsidy-bits", office=name), bits(page["bits"]["per_call"]), bits(_BITS[part.package])
        )
    show.table()


def _ask(on: Stage, applied: Sequence[Application], batch: bool) -> list[tuple[Json, ...]]:
    """All three offices at once about some families; for each its three calls, in the order of `PARTS`."""
    scripts = on.department.application.scripts

    def one(part: Part) -> list[Json]:
        calls: list[Json] = [
            {
                "subject": each.family,
                "arguments": part.arguments(each),
                "key": f"{part.package}-{each.family}",
            }
            for each in applied
        ]
        if batch:
            return scripts.batch(part.package, calls)
        return [scripts.call(part.package, c["subject"], c["arguments"], key=c["key"]) for c in calls]

    with ThreadPoolExecutor(len(PARTS)) as pool:
        found = list(pool.map(one, PARTS))
    for part, calls in zip(PARTS, found, strict=True):
        on.jobs[part.package] = calls[0]["job"]
    return list(zip(*found, strict=True))


def _truth(on: Stage, applied: Application, low: Decimal = subsidy_plain.LOW) -> str:
    return subsidy_plain.verdict(on.plain, applied, datetime.now(UTC).date(), low)


def ask(on: Stage, show: Show) -> None:
    """Three batches at once, and one family alone."""
    show.say("subsidy-ask-intro", department=on.department.name)
    applied = on.take(_BATCH)
    (single,) = on.take(1)
    with show.busy("asking"):
        found = _ask(on, applied, batch=True)
        started = time.monotonic()
        (one,) = _ask(on, [single], batch=False)
        seconds = time.monotonic() - started
    verdicts = [
        combine(each, *(call["answer"] for call in calls)) for each, calls in zip(applied, found, strict=True)
    ]
    truths = [_truth(on, each) for each in applied]
    got, right = Counter(verdicts), Counter(truths)
    for verdict, key in _VERDICTS.items():
        show.check(show.text(key), got[verdict], right[verdict])
    show.check(show.text("subsidy-each"), sum(map(str.__eq__, verdicts, truths)), _BATCH)
    alone = combine(single, *(call["answer"] for call in one))
    text = show.text("subsidy-single", family=single.family)
    show.check(text, show.text(_VERDICTS[alone]), show.text(_VERDICTS[_truth(on, single)]))
    show.table("plaintext-tables")
    show.say("subsidy-seconds", "dim", ms=round(seconds * 1000))


def learned(on: Stage, show: Show) -> None:
    """Who learned what, and what crossed."""
    show.say("subsidy-learned-intro")
    for part in PARTS:
        show.say("subsidy-part", "bold", office=on.offices[part.office].name, package=part.package)
        show.statement(on.department.analyst.jobs.get(on.jobs[part.package]))
    columns = {"ownership": {"owns"}, "income": {"band"}, "household": {"size", "subsidised"}}
    for part in PARTS:
        calls = on.department.analyst.scripts.calls(name=part.package, limit=1000)
        names = {name for call in calls for name in call["answer"] or {}} - {"reasons"}
        text = show.text("subsidy-received", office=on.offices[part.office].name)
        show.check(text, ", ".join(sorted(names)), ", ".join(sorted(columns[part.package])))
        there = {d["name"] for d in on.offices[part.office].steward.scripts.decisions(limit=1000)}
        text = show.text("subsidy-there", office=on.offices[part.office].name)
        show.check(text, ", ".join(sorted(there)), part.package)
    taken, planted = on.tap.taken(), on.written.planted
    asked = on.written.applications[0].family
    show.check(show.text("subsidy-control"), ", ".join(crossed(taken, [asked])), asked)
    show.check(show.text("subsidy-planted", count=f"{len(planted):,}"), len(crossed(taken, planted)), 0)
    show.table()


def change(on: Stage, show: Show) -> None:
    """The tax office's part changes while it is being called."""
    office, name = on.offices[_TAX.office], _TAX.package
    show.say("subsidy-change-intro", office=office.name, department=on.department.name)
    folder = changed(name, on.folder / "packages" / "income-1.1.0", RAISED)
    low = subsidy_plain.LOW
    lifted = next(a for a in on.fresh if _plain_band(on, a, low) != _plain_band(on, a, NEW_LOW))
    on.fresh.remove(lifted)
    applied = {each.family: each for each in on.take(len(on.fresh))}
    calls = [
        {"subject": family, "arguments": _TAX.arguments(each), "key": f"{name}-{family}"}
        for family, each in applied.items()
    ]
    caller = Caller(on.department, name, calls)
    try:
        with show.busy("asking"):
            caller.wait("1.0.0")
            page = publish(on.department, office, on.agreements[_TAX.office], folder, name, "1.1.0")
            unasked = caller.by("1.1.0")
            consent(on.department, office, name, "1.1.0", {})
            on.department.analyst.scripts.switch(f"{name}@1.1.0")
            caller.wait("1.1.0")
            other = on.department.application.scripts.call(name, lifted.family, _TAX.arguments(lifted))
    finally:
        caller.close()
    print_changes(show, page)
    lows = {"1.0.0": low, "1.1.0": NEW_LOW}
    show.check(show.text("subsidy-change-unasked"), unasked, 0)
    for version in lows:
        count = caller.by(version)
        right = count if count >= AT_LEAST else f">= {AT_LEAST}"
        show.check(show.text("subsidy-change-by", version=version), count, right)
    show.check(show.text("subsidy-change-lost"), len(caller.errors), 0)
    wrong = [
        c for c in caller.answers if _band(c) != _plain_band(on, applied[c["subject"]], lows[c["version"]])
    ]
    show.check(show.text("subsidy-change-mixed"), len(wrong), 0)
    was, now = (_plain_band(on, lifted, each) for each in lows.values())
    show.check(show.text("subsidy-change-lifted", family=lifted.family, was=was), _band(other), now)
    decided = Counter(d["key"] for d in office.steward.scripts.decisions(name=name, limit=1000))
    counts = {decided[call["key"]] for call in caller.answers}
    show.check(show.text("subsidy-change-once"), ", ".join(map(str, sorted(counts))), "1")
    show.table()


def _band(call: Json) -> str | None:
    return call["answer"]["band"] if call["answer"] else None


def _plain_band(on: Stage, applied: Application, low: Decimal) -> str | None:
    return subsidy_plain.band(on.plain, applied, low)


def quality(on: Stage, show: Show) -> None:
    """A missing value gives no decision; the owner is told what is wrong, and mends it."""
    office, name = on.offices[_TAX.office], _TAX.package
    show.say("subsidy-quality-intro", office=office.name, department=on.department.name)
    scripts = on.department.application.scripts
    applied = next(each for each in on.written.applications[:_BATCH] if _truth(on, each) == "open")
    arguments = _TAX.arguments(applied)
    with show.busy("asking"):
        before = scripts.call(name, applied.family, arguments, key=f"{name}-{applied.family}")
        on.department.analyst.quality.report(
            f"{office.name}/incomes",
            on.agreements[_TAX.office],
            category="missing",
            extent="few",
            column="amount",
        )
        received = until("the finding", lambda: _findings(office))
        _mend(on, office)
        after = scripts.call(name, applied.family, arguments, key=f"{name}-{applied.family}-again")
    told = received[0]
    show.check(show.text("subsidy-quality-before"), before["answer"] is None, True)
    facts = ", ".join(str(told[field]) for field in ("table", "column", "category", "extent"))
    show.check(show.text("subsidy-quality-told", office=office.name), facts, "incomes, amount, missing, few")
    show.check(show.text("subsidy-quality-family"), applied.family in str(told), False)
    right = subsidy_plain.band(subsidy_plain.load(on.written.folder), applied, NEW_LOW)
    show.check(show.text("subsidy-quality-after"), _band(after), right)
    show.table()


def _findings(office: Any) -> list[Json]:
    return [found for found in office.steward.quality.findings() if found["table"] == "incomes"]


def _mend(on: Stage, office: Any) -> None:
    """The tax office fills in what is missing, and takes up the table anew."""
    path: Path = on.written.path("incomes")
    rows = read(path, "utf-8")
    filled = [{**row, "amount": row["amount"] or "24000.00"} for row in rows]
    families.save(path, filled[0], [row.values() for row in filled])
    office.steward.data.refresh("incomes")
