"""The insurer's claim rules over the hospital's whole tables in clear, with nothing of Atoll in between: what the
hospital may not hand over, and what the demo compares with."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_FLOOR, Decimal
from math import exp
from pathlib import Path
from typing import Any

from atoll.demo.plaintext import Rows, read

Answer = dict[str, Any]
ZERO = Decimal(0)
# Yuan.
MOST, DEDUCTIBLE, REMAINING = Decimal(50_000), Decimal(500), Decimal(50_000)
# Who is of this age pays no deductible since 1.1.0.
OLD = 70


@dataclass(frozen=True)
class Hospital:
    """The tables in clear, by claim."""

    claims: dict[str, dict[str, str]]
    bills: dict[str, Rows]
    prescriptions: dict[str, Rows]


def load(folder: Path) -> Hospital:
    """The hospital's three tables."""
    claims = {row["claim_id"]: row for row in read(folder / "claims.csv", "utf-8")}
    lines: list[dict[str, Rows]] = []
    for name in ("bills", "prescriptions"):
        found: dict[str, Rows] = defaultdict(list)
        for row in read(folder / f"{name}.csv", "utf-8"):
            found[row["claim_id"]].append(row)
        lines.append(found)
    return Hospital(claims, *lines)


def _list(package: Path, name: str, key: str) -> dict[str, dict[str, str]]:
    return {row[key]: row for row in read(package / f"{name}.csv", "utf-8")}


def _paid(lines: Rows, column: str, listed: dict[str, dict[str, str]]) -> tuple[Decimal, set[str]]:
    """Yuan that are covered of some lines, and what is to be said of them."""
    total, reasons = ZERO, set()
    for line in lines:
        entry = listed.get(line[column])
        if entry is None:
            reasons.add("unlisted")
            continue
        price, cap = Decimal(line["price"]), Decimal(entry["cap"]) / 100
        if price > cap:
            reasons.add("capped")
        exact = int(line["quantity"]) * min(price, cap) * Decimal(entry["rate_bp"]) / 10_000
        total += exact.quantize(Decimal("0.01"), ROUND_FLOOR)
    return total, reasons


def _risk(claim: dict[str, str], lines: Rows) -> float:
    billed = float(sum(int(line["quantity"]) * Decimal(line["price"]) for line in lines))
    days = (date.fromisoformat(claim["discharged"]) - date.fromisoformat(claim["admitted"])).days
    score = 1.25 * (billed - 15_000) / 20_000 + 0.5 * (len(lines) - 12) / 9 + 0.75 * (days - 6) / 5 - 2
    return 1 / (1 + exp(-score))


def decide(
    hospital: Hospital, package: Path, claim_id: str, *,
    deductible: Decimal = DEDUCTIBLE, remaining: Decimal = REMAINING, waived: bool = False, model: bool = True,
) -> Answer | None:  # fmt: skip
    """The answer that the insurer's rules give of one claim; None is no decision.

    Args:
        package: the folder with the insurer's lists.
        deductible, remaining: yuan.
        waived: whether the old pay no deductible, as from version 1.1.0 on.
        model: whether the model of risk is used.
    """

    def answer(decision: str, pay: Decimal, *reasons: str) -> Answer:
        return {"decision": decision, "pay": int(pay) * 100, "reasons": list(reasons)}

    claim = hospital.claims.get(claim_id)
    if claim is None:
        return answer("refuse", ZERO, "no_claim")
    if not claim["discharged"]:
        return None
    if claim["diagnosis"] in _list(package, "exclusions", "diagnosis"):
        return answer("refuse", ZERO, "excluded")
    bills, drugs = hospital.bills.get(claim_id, []), hospital.prescriptions.get(claim_id, [])
    of_bills, said = _paid(bills, "item", _list(package, "tariff", "item"))
    of_drugs, more = _paid(drugs, "drug", _list(package, "formulary", "drug"))
    due = of_bills + of_drugs - (ZERO if waived and int(claim["age"]) >= OLD else deductible)
    if due <= 0:
        return answer("refuse", ZERO, "deductible")
    if model and _risk(claim, bills + drugs) >= 0.794:
        return answer("check", ZERO, "unusual")
    said |= more | ({"remaining"} if due > remaining else set())
    reasons = [code for code in ("capped", "remaining", "unlisted") if code in said]
    return answer("approve", min(due, remaining, MOST), *reasons)
