"""Statistics as text: `variance(right.income)`, `correlation(left.debt, right.income)`, `histogram(right.age, 30,
45)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from atoll.errors import AtollError

Json = dict[str, Any]

_CALL: Final = re.compile(r"\s*([a-z]+)\s*\((.*)\)\s*", re.DOTALL)
_COLUMN: Final = re.compile(r"\s*(left|right)\.(.*\S)\s*", re.DOTALL)
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
PAIRS: Final = ("covariance", "correlation")
NAMES: Final = ("sum", "mean", "variance", "stddev", *PAIRS, "histogram")


def split(texts: Iterable[str]) -> list[str]:
    """Items between commas that stand outside parentheses."""
    out = []
    for text in texts:
        depth, item = 0, ""
        for char in text:
            depth += (char == "(") - (char == ")")
            if char == "," and not depth:
                out.append(item)
                item = ""
            else:
                item += char
        out.append(item)
    return [item.strip() for item in out if item.strip()]


def is_statistic(text: str) -> bool:
    """Whether this is a statistic by name, and no mere column or `count`."""
    return _CALL.fullmatch(text) is not None


def parse(text: str) -> list[Json]:
    """A statistic as the documents of a request; a column alone stands for its sum and mean, `count` for nothing more.

    Raises:
        AtollError: `E_FORMAT` for text that is no statistic.
    """
    if text == "count":
        return []
    call = _CALL.fullmatch(text)
    if call is None:
        if _COLUMN.fullmatch(text) is None:
            raise AtollError("E_FORMAT", f"{text}: write count, left.COLUMN, right.COLUMN or {_how()}.")
        return [{"statistic": name, "columns": [text.strip()]} for name in ("sum", "mean")]
    name, inside = call.groups()
    if name not in NAMES:
        raise AtollError("E_FORMAT", f"{text}: {name!r} is no statistic; there are {', '.join(NAMES)}.")
    parts = [part.strip() for part in inside.split(",")]
    count = 2 if name in PAIRS else 1
    columns, more = parts[:count], parts[count:]
    if len(columns) < count or not all(_COLUMN.fullmatch(column) for column in columns):
        raise AtollError(
            "E_FORMAT", f"{text}: {name} takes {'two columns' if count == 2 else 'a column'}, {_how()}."
        )
    if more and name != "histogram":
        raise AtollError("E_FORMAT", f"{text}: {name} takes no {more[0]!r}.")
    asked: Json = {"statistic": name, "columns": columns}
    if more:
        asked["cuts" if all(_NUMBER.fullmatch(part) for part in more) else "codes"] = more
    return [asked]


def _how() -> str:
    return "such as variance(left.COLUMN) or correlation(left.COLUMN, right.COLUMN)"
