"""The same answers from the pooled tables in clear, with nothing of Atoll in between: what no lender may do,
and what the demo compares with."""

from __future__ import annotations

import csv
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

Rows = list[dict[str, str]]
Cells = dict[str, tuple[int, Decimal, int]]


def read(path: Path, encoding: str) -> Rows:
    """All rows of a CSV file, as text."""
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.DictReader(file))


def normal(text: str) -> str:
    """A key without surrounding spaces, in half width and upper case."""
    return unicodedata.normalize("NFKC", text).strip().upper()


def key_of(row: Mapping[str, str | None], columns: Sequence[str]) -> tuple[str, ...] | None:
    """The key of a row, or None if a part is missing: a missing key matches nothing."""
    parts = tuple(normal(row[name] or "") for name in columns)
    return parts if all(parts) else None


@dataclass(frozen=True)
class Overlap:
    """Common keys, and for each the number of rows on either side."""

    left: Counter[tuple[str, ...]]
    right: Counter[tuple[str, ...]]

    @property
    def keys(self) -> int:
        """How many keys both sides have."""
        return len(self.left)

    @property
    def pairs(self) -> Counter[tuple[str, ...]]:
        """Rows of the SQL join, by key."""
        return Counter({key: n * self.right[key] for key, n in self.left.items()})


def overlap(left: Rows, right: Rows, columns: Sequence[str]) -> Overlap:
    """What two tables have in common."""
    counts = [Counter(k for row in rows if (k := key_of(row, columns)) is not None) for rows in (left, right)]
    common = counts[0].keys() & counts[1].keys()
    mine, theirs = (Counter({key: count[key] for key in common}) for count in counts)
    return Overlap(mine, theirs)


def of_person(tables: Iterable[Rows], person: str) -> tuple[int, Decimal, int]:
    """Open applications and debt of one person over all tables, and how many tables have that person."""
    found = [[row for row in rows if key_of(row, ["id"]) == (person,)] for rows in tables]
    rows = [row for several in found for row in several]
    applications = sum(int(row["applications"] or 0) for row in rows)
    return applications, sum((Decimal(row["debt"] or 0) for row in rows), Decimal(0)), sum(map(bool, found))


def totals(tables: Iterable[Rows], segments: Iterable[str]) -> Cells:
    """Open applications, debt and rows of each segment over all tables."""
    cells: Cells = {segment: (0, Decimal(0), 0) for segment in segments}
    for rows in tables:
        for row in rows:
            applications, debt, count = cells[row["segment"]]
            cells[row["segment"]] = (
                applications + int(row["applications"] or 0),
                debt + Decimal(row["debt"] or 0),
                count + 1,
            )
    return cells
