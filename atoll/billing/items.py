"""What is billed: an item for each use that a price names, from a receipt, from a provisional one, or flat by month.

A use belongs to the month, in UTC, of the time that the owner's part of the receipt claims as its end; without a
receipt, of the time in the receiver's provisional one. Both sides hold the same documents, so both get the same month,
whatever their clocks say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from atoll.agreements.lifecycle import grants_to
from atoll.agreements.model import Agreement, Asset
from atoll.agreements.provisional import Provisional
from atoll.agreements.receipt import Receipt
from atoll.agreements.terms import Grant, Price
from atoll.errors import AtollError

Unit = Literal["run", "call", "row", "hit", "month"]
Basis = Literal["receipt", "provisional", "agreement"]
UNITS: tuple[Unit, ...] = ("run", "call", "row", "hit", "month")


@dataclass(frozen=True, order=True)
class Item:
    """A use that is billed, or a flat price.

    Args:
        day: `YYYY-MM-DD`; of a flat price the first of the month.
        evidence: digest of the receipt, or of the agreement version that a flat price stands in.
        unit, quantity, price: how many of what, at how many minor units each.
        payees: key and parts of everybody who shares the price, in order of key.
        job, block: where it was used; empty and 0 for a flat price.
        basis: `provisional` where no receipt is signed by all.
    """

    day: str
    evidence: str
    agreement: str
    asset: str
    provider: str
    payer: str
    unit: Unit
    quantity: int
    price: int
    currency: str
    payees: tuple[tuple[str, int], ...]
    job: str
    block: int
    basis: Basis

    @property
    def amount(self) -> int:
        """In minor units."""
        return self.quantity * self.price

    @property
    def month(self) -> str:
        """`YYYY-MM`."""
        return self.day[:7]

    def document(self) -> dict[str, Any]:
        """As it stands in a day's list."""
        return {
            "evidence": self.evidence,
            "asset": self.asset,
            "provider": self.provider,
            "payer": self.payer,
            "unit": self.unit,
            "quantity": self.quantity,
            "price": str(self.price),
            "currency": self.currency,
            "payees": [[key, parts] for key, parts in self.payees],
            "job": self.job,
            "block": self.block,
            "basis": self.basis,
        }


def _payees(price: Price, provider: str) -> tuple[tuple[str, int], ...]:
    return tuple((share.to, share.parts) for share in price.shares) or ((provider, 1),)


def _unit_price(price: Price, unit: Unit) -> int:
    return int({
        "run": price.per_run, "call": price.per_call, "row": price.per_row, "hit": price.per_hit,
        "month": price.per_month,
    }[unit])  # fmt: skip


def _made(
    asset: Asset, grant: Grant, agreement: str, payer: str, used: Mapping[Unit, int], **where: Any
) -> Iterator[Item]:
    """An item for each unit that was used and has a price."""
    price = grant.price
    if price is None or asset.provider == payer:
        return
    for unit in UNITS:
        quantity, each = used.get(unit, 0), _unit_price(price, unit)
        if quantity and each:
            yield Item(
                agreement=agreement,
                asset=asset.name,
                provider=asset.provider,
                payer=payer,
                unit=unit,
                quantity=quantity,
                price=each,
                currency=price.currency,
                payees=_payees(price, asset.provider),
                **where,
            )


