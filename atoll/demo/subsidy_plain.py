"""The subsidy's rule over the three offices' tables in clear, with nothing of Atoll in between: what no office may
bring together, and what the demo compares with."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

from atoll.demo.families import YEAR, Application
from atoll.demo.plaintext import Rows, read

LOW, MIDDLE = Decimal(2500), Decimal(4000)


@dataclass(frozen=True)
class Offices:
    """All tables in clear, by family."""

    tables: dict[str, dict[str, Rows]]

    def rows(self, table: str, family: str) -> Rows:
        """A family's rows of a table."""
        return self.tables[table].get(family, [])


def load(folder: Path) -> Offices:
    """The tables of all offices."""
    tables: dict[str, dict[str, Rows]] = {}
    for name in ("shareholders", "incomes", "households", "benefits"):
        found: dict[str, Rows] = defaultdict(list)
        for row in read(folder / f"{name}.csv", "utf-8"):
            found[row["family"]].append(row)
        tables[name] = found
    return Offices(tables)


def band(offices: Offices, applied: Application, low: Decimal = LOW) -> str | None:
    """The band of a family's income a head and month; None where a value is missing."""
    amounts = [row["amount"] for row in offices.rows("incomes", applied.family) if row["year"] == str(YEAR)]
    if not amounts or "" in amounts:
        return None
    share = sum(map(Decimal, amounts)) / 12 / applied.members
    return "low" if share < low else "middle" if share < MIDDLE else "high"


def verdict(offices: Offices, applied: Application, today: date, low: Decimal = LOW) -> str:
    """Whether a family gets the subsidy: yes, no, check (it says another size), open (a value is missing)."""
    home = offices.rows("households", applied.family)
    income = band(offices, applied, low)
    if not home or income is None:
        return "open"
    companies = offices.rows("shareholders", applied.family)
    owner = any(row["status"] == "active" and int(row["share_bp"]) > 0 for row in companies)
    grants = offices.rows("benefits", applied.family)
    has = any(row["kind"] == "housing" and date.fromisoformat(row["until"]) >= today for row in grants)
    if int(home[0]["size"]) != applied.members:
        return "check"
    return "yes" if income == "low" and not owner and not has else "no"
