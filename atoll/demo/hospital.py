"""A hospital's tables: seeded, with codes as hospitals use them, and with what an insurer must not see beside it."""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from atoll.demo.packages import folder_of
from atoll.demo.plaintext import Rows, read

CLAIMS = 400
TABLES = ("claims", "bills", "prescriptions")
# Columns of `claims` that no rule needs.
PERSONAL = ("name", "id_card", "phone")
_HEADER = ("claim_id", "diagnosis", "admitted", "discharged", "age", *PERSONAL)
_MONEY = {"type": "decimal", "precision": 12, "scale": 2, "unit": "CNY"}
_TEXT = {"type": "string"}
_LINES = {"claim_id": _TEXT, "quantity": {"type": "int64"}, "price": _MONEY}
DECLARATIONS: dict[str, dict[str, Any]] = {
    "claims": {
        "columns": {
            **dict.fromkeys(("claim_id", "diagnosis", *PERSONAL), _TEXT), "admitted": {"type": "date"},
            "discharged": {"type": "date"}, "age": {"type": "int64"},
        }
    },
    "bills": {"columns": {**_LINES, "item": _TEXT}},
    "prescriptions": {"columns": {**_LINES, "drug": _TEXT}},
}  # fmt: skip
_SURNAMES, _GIVEN = "欧阳司徒诸葛夏侯上官慕容", "浩然思远晓雯建国淑芬志强"
# What a stay with a diagnosis brings: days, and items that it has once.
_STAYS: dict[str, tuple[int, tuple[str, ...]]] = {
    "J18.9": (7, ("210300001",)),
    "K35.8": (4, ("330100005", "331008005", "220302001")),
    "I21.9": (6, ("310701001", "320500002", "210300001")),
    "S72.0": (11, ("330100005", "331505018", "210200004")),
    "E11.9": (3, ("250301001",)),
    "K08.1": (1, ("480000001",)),
    "Z41.1": (2, ("330100005", "480000001")),
}
_OFTEN = (26, 18, 16, 10, 20, 6, 4)
_DAILY = ("110200005", "110900001", "110900004", "120400006", "250101015", "250301001", "340100023")
# Not in the insurer's lists: a decoction of herbs, and trastuzumab.
_UNLISTED = {"480000001": 16_000, "L01FD01": 550_000}


@dataclass(frozen=True)
class Written:
    """Where the tables are, and what stands in them that must not leave the hospital."""

    folder: Path
    rows: dict[str, int]
    ids: tuple[str, ...]
    samples: tuple[str, ...]
    planted: tuple[str, ...]


def _person(draw: random.Random) -> tuple[int, str, str, str]:
    """Age, name, identity number and telephone of an invented patient."""
    born = date(1936, 1, 1) + timedelta(days=draw.randrange(30_000))
    name = "".join(draw.sample(_SURNAMES, 2) + draw.sample(_GIVEN, 2))
    card = f"{draw.choice(('110101', '310104', '330106', '440305', '510107'))}{born:%Y%m%d}{draw.randrange(10**4):04d}"
    return 2026 - born.year, name, card, f"1{draw.randrange(3, 10)}{draw.randrange(10**9):09d}"


def _price(draw: random.Random, cap: int) -> str:
    return f"{round(cap * draw.uniform(0.6, 1.04)) / 100:.2f}"


def _stay(
    draw: random.Random, claim: str, caps: dict[str, int], drugs: dict[str, int]
) -> tuple[Any, Rows, Rows]:
    """A claim without its patient, the lines of its bill, and its prescriptions."""
    diagnosis = draw.choices(list(_STAYS), _OFTEN)[0]
    usual, once = _STAYS[diagnosis]
    unusual = draw.random() < 0.04
    days = max(1, round(usual * draw.uniform(0.6, 1.5))) * (4 if unusual else 1)
    admitted = date(2026, 1, 1) + timedelta(days=draw.randrange(150))
    discharged = "" if draw.random() < 0.03 else (admitted + timedelta(days=days)).isoformat()
    bills = [
        {
            "claim_id": claim,
            "item": item,
            "quantity": str(draw.choice((1, 1, 1, 2))),
            "price": _price(draw, caps[item]),
        }
        for item in once
    ]
    for item in draw.sample(_DAILY, draw.randrange(2, 6)):
        count = days * draw.choice((1, 1, 2))
        bills.append(
            {"claim_id": claim, "item": item, "quantity": str(count), "price": _price(draw, caps[item])}
        )
    if unusual:
        bills.append(
            {"claim_id": claim, "item": "120100003", "quantity": str(days * 24), "price": _price(draw, 1_500)}
        )
    chosen = draw.sample(list(drugs), draw.randrange(4))
    given = [
        {
            "claim_id": claim,
            "drug": drug,
            "quantity": str(draw.randrange(1, 3) * days),
            "price": _price(draw, drugs[drug]),
        }
        for drug in chosen
    ]
    return (diagnosis, admitted.isoformat(), discharged), bills, given


def write(folder: Path, seed: int = 20261126) -> Written:
    """Writes the three tables as CSV; the same seed gives the same bytes. The insurer's samples are among them."""
    draw = random.Random(seed)  # noqa: S311  # invented people, no secret
    package = folder_of("claims")
    caps = {row["item"]: int(row["cap"]) for row in read(package / "tariff.csv", "utf-8")} | _UNLISTED
    drugs = {row["drug"]: int(row["cap"]) for row in read(package / "formulary.csv", "utf-8")}
    drugs["L01FD01"] = _UNLISTED["L01FD01"]
    samples = {name: read(package / "samples" / f"{name}.csv", "utf-8") for name in TABLES}
    claims: list[tuple[str, ...]] = []
    lines: dict[str, Rows] = {name: list(samples[name]) for name in TABLES[1:]}
    planted: list[str] = []

    def add(claim: str, stay: tuple[str, ...]) -> None:
        age, *personal = _person(draw)
        planted.extend(personal)
        claims.append((claim, *stay, str(age), *personal))

    for row in samples["claims"]:
        add(row["claim_id"], (row["diagnosis"], row["admitted"], row["discharged"]))
    ids = tuple(f"RH-2026-{number:05d}" for number in range(1, CLAIMS + 1))
    for claim in ids:
        stay, bills, given = _stay(draw, claim, caps, drugs)
        add(claim, stay)
        lines["bills"] += bills
        lines["prescriptions"] += given
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "claims.csv").open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(_HEADER)
        writer.writerows(claims)
    for name, rows in lines.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as out:
            table = csv.DictWriter(out, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    counts = {"claims": len(claims), **{name: len(rows) for name, rows in lines.items()}}
    return Written(folder, counts, ids, tuple(row["claim_id"] for row in samples["claims"]), tuple(planted))
