"""The statement of a month between two parties of an agreement (kind `statement/v1`): one document for both.

It names nobody as its author: two honest sides compute the same bytes, and each may sign them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from atoll.billing.items import Item, Unit
from atoll.billing.money import split
from atoll.crypto import canonical
from atoll.crypto.document import AgreementId, Amount, Digest, Document, Key, Name, require_unique
from atoll.crypto.suite import digest

STATEMENT_KIND = "statement/v1"
DISPUTE_KIND = "statement-dispute/v1"

Month = Annotated[str, StringConstraints(pattern=r"^(20|21)[0-9]{2}-(0[1-9]|1[0-2])$")]
Day = Annotated[str, StringConstraints(pattern=r"^(20|21)[0-9]{2}-(0[1-9]|1[0-2])-[0-3][0-9]$")]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
Whole = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,38})$")]
"""An amount in minor units, as text: sums of a month go beyond what a JSON number holds."""


class Payee(Document):
    """What one payee gets of a line."""

    to: Key
    amount: Whole


class Line(Document):
    """One price of one asset over the month. `provisional` counts the uses that not all have signed for."""

    asset: Name
    provider: Key
    payer: Key
    unit: Unit
    price: Amount
    currency: Currency
    quantity: Count
    amount: Whole
    uses: Count
    provisional: Count
    payees: Annotated[tuple[Payee, ...], Field(min_length=1, max_length=64)]

    @model_validator(mode="after")
    def _validate(self) -> Line:
        if int(self.amount) != self.quantity * int(self.price):
            raise ValueError("amount: is not quantity times price")
        require_unique((p.to for p in self.payees), "payees: ")
        if sum(int(p.amount) for p in self.payees) != int(self.amount):
            raise ValueError("payees: do not sum to the amount")
        if self.provisional > self.uses:
            raise ValueError("provisional: more than uses")
        return self


class Total(Document):
    """What one of the two owes for the month, in one currency, to whomever its lines name."""

    payer: Key
    currency: Currency
    amount: Whole


class DayRoot(Document):
    """The items of a day: how many, and a digest over all of them, by which two statements are compared."""

    day: Day
    items: Count
    root: Digest


class Statement(Document):
    """A month between two parties under an agreement, `parties` in order of key."""

    format: Literal["atoll.statement/v1"]
    month: Month
    agreement: AgreementId
    parties: Annotated[tuple[Key, ...], Field(min_length=2, max_length=2)]
    lines: Annotated[tuple[Line, ...], Field(max_length=10_000)]
    totals: Annotated[tuple[Total, ...], Field(max_length=400)]
    days: Annotated[tuple[DayRoot, ...], Field(max_length=31)]

    @model_validator(mode="after")
    def _validate(self) -> Statement:
        if list(self.parties) != sorted(set(self.parties)):
            raise ValueError("parties: two keys stand in order")
        for line in self.lines:
            if {line.payer, line.provider} != set(self.parties):
                raise ValueError("lines: a line is between the two parties")
        sums: dict[tuple[str, str], int] = defaultdict(int)
        for line in self.lines:
            sums[line.payer, line.currency] += int(line.amount)
        if {(t.payer, t.currency): int(t.amount) for t in self.totals} != dict(sums):
            raise ValueError("totals: are not the sums of the lines")
        if any(day.day[:7] != self.month for day in self.days):
            raise ValueError("days: a day is of another month")
        return self


def parse_statement(document: Any) -> Statement:
    """The checked statement, its arithmetic included; `E_FORMAT` names what is wrong."""
    return Statement.parse(document, what="statement")


def day_root(items: Iterable[Item]) -> str:
    """The digest over a day's items, in whatever order they come."""
    each = sorted(digest(canonical.dumps(item.document())) for item in items)
    return digest("\n".join(each).encode())


def statement(month: str, agreement: str, parties: Iterable[str], items: Iterable[Item]) -> dict[str, Any]:
    """The statement document of a month.

    Args:
        month: `YYYY-MM`.
        agreement: its identifier.
        parties: keys of the two.
        items: any; those of other months, agreements or pairs are left out.
    """
    pair = sorted(set(parties))
    chosen = [
        item
        for item in items
        if item.month == month and item.agreement == agreement and {item.payer, item.provider} == set(pair)
    ]
    lines: dict[tuple[Any, ...], list[Item]] = defaultdict(list)
    days: dict[str, list[Item]] = defaultdict(list)
    for item in chosen:
        key = (item.payer, item.asset, item.provider, item.unit, item.price, item.currency, item.payees)
        lines[key].append(item)
        days[item.day].append(item)
    totals: dict[tuple[str, str], int] = defaultdict(int)
    for item in chosen:
        totals[item.payer, item.currency] += item.amount
    return Statement.parse(
        {
            "format": "atoll.statement/v1",
            "month": month,
            "agreement": agreement,
            "parties": pair,
            "lines": [_line(lines[key]) for key in sorted(lines)],
            "totals": [
                {"payer": payer, "currency": currency, "amount": str(amount)}
                for (payer, currency), amount in sorted(totals.items())
            ],
            "days": [
                {"day": day, "items": len(found), "root": day_root(found)}
                for day, found in sorted(days.items())
            ],
        },
        what="statement",
    ).document()


def _line(items: list[Item]) -> dict[str, Any]:
    first = items[0]
    quantity = sum(item.quantity for item in items)
    amount = quantity * first.price
    return {
        "asset": first.asset,
        "provider": first.provider,
        "payer": first.payer,
        "unit": first.unit,
        "price": str(first.price),
        "currency": first.currency,
        "quantity": quantity,
        "amount": str(amount),
        "uses": len(items),
        "provisional": sum(item.basis == "provisional" for item in items),
        "payees": [
            {"to": key, "amount": str(share)}
            for key, share in sorted(split(amount, dict(first.payees)).items())
        ],
    }