def items_of(receipt: Receipt, digest: str, agreements: Mapping[str, Agreement]) -> list[Item]:
    """What a receipt that all signed bills, in order of input.

    Args:
        receipt: as parsed. The final receipt of a service bills nothing: its blocks did.
        digest: the receipt's.
        agreements: by digest, those that the receipt names.

    Raises:
        AtollError: `E_RECEIPT` if it names a grant that the agreement has not, or an agreement is missing.
    """
    if receipt.outcome != "completed" or (receipt.shape == "service" and receipt.block is None):
        return []
    block = receipt.block
    asked = receipt.parties[receipt.asker].meters
    used: dict[Unit, int] = {
        # The first block of a service bills the run.
        "run": 1 if block is None or block.number == 1 else 0,
        "call": block.calls if block is not None else 0,
        "row": asked.rows or 0,
        "hit": asked.hits or 0,
    }
    out: list[Item] = []
    billed: set[tuple[str, str, str]] = set()
    for name, item in sorted(receipt.inputs.items()):
        record = receipt.parties[item.party]
        index = record.grants.get(name)
        agreement = agreements.get(receipt.agreements[item.agreement])
        # An asset that is fed in twice is used once, as it is debited once.
        use = (item.agreement, item.party, item.asset)
        if item.party == receipt.asker or use in billed:
            continue
        billed.add(use)
        asset = agreement.asset_at(item.party, item.asset) if agreement is not None else None
        if asset is None or index is None or index >= len(asset.grants):
            raise AtollError("E_RECEIPT", f"The grant of input {name} is not in the agreement that is named.")
        out += _made(
            asset,
            asset.grants[index],
            item.agreement,
            receipt.asker,
            used,
            day=record.times.finished[:10],
            evidence=digest,
            job=receipt.job,
            block=block.number if block is not None else 0,
            basis="receipt",
        )
    return out


def word_counts(word: Provisional, plan: Mapping[str, Any]) -> bool:
    """Whether a provisional receipt is the one that bills, of those that a job's receivers gave.

    It is the asker's, which the asker holds too; where the asker receives nothing, that of the first key.
    """
    receivers = {str(output["receiver"]) for output in plan["outputs"]}
    return word.receiver == (plan["asker"] if plan["asker"] in receivers else min(receivers, default=""))


def provisional_items(
    word: Provisional,
    digest: str,
    plan: Mapping[str, Any],
    agreements: Mapping[str, Agreement],
    *,
    rows: int | None,
    used: int | None,
) -> list[Item]:
    """What a provisional receipt bills while no receipt is signed by all: the owner is owed it all the same.

    Args:
        word, digest: the receiver's provisional receipt.
        plan: the plan document.
        agreements: by id, in the versions that the plan names.
        rows: rows that the asker presented, where the plan discloses it.
        used: calls that this side knows were answered; None counts all that were reserved.
    """
    block = word.block
    calls = 0 if block is None else block.calls if used is None else used
    quantities: dict[Unit, int] = {
        "run": 1 if block is None or block.number == 1 else 0,
        "call": calls,
        "row": rows or 0,
    }
    out: list[Item] = []
    billed: set[tuple[str, str, str]] = set()
    for item in sorted(plan["inputs"], key=lambda item: str(item["id"])):
        use = (item["agreement"], item["party"], item["asset"])
        if item["party"] == plan["asker"] or use in billed:
            continue
        billed.add(use)
        asset = agreements[item["agreement"]].asset_at(item["party"], item["asset"])
        fitting = grants_to(asset, plan["asker"], plan["purpose"], plan["function"]) if asset else []
        if asset is None or not fitting:
            continue
        # Which grant was meant stands in no document yet: the first that fits, at both sides.
        out += _made(
            asset,
            fitting[0][1],
            item["agreement"],
            plan["asker"],
            quantities,
            day=word.at[:10],
            evidence=digest,
            job=word.job,
            block=block.number if block is not None else 0,
            basis="provisional",
        )
    return out


def flat_items(versions: Iterable[Agreement], month: str, revoked: str | None) -> list[Item]:
    """Prices per month of an agreement, if it was in force at any moment of the month.

    Args:
        versions: those that all signed.
        month: `YYYY-MM`.
        revoked: when it was revoked, as its revocation says; None if it was not.
    """
    first, end = f"{month}-01T00:00:00Z", _next(month)
    if revoked is not None and revoked <= first:
        return []
    held = [v for v in versions if v.validity.not_before < end and first < v.validity.not_after]
    if not held:
        return []
    agreement = max(held, key=lambda version: version.version)
    out: list[Item] = []
    for asset in agreement.assets:
        for grant in asset.grants:
            for payer in grant.to:
                out += _made(
                    asset, grant, agreement.id, payer, {"month": 1}, day=f"{month}-01",
                    evidence=agreement.digest, job="", block=0, basis="agreement",
                )  # fmt: skip
    return out


def _next(month: str) -> str:
    year, number = int(month[:4]), int(month[5:])
    return f"{year + number // 12:04}-{number % 12 + 1:02}-01T00:00:00Z"
