"""The page that an owner reads before it consents to a package, as the demo prints it and looks at it."""

from __future__ import annotations

from typing import Any

from atoll.demo.show import Show

Json = dict[str, Any]
_LINES = 14


def bits(millibits: int) -> str:
    """Bits, rounded up to a tenth."""
    return f"{-(-millibits // 100) / 10:,.1f}"


def sources(output: Json) -> list[str]:
    """What an output depends on, `place.column`; which rows there are counts as the place itself."""
    return sorted({f"{place}.{column}" if column else place for place, column in output["depends"]})


def reads(page: Json) -> list[str]:
    """The owner's columns that a package reads, `table.column`."""
    return [f"{item['asset']}.{column['name']}" for item in page["reads"] for column in item["columns"]]


def print_page(show: Show, page: Json) -> None:
    """Prints the page as the owner reads it; what stands in it several times is printed once."""
    first, *lines = page["lines"][show.language]
    show.line("")
    show.line(first, "bold")
    for line in dict.fromkeys(lines):
        show.line(line, "dim")


def print_changes(show: Show, page: Json) -> None:
    """Prints what differs from the version that was approved before."""
    show.say("page-changes", "bold", before=page["approved_before"], version=page["version"])
    for change in page["changes"] or []:
        show.item(change[show.language])
        lines = [line for line in change["lines"] if line[:3] not in ("---", "+++") and line[:1] in "+-"]
        for line in lines[:_LINES]:
            show.line(line, "green" if line[0] == "+" else "red", "        ")
