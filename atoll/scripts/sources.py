"""What a value of a package can depend on."""

from __future__ import annotations

# A place and a column: ("bills", "price") a column of an input, ("bills", "") which rows there are and how many,
# ("tariff", "cap") a parameter table, ("arguments", "insured"), ("features", "billed"), ("risk", "") the score of a
# model, ("today", "") the frozen date.
Source = tuple[str, str]
Dependencies = dict[str, frozenset[Source]]
