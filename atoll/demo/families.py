"""Three offices' tables about the same families: seeded, and with what a housing office must not see beside it."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

FAMILIES, YEAR = 300, 2025
_TEXT, _WHOLE = {"type": "string"}, {"type": "int64"}
_MONEY = {"type": "decimal", "precision": 12, "scale": 2, "unit": "CNY"}
_PERSON = {"name": _TEXT, "id_card": _TEXT}
# By office: its tables and their columns.
TABLES: dict[str, dict[str, dict[str, Any]]] = {
    "registry": {
        "shareholders": {"family": _TEXT, **_PERSON, "company": _TEXT, "share_bp": _WHOLE, "status": _TEXT}
    },
    "tax": {"incomes": {"family": _TEXT, **_PERSON, "year": _WHOLE, "amount": _MONEY}},
    "civil": {
        "households": {"family": _TEXT, **_PERSON, "phone": _TEXT, "size": _WHOLE},
        "benefits": {"family": _TEXT, "kind": _TEXT, "until": {"type": "date"}},
    },
}
_SURNAMES, _GIVEN = "欧阳司徒诸葛夏侯上官慕容", "浩然思远晓雯建国淑芬志强"
_COMPANIES = ("晨星商贸", "远帆物流", "青禾农业", "云岭餐饮", "海棠服饰")


@dataclass(frozen=True)
class Application:
    """What a family writes when it applies: its number, and how many it says it is."""

    family: str
    members: int


@dataclass(frozen=True)
class Written:
    """Where the offices' tables are, who applies, and what must not leave the offices."""

    folder: Path
    rows: dict[str, int]
    applications: tuple[Application, ...]
    planted: tuple[str, ...]

    def path(self, table: str) -> Path:
        """The file of a table."""
        return self.folder / f"{table}.csv"


def declaration(office: str, table: str) -> dict[str, Any]:
    """What an office declares of its table."""
    return {"columns": TABLES[office][table]}


def _people(draw: random.Random, count: int) -> list[tuple[str, str]]:
    """Names and identity numbers of invented people."""
    found = []
    for _ in range(count):
        born = date(1950, 1, 1) + timedelta(days=draw.randrange(20_000))
        name = "".join(draw.sample(_SURNAMES, 2) + draw.sample(_GIVEN, 2))
        found.append((name, f"{draw.choice(('110101', '330106'))}{born:%Y%m%d}{draw.randrange(10**4):04d}"))
    return found


def write(folder: Path, seed: int = 20261127) -> Written:
    """Writes all tables as CSV; the same seed gives the same bytes."""
    draw = random.Random(seed)  # noqa: S311  # invented people, no secret
    rows: dict[str, list[tuple[object, ...]]] = {name: [] for office in TABLES.values() for name in office}
    applications, planted = [], []
    for number in range(1, FAMILIES + 1):
        family, size = f"FAM-{number:06d}", draw.choices((1, 2, 3, 4, 5), (15, 30, 30, 18, 7))[0]
        people = _people(draw, 2)
        phone = f"1{draw.randrange(3, 10)}{draw.randrange(10**9):09d}"
        planted += [*people[0], *people[1], phone]
        rows["households"].append((family, *people[0], phone, size))
        if draw.random() < 0.12:
            until = date(2018, 1, 1) if draw.random() < 0.4 else date(2099, 12, 31)
            rows["benefits"].append((family, draw.choice(("housing", "housing", "heating")), until))
        if draw.random() < 0.15:
            status = "active" if draw.random() < 0.7 else "dissolved"
            company = f"{draw.choice(_COMPANIES)}{draw.randrange(1000):03d}有限公司"
            rows["shareholders"].append((family, *people[0], company, draw.randrange(1, 101) * 100, status))
        for person in people[: 1 if size == 1 else draw.choice((1, 2))]:
            amount = f"{draw.lognormvariate(11.0, 0.55):.2f}"
            for year in (YEAR - 1, YEAR):
                missing = draw.random() < 0.02
                rows["incomes"].append((family, *person, year, "" if missing else amount))
            planted.append(amount)
        claimed = size + 1 if draw.random() < 0.05 else size
        applications.append(Application(family, claimed))
    folder.mkdir(parents=True, exist_ok=True)
    for columns in TABLES.values():
        for name, header in columns.items():
            save(folder / f"{name}.csv", header, rows[name])
    counts = {name: len(found) for name, found in rows.items()}
    return Written(folder, counts, tuple(applications), tuple(v for v in planted if len(v) >= 8))


def save(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Writes a table."""
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(header)
        writer.writerows(rows)
