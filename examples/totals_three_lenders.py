"""How much debt do three lenders have in each segment together, when none of them shows its own part?

python examples/totals_three_lenders.py
"""

from __future__ import annotations

from decimal import Decimal

import pandas as pd

from atoll.testing import nodes

SEGMENTS = ["farm", "shop", "home"]
DECLARED = {
    "columns": {
        "segment": {"type": "string", "codes": SEGMENTS},
        "debt": {"type": "decimal", "scale": 2, "unit": "CNY"},
    }
}


def book(lender: int) -> pd.DataFrame:
    """A lender's own table: 600 loans."""
    rows = range(600)
    return pd.DataFrame(
        {
            "customer": [f"c{row}" for row in rows],
            "segment": [SEGMENTS[row % 3] for row in rows],
            "debt": [Decimal(row * (lender + 1)) / 100 for row in rows],
        }
    )


def main() -> None:
    books = {name: book(number) for number, name in enumerate(("alice", "bob", "carol"))}
    with nodes(*books) as net:
        for name, table in books.items():
            net[name].steward.data.add("loans", table, declaration=DECLARED)
        agreement = net.agreement({name: {"loans": "*"} for name in books})

        job = net.alice.analyst.totals(agreement, "loans", group="segment", values=["debt"], purpose="test")
        totals = job.wait().result().pandas()
        print(totals)
        print(*job.statement(), sep="\n")

        pooled = pd.concat(books.values()).groupby("segment")["debt"].agg(["sum", "count"])
        found = totals.set_index("segment").loc[pooled.index]
        assert found["debt"].tolist() == pooled["sum"].tolist()
        assert found["count"].tolist() == pooled["count"].tolist()


if __name__ == "__main__":
    main()
