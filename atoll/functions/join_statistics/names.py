"""Names of what is brought and of results: `debt`, or `left_debt` where both tables have such a column in the
request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Names:
    """Names for the columns of one request.

    Args:
        labels: all columns that it names, as `left.NAME` or `right.NAME`.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._sides: dict[str, set[str]] = {}
        for label in labels:
            side, _, name = label.partition(".")
            self._sides.setdefault(name, set()).add(side)

    def column(self, label: str) -> str:
        """A column's name in the result."""
        side, _, name = label.partition(".")
        return name if len(self._sides.get(name, ())) < 2 else f"{side}_{name}"

    def brought(self, form: str, labels: Sequence[str], more: Mapping[str, Any]) -> str:
        """The name of a column of shared rows, and of its total."""
        name = self.column(labels[0])
        if form == "square":
            return f"{name}*{name}"
        if form == "product":
            return f"{name}*{self.column(labels[1])}"
        if form == "range":
            low, high = ("" if more[end] is None else more[end] for end in ("low", "high"))
            return f"{name}[{low}:{high})"
        if form == "codes":
            return f"{name} in none" if more.get("other") else f"{name}={more['codes'][0]}"
        return name

    def result(self, statistic: str, labels: Sequence[str]) -> str:
        """The name of a column of the result."""
        return "_".join([statistic, *map(self.column, labels)])
