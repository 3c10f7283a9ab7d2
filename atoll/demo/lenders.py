"""Four lenders' tables: seeded, realistic, and dirty in places as real ones are."""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

PEOPLE, ROWS = 60_000, 20_000
SEGMENTS = {
    "car": {"en": "car loan", "zh": "车贷"},
    "card": {"en": "credit card", "zh": "信用卡"},
    "cash": {"en": "cash loan", "zh": "现金贷"},
    "home": {"en": "mortgage", "zh": "房贷"},
}
# What each owner declares of its table; partners see this in the agreement, and no value.
DECLARATION: dict[str, Any] = {
    "columns": {
        "id": {"type": "string", "label": {"en": "identity number", "zh": "身份证号"}},
        "phone": {"type": "string", "label": {"en": "mobile phone", "zh": "手机号"}},
        "segment": {"type": "string", "codes": SEGMENTS, "label": {"en": "product", "zh": "产品"}},
        "applications": {
            "type": "int64", "range": ["0", "100"], "label": {"en": "open applications", "zh": "在途申请数"},
        },
        "debt": {
            "type": "decimal", "scale": 2, "unit": "CNY", "range": ["0", "10000000"],
            "label": {"en": "debt", "zh": "负债余额"},
        },
        "income": {"type": "decimal", "scale": 2, "unit": "CNY", "label": {"en": "income", "zh": "月收入"}},
    }
}  # fmt: skip
_HEADER = ("id", "phone", "segment", "applications", "debt", "income", "opened", "city")
_CITIES = {"110101": "北京", "310104": "上海", "330106": "杭州", "440305": "深圳", "510107": "成都"}
_WIDE = str.maketrans("0123456789X", "０１２３４５６７８９Ｘ")
# GB 11643-1999: ISO 7064 MOD 11-2 over the first 17 digits.
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


@dataclass(frozen=True)
class Lender:
    """One lender: its name in both languages and the encoding of its file."""

    key: str
    en: str
    zh: str
    encoding: str

    def name(self, language: str) -> str:
        """Display name."""
        return self.zh if language == "zh" else self.en


LENDERS = (
    Lender("harbour", "Harbour Bank", "港湾银行", "utf-8"),
    Lender("lotus", "Lotus Credit", "莲花消费金融", "utf-8"),
    Lender("pine", "Pine Loans", "松柏小贷", "utf-8-sig"),
    Lender("river", "River Finance", "江河金融", "gb18030"),
)


@dataclass(frozen=True)
class Table:
    """A written table: where, how it is encoded, its rows, and how many of them are dirty."""

    path: Path
    encoding: str
    rows: int
    dirty: int


def _person(draw: random.Random) -> tuple[str, str, str]:
    """Identity number, phone, city of an invented person."""
    area = draw.choice(list(_CITIES))
    born = date(1955, 1, 1) + timedelta(days=draw.randrange(18_000))
    body = f"{area}{born:%Y%m%d}{draw.randrange(1000):03d}"
    check = "10X98765432"[sum(int(d) * w for d, w in zip(body, _WEIGHTS, strict=True)) % 11]
    return body + check, f"1{draw.randrange(3, 10)}{draw.randrange(10**9):09d}", _CITIES[area]


def _soil(draw: random.Random, identity: str) -> str:
    """An identity number as a clerk may have typed it."""
    kind = draw.random()
    if kind < 0.010:
        return f" {identity} "
    if kind < 0.020:
        return identity.translate(_WIDE)
    if kind < 0.030:
        return identity.lower()
    return "" if kind < 0.033 else identity


def _row(draw: random.Random, person: tuple[str, str, str], identity: str) -> tuple[str, ...]:
    segment = draw.choices(list(SEGMENTS), (3, 5, 4, 2))[0]
    debt = min(draw.lognormvariate(13.0 if segment == "home" else 9.5, 0.8), 9_999_999)
    opened = date(2015, 1, 1) + timedelta(days=draw.randrange(4_200))
    return (
        identity, person[1], segment, str(draw.choices(range(6), (50, 25, 12, 7, 4, 2))[0]),
        "" if draw.random() < 0.004 else f"{debt:.2f}", f"{draw.lognormvariate(9.2, 0.5):.2f}",
        opened.isoformat(), person[2],
    )  # fmt: skip


def write(folder: Path, seed: int = 20261123) -> dict[str, Table]:
    """Writes the four tables; the same seed gives the same bytes."""
    draw = random.Random(seed)  # noqa: S311  # invented people, no secret
    people = list({p[0]: p for p in (_person(draw) for _ in range(PEOPLE))}.values())
    tables = {}
    for lender in LENDERS:
        rows, dirty = [], 0
        for person in draw.sample(people, ROWS):
            typed = _soil(draw, person[0])
            again = draw.random() < 0.02  # a second loan of the same person
            rows += [_row(draw, person, typed) for _ in range(2 if again else 1)]
            dirty += again or typed != person[0]
        path = folder / f"{lender.key}.csv"
        with path.open("w", encoding=lender.encoding, newline="") as out:
            writer = csv.writer(out)
            writer.writerow(_HEADER)
            writer.writerows(rows)
        tables[lender.key] = Table(path, lender.encoding, len(rows), dirty)
    return tables
