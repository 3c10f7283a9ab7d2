"""The page that an owner reads before it consents to a package, in short, as the demo prints it."""

from __future__ import annotations

from typing import Any

from atoll.demo.show import Show

Json = dict[str, Any]
_LINES = 14


def _list(names: list[str]) -> str:
    return ", ".join(names)


def bits(millibits: int) -> str:
    """Bits with one digit."""
    return f"{millibits / 1000:,.1f}"


def sources(output: Json) -> list[str]:
    """What an output depends on, `place.column`; which rows there are counts as the place itself."""
    return sorted({f"{place}.{column}" if column else place for place, column in output["depends"]})


def reads(page: Json) -> list[str]:
    """The owner's columns that a package reads, `table.column`."""
    return [f"{item['asset']}.{column['name']}" for item in page["reads"] for column in item["columns"]]


def print_page(show: Show, page: Json) -> None:
    """Prints what is read, what may leave, and how much that is."""
    title = page["title"][show.language]
    show.say(
        "page-title",
        "bold",
        title=title,
        name=page["name"],
        version=page["version"],
        author=page["author_name"],
    )
    show.item(show.text("page-reads", columns=_list(reads(page))))
    for output in page["outputs"]:
        facts = {"name": output["name"], "sources": _list(sources(output))}
        if "range" in output:
            low, high = (f"{bound:,}" for bound in output["range"])
            span = {"low": low, "high": high, "step": f"{output['step']:,}", "unit": output["unit"] or ""}
            show.item(show.text("page-number", **facts, **span))
        else:
            values = _list(output.get("values") or [show.text("yes"), show.text("no")])
            show.item(show.text("page-values", **facts, values=values))
    found = page["bits"]
    show.item(
        show.text(
            "page-bits", call=bits(found["per_call"]), subject=bits(found["per_subject"]), days=found["subject_days"],
            calls=found["calls_per_subject"], outcomes=f"{found['outcomes']:,}",
        )
    )  # fmt: skip


def print_changes(show: Show, page: Json) -> None:
    """Prints what differs from the version that was approved before."""
    show.say("page-changes", "bold", before=page["approved_before"], version=page["version"])
    for change in page["changes"] or []:
        show.item(change[show.language])
        lines = [line for line in change["lines"] if line[:3] not in ("---", "+++") and line[:1] in "+-"]
        for line in lines[:_LINES]:
            show.line(line, "green" if line[0] == "+" else "red", "        ")
