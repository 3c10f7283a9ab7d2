"""Which of a bank's customers does a tax office know, and what does the bank's own table say of them?

    python examples/join_two_tables.py

Two real nodes on this machine pair, sign an agreement and join; neither sees a row of the other.
"""

from __future__ import annotations

import pandas as pd

from atoll.testing import nodes

loans = pd.DataFrame(
    {"id": [f"1101{n:06}" for n in range(0, 3000, 2)], "debt": [n * 10 for n in range(0, 3000, 2)]}
)
taxes = pd.DataFrame({"person": [f" 1101{n:06}" for n in range(0, 3000, 3)]})  # note the space in front


def main() -> None:
    with nodes("bank", "tax office") as net:
        bank, office = net["bank"], net["tax office"]
        bank.steward.data.add("loans", loans)
        office.steward.data.add("taxes", taxes)

        # Each owner says what the other may use which column for; both sign.
        agreement = net.agreement({"bank": {"loans": "*"}, "tax office": {"taxes": {"person": "join_key"}}})

        # Only the bank learns something: its own rows whose id the tax office has as well.
        job = bank.analyst.join(
            agreement, "loans", "taxes", left_on="id", right_on="person", normalise={"id": ["trim"]},
            purpose="test",
        )  # fmt: skip
        found = job.wait().result().pandas()
        print(found.sort_values("id").head())
        print(f"{len(found)} of {len(loans)} customers match; their debt is {found['debt'].sum()}")
        print(*job.statement(), sep="\n")

        plain = loans[loans["id"].isin(taxes["person"].str.strip())]
        assert sorted(found["id"]) == sorted(plain["id"])
        assert found["debt"].sum() == plain["debt"].sum()


if __name__ == "__main__":
    main()
