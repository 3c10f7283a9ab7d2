"""Packages and batches for the tests of cells."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa

from atoll.sandbox.asked import Asked
from atoll.sandbox.host import CellPackage

TODAY = datetime.date(2026, 3, 1)
RULES = """
import datetime
import random

def sink(n):
    total = 0
    for i in range(n):
        total += i
    return total

def decide(item, rows, prices, arguments, today) -> dict:
    what = item["what"]
    if what == "none":
        return None
    if what == "loop":
        while True:
            pass
    if what == "memory":
        grown = []
        while True:
            grown.append("a" * 1000)
    if what == "answer":
        return {"out": [0] * 3000000}
    if what == "wide":
        return {"out": "a" * 100}
    if what == "fails":
        return {"out": item["nothing"]}
    if what == "random":
        return {"out": random.randint(0, 1000000)}
    if what == "date":
        return {"out": today.year * 10000 + today.month * 100 + today.day}
    if what == "slow":
        return {"out": sink(arguments["n"])}
    total = arguments["n"]
    for row in rows:
        price = prices(row["kind"])
        if price is not None:
            total += row["count"] * price["cents"] + row["amount"]
    return {"out": total}
"""
MANIFEST: dict[str, Any] = {
    "format": "atoll.script/v1",
    "name": "trial",
    "version": "1.0.0",
    "title": {"en": "Trial", "zh": "试验"},
    "purpose": "tests",
    "subject": {"name": "case", "type": "string"},
    "inputs": {
        "item": {"asset": "items", "key": "id", "rows": "one", "columns": {"what": "string"}},
        "rows": {
            "asset": "rows",
            "key": "id",
            "rows": "many",
            "columns": {"kind": "string?", "count": "int64", "amount": "decimal(12,2)"},
        },
    },
    "parameters": {
        "prices": {"file": "prices.csv", "key": "kind", "columns": {"kind": "string", "cents": "int64"}}
    },
    "arguments": {"n": {"type": "int64", "range": [0, 1000000000], "default": 0}},
    "rules": {"file": "rules.py", "entry": "decide"},
    "outputs": {"out": {"type": "int64", "range": [0, 1000000000], "step": 1}},
    "limits": {"time_ms": 50, "memory_bytes": 32 << 20},
}
FILES = {"rules.py": RULES.encode(), "prices.csv": b"kind,cents\nbed,100\nmeal,7\n"}


def package(**changes: Any) -> CellPackage:
    """The trial package, with other top fields of its manifest."""
    return CellPackage({**MANIFEST, **changes}, FILES)


def batch(
    whats: list[str], *, n: int = 0, rows: int = 2, today: datetime.date = TODAY
) -> tuple[list[Asked], dict[str, pa.Table]]:
    """Calls that each do what is said, with so many rows."""
    calls = [Asked(f"seed {what} {i}".encode(), today, {"n": n}) for i, what in enumerate(whats)]
    return calls, inputs(whats, rows=rows)


def inputs(whats: list[str], *, rows: int = 2) -> dict[str, pa.Table]:
    """The rows of such calls."""
    owners = [i for i in range(len(whats)) for _ in range(rows)]
    amounts = pa.array([125 + i for i in owners], pa.int64())
    decimals = pa.Array.from_buffers(
        pa.decimal128(12, 2), len(owners), amounts.cast(pa.decimal128(19, 0)).buffers()
    )
    return {
        "item": pa.table(
            {"__call": pa.array(range(len(whats)), pa.int32()), "what": pa.array(whats, pa.string())}
        ),
        "rows": pa.table(
            {
                "__call": pa.array(owners, pa.int32()),
                "kind": pa.array(["bed" if i % 2 else None for i in owners], pa.string()),
                "count": pa.array(owners, pa.int64()),
                "amount": decimals,
            }
        ),
    }


def expected(i: int, *, n: int = 0, rows: int = 2) -> dict[str, int]:
    """What the trial package says to the plain call at place `i`."""
    return {"out": n + rows * ((100 * i if i % 2 else 0) + (125 + i if i % 2 else 0))}
