"""A lookup asked by the keys of an own table: answers row by row, and no key leaves the node, not even to who asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atoll.crypto.keys import key_digests
from atoll.data.condition import rows_where
from atoll.data.read import read
from atoll.data.schema import Column
from atoll.errors import AtollError
from atoll.node.lookups import LookupFacts, Lookups
from atoll.node.tables import Tables, Version

Json = dict[str, Any]
_NO_KEY = 2**32 - 1
_DIGEST_BYTES = 32


class TableLookups:
    """Lookups by the rows of this node's own tables. A key that stands on several rows is one call."""

    def __init__(self, lookups: Lookups, tables: Tables) -> None:
        self._lookups, self._tables = lookups, tables

    def query(
        self,
        name: str,
        asset: str,
        columns: Sequence[str] | None,
        consent: str | None,
        start: int,
        where: str | None = None,
    ) -> Iterator[Json]:
        """Reads the records of all keys of the newest version of a table, in requests as large as the lookup takes.

        Args:
            name: the lookup.
            asset: an own table, not a live one.
            columns: its key columns, in the order of the lookup's; their names by default.
            consent: the column with digests of the data subjects' authorisations, where the lookup asks for them. The
                first row of a key tells its own.
            start: the row to begin with, from 1: what stood before it was asked already.
            where: a condition on the table's columns; rows for which it does not hold are no rows of this.

        Returns:
            First `asset`, `version`, `rows`, and the number of `keys` that are left to be asked. Then for each row
            its place in the table as `row`, and what `Lookups.query` says of its key, with `version` of the partner's
            table. A row without a key, or with one that a step of normalisation cannot take, has an error and is no
            call. If the lookup ends meanwhile, last `stopped`, the error, and `row`, which was not answered.

        Raises:
            AtollError: before the first line: `E_NOT_FOUND`, `E_COLUMN`, `E_TYPE`, `E_STATE` for a live table,
                `E_RANGE` for a start that is no row, `E_FORMAT` for what is no condition.
        """
        found = self._lookups.serving(name)
        version = self._version(asset)
        names = list(columns) if columns is not None else [column.name for column in found.keys]
        self._check(found, asset, names, consent)
        if not 1 <= start <= max(version.rows, 1):
            raise AtollError("E_RANGE", f"{asset} has rows 1 to {version.rows}, not {start}", fault="caller")
        chosen = None if where is None else self._chosen(asset, version, where)
        keys = _Keys(found, version, names, consent, start - 1, chosen)
        head = {"asset": asset, "version": version.digest, "rows": version.rows, "keys": keys.left}
        return self._lines(head, found, keys)

    def _version(self, asset: str) -> Version:
        if self._tables.is_live(asset):
            text = f"{asset} is live: it has rows for jobs alone"
            raise AtollError("E_STATE", text, cure="Add it as a snapshot under another name.", fault="caller")
        return self._tables.version(asset)

    def _chosen(self, asset: str, version: Version, where: str) -> npt.NDArray[np.bool_]:
        columns = {column.name: column for column in map(Column.from_json, self._tables.schema(asset))}
        return rows_where(version.data, columns, where, asset)

    def _check(self, found: LookupFacts, asset: str, names: list[str], consent: str | None) -> None:
        there = {column.name: column for column in map(Column.from_json, self._tables.schema(asset))}
        if len(names) != len(found.keys):
            wanted = ", ".join(column.name for column in found.keys)
            raise AtollError("E_FORMAT", f"columns: one for each of {wanted}, in order", fault="caller")
        for own in [*names, *([consent] if consent else [])]:
            if own not in there:
                raise AtollError("E_COLUMN", f"{asset} has no column {own!r}", column=own, fault="caller")
        for own, key in zip(names, found.keys, strict=True):
            mine = there[own]
            if (mine.type, mine.scale) != (key.type, key.scale):
                text = (
                    f"{asset}: {own} is of type {_type(mine)}, the lookup's {key.name} of type {_type(key)}"
                )
                raise AtollError("E_TYPE", text, column=own, fault="caller")
        if consent and there[consent].type != "string":
            raise AtollError("E_TYPE", f"{asset}: {consent} is not text", column=consent, fault="caller")

    def _lines(self, head: Json, found: LookupFacts, keys: _Keys) -> Iterator[Json]:
        yield head
        answers: dict[int, Json] = {}
        for row, key in keys.rows():
            if key == _NO_KEY:
                text = f"row {row} has no key, or one that a step of normalisation cannot take"
                error = AtollError("E_FORMAT", text, fault="caller").to_problem()
                yield {"row": row, "found": None, "rows": [], "error": error, "version": None}
                continue
            if key not in answers:
                try:
                    answers |= self._answers(found, keys)
                except AtollError as error:
                    yield {"stopped": error.to_problem(), "row": row}
                    return
            yield {"row": row} | answers[key]
            if keys.was_last(key):
                del answers[key]

    def _answers(self, found: LookupFacts, keys: _Keys) -> dict[int, Json]:
        """Answers of the next keys, by their numbers. One without the authorisation that it needs is no call."""
        numbers, words = keys.next_group()
        answers: dict[int, Json] = {}
        asked, shown = [], []
        for number, word in zip(numbers, words, strict=True):
            try:
                shown += self._lookups.shown(found, [word], 1)
                asked.append(number)
            except AtollError as error:
                problem = error.to_problem()
                answers[number] = {"found": None, "rows": [], "error": problem, "version": None}
        if asked:
            body = self._lookups.ask(found, keys.digests(asked), shown)
            for number, one in zip(asked, body["answers"], strict=True):
                answers[number] = one | {"version": body["version"]}
        return answers


