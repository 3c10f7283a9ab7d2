"""One table on the screen, and the same numbers as JSON lines under benchmarks/results (not in version control)."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.measure import load, machine

RESULTS = Path(__file__).resolve().parents[1] / "results"
Row = dict[str, Any]


def parser(text: str | None) -> argparse.ArgumentParser:
    """An argument parser whose help is the benchmark's own description."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


def numbers(text: str) -> list[int]:
    """`10000,100_000` as a list."""
    return [int(part) for part in text.split(",")]


def medians(rows: Sequence[Row]) -> Row:
    """The median of every number over repeated rows; everything else from the first."""
    first = rows[0]
    plain = (int, float)
    return {
        key: statistics.median(row[key] for row in rows)
        if isinstance(value, plain) and not isinstance(value, bool)
        else value
        for key, value in first.items()
    }


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


class Report:
    """Prints rows under one header as they come, and keeps every repeat as a JSON line."""

    def __init__(self, name: str, columns: Sequence[str]) -> None:
        self._name, self._columns = name, list(columns)
        self._widths = [max(len(column), 9) for column in columns]
        RESULTS.mkdir(exist_ok=True)
        self._head = {
            "benchmark": name,
            "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "arguments": sys.argv[1:],
            **machine(),
        }
        facts = self._head
        print(
            f"{facts['processor']}, {facts['processors']} processors, {facts['memory_gib']} GiB; "
            f"Python {facts['python']}, atoll {facts['atoll']}; load {load():.1f}"
        )
        print("  ".join(column.rjust(width) for column, width in zip(columns, self._widths, strict=True)))

    def repeat(self, times: int, run: Callable[[int], Row]) -> Row:
        """Runs a measurement so many times, shows the medians, and gives them."""
        rows = []
        for number in range(times):
            before = load()
            row = run(number)
            rows.append(row)
            self._keep(row | {"repeat": number, "load": before})
        found = medians(rows)
        self._show(found)
        return found

    def _keep(self, row: Row) -> None:
        with (RESULTS / f"{self._name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(self._head | row, ensure_ascii=False) + "\n")

    def _show(self, row: Row) -> None:
        cells = (_text(row.get(column, "")) for column in self._columns)
        print(
            "  ".join(cell.rjust(width) for cell, width in zip(cells, self._widths, strict=True)), flush=True
        )
