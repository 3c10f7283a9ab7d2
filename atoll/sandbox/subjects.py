"""The rows of a subject, found by its key in memory: what a call may see, and nothing beside it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atoll.scripts.manifest import Input, column_facts

CALL = "__call"


_ARROW = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}


def arrow_type(text: str) -> pa.DataType:
    """The Arrow type of a column of a manifest."""
    facts = column_facts(text)
    if facts.type == "decimal":
        return pa.decimal128(facts.precision, facts.scale)
    return _ARROW[facts.type]


def needed(declared: Input) -> list[str]:
    """The columns of the owner's table that an input needs: its key first."""
    return list(dict.fromkeys([declared.key, *declared.columns]))


class SubjectRows:
    """One input's rows, sorted by key.

    Args:
        table: the key column and the manifest's columns, in the types of the owner's table.
        declared: the input as the manifest has it.
    """

    def __init__(self, table: pa.Table, declared: Input) -> None:
        self._declared = declared
        found = table.select(needed(declared))
        found = found.filter(pc.is_valid(found.column(declared.key)))
        found = found.take(pc.sort_indices(found, [(declared.key, "ascending")]))
        key = found.column(declared.key)
        if pa.types.is_string(key.type):
            # A chunk of more than 2 GiB of text would not be one array.
            key = key.cast(pa.large_string())
        self._keys = key.combine_chunks()
        self._rows = found.select(list(declared.columns)).cast(
            pa.schema([(name, arrow_type(text)) for name, text in declared.columns.items()])
        )
        self._complete = [n for n, text in declared.columns.items() if not column_facts(text).nullable]
        self.size: int = found.num_rows

    def _span(self, subject: str | int) -> tuple[int, int]:
        keys = self._keys
        places = range(self.size)

        def at(i: int) -> Any:
            return keys[i].as_py()

        # Arrow sorts text by its UTF-8 bytes, which is the order of Python's text.
        return bisect_left(places, subject, key=at), bisect_right(places, subject, key=at)

    def subjects(self, most: int) -> list[str | int]:
        """The first `most` different keys in order."""
        return [key.as_py() for key in pc.unique(self._keys)[:most]]

    def take(self, subjects: Sequence[str | int]) -> tuple[pa.Table, list[bool]]:
        """The rows of each subject with the number of its call in `__call`, and whether its call may run.

        A subject with more rows than the package allows, or with a value missing where the manifest says that none is,
        has no rows here, and its call does not run.
        """
        most = 1 if self._declared.rows == "one" else self._declared.maximum_rows
        spans = [self._span(subject) for subject in subjects]
        may = [high - low <= most for low, high in spans]
        kept = [(call, low, high) for call, (low, high) in enumerate(spans) if may[call] and high > low]
        places = [np.arange(low, high, dtype=np.int64) for _, low, high in kept]
        numbers = [np.full(high - low, call, dtype=np.int32) for call, low, high in kept]
        rows = self._rows.take(pa.array(np.concatenate(places) if places else np.empty(0, np.int64)))
        calls = np.concatenate(numbers) if numbers else np.empty(0, np.int32)
        lacking: set[int] = set()
        for name in self._complete:
            column = rows.column(name)
            if column.null_count:
                lacking |= set(calls[column.is_null().to_numpy()].tolist())
        if lacking:
            keep = ~np.isin(calls, list(lacking))
            rows, calls = rows.filter(pa.array(keep)), calls[keep]
            may = [ok and call not in lacking for call, ok in enumerate(may)]
        return rows.append_column(CALL, pa.array(calls, pa.int32())), may
