"""Where two statements of the same month differ: by line, by day, and down to the receipts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from atoll.billing.statement import Line, Statement

Where = Literal["here", "there", "both"]


@dataclass(frozen=True)
class Difference:
    """A line that differs: its quantity here and there, None where there is none."""

    asset: str
    provider: str
    payer: str
    unit: str
    price: str
    currency: str
    here: int | None
    there: int | None


@dataclass(frozen=True)
class DayDifference:
    """An item that one side has and the other has not, or has otherwise: `fields` names what differs."""

    evidence: str
    job: str
    block: int
    unit: str
    where: Where
    fields: tuple[str, ...]


def _lines(statement: Statement) -> dict[tuple[str, ...], Line]:
    return {
        (
            line.payer,
            line.asset,
            line.provider,
            line.unit,
            line.price,
            line.currency,
            *(f"{payee.to}" for payee in line.payees),
        ): line
        for line in statement.lines
    }


def compare(mine: Statement, theirs: Statement) -> tuple[list[Difference], list[str]]:
    """Lines that differ, and days whose items differ."""
    here, there = _lines(mine), _lines(theirs)
    differences = []
    for key in sorted(here.keys() | there.keys()):
        one, other = here.get(key), there.get(key)
        if one == other:
            continue
        line = one or other
        assert line is not None  # one of the two has it
        differences.append(
            Difference(
                line.asset,
                line.provider,
                line.payer,
                line.unit,
                line.price,
                line.currency,
                one.quantity if one else None,
                other.quantity if other else None,
            )
        )
    days_here = {day.day: day for day in mine.days}
    days_there = {day.day: day for day in theirs.days}
    days = [
        day
        for day in sorted(days_here.keys() | days_there.keys())
        if days_here.get(day) != days_there.get(day)
    ]
    return differences, days


def compare_day(
    mine: Iterable[Mapping[str, Any]], theirs: Iterable[Mapping[str, Any]]
) -> list[DayDifference]:
    """The items of a day that differ, by job, block, asset and unit; each a document of `Item`."""

    def by_use(items: Iterable[Mapping[str, Any]]) -> dict[tuple[Any, ...], Mapping[str, Any]]:
        return {
            (
                i["job"],
                i["block"],
                i["asset"],
                i["provider"],
                i["payer"],
                i["unit"],
                i["evidence"] * (not i["job"]),
            ): i
            for i in items
        }

    here, there = by_use(mine), by_use(theirs)
    out = []
    for key in sorted(here.keys() | there.keys()):
        one, other = here.get(key), there.get(key)
        if one == other:
            continue
        item = one or other or {}
        if one is None or other is None:
            where: Where = "here" if other is None else "there"
            fields: tuple[str, ...] = ()
        else:
            where, fields = "both", tuple(sorted(k for k in one if one[k] != other.get(k)))
        out.append(DayDifference(item["evidence"], item["job"], item["block"], item["unit"], where, fields))
    return out
