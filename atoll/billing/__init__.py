"""What a month costs, from countersigned receipts alone: both sides compute it, and get the same. Pure.

Public names, as other packages use them:

    items_of(receipt, digest, agreements) -> [Item]        what one receipt bills
    provisional_items(word, digest, plan, derived, agreements, used=None) -> [Item]    without a receipt
    flat_items(agreement versions, month, revoked) -> [Item]
    statement(month, agreement, parties, items) -> document of statement/v1, equal at both sides
    parse_statement(document) -> Statement, its arithmetic checked
    compare(mine, theirs), compare_days(mine, theirs) -> differences, down to the receipts
    split(amount, shares) -> amounts that sum exactly
    money(amount, currency) -> text for people
"""

from atoll.billing.compare import DayDifference, Difference, compare, compare_day
from atoll.billing.items import Item, flat_items, items_of, provisional_items
from atoll.billing.money import money, split
from atoll.billing.statement import DISPUTE_KIND, STATEMENT_KIND, Statement, parse_statement, statement

__all__ = [
    "DISPUTE_KIND",
    "STATEMENT_KIND",
    "DayDifference",
    "Difference",
    "Item",
    "Statement",
    "compare",
    "compare_day",
    "flat_items",
    "items_of",
    "money",
    "parse_statement",
    "provisional_items",
    "split",
    "statement",
]
