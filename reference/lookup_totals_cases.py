"""The cases of `vectors/lookup_totals.json`: tables, and whole runs of a few queries."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from reference.lookup_totals import ASKER, HOLDER, TURN, Agreed, Run, column, column_bytes, sealed
from reference.stream import Stream

Json = dict[str, Any]
SALT = bytes(range(16))
SECRET, FILLER = b"\x07" * 32, b"\x08" * 32
SEEDS = b"\x01" * 32, b"\x02" * 32


@dataclass
class Case:
    """Words of each key, and the keys that are asked for."""

    name: str
    columns: int
    agreed: Agreed
    table: dict[str, list[int]]
    asked: str


CASES = [
    Case(
        "a hit, then a miss",
        2,
        Agreed(0, "vectors", b"job", 3, 1, 2),
        {"a": [70], "b": [2**64 - 1]},
        "ax",
    ),
    Case(
        "three words, one that wraps",
        1,
        Agreed(3, "通道", b"c" * 300, 2, 3, 1),
        {"a": [1, 2, 3], "b": [2**64 - 1, 2**63, 5]},
        "b",
    ),
]


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def message(sender: int, data: bytes) -> Json:
    """Long ones are known by their hash."""
    who: Json = {"from": ("asker", "holder")[sender]}
    if data[0] == TURN or len(data) > 1000:
        return who | {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return who | {"bytes": data.hex()}


def case_json(case: Case) -> Json:
    agreed = case.agreed
    rows = [(digest(key), values) for key, values in case.table.items()]
    filler = Stream(FILLER, [b"filler"])
    columns = sealed(agreed, SECRET, SALT, case.columns, rows, filler)
    run = Run(agreed, SEEDS)
    run.prepare()
    queries = []
    for number, key in enumerate(case.asked):
        at = column(digest(key), SALT, case.columns)
        asker, holder = run.query(number, digest(key), SECRET, columns[at])
        opened = [(a + b) % 2**64 for a, b in zip(asker, holder, strict=True)]
        assert opened == case.table.get(key, [0] * agreed.words)
        queries.append(
            {
                "digest": digest(key).hex(),
                "column": at,
                "shares": [[str(word) for word in shares] for shares in (asker, holder)],
                "opened": [str(word) for word in opened],
            }
        )
    return {
        "name": case.name,
        "attempt": agreed.attempt,
        "channel": agreed.channel,
        "context": agreed.context.hex(),
        "cells": agreed.cells,
        "words": agreed.words,
        "columns": case.columns,
        "seeds": [SEEDS[side].hex() for side in (ASKER, HOLDER)],
        "secret": SECRET.hex(),
        "salt": SALT.hex(),
        "filler": FILLER.hex(),
        "digests": [d.hex() for d, _ in rows],
        "values": [[str(value) for value in values] for _, values in rows],
        "table": b"".join(column_bytes(agreed, cells) for cells in columns).hex(),
        "queries": queries,
        "messages": [message(sender, data) for sender, data in run.sent],
    }


def lookup_totals() -> Json:
    """All of the file."""
    return {"cases": [case_json(case) for case in CASES]}