def _type(column: Column) -> str:
    return f"{column.type}({column.scale})" if column.scale else column.type


class _Keys:
    """The keys of a table's rows from one on, each once, in the order in which they first stand there."""

    def __init__(
        self,
        found: LookupFacts,
        version: Version,
        names: list[str],
        consent: str | None,
        first: int,
        chosen: npt.NDArray[np.bool_] | None,
    ) -> None:
        of_lookup = [column.name for column in found.keys]
        steps = {name: steps for name, steps in found.steps.items() if steps}
        batches = (batch.rename_columns(of_lookup) for batch in read(version.data, names))
        keys = key_digests(batches, of_lookup, steps, on_invalid="no_key")
        self._digests = keys.digests
        self._rows: npt.NDArray[np.uint32] = np.frombuffer(keys.rows, "<u4")[first:]
        self._numbers = np.arange(first + 1, first + 1 + len(self._rows))
        if chosen is not None:
            self._rows, self._numbers = self._rows[chosen[first:]], self._numbers[chosen[first:]]
        self._count = np.bincount(self._rows[self._rows != _NO_KEY], minlength=len(keys.digests) // 32)
        distinct, places = np.unique(self._rows, return_index=True)
        order = np.argsort(places)
        order = order[distinct[order] != _NO_KEY]
        # Where each key stands first, among the rows of the table from `first` on.
        self._order, self._places = distinct[order], self._numbers[places[order]] - first - 1
        self._words = None if consent is None else _texts(version, consent).slice(first)
        self._most: int = found.parameters["maximum_keys"]
        self._asked = 0

    @property
    def left(self) -> int:
        """Keys that were not asked."""
        return len(self._order) - self._asked

    def rows(self) -> Iterator[tuple[int, int]]:
        """The number of each row, from 1, and that of its key."""
        yield from zip(self._numbers.tolist(), self._rows.tolist(), strict=True)

    def next_group(self) -> tuple[list[int], list[str | None]]:
        """The numbers of the next keys, as many as a request may have, and the authorisation that each names."""
        part = slice(self._asked, self._asked + self._most)
        numbers: list[int] = self._order[part].tolist()
        self._asked += len(numbers)
        if self._words is None:
            return numbers, [None] * len(numbers)
        return numbers, self._words.take(pa.array(self._places[part])).to_pylist()

    def digests(self, numbers: list[int]) -> bytes:
        """The digests of these keys, 32 bytes each."""
        return b"".join(self._digests[_DIGEST_BYTES * n : _DIGEST_BYTES * (n + 1)] for n in numbers)

    def was_last(self, key: int) -> bool:
        """Counts a row of a key: whether it stands on none of the others."""
        self._count[key] -= 1
        return bool(self._count[key] == 0)


def _texts(version: Version, column: str) -> pa.ChunkedArray:
    return pa.chunked_array([batch.column(0) for batch in read(version.data, [column])], pa.string())
